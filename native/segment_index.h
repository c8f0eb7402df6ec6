// What is known of a segment without reading its entries, and the file that keeps it (docs/storage.md, "Index").
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "entry_layout.h"

namespace haulout {

struct Sample {
  int64_t base_offset;
  int64_t position;
  // Largest timestamp of this entry and those before the next sample; -1 for none.
  int64_t timestamp_max;
};

struct SegmentSummary {
  int64_t base_offset = 0;
  int64_t end_offset = 0;
  int64_t bytes = 0;
  int64_t timestamp_max = -1;
  // Base offset of the first entry with that timestamp.
  int64_t timestamp_max_offset = -1;
  // Sealed by a clean close: the log may go on in this segment.
  bool may_go_on = false;
  // Count of entries, and when the first one was appended, by the wall clock; -1 where it is not known.
  int64_t entry_count = 0;
  int64_t first_append_ms = -1;
  // CRC-32C of the segment's bytes. Nothing where its beginning was indexed without one.
  std::optional<uint32_t> checksum = 0;
};

// What an index was when the segment ended at `position()`: enough to make it again from what it has become since.
struct IndexPoint {
  SegmentSummary summary;
  size_t sample_count = 0;
  int64_t last_timestamp_max = -1;

  uint64_t position() const { return static_cast<uint64_t>(summary.bytes); }
  int64_t offset() const { return summary.end_offset; }
};

struct SegmentIndex {
  SegmentSummary summary;
  std::vector<Sample> samples;

  IndexPoint point() const;
  SegmentIndex at(const IndexPoint& point) const;
  // Takes in the entry that follows those it knows; `prefix` are its bytes before those that its own checksum covers.
  void add(const EntryHeader& header, const uint8_t* prefix, size_t prefix_bytes);
  // Position of an entry at or before the one that contains `offset`.
  const Sample& sample_for(int64_t offset) const;
};

constexpr size_t kIndexHeaderBytes = 88;
constexpr size_t kSampleBytes = 24;

// `partial` is a recovery point: it covers the first bytes of a segment that is not sealed.
enum class IndexKind { sealed, partial };

std::vector<uint8_t> encode_index(const SegmentIndex& index, IndexKind kind = IndexKind::sealed);

// Nothing unless header and version are right, the base offset is that of the segment, and its bytes are covered: all of them by the
// index of a sealed segment, and no more than there are by a partial one.
std::optional<SegmentSummary> decode_summary(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes,
                                              IndexKind kind = IndexKind::sealed);
std::optional<SegmentIndex> decode_index(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes,
                                          IndexKind kind = IndexKind::sealed);

}  // namespace haulout
