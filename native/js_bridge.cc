#include "js_bridge.h"

namespace haulout {
namespace {

// A worker thread that was told to end runs no JavaScript any more, while its event loop still turns.
bool runs_javascript(Napi::Env env) {
  napi_value object;
  return napi_create_object(env, &object) == napi_ok && napi_set_named_property(env, object, "probe", object) == napi_ok;
}

}  // namespace

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
               held->bridge->forget_log(*held);
               delete held;
             }));
  return object;
}

void Bridge::forget_log(const LogHandle& handle) {
  logs_.erase(handle.log->tag);
  states_.erase(handle.log->tag);
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
  options.uncovered_bytes_max = static_cast<uint64_t>(info[3].As<Napi::Number>().DoubleValue());
  const auto bridge = std::make_shared<Bridge>(info.Env());
  if (auto error = bridge->start(info[0].As<Napi::String>(), options, info[4].As<Napi::Function>())) {
    throw_error(info.Env(), *error);
    return info.Env().Undefined();
  }
  const auto release = [](Napi::Env, std::shared_ptr<Bridge>* held) { delete held; };
  return Napi::External<std::shared_ptr<Bridge>>::New(info.Env(), new std::shared_ptr<Bridge>(bridge), release);
}

}  // namespace haulout
