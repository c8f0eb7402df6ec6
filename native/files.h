// Blocking file operations, as values: what a call returns is a count, a descriptor or 0, or a negative errno. Called by workers
// and, where it is quick, by the owner's thread. A test puts its own implementation underneath to inject faults.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "result.h"
#include "segment_codec.h"

namespace haulout {

// How a segment is stored, and in how many bytes; plain ones have as many as they hold.
struct StoredForm {
  SegmentCodec codec = SegmentCodec::none;
  uint64_t bytes = 0;
};

class Files {
 public:
  virtual ~Files() = default;

  virtual int open(const std::string& path, int flags);
  virtual int close(int file);
  // Whole transfers: EINTR and short counts are handled; a read may end at the end of the file, and an EIO of one is asked for once more.
  int64_t read(int file, uint8_t* data, size_t bytes, uint64_t position);
  // Of a range that the device did not give as a whole: it is asked again, for smaller and smaller parts down to a block of 4 KiB. Returns
  // how many bytes came before the first block that cannot be read; why not is the negative errno in `error`, or 0 at the end of the file.
  int64_t read_before_error(int file, uint8_t* data, size_t bytes, uint64_t position, int& error);
  int64_t write(int file, const uint8_t* data, size_t bytes, uint64_t position);
  // What the kernel does at once, perhaps only a part.
  virtual int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position);
  virtual int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position);
  virtual int sync(int file);
  // What the page cache holds of the file and need not write goes: reads then show what is on the device.
  virtual int drop_cache(int file);
  virtual int truncate(int file, uint64_t bytes);
  // Makes space for the range and extends the file over it; the new bytes read as zeros.
  virtual int allocate(int file, uint64_t position, uint64_t bytes);
  virtual int64_t size(int file);
  virtual int make_directory(const std::string& path);
  virtual int rename(const std::string& from, const std::string& to);
  // Two files change names in one step; an error where the file system cannot, or one of them is missing.
  virtual int exchange(const std::string& one, const std::string& other);
  virtual int remove(const std::string& path);
  virtual int remove_directory(const std::string& path);
  virtual int list(const std::string& path, std::vector<std::string>& names);
  virtual int sync_directory(const std::string& path);
  // False if `path` names another file than this open one, or none.
  virtual bool is_at(int file, const std::string& path);
  // An exclusive flock(2), without waiting; -EWOULDBLOCK when somebody else holds it. It ends with the descriptor.
  virtual int lock(int file);
  // Makes an empty file; -EEXIST where somebody else has.
  virtual int create_exclusively(const std::string& path);
  // Of the file system that the path lies in.
  virtual int64_t bytes_free(const std::string& path);
  // How many more files and folders it takes. Much where it has no such limit.
  virtual int64_t files_free(const std::string& path);

  // How an open file is stored, when its bytes are not the file's (compressed_files.h): the ring must not read it then.
  virtual SegmentCodec codec_of(int) { return SegmentCodec::none; }
  virtual int64_t stored_bytes(int file) { return size(file); }
  // Of a segment that is there plain and compressed, the plain file.
  virtual int remove_only(const std::string& path) { return remove(path); }
  // Why a read of [from, to) ended with -EBADMSG, in words, with file and position.
  virtual std::optional<Error> damage(int, uint64_t, uint64_t) { return std::nullopt; }
};

// An open descriptor that closes itself.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(std::shared_ptr<Files> files, int descriptor) : files_(std::move(files)), descriptor_(descriptor) {}
  OpenFile(OpenFile&& other) noexcept : files_(std::move(other.files_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile();

  int get() const { return descriptor_; }

 private:
  std::shared_ptr<Files> files_;
  int descriptor_ = -1;
};

// Replaces `<path>` in one step, durably: `<path>~`, fsync, rename, fsync of the folder. See docs/storage.md.
Status replace_file(const std::shared_ptr<Files>& files, const std::string& directory, const std::string& name,
                    const std::vector<uint8_t>& content);

// `from` and `to` are multiples of 4 KiB.
Status write_zeros(Files& files, int file, const std::string& path, uint64_t from, uint64_t to);

// The content of a small file; no value in the result when there is no such file.
Result<std::optional<std::vector<uint8_t>>> read_file(const std::shared_ptr<Files>& files, const std::string& path);

}  // namespace haulout
