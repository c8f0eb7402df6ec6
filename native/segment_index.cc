#include "segment_index.h"

#include <algorithm>
#include <cstring>

namespace haulout {
namespace {

constexpr char kMagic[] = "HAULINDX";
constexpr uint32_t kVersion = 2;
// Without count, time and checksum of the segment.
constexpr uint32_t kVersionBefore = 1;
constexpr size_t kHeaderBytesBefore = 72;
constexpr uint32_t kFlagMayGoOn = 1;
constexpr uint32_t kFlagPartial = 2;
constexpr int64_t kSampleSpacingBytes = 16 * 1024;

size_t header_bytes_of(uint32_t version) { return version == kVersionBefore ? kHeaderBytesBefore : kIndexHeaderBytes; }

// Where version and length fit and the header's checksum is right: how long the header is.
std::optional<size_t> check_header(const uint8_t* data, size_t bytes) {
  if (bytes < kHeaderBytesBefore || std::memcmp(data, kMagic, 8) != 0) return std::nullopt;
  const uint32_t version = load_u32(data + 8);
  if (version != kVersion && version != kVersionBefore) return std::nullopt;
  const size_t header_bytes = header_bytes_of(version);
  const size_t checksum_at = version == kVersion ? 84 : 64;
  if (bytes < header_bytes || load_u32(data + checksum_at) != crc32c(0, data, checksum_at)) return std::nullopt;
  return header_bytes;
}

}  // namespace

void SegmentIndex::add(const EntryHeader& header, const uint8_t* prefix, size_t prefix_bytes) {
  if (samples.empty() || summary.bytes - samples.back().position >= kSampleSpacingBytes) {
    samples.push_back({header.base_offset, summary.bytes, -1});
  }
  samples.back().timestamp_max = std::max(samples.back().timestamp_max, header.timestamp_max);
  if (header.timestamp_max > summary.timestamp_max) {
    summary.timestamp_max = header.timestamp_max;
    summary.timestamp_max_offset = header.base_offset;
  }
  summary.bytes += header.bytes;
  summary.end_offset = header.end_offset();
  if (summary.entry_count >= 0) summary.entry_count++;
  if (!summary.checksum) return;
  const uint64_t rest_bytes = static_cast<uint64_t>(header.bytes) - prefix_bytes;
  summary.checksum = crc32c_combine(crc32c(*summary.checksum, prefix, prefix_bytes), header.checksum, rest_bytes);
}

IndexPoint SegmentIndex::point() const {
  return {summary, samples.size(), samples.empty() ? -1 : samples.back().timestamp_max};
}

SegmentIndex SegmentIndex::at(const IndexPoint& point) const {
  SegmentIndex index{point.summary, {samples.begin(), samples.begin() + static_cast<ptrdiff_t>(point.sample_count)}};
  if (!index.samples.empty()) index.samples.back().timestamp_max = point.last_timestamp_max;
  return index;
}

const Sample& SegmentIndex::sample_for(int64_t offset) const {
  const auto after = std::upper_bound(samples.begin(), samples.end(), offset,
                                      [](int64_t value, const Sample& sample) { return value < sample.base_offset; });
  return after == samples.begin() ? samples.front() : *std::prev(after);
}

std::vector<uint8_t> encode_index(const SegmentIndex& index, IndexKind kind) {
  const SegmentSummary& summary = index.summary;
  const uint32_t version = summary.checksum ? kVersion : kVersionBefore;
  const size_t header_bytes = header_bytes_of(version);
  std::vector<uint8_t> data(header_bytes + index.samples.size() * kSampleBytes);
  uint8_t* at = data.data() + header_bytes;
  for (const Sample& sample : index.samples) {
    store_i64(at, sample.base_offset);
    store_i64(at + 8, sample.position);
    store_i64(at + 16, sample.timestamp_max);
    at += kSampleBytes;
  }
  std::memcpy(data.data(), kMagic, 8);
  store_u32(data.data() + 8, version);
  store_u32(data.data() + 12, kind == IndexKind::partial ? kFlagPartial : summary.may_go_on ? kFlagMayGoOn : 0);
  store_i64(data.data() + 16, summary.base_offset);
  store_i64(data.data() + 24, summary.end_offset);
  store_i64(data.data() + 32, summary.bytes);
  store_i64(data.data() + 40, summary.timestamp_max);
  store_i64(data.data() + 48, summary.timestamp_max_offset);
  store_u32(data.data() + 56, static_cast<uint32_t>(index.samples.size()));
  store_u32(data.data() + 60, crc32c(0, data.data() + header_bytes, data.size() - header_bytes));
  if (version == kVersionBefore) {
    store_u32(data.data() + 64, crc32c(0, data.data(), 64));
    return data;
  }
  store_i64(data.data() + 64, summary.entry_count);
  store_i64(data.data() + 72, summary.first_append_ms);
  store_u32(data.data() + 80, *summary.checksum);
  store_u32(data.data() + 84, crc32c(0, data.data(), 84));
  return data;
}

std::optional<SegmentSummary> decode_summary(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes,
                                             IndexKind kind) {
  const auto header_bytes = check_header(data, bytes);
  if (!header_bytes) return std::nullopt;
  const uint32_t flags = load_u32(data + 12);
  const bool partial = kind == IndexKind::partial;
  if (partial ? flags != kFlagPartial : flags > kFlagMayGoOn) return std::nullopt;
  SegmentSummary summary;
  summary.may_go_on = flags == kFlagMayGoOn;
  summary.base_offset = load_i64(data + 16);
  summary.end_offset = load_i64(data + 24);
  summary.bytes = load_i64(data + 32);
  summary.timestamp_max = load_i64(data + 40);
  summary.timestamp_max_offset = load_i64(data + 48);
  if (*header_bytes == kIndexHeaderBytes) {
    summary.entry_count = load_i64(data + 64);
    summary.first_append_ms = load_i64(data + 72);
    summary.checksum = load_u32(data + 80);
  } else {
    summary.entry_count = -1;
    summary.checksum.reset();
  }
  if (summary.base_offset != base_offset || summary.bytes <= 0) return std::nullopt;
  if (partial ? summary.bytes > segment_bytes : summary.bytes != segment_bytes) return std::nullopt;
  if (summary.end_offset <= summary.base_offset) return std::nullopt;
  return summary;
}

std::optional<SegmentIndex> decode_index(const uint8_t* data, size_t bytes, int64_t base_offset, int64_t segment_bytes,
                                         IndexKind kind) {
  const auto summary = decode_summary(data, bytes, base_offset, segment_bytes, kind);
  if (!summary) return std::nullopt;
  const size_t header_bytes = header_bytes_of(load_u32(data + 8));
  const uint64_t count = load_u32(data + 56);
  const size_t samples_bytes = bytes - header_bytes;
  if (count == 0 || samples_bytes != count * kSampleBytes) return std::nullopt;
  if (load_u32(data + 60) != crc32c(0, data + header_bytes, samples_bytes)) return std::nullopt;
  SegmentIndex index{*summary, {}};
  index.samples.reserve(count);
  for (const uint8_t* at = data + header_bytes; at < data + bytes; at += kSampleBytes) {
    index.samples.push_back({load_i64(at), load_i64(at + 8), load_i64(at + 16)});
  }
  return index;
}

}  // namespace haulout
