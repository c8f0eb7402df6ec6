#include "segment_scan.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "memory.h"

namespace haulout {
namespace {

constexpr size_t kWindowBytes = size_t{4} << 20;
constexpr uint64_t kSectorBytes = 512;
// In the file of a removed segment, which may be long, the search ends where nothing of this one was found for so long: no entry in it is
// larger than a write, nor is what a crash cuts off.
constexpr uint64_t kReachBytes = 2 * kWriteBytesMax;

// The memory of a thread's last scan, for its next one: taking it from the kernel and giving it back for each of a thousand logs
// costs more than reading them.
class SpareWindows {
 public:
  ~SpareWindows() {
    for (uint8_t* data : spare_) std::free(data);
  }
  uint8_t* take() {
    for (uint8_t*& data : spare_) {
      if (data != nullptr) return std::exchange(data, nullptr);
    }
    return static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kWindowBytes));
  }
  void give(uint8_t* taken) {
    for (uint8_t*& data : spare_) {
      if (data == nullptr) std::swap(data, taken);
    }
    std::free(taken);
  }

 private:
  uint8_t* spare_[2] = {nullptr, nullptr};
};

thread_local SpareWindows spare_windows;

bool all_zero(const uint8_t* data, size_t bytes) {
  return bytes == 0 || (data[0] == 0 && std::memcmp(data, data + 1, bytes - 1) == 0);
}

// Bytes of a sector as they were before a write that begins at `position`: zeros, but for the mark of the write before, which stood
// there, and which the ends of sectors may cut in two. `at` is where the bytes stand in the file.
bool is_old(const uint8_t* data, uint64_t at, size_t bytes, uint64_t position) {
  if (all_zero(data, bytes)) return true;
  const uint64_t mark_at = align_up(position, kCommitMarkAlignment);
  const uint64_t from = std::max(at, mark_at);
  const uint64_t to = std::min(at + bytes, mark_at + kCommitMarkBytes);
  if (from >= to || !all_zero(data, from - at) || !all_zero(data + (to - at), at + bytes - to)) return false;
  const size_t magic_bytes = std::strlen(kCommitMarkMagic);
  for (uint64_t each = from; each < std::min(to, mark_at + magic_bytes); each++) {
    if (data[each - at] != static_cast<uint8_t>(kCommitMarkMagic[each - mark_at])) return false;
  }
  const auto shows = [&](uint64_t first, uint64_t end) { return mark_at + first >= from && mark_at + end <= to; };
  if (shows(16, 24) && load_i64(data + (mark_at + 16 - at)) != static_cast<int64_t>(position)) return false;
  return !shows(28, 32) || load_u32(data + (mark_at + 28 - at)) == 0;
}

}  // namespace

SegmentScan::SegmentScan(std::shared_ptr<Files> files, std::string path, const EntryLayout& layout)
    : files_(std::move(files)), path_(std::move(path)), layout_(layout) {}

SegmentScan::~SegmentScan() {
  if (reading_.valid()) reading_.wait();
  for (const Window& window : {window_, next_}) {
    if (!has_huge_windows_) spare_windows.give(window.data);
    else if (window.data != nullptr) ::munmap(window.data, kWindowBytes);
  }
}

Error SegmentScan::read_error() const {
  if (window_.error == EBADMSG) {
    if (auto damage = files_->damage(file_.get(), window_.start, window_.start + kWindowBytes)) return *damage;
  }
  return file_error("read", path_, window_.error);
}

Status SegmentScan::open(bool direct) {
  file_ = OpenFile(files_, files_->open(path_, O_RDWR | (direct ? O_DIRECT : 0)));
  if (file_.get() < 0) return file_error("open", path_, -file_.get());
  // After a write or a sync that failed, the page cache shows what is not on disk, as if it were.
  if (!direct) files_->drop_cache(file_.get());
  const int64_t bytes = files_->size(file_.get());
  if (bytes < 0) return file_error("look at", path_, static_cast<int>(-bytes));
  bytes_ = static_cast<uint64_t>(bytes);
  // A large file is read much faster into huge pages; for a small one they would only take memory.
  has_huge_windows_ = bytes_ > kWindowBytes;
  for (Window* window : {&window_, &next_}) window->data = has_huge_windows_ ? map_huge(kWindowBytes) : spare_windows.take();
  if (window_.data == nullptr || next_.data == nullptr) return Error{ErrorCode::failed, "no memory to read " + path_};
  return std::nullopt;
}

const uint8_t* SegmentScan::view(uint64_t position, size_t wanted, size_t& available) {
  const size_t needed = std::min<uint64_t>(wanted, bytes_ - position);
  if (!window_.holds(position, needed)) {
    if (reading_.valid()) reading_.get();
    if (in_order_ && next_.holds(position, needed)) std::swap(window_, next_);
    else fill(window_, align_down(position, kBlockBytes));
    if (!window_.holds(position, needed)) return nullptr;
    if (in_order_) read_ahead();
  }
  available = window_.start + window_.bytes - position;
  return window_.data + (position - window_.start);
}

void SegmentScan::fill(Window& window, uint64_t start) const {
  const int64_t got = files_->read(file_.get(), window.data, kWindowBytes, start);
  window.start = start;
  window.bytes = got < 0 ? 0 : static_cast<size_t>(got);
  window.error = got < 0 ? static_cast<int>(-got) : EIO;
}

// The next window begins a block before this one ends, so that a header between the two is in one piece.
void SegmentScan::read_ahead() {
  next_.bytes = 0;
  const uint64_t end = window_.start + window_.bytes;
  if (end >= bytes_) return;
  reading_ = std::async(std::launch::async, [this, start = end - kBlockBytes] { fill(next_, start); });
}

// False when reading failed.
bool SegmentScan::is_valid(uint64_t position, bool& valid, EntryHeader& header) {
  valid = false;
  if (bytes_ - position < layout_.header_bytes) return true;
  size_t available;
  const uint8_t* at = view(position, layout_.header_bytes, available);
  if (at == nullptr) return false;
  header = read_header(layout_, at);
  std::copy_n(at, layout_.checksum_from, prefix_);
  if (header.magic != layout_.magic || header.last_offset_delta < 0 || header.base_offset < 0) return true;
  if (header.bytes < layout_.header_bytes || static_cast<uint64_t>(header.bytes) > bytes_ - position) return true;
  uint32_t crc = 0;
  uint64_t next = position + layout_.checksum_from;
  const uint64_t end = position + static_cast<uint64_t>(header.bytes);
  while (next < end) {
    at = view(next, 1, available);
    if (at == nullptr) return false;
    const size_t now = std::min<uint64_t>(end - next, available);
    crc = crc32c(crc, at, now);
    next += now;
  }
  valid = crc == header.checksum;
  return true;
}

Status SegmentScan::take_entries(SegmentIndex& index) {
  in_order_ = true;
  while (static_cast<uint64_t>(index.summary.bytes) < bytes_) {
    bool valid;
    EntryHeader header;
    if (!is_valid(static_cast<uint64_t>(index.summary.bytes), valid, header)) return read_error();
    if (!valid || header.base_offset != index.summary.end_offset) break;
    index.add(header, prefix_, layout_.checksum_from);
  }
  return std::nullopt;
}

Result<bool> SegmentScan::confirms(const SegmentIndex& point) {
  in_order_ = true;
  const Sample& last = point.samples.back();
  SegmentIndex walked;
  walked.summary.checksum.reset();
  walked.summary.bytes = last.position;
  walked.summary.base_offset = walked.summary.end_offset = last.base_offset;
  if (last.position < 0 || last.position >= point.summary.bytes) return false;
  bool valid;
  EntryHeader header;
  while (walked.summary.bytes < point.summary.bytes) {
    if (!is_valid(static_cast<uint64_t>(walked.summary.bytes), valid, header)) return read_error();
    if (!valid || header.base_offset != walked.summary.end_offset) return false;
    walked.add(header, nullptr, 0);
  }
  if (walked.summary.bytes != point.summary.bytes || walked.summary.end_offset != point.summary.end_offset) return false;
  if (!is_valid(static_cast<uint64_t>(point.summary.bytes), valid, header)) return read_error();
  // A smaller one is of what a removed segment held.
  return !valid || header.base_offset <= point.summary.end_offset;
}

Result<Aftermath> SegmentScan::look_after(const SegmentIndex& index, bool reused) {
  in_order_ = false;
  Aftermath aftermath{};
  aftermath.position = static_cast<uint64_t>(index.summary.bytes);
  const uint64_t from = aftermath.position;
  if (from == bytes_) return aftermath;
  const uint64_t reach = reused ? kReachBytes : bytes_;
  uint64_t searched_to = std::min(bytes_, from + reach);
  if (!find_entries(from + 1, searched_to, reach, index.summary.end_offset + 1, aftermath)) return read_error();
  if (!find_marks(from, searched_to, aftermath)) return read_error();
  aftermath.unwritten_sector = reused;
  if (reused || !aftermath.later_entry_first) return aftermath;
  uint64_t to = *aftermath.later_entry_first;
  if (!find_claimed_end(index, aftermath, to)) return read_error();
  if (!find_unwritten_sector(from, to, aftermath.unwritten_sector)) return read_error();
  return aftermath;
}

// What looks like a later entry may be the payload of this one. Its own length says how far it should reach, and is believed if
// something stands there that goes with it.
bool SegmentScan::find_claimed_end(const SegmentIndex& index, const Aftermath& aftermath, uint64_t& to) {
  const uint64_t from = aftermath.position;
  size_t available;
  if (bytes_ - from < layout_.header_bytes) return true;
  const uint8_t* at = view(from, layout_.header_bytes, available);
  if (at == nullptr) return false;
  const EntryHeader header = read_header(layout_, at);
  const bool plausible = header.magic == layout_.magic && header.base_offset == index.summary.end_offset && header.bytes > 0 &&
                         static_cast<uint64_t>(header.bytes) <= bytes_ - from;
  if (!plausible) return true;
  const uint64_t end = from + static_cast<uint64_t>(header.bytes);
  bool follows = aftermath.mark && static_cast<uint64_t>(aftermath.mark->end) == end;
  if (!follows && bytes_ - end >= layout_.header_bytes) {
    bool valid;
    EntryHeader next;
    if (!is_valid(end, valid, next)) return false;
    follows = valid && next.base_offset == header.end_offset();
  }
  if (follows) to = std::max(to, end);
  return true;
}

bool SegmentScan::find_marks(uint64_t from, uint64_t to, Aftermath& aftermath) {
  uint64_t position = align_up(from, kCommitMarkAlignment);
  while (position + kCommitMarkBytes <= to) {
    size_t available;
    const uint8_t* at = view(position, kCommitMarkBytes, available);
    if (at == nullptr) return false;
    const uint64_t run_end = std::min(to, position + available) - kCommitMarkBytes;
    for (; position <= run_end; position += kCommitMarkAlignment, at += kCommitMarkAlignment) {
      if (at[0] != static_cast<uint8_t>(kCommitMarkMagic[0])) continue;
      const auto mark = load_mark(at, position);
      if (!mark) continue;
      aftermath.mark = mark;
      if (static_cast<uint64_t>(mark->end) == from) aftermath.mark_ends_here = true;
    }
  }
  return true;
}

// `to` moves on with each entry that is found.
bool SegmentScan::find_entries(uint64_t from, uint64_t& to, uint64_t reach, int64_t base_offset_min, Aftermath& aftermath) {
  uint64_t position = from;
  while (position + layout_.header_bytes <= to) {
    size_t available;
    const uint8_t* at = view(position, layout_.header_bytes, available);
    if (at == nullptr) return false;
    // The magic byte is the rarest thing to look for; what lies before the next one cannot be an entry.
    const size_t run = std::min<uint64_t>(available, to - position) - layout_.header_bytes + 1;
    const void* magic = std::memchr(at + layout_.magic_at, layout_.magic, run);
    if (magic == nullptr) {
      position += run;
      continue;
    }
    position += static_cast<size_t>(static_cast<const uint8_t*>(magic) - (at + layout_.magic_at));
    at = static_cast<const uint8_t*>(magic) - layout_.magic_at;
    bool valid = false;
    if (load_i64(at + layout_.base_offset_at) >= base_offset_min) {
      EntryHeader header;
      if (!is_valid(position, valid, header)) return false;
      if (valid) {
        if (!aftermath.later_entry_first) aftermath.later_entry_first = position;
        aftermath.later_entry_last = position;
        position += static_cast<uint64_t>(header.bytes);
        to = std::min(bytes_, position + reach);
      }
    }
    if (!valid) position++;
  }
  return true;
}

bool SegmentScan::find_unwritten_sector(uint64_t from, uint64_t to, bool& found) {
  size_t available;
  const uint64_t first_end = std::min(align_up(from, kSectorBytes), bytes_);
  if (first_end > from) {
    const uint8_t* at = view(from, first_end - from, available);
    if (at == nullptr) return false;
    found = is_old(at, from, first_end - from, from);
  }
  // The last of these sectors may hold the first bytes of what comes next: those of a small base offset are zeros, too.
  for (uint64_t sector = first_end; !found && sector < to; sector += kSectorBytes) {
    const size_t bytes = std::min(kSectorBytes, bytes_ - sector);
    const uint8_t* at = view(sector, bytes, available);
    if (at == nullptr) return false;
    found = is_old(at, sector, bytes, from);
  }
  return true;
}

}  // namespace haulout
