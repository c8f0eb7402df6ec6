// Small writes that nobody waits for, a few at a time. A thousand logs without a durable policy that each write at once what they have keep
// a device busy with pieces of 4 KiB; a log that waits for its turn has more to write when it comes.
#pragma once

#include <deque>
#include <functional>
#include <memory>

namespace haulout {

class SegmentLog;

class WriteTurns {
 public:
  // True: it may write, and calls end() when that is over. False: take_turn() is called when it may.
  bool begin(const std::shared_ptr<SegmentLog>& log);
  void end();

 private:
  static constexpr size_t kUnderWayMax = 2;

  size_t under_way_count_ = 0;
  std::deque<std::weak_ptr<SegmentLog>> waiting_;
};

}  // namespace haulout
