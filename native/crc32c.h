// CRC-32C (Castagnoli, RFC 3720): with the processor's widest products of polynomials (AVX-512 and VPCLMULQDQ) where it has them, with its
// instruction for checksums where it has that, by table otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace haulout {

// `crc` is the checksum of what came before: 0 at the start, the former result to go on.
uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t bytes);

// What processors without the former, and without both, do: for tests to compare.
uint32_t crc32c_without_folding(uint32_t crc, const uint8_t* data, size_t bytes);
uint32_t crc32c_by_table(uint32_t crc, const uint8_t* data, size_t bytes);

// The checksum of two runs of bytes that follow each other, from the checksum of each: nothing is read again.
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes);
uint32_t crc32c_combine_by_table(uint32_t first, uint32_t second, uint64_t second_bytes);

}  // namespace haulout
