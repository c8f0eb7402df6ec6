#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "byte_order.h"
#include "memory.h"

namespace haulout {
namespace {

// Never written to, so the kernel's page of zeros stands behind all of it.
constexpr size_t kZerosBytes = 1 << 20;
alignas(4096) uint8_t zeros[kZerosBytes];

int checked(int result) { return result < 0 ? -errno : result; }

}  // namespace

int Files::open(const std::string& path, int flags) {
  int file;
  do file = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  while (file < 0 && errno == EINTR);
  return checked(file);
}

// Linux frees the descriptor even when close() is interrupted, so it is never called twice.
int Files::close(int file) { return checked(::close(file)); }

int64_t Files::read(int file, uint8_t* data, size_t bytes, uint64_t position) {
  size_t done = 0;
  bool was_refused = false;
  while (done < bytes) {
    const int64_t got = read_some(file, data + done, bytes - done, position + done);
    if (got == -EINTR || (got == -EIO && !std::exchange(was_refused, true))) continue;
    if (got < 0) return got;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<int64_t>(done);
}

int64_t Files::read_before_error(int file, uint8_t* data, size_t bytes, uint64_t position, int& error) {
  size_t done = 0;
  size_t step = bytes;
  error = 0;
  while (done < bytes) {
    const int64_t got = read_some(file, data + done, std::min(step, bytes - done), position + done);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got == -EBADMSG || (got < 0 && step <= kBlockBytes)) {
      error = static_cast<int>(got);
      break;
    }
    if (got < 0) {
      step = std::max(align_up(std::min(step, bytes - done) / 2, kBlockBytes), kBlockBytes);
      continue;
    }
    done += static_cast<size_t>(got);
    // A direct read that stops inside a block has met the end of the file.
    if (got == 0 || got % kBlockBytes != 0) break;
  }
  return static_cast<int64_t>(done);
}

int64_t Files::write(int file, const uint8_t* data, size_t bytes, uint64_t position) {
  size_t done = 0;
  while (done < bytes) {
    const int64_t put = write_some(file, data + done, bytes - done, position + done);
    if (put == -EINTR) continue;
    if (put < 0) return put;
    if (put == 0) return -EIO;
    done += static_cast<size_t>(put);
  }
  return static_cast<int64_t>(done);
}

int64_t Files::read_some(int file, uint8_t* data, size_t bytes, uint64_t position) {
  const ssize_t got = ::pread(file, data, bytes, static_cast<off_t>(position));
  return got < 0 ? -errno : got;
}

int64_t Files::write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) {
  const ssize_t put = ::pwrite(file, data, bytes, static_cast<off_t>(position));
  return put < 0 ? -errno : put;
}

// Not repeated on EINTR: an fsync that did not say yes is a failed one.
int Files::sync(int file) { return checked(::fsync(file)); }

int Files::drop_cache(int file) { return -::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED); }

int Files::truncate(int file, uint64_t bytes) {
  int result;
  do result = ::ftruncate(file, static_cast<off_t>(bytes));
  while (result < 0 && errno == EINTR);
  return checked(result);
}

int Files::allocate(int file, uint64_t position, uint64_t bytes) {
  int result;
  do result = ::fallocate(file, 0, static_cast<off_t>(position), static_cast<off_t>(bytes));
  while (result < 0 && errno == EINTR);
  return checked(result);
}

int64_t Files::size(int file) {
  struct stat status;
  return ::fstat(file, &status) < 0 ? -errno : status.st_size;
}

int Files::make_directory(const std::string& path) { return checked(::mkdir(path.c_str(), 0755)); }
int Files::rename(const std::string& from, const std::string& to) { return checked(::rename(from.c_str(), to.c_str())); }

int Files::exchange(const std::string& one, const std::string& other) {
  return checked(::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE));
}
int Files::remove(const std::string& path) { return checked(::unlink(path.c_str())); }
int Files::remove_directory(const std::string& path) { return checked(::rmdir(path.c_str())); }

int Files::list(const std::string& path, std::vector<std::string>& names) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return -errno;
  errno = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  const int error = errno;
  ::closedir(directory);
  return -error;
}

int Files::sync_directory(const std::string& path) {
  const int directory = open(path, O_RDONLY | O_DIRECTORY);
  if (directory < 0) return directory;
  const int result = sync(directory);
  close(directory);
  return result;
}

bool Files::is_at(int file, const std::string& path) {
  struct stat opened;
  struct stat named;
  if (::fstat(file, &opened) < 0) return true;
  if (::stat(path.c_str(), &named) < 0) return errno != ENOENT && errno != ENOTDIR && errno != ESTALE;
  return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

int Files::create_exclusively(const std::string& path) {
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL);
  return file < 0 ? file : close(file);
}

int Files::lock(int file) {
  int result;
  do result = ::flock(file, LOCK_EX | LOCK_NB);
  while (result < 0 && errno == EINTR);
  return checked(result);
}

int64_t Files::bytes_free(const std::string& path) {
  struct statvfs status;
  if (::statvfs(path.c_str(), &status) < 0) return -errno;
  return static_cast<int64_t>(static_cast<uint64_t>(status.f_bavail) * status.f_frsize);
}

int64_t Files::files_free(const std::string& path) {
  struct statvfs status;
  if (::statvfs(path.c_str(), &status) < 0) return -errno;
  return status.f_files == 0 ? INT64_MAX : static_cast<int64_t>(status.f_favail);
}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  std::swap(files_, other.files_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) files_->close(descriptor_);
}

Status replace_file(const std::shared_ptr<Files>& files, const std::string& directory, const std::string& name,
                    const std::vector<uint8_t>& content) {
  const std::string path = directory + "/" + name;
  const std::string unfinished = path + "~";
  {
    const OpenFile file(files, files->open(unfinished, O_WRONLY | O_CREAT | O_TRUNC));
    if (file.get() < 0) return file_error("create", unfinished, -file.get());
    const int64_t written = files->write(file.get(), content.data(), content.size(), 0);
    if (written < 0) return file_error("write", unfinished, static_cast<int>(-written));
    if (const int result = files->sync(file.get()); result < 0) return file_error("sync", unfinished, -result);
  }
  if (const int result = files->rename(unfinished, path); result < 0) return file_error("replace", path, -result);
  if (const int result = files->sync_directory(directory); result < 0) return file_error("sync", directory, -result);
  return std::nullopt;
}

Status write_zeros(Files& files, int file, const std::string& path, uint64_t from, uint64_t to) {
  for (uint64_t position = from; position < to; position += kZerosBytes) {
    const size_t now = std::min<uint64_t>(kZerosBytes, to - position);
    const int64_t result = files.write(file, zeros, now, position);
    if (result < 0) return file_error("write", path, static_cast<int>(-result));
  }
  return std::nullopt;
}

Result<std::optional<std::vector<uint8_t>>> read_file(const std::shared_ptr<Files>& files, const std::string& path) {
  const OpenFile file(files, files->open(path, O_RDONLY));
  if (file.get() == -ENOENT) return std::optional<std::vector<uint8_t>>();
  if (file.get() < 0) return file_error("open", path, -file.get());
  const int64_t bytes = files->size(file.get());
  if (bytes < 0) return file_error("look at", path, static_cast<int>(-bytes));
  std::vector<uint8_t> content(static_cast<size_t>(bytes));
  const int64_t got = files->read(file.get(), content.data(), content.size(), 0);
  if (got < 0) return file_error("read", path, static_cast<int>(-got));
  content.resize(static_cast<size_t>(got));
  return std::optional(std::move(content));
}

}  // namespace haulout
