// The youngest bytes of a segment, in memory: what is still to be written, and what readers ask for most. A run of aligned chunks
// that follow each other in the file. Bytes once appended never change, so readers and writes share them without a copy.
//
// All tails of a store share one budget: when it is exceeded, the oldest chunks go first. What is not on disk yet stays. A tail that
// lost its last chunk has to begin() again, with the block of the file that the next write begins in; what of that block held entries is
// kept for some tails (begin_again()), because reading it back takes as long as a write.
#pragma once

#include <list>
#include <vector>

#include "entry_layout.h"
#include "memory.h"

namespace haulout {

class Tail;

// Every chunk of every tail, oldest first (but for those that could not go when it was their turn).
struct TailBudget {
  explicit TailBudget(size_t bytes_max) : bytes_max(bytes_max) {}

  // Drops chunks until the budget is kept or nothing can go. After the latter it does not look again until something was written, or
  // much was added: it is called for every append.
  void enforce();
  // So much waits to be written that an append has to wait for its write even where nobody asked for a durable one.
  bool is_crowded() const { return backlog_bytes > bytes_max / 2; }

  // Even after enforce().
  bool is_exceeded() const { return bytes > bytes_max; }

  // Many tails get small chunks: what is not used of the last one counts as well.
  size_t chunk_bytes_max() const;

  const size_t bytes_max;
  // Tails that have a chunk.
  size_t tail_count = 0;
  size_t bytes = 0;
  // Bytes accepted by all logs and not written.
  size_t backlog_bytes = 0;
  // Last blocks of tails that have no chunk, oldest first, and their bytes, which count as well.
  std::list<Tail*> rests;
  size_t rest_bytes = 0;
  size_t rest_bytes_max() const { return bytes_max / 8; }
  // Nothing could go when the chunks had so many bytes; 0 when it is worth looking.
  size_t gave_up_at = 0;
  std::list<Tail*> chunks;
};

class Tail {
 public:
  Tail(MemoryPool& pool, TailBudget& budget) : pool_(pool), budget_(budget) {}
  ~Tail() { clear(); }
  Tail(const Tail&) = delete;
  Tail& operator=(const Tail&) = delete;

  // Empty, to go on at `position` in the file; `block` is what stands there before it in its block of 4 KiB.
  bool begin(uint64_t position, const uint8_t* block);
  // Goes on with what was kept of the last block when the last chunk was dropped; false if nothing was.
  bool begin_again();
  // False when an entry cannot be appended before begin() has been called (again).
  bool has_begun() const { return has_begun_; }
  // Copies one entry to the end with `base_offset` stamped in. False, without effect, when there is no memory.
  bool append(const EntryLayout& layout, const uint8_t* entry, size_t bytes, int64_t base_offset);

  uint64_t end() const { return end_; }
  // The youngest entry known to begin at or before `offset` in memory, if there is one.
  std::optional<EntryPlace> place_for(int64_t offset) const;
  bool covers(uint64_t position) const { return !chunks_.empty() && position >= chunks_.front().start && position < end_; }
  void copy_out(uint64_t position, size_t bytes, uint8_t* to) const;
  void slices(uint64_t from, uint64_t to, std::vector<Slice>& slices) const;

  // Everything below `position` is on disk.
  void set_written(uint64_t position) {
    written_ = position;
    budget_.gave_up_at = 0;
  }
  // Frees the oldest chunk; false if it is needed.
  bool drop_oldest();
  void clear();

 private:
  struct Chunk {
    MemoryReference memory;
    uint64_t start;
    // The first entry that begins in the chunk; -1 if none is known.
    int64_t entry_position;
    int64_t entry_offset;
    std::list<Tail*>::iterator place;

    uint64_t end() const { return start + memory->bytes; }
  };

  bool append_to_chunks(const EntryLayout& layout, const uint8_t* entry, size_t bytes, int64_t base_offset);
  bool reserve(size_t bytes);
  bool add_chunk(uint64_t start, size_t bytes);
  void drop_front();
  void keep_rest();
  std::vector<uint8_t> take_rest();
  size_t index_of(uint64_t position) const;
  void copy_in(const uint8_t* data, size_t bytes);

  // First what every append looks at. `room_` is the end in the last chunk, and so many bytes more fit there, if that knows of an entry.
  uint64_t end_ = 0;
  uint8_t* room_ = nullptr;
  size_t room_bytes_ = 0;
  bool has_begun_ = false;
  uint64_t written_ = 0;
  MemoryPool& pool_;
  TailBudget& budget_;
  std::vector<Chunk> chunks_;
  // The bytes before the end in its block.
  std::vector<uint8_t> rest_;
  std::list<Tail*>::iterator rest_place_;
};

}  // namespace haulout
