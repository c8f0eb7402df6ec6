#include "compressed_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "byte_order.h"
#include "crc32c.h"
#include "memory.h"

namespace haulout {
namespace {

// A skippable frame of zstd and lz4; its size follows, little-endian.
constexpr uint8_t kFrameStart[] = {0x50, 0x2a, 0x4d, 0x18};
constexpr char kHeaderMagic[] = "HAULSEGZ";
constexpr char kTableMagic[] = "HAULSEGT";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kTableExtraBytes = 24;
constexpr size_t kRowBytes = 12;
constexpr uint32_t kBlockBytesMax = 4 << 20;

size_t table_bytes(size_t block_count) { return kTableExtraBytes + kRowBytes * block_count; }

void begin_frame(std::vector<uint8_t>& frame, const char* magic) {
  std::copy_n(kFrameStart, sizeof kFrameStart, frame.data());
  const auto bytes = static_cast<uint32_t>(frame.size() - 8);
  for (size_t i = 0; i < 4; i++) frame[4 + i] = static_cast<uint8_t>(bytes >> (8 * i));
  std::copy_n(magic, 8, frame.data() + 8);
}

// Its last four bytes are the checksum of those before them.
bool is_frame(const std::vector<uint8_t>& frame, const char* magic) {
  const size_t end = frame.size() - 4;
  return std::equal(kFrameStart, kFrameStart + sizeof kFrameStart, frame.data()) && std::equal(magic, magic + 8, frame.data() + 8) &&
         load_u32(frame.data() + end) == crc32c(0, frame.data(), end);
}

void end_frame(std::vector<uint8_t>& frame) {
  const size_t end = frame.size() - 4;
  store_u32(frame.data() + end, crc32c(0, frame.data(), end));
}

std::vector<uint8_t> encode_header(const CompressedHeader& header) {
  std::vector<uint8_t> frame(kHeaderBytes);
  begin_frame(frame, kHeaderMagic);
  store_u32(frame.data() + 16, kVersion);
  store_u32(frame.data() + 20, static_cast<uint32_t>(header.codec));
  store_i64(frame.data() + 24, header.base_offset);
  store_i64(frame.data() + 32, static_cast<int64_t>(header.plain_bytes));
  store_u32(frame.data() + 40, header.block_bytes);
  store_u32(frame.data() + 44, static_cast<uint32_t>(header.block_count()));
  end_frame(frame);
  return frame;
}

std::vector<uint8_t> encode_table(const std::vector<StoredBlock>& blocks, uint32_t plain_checksum) {
  std::vector<uint8_t> frame(table_bytes(blocks.size()));
  begin_frame(frame, kTableMagic);
  uint8_t* row = frame.data() + 16;
  for (const StoredBlock& block : blocks) {
    store_i64(row, static_cast<int64_t>(block.position));
    store_u32(row + 8, block.checksum);
    row += kRowBytes;
  }
  store_u32(row, plain_checksum);
  end_frame(frame);
  return frame;
}

std::optional<CompressedHeader> decode_header(const std::vector<uint8_t>& frame, SegmentCodec codec, int64_t base_offset) {
  if (!is_frame(frame, kHeaderMagic) || load_u32(frame.data() + 16) != kVersion) return std::nullopt;
  const CompressedHeader header{codec, base_offset, static_cast<uint64_t>(load_i64(frame.data() + 32)), load_u32(frame.data() + 40)};
  const bool fits = load_u32(frame.data() + 20) == static_cast<uint32_t>(codec) && load_i64(frame.data() + 24) == base_offset &&
                    header.plain_bytes > 0 && header.plain_bytes < uint64_t{1} << 62 && header.block_bytes > 0 &&
                    header.block_bytes % kBlockBytes == 0 && header.block_bytes <= kBlockBytesMax &&
                    load_u32(frame.data() + 44) == header.block_count();
  return fits ? std::optional(header) : std::nullopt;
}

}  // namespace

Error CompressedFile::damaged(uint64_t position, const std::string& what) const {
  return {ErrorCode::corrupt, path_ + " is damaged at position " + std::to_string(position) + ": " + what};
}

int CompressedFile::load_header() {
  const std::lock_guard lock(mutex_);
  if (header_) return 0;
  std::vector<uint8_t> frame(kHeaderBytes);
  const int64_t got = files_->read(file_, frame.data(), frame.size(), 0);
  if (got < 0) return static_cast<int>(got);
  if (got == kHeaderBytes) header_ = decode_header(frame, codec_, base_offset_);
  return header_ ? 0 : -EBADMSG;
}

int CompressedFile::load_table() {
  if (const int result = load_header(); result < 0) return result;
  const std::lock_guard lock(mutex_);
  if (!blocks_.empty()) return 0;
  const int64_t file_bytes = files_->size(file_);
  if (file_bytes < 0) return static_cast<int>(file_bytes);
  std::vector<uint8_t> frame(table_bytes(header_->block_count()));
  const int64_t at = file_bytes - static_cast<int64_t>(frame.size());
  if (at < static_cast<int64_t>(kHeaderBytes)) return -EBADMSG;
  const int64_t got = files_->read(file_, frame.data(), frame.size(), static_cast<uint64_t>(at));
  if (got < 0) return static_cast<int>(got);
  if (got < static_cast<int64_t>(frame.size()) || !is_frame(frame, kTableMagic)) return -EBADMSG;
  std::vector<StoredBlock> blocks;
  for (size_t i = 0; i < header_->block_count(); i++) {
    const uint8_t* row = frame.data() + 16 + kRowBytes * i;
    blocks.push_back({static_cast<uint64_t>(load_i64(row)), load_u32(row + 8)});
  }
  blocks.push_back({static_cast<uint64_t>(at), 0});
  const auto is_disorder = [](const StoredBlock& a, const StoredBlock& b) { return a.position >= b.position; };
  if (blocks.front().position != kHeaderBytes || std::adjacent_find(blocks.begin(), blocks.end(), is_disorder) != blocks.end()) return -EBADMSG;
  blocks_ = std::move(blocks);
  return 0;
}

int64_t CompressedFile::plain_bytes() {
  const int result = load_header();
  return result < 0 ? result : static_cast<int64_t>(header_->plain_bytes);
}

CompressedFile::Place CompressedFile::place_of(size_t block) const {
  const uint64_t from = uint64_t{block} * header_->block_bytes;
  return {from, static_cast<size_t>(std::min<uint64_t>(header_->block_bytes, header_->plain_bytes - from))};
}

int CompressedFile::open(size_t block, uint8_t* plain) {
  const uint64_t from = blocks_[block].position;
  // A block that needs more room than this was not made by a codec; the table is not asked to be believed for so much memory.
  const uint64_t bytes = blocks_[block + 1].position - from;
  if (bytes > 2 * uint64_t{kBlockBytesMax}) return -EBADMSG;
  std::vector<uint8_t> frame(static_cast<size_t>(bytes));
  const int64_t got = files_->read(file_, frame.data(), frame.size(), from);
  if (got < 0) return static_cast<int>(got);
  const bool whole = static_cast<uint64_t>(got) == bytes && crc32c(0, frame.data(), frame.size()) == blocks_[block].checksum;
  return whole && open_block(codec_, frame.data(), frame.size(), plain, place_of(block).bytes) ? 0 : -EBADMSG;
}

int CompressedFile::block_with(uint64_t position, PlainBlock& found) {
  const auto block = static_cast<size_t>(position / header_->block_bytes);
  {
    const std::lock_guard lock(mutex_);
    if (opened_ != nullptr && opened_block_ == block) {
      found = opened_;
      return 0;
    }
  }
  std::vector<uint8_t> plain(place_of(block).bytes);
  if (const int result = open(block, plain.data()); result < 0) return result;
  found = std::make_shared<const std::vector<uint8_t>>(std::move(plain));
  const std::lock_guard lock(mutex_);
  opened_ = found;
  opened_block_ = block;
  return 0;
}

int64_t CompressedFile::read(uint8_t* data, size_t bytes, uint64_t position) {
  if (const int result = load_table(); result < 0) return result;
  const uint64_t end = std::min<uint64_t>(header_->plain_bytes, position + bytes);
  uint64_t at = position;
  while (at < end) {
    const auto block = static_cast<size_t>(at / header_->block_bytes);
    const Place place = place_of(block);
    int result = 0;
    size_t count = static_cast<size_t>(std::min(end, place.from + place.bytes) - at);
    if (count == place.bytes) {
      result = open(block, data + (at - position));
    } else {
      PlainBlock plain;
      result = block_with(at, plain);
      if (result == 0) std::copy_n(plain->data() + (at - place.from), count, data + (at - position));
    }
    if (result < 0) return at > position ? static_cast<int64_t>(at - position) : result;
    at += count;
  }
  return at > position ? static_cast<int64_t>(at - position) : 0;
}

std::optional<Error> CompressedFile::damage(uint64_t from, uint64_t to) {
  if (load_header() == -EBADMSG) return damaged(0, "the header of the compressed segment is not valid");
  if (from < to && load_table() == -EBADMSG) {
    const int64_t at = stored_bytes() - static_cast<int64_t>(table_bytes(header_->block_count()));
    return damaged(static_cast<uint64_t>(std::max<int64_t>(0, at)), "the table of the compressed segment's blocks is not valid");
  }
  if (blocks_.empty()) return std::nullopt;
  std::vector<uint8_t> plain;
  for (uint64_t at = from; at < std::min(to, header_->plain_bytes);) {
    const auto block = static_cast<size_t>(at / header_->block_bytes);
    const Place place = place_of(block);
    plain.resize(place.bytes);
    if (open(block, plain.data()) == -EBADMSG) {
      return damaged(blocks_[block].position, "the compressed block of the plain bytes from " + std::to_string(place.from) + " to " +
                                                  std::to_string(place.from + place.bytes) + " is not valid");
    }
    at = place.from + place.bytes;
  }
  return std::nullopt;
}

CompressedWriter::CompressedWriter(std::shared_ptr<Files> files, std::string plain_path, std::string path, const CompressedHeader& header,
                                   std::optional<uint32_t> checksum, bool direct)
    : files_(std::move(files)),
      plain_path_(std::move(plain_path)),
      unfinished_(std::move(path) + "~"),
      header_(header),
      checksum_(checksum),
      direct_(direct) {}

CompressedWriter::~CompressedWriter() { std::free(plain_); }

bool CompressedWriter::begin() {
  const int64_t bytes_free = files_->bytes_free(plain_path_.substr(0, plain_path_.rfind('/')));
  // As much as the plain file has: a device that is nearly full is left to appends.
  if (bytes_free < 0 || static_cast<uint64_t>(bytes_free) < header_.plain_bytes) return false;
  plain_ = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, header_.block_bytes));
  from_ = OpenFile(files_, files_->open(plain_path_, O_RDONLY | (direct_ ? O_DIRECT : 0)));
  if (plain_ == nullptr || from_.get() < 0 || files_->codec_of(from_.get()) != SegmentCodec::none || files_->size(from_.get()) != static_cast<int64_t>(header_.plain_bytes)) return false;
  to_ = OpenFile(files_, files_->open(unfinished_, O_WRONLY | O_CREAT | O_TRUNC));
  return to_.get() >= 0 && put(encode_header(header_));
}

bool CompressedWriter::put(const std::vector<uint8_t>& bytes) {
  if (files_->write(to_.get(), bytes.data(), bytes.size(), position_) < 0) return false;
  position_ += bytes.size();
  return true;
}

bool CompressedWriter::take_block() {
  const uint64_t from = blocks_.size() * uint64_t{header_.block_bytes};
  const auto bytes = static_cast<size_t>(std::min<uint64_t>(header_.block_bytes, header_.plain_bytes - from));
  // Direct reads are of whole units.
  const int64_t got = files_->read(from_.get(), plain_, align_up(bytes, kBlockBytes), from);
  if (got < static_cast<int64_t>(bytes)) return false;
  std::vector<uint8_t> frame;
  if (!compress_block(header_.codec, plain_, bytes, frame)) return false;
  blocks_.push_back({position_, crc32c(0, frame.data(), frame.size())});
  plain_checksum_ = crc32c(plain_checksum_, plain_, bytes);
  return put(frame) && is_worth_it();
}

bool CompressedWriter::finish() {
  if (checksum_ && *checksum_ != plain_checksum_) return false;
  if (!put(encode_table(blocks_, plain_checksum_)) || !is_worth_it()) return false;
  if (files_->sync(to_.get()) < 0) return false;
  files_->drop_cache(to_.get());
  to_ = OpenFile();
  from_ = OpenFile();
  return true;
}

CompressedWriter::State CompressedWriter::work(size_t blocks_max) {
  if (state_ != State::begun) return state_;
  bool goes_on = to_.get() >= 0 || begin();
  for (size_t i = 0; goes_on && !interrupted_ && i < blocks_max && blocks_.size() < header_.block_count(); i++) goes_on = take_block();
  // Nobody else is likely to read what this has read.
  if (goes_on && !direct_) files_->drop_cache(from_.get());
  if (goes_on && blocks_.size() == header_.block_count()) {
    goes_on = finish();
    if (goes_on) state_ = State::made;
  }
  if (!goes_on) give_up();
  return state_;
}

void CompressedWriter::give_up() {
  state_ = State::given_up;
  to_ = OpenFile();
  from_ = OpenFile();
  files_->remove(unfinished_);
}

}  // namespace haulout
