// The open segment files of a store: at most so many at once. Whoever works with a file holds a reference; of those that nobody works
// with, the one not used for longest is closed for another one.
//
// Where all are in use, work that goes on for a while waits: a step of a log, a read. It waits before it has anything open, so what it
// waits for ends by itself. What is over when the call returns, as in an append, does not wait, and its file is not kept.
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <deque>
#include <functional>
#include <list>

#include "files.h"

namespace haulout {

class FileCache;

struct SegmentFile {
  explicit SegmentFile(FileCache& cache, std::string path) : cache(cache), path(std::move(path)) {}
  ~SegmentFile();

  FileCache& cache;
  const std::string path;
  std::shared_ptr<OpenFile> open;
  std::list<SegmentFile*>::iterator place;
};

using FileReference = std::shared_ptr<OpenFile>;

class FileCache {
 public:
  // `closing` is called, from any thread, before a descriptor is closed.
  FileCache(std::shared_ptr<Files> files, bool direct, size_t open_max, std::function<void(int file)> closing = [](int) {})
      : files_(std::move(files)), direct_(direct), open_max_(open_max), closing_(std::move(closing)) {}

  // Where there is no room for it, it is closed with the last reference.
  Result<FileReference> open(SegmentFile& file, int flags = 0) {
    if (file.open) {
      used_.splice(used_.end(), used_, file.place);
      return file.open;
    }
    const bool is_kept = has_room();
    const int descriptor = open_descriptor(file.path, flags);
    if (descriptor < 0) return file_error(flags & O_CREAT ? "create" : "open", file.path, -descriptor);
    FileReference opened = refer_to(descriptor);
    if (is_kept) keep(file, opened);
    return opened;
  }

  // Whether work that holds on to the file may begin. If so the file is open, or open() says why it cannot be. If not: wait().
  bool has_room_for(SegmentFile& file) {
    if (!waiting_.empty() && !serving_) return false;
    if (file.open) return true;
    if (!has_room()) return false;
    const int descriptor = open_descriptor(file.path, 0);
    if (descriptor >= 0) keep(file, refer_to(descriptor));
    return !is_out_of_descriptors(descriptor) || has_none();
  }

  // The same for a file that a worker will make: take_made() follows.
  bool has_room_to_make() {
    if ((!waiting_.empty() && !serving_) || !has_room()) return false;
    being_made_count_++;
    return true;
  }

  // Its descriptor, or why there is none.
  void take_made(SegmentFile& file, int descriptor) {
    being_made_count_--;
    if (descriptor >= 0) keep(file, refer_to(descriptor));
  }

  // For work that found none beside that of its file, if it has that: whether another one is worth waiting for.
  bool is_worth_waiting(const SegmentFile& file) {
    is_short_ = true;
    return used_.size() > (file.open ? 1 : 0) || being_made_count_ > 0;
  }

  // `again` is called when it is its turn: it asks once more.
  void wait(std::function<void()> again) {
    if (serving_) waiting_.push_front(std::move(again));
    else waiting_.push_back(std::move(again));
  }

  // At the end of every turn: what somebody held may be unused now.
  void serve() {
    all_in_use_ = false;
    serving_ = true;
    size_t left = waiting_.size();
    while (left == waiting_.size() && left > 0 && has_room()) {
      const auto again = std::move(waiting_.front());
      waiting_.pop_front();
      left--;
      again();
    }
    serving_ = false;
  }

  bool is_waited_for() const { return !waiting_.empty(); }

  void forget(SegmentFile& file) {
    if (!file.open) return;
    used_.erase(file.place);
    file.open.reset();
    is_short_ = false;
  }

 private:
  static bool is_out_of_descriptors(int result) { return result == -EMFILE || result == -ENFILE; }

  // Then nobody gives a descriptor back.
  bool has_none() const { return used_.empty() && being_made_count_ == 0; }
  bool has_room() { return has_none() || (used_.size() + being_made_count_ < open_max_ && !is_short_) || forget_unused(); }

  // Closes the unused file that was not used for longest. When all are in use, it looks at them no second time in this turn.
  bool forget_unused() {
    for (size_t count = all_in_use_ ? 0 : used_.size(); count > 0; count--) {
      SegmentFile& oldest = *used_.front();
      if (oldest.open.use_count() == 1) {
        forget(oldest);
        return true;
      }
      used_.splice(used_.end(), used_, used_.begin());
    }
    all_in_use_ = true;
    return false;
  }

  // Or a negative errno. Somebody else in the process may have taken what was left: then it makes do with fewer.
  int open_descriptor(const std::string& path, int flags) {
    int descriptor = files_->open(path, O_RDWR | flags | (direct_ ? O_DIRECT : 0));
    while (is_out_of_descriptors(descriptor) && forget_unused()) descriptor = files_->open(path, O_RDWR | flags | (direct_ ? O_DIRECT : 0));
    is_short_ = is_out_of_descriptors(descriptor);
    return descriptor;
  }

  FileReference refer_to(int descriptor) const {
    return FileReference(new OpenFile(files_, descriptor), [closing = closing_](OpenFile* open) {
      closing(open->get());
      delete open;
    });
  }

  void keep(SegmentFile& file, const FileReference& opened) {
    file.open = opened;
    file.place = used_.insert(used_.end(), &file);
    all_in_use_ = false;
  }

  const std::shared_ptr<Files> files_;
  const bool direct_;
  const size_t open_max_;
  const std::function<void(int file)> closing_;
  std::list<SegmentFile*> used_;
  size_t being_made_count_ = 0;
  bool all_in_use_ = false;
  // The process has none left, whatever is allowed here.
  bool is_short_ = false;
  bool serving_ = false;
  std::deque<std::function<void()>> waiting_;
};

inline SegmentFile::~SegmentFile() { cache.forget(*this); }

}  // namespace haulout
