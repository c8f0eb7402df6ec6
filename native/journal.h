// The durable small writes of many logs as one. A log alone writes to its own file at once; when several have something small to write
// at the end of a turn, one write to the journal makes all of it durable, in the time of one, and what it holds goes to the segments
// later, in larger pieces. After a crash replay_journal() brings the rest there (docs/storage.md, "Journal").
//
// The file has two areas. When one is full the other is begun, and what the full one holds is written back; until that is done, and
// whenever something goes wrong with the journal, logs write to their own files, as if there were none.
#pragma once

#include <deque>
#include <functional>
#include <set>

#include "files.h"
#include "journal_format.h"
#include "memory.h"
#include "ring.h"

namespace haulout {

class SegmentLog;
using Done = std::function<void(Status)>;

struct JournalOptions {
  // As many logs at least share a write.
  size_t logs_min = 4;
  // After so many turns in which they would have, the file is made.
  size_t turns_min = 16;
  uint64_t area_bytes = uint64_t{16} << 20;
};

struct JournalContext {
  std::string directory;
  std::shared_ptr<Files> files;
  std::shared_ptr<MemoryPool> pool;
  Ring& ring;
  Workers& workers;
  bool direct;
  // end_turn() is wanted.
  std::function<void()> started;
};

class Journal {
 public:
  Journal(JournalContext context, const JournalOptions& options) : context_(std::move(context)), options_(options) {}

  // A log that has something to write asks; if the answer is true, it is told at the end of the turn: take_part() or write_itself().
  bool offer(SegmentLog& log);
  // Starts the write of what was offered in this turn.
  void end_turn();
  // Has every log write back: there is too much in memory.
  void relieve();

  // A log that failed was closed, and has acknowledged entries that only the journal holds.
  void strand(const std::string& name) { stranded_.insert(name); }
  bool is_stranded(const std::string& name) const { return stranded_.count(name) > 0; }
  // From here on the journal says nothing about the log of this name: it is going, or was recovered.
  void forget(const std::string& name, Done done);
  // Deletes the file, unless somebody needs it. All logs are closed.
  void close(Done done);

  // Larger writes go to the log's own file.
  static constexpr size_t kRecordBytesMax = 16 << 10;

 private:
  enum class State { absent, being_made, ready, unusable };
  // The bytes of a log, or the name of one that is to be forgotten.
  struct Part {
    std::shared_ptr<SegmentLog> log = nullptr;
    std::string name = {};
    Done forgotten = nullptr;
  };
  struct Batch {
    std::vector<Part> parts;
    MemoryReference memory;
    size_t bytes = kJournalHeaderBytes;
    size_t area = 0;
    bool is_done = false;
    bool failed = false;
  };
  using BatchReference = std::shared_ptr<Batch>;
  // A log that an area has bytes of, and up to which offset.
  struct Dependant {
    std::weak_ptr<SegmentLog> log;
    int64_t offset = 0;

    // Null if it does not depend on the area any more.
    std::shared_ptr<SegmentLog> get() const;
  };
  struct Area {
    uint64_t used = 0;
    // Its first write since it was begun is on stable storage.
    bool has_kept = false;
    // What it holds is on the way to the segments.
    bool draining = false;
    std::vector<Dependant> logs;
  };

  bool is_usable() const { return state_ == State::ready && !failed_; }
  bool is_draining() const { return draining_count_ > 0 || !to_drain_.empty(); }
  std::string path() const { return context_.directory + "/" + kJournalName; }
  void make();
  void remove(Done done);
  void refuse(const std::vector<std::shared_ptr<SegmentLog>>& logs, size_t from);
  // `left` bytes of the area stay free.
  bool has_room(size_t bytes, uint64_t left);
  void write(const BatchReference& batch);
  void finish_writes();
  void give_up();
  void drain(Area& area);
  void drain_next();
  bool is_needed(const Area& area) const;
  void settle();
  void finish_close();
  void write_forgotten();
  void finish_forgetting(const Part& part);

  const JournalContext context_;
  const JournalOptions options_;
  State state_ = State::absent;
  // A write to it failed: nobody knows what stands there.
  bool failed_ = false;
  std::shared_ptr<OpenFile> file_;
  Area areas_[kJournalAreas];
  size_t area_ = 0;
  int64_t sequence_ = 0;
  size_t turns_ = 0;
  std::vector<std::shared_ptr<SegmentLog>> offered_;
  // In the order of the file: a write counts when those before it do.
  std::deque<BatchReference> under_way_;
  // Logs of the area that is being drained, and how many of them write.
  std::vector<Dependant> to_drain_;
  size_t draining_count_ = 0;
  // The file may hold records of these.
  std::set<std::string> names_;
  std::set<std::string> stranded_;
  std::deque<Part> to_forget_;
  Done closed_;
};

}  // namespace haulout
