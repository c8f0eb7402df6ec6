// CRC-32C (Castagnoli, RFC 3720): with the processor's widest products of polynomials (VPCLMULQDQ with AVX-512 or AVX2) where it has them,
// with its instruction for checksums where it has that, by table otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace haulout {

// `crc` is the checksum of what came before: 0 at the start, the former result to go on.
uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t bytes);

struct Crc32cMethod {
  const char* name;
  uint32_t (*sum)(uint32_t crc, const uint8_t* data, size_t bytes);
  // Fewer are the next method's.
  size_t bytes_min;
};

// What this processor can do, the fastest first; the last is for any number of bytes on any processor.
std::span<const Crc32cMethod> crc32c_methods();
uint32_t crc32c_by_table(uint32_t crc, const uint8_t* data, size_t bytes);

// The checksum of two runs of bytes that follow each other, from the checksum of each: nothing is read again.
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes);
uint32_t crc32c_combine_by_table(uint32_t first, uint32_t second, uint64_t second_bytes);

}  // namespace haulout
