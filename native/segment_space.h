// Space on the device for segments: how much is made at once, and whether there is so much that a file may be made beside the append that
// needs it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "files.h"
#include "memory.h"

namespace haulout {

// The first zeros, and the smallest step in which space is made.
constexpr uint64_t kGrowthBytesMin = uint64_t{64} << 10;
// Writing space before it is needed saves a small durable write half of its latency; of larger ones it takes more of the device than it gives.
constexpr size_t kZeroForWritesBelowBytes = 64 << 10;

// How much is made at once behind a segment that is so long, for writes of this size.
uint64_t growth_step(uint64_t segment_bytes, uint64_t write_bytes);

// What a segment with so many bytes of entries needs, the rest of the last block and a commit mark included.
uint64_t space_needed(uint64_t segment_bytes);

// Makes space from `from` to `wanted`, or to `needed` if there is no more. Returns how far it reaches.
Result<uint64_t> make_space(Files& files, int file, const std::string& path, uint64_t from, uint64_t wanted, uint64_t needed);

// An append is refused when there is no space for it, before anything has happened: so space is made by the append itself, and the file
// as well. Where far more is free than all that waits to be written, it may be made later, by a worker: the system calls of a new folder and
// a new file take ten times as long as the append.
class FreeSpace {
 public:
  FreeSpace(std::shared_ptr<Files> files, std::string directory) : files_(std::move(files)), directory_(std::move(directory)) {}

  bool is_ample(uint64_t backlog_bytes) const;
  // There was none, whatever the file system had said (a quota, say): from here on appends ask, until one gets it.
  void ran_out() { ran_out_ = true; }
  void was_found() { ran_out_ = false; }

  // For those who make a file.
  std::mutex making;

 private:
  const std::shared_ptr<Files> files_;
  const std::string directory_;
  bool ran_out_ = false;
};

}  // namespace haulout
