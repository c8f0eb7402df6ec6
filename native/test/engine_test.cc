// The engine without Node: sums and indexes, appends and reads on every backend, refusals. Recovery, faults
// and memory have files of their own. Run under sanitizers (`npm run test:native`).
#include <deque>
#include <fstream>

#include "held_ring.h"
#include "support.h"

namespace haulout {
namespace {

void test_checksum() {
  const std::string digits = "123456789";
  CHECK(crc32c(0, reinterpret_cast<const uint8_t*>(digits.data()), digits.size()) == 0xe3069283);
  std::mt19937 random(1);
  std::vector<uint8_t> data(10000);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  // Every length around those at which runs are summed side by side, or folded; what went before; any alignment.
  for (size_t bytes = 0; bytes < data.size() - 8; bytes += bytes < 1300 || bytes % 3072 < 800 ? 1 : 61) {
    const auto before = static_cast<uint32_t>(random());
    const uint8_t* from = data.data() + bytes % 8;
    CHECK(crc32c(before, from, bytes) == crc32c_by_table(before, from, bytes));
    for (const Crc32cMethod& method : crc32c_methods()) {
      CHECK(bytes < method.bytes_min || method.sum(before, from, bytes) == crc32c_by_table(before, from, bytes));
    }
    const uint32_t first = crc32c(before, from, bytes / 3);
    const uint32_t second = crc32c(0, from + bytes / 3, bytes - bytes / 3);
    CHECK(crc32c_combine(first, second, bytes - bytes / 3) == crc32c(before, from, bytes));
    CHECK(crc32c_combine_by_table(first, second, bytes - bytes / 3) == crc32c(before, from, bytes));
  }
}

void test_index() {
  SegmentIndex index;
  index.summary.base_offset = index.summary.end_offset = 7;
  const uint8_t prefix[16] = {};
  for (int i = 0; i < 100; i++) index.add({index.summary.end_offset, 1000, 2, 0, 0, 5 + i % 50}, prefix, sizeof prefix);
  const std::vector<uint8_t> data = encode_index(index);
  const auto decoded = decode_index(data.data(), data.size(), 7, 100000);
  CHECK(decoded && decoded->samples.size() == index.samples.size() && decoded->summary.timestamp_max == 54);
  CHECK(decoded->summary.timestamp_max_offset == 7 + 49 && decoded->sample_for(50).base_offset <= 50);
  CHECK(!decode_index(data.data(), data.size(), 8, 100000) && !decode_index(data.data(), data.size(), 7, 100001));
  CHECK(decoded->summary.entry_count == 100 && decoded->summary.checksum == index.summary.checksum);
  index.summary.checksum.reset();
  const std::vector<uint8_t> before = encode_index(index);
  const auto from_before = decode_index(before.data(), before.size(), 7, 100000);
  CHECK(before.size() == data.size() - 16 && from_before && from_before->samples.size() == index.samples.size());
  CHECK(from_before->summary.entry_count == -1 && !from_before->summary.checksum && from_before->summary.timestamp_max == 54);
  for (size_t at = 0; at < data.size(); at++) {
    std::vector<uint8_t> damaged = data;
    damaged[at] ^= 1;
    CHECK(!decode_index(damaged.data(), damaged.size(), 7, 100000));
  }
}

void test_append_and_reopen(const StoreOptions& options, bool durable) {
  const TemporaryFolder folder;
  std::vector<uint8_t> expected;
  int64_t offset = 0;
  std::mt19937 random(3);
  for (int round = 0; round < 3; round++) {
    Owner owner(folder.path(), options);
    CHECK(owner.store);
    const auto opened = owner.open_log("a", durable, 300000);
    CHECK(opened);
    const LogReference log = *opened;
    CHECK(log->end_offset() == offset);
    CHECK(content_of(owner, log) == expected);
    for (int i = 0; i < 400; i++) {
      std::vector<uint8_t> entry = make_entry(61 + random() % 5000, static_cast<uint8_t>(i), 1 + static_cast<int>(random() % 3));
      const auto end = log->append(entry.data(), entry.size());
      CHECK(end);
      store_i64(entry.data(), offset);
      offset = *end;
      expected.insert(expected.end(), entry.begin(), entry.end());
      if (random() % 4 == 0) owner.run_until([&] { return log->committed_end_offset() == offset; });
    }
    CHECK(owner.run_until([&] { return log->committed_end_offset() == offset; }));
    CHECK(content_of(owner, log) == expected);
    CHECK(!owner.close());
  }
}

void test_refusals() {
  const TemporaryFolder folder;
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, 10000);
  const std::vector<uint8_t> entry = make_entry(200, 1);
  const auto code_of = [&](std::vector<uint8_t> bytes) {
    const auto result = log->append(bytes.data(), bytes.size());
    CHECK(!result);
    return result.error().code;
  };
  CHECK(code_of(std::vector<uint8_t>(60)) == ErrorCode::malformed);
  std::vector<uint8_t> wrong = entry;
  wrong[16] = 3;
  CHECK(code_of(wrong) == ErrorCode::malformed);
  wrong = entry;
  wrong[11]++;
  CHECK(code_of(wrong) == ErrorCode::malformed);
  wrong = entry;
  wrong[23] = 0xff;
  CHECK(code_of(wrong) == ErrorCode::malformed);
  CHECK(code_of(make_entry(10001, 1)) == ErrorCode::too_large);
  CHECK(log->end_offset() == 0 && !std::filesystem::exists(folder / "a"));
  CHECK(owner.open_log("a").error().code == ErrorCode::locked);
  CHECK(owner.open_log("../a").error().code == ErrorCode::malformed);
  CHECK(owner.read(log, 1).error().code == ErrorCode::out_of_range);
  Owner second(folder.path());
  CHECK(second.error && second.error->code == ErrorCode::locked);
  CHECK(second.error->message.find("process " + std::to_string(::getpid())) != std::string::npos);
  CHECK(!owner.close());
  CHECK(code_of(entry) == ErrorCode::closed);
  owner.store.reset();
  std::ofstream(folder / "haulout.format") << "haulout-format 3\n";
  Owner newer(folder.path());
  CHECK(newer.error && newer.error->code == ErrorCode::denied);
}

// Somebody who cannot take a flock is about to take the folder; and one of those was killed at it.
void test_guarded_folder() {
  const TemporaryFolder folder;
  const std::string guard = folder / ".lock~";
  std::ofstream{guard};
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::ofstream(folder / ".lock") << ::getpid() << " 0 pid\n";
    std::filesystem::remove(guard);
  });
  const Owner refused(folder.path());
  CHECK(refused.error && refused.error->code == ErrorCode::locked);
  other.join();
  std::filesystem::remove(folder / ".lock");
  std::ofstream{guard};
  Owner owner(folder.path());
  CHECK(owner.store && !std::filesystem::exists(guard) && !owner.close());
}

// Nothing that is there gets larger, and nothing new is made.
class FullDisk final : public Files {
 public:
  int open(const std::string& path, int flags) override {
    return (flags & O_CREAT) && !std::filesystem::exists(path) ? -ENOSPC : Files::open(path, flags);
  }
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    return static_cast<int64_t>(position + bytes) > size(file) ? -ENOSPC : Files::write_some(file, data, bytes, position);
  }
  int allocate(int, uint64_t, uint64_t) override { return -ENOSPC; }
};

// A store that was closed, or killed, is opened, read and made shorter.
void test_start_on_a_full_disk() {
  for (const bool is_closed : {true, false}) {
    const TemporaryFolder folder;
    const std::vector<uint8_t> entry = make_entry(2000, 1);
    {
      Owner owner(folder.path());
      const LogReference log = *owner.open_log("a", true, 5000);
      for (int i = 0; i < 10; i++) CHECK(log->append(entry.data(), entry.size()));
      CHECK(owner.run_until([&] { return log->committed_end_offset() == 10; }));
      CHECK(!owner.finish([&](Done done) { log->truncate_front(1, done); }));
      if (is_closed) CHECK(!owner.close());
    }
    StoreOptions options;
    options.files = std::make_shared<FullDisk>();
    Owner owner(folder.path(), options);
    if (owner.error) std::fprintf(stderr, "%s\n", owner.error->message.c_str());
    CHECK(owner.store);
    const LogReference log = *owner.open_log("a", true, 5000);
    CHECK(log->end_offset() == 10 && content_of(owner, log).size() >= 9 * 2000);
    CHECK(!log->append(entry.data(), entry.size()));
    CHECK(!owner.finish([&](Done done) { log->truncate_front(5, done); }) && log->start_offset() == 5);
    (void)owner.close();
  }
}

void test_truncate_front() {
  const TemporaryFolder folder;
  for (int round = 0; round < 2; round++) {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", round == 0, 5000);
    const int64_t begin = log->end_offset();
    for (int i = 0; i < 10; i++) {
      const std::vector<uint8_t> entry = make_entry(2000, static_cast<uint8_t>(i));
      CHECK(log->append(entry.data(), entry.size()));
    }
    CHECK(owner.run_until([&] { return log->committed_end_offset() == begin + 10; }));
    CHECK(!owner.finish([&](Done done) { log->truncate_front(begin + 5, done); }));
    CHECK(log->start_offset() == begin + 5 && log->segments().front()->base_offset() == begin + 4);
    CHECK(owner.read(log, begin + 4).error().code == ErrorCode::out_of_range);
    CHECK(!owner.finish([&](Done done) { log->truncate_front(begin + 10, done); }));
    CHECK(log->segments().empty() && log->bytes() == 0);
    CHECK(!owner.close());
  }
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a");
  CHECK(log->start_offset() == 20 && log->end_offset() == 20);
}

// Logs that wait for their turn to be closed and have nothing to write then close one after the other, however many: not one inside the other.
void test_many_closed_at_once() {
  constexpr int kLogs = 20000;
  // As many as are closed at a time, and more.
  constexpr int kWritten = 100;
  const TemporaryFolder folder;
  Owner owner(folder.path());
  std::vector<LogReference> logs;
  for (int i = 0; i < kLogs; i++) {
    owner.store->open_log("log-" + std::to_string(i), {kLayout, 1 << 20, true}, [&](Result<LogReference> log) { logs.push_back(*log); });
  }
  CHECK(owner.run_until([&] { return logs.size() == kLogs; }));
  const std::vector<uint8_t> entry = make_entry(100, 1);
  for (int i = 0; i < kWritten; i++) CHECK(logs[i]->append(entry.data(), entry.size()));
  int closed = 0;
  for (const LogReference& log : logs) owner.store->close_log(log, [&](Status error) { closed += error ? 0 : 1; });
  CHECK(closed < kLogs);
  CHECK(owner.run_until([&] { return closed == kLogs; }));
  CHECK(!owner.close());
}

void test_backend(BackendChoice backend) {
  const TemporaryFolder folder;
  Owner owner(folder.path());
  CHECK(owner.store->backend().kind == backend || (!has_uring() && owner.store->backend().kind == BackendChoice::threads));
  CHECK(backend_named(name_of(backend)) == backend);
  const bool buffered = backend == BackendChoice::uring_buffered || backend == BackendChoice::mmap;
  CHECK(!buffered || !owner.store->backend().direct);
  CHECK(!owner.close());
}

// Stops when it has deleted a segment, until it may go on.
struct SlowFiles final : Files {
  int remove(const std::string& path) override {
    const int result = Files::remove(path);
    if (!path.ends_with(".log")) return result;
    removed = true;
    while (!may_go_on) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return result;
  }

  std::atomic<bool> removed{false};
  std::atomic<bool> may_go_on{false};
};

// A read of what is being deleted waits for the log's new start, and is then out of range: it is no failure of the disk.
void test_read_of_deleted() {
  const TemporaryFolder folder;
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a");
    for (int i = 0; i < 2; i++) {
      const std::vector<uint8_t> entry = make_entry(5000, static_cast<uint8_t>(i));
      CHECK(log->append(entry.data(), entry.size()));
      CHECK(!owner.finish([&](Done done) { log->roll(done); }));
    }
    CHECK(!owner.close());
  }
  const auto files = std::make_shared<SlowFiles>();
  StoreOptions options;
  options.files = files;
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  std::optional<Status> moved;
  log->truncate_front(1, [&](Status status) { moved = std::move(status); });
  while (!files->removed) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::optional<Result<ReadOutcome>> outcome;
  log->read({0, 1000, true, INT64_MAX}, [&](Result<ReadOutcome> result) { outcome.emplace(std::move(result)); });
  CHECK(!outcome);
  files->may_go_on = true;
  CHECK(owner.run_until([&] { return outcome && moved; }));
  CHECK(!*moved);
  CHECK(!*outcome && outcome->error().code == ErrorCode::out_of_range);
  CHECK(owner.read(log, 1)->bytes == 5000);
  CHECK(!owner.close());
}

// What was appended last is handed out as it stands in memory: the same bytes each time, whatever became of the file.
void test_tail_is_not_copied() {
  const TemporaryFolder folder;
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a");
  for (int i = 0; i < 20; i++) {
    const std::vector<uint8_t> entry = make_entry(1000, static_cast<uint8_t>(i));
    CHECK(log->append(entry.data(), entry.size()));
  }
  CHECK(owner.run_until([&] { return log->committed_end_offset() == 20; }));
  CHECK(::truncate((folder / kFirst).c_str(), 0) == 0);
  const Result<ReadOutcome> one = owner.read(log, 5), two = owner.read(log, 5);
  CHECK(one->bytes == 15000 && two->parts.size() == one->parts.size());
  for (size_t i = 0; i < one->parts.size(); i++) CHECK(one->parts[i].data == two->parts[i].data);
  CHECK(one->parts.front().data[100] == 5);
  owner.close();
}

// Counts the reads, or the durable writes, of each submission that had something in it.
class CountedRing final : public RingAround {
 public:
  CountedRing(std::unique_ptr<Ring> ring, Operation::Kind kind, std::vector<size_t>& submissions)
      : RingAround(std::move(ring)), kind_(kind), submissions_(submissions) {}
  void start(std::unique_ptr<Operation> operation) override {
    if (operation->kind == kind_ && (kind_ == Operation::Kind::read || operation->durable)) started_++;
    RingAround::start(std::move(operation));
  }
  void submit() override {
    if (started_ > 0) submissions_.push_back(started_);
    started_ = 0;
    RingAround::submit();
  }

 private:
  const Operation::Kind kind_;
  std::vector<size_t>& submissions_;
  size_t started_ = 0;
};

StoreOptions with_counted(Operation::Kind kind, std::vector<size_t>& submissions) {
  StoreOptions options;
  options.make_ring = [kind, &submissions](Wake wake) { return std::make_unique<CountedRing>(make_threads_ring(std::move(wake)), kind, submissions); };
  return options;
}

// One submission per turn for all logs; what arrives while a write is under way goes out together in the next one.
void test_group_commit() {
  constexpr size_t kLogs = 20;
  const TemporaryFolder folder;
  std::vector<size_t> submissions;
  Owner owner(folder.path(), with_counted(Operation::Kind::write, submissions));
  std::vector<LogReference> logs;
  for (size_t i = 0; i < kLogs; i++) logs.push_back(*owner.open_log("log-" + std::to_string(i)));
  // Too large to share the journal.
  const std::vector<uint8_t> entry = make_entry(20000, 1);
  const auto append = [&](const LogReference& log) { CHECK(log->append(entry.data(), entry.size())); };
  const auto committed = [](const LogReference& log) { return log->committed_end_offset() == log->end_offset(); };
  const auto commit_all = [&] { CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), committed); })); };
  for (int round = 0; round < 3; round++) {
    submissions.clear();
    for (const LogReference& log : logs) append(log);
    commit_all();
  }
  // The files are there since the first round.
  CHECK(submissions == std::vector<size_t>{kLogs});
  submissions.clear();
  append(logs[0]);
  owner.store->end_turn();
  CHECK(submissions == std::vector<size_t>{1});
  for (int turn = 0; turn < 10; turn++) {
    for (int i = 0; i < 3; i++) append(logs[0]);
    owner.store->end_turn();
  }
  CHECK(submissions == std::vector<size_t>{1});
  commit_all();
  CHECK((submissions == std::vector<size_t>{1, 1}) && logs[0]->end_offset() == 3 + 31);
  CHECK(!owner.close());
}

// What is asked for in one turn, of any logs, is read in one submission.
void test_reads_together() {
  constexpr size_t kLogs = 20;
  const TemporaryFolder folder;
  std::vector<size_t> submissions;
  StoreOptions options = with_counted(Operation::Kind::read, submissions);
  // Nothing is served from memory.
  options.tail_bytes_max = 0;
  Owner owner(folder.path(), options);
  std::vector<LogReference> logs;
  for (size_t i = 0; i < kLogs; i++) {
    logs.push_back(*owner.open_log("log-" + std::to_string(i)));
    for (int entry = 0; entry < 3; entry++) CHECK(logs[i]->append(make_entry(20000, static_cast<uint8_t>(i)).data(), 20000));
    CHECK(!owner.finish([&](Done done) { logs[i]->flush(done); }));
  }
  submissions.clear();
  size_t answered = 0;
  for (size_t i = 0; i < kLogs; i++) {
    logs[i]->read({1, 20000, false, INT64_MAX}, [&, i](Result<ReadOutcome> outcome) {
      CHECK(outcome && outcome->bytes == 20000 && outcome->parts.front().data[100] == i);
      answered++;
    });
  }
  CHECK(owner.run_until([&] { return answered == kLogs; }));
  CHECK(submissions == std::vector<size_t>{kLogs});
  CHECK(!owner.close());
}

// Without a durable policy a few logs write at a time, and more when much waits. When too much waits, so does an append, until less does:
// that need not be its own log's write.
void test_turns() {
  const TemporaryFolder folder;
  std::deque<std::unique_ptr<Operation>> held;
  StoreOptions options;
  options.tail_bytes_max = 8 << 20;
  options.make_ring = [&](const Wake&) { return std::make_unique<HeldRing>(held); };
  Owner owner(folder.path(), options);
  constexpr size_t kLogs = 300;
  constexpr size_t kBytes = 4800;
  std::vector<LogReference> logs;
  for (size_t i = 0; i < kLogs; i++) logs.push_back(*owner.open_log("log-" + std::to_string(i), false));
  const auto entry = make_entry(kBytes, 1);
  for (const LogReference& log : logs) CHECK(log->append(entry.data(), entry.size()));
  const auto all_wait = [&] { return static_cast<size_t>(std::ranges::count_if(logs, [](const LogReference& log) { return log->waits_for_turn; })) == kLogs - 2; };
  for (owner.store->poll(); !all_wait(); owner.store->poll()) ::usleep(1000);
  CHECK(held.size() == 2);

  size_t count = 0;
  const auto append_next = [&] {
    SegmentLog& log = *logs[count++ % kLogs];
    CHECK(log.append(entry.data(), kBytes));
    return log.committed_end_offset() == log.end_offset();
  };
  while (append_next()) {}
  const LogReference& last = logs[(count - 1) % kLogs];
  CHECK((kLogs + count - 1) * kBytes <= 4 << 20 && (kLogs + count) * kBytes > 4 << 20);
  owner.store->poll();
  CHECK(held.size() == 256 && last->waits_for_turn && last->committed_end_offset() < last->end_offset());

  const auto answer_first = [&] {
    int64_t bytes = 0;
    for (const iovec& part : held.front()->parts) bytes += static_cast<int64_t>(part.iov_len);
    HeldRing::answer(held, 0, bytes);
  };
  size_t answered = 0;
  for (; last->committed_end_offset() < last->end_offset(); answered++) answer_first();
  CHECK(answered > 1 && answered < 256 && last->written_end_offset() == 0);
  for (; !held.empty(); owner.store->poll()) {
    CHECK(held.size() <= 256);
    answer_first();
  }
  for (const LogReference& log : logs) CHECK(log->written_end_offset() == log->end_offset() && !log->failure());
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_checksum();
  test_index();
  test_turns();
  for (const BackendChoice backend : kBackends) {
    tested_backend = backend;
    for (const bool durable : {true, false}) {
      StoreOptions options;
      test_append_and_reopen(options, durable);
      options.tail_bytes_max = 50000;
      test_append_and_reopen(options, durable);
    }
    test_backend(backend);
    test_refusals();
    test_truncate_front();
    test_read_of_deleted();
    test_tail_is_not_copied();
  }
  tested_backend = BackendChoice::automatic;
  test_guarded_folder();
  test_start_on_a_full_disk();
  test_many_closed_at_once();
  test_group_commit();
  test_reads_together();
  std::puts("engine: fine");
}
