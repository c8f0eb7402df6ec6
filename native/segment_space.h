// Space on the device for segments: how much is needed, and how much is made at once.
#pragma once

#include <cstdint>
#include <string>

#include "files.h"
#include "memory.h"

namespace haulout {

// The first zeros, and the smallest step in which space is made.
constexpr uint64_t kGrowthBytesMin = uint64_t{64} << 10;
// Writing space before it is needed saves a small durable write half of its latency; of larger ones it takes more of the device than it gives.
constexpr size_t kZeroForWritesBelowBytes = 64 << 10;

// How much is made at once behind a segment that is so long, for writes of this size.
uint64_t growth_step(uint64_t segment_bytes, uint64_t write_bytes);

// What a segment with so many bytes of entries needs, the rest of the last block and a commit mark included.
uint64_t space_needed(uint64_t segment_bytes);

// Makes space from `from` to `wanted`, or to `needed` if there is no more. Returns how far it reaches.
Result<uint64_t> make_space(Files& files, int file, const std::string& path, uint64_t from, uint64_t wanted, uint64_t needed);

}  // namespace haulout
