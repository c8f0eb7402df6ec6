#include "result.h"

#include <cerrno>
#include <cstring>

namespace haulout {

const char* name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::full: return "full";
    case ErrorCode::failed: return "failed";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::closed: return "closed";
    case ErrorCode::too_large: return "too-large";
    case ErrorCode::malformed: return "malformed";
    case ErrorCode::out_of_range: return "out-of-range";
    case ErrorCode::locked: return "locked";
    case ErrorCode::denied: return "denied";
  }
  return "failed";
}

namespace {

// strerror_r comes in two forms; overloads pick the right one.
[[maybe_unused]] const char* text_of(int, const char* buffer) { return buffer; }
[[maybe_unused]] const char* text_of(const char* text, const char*) { return text; }

}  // namespace

std::string describe(const char* action, const std::string& path, int errno_value) {
  char buffer[128] = "unknown error";
  const char* text = text_of(strerror_r(errno_value, buffer, sizeof buffer), buffer);
  return std::string("cannot ") + action + " " + path + ": " + text;
}

Error file_error(const char* action, const std::string& path, int errno_value) {
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return {ErrorCode::full, describe(action, path, errno_value)};
    case EACCES:
    case EPERM:
    case EROFS: return {ErrorCode::denied, describe(action, path, errno_value)};
    default: return {ErrorCode::failed, describe(action, path, errno_value), errno_value == EMFILE || errno_value == ENFILE};
  }
}

}  // namespace haulout
