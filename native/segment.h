// One segment of an open log, and what all logs of a store share.
#pragma once

#include <algorithm>
#include <functional>

#include "file_cache.h"
#include "ring.h"
#include "segment_index.h"
#include "segment_space.h"
#include "space_reserve.h"
#include "tail.h"

namespace haulout {

class Journal;
class ReadAhead;
class SegmentCompressor;
class SegmentLog;
class WriteTurns;

struct Segment;

// The sealed segments whose samples are in memory, the one not used for longest first. A GiB has 1.5 MiB of them.
class SampleCache {
 public:
  void use(const std::shared_ptr<Segment>& segment);

 private:
  static constexpr size_t kSegmentsMax = 64;

  std::list<std::weak_ptr<Segment>> segments_;
};

// What a log needs of its store.
struct LogContext {
  std::shared_ptr<Files> files;
  std::shared_ptr<MemoryPool> pool;
  TailBudget& budget;
  FileCache& cache;
  SampleCache& samples;
  ReadAhead& ahead;
  SegmentCompressor& compressor;
  Journal& journal;
  WriteTurns& turns;
  SpaceReserve& space;
  Ring& ring;
  Workers& workers;
  // Segment files are written past the page cache.
  bool direct;
  // The log has something to submit at the end of this turn.
  std::function<void(SegmentLog&)> dirty;
  // Something was started on the ring: it wants a submit() at the end of this turn.
  std::function<void()> started;
  // The log's committed end offset moved, or it failed.
  std::function<void(SegmentLog&)> changed;
  // Makes the names of logs durable that have a folder by now.
  std::function<void(std::function<void(Status)> done)> sync_names;
  // So many bytes more are in a file, and no recovery point covers them.
  std::function<void(uint64_t)> wrote;
  // The wall clock.
  std::function<int64_t()> now_ms;
  // What logs with a durable policy have taken since the end of the last turn.
  uint64_t durable_bytes_of_turn = 0;
};

struct Segment {
  Segment(LogContext& context, std::string path)
      : tail(*context.pool, context.budget), file(context.cache, std::move(path)), claim(context.space) {}

  uint64_t bytes() const { return static_cast<uint64_t>(index.summary.bytes); }
  int64_t base_offset() const { return index.summary.base_offset; }
  int64_t end_offset() const { return index.summary.end_offset; }

  // First what every append looks at: of a thousand logs no cache has more.
  SegmentIndex index;
  // False for a sealed segment whose samples are still on disk.
  bool has_samples = true;
  // False until a worker has made it, with the folder.
  bool has_file = true;
  // No entry will be added.
  bool rolled = false;
  // On stable storage, truncated and indexed.
  bool sealed = false;
  // File and folder are durable, and no index stands beside it: entries may be written.
  bool prepared = false;
  // Its file was sealed, and the log goes on in it: the index must go first.
  bool reopened = false;

  // Entries up to here are in the file.
  uint64_t written = 0;
  // Entries up to here are on stable storage.
  uint64_t synced = 0;
  // Entries up to here are in the store's journal or in the file; what only the journal has stays in the tail.
  uint64_t journaled = 0;
  uint64_t kept() const { return std::max(written, journaled); }
  // Entries up to here may be read.
  uint64_t committed = 0;
  // The file has space up to `made`. Up to here it has, too, or that is claimed for it: a worker makes it before anything is written there.
  uint64_t reserved = 0;
  uint64_t made = 0;
  // Ends of entries, about 1 MiB apart, at which a write may stop.
  std::vector<IndexPoint> cuts;
  Tail tail;

  SegmentFile file;
  // Its file, where that is compressed.
  StoredForm stored;
  uint64_t stored_bytes() const { return stored.codec == SegmentCodec::none ? bytes() : stored.bytes; }

  SpaceClaim claim;
  // The file of a removed segment that becomes its own, if there is one. Then anything may stand behind its entries.
  std::string spare;
  // Space is being made from here on, and zeros written: a write must not reach it meanwhile.
  uint64_t growing_from = UINT64_MAX;
  // The end of the last write.
  IndexPoint written_point;
  // A recovery point says what the entries up to here are: after a crash only those behind it are scanned.
  uint64_t covered = 0;
};

using SegmentReference = std::shared_ptr<Segment>;

inline void SampleCache::use(const SegmentReference& segment) {
  segments_.remove_if([&](const std::weak_ptr<Segment>& each) { return each.expired() || each.lock() == segment; });
  segments_.push_back(segment);
  if (segments_.size() <= kSegmentsMax) return;
  if (const SegmentReference oldest = segments_.front().lock()) {
    oldest->has_samples = false;
    oldest->index.samples = {};
  }
  segments_.pop_front();
}

}  // namespace haulout
