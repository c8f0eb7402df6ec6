// Reading from the segments of a log: from its tail in memory where it can, from the file otherwise. What comes from the file is
// checked against its checksum.
#pragma once

#include "read_ahead.h"

namespace haulout {

struct ReadRequest {
  int64_t offset;
  uint64_t bytes_max;
  bool at_least_one;
  int64_t end_offset;
};

struct ReadOutcome {
  std::vector<Slice> parts;
  uint64_t bytes = 0;
  int64_t next_offset = 0;
  // It ended where the segment does: more may follow in the next one.
  bool segment_ended = false;
  // Where its last entry ends in the file; 0 when it came from memory.
  uint64_t end_position = 0;
};

struct TimestampOutcome {
  int64_t base_offset;
  int64_t timestamp_max;
};

// A stretch of a segment in which an entry is looked for by its timestamp.
struct TimestampSearch {
  SegmentReference segment;
  uint64_t from;
  uint64_t to;
  int64_t timestamp_min;
};

// The entries chosen from a run of them.
struct Selection {
  EntryPlace from;
  uint64_t to;
  int64_t next_offset;
  // More than `available_end` must be read before there can be an answer; 0 if not.
  uint64_t needed_end = 0;
  // The run holds something that is no entry, here.
  std::optional<uint64_t> damaged_at;
};

class LogReader {
 public:
  LogReader(LogContext& context, const EntryLayout& layout, std::string directory)
      : context_(context), layout_(layout), directory_(std::move(directory)) {}

  void read(const SegmentReference& segment, const ReadRequest& request, std::function<void(Result<ReadOutcome>)> done);
  // The first committed entry in the segment that ends after `start_offset` and whose timestamp is at least `timestamp_min`.
  void find_timestamp(const SegmentReference& segment, int64_t start_offset, int64_t timestamp_min,
                      std::function<void(Result<std::optional<TimestampOutcome>>)> done);
  // The first committed entry with the largest timestamp of those that end after `start_offset`.
  void find_timestamp_max(const SegmentReference& segment, int64_t start_offset,
                          std::function<void(Result<std::optional<TimestampOutcome>>)> done);

 private:
  using HeaderAt = std::function<EntryHeader(uint64_t position)>;
  using Visit = std::function<bool(const EntryHeader&, uint64_t position)>;

  void with_samples(const SegmentReference& segment, std::function<void(Status)> then);
  void read_from_file(const SegmentReference& segment, const ReadRequest& request, EntryPlace from, uint64_t end,
                      std::function<void(Result<ReadOutcome>)> done);
  void read_on(const SegmentReference& segment, const ReadRequest& request, const NextReadReference& next,
               std::function<void(Result<ReadOutcome>)> done);
  void choose(const SegmentReference& segment, const ReadRequest& request, EntryPlace from, const NextRead& bytes,
              std::function<void(Result<ReadOutcome>)> done);
  // Keeps the place behind an answer, and reads on from there if the answer was itself a continuation.
  void remember(const SegmentReference& segment, const ReadRequest& request, const ReadOutcome& outcome, bool is_continuation);
  Status start_read(const SegmentReference& segment, const NextReadReference& bytes, bool is_ahead);
  void read_on_worker(const NextReadReference& bytes, const FileReference& file, const std::string& path);
  void arrive(const NextReadReference& bytes);
  std::optional<ReadOutcome> read_from_tail(const Segment& segment, const ReadRequest& request, EntryPlace from);
  Selection select(const ReadRequest& request, const HeaderAt& header_at, EntryPlace from, uint64_t available_end, EntryPlace end) const;
  EntryHeader header_in_tail(const Segment& segment, uint64_t position) const;
  // Passes the committed entries of [from, to) to `visit` until it says false.
  void visit(const SegmentReference& segment, EntryPlace from, uint64_t to, Visit visit, std::function<void(Status)> done);
  void search_block(const SegmentReference& segment, size_t sample, int64_t start_offset, int64_t timestamp_min,
                    std::function<void(Result<std::optional<TimestampOutcome>>)> done);
  Result<ReadOutcome> check(const Segment& segment, Selection selection, const MemoryReference& memory, uint64_t from) const;
  Error damaged(const Segment& segment, uint64_t position) const;

  LogContext& context_;
  const EntryLayout& layout_;
  const std::string directory_;
};

}  // namespace haulout
