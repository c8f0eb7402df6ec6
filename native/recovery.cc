#include "recovery.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "compressed_files.h"
#include "log_folder.h"
#include "segment_scan.h"
#include "thread.h"

namespace haulout {
namespace {

constexpr size_t kDigits = 20;

std::optional<int64_t> base_offset_of(const std::string& name, const std::string& suffix) {
  if (name.size() != kDigits + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  int64_t value = 0;
  for (size_t i = 0; i < kDigits; i++) {
    if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, name[i] - '0', &value)) {
      return std::nullopt;
    }
  }
  return value;
}

struct Folder {
  bool exists = false;
  std::vector<int64_t> base_offsets;
  std::vector<std::string> unfinished;
  // Of segments that grow, or grew, in the file of a removed one.
  std::vector<int64_t> reused;
  bool unflushed = false;
};

Result<Folder> list_folder(const std::shared_ptr<Files>& files, const std::string& directory) {
  Folder folder;
  std::vector<std::string> names;
  const int result = files->list(directory, names);
  if (result == -ENOENT) return folder;
  if (result < 0) return file_error("list", directory, -result);
  folder.exists = true;
  for (const std::string& name : names) {
    if (const auto base_offset = base_offset_of(name, ".log")) folder.base_offsets.push_back(*base_offset);
    else if (const auto reused = base_offset_of(name, kReusedSuffix)) folder.reused.push_back(*reused);
    // A compressed segment under its own name stands beside the plain one.
    else if (name.back() == '~' || is_compressed_name(name)) folder.unfinished.push_back(name);
    else if (name == kUnflushedName) folder.unflushed = true;
  }
  std::sort(folder.base_offsets.begin(), folder.base_offsets.end());
  return folder;
}

// Where the scan of a segment begins: at its recovery point, if it has one that fits, and otherwise at its first entry.
Result<SegmentIndex> begin_of_scan(const std::shared_ptr<Files>& files, const std::string& directory, int64_t base_offset,
                                   SegmentScan& scan) {
  SegmentIndex index;
  index.summary.base_offset = index.summary.end_offset = base_offset;
  const auto content = read_file(files, directory + "/" + index_name(base_offset));
  if (!content) return content.error();
  if (!*content) return index;
  auto point = decode_index((*content)->data(), (*content)->size(), base_offset, static_cast<int64_t>(scan.bytes()), IndexKind::partial);
  if (!point) return index;
  const auto confirmed = scan.confirms(*point);
  if (!confirmed) return confirmed.error();
  return *confirmed ? std::move(*point) : index;
}

class Recovery {
 public:
  Recovery(const std::shared_ptr<Files>& files, const std::string& directory, const EntryLayout& layout, bool direct, size_t scans_max)
      : files_(files), directory_(directory), layout_(layout), direct_(direct), scans_max_(scans_max) {}

  Result<RecoveredLog> run();

 private:
  // The last segment; nothing when its file holds no entry and is gone now.
  Result<std::optional<RecoveredSegment>> last_segment(int64_t base_offset);
  // Without an end offset it is the last one, and its entries must fill it.
  Result<RecoveredSegment> full_segment(int64_t base_offset, std::optional<int64_t> end_offset);
  // As its index says; nothing when there is none that counts.
  Result<std::optional<RecoveredSegment>> indexed_segment(int64_t base_offset);
  Result<RecoveredSegment> scanned_segment(int64_t base_offset, std::optional<int64_t> end_offset);
  // Takes from `base_offsets` those that reach beyond the start.
  Status full_segments(std::vector<int64_t>& base_offsets, int64_t start_offset, std::vector<RecoveredSegment>& newest_first);
  Result<StoredForm> stored_form(int64_t base_offset);
  Status remove_below(std::vector<int64_t>& base_offsets, RecoveredLog& log);
  Status check_order(const RecoveredLog& log, int64_t start_offset) const;
  Result<std::optional<SegmentIndex>> read_index(int64_t base_offset, bool with_samples);
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  const std::shared_ptr<Files>& files_;
  const std::string& directory_;
  const EntryLayout& layout_;
  const bool direct_;
  const size_t scans_max_;
  bool unflushed_ = false;
  std::vector<int64_t> reused_;
};

Result<RecoveredLog> Recovery::run() {
  RecoveredLog log;
  auto folder = list_folder(files_, directory_);
  if (!folder) return folder.error();
  log.folder_exists = folder->exists;
  unflushed_ = folder->unflushed;
  reused_ = std::move(folder->reused);
  if (!folder->exists) return log;
  for (const std::string& name : folder->unfinished) files_->remove(path(name));
  const auto start_offset = read_start_offset(files_, directory_);
  if (!start_offset) return start_offset.error();

  std::vector<int64_t>& base_offsets = folder->base_offsets;
  std::optional<RecoveredSegment> last;
  while (!base_offsets.empty() && !last) {
    auto found = last_segment(base_offsets.back());
    if (!found) return found.error();
    last = std::move(*found);
    base_offsets.pop_back();
  }
  std::vector<RecoveredSegment> newest_first;
  if (last) newest_first.push_back(std::move(*last));
  if (auto error = full_segments(base_offsets, *start_offset, newest_first)) return *error;
  log.segments.assign(std::make_move_iterator(newest_first.rbegin()), std::make_move_iterator(newest_first.rend()));
  log.start_offset = *start_offset >= 0 ? *start_offset : log.segments.empty() ? 0 : log.segments.front().index.summary.base_offset;
  if (auto error = remove_below(base_offsets, log)) return *error;
  if (auto error = check_order(log, log.start_offset)) return *error;
  // Whatever stood behind entries is cut off.
  for (const int64_t base_offset : reused_) files_->remove(path(reused_name(base_offset)));
  return log;
}

// Those without an index that counts are scanned next to each other.
Status Recovery::full_segments(std::vector<int64_t>& base_offsets, int64_t start_offset, std::vector<RecoveredSegment>& newest_first) {
  struct Full {
    int64_t base_offset;
    int64_t end_offset;
    std::optional<Result<RecoveredSegment>> found;
  };
  std::vector<Full> segments;
  size_t missing = 0;
  while (!base_offsets.empty()) {
    const int64_t end_offset = segments.empty() ? newest_first.back().index.summary.base_offset : segments.back().base_offset;
    if (end_offset <= start_offset) break;
    Full& segment = segments.emplace_back(Full{base_offsets.back(), end_offset, std::nullopt});
    base_offsets.pop_back();
    auto indexed = indexed_segment(segment.base_offset);
    if (!indexed) return indexed.error();
    if (*indexed) segment.found.emplace(std::move(**indexed));
    else missing++;
  }
  std::atomic<size_t> next{0};
  const auto scan = [&] {
    for (size_t i = next++; i < segments.size(); i = next++) {
      if (!segments[i].found) segments[i].found.emplace(scanned_segment(segments[i].base_offset, segments[i].end_offset));
    }
  };
  std::vector<Thread> others(std::min(std::max<size_t>(missing, 1), scans_max_) - 1);
  // Those that cannot be had are not needed.
  for (Thread& other : others) (void)other.start(scan);
  scan();
  others.clear();
  for (Full& segment : segments) {
    if (!*segment.found) return segment.found->error();
    newest_first.push_back(std::move(**segment.found));
  }
  return std::nullopt;
}

// Segments that end at or below the start were on their way out when the process ended.
Status Recovery::remove_below(std::vector<int64_t>& base_offsets, RecoveredLog& log) {
  while (!log.segments.empty() && log.segments.front().index.summary.end_offset <= log.start_offset) {
    base_offsets.push_back(log.segments.front().index.summary.base_offset);
    log.segments.erase(log.segments.begin());
  }
  if (base_offsets.empty()) return std::nullopt;
  for (const int64_t base_offset : base_offsets) {
    if (auto error = remove_segment(*files_, directory_, base_offset)) return error;
  }
  const int result = files_->sync_directory(directory_);
  return result < 0 ? Status(file_error("sync", directory_, -result)) : std::nullopt;
}

Status Recovery::check_order(const RecoveredLog& log, int64_t start_offset) const {
  int64_t expected = start_offset;
  for (size_t i = 0; i < log.segments.size(); i++) {
    const SegmentSummary& summary = log.segments[i].index.summary;
    const bool follows = i == 0 ? summary.base_offset <= expected : summary.base_offset == expected;
    if (!follows) {
      return corrupt(path(segment_name(summary.base_offset)), 0,
                     "the entries from offset " + std::to_string(expected) + " on, which should come before it, are missing");
    }
    expected = summary.end_offset;
  }
  return std::nullopt;
}

// Of a segment whose codec this build has.
Result<StoredForm> Recovery::stored_form(int64_t base_offset) {
  const std::string name = path(segment_name(base_offset));
  const OpenFile file(files_, files_->open(name, O_RDONLY));
  if (file.get() < 0) return file_error("open", name, -file.get());
  const StoredForm stored{files_->codec_of(file.get()), static_cast<uint64_t>(files_->stored_bytes(file.get()))};
  if (!has_codec(stored.codec)) return Error{ErrorCode::denied, name + " is compressed with " + name_of(stored.codec) + ", " + lacks(stored.codec)};
  if (auto error = files_->damage(file.get(), 0, 0)) return *error;
  return stored;
}

Result<std::optional<SegmentIndex>> Recovery::read_index(int64_t base_offset, bool with_samples) {
  const std::string segment_path = path(segment_name(base_offset));
  const OpenFile segment(files_, files_->open(segment_path, O_RDONLY));
  if (segment.get() < 0) return file_error("open", segment_path, -segment.get());
  const int64_t segment_bytes = files_->size(segment.get());
  const std::string index_path = path(index_name(base_offset));
  if (with_samples) {
    auto content = read_file(files_, index_path);
    if (!content) return content.error();
    if (!*content) return std::optional<SegmentIndex>();
    return decode_index((*content)->data(), (*content)->size(), base_offset, segment_bytes);
  }
  const OpenFile file(files_, files_->open(index_path, O_RDONLY));
  if (file.get() == -ENOENT) return std::optional<SegmentIndex>();
  if (file.get() < 0) return file_error("open", index_path, -file.get());
  uint8_t header[kIndexHeaderBytes];
  const int64_t got = files_->read(file.get(), header, sizeof header, 0);
  if (got < 0) return file_error("read", index_path, static_cast<int>(-got));
  const auto summary = decode_summary(header, static_cast<size_t>(got), base_offset, segment_bytes);
  if (!summary) return std::optional<SegmentIndex>();
  return std::optional(SegmentIndex{*summary, {}});
}

Result<std::optional<RecoveredSegment>> Recovery::last_segment(int64_t base_offset) {
  const auto stored = stored_form(base_offset);
  if (!stored) return stored.error();
  if (stored->codec != SegmentCodec::none) {
    // It was sealed, whatever its index says.
    auto sealed = full_segment(base_offset, std::nullopt);
    if (!sealed) return sealed.error();
    return std::optional(std::move(*sealed));
  }
  auto known = read_index(base_offset, true);
  if (!known) return known.error();
  if (*known) return std::optional(RecoveredSegment{std::move(**known), true, true});
  SegmentScan scan(files_, path(segment_name(base_offset)), layout_);
  if (auto error = scan.open(direct_)) return *error;
  auto begin = begin_of_scan(files_, directory_, base_offset, scan);
  if (!begin) return begin.error();
  SegmentIndex& index = *begin;
  const int64_t covered = index.summary.bytes;
  if (auto error = scan.take_entries(index)) return *error;
  const bool reused = std::find(reused_.begin(), reused_.end(), base_offset) != reused_.end();
  auto aftermath = scan.look_after(index, reused);
  if (!aftermath) return aftermath.error();
  aftermath->unflushed = unflushed_;
  const std::string name = path(segment_name(base_offset));
  if (judge(*aftermath) == Verdict::corrupt) {
    return corrupt(name, aftermath->position,
                   aftermath->later_entry_first
                       ? "valid entries follow, from position " + std::to_string(*aftermath->later_entry_first) + " on"
                       : "acknowledged entries up to position " + std::to_string(aftermath->mark->end) + " are missing");
  }
  if (index.samples.empty()) {
    if (auto error = remove_segment(*files_, directory_, base_offset)) return *error;
    const int result = files_->sync_directory(directory_);
    if (result < 0) return file_error("sync", directory_, -result);
    return std::optional<RecoveredSegment>();
  }
  // An index that does not count must not begin to count when the file has grown. The folder is synced before the first write.
  if (covered == 0) files_->remove(path(index_name(base_offset)));
  const auto bytes = static_cast<uint64_t>(index.summary.bytes);
  int result = scan.bytes() == bytes ? 0 : files_->truncate(scan.file(), bytes);
  if (result < 0) return file_error("truncate", name, -result);
  result = files_->sync(scan.file());
  if (result < 0) return file_error("sync", name, -result);
  return std::optional(RecoveredSegment{std::move(index), false, true, {}, static_cast<uint64_t>(covered)});
}

Result<RecoveredSegment> Recovery::full_segment(int64_t base_offset, std::optional<int64_t> end_offset) {
  auto indexed = indexed_segment(base_offset);
  if (!indexed) return indexed.error();
  if (*indexed) return std::move(**indexed);
  return scanned_segment(base_offset, end_offset);
}

Result<std::optional<RecoveredSegment>> Recovery::indexed_segment(int64_t base_offset) {
  const auto stored = stored_form(base_offset);
  if (!stored) return stored.error();
  auto known = read_index(base_offset, false);
  if (!known) return known.error();
  if (!*known) return std::optional<RecoveredSegment>();
  return std::optional(RecoveredSegment{std::move(**known), true, false, *stored});
}

Result<RecoveredSegment> Recovery::scanned_segment(int64_t base_offset, std::optional<int64_t> end_offset) {
  const auto stored = stored_form(base_offset);
  if (!stored) return stored.error();
  const std::string name = path(segment_name(base_offset));
  SegmentScan scan(files_, name, layout_);
  if (auto error = scan.open(direct_)) return *error;
  auto begin = begin_of_scan(files_, directory_, base_offset, scan);
  if (!begin) return begin.error();
  SegmentIndex& index = *begin;
  if (auto error = scan.take_entries(index)) return *error;
  if (end_offset && index.summary.end_offset != *end_offset) {
    return corrupt(name + suffix_of(stored->codec), static_cast<uint64_t>(index.summary.bytes),
                   "its entries end at offset " + std::to_string(index.summary.end_offset) + " and not at " +
                       std::to_string(*end_offset) + ", where the next segment begins");
  }
  if (stored->codec != SegmentCodec::none && static_cast<uint64_t>(index.summary.bytes) != scan.bytes()) {
    return corrupt(name + suffix_of(stored->codec), static_cast<uint64_t>(index.summary.bytes), "no valid entry begins there, in the plain bytes");
  }
  if (auto error = seal_segment(files_, directory_, scan.file(), index)) return *error;
  return RecoveredSegment{std::move(index), true, true, *stored};
}

}  // namespace

Verdict judge(const Aftermath& aftermath) {
  if (aftermath.mark_ends_here) return Verdict::cut;
  if (aftermath.mark && static_cast<uint64_t>(aftermath.mark->begin) > aftermath.position) return Verdict::corrupt;
  if (!aftermath.later_entry_first) return Verdict::cut;
  if (!aftermath.mark && !aftermath.unflushed && *aftermath.later_entry_last >= aftermath.position + kWriteBytesMax) return Verdict::corrupt;
  return aftermath.unwritten_sector ? Verdict::cut : Verdict::corrupt;
}

Result<RecoveredLog> recover_log(const std::shared_ptr<Files>& files, const std::string& directory, const EntryLayout& layout,
                                 bool direct, bool closed, size_t scans_max) {
  // Before anything is deleted because of it.
  if (!closed) {
    if (auto error = sync_start_offset(files, directory)) return *error;
  }
  return Recovery(files, directory, layout, direct, scans_max).run();
}

Result<SegmentIndex> load_index(const std::shared_ptr<Files>& files, const std::string& directory, const EntryLayout& layout,
                                const SegmentSummary& summary, bool direct) {
  auto content = read_file(files, directory + "/" + index_name(summary.base_offset));
  if (!content) return content.error();
  if (*content) {
    if (auto index = decode_index((*content)->data(), (*content)->size(), summary.base_offset, summary.bytes)) return std::move(*index);
  }
  const std::string name = directory + "/" + segment_name(summary.base_offset);
  SegmentScan scan(files, name, layout);
  if (auto error = scan.open(direct)) return *error;
  auto begin = begin_of_scan(files, directory, summary.base_offset, scan);
  if (!begin) return begin.error();
  SegmentIndex& index = *begin;
  if (auto error = scan.take_entries(index)) return *error;
  if (index.summary.end_offset != summary.end_offset) {
    return corrupt(name, static_cast<uint64_t>(index.summary.bytes), "an entry is not valid");
  }
  if (auto error = seal_segment(files, directory, scan.file(), index)) return *error;
  return index;
}

}  // namespace haulout
