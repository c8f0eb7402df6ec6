// Small writes under a policy that is not durable, a few at a time. A thousand logs that each write at once what they have keep a device busy with
// pieces of 4 KiB; a log that waits for its turn has more to write when it comes. More are under way when much waits.
//
// When too much waits, appends do: until less does, whichever log that is of. So a little is written, a little is appended, and there is no moment
// at which all logs write and nobody appends.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "tail.h"

namespace haulout {

class SegmentLog;

class WriteTurns {
 public:
  explicit WriteTurns(const TailBudget& budget) : budget_(budget) {}

  // True: it may write, and calls end() when that is over. False: take_turn() is called when it may.
  bool begin(const std::shared_ptr<SegmentLog>& log);
  void end();

  // Too much waits to be written: commit_accepted() is called when clearly less does.
  void hold(const std::shared_ptr<SegmentLog>& log);
  // Something was written.
  void let_go();

 private:
  static constexpr size_t kUnderWayMax = 2;
  static constexpr size_t kUnderWayOfMuchMax = 256;

  size_t under_way_max() const { return budget_.backlog_bytes > budget_.bytes_max / 4 ? kUnderWayOfMuchMax : kUnderWayMax; }

  const TailBudget& budget_;
  std::vector<std::weak_ptr<SegmentLog>> held_;
  size_t under_way_count_ = 0;
  std::deque<std::weak_ptr<SegmentLog>> waiting_;
};

}  // namespace haulout
