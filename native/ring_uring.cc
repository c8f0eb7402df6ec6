// The ring over io_uring: one instance per store, owned by one thread, no thread of its own. Its eventfd becomes readable with
// every completion that somebody waits for.
//
// Where the kernel keeps completions until the thread that began them asks (IORING_SETUP_DEFER_TASKRUN, Linux 6.1), those that nobody waits for
// do not even wake it: the eventfd is told of nothing (IORING_CQ_EVENTFD_DISABLED) while no operation under way is awaited.
#include "ring.h"

#if HAULOUT_URING

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <deque>

namespace haulout {
namespace {

constexpr unsigned kSubmissionEntries = 256;
// The kernel makes the completion queue twice as long. Never more in flight than that, so it cannot overflow.
constexpr size_t kInFlightMax = 2 * kSubmissionEntries;

// 1: only for the privileged, or a group; 2: for all. Older kernels do not have it.
int disabled_setting() {
  std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  int value = 0;
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%d", &value) != 1) value = 0;
  std::fclose(file);
  return value;
}

std::string reason_for(int error) {
  switch (error) {
    case EPERM: {
      const int setting = disabled_setting();
      if (setting != 0) return "io_uring is forbidden here: kernel.io_uring_disabled is " + std::to_string(setting);
      return "io_uring is forbidden here, by a seccomp profile as containers have it (kernel.io_uring_disabled is 0)";
    }
    case ENOSYS: return "this kernel has no io_uring, or a seccomp profile hides it";
    case ENOMEM: return "io_uring may not lock enough memory (raise the memlock limit)";
    default: return std::string("io_uring does not work here: ") + strerror(error);
  }
}

class UringRing final : public Ring {
 public:
  UringRing(const io_uring& ring, int event_file, Wake wake)
      : ring_(ring), event_file_(event_file), wake_(std::move(wake)), can_be_silent_((ring.flags & IORING_SETUP_DEFER_TASKRUN) != 0) {}

  ~UringRing() override {
    drain();
    io_uring_queue_exit(&ring_);
    ::close(event_file_);
  }

  int event_file() const override { return event_file_; }

  size_t pending() const override { return waiting_.size() + in_flight_; }
  size_t awaited() const override { return pending() - unawaited_.size(); }

  void start(std::unique_ptr<Operation> operation) override {
    if (!can_be_silent_) operation->awaited = true;
    if (!operation->awaited) unawaited_.push_back(operation.get());
    waiting_.push_back(operation.release());
    tell_if_awaited();
  }

  void submit() override {
    while (prepare_all()) {
      const int submitted = io_uring_submit(&ring_);
      if (submitted == -EINTR) continue;
      if (submitted < 0) {
        // EAGAIN and EBUSY pass when completions are reaped: what is prepared stays in the ring for the next call.
        wake_();
        return;
      }
      unsubmitted_ -= std::min<size_t>(unsubmitted_, static_cast<size_t>(submitted));
    }
  }

  void reap() override {
    // The eventfd is told once more of what the kernel kept, when that is fetched: it is read after that. What it told of in between is fetched, too.
    fetch_deferred();
    uint64_t ignored;
    while (::read(event_file_, &ignored, sizeof ignored) < 0 && errno == EINTR) {}
    fetch_deferred();
    take_completions();
  }

  void look() override {
    if (is_telling_) return;
    fetch_deferred();
    if (io_uring_cq_ready(&ring_) > 0) take_completions();
  }

  void await_all() override {
    if (unawaited_.empty()) return;
    for (Operation* operation : unawaited_) operation->awaited = true;
    unawaited_.clear();
    tell_if_awaited();
    // Of what has finished already the eventfd was told nothing.
    if (io_uring_cq_ready(&ring_) > 0) wake_();
  }

  void drain() override {
    await_all();
    submit();
    while (in_flight_ > 0 || !waiting_.empty()) {
      io_uring_cqe* completion;
      if (unsubmitted_ == 0 && in_flight_ > 0) (void)io_uring_wait_cqe(&ring_, &completion);
      reap();
    }
  }

 private:
  // Whether the eventfd is told of completions.
  void tell_if_awaited() {
    const bool tells = !can_be_silent_ || awaited() > 0;
    if (tells == is_telling_) return;
    is_telling_ = tells;
    // The kernel tells of a completion if it keeps none that came before, so those that came in silence go out of its way: before, and once
    // more for what came in between.
    if (tells) fetch_deferred();
    (void)io_uring_cq_eventfd_toggle(&ring_, tells);
    __sync_synchronize();
    if (tells) fetch_deferred();
  }

  // Completions that the kernel keeps until it is asked come into the queue.
  void fetch_deferred() {
    while ((IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0) {
      const int result = io_uring_get_events(&ring_);
      if (result == -EINTR) continue;
      // Put off: later.
      if (result < 0 && is_telling_) wake_();
      return;
    }
  }

  void take_completions() {
    io_uring_cqe* completion;
    while (io_uring_cq_ready(&ring_) > 0 && io_uring_peek_cqe(&ring_, &completion) == 0) {
      auto* operation = static_cast<Operation*>(io_uring_cqe_get_data(completion));
      const int64_t answer = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      in_flight_--;
      finish(operation, answer);
    }
    submit();
    tell_if_awaited();
  }

  // Puts what waits into the submission queue; true if there is something to submit.
  bool prepare_all() {
    while (!waiting_.empty() && in_flight_ < kInFlightMax) {
      io_uring_sqe* entry = io_uring_get_sqe(&ring_);
      if (entry == nullptr) break;
      prepare(entry, waiting_.front());
      waiting_.pop_front();
      in_flight_++;
      unsubmitted_++;
    }
    return unsubmitted_ > 0;
  }

  static void prepare(io_uring_sqe* entry, Operation* operation) {
    const auto parts = static_cast<unsigned>(std::min<size_t>(operation->parts.size(), IOV_MAX));
    switch (operation->kind) {
      case Operation::Kind::read:
        io_uring_prep_readv(entry, operation->file, operation->parts.data(), parts, operation->position);
        break;
      case Operation::Kind::write:
        io_uring_prep_writev(entry, operation->file, operation->parts.data(), parts, operation->position);
        if (operation->durable) entry->rw_flags = RWF_DSYNC;
        break;
      case Operation::Kind::sync:
        io_uring_prep_fsync(entry, operation->file, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(entry, operation);
  }

  void finish(Operation* operation, int64_t answer) {
    int64_t result = 0;
    // The kernel has done nothing, because it could have no thread for it (ulimit -u, pids.max).
    if (answer == -ECANCELED) answer = answer_to(*operation);
    if (advance(*operation, answer, result) == Next::again) {
      waiting_.push_front(operation);
      return;
    }
    const std::unique_ptr<Operation> owned(operation);
    if (!owned->awaited) std::erase(unawaited_, operation);
    owned->done(result);
  }

  io_uring ring_;
  const int event_file_;
  const Wake wake_;
  const bool can_be_silent_;
  bool is_telling_ = true;
  // Waiting or in flight.
  std::vector<Operation*> unawaited_;
  std::deque<Operation*> waiting_;
  size_t in_flight_ = 0;
  size_t unsubmitted_ = 0;
};

// Some sandboxes let a ring be made and then refuse its use, so one empty operation goes through it.
int try_out(io_uring& ring) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring);
  io_uring_prep_nop(entry);
  io_uring_sqe_set_data(entry, nullptr);
  int result;
  do result = io_uring_submit_and_wait(&ring, 1);
  while (result == -EINTR);
  if (result < 0) return result;
  io_uring_cqe* completion;
  result = io_uring_peek_cqe(&ring, &completion);
  if (result < 0) return result;
  result = completion->res;
  io_uring_cqe_seen(&ring, completion);
  return result;
}

}  // namespace

bool has_uring() { return true; }

Result<std::unique_ptr<Ring>> make_uring_ring(Wake wake, bool one_thread) {
  io_uring ring;
  constexpr unsigned kDeferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int result = one_thread ? io_uring_queue_init(kSubmissionEntries, &ring, kDeferred) : -EINVAL;
  // Older kernels do not know that.
  if (result == -EINVAL) result = io_uring_queue_init(kSubmissionEntries, &ring, 0);
  if (result < 0) return Error{ErrorCode::failed, reason_for(-result)};
  result = try_out(ring);
  const int event_file = result < 0 ? -1 : ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (result >= 0) result = event_file < 0 ? -errno : io_uring_register_eventfd(&ring, event_file);
  if (result < 0) {
    if (event_file >= 0) ::close(event_file);
    io_uring_queue_exit(&ring);
    return Error{ErrorCode::failed, reason_for(-result)};
  }
  return std::unique_ptr<Ring>(std::make_unique<UringRing>(ring, event_file, std::move(wake)));
}

}  // namespace haulout

#else

namespace haulout {

bool has_uring() { return false; }

Result<std::unique_ptr<Ring>> make_uring_ring(Wake, bool) {
  return Error{ErrorCode::failed, "this build has no io_uring in it (liburing was missing when it was built)"};
}

}  // namespace haulout

#endif
