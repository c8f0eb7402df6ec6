// One log: entries in, offsets out, durable in order. Used by one thread, or under one lock; all callbacks run there.
//
// At most one write of a log is under way. What is appended meanwhile goes out with the next one, so a slow disk makes larger writes.
// Per log the steps that touch the disk never overlap (write, prepare a file, seal, truncate), but for making space ahead of need
// and for recovery points.
// After a failed write or sync the log takes nothing any more until it is opened again, and nothing is tried twice.
#pragma once

#include "log_folder.h"
#include "log_reader.h"
#include "recovery.h"

namespace haulout {

struct LogSettings {
  EntryLayout layout;
  uint64_t segment_bytes_max;
  // An entry is committed when it is on stable storage; otherwise as soon as it is accepted.
  bool durable;
  // A segment takes no entry more when it has so many, or when its first one was appended so long ago.
  int64_t segment_entries_max = INT64_MAX;
  int64_t segment_age_ms_max = INT64_MAX;
  // Of segments that are sealed, in the background.
  SegmentCodec compression = SegmentCodec::none;
  // Not durable, but flushed within some time or bytes: so it is flushed, too, when the program ends and nobody would do that later.
  bool flushed_at_end = false;

  bool operator==(const LogSettings&) const = default;
};

// Wants to know that a log's committed end or its start moved, or that it failed.
class LogListener {
 public:
  virtual void log_changed() = 0;

 protected:
  ~LogListener() = default;
};

using Done = std::function<void(Status)>;

class SegmentLog : public std::enable_shared_from_this<SegmentLog> {
 public:
  SegmentLog(LogContext& context, std::string name, std::string directory, const LogSettings& settings);

  void begin(RecoveredLog recovered);

  // The new end offset. An error means that nothing happened.
  Result<int64_t> append(const uint8_t* entry, size_t bytes);
  void read(const ReadRequest& request, std::function<void(Result<ReadOutcome>)> done);
  void find_timestamp(int64_t timestamp_min, std::function<void(Result<std::optional<TimestampOutcome>>)> done);
  void find_timestamp_max(std::function<void(Result<std::optional<TimestampOutcome>>)> done);
  void flush(Done done);
  void roll(Done done);
  void truncate_front(int64_t offset, Done done);
  void close(Done done);
  // Hands what was accepted to the system, and flushes it where the policy asks for that.
  void settle(Done done);
  // Lets go of everything that belongs to the store. It cannot be used any more.
  void release();
  bool is_released() const { return closed_; }

  // Bytes that would be scanned if the process were killed now.
  uint64_t uncovered_bytes() const;
  // Makes a recovery point at the end of the last write, beside whatever else is under way.
  void cover(std::function<void()> done);

  // The store's journal asks (segment_log_journal.cc). Something to write that is small, and that nothing keeps from the journal.
  bool has_small_write() const;
  size_t small_write_bytes() const;
  // Stores it as a record, and returns the end of that.
  uint8_t* begin_small_write(uint8_t* to);
  // False: it is not in the journal, and goes to the log's own file.
  void finish_small_write(bool kept);
  void write_itself();
  // Acknowledged entries are in the journal and not in the log's own file.
  bool is_in_journal_only() const { return writing_ && writing_->journaled > writing_->written; }
  // The end of what was given to the journal last.
  int64_t journaled_end_offset() const { return small_write_end_.offset(); }
  int64_t written_end_offset() const { return written_end_offset_; }
  // Writes them to it; `then` is called also when the log fails.
  void write_back(std::function<void()> then);

  // What was accepted while too much waited to be written counts as committed, if that is over.
  void commit_accepted();

  // Writes what it has: its turn has come. False if there is nothing, or something else is under way.
  bool take_turn();

  // Takes the next step, if one can be taken. Called at the end of a turn in which something was appended.
  void pump();

  const std::string& name() const { return name_; }
  int64_t start_offset() const { return start_offset_; }
  int64_t end_offset() const { return end_offset_; }
  int64_t committed_end_offset() const { return committed_end_offset_; }
  uint64_t bytes() const { return bytes_; }
  const std::vector<SegmentReference>& segments() const { return segments_; }
  const Status& failure() const { return failure_; }
  // Ends the life of the log until it is opened again.
  void fail(const Error& error);
  // Takes nothing more, and waits to be closed.
  void refuse() { closing_ = true; }
  // Its folder was made, and the name of it never synced.
  bool has_unsynced_folder() const { return folder_is_made_ && !folder_is_durable_; }

  // Those that StoreEvents::changed is passed on to.
  std::vector<LogListener*> listeners;
  bool in_dirty_list = false;
  // In the store's list of turns.
  bool waits_for_turn = false;
  // In the store's list of those whose appends wait until less waits to be written.
  bool is_held = false;
  // By the journal.
  bool is_offered = false;
  // A bit for each of the journal's areas that has a record of it.
  unsigned journal_areas = 0;

 private:
  // Something that was asked for and waits until entries before `offset` are written (and `segment` is sealed).
  struct Job {
    enum class Kind { flush, roll, truncate, write, close } kind;
    int64_t offset;
    SegmentReference segment;
    Done done;
  };

  Status check(const uint8_t* entry, size_t bytes) const;
  // What is accepted counts as committed before it is written.
  bool commits_early() const;
  bool takes(const Segment& segment, size_t bytes) const;
  Result<Segment*> segment_for(size_t bytes);
  Result<Segment*> make_segment(size_t bytes);
  void take_spare(Segment& segment, size_t bytes);
  Status make_file(Segment& segment, size_t bytes);
  Status reserve(Segment& segment, uint64_t bytes);
  bool must_not_wait_for(const Segment& segment) const;
  void has_made(Segment& segment, uint64_t reached);
  Status take_space(Segment& segment, uint64_t bytes);
  Status begin_tail(Segment& segment);
  void commit(Segment& segment, uint64_t position, int64_t offset);

  bool step();
  bool must_write_file() const;
  bool needs_turn() const;
  void take_turn_or_wait();
  void lighten(uint64_t bytes);
  void finish_write_back();
  // False: it waits for a descriptor, and pump() is called when there is one.
  bool has_descriptor(const SegmentReference& segment);
  bool has_descriptor_for(const Job& job);
  void wait_for_descriptor();
  void take_again_or_fail(const Segment& segment, const Error& error);
  // segment_log_prepare.cc.
  struct Preparation;
  void prepare(const SegmentReference& segment);
  void finish_prepare(const SegmentReference& segment, Preparation& prepared);
  void start_write(const SegmentReference& segment);
  void finish_write(const SegmentReference& segment, const IndexPoint& cut);
  // Whether space is written with zeros before writes of so many bytes go there: these are quicker then, if somebody waits for the disk.
  bool wants_zeros(uint64_t write_bytes) const;
  void grow(const SegmentReference& segment, const FileReference& file, size_t write_bytes);
  void seal(const SegmentReference& segment);
  bool is_ready(const Job& job) const;
  bool is_to_seal() const;
  void run_job();
  void sync(std::function<void()> then);
  void truncate(Job job);
  std::vector<SpareFile> wanted_spares(size_t doomed_count) const;
  void take_spares(const std::vector<SpareFile>& kept);
  // Runs what only removes files on a worker, beside the log's other work; the log is closed after it.
  void remove_beside(std::function<void()> work);
  void finish_close(Job job);
  void finish_job(Job& job, Status status);

  // segment_log_compression.cc.
  bool wants_compressed(const SegmentReference& segment) const;
  void compress(const SegmentReference& segment);
  void take_compressed(const SegmentReference& segment, const StoredForm& stored, std::function<void()> next);

  // Runs `work` on a worker; the log is busy meanwhile. An error fails the log before `then` runs.
  void run_step(std::function<Status()> work, std::function<void()> then);
  void start(std::unique_ptr<Operation> operation);
  // Something beside the steps still uses the segment's file.
  bool is_helped() const { return growing_ || covering_; }
  // Something beside the steps still works in the folder.
  bool is_disturbed() const { return is_helped() || compressing_ || removals_ > 0; }
  SegmentReference segment_of(int64_t offset) const;
  Segment* last() const { return segments_.empty() ? nullptr : segments_.back().get(); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  LogContext& context_;
  const std::string name_;
  const std::string directory_;
  // Then what every append looks at.
  const LogSettings settings_;
  std::vector<SegmentReference> segments_;
  // Files of removed segments, for those to come.
  int64_t end_offset_ = 0;
  int64_t committed_end_offset_ = 0;
  uint64_t bytes_ = 0;
  // Bytes accepted, and neither written nor in the journal.
  uint64_t backlog_bytes_ = 0;
  bool closing_ = false;
  bool closed_ = false;
  Status failure_;
  LogReader reader_;
  // The segment that the next write goes to; those before it are sealed.
  SegmentReference writing_;
  std::vector<Job> jobs_;
  // The start is being moved to this offset, and what waits for the end of that.
  int64_t moving_start_to_ = 0;
  std::vector<std::function<void()>> after_move_;
  int64_t start_offset_ = 0;
  int64_t written_end_offset_ = 0;
  // Where the part ends that is on its way to the journal.
  IndexPoint small_write_end_;
  // Who waits until what the journal has is in the file.
  std::vector<std::function<void()>> after_write_back_;
  bool folder_is_made_ = false;
  bool folder_is_durable_ = false;
  bool busy_ = false;
  bool waits_for_descriptor_ = false;
  bool growing_ = false;
  bool covering_ = false;
  // Pieces of work that remove spare files.
  size_t removals_ = 0;
  // One of its segments is being compressed, or its compressed file put into its place: then none may be deleted.
  bool compressing_ = false;
  bool replacing_ = false;
  // The write under way is one of the store's turns.
  bool has_turn_ = false;
};

}  // namespace haulout
