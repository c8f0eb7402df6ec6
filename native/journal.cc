#include "journal.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "segment_log.h"

namespace haulout {
namespace {

constexpr size_t kBatchBytesMax = size_t{1} << 20;
// Of an area, for logs that are to be forgotten: one that failed keeps areas from being free until it is.
constexpr uint64_t kForgetBytes = 2 * kBlockBytes;
// How many logs write back at the same time: more would only stand in the way of those who wait for an answer.
constexpr size_t kDrainingMax = 4;
// The file is made where it takes a small part of what is free.
constexpr uint64_t kFreeFactor = 4;

}  // namespace

bool Journal::offer(SegmentLog& log) {
  if (state_ == State::unusable || failed_) return false;
  if (!log.is_offered) {
    log.is_offered = true;
    offered_.push_back(log.shared_from_this());
    context_.started();
  }
  return true;
}

void Journal::end_turn() {
  write_forgotten();
  if (offered_.empty()) return;
  auto logs = std::exchange(offered_, {});
  for (const auto& log : logs) log->is_offered = false;
  // Something else may have begun in one since it asked.
  std::erase_if(logs, [](const auto& log) { return !log->has_small_write(); });
  if (logs.size() < options_.logs_min) return refuse(logs, 0);
  if (state_ == State::absent && ++turns_ >= options_.turns_min) make();
  if (!is_usable()) return refuse(logs, 0);
  auto batch = std::make_shared<Batch>();
  for (size_t i = 0; i < logs.size(); i++) {
    const size_t bytes = bytes_of(logs[i]->name(), logs[i]->small_write_bytes());
    if (batch->bytes + bytes > kBatchBytesMax) write(std::exchange(batch, std::make_shared<Batch>()));
    if (!has_room(batch->bytes + bytes, kForgetBytes)) {
      write(batch);
      return refuse(logs, i);
    }
    batch->bytes += bytes;
    batch->parts.push_back({logs[i]});
  }
  write(batch);
}

void Journal::refuse(const std::vector<std::shared_ptr<SegmentLog>>& logs, size_t from) {
  for (size_t i = from; i < logs.size(); i++) logs[i]->write_itself();
}

// Goes on in the other area when this one is full and that one is free. While the first write to an area is under way there is no room:
// what the area held before may still be found then, and what stands behind it, and in the other area, about that must be found with it.
bool Journal::has_room(size_t bytes, uint64_t left) {
  const uint64_t needed = align_up(bytes, kBlockBytes) + left;
  Area& area = areas_[area_];
  if (needed > options_.area_bytes || (area.used > 0 && !area.has_kept)) return false;
  if (area.used + needed <= options_.area_bytes) return true;
  const size_t other = (area_ + 1) % kJournalAreas;
  if (areas_[other].used > 0) return false;
  area_ = other;
  areas_[other].has_kept = false;
  drain(area);
  return true;
}

void Journal::write(const BatchReference& batch) {
  if (batch->parts.empty()) return;
  batch->memory = context_.pool->take(align_up(batch->bytes, kBlockBytes));
  if (batch->memory == nullptr) {
    for (Part& part : batch->parts) {
      if (part.log != nullptr) part.log->write_itself();
      else part.forgotten(Error{ErrorCode::failed, "no memory to write " + path()});
    }
    return;
  }
  Area& area = areas_[area_];
  batch->area = area_;
  uint8_t* at = batch->memory->data + kJournalHeaderBytes;
  for (const Part& part : batch->parts) {
    if (part.log == nullptr) {
      at = store_record(at, {JournalRecord::Kind::forget, part.name});
      continue;
    }
    at = part.log->begin_small_write(at);
    if (part.log->journal_areas & (1u << area_)) continue;
    part.log->journal_areas |= 1u << area_;
    names_.insert(part.log->name());
    area.logs.push_back({part.log});
  }
  std::memset(at, 0, batch->memory->data + batch->memory->bytes - at);
  store_header(batch->memory->data, {kJournalVersion, sequence_++, batch->bytes, static_cast<uint32_t>(batch->parts.size())});
  auto operation = std::make_unique<Operation>();
  operation->kind = Operation::Kind::write;
  operation->file = file_->get();
  operation->position = area_ * options_.area_bytes + area.used;
  operation->durable = true;
  operation->aligned = context_.direct;
  operation->parts.push_back({batch->memory->data, batch->memory->bytes});
  operation->done = [this, batch, area = &area](int64_t result) {
    batch->is_done = true;
    batch->failed = result < 0;
    if (!batch->failed) area->has_kept = true;
    finish_writes();
  };
  area.used += batch->memory->bytes;
  under_way_.push_back(batch);
  context_.ring.start(std::move(operation));
  context_.started();
}

// A replay ends at the first write that is not whole, so each counts only when those before it do.
void Journal::finish_writes() {
  while (!under_way_.empty() && under_way_.front()->is_done) {
    const BatchReference batch = under_way_.front();
    under_way_.pop_front();
    const bool was_usable = !failed_;
    failed_ = failed_ || batch->failed;
    for (const Part& part : batch->parts) {
      if (part.log != nullptr) part.log->finish_small_write(!failed_);
      else finish_forgetting(part);
    }
    if (failed_ && was_usable) give_up();
  }
  settle();
  if (!to_forget_.empty()) context_.started();
}

// Nothing is written to it any more. When all that it holds is in the segments it can go.
void Journal::give_up() {
  for (Area& area : areas_) {
    if (!area.draining) drain(area);
  }
}

void Journal::relieve() {
  const size_t other = (area_ + 1) % kJournalAreas;
  if (!is_usable() || areas_[area_].used == 0 || areas_[other].used > 0) return;
  (void)has_room(options_.area_bytes, 0);
}

void Journal::drain(Area& area) {
  area.draining = true;
  for (Dependant& each : area.logs) {
    if (const auto log = each.log.lock()) each.offset = log->journaled_end_offset();
  }
  to_drain_.insert(to_drain_.end(), area.logs.begin(), area.logs.end());
  drain_next();
}

void Journal::drain_next() {
  while (draining_count_ < kDrainingMax && !to_drain_.empty()) {
    const auto log = to_drain_.back().get();
    to_drain_.pop_back();
    if (log == nullptr || log->failure()) continue;
    draining_count_++;
    log->write_back([this] {
      draining_count_--;
      drain_next();
    });
  }
  settle();
}

std::shared_ptr<SegmentLog> Journal::Dependant::get() const {
  auto held = log.lock();
  return held != nullptr && !held->is_released() && held->written_end_offset() < offset ? held : nullptr;
}

// Logs that have failed need it until they are opened again.
bool Journal::is_needed(const Area& area) const {
  const auto is_here = [&](const BatchReference& batch) { return &areas_[batch->area] == &area; };
  return !stranded_.empty() || std::any_of(under_way_.begin(), under_way_.end(), is_here) ||
         std::any_of(area.logs.begin(), area.logs.end(), [](const Dependant& each) { return each.get() != nullptr; });
}

// An area is free when all that it holds is in the segments.
void Journal::settle() {
  if (is_draining()) return;
  for (size_t i = 0; i < kJournalAreas; i++) {
    Area& area = areas_[i];
    if (!area.draining || is_needed(area)) continue;
    for (const Dependant& each : area.logs) {
      if (const auto log = each.log.lock()) log->journal_areas &= ~(1u << i);
    }
    area.logs.clear();
    area.draining = false;
    area.used = 0;
    context_.started();
  }
  if (failed_ && state_ == State::ready && areas_[0].used + areas_[1].used == 0) remove([](Status) {});
  finish_close();
}

void Journal::forget(const std::string& name, Done done) {
  if (names_.count(name) == 0) return done(std::nullopt);
  to_forget_.push_back({nullptr, name, std::move(done)});
  context_.started();
}

void Journal::write_forgotten() {
  auto batch = std::make_shared<Batch>();
  while (!to_forget_.empty()) {
    const Part part = to_forget_.front();
    const size_t bytes = batch->bytes + bytes_of(part.name, 0);
    if (names_.count(part.name) == 0) {
      to_forget_.pop_front();
      part.forgotten(std::nullopt);
    } else if (is_usable() && bytes <= kBatchBytesMax && has_room(bytes, 0)) {
      to_forget_.pop_front();
      batch->bytes = bytes;
      batch->parts.push_back(part);
    } else if (!batch->parts.empty()) {
      write(std::exchange(batch, std::make_shared<Batch>()));
    } else if (is_usable() && (is_draining() || !under_way_.empty())) {
      // An area will be free.
      return;
    } else {
      to_forget_.pop_front();
      part.forgotten(Error{ErrorCode::failed, path() + " cannot be written any more, and says something about log " + part.name +
                                                  ": open the store again"});
    }
  }
  write(batch);
  finish_close();
}

void Journal::finish_forgetting(const Part& part) {
  if (failed_) return part.forgotten(Error{ErrorCode::failed, path() + " cannot be written any more: open the store again"});
  names_.erase(part.name);
  stranded_.erase(part.name);
  part.forgotten(std::nullopt);
}

void Journal::make() {
  state_ = State::being_made;
  const auto status = std::make_shared<Status>();
  const auto file = std::make_shared<std::shared_ptr<OpenFile>>();
  context_.workers.run(
      [files = context_.files, directory = context_.directory, path = path(), bytes = options_.area_bytes * kJournalAreas,
       flags = context_.direct ? O_DIRECT : 0, file, status]() {
        const auto attempt = [&]() -> Status {
          if (files->bytes_free(directory) < static_cast<int64_t>(bytes * kFreeFactor)) return Error{ErrorCode::full, "not worth it"};
          *file = std::make_shared<OpenFile>(files, files->open(path, O_RDWR | O_CREAT | flags));
          const int descriptor = (*file)->get();
          if (descriptor < 0) return file_error("create", path, -descriptor);
          if (const int result = files->allocate(descriptor, 0, bytes); result < 0) return file_error("make space in", path, -result);
          if (auto error = write_zeros(*files, descriptor, path, 0, bytes)) return error;
          if (const int result = files->sync(descriptor); result < 0) return file_error("sync", path, -result);
          const int result = files->sync_directory(directory);
          return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
        };
        *status = attempt();
        if (*status) files->remove(path);
      },
      [this, file, status] {
        state_ = *status ? State::unusable : State::ready;
        if (!*status) file_ = std::move(*file);
        finish_close();
      });
}

void Journal::remove(Done done) {
  state_ = State::unusable;
  file_.reset();
  const auto status = std::make_shared<Status>();
  context_.workers.run(
      [files = context_.files, directory = context_.directory, path = path(), status] {
        int result = files->remove(path);
        if (result < 0 && result != -ENOENT) *status = file_error("delete", path, -result);
        else if (result = files->sync_directory(directory); result < 0) *status = file_error("sync", directory, -result);
      },
      [this, status, done = std::move(done)] {
        if (!*status) names_.clear();
        done(std::move(*status));
      });
}

void Journal::close(Done done) {
  closed_ = std::move(done);
  finish_close();
}

void Journal::finish_close() {
  if (!closed_ || state_ == State::being_made || !under_way_.empty() || !to_forget_.empty()) return;
  const Done done = std::exchange(closed_, nullptr);
  if (state_ != State::ready || !stranded_.empty()) return done(std::nullopt);
  remove(done);
}

}  // namespace haulout
