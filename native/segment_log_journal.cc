// A log's side of the journal: what is small goes there first, in company, and to the log's own file later.
#include <algorithm>

#include "journal.h"
#include "segment_log.h"
#include "write_turns.h"

namespace haulout {

// A flush under a durable policy wants no more than that all is acknowledged.
bool SegmentLog::must_write_file() const {
  const auto needs_file = [this](const Job& job) { return job.kind != Job::Kind::flush || !settings_.durable; };
  return !settings_.durable || writing_->rolled || !after_write_back_.empty() || std::any_of(jobs_.begin(), jobs_.end(), needs_file);
}

bool SegmentLog::has_small_write() const {
  if (busy_ || failure_ || !writing_ || !writing_->prepared || small_write_bytes() == 0) return false;
  return small_write_bytes() <= Journal::kRecordBytesMax && !must_write_file();
}

size_t SegmentLog::small_write_bytes() const { return writing_->bytes() - writing_->kept(); }

uint8_t* SegmentLog::begin_small_write(uint8_t* to) {
  const Segment& segment = *writing_;
  const size_t bytes = small_write_bytes();
  to = store_record(to, {JournalRecord::Kind::bytes, name_, segment.base_offset(), segment.kept(), nullptr, bytes});
  segment.tail.copy_out(segment.kept(), bytes, to);
  small_write_end_ = segment.index.point();
  busy_ = true;
  return to + bytes;
}

void SegmentLog::finish_small_write(bool kept) {
  busy_ = false;
  if (kept) {
    Segment& segment = *writing_;
    lighten(small_write_end_.position() - segment.kept());
    segment.journaled = small_write_end_.position();
    commit(segment, small_write_end_.position(), small_write_end_.offset());
    context_.turns.let_go();
  }
  // At the end of the turn, so that those who were written together are so again.
  context_.dirty(*this);
}

void SegmentLog::write_itself() {
  if (has_small_write()) start_write(writing_);
}

void SegmentLog::lighten(uint64_t bytes) {
  backlog_bytes_ -= bytes;
  context_.budget.backlog_bytes -= bytes;
}

void SegmentLog::write_back(std::function<void()> then) {
  after_write_back_.push_back(std::move(then));
  context_.dirty(*this);
}

void SegmentLog::finish_write_back() {
  for (const auto& then : std::exchange(after_write_back_, {})) then();
}

}  // namespace haulout
