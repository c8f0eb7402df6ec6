// The real engine on real files, in a child that kills itself at its n-th step: n = 1, 2, 3, ... until it gets through. Then others
// recover what it left, and are killed at it, twice; and at last what was reported through a pipe as acknowledged must be there.
// A step is what changes the disk, and each answer of the ring before anybody hears of it. `kill_test` walks every third point,
// another third each time, `kill_test all` every one, `kill_test N` that one.
#include <signal.h>
#include <sys/wait.h>

#include <cinttypes>
#include <map>
#include <set>

#include "support.h"

namespace haulout {
namespace {

constexpr int kStride = 3;
constexpr int kRecoveryKills = 2;
// A recovery has up to 37 steps. The factors below have nothing in common with it, so each step is the one of some walk.
constexpr int kRecoverySteps = 40;

struct KillPoint {
  explicit KillPoint(int at) : at(at) {}
  void step() {
    if (++steps == at) ::raise(SIGKILL);
  }
  const int at;
  std::atomic<int> steps{0};
};

class KilledFiles final : public Files {
 public:
  explicit KilledFiles(std::shared_ptr<KillPoint> point) : point_(std::move(point)) {}

  int open(const std::string& path, int flags) override {
    if (flags & (O_CREAT | O_TRUNC)) point_->step();
    return Files::open(path, flags);
  }
  // Whoever finds one that was left waits for a second.
  int create_exclusively(const std::string&) override { return 0; }
  // Also in the middle of it.
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    point_->step();
    if (bytes < 1024) return Files::write_some(file, data, bytes, position);
    const int64_t first = Files::write_some(file, data, align_down(bytes / 2, 512), position);
    point_->step();
    return first;
  }
  int sync(int file) override { return point_->step(), Files::sync(file); }
  int truncate(int file, uint64_t bytes) override { return point_->step(), Files::truncate(file, bytes); }
  int allocate(int file, uint64_t position, uint64_t bytes) override { return point_->step(), Files::allocate(file, position, bytes); }
  int make_directory(const std::string& path) override { return point_->step(), Files::make_directory(path); }
  int rename(const std::string& from, const std::string& to) override { return point_->step(), Files::rename(from, to); }
  int exchange(const std::string& one, const std::string& other) override { return point_->step(), Files::exchange(one, other); }
  int remove(const std::string& path) override { return point_->step(), Files::remove(path); }
  int remove_directory(const std::string& path) override { return point_->step(), Files::remove_directory(path); }

 private:
  const std::shared_ptr<KillPoint> point_;
};

class KilledRing final : public RingAround {
 public:
  KilledRing(std::unique_ptr<Ring> ring, std::shared_ptr<KillPoint> point) : RingAround(std::move(ring)), point_(std::move(point)) {}

  void start(std::unique_ptr<Operation> operation) override {
    operation->done = [point = point_, done = std::move(operation->done)](int64_t result) {
      point->step();
      done(result);
    };
    RingAround::start(std::move(operation));
  }
  void submit() override {
    if (pending() > 0) point_->step();
    RingAround::submit();
    if (pending() > 0) point_->step();
  }

 private:
  const std::shared_ptr<KillPoint> point_;
};

// What the child says: one line for each promise that begins to hold, or is asked for.
struct Report {
  int pipe;
  void operator()(const char* what, const std::string& name, int64_t offset = 0) const {
    char line[64];
    const int length = std::snprintf(line, sizeof line, "%s %s %" PRId64 "\n", what, name.c_str(), offset);
    CHECK(::write(pipe, line, static_cast<size_t>(length)) == length);
  }
};

constexpr uint64_t kWornBytes = 20000;

using Told = std::map<std::string, int64_t>;

std::vector<uint8_t> entry_at(const std::string& name, int64_t offset) {
  std::vector<uint8_t> entry = make_entry(61 + static_cast<size_t>(offset * 397 % 3100), static_cast<uint8_t>(name[0] + offset));
  store_i64(entry.data(), offset);
  return entry;
}

void append(Owner& owner, const Report& report, const LogReference& log, int count) {
  for (int i = 0; i < count; i++) {
    const std::vector<uint8_t> entry = entry_at(log->name(), log->end_offset());
    report("asked", log->name(), log->end_offset() + 1);
    CHECK(log->append(entry.data(), entry.size()));
  }
  CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
}

// The segments of these logs are compressed meanwhile, where this build can.
SegmentCodec codec(SegmentCodec wanted) { return has_codec(wanted) ? wanted : SegmentCodec::none; }

void kept(const Report& report, const LogReference& log) { report("kept", log->name(), log->end_offset()); }

// Segments are removed, and their files written again.
void wear(Owner& owner, const Report& report) {
  const LogReference log = *owner.open_log("w", true, kWornBytes);
  for (int i = 0; i < 3; i++) {
    append(owner, report, log, 24);
    kept(report, log);
    const int64_t start = log->end_offset() - 24;
    report("start-asked", "w", start);
    CHECK(!owner.finish([&](Done done) { log->truncate_front(start, done); }));
    report("start", "w", log->start_offset());
  }
}

void live(const std::string& folder, const StoreOptions& options, const Report& report) {
  for (int boot = 0; boot < 2; boot++) {
    Owner owner(folder, options);
    CHECK(owner.store);
    const LogReference a = *owner.open_log("a", true, 9000, codec(SegmentCodec::zstd));
    const LogReference b = *owner.open_log("b", false, 20000, codec(SegmentCodec::lz4));
    for (int i = 0; i < 4; i++) {
      append(owner, report, a, 3);
      kept(report, a);
      append(owner, report, b, 4);
      if (i == 1) {
        CHECK(!owner.finish([&](Done done) { b->flush(done); }));
        kept(report, b);
        CHECK(!owner.finish([&](Done done) { a->roll(done); }));
      }
      if (i != 2) continue;
      report("start-asked", "a", a->end_offset() - 2);
      CHECK(!owner.finish([&](Done done) { a->truncate_front(a->end_offset() - 2, done); }));
      report("start", "a", a->start_offset());
    }
    const std::string name = boot == 0 ? "c" : "d";
    const LogReference log = *owner.open_log(name, true, 9000);
    append(owner, report, log, 5);
    kept(report, log);
    if (boot == 0) {
      report("removing", name);
      CHECK(!owner.finish([&](Done done) { owner.store->remove_log(name, done); }));
      report("removed", name);
    } else {
      CHECK(!owner.finish([&](Done done) { owner.store->close_log(log, done); }));
      report("renaming", name);
      CHECK(!owner.finish([&](Done done) { owner.store->rename_log(name, "e", done); }));
      report("renamed", name);
    }
    if (boot == 1) wear(owner, report);
    CHECK(!owner.close());
    kept(report, b);
  }
}

// Only opens what is there.
void recover(const std::string& folder, const StoreOptions& options) {
  Owner owner(folder, options);
  CHECK(owner.store);
  for (const char* name : {"a", "b", "c", "d", "e"}) CHECK(owner.open_log(name, true, 9000, codec(SegmentCodec::zstd)));
  CHECK(owner.open_log("w", true, kWornBytes));
}

// True if it was killed. What the child reports is added to `told`, the largest offset of each line.
template <typename Work>
bool run_child(int kill_at, Told* told, Work work) {
  int ends[2];
  CHECK(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    const auto point = std::make_shared<KillPoint>(kill_at);
    StoreOptions options;
    options.files = std::make_shared<KilledFiles>(point);
    options.uncovered_bytes_max = 9000;
    options.make_ring = [point, kill_at](Wake wake) -> std::unique_ptr<Ring> {
      auto uring = make_uring_ring(wake);
      if (uring && kill_at % 2 == 0) return std::make_unique<KilledRing>(std::move(*uring), point);
      return std::make_unique<KilledRing>(make_threads_ring(wake), point);
    };
    work(options, Report{ends[1]});
    ::_exit(0);
  }
  ::close(ends[1]);
  std::FILE* lines = ::fdopen(ends[0], "r");
  char what[32], name[16];
  int64_t offset;
  while (std::fscanf(lines, "%31s %15s %" SCNd64, what, name, &offset) == 3) {
    int64_t& largest = (*told)[std::string(what) + " " + name];
    largest = std::max(largest, offset);
  }
  std::fclose(lines);
  int status;
  CHECK(::waitpid(child, &status, 0) == child);
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  CHECK(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
  return killed;
}

void check_log(Owner& owner, const std::string& stored_as, const std::string& name, Told& told) {
  const auto log = owner.open_log(stored_as, true, 9000);
  if (!log) std::fprintf(stderr, "%s\n", log.error().message.c_str());
  CHECK(log);
  const int64_t start = (*log)->start_offset();
  const int64_t end = (*log)->end_offset();
  CHECK(start >= told["start " + name] && start <= told["start-asked " + name]);
  CHECK(end >= told["kept " + name] && end <= told["asked " + name]);
  std::vector<uint8_t> expected;
  for (int64_t offset = start; offset < end; offset++) {
    const std::vector<uint8_t> entry = entry_at(name, offset);
    expected.insert(expected.end(), entry.begin(), entry.end());
  }
  CHECK(content_of(owner, *log) == expected);
}

void check(const std::string& folder, Told& told) {
  Owner owner(folder);
  CHECK(owner.store);
  std::optional<Result<std::vector<std::string>>> listed;
  owner.store->names([&](auto names) { listed.emplace(std::move(names)); });
  CHECK(owner.run_until([&] { return listed.has_value(); }));
  const std::set<std::string> names((*listed)->begin(), (*listed)->end());
  check_log(owner, "a", "a", told);
  check_log(owner, "b", "b", told);
  check_log(owner, "w", "w", told);
  if (told.count("removed c") > 0) CHECK(names.count("c") == 0);
  if (names.count("c") > 0 || told.count("removing c") == 0) check_log(owner, "c", "c", told);
  CHECK(names.count("d") == 0 || names.count("e") == 0);
  if (told.count("renamed d") > 0) CHECK(names.count("e") == 1);
  check_log(owner, names.count("e") > 0 ? "e" : "d", "d", told);
  CHECK(!owner.close());
}

// False when the child got through without being killed.
bool walk(int kill_at) {
  const TemporaryFolder folder;
  Told told;
  const bool killed = run_child(kill_at, &told, [&](const StoreOptions& options, const Report& report) { live(folder.path(), options, report); });
  for (int i = 0; i < kRecoveryKills; i++) {
    run_child(1 + (kill_at * (3 + 8 * i)) % kRecoverySteps, &told, [&](const StoreOptions& options, const Report&) { recover(folder.path(), options); });
  }
  check(folder.path(), told);
  return killed;
}

}  // namespace
}  // namespace haulout

int main(int count, char** arguments) {
  using namespace haulout;
  const std::string argument = count > 1 ? arguments[1] : "";
  if (!argument.empty() && argument != "all") return walk(std::atoi(argument.c_str())), 0;
  const int stride = argument == "all" ? 1 : kStride;
  int point = stride == 1 ? 1 : 1 + static_cast<int>(::getpid() % kStride);
  int points = 0;
  std::printf("kill points from %d, every %d\n", point, stride);
  for (; walk(point); point += stride) points++;
  std::printf("kill: %d points up to %d, fine\n", points, point);
}
