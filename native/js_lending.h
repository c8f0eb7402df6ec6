// What JavaScript reads without owning it: views of the memory pool's regions, and numbers that say where. A Buffer of its own for each read
// would have to be made known to the garbage collector and be taken from it again, which takes a turn of the event loop.
//
// Whoever borrows gives back, by the loan's number, and does not look at the bytes after that: they may be another read's by then.
#pragma once

#include <napi.h>

#include "log_reader.h"

namespace haulout {

class Lending {
 public:
  // `regions` gets an ArrayBuffer for each region in which something was lent, at its number; `numbers` what was lent last.
  Lending(Napi::Array regions, Napi::Float64Array numbers)
      : regions_(Napi::Persistent(regions.As<Napi::Object>())),
        numbers_reference_(Napi::Persistent(numbers.As<Napi::Object>())),
        numbers_(numbers.Data()),
        numbers_max_(numbers.ElementLength()) {}

  // Returns how many numbers it wrote: the loan (-1 for none), bytes, the next offset, whether the segment ended, and for each part its region,
  // where it begins in there, and its bytes. 0 when it cannot be lent so.
  size_t lend(Napi::Env env, const ReadOutcome& outcome);
  const double* numbers() const { return numbers_; }
  void give_back(size_t loan);
  // JavaScript is told of nothing any more; what is lent stays so.
  void end() {
    regions_.Reset();
    numbers_reference_.Reset();
  }

 private:
  static constexpr size_t kNumbersOfRead = 4;
  static constexpr size_t kNumbersOfPart = 3;

  void show(Napi::Env env, const MemoryRegion& region);

  Napi::ObjectReference regions_;
  Napi::ObjectReference numbers_reference_;
  double* const numbers_;
  const size_t numbers_max_;
  std::vector<bool> shown_;
  // By number. Numbers are used again.
  std::vector<std::vector<MemoryReference>> loans_;
  std::vector<size_t> free_loans_;
};

}  // namespace haulout
