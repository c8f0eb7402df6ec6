// Aligned memory, counted and used again. A block goes back to its pool when the last reference to it goes: a reader's Buffer, a
// write under way and a log's tail each hold one, so a block can never be used again while anybody looks at it.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

namespace haulout {

constexpr uint64_t kBlockBytes = 4096;

class MemoryPool;

struct Memory {
  uint8_t* data;
  size_t bytes;
};

using MemoryReference = std::shared_ptr<Memory>;

// A run of bytes, and the reference that keeps them.
struct Slice {
  MemoryReference memory;
  const uint8_t* data;
  size_t bytes;
};

// Used from any thread, because whoever reads may let go of a block at any time. Outlives its store as long as a block is referenced.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  ~MemoryPool() {
    for (const auto& blocks : free_) {
      for (uint8_t* data : blocks) std::free(data);
    }
  }

  // `bytes` is a multiple of 4 KiB. Empty when there is no memory.
  MemoryReference take(size_t bytes) {
    const size_t size = std::bit_ceil(bytes);
    const bool kept = size >= kKeptBytesMin && size <= kKeptBytesMax;
    uint8_t* data = kept ? take_free(size) : nullptr;
    if (data == nullptr) data = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kept ? size : bytes));
    if (data == nullptr) return nullptr;
    bytes_taken_ += bytes;
    return MemoryReference(new Memory{data, bytes}, [pool = shared_from_this()](Memory* memory) { pool->give_back(memory); });
  }

  size_t bytes_taken() const { return bytes_taken_; }

  static constexpr size_t kLargeBytes = size_t{1} << 20;

 private:
  static size_t class_of(size_t size) { return static_cast<size_t>(std::countr_zero(size / kKeptBytesMin)); }

  uint8_t* take_free(size_t size) {
    const std::lock_guard lock(mutex_);
    auto& blocks = free_[class_of(size)];
    if (blocks.empty()) return nullptr;
    uint8_t* data = blocks.back();
    blocks.pop_back();
    free_bytes_ -= size;
    return data;
  }

  // What is used now takes the place of what was used before: the sizes that most blocks lie idle of give way.
  bool keep_free(uint8_t* data, size_t size) {
    if (size < kKeptBytesMin || size > kKeptBytesMax) return false;
    const std::lock_guard lock(mutex_);
    while (free_bytes_ + size > kFreeBytesMax) {
      size_t most = 0;
      for (size_t each = 1; each < kClassCount; each++) {
        if (free_[each].size() << each > free_[most].size() << most) most = each;
      }
      if (most == class_of(size)) return false;
      std::free(free_[most].back());
      free_[most].pop_back();
      free_bytes_ -= kKeptBytesMin << most;
    }
    free_[class_of(size)].push_back(data);
    free_bytes_ += size;
    return true;
  }

  void give_back(Memory* memory) {
    bytes_taken_ -= memory->bytes;
    if (!keep_free(memory->data, std::bit_ceil(memory->bytes))) std::free(memory->data);
    delete memory;
  }

  // A burst frees as much as the tails hold, and fresh pages cost more than the copy into them.
  static constexpr size_t kFreeBytesMax = size_t{32} << 20;
  // Smaller blocks are left to malloc, which keeps them itself.
  static constexpr size_t kKeptBytesMin = size_t{64} << 10;
  // Holds what consumers ask for at a time, with what is read besides.
  static constexpr size_t kKeptBytesMax = size_t{4} << 20;

  std::atomic<size_t> bytes_taken_ = 0;
  std::mutex mutex_;
  size_t free_bytes_ = 0;
  // By size: 64 KiB, 128 KiB and so on to 4 MiB.
  static constexpr size_t kClassCount = 7;
  std::vector<uint8_t*> free_[kClassCount];
};

}  // namespace haulout
