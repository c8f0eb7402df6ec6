// Threads of the engine's own take no signals: those belong to the host's threads. A thread inherits the mask of the one that starts it.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace haulout {

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace haulout
