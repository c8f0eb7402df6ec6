#include "js_sockets.h"

#include <fcntl.h>
#include <uv.h>

#include <cerrno>

#include "js_values.h"
#include "sockets.h"

namespace haulout {
namespace {

// Numbers of one event in the shared array.
constexpr size_t kEventNumbers = 4;

class JsSockets : public std::enable_shared_from_this<JsSockets> {
 public:
  JsSockets(Napi::Env env, Napi::Uint8Array receive_buffer, Napi::Float64Array events, Napi::Function on_events)
      : env_(env),
        sockets_(std::make_unique<Sockets>(receive_buffer.Data(), receive_buffer.ByteLength())),
        receive_buffer_(Napi::Persistent(receive_buffer.As<Napi::Object>())),
        events_(Napi::Persistent(events.As<Napi::Object>())),
        numbers_(events.Data()),
        on_events_(Napi::Persistent(on_events)) {}

  // 0 or -errno.
  int start() {
    if (sockets_->event_file() < 0) return -sockets_->failure();
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env_, &loop);
    poll_ = new uv_poll_t;
    if (const int error = uv_poll_init(loop, poll_, sockets_->event_file()); error != 0) {
      delete poll_;
      return error;
    }
    poll_->data = this;
    uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* poll, int, int) { static_cast<JsSockets*>(poll->data)->woken(); });
    self_ = shared_from_this();
    async_context_ = std::make_unique<Napi::AsyncContext>(env_, "haulout");
    napi_add_async_cleanup_hook(
        env_, [](napi_async_cleanup_hook_handle, void* held) { static_cast<JsSockets*>(held)->close(); }, this, &cleanup_hook_);
    return 0;
  }

  // Null once they are closed.
  Sockets* sockets() { return sockets_.get(); }

  void keep_alive(bool alive) {
    if (!sockets_) return;
    const auto handle = reinterpret_cast<uv_handle_t*>(poll_);
    if (alive) uv_ref(handle);
    else uv_unref(handle);
  }

  // All listeners and connections, at once. Also when the environment ends.
  void close() {
    if (!sockets_) return;
    uv_poll_stop(poll_);
    sockets_.reset();
    // The rest may be in use: JavaScript closes from within a call of on_events_.
    uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* poll) {
      const auto self = std::move(static_cast<JsSockets*>(poll->data)->self_);
      delete reinterpret_cast<uv_poll_t*>(poll);
      self->receive_buffer_.Reset();
      self->events_.Reset();
      self->on_events_.Reset();
      self->async_context_.reset();
      napi_remove_async_cleanup_hook(self->cleanup_hook_);
    });
  }

  // Of an event that is being told.
  std::string address(size_t index) const { return sockets_ ? (*told_)[index].address : std::string(); }

 private:
  void woken() {
    const Napi::HandleScope scope(env_);
    const auto self = shared_from_this();
    told_ = &sockets_->poll();
    if (told_->empty() || !runs_javascript(env_)) return;
    double* at = numbers_;
    for (const SocketEvent& event : *told_) {
      *at++ = event.kind;
      *at++ = static_cast<double>(event.id);
      *at++ = static_cast<double>(event.value);
      *at++ = static_cast<double>(event.bytes);
    }
    const napi_value count = Napi::Number::New(env_, static_cast<double>(told_->size()));
    const napi_status status = napi_make_callback(env_, *async_context_, env_.Global(), on_events_.Value(), 1, &count, nullptr);
    napi_value exception;
    if (status != napi_pending_exception || napi_get_and_clear_last_exception(env_, &exception) != napi_ok) return;
    napi_fatal_exception(env_, exception);
  }

  const Napi::Env env_;
  std::unique_ptr<Sockets> sockets_;
  Napi::ObjectReference receive_buffer_;
  Napi::ObjectReference events_;
  double* const numbers_;
  Napi::FunctionReference on_events_;
  std::unique_ptr<Napi::AsyncContext> async_context_;
  uv_poll_t* poll_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_hook_ = nullptr;
  const std::vector<SocketEvent>* told_ = nullptr;
  // Until its handle is closed.
  std::shared_ptr<JsSockets> self_;
};

using Held = std::shared_ptr<JsSockets>;

JsSockets& js_of(const Napi::CallbackInfo& info) { return **info[0].As<Napi::External<Held>>().Data(); }
SocketId id_of(const Napi::CallbackInfo& info) { return static_cast<SocketId>(info[1].As<Napi::Number>().Int64Value()); }
Napi::Value number(const Napi::CallbackInfo& info, double value) { return Napi::Number::New(info.Env(), value); }

Napi::Value open(const Napi::CallbackInfo& info) {
  auto js = std::make_shared<JsSockets>(info.Env(), info[0].As<Napi::Uint8Array>(), info[1].As<Napi::Float64Array>(), info[2].As<Napi::Function>());
  if (const int error = js->start(); error != 0) return number(info, error);
  return Napi::External<Held>::New(info.Env(), new Held(std::move(js)), [](Napi::Env, Held* held) { delete held; });
}

// The listening socket stays where it is; this one is another descriptor of it.
Napi::Value listen(const Napi::CallbackInfo& info) {
  Sockets* sockets = js_of(info).sockets();
  if (sockets == nullptr) return number(info, -EBADF);
  const int file = ::fcntl(info[1].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (file < 0) return number(info, -errno);
  const SocketId id = sockets->add_listener(file);
  return number(info, id != 0 ? static_cast<double>(id) : -errno);
}

Napi::Value accept_again(const Napi::CallbackInfo& info) {
  if (Sockets* sockets = js_of(info).sockets()) sockets->accept_again(id_of(info));
  return info.Env().Undefined();
}

Napi::Value accepted_address(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), js_of(info).address(info[1].As<Napi::Number>().Uint32Value()));
}

Napi::Value send(const Napi::CallbackInfo& info) {
  Sockets* sockets = js_of(info).sockets();
  if (sockets == nullptr) return number(info, -EBADF);
  const napi_env env = info.Env();
  const napi_value array = info[2];
  uint32_t count = 0;
  napi_get_array_length(env, array, &count);
  static thread_local std::vector<iovec> parts;
  parts.assign(count, {nullptr, 0});
  for (uint32_t i = 0; i < count; i++) {
    napi_value part;
    napi_get_element(env, array, i, &part);
    napi_get_buffer_info(env, part, &parts[i].iov_base, &parts[i].iov_len);
  }
  return number(info, static_cast<double>(sockets->send(id_of(info), parts.data(), count)));
}

Napi::Value read_into(const Napi::CallbackInfo& info) {
  if (Sockets* sockets = js_of(info).sockets()) {
    auto target = info[2].As<Napi::Uint8Array>();
    sockets->read_into(id_of(info), target.Data(), target.ByteLength());
  }
  return info.Env().Undefined();
}

Napi::Value set_reading(const Napi::CallbackInfo& info) {
  if (Sockets* sockets = js_of(info).sockets()) sockets->set_reading(id_of(info), info[2].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

Napi::Value shutdown(const Napi::CallbackInfo& info) {
  Sockets* sockets = js_of(info).sockets();
  return number(info, sockets == nullptr ? -EBADF : sockets->shutdown(id_of(info)));
}

Napi::Value close(const Napi::CallbackInfo& info) {
  if (Sockets* sockets = js_of(info).sockets()) sockets->close(id_of(info));
  return info.Env().Undefined();
}

Napi::Value close_all(const Napi::CallbackInfo& info) {
  js_of(info).close();
  return info.Env().Undefined();
}

Napi::Value keep_alive(const Napi::CallbackInfo& info) {
  js_of(info).keep_alive(info[1].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

}  // namespace

void export_sockets(Napi::Env env, Napi::Object exports) {
  Napi::Object functions = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    functions.Set(name, Napi::Function::New(env, function, name));
  };
  functions.Set("eventsMax", static_cast<double>(Sockets::kEventsMax));
  functions.Set("eventNumbers", static_cast<double>(kEventNumbers));
  add("open", open);
  add("listen", listen);
  add("acceptAgain", accept_again);
  add("acceptedAddress", accepted_address);
  add("send", send);
  add("readInto", read_into);
  add("setReading", set_reading);
  add("shutdown", shutdown);
  add("close", close);
  add("closeAll", close_all);
  add("keepAlive", keep_alive);
  exports.Set("sockets", functions);
}

}  // namespace haulout
