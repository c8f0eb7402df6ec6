#include "spare_files.h"

#include "log_folder.h"

namespace haulout {
namespace {

SpareTotal total_of(const std::vector<SpareFile>& files) {
  SpareTotal total;
  for (const SpareFile& file : files) {
    total.files++;
    total.bytes += file.bytes;
  }
  return total;
}

std::string path_of(const std::string& directory, const SpareFile& file) { return directory + "/" + spare_name(file.base_offset); }

}  // namespace

void SpareFiles::add(const std::string& directory, const SpareFile& file) {
  const std::lock_guard lock(mutex_);
  files_by_directory_[directory].push_back(file);
}

std::optional<SpareFile> SpareFiles::take(const std::string& directory, uint64_t bytes_min) {
  const std::lock_guard lock(mutex_);
  const auto found = files_by_directory_.find(directory);
  if (found == files_by_directory_.end() || found->second.back().bytes < bytes_min) return std::nullopt;
  const SpareFile file = found->second.back();
  found->second.pop_back();
  if (found->second.empty()) files_by_directory_.erase(found);
  return file;
}

SpareTotal SpareFiles::total(const std::string& directory) const {
  const std::lock_guard lock(mutex_);
  const auto found = files_by_directory_.find(directory);
  return found == files_by_directory_.end() ? SpareTotal{} : total_of(found->second);
}

uint64_t SpareFiles::bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [directory, files] : files_by_directory_) bytes += total_of(files).bytes;
  return bytes;
}

void SpareFiles::trim(const std::string& directory, uint64_t bytes_max) {
  while (total(directory).bytes > bytes_max) {
    if (const auto file = take(directory, 0)) files_->remove(path_of(directory, *file));
  }
}

void SpareFiles::remove_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [directory, files] : files_by_directory_) {
    for (const SpareFile& file : files) files_->remove(path_of(directory, file));
  }
  files_by_directory_.clear();
}

}  // namespace haulout
