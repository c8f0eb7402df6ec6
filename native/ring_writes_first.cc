// The ring of a store, so that who reads costs those who write little. A device answers in order, about: a write that finds megabytes of
// reads before it waits for all of them. So few bytes of reads are under way at once, and beside writes fewer still, in small pieces.
//
// Large writes take turns. A device that finds all of them takes them together, is done with them together, and has nothing to do until those who
// waited have filled the next ones: with some of them held back, it goes on with those meanwhile.
#include <algorithm>
#include <deque>

#include "ring.h"

namespace haulout {
namespace {

// What a consumer of several partitions asks for at a time; more does not make a device faster. A write that comes waits for it once.
constexpr uint64_t kAloneBytesMax = uint64_t{8} << 20;
constexpr uint64_t kBesideWritesBytesMax = uint64_t{512} << 10;
constexpr uint64_t kPieceBytes = uint64_t{256} << 10;
constexpr uint64_t kLargeWriteBytes = uint64_t{64} << 10;
// So many keep a device busy.
constexpr size_t kLargeWritesMax = 6;
// Who writes one entry after the other writes again so soon.
constexpr int64_t kWritingMs = 20;

uint64_t bytes_of(const Operation& operation) {
  uint64_t bytes = 0;
  for (const iovec& part : operation.parts) bytes += part.iov_len;
  return bytes;
}

class WritesFirstRing final : public Ring {
 public:
  WritesFirstRing(std::unique_ptr<Ring> ring, std::function<int64_t()> now_ms) : ring_(std::move(ring)), now_ms_(std::move(now_ms)) {}
  ~WritesFirstRing() override { drain(); }

  void start(std::unique_ptr<Operation> operation) override {
    if (operation->kind == Operation::Kind::read) {
      waiting_.push_back(std::make_shared<Read>(std::move(operation)));
      return start_reads();
    }
    write_count_++;
    const bool is_large = operation->kind == Operation::Kind::write && bytes_of(*operation) >= kLargeWriteBytes;
    operation->done = [this, is_large, done = std::move(operation->done)](int64_t result) {
      write_count_--;
      written_at_ms_ = now_ms_();
      if (is_large) {
        large_write_count_--;
        start_large_writes();
      }
      done(result);
    };
    if (!is_large) return ring_->start(std::move(operation));
    held_writes_.push_back(std::move(operation));
    start_large_writes();
  }

  void submit() override { ring_->submit(); }
  void reap() override { ring_->reap(); }
  void look() override { ring_->look(); }
  void await_all() override {
    for (const std::shared_ptr<Read>& read : waiting_) read->whole->awaited = true;
    ring_->await_all();
  }
  // What waits is started by what was before it.
  void drain() override { ring_->drain(); }
  size_t pending() const override { return ring_->pending() + waiting_.size() + held_writes_.size(); }
  size_t awaited() const override { return ring_->awaited() + waiting_.size() + held_writes_.size(); }
  int event_file() const override { return ring_->event_file(); }

 private:
  struct Read {
    explicit Read(std::unique_ptr<Operation> operation) : whole(std::move(operation)), bytes(bytes_of(*whole)) {}

    std::unique_ptr<Operation> whole;
    uint64_t bytes;
    uint64_t started_bytes = 0;
    size_t piece_count = 0;
    // Where the file ended, or why it cannot be read.
    uint64_t end = UINT64_MAX;
    int64_t error = 0;
  };

  bool is_writing() const { return write_count_ > 0 || now_ms_() - written_at_ms_ < kWritingMs; }

  void start_large_writes() {
    for (; large_write_count_ < kLargeWritesMax && !held_writes_.empty(); large_write_count_++) {
      auto operation = std::move(held_writes_.front());
      held_writes_.pop_front();
      ring_->start(std::move(operation));
    }
  }

  void start_reads() {
    while (!waiting_.empty()) {
      const std::shared_ptr<Read> read = waiting_.front();
      const bool is_beside_writes = is_writing();
      const bool is_split = is_beside_writes && read->whole->parts.size() == 1;
      const uint64_t bytes = is_split ? std::min(read->bytes - read->started_bytes, kPieceBytes) : read->bytes - read->started_bytes;
      const uint64_t bytes_max = is_beside_writes ? kBesideWritesBytesMax : kAloneBytesMax;
      // Those under way start it when they have finished.
      if (under_way_bytes_ > 0 && under_way_bytes_ + bytes > bytes_max) return ring_->await_all();
      start_piece(read, bytes);
      if (read->started_bytes == read->bytes) waiting_.pop_front();
    }
  }

  void start_piece(const std::shared_ptr<Read>& read, uint64_t bytes) {
    auto piece = std::make_unique<Operation>();
    const uint64_t from = read->started_bytes;
    piece->kind = Operation::Kind::read;
    piece->file = read->whole->file;
    piece->position = read->whole->position + from;
    piece->aligned = read->whole->aligned;
    piece->awaited = read->whole->awaited;
    if (bytes == read->bytes) piece->parts = read->whole->parts;
    else piece->parts = {{static_cast<uint8_t*>(read->whole->parts.front().iov_base) + from, bytes}};
    piece->done = [this, read, from, bytes](int64_t result) { finish_piece(read, from, bytes, result); };
    read->started_bytes += bytes;
    read->piece_count++;
    under_way_bytes_ += bytes;
    ring_->start(std::move(piece));
  }

  void finish_piece(const std::shared_ptr<Read>& read, uint64_t from, uint64_t bytes, int64_t result) {
    under_way_bytes_ -= bytes;
    read->piece_count--;
    if (result < 0) read->error = read->error < 0 ? read->error : result;
    else if (static_cast<uint64_t>(result) < bytes) read->end = std::min(read->end, from + static_cast<uint64_t>(result));
    // What waits goes first: the answer may ask for more.
    start_reads();
    if (read->piece_count > 0 || read->started_bytes < read->bytes) return;
    read->whole->done(read->error < 0 ? read->error : static_cast<int64_t>(std::min(read->end, read->bytes)));
  }

  const std::unique_ptr<Ring> ring_;
  const std::function<int64_t()> now_ms_;
  std::deque<std::shared_ptr<Read>> waiting_;
  uint64_t under_way_bytes_ = 0;
  // Under way or held, of which so many large ones are under way.
  size_t write_count_ = 0;
  size_t large_write_count_ = 0;
  std::deque<std::unique_ptr<Operation>> held_writes_;
  int64_t written_at_ms_ = INT64_MIN / 2;
};

}  // namespace

std::unique_ptr<Ring> make_writes_first_ring(std::unique_ptr<Ring> ring, std::function<int64_t()> now_ms) {
  return std::make_unique<WritesFirstRing>(std::move(ring), std::move(now_ms));
}

}  // namespace haulout
