// What lies beside the entries in a log's folder: names, seals, the start offset (docs/storage.md). Blocking; called by workers.
#pragma once

#include <string>
#include <vector>

#include "segment_index.h"
#include "spare_files.h"

namespace haulout {

std::string segment_name(int64_t base_offset);
std::string index_name(int64_t base_offset);
// Beside a segment that grows in the file of a removed one: what stands behind its entries may be what that one held.
std::string reused_name(int64_t base_offset);
// Of the file of a removed segment, until it is another's. Like all names of the kind it means nothing to the next open.
std::string spare_name(int64_t base_offset);

// Damage that recovery must not pass over.
Error corrupt(const std::string& path, uint64_t position, const std::string& what);

// Makes a segment immutable: truncated to its entries, synced, indexed. On a full disk it goes without an index: that can be made again.
Status seal_segment(const std::shared_ptr<Files>& files, const std::string& directory, int file, const SegmentIndex& index);

// Writes down what is known of the first bytes of an unsealed segment, so that recovery scans only what follows them. They are on
// stable storage. False when it cannot be written: that costs time after a crash and nothing else. The folder is not synced: a point
// that is lost, or torn, is none.
bool write_recovery_point(const std::shared_ptr<Files>& files, const std::string& directory, const SegmentIndex& index);

// -1 if there is none.
Result<int64_t> read_start_offset(const std::shared_ptr<Files>& files, const std::string& directory);

// Makes durable what the log's start is: what was read may be what somebody wrote who was killed before he synced it.
Status sync_start_offset(const std::shared_ptr<Files>& files, const std::string& directory);

// A file of this name says that appends to the log were acknowledged before they were on stable storage.
constexpr char kUnflushedName[] = "unflushed";
constexpr char kReusedSuffix[] = ".reused";

// Says in the folder whether that may happen from now on: recovery judges by it. All that was written before is on stable storage; the
// caller syncs the folder before the next write.
Status note_flush_policy(Files& files, const std::string& directory, bool durable);

// Moves the log's start, durably, and deletes the segments that end at or below it. `full` means that nothing was changed: a full
// disk is when space must be made, so everything that needs no new block is tried first. Of the deleted ones the files of `wanted` are kept
// under their spare names, unless that takes more than a part of what is free: `kept` says which were.
Status move_start(const std::shared_ptr<Files>& files, const std::string& directory, int64_t offset,
                  const std::vector<int64_t>& doomed_base_offsets, const std::vector<SpareFile>& wanted, std::vector<SpareFile>& kept);

// Deletes a segment and its index. Missing is fine.
Status remove_segment(Files& files, const std::string& directory, int64_t base_offset);

}  // namespace haulout
