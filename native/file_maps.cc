#include "file_maps.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "byte_order.h"

namespace haulout {
namespace {

constexpr uint64_t kMapStepBytes = uint64_t{64} << 20;

int64_t read_by_call(int file, const std::vector<iovec>& parts, uint64_t position) {
  const int count = static_cast<int>(std::min<size_t>(parts.size(), IOV_MAX));
  const ssize_t got = ::preadv(file, parts.data(), count, static_cast<off_t>(position));
  return got < 0 ? -errno : got;
}

}  // namespace

struct FileMaps::Map {
  Map(void* data, size_t bytes) : data(static_cast<uint8_t*>(data)), bytes(bytes) {}
  ~Map() { ::munmap(data, bytes); }
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;

  uint8_t* const data;
  const size_t bytes;
};

int64_t FileMaps::read(int file, const std::vector<iovec>& parts, uint64_t position) {
  struct stat status;
  if (::fstat(file, &status) < 0) return -errno;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (position >= size) return 0;
  uint64_t wanted = 0;
  for (const iovec& part : parts) wanted += part.iov_len;
  const uint64_t bytes = std::min(wanted, size - position);
  const auto map = map_of(file, position + bytes);
  // No address space, or a file system that maps nothing.
  if (map == nullptr) return read_by_call(file, parts, position);
  const iovec from{map->data + position, bytes};
  const ssize_t got = ::process_vm_readv(::getpid(), parts.data(), std::min<size_t>(parts.size(), IOV_MAX), &from, 1, 0);
  if (got >= 0) return got;
  if (errno == EFAULT) return -EIO;
  return errno == EPERM || errno == ENOSYS ? read_by_call(file, parts, position) : -errno;
}

std::shared_ptr<const FileMaps::Map> FileMaps::map_of(int file, uint64_t end) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Map>& map = maps_[file];
  if (map != nullptr && map->bytes >= end) return map;
  const uint64_t bytes = align_up(end, kMapStepBytes);
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return nullptr;
  // Who still reads from the shorter one keeps it until then.
  map = std::make_shared<const Map>(data, bytes);
  return map;
}

void FileMaps::forget(int file) {
  decltype(maps_)::node_type forgotten;
  const std::lock_guard lock(mutex_);
  forgotten = maps_.extract(file);
}

size_t FileMaps::count() const {
  const std::lock_guard lock(mutex_);
  return maps_.size();
}

}  // namespace haulout
