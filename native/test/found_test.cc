// What the simulation, or the model, has found, each fault as a small test of its own on the simulated machine: each fails without its remedy.
#include <sys/types.h>
#include <unistd.h>

#include "simulated_machine.h"
#include "support.h"

namespace haulout {
namespace {

constexpr char kFolder[] = "/data";

struct World {
  explicit World(uint64_t seed = 1) : random(seed) {}

  SectorMemory memory;
  Random random;
  std::optional<size_t> tail_bytes_max;
};

// A machine that was switched on with a disk, the store on it, and the loop of its owner.
class Boot {
 public:
  Boot(World& world, SimulatedDisk disk, bool direct = true, const JournalOptions& journal = {})
      : world_(world), machine(std::move(disk), world.random) {
    machine.allows_direct = direct;
    StoreOptions options = machine.options();
    options.journal = journal;
    options.tail_bytes_max = world.tail_bytes_max;
    auto opened = Store::open(kFolder, options, {[] {}, [this] { armed_ = true; }, [](SegmentLog&) {}});
    CHECK(opened);
    store = std::move(*opened);
  }
  explicit Boot(World& world, bool direct = true) : Boot(world, SimulatedDisk(world.memory), direct) {}
  ~Boot() {
    machine.on_step = nullptr;
    machine.is_dead = true;
    store.reset();
  }

  template <typename Condition>
  bool run_until(Condition condition) {
    return run_owner(*store, armed_, condition, [this] { machine.work(); });
  }

  void run_for_a_turn() {
    bool is_over = false;
    run_until([&] { return std::exchange(is_over, true); });
  }

  Result<LogReference> try_open(const std::string& name, bool durable = true, uint64_t segment_bytes_max = 1 << 30) {
    std::optional<Result<LogReference>> opened;
    store->open_log(name, {kLayout, segment_bytes_max, durable}, [&](Result<LogReference> log) { opened.emplace(std::move(log)); });
    CHECK(run_until([&] { return opened.has_value(); }));
    return std::move(*opened);
  }
  LogReference open(const std::string& name, bool durable = true, uint64_t segment_bytes_max = 1 << 30) {
    const auto opened = try_open(name, durable, segment_bytes_max);
    if (!opened) std::fprintf(stderr, "%s\n", opened.error().message.c_str());
    CHECK(opened);
    return *opened;
  }

  Status finish(const std::function<void(Done)>& request) {
    std::optional<Status> answer;
    request([&](Status status) { answer = std::move(status); });
    CHECK(run_until([&] { return answer.has_value(); }));
    return *answer;
  }
  Status close(const LogReference& log) {
    return finish([&](Done done) { store->close_log(log, done); });
  }

  // As many entries as one write takes.
  void append(const LogReference& log, int count, size_t bytes = 1000) {
    for (int i = 0; i < count; i++) {
      const std::vector<uint8_t> entry = make_entry(bytes, static_cast<uint8_t>(i + 1));
      CHECK(log->append(entry.data(), entry.size()));
    }
  }
  void append_durably(const LogReference& log, int count, size_t bytes = 1000) {
    append(log, count, bytes);
    CHECK(!finish([&](Done done) { log->flush(done); }));
  }

  // The power goes, and nothing stays that was not synced.
  SimulatedDisk cut(Survival survival = Survival::nothing) { return machine.disk.after_power_cut(world_.random, survival); }

  // The disk as a kill leaves it, at the first step of this kind, on a path that ends so.
  std::optional<SimulatedDisk> killed;
  void kill_at(const std::string& action, const std::string& path_end) {
    machine.on_step = [this, action, path_end](const char* done, const std::string& path) {
      if (!killed && action == done && path.ends_with(path_end)) killed = machine.disk.after_kill();
    };
  }

  // Syncs of what this path names fail.
  void fail_syncs_of(const std::string& failing) {
    machine.on_step = [this, failing](const char* action, const std::string& path) {
      machine.trouble.sync_error = std::string(action) == "sync" && path == failing ? 1 : 0;
    };
  }

 private:
  World& world_;
  bool armed_ = false;

 public:
  Machine machine;
  std::unique_ptr<Store> store;
};

// What a log shows on this disk, opened by a machine of its own.
int64_t end_on(World& world, SimulatedDisk disk, const std::string& name) { return Boot(world, std::move(disk)).open(name)->end_offset(); }

void test_names_of_a_new_folder() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a");
  boot.append_durably(log, 3);
  CHECK(end_on(world, boot.cut(), "a") == 3);
}

// A name that a killed process made, or moved, and did not sync: what others build on it must not go with it.
void test_names_of_a_killed_process() {
  for (const bool renamed : {false, true}) {
    World world;
    Boot first(world);
    const LogReference log = first.open("a");
    if (renamed) {
      first.append_durably(log, 2);
      CHECK(!first.close(log));
      first.kill_at("rename", "/a");
      CHECK(!first.finish([&](Done done) { first.store->rename_log("a", "b", done); }));
    } else {
      first.kill_at("mkdir", "/a");
      first.append_durably(log, 2);
    }
    CHECK(first.killed);
    const std::string name = renamed ? "b" : "a";
    Boot second(world, std::move(*first.killed));
    const LogReference again = second.open(name);
    CHECK(again->end_offset() == (renamed ? 2 : 0));
    second.append_durably(again, 3);
    CHECK(end_on(world, second.cut(), name) == (renamed ? 5 : 3));
  }
}

void test_names_whose_sync_failed() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a");
  boot.fail_syncs_of(kFolder);
  boot.append(log, 1);
  CHECK(boot.finish([&](Done done) { log->flush(done); }).has_value());
  CHECK(boot.close(log).has_value());
  boot.machine.on_step = nullptr;
  boot.machine.trouble = {};
  const LogReference again = boot.open("a");
  boot.append_durably(again, 3);
  CHECK(end_on(world, boot.cut(), "a") == again->end_offset());
}

// The folder was made, and then there was no space for the segment.
void test_name_of_a_log_without_a_write() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a");
  boot.run_until([] { return false; });
  const uint64_t used = boot.machine.bytes_used();
  boot.machine.trouble.disk_bytes = used + 3 * 4096;
  const std::vector<uint8_t> entry = make_entry(1000, 1);
  CHECK(log->append(entry.data(), entry.size()).error().code == ErrorCode::full);
  CHECK(boot.machine.disk.find("/data/a") != nullptr);
  boot.machine.trouble = {};
  CHECK(!boot.close(log));
  const LogReference again = boot.open("a");
  boot.append_durably(again, 3);
  CHECK(end_on(world, boot.cut(), "a") == 3);
}

void test_start_of_a_killed_process() {
  World world;
  Boot first(world);
  const LogReference log = first.open("a", true, 3000);
  first.append_durably(log, 20);
  first.kill_at("rename", "start-offset~");
  // In the first segment: none is deleted, which would sync the folder.
  CHECK(!first.finish([&](Done done) { log->truncate_front(2, done); }));
  CHECK(first.killed);
  Boot second(world, std::move(*first.killed));
  CHECK(second.open("a", true, 3000)->start_offset() == 2);
  Boot third(world, second.cut());
  const LogReference seen = third.open("a", true, 3000);
  CHECK(seen->start_offset() == 2 && seen->end_offset() == 20);
}

void test_two_truncations_at_once() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a", true, 3000);
  boot.append_durably(log, 20);
  int moved = 0;
  for (const int64_t offset : {12, 5}) log->truncate_front(offset, [&](Status error) { moved += !error; });
  CHECK(boot.run_until([&] { return moved == 2; }));
  CHECK(log->start_offset() == 12);
  CHECK(Boot(world, boot.cut()).open("a")->start_offset() == 12);
}

// Without a durable policy any part of all writes since the last flush may be there, and it is never damage.
void test_power_cuts_without_flushes() {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    World world(seed);
    Boot boot(world);
    const LogReference log = boot.open("a", false);
    boot.append_durably(log, 5, 700);
    for (int write = 0; write < 4; write++) {
      boot.append(log, 3, 100 + seed * 37 % 900);
      boot.run_until([] { return false; });
    }
    CHECK(end_on(world, boot.cut(Survival::some), "a") >= 5);
  }
}

// The same over more than one write can hold, where not even a mark is left: the folder says that the log was not flushed.
void test_long_tail_without_flushes() {
  int many = 0;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    World world(seed);
    Boot boot(world);
    const LogReference log = boot.open("a", false);
    boot.append_durably(log, 5);
    for (int write = 0; write < 6; write++) {
      boot.append(log, 2, 2 << 20);
      boot.run_until([] { return false; });
    }
    SimulatedDisk disk = boot.cut(Survival::some);
    const NodeReference file = disk.find("/data/a/00000000000000000000.log");
    CHECK(file != nullptr);
    // One sector behind the flushed entries, and everything from the last entry's end on, never came to the disk.
    SimulatedDisk whole = boot.cut(Survival::everything);
    const NodeReference kept = whole.find("/data/a/00000000000000000000.log");
    const size_t end = log->bytes() / kDiskSectorBytes;
    for (size_t sector = end; sector < kept->now.sectors.size(); sector++) kept->now.set(sector, nullptr);
    kept->now.set(20 + seed, nullptr);
    kept->durable = kept->now;
    Boot after(world, std::move(whole));
    const LogReference found = after.open("a");
    CHECK(found->end_offset() == 5);
    many += end_on(world, std::move(disk), "a") >= 5;
    // Of a log that is durable from then on, the same is damage.
    CHECK(!after.close(found));
    const LogReference durable = after.open("a", true);
    after.append_durably(durable, 1);
    CHECK(after.machine.disk.find("/data/a/unflushed") == nullptr);
  }
  CHECK(many == 6);
}

// The commit mark of the write before lies across two sectors, of which the torn write brought one.
void test_torn_over_a_mark_in_two_sectors() {
  for (uint64_t seed = 1; seed <= 200; seed++) {
    World world(seed);
    Boot boot(world);
    const LogReference log = boot.open("a");
    boot.append_durably(log, 1, 488 + seed % 24);
    std::optional<SimulatedDisk> torn;
    boot.machine.on_step = [&](const char* action, const std::string& path) {
      if (!torn && std::string(action) == "write" && path.ends_with(".log")) torn = boot.cut(Survival::some);
    };
    boot.append_durably(log, 4, 300);
    CHECK(torn);
    CHECK(end_on(world, std::move(*torn), "a") >= 1);
  }
}

void test_folder_that_cannot_be_read() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a");
  boot.append_durably(log, 3);
  CHECK(!boot.close(log));
  boot.machine.trouble.read_error = 1;
  CHECK(boot.try_open("a").error().code == ErrorCode::failed);
  boot.machine.trouble = {};
  CHECK(boot.open("a")->end_offset() == 3);
}

// Through the page cache: what a failed write or sync leaves there is not on the disk, whatever reads show.
void test_page_cache_after_a_failure() {
  for (uint64_t seed = 1; seed <= 40; seed++) {
    const bool durable = seed % 2 == 0;
    World world(seed);
    Boot boot(world, false);
    const LogReference log = boot.open("a", durable);
    boot.append_durably(log, 3);
    if (durable) boot.machine.trouble.write_error = 1;
    else boot.machine.trouble.sync_error = 1;
    boot.append(log, 6, 1500);
    CHECK(boot.finish([&](Done done) { log->flush(done); }).has_value());
    CHECK(boot.close(log).has_value());
    boot.machine.trouble = {};
    const LogReference again = boot.open("a", durable);
    CHECK(again->end_offset() >= 3);
    CHECK(!boot.finish([&](Done done) { again->flush(done); }));
    CHECK(end_on(world, boot.cut(), "a") == again->end_offset());
  }
}

// On a full disk the oldest segments go before the new start is written. Wherever the power goes, the log is whole from its start on.
void test_segments_removed_on_a_full_disk() {
  for (const Survival survival : {Survival::nothing, Survival::everything, Survival::some}) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
      World world(seed);
      Boot boot(world);
      const LogReference log = boot.open("a", true, 3000);
      boot.append_durably(log, 12);
      boot.run_until([] { return false; });
      boot.machine.trouble.disk_bytes = boot.machine.bytes_used();
      std::vector<SimulatedDisk> disks;
      boot.machine.on_step = [&](const char*, const std::string&) { disks.push_back(boot.cut(survival)); };
      const Status moved = boot.finish([&](Done done) { log->truncate_front(9, done); });
      CHECK(!moved && log->start_offset() == 9);
      CHECK(disks.size() > 4);
      for (SimulatedDisk& disk : disks) {
        Boot after(world, std::move(disk));
        const LogReference found = after.open("a", true, 3000);
        CHECK(found->end_offset() == 12 && found->start_offset() <= 9);
        std::optional<Result<ReadOutcome>> read;
        found->read({found->start_offset(), 1 << 20, true, INT64_MAX}, [&](Result<ReadOutcome> outcome) { read.emplace(std::move(outcome)); });
        CHECK(after.run_until([&] { return read.has_value(); }));
        CHECK(*read && (*read)->next_offset > found->start_offset());
      }
    }
  }
}

// With its last segment a log would lose the only thing that says where it goes on.
void test_last_segment_on_a_full_disk() {
  World world;
  Boot boot(world);
  const LogReference log = boot.open("a");
  boot.append_durably(log, 7);
  // Sealed, so that nothing is given back by that.
  CHECK(!boot.finish([&](Done done) { log->roll(done); }));
  boot.run_until([] { return false; });
  boot.machine.trouble.disk_bytes = boot.machine.bytes_used();
  const Status refused = boot.finish([&](Done done) { log->truncate_front(7, done); });
  CHECK(refused && refused->code == ErrorCode::full);
  CHECK(log->start_offset() == 0 && !log->failure());
  CHECK(end_on(world, boot.machine.disk.after_kill(), "a") == 7);
  boot.machine.trouble = {};
  CHECK(!boot.finish([&](Done done) { log->truncate_front(7, done); }));
  CHECK(log->start_offset() == 7 && end_on(world, boot.cut(), "a") == 7);
}

// A full disk keeps the index of a clean close, which says that the segment may go on, although another one follows. Who opened that waited
// for a segment in the middle that nobody would seal.
void test_index_that_could_not_be_replaced() {
  World world;
  SimulatedDisk disk(world.memory);
  {
    Boot first(world);
    const LogReference log = first.open("a", true, 5000);
    first.append_durably(log, 3);
    CHECK(!first.close(log));
    disk = first.machine.disk.after_kill();
  }
  {
    Boot second(world, std::move(disk));
    const LogReference log = second.open("a", true, 5000);
    second.machine.on_step = [&](const char* action, const std::string& path) {
      if (std::string(action) == "sync" && path.ends_with("/00000000000000000000.log")) second.machine.trouble.disk_bytes = second.machine.bytes_used();
    };
    second.append_durably(log, 1, 4000);
    CHECK(log->segments().size() == 2);
    disk = second.machine.disk.after_kill();
  }
  Boot third(world, std::move(disk));
  const LogReference log = third.open("a", true, 5000);
  CHECK(log->segments().size() == 2 && log->segments().front()->sealed);
  CHECK(!third.finish([&](Done done) { log->truncate_front(4, done); }));
  third.append_durably(log, 1);
  CHECK(log->segments().size() == 1 && !third.close(log));
}

// A sync that fails may lose what was accepted under a policy that is not durable: the log has failed, and its files are not damaged.
void test_reads_after_a_failed_sync() {
  int refused_count = 0;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    World world(seed);
    world.tail_bytes_max = 8192;
    Boot boot(world);
    const LogReference log = boot.open("a", false);
    boot.append(log, 40);
    boot.run_until([] { return false; });
    boot.fail_syncs_of(std::string(kFolder) + "/a/00000000000000000000.log");
    CHECK(boot.finish([&](Done done) { log->flush(done); }) && log->failure());
    std::optional<Result<ReadOutcome>> read;
    log->read({0, 1 << 20, true, INT64_MAX}, [&](Result<ReadOutcome> outcome) { read.emplace(std::move(outcome)); });
    CHECK(boot.run_until([&] { return read.has_value(); }));
    CHECK(*read || read->error().code == ErrorCode::failed);
    refused_count += *read ? 0 : 1;
  }
  CHECK(refused_count > 0);
}

// What another process with the same id did not come to delete.
void test_leftovers_of_the_same_process_id() {
  for (uint64_t seed = 1; seed <= 10; seed++) {
    World world(seed);
    SimulatedDisk disk(world.memory);
    const std::string left = std::string(kFolder) + "/~deleted." + std::to_string(::getpid()) + ".0";
    {
      Boot first(world);
      first.append_durably(first.open("a"), 3);
      disk = first.machine.disk.after_kill();
    }
    CHECK(disk.create(left, true) == 0 && disk.create(left + "/file", false) == 0);
    Boot boot(world, std::move(disk));
    CHECK(!boot.finish([&](Done done) { boot.store->remove_log("a", done); }));
    CHECK(boot.open("a")->end_offset() == 0);
  }
}

// Logs that are appended to in company, are removed and made again; and what each must hold.
class ShortLives {
 public:
  explicit ShortLives(Boot& boot) : boot_(boot) {
    for (Each& each : logs_) open(each);
  }

  // Some of them, in two turns, so that a second write to the journal is under way beside the first one.
  void append(Random& random) {
    for (size_t i = 0; i < logs_.size(); i++) {
      if (i == logs_.size() / 2) boot_.run_for_a_turn();
      if (happens(random, 0.7)) CHECK(logs_[i].log->append(make_entry(200, logs_[i].fill).data(), 200));
    }
  }
  bool is_committed() const {
    return std::all_of(logs_.begin(), logs_.end(), [](const Each& each) { return each.log->committed_end_offset() == each.log->end_offset(); });
  }
  void make_again(size_t at) {
    Each& each = logs_[at];
    each.fill = 0;
    CHECK(!boot_.close(each.log));
    CHECK(!boot_.finish([&](Done done) { boot_.store->remove_log(each.name, done); }));
    open(each);
  }
  void check(World& world, SimulatedDisk disk) const {
    Boot after(world, std::move(disk));
    for (const Each& each : logs_) {
      if (each.fill == 0) continue;
      const LogReference found = after.open(each.name);
      CHECK(found->end_offset() >= each.log->committed_end_offset());
      if (found->end_offset() == 0) continue;
      std::optional<Result<ReadOutcome>> read;
      found->read({0, 1 << 20, true, INT64_MAX}, [&](Result<ReadOutcome> outcome) { read.emplace(std::move(outcome)); });
      CHECK(after.run_until([&] { return read.has_value(); }));
      CHECK(*read);
      for (const Slice& part : (*read)->parts) {
        for (size_t end = 200; end <= part.bytes; end += 200) CHECK(part.data[end - 1] == each.fill);
      }
    }
  }

 private:
  struct Each {
    std::string name;
    // Of its entries; 0 while it is on its way out.
    uint8_t fill = 0;
    LogReference log = nullptr;
  };
  void open(Each& each) {
    each.log = boot_.open(each.name);
    each.fill = ++last_fill_;
  }

  Boot& boot_;
  uint8_t last_fill_ = 0;
  std::array<Each, 4> logs_{Each{"a"}, Each{"b"}, Each{"c"}, Each{"d"}};
};

// An area of the journal is begun again, and its second write is on disk while the first one is not: then the first one of its last use still
// stands there, and what had said behind it that a log is to be forgotten does not. (The model has found this one.)
void test_two_writes_to_an_area_that_is_begun() {
  for (uint64_t seed = 1; seed <= 40; seed++) {
    World world(seed);
    Boot boot(world, SimulatedDisk(world.memory), true, {2, 0, 16 << 10});
    ShortLives lives(boot);
    boot.machine.on_step = [&](const char* action, const std::string& path) {
      if (std::string(action) != "write" || !path.ends_with(kJournalName)) return;
      for (int i = 0; i < 4; i++) lives.check(world, boot.cut(Survival::some));
    };
    for (int round = 0; round < 12; round++) {
      lives.append(world.random);
      CHECK(boot.run_until([&] { return lives.is_committed(); }));
      if (happens(world.random, 0.7)) lives.make_again(world.random() % 4);
    }
    boot.machine.on_step = nullptr;
  }
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_names_of_a_new_folder();
  test_names_of_a_killed_process();
  test_names_whose_sync_failed();
  test_name_of_a_log_without_a_write();
  test_start_of_a_killed_process();
  test_two_truncations_at_once();
  test_power_cuts_without_flushes();
  test_long_tail_without_flushes();
  test_torn_over_a_mark_in_two_sectors();
  test_folder_that_cannot_be_read();
  test_page_cache_after_a_failure();
  test_segments_removed_on_a_full_disk();
  test_last_segment_on_a_full_disk();
  test_index_that_could_not_be_replaced();
  test_reads_after_a_failed_sync();
  test_leftovers_of_the_same_process_id();
  test_two_writes_to_an_area_that_is_begun();
  std::puts("found: fine");
}
