// The file of a compressed segment: its format (docs/storage.md, "Compressed segments"), the plain bytes at a position, and writing one block
// by block. Blocking; called by workers.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "files.h"

namespace haulout {

// As many plain bytes as a block has in files that are written now; they fit the frames that compress_block() makes.
constexpr uint32_t kSegmentBlockBytes = 128 << 10;

struct CompressedHeader {
  SegmentCodec codec;
  int64_t base_offset;
  uint64_t plain_bytes;
  uint32_t block_bytes;

  size_t block_count() const { return static_cast<size_t>((plain_bytes + block_bytes - 1) / block_bytes); }
};

struct StoredBlock {
  uint64_t position;
  uint32_t checksum;
};

using PlainBlock = std::shared_ptr<const std::vector<uint8_t>>;

// One that is open for reading, by any number of threads. Header and table are read when they are needed first. What is damaged is
// -EBADMSG, and damage() says where.
class CompressedFile {
 public:
  CompressedFile(std::shared_ptr<Files> files, int file, std::string path, SegmentCodec codec, int64_t base_offset)
      : files_(std::move(files)), file_(file), path_(std::move(path)), codec_(codec), base_offset_(base_offset) {}

  SegmentCodec codec() const { return codec_; }
  // Or a negative errno.
  int64_t plain_bytes();
  int64_t stored_bytes() { return files_->size(file_); }
  // Fewer bytes than asked for at the end and up to a damaged block; a negative errno at one.
  int64_t read(uint8_t* data, size_t bytes, uint64_t position);
  // The first damage to the header, the table and the blocks with the plain bytes of [from, to).
  std::optional<Error> damage(uint64_t from, uint64_t to);

 private:
  // Where a block of plain bytes lies, and how many it has.
  struct Place {
    uint64_t from;
    size_t bytes;
  };

  int load_header();
  int load_table();
  Place place_of(size_t block) const;
  // Opens a block into memory of its size.
  int open(size_t block, uint8_t* plain);
  int block_with(uint64_t position, PlainBlock& found);
  Error damaged(uint64_t position, const std::string& what) const;

  const std::shared_ptr<Files> files_;
  const int file_;
  const std::string path_;
  const SegmentCodec codec_;
  const int64_t base_offset_;

  // Over what is below.
  std::mutex mutex_;
  std::optional<CompressedHeader> header_;
  // The last one is where the table begins.
  std::vector<StoredBlock> blocks_;
  // The block that was read from in part: who reads on has it.
  size_t opened_block_ = 0;
  PlainBlock opened_;
};

// Writes one, some blocks at a time, under the name of an unfinished replacement.
class CompressedWriter {
 public:
  // `checksum`: of the plain bytes, if it is known.
  CompressedWriter(std::shared_ptr<Files> files, std::string plain_path, std::string path, const CompressedHeader& header,
                   std::optional<uint32_t> checksum, bool direct);
  ~CompressedWriter();

  enum class State { begun, made, given_up };
  // Compresses up to so many blocks. `given_up`: it would not get smaller by a tenth, an error came, or the plain bytes are not what they
  // should be. The file is deleted then.
  State work(size_t blocks_max);
  State state() const { return state_; }
  // From any thread: the work under way ends after the block that it is at.
  void interrupt() { interrupted_ = true; }
  void give_up();
  // Of the whole file.
  uint64_t stored_bytes() const { return position_; }

 private:
  bool begin();
  bool take_block();
  bool put(const std::vector<uint8_t>& bytes);
  bool finish();
  bool is_worth_it() const { return position_ * 10 <= header_.plain_bytes * 9; }

  const std::shared_ptr<Files> files_;
  const std::string plain_path_;
  const std::string unfinished_;
  const CompressedHeader header_;
  const std::optional<uint32_t> checksum_;
  const bool direct_;

  OpenFile from_;
  OpenFile to_;
  uint8_t* plain_ = nullptr;
  std::vector<StoredBlock> blocks_;
  uint64_t position_ = 0;
  uint32_t plain_checksum_ = 0;
  State state_ = State::begun;
  std::atomic<bool> interrupted_ = false;
};

}  // namespace haulout
