#include "js_values.h"

namespace haulout {
namespace {

// Smaller reads are copied: a Buffer of its own is cheaper than one that pins a chunk of memory.
constexpr size_t kCopyBelowBytes = 16 << 10;

// The Buffer holds a reference to the memory, so nothing can use that again while JavaScript can see it.
Napi::Value to_buffer(Napi::Env env, const Slice& slice) {
  auto* data = const_cast<uint8_t*>(slice.data);
  if (slice.bytes < kCopyBelowBytes) return Napi::Buffer<uint8_t>::Copy(env, data, slice.bytes);
  auto* reference = new MemoryReference(slice.memory);
  const auto release = [](Napi::Env, uint8_t*, MemoryReference* held) { delete held; };
  return Napi::Buffer<uint8_t>::New(env, data, slice.bytes, release, reference);
}

}  // namespace

bool runs_javascript(Napi::Env env) {
  // The least of the functions that are refused then.
  napi_value truth;
  return napi_coerce_to_bool(env, env.Undefined(), &truth) == napi_ok;
}

Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

Napi::Value to_js(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", name_of(error.code));
  object.Set("message", error.message);
  return object;
}

void throw_error(Napi::Env env, const Error& error) {
  Napi::Error thrown = Napi::Error::New(env, error.message);
  thrown.Set("code", Napi::String::New(env, name_of(error.code)));
  thrown.ThrowAsJavaScriptException();
}

Napi::Value to_js(Napi::Env env, const ReadOutcome& outcome) {
  Napi::Array parts = Napi::Array::New(env, outcome.parts.size());
  for (uint32_t i = 0; i < outcome.parts.size(); i++) parts.Set(i, to_buffer(env, outcome.parts[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("parts", parts);
  object.Set("bytes", static_cast<double>(outcome.bytes));
  object.Set("nextOffset", static_cast<double>(outcome.next_offset));
  object.Set("segmentEnded", outcome.segment_ended);
  return object;
}

Napi::Value to_js(Napi::Env env, const std::optional<TimestampOutcome>& outcome) {
  if (!outcome) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("baseOffset", static_cast<double>(outcome->base_offset));
  object.Set("timestampMaxMs", static_cast<double>(outcome->timestamp_max));
  return object;
}

}  // namespace haulout
