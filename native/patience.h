// Waiting for a disk that may never answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <thread>

namespace haulout {

// Asks once a millisecond how much is left, until nothing is. False: as much as before was left for so long.
template <typename Left>
bool wait_until_none(std::chrono::milliseconds patience, Left left) {
  using Clock = std::chrono::steady_clock;
  auto moved_at = Clock::now();
  for (size_t before = left(); before > 0;) {
    if (Clock::now() - moved_at >= patience) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const size_t now = left();
    if (now != before) moved_at = Clock::now();
    before = now;
  }
  return true;
}

}  // namespace haulout
