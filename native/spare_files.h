// Files of segments that were removed, kept to be written again: a write into space that was written before changes nothing but the bytes, where
// space that is only reserved costs the file system an entry in its own log for every write. They are the first to go when the device is full.
// Used by any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "files.h"

namespace haulout {

class SpareFiles {
 public:
  explicit SpareFiles(std::shared_ptr<Files> files) : files_(std::move(files)) {}

  void add(const std::string& path, uint64_t bytes);
  // The file is the caller's now. False: it is gone.
  bool take(const std::string& path);
  void remove(const std::string& path);
  // What the device gets back.
  void remove_all();
  uint64_t bytes() const;

 private:
  const std::shared_ptr<Files> files_;
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> bytes_by_path_;
};

}  // namespace haulout
