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
};

struct SegmentIndex {
  SegmentSummary summary;
  std::vector<Sample> samples;

  // Takes in the entry that follows those it knows.
  void add(const EntryHeader& header);
  // Position of an entry at or before the one that contains `offset`.
  const Sample& sample_for(int64_t offset) const;
};

constexpr size_t kIndexHeaderBytes = 72;
constexpr size_t kSampleBytes = 24;

std::vector<uint8_t> encode_index(const SegmentIndex& index);

// Nothing unless header and version are right and the base offset and bytes are those of the segment.
std::optional<SegmentSummary> decode_summary(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes);
std::optional<SegmentIndex> decode_index(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes);

}  // namespace haulout
