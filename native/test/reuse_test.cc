// The files of removed segments, written again: when a log keeps one, what becomes of it, and what a crash finds in it.
#include <sys/stat.h>

#include <fstream>

#include "support.h"

namespace haulout {
namespace {

constexpr uint64_t kSegmentBytes = 100000;
constexpr size_t kEntryBytes = 20000;
constexpr int kEntriesPerSegment = 5;

ino_t inode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::string segment_path(const TemporaryFolder& folder, int64_t base_offset) { return folder / ("a/" + segment_name(base_offset)); }
bool is_there(const TemporaryFolder& folder, const std::string& name) { return std::filesystem::exists(folder / ("a/" + name)); }

size_t spare_count(const TemporaryFolder& folder) {
  size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator(folder / "a")) count += each.path().string().ends_with(".log~");
  return count;
}

void append(Owner& owner, const LogReference& log, int count, size_t bytes = kEntryBytes) {
  for (int i = 0; i < count; i++) {
    const std::vector<uint8_t> entry = make_entry(bytes, static_cast<uint8_t>(log->end_offset() + 1));
    CHECK(log->append(entry.data(), entry.size()));
  }
  CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset() || log->failure(); }));
}

void truncate(Owner& owner, const LogReference& log, int64_t offset) {
  CHECK(!owner.finish([&](Done done) { log->truncate_front(offset, done); }));
}

// Each entry is filled with what its offset says.
void check_content(Owner& owner, const LogReference& log) {
  const std::vector<uint8_t> all = content_of(owner, log);
  int64_t offset = log->start_offset();
  for (size_t at = 0; at < all.size(); offset++) {
    const EntryHeader header = read_header(kLayout, all.data() + at);
    CHECK(header.base_offset == offset && all[at + 61] == static_cast<uint8_t>(offset + 1));
    at += static_cast<size_t>(header.bytes);
  }
  CHECK(offset == log->end_offset());
}

void test_written_again() {
  const TemporaryFolder folder;
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, kSegmentBytes);
  append(owner, log, 4 * kEntriesPerSegment);
  const ino_t first = inode_of(segment_path(folder, 0));
  truncate(owner, log, kEntriesPerSegment);
  CHECK(spare_count(folder) == 1 && is_there(folder, spare_name(0)));
  append(owner, log, 1);
  const int64_t base_offset = 4 * kEntriesPerSegment;
  CHECK(spare_count(folder) == 0 && inode_of(segment_path(folder, base_offset)) == first);
  CHECK(is_there(folder, reused_name(base_offset)));
  check_content(owner, log);
  append(owner, log, kEntriesPerSegment);
  CHECK(std::filesystem::file_size(segment_path(folder, base_offset)) == kSegmentBytes && !is_there(folder, reused_name(base_offset)));
  check_content(owner, log);
  CHECK(!owner.close());
}

// A log with four full segments; the oldest one is removed then.
LogReference worn_log(Owner& owner, int removed_segments = 1, int segments = 4) {
  const LogReference log = *owner.open_log("a", true, kSegmentBytes);
  append(owner, log, segments * kEntriesPerSegment);
  truncate(owner, log, removed_segments * kEntriesPerSegment);
  return log;
}

void test_what_is_kept() {
  {
    const TemporaryFolder folder;
    Owner owner(folder.path());
    const LogReference log = worn_log(owner, 4, 9);
    // A few, and not more than the log itself holds.
    CHECK(spare_count(folder) == 4);
    truncate(owner, log, 7 * kEntriesPerSegment);
    CHECK(owner.run_until([&] { return spare_count(folder) == 2; }));
    truncate(owner, log, 9 * kEntriesPerSegment);
    CHECK(owner.run_until([&] { return spare_count(folder) == 0; }));
    CHECK(!owner.close());
  }
  {
    const TemporaryFolder folder;
    Owner owner(folder.path());
    worn_log(owner);
    CHECK(spare_count(folder) == 1);
    CHECK(!owner.close());
    CHECK(spare_count(folder) == 0);
  }
  // Nothing is gained where nobody waits for the disk, and nothing lost where it cannot be written past the page cache.
  for (const bool durable : {true, false}) {
    const TemporaryFolder folder;
    StoreOptions options;
    if (durable) options.backend = BackendChoice::mmap;
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", durable, kSegmentBytes);
    append(owner, log, 4 * kEntriesPerSegment);
    CHECK(!owner.finish([&](Done done) { log->flush(done); }));
    truncate(owner, log, kEntriesPerSegment);
    CHECK(spare_count(folder) == 0);
    CHECK(!owner.close());
  }
}

// Of what it holds a part may be on its way to a reader.
void test_not_while_it_is_read() {
  const TemporaryFolder folder;
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, kSegmentBytes);
    append(owner, log, 4 * kEntriesPerSegment);
    CHECK(!owner.close());
  }
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, kSegmentBytes);
  std::optional<Result<ReadOutcome>> outcome;
  std::optional<Status> moved;
  log->read({0, kSegmentBytes, true, INT64_MAX}, [&](Result<ReadOutcome> result) { outcome.emplace(std::move(result)); });
  log->truncate_front(kEntriesPerSegment, [&](Status status) { moved = std::move(status); });
  CHECK(owner.run_until([&] { return outcome && moved; }) && !*moved);
  append(owner, log, 2 * kEntriesPerSegment);
  // It may have come to its end before the segment went.
  if (*outcome) {
    for (const Slice& part : (*outcome)->parts) CHECK(part.data[61] <= kEntriesPerSegment);
  }
  check_content(owner, log);
  CHECK(!owner.close());
}

// Recovery looks only so far behind what it cannot read, and an entry that is larger than that begins a segment of its own.
void test_large_entry() {
  const TemporaryFolder folder;
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, 40 << 20);
  for (int i = 0; i < 24; i++) append(owner, log, 1, 5 << 20);
  truncate(owner, log, 8);
  CHECK(spare_count(folder) == 1);
  append(owner, log, 1, 5 << 20);
  CHECK(is_there(folder, reused_name(24)));
  append(owner, log, 1, 9 << 20);
  CHECK(log->segments().back()->base_offset() == 25 && !is_there(folder, reused_name(25)));
  CHECK(!owner.close());
}

// So much of the disk and no more; what is removed is free again.
class SmallDisk final : public Files {
 public:
  int allocate(int file, uint64_t position, uint64_t bytes) override {
    const int64_t more = std::max<int64_t>(0, static_cast<int64_t>(position + bytes) - size(file));
    if (bytes_left < more) return -ENOSPC;
    bytes_left -= more;
    return Files::allocate(file, position, bytes);
  }
  int truncate(int file, uint64_t bytes) override {
    bytes_left += std::max<int64_t>(0, size(file) - static_cast<int64_t>(bytes));
    return Files::truncate(file, bytes);
  }
  int remove(const std::string& path) override {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) bytes_left += status.st_size;
    return Files::remove(path);
  }
  int64_t bytes_free(const std::string&) override { return bytes_left; }

  std::atomic<int64_t> bytes_left{int64_t{1} << 30};
};

void test_full_disk() {
  const TemporaryFolder folder;
  const auto files = std::make_shared<SmallDisk>();
  StoreOptions options;
  options.files = files;
  Owner owner(folder.path(), options);
  const LogReference log = worn_log(owner);
  CHECK(spare_count(folder) == 1);
  // What is kept is told as free, and is.
  files->bytes_left = 0;
  CHECK(*owner.store->bytes_free() == kSegmentBytes);
  const LogReference other = *owner.open_log("b");
  append(owner, other, 1);
  CHECK(spare_count(folder) == 0 && !other->failure());
  // Where little is free nothing is kept.
  files->bytes_left = 4 * kSegmentBytes - 1;
  truncate(owner, log, 2 * kEntriesPerSegment);
  CHECK(spare_count(folder) == 0);
  files->bytes_left = 1 << 30;
  CHECK(!owner.close());
}

// What a power cut leaves of the last write may be any of its sectors, between those of old entries: a torn write and no damage.
void test_torn_write() {
  for (int kind = 0; kind < 4; kind++) {
    const TemporaryFolder crashed;
    int64_t acknowledged = 0;
    {
      const TemporaryFolder place;
      Owner owner(place.path());
      const LogReference log = worn_log(owner);
      append(owner, log, 1);
      std::filesystem::copy(place.path(), crashed.path(), std::filesystem::copy_options::recursive);
      acknowledged = log->end_offset();
      const std::vector<uint8_t> before = [&] {
        std::ifstream file(segment_path(crashed, acknowledged - 1), std::ios::binary);
        return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
      }();
      CHECK(before.size() >= kSegmentBytes - 4096);
      // Three more in one write, of which the first sectors are missing, or the last, or all but the mark.
      append(owner, log, 3);
      std::ifstream file(segment_path(place, acknowledged - 1), std::ios::binary);
      std::vector<uint8_t> after(std::istreambuf_iterator<char>(file), {});
      const size_t from = kind == 0 ? kEntryBytes : kind == 1 ? kEntryBytes + 1024 : 3 * kEntryBytes;
      const size_t to = kind == 2 ? after.size() : from / 512 * 512 + 2048;
      if (kind < 3) std::copy(before.begin() + static_cast<ptrdiff_t>(from), before.begin() + static_cast<ptrdiff_t>(std::min(to, before.size())), after.begin() + static_cast<ptrdiff_t>(from));
      std::ofstream(segment_path(crashed, acknowledged - 1), std::ios::binary).write(reinterpret_cast<const char*>(after.data()), static_cast<std::streamsize>(after.size()));
      CHECK(!owner.close());
    }
    std::filesystem::remove(crashed / "haulout.lock");
    Owner owner(crashed.path());
    const auto opened = owner.open_log("a", true, kSegmentBytes);
    if (!opened) std::fprintf(stderr, "kind %d: %s\n", kind, opened.error().message.c_str());
    CHECK(opened);
    const LogReference log = *opened;
    CHECK(log->end_offset() >= acknowledged && (kind < 3 || log->end_offset() == acknowledged + 3));
    CHECK(!is_there(crashed, reused_name(acknowledged - 1)));
    check_content(owner, log);
    append(owner, log, 2 * kEntriesPerSegment);
    check_content(owner, log);
    CHECK(!owner.close());
  }
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_written_again();
  test_what_is_kept();
  test_not_while_it_is_read();
  test_large_entry();
  test_full_disk();
  test_torn_write();
  std::puts("reuse: fine");
}
