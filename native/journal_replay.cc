#include "journal_replay.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <map>

#include "folder.h"
#include "journal_format.h"
#include "log_folder.h"
#include "memory.h"

namespace haulout {
namespace {

// Each file ends with a sync, and the device takes several at a time.
constexpr size_t kThreadsMax = 8;
constexpr size_t kFilesPerThreadMin = 16;

struct Write {
  JournalWrite header;
  std::vector<JournalRecord> records;
};

// The writes of one area, as far as each follows the one before.
Result<std::vector<Write>> read_area(const std::string& path, const uint8_t* area, size_t bytes) {
  std::vector<Write> writes;
  size_t at = 0;
  while (at < bytes) {
    const auto header = load_header(area + at, bytes - at);
    if (!header || (!writes.empty() && header->sequence != writes.back().header.sequence + 1)) break;
    if (header->version > kJournalVersion) {
      return Error{ErrorCode::denied, path + " was written by a newer Haulout: it has version " + std::to_string(header->version)};
    }
    if (!has_right_checksum(area + at, *header)) break;
    auto records = load_records(area + at, *header);
    if (!records) break;
    writes.push_back({*header, std::move(*records)});
    at += align_up(header->bytes, kBlockBytes);
  }
  return writes;
}

Result<std::vector<Write>> read_writes(const std::string& path, const std::vector<uint8_t>& content) {
  std::vector<Write> writes;
  const size_t area_bytes = content.size() / kJournalAreas;
  if (area_bytes % kBlockBytes != 0) return writes;
  for (size_t area = 0; area < kJournalAreas; area++) {
    auto found = read_area(path, content.data() + area * area_bytes, area_bytes);
    if (!found) return found.error();
    std::move(found->begin(), found->end(), std::back_inserter(writes));
  }
  std::sort(writes.begin(), writes.end(), [](const Write& a, const Write& b) { return a.header.sequence < b.header.sequence; });
  return writes;
}

using SegmentKey = std::pair<std::string, int64_t>;
using RecordsBySegment = std::map<SegmentKey, std::vector<JournalRecord>>;

RecordsBySegment by_segment(const std::vector<Write>& writes, const std::optional<std::string>& only) {
  RecordsBySegment found;
  for (const Write& write : writes) {
    for (const JournalRecord& record : write.records) {
      if (flaw_of_name(record.name) || (only && record.name != *only)) continue;
      if (record.kind == JournalRecord::Kind::bytes) {
        found[{record.name, record.base_offset}].push_back(record);
        continue;
      }
      const auto first = found.lower_bound({record.name, INT64_MIN});
      found.erase(first, found.upper_bound({record.name, INT64_MAX}));
    }
  }
  return found;
}

Status replay_segment(const std::shared_ptr<Files>& files, const std::string& directory, const SegmentKey& key,
                      const std::vector<JournalRecord>& records) {
  const std::string path = directory + "/" + key.first + "/" + segment_name(key.second);
  const OpenFile file(files, files->open(path, O_RDWR));
  // The segment was deleted, or stored in another way, when all of it was in its file.
  if (file.get() == -ENOENT) return std::nullopt;
  if (file.get() < 0) return file_error("open", path, -file.get());
  // After a write or a sync that failed, the page cache shows what is not on disk, as if it were.
  files->drop_cache(file.get());
  std::vector<uint8_t> there;
  for (const JournalRecord& record : records) {
    there.resize(record.bytes);
    const int64_t got = files->read(file.get(), there.data(), record.bytes, record.position);
    if (got < 0) return file_error("read", path, static_cast<int>(-got));
    if (static_cast<size_t>(got) == record.bytes && std::memcmp(there.data(), record.data, record.bytes) == 0) continue;
    const int64_t put = files->write(file.get(), record.data, record.bytes, record.position);
    if (put < 0) return file_error("write", path, static_cast<int>(-put));
  }
  // Also where nothing had to be written: a process that was killed may have done it, and not synced.
  const int result = files->sync(file.get());
  return result < 0 ? Status(file_error("sync", path, -result)) : std::nullopt;
}

Status replay_segments(const std::shared_ptr<Files>& files, const std::string& directory, const RecordsBySegment& segments) {
  std::vector<const RecordsBySegment::value_type*> all;
  for (const auto& each : segments) all.push_back(&each);
  const auto part = [&](size_t first, size_t step) -> Status {
    for (size_t i = first; i < all.size(); i += step) {
      if (auto error = replay_segment(files, directory, all[i]->first, all[i]->second)) return error;
    }
    return std::nullopt;
  };
  const size_t threads = std::min(all.size() / kFilesPerThreadMin, kThreadsMax);
  if (threads < 2) return part(0, 1);
  std::vector<std::future<Status>> parts;
  for (size_t i = 0; i < threads; i++) parts.push_back(std::async(std::launch::async, part, i, threads));
  Status first_error;
  for (auto& each : parts) {
    if (auto error = each.get(); error && !first_error) first_error = std::move(error);
  }
  return first_error;
}

}  // namespace

Status replay_journal(const std::shared_ptr<Files>& files, const std::string& directory, const std::optional<std::string>& only) {
  const std::string path = directory + "/" + kJournalName;
  {
    const OpenFile file(files, files->open(path, O_RDONLY));
    if (file.get() == -ENOENT) return std::nullopt;
    if (file.get() < 0) return file_error("open", path, -file.get());
    files->drop_cache(file.get());
  }
  const auto content = read_file(files, path);
  if (!content) return content.error();
  if (!*content) return std::nullopt;
  const auto writes = read_writes(path, **content);
  if (!writes) return writes.error();
  if (auto error = replay_segments(files, directory, by_segment(*writes, only))) return error;
  if (only) return std::nullopt;
  int result = files->remove(path);
  if (result < 0) return file_error("delete", path, -result);
  // What is removed and made again from here on has no records that take them back: the journal must not return.
  result = files->sync_directory(directory);
  return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
}

}  // namespace haulout
