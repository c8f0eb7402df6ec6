// A ring that does nothing by itself, for tests that say what is done and when.
#pragma once

#include <cerrno>
#include <deque>
#include <memory>

#include "../ring.h"

namespace haulout {

// What was started on it waits until the test answers it.
class HeldRing final : public Ring {
 public:
  explicit HeldRing(std::deque<std::unique_ptr<Operation>>& held) : held_(held) {}
  void start(std::unique_ptr<Operation> operation) override { held_.push_back(std::move(operation)); }
  void submit() override {}
  void reap() override {}
  void drain() override {
    while (!held_.empty()) answer(held_, 0, -ECANCELED);
  }
  size_t pending() const override { return held_.size(); }
  void await_all() override {
    for (const auto& operation : held_) operation->awaited = true;
  }

  static void answer(std::deque<std::unique_ptr<Operation>>& held, size_t index, int64_t result) {
    const std::unique_ptr<Operation> operation = std::move(held[index]);
    held.erase(held.begin() + static_cast<ptrdiff_t>(index));
    operation->done(result);
  }

 private:
  std::deque<std::unique_ptr<Operation>>& held_;
};

}  // namespace haulout
