#include "exit_hook.h"

#include <cstdlib>
#include <mutex>
#include <vector>

namespace haulout {
namespace {

struct Hooks {
  std::mutex mutex;
  std::vector<ExitHook*> all;
};

// Never destroyed: other threads may still be at work while the process ends.
Hooks& hooks() {
  static auto* const hooks = new Hooks;
  return *hooks;
}

}  // namespace

ExitHook::ExitHook(Runs runs, std::function<void()> work) : runs_(runs), work_(std::move(work)) {
  [[maybe_unused]] static const int registered = std::atexit(run_all);
  const std::lock_guard lock(hooks().mutex);
  hooks().all.push_back(this);
}

ExitHook::~ExitHook() {
  const std::lock_guard lock(hooks().mutex);
  std::erase(hooks().all, this);
}

void ExitHook::run_all() {
  const std::lock_guard lock(hooks().mutex);
  for (const ExitHook* hook : hooks().all) {
    if (hook->runs_ == Runs::on_any_thread || hook->thread_ == std::this_thread::get_id()) hook->work_();
  }
}

}  // namespace haulout
