// The files of a store with its compressed segments under the names of the plain ones. Whoever opens `<base offset>.log` gets the plain file
// where there is one, and else the compressed one, which reads as the plain one would: same size, same bytes at the same positions.
// Everything that is no compressed segment is passed on as it is.
//
// list() names a compressed segment as the plain one, unless that is there, too; then both are named as they are. remove() of a
// segment removes every form of it. A compressed file cannot be written; to cut it where it ends changes nothing.
#pragma once

#include <atomic>
#include <unordered_map>

#include "compressed_file.h"

namespace haulout {

// The file of a segment, as it is stored with the codec.
std::string stored_path(const std::string& plain_path, SegmentCodec codec);

// A compressed segment's, and not that of one that is being written.
bool is_compressed_name(const std::string& name);

class CompressedFiles final : public Files {
 public:
  explicit CompressedFiles(std::shared_ptr<Files> files) : files_(std::move(files)) {}

  int open(const std::string& path, int flags) override;
  int close(int file) override;
  int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position) override;
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override;
  int sync(int file) override { return files_->sync(file); }
  int drop_cache(int file) override { return files_->drop_cache(file); }
  int truncate(int file, uint64_t bytes) override;
  int allocate(int file, uint64_t position, uint64_t bytes) override;
  int64_t size(int file) override;
  int make_directory(const std::string& path) override { return files_->make_directory(path); }
  int rename(const std::string& from, const std::string& to) override { return files_->rename(from, to); }
  int exchange(const std::string& one, const std::string& other) override { return files_->exchange(one, other); }
  int remove(const std::string& path) override;
  int remove_directory(const std::string& path) override { return files_->remove_directory(path); }
  int list(const std::string& path, std::vector<std::string>& names) override;
  int sync_directory(const std::string& path) override { return files_->sync_directory(path); }
  int lock(int file) override { return files_->lock(file); }
  int64_t bytes_free(const std::string& path) override { return files_->bytes_free(path); }
  int64_t files_free(const std::string& path) override { return files_->files_free(path); }

  SegmentCodec codec_of(int file) override;
  int64_t stored_bytes(int file) override { return files_->size(file); }
  int remove_only(const std::string& path) override { return files_->remove(path); }
  std::optional<Error> damage(int file, uint64_t from, uint64_t to) override;

 private:
  std::shared_ptr<CompressedFile> compressed(int file);

  const std::shared_ptr<Files> files_;
  std::atomic<size_t> open_count_ = 0;
  std::mutex mutex_;
  std::unordered_map<int, std::shared_ptr<CompressedFile>> open_;
};

}  // namespace haulout
