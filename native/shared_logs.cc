#include "shared_logs.h"

namespace haulout {
namespace {

Error other_settings(const std::string& name) {
  return {ErrorCode::locked, "log " + name + " is open in another thread with other settings: layout, segment size, flush policy and segment " +
                                 "compression must be the same in all threads that share it"};
}

}  // namespace

void SharedLogs::open(const std::string& name, const LogSettings& settings, Opened done) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    std::vector<Waiting> waiting;
    waiting.push_back({settings, std::move(done)});
    return start(name, std::move(waiting));
  }
  Entry& entry = found->second;
  if (entry.closing || entry.log == nullptr) {
    entry.waiting.push_back({settings, std::move(done)});
    return;
  }
  if (settings != entry.settings) return done(other_settings(name));
  entry.users_count++;
  done(entry.log);
}

// The first one's settings are taken.
void SharedLogs::start(const std::string& name, std::vector<Waiting> waiting) {
  const LogSettings settings = waiting.front().settings;
  Entry& entry = entries_[name];
  entry.settings = settings;
  entry.waiting = std::move(waiting);
  store_.open_log(name, settings, [this, name](Result<LogReference> result) { opened(name, std::move(result)); });
}

void SharedLogs::opened(const std::string& name, Result<LogReference> result) {
  const auto found = entries_.find(name);
  const LogSettings settings = found->second.settings;
  std::vector<Waiting> waiting;
  waiting.swap(found->second.waiting);
  if (!result) {
    entries_.erase(found);
  } else {
    found->second.log = *result;
    for (const Waiting& each : waiting) found->second.users_count += each.settings == settings ? 1 : 0;
  }
  // What they do may change the entry.
  for (const Waiting& each : waiting) {
    if (result && each.settings != settings) each.done(other_settings(name));
    else each.done(result);
  }
}

void SharedLogs::close(const LogReference& log, Done done) {
  const auto found = entries_.find(log->name());
  // Removed meanwhile: it is closed for all.
  if (found == entries_.end() || found->second.log != log || found->second.closing) return done(log->failure());
  Entry& entry = found->second;
  if (--entry.users_count > 0) return log->flush(std::move(done));
  entry.closing = true;
  store_.close_log(log, [this, name = log->name(), done = std::move(done)](Status error) {
    closed(name);
    done(std::move(error));
  });
}

void SharedLogs::remove(const std::string& name, Done done) {
  Entry& entry = entries_[name];
  const bool is_new = entry.log == nullptr && entry.waiting.empty() && entry.removals.empty();
  if (entry.closing) {
    entry.removals.push_back(std::move(done));
  } else if (is_new || entry.log != nullptr) {
    entry.closing = true;
    remove_closing(name, {std::move(done)});
  } else {
    // Being opened: refused by the store.
    store_.remove_log(name, std::move(done));
  }
}

void SharedLogs::remove_closing(const std::string& name, std::vector<Done> removals) {
  store_.remove_log(name, [this, name, removals = std::move(removals)](Status error) {
    closed(name);
    for (const Done& done : removals) done(error);
  });
}

void SharedLogs::closed(const std::string& name) {
  Entry& entry = entries_[name];
  if (!entry.removals.empty()) {
    std::vector<Done> removals;
    removals.swap(entry.removals);
    return remove_closing(name, std::move(removals));
  }
  std::vector<Waiting> waiting = std::move(entry.waiting);
  entries_.erase(name);
  if (!waiting.empty()) start(name, std::move(waiting));
}

}  // namespace haulout
