// A thread of the engine's own. The system may have none to give (a limit of processes, no memory): that is an answer here, while std::thread
// ends the process where there are no exceptions.
#pragma once

#include <pthread.h>

#include <functional>
#include <optional>
#include <string>

#include "result.h"

namespace haulout {

class Thread {
 public:
  Thread() = default;
  Thread(Thread&& other) noexcept : handle_(std::exchange(other.handle_, std::nullopt)) {}
  Thread& operator=(Thread&&) = delete;
  ~Thread() { join(); }

  // 0, or an errno. It takes no signals: those belong to the host's threads.
  int start(std::function<void()> work);
  // Waits for its end, if it was started.
  void join();

 private:
  std::optional<pthread_t> handle_;
};

// What to tell somebody who cannot have what needs a thread. `purpose` completes "cannot start a thread ...".
Error no_thread(const std::string& purpose, int error);

}  // namespace haulout
