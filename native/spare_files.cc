#include "spare_files.h"

#include <numeric>

namespace haulout {

void SpareFiles::add(const std::string& path, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_by_path_[path] = bytes;
}

bool SpareFiles::take(const std::string& path) {
  const std::lock_guard lock(mutex_);
  return bytes_by_path_.erase(path) > 0;
}

// What cannot be removed goes when the log is opened the next time.
void SpareFiles::remove(const std::string& path) {
  if (take(path)) files_->remove(path);
}

void SpareFiles::remove_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [path, bytes] : bytes_by_path_) files_->remove(path);
  bytes_by_path_.clear();
}

uint64_t SpareFiles::bytes() const {
  const std::lock_guard lock(mutex_);
  return std::accumulate(bytes_by_path_.begin(), bytes_by_path_.end(), uint64_t{0}, [](uint64_t sum, const auto& each) { return sum + each.second; });
}

}  // namespace haulout
