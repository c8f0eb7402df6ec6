// Aligned memory, counted and used again. A block goes back to its pool when the last reference to it goes: a reader's Buffer, a
// write under way and a log's tail each hold one, so a block can never be used again while anybody looks at it.
//
// Large blocks lie in regions of huge pages. The device is told of memory page by page: a transfer of 1 MiB into pages of 4 KiB takes 256
// descriptors, which is all that a virtio queue may have, and a pin of every page; in huge pages it takes one. Small ones lie in small
// regions of their own: malloc(3) needs two pages for one that is aligned, and ten thousand idle logs have one each.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace haulout {

constexpr uint64_t kBlockBytes = 4096;

class MemoryPool;

// Where blocks lie. It stays where it is as long as its pool, so who has a reference to that may look at it as a whole.
struct MemoryRegion {
  MemoryPool& pool;
  // Different for each of a pool, the smallest first.
  const uint32_t number;
  uint8_t* const data;
  const size_t bytes;
};

struct Memory {
  uint8_t* data;
  size_t bytes;
  // None if it is larger than any.
  const MemoryRegion* region = nullptr;
};

using MemoryReference = std::shared_ptr<Memory>;

// A run of bytes, and the reference that keeps them.
struct Slice {
  MemoryReference memory;
  const uint8_t* data;
  size_t bytes;
};

// Memory that begins with a huge page, where the system gives any; else it has pages of 4 KiB. Null when there is none; given back by munmap(2).
uint8_t* map_huge(size_t bytes);

// Where a run of `count` ones begins in `bits`, the lowest first; -1 if there is none.
int find_run(uint64_t bits, unsigned count);

// Used from any thread, because whoever reads may let go of a block at any time. Outlives its store as long as a block is referenced.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // `bytes` is a multiple of 4 KiB. Empty when there is no memory.
  MemoryReference take(size_t bytes);

  size_t bytes_taken() const { return bytes_taken_; }
  // Of the regions that have memory, whether taken or free.
  size_t bytes_mapped() const;

  static constexpr size_t kLargeBytes = size_t{1} << 20;

 private:
  static constexpr unsigned kUnits = 64;

  // 64 units, of which those that are free have their bit set.
  struct Region : MemoryRegion {
    uint64_t free;
    // Of itself in its list.
    size_t index;
    // What is free beyond what is kept gives its memory up, and gets new one when it is used again.
    bool has_memory = true;
  };

  // Regions of one size. The first one that has room is used, so that the last ones become free.
  struct Regions {
    size_t unit_bytes;
    // A burst frees as much as the tails hold, and fresh pages cost more than the copy into them.
    size_t free_bytes_max;
    std::vector<std::unique_ptr<Region>> list = {};
    // All before it are taken to the last unit.
    size_t first_with_room = 0;
    // Of which nothing is taken, and which have memory.
    size_t free_count = 0;

    size_t region_bytes() const { return kUnits * unit_bytes; }
    unsigned units_of(size_t bytes) const { return bytes == 0 ? 1 : static_cast<unsigned>((bytes + unit_bytes - 1) / unit_bytes); }
  };

  static uint8_t* map(const Regions& regions);
  static void give_up_free(Regions& regions);

  Region* add_region(Regions& regions);
  Memory* take_units(Regions& regions, size_t bytes, Region*& region);
  void give_back(Memory* memory, Region* region);
  bool is_small(size_t bytes) const { return bytes < large_.unit_bytes; }

  std::atomic<size_t> bytes_taken_ = 0;
  mutable std::mutex mutex_;
  uint32_t region_count_ = 0;
  Regions small_{kBlockBytes, size_t{2} << 20};
  Regions large_{size_t{64} << 10, size_t{32} << 20};
};

}  // namespace haulout
