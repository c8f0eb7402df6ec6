// What segments are compressed with, block by block: each block becomes a whole frame of its codec, so that a run of them is a file which
// the codec's own tools open (docs/storage.md, "Compressed segments"). A build has the codecs whose libraries it found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace haulout {

// The numbers stand in files.
enum class SegmentCodec : uint32_t { none = 0, zstd = 1, lz4 = 2 };

constexpr SegmentCodec kSegmentCodecs[] = {SegmentCodec::zstd, SegmentCodec::lz4};

// As src/log/log.ts has them.
const char* name_of(SegmentCodec codec);
std::optional<SegmentCodec> codec_named(const std::string& name);

// What a file's name ends with behind that of the plain one.
const char* suffix_of(SegmentCodec codec);

// This build has it.
bool has_codec(SegmentCodec codec);
// The end of a sentence about one that it does not have: what to do.
std::string lacks(SegmentCodec codec);

// Appends the block's frame to `frames`; false when there is no memory.
bool compress_block(SegmentCodec codec, const uint8_t* plain, size_t bytes, std::vector<uint8_t>& frames);

// False unless exactly `plain_bytes` come out.
bool open_block(SegmentCodec codec, const uint8_t* frame, size_t bytes, uint8_t* plain, size_t plain_bytes);

}  // namespace haulout
