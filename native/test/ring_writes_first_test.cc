// The ring that puts writes before reads, and lets large ones take turns: what it starts on the ring below, and when.
#include "held_ring.h"
#include "support.h"

namespace haulout {
namespace {

struct Owner {
  void start(Operation::Kind kind, uint64_t position, uint64_t bytes) {
    auto operation = std::make_unique<Operation>();
    operation->kind = kind;
    operation->file = 7;
    operation->position = position;
    operation->parts = {{memory.data(), bytes}};
    operation->awaited = kind != Operation::Kind::read;
    operation->done = [this](int64_t result) { results.push_back(result); };
    ring->start(std::move(operation));
  }

  // Started, and not answered.
  std::deque<std::unique_ptr<Operation>> held;
  int64_t now_ms = 1000;
  std::vector<uint8_t> memory = std::vector<uint8_t>(12 << 20);
  std::vector<int64_t> results;
  const std::unique_ptr<Ring> ring = make_writes_first_ring(std::make_unique<HeldRing>(held), [this] { return now_ms; });
};

void test_writes_first() {
  constexpr uint64_t kKiB = 1024;
  Owner owner;
  auto& held = owner.held;
  const auto& results = owner.results;
  const auto& ring = owner.ring;
  const auto bytes_held = [&] {
    uint64_t bytes = 0;
    for (const auto& each : held) bytes += each->kind == Operation::Kind::read ? each->parts.front().iov_len : 0;
    return bytes;
  };
  // Nobody writes: reads go whole, some megabytes at a time. A write does not wait, whatever is there.
  for (uint64_t i = 0; i < 4; i++) owner.start(Operation::Kind::read, i * 2048 * kKiB, 2048 * kKiB);
  CHECK(!held.front()->awaited && !held.back()->awaited);
  // Those that wait are started by those under way, so a wake-up for these is wanted.
  for (uint64_t i = 8; i < 10; i++) owner.start(Operation::Kind::read, i * 1024 * kKiB, 1024 * kKiB);
  CHECK(held.front()->awaited && held.back()->awaited);
  CHECK(held.size() == 4 && held[3]->position == 6144 * kKiB && bytes_held() == 8192 * kKiB && ring->pending() == 6);
  owner.start(Operation::Kind::write, 0, 4096);
  CHECK(held.size() == 5 && held[4]->kind == Operation::Kind::write);
  // Beside it little is read at once, in pieces, in order.
  for (int i = 0; i < 4; i++) HeldRing::answer(held, 0, 2048 * kKiB);
  CHECK(results == std::vector<int64_t>(4, 2048 * kKiB) && bytes_held() == 512 * kKiB);
  CHECK(held[1]->position == 8192 * kKiB && held[2]->position == 8448 * kKiB && held[2]->file == 7);
  CHECK(held[2]->parts.front().iov_base == owner.memory.data() + 256 * kKiB);
  // The second piece first, then a short one: the file ends there. So it was written just now, little is read still.
  HeldRing::answer(held, 2, 256 * kKiB);
  HeldRing::answer(held, 0, 4096);
  HeldRing::answer(held, 0, 100);
  CHECK(results.back() == 4096 && bytes_held() == 512 * kKiB && held[0]->position == 8704 * kKiB);
  HeldRing::answer(held, 0, 0);
  HeldRing::answer(held, 0, 0);
  CHECK(results.back() == 100 && held[0]->position == 9216 * kKiB);
  // Somebody waits for the last one, of which a part is not started yet.
  ring->await_all();
  // An error of one piece is that of the read; the rest of it goes whole when nobody has written for a while.
  owner.now_ms += 100;
  HeldRing::answer(held, 1, -EIO);
  CHECK(held.size() == 2 && held[1]->position == 9728 * kKiB && held[1]->parts.front().iov_len == 512 * kKiB && held[1]->awaited);
  HeldRing::answer(held, 1, 512 * kKiB);
  HeldRing::answer(held, 0, 256 * kKiB);
  CHECK(results.back() == -EIO && results.size() == 7 && ring->pending() == 0);
}

void test_large_writes_in_turn() {
  Owner owner;
  auto& held = owner.held;
  const auto& results = owner.results;
  const auto& ring = owner.ring;
  for (uint64_t i = 0; i < 9; i++) owner.start(Operation::Kind::write, i, 64 << 10);
  CHECK(held.size() == 6 && held.back()->position == 5 && ring->pending() == 9 && ring->awaited() == 9);
  // What is small does not wait.
  owner.start(Operation::Kind::write, 100, 60 << 10);
  owner.start(Operation::Kind::sync, 101, 0);
  CHECK(held.size() == 8 && held[6]->position == 100 && held[7]->position == 101);
  // One that is done, or has failed, is followed by the one that waits longest, before anybody is told.
  HeldRing::answer(held, 2, 64 << 10);
  HeldRing::answer(held, 0, -EIO);
  CHECK(held.size() == 8 && held[6]->position == 6 && held[7]->position == 7 && ring->pending() == 9);
  CHECK((results == std::vector<int64_t>{64 << 10, -EIO}));
  ring->drain();
  CHECK(results.size() == 11 && ring->pending() == 0);
}

}  // namespace
}  // namespace haulout

int main() {
  haulout::test_writes_first();
  haulout::test_large_writes_in_turn();
  std::puts("ring_writes_first: fine");
}
