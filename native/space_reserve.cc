#include "space_reserve.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace haulout {
namespace {

constexpr char kReserveName[] = "haulout.reserve~";
// For a folder and a file, beside the entries. They take some KiB, but XFS makes none where not 56 blocks are free for a moment.
constexpr uint64_t kFileBytes = uint64_t{256} << 10;
constexpr int64_t kInodesPerFile = 2;
constexpr size_t kRefusals = 100;

}  // namespace

bool SpaceClaim::begin(uint64_t bytes) {
  if (!reserve_->claim(bytes + kFileBytes, false)) return false;
  bytes_ += bytes + kFileBytes;
  return true;
}

bool SpaceClaim::extend(uint64_t bytes) {
  if (!reserve_->claim(bytes, true)) return false;
  bytes_ += bytes;
  return true;
}

void SpaceClaim::keep(uint64_t bytes) {
  if (bytes_ > bytes) reserve_->release(std::exchange(bytes_, bytes) - bytes);
}

bool SpaceReserve::claim(uint64_t bytes, bool is_owed) {
  if (take(bytes, is_owed)) return true;
  const std::shared_lock shared(taking);
  return grow(bytes, is_owed) && take(bytes, is_owed);
}

// Of what is there.
bool SpaceReserve::take(uint64_t bytes, bool is_owed) {
  const std::lock_guard lock(mutex_);
  if (claimed_ + bytes > bytes_ || (!is_owed && files_left_ == 0)) return false;
  if (!is_owed) files_left_--;
  claimed_ += bytes;
  return true;
}

// What the file system says about itself is only about what is worth it, and what is not known to be scarce: whether there is space shows
// when it is taken. It knows nothing of the quota of a user.
bool SpaceReserve::grow(uint64_t more_bytes, bool is_owed) {
  const std::lock_guard lock(mutex_);
  if (is_unsupported_) return false;
  if (!is_owed && refusals_left_ > 0) {
    refusals_left_--;
    return false;
  }
  const uint64_t needed = claimed_ + more_bytes;
  const int64_t bytes_free = files_->bytes_free(directory_);
  files_left_ = std::max<int64_t>(0, files_->files_free(directory_)) / (static_cast<int64_t>(kFreePart) * kInodesPerFile);
  const uint64_t generous = std::max(needed, std::clamp(2 * bytes_, options_.bytes_min, options_.bytes_max));
  const bool is_worth_it = generous <= options_.bytes_max && bytes_free >= 0 && generous <= (static_cast<uint64_t>(bytes_free) + bytes_) / kFreePart;
  if (!is_owed && (!is_worth_it || files_left_ == 0)) return false;
  if (needed <= bytes_ || (is_worth_it && grow_to(generous))) return true;
  return is_owed && grow_to(needed);
}

bool SpaceReserve::grow_to(uint64_t bytes) {
  if (file_.get() < 0) {
    const std::string path = directory_ + "/" + kReserveName;
    file_ = OpenFile(files_, files_->open(path, O_RDWR | O_CREAT | O_TRUNC));
    if (file_.get() >= 0) files_->remove(path);
  }
  const int result = file_.get() < 0 ? file_.get() : files_->allocate(file_.get(), bytes_, bytes - bytes_);
  if (result == 0) {
    bytes_ = bytes;
    return true;
  }
  // Of the space a part may be there.
  if (file_.get() >= 0) files_->truncate(file_.get(), bytes_);
  is_unsupported_ = result == -EOPNOTSUPP;
  refusals_left_ = kRefusals;
  return false;
}

// What is cut off is free for everybody.
void SpaceReserve::give_back(uint64_t claimed) {
  const std::lock_guard lock(mutex_);
  claimed_ -= claimed;
  if (bytes_ > claimed_) cut(claimed_);
}

void SpaceReserve::release(uint64_t claimed) {
  const std::lock_guard lock(mutex_);
  claimed_ -= claimed;
}

bool SpaceReserve::begin_shrinking() {
  const std::lock_guard lock(mutex_);
  if (claimed_ > 0 || bytes_ <= options_.bytes_min || shrinking_) return false;
  shrinking_ = true;
  return true;
}

void SpaceReserve::shrink() {
  const std::lock_guard lock(mutex_);
  shrinking_ = false;
  if (claimed_ == 0 && bytes_ > options_.bytes_min) cut(options_.bytes_min);
}

void SpaceReserve::cut(uint64_t bytes) {
  if (files_->truncate(file_.get(), bytes) == 0) bytes_ = bytes;
}

}  // namespace haulout
