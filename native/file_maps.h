// Reads through shared mappings of the files. The bytes are copied out by the kernel (process_vm_readv), not by this process: a page
// that cannot be had, because the file shrank or the device failed, is an error of the read then, and not a SIGBUS.
//
// A file has one mapping, as long as its descriptor is open; it reaches beyond the file's end, so that it need not be made anew for
// every block that a segment grows by. Used from any thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace haulout {

class FileMaps {
 public:
  // As preadv(2), with a negative errno.
  int64_t read(int file, const std::vector<iovec>& parts, uint64_t position);
  // The descriptor is about to be closed.
  void forget(int file);
  size_t count() const;

 private:
  struct Map;

  std::shared_ptr<const Map> map_of(int file, uint64_t end);

  mutable std::mutex mutex_;
  std::unordered_map<int, std::shared_ptr<const Map>> maps_;
};

}  // namespace haulout
