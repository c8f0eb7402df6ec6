#include "thread.h"

#include <signal.h>

#include <cstring>
#include <memory>
#include <utility>

namespace haulout {

int Thread::start(std::function<void()> work) {
  auto owned = std::make_unique<std::function<void()>>(std::move(work));
  const auto run = [](void* given) -> void* {
    const std::unique_ptr<std::function<void()>> work(static_cast<std::function<void()>*>(given));
    (*work)();
    return nullptr;
  };
  // It inherits the mask of the one that starts it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t handle;
  const int error = pthread_create(&handle, nullptr, run, owned.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return error;
  (void)owned.release();
  handle_ = handle;
  return 0;
}

void Thread::join() {
  if (handle_) pthread_join(*std::exchange(handle_, std::nullopt), nullptr);
}

Error no_thread(const std::string& purpose, int error) {
  return {ErrorCode::failed, "cannot start a thread " + purpose + ": " + strerror(error) +
                                 ". There are as many processes and threads as this user or container may have, or too little memory: raise the limit " +
                                 "(ulimit -u, pids.max of the control group), or end other programs"};
}

}  // namespace haulout
