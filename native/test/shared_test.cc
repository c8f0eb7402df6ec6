// A store that several threads use, without Node: who appends where, reads, truncates, removes, leaves, or is gone in the middle of it.
// Most of what this can find is found by ThreadSanitizer.
#include <deque>
#include <map>
#include <thread>

#include "support.h"
#include "../shared_store.h"

namespace haulout {
namespace {

constexpr int kThreads = 4;

// A thread that uses the store, and waits for answers as an event loop does.
class User final : public StoreUser {
 public:
  User(const std::string& folder, const StoreOptions& options = {}) {
    auto joined = SharedStore::join(folder, options, *this);
    CHECK(joined);
    shared_ = std::move(*joined);
  }
  ~User() {
    if (shared_) shared_->abandon(*this);
  }

  void wake() override {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }

  SharedStore& shared() { return *shared_; }
  std::unique_lock<std::mutex> lock() { return shared_->lock(); }

  // Starts a request under the lock, and waits until it is answered.
  template <typename T>
  T wait_for(const std::function<void(std::function<void(T)>)>& request) {
    const auto answer = std::make_shared<std::optional<T>>();
    {
      const auto lock = this->lock();
      // Also of a request that nobody waits for any more, so it holds nothing of this thread's.
      request([answer, this](T value) {
        answer->emplace(std::move(value));
        shared_->notify(*this);
      });
    }
    wait_until([&] { return answer->has_value(); });
    return std::move(**answer);
  }

  // `condition` is looked at under the lock.
  void wait_until(const std::function<bool()>& condition) {
    shared_->turn_ended();
    for (;;) {
      {
        const auto lock = this->lock();
        if (condition()) return;
      }
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(1), [this] { return woken_; });
      woken_ = false;
    }
  }

  Result<LogReference> open_log(const std::string& name, uint64_t segment_bytes_max = 100000, bool durable = true) {
    return wait_for<Result<LogReference>>([&](auto done) { shared_->logs().open(name, {kLayout, segment_bytes_max, durable}, done); });
  }
  Status close_log(const LogReference& log) {
    return wait_for<Status>([&](Done done) { shared_->logs().close(log, done); });
  }
  Result<ReadOutcome> read(const LogReference& log, int64_t offset) {
    return wait_for<Result<ReadOutcome>>([&](auto done) { log->read({offset, 50000, true, INT64_MAX}, done); });
  }
  Result<int64_t> append(const LogReference& log, const std::vector<uint8_t>& entry) {
    const auto lock = this->lock();
    return log->append(entry.data(), entry.size());
  }
  void commit(const LogReference& log, int64_t end_offset) {
    wait_until([&] { return log->committed_end_offset() >= end_offset || log->failure(); });
  }
  Status leave() {
    const Status status = wait_for<Status>([&](Done done) { shared_->leave(*this, done); });
    shared_->abandon(*this);
    shared_.reset();
    return status;
  }

 private:
  std::shared_ptr<SharedStore> shared_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

void in_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int who = 0; who < kThreads; who++) threads.emplace_back([&work, who] { work(who); });
  for (std::thread& thread : threads) thread.join();
}

// The timestamp says whose entry it is, and which.
std::vector<uint8_t> entry_of(int who, int index) {
  return make_entry(61 + static_cast<size_t>(who * 977 + index * 37) % 3000, static_cast<uint8_t>(who * 61 + index), 1, who * 1000000 + index);
}

// Which entries of whom are there, in order; every byte is looked at.
std::vector<std::vector<int64_t>> offsets_of(User& user, const LogReference& log) {
  std::vector<std::vector<int64_t>> offsets(kThreads);
  int64_t end;
  int64_t offset;
  {
    const auto lock = user.lock();
    offset = log->start_offset();
    end = log->committed_end_offset();
  }
  while (offset < end) {
    const auto outcome = user.read(log, offset);
    CHECK(outcome && outcome->next_offset > offset);
    std::vector<uint8_t> all;
    for (const Slice& part : outcome->parts) all.insert(all.end(), part.data, part.data + part.bytes);
    for (size_t at = 0; at < all.size();) {
      const EntryHeader header = read_header(kLayout, all.data() + at);
      const int who = static_cast<int>(header.timestamp_max / 1000000);
      std::vector<uint8_t> expected = entry_of(who, static_cast<int>(header.timestamp_max % 1000000));
      store_i64(expected.data(), offset);
      CHECK(header.base_offset == offset && std::equal(expected.begin(), expected.end(), all.begin() + static_cast<ptrdiff_t>(at)));
      if (static_cast<size_t>(header.timestamp_max % 1000000) != offsets[static_cast<size_t>(who)].size()) CHECK(log->start_offset() > 0);
      offsets[static_cast<size_t>(who)].push_back(offset++);
      at += static_cast<size_t>(header.bytes);
    }
  }
  return offsets;
}

// Everybody appends to a log that all share and to one of his own; some read, one truncates a third log that all write.
void test_together(const StoreOptions& options, bool durable) {
  constexpr int kEntries = 300;
  const TemporaryFolder folder;
  std::vector<std::vector<int64_t>> expected(kThreads);
  in_threads([&](int who) {
    User user(folder.path(), options);
    const LogReference common = *user.open_log("common", 100000, durable);
    const LogReference own = *user.open_log("own-" + std::to_string(who), 100000, durable);
    const LogReference cut = *user.open_log("cut", 20000, durable);
    for (int i = 0; i < kEntries; i++) {
      const auto entry = entry_of(who, i);
      const int64_t end = *user.append(common, entry);
      expected[static_cast<size_t>(who)].push_back(end - 1);
      const int64_t own_end = *user.append(own, entry);
      CHECK(own_end == i + 1);
      const int64_t cut_end = *user.append(cut, entry);
      if (i % (who + 2) == 0) user.commit(common, end);
      if (i % 5 == who) CHECK(user.read(common, end / 2));
      if (i % 40 == 39 && who == 1) {
        user.commit(cut, cut_end);
        CHECK(!user.wait_for<Status>([&](Done done) { cut->truncate_front(cut_end - 10, done); }));
      }
      if (i % 60 == 59 && who == 2) CHECK(!user.wait_for<Status>([&](Done done) { common->roll(done); }));
    }
    CHECK(!user.close_log(common));
    CHECK(!user.close_log(own));
    if (who % 2 == 0) CHECK(!user.close_log(cut));
    CHECK(!user.leave());
  });
  User user(folder.path(), options);
  const LogReference common = *user.open_log("common", 100000, durable);
  CHECK(common->end_offset() == kThreads * kEntries);
  CHECK(offsets_of(user, common) == expected);
  for (int who = 0; who < kThreads; who++) {
    const LogReference own = *user.open_log("own-" + std::to_string(who), 100000, durable);
    CHECK(offsets_of(user, own)[static_cast<size_t>(who)].size() == kEntries);
  }
  CHECK((*user.open_log("cut", 20000, durable))->start_offset() > 0);
  CHECK(!user.leave());
}

// Users come and go at any moment, with appends and reads under way; nobody closes anything.
void test_gone_in_the_middle(const StoreOptions& options) {
  const TemporaryFolder folder;
  std::atomic<int64_t> acknowledged{0};
  in_threads([&](int who) {
    std::mt19937 random(static_cast<unsigned>(who));
    for (int round = 0; round < 15; round++) {
      User user(folder.path(), options);
      const auto opened = user.open_log("common");
      CHECK(opened);
      const LogReference log = *opened;
      for (unsigned i = 0; i < random() % 30; i++) {
        const auto end = user.append(log, entry_of(who, round * 100 + static_cast<int>(i)));
        CHECK(end);
        if (random() % 3 == 0) {
          user.commit(log, *end);
          int64_t before = acknowledged;
          while (before < *end && !acknowledged.compare_exchange_weak(before, *end)) {}
        }
        if (random() % 4 == 0) {
          const auto lock = user.lock();
          log->read({0, 10000, true, INT64_MAX}, [](Result<ReadOutcome>) {});
        }
      }
      user.shared().turn_ended();
      const auto lock = user.lock();
      user.shared().logs().close(log, [](Status) {});
    }
  });
  User user(folder.path(), options);
  const LogReference log = *user.open_log("common");
  CHECK(log->end_offset() >= acknowledged);
  int64_t offset = 0;
  while (offset < log->committed_end_offset()) {
    const auto outcome = user.read(log, offset);
    CHECK(outcome && outcome->next_offset > offset);
    offset = outcome->next_offset;
  }
  CHECK(!user.leave());
}

// Opened, closed and removed by all at the same time.
void test_open_close_remove() {
  const TemporaryFolder folder;
  User keeper(folder.path());
  in_threads([&](int who) {
    User user(folder.path());
    for (int i = 0; i < 40; i++) {
      const auto opened = user.open_log("contended");
      if (!opened) {
        CHECK(opened.error().code == ErrorCode::locked);
        continue;
      }
      if (const auto end = user.append(*opened, entry_of(who, i))) user.commit(*opened, *end);
      else CHECK(end.error().code == ErrorCode::closed);
      if (i % 10 == who) {
        const Status status = user.wait_for<Status>([&](Done done) { user.shared().logs().remove("contended", done); });
        CHECK(!status || status->code == ErrorCode::locked);
      }
      CHECK(!user.close_log(*opened));
    }
    CHECK(!user.leave());
  });
  const LogReference log = *keeper.open_log("contended");
  const auto other = keeper.open_log("contended", 5000);
  CHECK(!other && other.error().code == ErrorCode::locked && other.error().message.find("other settings") != std::string::npos);
  CHECK(!keeper.leave());
}

// The last one closes it, somebody removes it, and somebody else opens it, all before the first of these is done.
void test_removed_while_closing() {
  const TemporaryFolder folder;
  User user(folder.path());
  for (int round = 0; round < 20; round++) {
    const LogReference old = *user.open_log("a");
    CHECK(user.append(old, entry_of(0, round)));
    size_t answers_count = 0;
    std::optional<Result<LogReference>> opened;
    {
      const auto lock = user.lock();
      const auto count = [&](Status status) {
        CHECK(!status);
        answers_count++;
      };
      user.shared().logs().close(old, count);
      user.shared().logs().remove("a", count);
      user.shared().logs().open("a", {kLayout, 100000, true}, [&](Result<LogReference> result) { opened.emplace(std::move(result)); });
      user.shared().logs().remove("a", count);
    }
    user.wait_until([&] { return answers_count == 3 && opened; });
    CHECK(*opened && (**opened)->end_offset() == 0);
    CHECK(user.append(**opened, entry_of(0, round)) && !user.close_log(**opened));
    const auto again = user.open_log("a");
    CHECK(again && (*again)->end_offset() == 1);
    CHECK(!user.wait_for<Status>([&](Done done) { user.shared().logs().remove("a", done); }));
    CHECK(!user.close_log(*again));
  }
  CHECK(!user.leave());
}

// A lone store and a shared one never have a folder at the same time; limits must agree.
// A name is one user's; what it hides the others see when it is revealed and committed, or its user has gone.
void test_claims() {
  const TemporaryFolder folder;
  User first(folder.path());
  auto second = std::make_unique<User>(folder.path());
  const auto claim = [](User& user) {
    const auto lock = user.lock();
    return user.shared().claims().claim("name", user);
  };
  CHECK(claim(*second) && claim(*second) && !claim(first));
  {
    const auto lock = first.lock();
    first.shared().claims().release("name", first);
  }
  CHECK(!claim(first));
  const LogReference log = *second->open_log("a");
  const LogReference same = *first.open_log("a");
  CHECK(log == same);
  const auto visible_end = [&](User& user) {
    const auto lock = user.lock();
    return user.shared().claims().visible_end(*log, user);
  };
  second->commit(log, *second->append(log, make_entry(100, 1, 3)));
  const auto hide = [&](int64_t offset) {
    const auto lock = second->lock();
    second->shared().claims().hide(log, *second, offset);
  };
  hide(3);
  second->commit(log, *second->append(log, make_entry(100, 1, 3)));
  CHECK(visible_end(*second) == 6 && visible_end(first) == 3);
  hide(6);
  {
    const auto lock = second->lock();
    second->shared().claims().reveal(log, *second, 3);
  }
  CHECK(visible_end(first) == 6);
  second->commit(log, *second->append(log, make_entry(100, 1, 3)));
  CHECK(visible_end(first) == 6);
  (void)second->close_log(log);
  second.reset();
  CHECK(visible_end(first) == 9);
  CHECK(claim(first));
  CHECK(!first.close_log(same));
}

void test_refusals() {
  const TemporaryFolder folder;
  class : public StoreUser {
    void wake() override {}
  } other;
  {
    Owner owner(folder.path());
    CHECK(SharedStore::join(folder.path(), {}, other).error().code == ErrorCode::locked);
    CHECK(!owner.close());
  }
  StoreOptions options;
  options.tail_bytes_max = 100000;
  User user(folder.path(), options);
  CHECK(Owner(folder.path()).error->code == ErrorCode::locked);
  User same(folder.path() + "/../" + folder.path().substr(folder.path().rfind('/') + 1), options);
  CHECK(&same.shared() == &user.shared());
  options.tail_bytes_max = 200000;
  CHECK(SharedStore::join(folder.path(), options, other).error().code == ErrorCode::locked);
}

// Of a disk that never answers, or answers at once and says how often it was asked.
class TestRing final : public Ring {
 public:
  explicit TestRing(std::map<Operation::Kind, int>* answered) : answered_(answered) {}
  void start(std::unique_ptr<Operation> operation) override { started_.push_back(std::move(operation)); }
  void submit() override {}
  void reap() override {
    while (answered_ != nullptr && !started_.empty()) {
      const std::unique_ptr<Operation> operation = std::move(started_.front());
      started_.pop_front();
      (*answered_)[operation->kind]++;
      int64_t bytes = 0;
      for (const iovec& part : operation->parts) bytes += static_cast<int64_t>(part.iov_len);
      operation->done(bytes);
    }
  }
  void drain() override { reap(); }
  size_t pending() const override { return started_.size(); }

 private:
  std::map<Operation::Kind, int>* const answered_;
  std::deque<std::unique_ptr<Operation>> started_;
};

// The program ends in the turn in which it appended: all is handed over, and flushed as the policy says.
void test_settled() {
  using Kind = Operation::Kind;
  for (const bool flushed_at_end : {false, true}) {
    const TemporaryFolder folder;
    std::map<Kind, int> answered;
    StoreOptions options;
    options.make_ring = [&](const Wake&) { return std::make_unique<TestRing>(&answered); };
    Owner owner(folder.path(), options);
    std::vector<LogReference> logs;
    LogSettings settings{kLayout, 1 << 20, false};
    settings.flushed_at_end = flushed_at_end;
    for (int i = 0; i < 20; i++) {
      owner.store->open_log("log-" + std::to_string(i), settings, [&](Result<LogReference> log) { logs.push_back(*log); });
    }
    CHECK(owner.run_until([&] { return logs.size() == 20; }));
    for (int i = 0; i < 15; i++) {
      const auto entry = entry_of(0, i);
      for (int j = 0; j < 3; j++) CHECK(logs[static_cast<size_t>(i)]->append(entry.data(), entry.size()));
    }
    CHECK(owner.store->settle());
    for (const LogReference& log : logs) CHECK(log->written_end_offset() == log->end_offset() && !log->failure());
    const std::map<Kind, int> expected = flushed_at_end ? std::map<Kind, int>{{Kind::write, 15}, {Kind::sync, 15}} : std::map<Kind, int>{{Kind::write, 15}};
    CHECK(answered == expected);
    CHECK(owner.store->settle() && answered == expected);
    CHECK(!owner.close());
  }
}

// Nobody waits for it for ever, and what the kernel may still use stays.
void test_disk_does_not_answer() {
  const TemporaryFolder folder;
  StoreOptions options;
  options.make_ring = [&](const Wake&) { return std::make_unique<TestRing>(nullptr); };
  options.patience = std::chrono::milliseconds(30);
  const auto entry = entry_of(0, 0);
  {
    Owner owner(folder.path() + "/own", options);
    const auto log = owner.open_log("a", false);
    CHECK(log && (*log)->append(entry.data(), entry.size()));
    CHECK(!owner.store->settle() && !owner.store->end());
    Store::leave_behind(std::move(owner.store));
  }
  {
    User user(folder.path() + "/shared", options);
    const auto log = user.open_log("a", 100000, false);
    CHECK(log && user.append(*log, entry));
  }
  for (const char* each : {"/own", "/shared"}) CHECK(Owner(folder.path() + each).error->code == ErrorCode::locked);
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  for (const BackendChoice backend : {BackendChoice::uring, BackendChoice::threads}) {
    StoreOptions options;
    options.backend = backend;
    for (const bool durable : {true, false}) test_together(options, durable);
    options.tail_bytes_max = 50000;
    test_together(options, true);
    test_gone_in_the_middle(options);
  }
  test_open_close_remove();
  test_removed_while_closing();
  test_claims();
  test_refusals();
  test_settled();
  test_disk_does_not_answer();
  std::puts("shared: fine");
}
