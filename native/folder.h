// The store's own files: who uses the folder, which format it has, what the file system under it can do (docs/storage.md, "The folder").
#pragma once

#include "files.h"

namespace haulout {

// Holds the folder until it is destroyed.
class FolderLock {
 public:
  static Result<std::unique_ptr<FolderLock>> take(const std::shared_ptr<Files>& files, const std::string& directory);
  ~FolderLock();

  // Whoever held it before has let go of it, and did not end with it.
  bool was_released() const { return was_released_; }
  // False once the folder was removed, replaced or unmounted: whoever looks there does not find what is locked.
  bool is_in_place() const { return files_->is_at(file_.get(), path_); }

 private:
  FolderLock(std::shared_ptr<Files> files, std::string path, OpenFile file, bool was_released)
      : files_(std::move(files)), path_(std::move(path)), file_(std::move(file)), was_released_(was_released) {}
  const std::shared_ptr<Files> files_;
  const std::string path_;
  const OpenFile file_;
  const bool was_released_;
};

// Makes the folder and those above it.
Status make_folder(const std::shared_ptr<Files>& files, const std::string& directory);

// Refuses a folder that is not a store's, or that a newer Haulout has written; marks a new one.
Status check_format(const std::shared_ptr<Files>& files, const std::string& directory);

// Before the first segment is compressed: an older Haulout would take what it does not see for lost, and is kept out by the format.
// One at a time: it replaces a file.
Status allow_compressed(const std::shared_ptr<Files>& files, const std::string& directory);

// Can files in the folder be written past the page cache?
bool allows_direct(Files& files, const std::string& directory);

// Why a log cannot have this name; nothing if it can.
std::optional<std::string> flaw_of_name(const std::string& name);

// Deletes what remove() left behind.
Status delete_leftovers(Files& files, const std::string& directory);

}  // namespace haulout
