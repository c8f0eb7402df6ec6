#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

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
  for (const Regions* regions : {&small_, &large_}) {
    for (const auto& region : regions->list) {
      ASAN_UNPOISON_MEMORY_REGION(region->data, region->bytes);
      ::munmap(region->data, region->bytes);
    }
  }
}

MemoryReference MemoryPool::take(size_t bytes) {
  Region* region = nullptr;
  Memory* memory = nullptr;
  if (bytes <= large_.region_bytes()) memory = take_units(is_small(bytes) ? small_ : large_, bytes, region);
  else if (uint8_t* data = map_huge(bytes)) memory = new Memory{data, bytes};
  if (memory == nullptr) return nullptr;
  bytes_taken_ += bytes;
  return MemoryReference(memory, [pool = shared_from_this(), region](Memory* memory) { pool->give_back(memory, region); });
}

size_t MemoryPool::bytes_mapped() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const Regions* regions : {&small_, &large_}) {
    for (const auto& region : regions->list) bytes += region->has_memory ? region->bytes : 0;
  }
  return bytes;
}

// Whoever has many small blocks has them in ordinary pages: a huge one would be resident as a whole for the first of them.
uint8_t* MemoryPool::map(const Regions& regions) {
  const size_t bytes = regions.region_bytes();
  uint8_t* data = nullptr;
  if (bytes >= kHugePageBytes) {
    data = map_huge(bytes);
  } else if (void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); mapped != MAP_FAILED) {
    data = static_cast<uint8_t*>(mapped);
  }
  if (data != nullptr) ASAN_POISON_MEMORY_REGION(data, bytes);
  return data;
}

MemoryPool::Region* MemoryPool::add_region(Regions& regions) {
  uint8_t* data = map(regions);
  if (data == nullptr) return nullptr;
  regions.free_count++;
  return regions.list.emplace_back(new Region{{*this, region_count_++, data, regions.region_bytes()}, ones(kUnits), regions.list.size()}).get();
}

Memory* MemoryPool::take_units(Regions& regions, size_t bytes, Region*& region) {
  const unsigned count = regions.units_of(bytes);
  const std::lock_guard lock(mutex_);
  auto& list = regions.list;
  while (regions.first_with_room < list.size() && list[regions.first_with_room]->free == 0) regions.first_with_room++;
  int unit = -1;
  for (size_t index = regions.first_with_room; index < list.size() && unit < 0; index++) {
    region = list[index].get();
    unit = find_run(region->free, count);
  }
  if (unit < 0) {
    region = add_region(regions);
    if (region == nullptr) return nullptr;
    unit = 0;
  }
  if (region->free == ones(kUnits) && region->has_memory) regions.free_count--;
  region->has_memory = true;
  region->free &= ~(ones(count) << unit);
  uint8_t* data = region->data + static_cast<size_t>(unit) * regions.unit_bytes;
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  return new Memory{data, bytes, region};
}

void MemoryPool::give_back(Memory* memory, Region* region) {
  const std::unique_ptr<Memory> given(memory);
  bytes_taken_ -= given->bytes;
  if (region == nullptr) {
    ::munmap(given->data, given->bytes);
    return;
  }
  Regions& regions = is_small(given->bytes) ? small_ : large_;
  const unsigned count = regions.units_of(given->bytes);
  const auto unit = static_cast<size_t>(given->data - region->data) / regions.unit_bytes;
  ASAN_POISON_MEMORY_REGION(given->data, count * regions.unit_bytes);
  const std::lock_guard lock(mutex_);
  region->free |= ones(count) << unit;
  regions.first_with_room = std::min(regions.first_with_room, region->index);
  if (region->free == ones(kUnits)) regions.free_count++;
  if (regions.free_count * regions.region_bytes() > regions.free_bytes_max) give_up_free(regions);
}

void MemoryPool::give_up_free(Regions& regions) {
  size_t kept_bytes = 0;
  for (const auto& region : regions.list) {
    if (region->free != ones(kUnits) || !region->has_memory) continue;
    kept_bytes += region->bytes;
    if (kept_bytes <= regions.free_bytes_max) continue;
    // It reads as zeros then.
    (void)::madvise(region->data, region->bytes, MADV_DONTNEED);
    region->has_memory = false;
  }
  regions.free_count = regions.free_bytes_max / regions.region_bytes();
}

}  // namespace haulout
