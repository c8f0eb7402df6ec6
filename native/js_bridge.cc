#include "js_bridge.h"

#include <cmath>
#include <map>

#include "crc32c.h"
#include "loop_handles.h"
#include "store.h"

namespace haulout {
namespace {

// Smaller reads are copied: a Buffer of its own is cheaper than one that pins a chunk of memory.
constexpr size_t kCopyBelowBytes = 16 << 10;

class Bridge;
struct LogHandle;
void forget_log(LogHandle* handle);

// What an external of a log refers to. The numbers in `state` are shared with JavaScript, which reads them without a call.
struct LogHandle {
  enum State { kStart, kEnd, kCommittedEnd, kBytes, kFailed, kStateLength };

  std::shared_ptr<Bridge> bridge;
  LogReference log;
  double* state = nullptr;
  bool is_changed = false;

  void refresh() {
    state[kStart] = static_cast<double>(log->start_offset());
    state[kEnd] = static_cast<double>(log->end_offset());
    state[kCommittedEnd] = static_cast<double>(log->committed_end_offset());
    state[kBytes] = static_cast<double>(log->bytes());
    state[kFailed] = log->failure() ? 1 : 0;
  }
};

using MakeValue = std::function<Napi::Value(Napi::Env)>;

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

// The Buffer holds a reference to the memory, so nothing can use that again while JavaScript can see it.
Napi::Value to_buffer(Napi::Env env, const Slice& slice) {
  auto* data = const_cast<uint8_t*>(slice.data);
  if (slice.bytes < kCopyBelowBytes) return Napi::Buffer<uint8_t>::Copy(env, data, slice.bytes);
  auto* reference = new MemoryReference(slice.memory);
  const auto release = [](Napi::Env, uint8_t*, MemoryReference* held) { delete held; };
  return Napi::Buffer<uint8_t>::New(env, data, slice.bytes, release, reference);
}

Napi::Value to_js(Napi::Env env, const ReadOutcome& outcome) {
  Napi::Array parts = Napi::Array::New(env, outcome.parts.size());
  for (uint32_t i = 0; i < outcome.parts.size(); i++) parts.Set(i, to_buffer(env, outcome.parts[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("parts", parts);
  object.Set("bytes", static_cast<double>(outcome.bytes));
  object.Set("nextOffset", static_cast<double>(outcome.next_offset));
  return object;
}

Napi::Value to_js(Napi::Env env, const std::optional<TimestampOutcome>& outcome) {
  if (!outcome) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("baseOffset", static_cast<double>(outcome->base_offset));
  object.Set("timestampMaxMs", static_cast<double>(outcome->timestamp_max));
  return object;
}

class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  static Napi::Value open(const Napi::CallbackInfo& info);

  explicit Bridge(Napi::Env env) : env_(env) {}

  Store& store() { return *store_; }
  bool is_open() const { return store_ != nullptr; }

  // Runs a request. What it answers before it returns is the call's value, as [error, value]; else undefined, and the answer comes with
  // the events.
  template <typename Request>
  Napi::Value ask(double id, Request request) {
    asking_ = id;
    answer_.reset();
    request([self = shared_from_this(), id](const Error* error, MakeValue make) {
      if (self->asking_ == id) self->answer_ = Answer{id, error ? std::optional(*error) : std::nullopt, std::move(make)};
      else self->answers_.push_back({id, error ? std::optional(*error) : std::nullopt, std::move(make)});
    });
    asking_ = -1;
    after_call();
    if (!answer_) return env_.Undefined();
    const Answer answer = std::move(*answer_);
    answer_.reset();
    Napi::Array pair = Napi::Array::New(env_, 2);
    pair.Set(0u, answer.error ? to_js(env_, *answer.error) : env_.Null());
    pair.Set(1u, answer.error ? env_.Undefined() : answer.make(env_));
    return pair;
  }

  Napi::Value add_log(const LogReference& log);
  void close(double id);
  void after_call() {
    finish_if_closed();
    update_liveness();
  }
  void update_liveness() {
    if (!store_) return;
    const bool active = store_->is_active() || !answers_.empty();
    if (active != alive_) handles_->keep_alive(active);
    alive_ = active;
    // Answers that came outside of a wake-up are delivered by one.
    if (!answers_.empty() && !delivering_) handles_->wake();
  }

 private:
  struct Answer {
    double id;
    std::optional<Error> error;
    MakeValue make;
  };

  Status start(const std::string& directory, const StoreOptions& options, Napi::Function on_events);
  void woken();
  void deliver();
  void finish_if_closed();
  void finish(std::function<void()> closed);
  void environment_ends(napi_async_cleanup_hook_handle hook);

  const Napi::Env env_;
  std::unique_ptr<Store> store_;
  LoopHandles* handles_ = nullptr;
  Napi::FunctionReference on_events_;
  std::unique_ptr<Napi::AsyncContext> async_context_;
  napi_async_cleanup_hook_handle cleanup_hook_ = nullptr;
  // Keeps the bridge until its handles are closed, whatever JavaScript forgets.
  std::shared_ptr<Bridge> self_;
  std::map<int64_t, LogHandle*> logs_;
  int64_t next_tag_ = 1;
  std::vector<int64_t> changed_;
  std::vector<Answer> answers_;
  double asking_ = -1;
  std::optional<Answer> answer_;
  std::optional<Answer> close_answer_;
  bool closed_ = false;
  bool alive_ = false;
  bool delivering_ = false;

  friend void forget_log(LogHandle* handle);
  std::map<int64_t, Napi::Reference<Napi::ArrayBuffer>> states_;
};

Status Bridge::start(const std::string& directory, const StoreOptions& options, Napi::Function on_events) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env_, &loop);
  handles_ = new LoopHandles(loop, {[this] { woken(); },
                                    [this] {
                                      if (!store_) return;
                                      store_->end_turn();
                                      update_liveness();
                                    }});
  StoreEvents events{
      [handles = handles_] { handles->wake(); },
      [handles = handles_] { handles->arm(); },
      [this](SegmentLog& log) {
        const auto entry = logs_.find(log.tag);
        if (entry == logs_.end()) return;
        if (!entry->second->is_changed) changed_.push_back(log.tag);
        entry->second->is_changed = true;
        entry->second->refresh();
      },
  };
  auto opened = Store::open(directory, options, std::move(events));
  self_ = shared_from_this();
  if (!opened) {
    handles_->close([self = shared_from_this()] {
      delete self->handles_;
      self->self_.reset();
    });
    return opened.error();
  }
  store_ = std::move(*opened);
  if (store_->event_file() >= 0) handles_->watch(loop, store_->event_file());
  on_events_ = Napi::Persistent(on_events);
  async_context_ = std::make_unique<Napi::AsyncContext>(env_, "haulout");
  napi_add_async_cleanup_hook(
      env_, [](napi_async_cleanup_hook_handle hook, void* bridge) { static_cast<Bridge*>(bridge)->environment_ends(hook); }, this,
      &cleanup_hook_);
  update_liveness();
  return std::nullopt;
}

void Bridge::woken() {
  if (!store_) return;
  store_->poll();
  if (!changed_.empty() || !answers_.empty()) deliver();
  after_call();
}

// A worker thread that was told to end runs no JavaScript any more, while its event loop still turns.
bool runs_javascript(Napi::Env env) {
  napi_value object;
  return napi_create_object(env, &object) == napi_ok && napi_set_named_property(env, object, "probe", object) == napi_ok;
}

// One call into JavaScript for everything that happened.
void Bridge::deliver() {
  const Napi::HandleScope scope(env_);
  if (!runs_javascript(env_)) {
    answers_.clear();
    return;
  }
  std::vector<Answer> answers;
  answers.swap(answers_);
  std::vector<int64_t> changed;
  changed.swap(changed_);
  Napi::Array tags = Napi::Array::New(env_);
  uint32_t tag_count = 0;
  for (const int64_t tag : changed) {
    const auto entry = logs_.find(tag);
    if (entry == logs_.end()) continue;
    entry->second->is_changed = false;
    entry->second->refresh();
    tags.Set(tag_count++, static_cast<double>(tag));
  }
  Napi::Array results = Napi::Array::New(env_, answers.size() * 3);
  uint32_t at = 0;
  for (const Answer& answer : answers) {
    results.Set(at++, answer.id);
    results.Set(at++, answer.error ? to_js(env_, *answer.error) : env_.Null());
    results.Set(at++, answer.error ? env_.Undefined() : answer.make(env_));
  }
  answers.clear();
  const napi_value arguments[] = {tags, results};
  delivering_ = true;
  const napi_status status =
      napi_make_callback(env_, *async_context_, env_.Global(), on_events_.Value(), 2, arguments, nullptr);
  delivering_ = false;
  napi_value exception;
  if (status != napi_pending_exception || napi_get_and_clear_last_exception(env_, &exception) != napi_ok) return;
  napi_fatal_exception(env_, exception);
}

Napi::Value Bridge::add_log(const LogReference& log) {
  log->tag = next_tag_++;
  Napi::ArrayBuffer state = Napi::ArrayBuffer::New(env_, LogHandle::kStateLength * sizeof(double));
  auto* handle = new LogHandle{shared_from_this(), log, static_cast<double*>(state.Data()), false};
  handle->refresh();
  logs_[log->tag] = handle;
  states_[log->tag] = Napi::Reference<Napi::ArrayBuffer>::New(state, 1);
  Napi::Object object = Napi::Object::New(env_);
  object.Set("tag", static_cast<double>(log->tag));
  object.Set("state", Napi::Float64Array::New(env_, LogHandle::kStateLength, state, 0));
  object.Set("handle", Napi::External<LogHandle>::New(env_, handle, [](Napi::Env, LogHandle* held) {
               forget_log(held);
               delete held;
             }));
  return object;
}

void forget_log(LogHandle* handle) {
  handle->bridge->logs_.erase(handle->log->tag);
  handle->bridge->states_.erase(handle->log->tag);
}

void Bridge::close(double id) {
  store_->close([this, id](Status error) {
    closed_ = true;
    close_answer_ = Answer{id, std::move(error), undefined};
  });
  after_call();
}

// Not inside the store's own calls: it goes here.
void Bridge::finish_if_closed() {
  if (!closed_ || !store_ || store_->is_active()) return;
  answers_.push_back(std::move(*close_answer_));
  finish([self = shared_from_this()] {
    if (!self->on_events_.IsEmpty()) self->deliver();
    napi_remove_async_cleanup_hook(self->cleanup_hook_);
    self->on_events_.Reset();
    self->async_context_.reset();
    self->states_.clear();
  });
}

void Bridge::finish(std::function<void()> closed) {
  store_->drain();
  handles_->stop();
  store_.reset();
  handles_->keep_alive(true);
  handles_->close([self = shared_from_this(), closed = std::move(closed)] {
    delete self->handles_;
    self->handles_ = nullptr;
    closed();
    self->self_.reset();
  });
}

// The process or the worker thread goes: what is under way is awaited, what is not committed is lost.
void Bridge::environment_ends(napi_async_cleanup_hook_handle hook) {
  const auto self = shared_from_this();
  if (store_) finish([hook] { napi_remove_async_cleanup_hook(hook); });
  on_events_.Reset();
  async_context_.reset();
  states_.clear();
}

Napi::Value Bridge::open(const Napi::CallbackInfo& info) {
  StoreOptions options;
  const std::string backend = info[1].As<Napi::String>();
  if (backend == "io_uring") options.backend = BackendChoice::uring;
  if (backend == "threads") options.backend = BackendChoice::threads;
  options.tail_bytes_max = static_cast<size_t>(info[2].As<Napi::Number>().DoubleValue());
  const auto bridge = std::make_shared<Bridge>(info.Env());
  if (auto error = bridge->start(info[0].As<Napi::String>(), options, info[3].As<Napi::Function>())) {
    throw_error(info.Env(), *error);
    return info.Env().Undefined();
  }
  const auto release = [](Napi::Env, std::shared_ptr<Bridge>* held) { delete held; };
  return Napi::External<std::shared_ptr<Bridge>>::New(info.Env(), new std::shared_ptr<Bridge>(bridge), release);
}

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

template <typename Request>
Napi::Value ask_log(const Napi::CallbackInfo& info, Request request) {
  LogHandle& handle = log_of(info);
  return handle.bridge->ask(number(info, 1), [&](Answer answer) {
    const Error closed{ErrorCode::closed, "log " + handle.log->name() + " is closed"};
    if (!handle.bridge->is_open()) return answer(&closed, undefined);
    request(handle, std::move(answer));
  });
}

Napi::Value backend(const Napi::CallbackInfo& info) {
  const Backend& backend = bridge_of(info).store().backend();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("name", backend.uring ? "io_uring" : "threads");
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

EntryLayout layout_of(const Napi::Array& numbers) {
  const auto at = [&](uint32_t index) { return numbers.Get(index).As<Napi::Number>().Uint32Value(); };
  return {at(0), at(1), at(2), at(3), at(4), static_cast<uint8_t>(at(5)), at(6), at(7), at(8), at(9)};
}

Napi::Value open_log(const Napi::CallbackInfo& info) {
  return ask_store(info, [&](Bridge& bridge, Answer answer) {
    const LogSettings settings{layout_of(info[3].As<Napi::Array>()), static_cast<uint64_t>(integer(info, 4)),
                               info[5].As<Napi::Boolean>().Value()};
    const auto convert = [&bridge](Napi::Env, const LogReference& log) { return bridge.add_log(log); };
    bridge.store().open_log(text(info, 2), settings, result_with<LogReference>(std::move(answer), convert));
  });
}

Napi::Value remove_log(const Napi::CallbackInfo& info) {
  return ask_store(info, [&](Bridge& bridge, Answer answer) { bridge.store().remove_log(text(info, 2), done_with(std::move(answer))); });
}

Napi::Value rename_log(const Napi::CallbackInfo& info) {
  return ask_store(info, [&](Bridge& bridge, Answer answer) {
    bridge.store().rename_log(text(info, 2), text(info, 3), done_with(std::move(answer)));
  });
}

Napi::Value close_store(const Napi::CallbackInfo& info) {
  Bridge& bridge = bridge_of(info);
  if (bridge.is_open()) bridge.close(number(info, 1));
  return info.Env().Undefined();
}

Napi::Value append(const Napi::CallbackInfo& info) {
  LogHandle& handle = log_of(info);
  const auto entry = info[1].As<Napi::Uint8Array>();
  if (!handle.bridge->is_open()) {
    throw_error(info.Env(), {ErrorCode::closed, "log " + handle.log->name() + " is closed"});
    return info.Env().Undefined();
  }
  const auto end_offset = handle.log->append(entry.Data(), entry.ByteLength());
  if (!end_offset) {
    throw_error(info.Env(), end_offset.error());
    return info.Env().Undefined();
  }
  handle.refresh();
  return Napi::Number::New(info.Env(), static_cast<double>(*end_offset));
}

Napi::Value read(const Napi::CallbackInfo& info) {
  return ask_log(info, [&](LogHandle& handle, Answer answer) {
    const ReadRequest request{integer(info, 2), static_cast<uint64_t>(std::max<int64_t>(0, integer(info, 3))),
                              info[4].As<Napi::Boolean>().Value(), integer(info, 5)};
    const auto convert = [](Napi::Env env, const ReadOutcome& outcome) { return to_js(env, outcome); };
    handle.log->read(request, result_with<ReadOutcome>(std::move(answer), convert));
  });
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
  return ask_log(info, [](LogHandle& handle, Answer answer) {
    handle.bridge->store().close_log(handle.log, done_with(std::move(answer)));
  });
}

Napi::Value segments(const Napi::CallbackInfo& info) {
  const LogHandle& handle = log_of(info);
  const auto& segments = handle.log->segments();
  Napi::Array array = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (const SegmentReference& segment : segments) {
    if (segment->bytes() == 0) continue;
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("baseOffset", static_cast<double>(segment->base_offset()));
    object.Set("endOffset", static_cast<double>(segment->end_offset()));
    object.Set("bytes", static_cast<double>(segment->bytes()));
    object.Set("timestampMaxMs", static_cast<double>(segment->index.summary.timestamp_max));
    object.Set("sealed", segment->rolled);
    array.Set(count++, object);
  }
  return array;
}

Napi::Value failure(const Napi::CallbackInfo& info) {
  const Status& failure = log_of(info).log->failure();
  return failure ? to_js(info.Env(), *failure) : info.Env().Null();
}

Napi::Value checksum(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::Number::New(info.Env(), crc32c(0, bytes.Data(), bytes.ByteLength()));
}

}  // namespace

Napi::Object export_bridge(Napi::Env env, Napi::Object exports) {
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
  add("findTimestamp", find_timestamp);
  add("flush", flush);
  add("roll", roll);
  add("truncateFront", truncate_front);
  add("closeLog", close_log);
  add("segments", segments);
  add("failure", failure);
  add("crc32c", checksum);
  return exports;
}

}  // namespace haulout
