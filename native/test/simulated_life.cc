#include "simulated_life.h"

#include <algorithm>

namespace haulout {
namespace {

constexpr char kFolder[] = "/data";
const std::string kNames[] = {"a", "b", "c", "d", "e"};

}  // namespace

Life::Life(Simulation& simulation, Snapshot snapshot, int depth, const Trouble& trouble)
    : depth(depth),
      machine(std::move(snapshot.disk), simulation.random),
      promise(std::move(snapshot.promise)),
      simulation_(simulation),
      random_(simulation.random),
      options_(machine.options()),
      troubled_(trouble.write_error + trouble.sync_error + trouble.read_error + trouble.folder_error > 0 ||
                trouble.disk_bytes != UINT64_MAX),
      only_full_(trouble.write_error + trouble.sync_error + trouble.read_error + trouble.folder_error == 0),
      is_short_lived_(random_() % 3 == 0 || simulation.mutation == Mutation::overlook_reused) {
  machine.trouble = trouble;
  machine.mutation = simulation.mutation;
  machine.allows_direct = random_() % 4 > 0;
  machine.on_step = [this](const char* action, const std::string& path) { simulation_.look(*this, action, path); };
  options_.tail_bytes_max = std::array{20000, 60000, 1 << 20}[random_() % 3];
  if (random_() % 3 > 0) options_.uncovered_bytes_max = 1 + random_() % 40000;
  // In some boots logs wait for each other's descriptors. What is answered too early keeps its own, and nobody would hear when that ends.
  if (random_() % 3 == 0 && simulation.mutation != Mutation::answer_before_writing) options_.open_files_max = 1 + random_() % 2;
  // In most boots there is a journal, and so small that its areas change often.
  const size_t turns_min = random_() % 4 == 0 ? SIZE_MAX : random_() % 2;
  options_.reserve = {uint64_t{16} << (10 + random_() % 6), 1 << 20};
  options_.journal = {1 + random_() % 2, turns_min, kBlockBytes * (3 + random_() % 6)};
}

Life::~Life() {
  machine.is_dead = true;
  logs_.clear();
  store_.reset();
}

void Life::calm() { machine.trouble = {}; }

void Life::turn() {
  if (armed_ && (machine.is_idle() || random_() % 2 == 0)) {
    armed_ = false;
    store_->end_turn();
    return;
  }
  machine.work();
  if (machine.is_idle() || random_() % 4 > 0) store_->poll();
}

template <typename Condition>
bool Life::until(Condition condition) {
  while (!condition()) {
    if (!store_->is_active() && !armed_) return condition();
    turn();
  }
  return true;
}

template <typename Value>
std::optional<Result<Value>> Life::ask(const std::function<void(std::function<void(Result<Value>)>)>& request) {
  // An answer may come after nobody waits for it any more.
  const auto answer = std::make_shared<std::optional<Result<Value>>>();
  request([answer](Result<Value> result) { answer->emplace(std::move(result)); });
  if (!until([&] { return answer->has_value(); })) simulation_.fail("a request was never answered");
  return std::move(*answer);
}

// False, and the end of the run, unless there is trouble that explains the error.
bool Life::expect(const Error& error, const std::string& action) {
  simulation_.note(depth, action + ": " + error.message);
  bool explained = troubled_ && (error.code == ErrorCode::failed || error.code == ErrorCode::full);
  // What was accepted has its space.
  if (only_full_ && error.code == ErrorCode::failed && error.message.find("start-offset") == std::string::npos) explained = false;
  if (!explained) simulation_.fail(action + ": " + error.message);
  return explained;
}

bool Life::open_store() {
  auto opened = Store::open(kFolder, options_, {[] {}, [this] { armed_ = true; }, [this](SegmentLog& log) { acknowledge(log); }});
  if (!opened) return expect(opened.error(), "open") && false;
  store_ = std::move(*opened);
  return true;
}

bool Life::boot() {
  simulation_.note(depth, machine.allows_direct ? "boot" : "boot without direct I/O");
  if (!open_store()) return false;
  const auto names = ask<std::vector<std::string>>([&](auto done) { store_->names(done); });
  if (!names) return false;
  if (!*names) return expect(names->error(), "names") && false;
  if (const auto flaw = settle_names(promise, **names)) {
    simulation_.fail(*flaw);
    return false;
  }
  for (const std::string& name : **names) {
    if (!open_log(name)) return false;
  }
  return true;
}

// Opens a log that is there, or a new one.
bool Life::open_log(const std::string& name) {
  LogSettings settings{kLayout, is_short_lived_ ? 13000 + random_() % 20000 : 500 + random_() % 30000, random_() % 3 > 0};
  const SegmentCodec codec = random_() % 2 == 0 ? SegmentCodec::zstd : SegmentCodec::lz4;
  if (random_() % (is_short_lived_ ? 9 : 3) == 0 && has_codec(codec)) settings.compression = codec;
  auto opened = ask<LogReference>([&](auto done) { store_->open_log(name, settings, done); });
  if (!opened) return false;
  if (!*opened) return expect((*opened).error(), "open " + name) && false;
  const auto known = std::find_if(promise.begin(), promise.end(), [&](const LogPromise& each) { return each.names.count(name) > 0; });
  if (known == promise.end()) promise.push_back({{}, 0, 0, 0, {name}, false});
  if (const auto flaw = settle(promise_of(name), ***opened)) {
    simulation_.fail(*flaw);
    return false;
  }
  simulation_.note(depth, "opened " + name + (settings.durable ? " durably, " : " without flushes, ") + "with " + std::to_string((**opened)->start_offset()) + " to " +
                              std::to_string((**opened)->end_offset()));
  logs_[name] = {**opened, settings.durable};
  verify(**opened);
  return !simulation_.has_failed();
}

void Life::keep(const std::string& name, int64_t offset) {
  simulation_.note(depth, "kept " + name + " up to " + std::to_string(offset));
  promise_of(name).keep(offset);
}

LogPromise& Life::promise_of(const std::string& name) {
  return *std::find_if(promise.begin(), promise.end(), [&](const LogPromise& each) { return each.names.count(name) > 0; });
}

void Life::acknowledge(SegmentLog& log) {
  const auto open = logs_.find(log.name());
  if (machine.is_dead || open == logs_.end() || open->second.log.get() != &log || !open->second.durable) return;
  promise_of(log.name()).keep(log.committed_end_offset());
}

// Reads all that is committed, in pieces of any size.
void Life::verify(const LogReference& log) {
  const LogPromise& promised = promise_of(log->name());
  const std::vector<uint8_t> expected = expected_content(promised);
  size_t at = 0;
  const int64_t end = log->committed_end_offset();
  for (int64_t offset = log->start_offset(); offset < end;) {
    const ReadRequest request{offset, 1 + random_() % 20000, true, end};
    const auto outcome = ask<ReadOutcome>([&](auto done) { log->read(request, done); });
    if (!outcome) return;
    // A truncation that was under way has come to its end.
    if (log->start_offset() > offset) return;
    if (!*outcome) {
      expect(outcome->error(), "read " + log->name());
      return;
    }
    for (const Slice& part : (*outcome)->parts) {
      const bool same = at + part.bytes <= expected.size() && std::memcmp(expected.data() + at, part.data, part.bytes) == 0;
      if (!same) return simulation_.fail("log " + log->name() + ": other bytes than were appended, after offset " + std::to_string(offset));
      at += part.bytes;
    }
    if ((*outcome)->next_offset <= offset) return simulation_.fail("log " + log->name() + ": nothing to read at offset " + std::to_string(offset));
    offset = (*outcome)->next_offset;
  }
  if (end == promised.end() && at != expected.size()) return simulation_.fail("log " + log->name() + ": not all entries were read");
  if (random_() % 4 == 0 && !log->failure() && end == promised.end()) verify_timestamps(log, promised);
}

void Life::verify_timestamps(const LogReference& log, const LogPromise& promised) {
  const int64_t wanted = static_cast<int64_t>(random_() % 1000);
  const int64_t start = log->start_offset();
  const auto found = ask<std::optional<TimestampOutcome>>([&](auto done) { log->find_timestamp(wanted, done); });
  // A truncation that was under way has come to its end.
  if (!found || log->start_offset() != start) return;
  if (!*found) {
    expect(found->error(), "search " + log->name());
    return;
  }
  const auto expected = std::find_if(promised.entries.begin(), promised.entries.end(), [&](const ModelEntry* entry) {
    return entry->end_offset > start && entry->timestamp >= wanted;
  });
  const bool same = expected == promised.entries.end() ? !**found : **found && (**found)->base_offset == (*expected)->base_offset;
  if (!same) simulation_.fail("log " + log->name() + ": a search by timestamp finds another entry");
}

void Life::append(OpenLog& open) {
  LogPromise& promised = promise_of(open.log->name());
  for (uint64_t count = 1 + random_() % 6; count > 0; count--) {
    const uint64_t size_range = random_() % 5 == 0 ? 12000 : 700;
    const size_t bytes = 61 + random_() % size_range;
    const auto offsets = static_cast<int32_t>(1 + random_() % 3);
    const auto timestamp = static_cast<int64_t>(random_() % 1000);
    ModelEntry entry{open.log->end_offset(), 0, timestamp, make_entry(bytes, static_cast<uint8_t>(random_() % 255 + 1), offsets, timestamp)};
    const auto end = open.log->append(entry.bytes.data(), entry.bytes.size());
    if (!end) {
      if (end.error().code != ErrorCode::too_large) expect(end.error(), "append to " + open.log->name());
      return;
    }
    store_i64(entry.bytes.data(), entry.base_offset);
    entry.end_offset = *end;
    if (*end != entry.base_offset + offsets) return simulation_.fail("append gave a wrong offset");
    simulation_.entries.push_back(std::move(entry));
    promised.entries.push_back(&simulation_.entries.back());
  }
}

void Life::flush(const OpenLog& open) { open.log->flush(keeps_what_is_there("flush", open)); }

void Life::roll(const OpenLog& open) { open.log->roll(keeps_what_is_there("roll", open)); }

// What was appended so far is kept if the request succeeds.
Done Life::keeps_what_is_there(const std::string& what, const OpenLog& open) {
  return [this, what, name = open.log->name(), end = open.log->end_offset()](Status error) {
    if (machine.is_dead) return;
    if (error) expect(*error, what + " " + name);
    else keep(name, end);
  };
}

int64_t Life::some_offset(const OpenLog& open) {
  const int64_t committed = open.log->committed_end_offset();
  const int64_t start = open.log->start_offset();
  return random_() % 4 == 0 ? committed : start + static_cast<int64_t>(random_() % static_cast<uint64_t>(committed - start + 1));
}

void Life::truncate(const OpenLog& open, int64_t offset) {
  const std::string name = open.log->name();
  promise_of(name).start_asked = std::max(promise_of(name).start_asked, offset);
  simulation_.note(depth, "truncate " + name + " at " + std::to_string(offset));
  open.log->truncate_front(offset, [this, name, offset](Status error) {
    if (machine.is_dead) return;
    if (error) {
      expect(*error, "truncate " + name);
      return;
    }
    LogPromise& promised = promise_of(name);
    promised.start = std::max(promised.start, offset);
    promised.keep(offset);
  });
}

// Segments come at the end and go at the front, and nobody closes the log meanwhile.
void Life::wear(OpenLog& open) {
  for (int round = 0; round < 4 && !open.log->failure() && !simulation_.has_failed(); round++) {
    for (int i = 0; i < 6; i++) append(open);
    wait_for_commit();
    if (open.log->failure() || simulation_.has_failed()) return;
    truncate(open, (open.log->start_offset() + open.log->committed_end_offset()) / 2);
    until([&] { return machine.is_idle(); });
  }
}

void Life::reopen(const std::string& name) {
  simulation_.note(depth, "close " + name);
  const LogReference log = logs_[name].log;
  const int64_t end = log->end_offset();
  const auto closed = ask<bool>([&](auto done) {
    store_->close_log(log, [done](Status error) { error ? done(std::move(*error)) : done(true); });
  });
  if (!closed) return;
  logs_.erase(name);
  if (*closed) promise_of(name).keep(end);
  else expect(closed->error(), "close " + name);
  // Another boot would open it as well; this one has seen what failed, and looks at the disk again.
  if (!simulation_.has_failed()) open_log(name);
}

void Life::remove(const std::string& name) {
  simulation_.note(depth, "remove " + name);
  logs_.erase(name);
  promise_of(name).may_be_gone = true;
  const auto removed = ask<bool>([&](auto done) {
    store_->remove_log(name, [done](Status error) { error ? done(std::move(*error)) : done(true); });
  });
  if (!removed) return;
  if (!*removed) {
    expect(removed->error(), "remove " + name);
    unclear_.insert(name);
    return;
  }
  std::erase_if(promise, [&](const LogPromise& each) { return each.names.count(name) > 0; });
}

void Life::rename(const std::string& from) {
  const auto unused = std::find_if(std::begin(kNames), std::end(kNames), [&](const std::string& name) {
    return unclear_.count(name) == 0 && std::none_of(promise.begin(), promise.end(), [&](const LogPromise& each) { return each.names.count(name) > 0; });
  });
  if (unused == std::end(kNames)) return;
  const std::string to = *unused;
  simulation_.note(depth, "rename " + from + " to " + to);
  const LogReference log = logs_[from].log;
  const int64_t end = log->end_offset();
  const auto closed = ask<bool>([&](auto done) {
    store_->close_log(log, [done](Status error) { error ? done(std::move(*error)) : done(true); });
  });
  if (!closed) return;
  logs_.erase(from);
  if (*closed) promise_of(from).keep(end);
  else expect(closed->error(), "close " + from);
  promise_of(from).names.insert(to);
  const auto renamed = ask<bool>([&](auto done) {
    store_->rename_log(from, to, [done](Status error) { error ? done(std::move(*error)) : done(true); });
  });
  if (!renamed) return;
  if (!*renamed) {
    expect(renamed->error(), "rename " + from);
    unclear_.insert(from);
    unclear_.insert(to);
    return;
  }
  LogPromise& promised = promise_of(from);
  // A log without a folder is not there under either name.
  if (promised.entries.empty() && promised.start == 0) promised.may_be_gone = true;
  promised.names = {to};
  open_log(to);
}

void Life::wait_for_commit() {
  until([&] {
    return std::all_of(logs_.begin(), logs_.end(), [](const auto& each) {
      return each.second.log->failure() || each.second.log->committed_end_offset() == each.second.log->end_offset();
    });
  });
}

std::string Life::some_name() {
  const std::string& name = kNames[random_() % 3];
  return name;
}

void Life::work(int count) {
  while (count-- > 0 && !simulation_.has_failed()) {
    const std::string name = some_name();
    if (unclear_.count(name) > 0) continue;
    if (logs_.count(name) == 0 && !open_log(name)) continue;
    OpenLog& open = logs_[name];
    const LogReference log = open.log;
    switch (random_() % 16) {
      case 0: flush(open); break;
      case 1: roll(open); break;
      case 2: truncate(open, some_offset(open)); break;
      case 3: wait_for_commit(); break;
      case 4: verify(open.log); break;
      case 7: is_short_lived_ ? wear(open) : append(open); break;
      case 5: random_() % 3 == 0 ? remove(name) : reopen(name); break;
      case 6: random_() % 3 == 0 ? rename(name) : reopen(name); break;
      default: append(open); break;
    }
    if (log->failure() && random_() % 4 == 0) calm();
    for (uint64_t turns = random_() % 12; turns > 0 && store_->is_active(); turns--) turn();
  }
}

void Life::close() {
  simulation_.note(depth, "close");
  const auto closed = ask<bool>([&](auto done) {
    store_->close([done](Status error) { error ? done(std::move(*error)) : done(true); });
  });
  if (!closed) return;
  if (!*closed) {
    expect(closed->error(), "close");
    return;
  }
  for (const auto& [name, open] : logs_) promise_of(name).keep(promise_of(name).end());
}

}  // namespace haulout
