// What the engine's tests share: a check that says where it failed, a folder of their own, entries, a store with its owner's loop.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "../store.h"
#include "ring_fault.h"

namespace haulout {

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      std::abort();                                                                 \
    }                                                                               \
  } while (false)

// Kafka's record batch, as any other layout would do.
constexpr EntryLayout kLayout{61, 0, 8, 12, 16, 2, 17, 21, 23, 35};

inline std::vector<uint8_t> make_entry(size_t bytes, uint8_t fill, int32_t offsets = 1, int64_t timestamp = 1000) {
  std::vector<uint8_t> entry(bytes, fill);
  store_i64(entry.data(), 0);
  store_u32(entry.data() + 8, static_cast<uint32_t>(bytes - 12));
  entry[16] = 2;
  store_u32(entry.data() + 23, static_cast<uint32_t>(offsets - 1));
  store_i64(entry.data() + 35, timestamp);
  store_u32(entry.data() + 17, crc32c(0, entry.data() + 21, bytes - 21));
  return entry;
}

// The first segment of the log `a`, in a store's folder.
constexpr char kFirst[] = "a/00000000000000000000.log";

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/var/tmp/haulout-test-XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

constexpr BackendChoice kBackends[] = {BackendChoice::uring, BackendChoice::uring_buffered, BackendChoice::threads, BackendChoice::mmap};

// What stores are opened with that name no backend: the tests run with each.
inline BackendChoice tested_backend = BackendChoice::automatic;

// The loop of a store's owner, until `condition` holds; false if nothing is under way before. `wait` returns when something may have ended.
template <typename Condition, typename Wait>
bool run_owner(Store& store, bool& armed, Condition condition, Wait wait) {
  while (!condition()) {
    if (armed) {
      armed = false;
      store.end_turn();
    }
    if (condition()) return true;
    if (!store.is_active() && !armed) return false;
    wait();
    store.poll();
  }
  return true;
}

inline StoreOptions with_faults(const std::shared_ptr<Faults>& faults) {
  StoreOptions options;
  options.files = std::make_shared<FaultFiles>(faults);
  return options;
}

// A store and the loop of the thread that owns it.
class Owner {
 public:
  explicit Owner(const std::string& folder, StoreOptions options = {}) {
    if (options.backend == BackendChoice::automatic) options.backend = tested_backend;
    auto opened = Store::open(folder, options,
                              {[this] {
                                 const std::lock_guard lock(mutex_);
                                 woken_ = true;
                                 changed_.notify_one();
                               },
                               [this] { armed_ = true; }, [](SegmentLog&) {}});
    if (!opened) error = opened.error();
    else store = std::move(*opened);
  }

  template <typename Condition>
  bool run_until(Condition condition) {
    return run_owner(*store, armed_, condition, [this] { wait(); });
  }

  Result<LogReference> open_log(const std::string& name, bool durable = true, uint64_t segment_bytes_max = 1 << 30,
                                SegmentCodec compression = SegmentCodec::none) {
    std::optional<Result<LogReference>> opened;
    LogSettings settings{kLayout, segment_bytes_max, durable};
    settings.compression = compression;
    store->open_log(name, settings, [&](Result<LogReference> result) { opened.emplace(std::move(result)); });
    CHECK(run_until([&] { return opened.has_value(); }));
    return std::move(*opened);
  }

  Status finish(const std::function<void(Done)>& request) {
    std::optional<Status> answer;
    request([&](Status status) { answer = std::move(status); });
    CHECK(run_until([&] { return answer.has_value(); }));
    return *answer;
  }

  Status close() {
    return finish([&](Done done) { store->close(done); });
  }

  Result<ReadOutcome> read(const LogReference& log, int64_t offset, uint64_t bytes_max = 1 << 20) {
    std::optional<Result<ReadOutcome>> outcome;
    log->read({offset, bytes_max, true, INT64_MAX}, [&](Result<ReadOutcome> result) { outcome.emplace(std::move(result)); });
    CHECK(run_until([&] { return outcome.has_value(); }));
    return std::move(*outcome);
  }

  Status error;

 private:
  void wait() {
    if (store->event_file() >= 0) {
      // A worker wakes by the condition, the ring by its descriptor: look at both in turn.
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::microseconds(200), [this] { return woken_; });
      woken_ = false;
      return;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return woken_; });
    woken_ = false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool armed_ = false;

 public:
  // Goes first: its workers wake this object until they have ended.
  std::unique_ptr<Store> store;
};

// All entries of a log as one run of bytes.
inline std::vector<uint8_t> content_of(Owner& owner, const LogReference& log) {
  std::vector<uint8_t> all;
  for (int64_t offset = log->start_offset(); offset < log->committed_end_offset();) {
    const auto outcome = owner.read(log, offset);
    if (!outcome) std::fprintf(stderr, "%s\n", outcome.error().message.c_str());
    CHECK(outcome);
    CHECK(outcome->next_offset > offset);
    for (const Slice& part : outcome->parts) all.insert(all.end(), part.data, part.data + part.bytes);
    offset = outcome->next_offset;
  }
  return all;
}

}  // namespace haulout
