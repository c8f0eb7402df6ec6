// The journal: what is acknowledged through it survives, wherever it stands, and nothing else of it counts (docs/storage.md, "Journal").
#include "support.h"

#include "../journal_replay.h"

namespace haulout {
namespace {

constexpr size_t kLogs = 6;
const std::string kJournal = kJournalName;

StoreOptions small_journal() {
  StoreOptions options;
  options.journal = {2, 0, 32 << 10};
  return options;
}

// The same on a ring that a test can let fail.
StoreOptions failing_journal(const std::shared_ptr<Faults>& faults) {
  StoreOptions options = small_journal();
  options.make_ring = [faults](Wake wake) { return std::make_unique<FaultRing>(std::move(wake), faults); };
  return options;
}

std::string name_of_log(size_t at) { return "log-" + std::to_string(at); }

// Logs that are appended to together, and what they should hold.
struct Logs {
  explicit Logs(Owner& owner, size_t count = kLogs) : owner(owner) {
    for (size_t i = 0; i < count; i++) logs.push_back(*owner.open_log(name_of_log(i)));
    content.resize(count);
  }

  void append_each(size_t bytes, uint8_t fill) {
    for (size_t i = 0; i < logs.size(); i++) append(i, bytes, static_cast<uint8_t>(fill + i));
    CHECK(owner.run_until([&] { return std::all_of(logs.begin(), logs.end(), is_committed); }));
  }
  void append(size_t at, size_t bytes, uint8_t fill) {
    std::vector<uint8_t> entry = make_entry(bytes, fill);
    const int64_t offset = logs[at]->end_offset();
    CHECK(logs[at]->append(entry.data(), entry.size()));
    store_i64(entry.data(), offset);
    content[at].insert(content[at].end(), entry.begin(), entry.end());
  }
  // The file is made beside the first appends.
  void append_until_journaled() {
    for (int i = 0; i < 1000; i++) {
      append_each(300, static_cast<uint8_t>(i));
      if (std::all_of(logs.begin(), logs.end(), [](const auto& log) { return log->is_in_journal_only(); })) return;
    }
    CHECK(!"nothing went to the journal");
  }
  static bool is_committed(const LogReference& log) { return log->failure() || log->committed_end_offset() == log->end_offset(); }

  Owner& owner;
  std::vector<LogReference> logs;
  std::vector<std::vector<uint8_t>> content;
};

// What a kill leaves, for another store. Nothing is under way meanwhile: a file that goes cannot be copied.
void copy_folder(Owner& owner, const TemporaryFolder& from, const TemporaryFolder& to) {
  owner.store->drain();
  std::filesystem::copy(from.path(), to.path(), std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove(to / ".lock");
}

bool has_journal(const TemporaryFolder& folder) { return std::filesystem::exists(folder / kJournal); }

void check_content(const TemporaryFolder& folder, const std::vector<std::vector<uint8_t>>& content) {
  Owner owner(folder.path());
  if (owner.error) std::fprintf(stderr, "%s\n", owner.error->message.c_str());
  CHECK(owner.store && !has_journal(folder));
  for (size_t i = 0; i < content.size(); i++) CHECK(content_of(owner, *owner.open_log(name_of_log(i))) == content[i]);
  CHECK(!owner.close());
}

void test_replay() {
  const TemporaryFolder folder;
  const TemporaryFolder copy;
  const TemporaryFolder without;
  Owner owner(folder.path(), small_journal());
  Logs logs(owner);
  logs.append_until_journaled();
  copy_folder(owner, folder, without);
  const int64_t end_offset = logs.logs[0]->end_offset();
  for (int i = 0; i < 5; i++) logs.append_each(61 + static_cast<size_t>(i) * 217, 3);
  copy_folder(owner, folder, copy);
  // Again and again changes nothing.
  CHECK(!replay_journal(std::make_shared<Files>(), copy.path(), name_of_log(1)));
  CHECK(!replay_journal(std::make_shared<Files>(), copy.path(), name_of_log(1)));
  check_content(copy, logs.content);
  check_content(copy, logs.content);
  // It is the journal that had it.
  std::filesystem::remove(without / kJournal);
  Owner other(without.path());
  const LogReference log = *other.open_log(name_of_log(0));
  CHECK(log->end_offset() < end_offset);
  CHECK(!other.close());
  CHECK(!owner.close());
  CHECK(!has_journal(folder));
  owner.store.reset();
  check_content(folder, logs.content);
}

// Areas are used in turn; what is too large for it, or comes alone, goes to the log's own file, before and after.
void test_areas(size_t log_count) {
  const TemporaryFolder folder;
  const TemporaryFolder copy;
  StoreOptions options = small_journal();
  options.tail_bytes_max = 4 << 20;
  options.journal.area_bytes = 64 << 10;
  Owner owner(folder.path(), options);
  Logs logs(owner, log_count);
  std::mt19937 random(5);
  for (int round = 0; round < 60; round++) {
    logs.append_each(61 + random() % 900, static_cast<uint8_t>(round));
    if (round % 7 == 0) logs.append(random() % log_count, 40000, 9);
    if (round % 5 == 0) logs.append(random() % log_count, 100, 8);
    if (round % 20 == 0) CHECK(!owner.finish([&](Done done) { logs.logs[0]->roll(done); }));
    if (round % 9 == 0) CHECK(!owner.finish([&](Done done) { logs.logs[1]->flush(done); }));
    CHECK(content_of(owner, logs.logs[0]).size() <= logs.content[0].size());
  }
  logs.append_each(100, 1);
  for (size_t i = 0; i < log_count; i++) CHECK(content_of(owner, logs.logs[i]) == logs.content[i]);
  copy_folder(owner, folder, copy);
  check_content(copy, logs.content);
  CHECK(!owner.close());
  owner.store.reset();
  check_content(folder, logs.content);
}

// A log that is removed or renamed takes its records with it, also when another one gets its name.
void test_forget() {
  const TemporaryFolder folder;
  const TemporaryFolder copy;
  Owner owner(folder.path(), small_journal());
  Logs logs(owner);
  logs.append_until_journaled();
  CHECK(!owner.finish([&](Done done) { owner.store->remove_log(name_of_log(0), done); }));
  CHECK(!owner.finish([&](Done done) { owner.store->close_log(logs.logs[1], done); }));
  CHECK(!owner.finish([&](Done done) { owner.store->rename_log(name_of_log(1), "moved", done); }));
  for (const size_t at : {size_t{0}, size_t{1}}) {
    logs.logs[at] = *owner.open_log(name_of_log(at));
    logs.content[at].clear();
    logs.append(at, 100, 77);
    CHECK(owner.run_until([&] { return Logs::is_committed(logs.logs[at]); }));
  }
  copy_folder(owner, folder, copy);
  check_content(copy, logs.content);
  CHECK(!owner.close());
}

// Nobody hears of it: what was on its way goes to the logs' own files.
void test_failed_journal() {
  const TemporaryFolder folder;
  const TemporaryFolder copy;
  const auto faults = std::make_shared<Faults>(1);
  Owner owner(folder.path(), failing_journal(faults));
  Logs logs(owner);
  logs.append_until_journaled();
  faults->writes_to_fail = 1;
  for (int i = 0; i < 5; i++) logs.append_each(500, 2);
  CHECK(faults->writes_to_fail == 0);
  for (const LogReference& log : logs.logs) CHECK(!log->failure() && !log->is_in_journal_only());
  copy_folder(owner, folder, copy);
  check_content(copy, logs.content);
  CHECK(!owner.finish([&](Done done) { owner.store->remove_log(name_of_log(0), done); }));
  CHECK(!owner.close());
  CHECK(!has_journal(folder));
}

// A log whose own file cannot be written has acknowledged entries in the journal: they are there when it is opened again.
void test_failed_log() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  Owner owner(folder.path(), failing_journal(faults));
  Logs logs(owner);
  logs.append_until_journaled();
  const std::vector<std::vector<uint8_t>> acknowledged = logs.content;
  faults->writes_to_fail = 1;
  CHECK(owner.finish([&](Done done) { logs.logs[2]->roll(done); })->code == ErrorCode::failed);
  // The others go on, also when the areas of the journal are needed again.
  for (int i = 0; i < 40; i++) {
    for (size_t at = 3; at < kLogs; at++) logs.append(at, 900, 1);
    CHECK(owner.run_until([&] { return std::all_of(logs.logs.begin() + 3, logs.logs.end(), Logs::is_committed); }));
  }
  CHECK(owner.finish([&](Done done) { owner.store->close_log(logs.logs[2], done); })->code == ErrorCode::failed);
  logs.logs[2] = *owner.open_log(name_of_log(2));
  CHECK(content_of(owner, logs.logs[2]) == acknowledged[2]);
  logs.append_each(200, 5);
  CHECK(!owner.close());
  CHECK(!has_journal(folder));
  owner.store.reset();
  check_content(folder, logs.content);
}

// Closed with a log that failed, the store keeps the journal for the next open.
void test_failed_log_at_close() {
  const TemporaryFolder folder;
  std::vector<std::vector<uint8_t>> content;
  {
    const auto faults = std::make_shared<Faults>(1);
    Owner owner(folder.path(), failing_journal(faults));
    Logs logs(owner);
    logs.append_until_journaled();
    content = logs.content;
    faults->writes_to_fail = 1;
    CHECK(owner.close());
    CHECK(has_journal(folder));
  }
  check_content(folder, content);
}

// Whatever is damaged in it: a prefix of what it holds comes back, and the store opens.
void test_damaged() {
  const TemporaryFolder folder;
  Owner owner(folder.path(), small_journal());
  Logs logs(owner, 3);
  logs.append_until_journaled();
  for (int i = 0; i < 3; i++) logs.append_each(700, 4);
  std::mt19937 random(9);
  for (int i = 0; i < 60; i++) {
    const TemporaryFolder copy;
    copy_folder(owner, folder, copy);
    const std::string path = copy / kJournal;
    const auto bytes = std::filesystem::file_size(path);
    if (i % 3 == 0) {
      std::filesystem::resize_file(path, random() % bytes);
    } else {
      const int file = ::open(path.c_str(), O_RDWR);
      const auto position = static_cast<off_t>(random() % 8192);
      uint8_t byte = 0;
      CHECK(::pread(file, &byte, 1, position) == 1);
      byte ^= static_cast<uint8_t>(1 << random() % 8);
      CHECK(::pwrite(file, &byte, 1, position) == 1);
      ::close(file);
    }
    Owner other(copy.path());
    CHECK(other.store);
    for (size_t at = 0; at < logs.logs.size(); at++) {
      const auto found = content_of(other, *other.open_log(name_of_log(at)));
      CHECK(found.size() <= logs.content[at].size() && std::equal(found.begin(), found.end(), logs.content[at].begin()));
    }
    CHECK(!other.close());
  }
  CHECK(!owner.close());
}

// A disk with little left has better things to keep than a journal.
void test_little_space() {
  const TemporaryFolder folder;
  const auto faults = std::make_shared<Faults>(1);
  StoreOptions options = small_journal();
  options.files = std::make_shared<FaultFiles>(faults);
  Owner owner(folder.path(), options);
  Logs logs(owner);
  // The first space of each log, and no more.
  faults->bytes_free = static_cast<int64_t>(kLogs) << 16;
  logs.append_each(100, 1);
  for (int i = 0; i < 5; i++) logs.append_each(100, 1);
  CHECK(!has_journal(folder));
  CHECK(!owner.close());
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  for (const BackendChoice backend : {BackendChoice::uring, BackendChoice::uring_buffered, BackendChoice::threads, BackendChoice::mmap}) {
    tested_backend = backend;
    test_replay();
    test_areas(5);
    test_areas(40);
    test_forget();
    test_damaged();
  }
  // With a ring, or files, of their own.
  test_failed_journal();
  test_failed_log();
  test_failed_log_at_close();
  test_little_space();
  std::puts("journal: fine");
}
