// What a store promises, as a model without a disk: for each log the entries that may be there, those that must be, where it starts,
// and under which names it may stand. After a crash an engine's log is held against it, and what it then shows is promised from there on.
#pragma once

#include <optional>
#include <set>

#include "support.h"

namespace haulout {

struct ModelEntry {
  int64_t base_offset;
  int64_t end_offset;
  int64_t timestamp;
  std::vector<uint8_t> bytes;
};

struct LogPromise {
  // Every entry appended and not known to be lost, in order, also those below the start.
  std::vector<const ModelEntry*> entries;
  // Entries below this must survive everything.
  int64_t kept_end = 0;
  // The log begins at one of these or between them: it was asked to begin at the second, and the first is known.
  int64_t start = 0;
  int64_t start_asked = 0;
  // More than one while a rename is under way, or has failed half-way.
  std::set<std::string> names;
  // Its removal was asked for and not confirmed.
  bool may_be_gone = false;

  int64_t end() const { return entries.empty() ? 0 : entries.back()->end_offset; }
  void keep(int64_t offset) { kept_end = std::max(kept_end, offset); }
};

using StorePromise = std::vector<LogPromise>;

// What is wrong with a log that was just opened; nothing if it is as promised. What was lost is taken out of the promise, and what was
// found is promised from now on.
std::optional<std::string> settle(LogPromise& promise, const SegmentLog& log);

// Which log stands under which name; logs that are gone are taken out of the promise.
std::optional<std::string> settle_names(StorePromise& promise, const std::vector<std::string>& names);

// All entries from the log's start on, as bytes.
std::vector<uint8_t> expected_content(const LogPromise& promise);

}  // namespace haulout
