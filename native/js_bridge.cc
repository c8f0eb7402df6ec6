#include "js_bridge.h"

namespace haulout {

Status Bridge::start(const std::string& directory, const StoreOptions& options, bool shared, Napi::Function on_events) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env_, &loop);
  handles_ = new LoopHandles(loop, {[this] { woken(); }, [this] { turn_ended(); }});
  self_ = shared_from_this();
  const auto error = shared ? start_shared(directory, options) : start_own(directory, options, loop);
  if (error) {
    handles_->close([self = shared_from_this()] {
      delete self->handles_;
      self->self_.reset();
    });
    return error;
  }
  on_events_ = Napi::Persistent(on_events);
  async_context_ = std::make_unique<Napi::AsyncContext>(env_, "haulout");
  napi_add_async_cleanup_hook(
      env_, [](napi_async_cleanup_hook_handle hook, void* bridge) { static_cast<Bridge*>(bridge)->environment_ends(hook); }, this,
      &cleanup_hook_);
  const auto lock = this->lock();
  update_liveness();
  return std::nullopt;
}

Status Bridge::start_own(const std::string& directory, const StoreOptions& options, uv_loop_t* loop) {
  const auto changed = [](SegmentLog& log) {
    for (LogListener* listener : log.listeners) listener->log_changed();
  };
  auto opened = Store::open(directory, options, {[handles = handles_] { handles->wake(); }, [handles = handles_] { handles->arm(); }, changed});
  if (!opened) return opened.error();
  own_ = std::move(*opened);
  exit_hook_ = std::make_unique<ExitHook>(ExitHook::Runs::on_this_thread_only, [this] { own_->settle(); });
  if (own_->event_file() >= 0) handles_->watch(loop, own_->event_file());
  return std::nullopt;
}

Status Bridge::start_shared(const std::string& directory, const StoreOptions& options) {
  auto joined = SharedStore::join(directory, options, *this);
  if (!joined) return joined.error();
  shared_ = std::move(*joined);
  return std::nullopt;
}

void Bridge::take_answer(Answer answer) {
  outstanding_count_--;
  if (asking_ == answer.id) {
    answer_ = std::move(answer);
  } else if (!detached_) {
    answers_.push_back(std::move(answer));
    queue_wake();
  }
}

// What came outside of a wake-up is delivered by one.
void Bridge::queue_wake() {
  if (shared_) shared_->notify(*this);
}

void Bridge::after_call() {
  if (shared_) {
    if (shared_->wants_turn_end()) handles_->arm();
  } else {
    // Not inside the store's own calls: it goes here.
    if (closed_ && own_ && !own_->is_active()) finish_closed();
  }
  update_liveness();
}

void Bridge::turn_ended() {
  if (shared_) return shared_->turn_ended();
  if (!own_) return;
  own_->end_turn();
  update_liveness();
}

bool Bridge::is_active() const {
  if (has_news()) return true;
  return own_ ? own_->is_active() : outstanding_count_ > 0 || waiting_logs_count_ > 0 || left_;
}

void Bridge::update_liveness() {
  if (!own_ && !shared_) return;
  const bool active = is_active();
  if (active != alive_) handles_->keep_alive(active);
  alive_ = active;
  // What came without a wake-up: before a request, or at the end of a turn in which a log failed, with nothing under way.
  if (own_ && has_news() && !delivering_) handles_->wake();
}

void Bridge::log_changed(LogHandle& handle) {
  const bool has_waiting = handle.waits_for > 0;
  if (handle.waits_for > 0 && (handle.log->committed_end_offset() >= handle.waits_for || handle.log->failure())) {
    handle.waits_for = 0;
    waiting_logs_count_--;
  }
  if (own_) handle.refresh();
  if (handle.is_changed) return;
  // Who appends sees the numbers when the call returns: there is nothing to tell if no append before this one waits.
  if (appending_ == &handle && !has_waiting && !handle.log->failure()) return;
  handle.is_changed = true;
  changed_.push_back(handle.tag);
  queue_wake();
}

Result<int64_t> Bridge::append(LogHandle& handle, const uint8_t* entry, size_t bytes) {
  const auto lock = this->lock();
  const auto base_offset = handle.log->end_offset();
  if (own_) appending_ = &handle;
  const auto end_offset = handle.log->append(entry, bytes);
  appending_ = nullptr;
  if (!end_offset) return end_offset;
  handle.refresh();
  handle.state[LogHandle::kAppended] = static_cast<double>(base_offset);
  if (*end_offset > handle.log->committed_end_offset()) {
    if (handle.waits_for == 0) waiting_logs_count_++;
    handle.waits_for = *end_offset;
  }
  if (shared_) after_call();
  else if (own_->has_much_to_begin()) turn_ended();
  return end_offset;
}

void Bridge::woken() {
  if (own_) own_->poll();
  else if (!shared_) return;
  deliver();
  bool has_left;
  {
    const auto lock = this->lock();
    after_call();
    has_left = shared_ && closed_ && outstanding_count_ == 0;
  }
  // Not under the lock: it goes with the store.
  if (has_left) finish_closed();
}

// One call into JavaScript for everything that happened.
void Bridge::deliver() {
  std::vector<Answer> answers;
  std::vector<int64_t> changed;
  {
    const auto lock = this->lock();
    answers.swap(answers_);
    changed.swap(changed_);
    std::erase_if(changed, [this](int64_t tag) {
      const auto entry = logs_.find(tag);
      if (entry == logs_.end()) return true;
      entry->second->is_changed = false;
      entry->second->refresh();
      return false;
    });
  }
  if (answers.empty() && changed.empty()) return;
  const Napi::HandleScope scope(env_);
  if (!runs_javascript(env_)) return;
  delivering_ = true;
  Napi::Array tags = Napi::Array::New(env_, changed.size());
  for (uint32_t i = 0; i < changed.size(); i++) tags.Set(i, static_cast<double>(changed[i]));
  Napi::Array results = Napi::Array::New(env_, answers.size() * 3);
  uint32_t at = 0;
  for (const Answer& answer : answers) {
    results.Set(at++, answer.id);
    results.Set(at++, answer.error ? to_js(env_, *answer.error) : env_.Null());
    results.Set(at++, answer.error ? env_.Undefined() : answer.make(env_));
  }
  answers.clear();
  const napi_value arguments[] = {tags, results};
  const napi_status status =
      napi_make_callback(env_, *async_context_, env_.Global(), on_events_.Value(), 2, arguments, nullptr);
  delivering_ = false;
  napi_value exception;
  if (status != napi_pending_exception || napi_get_and_clear_last_exception(env_, &exception) != napi_ok) return;
  napi_fatal_exception(env_, exception);
}

void Bridge::open_log(const std::string& name, const LogSettings& settings, SharedLogs::Opened done) {
  if (!shared_) return own_->open_log(name, settings, std::move(done));
  if (open_logs_.count(name) > 0) return done(Error{ErrorCode::locked, "log " + name + " is open already in this thread"});
  open_logs_[name] = nullptr;
  SharedLogs& logs = shared_->logs();
  logs.open(name, settings, [self = shared_from_this(), &logs, name, done = std::move(done)](Result<LogReference> result) {
    const bool is_late = self->detached_ || self->left_;
    if (result && is_late) {
      logs.close(*result, [](Status) {});
      result = Error{ErrorCode::closed, "the store is closed"};
    }
    if (result) self->open_logs_[name] = *result;
    else self->open_logs_.erase(name);
    done(std::move(result));
  });
}

void Bridge::close_log(LogHandle& handle, Done done) {
  if (!shared_) return own_->close_log(handle.log, std::move(done));
  if (handle.closed) return done(handle.log->failure());
  handle.closed = true;
  open_logs_.erase(handle.log->name());
  shared_->logs().close(handle.log, std::move(done));
}

void Bridge::remove_log(const std::string& name, Done done) {
  if (shared_) shared_->logs().remove(name, std::move(done));
  else own_->remove_log(name, std::move(done));
}

Napi::Value Bridge::lend(Napi::Env env, const ReadOutcome& outcome) {
  const size_t count = lending_->lend(env, outcome);
  if (count == 0) return to_js(env, outcome);
  if (!delivering_) return Napi::Number::New(env, static_cast<double>(count));
  Napi::Float64Array numbers = Napi::Float64Array::New(env, count);
  std::copy_n(lending_->numbers(), count, numbers.Data());
  return numbers;
}

Napi::Value Bridge::add_log(const LogReference& log) {
  const int64_t tag = next_tag_++;
  Napi::ArrayBuffer state = Napi::ArrayBuffer::New(env_, LogHandle::kStateLength * sizeof(double));
  auto* handle = new LogHandle(shared_from_this(), log, static_cast<double*>(state.Data()), tag);
  states_[tag] = Napi::Reference<Napi::ArrayBuffer>::New(state, 1);
  if (is_open()) {
    const auto lock = this->lock();
    handle->refresh();
    log->listeners.push_back(handle);
    logs_[tag] = handle;
  }
  Napi::Object object = Napi::Object::New(env_);
  object.Set("tag", static_cast<double>(tag));
  object.Set("state", Napi::Float64Array::New(env_, LogHandle::kStateLength, state, 0));
  object.Set("handle", Napi::External<LogHandle>::New(env_, handle, [](Napi::Env, LogHandle* held) {
               held->bridge->forget_log(*held);
               delete held;
             }));
  return object;
}

void Bridge::forget_log(LogHandle& handle) {
  {
    const auto lock = this->lock();
    if (logs_.erase(handle.tag) > 0) std::erase(handle.log->listeners, &handle);
    if (handle.waits_for > 0) waiting_logs_count_--;
  }
  states_.erase(handle.tag);
}

void Bridge::close(double id) {
  {
    const auto lock = this->lock();
    const auto closed = [self = shared_from_this(), id](Status error) {
      self->closed_ = true;
      self->close_answer_ = Answer{id, std::move(error), undefined};
      self->queue_wake();
    };
    if (shared_) {
      release_logs();
      left_ = true;
      shared_->leave(*this, closed);
    } else {
      own_->close(closed);
    }
    after_call();
  }
  // Who is not the last one to leave is woken by nobody else.
  if (shared_) handles_->wake();
}

// What the user of a shared store has not closed.
void Bridge::release_logs() {
  for (const auto& [name, log] : open_logs_) {
    if (log != nullptr) shared_->logs().close(log, [](Status) {});
  }
  open_logs_.clear();
}

void Bridge::finish_closed() {
  answers_.push_back(std::move(*close_answer_));
  finish([self = shared_from_this()] {
    if (!self->on_events_.IsEmpty()) self->deliver();
    napi_remove_async_cleanup_hook(self->cleanup_hook_);
    self->on_events_.Reset();
    self->lending_->end();
    self->async_context_.reset();
    self->states_.clear();
  });
}

// Lets go of the store: nothing reaches this bridge from there any more.
void Bridge::finish(std::function<void()> closed) {
  exit_hook_.reset();
  const bool has_ended = own_ == nullptr || own_->end();
  {
    const auto lock = this->lock();
    detached_ = true;
    for (const auto& [tag, handle] : logs_) std::erase(handle->log->listeners, handle);
    logs_.clear();
    if (shared_ && !left_) release_logs();
  }
  if (shared_) shared_->abandon(*this);
  handles_->stop();
  if (has_ended) own_.reset();
  else Store::leave_behind(std::move(own_));
  shared_.reset();
  handles_->keep_alive(true);
  handles_->close([self = shared_from_this(), closed = std::move(closed)] {
    delete self->handles_;
    self->handles_ = nullptr;
    closed();
    self->self_.reset();
  });
}

// The worker thread goes, or the process with nothing more to do.
void Bridge::environment_ends(napi_async_cleanup_hook_handle hook) {
  const auto self = shared_from_this();
  if (own_ || shared_) finish([hook] { napi_remove_async_cleanup_hook(hook); });
  on_events_.Reset();
  lending_->end();
  async_context_.reset();
  states_.clear();
}

Napi::Value Bridge::open(const Napi::CallbackInfo& info) {
  StoreOptions options;
  options.backend = backend_named(info[1].As<Napi::String>());
  if (info[2].IsNumber()) options.tail_bytes_max = static_cast<size_t>(info[2].As<Napi::Number>().DoubleValue());
  if (info[3].IsNumber()) options.uncovered_bytes_max = static_cast<uint64_t>(info[3].As<Napi::Number>().DoubleValue());
  const bool shared = info[4].As<Napi::Boolean>().Value();
  const auto bridge = std::make_shared<Bridge>(info.Env());
  bridge->lending_ = std::make_unique<Lending>(info[6].As<Napi::Array>(), info[7].As<Napi::Float64Array>());
  if (auto error = bridge->start(info[0].As<Napi::String>(), options, shared, info[5].As<Napi::Function>())) {
    throw_error(info.Env(), *error);
    return info.Env().Undefined();
  }
  const auto release = [](Napi::Env, std::shared_ptr<Bridge>* held) { delete held; };
  return Napi::External<std::shared_ptr<Bridge>>::New(info.Env(), new std::shared_ptr<Bridge>(bridge), release);
}

}  // namespace haulout
