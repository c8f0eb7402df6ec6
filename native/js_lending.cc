#include "js_lending.h"

namespace haulout {

size_t Lending::lend(Napi::Env env, const ReadOutcome& outcome) {
  const size_t count = kNumbersOfRead + outcome.parts.size() * kNumbersOfPart;
  if (count > numbers_max_) return 0;
  for (const Slice& part : outcome.parts) {
    if (part.memory->region == nullptr) return 0;
  }
  if (free_loans_.empty()) {
    free_loans_.push_back(loans_.size());
    loans_.emplace_back();
  }
  const size_t loan = free_loans_.back();
  if (!outcome.parts.empty()) free_loans_.pop_back();
  double* at = numbers_;
  *at++ = outcome.parts.empty() ? -1 : static_cast<double>(loan);
  *at++ = static_cast<double>(outcome.bytes);
  *at++ = static_cast<double>(outcome.next_offset);
  *at++ = outcome.segment_ended ? 1 : 0;
  for (const Slice& part : outcome.parts) {
    const MemoryRegion& region = *part.memory->region;
    show(env, region);
    loans_[loan].push_back(part.memory);
    *at++ = region.number;
    *at++ = static_cast<double>(part.data - region.data);
    *at++ = static_cast<double>(part.bytes);
  }
  return count;
}

void Lending::give_back(size_t loan) {
  if (loan >= loans_.size() || loans_[loan].empty()) return;
  loans_[loan].clear();
  free_loans_.push_back(loan);
}

// The pool stays as long as JavaScript can see the region, so the region does.
void Lending::show(Napi::Env env, const MemoryRegion& region) {
  if (region.number >= shown_.size()) shown_.resize(region.number + 1);
  if (shown_[region.number]) return;
  shown_[region.number] = true;
  const auto release = [](Napi::Env, void*, std::shared_ptr<MemoryPool>* held) { delete held; };
  auto* held = new std::shared_ptr<MemoryPool>(region.pool.shared_from_this());
  regions_.Set(region.number, Napi::ArrayBuffer::New(env, region.data, region.bytes, release, held));
}

}  // namespace haulout
