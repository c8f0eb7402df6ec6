#include "log_folder.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

namespace haulout {
namespace {

constexpr char kStartOffsetName[] = "start-offset";

std::string padded(int64_t base_offset, const char* suffix) {
  char name[64];
  std::snprintf(name, sizeof name, "%020" PRId64 "%s", base_offset, suffix);
  return name;
}

std::vector<uint8_t> encode_start_offset(int64_t offset) {
  std::string text = "haulout-start-offset 1 " + std::to_string(offset);
  char checksum[16];
  std::snprintf(checksum, sizeof checksum, " %08x\n", crc32c(0, reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  text += checksum;
  return {text.begin(), text.end()};
}

// Without a new block: over the old line, which is never longer, and less than a sector.
Status overwrite_start_offset(const std::shared_ptr<Files>& files, const std::string& path, int64_t offset) {
  const OpenFile file(files, files->open(path, O_WRONLY));
  if (file.get() < 0) return file_error("open", path, -file.get());
  const std::vector<uint8_t> content = encode_start_offset(offset);
  const int64_t written = files->write(file.get(), content.data(), content.size(), 0);
  if (written < 0) return file_error("write", path, static_cast<int>(-written));
  const int result = files->sync(file.get());
  return result < 0 ? Status(file_error("sync", path, -result)) : std::nullopt;
}

// Removes segments so that their space is free when this returns, although readers may have them open. Each is gone for good before
// it is emptied, and before the next one goes: after a power cut the oldest is still whole, and none is missing behind it.
Status free_segments(const std::shared_ptr<Files>& files, const std::string& directory, const std::vector<int64_t>& base_offsets) {
  for (const int64_t base_offset : base_offsets) {
    const OpenFile file(files, files->open(directory + "/" + segment_name(base_offset), O_WRONLY));
    if (auto error = remove_segment(*files, directory, base_offset)) return error;
    if (const int result = files->sync_directory(directory); result < 0) return file_error("sync", directory, -result);
    if (file.get() >= 0) (void)files->truncate(file.get(), 0);
  }
  return std::nullopt;
}

Result<bool> is_last_segment(Files& files, const std::string& directory, int64_t base_offset) {
  std::vector<std::string> names;
  if (const int result = files.list(directory, names); result < 0) return file_error("list", directory, -result);
  const std::string name = segment_name(base_offset);
  const std::string suffix = name.substr(name.size() - 4);
  return std::none_of(names.begin(), names.end(), [&](const std::string& each) {
    return each.size() == name.size() && each.ends_with(suffix) && each > name;
  });
}

// Takes the file out of the log and keeps it. Where that does not go, it is deleted with the rest.
void keep_files(Files& files, const std::string& directory, const std::vector<SpareFile>& wanted, std::vector<SpareFile>& kept) {
  uint64_t bytes_free = static_cast<uint64_t>(std::max<int64_t>(0, files.bytes_free(directory))) / kFreePart;
  for (const SpareFile& file : wanted) {
    if (file.bytes > bytes_free) continue;
    const int result = files.rename(directory + "/" + segment_name(file.base_offset), directory + "/" + spare_name(file.base_offset));
    if (result < 0) continue;
    bytes_free -= file.bytes;
    kept.push_back(file);
  }
}

Status remove_segments(const std::shared_ptr<Files>& files, const std::string& directory, const std::vector<int64_t>& base_offsets) {
  for (const int64_t base_offset : base_offsets) {
    if (auto error = remove_segment(*files, directory, base_offset)) return error;
  }
  const int result = files->sync_directory(directory);
  return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
}

}  // namespace

std::string segment_name(int64_t base_offset) { return padded(base_offset, ".log"); }
std::string index_name(int64_t base_offset) { return padded(base_offset, ".index"); }
std::string reused_name(int64_t base_offset) { return padded(base_offset, kReusedSuffix); }
std::string spare_name(int64_t base_offset) { return padded(base_offset, ".log~"); }

Error corrupt(const std::string& path, uint64_t position, const std::string& what) {
  return {ErrorCode::corrupt, path + " is damaged at position " + std::to_string(position) + ": " + what};
}

Status seal_segment(const std::shared_ptr<Files>& files, const std::string& directory, int file, const SegmentIndex& index) {
  const std::string path = directory + "/" + segment_name(index.summary.base_offset);
  int result = files->truncate(file, static_cast<uint64_t>(index.summary.bytes));
  if (result < 0) return file_error("truncate", path, -result);
  result = files->sync(file);
  if (result < 0) return file_error("sync", path, -result);
  const std::string name = index_name(index.summary.base_offset);
  auto error = replace_file(files, directory, name, encode_index(index));
  if (!error || error->code != ErrorCode::full) return error;
  files->remove(directory + "/" + name + "~");
  return std::nullopt;
}

bool write_recovery_point(const std::shared_ptr<Files>& files, const std::string& directory, const SegmentIndex& index) {
  const std::string path = directory + "/" + index_name(index.summary.base_offset);
  const std::string unfinished = path + "~";
  const std::vector<uint8_t> content = encode_index(index, IndexKind::partial);
  bool written = false;
  {
    const OpenFile file(files, files->open(unfinished, O_WRONLY | O_CREAT | O_TRUNC));
    written = file.get() >= 0 && files->write(file.get(), content.data(), content.size(), 0) >= 0 && files->sync(file.get()) == 0;
  }
  // The file of the point before becomes that of the next one: making and deleting one for each is dear on some file systems.
  if (written && (files->exchange(unfinished, path) == 0 || files->rename(unfinished, path) == 0)) return true;
  files->remove(unfinished);
  return false;
}

Result<int64_t> read_start_offset(const std::shared_ptr<Files>& files, const std::string& directory) {
  const std::string path = directory + "/" + kStartOffsetName;
  auto content = read_file(files, path);
  if (!content) return content.error();
  if (!*content) return int64_t{-1};
  const std::string text((*content)->begin(), (*content)->end());
  int64_t offset = -1;
  uint32_t checksum = 0;
  int length = 0;
  const int fields = std::sscanf(text.c_str(), "haulout-start-offset 1 %" SCNd64 "%n %8" SCNx32, &offset, &length, &checksum);
  if (fields != 2 || offset < 0 ||
      crc32c(0, reinterpret_cast<const uint8_t*>(text.data()), static_cast<size_t>(length)) != checksum) {
    return corrupt(path, 0, "it does not hold a start offset");
  }
  return offset;
}

Status sync_start_offset(const std::shared_ptr<Files>& files, const std::string& directory) {
  const std::string path = directory + "/" + kStartOffsetName;
  const OpenFile file(files, files->open(path, O_RDONLY));
  if (file.get() == -ENOENT) return std::nullopt;
  if (file.get() < 0) return file_error("open", path, -file.get());
  if (const int result = files->sync(file.get()); result < 0) return file_error("sync", path, -result);
  const int result = files->sync_directory(directory);
  return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
}

Status note_flush_policy(Files& files, const std::string& directory, bool durable) {
  const std::string path = directory + "/" + kUnflushedName;
  if (durable) {
    const int result = files.remove(path);
    return result < 0 && result != -ENOENT ? Status(file_error("delete", path, -result)) : std::nullopt;
  }
  const int file = files.open(path, O_WRONLY | O_CREAT);
  if (file >= 0) files.close(file);
  // On a full disk it goes without: a torn tail may be taken for damage then, and is kept.
  return file < 0 && file != -ENOSPC && file != -EDQUOT ? Status(file_error("create", path, -file)) : std::nullopt;
}

Status move_start(const std::shared_ptr<Files>& files, const std::string& directory, int64_t offset,
                  const std::vector<int64_t>& doomed_base_offsets, const std::vector<SpareFile>& wanted, std::vector<SpareFile>& kept) {
  const std::string path = directory + "/" + kStartOffsetName;
  auto error = replace_file(files, directory, kStartOffsetName, encode_start_offset(offset));
  if (error && error->code == ErrorCode::full) {
    files->remove(path + "~");
    const auto former = read_start_offset(files, directory);
    if (!former) return former.error();
    if (*former < 0 && doomed_base_offsets.empty()) return error;
    if (*former >= 0) {
      error = overwrite_start_offset(files, path, offset);
    } else {
      // Without that file the log starts with its first segment, so the old ones may go first, in order; but one must stay, or
      // nothing would say where the log goes on.
      std::vector<int64_t> first = doomed_base_offsets;
      const auto is_last = is_last_segment(*files, directory, first.back());
      if (!is_last) return is_last.error();
      if (*is_last) first.pop_back();
      if (first.empty()) return error;
      if (auto failed = free_segments(files, directory, first)) return failed;
      error = replace_file(files, directory, kStartOffsetName, encode_start_offset(offset));
      // Space was freed: whatever this is, the log must be opened again to know its start.
      if (error) error->code = ErrorCode::failed;
    }
  }
  if (error) return error;
  keep_files(*files, directory, wanted, kept);
  return remove_segments(files, directory, doomed_base_offsets);
}

Status remove_segment(Files& files, const std::string& directory, int64_t base_offset) {
  for (const std::string& name : {index_name(base_offset), segment_name(base_offset)}) {
    const std::string path = directory + "/" + name;
    const int result = files.remove(path);
    if (result < 0 && result != -ENOENT) return file_error("delete", path, -result);
  }
  return std::nullopt;
}

}  // namespace haulout
