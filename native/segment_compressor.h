// Makes the sealed segments of a store's logs smaller, in the background: one at a time, some blocks at a time, on a worker and there by a
// thread that gives way to all others. Used by the store's thread, as its logs are.
#pragma once

#include <deque>

#include "compressed_file.h"
#include "workers.h"

namespace haulout {

struct CompressionTask {
  std::string plain_path;
  CompressedHeader header;
  // CRC-32C of the plain bytes, if it is known.
  std::optional<uint32_t> checksum;
  // Whether there is a reason to begin with it, or to go on: its log is open, and has the segment.
  std::function<bool()> is_wanted;
  // Its turn has come; `ended` follows.
  std::function<void()> begun;
  // Its file is there, under the name of an unfinished replacement, and has so many bytes. Nothing: it was given up. `next` is to be
  // called when nothing more is done with it.
  std::function<void(std::optional<uint64_t> stored_bytes, std::function<void()> next)> ended;
};

class SegmentCompressor {
 public:
  SegmentCompressor(std::shared_ptr<Files> files, Workers& workers, bool direct) : files_(std::move(files)), workers_(workers), direct_(direct) {}

  void add(CompressionTask task);
  // Begins with nothing any more, and gives up what it is at.
  void stop();
  // What was wanted may not be wanted any more: whoever waits for the end of it need not wait long.
  void look_again();

 private:
  using WriterReference = std::shared_ptr<CompressedWriter>;

  void begin_next();
  void work(const WriterReference& writer);
  void took_blocks(const WriterReference& writer);
  bool goes_on() const { return !stopped_ && current_.is_wanted(); }

  const std::shared_ptr<Files> files_;
  Workers& workers_;
  const bool direct_;
  std::deque<CompressionTask> waiting_;
  CompressionTask current_;
  // What a worker is at.
  WriterReference writer_;
  bool busy_ = false;
  bool stopped_ = false;
};

}  // namespace haulout
