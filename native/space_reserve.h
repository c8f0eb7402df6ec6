// Space on the device in which nothing lies. It stands for space in files that is made later than the append that needs it.
//
// An append is refused when there is no space for it, before anything has happened. But the system calls of a new folder and a new file take ten
// times as long as the append, and more space for a file waits for the writes to it, so a worker makes those: what they and the entries need is claimed here, before the entry has an offset, and without a
// system call while the reserve suffices. Should the device be full when the worker comes, what was claimed is cut off the reserve, so the
// file system has it, and so are the files of removed segments that are kept to be written again, and the worker asks again.
//
// The reserve is a file without a name: it ends with the process, however that ends. Claims are made by the store's thread, and spent by any.
#pragma once

#include <mutex>
#include <shared_mutex>

#include "spare_files.h"

namespace haulout {

class SpaceReserve;

struct ReserveOptions {
  // The first step, and what stays when nothing is claimed.
  uint64_t bytes_min = uint64_t{4} << 20;
  uint64_t bytes_max = uint64_t{1} << 30;
};

class SpaceClaim {
 public:
  explicit SpaceClaim(SpaceReserve& reserve) : reserve_(&reserve) {}
  SpaceClaim(SpaceClaim&& other) noexcept : reserve_(other.reserve_), bytes_(std::exchange(other.bytes_, 0)) {}
  ~SpaceClaim() { release(); }

  // For a file that a worker will make, and the folder. False: it is to be made at once, which shows whether there is space.
  bool begin(uint64_t bytes);
  // For more entries in it. False: the device is full.
  bool extend(uint64_t bytes);
  void join(SpaceClaim&& other) { bytes_ += std::exchange(other.bytes_, 0); }
  // No more than so many bytes.
  void keep(uint64_t bytes);
  void release() { keep(0); }

  // Does what takes space on the device. If that is full, once more with what was claimed here, and what nobody has claimed; nobody else in
  // this store takes it meanwhile.
  template <typename Attempt>
  Status spend(const Attempt& attempt);

 private:
  SpaceReserve* const reserve_;
  uint64_t bytes_ = 0;
};

class SpaceReserve {
 public:
  SpaceReserve(std::shared_ptr<Files> files, std::string directory, const ReserveOptions& options)
      : spares(files), files_(std::move(files)), directory_(std::move(directory)), options_(options) {}

  // Nothing is claimed any more, and much was: true once, for who has a worker call shrink().
  bool begin_shrinking();
  void shrink();

  // Held by who makes a file: file systems do it one after the other, and those who wait spin.
  std::mutex making;
  // Shared by those who take space on the device; who gives some back to take it again is alone.
  std::shared_mutex taking;
  SpareFiles spares;

 private:
  friend class SpaceClaim;

  bool claim(uint64_t bytes, bool is_owed);
  bool take(uint64_t bytes, bool is_owed);
  bool grow(uint64_t more_bytes, bool is_owed);
  bool grow_to(uint64_t bytes);
  void give_back(uint64_t claimed);
  void release(uint64_t claimed);
  void cut(uint64_t bytes);

  const std::shared_ptr<Files> files_;
  const std::string directory_;
  const ReserveOptions options_;
  std::mutex mutex_;
  OpenFile file_;
  uint64_t bytes_ = 0;
  uint64_t claimed_ = 0;
  bool shrinking_ = false;
  // So many files may be made before the file system is asked again whether it has inodes.
  int64_t files_left_ = 0;
  // So many claims are refused before the file system is asked again, which has refused.
  size_t refusals_left_ = 0;
  bool is_unsupported_ = false;
};

template <typename Attempt>
Status SpaceClaim::spend(const Attempt& attempt) {
  const auto is_full = [](const Status& error) { return error && error->code == ErrorCode::full; };
  {
    const std::shared_lock shared(reserve_->taking);
    if (Status error = attempt(); !is_full(error)) return error;
  }
  const std::unique_lock alone(reserve_->taking);
  reserve_->give_back(std::exchange(bytes_, 0));
  reserve_->spares.remove_all();
  return attempt();
}

}  // namespace haulout
