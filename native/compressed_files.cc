#include "compressed_files.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

namespace haulout {
namespace {

constexpr size_t kDigits = 20;
constexpr char kPlainSuffix[] = ".log";
constexpr size_t kPlainNameBytes = kDigits + sizeof kPlainSuffix - 1;

// The base offset in the name of a plain segment; nothing for other names.
std::optional<int64_t> base_offset_in(const std::string& path) {
  if (path.size() < kPlainNameBytes || !path.ends_with(kPlainSuffix)) return std::nullopt;
  const char* const digits = path.data() + path.size() - kPlainNameBytes;
  if (digits > path.data() && digits[-1] != '/') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits, digits + kDigits, value);
  return error == std::errc() && end == digits + kDigits && *digits != '-' ? std::optional(value) : std::nullopt;
}

// The plain name of what a compressed segment's file is called.
std::optional<std::string> plain_name(const std::string& name) {
  for (const SegmentCodec codec : kSegmentCodecs) {
    if (!name.ends_with(suffix_of(codec))) continue;
    std::string plain = name.substr(0, name.size() - std::char_traits<char>::length(suffix_of(codec)));
    if (base_offset_in(plain)) return plain;
  }
  return std::nullopt;
}

}  // namespace

std::string stored_path(const std::string& plain_path, SegmentCodec codec) { return plain_path + suffix_of(codec); }

bool is_compressed_name(const std::string& name) { return plain_name(name).has_value(); }

std::shared_ptr<CompressedFile> CompressedFiles::compressed(int file) {
  if (open_count_ == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(file);
  return found == open_.end() ? nullptr : found->second;
}

int CompressedFiles::open(const std::string& path, int flags) {
  const int plain = files_->open(path, flags);
  const auto base_offset = plain == -ENOENT && (flags & O_CREAT) == 0 ? base_offset_in(path) : std::nullopt;
  if (!base_offset) return plain;
  for (const SegmentCodec codec : kSegmentCodecs) {
    const std::string stored = stored_path(path, codec);
    // Its blocks lie anywhere, so it is not read past the page cache.
    const int file = files_->open(stored, flags & ~O_DIRECT);
    if (file == -ENOENT) continue;
    if (file < 0) return file;
    const std::lock_guard lock(mutex_);
    open_[file] = std::make_shared<CompressedFile>(files_, file, stored, codec, *base_offset);
    open_count_ = open_.size();
    return file;
  }
  return plain;
}

int CompressedFiles::close(int file) {
  if (open_count_ > 0) {
    const std::lock_guard lock(mutex_);
    open_.erase(file);
    open_count_ = open_.size();
  }
  return files_->close(file);
}

int64_t CompressedFiles::read_some(int file, uint8_t* data, size_t bytes, uint64_t position) {
  const auto found = compressed(file);
  return found ? found->read(data, bytes, position) : files_->read_some(file, data, bytes, position);
}

int64_t CompressedFiles::write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) {
  return compressed(file) ? -EROFS : files_->write_some(file, data, bytes, position);
}

// To nothing: it was removed, and its space is wanted at once.
int CompressedFiles::truncate(int file, uint64_t bytes) {
  const auto found = bytes > 0 ? compressed(file) : nullptr;
  if (!found) return files_->truncate(file, bytes);
  const int64_t size = found->plain_bytes();
  if (size < 0) return static_cast<int>(size);
  return static_cast<uint64_t>(size) == bytes ? 0 : -EROFS;
}

int CompressedFiles::allocate(int file, uint64_t position, uint64_t bytes) {
  return compressed(file) ? -EROFS : files_->allocate(file, position, bytes);
}

int64_t CompressedFiles::size(int file) {
  const auto found = compressed(file);
  return found ? found->plain_bytes() : files_->size(file);
}

int CompressedFiles::remove(const std::string& path) {
  const int result = files_->remove(path);
  if ((result < 0 && result != -ENOENT) || !base_offset_in(path)) return result;
  bool removed = result == 0;
  for (const SegmentCodec codec : kSegmentCodecs) {
    const int other = files_->remove(stored_path(path, codec));
    if (other < 0 && other != -ENOENT) return other;
    removed = removed || other == 0;
  }
  return removed ? 0 : result;
}

int CompressedFiles::list(const std::string& path, std::vector<std::string>& names) {
  std::vector<std::string> found;
  const int result = files_->list(path, found);
  std::set<std::string> taken;
  for (const std::string& name : found) {
    if (base_offset_in(name)) taken.insert(name);
  }
  // Sorted, so that of two codecs the one comes first that open() would take.
  std::sort(found.rbegin(), found.rend());
  for (const std::string& name : found) {
    const auto plain = plain_name(name);
    names.push_back(plain && taken.insert(*plain).second ? *plain : name);
  }
  return result;
}

SegmentCodec CompressedFiles::codec_of(int file) {
  const auto found = compressed(file);
  return found ? found->codec() : SegmentCodec::none;
}

std::optional<Error> CompressedFiles::damage(int file, uint64_t from, uint64_t to) {
  const auto found = compressed(file);
  return found ? found->damage(from, to) : std::nullopt;
}

}  // namespace haulout
