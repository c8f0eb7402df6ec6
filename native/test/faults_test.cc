// Disks that are full, slow, cut short by somebody else, or fail, and too few descriptors: what each costs, and what goes on.
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "support.h"

namespace haulout {
namespace {

void test_full_disk() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  Owner owner(folder.path(), with_faults(faults));
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
  StoreOptions options = with_faults(faults);
  // Nothing is held in reserve.
  options.reserve = {0, 0};
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
    StoreOptions options = with_faults(faults);
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

bool is_committed(const LogReference& log) { return log->committed_end_offset() == log->end_offset(); }

class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t count) {
    CHECK(::getrlimit(RLIMIT_NOFILE, &former_) == 0);
    const rlimit few{count, former_.rlim_max};
    CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  }
  ~FewDescriptors() { CHECK(::setrlimit(RLIMIT_NOFILE, &former_) == 0); }

 private:
  rlimit former_;
};

// More logs than file descriptors: files that nobody works with are closed for others.
void test_few_descriptors() {
  const TemporaryFolder folder;
  const FewDescriptors few(64);
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
}

// Also when all of them are appended to, flushed, read and closed at once: who finds no descriptor waits for one.
void test_few_descriptors_at_once(bool durable, std::optional<size_t> open_files_max) {
  const TemporaryFolder folder;
  const FewDescriptors few(48);
  StoreOptions options;
  options.open_files_max = open_files_max;
  // Nothing is read from memory that could be read from a file.
  options.tail_bytes_max = 4096;
  const std::vector<uint8_t> entry = make_entry(2000, 3);
  Owner owner(folder.path(), options);
  std::vector<LogReference> logs;
  for (int i = 0; i < 60; i++) logs.push_back(*owner.open_log("log-" + std::to_string(i), durable, 5000));
  for (int round = 0; round < 4; round++) {
    for (const LogReference& log : logs) CHECK(log->append(entry.data(), entry.size()));
    if (round % 2 == 0) CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), is_committed); }));
  }
  size_t flushed = 0;
  for (const LogReference& log : logs) log->flush([&](Status error) { flushed += error ? 0 : 1; });
  CHECK(owner.run_until([&] { return flushed == logs.size(); }));
  size_t read = 0;
  for (const LogReference& log : logs) {
    log->read({0, 1 << 20, true, INT64_MAX}, [&](Result<ReadOutcome> outcome) { read += outcome && outcome->bytes == 4000 ? 1 : 0; });
  }
  CHECK(owner.run_until([&] { return read == logs.size(); }));
  for (const LogReference& log : logs) CHECK(content_of(owner, log).size() == 8000);
  CHECK(!owner.close());
  owner.store.reset();
  Owner again(folder.path());
  CHECK((*again.open_log("log-59"))->end_offset() == 4 && !again.close());
}

// Somebody else took them all: an error that says so, and nothing waits for what does not come.
void test_no_descriptors() {
  const TemporaryFolder folder;
  const std::vector<uint8_t> entry = make_entry(2000, 3);
  const auto is_told = [](const Error& error) { return error.message.find("Too many open files") != std::string::npos; };
  for (const bool is_in_append : {true, false}) {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a");
    // The first append asks for space that files may be made from later; where it is there a worker makes them.
    if (!is_in_append) {
      const LogReference other = *owner.open_log("b");
      CHECK(other->append(entry.data(), entry.size()) && owner.run_until([&] { return is_committed(other); }));
      CHECK(!owner.finish([&](Done done) { owner.store->close_log(other, done); }));
    }
    {
      const FewDescriptors none(0);
      const auto appended = log->append(entry.data(), entry.size());
      CHECK(is_in_append ? is_told(appended.error()) && !log->failure() : appended);
      CHECK(is_in_append || (!owner.run_until([&] { return is_committed(log); }) && is_told(*log->failure())));
      CHECK(is_told(log->append(entry.data(), entry.size()).error()));
    }
    (void)owner.finish([&](Done done) { owner.store->close_log(log, done); });
    const LogReference again = *owner.open_log("a");
    CHECK(again->append(entry.data(), entry.size()) && owner.run_until([&] { return is_committed(again); }));
    CHECK(!owner.finish([&](Done done) { owner.store->remove_log("a", done); }) && !owner.close());
  }
}

// A worker that makes or seals a segment needs one more, for the folder: it waits for that, too, while others have some to give back.
void test_no_descriptor_for_a_folder() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  Owner owner(folder.path(), with_faults(faults));
  const std::vector<uint8_t> entry = make_entry(2000, 3);
  std::vector<LogReference> logs;
  for (int i = 0; i < 8; i++) logs.push_back(*owner.open_log("log-" + std::to_string(i), i % 2 == 0));
  const auto append_all = [&] {
    for (const LogReference& log : logs) CHECK(log->append(entry.data(), entry.size()));
    CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), is_committed); }));
    for (const LogReference& log : logs) CHECK(!owner.finish([&](Done done) { log->flush(done); }));
  };
  append_all();
  for (int round = 0; round < 3; round++) {
    faults->folder_syncs_to_refuse = 1 + round;
    CHECK(!owner.finish([&](Done done) { logs[static_cast<size_t>(round)]->roll(done); }));
    CHECK(faults->folder_syncs_to_refuse == 0);
    faults->folder_syncs_to_refuse = 1 + round;
    append_all();
    CHECK(faults->folder_syncs_to_refuse == 0);
  }
  // Nobody has one to give.
  faults->folder_syncs_to_refuse = 1000;
  const Status refused = owner.finish([&](Done done) { logs[0]->roll(done); });
  CHECK(refused && refused->message.find("Too many open files") != std::string::npos);
  faults->folder_syncs_to_refuse = 0;
  CHECK(owner.finish([&](Done done) { owner.store->close_log(logs[0], done); }).has_value());
  logs[0] = *owner.open_log("log-0");
  CHECK(logs[0]->end_offset() == 4);
  append_all();
  CHECK(!owner.close());
}

// Another ring, which gets nothing to do until it may begin.
class StoppedRing final : public RingAround {
 public:
  using RingAround::RingAround;

  void start(std::unique_ptr<Operation> operation) override {
    if (begun_) RingAround::start(std::move(operation));
    else held.push_back(std::move(operation));
  }
  void begin() {
    begun_ = true;
    for (auto& operation : held) RingAround::start(std::move(operation));
    held.clear();
  }
  size_t pending() const override { return held.size() + RingAround::pending(); }

  std::vector<std::unique_ptr<Operation>> held;

 private:
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

// Bytes of every file that the device does not give, or only when it is asked again.
struct BadSpot {
  std::atomic<uint64_t> from{UINT64_MAX};
  std::atomic<int> refusals_left{INT_MAX};

  bool refuses(uint64_t position, uint64_t bytes) { return position <= from && from < position + bytes && refusals_left-- > 0; }
};

class BadSpotFiles final : public Files {
 public:
  explicit BadSpotFiles(std::shared_ptr<BadSpot> spot) : spot_(std::move(spot)) {}
  int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position) override {
    return spot_->refuses(position, bytes) ? -EIO : Files::read_some(file, data, bytes, position);
  }

 private:
  const std::shared_ptr<BadSpot> spot_;
};

class BadSpotRing final : public RingAround {
 public:
  BadSpotRing(std::unique_ptr<Ring> ring, std::shared_ptr<BadSpot> spot) : RingAround(std::move(ring)), spot_(std::move(spot)) {}
  void start(std::unique_ptr<Operation> operation) override {
    uint64_t bytes = 0;
    for (const iovec& part : operation->parts) bytes += part.iov_len;
    if (operation->kind == Operation::Kind::read && spot_->refuses(operation->position, bytes)) {
      operation->done = [done = std::move(operation->done)](int64_t) { done(-EIO); };
    }
    RingAround::start(std::move(operation));
  }

 private:
  const std::shared_ptr<BadSpot> spot_;
};

// What lies before it and behind it is served; who asks for it hears where it is, and nobody else hears of it.
void test_spot_that_cannot_be_read(BackendChoice backend, SegmentCodec codec) {
  constexpr int64_t kEntries = 3000;
  const TemporaryFolder folder;
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, 1 << 30, codec);
    for (int64_t i = 0; i < kEntries; i++) {
      std::vector<uint8_t> entry = make_entry(1000, 0);
      std::mt19937 random(static_cast<uint32_t>(i));
      std::generate(entry.begin() + 61, entry.end(), [&] { return static_cast<uint8_t>(random() % 16); });
      store_u32(entry.data() + 17, crc32c(0, entry.data() + 21, entry.size() - 21));
      CHECK(log->append(entry.data(), entry.size()));
    }
    CHECK(!owner.finish([&](Done done) { log->roll(done); }));
    CHECK(owner.run_until([&] { return log->segments().front()->stored.codec == codec; }));
    CHECK(!owner.close());
  }
  const auto spot = std::make_shared<BadSpot>();
  StoreOptions options;
  options.files = std::make_shared<BadSpotFiles>(spot);
  options.make_ring = [backend, spot](Wake wake) { return std::make_unique<BadSpotRing>(make_ring_of(backend, std::move(wake)), spot); };
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  const bool is_compressed = log->segments().front()->stored.codec != SegmentCodec::none;
  CHECK(is_compressed == (codec != SegmentCodec::none));
  spot->from = is_compressed ? 500000 : 1000000;
  const auto before = owner.read(log, 0, 4 << 20);
  CHECK(before && before->next_offset > 500 && before->next_offset < 2000);
  CHECK(is_compressed || before->next_offset == 1000000 / 4096 * 4096 / 1000);
  const auto inside = owner.read(log, before->next_offset);
  CHECK(!inside && inside.error().code == ErrorCode::failed);
  const std::string place = is_compressed ? ".log.zst at position " : ".log at position ";
  CHECK(inside.error().message.find(place) != std::string::npos);
  CHECK((inside.error().message.find(" of its plain bytes") != std::string::npos) == is_compressed);
  const auto behind = owner.read(log, before->next_offset + 200);
  CHECK(behind && behind->next_offset > before->next_offset + 200);
  // What is given when it is asked for once more is as if nothing had been.
  spot->refusals_left = 1;
  const auto again = owner.read(log, before->next_offset, 1 << 20);
  CHECK(again && again->next_offset > before->next_offset + 500);
  CHECK(!log->failure() && !owner.close());
}

// The folder is removed, or another one stands in its place: logs fail within a second, and nothing is opened in it.
void test_folder_that_is_gone() {
  for (const bool is_replaced : {false, true}) {
    const TemporaryFolder parent;
    const std::string folder = parent / "data";
    int64_t now_ms = 5000;
    StoreOptions options;
    options.now_ms = [&now_ms] { return now_ms; };
    Owner owner(folder, options);
    const LogReference log = *owner.open_log("a");
    const LogReference idle = *owner.open_log("idle");
    const std::vector<uint8_t> entry = make_entry(100, 1);
    const auto append = [&] {
      const auto appended = log->append(entry.data(), entry.size());
      CHECK(!appended || owner.run_until([&] { return log->failure() || log->committed_end_offset() == log->end_offset(); }));
      return appended;
    };
    CHECK(append());
    std::filesystem::rename(folder, parent / "elsewhere");
    if (is_replaced) {
      std::filesystem::create_directory(folder);
      std::ofstream(folder + "/.lock") << "";
    }
    CHECK(append());
    now_ms += 1000;
    (void)append();
    const auto refused = append();
    CHECK(!refused && refused.error().code == ErrorCode::failed);
    CHECK(refused.error().message.find("folder " + folder + " is not the one that was opened any more") != std::string::npos);
    CHECK(idle->failure());
    CHECK(owner.open_log("b").error().code == ErrorCode::failed);
    CHECK(owner.finish([&](Done done) { owner.store->remove_log("b", done); })->code == ErrorCode::failed);
    CHECK(owner.finish([&](Done done) { owner.store->rename_log("b", "c", done); })->code == ErrorCode::failed);
    (void)owner.close();
    // What was acknowledged before is where the folder is.
    owner.store.reset();
    Owner other(parent / "elsewhere");
    CHECK((*other.open_log("a"))->end_offset() >= 1);
    CHECK(!other.close());
  }
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  for (const BackendChoice backend : kBackends) {
    tested_backend = backend;
    test_full_disk();
    test_retention_on_a_full_disk();
    test_shrunk_file();
    test_few_descriptors();
    test_few_descriptors_at_once(true, std::nullopt);
    for (const bool durable : {true, false}) test_few_descriptors_at_once(durable, 1);
    test_no_descriptors();
    test_no_descriptor_for_a_folder();
    test_write_that_the_kernel_cuts_short(backend);
    test_spot_that_cannot_be_read(backend, SegmentCodec::none);
    if (has_codec(SegmentCodec::zstd)) test_spot_that_cannot_be_read(backend, SegmentCodec::zstd);
    for (const int error : {EIO, ENOSPC}) {
      test_failed_write_and_sync([backend](std::shared_ptr<Faults> faults) -> MakeRing {
        return [backend, faults](Wake wake) { return std::make_unique<FailingRing>(make_ring_of(backend, std::move(wake)), faults); };
      }, error);
    }
  }
  test_slow_disk();
  test_folder_that_is_gone();
  // On a ring that does not do what it does not answer.
  test_failed_write_and_sync([](std::shared_ptr<Faults> faults) -> MakeRing {
    return [faults](Wake wake) { return std::make_unique<FaultRing>(std::move(wake), faults); };
  }, EIO);
  std::puts("faults: fine");
}
