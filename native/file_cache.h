// The open segment files of a store: at most so many at once, the one not used for longest is closed first. Whoever works with a
// file holds a reference, so that closing waits for him.
#pragma once

#include <fcntl.h>

#include <cerrno>
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

  Result<FileReference> open(SegmentFile& file, int flags = 0) {
    if (file.open) {
      used_.splice(used_.end(), used_, file.place);
      return file.open;
    }
    int descriptor = files_->open(file.path, O_RDWR | flags | (direct_ ? O_DIRECT : 0));
    while ((descriptor == -EMFILE || descriptor == -ENFILE) && !used_.empty()) {
      // Somebody else in the process took what was left: make do with fewer.
      forget(*used_.front());
      descriptor = files_->open(file.path, O_RDWR | flags | (direct_ ? O_DIRECT : 0));
    }
    if (descriptor < 0) return file_error(flags & O_CREAT ? "create" : "open", file.path, -descriptor);
    return keep(file, descriptor);
  }

  // A descriptor that somebody else opened.
  FileReference keep(SegmentFile& file, int descriptor) {
    while (used_.size() >= open_max_) forget(*used_.front());
    file.open = FileReference(new OpenFile(files_, descriptor), [closing = closing_](OpenFile* open) {
      closing(open->get());
      delete open;
    });
    file.place = used_.insert(used_.end(), &file);
    return file.open;
  }

  // False if there is none.
  bool forget_oldest() {
    if (used_.empty()) return false;
    forget(*used_.front());
    return true;
  }

  void forget(SegmentFile& file) {
    if (!file.open) return;
    used_.erase(file.place);
    file.open.reset();
  }

 private:
  const std::shared_ptr<Files> files_;
  const bool direct_;
  const size_t open_max_;
  const std::function<void(int file)> closing_;
  std::list<SegmentFile*> used_;
};

inline SegmentFile::~SegmentFile() { cache.forget(*this); }

}  // namespace haulout
