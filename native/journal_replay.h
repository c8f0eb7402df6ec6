// Brings what only the journal of a store holds into the segments that it belongs to (docs/storage.md, "Journal"), after a crash, before
// a log is opened. A record says what stands where, so it may be done again, any number of times.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "files.h"

namespace haulout {

// Of all logs, and then the journal is deleted; or of the log named `only`, and the journal stays. Blocks.
Status replay_journal(const std::shared_ptr<Files>& files, const std::string& directory, const std::optional<std::string>& only = std::nullopt);

}  // namespace haulout
