#include "shared_store.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace haulout {

struct SharedStore::Registry {
  std::mutex mutex;
  // A store has gone.
  std::condition_variable gone;
  std::map<Key, std::weak_ptr<SharedStore>> stores;
};

// Never destroyed: a process may end while a store's thread still runs.
SharedStore::Registry& SharedStore::registry() {
  static auto* const registry = new Registry;
  return *registry;
}

Result<std::shared_ptr<SharedStore>> SharedStore::join(const std::string& directory, const StoreOptions& options, StoreUser& user) {
  if (auto error = make_folder(options.files, directory)) return *error;
  struct stat status;
  if (::stat(directory.c_str(), &status) < 0) return file_error("look at", directory, errno);
  const Key key{status.st_dev, status.st_ino};
  Registry& registry = SharedStore::registry();
  std::unique_lock lock(registry.mutex);
  for (auto found = registry.stores.find(key); found != registry.stores.end(); found = registry.stores.find(key)) {
    if (const std::shared_ptr<SharedStore> store = found->second.lock()) {
      const std::unique_lock store_lock = store->lock();
      if (!store->closing_) {
        if (auto error = store->admit(options, user)) return *error;
        return store;
      }
    }
    registry.gone.wait(lock);
  }
  const std::shared_ptr<SharedStore> store(new SharedStore(key, options));
  if (auto error = store->start(directory, user)) return *error;
  registry.stores[key] = store;
  return store;
}

Status SharedStore::start(const std::string& directory, StoreUser& user) {
  wake_file_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_file_ < 0) return file_error("make an event descriptor for", directory, errno);
  const auto changed = [](SegmentLog& log) {
    for (LogListener* listener : log.listeners) listener->log_changed();
  };
  StoreOptions options = options_;
  options.many_threads = true;
  auto opened = Store::open(directory, options, {[this] { signal(); }, [] {}, changed});
  if (!opened) return opened.error();
  store_ = std::move(*opened);
  logs_ = std::make_unique<SharedLogs>(*store_);
  users_.insert(&user);
  if (const int error = thread_.start([this] { run(); }); error != 0) {
    logs_.reset();
    store_.reset();
    return no_thread("for the store in " + directory, error);
  }
  exit_hook_ = std::make_unique<ExitHook>(ExitHook::Runs::on_any_thread, [this] { settle(); });
  return std::nullopt;
}

Status SharedStore::admit(const StoreOptions& options, StoreUser& user) {
  const auto differs = [](const auto& asked, const auto& given) { return asked && asked != given; };
  const BackendChoice given = store_->backend().kind;
  const bool other_backend = options.backend != BackendChoice::automatic && options.backend != options_.backend && options.backend != given;
  if (other_backend || differs(options.tail_bytes_max, options_.tail_bytes_max) ||
      differs(options.uncovered_bytes_max, options_.uncovered_bytes_max)) {
    return Error{ErrorCode::locked, "the store is open in another thread with another backend or other limits: who joins it asks for the " +
                                        std::string("same or for none")};
  }
  users_.insert(&user);
  return std::nullopt;
}

SharedStore::~SharedStore() {
  exit_hook_.reset();
  thread_.join();
  if (wake_file_ >= 0) ::close(wake_file_);
}

void SharedStore::signal() {
  if (is_signalled_.exchange(true)) return;
  const uint64_t one = 1;
  // It fails only when the counter is full: then the thread wakes anyway.
  (void)!::write(wake_file_, &one, sizeof one);
}

void SharedStore::wait() {
  pollfd files[] = {{wake_file_, POLLIN, 0}, {store_->event_file(), POLLIN, 0}};
  // A negative descriptor is passed over.
  while (::poll(files, 2, -1) < 0 && errno == EINTR) {}
  if (files[0].revents == 0) return;
  uint64_t ignored;
  (void)!::read(wake_file_, &ignored, sizeof ignored);
  is_signalled_ = false;
}

void SharedStore::run() {
  while (!ended_) {
    wait();
    std::unique_lock lock = this->lock();
    in_batch_ = true;
    store_->poll();
    if (abandoned_ || (closed_ && !store_->is_active())) end(lock);
    in_batch_ = false;
    wake_users(lock);
  }
}

void SharedStore::end(std::unique_lock<std::mutex>& lock) {
  const bool has_ended = store_->end();
  logs_.reset();
  if (has_ended) store_.reset();
  else Store::leave_behind(std::move(store_));
  // Nobody else is there who could notice.
  lock.unlock();
  {
    // First the folder is free, then who left hears of it.
    Registry& registry = SharedStore::registry();
    const std::lock_guard registry_lock(registry.mutex);
    registry.stores.erase(key_);
    registry.gone.notify_all();
  }
  lock.lock();
  ended_ = true;
  if (left_) left_(std::move(close_error_));
  left_ = nullptr;
}

void SharedStore::notify(StoreUser& user) {
  to_wake_.insert(&user);
  if (!in_batch_) signal();
}

// Not under the lock, which is the first thing that they want.
void SharedStore::wake_users(std::unique_lock<std::mutex>& lock) {
  const std::lock_guard waking(waking_);
  const auto users = std::exchange(to_wake_, {});
  lock.unlock();
  // Also one who has left and still waits for answers. abandon() takes out who is never to be woken again.
  for (StoreUser* user : users) user->wake();
}

// The process exits. The store's thread does the work, and this one looks at it: it cannot wait for a lock whose owner waits for the disk.
void SharedStore::settle() {
  Store::Unsettled unsettled;
  size_t left = 1;
  wait_until_none(options_.patience, [&] {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return left;
    if (store_ == nullptr) return size_t{0};
    if (unsettled == nullptr) unsettled = store_->begin_settling();
    signal();
    return left = store_->left_of(unsettled);
  });
}

void SharedStore::turn_ended() {
  const std::unique_lock lock = this->lock();
  if (wants_turn_end()) signal();
}

void SharedStore::leave(StoreUser& user, Done done) {
  if (users_.size() > 1) {
    users_.erase(&user);
    claims_.end(user);
    return done(std::nullopt);
  }
  closing_ = true;
  left_ = std::move(done);
  store_->close([this](Status error) {
    closed_ = true;
    close_error_ = std::move(error);
  });
  signal();
}

void SharedStore::abandon(StoreUser& user) {
  bool was_last;
  {
    const std::unique_lock lock = this->lock();
    const bool was_user = users_.erase(&user) > 0;
    to_wake_.erase(&user);
    if (was_user) claims_.end(user);
    // It may go in the middle of a turn.
    if (wants_turn_end()) signal();
    was_last = was_user && users_.empty();
    if (was_last) {
      closing_ = abandoned_ = true;
      left_ = nullptr;
      signal();
    }
  }
  if (was_last) return thread_.join();
  // It may be being woken.
  const std::lock_guard waking(waking_);
}

}  // namespace haulout
