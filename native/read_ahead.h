// Where readers of files will go on, and what was read for them meanwhile. Who reads a log from the front to the back asks next for what
// follows the last answer; from the second such read on, that is read while the reader is busy with what it got.
#pragma once

#include <list>
#include <map>

#include "segment.h"

namespace haulout {

// The place behind an answer. The same place may be that of several readers: the first one takes it.
struct NextRead {
  std::weak_ptr<Segment> segment;
  int64_t offset;
  // Of the entry that begins at `offset`.
  uint64_t position;

  // What was read, or is being read: [from, end) of the file. Empty when nothing is.
  MemoryReference memory = nullptr;
  uint64_t from = 0;
  uint64_t end = 0;
  enum class State { under_way, there, failed } state = State::there;
  // Bytes that came, or a negative errno.
  int64_t result = 0;
  // What kept it from being whole, where that is known; what lies before it is there.
  Status damage = std::nullopt;
  // Who waits for it.
  std::function<void()> arrived = nullptr;
  // Under which it is kept, whether or not the segment is still there.
  const Segment* key = nullptr;
};

using NextReadReference = std::shared_ptr<NextRead>;

class ReadAhead {
 public:
  // Takes out what is known of a read at `offset`; empty when it is no continuation.
  NextReadReference take(const SegmentReference& segment, int64_t offset);
  // May make room by forgetting the oldest.
  void remember(const SegmentReference& segment, const NextReadReference& next);
  // Whether so many bytes may be read ahead.
  static bool allows(uint64_t bytes) { return bytes <= kBytesMax / 4; }

 private:
  using Key = std::pair<const Segment*, int64_t>;

  void forget_oldest();

  static constexpr uint64_t kBytesMax = uint64_t{32} << 20;
  static constexpr size_t kPlacesMax = 4096;

  uint64_t bytes_ = 0;
  std::list<NextReadReference> oldest_first_;
  std::map<Key, std::list<NextReadReference>::iterator> places_;
};

}  // namespace haulout
