// What a log's folder holds: read at open, on a worker. docs/storage.md, "Recovery", is the rule book; `judge` is its table.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "commit_mark.h"
#include "entry_layout.h"
#include "files.h"
#include "segment_index.h"

namespace haulout {

struct RecoveredSegment {
  SegmentIndex index;
  bool sealed;
  // The samples of a sealed segment stay on disk until somebody reads from it.
  bool has_samples;
  // Its file, where that is compressed.
  StoredForm stored = {};
  // Bytes of an unsealed segment that its recovery point covers.
  uint64_t covered = 0;
};

struct RecoveredLog {
  bool folder_exists = false;
  int64_t start_offset = 0;
  std::vector<RecoveredSegment> segments;
};

// What was found from the first entry on that is not valid.
struct Aftermath {
  uint64_t position;
  // The first valid entry after it, if there is one, and the last.
  std::optional<uint64_t> later_entry_first;
  std::optional<uint64_t> later_entry_last;
  // The last commit mark at or after the position.
  std::optional<CommitMark> mark;
  bool mark_ends_here = false;
  // A sector that was never written lies between the position and the first later entry. Where old entries may stand, nobody can tell, and
  // it is taken for one.
  bool unwritten_sector = false;
  // Whoever wrote it did not wait for stable storage before the next write: more than one write may be torn.
  bool unflushed = false;
};

enum class Verdict { cut, corrupt };

Verdict judge(const Aftermath& aftermath);

// A write is never larger, unless a single entry is.
constexpr uint64_t kWriteBytesMax = uint64_t{8} << 20;

// `closed` if the log was closed the last time it was used: what its folder shows then is on stable storage. Otherwise somebody may
// have been killed between a change and its sync. Segments without an index that counts are scanned, so many at a time, each by a thread.
Result<RecoveredLog> recover_log(const std::shared_ptr<Files>& files, const std::string& directory, const EntryLayout& layout,
                                 bool direct, bool closed = false, size_t scans_max = 1);

// The index of a sealed segment, from its file, or rebuilt from its entries.
Result<SegmentIndex> load_index(const std::shared_ptr<Files>& files, const std::string& directory, const EntryLayout& layout,
                                const SegmentSummary& summary, bool direct);

}  // namespace haulout
