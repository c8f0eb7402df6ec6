// Aligned memory, counted and used again. A block goes back to its pool when the last reference to it goes: a reader's Buffer, a
// write under way and a log's tail each hold one, so a block can never be used again while anybody looks at it.
#pragma once

#include <atomic>
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
    for (uint8_t* data : free_large_) std::free(data);
  }

  // `bytes` is a multiple of 4 KiB. Empty when there is no memory.
  MemoryReference take(size_t bytes) {
    uint8_t* data = bytes == kLargeBytes ? take_free() : nullptr;
    if (data == nullptr) data = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, bytes));
    if (data == nullptr) return nullptr;
    bytes_taken_ += bytes;
    return MemoryReference(new Memory{data, bytes}, [pool = shared_from_this()](Memory* memory) { pool->give_back(memory); });
  }

  size_t bytes_taken() const { return bytes_taken_; }

  static constexpr size_t kLargeBytes = size_t{1} << 20;

 private:
  uint8_t* take_free() {
    const std::lock_guard lock(mutex_);
    if (free_large_.empty()) return nullptr;
    uint8_t* data = free_large_.back();
    free_large_.pop_back();
    return data;
  }

  bool keep_free(uint8_t* data) {
    const std::lock_guard lock(mutex_);
    if (free_large_.size() == kFreeLargeMax) return false;
    free_large_.push_back(data);
    return true;
  }

  void give_back(Memory* memory) {
    bytes_taken_ -= memory->bytes;
    if (memory->bytes != kLargeBytes || !keep_free(memory->data)) std::free(memory->data);
    delete memory;
  }

  // A burst frees as much as the tails hold, and fresh pages cost more than the copy into them.
  static constexpr size_t kFreeLargeMax = 32;

  std::atomic<size_t> bytes_taken_ = 0;
  std::mutex mutex_;
  std::vector<uint8_t*> free_large_;
};

}  // namespace haulout
