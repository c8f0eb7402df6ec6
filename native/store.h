// A folder of logs, and what they share: the ring, a few workers, memory, open files. Used by one thread, or under one lock
// (shared_store.h); knows nothing of Node.
//
// The owner calls poll() when it is woken, and end_turn() once after a turn in which `arm` was called: everything that was appended
// in the turn, to any log, then goes to the kernel in one submission. Where that has_much_to_begin(), it need not wait for the end.
#pragma once

#include <deque>
#include <map>

#include "folder.h"
#include "journal.h"
#include "patience.h"
#include "read_ahead.h"
#include "segment_compressor.h"
#include "segment_log.h"
#include "write_turns.h"

namespace haulout {

// Appended by writers who wait for the disk: while the next ones fill their entries, it could be at work.
constexpr uint64_t kTurnBytesMax = uint64_t{256} << 10;

// What cannot be had is replaced by the next best: direct I/O by the page cache, io_uring by threads.
enum class BackendChoice { automatic, uring, uring_buffered, threads, mmap };

struct StoreOptions {
  BackendChoice backend = BackendChoice::automatic;
  // Nothing: 64 MiB.
  std::optional<size_t> tail_bytes_max;
  // Bytes of all logs together that a start after a crash may have to scan. Nothing: 64 MiB.
  std::optional<uint64_t> uncovered_bytes_max;
  JournalOptions journal;
  ReserveOptions reserve;
  // Segment files. Nothing: half of what the process may open.
  std::optional<size_t> open_files_max;
  // Other threads than the one that opens the store may use it, one at a time.
  bool many_threads = false;
  // What has not moved for so long does not keep a thread or a process from ending.
  std::chrono::milliseconds patience{10'000};
  // Tests put their own underneath.
  std::shared_ptr<Files> files = std::make_shared<Files>();
  std::function<std::unique_ptr<Ring>(Wake)> make_ring;
  std::function<std::unique_ptr<Workers>(Wake)> make_workers;
  // The wall clock. Nothing: the system's.
  std::function<int64_t()> now_ms;
};

struct StoreEvents {
  // Called from any thread: poll() is wanted.
  Wake wake;
  // Called on the owner's thread: end_turn() is wanted at the end of this turn.
  std::function<void()> arm;
  // The log's committed end offset moved, its start moved, or it failed.
  std::function<void(SegmentLog&)> changed;
};

struct Backend {
  // Never `automatic`. Threads do direct I/O or not; the others are one or the other.
  BackendChoice kind;
  bool direct;
  std::string reason;
};

const char* name_of(BackendChoice backend);
// The name as src/log/log.ts has it; `automatic` for one that is not known.
BackendChoice backend_named(const std::string& name);

using LogReference = std::shared_ptr<SegmentLog>;

class Store {
 public:
  // Blocks for a few file operations.
  static Result<std::unique_ptr<Store>> open(const std::string& directory, const StoreOptions& options, StoreEvents events);
  // close() has ended, or drain() is called here.
  ~Store();
  // A store that did not end() stays where it is, because the kernel and its workers still use that memory. It calls nobody any more.
  static void leave_behind(std::unique_ptr<Store> store);

  const Backend& backend() const { return backend_; }
  Result<uint64_t> bytes_free() const;
  void names(std::function<void(Result<std::vector<std::string>>)> done);
  void open_log(const std::string& name, const LogSettings& settings, std::function<void(Result<LogReference>)> done);
  void close_log(const LogReference& log, Done done);
  void remove_log(const std::string& name, Done done);
  void rename_log(const std::string& from, const std::string& to, Done done);
  void close(Done done);

  void poll();
  void end_turn();
  // Before the end of the turn, what has been started so far.
  void submit() { ring_->submit(); }
  // end_turn() is wanted although the turn goes on.
  bool has_much_to_begin() const { return context_->durable_bytes_of_turn >= kTurnBytesMax; }
  // Blocks until nothing is under way.
  void drain();
  // Hands everything that was accepted to the system, and makes durable what its log's policy would have made so. Blocks until then, or
  // until nothing has moved for too long: then false.
  bool settle();
  // In two parts, for who waits elsewhere: how much is left of what begin_settling() began. Something of it may fail.
  using Unsettled = std::shared_ptr<const size_t>;
  Unsettled begin_settling();
  size_t left_of(const Unsettled& unsettled) const { return *unsettled == 0 ? 0 : *unsettled + budget_.backlog_bytes; }
  // For good: settles, gives up what is of no use then, and blocks until nothing is under way; false as above.
  bool end();
  // end_turn() is wanted.
  bool is_armed() const { return armed_; }
  // What was read ahead in silence is there before the next request looks for it.
  void look() { ring_->look(); }
  // Something is under way, and a wake-up will come.
  bool is_active() const { return ring_->awaited() > 0 || workers_->pending() > 0; }
  int event_file() const { return ring_->event_file(); }

 private:
  // Where wake-ups go, until it is cut.
  struct WakeLine {
    std::mutex mutex;
    Wake wake;
  };

  Store(std::string directory, const StoreOptions& options, StoreEvents events, std::shared_ptr<WakeLine> line, bool direct);

  void step();
  void choose_ring(const StoreOptions& options);
  void arm();
  void run(std::function<Status()> work, Done done);
  void delete_forgotten(const std::string& name, Done done);
  void delete_folder(const std::string& name, Done done);
  void move_folder(const std::string& from, const std::string& to, Done done);
  void look_for_folder();
  // Why it takes no request.
  Status refusal() const;
  void sync_names(Done done);
  void sync_more_names();
  void wrote(uint64_t bytes);
  void cover();
  void cover_next();
  void close_more();

  const std::string directory_;
  const StoreEvents events_;
  const std::shared_ptr<WakeLine> line_;
  const std::chrono::milliseconds patience_;
  const std::shared_ptr<Files> files_;
  // Of the backend that reads through mappings.
  std::shared_ptr<FileMaps> maps_ = std::make_shared<FileMaps>();
  std::shared_ptr<MemoryPool> pool_ = std::make_shared<MemoryPool>();
  TailBudget budget_;
  FileCache cache_;
  SampleCache samples_;
  ReadAhead ahead_;
  WriteTurns turns_;
  std::unique_ptr<SpaceReserve> space_;
  Backend backend_;
  std::unique_ptr<FolderLock> lock_;
  // To sync it takes no descriptor then.
  OpenFile folder_;
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<Workers> workers_;
  std::unique_ptr<SegmentCompressor> compressor_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<LogContext> context_;
  // Null while the log is being opened, or its folder moved.
  std::map<std::string, LogReference> logs_;
  std::vector<LogReference> dirty_;
  Status close_error_;
  // Once the folder is no longer where it was.
  Status gone_;
  int64_t looked_at_ms_ = 0;
  size_t closing_count_ = 0;
  // Logs whose turn to be closed has not come.
  std::deque<std::pair<LogReference, Done>> to_close_;
  bool closing_more_ = false;
  uint64_t deleted_count_ = 0;
  // Of logs that are opened at the same time one changes the folder's format.
  std::shared_ptr<std::mutex> format_lock_ = std::make_shared<std::mutex>();
  const uint64_t uncovered_bytes_max_;
  // Tests that do the workers' work themselves do all of it in one thread.
  const size_t scans_max_;
  // Logs that wait for the next sync of the folder.
  std::vector<Done> to_sync_names_;
  bool syncing_names_ = false;
  // Bytes written since the logs were last looked at.
  uint64_t unseen_bytes_ = 0;
  // Logs that get a recovery point after the one that is being made, the next one last.
  std::vector<LogReference> to_cover_;
  bool covering_ = false;
  bool armed_ = false;
  bool closing_ = false;
  // Every log that is not open was closed cleanly when it was open last.
  bool all_closed_ = false;
  // False once a change of the logs' names may not have been synced: what is opened then syncs the folder first.
  bool names_synced_ = true;
};

}  // namespace haulout
