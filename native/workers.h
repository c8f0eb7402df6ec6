// A few threads for blocking work. They start when there is something to do, as many as the system has to give; `done` of a piece of work runs
// on the owner's thread, from reap(). Everything given to run() is done before the destructor returns.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "thread.h"

namespace haulout {

class Workers {
 public:
  Workers(size_t threads_max, std::function<void()> wake) : threads_max_(threads_max), wake_(std::move(wake)) {}
  virtual ~Workers();

  // Starts the first thread: 0, or an errno. Without it the owner does the work itself while no thread can be had.
  int start_first_thread();
  // Virtual, so that a test can do the work itself, in an order of its own.
  virtual void run(std::function<void()> work, std::function<void()> done);
  virtual void reap();
  // Waits until everything given has been done, and reaps it (and what that gives, too).
  virtual void drain();
  // Pieces given whose `done` has not run.
  virtual size_t pending() const { return pending_; }

 private:
  struct Piece {
    std::function<void()> work;
    std::function<void()> done;
  };

  void work();
  int start_thread();
  void do_next(std::unique_lock<std::mutex>& lock);

  const size_t threads_max_;
  const std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable finished_;
  std::deque<Piece> waiting_;
  std::vector<std::function<void()>> done_;
  size_t running_ = 0;
  size_t pending_ = 0;
  size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<Thread> threads_;
};

}  // namespace haulout
