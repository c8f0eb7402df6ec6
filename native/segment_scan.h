// Reads a segment file entry by entry through a window of memory, and looks at what follows when entries end.
#pragma once

#include <future>

#include "recovery.h"

namespace haulout {

class SegmentScan {
 public:
  SegmentScan(std::shared_ptr<Files> files, std::string path, const EntryLayout& layout);
  ~SegmentScan();

  Status open(bool direct);
  // Takes every valid entry into `index`, from its end on.
  Status take_entries(SegmentIndex& index);
  // Whether a recovery point fits what the file holds: the entries from its last sample on are valid and end where it ends.
  Result<bool> confirms(const SegmentIndex& point);
  // What stands after the last entry taken. `reused`: this may be what a removed segment held.
  Result<Aftermath> look_after(const SegmentIndex& index, bool reused);

  int file() const { return file_.get(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Window {
    uint8_t* data = nullptr;
    uint64_t start = 0;
    size_t bytes = 0;
    int error = 0;

    bool holds(uint64_t position, size_t wanted) const { return position >= start && position + wanted <= start + bytes; }
  };

  // Bytes from `position` on in the window: at least `wanted` (at most 4 KiB, and fewer where the file ends). Null when reading failed.
  const uint8_t* view(uint64_t position, size_t wanted, size_t& available);
  void fill(Window& window, uint64_t start) const;
  void read_ahead();
  bool is_valid(uint64_t position, bool& valid, EntryHeader& header);
  bool find_marks(uint64_t from, uint64_t to, Aftermath& aftermath);
  bool find_entries(uint64_t from, uint64_t& to, uint64_t reach, int64_t base_offset_min, Aftermath& aftermath);
  bool find_claimed_end(const SegmentIndex& index, const Aftermath& aftermath, uint64_t& to);
  bool find_unwritten_sector(uint64_t from, uint64_t to, bool& found);
  Error read_error() const;

  const std::shared_ptr<Files> files_;
  const std::string path_;
  const EntryLayout layout_;
  OpenFile file_;
  uint64_t bytes_ = 0;
  Window window_;
  // The window after this one, while entries are taken in order: read by a thread meanwhile.
  Window next_;
  bool has_huge_windows_ = false;
  std::future<void> reading_;
  bool in_order_ = false;
  // The bytes of the entry looked at last that its checksum does not cover.
  uint8_t prefix_[kHeaderBytesMax];
};

}  // namespace haulout
