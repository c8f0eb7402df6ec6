#include "read_ahead.h"

namespace haulout {
namespace {

uint64_t bytes_of(const NextRead& next) { return next.memory == nullptr ? 0 : next.memory->bytes; }

}  // namespace

NextReadReference ReadAhead::take(const SegmentReference& segment, int64_t offset) {
  const auto place = places_.find({segment.get(), offset});
  if (place == places_.end()) return nullptr;
  NextReadReference next = std::move(*place->second);
  oldest_first_.erase(place->second);
  places_.erase(place);
  bytes_ -= bytes_of(*next);
  // Another segment may have come to lie where one was that is gone.
  return next->segment.lock() == segment ? next : nullptr;
}

void ReadAhead::remember(const SegmentReference& segment, const NextReadReference& next) {
  take(segment, next->offset);
  while (!oldest_first_.empty() && (bytes_ + bytes_of(*next) > kBytesMax || oldest_first_.size() == kPlacesMax)) forget_oldest();
  bytes_ += bytes_of(*next);
  next->key = segment.get();
  places_[{segment.get(), next->offset}] = oldest_first_.insert(oldest_first_.end(), next);
}

void ReadAhead::forget_oldest() {
  const NextReadReference oldest = std::move(oldest_first_.front());
  oldest_first_.pop_front();
  bytes_ -= bytes_of(*oldest);
  places_.erase({oldest->key, oldest->offset});
}

}  // namespace haulout
