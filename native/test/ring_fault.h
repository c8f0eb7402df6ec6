// A ring and files that fail, from a seed: the store above them is the real one.
//
// The ring performs operations one at a time, when reaped. It can answer with an error, transfer a part, or stop the world in the
// middle of a write: then a random subset of its sectors is in the file, and nothing that comes later has any effect, as after a
// power cut. (What was written before without a sync is kept; dropping that, too, takes files of their own and is left to a full simulation.)
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <random>

#include "../ring.h"

namespace haulout {

struct Faults {
  explicit Faults(uint64_t seed) : random(seed) {}

  bool happens(double probability) { return std::uniform_real_distribution<>(0, 1)(random) < probability; }

  std::mt19937_64 random;
  // Of each operation on the ring.
  double write_error = 0;
  double short_transfer = 0;
  double crash = 0;
  int write_errno = EIO;
  // The next so many writes on the ring fail.
  int writes_to_fail = 0;
  // Bytes that may still be allocated; then the disk is full.
  std::atomic<int64_t> bytes_free{INT64_MAX};
  // Of which the file system does not tell, as with a quota.
  std::atomic<bool> hides_bytes_free{false};
  std::atomic<int64_t> files_free{INT64_MAX};
  std::atomic<bool> allocates{true};
  // Of the file system, about space.
  std::atomic<int> calls{0};
  // So many syncs of folders find no descriptor.
  std::atomic<int> folder_syncs_to_refuse{0};
  // Nothing new can be created any more.
  std::atomic<bool> full{false};
  std::atomic<bool> sync_fails{false};
  std::atomic<bool> crashed{false};
};

class FaultFiles : public Files {
 public:
  explicit FaultFiles(std::shared_ptr<Faults> faults) : faults_(std::move(faults)) {}

  int open(const std::string& path, int flags) override {
    if (faults_->crashed && (flags & O_CREAT)) return -EIO;
    if (faults_->full && (flags & O_CREAT)) return -ENOSPC;
    return Files::open(path, flags);
  }
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    return faults_->crashed ? -EIO : Files::write_some(file, data, bytes, position);
  }
  int sync(int file) override { return faults_->crashed || faults_->sync_fails ? -EIO : Files::sync(file); }
  int sync_directory(const std::string& path) override {
    if (faults_->folder_syncs_to_refuse > 0) return faults_->folder_syncs_to_refuse--, -EMFILE;
    return Files::sync_directory(path);
  }
  int truncate(int file, uint64_t bytes) override {
    if (faults_->crashed) return -EIO;
    const int64_t less = std::max<int64_t>(0, size(file) - static_cast<int64_t>(bytes));
    const int result = Files::truncate(file, bytes);
    if (result == 0) faults_->bytes_free += std::min(less, INT64_MAX - faults_->bytes_free);
    return result;
  }
  int allocate(int file, uint64_t position, uint64_t bytes) override {
    faults_->calls++;
    if (faults_->crashed) return -EIO;
    if (!faults_->allocates) return -EOPNOTSUPP;
    const int64_t more = std::max<int64_t>(0, static_cast<int64_t>(position + bytes) - size(file));
    if (faults_->bytes_free < more) return -ENOSPC;
    faults_->bytes_free -= more;
    return Files::allocate(file, position, bytes);
  }
  int64_t files_free(const std::string&) override {
    faults_->calls++;
    return faults_->files_free;
  }
  int64_t bytes_free(const std::string&) override {
    faults_->calls++;
    return faults_->full ? 0 : faults_->hides_bytes_free ? INT64_MAX : faults_->bytes_free.load();
  }
  int make_directory(const std::string& path) override {
    if (faults_->crashed) return -EIO;
    const bool is_new = ::access(path.c_str(), F_OK) < 0;
    if (is_new && faults_->bytes_free < kFolderBytes) return -ENOSPC;
    if (is_new) faults_->bytes_free -= kFolderBytes;
    return Files::make_directory(path);
  }
  int exchange(const std::string& one, const std::string& other) override {
    return faults_->crashed ? -EIO : Files::exchange(one, other);
  }
  int rename(const std::string& from, const std::string& to) override {
    return faults_->crashed ? -EIO : Files::rename(from, to);
  }
  int remove(const std::string& path) override { return faults_->crashed ? -EIO : Files::remove(path); }
  int remove_directory(const std::string& path) override { return faults_->crashed ? -EIO : Files::remove_directory(path); }

 private:
  static constexpr int64_t kFolderBytes = 4096;

  const std::shared_ptr<Faults> faults_;
};

class FaultRing final : public Ring {
 public:
  FaultRing(Wake wake, std::shared_ptr<Faults> faults) : wake_(std::move(wake)), faults_(std::move(faults)) {}

  void start(std::unique_ptr<Operation> operation) override { queued_.push_back(std::move(operation)); }

  void submit() override {
    for (auto& operation : queued_) submitted_.push_back(std::move(operation));
    queued_.clear();
    if (!submitted_.empty()) wake_();
  }

  // One at a time, so that appends arrive while others are under way.
  void reap() override {
    if (submitted_.empty()) return;
    const std::unique_ptr<Operation> operation = std::move(submitted_.front());
    submitted_.pop_front();
    int64_t result = 0;
    while (advance(*operation, answer_to(*operation), result) == Next::again) {}
    operation->done(result);
    if (!submitted_.empty()) wake_();
  }

  void drain() override {
    do {
      submit();
      reap();
    } while (pending() > 0);
  }

  size_t pending() const override { return queued_.size() + submitted_.size(); }

 private:
  int64_t answer_to(const Operation& operation) {
    const auto position = static_cast<off_t>(operation.position);
    if (operation.kind == Operation::Kind::read) {
      if (faults_->happens(faults_->short_transfer)) return faults_->happens(0.5) ? -EAGAIN : -EINTR;
      const ssize_t got = ::preadv(operation.file, operation.parts.data(), static_cast<int>(operation.parts.size()), position);
      return got < 0 ? -errno : got;
    }
    if (faults_->crashed) return -EIO;
    if (operation.kind == Operation::Kind::sync) return faults_->sync_fails ? -EIO : ::fdatasync(operation.file);
    if (faults_->happens(faults_->crash)) {
      tear(operation);
      faults_->crashed = true;
      return -EIO;
    }
    if (faults_->writes_to_fail > 0 && operation.kind == Operation::Kind::write) {
      faults_->writes_to_fail--;
      return -faults_->write_errno;
    }
    if (faults_->happens(faults_->write_error)) return -faults_->write_errno;
    if (faults_->happens(faults_->short_transfer)) {
      if (faults_->happens(0.3)) return -EINTR;
      iovec part = operation.parts.front();
      part.iov_len = std::max<size_t>(4096, part.iov_len / 2 / 4096 * 4096);
      const ssize_t put = ::pwritev(operation.file, &part, 1, position);
      return put < 0 ? -errno : put;
    }
    const ssize_t put = ::pwritev(operation.file, operation.parts.data(), static_cast<int>(operation.parts.size()), position);
    return put < 0 ? -errno : put;
  }

  // Any subset of the sectors of a write may be on disk.
  void tear(const Operation& operation) {
    constexpr size_t kSectorBytes = 512;
    std::vector<uint8_t> all;
    for (const iovec& part : operation.parts) {
      const auto* data = static_cast<const uint8_t*>(part.iov_base);
      all.insert(all.end(), data, data + part.iov_len);
    }
    std::vector<uint8_t> before(all.size());
    const int plain = ::open(("/proc/self/fd/" + std::to_string(operation.file)).c_str(), O_RDWR | O_CLOEXEC);
    if (::pread(plain, before.data(), before.size(), static_cast<off_t>(operation.position)) < 0) std::abort();
    const double kept = std::uniform_real_distribution<>(0, 1)(faults_->random);
    for (size_t at = 0; at < all.size(); at += kSectorBytes) {
      if (faults_->happens(kept)) std::memcpy(before.data() + at, all.data() + at, kSectorBytes);
    }
    if (::pwrite(plain, before.data(), before.size(), static_cast<off_t>(operation.position)) < 0) std::abort();
    ::close(plain);
  }

  const Wake wake_;
  const std::shared_ptr<Faults> faults_;
  std::vector<std::unique_ptr<Operation>> queued_;
  std::deque<std::unique_ptr<Operation>> submitted_;
};

// Another ring, of which a test changes a part.
class RingAround : public Ring {
 public:
  explicit RingAround(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}

  void start(std::unique_ptr<Operation> operation) override { ring_->start(std::move(operation)); }
  void submit() override { ring_->submit(); }
  void reap() override { ring_->reap(); }
  void drain() override { ring_->drain(); }
  size_t pending() const override { return ring_->pending(); }
  int event_file() const override { return ring_->event_file(); }

 private:
  const std::unique_ptr<Ring> ring_;
};

// Another ring, whose answers to writes and syncs become errors while there are faults: what a device says when it has already done, or
// has not done, what was asked.
class FailingRing final : public RingAround {
 public:
  FailingRing(std::unique_ptr<Ring> ring, std::shared_ptr<Faults> faults) : RingAround(std::move(ring)), faults_(std::move(faults)) {}

  void start(std::unique_ptr<Operation> operation) override {
    const bool fails = operation->kind == Operation::Kind::sync ? faults_->sync_fails.load() : faults_->happens(faults_->write_error);
    if (operation->kind != Operation::Kind::read && fails) {
      operation->done = [done = std::move(operation->done), error = faults_->write_errno](int64_t) { done(-error); };
    }
    RingAround::start(std::move(operation));
  }

 private:
  const std::shared_ptr<Faults> faults_;
};

}  // namespace haulout
