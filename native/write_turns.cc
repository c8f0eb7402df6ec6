#include "write_turns.h"

#include "segment_log.h"

namespace haulout {

bool WriteTurns::begin(const std::shared_ptr<SegmentLog>& log) {
  if (under_way_count_ < kUnderWayMax) {
    under_way_count_++;
    return true;
  }
  if (!log->waits_for_turn) waiting_.push_back(log);
  log->waits_for_turn = true;
  return false;
}

void WriteTurns::end() {
  under_way_count_--;
  while (!waiting_.empty() && under_way_count_ < kUnderWayMax) {
    const auto log = waiting_.front().lock();
    waiting_.pop_front();
    if (log == nullptr) continue;
    log->waits_for_turn = false;
    under_way_count_++;
    // It may have been written meanwhile, because somebody wanted to be sure.
    if (!log->take_turn()) under_way_count_--;
  }
}

}  // namespace haulout
