// The rings where io_uring is not allowed, or not wanted: positioned reads and writes, or reads through mappings, on a few threads.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "ring.h"

namespace haulout {
namespace {

constexpr size_t kThreadsMax = 4;

}  // namespace

int64_t answer_to(const Operation& operation) {
  const auto position = static_cast<off_t>(operation.position);
  const int parts = static_cast<int>(std::min<size_t>(operation.parts.size(), IOV_MAX));
  int64_t answer = 0;
  switch (operation.kind) {
    case Operation::Kind::read:
      answer = ::preadv(operation.file, operation.parts.data(), parts, position);
      break;
    case Operation::Kind::write:
      answer = ::pwritev2(operation.file, operation.parts.data(), parts, position, operation.durable ? RWF_DSYNC : 0);
      break;
    case Operation::Kind::sync:
      answer = ::fdatasync(operation.file);
      break;
  }
  return answer < 0 ? -errno : answer;
}

namespace {

using Answer = std::function<int64_t(const Operation&)>;

int64_t perform(Operation& operation, const Answer& answer) {
  int64_t result = 0;
  while (advance(operation, answer(operation), result) == Next::again) {}
  return result;
}

class ThreadsRing final : public Ring {
 public:
  ThreadsRing(Wake wake, Answer answer) : answer_(std::move(answer)), workers_(kThreadsMax, std::move(wake)) {}

  int start_first_thread() override { return workers_.start_first_thread(); }

  void start(std::unique_ptr<Operation> operation) override { queued_.push_back(std::move(operation)); }

  void submit() override {
    for (auto& queued : queued_) {
      std::shared_ptr<Operation> operation = std::move(queued);
      const auto result = std::make_shared<int64_t>(0);
      workers_.run([this, operation, result] { *result = perform(*operation, answer_); }, [operation, result] { operation->done(*result); });
    }
    queued_.clear();
  }

  void reap() override { workers_.reap(); }

  size_t pending() const override { return queued_.size() + workers_.pending(); }

  void drain() override {
    do {
      submit();
      workers_.drain();
    } while (!queued_.empty());
  }

 private:
  const Answer answer_;
  Workers workers_;
  std::vector<std::unique_ptr<Operation>> queued_;
};

}  // namespace

std::unique_ptr<Ring> make_threads_ring(Wake wake) { return std::make_unique<ThreadsRing>(std::move(wake), answer_to); }

std::unique_ptr<Ring> make_mmap_ring(Wake wake, std::shared_ptr<FileMaps> maps) {
  return std::make_unique<ThreadsRing>(std::move(wake), [maps = std::move(maps)](const Operation& operation) {
    if (operation.kind != Operation::Kind::read) return answer_to(operation);
    return maps->read(operation.file, operation.parts, operation.position);
  });
}

}  // namespace haulout
