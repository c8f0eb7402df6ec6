// The addon's functions, as src/binding.ts describes them: arguments are taken apart here, the rest is done by the bridge and the
// engine. No globals; what threads share is in the engine (shared_store.h). Arguments are read before the lock is taken: reading a
// text may allocate, and so collect garbage, which takes the lock.
#include "js_bridge.h"
#include "js_sockets.h"

namespace haulout {
namespace {

Bridge& bridge_of(const Napi::CallbackInfo& info) { return **info[0].As<Napi::External<std::shared_ptr<Bridge>>>().Data(); }
LogHandle& log_of(const Napi::CallbackInfo& info) { return *info[0].As<Napi::External<LogHandle>>().Data(); }
double number(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().DoubleValue(); }
int64_t integer(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Int64Value(); }
std::string text(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::String>(); }

using Answer = std::function<void(const Error*, MakeValue)>;

Done done_with(Answer answer) {
  return [answer = std::move(answer)](Status error) { answer(error ? &*error : nullptr, undefined); };
}

// Passes a result on, converted by `convert` once JavaScript can be called.
template <typename T, typename Convert>
std::function<void(Result<T>)> result_with(Answer answer, Convert convert) {
  return [answer = std::move(answer), convert](Result<T> result) {
    if (!result) return answer(&result.error(), undefined);
    answer(nullptr, [value = std::move(*result), convert](Napi::Env env) { return convert(env, value); });
  };
}

template <typename Request>
Napi::Value ask_store(const Napi::CallbackInfo& info, Request request) {
  Bridge& bridge = bridge_of(info);
  return bridge.ask(number(info, 1), [&](Answer answer) {
    const Error closed{ErrorCode::closed, "the store is closed"};
    if (!bridge.is_open()) return answer(&closed, undefined);
    request(bridge, std::move(answer));
  });
}

// Passes a request on to its log, if that is open.
template <typename Request>
auto to_log(LogHandle& handle, Request request) {
  return [&handle, request](Answer answer) {
    if (handle.bridge->is_open() && !handle.closed) return request(handle, std::move(answer));
    const Error closed{ErrorCode::closed, "log " + handle.log->name() + " is closed"};
    answer(&closed, undefined);
  };
}

template <typename Request>
Napi::Value ask_log(const Napi::CallbackInfo& info, Request request) {
  LogHandle& handle = log_of(info);
  return handle.bridge->ask(number(info, 1), to_log(handle, std::move(request)));
}

template <typename Request>
std::optional<Bridge::Answer> ask_log_now(const Napi::CallbackInfo& info, Request request) {
  LogHandle& handle = log_of(info);
  return handle.bridge->ask_now(number(info, 1), to_log(handle, std::move(request)));
}

Napi::Value backend(const Napi::CallbackInfo& info) {
  const Backend& backend = bridge_of(info).store().backend();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("name", name_of(backend.kind));
  object.Set("direct", backend.direct);
  object.Set("reason", backend.reason);
  return object;
}

Napi::Value bytes_free(const Napi::CallbackInfo& info) {
  Bridge& bridge = bridge_of(info);
  if (!bridge.is_open()) return Napi::Number::New(info.Env(), 0);
  const auto bytes = bridge.store().bytes_free();
  if (bytes) return Napi::Number::New(info.Env(), static_cast<double>(*bytes));
  throw_error(info.Env(), bytes.error());
  return info.Env().Undefined();
}

Napi::Value names(const Napi::CallbackInfo& info) {
  return ask_store(info, [](Bridge& bridge, Answer answer) {
    bridge.store().names(result_with<std::vector<std::string>>(std::move(answer), [](Napi::Env env, const auto& names) -> Napi::Value {
      Napi::Array array = Napi::Array::New(env, names.size());
      for (uint32_t i = 0; i < names.size(); i++) array.Set(i, names[i]);
      return array;
    }));
  });
}

int64_t limit(const Napi::CallbackInfo& info, size_t index) { return info[index].IsNumber() ? integer(info, index) : INT64_MAX; }

EntryLayout layout_of(const Napi::Array& numbers) {
  const auto at = [&](uint32_t index) { return numbers.Get(index).As<Napi::Number>().Uint32Value(); };
  return {at(0), at(1), at(2), at(3), at(4), static_cast<uint8_t>(at(5)), at(6), at(7), at(8), at(9)};
}

Napi::Value open_log(const Napi::CallbackInfo& info) {
  const std::string flush_policy = text(info, 5);
  const LogSettings settings{layout_of(info[3].As<Napi::Array>()), static_cast<uint64_t>(integer(info, 4)), flush_policy == "each", limit(info, 6), limit(info, 7),
                             info[8].IsString() ? codec_named(text(info, 8)).value_or(SegmentCodec::none) : SegmentCodec::none,
                             flush_policy == "interval" || flush_policy == "bytes"};
  return ask_store(info, [&, name = text(info, 2)](Bridge& bridge, Answer answer) {
    const auto convert = [&bridge](Napi::Env, const LogReference& log) { return bridge.add_log(log); };
    bridge.open_log(name, settings, result_with<LogReference>(std::move(answer), convert));
  });
}

Napi::Value remove_log(const Napi::CallbackInfo& info) {
  return ask_store(info, [name = text(info, 2)](Bridge& bridge, Answer answer) { bridge.remove_log(name, done_with(std::move(answer))); });
}

Napi::Value rename_log(const Napi::CallbackInfo& info) {
  return ask_store(info, [from = text(info, 2), to = text(info, 3)](Bridge& bridge, Answer answer) {
    bridge.store().rename_log(from, to, done_with(std::move(answer)));
  });
}

Napi::Value close_store(const Napi::CallbackInfo& info) {
  Bridge& bridge = bridge_of(info);
  if (bridge.is_open()) bridge.close(number(info, 1));
  return info.Env().Undefined();
}

Napi::Value append(const Napi::CallbackInfo& info) {
  LogHandle& handle = log_of(info);
  if (!info[1].IsTypedArray()) {
    throw_error(info.Env(), {ErrorCode::malformed, "an entry is a Uint8Array"});
    return info.Env().Undefined();
  }
  const auto entry = info[1].As<Napi::Uint8Array>();
  if (!handle.bridge->is_open() || handle.closed) {
    throw_error(info.Env(), {ErrorCode::closed, "log " + handle.log->name() + " is closed"});
    return info.Env().Undefined();
  }
  const auto end_offset = handle.bridge->append(handle, entry.Data(), entry.ByteLength());
  if (!end_offset) {
    throw_error(info.Env(), end_offset.error());
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), static_cast<double>(*end_offset));
}

ReadRequest read_request(const Napi::CallbackInfo& info) {
  return {integer(info, 2), static_cast<uint64_t>(std::max<int64_t>(0, integer(info, 3))), info[4].As<Napi::Boolean>().Value(), integer(info, 5)};
}

Napi::Value read(const Napi::CallbackInfo& info) {
  const ReadRequest request = read_request(info);
  return ask_log(info, [&](LogHandle& handle, Answer answer) {
    const auto convert = [](Napi::Env env, const ReadOutcome& outcome) { return to_js(env, outcome); };
    handle.log->read(request, result_with<ReadOutcome>(std::move(answer), convert));
  });
}

Napi::Value borrow(const Napi::CallbackInfo& info) {
  const ReadRequest request = read_request(info);
  const auto answer = ask_log_now(info, [&](LogHandle& handle, Answer answer) {
    const auto convert = [&bridge = *handle.bridge](Napi::Env env, const ReadOutcome& outcome) { return bridge.lend(env, outcome); };
    handle.log->read(request, result_with<ReadOutcome>(std::move(answer), convert));
  });
  if (!answer) return info.Env().Undefined();
  return answer->error ? to_js(info.Env(), *answer->error) : answer->make(info.Env());
}

Napi::Value give_back(const Napi::CallbackInfo& info) {
  bridge_of(info).give_back(static_cast<size_t>(integer(info, 1)));
  return info.Env().Undefined();
}

Napi::Value find_timestamp(const Napi::CallbackInfo& info) {
  return ask_log(info, [&](LogHandle& handle, Answer answer) {
    const auto convert = [](Napi::Env env, const std::optional<TimestampOutcome>& outcome) { return to_js(env, outcome); };
    auto done = result_with<std::optional<TimestampOutcome>>(std::move(answer), convert);
    if (info[2].IsNumber()) handle.log->find_timestamp(integer(info, 2), std::move(done));
    else handle.log->find_timestamp_max(std::move(done));
  });
}

Napi::Value flush(const Napi::CallbackInfo& info) {
  return ask_log(info, [](LogHandle& handle, Answer answer) { handle.log->flush(done_with(std::move(answer))); });
}

Napi::Value roll(const Napi::CallbackInfo& info) {
  return ask_log(info, [](LogHandle& handle, Answer answer) { handle.log->roll(done_with(std::move(answer))); });
}

Napi::Value truncate_front(const Napi::CallbackInfo& info) {
  return ask_log(info, [&](LogHandle& handle, Answer answer) {
    handle.log->truncate_front(integer(info, 2), done_with(std::move(answer)));
  });
}

Napi::Value close_log(const Napi::CallbackInfo& info) {
  return ask_log(info, [](LogHandle& handle, Answer answer) { handle.bridge->close_log(handle, done_with(std::move(answer))); });
}

Napi::Value segments(const Napi::CallbackInfo& info) {
  const LogHandle& handle = log_of(info);
  struct Found {
    SegmentSummary summary;
    bool sealed;
    StoredForm stored;
  };
  std::vector<Found> found;
  if (handle.bridge->is_open()) {
    const auto lock = handle.bridge->lock();
    for (const SegmentReference& segment : handle.log->segments()) {
      if (segment->bytes() > 0) found.push_back({segment->index.summary, segment->rolled, {segment->stored.codec, segment->stored_bytes()}});
    }
  }
  Napi::Array array = Napi::Array::New(info.Env(), found.size());
  uint32_t count = 0;
  for (const auto& [summary, sealed, stored] : found) {
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("baseOffset", static_cast<double>(summary.base_offset));
    object.Set("endOffset", static_cast<double>(summary.end_offset));
    object.Set("bytes", static_cast<double>(summary.bytes));
    object.Set("timestampMaxMs", static_cast<double>(summary.timestamp_max));
    object.Set("sealed", sealed);
    object.Set("compression", name_of(stored.codec));
    object.Set("storedBytes", static_cast<double>(stored.bytes));
    array.Set(count++, object);
  }
  return array;
}

// Brings the numbers of a log that others may append to up to date.
Napi::Value refresh(const Napi::CallbackInfo& info) {
  LogHandle& handle = log_of(info);
  if (!handle.bridge->is_open()) return info.Env().Undefined();
  const auto lock = handle.bridge->lock();
  handle.refresh();
  return info.Env().Undefined();
}

// What a store of its own has nobody to tell.
template <typename Use>
void use_claims(Bridge& bridge, Use use) {
  if (!bridge.is_open() || !bridge.is_shared()) return;
  const auto lock = bridge.lock();
  use(*bridge.claims());
}

Napi::Value claim(const Napi::CallbackInfo& info) {
  Bridge& bridge = bridge_of(info);
  bool is_held = true;
  use_claims(bridge, [&, name = text(info, 1)](SharedClaims& claims) { is_held = claims.claim(name, bridge); });
  return Napi::Boolean::New(info.Env(), is_held);
}

Napi::Value release_claim(const Napi::CallbackInfo& info) {
  Bridge& bridge = bridge_of(info);
  use_claims(bridge, [&, name = text(info, 1)](SharedClaims& claims) { claims.release(name, bridge); });
  return info.Env().Undefined();
}

Napi::Value hide(const Napi::CallbackInfo& info) {
  LogHandle& handle = log_of(info);
  use_claims(*handle.bridge, [&, offset = integer(info, 1)](SharedClaims& claims) { claims.hide(handle.log, *handle.bridge, offset); });
  return info.Env().Undefined();
}

Napi::Value reveal(const Napi::CallbackInfo& info) {
  LogHandle& handle = log_of(info);
  use_claims(*handle.bridge, [&, offset = integer(info, 1)](SharedClaims& claims) { claims.reveal(handle.log, *handle.bridge, offset); });
  return info.Env().Undefined();
}

Napi::Value failure(const Napi::CallbackInfo& info) {
  const LogHandle& handle = log_of(info);
  Status failure;
  if (handle.bridge->is_open()) {
    const auto lock = handle.bridge->lock();
    failure = handle.log->failure();
  }
  return failure ? to_js(info.Env(), *failure) : info.Env().Null();
}

Napi::Value checksum(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::Number::New(info.Env(), crc32c(0, bytes.Data(), bytes.ByteLength()));
}

// The memory of Buffers goes back at once, not when the garbage collector finds them; they are empty from here on.
Napi::Value release(const Napi::CallbackInfo& info) {
  const auto parts = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < parts.Length(); i++) parts.Get(i).As<Napi::Uint8Array>().ArrayBuffer().Detach();
  return info.Env().Undefined();
}

}  // namespace

Napi::Object export_functions(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  exports.Set("hasUring", Napi::Boolean::New(env, has_uring()));
  add("openStore", Bridge::open);
  add("backend", backend);
  add("bytesFree", bytes_free);
  add("names", names);
  add("openLog", open_log);
  add("removeLog", remove_log);
  add("renameLog", rename_log);
  add("closeStore", close_store);
  add("append", append);
  add("read", read);
  add("borrow", borrow);
  add("giveBack", give_back);
  add("findTimestamp", find_timestamp);
  add("flush", flush);
  add("roll", roll);
  add("truncateFront", truncate_front);
  add("closeLog", close_log);
  add("segments", segments);
  add("refresh", refresh);
  add("claim", claim);
  add("releaseClaim", release_claim);
  add("hide", hide);
  add("reveal", reveal);
  add("failure", failure);
  add("crc32c", checksum);
  add("release", release);
  export_sockets(env, exports);
  return exports;
}

}  // namespace haulout

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return haulout::export_functions(env, exports); }

NODE_API_MODULE(haulout, initialise)
