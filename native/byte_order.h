// Big-endian integers in memory that need not be aligned. Everything on disk is big-endian.
#pragma once

#include <cstdint>
#include <cstring>

namespace haulout {

inline uint32_t load_u32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap32(value);
}

inline int32_t load_i32(const uint8_t* at) { return static_cast<int32_t>(load_u32(at)); }

inline int64_t load_i64(const uint8_t* at) {
  uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<int64_t>(__builtin_bswap64(value));
}

inline void store_u32(uint8_t* at, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, sizeof value);
}

inline void store_i64(uint8_t* at, int64_t value) {
  const uint64_t swapped = __builtin_bswap64(static_cast<uint64_t>(value));
  std::memcpy(at, &swapped, sizeof swapped);
}

inline uint64_t align_down(uint64_t value, uint64_t unit) { return value / unit * unit; }
inline uint64_t align_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace haulout
