#include "simulated_promise.h"

namespace haulout {

std::optional<std::string> settle(LogPromise& promise, const SegmentLog& log) {
  const std::string name = "log " + log.name();
  const int64_t start = log.start_offset();
  const int64_t end = log.end_offset();
  if (start < promise.start) return name + ": its start went back from " + std::to_string(promise.start) + " to " + std::to_string(start);
  if (start > promise.start_asked) return name + ": it starts at " + std::to_string(start) + ", which nobody asked for";
  if (end < promise.kept_end || end < start) {
    return name + ": acknowledged entries are lost: it ends at " + std::to_string(end) + " and not at " + std::to_string(promise.kept_end);
  }
  if (log.committed_end_offset() != end) return name + ": not all that was recovered is committed";
  while (promise.end() > end) promise.entries.pop_back();
  if (promise.end() != end && end != start) return name + ": its end " + std::to_string(end) + " is not the end of an entry";
  promise.start = promise.start_asked = start;
  promise.kept_end = end;
  return std::nullopt;
}

std::optional<std::string> settle_names(StorePromise& promise, const std::vector<std::string>& names) {
  std::set<std::string> left(names.begin(), names.end());
  for (auto log = promise.begin(); log != promise.end();) {
    std::set<std::string> found;
    for (const std::string& name : log->names) {
      if (left.erase(name) > 0) found.insert(name);
    }
    if (found.size() > 1) return "log " + *found.begin() + " stands under two names";
    if (found.empty() && !log->may_be_gone && (log->kept_end > 0 || log->start > 0)) return "log " + *log->names.begin() + " is gone";
    if (found.empty()) {
      log = promise.erase(log);
      continue;
    }
    log->names = std::move(found);
    // It was not removed: from now on it is there.
    log->may_be_gone = false;
    ++log;
  }
  if (!left.empty()) return "log " + *left.begin() + " was removed, or never was, and is there";
  return std::nullopt;
}

std::vector<uint8_t> expected_content(const LogPromise& promise) {
  std::vector<uint8_t> content;
  for (const ModelEntry* entry : promise.entries) {
    if (entry->end_offset > promise.start) content.insert(content.end(), entry->bytes.begin(), entry->bytes.end());
  }
  return content;
}

}  // namespace haulout
