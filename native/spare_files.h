// Files of segments that were removed, kept to be written again: a write into space that was written before changes nothing but the bytes, where
// space that is only reserved costs the file system an entry in its own log for every write. They are the first to go when the device is full.
// Used by any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "files.h"

namespace haulout {

// So large a part of what is free the store keeps for itself, at most: nothing that anybody misses.
constexpr uint64_t kFreePart = 4;

// The file of a removed segment.
struct SpareFile {
  int64_t base_offset;
  uint64_t bytes;
};

struct SpareTotal {
  size_t files = 0;
  uint64_t bytes = 0;
};

// `directory`: the log's.
class SpareFiles {
 public:
  explicit SpareFiles(std::shared_ptr<Files> files) : files_(std::move(files)) {}

  void add(const std::string& directory, const SpareFile& file);
  // The log's last one, which is the caller's now, if it has so many bytes.
  std::optional<SpareFile> take(const std::string& directory, uint64_t bytes_min);
  SpareTotal total(const std::string& directory) const;
  uint64_t bytes() const;
  // Blocking; what cannot be removed goes when the log is opened the next time.
  void trim(const std::string& directory, uint64_t bytes_max);
  void remove_all();

 private:
  const std::shared_ptr<Files> files_;
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<SpareFile>> files_by_directory_;
};

}  // namespace haulout
