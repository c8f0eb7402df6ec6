#include "segment_space.h"

#include <algorithm>
#include <cerrno>

#include "commit_mark.h"
#include "entry_layout.h"

namespace haulout {
namespace {

// Space is made in steps as long as the segment is already, so a small log stays small, and for some writes at once.
constexpr uint64_t kGrowthBytesMax = uint64_t{16} << 20;
constexpr uint64_t kGrowthWrites = 8;
// What a write may need beyond its entries: the rest of the last block, and the commit mark.
constexpr uint64_t kWriteExtraBytes = 2 * kBlockBytes;

}  // namespace

uint64_t growth_step(uint64_t segment_bytes, uint64_t write_bytes) {
  const uint64_t wanted = std::max(segment_bytes, kGrowthWrites * write_bytes);
  return align_up(std::clamp(wanted, kGrowthBytesMin, kGrowthBytesMax), kBlockBytes);
}

uint64_t space_needed(uint64_t segment_bytes) { return align_up(segment_bytes, kBlockBytes) + kWriteExtraBytes; }

Result<uint64_t> make_space(Files& files, int file, const std::string& path, uint64_t from, uint64_t wanted, uint64_t needed) {
  int result = files.allocate(file, from, wanted - from);
  uint64_t reached = wanted;
  if (result == -ENOSPC && needed < wanted) {
    result = files.allocate(file, from, needed - from);
    reached = needed;
  }
  // A file system that cannot reserve space: a full disk shows when the entry is written.
  if (result == -EOPNOTSUPP) result = files.truncate(file, reached);
  if (result < 0) return file_error("make space in", path, -result);
  return reached;
}

}  // namespace haulout
