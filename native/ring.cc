#include "ring.h"

#include <cerrno>

#include "byte_order.h"

namespace haulout {
namespace {

constexpr uint64_t kBlockBytes = 4096;

// Takes `bytes` off the front of the parts.
void consume(std::vector<iovec>& parts, size_t bytes) {
  size_t whole = 0;
  while (whole < parts.size() && bytes >= parts[whole].iov_len) bytes -= parts[whole++].iov_len;
  parts.erase(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(whole));
  if (bytes == 0 || parts.empty()) return;
  parts.front().iov_base = static_cast<uint8_t*>(parts.front().iov_base) + bytes;
  parts.front().iov_len -= bytes;
}

}  // namespace

Next advance(Operation& operation, int64_t answer, int64_t& result) {
  if (operation.kind == Operation::Kind::sync) {
    result = answer < 0 ? answer : 0;
    return Next::finished;
  }
  if (answer == -EINTR || answer == -EAGAIN) return Next::again;
  if (answer < 0) {
    result = answer;
    return Next::finished;
  }
  if (answer == 0) {
    // The end of the file for a read. A write that makes no progress is a failed one.
    result = operation.kind == Operation::Kind::read ? operation.transferred : -EIO;
    return Next::finished;
  }
  size_t left = 0;
  for (const iovec& part : operation.parts) left += part.iov_len;
  auto progress = static_cast<uint64_t>(answer);
  if (progress < left && operation.aligned) {
    progress = align_down(progress, kBlockBytes);
    if (progress != static_cast<uint64_t>(answer) && operation.kind == Operation::Kind::read) {
      // A direct read that stops inside a block has met the end of the file.
      result = operation.transferred + answer;
      return Next::finished;
    }
  }
  operation.transferred += static_cast<int64_t>(progress);
  operation.position += progress;
  consume(operation.parts, progress);
  if (!operation.parts.empty()) return Next::again;
  result = operation.transferred;
  return Next::finished;
}

}  // namespace haulout
