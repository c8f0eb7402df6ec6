// What is asked of a log besides appends: flush, roll, truncate, close, and reads.
#include <algorithm>
#include <cerrno>
#include <deque>

#include "journal.h"
#include "log_folder.h"
#include "segment_compressor.h"
#include "segment_log.h"

namespace haulout {
namespace {

constexpr size_t kSparesMax = 4;

}  // namespace

SegmentReference SegmentLog::segment_of(int64_t offset) const {
  const auto after = std::upper_bound(segments_.begin(), segments_.end(), offset,
                                      [](int64_t value, const SegmentReference& each) { return value < each->base_offset(); });
  return after == segments_.begin() ? nullptr : *std::prev(after);
}

void SegmentLog::read(const ReadRequest& request, std::function<void(Result<ReadOutcome>)> done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  if (request.offset < start_offset_ || request.offset > end_offset_) {
    return done(Error{ErrorCode::out_of_range, "offset " + std::to_string(request.offset) + " is not in log " + name_ + " (" +
                                                   std::to_string(start_offset_) + " to " + std::to_string(end_offset_) + ")"});
  }
  const SegmentReference segment = segment_of(request.offset);
  ReadRequest bounded = request;
  bounded.end_offset = std::min(request.end_offset, committed_end_offset_);
  if (segment == nullptr || request.offset >= bounded.end_offset) return done(ReadOutcome{{}, 0, request.offset});
  reader_.read(segment, bounded, [self = shared_from_this(), segment, request, done = std::move(done)](Result<ReadOutcome> outcome) {
    // With the log failed what was not synced, and may be lost: that is no damage.
    const bool is_lost = !outcome && outcome.error().code == ErrorCode::corrupt && self->failure_ && segment->synced < segment->bytes();
    if (is_lost) return done(*self->failure_);
    // Its file may be one that is being deleted. Whether the offset is still there is known when the log's start has moved, or has not.
    const bool failed = !outcome && outcome.error().code == ErrorCode::failed;
    if (failed && request.offset < self->moving_start_to_) {
      self->after_move_.push_back([self, request, done] { self->read(request, done); });
      return;
    }
    if (failed && request.offset < self->start_offset_) return self->read(request, done);
    done(std::move(outcome));
  });
}

namespace {

using SegmentQueue = std::deque<SegmentReference>;

// Asks one segment after the other until one has an answer.
void find_in_order(LogReader& reader, std::shared_ptr<SegmentQueue> segments, int64_t start_offset, int64_t timestamp_min,
                   std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  while (!segments->empty() && segments->front()->index.summary.timestamp_max < timestamp_min) segments->pop_front();
  if (segments->empty()) return done(std::optional<TimestampOutcome>());
  const SegmentReference segment = segments->front();
  segments->pop_front();
  reader.find_timestamp(segment, start_offset, timestamp_min,
                        [&reader, segments, start_offset, timestamp_min, done](Result<std::optional<TimestampOutcome>> outcome) {
                          if (!outcome || *outcome) return done(std::move(outcome));
                          find_in_order(reader, segments, start_offset, timestamp_min, done);
                        });
}

// Asks every segment that could hold a larger timestamp than the best one found.
void find_max(LogReader& reader, std::shared_ptr<SegmentQueue> segments, int64_t start_offset,
              std::optional<TimestampOutcome> best, std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  const auto cannot_win = [&] { return best && segments->front()->index.summary.timestamp_max <= best->timestamp_max; };
  while (!segments->empty() && cannot_win()) segments->pop_front();
  if (segments->empty()) return done(best);
  const SegmentReference segment = segments->front();
  segments->pop_front();
  reader.find_timestamp_max(segment, start_offset,
                            [&reader, segments, start_offset, best, done](Result<std::optional<TimestampOutcome>> outcome) {
                              if (!outcome) return done(std::move(outcome));
                              const bool better = *outcome && (!best || (*outcome)->timestamp_max > best->timestamp_max);
                              find_max(reader, segments, start_offset, better ? *outcome : best, done);
                            });
}

}  // namespace

void SegmentLog::find_timestamp(int64_t timestamp_min, std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  find_in_order(reader_, std::make_shared<SegmentQueue>(segments_.begin(), segments_.end()), start_offset_, timestamp_min,
                [self = shared_from_this(), done = std::move(done)](auto outcome) { done(std::move(outcome)); });
}

void SegmentLog::find_timestamp_max(std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  find_max(reader_, std::make_shared<SegmentQueue>(segments_.begin(), segments_.end()), start_offset_, std::nullopt,
           [self = shared_from_this(), done = std::move(done)](auto outcome) { done(std::move(outcome)); });
}

void SegmentLog::flush(Done done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  jobs_.push_back({Job::Kind::flush, end_offset_, nullptr, std::move(done)});
  pump();
}

void SegmentLog::roll(Done done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  Segment* segment = last();
  if (segment == nullptr || segment->bytes() == 0) return done(std::nullopt);
  segment->rolled = true;
  jobs_.push_back({Job::Kind::roll, end_offset_, segments_.back(), std::move(done)});
  pump();
}

void SegmentLog::truncate_front(int64_t offset, Done done) {
  if (closing_) return done(Error{ErrorCode::closed, "log " + name_ + " is closed"});
  if (offset > committed_end_offset_ || offset < 0) {
    return done(Error{ErrorCode::out_of_range, "log " + name_ + " cannot begin at offset " + std::to_string(offset) + ": " +
                                                   std::to_string(committed_end_offset_) + " is its committed end"});
  }
  if (offset <= start_offset_) return done(std::nullopt);
  SegmentReference segment;
  if (Segment* youngest = last(); offset == end_offset_ && youngest != nullptr && youngest->bytes() > 0) {
    // Nothing of it stays, so what comes next begins a segment of its own.
    youngest->rolled = true;
    segment = segments_.back();
  }
  jobs_.push_back({Job::Kind::truncate, offset, std::move(segment), std::move(done)});
  pump();
}

void SegmentLog::close(Done done) {
  closing_ = true;
  jobs_.push_back({Job::Kind::close, end_offset_, nullptr, std::move(done)});
  context_.compressor.look_again();
  pump();
}

void SegmentLog::settle(Done done) {
  const bool flushes = settings_.durable || settings_.flushed_at_end;
  jobs_.push_back({flushes ? Job::Kind::flush : Job::Kind::write, end_offset_, nullptr, std::move(done)});
  pump();
}

bool SegmentLog::is_ready(const Job& job) const {
  if (job.kind == Job::Kind::close) return written_end_offset_ == end_offset_ && !is_disturbed();
  if (job.kind == Job::Kind::truncate && replacing_) return false;
  if (job.kind == Job::Kind::flush && settings_.durable) return committed_end_offset_ >= job.offset;
  return written_end_offset_ >= job.offset && (job.segment == nullptr || job.segment->sealed);
}

bool SegmentLog::has_descriptor_for(const Job& job) {
  if (job.kind == Job::Kind::roll || job.kind == Job::Kind::write) return true;
  if (job.kind == Job::Kind::close) return !is_to_seal() || has_descriptor(segments_.back());
  return !writing_ || writing_->synced == writing_->written || has_descriptor(writing_);
}

// When it is closed.
bool SegmentLog::is_to_seal() const {
  const Segment* segment = last();
  return !failure_ && segment != nullptr && segment->bytes() > 0 && !segment->sealed && !segment->reopened;
}

void SegmentLog::run_job() {
  Job job = std::move(jobs_.front());
  jobs_.erase(jobs_.begin());
  if (closed_ || (failure_ && job.kind != Job::Kind::close)) return finish_job(job, closed_ ? std::nullopt : failure_);
  switch (job.kind) {
    case Job::Kind::roll:
    case Job::Kind::write: return finish_job(job, std::nullopt);
    case Job::Kind::flush:
      return sync([this, job]() mutable { finish_job(job, failure_); });
    case Job::Kind::truncate:
      return sync([this, job]() mutable { truncate(std::move(job)); });
    case Job::Kind::close: return finish_close(std::move(job));
  }
}

void SegmentLog::finish_job(Job& job, Status status) {
  const Done done = std::move(job.done);
  done(std::move(status));
}

// Makes durable what is written. Segments before the one in writing are sealed, so they are durable.
void SegmentLog::sync(std::function<void()> then) {
  if (!writing_ || writing_->synced == writing_->written) return then();
  const auto file = context_.cache.open(writing_->file);
  if (!file) {
    fail(file.error());
    return then();
  }
  auto operation = std::make_unique<Operation>();
  operation->kind = Operation::Kind::sync;
  operation->file = (*file)->get();
  operation->position = 0;
  operation->done = [self = shared_from_this(), file = *file, segment = writing_, then = std::move(then)](int64_t result) {
    self->busy_ = false;
    if (result < 0) self->fail(file_error("sync", segment->file.path, static_cast<int>(-result)));
    else segment->synced = segment->written;
    then();
    self->pump();
  };
  start(std::move(operation));
}

uint64_t SegmentLog::uncovered_bytes() const {
  if (!writing_ || writing_->sealed || writing_->reopened || closing_ || failure_) return 0;
  const bool is_sealing = writing_->rolled && writing_->written == writing_->bytes();
  return !is_sealing ? writing_->written - writing_->covered : 0;
}

// What it covers must be on stable storage: without a durable policy that takes a sync first.
void SegmentLog::cover(std::function<void()> done) {
  if (covering_ || uncovered_bytes() == 0) return done();
  const SegmentReference segment = writing_;
  const auto file = context_.cache.open(segment->file);
  if (!file) return done();
  covering_ = true;
  const auto index = std::make_shared<const SegmentIndex>(segment->index.at(segment->written_point));
  const auto made = std::make_shared<bool>(false);
  const auto sync_result = std::make_shared<int>(0);
  context_.workers.run(
      [files = context_.files, directory = directory_, file = *file, index, made, sync_result, durable = settings_.durable] {
        if (!durable) *sync_result = files->sync(file->get());
        if (*sync_result == 0) *made = write_recovery_point(files, directory, *index);
      },
      [self = shared_from_this(), segment, index, made, sync_result, done = std::move(done)] {
        self->covering_ = false;
        if (*sync_result < 0) self->fail(file_error("sync", segment->file.path, -*sync_result));
        else segment->synced = std::max(segment->synced, static_cast<uint64_t>(index->summary.bytes));
        if (*made) segment->covered = static_cast<uint64_t>(index->summary.bytes);
        done();
        self->pump();
      });
}

void SegmentLog::seal(const SegmentReference& segment) {
  if (!has_descriptor(segment)) return;
  const auto file = context_.cache.open(segment->file);
  if (!file) return fail(file.error());
  segment->index.summary.may_go_on = closing_ && segment == segments_.back();
  const auto error = std::make_shared<Status>();
  run_step(
      [files = context_.files, directory = directory_, file = *file, segment, error]() -> Status {
        *error = seal_segment(files, directory, file->get(), segment->index);
        // Nothing stands behind its entries any more. Should this last too long, the note says nothing of a sealed segment.
        if (!*error && !segment->spare.empty()) files->remove(directory + "/" + reused_name(segment->base_offset()));
        return std::nullopt;
      },
      [this, segment, error] {
        if (*error) return take_again_or_fail(*segment, **error);
        if (failure_) return;
        segment->sealed = true;
        context_.samples.use(segment);
        segment->reopened = false;
        segment->synced = segment->written;
        compress(segment);
      });
}

void SegmentLog::truncate(Job job) {
  if (failure_) return finish_job(job, failure_);
  // One that was asked for before it, and waited with it, went further.
  if (job.offset <= start_offset_) return finish_job(job, std::nullopt);
  std::vector<int64_t> doomed;
  for (const SegmentReference& segment : segments_) {
    if (!segment->sealed || segment->end_offset() > job.offset) break;
    doomed.push_back(segment->base_offset());
  }
  const auto full = std::make_shared<Status>();
  const auto kept = std::make_shared<std::vector<SpareFile>>();
  moving_start_to_ = job.offset;
  run_step(
      [files = context_.files, directory = directory_, offset = job.offset, doomed, wanted = wanted_spares(doomed.size()), kept, full]() -> Status {
        auto error = move_start(files, directory, offset, doomed, wanted, *kept);
        if (!error || error->code != ErrorCode::full) return error;
        // Nothing was changed: a refusal, not a failure of the log.
        *full = std::move(error);
        return std::nullopt;
      },
      [this, job, count = doomed.size(), kept, full]() mutable {
        moving_start_to_ = 0;
        const auto reads = std::exchange(after_move_, {});
        if (failure_ || *full) {
          for (const auto& read : reads) read();
          return finish_job(job, failure_ ? failure_ : *full);
        }
        for (size_t i = 0; i < count; i++) bytes_ -= segments_[i]->bytes();
        take_spares(*kept);
        segments_.erase(segments_.begin(), segments_.begin() + static_cast<ptrdiff_t>(count));
        if (writing_ && writing_->end_offset() <= job.offset && writing_->sealed) {
          writing_ = segments_.empty() ? nullptr : segments_.front();
        }
        start_offset_ = std::max(start_offset_, job.offset);
        context_.changed(*this);
        for (const auto& read : reads) read();
        finish_job(job, std::nullopt);
      });
}

// A log keeps files of segments that were removed while they are not more than what it holds itself, and a few of them.
std::vector<SpareFile> SegmentLog::wanted_spares(size_t doomed_count) const {
  std::vector<SpareFile> wanted;
  if (!settings_.durable || !context_.direct || settings_.compression != SegmentCodec::none) return wanted;
  uint64_t bytes_left = bytes_;
  for (size_t i = 0; i < doomed_count; i++) bytes_left -= segments_[i]->bytes();
  const SpareTotal spares = context_.space.spares.total(directory_);
  bytes_left -= std::min(bytes_left, spares.bytes);
  for (size_t i = doomed_count; i-- > 0 && spares.files + wanted.size() < kSparesMax;) {
    const Segment& segment = *segments_[i];
    if (segment.stored.codec != SegmentCodec::none || segment.bytes() > bytes_left) continue;
    bytes_left -= segment.bytes();
    wanted.push_back({segment.base_offset(), segment.bytes()});
  }
  return wanted;
}

// What somebody reads from is not written again: it goes with its last reader. And all of them are not more than what the log holds now.
void SegmentLog::take_spares(const std::vector<SpareFile>& kept) {
  SpareFiles& spares = context_.space.spares;
  for (const SpareFile& spare : kept) {
    SegmentFile& file = segment_of(spare.base_offset)->file;
    if (file.open.use_count() <= 1) spares.add(directory_, spare);
    else remove_beside([files = context_.files, name = path(spare_name(spare.base_offset))] { files->remove(name); });
    context_.cache.forget(file);
  }
  if (spares.total(directory_).bytes > bytes_) remove_beside([&spares, directory = directory_, bytes_max = bytes_] { spares.trim(directory, bytes_max); });
}

void SegmentLog::remove_beside(std::function<void()> work) {
  removals_++;
  context_.workers.run(std::move(work), [self = shared_from_this()] {
    self->removals_--;
    self->pump();
  });
}

// Seals what is open, so that the next open need not scan, and lets go of everything.
void SegmentLog::finish_close(Job job) {
  if (is_to_seal()) {
    last()->rolled = true;
    jobs_.insert(jobs_.begin(), std::move(job));
    return seal(segments_.back());
  }
  if (SpareFiles& spares = context_.space.spares; spares.total(directory_).files > 0) {
    jobs_.insert(jobs_.begin(), std::move(job));
    return remove_beside([&spares, directory = directory_] { spares.trim(directory, 0); });
  }
  // Closed more than once: the others hear of it, too.
  std::vector<Job> jobs;
  jobs.swap(jobs_);
  release();
  finish_job(job, failure_);
  for (Job& each : jobs) finish_job(each, failure_);
}

void SegmentLog::release() {
  closing_ = closed_ = true;
  if (is_in_journal_only()) context_.journal.strand(name_);
  finish_write_back();
  context_.budget.backlog_bytes -= backlog_bytes_;
  backlog_bytes_ = 0;
  jobs_.clear();
  segments_.clear();
  writing_.reset();
}

void SegmentLog::fail(const Error& error) {
  if (failure_) return;
  failure_ = Error{ErrorCode::failed, error.message};
  context_.changed(*this);
  finish_write_back();
}

}  // namespace haulout
