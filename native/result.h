// Errors are values: the engine throws nothing. The codes are those of `LogErrorCode` in src/log/log.ts.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace haulout {

enum class ErrorCode { full, failed, corrupt, closed, too_large, malformed, out_of_range, locked, denied };

struct Error {
  ErrorCode code;
  std::string message;
  // The process has none left; somebody may give one back.
  bool is_short_of_descriptors = false;
};

// No value means that it went well.
using Status = std::optional<Error>;

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return std::get<0>(state_); }
  const T& operator*() const { return std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

const char* name_of(ErrorCode code);

// A sentence for an errno that a call on `path` ended with: what was tried, where, and why it failed.
std::string describe(const char* action, const std::string& path, int errno_value);

// The error for an errno that a blocking file operation ended with: full, denied or failed.
Error file_error(const char* action, const std::string& path, int errno_value);

}  // namespace haulout
