#include "log_reader.h"

#include <algorithm>
#include <cerrno>

#include "log_folder.h"
#include "recovery.h"

namespace haulout {
namespace {

// What is read beyond the bytes asked for, so that the entries before the first one asked for fit in, too.
constexpr uint64_t kReadExtraBytes = 32 << 10;
constexpr uint64_t kReadBytesMax = uint64_t{1} << 30;
// How much is looked through at once in a search by timestamp.
constexpr uint64_t kVisitBytes = 256 << 10;

uint64_t readable_end(const Segment& segment) { return std::min(segment.committed, segment.written); }

EntryPlace place_of(const Sample& sample) { return {sample.base_offset, static_cast<uint64_t>(sample.position)}; }

std::string place_in_file(const std::string& plain_path, SegmentCodec codec, uint64_t position) {
  const std::string place = plain_path + suffix_of(codec) + " at position " + std::to_string(position);
  return codec == SegmentCodec::none ? place : place + " of its plain bytes";
}

uint64_t wanted_bytes(const ReadRequest& request) { return std::min(request.bytes_max, kReadBytesMax) + kReadExtraBytes; }

}  // namespace

Error LogReader::damaged(const Segment& segment, uint64_t position) const {
  return {ErrorCode::corrupt,
          segment.file.path + suffix_of(segment.stored.codec) + " is damaged at position " + std::to_string(position) +
              (segment.stored.codec == SegmentCodec::none ? "" : " of its plain bytes") + ": the entry there is not valid"};
}

void LogReader::with_samples(const SegmentReference& segment, std::function<void(Status)> then) {
  if (segment->has_samples) {
    if (segment->sealed) context_.samples.use(segment);
    return then(std::nullopt);
  }
  const auto loaded = std::make_shared<Result<SegmentIndex>>(SegmentIndex{});
  context_.workers.run(
      [this, segment, loaded] {
        *loaded = load_index(context_.files, directory_, layout_, segment->index.summary, context_.direct);
      },
      [this, segment, loaded, then = std::move(then)] {
        if (!*loaded) return then(loaded->error());
        context_.samples.use(segment);
        if (!segment->has_samples) segment->index.samples = std::move((*loaded)->samples);
        segment->has_samples = true;
        then(std::nullopt);
      });
}

void LogReader::read(const SegmentReference& segment, const ReadRequest& request, std::function<void(Result<ReadOutcome>)> done) {
  with_samples(segment, [this, segment, request, done = std::move(done)](Status error) {
    if (error) return done(std::move(*error));
    EntryPlace from = place_of(segment->index.sample_for(request.offset));
    if (const auto in_tail = segment->tail.place_for(request.offset); in_tail && in_tail->position > from.position) from = *in_tail;
    if (segment->tail.covers(from.position)) {
      if (auto outcome = read_from_tail(*segment, request, from)) return done(std::move(*outcome));
    }
    if (const NextReadReference next = context_.ahead.take(segment, request.offset)) return read_on(segment, request, next, done);
    const auto answer = [this, segment, request, done](Result<ReadOutcome> outcome) {
      if (outcome) remember(segment, request, *outcome, false);
      done(std::move(outcome));
    };
    read_from_file(segment, request, from, std::min(readable_end(*segment), from.position + wanted_bytes(request)), answer);
  });
}

void LogReader::read_on(const SegmentReference& segment, const ReadRequest& request, const NextReadReference& next,
                        std::function<void(Result<ReadOutcome>)> done) {
  const auto answer = [this, segment, request, done = std::move(done)](Result<ReadOutcome> outcome) {
    if (outcome) remember(segment, request, *outcome, true);
    done(std::move(outcome));
  };
  const auto go_on = [this, segment, request, next, answer] {
    const EntryPlace from{next->offset, next->position};
    const uint64_t end = readable_end(*segment);
    const bool is_enough = next->memory != nullptr && next->end >= std::min(end, next->position + request.bytes_max);
    if (is_enough && next->state == NextRead::State::there) return choose(segment, request, from, *next, answer);
    read_from_file(segment, request, from, std::min(end, from.position + wanted_bytes(request)), answer);
  };
  if (next->state != NextRead::State::under_way) return go_on();
  next->arrived = go_on;
  context_.ring.await_all();
}

void LogReader::remember(const SegmentReference& segment, const ReadRequest& request, const ReadOutcome& outcome, bool is_continuation) {
  if (outcome.bytes == 0 || outcome.segment_ended || outcome.end_position == 0) return;
  const auto next = std::make_shared<NextRead>(NextRead{segment, outcome.next_offset, outcome.end_position});
  next->end = std::min(readable_end(*segment), next->position + wanted_bytes(request));
  const bool is_worth_it = is_continuation && next->position < next->end && !segment->tail.covers(next->position) &&
                           ReadAhead::allows(next->end - next->position);
  // Whoever asks for it is told what went wrong.
  if (is_worth_it && context_.cache.has_room_for(segment->file) && start_read(segment, next, true)) next->memory = nullptr;
  context_.ahead.remember(segment, next);
}

// Reads the file from the block in which `position` lies to `end`. An error when that cannot even begin.
Status LogReader::start_read(const SegmentReference& segment, const NextReadReference& bytes, bool is_ahead) {
  const auto file = context_.cache.open(segment->file);
  if (!file) return Error{ErrorCode::failed, file.error().message};
  bytes->from = align_down(bytes->position, kBlockBytes);
  bytes->memory = context_.pool->take(align_up(bytes->end, kBlockBytes) - bytes->from);
  if (bytes->memory == nullptr) return Error{ErrorCode::failed, "no memory to read " + segment->file.path};
  bytes->state = NextRead::State::under_way;
  if (context_.files->codec_of((*file)->get()) != SegmentCodec::none) {
    read_on_worker(bytes, *file, segment->file.path);
    return std::nullopt;
  }
  auto operation = std::make_unique<Operation>();
  operation->kind = Operation::Kind::read;
  operation->file = (*file)->get();
  operation->position = bytes->from;
  operation->aligned = context_.direct;
  operation->awaited = !is_ahead;
  operation->parts.push_back({bytes->memory->data, bytes->memory->bytes});
  operation->done = [this, bytes, file = *file, path = segment->file.path](int64_t result) {
    bytes->result = result;
    if (result < 0) read_on_worker(bytes, file, path);
    else arrive(bytes);
  };
  context_.ring.start(std::move(operation));
  context_.started();
  return std::nullopt;
}

// What is compressed is opened block by block, and what the device did not give as a whole is asked for in parts. What lies before something
// damaged, or something that cannot be read, is there.
void LogReader::read_on_worker(const NextReadReference& bytes, const FileReference& file, const std::string& path) {
  struct Answer {
    int64_t result = 0;
    Status damage;
  };
  const auto answer = std::make_shared<Answer>();
  context_.workers.run(
      [files = context_.files, file, path, memory = bytes->memory, from = bytes->from, answer] {
        int error = 0;
        answer->result = files->read_before_error(file->get(), memory->data, memory->bytes, from, error);
        const uint64_t end = from + static_cast<uint64_t>(answer->result);
        if (error == -EBADMSG) answer->damage = files->damage(file->get(), end, end + 1);
        else if (error < 0) answer->damage = Error{ErrorCode::failed, describe("read", place_in_file(path, files->codec_of(file->get()), end), -error)};
      },
      [this, bytes, answer] {
        bytes->result = answer->result;
        bytes->damage = std::move(answer->damage);
        arrive(bytes);
      });
}

void LogReader::arrive(const NextReadReference& bytes) {
  const uint64_t end = bytes->from + static_cast<uint64_t>(bytes->result);
  if (end >= bytes->end) bytes->damage = std::nullopt;
  const bool is_there = end >= bytes->end || (bytes->damage && end > bytes->position);
  if (bytes->damage) bytes->end = std::max(end, bytes->position);
  bytes->state = is_there ? NextRead::State::there : NextRead::State::failed;
  if (const auto arrived = std::exchange(bytes->arrived, nullptr)) arrived();
}

EntryHeader LogReader::header_in_tail(const Segment& segment, uint64_t position) const {
  uint8_t header[kHeaderBytesMax];
  segment.tail.copy_out(position, layout_.header_bytes, header);
  return read_header(layout_, header);
}

std::optional<ReadOutcome> LogReader::read_from_tail(const Segment& segment, const ReadRequest& request, EntryPlace from) {
  const auto header_at = [&](uint64_t at) { return header_in_tail(segment, at); };
  const Selection selection = select(request, header_at, from, segment.committed, {segment.end_offset(), segment.committed});
  if (selection.damaged_at) return std::nullopt;
  ReadOutcome outcome{{}, selection.to - selection.from.position, selection.next_offset, selection.to == segment.bytes()};
  segment.tail.slices(selection.from.position, selection.to, outcome.parts);
  return outcome;
}

// Pure: which of the entries from one on answer the request. `end` is the end of the segment's offsets, and where its readable entries end;
// `available_end` where the bytes at hand do. Entries follow each other: one that is whole and stands in another's place is damage, which no
// checksum tells; so is one that says it reaches beyond the segment, and would have a reader wait for it.
Selection LogReader::select(const ReadRequest& request, const HeaderAt& header_at, EntryPlace from, uint64_t available_end, EntryPlace end) const {
  Selection selection{from, from.position, request.offset, 0, std::nullopt};
  auto [base_offset, at] = from;
  bool started = false;
  while (at < end.position) {
    if (at + layout_.header_bytes > end.position) {
      selection.damaged_at = at;
      break;
    }
    if (at + layout_.header_bytes > available_end) {
      if (!started) selection.needed_end = at + layout_.header_bytes;
      break;
    }
    const EntryHeader header = header_at(at);
    const bool is_entry = header.magic == layout_.magic && header.bytes >= layout_.header_bytes && header.last_offset_delta >= 0 &&
                          header.base_offset == base_offset && header.end_offset() <= end.base_offset &&
                          at + static_cast<uint64_t>(header.bytes) <= end.position;
    if (!is_entry) {
      selection.damaged_at = at;
      break;
    }
    const uint64_t entry_end = at + static_cast<uint64_t>(header.bytes);
    base_offset = header.end_offset();
    if (header.end_offset() <= request.offset) {
      at = selection.to = entry_end;
      selection.from = {base_offset, at};
      continue;
    }
    if (header.end_offset() > request.end_offset) break;
    const bool fits = entry_end - selection.from.position <= request.bytes_max;
    if (!fits && (started || !request.at_least_one)) break;
    if (entry_end > available_end) {
      if (!started) selection.needed_end = entry_end;
      break;
    }
    started = true;
    at = selection.to = entry_end;
    selection.next_offset = header.end_offset();
  }
  return selection;
}

void LogReader::read_from_file(const SegmentReference& segment, const ReadRequest& request, EntryPlace from, uint64_t end,
                               std::function<void(Result<ReadOutcome>)> done) {
  if (from.position >= readable_end(*segment)) return done(ReadOutcome{{}, 0, request.offset});
  if (!context_.cache.has_room_for(segment->file)) {
    return context_.cache.wait([=, this] { read_from_file(segment, request, from, end, done); });
  }
  const auto bytes = std::make_shared<NextRead>(NextRead{segment, from.base_offset, from.position});
  bytes->end = end;
  // The operation holds `bytes`, and `bytes` what comes after: it lets go of that when it is called.
  bytes->arrived = [this, segment, request, from, bytes, done] {
    if (bytes->state == NextRead::State::there) return choose(segment, request, from, *bytes, done);
    if (bytes->damage) return done(*bytes->damage);
    done(damaged(*segment, bytes->from + static_cast<uint64_t>(bytes->result)));
  };
  if (auto error = start_read(segment, bytes, false)) {
    bytes->arrived = nullptr;
    done(std::move(*error));
  }
}

void LogReader::choose(const SegmentReference& segment, const ReadRequest& request, EntryPlace from, const NextRead& bytes,
                       std::function<void(Result<ReadOutcome>)> done) {
  const uint8_t* data = bytes.memory->data - bytes.from;
  const auto header_at = [&](uint64_t at) { return read_header(layout_, data + at); };
  const uint64_t limit = readable_end(*segment);
  const Selection selection = select(request, header_at, from, bytes.end, {segment->end_offset(), limit});
  if (selection.needed_end > 0) {
    if (bytes.damage) return done(*bytes.damage);
    const uint64_t end = std::max(selection.needed_end, std::min(limit, bytes.end + kReadExtraBytes));
    return read_from_file(segment, request, selection.from, end, std::move(done));
  }
  done(check(*segment, selection, bytes.memory, bytes.from));
}

// What lies before damage is served; who asks for the damaged entry itself is told.
Result<ReadOutcome> LogReader::check(const Segment& segment, Selection selection, const MemoryReference& memory, uint64_t from) const {
  const uint8_t* data = memory->data - from;
  int64_t next_offset = selection.next_offset;
  for (uint64_t at = selection.from.position; at < selection.to;) {
    if (!is_valid_entry(layout_, data + at, selection.to - at)) {
      selection.damaged_at = selection.to = at;
      selection.next_offset = next_offset;
      break;
    }
    const EntryHeader header = read_header(layout_, data + at);
    next_offset = header.end_offset();
    at += static_cast<uint64_t>(header.bytes);
  }
  if (selection.damaged_at && selection.to == selection.from.position) return damaged(segment, *selection.damaged_at);
  ReadOutcome outcome{{}, selection.to - selection.from.position, selection.next_offset, selection.to == segment.bytes(), selection.to};
  if (outcome.bytes > 0) outcome.parts.push_back({memory, data + selection.from.position, outcome.bytes});
  return outcome;
}

void LogReader::visit(const SegmentReference& segment, EntryPlace from, uint64_t to, Visit visitor, std::function<void(Status)> done) {
  if (from.position >= to) return done(std::nullopt);
  if (segment->tail.covers(from.position)) {
    for (uint64_t at = from.position; at < to;) {
      const EntryHeader header = header_in_tail(*segment, at);
      if (!visitor(header, at)) return done(std::nullopt);
      at += static_cast<uint64_t>(header.bytes);
    }
    return done(std::nullopt);
  }
  const ReadRequest request{from.base_offset, std::min(to - from.position, kVisitBytes), true, INT64_MAX};
  read_from_file(segment, request, from, std::min(to, from.position + request.bytes_max),
                 [this, segment, from, to, visitor = std::move(visitor), done = std::move(done)](Result<ReadOutcome> outcome) {
                   if (!outcome) return done(outcome.error());
                   if (outcome->bytes == 0) return done(std::nullopt);
                   const uint8_t* data = outcome->parts.front().data;
                   for (uint64_t at = 0; at < outcome->bytes;) {
                     const EntryHeader header = read_header(layout_, data + at);
                     if (!visitor(header, from.position + at)) return done(std::nullopt);
                     at += static_cast<uint64_t>(header.bytes);
                   }
                   visit(segment, {outcome->next_offset, from.position + outcome->bytes}, to, visitor, done);
                 });
}

void LogReader::find_timestamp(const SegmentReference& segment, int64_t start_offset, int64_t timestamp_min,
                               std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  with_samples(segment, [this, segment, start_offset, timestamp_min, done = std::move(done)](Status error) {
    if (error) return done(std::move(*error));
    search_block(segment, 0, start_offset, timestamp_min, done);
  });
}

void LogReader::search_block(const SegmentReference& segment, size_t sample, int64_t start_offset, int64_t timestamp_min,
                             std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  const std::vector<Sample>& samples = segment->index.samples;
  while (sample < samples.size() && samples[sample].timestamp_max < timestamp_min) sample++;
  const uint64_t limit = segment->committed;
  if (sample >= samples.size() || static_cast<uint64_t>(samples[sample].position) >= limit) {
    return done(std::optional<TimestampOutcome>());
  }
  const EntryPlace from = place_of(samples[sample]);
  const uint64_t to = sample + 1 < samples.size() ? static_cast<uint64_t>(samples[sample + 1].position) : segment->bytes();
  const auto found = std::make_shared<std::optional<TimestampOutcome>>();
  const auto visitor = [found, start_offset, timestamp_min](const EntryHeader& header, uint64_t) {
    if (header.end_offset() <= start_offset || header.timestamp_max < timestamp_min) return true;
    *found = TimestampOutcome{header.base_offset, header.timestamp_max};
    return false;
  };
  visit(segment, from, std::min(to, limit), visitor,
        [this, segment, sample, start_offset, timestamp_min, found, done = std::move(done)](Status error) {
          if (error) return done(std::move(*error));
          if (*found) return done(*found);
          // Meanwhile the samples may have gone from memory.
          with_samples(segment, [this, segment, sample, start_offset, timestamp_min, done](Status error) {
            if (error) return done(std::move(*error));
            search_block(segment, sample + 1, start_offset, timestamp_min, done);
          });
        });
}

void LogReader::find_timestamp_max(const SegmentReference& segment, int64_t start_offset,
                                   std::function<void(Result<std::optional<TimestampOutcome>>)> done) {
  const SegmentSummary& summary = segment->index.summary;
  const bool whole = summary.base_offset >= start_offset && segment->committed == segment->bytes();
  if (whole && summary.timestamp_max_offset >= 0) {
    return done(std::optional(TimestampOutcome{summary.timestamp_max_offset, summary.timestamp_max}));
  }
  // Part of the segment does not count: look at all the rest. Rare, and bounded by one segment.
  const auto best = std::make_shared<std::optional<TimestampOutcome>>();
  const auto visitor = [best, start_offset](const EntryHeader& header, uint64_t) {
    const bool counts = header.end_offset() > start_offset;
    if (counts && (!*best || header.timestamp_max > (*best)->timestamp_max)) *best = TimestampOutcome{header.base_offset, header.timestamp_max};
    return true;
  };
  with_samples(segment, [this, segment, start_offset, visitor, best, done = std::move(done)](Status error) {
    if (error) return done(std::move(*error));
    visit(segment, place_of(segment->index.sample_for(start_offset)), segment->committed, visitor, [best, done](Status error) {
      if (error) return done(std::move(*error));
      done(*best);
    });
  });
}

}  // namespace haulout
