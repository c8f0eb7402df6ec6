#include "segment_codec.h"

#include <cstring>

#ifdef HAULOUT_ZSTD
#include <zstd.h>
#endif
#ifdef HAULOUT_LZ4
#include <lz4.h>
#endif

namespace haulout {
namespace {

[[maybe_unused]] constexpr int kZstdLevel = 3;

// Of lz4: version 1, independent blocks of at most 256 KiB, no checksums; the last byte is the frame's own check of the two before it.
[[maybe_unused]] constexpr uint8_t kLz4FrameStart[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb};
[[maybe_unused]] constexpr size_t kLz4BlockAt = sizeof kLz4FrameStart + 4;
[[maybe_unused]] constexpr size_t kLz4EndBytes = 4;
// The block stands there as it is.
[[maybe_unused]] constexpr uint32_t kLz4PlainFlag = 0x80000000;

[[maybe_unused]] void store_little(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = static_cast<uint8_t>(value >> (8 * i));
}

[[maybe_unused]] uint32_t load_little(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
}

#ifdef HAULOUT_ZSTD
bool compress_zstd(const uint8_t* plain, size_t bytes, std::vector<uint8_t>& frames) {
  const size_t begin = frames.size();
  frames.resize(begin + ZSTD_compressBound(bytes));
  const size_t made = ZSTD_compress(frames.data() + begin, frames.size() - begin, plain, bytes, kZstdLevel);
  if (ZSTD_isError(made)) return false;
  frames.resize(begin + made);
  return true;
}

bool open_zstd(const uint8_t* frame, size_t bytes, uint8_t* plain, size_t plain_bytes) {
  return ZSTD_decompress(plain, plain_bytes, frame, bytes) == plain_bytes;
}
#endif

#ifdef HAULOUT_LZ4
bool compress_lz4(const uint8_t* plain, size_t bytes, std::vector<uint8_t>& frames) {
  const size_t begin = frames.size();
  const size_t space = static_cast<size_t>(LZ4_compressBound(static_cast<int>(bytes)));
  frames.resize(begin + kLz4BlockAt + space + kLz4EndBytes);
  uint8_t* const frame = frames.data() + begin;
  std::memcpy(frame, kLz4FrameStart, sizeof kLz4FrameStart);
  size_t made = static_cast<size_t>(LZ4_compress_default(reinterpret_cast<const char*>(plain), reinterpret_cast<char*>(frame + kLz4BlockAt),
                                                         static_cast<int>(bytes), static_cast<int>(space)));
  if (made == 0) return false;
  uint32_t stated = static_cast<uint32_t>(made);
  if (made >= bytes) {
    made = bytes;
    stated = static_cast<uint32_t>(bytes) | kLz4PlainFlag;
    std::memcpy(frame + kLz4BlockAt, plain, bytes);
  }
  store_little(frame + sizeof kLz4FrameStart, stated);
  store_little(frame + kLz4BlockAt + made, 0);
  frames.resize(begin + kLz4BlockAt + made + kLz4EndBytes);
  return true;
}

bool open_lz4(const uint8_t* frame, size_t bytes, uint8_t* plain, size_t plain_bytes) {
  if (bytes < kLz4BlockAt + kLz4EndBytes) return false;
  const uint32_t stated = load_little(frame + sizeof kLz4FrameStart);
  const size_t block_bytes = bytes - kLz4BlockAt - kLz4EndBytes;
  if ((stated & ~kLz4PlainFlag) != block_bytes) return false;
  if (stated & kLz4PlainFlag) {
    if (block_bytes != plain_bytes) return false;
    std::memcpy(plain, frame + kLz4BlockAt, plain_bytes);
    return true;
  }
  const int made = LZ4_decompress_safe(reinterpret_cast<const char*>(frame + kLz4BlockAt), reinterpret_cast<char*>(plain),
                                       static_cast<int>(block_bytes), static_cast<int>(plain_bytes));
  return made >= 0 && static_cast<size_t>(made) == plain_bytes;
}
#endif

}  // namespace

const char* name_of(SegmentCodec codec) {
  switch (codec) {
    case SegmentCodec::none: return "none";
    case SegmentCodec::zstd: return "zstd";
    case SegmentCodec::lz4: return "lz4";
  }
  return "none";
}

std::optional<SegmentCodec> codec_named(const std::string& name) {
  for (const SegmentCodec codec : {SegmentCodec::none, SegmentCodec::zstd, SegmentCodec::lz4}) {
    if (name == name_of(codec)) return codec;
  }
  return std::nullopt;
}

const char* suffix_of(SegmentCodec codec) {
  switch (codec) {
    case SegmentCodec::none: return "";
    case SegmentCodec::zstd: return ".zst";
    case SegmentCodec::lz4: return ".lz4";
  }
  return "";
}

bool has_codec(SegmentCodec codec) {
  switch (codec) {
    case SegmentCodec::none: return true;
#ifdef HAULOUT_ZSTD
    case SegmentCodec::zstd: return true;
#endif
#ifdef HAULOUT_LZ4
    case SegmentCodec::lz4: return true;
#endif
    default: return false;
  }
}

std::string lacks(SegmentCodec codec) {
  const std::string library = std::string("lib") + name_of(codec);
  return "which this build of the engine does not have: install " + library + " with its header (" + library +
         "-dev in Debian) and build the engine again";
}

bool compress_block([[maybe_unused]] SegmentCodec codec, [[maybe_unused]] const uint8_t* plain, [[maybe_unused]] size_t bytes,
                    [[maybe_unused]] std::vector<uint8_t>& frames) {
#ifdef HAULOUT_ZSTD
  if (codec == SegmentCodec::zstd) return compress_zstd(plain, bytes, frames);
#endif
#ifdef HAULOUT_LZ4
  if (codec == SegmentCodec::lz4) return compress_lz4(plain, bytes, frames);
#endif
  return false;
}

bool open_block([[maybe_unused]] SegmentCodec codec, [[maybe_unused]] const uint8_t* frame, [[maybe_unused]] size_t bytes,
                [[maybe_unused]] uint8_t* plain, [[maybe_unused]] size_t plain_bytes) {
#ifdef HAULOUT_ZSTD
  if (codec == SegmentCodec::zstd) return open_zstd(frame, bytes, plain, plain_bytes);
#endif
#ifdef HAULOUT_LZ4
  if (codec == SegmentCodec::lz4) return open_lz4(frame, bytes, plain, plain_bytes);
#endif
  return false;
}

}  // namespace haulout
