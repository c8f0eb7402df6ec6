#include "tail.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace haulout {
namespace {

// A log that is used gets larger chunks: 4 KiB, then four times as much each time.
constexpr size_t kChunkBytesMin = kBlockBytes;
constexpr size_t kChunkBytesMax = MemoryPool::kLargeBytes;
constexpr size_t kManyChunkBytes = size_t{16} << 10;

// How many chunks that cannot go are looked at before giving up for now.
constexpr size_t kUndroppableMax = 64;
constexpr size_t kLookAgainBytes = size_t{1} << 20;

}  // namespace

void TailBudget::enforce() {
  if (bytes <= bytes_max || (gave_up_at > 0 && bytes < gave_up_at + kLookAgainBytes)) return;
  for (size_t stuck = 0; bytes > bytes_max && stuck < kUndroppableMax && stuck < chunks.size();) {
    if (chunks.front()->drop_oldest()) continue;
    chunks.splice(chunks.end(), chunks, chunks.begin());
    stuck++;
  }
  gave_up_at = bytes > bytes_max ? bytes : 0;
}

size_t TailBudget::chunk_bytes_max() const {
  return std::clamp(std::bit_floor(bytes_max / 8 / (tail_count + 1)), kManyChunkBytes, kChunkBytesMax);
}

bool Tail::begin(uint64_t position, const uint8_t* block) {
  clear();
  end_ = position;
  written_ = position;
  const size_t before = position % kBlockBytes;
  has_begun_ = true;
  if (before == 0) return true;
  has_begun_ = false;
  if (!add_chunk(position - before, kChunkBytesMin)) return false;
  std::memcpy(chunks_.back().memory->data, block, before);
  has_begun_ = true;
  return true;
}

bool Tail::begin_again() {
  if (rest_.empty()) return false;
  return begin(end_, take_rest().data());
}

bool Tail::append(const EntryLayout& layout, const uint8_t* entry, size_t bytes, int64_t base_offset) {
  if (bytes > room_bytes_) return append_to_chunks(layout, entry, bytes, base_offset);
  std::memcpy(room_, entry, bytes);
  store_i64(room_ + layout.base_offset_at, base_offset);
  room_ += bytes;
  room_bytes_ -= bytes;
  end_ += bytes;
  return true;
}

bool Tail::append_to_chunks(const EntryLayout& layout, const uint8_t* entry, size_t bytes, int64_t base_offset) {
  if (!reserve(bytes)) return false;
  Chunk& chunk = chunks_[index_of(end_)];
  if (chunk.entry_position < 0) {
    chunk.entry_position = static_cast<int64_t>(end_);
    chunk.entry_offset = base_offset;
  }
  uint8_t stamp[8];
  store_i64(stamp, base_offset);
  const size_t after = layout.base_offset_at + sizeof stamp;
  copy_in(entry, layout.base_offset_at);
  copy_in(stamp, sizeof stamp);
  copy_in(entry + after, bytes - after);
  const Chunk& last = chunks_.back();
  room_ = last.memory->data + (end_ - last.start);
  room_bytes_ = last.entry_position < 0 ? 0 : last.end() - end_;
  return true;
}

bool Tail::reserve(size_t bytes) {
  const size_t before = chunks_.size();
  while (chunks_.empty() || chunks_.back().end() < end_ + bytes) {
    const uint64_t start = chunks_.empty() ? align_down(end_, kBlockBytes) : chunks_.back().end();
    const size_t grown = chunks_.empty() ? kChunkBytesMin : std::min(chunks_.back().memory->bytes * 4, budget_.chunk_bytes_max());
    const size_t needed = align_up(end_ + bytes - start, kBlockBytes);
    if (add_chunk(start, std::min(std::max(grown, needed), kChunkBytesMax))) continue;
    while (chunks_.size() > before) {
      budget_.bytes -= chunks_.back().memory->bytes;
      budget_.chunks.erase(chunks_.back().place);
      chunks_.pop_back();
      if (chunks_.empty()) budget_.tail_count--;
    }
    return false;
  }
  return true;
}

bool Tail::add_chunk(uint64_t start, size_t bytes) {
  MemoryReference memory = pool_.take(bytes);
  if (memory == nullptr) return false;
  if (chunks_.empty()) budget_.tail_count++;
  budget_.bytes += bytes;
  budget_.chunks.push_back(this);
  chunks_.push_back({std::move(memory), start, -1, -1, std::prev(budget_.chunks.end())});
  return true;
}

void Tail::copy_in(const uint8_t* data, size_t bytes) {
  while (bytes > 0) {
    const Chunk& chunk = chunks_[index_of(end_)];
    const size_t now = std::min<size_t>(bytes, chunk.end() - end_);
    std::memcpy(chunk.memory->data + (end_ - chunk.start), data, now);
    data += now;
    bytes -= now;
    end_ += now;
  }
}

size_t Tail::index_of(uint64_t position) const {
  // The end is where most look.
  size_t index = chunks_.size() - 1;
  if (position >= chunks_[index].start) return index;
  const auto after = std::upper_bound(chunks_.begin(), chunks_.end(), position,
                                      [](uint64_t value, const Chunk& chunk) { return value < chunk.start; });
  return static_cast<size_t>(after - chunks_.begin()) - 1;
}

std::optional<EntryPlace> Tail::place_for(int64_t offset) const {
  for (auto chunk = chunks_.rbegin(); chunk != chunks_.rend(); ++chunk) {
    if (chunk->entry_position >= 0 && chunk->entry_offset <= offset) return EntryPlace{chunk->entry_offset, static_cast<uint64_t>(chunk->entry_position)};
  }
  return std::nullopt;
}

void Tail::copy_out(uint64_t position, size_t bytes, uint8_t* to) const {
  for (size_t index = index_of(position); bytes > 0; index++) {
    const Chunk& chunk = chunks_[index];
    const size_t now = std::min<size_t>(bytes, chunk.end() - position);
    std::memcpy(to, chunk.memory->data + (position - chunk.start), now);
    to += now;
    bytes -= now;
    position += now;
  }
}

void Tail::slices(uint64_t from, uint64_t to, std::vector<Slice>& slices) const {
  for (size_t index = from < to ? index_of(from) : 0; from < to; index++) {
    const Chunk& chunk = chunks_[index];
    const size_t now = std::min<uint64_t>(to, chunk.end()) - from;
    slices.push_back({chunk.memory, chunk.memory->data + (from - chunk.start), now});
    from += now;
  }
}

bool Tail::drop_oldest() {
  if (chunks_.empty()) return false;
  const bool is_last = chunks_.size() == 1;
  // The next write begins in the block where the last one ended. Only when nothing is to be written can that block go, too.
  const bool is_written = chunks_.front().end() <= align_down(written_, kBlockBytes);
  if (!is_written && !(is_last && written_ == end_)) return false;
  if (is_last && written_ == end_) keep_rest();
  drop_front();
  if (is_last) has_begun_ = false;
  return true;
}

// The oldest ones make room: who is written to all the time finds its own again.
void Tail::keep_rest() {
  const size_t bytes = end_ % kBlockBytes;
  if (bytes == 0 || bytes > budget_.rest_bytes_max()) return;
  while (budget_.rest_bytes + bytes > budget_.rest_bytes_max()) budget_.rests.front()->take_rest();
  rest_.resize(bytes);
  copy_out(end_ - bytes, bytes, rest_.data());
  rest_place_ = budget_.rests.insert(budget_.rests.end(), this);
  budget_.rest_bytes += bytes;
  budget_.bytes += bytes;
}

std::vector<uint8_t> Tail::take_rest() {
  if (rest_.empty()) return {};
  budget_.rests.erase(rest_place_);
  budget_.rest_bytes -= rest_.size();
  budget_.bytes -= rest_.size();
  return std::exchange(rest_, {});
}

void Tail::drop_front() {
  budget_.bytes -= chunks_.front().memory->bytes;
  budget_.chunks.erase(chunks_.front().place);
  chunks_.erase(chunks_.begin());
  if (!chunks_.empty()) return;
  budget_.tail_count--;
  room_bytes_ = 0;
}

void Tail::clear() {
  has_begun_ = false;
  take_rest();
  while (!chunks_.empty()) drop_front();
}

}  // namespace haulout
