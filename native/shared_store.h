// One open store that several threads of the process use. There is one per folder, however the folder is spelt.
//
// Everything in the engine is done under one lock. A thread of the store's own waits for what completes and submits what is to be
// written, so nobody waits for a user whose thread is busy with something else, and nothing that is under way depends on the thread
// that began it: the kernel cancels what a thread has left in its queues when the thread ends. An append takes the lock for one
// copy; at the end of its turn the user says turn_ended(), and what all users appended meanwhile goes out in one submission.
//
// Callbacks run under the lock, on any thread: they put what they have where their user finds it, and call notify(); the user is
// woken once per batch.
#pragma once

#include <atomic>
#include <condition_variable>
#include <set>

#include "exit_hook.h"
#include "shared_claims.h"
#include "shared_logs.h"

namespace haulout {

// A thread that uses a shared store.
class StoreUser {
 public:
  // Something is there for this user. Called under the lock, from any thread.
  virtual void wake() = 0;

 protected:
  ~StoreUser() = default;
};

class SharedStore {
 public:
  // Opens the store, or joins the one that is open: then what `options` says must fit that one. Waits for one that is being closed.
  static Result<std::shared_ptr<SharedStore>> join(const std::string& directory, const StoreOptions& options, StoreUser& user);
  // Everybody has left.
  ~SharedStore();

  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // These are called under the lock.
  Store& store() { return *store_; }
  SharedLogs& logs() { return *logs_; }
  SharedClaims& claims() { return claims_; }
  bool wants_turn_end() const { return store_ != nullptr && store_->is_armed(); }
  void notify(StoreUser& user);
  // The user's logs are closed. The last one's `done` runs when the folder is free; a user is woken until it ran.
  void leave(StoreUser& user, Done done);

  // These are called without the lock.
  void turn_ended();
  // The user is never woken again. If it is the last one, this waits until what was accepted is written and nothing is under way, or the disk
  // does not answer.
  void abandon(StoreUser& user);

 private:
  // Device and inode of the folder.
  using Key = std::pair<uint64_t, uint64_t>;
  struct Registry;

  SharedStore(const Key& key, const StoreOptions& options) : key_(key), options_(options) {}
  static Registry& registry();
  Status start(const std::string& directory, StoreUser& user);
  Status admit(const StoreOptions& options, StoreUser& user);
  void signal();
  void wait();
  void run();
  void settle();
  void wake_users(std::unique_lock<std::mutex>& lock);
  void end(std::unique_lock<std::mutex>& lock);

  const Key key_;
  const StoreOptions options_;
  int wake_file_ = -1;
  // The store's thread has not seen it yet.
  std::atomic<bool> is_signalled_ = false;
  std::mutex mutex_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SharedLogs> logs_;
  SharedClaims claims_;
  std::set<StoreUser*> users_;
  std::set<StoreUser*> to_wake_;
  // Held while users are woken. Taken under the lock, and kept beyond it.
  std::mutex waking_;
  // The last user has left: nobody can join any more.
  bool closing_ = false;
  bool closed_ = false;
  bool abandoned_ = false;
  bool ended_ = false;
  // The store's thread holds the lock, and will wake users when it lets go.
  bool in_batch_ = false;
  Status close_error_;
  Done left_;
  Thread thread_;
  std::unique_ptr<ExitHook> exit_hook_;
};

}  // namespace haulout
