#include "store.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "compressed_files.h"
#include "journal_replay.h"

namespace haulout {
namespace {

constexpr size_t kWorkersMax = 4;
// Of segments of one log, at open.
constexpr size_t kScansMax = 4;
constexpr uint64_t kTailBytesMax = uint64_t{64} << 20;
constexpr uint64_t kUncoveredBytesMax = uint64_t{64} << 20;
constexpr size_t kOpenFilesMin = 16;
constexpr size_t kOpenFilesMax = 8192;
constexpr int64_t kLookEveryMs = 1000;

// Half of what the process may open; the other half is for connections and the host's own files.
size_t open_files_max() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return kOpenFilesMin;
  return std::clamp<size_t>(limit.rlim_cur / 2, kOpenFilesMin, kOpenFilesMax);
}

constexpr std::pair<BackendChoice, const char*> kBackends[] = {{BackendChoice::automatic, "auto"},
                                                              {BackendChoice::uring, "io_uring"},
                                                              {BackendChoice::uring_buffered, "io_uring-buffered"},
                                                              {BackendChoice::threads, "threads"},
                                                              {BackendChoice::mmap, "mmap"}};

int64_t wall_clock_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

int64_t monotonic_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

const char* name_of(BackendChoice backend) {
  return std::find_if(std::begin(kBackends), std::end(kBackends), [&](const auto& each) { return each.first == backend; })->second;
}

BackendChoice backend_named(const std::string& name) {
  const auto found = std::find_if(std::begin(kBackends), std::end(kBackends), [&](const auto& each) { return name == each.second; });
  return found == std::end(kBackends) ? BackendChoice::automatic : found->first;
}

Result<std::unique_ptr<Store>> Store::open(const std::string& directory, const StoreOptions& options, StoreEvents events) {
  if (auto error = make_folder(options.files, directory)) return *error;
  auto lock = FolderLock::take(options.files, directory);
  if (!lock) return lock.error();
  if (auto error = check_format(options.files, directory)) return *error;
  // A process that was killed may have made, renamed or removed logs and not synced that: what is seen here must last.
  if (const int result = options.files->sync_directory(directory); result < 0) return file_error("sync", directory, -result);
  if (auto error = replay_journal(options.files, directory)) return *error;
  const bool buffered = options.backend == BackendChoice::uring_buffered || options.backend == BackendChoice::mmap;
  const bool direct = !buffered && allows_direct(*options.files, directory);
  const auto line = std::make_shared<WakeLine>();
  line->wake = std::exchange(events.wake, [line] {
    const std::lock_guard lock(line->mutex);
    if (line->wake) line->wake();
  });
  std::unique_ptr<Store> store(new Store(directory, options, std::move(events), line, direct));
  store->lock_ = std::move(*lock);
  store->folder_ = OpenFile(options.files, options.files->open(directory, O_RDONLY | O_DIRECTORY));
  if (store->folder_.get() < 0) return file_error("open", directory, -store->folder_.get());
  store->all_closed_ = store->lock_->was_released();
  store->choose_ring(options);
  for (const int error : {store->workers_->start_first_thread(), store->ring_->start_first_thread()}) {
    if (error != 0) return no_thread("for the store in " + directory, error);
  }
  if (!options.make_ring) store->ring_ = make_writes_first_ring(std::move(store->ring_), monotonic_ms);
  store->space_ = std::make_unique<SpaceReserve>(store->files_, directory, options.reserve);
  Store* self = store.get();
  JournalOptions journal_options = options.journal;
  journal_options.area_bytes = align_down(std::min(journal_options.area_bytes, store->budget_.bytes_max / 4), kBlockBytes);
  const JournalContext journal{directory, store->files_, store->pool_, *store->ring_, *store->workers_, direct, [self] { self->arm(); }};
  store->journal_ = std::make_unique<Journal>(journal, journal_options);
  store->context_.reset(new LogContext{
      store->files_, store->pool_, store->budget_, store->cache_, store->samples_, store->ahead_, *store->compressor_, *store->journal_, store->turns_, *store->space_,
      *store->ring_, *store->workers_, direct,
      [self](SegmentLog& log) {
        if (!log.in_dirty_list) self->dirty_.push_back(log.shared_from_this());
        log.in_dirty_list = true;
        self->arm();
      },
      [self] { self->arm(); },
      [self](SegmentLog& log) { self->events_.changed(log); },
      [self](Done done) { self->sync_names(std::move(done)); },
      [self](uint64_t bytes) { self->wrote(bytes); },
      options.now_ms ? options.now_ms : wall_clock_ms,
  });
  store->looked_at_ms_ = store->context_->now_ms();
  store->run([files = store->files_, directory] { return delete_leftovers(*files, directory); }, [](Status) {});
  return store;
}

Store::Store(std::string directory, const StoreOptions& options, StoreEvents events, std::shared_ptr<WakeLine> line, bool direct)
    : directory_(std::move(directory)),
      events_(std::move(events)),
      line_(std::move(line)),
      patience_(options.patience),
      files_(std::make_shared<CompressedFiles>(options.files)),
      budget_(options.tail_bytes_max.value_or(kTailBytesMax)),
      cache_(files_, direct, options.open_files_max.value_or(open_files_max()), [maps = maps_](int file) { maps->forget(file); }),
      turns_(budget_),
      backend_{BackendChoice::threads, direct, ""},
      uncovered_bytes_max_(options.uncovered_bytes_max.value_or(kUncoveredBytesMax)),
      scans_max_(options.make_workers ? 1 : kScansMax) {
  workers_ = options.make_workers ? options.make_workers(events_.wake) : std::make_unique<Workers>(kWorkersMax, events_.wake);
  compressor_ = std::make_unique<SegmentCompressor>(files_, *workers_, direct);
}

Store::~Store() {
  compressor_->stop();
  if (ring_) drain();
  dirty_.clear();
  to_cover_.clear();
  // JavaScript may hold on to a log for longer.
  for (const auto& [name, log] : logs_) {
    if (log != nullptr) log->release();
  }
}

void Store::choose_ring(const StoreOptions& options) {
  if (options.make_ring) {
    ring_ = options.make_ring(events_.wake);
    backend_.reason = "a ring made by the caller";
    return;
  }
  const bool asked_buffered = options.backend == BackendChoice::uring_buffered;
  const std::string direct = backend_.direct || asked_buffered ? "" : "; this file system refuses direct I/O, so writes pass through the page cache";
  if (options.backend == BackendChoice::mmap) {
    ring_ = make_mmap_ring(events_.wake, maps_);
    backend_ = {BackendChoice::mmap, false, "mmap was asked for: reads through mappings, writes through the page cache"};
    return;
  }
  if (options.backend == BackendChoice::threads) {
    backend_.reason = "threads were asked for" + direct;
  } else if (auto ring = make_uring_ring(events_.wake, !options.many_threads)) {
    ring_ = std::move(*ring);
    backend_.kind = backend_.direct ? BackendChoice::uring : BackendChoice::uring_buffered;
    backend_.reason = asked_buffered ? "buffered io_uring was asked for" : "io_uring works here" + direct;
    return;
  } else {
    backend_.reason = ring.error().message + direct;
  }
  ring_ = make_threads_ring(events_.wake);
}

void Store::arm() {
  if (armed_) return;
  armed_ = true;
  events_.arm();
}

void Store::end_turn() {
  cache_.serve();
  while (!dirty_.empty()) {
    std::vector<LogReference> dirty;
    dirty.swap(dirty_);
    for (const LogReference& log : dirty) {
      log->in_dirty_list = false;
      log->pump();
    }
  }
  journal_->end_turn();
  ring_->submit();
  context_->durable_bytes_of_turn = 0;
  armed_ = false;
}

void Store::poll() {
  ring_->reap();
  workers_->reap();
  // What has been written may go from memory now.
  budget_.enforce();
  if (budget_.is_exceeded()) journal_->relieve();
  if (space_->begin_shrinking()) workers_->run([this] { space_->shrink(); }, [] {});
  look_for_folder();
  end_turn();
}

// What is written to files that nobody finds any more must not be acknowledged for long. While something is going on, the store looks once a
// second whether its folder is where it was.
void Store::look_for_folder() {
  const int64_t now_ms = context_->now_ms();
  if (gone_ || closing_ || std::abs(now_ms - looked_at_ms_) < kLookEveryMs) return;
  looked_at_ms_ = now_ms;
  if (lock_->is_in_place()) return;
  gone_ = Error{ErrorCode::failed, "folder " + directory_ + " is not the one that was opened any more: it was removed, replaced or unmounted, or its " +
                                       ".lock was. Bring it back, and open the store again"};
  std::vector<LogReference> logs;
  for (const auto& [name, log] : logs_) {
    if (log != nullptr) logs.push_back(log);
  }
  for (const LogReference& log : logs) {
    log->fail(*gone_);
    context_->dirty(*log);
  }
}

void Store::drain() {
  while (armed_ || !dirty_.empty() || cache_.is_waited_for() || ring_->pending() > 0 || workers_->pending() > 0) {
    end_turn();
    ring_->drain();
    workers_->drain();
  }
}

// As poll(), without what is done for the time after it.
void Store::step() {
  ring_->reap();
  workers_->reap();
  end_turn();
}

Store::Unsettled Store::begin_settling() {
  std::vector<LogReference> open;
  for (const auto& [name, log] : logs_) {
    if (log != nullptr) open.push_back(log);
  }
  const auto unsettled = std::make_shared<size_t>(open.size());
  for (const LogReference& log : open) log->settle([unsettled](const Status&) { --*unsettled; });
  return unsettled;
}

bool Store::settle() {
  const Unsettled unsettled = begin_settling();
  return wait_until_none(patience_, [&] {
    step();
    return left_of(unsettled);
  });
}

bool Store::end() {
  compressor_->stop();
  return settle() && wait_until_none(patience_, [this] {
    step();
    return (armed_ ? 1 : 0) + dirty_.size() + (cache_.is_waited_for() ? 1 : 0) + ring_->pending() + workers_->pending();
  });
}

void Store::leave_behind(std::unique_ptr<Store> store) {
  const std::lock_guard lock(store->line_->mutex);
  store->line_->wake = nullptr;
  static auto* const left_behind = new std::vector<Store*>;
  static std::mutex mutex;
  const std::lock_guard list_lock(mutex);
  left_behind->push_back(store.release());
}

void Store::run(std::function<Status()> work, Done done) {
  const auto status = std::make_shared<Status>();
  workers_->run([work = std::move(work), status] { *status = work(); },
                [status, done = std::move(done)] { done(std::move(*status)); });
}

Result<uint64_t> Store::bytes_free() const {
  const int64_t bytes = files_->bytes_free(directory_);
  if (bytes < 0) return file_error("look at", directory_, static_cast<int>(-bytes));
  // Spare files go as soon as somebody wants their space.
  return static_cast<uint64_t>(bytes) + space_->spares.bytes();
}

Status Store::refusal() const {
  if (closing_) return Error{ErrorCode::closed, "the store is closed"};
  return gone_;
}

// Logs that are being opened or moved end by themselves; the store waits for them, too.
void Store::close(Done done) {
  closing_ = true;
  ring_->await_all();
  std::vector<LogReference> open;
  for (const auto& [name, log] : logs_) {
    if (log != nullptr) open.push_back(log);
  }
  const auto left = std::make_shared<size_t>(open.size() + 1);
  const auto closed = [this, left, done = std::move(done)](Status error) {
    if (error && !close_error_) close_error_ = std::move(error);
    if (--*left > 0) return;
    journal_->close([this, done](Status failed) {
      if (failed && !close_error_) close_error_ = std::move(failed);
      done(close_error_);
    });
  };
  for (const LogReference& log : open) close_log(log, closed);
  closed(std::nullopt);
}

}  // namespace haulout
