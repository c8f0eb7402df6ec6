#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#endif

namespace haulout {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

size_t rounded_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

uint64_t ones(unsigned count) { return count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

}  // namespace

uint8_t* map_huge(size_t bytes) {
  const size_t whole = bytes + kHugePageBytes;
  void* mapped = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* start = static_cast<uint8_t*>(mapped);
  const size_t before = rounded_up(reinterpret_cast<uintptr_t>(start), kHugePageBytes) - reinterpret_cast<uintptr_t>(start);
  if (before > 0) ::munmap(start, before);
  if (before < kHugePageBytes) ::munmap(start + before + bytes, kHugePageBytes - before);
  (void)::madvise(start + before, bytes, MADV_HUGEPAGE);
  return start + before;
}

int find_run(uint64_t bits, unsigned count) {
  // A bit of `bits` says that a run of `length` begins there; two runs that touch or overlap are a longer one.
  for (unsigned length = 1; length < count;) {
    const unsigned more = std::min(length, count - length);
    bits &= bits >> more;
    length += more;
  }
  return bits == 0 ? -1 : std::countr_zero(bits);
}

MemoryPool::~MemoryPool() {
  for (const auto& region : regions_) {
    ASAN_UNPOISON_MEMORY_REGION(region->data, kRegionBytes);
    ::munmap(region->data, kRegionBytes);
  }
}

MemoryReference MemoryPool::take(size_t bytes) {
  Region* region = nullptr;
  Memory* memory = nullptr;
  if (bytes >= kUnitBytes && bytes <= kRegionBytes) {
    memory = take_units(bytes, region);
  } else {
    const bool is_small = bytes < kUnitBytes;
    auto* data = is_small ? static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, bytes)) : map_huge(bytes);
    if (data != nullptr) memory = new Memory{data, bytes};
  }
  if (memory == nullptr) return nullptr;
  bytes_taken_ += bytes;
  return MemoryReference(memory, [pool = shared_from_this(), region](Memory* memory) { pool->give_back(memory, region); });
}

size_t MemoryPool::bytes_mapped() const {
  const std::lock_guard lock(mutex_);
  return regions_.size() * kRegionBytes;
}

Memory* MemoryPool::take_units(size_t bytes, Region*& region) {
  const auto count = static_cast<unsigned>(rounded_up(bytes, kUnitBytes) / kUnitBytes);
  const std::lock_guard lock(mutex_);
  int unit = -1;
  for (const auto& each : regions_) {
    region = each.get();
    if ((unit = find_run(region->free, count)) >= 0) break;
  }
  if (unit < 0) {
    uint8_t* data = map_huge(kRegionBytes);
    if (data == nullptr) return nullptr;
    ASAN_POISON_MEMORY_REGION(data, kRegionBytes);
    region = regions_.emplace_back(new Region{data, ones(64)}).get();
    unit = 0;
  }
  region->free &= ~(ones(count) << unit);
  uint8_t* data = region->data + static_cast<size_t>(unit) * kUnitBytes;
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  return new Memory{data, bytes};
}

void MemoryPool::give_back(Memory* memory, Region* region) {
  const std::unique_ptr<Memory> given(memory);
  bytes_taken_ -= given->bytes;
  if (region == nullptr) {
    if (given->bytes < kUnitBytes) std::free(given->data);
    else ::munmap(given->data, given->bytes);
    return;
  }
  const auto count = static_cast<unsigned>(rounded_up(given->bytes, kUnitBytes) / kUnitBytes);
  const auto unit = static_cast<size_t>(given->data - region->data) / kUnitBytes;
  ASAN_POISON_MEMORY_REGION(given->data, count * kUnitBytes);
  const std::lock_guard lock(mutex_);
  region->free |= ones(count) << unit;
  if (region->free == ones(64)) drop_free_regions();
}

void MemoryPool::drop_free_regions() {
  size_t free_bytes = 0;
  std::erase_if(regions_, [&](const std::unique_ptr<Region>& region) {
    if (region->free != ones(64)) return false;
    free_bytes += kRegionBytes;
    if (free_bytes <= kFreeBytesMax) return false;
    ASAN_UNPOISON_MEMORY_REGION(region->data, kRegionBytes);
    ::munmap(region->data, kRegionBytes);
    return true;
  });
}

}  // namespace haulout
