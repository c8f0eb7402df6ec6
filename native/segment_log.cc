#include "segment_log.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "commit_mark.h"
#include "journal.h"
#include "log_folder.h"
#include "write_turns.h"

namespace haulout {
namespace {

constexpr uint64_t kCutSpacingBytes = uint64_t{1} << 20;
constexpr size_t kWriteInTurnBelowBytes = 64 << 10;
// Without a durable policy an append is committed at once, until so much of its log waits to be written, or too much of all together.
constexpr uint64_t kBacklogBytesMax = uint64_t{16} << 20;

}  // namespace

SegmentLog::SegmentLog(LogContext& context, std::string name, std::string directory, const LogSettings& settings)
    : context_(context),
      name_(std::move(name)),
      directory_(std::move(directory)),
      settings_(settings),
      reader_(context, settings_.layout, directory_) {}

void SegmentLog::begin(RecoveredLog recovered) {
  folder_is_durable_ = recovered.folder_exists;
  start_offset_ = end_offset_ = recovered.start_offset;
  for (RecoveredSegment& found : recovered.segments) {
    auto segment = std::make_shared<Segment>(context_, path(segment_name(found.index.summary.base_offset)));
    segment->index = std::move(found.index);
    segment->has_samples = found.has_samples;
    segment->stored = found.stored;
    // A crash took the knowledge of its age: it begins again, with the index that the scan made.
    if (segment->index.summary.first_append_ms < 0) segment->index.summary.first_append_ms = context_.now_ms();
    // Where one follows, a full disk has kept the index of a clean close from being replaced.
    const bool goes_on = &found == &recovered.segments.back() && (!found.sealed || segment->index.summary.may_go_on);
    if (!goes_on) segment->index.summary.may_go_on = false;
    segment->reopened = found.sealed && goes_on;
    segment->sealed = segment->rolled = !goes_on;
    segment->written = segment->synced = segment->committed = segment->bytes();
    segment->written_point = segment->index.point();
    segment->covered = found.sealed ? segment->bytes() : found.covered;
    segment->reserved = segment->made = segment->bytes();
    end_offset_ = segment->end_offset();
    bytes_ += segment->bytes();
    segments_.push_back(std::move(segment));
  }
  if (!segments_.empty()) writing_ = segments_.back();
  committed_end_offset_ = written_end_offset_ = end_offset_;
  for (const SegmentReference& segment : segments_) compress(segment);
}

Status SegmentLog::check(const uint8_t* entry, size_t bytes) const {
  if (closing_) return Error{ErrorCode::closed, "log " + name_ + " is closed"};
  if (failure_) return Error{ErrorCode::failed, "log " + name_ + " takes nothing until it is opened again: " + failure_->message};
  const EntryLayout& layout = settings_.layout;
  if (bytes < layout.header_bytes) {
    return Error{ErrorCode::malformed, "entry of " + std::to_string(bytes) + " bytes is shorter than its header"};
  }
  const EntryHeader header = read_header(layout, entry);
  if (header.bytes != static_cast<int64_t>(bytes)) {
    return Error{ErrorCode::malformed,
                 "entry of " + std::to_string(bytes) + " bytes says that it has " + std::to_string(header.bytes)};
  }
  if (header.magic != layout.magic) {
    return Error{ErrorCode::malformed, "entry has magic " + std::to_string(header.magic) + ", not " + std::to_string(layout.magic)};
  }
  if (header.last_offset_delta < 0) return Error{ErrorCode::malformed, "entry has a negative last offset delta"};
  if (bytes > settings_.segment_bytes_max) {
    return Error{ErrorCode::too_large, "entry of " + std::to_string(bytes) + " bytes is larger than a segment may be (" +
                                           std::to_string(settings_.segment_bytes_max) + " bytes)"};
  }
  return std::nullopt;
}

bool SegmentLog::commits_early() const {
  return !settings_.durable && backlog_bytes_ <= kBacklogBytesMax && !context_.budget.is_crowded();
}

Result<int64_t> SegmentLog::append(const uint8_t* entry, size_t bytes) {
  if (auto error = check(entry, bytes)) return *error;
  const auto found = segment_for(bytes);
  if (!found) return found.error();
  Segment& segment = **found;
  if (!segment.tail.append(settings_.layout, entry, bytes, end_offset_)) {
    return Error{ErrorCode::full, "no memory for an entry of " + std::to_string(bytes) + " bytes"};
  }
  EntryHeader header = read_header(settings_.layout, entry);
  header.base_offset = end_offset_;
  // The bytes that the entry's own checksum does not cover, with the offset that it has now.
  uint8_t prefix[kHeaderBytesMax];
  std::memcpy(prefix, entry, settings_.layout.checksum_from);
  store_i64(prefix + settings_.layout.base_offset_at, end_offset_);
  segment.index.add(header, prefix, settings_.layout.checksum_from);
  end_offset_ = header.end_offset();
  backlog_bytes_ += bytes;
  context_.budget.backlog_bytes += bytes;
  if (settings_.durable) context_.durable_bytes_of_turn += bytes;
  bytes_ += bytes;
  const uint64_t cut = segment.cuts.empty() ? segment.written : segment.cuts.back().position();
  if (segment.bytes() - cut >= kCutSpacingBytes) segment.cuts.push_back(segment.index.point());
  if (commits_early()) commit(segment, segment.bytes(), end_offset_);
  else if (!settings_.durable) context_.turns.hold(shared_from_this());
  context_.budget.enforce();
  context_.dirty(*this);
  return end_offset_;
}

// What is not known of a segment that an older version indexed counts as too much, where it matters.
bool SegmentLog::takes(const Segment& segment, size_t bytes) const {
  if (segment.bytes() + bytes > settings_.segment_bytes_max) return false;
  // Recovery looks only so far behind what it cannot read, where old entries may stand.
  if (!segment.spare.empty() && bytes > kWriteBytesMax) return false;
  const SegmentSummary& summary = segment.index.summary;
  if (summary.bytes == 0) return true;
  if (settings_.segment_entries_max < INT64_MAX && (summary.entry_count < 0 || summary.entry_count >= settings_.segment_entries_max)) {
    return false;
  }
  return settings_.segment_age_ms_max == INT64_MAX || context_.now_ms() - summary.first_append_ms < settings_.segment_age_ms_max;
}

// The segment that takes the entry, with space for it.
Result<Segment*> SegmentLog::segment_for(size_t bytes) {
  Segment* current = last();
  if (current == nullptr || current->rolled || !takes(*current, bytes)) return make_segment(bytes);
  if (auto error = begin_tail(*current)) return *error;
  if (auto error = reserve(*current, bytes)) return *error;
  return current;
}

// The next write begins inside a block that is in the file already: its content comes back into memory.
Status SegmentLog::begin_tail(Segment& segment) {
  if (segment.tail.has_begun() || segment.tail.begin_again()) return std::nullopt;
  const uint64_t from = align_down(segment.bytes(), kBlockBytes);
  if (from == segment.bytes()) {
    segment.tail.begin(from, nullptr);
    return std::nullopt;
  }
  const auto file = context_.cache.open(segment.file);
  if (!file) return file.error();
  const MemoryReference block = context_.pool->take(kBlockBytes);
  if (block == nullptr) return Error{ErrorCode::full, "no memory to go on in " + segment.file.path};
  const int64_t got = context_.files->read((*file)->get(), block->data, kBlockBytes, from);
  if (got < static_cast<int64_t>(segment.bytes() - from)) {
    return file_error("read", segment.file.path, got < 0 ? static_cast<int>(-got) : EIO);
  }
  if (!segment.tail.begin(segment.bytes(), block->data)) return Error{ErrorCode::full, "no memory to go on in " + segment.file.path};
  return std::nullopt;
}

Result<Segment*> SegmentLog::make_segment(size_t bytes) {
  auto segment = std::make_shared<Segment>(context_, path(segment_name(end_offset_)));
  segment->index.summary.base_offset = segment->index.summary.end_offset = end_offset_;
  segment->index.summary.first_append_ms = context_.now_ms();
  // Without a durable policy an entry is acknowledged before there is a write that could fail.
  const uint64_t needed = space_needed(bytes);
  take_spare(*segment, bytes);
  segment->has_file = segment->spare.empty() && (!settings_.durable || !segment->claim.begin(needed));
  if (!segment->has_file) segment->reserved = std::max(segment->reserved, needed);
  else if (auto error = segment->claim.spend([&] { return make_file(*segment, bytes); })) return *error;
  segment->tail.begin(0, nullptr);
  if (Segment* before = last()) before->rolled = true;
  segments_.push_back(segment);
  if (!writing_) writing_ = segment;
  return segment.get();
}

// The file of a removed segment, if there is one with space for an entry of this size.
void SegmentLog::take_spare(Segment& segment, size_t bytes) {
  if (bytes > kWriteBytesMax) return;
  const auto spare = context_.space.spares.take(directory_, space_needed(bytes));
  if (!spare) return;
  segment.spare = path(spare_name(spare->base_offset));
  segment.reserved = align_down(spare->bytes, kBlockBytes);
}

Status SegmentLog::make_file(Segment& segment, size_t bytes) {
  if (const int result = context_.files->make_directory(directory_); result < 0 && result != -EEXIST) {
    return file_error("create", directory_, -result);
  }
  folder_is_made_ = true;
  const auto file = context_.cache.open(segment.file, O_CREAT);
  if (!file) return file.error();
  auto error = take_space(segment, bytes);
  if (!error) return std::nullopt;
  context_.files->remove(segment.file.path);
  context_.cache.forget(segment.file);
  return error;
}

Status SegmentLog::reserve(Segment& segment, uint64_t bytes) {
  const uint64_t needed = space_needed(segment.bytes() + bytes);
  if (needed <= segment.reserved) return std::nullopt;
  const bool is_claimed = (!segment.has_file || must_not_wait_for(segment)) && segment.claim.extend(needed - segment.reserved);
  if (is_claimed) segment.reserved = needed;
  else if (segment.has_file) return segment.claim.spend([&] { return take_space(segment, bytes); });
  else return file_error("make space in", segment.file.path, ENOSPC);
  return std::nullopt;
}

// A file system may wait for the writes to a file before it gives it more space, and a disk may take long. Without a durable policy an entry is
// acknowledged before there is a write that could fail.
bool SegmentLog::must_not_wait_for(const Segment& segment) const {
  return settings_.durable && segment.prepared && (busy_ || growing_);
}

Status SegmentLog::take_space(Segment& segment, uint64_t bytes) {
  const uint64_t needed = space_needed(segment.bytes() + bytes);
  const auto file = context_.cache.open(segment.file);
  if (!file) return file.error();
  const uint64_t wanted = std::max(needed, align_down(segment.made, kBlockBytes) + growth_step(segment.bytes(), bytes));
  const auto reached = make_space(*context_.files, (*file)->get(), segment.file.path, segment.made, wanted, needed);
  if (!reached) return reached.error();
  has_made(segment, *reached);
  return std::nullopt;
}

void SegmentLog::has_made(Segment& segment, uint64_t reached) {
  segment.made = std::max(segment.made, reached);
  segment.reserved = std::max(segment.reserved, segment.made);
  segment.claim.keep(segment.reserved - segment.made);
}

void SegmentLog::commit(Segment& segment, uint64_t position, int64_t offset) {
  // Segments before this one are committed as a whole.
  for (auto each = segments_.rbegin(); each != segments_.rend(); ++each) {
    if ((*each)->base_offset() >= segment.base_offset()) continue;
    if ((*each)->committed == (*each)->bytes()) break;
    (*each)->committed = (*each)->bytes();
  }
  segment.committed = std::max(segment.committed, position);
  if (offset <= committed_end_offset_) return;
  committed_end_offset_ = offset;
  context_.changed(*this);
}

void SegmentLog::pump() {
  while (!busy_ && step()) {}
}

// Takes one step; false when there is nothing to do until something happens.
bool SegmentLog::step() {
  if (failure_) {
    if (jobs_.empty() || is_disturbed()) return false;
    run_job();
    return true;
  }
  if (!jobs_.empty() && is_ready(jobs_.front())) {
    if (!has_descriptor_for(jobs_.front())) return false;
    run_job();
    return true;
  }
  if (!writing_) return false;
  Segment& segment = *writing_;
  if (segment.written < segment.bytes()) {
    if (segment.kept() == segment.bytes() && !must_write_file()) return false;
    if (!segment.prepared) prepare(writing_);
    else if (needs_turn()) take_turn_or_wait();
    else if (!has_small_write() || !context_.journal.offer(*this)) start_write(writing_);
    return busy_ || failure_.has_value();
  }
  if (segment.rolled && !segment.sealed) {
    if (is_helped()) return false;
    seal(writing_);
    return busy_ || failure_.has_value();
  }
  if (segment.sealed && writing_ != segments_.back()) {
    const auto next = std::upper_bound(segments_.begin(), segments_.end(), segment.base_offset(),
                                       [](int64_t value, const SegmentReference& each) { return value < each->base_offset(); });
    writing_ = *next;
    return true;
  }
  return false;
}

void SegmentLog::run_step(std::function<Status()> work, std::function<void()> then) {
  busy_ = true;
  const auto status = std::make_shared<Status>();
  context_.workers.run([work = std::move(work), status] { *status = work(); },
                       [self = shared_from_this(), status, then = std::move(then)] {
                         self->busy_ = false;
                         if (*status) self->fail(**status);
                         then();
                         self->pump();
                       });
}

void SegmentLog::start(std::unique_ptr<Operation> operation) {
  busy_ = true;
  context_.ring.start(std::move(operation));
  context_.started();
}

// A step holds no more than the file of its segment, and waits before it holds that.
bool SegmentLog::has_descriptor(const SegmentReference& segment) {
  if (waits_for_descriptor_) return false;
  if (segment->has_file ? context_.cache.has_room_for(segment->file) : context_.cache.has_room_to_make()) return true;
  wait_for_descriptor();
  return false;
}

void SegmentLog::wait_for_descriptor() {
  waits_for_descriptor_ = true;
  context_.cache.wait([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->waits_for_descriptor_ = false;
    self->pump();
  });
}

// A step that can be taken again is, where it found no descriptor and somebody may give one back.
void SegmentLog::take_again_or_fail(const Segment& segment, const Error& error) {
  if (failure_ || !error.is_short_of_descriptors || !context_.cache.is_worth_waiting(segment.file)) return fail(error);
  wait_for_descriptor();
}

// Nobody waits for it, and it is worth waiting until there is more.
bool SegmentLog::needs_turn() const {
  const bool is_small = writing_->bytes() - writing_->written < kWriteInTurnBelowBytes;
  return is_small && !settings_.durable && jobs_.empty() && !writing_->rolled;
}

void SegmentLog::take_turn_or_wait() {
  if (context_.turns.begin(shared_from_this()) && !take_turn()) context_.turns.end();
}

bool SegmentLog::take_turn() {
  if (busy_ || failure_ || !writing_ || !writing_->prepared || writing_->written == writing_->bytes()) return false;
  start_write(writing_);
  has_turn_ = busy_;
  return busy_;
}

void SegmentLog::start_write(const SegmentReference& segment) {
  const uint64_t from = align_down(segment->written, kBlockBytes);
  IndexPoint cut = segment->index.point();
  if (cut.position() - from > kWriteBytesMax && !segment->cuts.empty()) {
    cut = segment->cuts.front();
    for (const IndexPoint& each : segment->cuts) {
      if (each.position() - from <= kWriteBytesMax) cut = each;
    }
  }
  // The last block is copied, with the commit mark behind it: entries may be added to the one in the tail meanwhile.
  const uint64_t mark_at = align_up(cut.position(), kCommitMarkAlignment);
  const uint64_t end = align_up(mark_at + kCommitMarkBytes, kBlockBytes);
  if (segment->growing_from < end || !has_descriptor(segment)) return;
  const uint64_t last_from = align_down(cut.position(), kBlockBytes);
  const auto file = context_.cache.open(segment->file);
  if (!file) return fail(file.error());
  if (segment->made < end) return grow(segment, *file, cut.position() - segment->written);
  const MemoryReference last = context_.pool->take(end - last_from);
  if (last == nullptr) return fail({ErrorCode::failed, "no memory to write " + segment->file.path});
  std::memset(last->data, 0, last->bytes);
  segment->tail.copy_out(last_from, cut.position() - last_from, last->data);
  store_mark(last->data + (mark_at - last_from), {static_cast<int64_t>(segment->synced), static_cast<int64_t>(cut.position())});

  std::vector<Slice> slices;
  segment->tail.slices(from, last_from, slices);
  slices.push_back({last, last->data, last->bytes});
  auto operation = std::make_unique<Operation>();
  operation->kind = Operation::Kind::write;
  operation->file = (*file)->get();
  operation->position = from;
  operation->durable = settings_.durable;
  operation->aligned = context_.direct;
  for (const Slice& slice : slices) operation->parts.push_back({const_cast<uint8_t*>(slice.data), slice.bytes});
  operation->done = [self = shared_from_this(), segment, cut, file = *file, slices = std::move(slices)](int64_t result) {
    self->busy_ = false;
    if (result < 0) self->fail(file_error("write", segment->file.path, static_cast<int>(-result)));
    else self->finish_write(segment, cut);
    if (std::exchange(self->has_turn_, false)) self->context_.turns.end();
    self->pump();
  };
  start(std::move(operation));
  grow(segment, *file, cut.position() - segment->written);
}

void SegmentLog::finish_write(const SegmentReference& segment, const IndexPoint& cut) {
  lighten(cut.position() - std::min(segment->kept(), cut.position()));
  const uint64_t bytes = cut.position() - segment->written;
  segment->written = cut.position();
  segment->written_point = cut;
  context_.wrote(bytes);
  segment->tail.set_written(cut.position());
  std::erase_if(segment->cuts, [&](const IndexPoint& each) { return each.position() <= cut.position(); });
  written_end_offset_ = cut.offset();
  if (settings_.durable) segment->synced = cut.position();
  commit(*segment, cut.position(), cut.offset());
  commit_accepted();
  context_.turns.let_go();
  if (!is_in_journal_only()) finish_write_back();
}

void SegmentLog::commit_accepted() {
  if (commits_early() && !failure_ && !segments_.empty()) commit(*segments_.back(), segments_.back()->bytes(), end_offset_);
}

bool SegmentLog::wants_zeros(uint64_t write_bytes) const {
  return settings_.durable && context_.direct && write_bytes < kZeroForWritesBelowBytes;
}

// Makes the space that is claimed, and some ahead of need, beside the write.
void SegmentLog::grow(const SegmentReference& segment, const FileReference& file, size_t write_bytes) {
  if (growing_) return;
  const uint64_t step = growth_step(segment->bytes(), write_bytes);
  const bool is_owed = segment->made < segment->reserved;
  const bool is_wanted = !segment->rolled && segment->bytes() + step / 2 >= segment->reserved &&
                         segment->bytes() + step <= settings_.segment_bytes_max + kGrowthBytesMin;
  if (!is_owed && !is_wanted) return;
  const uint64_t from = segment->made;
  const uint64_t needed = segment->reserved;
  const uint64_t wanted = is_wanted ? align_down(needed, kBlockBytes) + step : needed;
  const bool zeros = wants_zeros(write_bytes) && from % kBlockBytes == 0;
  growing_ = true;
  segment->growing_from = from;
  struct Growth {
    SpaceClaim claim;
    Result<uint64_t> reached = uint64_t{0};
    Status error = std::nullopt;
  };
  const auto growth = std::make_shared<Growth>(Growth{std::move(segment->claim)});
  context_.workers.run(
      [files = context_.files, &space = context_.space, file, path = segment->file.path, is_owed, from, needed, wanted, zeros, growth] {
        const auto attempt = [&](uint64_t enough) -> Status {
          growth->reached = make_space(*files, file->get(), path, from, wanted, enough);
          return growth->reached ? std::nullopt : Status(growth->reached.error());
        };
        if (is_owed) {
          (void)growth->claim.spend([&] { return attempt(needed); });
        } else {
          const std::shared_lock shared(space.taking);
          (void)attempt(wanted);
        }
        if (!growth->reached || !zeros) return;
        growth->error = write_zeros(*files, file->get(), path, from, *growth->reached);
        const int result = growth->error ? 0 : files->sync(file->get());
        if (result < 0) growth->error = file_error("sync", path, -result);
      },
      [self = shared_from_this(), segment, file, write_bytes, is_owed, growth] {
        self->growing_ = false;
        segment->growing_from = UINT64_MAX;
        segment->claim.join(std::move(growth->claim));
        if (growth->reached) self->has_made(*segment, *growth->reached);
        // Ahead of need there is no harm yet: the append that needs it asks again, and is refused.
        else if (is_owed) self->fail(growth->reached.error());
        if (growth->error) self->fail(*growth->error);
        // What came meanwhile: nobody may write for long, and a claim keeps the reserve large.
        if (!self->failure_ && segment->made < segment->reserved) self->grow(segment, file, write_bytes);
        self->pump();
      });
}

}  // namespace haulout
