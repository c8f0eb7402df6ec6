// What stands in the journal of a store (docs/storage.md, "Journal"): writes, each with a record for every log that it holds bytes of.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "byte_order.h"

namespace haulout {

constexpr char kJournalName[] = "haulout.journal";
constexpr uint32_t kJournalVersion = 1;
constexpr size_t kJournalAreas = 2;
constexpr size_t kJournalHeaderBytes = 40;
constexpr size_t kJournalRecordBytes = 28;

struct JournalRecord {
  // `bytes`: they stand at `position` of the segment. `forget`: what came before about this log does not count any more.
  enum class Kind : uint32_t { bytes = 1, forget = 2 } kind;
  std::string name;
  int64_t base_offset = 0;
  uint64_t position = 0;
  // Not copied.
  const uint8_t* data = nullptr;
  size_t bytes = 0;
};

struct JournalWrite {
  uint32_t version;
  int64_t sequence;
  // Header included, and what fills up the last block of 4 KiB not.
  size_t bytes;
  uint32_t record_count;
};

// Where the records go that are about to be written.
inline size_t bytes_of(const std::string& name, size_t bytes) { return kJournalRecordBytes + name.size() + bytes; }
// Returns where its `bytes` bytes are to be copied to.
uint8_t* store_record(uint8_t* at, const JournalRecord& record);
// Once all records stand behind it.
void store_header(uint8_t* at, const JournalWrite& write);

// The header of a write that is whole as far as `available` shows, or of a later version.
std::optional<JournalWrite> load_header(const uint8_t* at, size_t available);
// True if the records are those that were written.
bool has_right_checksum(const uint8_t* at, const JournalWrite& write);
std::optional<std::vector<JournalRecord>> load_records(const uint8_t* at, const JournalWrite& write);

}  // namespace haulout
