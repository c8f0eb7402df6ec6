// The logs of a store: opening, closing, renaming and removing them, the sync of their folder that they share, and which of them get
// recovery points.
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "journal_replay.h"
#include "store.h"

namespace haulout {
namespace {

// Logs that close at the same time.
constexpr size_t kClosingMax = 64;

// Many logs may leave more uncovered, up to 16 times as much: a point costs a file, a sync and a rename, which must stay cheap against
// the bytes that it spares a scan.
uint64_t uncovered_factor(size_t log_count) { return std::clamp<uint64_t>(log_count / 128, 1, 16); }

}  // namespace

void Store::names(std::function<void(Result<std::vector<std::string>>)> done) {
  const auto found = std::make_shared<std::vector<std::string>>();
  run(
      [files = files_, directory = directory_, found]() -> Status {
        std::vector<std::string> all;
        if (const int result = files->list(directory, all); result < 0) return file_error("list", directory, -result);
        for (const std::string& name : all) {
          if (flaw_of_name(name)) continue;
          std::vector<std::string> ignored;
          const int result = files->list(directory + "/" + name, ignored);
          if (result == 0) found->push_back(name);
          else if (result != -ENOTDIR && result != -ENOENT) return file_error("list", directory + "/" + name, -result);
        }
        return std::nullopt;
      },
      [this, found, done = std::move(done)](Status error) {
        if (error) return done(std::move(*error));
        for (const auto& [name, log] : logs_) {
          if (log != nullptr) found->push_back(name);
        }
        std::sort(found->begin(), found->end());
        found->erase(std::unique(found->begin(), found->end()), found->end());
        done(std::move(*found));
      });
}

void Store::open_log(const std::string& name, const LogSettings& settings, std::function<void(Result<LogReference>)> done) {
  if (const Status error = refusal()) return done(*error);
  if (const auto flaw = flaw_of_name(name)) return done(Error{ErrorCode::malformed, *flaw});
  if (const auto flaw = flaw_of(settings.layout)) return done(Error{ErrorCode::malformed, "entry layout: " + *flaw});
  if (!has_codec(settings.compression)) {
    return done(Error{ErrorCode::denied, std::string("segments cannot be compressed with ") + name_of(settings.compression) + ", " +
                                             lacks(settings.compression)});
  }
  if (logs_.count(name) > 0) return done(Error{ErrorCode::locked, "log " + name + " is open already"});
  logs_[name] = nullptr;
  const std::string directory = directory_ + "/" + name;
  const bool stranded = journal_->is_stranded(name);
  const auto recovered = std::make_shared<Result<RecoveredLog>>(RecoveredLog{});
  const auto allow = [files = files_, directory = directory_, lock = format_lock_] {
    const std::lock_guard held(*lock);
    return allow_compressed(files, directory);
  };
  workers_->run(
      [files = files_, directory, layout = settings.layout, direct = backend_.direct, closed = all_closed_, names_synced = names_synced_,
       parent = directory_, compression = settings.compression, allow, name, stranded, scans_max = scans_max_, recovered] {
        const auto prepare = [&]() -> Status {
          const int result = names_synced ? 0 : files->sync_directory(parent);
          if (result < 0) return file_error("sync", parent, -result);
          const Status refused = compression == SegmentCodec::none ? std::nullopt : allow();
          return refused || !stranded ? refused : replay_journal(files, parent, name);
        };
        if (const Status error = prepare()) *recovered = *error;
        else *recovered = recover_log(files, directory, layout, direct, closed, scans_max);
      },
      [this, name, directory, settings, stranded, recovered, done = std::move(done)] {
        const auto finish = [this, name, directory, settings, recovered, done](Status error) {
          if (!*recovered) error = recovered->error();
          if (closing_) error = Error{ErrorCode::closed, "the store is closed"};
          if (error) {
            logs_.erase(name);
            return done(std::move(*error));
          }
          const auto log = std::make_shared<SegmentLog>(*context_, name, directory, settings);
          log->begin(std::move(**recovered));
          logs_[name] = log;
          done(log);
        };
        // What follows differs from what the journal has, if that was not acknowledged.
        if (stranded && *recovered) journal_->forget(name, finish);
        else finish(std::nullopt);
      });
}

void Store::close_log(const LogReference& log, Done done) {
  log->refuse();
  to_close_.emplace_back(log, std::move(done));
  close_more();
}

// A log with nothing to write closes at once, and then the next one may. Thousands would close one inside the other, and there is only so
// much stack: who comes here while others are being closed leaves the rest to the one who was first.
void Store::close_more() {
  if (closing_more_) return;
  closing_more_ = true;
  while (!to_close_.empty() && closing_count_ < kClosingMax) {
    const auto [log, done] = std::move(to_close_.front());
    to_close_.pop_front();
    closing_count_++;
    log->close([this, log = log, done = done](Status error) {
      closing_count_--;
      close_more();
      const auto entry = logs_.find(log->name());
      if (entry != logs_.end() && entry->second == log) logs_.erase(entry);
      if (error) all_closed_ = names_synced_ = false;
      if (log->has_unsynced_folder()) names_synced_ = false;
      done(std::move(error));
    });
  }
  closing_more_ = false;
}

void Store::remove_log(const std::string& name, Done done) {
  if (const Status error = refusal()) return done(*error);
  if (const auto flaw = flaw_of_name(name)) return done(Error{ErrorCode::malformed, *flaw});
  const auto entry = logs_.find(name);
  if (entry == logs_.end()) return delete_forgotten(name, std::move(done));
  if (entry->second == nullptr) return done(Error{ErrorCode::locked, "log " + name + " is being opened or moved"});
  // Whether its last entries could be written does not matter any more.
  close_log(entry->second, [this, name, done = std::move(done)](Status) { delete_forgotten(name, done); });
}

// A log of the same name that is made later must not get what the journal has of this one.
void Store::delete_forgotten(const std::string& name, Done done) {
  logs_[name] = nullptr;
  journal_->forget(name, [this, name, done = std::move(done)](Status error) {
    if (!error) return delete_folder(name, done);
    logs_.erase(name);
    done(std::move(error));
  });
}

void Store::delete_folder(const std::string& name, Done done) {
  logs_[name] = nullptr;
  const std::string doomed = directory_ + "/~deleted." + std::to_string(::getpid()) + "." + std::to_string(deleted_count_++);
  run(
      [files = files_, directory = directory_, name, doomed]() -> Status {
        const std::string path = directory + "/" + name;
        int result = files->rename(path, doomed);
        // What a process of the same id has left, as in containers: it may not be deleted yet.
        for (int more = 0; result == -ENOTEMPTY || result == -EEXIST; more++) {
          result = files->rename(path, doomed + "." + std::to_string(more));
        }
        if (result == -ENOENT) return std::nullopt;
        if (result < 0) return file_error("rename", path, -result);
        result = files->sync_directory(directory);
        if (result < 0) return file_error("sync", directory, -result);
        // Deleted for good already: what is left is space, and goes at the next start at the latest.
        (void)delete_leftovers(*files, directory);
        return std::nullopt;
      },
      [this, name, done = std::move(done)](Status error) {
        logs_.erase(name);
        if (error) names_synced_ = false;
        done(std::move(error));
      });
}

void Store::rename_log(const std::string& from, const std::string& to, Done done) {
  if (const Status error = refusal()) return done(*error);
  for (const std::string& name : {from, to}) {
    if (const auto flaw = flaw_of_name(name)) return done(Error{ErrorCode::malformed, *flaw});
    if (logs_.count(name) > 0) return done(Error{ErrorCode::locked, "log " + name + " is open"});
  }
  logs_[from] = logs_[to] = nullptr;
  journal_->forget(from, [this, from, to, done = std::move(done)](Status error) {
    if (!error) return move_folder(from, to, done);
    logs_.erase(from);
    logs_.erase(to);
    done(std::move(error));
  });
}

void Store::move_folder(const std::string& from, const std::string& to, Done done) {
  run(
      [files = files_, directory = directory_, from, to]() -> Status {
        std::vector<std::string> ignored;
        if (from == to) return std::nullopt;
        if (files->list(directory + "/" + to, ignored) == 0) return Error{ErrorCode::denied, "log " + to + " exists already"};
        int result = files->rename(directory + "/" + from, directory + "/" + to);
        if (result == -ENOENT) return std::nullopt;
        if (result < 0) return file_error("rename", directory + "/" + from, -result);
        result = files->sync_directory(directory);
        return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
      },
      [this, from, to, done = std::move(done)](Status error) {
        logs_.erase(from);
        logs_.erase(to);
        if (error) names_synced_ = false;
        done(std::move(error));
      });
}

// Many logs that get their folders at the same time share a sync of the folder above.
void Store::sync_names(Done done) {
  to_sync_names_.push_back(std::move(done));
  if (!syncing_names_) sync_more_names();
}

void Store::sync_more_names() {
  syncing_names_ = !to_sync_names_.empty();
  if (!syncing_names_) return;
  run(
      [this]() -> Status {
        const int result = files_->sync(folder_.get());
        return result < 0 ? Status(file_error("sync", directory_, -result)) : std::nullopt;
      },
      [this, waiting = std::exchange(to_sync_names_, {})](const Status& error) {
        for (const Done& done : waiting) done(error);
        sync_more_names();
      });
}

// Looking at every log for every write would be dear; the bound need not be kept to the byte.
void Store::wrote(uint64_t bytes) {
  unseen_bytes_ += bytes;
  if (!covering_ && !closing_ && unseen_bytes_ > uncovered_bytes_max_ / 8) cover();
}

// When more than the bound is uncovered, the logs with the most get recovery points, one after the other, until half of it is left.
void Store::cover() {
  unseen_bytes_ = 0;
  uint64_t uncovered = 0;
  std::vector<std::pair<uint64_t, LogReference>> by_bytes;
  for (const auto& [name, log] : logs_) {
    const uint64_t bytes = log == nullptr ? 0 : log->uncovered_bytes();
    if (bytes == 0) continue;
    uncovered += bytes;
    by_bytes.emplace_back(bytes, log);
  }
  const uint64_t bytes_max = uncovered_bytes_max_ * uncovered_factor(by_bytes.size());
  if (uncovered <= bytes_max) return;
  std::sort(by_bytes.begin(), by_bytes.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [bytes, log] : by_bytes) {
    if (uncovered <= bytes_max / 2) break;
    uncovered -= bytes;
    to_cover_.push_back(log);
  }
  std::reverse(to_cover_.begin(), to_cover_.end());
  covering_ = true;
  cover_next();
}

void Store::cover_next() {
  if (closing_) to_cover_.clear();
  while (!to_cover_.empty() && to_cover_.back()->uncovered_bytes() == 0) to_cover_.pop_back();
  if (to_cover_.empty()) {
    covering_ = false;
    return;
  }
  const LogReference log = to_cover_.back();
  to_cover_.pop_back();
  log->cover([this] { cover_next(); });
}

}  // namespace haulout
