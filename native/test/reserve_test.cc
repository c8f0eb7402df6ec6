// Space that is there before an entry has an offset, and the file that comes later: what may be claimed and when, and what a disk costs that is full
// when the file is made.
#include <thread>

#include "support.h"

namespace haulout {
namespace {

constexpr uint64_t kBlock = 4096;
// For a folder and a file, beside what is asked for.
constexpr uint64_t kFile = 256 << 10;
constexpr ReserveOptions kSmall{512 << 10, 4 << 20};
constexpr int64_t kMuch = int64_t{1} << 40;

struct Reserve {
  Reserve() {
    faults->bytes_free = kMuch;
  }
  int64_t held() const { return kMuch - faults->bytes_free; }

  const TemporaryFolder folder;
  const std::shared_ptr<Faults> faults = std::make_shared<Faults>(1);
  SpaceReserve space{std::make_shared<FaultFiles>(faults), folder.path(), kSmall};
};

void test_claims() {
  Reserve reserve;
  const std::shared_ptr<Faults>& faults = reserve.faults;
  {
    SpaceClaim first(reserve.space);
    SpaceClaim second(reserve.space);
    CHECK(first.begin(kBlock) && reserve.held() == 512 << 10);
    // It stands under no name, and what there is suffices without a call.
    CHECK(std::filesystem::is_empty(reserve.folder.path()));
    const int calls = faults->calls;
    CHECK(first.extend(kBlock) && first.extend((512 << 10) - kFile - 2 * kBlock) && faults->calls == calls);
    CHECK(first.extend(kBlock) && reserve.held() == 1 << 20);
    CHECK(second.begin(kBlock) && reserve.held() == 1 << 20);
    // In steps that double, up to the bound; what is promised already gets more.
    CHECK(second.extend(2 << 20) && reserve.held() > 2 << 20);
    const int64_t held = reserve.held();
    SpaceClaim third(reserve.space);
    CHECK(!third.begin(4 << 20) && reserve.held() == held);
    CHECK(second.extend(4 << 20) && reserve.held() > 4 << 20);
    CHECK(!reserve.space.begin_shrinking());
    SpaceClaim moved(std::move(first));
    second.join(std::move(moved));
  }
  const int64_t held = reserve.held();
  CHECK(reserve.space.begin_shrinking() && !reserve.space.begin_shrinking() && reserve.held() == held);
  reserve.space.shrink();
  CHECK(reserve.held() == kSmall.bytes_min && !reserve.space.begin_shrinking());
}

// It is a small part of what is free, of space and of inodes, and what the file system refuses is not asked for again at once.
void test_what_is_not_worth_it() {
  {
    Reserve reserve;
    SpaceClaim claim(reserve.space);
    reserve.faults->bytes_free = 4 * (512 << 10) - 1;
    CHECK(!claim.begin(kBlock));
    reserve.faults->bytes_free = 4 * (512 << 10);
    CHECK(claim.begin(kBlock) && reserve.faults->bytes_free == 3 * (512 << 10));
    // What is promised already is worth all that there is.
    CHECK(!claim.extend(4 * (512 << 10)) && reserve.faults->bytes_free == 3 * (512 << 10));
    CHECK(claim.extend(4 * (512 << 10) - kFile - kBlock) && reserve.faults->bytes_free == 0);
    CHECK(!claim.extend(kBlock));
  }
  {
    Reserve reserve;
    SpaceClaim claim(reserve.space);
    reserve.faults->files_free = 7;
    CHECK(!claim.begin(kBlock));
    reserve.faults->files_free = 8;
    CHECK(claim.begin(kBlock));
    reserve.faults->files_free = 7;
    CHECK(!claim.begin(kBlock) && claim.extend(kBlock));
  }
  {
    // A quota, say.
    Reserve reserve;
    SpaceClaim claim(reserve.space);
    reserve.faults->hides_bytes_free = true;
    reserve.faults->bytes_free = 0;
    CHECK(!claim.begin(kBlock));
    reserve.faults->bytes_free = kMuch;
    int refusals = 0;
    for (; !claim.begin(kBlock); refusals++) CHECK(reserve.held() == 0);
    CHECK(refusals > 10 && refusals < 1000);
  }
  {
    Reserve reserve;
    SpaceClaim claim(reserve.space);
    reserve.faults->allocates = false;
    CHECK(!claim.begin(kBlock));
    const int calls = reserve.faults->calls;
    reserve.faults->allocates = true;
    CHECK(!claim.begin(kBlock) && reserve.faults->calls == calls);
  }
}

// What takes space and finds none gets what was claimed for it and what nobody claimed, and nothing of what others claimed.
void test_giving_back() {
  Reserve reserve;
  SpaceClaim mine(reserve.space);
  SpaceClaim others(reserve.space);
  CHECK(mine.begin(kBlock) && others.begin(kBlock) && reserve.held() == 1 << 20);
  const auto take = [&](uint64_t bytes) {
    return [&reserve, bytes]() -> Status {
      if (reserve.faults->bytes_free < static_cast<int64_t>(bytes)) return Error{ErrorCode::full, "no space"};
      reserve.faults->bytes_free -= static_cast<int64_t>(bytes);
      return std::nullopt;
    };
  };
  CHECK(!mine.spend(take(kFile)) && reserve.held() == (1 << 20) + kFile);
  reserve.faults->bytes_free = 0;
  CHECK(!mine.spend(take((1 << 20) - kFile - kBlock)) && reserve.faults->bytes_free == 0);
  CHECK(mine.spend(take(kBlock))->code == ErrorCode::full);
  CHECK(!others.spend(take(kFile + kBlock)) && reserve.faults->bytes_free == 0);
  CHECK(others.spend(take(1))->code == ErrorCode::full);
  // Another error is none of its business.
  reserve.faults->bytes_free = kMuch;
  CHECK(mine.begin(kBlock));
  reserve.faults->bytes_free = 0;
  int tries = 0;
  CHECK(mine.spend([&]() -> Status { return tries++, Error{ErrorCode::failed, "no such disk"}; })->code == ErrorCode::failed);
  CHECK(tries == 1 && reserve.faults->bytes_free == 0);
}

const std::vector<uint8_t> kEntry = make_entry(30000, 1);

bool is_committed(const LogReference& log) { return log->committed_end_offset() == log->end_offset(); }

// A worker makes the files of many logs, and they are there when the first entries are committed.
void test_files_made_beside_appends() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  {
    Owner owner(folder.path(), with_faults(faults));
    std::vector<LogReference> logs;
    for (int i = 0; i < 20; i++) {
      logs.push_back(*owner.open_log("many-" + std::to_string(i)));
      for (int entries = 0; entries < 5; entries++) CHECK(logs.back()->append(kEntry.data(), kEntry.size()));
      CHECK(!std::filesystem::exists(folder / logs.back()->name()));
    }
    CHECK((*owner.open_log("acknowledged-at-once", false))->append(kEntry.data(), kEntry.size()));
    CHECK(std::filesystem::exists(folder / "acknowledged-at-once"));
    for (const LogReference& log : logs) CHECK(owner.run_until([&] { return log->committed_end_offset() == 5; }));
    CHECK(!owner.close());
  }
  Owner owner(folder.path(), with_faults(faults));
  for (int i = 0; i < 20; i++) CHECK((*owner.open_log("many-" + std::to_string(i)))->end_offset() == 5);
  CHECK(!owner.close());
}

// Somebody else fills the disk between the appends and the worker. What was accepted finds its space, and what follows is refused: also the
// second entry of a log whose file is not made yet, and a log that has none.
void test_disk_that_becomes_full() {
  for (const bool is_seen : {true, false}) {
    const TemporaryFolder folder;
    const auto faults = std::make_shared<Faults>(1);
    faults->hides_bytes_free = !is_seen;
    {
      Owner owner(folder.path(), with_faults(faults));
      std::vector<LogReference> logs;
      for (int i = 0; i < 40; i++) logs.push_back(*owner.open_log("a-" + std::to_string(i)));
      for (const LogReference& log : logs) CHECK(log->append(kEntry.data(), kEntry.size()));
      CHECK(!std::filesystem::exists(folder / "a-0"));
      faults->bytes_free = 0;
      for (const LogReference& log : {logs[0], logs[1]}) {
        auto appended = log->append(kEntry.data(), kEntry.size());
        while (appended) appended = log->append(kEntry.data(), kEntry.size());
        CHECK(appended.error().code == ErrorCode::full && log->end_offset() < 200);
      }
      std::vector<int64_t> ends;
      for (const LogReference& log : logs) ends.push_back(log->end_offset());
      CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), is_committed); }));
      for (size_t i = 0; i < logs.size(); i++) CHECK(!logs[i]->failure() && logs[i]->end_offset() == ends[i] && ends[i] > 0);
      // What is left of the reserve serves new logs, and then they are refused.
      LogReference late;
      for (int i = 0; late == nullptr; i++) {
        CHECK(i < 100);
        const LogReference more = *owner.open_log("late-" + std::to_string(i));
        CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), is_committed); }));
        faults->bytes_free = 0;
        const auto appended = more->append(kEntry.data(), kEntry.size());
        CHECK(appended || (appended.error().code == ErrorCode::full && !more->failure()));
        if (appended) logs.push_back(more);
        else late = more;
      }
      faults->bytes_free = INT64_MAX;
      CHECK(late->append(kEntry.data(), kEntry.size()) && owner.run_until([&] { return is_committed(late); }));
      CHECK(!owner.close());
    }
    Owner owner(folder.path(), with_faults(faults));
    CHECK((*owner.open_log("a-39"))->end_offset() == 1 && !owner.close());
  }
}

// An append that makes its file itself, or goes on in one, gets what nobody has claimed.
void test_space_that_nobody_claims() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  StoreOptions options = with_faults(faults);
  options.reserve = {1 << 20, 1 << 20};
  {
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a");
    CHECK(log->append(kEntry.data(), kEntry.size()) && owner.run_until([&] { return is_committed(log); }));
    const LogReference early = *owner.open_log("acknowledged-at-once", false);
    CHECK(early->append(kEntry.data(), kEntry.size()) && !owner.finish([&](Done done) { early->roll(done); }));
    faults->bytes_free = 0;
    CHECK(early->append(kEntry.data(), kEntry.size()));
    int accepted = 0;
    for (; log->append(kEntry.data(), kEntry.size()); accepted++) {}
    CHECK(accepted * kEntry.size() > 700000 && !log->failure());
    CHECK(owner.run_until([&] { return is_committed(log); }) && !owner.close());
  }
  Owner owner(folder.path(), options);
  CHECK((*owner.open_log("acknowledged-at-once"))->end_offset() == 2 && !owner.close());
}

// Who makes space in files that have a name.
class AllocationsWatched final : public FaultFiles {
 public:
  using FaultFiles::FaultFiles;
  int allocate(int file, uint64_t position, uint64_t bytes) override {
    const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(file)).string();
    if (path.ends_with(".log")) (std::this_thread::get_id() == owner_ ? calls_of_owner : calls_of_workers)++;
    return FaultFiles::allocate(file, position, bytes);
  }
  std::atomic<int> calls_of_owner{0};
  std::atomic<int> calls_of_workers{0};

 private:
  const std::thread::id owner_ = std::this_thread::get_id();
};

// And of folders.
int64_t bytes_of_files(const std::string& folder) {
  int64_t bytes = 0;
  for (const auto& each : std::filesystem::recursive_directory_iterator(folder)) {
    bytes += each.is_regular_file() ? static_cast<int64_t>(each.file_size()) : static_cast<int64_t>(kBlock);
  }
  return bytes;
}

// File systems wait for the writes to a file before they give it more space, and a disk may take long: a worker waits, and no append. Should
// the disk be full by then, what was accepted finds its space all the same, and what follows is refused.
void test_space_while_a_write_is_under_way() {
  for (const bool becomes_full : {false, true}) {
    const TemporaryFolder folder;
    const auto faults = std::make_shared<Faults>(1);
    const auto files = std::make_shared<AllocationsWatched>(faults);
    faults->bytes_free = kMuch;
    StoreOptions options;
    options.files = files;
    options.reserve = kSmall;
    int64_t end = 0;
    {
      Owner owner(folder.path(), options);
      const LogReference log = *owner.open_log("a");
      const auto append = [&] { return log->append(kEntry.data(), kEntry.size()); };
      CHECK(append() && owner.run_until([&] { return is_committed(log) && !owner.store->is_active(); }));
      CHECK(append());
      // Until the store looks for what has ended, the write is under way.
      owner.store->end_turn();
      const int calls = files->calls_of_workers;
      for (int i = 0; i < 300; i++) CHECK(append());
      CHECK(files->calls_of_owner == 0);
      if (becomes_full) {
        faults->bytes_free = 0;
        auto appended = append();
        while (appended) appended = append();
        CHECK(appended.error().code == ErrorCode::full && log->end_offset() >= 302);
      }
      CHECK(owner.run_until([&] { return is_committed(log); }) && !log->failure());
      CHECK(becomes_full || (files->calls_of_owner == 0 && files->calls_of_workers > calls));
      // Nothing is claimed any more, so the reserve becomes small again.
      for (int polls = 0; polls < 2; polls++) {
        owner.store->poll();
        CHECK(owner.run_until([&] { return !owner.store->is_active(); }));
      }
      CHECK(becomes_full || kMuch - faults->bytes_free <= bytes_of_files(folder.path()) + static_cast<int64_t>(kSmall.bytes_min));
      faults->bytes_free = kMuch;
      CHECK(append() && owner.run_until([&] { return is_committed(log); }));
      end = log->end_offset();
      CHECK(!owner.close());
    }
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a");
    CHECK(log->end_offset() == end && content_of(owner, log).size() == static_cast<size_t>(end) * kEntry.size() && !owner.close());
  }
}

// After much was claimed a worker makes it small again.
void test_shrinking() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  faults->bytes_free = kMuch;
  StoreOptions options = with_faults(faults);
  options.reserve = kSmall;
  Owner owner(folder.path(), options);
  std::vector<LogReference> logs;
  for (int i = 0; i < 8; i++) logs.push_back(*owner.open_log("a-" + std::to_string(i)));
  for (const LogReference& log : logs) CHECK(log->append(kEntry.data(), kEntry.size()));
  CHECK(kMuch - faults->bytes_free == 4 << 20);
  for (const LogReference& log : logs) CHECK(!owner.finish([&](Done done) { log->roll(done); }));
  CHECK(owner.run_until([&] { return !owner.store->is_active(); }));
  // Sealed segments are as long as their entries.
  const int64_t used = kMuch - faults->bytes_free - 8 * (4096 + static_cast<int64_t>(kEntry.size()));
  CHECK(used >= static_cast<int64_t>(kSmall.bytes_min) && used < static_cast<int64_t>(kSmall.bytes_min) + 8 * 4096);
  CHECK(!owner.close());
}

class ZerosCounted final : public Files {
 public:
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    if (bytes >= kBlock && std::all_of(data, data + bytes, [](uint8_t each) { return each == 0; })) bytes_written += bytes;
    return Files::write_some(file, data, bytes, position);
  }
  std::atomic<size_t> bytes_written{0};
};

// Zeros ahead make a write quicker that somebody waits for. Who does not wait would only write twice as much.
void test_zeros_ahead() {
  for (const bool durable : {true, false}) {
    const TemporaryFolder folder;
    const auto files = std::make_shared<ZerosCounted>();
    StoreOptions options;
    options.files = files;
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", durable);
    const auto entry = make_entry(4000, 1);
    // So many that more space is made than the first 64 KiB.
    for (int64_t i = 1; i <= 40; i++) {
      CHECK(log->append(entry.data(), entry.size()));
      CHECK(owner.run_until([&] { return log->written_end_offset() == i; }));
    }
    CHECK(!owner.finish([&](Done done) { log->flush(done); }) && !owner.close());
    CHECK((files->bytes_written > 64 << 10) == (durable && owner.store->backend().direct));
  }
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_claims();
  test_what_is_not_worth_it();
  test_giving_back();
  for (const BackendChoice backend : kBackends) {
    tested_backend = backend;
    test_files_made_beside_appends();
    test_disk_that_becomes_full();
    test_space_that_nobody_claims();
    test_space_while_a_write_is_under_way();
    test_shrinking();
    test_zeros_ahead();
  }
  std::puts("reserve: fine");
}
