// Between JavaScript and the engine: the only part that knows both. src/binding.ts describes the functions.
//
// Every store that JavaScript opened has one bridge, with a few handles on the event loop. A store of its own it drives itself: the
// ring's eventfd (io_uring) or an async handle (threads) wakes it. A shared store (shared_store.h) has a thread that drives it, and the
// async handle wakes the bridge. Prepare and check handles end a turn in which something was appended. What completed is passed to
// JavaScript in one call per wake-up. The handles keep the loop alive only while something is under way that this bridge asked for.
//
// A bridge lives until its store is closed, or its environment ends: then what was accepted is written, and what is under way is awaited,
// because the kernel still uses that memory. When the process exits no environment ends on the main thread: an ExitHook does the first.
//
// With a shared store, what is marked "under the lock" may be reached from any thread; all else belongs to the loop's thread. No
// JavaScript value is made under the lock, since that may collect garbage, which takes it.
#pragma once

#include <map>

#include "js_lending.h"
#include "js_values.h"
#include "loop_handles.h"
#include "shared_store.h"

namespace haulout {

class Bridge;

// What an external of a log refers to. The numbers in `state` are shared with JavaScript, which reads them without a call.
struct LogHandle final : LogListener {
  enum State { kStart, kEnd, kCommittedEnd, kBytes, kFailed, kAppended, kStateLength };

  LogHandle(std::shared_ptr<Bridge> bridge, LogReference log, double* state, int64_t tag)
      : bridge(std::move(bridge)), log(std::move(log)), state(state), tag(tag) {}

  void log_changed() override;
  // Of what is committed. Other users of a shared store may hide the last of it for a while.
  int64_t visible_end() const;
  // Under the lock, on the loop's thread.
  void refresh() {
    state[kStart] = static_cast<double>(log->start_offset());
    state[kEnd] = static_cast<double>(log->end_offset());
    state[kCommittedEnd] = static_cast<double>(visible_end());
    state[kBytes] = static_cast<double>(log->bytes());
    state[kFailed] = log->failure() ? 1 : 0;
  }

  const std::shared_ptr<Bridge> bridge;
  const LogReference log;
  double* const state;
  const int64_t tag;
  // Closed by this user; others may still have the log open.
  bool closed = false;
  // These are used under the lock.
  bool is_changed = false;
  // Something that this user appended below this offset is not committed; 0 for nothing.
  int64_t waits_for = 0;
};

using MakeValue = std::function<Napi::Value(Napi::Env)>;

class Bridge final : public StoreUser, public std::enable_shared_from_this<Bridge> {
 public:
  static Napi::Value open(const Napi::CallbackInfo& info);

  explicit Bridge(Napi::Env env) : env_(env) {}

  // What the users of a shared store tell each other; there is none in a store of one's own.
  SharedClaims* claims() { return shared_ ? &shared_->claims() : nullptr; }
  // Held while the engine is used.
  std::unique_lock<std::mutex> lock() const { return shared_ ? shared_->lock() : std::unique_lock<std::mutex>(); }
  Store& store() { return shared_ ? shared_->store() : *own_; }
  bool is_shared() const { return shared_ != nullptr; }
  bool is_open() const { return own_ != nullptr || (shared_ != nullptr && !left_); }

  struct Answer {
    double id;
    std::optional<Error> error;
    MakeValue make;
  };

  // Runs a request under the lock. Returns what it answers before it returns; any other answer comes with the events.
  template <typename Request>
  std::optional<Answer> ask_now(double id, Request request) {
    std::optional<Answer> answer;
    const auto lock = this->lock();
    if (own_) own_->look();
    asking_ = id;
    outstanding_count_++;
    request([self = shared_from_this(), id](const Error* error, MakeValue make) {
      self->take_answer({id, error ? std::optional(*error) : std::nullopt, std::move(make)});
    });
    asking_ = -1;
    answer.swap(answer_);
    // What is read ahead of an answer from memory does not wait for the end of the turn: sending the answer comes before.
    if (answer && own_) own_->submit();
    after_call();
    return answer;
  }

  // The same as a call's value: [error, value], or undefined.
  template <typename Request>
  Napi::Value ask(double id, Request request) {
    const std::optional<Answer> answer = ask_now(id, std::move(request));
    if (!answer) return env_.Undefined();
    Napi::Array pair = Napi::Array::New(env_, 2);
    pair.Set(0u, answer->error ? to_js(env_, *answer->error) : env_.Null());
    pair.Set(1u, answer->error ? env_.Undefined() : answer->make(env_));
    return pair;
  }

  // Under the lock.
  void open_log(const std::string& name, const LogSettings& settings, SharedLogs::Opened done);
  void close_log(LogHandle& handle, Done done);
  void remove_log(const std::string& name, Done done);
  void log_changed(LogHandle& handle);
  // Ends every call: what it started is submitted at the end of the turn.
  void after_call();

  Result<int64_t> append(LogHandle& handle, const uint8_t* entry, size_t bytes);
  // Lends what was read: how many numbers say so or, after the call that asked for it, the numbers. Where it cannot be lent, it is given as Buffers.
  Napi::Value lend(Napi::Env env, const ReadOutcome& outcome);
  void give_back(size_t loan) { lending_->give_back(loan); }
  Napi::Value add_log(const LogReference& log);
  void forget_log(LogHandle& handle);
  void close(double id);

 private:
  void wake() override { handles_->wake(); }
  Status start(const std::string& directory, const StoreOptions& options, bool shared, Napi::Function on_events);
  Status start_own(const std::string& directory, const StoreOptions& options, uv_loop_t* loop);
  Status start_shared(const std::string& directory, const StoreOptions& options);
  void take_answer(Answer answer);
  void queue_wake();
  void woken();
  void turn_ended();
  void deliver();
  bool is_active() const;
  // Something is to be delivered.
  bool has_news() const { return !answers_.empty() || !changed_.empty(); }
  void update_liveness();
  void release_logs();
  void finish_closed();
  void finish(std::function<void()> closed);
  void environment_ends(napi_async_cleanup_hook_handle hook);

  const Napi::Env env_;
  // One of them, while it is open.
  std::unique_ptr<Store> own_;
  std::shared_ptr<SharedStore> shared_;
  // Of a store of one's own.
  std::unique_ptr<ExitHook> exit_hook_;
  LoopHandles* handles_ = nullptr;
  Napi::FunctionReference on_events_;
  std::unique_ptr<Lending> lending_;
  std::unique_ptr<Napi::AsyncContext> async_context_;
  napi_async_cleanup_hook_handle cleanup_hook_ = nullptr;
  // Keeps the bridge until its handles are closed, whatever JavaScript forgets.
  std::shared_ptr<Bridge> self_;
  std::map<int64_t, Napi::Reference<Napi::ArrayBuffer>> states_;
  int64_t next_tag_ = 1;
  bool alive_ = false;
  // Making values of answers that come with the events, and passing them on.
  bool delivering_ = false;

  // These are used under the lock.
  std::map<int64_t, LogHandle*> logs_;
  // The logs of a shared store that this user has open; null while one is being opened.
  std::map<std::string, LogReference> open_logs_;
  std::vector<int64_t> changed_;
  std::vector<Answer> answers_;
  double asking_ = -1;
  // Whose append is under way, in a store of one's own.
  const LogHandle* appending_ = nullptr;
  std::optional<Answer> answer_;
  std::optional<Answer> close_answer_;
  size_t outstanding_count_ = 0;
  size_t waiting_logs_count_ = 0;
  bool closed_ = false;
  // This user has left the shared store; it may still wait for answers.
  bool left_ = false;
  // Nobody listens any more.
  bool detached_ = false;
};

inline void LogHandle::log_changed() { bridge->log_changed(*this); }

inline int64_t LogHandle::visible_end() const {
  SharedClaims* claims = bridge->claims();
  return claims != nullptr ? claims->visible_end(*log, *bridge) : log->committed_end_offset();
}

}  // namespace haulout
