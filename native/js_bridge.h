// Between JavaScript and the engine: the only part that knows both. src/binding.ts describes the functions.
//
// Every store has one bridge, with a few handles on the event loop: the ring's eventfd (io_uring) or an async handle (threads) wakes it, and
// prepare and check handles end a turn in which something was appended. What completed is passed to JavaScript in one call per
// wake-up. The handles keep the loop alive only while something is under way.
//
// A bridge lives until its store is closed, or its environment ends: then it waits for what is under way, because the kernel
// still uses that memory.
#pragma once

#include <map>

#include "js_values.h"
#include "loop_handles.h"
#include "store.h"

namespace haulout {

class Bridge;

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
  void forget_log(const LogHandle& handle);
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
  std::map<int64_t, Napi::Reference<Napi::ArrayBuffer>> states_;
  int64_t next_tag_ = 1;
  std::vector<int64_t> changed_;
  std::vector<Answer> answers_;
  double asking_ = -1;
  std::optional<Answer> answer_;
  std::optional<Answer> close_answer_;
  bool closed_ = false;
  bool alive_ = false;
  bool delivering_ = false;

};

}  // namespace haulout
