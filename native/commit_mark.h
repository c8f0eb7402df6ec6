// The last bytes of every write: where it began and where it ended. Recovery tells by it a torn write from damage to what was
// acknowledged (docs/storage.md, "Commit mark").
#pragma once

#include <cstring>
#include <optional>

#include "byte_order.h"
#include "crc32c.h"

namespace haulout {

constexpr size_t kCommitMarkBytes = 32;
constexpr uint64_t kCommitMarkAlignment = 8;
constexpr char kCommitMarkMagic[] = "HAULMARK";

struct CommitMark {
  // Everything before it was on stable storage when the write began: under a durable policy, where its first entry begins.
  int64_t begin;
  int64_t end;
};

inline void store_mark(uint8_t* at, const CommitMark& mark) {
  std::memcpy(at, kCommitMarkMagic, 8);
  store_i64(at + 8, mark.begin);
  store_i64(at + 16, mark.end);
  store_u32(at + 24, crc32c(0, at, 24));
  store_u32(at + 28, 0);
}

// The mark that stands at `position`, if one does.
inline std::optional<CommitMark> load_mark(const uint8_t* at, uint64_t position) {
  if (std::memcmp(at, kCommitMarkMagic, 8) != 0 || load_u32(at + 24) != crc32c(0, at, 24)) return std::nullopt;
  const CommitMark mark{load_i64(at + 8), load_i64(at + 16)};
  if (mark.begin < 0 || mark.begin >= mark.end) return std::nullopt;
  if (align_up(static_cast<uint64_t>(mark.end), kCommitMarkAlignment) != position) return std::nullopt;
  return mark;
}

}  // namespace haulout
