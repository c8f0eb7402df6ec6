#include "journal_format.h"

#include "crc32c.h"

namespace haulout {
namespace {

constexpr char kMagic[] = "HAULJRNL";
constexpr size_t kHeaderChecksumAt = 32;

}  // namespace

uint8_t* store_record(uint8_t* at, const JournalRecord& record) {
  store_u32(at, static_cast<uint32_t>(record.kind));
  store_u32(at + 4, static_cast<uint32_t>(record.name.size()));
  store_i64(at + 8, record.base_offset);
  store_i64(at + 16, static_cast<int64_t>(record.position));
  store_u32(at + 24, static_cast<uint32_t>(record.bytes));
  std::memcpy(at + kJournalRecordBytes, record.name.data(), record.name.size());
  return at + kJournalRecordBytes + record.name.size();
}

void store_header(uint8_t* at, const JournalWrite& write) {
  std::memcpy(at, kMagic, 8);
  store_u32(at + 8, write.version);
  store_u32(at + 12, write.record_count);
  store_i64(at + 16, write.sequence);
  store_u32(at + 24, static_cast<uint32_t>(write.bytes));
  store_u32(at + 28, crc32c(0, at + kJournalHeaderBytes, write.bytes - kJournalHeaderBytes));
  store_u32(at + kHeaderChecksumAt, crc32c(0, at, kHeaderChecksumAt));
  store_u32(at + 36, 0);
}

std::optional<JournalWrite> load_header(const uint8_t* at, size_t available) {
  if (available < kJournalHeaderBytes || std::memcmp(at, kMagic, 8) != 0) return std::nullopt;
  if (load_u32(at + kHeaderChecksumAt) != crc32c(0, at, kHeaderChecksumAt)) return std::nullopt;
  const JournalWrite write{load_u32(at + 8), load_i64(at + 16), load_u32(at + 24), load_u32(at + 12)};
  if (write.bytes < kJournalHeaderBytes || write.bytes > available) return std::nullopt;
  return write;
}

bool has_right_checksum(const uint8_t* at, const JournalWrite& write) {
  return load_u32(at + 28) == crc32c(0, at + kJournalHeaderBytes, write.bytes - kJournalHeaderBytes);
}

std::optional<std::vector<JournalRecord>> load_records(const uint8_t* at, const JournalWrite& write) {
  std::vector<JournalRecord> records;
  const uint8_t* const end = at + write.bytes;
  at += kJournalHeaderBytes;
  for (uint32_t i = 0; i < write.record_count; i++) {
    if (static_cast<size_t>(end - at) < kJournalRecordBytes) return std::nullopt;
    const size_t name_bytes = load_u32(at + 4);
    const size_t bytes = load_u32(at + 24);
    if (static_cast<size_t>(end - at) - kJournalRecordBytes < name_bytes + bytes) return std::nullopt;
    const auto kind = static_cast<JournalRecord::Kind>(load_u32(at));
    const char* name = reinterpret_cast<const char*>(at + kJournalRecordBytes);
    records.push_back({kind, {name, name_bytes}, load_i64(at + 8), static_cast<uint64_t>(load_i64(at + 16)),
                       at + kJournalRecordBytes + name_bytes, bytes});
    at += kJournalRecordBytes + name_bytes + bytes;
  }
  return records;
}

}  // namespace haulout
