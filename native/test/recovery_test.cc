// What is found at open: recovery's table, a kill at any entry, recovery points, indexes that are made again, several logs at a time.
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

// Of an index less is read.
constexpr size_t kScannedBytesMin = 16384;

// Files whose reads of segments wait until another one is under way, too.
class MeetingFiles final : public Files {
 public:
  int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position) override {
    if (bytes > kScannedBytesMin) {
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

// So are the segments of one log whose indexes are gone.
void test_segments_scanned_in_parallel() {
  const TemporaryFolder folder;
  const std::vector<uint8_t> entry = make_entry(20000, 1);
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, 100000);
    for (int i = 0; i < 60; i++) CHECK(log->append(entry.data(), entry.size()));
    CHECK(!owner.close());
  }
  const auto index_name = [&](int base) { return folder / ("a/" + std::string(18, '0') + (base < 10 ? "0" : "") + std::to_string(base) + ".index"); };
  for (int base = 0; base < 50; base += 5) CHECK(std::filesystem::remove(index_name(base)));
  const auto files = std::make_shared<MeetingFiles>();
  StoreOptions options;
  options.files = files;
  {
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", true, 100000);
    CHECK(files->met() && log->end_offset() == 60 && log->segments().size() == 12);
    CHECK(content_of(owner, log).size() == 60 * entry.size());
    for (int base = 0; base < 50; base += 5) CHECK(std::filesystem::exists(index_name(base)));
    CHECK(!owner.close());
  }
  // Of several that are damaged it is always the same one that the error names.
  for (const int base : {10, 30}) {
    std::filesystem::remove(index_name(base));
    flip_byte(folder / ("a/" + std::string(18, '0') + std::to_string(base) + ".log"), 30000);
  }
  for (int i = 0; i < 5; i++) {
    Owner owner(folder.path());
    const auto log = owner.open_log("a", true, 100000);
    CHECK(!log && log.error().code == ErrorCode::corrupt && log.error().message.find("30.log is damaged at position 20000") != std::string::npos);
    CHECK(!owner.close());
  }
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_judge();
  for (const BackendChoice backend : kBackends) {
    tested_backend = backend;
    test_recovery_cases();
    test_recovery_points();
    test_index_is_rebuilt();
    test_recovered_in_parallel();
    test_segments_scanned_in_parallel();
  }
  std::puts("recovery: fine");
}
