// Work that is done when the process calls exit(), whatever it was doing then: a host that is told to stop at once runs nothing else of
// ours. A process that is killed does not come here.
#pragma once

#include <functional>
#include <thread>

namespace haulout {

class ExitHook {
 public:
  enum class Runs { on_this_thread_only, on_any_thread };

  // `work` makes and ends no hook. What only one thread may use is left alone when another one calls exit().
  ExitHook(Runs runs, std::function<void()> work);
  ~ExitHook();
  ExitHook(const ExitHook&) = delete;
  ExitHook& operator=(const ExitHook&) = delete;

 private:
  static void run_all();

  const Runs runs_;
  const std::thread::id thread_ = std::this_thread::get_id();
  const std::function<void()> work_;
};

}  // namespace haulout
