// When a ring wakes its owner: for every operation that somebody waits for, and for no other. Pipes are read, so the test says when.
#include <poll.h>

#include <atomic>
#include <thread>

#include "support.h"

namespace haulout {
namespace {

class Pipe {
 public:
  Pipe() { CHECK(::pipe2(ends_, O_CLOEXEC) == 0); }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  int reading_end() const { return ends_[0]; }
  void fill() const { CHECK(::write(ends_[1], "x", 1) == 1); }

 private:
  int ends_[2];
};

struct Owner {
  explicit Owner(bool one_thread) : ring(std::move(*make_uring_ring([this] { wakes++; }, one_thread))) {}

  void read(const Pipe& pipe, bool awaited) {
    auto operation = std::make_unique<Operation>();
    operation->kind = Operation::Kind::read;
    operation->file = pipe.reading_end();
    operation->position = 0;
    operation->awaited = awaited;
    operation->parts = {{&byte, 1}};
    operation->done = [this](int64_t result) {
      CHECK(result == 1);
      done++;
    };
    ring->start(std::move(operation));
    ring->submit();
  }

  bool is_woken(int timeout_ms) const {
    pollfd file{ring->event_file(), POLLIN, 0};
    return wakes > 0 || ::poll(&file, 1, timeout_ms) == 1;
  }

  // As its event loop does.
  void reap_when_woken() {
    CHECK(is_woken(10000));
    wakes = 0;
    ring->reap();
  }

  // A completion comes a little after what caused it.
  void look_until(int count) {
    for (int i = 0; done < count && i < 10000; i++) {
      ring->look();
      ::usleep(100);
    }
    CHECK(done == count);
  }

  int wakes = 0;
  int done = 0;
  uint8_t byte = 0;
  const std::unique_ptr<Ring> ring;
};

void test_wakes_for_what_is_awaited(bool one_thread) {
  Owner owner(one_thread);
  const Pipe pipe;
  owner.read(pipe, true);
  CHECK(owner.ring->pending() == 1 && owner.ring->awaited() == 1 && !owner.is_woken(0));
  pipe.fill();
  owner.reap_when_woken();
  CHECK(owner.done == 1 && owner.ring->pending() == 0 && !owner.is_woken(0));
}

void test_silence() {
  Owner owner(true);
  const Pipe ahead;
  const Pipe wanted;
  owner.read(ahead, false);
  if (owner.ring->awaited() == 1) return;  // This kernel tells of everything.
  CHECK(owner.ring->pending() == 1);
  ahead.fill();
  CHECK(!owner.is_woken(100) && owner.done == 0);
  owner.look_until(1);
  CHECK(owner.ring->pending() == 0 && !owner.is_woken(0));
  // One that is awaited is told of, though another one finished in silence before it.
  owner.read(ahead, false);
  ahead.fill();
  CHECK(!owner.is_woken(100));
  owner.read(wanted, true);
  wanted.fill();
  owner.reap_when_woken();
  CHECK(owner.done == 3);
  // And one that finishes while another is awaited need not be.
  owner.read(wanted, true);
  owner.read(ahead, false);
  wanted.fill();
  owner.reap_when_woken();
  CHECK(owner.done == 4 && owner.ring->pending() == 1 && owner.ring->awaited() == 0);
  ahead.fill();
  CHECK(!owner.is_woken(100));
  owner.look_until(5);
}

// Somebody comes to wait: before it has finished, or after.
void test_silence_ends() {
  Owner owner(true);
  const Pipe pipe;
  owner.read(pipe, false);
  if (owner.ring->awaited() == 1) return;
  owner.ring->await_all();
  CHECK(owner.ring->awaited() == 1 && !owner.is_woken(0));
  pipe.fill();
  owner.reap_when_woken();
  CHECK(owner.done == 1);
  owner.read(pipe, false);
  pipe.fill();
  CHECK(!owner.is_woken(100));
  owner.ring->await_all();
  owner.reap_when_woken();
  CHECK(owner.done == 2 && owner.ring->pending() == 0);
  // What nobody waits for is waited for at the end.
  owner.read(pipe, false);
  pipe.fill();
  owner.ring->drain();
  CHECK(owner.done == 3);
}

// More than the kernel's queues hold, of what is asked for and of what has finished: the rest waits until there is room.
void test_full_queues(bool one_thread) {
  constexpr int kReads = 2000;
  Owner owner(one_thread);
  const Pipe pipe;
  for (int i = 0; i < kReads; i++) owner.read(pipe, true);
  CHECK(owner.ring->pending() == kReads && owner.done == 0);
  for (int i = 0; i < kReads; i++) pipe.fill();
  while (owner.done < kReads) owner.reap_when_woken();
  CHECK(owner.ring->pending() == 0);
}

// Completions come at any moment of a reap(), too.
void test_misses_nothing(bool one_thread) {
  constexpr int kRounds = 5000;
  Owner owner(one_thread);
  const Pipe pipes[2];
  std::atomic<int> round = 0;
  std::thread writer([&] {
    for (int i = 1; i <= kRounds; i++) {
      while (round < i) {}
      pipes[0].fill();
      for (std::atomic<int> pause = i % 100 * 20; pause > 0; pause--) {}
      pipes[1].fill();
    }
  });
  for (int i = 1; i <= kRounds; i++) {
    for (const Pipe& pipe : pipes) owner.read(pipe, true);
    round = i;
    while (owner.ring->pending() > 0) owner.reap_when_woken();
  }
  writer.join();
  CHECK(owner.done == 2 * kRounds);
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  if (auto ring = make_uring_ring([] {}); !ring) {
    std::printf("ring: left out: %s\n", ring.error().message.c_str());
    return 0;
  }
  for (const bool one_thread : {false, true}) test_wakes_for_what_is_awaited(one_thread);
  test_silence();
  test_silence_ends();
  for (const bool one_thread : {false, true}) test_full_queues(one_thread);
  for (const bool one_thread : {false, true}) test_misses_nothing(one_thread);
  std::puts("ring: fine");
}
