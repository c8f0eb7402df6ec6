// Where the numbers stand in an entry's header: plain byte positions, as `EntryLayout` in src/log/log.ts says them. The engine knows
// nothing else of what it stores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "byte_order.h"
#include "crc32c.h"

namespace haulout {

// No layout has a larger header; it bounds what is copied when a header crosses two chunks of memory.
constexpr uint32_t kHeaderBytesMax = 256;

// Timestamps come from clients; JavaScript knows whole numbers up to 2^53 - 1.
constexpr int64_t kTimestampMax = (int64_t{1} << 53) - 1;

struct EntryLayout {
  uint32_t header_bytes;
  uint32_t base_offset_at;
  uint32_t length_at;
  uint32_t length_extra_bytes;
  uint32_t magic_at;
  uint8_t magic;
  uint32_t checksum_at;
  uint32_t checksum_from;
  uint32_t last_offset_delta_at;
  uint32_t timestamp_max_at;

  bool operator==(const EntryLayout&) const = default;
};

// The numbers of one entry's header.
struct EntryHeader {
  int64_t base_offset;
  int64_t bytes;
  uint8_t magic;
  uint32_t checksum;
  int32_t last_offset_delta;
  // -1 for none.
  int64_t timestamp_max;

  int64_t end_offset() const { return base_offset + last_offset_delta + 1; }
};

// Where an entry begins: its offset, and its position in the file.
struct EntryPlace {
  int64_t base_offset;
  uint64_t position;
};

inline EntryHeader read_header(const EntryLayout& layout, const uint8_t* entry) {
  return {
      load_i64(entry + layout.base_offset_at),
      int64_t{load_i32(entry + layout.length_at)} + layout.length_extra_bytes,
      entry[layout.magic_at],
      load_u32(entry + layout.checksum_at),
      load_i32(entry + layout.last_offset_delta_at),
      std::clamp<int64_t>(load_i64(entry + layout.timestamp_max_at), -1, kTimestampMax),
  };
}

// What is wrong with a layout; nothing if it can be used. A magic of 0 would make reserved space look like entries.
inline std::optional<std::string> flaw_of(const EntryLayout& layout) {
  const auto inside = [&](uint32_t at, uint32_t bytes) { return at <= kHeaderBytesMax && at + bytes <= layout.header_bytes; };
  if (layout.header_bytes == 0 || layout.header_bytes > kHeaderBytesMax) return "headerBytes must be 1 to 256";
  if (layout.magic == 0) return "magic must not be 0";
  if (layout.length_extra_bytes > layout.header_bytes) return "lengthExtraBytes is larger than headerBytes";
  if (!inside(layout.base_offset_at, 8) || !inside(layout.length_at, 4) || !inside(layout.magic_at, 1) ||
      !inside(layout.checksum_at, 4) || !inside(layout.last_offset_delta_at, 4) || !inside(layout.timestamp_max_at, 8) ||
      layout.checksum_from > layout.header_bytes) {
    return "a field lies outside the header";
  }
  if (layout.base_offset_at + 8 > layout.checksum_from) return "the base offset must lie before the checksummed bytes";
  return std::nullopt;
}

// Everything about an entry that can be told from its own bytes; `available` is what follows from `entry` on.
inline bool is_valid_entry(const EntryLayout& layout, const uint8_t* entry, uint64_t available) {
  if (available < layout.header_bytes) return false;
  const EntryHeader header = read_header(layout, entry);
  if (header.magic != layout.magic || header.last_offset_delta < 0 || header.base_offset < 0) return false;
  if (header.bytes < layout.header_bytes || static_cast<uint64_t>(header.bytes) > available) return false;
  const auto checked = static_cast<size_t>(header.bytes) - layout.checksum_from;
  return crc32c(0, entry + layout.checksum_from, checked) == header.checksum;
}

}  // namespace haulout
