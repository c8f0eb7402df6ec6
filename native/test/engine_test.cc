// The engine without Node: each part's contract, and recovery's table. Run under sanitizers (`npm run test:native`).
#include <deque>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "support.h"

namespace haulout {
namespace {

void flip_byte(const std::string& path, uint64_t position) {
  const int file = ::open(path.c_str(), O_RDWR);
  uint8_t byte;
  CHECK(::pread(file, &byte, 1, static_cast<off_t>(position)) == 1);
  byte ^= 0x40;
  CHECK(::pwrite(file, &byte, 1, static_cast<off_t>(position)) == 1);
  ::close(file);
}

void overwrite(const std::string& path, uint64_t position, const std::vector<uint8_t>& data) {
  const int file = ::open(path.c_str(), O_RDWR);
  CHECK(::pwrite(file, data.data(), data.size(), static_cast<off_t>(position)) == static_cast<ssize_t>(data.size()));
  ::close(file);
}

constexpr char kFirst[] = "a/00000000000000000000.log";

void test_checksum() {
  const std::string digits = "123456789";
  CHECK(crc32c(0, reinterpret_cast<const uint8_t*>(digits.data()), digits.size()) == 0xe3069283);
  std::mt19937 random(1);
  std::vector<uint8_t> data(10000);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  // Every length around those at which runs are summed side by side; what went before; any alignment.
  for (size_t bytes = 0; bytes < data.size() - 8; bytes += bytes < 1300 || bytes % 3072 < 800 ? 1 : 61) {
    const auto before = static_cast<uint32_t>(random());
    const uint8_t* from = data.data() + bytes % 8;
    CHECK(crc32c(before, from, bytes) == crc32c_by_table(before, from, bytes));
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

// docs/storage.md, "Recovery", row by row.
void test_judge() {
  const uint64_t position = 10000;
  const CommitMark began_before{5000, 20000};
  const CommitMark began_here{10000, 20000};
  const CommitMark began_after{15000, 20000};
  struct Row {
    Aftermath aftermath;
    Verdict verdict;
  };
  const auto far = position + kWriteBytesMax;
  const Row rows[] = {
      {{position, {}, {}, {}, false, false}, Verdict::cut},
      {{position, {}, {}, began_before, false, false}, Verdict::cut},
      {{position, {}, {}, began_here, false, false}, Verdict::cut},
      {{position, {}, {}, began_after, false, false}, Verdict::corrupt},
      {{position, 12000, 12000, began_after, false, true}, Verdict::corrupt},
      {{position, 12000, 12000, began_before, false, false}, Verdict::corrupt},
      {{position, 12000, 12000, began_before, false, true}, Verdict::cut},
      {{position, 12000, 12000, {}, false, false}, Verdict::corrupt},
      {{position, 12000, 12000, {}, false, true}, Verdict::cut},
      {{position, 12000, far, {}, false, true}, Verdict::corrupt},
      {{position, 12000, far, {}, false, true, true}, Verdict::cut},
      {{position, 12000, far, {}, false, false, true}, Verdict::corrupt},
      {{position, 12000, far, began_after, false, true, true}, Verdict::corrupt},
      {{position, 12000, 12000, began_before, true, false}, Verdict::cut},
  };
  for (const Row& row : rows) CHECK(judge(row.aftermath) == row.verdict);
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

// Leaves a log of `sizes` behind as a kill would: nothing sealed. One write per entry if `apart`.
void make_unsealed(const TemporaryFolder& folder, const std::vector<size_t>& sizes, bool apart) {
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a");
  for (size_t i = 0; i < sizes.size(); i++) {
    const std::vector<uint8_t> entry = make_entry(sizes[i], static_cast<uint8_t>(i + 1));
    CHECK(log->append(entry.data(), entry.size()));
    if (apart) CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
  }
  CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
}

struct Reopened {
  Status error;
  int64_t end_offset = -1;
};

Reopened reopen(const TemporaryFolder& folder) {
  Owner owner(folder.path());
  const auto log = owner.open_log("a");
  if (!log) return {log.error(), -1};
  const Reopened reopened{std::nullopt, (*log)->end_offset()};
  // What was recovered can be read, and goes on.
  const std::vector<uint8_t> entry = make_entry(100, 9);
  CHECK((*log)->append(entry.data(), entry.size()));
  CHECK(owner.run_until([&] { return (*log)->committed_end_offset() == (*log)->end_offset(); }));
  CHECK(!owner.close());
  return reopened;
}

void test_recovery_cases() {
  const std::vector<size_t> sizes{3000, 3000, 3000, 3000, 3000};
  {
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    CHECK(reopen(folder).end_offset == 5);
  }
  {
    // The last entry is damaged, and nothing valid follows: a torn tail.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    flip_byte(folder / kFirst, 12000 + 500);
    CHECK(reopen(folder).end_offset == 4);
  }
  for (const bool apart : {true, false}) {
    // Damage before valid entries, of one write or of several, is never cut.
    for (const uint64_t position : {0u, 8u, 16u, 500u, 3000u, 3008u, 6100u, 11999u}) {
      const TemporaryFolder folder;
      make_unsealed(folder, sizes, apart);
      flip_byte(folder / kFirst, position);
      const Reopened reopened = reopen(folder);
      CHECK(reopened.error && reopened.error->code == ErrorCode::corrupt);
      const std::string place = "position " + std::to_string(position / 3000 * 3000);
      CHECK(reopened.error->message.find(kFirst) != std::string::npos && reopened.error->message.find(place) != std::string::npos);
      CHECK(std::filesystem::file_size(folder / kFirst) > 15000);
    }
  }
  {
    // A block lost of what an earlier write had acknowledged.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    overwrite(folder / kFirst, 4096, std::vector<uint8_t>(4096, 0));
    CHECK(reopen(folder).error->code == ErrorCode::corrupt);
  }
  {
    // The last two writes are gone, but the mark of the second says that the first was acknowledged.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    flip_byte(folder / kFirst, 9500);
    flip_byte(folder / kFirst, 12500);
    CHECK(reopen(folder).error->code == ErrorCode::corrupt);
  }
  {
    // A sector that one write never got to the disk.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, false);
    overwrite(folder / kFirst, 4096, std::vector<uint8_t>(512, 0));
    CHECK(reopen(folder).end_offset == 1);
  }
  {
    // A file that ends inside an entry, as another implementation may leave it.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    std::filesystem::resize_file(folder / kFirst, 14000);
    CHECK(reopen(folder).end_offset == 4);
  }
  {
    // A segment that was begun and never written.
    const TemporaryFolder folder;
    make_unsealed(folder, sizes, true);
    std::ofstream(folder / "a/00000000000000000005.log");
    std::filesystem::resize_file(folder / "a/00000000000000000005.log", 65536);
    CHECK(reopen(folder).end_offset == 5);
  }
}

// After a kill a log is scanned from its recovery point on; a point that does not count changes nothing but the time.
void test_recovery_points() {
  constexpr char kIndex[] = "a/00000000000000000000.index";
  const auto make = [&](const TemporaryFolder& folder, bool durable) {
    StoreOptions options;
    options.uncovered_bytes_max = 8000;
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", durable);
    for (int i = 0; i < 20; i++) {
      const std::vector<uint8_t> entry = make_entry(3000, static_cast<uint8_t>(i + 1), 1, 1000 + i);
      CHECK(log->append(entry.data(), entry.size()));
      CHECK(owner.run_until([&] { return log->uncovered_bytes() <= 8000; }));
      if (durable) CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
    }
    CHECK(!owner.finish([&](Done done) { log->flush(done); }));
    owner.store->drain();
    std::ifstream file(folder / kIndex, std::ios::binary);
    const std::vector<uint8_t> data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const auto size = static_cast<int64_t>(std::filesystem::file_size(folder / kFirst));
    CHECK(!decode_index(data.data(), data.size(), 0, size));
    const auto point = decode_index(data.data(), data.size(), 0, size, IndexKind::partial);
    CHECK(point && point->summary.bytes >= 45000 && point->summary.timestamp_max == 999 + point->summary.end_offset);
    CHECK(!decode_index(data.data(), data.size(), 0, point->summary.bytes - 1, IndexKind::partial));
  };
  const auto check = [](const TemporaryFolder& folder, int64_t end_offset) {
    const Reopened found = reopen(folder);
    if (found.error) std::fprintf(stderr, "%s\n", found.error->message.c_str());
    CHECK(!found.error && found.end_offset == end_offset);
  };
  for (const bool durable : {true, false}) {
    const TemporaryFolder folder;
    make(folder, durable);
    check(folder, 20);
  }
  {
    // Far before the point: nobody looks there at open, whoever reads it hears of it.
    const TemporaryFolder folder;
    make(folder, true);
    flip_byte(folder / kFirst, 500);
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a");
    CHECK(log->end_offset() == 20 && owner.read(log, 0).error().code == ErrorCode::corrupt && owner.read(log, 10)->bytes > 0);
  }
  {
    const TemporaryFolder folder;
    make(folder, true);
    flip_byte(folder / kIndex, 30);
    check(folder, 20);
  }
  {
    const TemporaryFolder folder;
    make(folder, true);
    std::filesystem::resize_file(folder / kIndex, 80);
    check(folder, 20);
  }
  {
    // The file is shorter than its point says, which therefore must be gone before it can fit by chance.
    const TemporaryFolder folder;
    make(folder, true);
    std::filesystem::resize_file(folder / kFirst, 7000);
    Owner owner(folder.path());
    CHECK((*owner.open_log("a"))->end_offset() == 2 && !std::filesystem::exists(folder / kIndex));
  }
  {
    // Damage behind the point is what it is without one.
    const TemporaryFolder folder;
    make(folder, true);
    flip_byte(folder / kFirst, 59000);
    check(folder, 19);
  }
}

void test_index_is_rebuilt() {
  const TemporaryFolder folder;
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, 5000);
    for (int i = 0; i < 10; i++) {
      const std::vector<uint8_t> entry = make_entry(2000, static_cast<uint8_t>(i));
      CHECK(log->append(entry.data(), entry.size()));
    }
    CHECK(!owner.close());
  }
  std::filesystem::remove(folder / "a/00000000000000000002.index");
  flip_byte(folder / "a/00000000000000000004.index", 30);
  flip_byte(folder / "a/00000000000000000006.index", 80);
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, 5000);
  CHECK(log->end_offset() == 10 && log->segments().size() == 5);
  CHECK(content_of(owner, log).size() == 20000);
  CHECK(std::filesystem::exists(folder / "a/00000000000000000002.index"));
  CHECK(!owner.close());
  owner.store.reset();
  // A segment in the middle that is gone is not passed over.
  std::filesystem::remove(folder / "a/00000000000000000004.log");
  Owner again(folder.path());
  CHECK(again.open_log("a").error().code == ErrorCode::corrupt);
}

// Files whose reads of segments wait until another one is under way, too.
class MeetingFiles final : public Files {
 public:
  int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position) override {
    if (bytes > kIndexHeaderBytes) {
      std::unique_lock lock(mutex_);
      under_way_++;
      if (under_way_ > 1) met_ = true;
      changed_.notify_all();
      changed_.wait_for(lock, std::chrono::seconds(5), [this] { return met_; });
      under_way_--;
    }
    return Files::read_some(file, data, bytes, position);
  }
  bool met() {
    const std::lock_guard lock(mutex_);
    return met_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int under_way_ = 0;
  bool met_ = false;
};

// Logs that are opened together are scanned next to each other.
void test_recovered_in_parallel() {
  const TemporaryFolder folder;
  const std::vector<uint8_t> entry = make_entry(20000, 1);
  {
    Owner owner(folder.path());
    for (const char* name : {"a", "b", "c"}) {
      const LogReference log = *owner.open_log(name);
      for (int i = 0; i < 20; i++) CHECK(log->append(entry.data(), entry.size()));
      CHECK(owner.run_until([&] { return log->committed_end_offset() == 20; }));
    }
  }
  const auto files = std::make_shared<MeetingFiles>();
  StoreOptions options;
  options.files = files;
  Owner owner(folder.path(), options);
  int opened = 0;
  for (const char* name : {"a", "b", "c"}) {
    owner.store->open_log(name, {kLayout, 1 << 30, true}, [&](Result<LogReference> log) {
      CHECK(log && (*log)->end_offset() == 20);
      opened++;
    });
  }
  CHECK(owner.run_until([&] { return opened == 3; }));
  CHECK(files->met());
  CHECK(!owner.close());
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

void test_full_disk() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  StoreOptions options;
  options.files = std::make_shared<FaultFiles>(faults);
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  const std::vector<uint8_t> entry = make_entry(30000, 1);
  faults->bytes_free = 200000;
  int64_t accepted = 0;
  while (true) {
    const auto end = log->append(entry.data(), entry.size());
    if (!end) {
      CHECK(end.error().code == ErrorCode::full);
      break;
    }
    accepted = *end;
    CHECK(owner.run_until([&] { return log->committed_end_offset() == accepted; }));
  }
  CHECK(accepted >= 2 && accepted <= 6 && log->end_offset() == accepted && !log->failure());
  // Space came back: the log goes on where it was.
  faults->bytes_free = INT64_MAX;
  CHECK(log->append(entry.data(), entry.size()));
  CHECK(owner.run_until([&] { return log->committed_end_offset() == accepted + 1; }));
  CHECK(!owner.close());
}

// On a full disk a log can be rolled, made shorter and closed, and it goes on when there is space.
void test_retention_on_a_full_disk() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  StoreOptions options;
  options.files = std::make_shared<FaultFiles>(faults);
  const std::vector<uint8_t> entry = make_entry(2000, 1);
  for (int64_t begin = 0; begin < 20; begin += 10) {
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", true, 5000);
    CHECK(log->start_offset() == (begin == 0 ? 0 : 8) && log->end_offset() == begin);
    for (int i = 0; i < 10; i++) CHECK(log->append(entry.data(), entry.size()));
    CHECK(owner.run_until([&] { return log->committed_end_offset() == begin + 10; }));
    faults->full = true;
    CHECK(!owner.finish([&](Done done) { log->roll(done); }));
    CHECK(log->append(entry.data(), entry.size()).error().code == ErrorCode::full);
    const Status refused = owner.finish([&](Done done) { log->truncate_front(begin + 5, done); });
    // Without a start-offset file the second write of it fails for good; with one it is overwritten.
    CHECK(begin == 0 ? refused->code == ErrorCode::failed : !refused);
    if (begin == 0) {
      faults->full = false;
      (void)owner.close();
      owner.store.reset();
      Owner again(folder.path(), options);
      const LogReference reopened = *again.open_log("a", true, 5000);
      CHECK(reopened->start_offset() == 4 && reopened->end_offset() == 10);
      CHECK(!again.finish([&](Done done) { reopened->truncate_front(8, done); }));
      CHECK(!again.close());
      continue;
    }
    CHECK(log->start_offset() == begin + 5 && !log->failure());
    faults->full = false;
    CHECK(log->append(entry.data(), entry.size()));
    CHECK(!owner.close());
  }
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a", true, 5000);
  CHECK(log->start_offset() == 15 && log->end_offset() == 21);
}

using MakeRing = std::function<std::unique_ptr<Ring>(Wake)>;

void test_failed_write_and_sync(const std::function<MakeRing(std::shared_ptr<Faults>)>& make_ring, int error) {
  for (const bool durable : {true, false}) {
    const TemporaryFolder folder;
    const auto faults = std::make_shared<Faults>(1);
    faults->write_errno = error;
    StoreOptions options;
    options.files = std::make_shared<FaultFiles>(faults);
    options.make_ring = make_ring(faults);
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", durable);
    const LogReference other = *owner.open_log("b", durable);
    const std::vector<uint8_t> entry = make_entry(3000, 1);
    CHECK(log->append(entry.data(), entry.size()));
    CHECK(!owner.finish([&](Done done) { log->flush(done); }));
    if (durable) faults->write_error = 1;
    else faults->sync_fails = true;
    CHECK(log->append(entry.data(), entry.size()));
    CHECK(owner.finish([&](Done done) { log->flush(done); })->code == ErrorCode::failed);
    // It works again now, but that is not believed.
    faults->write_error = 0;
    faults->sync_fails = false;
    CHECK(log->append(entry.data(), entry.size()).error().code == ErrorCode::failed);
    CHECK(owner.finish([&](Done done) { log->flush(done); })->code == ErrorCode::failed);
    CHECK(owner.read(log, 0)->bytes >= 3000);
    CHECK(other->append(entry.data(), entry.size()));
    CHECK(!owner.finish([&](Done done) { other->flush(done); }) && owner.read(other, 0)->bytes == 3000);
    CHECK(owner.finish([&](Done done) { owner.store->close_log(log, done); })->code == ErrorCode::failed);
    const auto again = owner.open_log("a");
    CHECK(again && (*again)->end_offset() >= 1);
    CHECK((*again)->append(entry.data(), entry.size()));
    CHECK(!owner.close());
  }
}

// The ring that a backend uses.
std::unique_ptr<Ring> make_ring_of(BackendChoice backend, Wake wake) {
  if (backend == BackendChoice::mmap) return make_mmap_ring(std::move(wake), std::make_shared<FileMaps>());
  if (backend != BackendChoice::threads) {
    if (auto ring = make_uring_ring(wake)) return std::move(*ring);
  }
  return make_threads_ring(std::move(wake));
}

// The kernel itself cuts a write short, and then refuses the rest of it: behind the largest size that a file of this process may have.
void test_write_that_the_kernel_cuts_short(BackendChoice backend) {
  const TemporaryFolder folder;
  StoreOptions options;
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  const LogReference other = *owner.open_log("b");
  const std::vector<uint8_t> entry = make_entry(3000, 1);
  const auto commit = [&](const LogReference& each) {
    const auto end = each->append(entry.data(), entry.size());
    CHECK(end);
    owner.run_until([&] { return each->committed_end_offset() == *end || each->failure(); });
    return !each->failure();
  };
  for (int i = 0; i < 4; i++) CHECK(commit(log));
  rlimit former;
  CHECK(::getrlimit(RLIMIT_FSIZE, &former) == 0);
  const auto signal_before = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{20480, former.rlim_max};
  CHECK(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  // Space is there already: it is the write that fails, at the first byte or in the middle.
  int64_t committed = 4;
  for (; committed < 12 && commit(log); committed++) {}
  CHECK(::setrlimit(RLIMIT_FSIZE, &former) == 0);
  std::signal(SIGXFSZ, signal_before);
  CHECK(committed >= 4 && committed < 7 && log->failure() && log->committed_end_offset() == committed);
  CHECK(log->append(entry.data(), entry.size()).error().code == ErrorCode::failed);
  CHECK(owner.finish([&](Done done) { log->flush(done); })->code == ErrorCode::failed);
  CHECK(commit(other));
  CHECK(owner.finish([&](Done done) { owner.store->close_log(log, done); }).has_value());
  const LogReference again = *owner.open_log("a");
  CHECK(again->end_offset() >= committed && content_of(owner, again).size() == static_cast<size_t>(again->end_offset()) * 3000);
  CHECK(commit(again) && !owner.close());
  CHECK(owner.store->backend().kind == backend || !has_uring());
}

// More logs than file descriptors: files that nobody works with are closed for others.
void test_few_descriptors() {
  const TemporaryFolder folder;
  rlimit former;
  CHECK(::getrlimit(RLIMIT_NOFILE, &former) == 0);
  const rlimit few{64, former.rlim_max};
  CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const std::vector<uint8_t> entry = make_entry(2000, 3);
  for (int64_t life = 0; life < 2; life++) {
    Owner owner(folder.path());
    std::vector<LogReference> logs;
    for (int i = 0; i < 100; i++) logs.push_back(*owner.open_log("log-" + std::to_string(i), true, 5000));
    for (int64_t round = 0; round < 4; round++) {
      for (const LogReference& log : logs) {
        CHECK(log->end_offset() == life * 4 + round && log->append(entry.data(), entry.size()));
        CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
      }
    }
    for (const LogReference& log : logs) CHECK(content_of(owner, log).size() == static_cast<size_t>(life + 1) * 8000);
    CHECK(!owner.close());
  }
  CHECK(::setrlimit(RLIMIT_NOFILE, &former) == 0);
}

// Another ring, which gets nothing to do until it may begin.
class StoppedRing final : public Ring {
 public:
  explicit StoppedRing(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}

  void start(std::unique_ptr<Operation> operation) override {
    if (begun_) ring_->start(std::move(operation));
    else held.push_back(std::move(operation));
  }
  void begin() {
    begun_ = true;
    for (auto& operation : held) ring_->start(std::move(operation));
    held.clear();
  }
  void submit() override { ring_->submit(); }
  void reap() override { ring_->reap(); }
  void drain() override { ring_->drain(); }
  size_t pending() const override { return held.size() + ring_->pending(); }

  std::vector<std::unique_ptr<Operation>> held;

 private:
  const std::unique_ptr<Ring> ring_;
  bool begun_ = false;
};

// A disk that does not answer for a while: one write is under way, what comes behind it waits, and beyond a bound it is not committed.
void test_slow_disk() {
  const TemporaryFolder folder;
  StoppedRing* ring = nullptr;
  StoreOptions options;
  options.make_ring = [&](Wake wake) {
    auto made = std::make_unique<StoppedRing>(make_threads_ring(std::move(wake)));
    ring = made.get();
    return made;
  };
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a", false);
  const std::vector<uint8_t> entry = make_entry(1 << 20, 3);
  for (int64_t i = 0; i < 40; i++) {
    CHECK(log->append(entry.data(), entry.size()) && log->end_offset() == i + 1);
    owner.store->end_turn();
    owner.store->poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (int turns = 0; turns < 1000 && ring->held.empty(); turns++) {
    owner.store->poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(ring->held.size() == 1);
  CHECK(log->committed_end_offset() >= 15 && log->committed_end_offset() <= 17);
  size_t bytes = 0;
  for (const iovec& part : ring->held.front()->parts) bytes += part.iov_len;
  CHECK(bytes <= (size_t{8} << 20) + 2 * kBlockBytes);
  ring->begin();
  CHECK(owner.run_until([&] { return log->committed_end_offset() == 40; }));
  CHECK(content_of(owner, log).size() == size_t{40} << 20);
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

// Somebody else cut a segment while it was open: what is gone is an error of the reads that want it, and of nothing else.
void test_shrunk_file() {
  const TemporaryFolder folder;
  StoreOptions options;
  options.tail_bytes_max = 0;
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  for (int i = 0; i < 100; i++) {
    const std::vector<uint8_t> entry = make_entry(5000, static_cast<uint8_t>(i));
    CHECK(log->append(entry.data(), entry.size()));
  }
  CHECK(!owner.finish([&](Done done) { log->flush(done); }));
  CHECK(!owner.finish([&](Done done) { log->roll(done); }));
  CHECK(owner.read(log, 90)->bytes >= 5000);
  CHECK(::truncate((folder / kFirst).c_str(), 200000) == 0);
  const auto gone = owner.read(log, 90);
  CHECK(!gone && (gone.error().code == ErrorCode::corrupt || gone.error().code == ErrorCode::failed));
  CHECK(owner.read(log, 10, 5000)->bytes >= 5000);
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

// Who goes on where an answer ended finds the next bytes in memory: they are there even when the file is gone meanwhile.
void test_read_ahead() {
  const TemporaryFolder folder;
  StoreOptions options;
  options.tail_bytes_max = 0;
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  std::vector<uint8_t> expected;
  for (int i = 0; i < 400; i++) {
    std::vector<uint8_t> entry = make_entry(5000, static_cast<uint8_t>(i + 1));
    CHECK(log->append(entry.data(), entry.size()));
    store_i64(entry.data(), i);
    expected.insert(expected.end(), entry.begin(), entry.end());
  }
  CHECK(!owner.finish([&](Done done) { log->flush(done); }));
  CHECK(!owner.finish([&](Done done) { log->roll(done); }));
  std::vector<uint8_t> got;
  int64_t offset = 0;
  const auto read_on = [&] {
    const auto outcome = owner.read(log, offset, 100000);
    if (!outcome) return false;
    for (const Slice& part : outcome->parts) got.insert(got.end(), part.data, part.data + part.bytes);
    offset = outcome->next_offset;
    owner.run_until([] { return false; });
    return true;
  };
  CHECK(read_on() && read_on());
  CHECK(::truncate((folder / kFirst).c_str(), 0) == 0);
  CHECK(read_on());
  CHECK(offset == 60 && std::equal(got.begin(), got.end(), expected.begin()));
  CHECK(!read_on());
  CHECK(!owner.close());
}

void test_read_ahead_memory() {
  const auto pool = std::make_shared<MemoryPool>();
  ReadAhead ahead;
  // Only its address counts.
  const auto place = std::make_shared<int>();
  const std::shared_ptr<Segment> segment(place, static_cast<Segment*>(static_cast<void*>(place.get())));
  for (int64_t offset = 0; offset < 64; offset++) {
    const auto next = std::make_shared<NextRead>(NextRead{segment, offset, 0});
    next->memory = pool->take(1 << 20);
    ahead.remember(segment, next);
  }
  CHECK(pool->bytes_taken() <= size_t{32} << 20);
  CHECK(ahead.take(segment, 31) == nullptr);
  CHECK(ahead.take(segment, 32) != nullptr);
  CHECK(ahead.take(segment, 32) == nullptr);
  CHECK(ahead.take(segment, 63)->offset == 63);
}

void test_memory() {
  CHECK(find_run(0, 1) == -1 && find_run(~uint64_t{0}, 64) == 0 && find_run(~uint64_t{1}, 64) == -1);
  CHECK(find_run(0b0111'0110, 2) == 1 && find_run(0b0111'0110, 3) == 4 && find_run(0b0111'0110, 4) == -1);
  CHECK(find_run(uint64_t{1} << 63, 1) == 63 && find_run(uint64_t{0x7fff} << 49, 15) == 49 && find_run(uint64_t{0x7fff} << 49, 16) == -1);
  const auto pool = std::make_shared<MemoryPool>();
  constexpr size_t kMiB = size_t{1} << 20;
  // What does not share a region's bytes is there at the same time; what is given back is used again.
  std::vector<MemoryReference> blocks;
  for (int i = 0; i < 6; i++) {
    blocks.push_back(pool->take(kMiB + 36864));
    std::memset(blocks.back()->data, i, blocks.back()->bytes);
  }
  for (int i = 0; i < 6; i++) CHECK(blocks[i]->data[0] == i && blocks[i]->data[blocks[i]->bytes - 1] == i);
  CHECK(pool->bytes_mapped() == 8 * kMiB && pool->bytes_taken() == 6 * (kMiB + 36864));
  const uint8_t* second = blocks[1]->data;
  blocks[1] = nullptr;
  blocks[1] = pool->take(kMiB);
  CHECK(blocks[1]->data == second && reinterpret_cast<uintptr_t>(second) % kBlockBytes == 0);
  // Small ones and large ones are no matter of the regions.
  const MemoryReference small = pool->take(4096);
  const MemoryReference large = pool->take(9 * kMiB);
  std::memset(large->data, 1, large->bytes);
  CHECK(pool->bytes_mapped() == 8 * kMiB);
  // After a burst a part of it is kept.
  for (int i = 0; i < 40; i++) blocks.push_back(pool->take(4 * kMiB));
  CHECK(pool->bytes_mapped() == 168 * kMiB);
  blocks.clear();
  CHECK(pool->bytes_mapped() == 32 * kMiB && pool->bytes_taken() == 9 * kMiB + 4096);
}

// What was started on it waits until the test answers it.
class HeldRing final : public Ring {
 public:
  explicit HeldRing(std::deque<std::unique_ptr<Operation>>& held) : held_(held) {}
  void start(std::unique_ptr<Operation> operation) override { held_.push_back(std::move(operation)); }
  void submit() override {}
  void reap() override {}
  void drain() override {
    while (!held_.empty()) answer(held_, 0, -ECANCELED);
  }
  size_t pending() const override { return held_.size(); }

  static void answer(std::deque<std::unique_ptr<Operation>>& held, size_t index, int64_t result) {
    const std::unique_ptr<Operation> operation = std::move(held[index]);
    held.erase(held.begin() + static_cast<ptrdiff_t>(index));
    operation->done(result);
  }

 private:
  std::deque<std::unique_ptr<Operation>>& held_;
};

void test_writes_first() {
  constexpr uint64_t kKiB = 1024;
  std::deque<std::unique_ptr<Operation>> held;
  int64_t now_ms = 1000;
  const auto ring = make_writes_first_ring(std::make_unique<HeldRing>(held), [&] { return now_ms; });
  std::vector<uint8_t> memory(12 << 20);
  std::vector<int64_t> results;
  const auto start = [&](Operation::Kind kind, uint64_t position, uint64_t bytes) {
    auto operation = std::make_unique<Operation>();
    operation->kind = kind;
    operation->file = 7;
    operation->position = position;
    operation->parts = {{memory.data(), bytes}};
    operation->done = [&](int64_t result) { results.push_back(result); };
    ring->start(std::move(operation));
  };
  const auto bytes_held = [&] {
    uint64_t bytes = 0;
    for (const auto& each : held) bytes += each->kind == Operation::Kind::read ? each->parts.front().iov_len : 0;
    return bytes;
  };
  // Nobody writes: reads go whole, some megabytes at a time. A write does not wait, whatever is there.
  for (uint64_t i = 0; i < 4; i++) start(Operation::Kind::read, i * 2048 * kKiB, 2048 * kKiB);
  for (uint64_t i = 8; i < 10; i++) start(Operation::Kind::read, i * 1024 * kKiB, 1024 * kKiB);
  CHECK(held.size() == 4 && held[3]->position == 6144 * kKiB && bytes_held() == 8192 * kKiB && ring->pending() == 6);
  start(Operation::Kind::write, 0, 4096);
  CHECK(held.size() == 5 && held[4]->kind == Operation::Kind::write);
  // Beside it little is read at once, in pieces, in order.
  for (int i = 0; i < 4; i++) HeldRing::answer(held, 0, 2048 * kKiB);
  CHECK(results == std::vector<int64_t>(4, 2048 * kKiB) && bytes_held() == 512 * kKiB);
  CHECK(held[1]->position == 8192 * kKiB && held[2]->position == 8448 * kKiB && held[2]->file == 7);
  CHECK(held[2]->parts.front().iov_base == memory.data() + 256 * kKiB);
  // The second piece first, then a short one: the file ends there. So it was written just now, little is read still.
  HeldRing::answer(held, 2, 256 * kKiB);
  HeldRing::answer(held, 0, 4096);
  HeldRing::answer(held, 0, 100);
  CHECK(results.back() == 4096 && bytes_held() == 512 * kKiB && held[0]->position == 8704 * kKiB);
  HeldRing::answer(held, 0, 0);
  HeldRing::answer(held, 0, 0);
  CHECK(results.back() == 100 && held[0]->position == 9216 * kKiB);
  // An error of one piece is that of the read; the rest of it goes whole when nobody has written for a while.
  now_ms += 100;
  HeldRing::answer(held, 1, -EIO);
  CHECK(held.size() == 2 && held[1]->position == 9728 * kKiB && held[1]->parts.front().iov_len == 512 * kKiB);
  HeldRing::answer(held, 1, 512 * kKiB);
  HeldRing::answer(held, 0, 256 * kKiB);
  CHECK(results.back() == -EIO && results.size() == 7 && ring->pending() == 0);
}

// A file that shrinks and grows while it is read through its mapping.
void test_maps() {
  const TemporaryFolder folder;
  const int file = ::open((folder / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  std::vector<uint8_t> written(1 << 20, 7);
  const auto fill = [&] { CHECK(::pwrite(file, written.data(), written.size(), 0) == static_cast<ssize_t>(written.size())); };
  fill();
  FileMaps maps;
  std::vector<uint8_t> read(300000);
  const std::vector<iovec> parts{{read.data(), 100}, {read.data() + 100, read.size() - 100}};
  CHECK(maps.read(file, parts, 5) == static_cast<int64_t>(read.size()) && read[0] == 7 && read.back() == 7);
  CHECK(maps.read(file, parts, (1 << 20) - 10) == 10);
  CHECK(maps.read(file, parts, 1 << 20) == 0);
  CHECK(maps.read(-1, parts, 0) == -EBADF);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      CHECK(::ftruncate(file, 4096) == 0);
      fill();
    }
  });
  for (int i = 0; i < 3000; i++) {
    const int64_t got = maps.read(file, parts, 500000);
    CHECK(got == -EIO || (got >= 0 && got <= static_cast<int64_t>(read.size())));
  }
  stop = true;
  other.join();
  CHECK(maps.count() == 1);
  maps.forget(file);
  CHECK(maps.count() == 0);
  ::close(file);
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_checksum();
  test_index();
  test_judge();
  test_maps();
  test_read_ahead_memory();
  test_memory();
  test_writes_first();
  for (const BackendChoice backend : {BackendChoice::uring, BackendChoice::uring_buffered, BackendChoice::threads, BackendChoice::mmap}) {
    tested_backend = backend;
    for (const bool durable : {true, false}) {
      StoreOptions options;
      test_append_and_reopen(options, durable);
      options.tail_bytes_max = 50000;
      test_append_and_reopen(options, durable);
    }
    test_backend(backend);
    test_refusals();
    test_recovery_cases();
    test_recovery_points();
    test_index_is_rebuilt();
    test_recovered_in_parallel();
    test_truncate_front();
    test_shrunk_file();
    test_read_ahead();
    test_read_of_deleted();
    test_few_descriptors();
    test_full_disk();
    test_retention_on_a_full_disk();
    test_write_that_the_kernel_cuts_short(backend);
    for (const int error : {EIO, ENOSPC}) {
      test_failed_write_and_sync([backend](std::shared_ptr<Faults> faults) -> MakeRing {
        return [backend, faults](Wake wake) { return std::make_unique<FailingRing>(make_ring_of(backend, std::move(wake)), faults); };
      }, error);
    }
  }
  test_slow_disk();
  // On a ring that does not do what it does not answer.
  test_failed_write_and_sync([](std::shared_ptr<Faults> faults) -> MakeRing {
    return [faults](Wake wake) { return std::make_unique<FaultRing>(std::move(wake), faults); };
  }, EIO);
  std::puts("engine: fine");
}
