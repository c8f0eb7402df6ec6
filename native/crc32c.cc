#include "crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
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
// The instruction takes a word in each cycle and gives its result three cycles later, so three runs of bytes are summed side by side. A state
// is carried past the bytes of another run by a table: summing is linear, so each byte of the state has its own share of the outcome.
using Carry = std::array<std::array<uint32_t, 256>, 4>;

constexpr Carry make_carry(size_t bytes) {
  std::array<uint32_t, 32> of_bit{};
  for (int bit = 0; bit < 32; bit++) {
    uint32_t state = 1u << bit;
    for (size_t byte = 0; byte < bytes; byte++) state = (state >> 8) ^ kTables[0][state & 0xff];
    of_bit[bit] = state;
  }
  Carry carry{};
  for (int part = 0; part < 4; part++) {
    for (int byte = 0; byte < 256; byte++) {
      for (int bit = 0; bit < 8; bit++) carry[part][byte] ^= byte >> bit & 1 ? of_bit[8 * part + bit] : 0;
    }
  }
  return carry;
}

constexpr size_t kLongRunBytes = 1024;
constexpr size_t kShortRunBytes = 128;
constexpr size_t kCacheLineBytes = 64;
constexpr size_t kRunsAhead = 6;
constexpr Carry kLongCarry = make_carry(kLongRunBytes);
constexpr Carry kShortCarry = make_carry(kShortRunBytes);

uint64_t carried(const Carry& carry, uint64_t state) {
  return carry[0][state & 0xff] ^ carry[1][state >> 8 & 0xff] ^ carry[2][state >> 16 & 0xff] ^ carry[3][state >> 24];
}

template <size_t kRunBytes>
__attribute__((target("sse4.2"))) uint64_t three_runs(const Carry& carry, uint64_t state, const uint8_t*& data, size_t& bytes) {
  for (; bytes >= 3 * kRunBytes; bytes -= 3 * kRunBytes, data += 3 * kRunBytes) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t at = 0; at < kRunBytes; at += 8) {
      // Three runs side by side are more than the processor foresees by itself: what the device has just written is not in its caches.
      if (kRunBytes == kLongRunBytes && at % kCacheLineBytes == 0) {
        for (size_t run = 0; run < 3; run++) __builtin_prefetch(data + (kRunsAhead + run) * kRunBytes + at);
      }
      uint64_t words[3];
      for (size_t run = 0; run < 3; run++) std::memcpy(&words[run], data + run * kRunBytes + at, 8);
      state = _mm_crc32_u64(state, words[0]);
      second = _mm_crc32_u64(second, words[1]);
      third = _mm_crc32_u64(third, words[2]);
    }
    state = carried(carry, carried(carry, state) ^ second) ^ third;
  }
  return state;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_by_instruction(uint32_t crc, const uint8_t* data, size_t bytes) {
  uint64_t state = ~crc;
  state = three_runs<kLongRunBytes>(kLongCarry, state, data, bytes);
  state = three_runs<kShortRunBytes>(kShortCarry, state, data, bytes);
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

constexpr uint32_t power_of_x(unsigned exponent) {
  uint32_t power = 0x80000000u;
  for (unsigned i = 0; i < exponent; i++) power = power >> 1 ^ (0x82f63b78u & (0u - (power & 1)));
  return power;
}

// Bytes folded at once: sixteen lanes of 128 bits. Each is multiplied by what so many bits more do to a checksum, and the next bytes are
// added; what is left in the lanes has the same checksum as all the bytes that went into them. Of the two halves of a lane the first stands
// 64 bits before the second, and the product of two halves is 33 bits off.
constexpr size_t kFoldedBytes = 256;
constexpr long long kFoldFirst = power_of_x(8 * kFoldedBytes + 64 - 33);
constexpr long long kFoldSecond = power_of_x(8 * kFoldedBytes - 33);

// The state is in the lanes.
uint32_t sum_of_lanes(const void* lanes, const uint8_t* rest, size_t bytes) {
  return crc32c_by_instruction(crc32c_by_instruction(~0u, static_cast<const uint8_t*>(lanes), kFoldedBytes), rest, bytes);
}

// Two lanes in a vector. Processors foresee one run of bytes from its beginning to its end, so nothing has to be fetched ahead.
__attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2"))) uint32_t crc32c_by_avx2(uint32_t crc, const uint8_t* data, size_t bytes) {
  constexpr size_t kVectors = kFoldedBytes / sizeof(__m256i);
  const __m256i fold = _mm256_set_epi64x(kFoldSecond, kFoldFirst, kFoldSecond, kFoldFirst);
  __m256i lanes[kVectors];
  std::memcpy(lanes, data, sizeof lanes);
  lanes[0] = _mm256_xor_si256(lanes[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128(static_cast<int>(~crc))));
  for (data += kFoldedBytes, bytes -= kFoldedBytes; bytes >= kFoldedBytes; data += kFoldedBytes, bytes -= kFoldedBytes) {
    for (size_t i = 0; i < kVectors; i++) {
      const __m256i first = _mm256_clmulepi64_epi128(lanes[i], fold, 0x00);
      const __m256i second = _mm256_clmulepi64_epi128(lanes[i], fold, 0x11);
      const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data) + i);
      lanes[i] = _mm256_xor_si256(_mm256_xor_si256(first, second), next);
    }
  }
  return sum_of_lanes(lanes, data, bytes);
}

// Four. As above: what the device has just written is not in the processor's caches.
constexpr size_t kFoldBytesAhead = 4096;

__attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2"))) uint32_t crc32c_by_avx512(uint32_t crc, const uint8_t* data, size_t bytes) {
  constexpr size_t kVectors = kFoldedBytes / sizeof(__m512i);
  const __m512i fold = _mm512_set_epi64(kFoldSecond, kFoldFirst, kFoldSecond, kFoldFirst, kFoldSecond, kFoldFirst, kFoldSecond, kFoldFirst);
  __m512i lanes[kVectors];
  std::memcpy(lanes, data, sizeof lanes);
  lanes[0] = _mm512_xor_si512(lanes[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc))));
  for (data += kFoldedBytes, bytes -= kFoldedBytes; bytes >= kFoldedBytes; data += kFoldedBytes, bytes -= kFoldedBytes) {
    for (size_t i = 0; i < kVectors; i++) {
      __builtin_prefetch(data + kFoldBytesAhead + i * kCacheLineBytes);
      const __m512i first = _mm512_clmulepi64_epi128(lanes[i], fold, 0x00);
      const __m512i second = _mm512_clmulepi64_epi128(lanes[i], fold, 0x11);
      constexpr int kXorOfThree = 0x96;
      lanes[i] = _mm512_ternarylogic_epi64(first, second, _mm512_loadu_si512(data + i * sizeof(__m512i)), kXorOfThree);
    }
  }
  return sum_of_lanes(lanes, data, bytes);
}

bool has_avx2() { return has_instruction() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq"); }
bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512f"); }
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

#if !defined(__x86_64__)
uint32_t crc32c_by_avx2(uint32_t crc, const uint8_t* data, size_t bytes) { return crc32c_by_instruction(crc, data, bytes); }
uint32_t crc32c_by_avx512(uint32_t crc, const uint8_t* data, size_t bytes) { return crc32c_by_instruction(crc, data, bytes); }
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

// Polynomials over GF(2) modulo that of the checksum, the highest power in the lowest bit, as the checksum itself.
constexpr uint32_t kOne = 0x80000000u;

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 31; bit >= 0; bit--) {
    product ^= b & (0u - ((a >> bit) & 1));
    b = (b >> 1) ^ (0x82f63b78u & (0u - (b & 1)));
  }
  return product;
}

// powers[k] is x to the power of 8 * 2^k: what 2^k bytes more do to a checksum.
constexpr std::array<uint32_t, 64> make_powers() {
  std::array<uint32_t, 64> powers{};
  powers[0] = kOne >> 8;
  for (size_t k = 1; k < powers.size(); k++) powers[k] = multiply(powers[k - 1], powers[k - 1]);
  return powers;
}

constexpr std::array<uint32_t, 64> kPowers = make_powers();

uint32_t moved_by_table(uint32_t crc, uint64_t bytes) {
  for (size_t k = 0; bytes > 0; k++, bytes >>= 1) {
    if (bytes & 1) crc = multiply(kPowers[k], crc);
  }
  return crc;
}

#if defined(__x86_64__)
// The instruction for checksums reduces a product, and multiplies it by x to the power of 33 in doing so: that is taken out here.
constexpr std::array<uint32_t, 64> make_powers_to_reduce() {
  std::array<uint32_t, 64> powers = kPowers;
  for (uint32_t& power : powers) {
    for (int times = 0; times < 33; times++) power = power & kOne ? (power ^ 0x82f63b78u) << 1 | 1 : power << 1;
  }
  return powers;
}

constexpr std::array<uint32_t, 64> kPowersToReduce = make_powers_to_reduce();

__attribute__((target("sse4.2,pclmul"))) uint32_t moved_by_instruction(uint32_t crc, uint64_t bytes) {
  for (; bytes > 0; bytes &= bytes - 1) {
    const uint32_t power = kPowersToReduce[static_cast<size_t>(std::countr_zero(bytes))];
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(crc), _mm_cvtsi64_si128(power), 0);
    crc = static_cast<uint32_t>(_mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product))));
  }
  return crc;
}

bool can_multiply() {
  static const bool can = has_instruction() && __builtin_cpu_supports("pclmul");
  return can;
}
#else
uint32_t moved_by_instruction(uint32_t crc, uint64_t bytes) { return moved_by_table(crc, bytes); }
bool can_multiply() { return false; }
#endif

}  // namespace

uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes) {
  return (can_multiply() ? moved_by_instruction(first, second_bytes) : moved_by_table(first, second_bytes)) ^ second;
}

uint32_t crc32c_combine_by_table(uint32_t first, uint32_t second, uint64_t second_bytes) {
  return moved_by_table(first, second_bytes) ^ second;
}

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

std::span<const Crc32cMethod> crc32c_methods() {
  // Fewer bytes are summed as quickly by the instruction.
  constexpr size_t kWorthFoldingBytes = 1024;
  constexpr size_t kMethods = 4;
  // Nothing that a destructor ends: what runs at the end of the process sums, too.
  struct Methods {
    std::array<Crc32cMethod, kMethods> all;
    size_t count = 0;
    void add(const Crc32cMethod& method) { all[count++] = method; }
  };
  static const Methods methods = [] {
    Methods found{};
    if (has_avx512()) found.add({"AVX-512", crc32c_by_avx512, kWorthFoldingBytes});
    if (has_avx2()) found.add({"AVX2", crc32c_by_avx2, kWorthFoldingBytes});
    if (has_instruction()) found.add({"instruction", crc32c_by_instruction, 0});
    found.add({"table", crc32c_by_table, 0});
    return found;
  }();
  return {methods.all.data(), methods.count};
}

uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t bytes) {
  const auto methods = crc32c_methods();
  auto method = methods.begin();
  while (bytes < method->bytes_min) ++method;
  return method->sum(crc, data, bytes);
}

}  // namespace haulout
