#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace haulout {
namespace {

// Slicing by 8: table[k][b] is the checksum of byte b followed by k zero bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_by_instruction(uint32_t crc, const uint8_t* data, size_t bytes) {
  uint64_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof word);
    state = _mm_crc32_u64(state, word);
  }
  auto narrow = static_cast<uint32_t>(state);
  for (; bytes > 0; bytes--, data++) narrow = _mm_crc32_u8(narrow, *data);
  return ~narrow;
}

// A function-local constant: decided on first use, safe in any thread, and no work when the addon is loaded.
bool has_instruction() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
uint32_t crc32c_by_instruction(uint32_t crc, const uint8_t* data, size_t bytes) {
  uint32_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof word);
    state = __crc32cd(state, word);
  }
  for (; bytes > 0; bytes--, data++) state = __crc32cb(state, *data);
  return ~state;
}

bool has_instruction() { return true; }
#else
uint32_t crc32c_by_instruction(uint32_t crc, const uint8_t* data, size_t bytes) { return crc32c_by_table(crc, data, bytes); }
bool has_instruction() { return false; }
#endif

}  // namespace

uint32_t crc32c_by_table(uint32_t crc, const uint8_t* data, size_t bytes) {
  uint32_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    const uint32_t low = state ^ (data[0] | data[1] << 8 | data[2] << 16 | static_cast<uint32_t>(data[3]) << 24);
    state = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^ kTables[5][(low >> 16) & 0xff] ^ kTables[4][low >> 24] ^
            kTables[3][data[4]] ^ kTables[2][data[5]] ^ kTables[1][data[6]] ^ kTables[0][data[7]];
  }
  for (; bytes > 0; bytes--, data++) state = (state >> 8) ^ kTables[0][(state ^ *data) & 0xff];
  return ~state;
}

uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t bytes) {
  return has_instruction() ? crc32c_by_instruction(crc, data, bytes) : crc32c_by_table(crc, data, bytes);
}

}  // namespace haulout
