#include "workers.h"

namespace haulout {

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (Thread& thread : threads_) thread.join();
}

int Workers::start_first_thread() { return threads_.empty() && threads_max_ > 0 ? start_thread() : 0; }

int Workers::start_thread() {
  Thread thread;
  const int error = thread.start([this] { work(); });
  if (error == 0) threads_.push_back(std::move(thread));
  return error;
}

void Workers::run(std::function<void()> work, std::function<void()> done) {
  pending_++;
  bool start = false;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(work), std::move(done)});
    start = idle_ < waiting_.size() && threads_.size() < threads_max_;
  }
  // With one thread less there is only less at the same time.
  if (start && start_thread() != 0 && threads_.empty()) {
    std::unique_lock lock(mutex_);
    return do_next(lock);
  }
  changed_.notify_one();
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    idle_++;
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    idle_--;
    if (waiting_.empty()) return;
    do_next(lock);
  }
}

void Workers::do_next(std::unique_lock<std::mutex>& lock) {
  Piece piece = std::move(waiting_.front());
  waiting_.pop_front();
  running_++;
  lock.unlock();
  piece.work();
  piece.work = nullptr;
  lock.lock();
  running_--;
  const bool first = done_.empty();
  done_.push_back(std::move(piece.done));
  if (first) wake_();
  finished_.notify_all();
}

void Workers::reap() {
  std::vector<std::function<void()>> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  pending_ -= done.size();
  for (auto& each : done) each();
}

void Workers::drain() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      finished_.wait(lock, [this] { return !done_.empty() || (waiting_.empty() && running_ == 0); });
      if (done_.empty()) return;
    }
    reap();
  }
}

}  // namespace haulout
