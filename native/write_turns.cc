#include "write_turns.h"

#include "segment_log.h"

namespace haulout {

void WriteTurns::hold(const std::shared_ptr<SegmentLog>& log) {
  if (!std::exchange(log->is_held, true)) held_.push_back(log);
}

void WriteTurns::let_go() {
  // Somewhat less, so that they go on for a while.
  if (held_.empty() || budget_.backlog_bytes > budget_.bytes_max / 16 * 7) return;
  for (const auto& held : std::exchange(held_, {})) {
    const auto log = held.lock();
    if (log == nullptr) continue;
    log->is_held = false;
    log->commit_accepted();
  }
}

bool WriteTurns::begin(const std::shared_ptr<SegmentLog>& log) {
  if (under_way_count_ < under_way_max()) {
    under_way_count_++;
    return true;
  }
  if (!log->waits_for_turn) waiting_.push_back(log);
  log->waits_for_turn = true;
  return false;
}

void WriteTurns::end() {
  under_way_count_--;
  while (!waiting_.empty() && under_way_count_ < under_way_max()) {
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
