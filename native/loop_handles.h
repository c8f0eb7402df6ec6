// The handles that a store has on libuv's event loop.
#pragma once

#include <uv.h>

#include <functional>

namespace haulout {

class LoopHandles {
 public:
  struct Callbacks {
    // Something completed.
    std::function<void()> woken;
    // A turn ended in which arm() was called.
    std::function<void()> turn_ended;
  };

  LoopHandles(uv_loop_t* loop, Callbacks callbacks) : callbacks_(std::move(callbacks)) {
    uv_async_init(loop, &async_, [](uv_async_t* handle) { of(handle)->callbacks_.woken(); });
    uv_prepare_init(loop, &prepare_);
    uv_check_init(loop, &check_);
    async_.data = prepare_.data = check_.data = poll_.data = this;
    uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
  }

  // From any thread.
  void wake() { uv_async_send(&async_); }

  void watch(uv_loop_t* loop, int event_file) {
    uv_poll_init(loop, &poll_, event_file);
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* handle, int, int) { of(handle)->callbacks_.woken(); });
    uv_unref(reinterpret_cast<uv_handle_t*>(&poll_));
    watching_ = true;
  }

  // Before the loop next sleeps, and right after it woke: whichever comes first after what happens in this turn.
  void arm() {
    uv_prepare_start(&prepare_, [](uv_prepare_t* handle) { of(handle)->end_turn(); });
    uv_check_start(&check_, [](uv_check_t* handle) { of(handle)->end_turn(); });
  }

  void keep_alive(bool alive) {
    const auto handle = reinterpret_cast<uv_handle_t*>(&async_);
    if (alive) uv_ref(handle);
    else uv_unref(handle);
  }

  // Before the event file is closed.
  void stop() {
    if (watching_) uv_poll_stop(&poll_);
  }

  void close(std::function<void()> closed) {
    closed_ = std::move(closed);
    const auto close_one = [this](void* handle) {
      open_++;
      uv_close(static_cast<uv_handle_t*>(handle), [](uv_handle_t* closing) {
        LoopHandles* self = of(closing);
        if (--self->open_ > 0) return;
        // Ends this object.
        const auto done = std::move(self->closed_);
        done();
      });
    };
    close_one(&async_);
    close_one(&prepare_);
    close_one(&check_);
    if (watching_) close_one(&poll_);
  }

 private:
  template <typename Handle>
  static LoopHandles* of(Handle* handle) {
    return static_cast<LoopHandles*>(handle->data);
  }

  void end_turn() {
    uv_prepare_stop(&prepare_);
    uv_check_stop(&check_);
    callbacks_.turn_ended();
  }

  const Callbacks callbacks_;
  std::function<void()> closed_;
  uv_async_t async_;
  uv_prepare_t prepare_;
  uv_check_t check_;
  uv_poll_t poll_;
  bool watching_ = false;
  int open_ = 0;
};

}  // namespace haulout
