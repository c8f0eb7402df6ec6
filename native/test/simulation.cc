#include "simulation.h"

#include "simulated_life.h"

namespace haulout {
namespace {

constexpr int kDepthMax = 4;

// Most boots have no trouble at all, and the others one kind of it.
Trouble some_trouble(Random& random) {
  Trouble trouble;
  if (random() % 2 == 0) trouble.interruption = 0.1;
  switch (random() % 13) {
    case 0: trouble.write_error = 0.01; break;
    case 1: trouble.sync_error = 0.03; break;
    case 2: trouble.read_error = 0.03; break;
    case 3: trouble.folder_error = 0.03; break;
    case 4: trouble.disk_bytes = 100000 + random() % 1000000; break;
    case 5:
      trouble.disk_bytes = 200000 + random() % 3000000;
      trouble.others = 0.1;
      break;
    default: break;
  }
  return trouble;
}

}  // namespace

std::optional<std::string> Simulation::run() {
  next_.emplace(Snapshot{SimulatedDisk(memory), {}});
  for (int boot = 0; boot < 4 && !has_failed(); boot++) {
    Snapshot snapshot = std::move(*next_);
    candidates_ = 0;
    next_.reset();
    Trouble trouble = some_trouble(random);
    if (mutation == Mutation::believe_failed_sync) trouble.sync_error = 0.1;
    if (mutation == Mutation::keep_reserve) trouble = {.disk_bytes = 2000000, .others = 0.2};
    Life life(*this, Snapshot{snapshot.disk.after_kill(), snapshot.promise}, 0, trouble);
    life.explores = true;
    if (!life.boot()) {
      if (has_failed()) break;
      // Trouble kept the store from opening. Where no crash came, nothing happened.
      if (!next_) next_.emplace(Snapshot{life.machine.disk.after_kill(), life.promise});
      continue;
    }
    life.work(10 + static_cast<int>(random() % 30));
    if (random() % 3 == 0 && !has_failed()) life.close();
    if (!has_failed()) look(life, "end", "");
    if (!next_) next_.emplace(std::move(snapshot));
  }
  return violation_;
}

// Called before a step is complete: the power may go here, or the process.
void Simulation::look(const Life& life, const char* action, const std::string& path) {
  if (has_failed()) return;
  note(life.depth, std::string(action) + " " + path);
  if (!life.explores) return;
  const uint64_t count = life.depth == 0 ? 2 : random() % 3 == 0;
  for (uint64_t i = 0; i < count && !has_failed(); i++) {
    const uint64_t kind = random() % 8;
    const Survival survival = kind < 2 ? Survival::nothing : kind < 3 ? Survival::everything : Survival::some;
    note(life.depth, kind == 7 ? "- killed" : "- power cut");
    Snapshot snapshot{kind == 7 ? life.machine.disk.after_kill() : life.machine.disk.after_power_cut(random, survival), life.promise};
    if (life.depth == 0 && random() % ++candidates_ == 0) next_.emplace(Snapshot{snapshot.disk.after_kill(), snapshot.promise});
    examine(std::move(snapshot), life.depth + 1);
  }
}

void Simulation::examine(Snapshot snapshot, int depth) {
  states_++;
  Life life(*this, std::move(snapshot), depth, {});
  life.explores = depth < kDepthMax && random() % 12 == 0;
  if (!life.boot() || random() % 6 > 0) return;
  life.work(1 + static_cast<int>(random() % 4));
  if (random() % 2 == 0 && !has_failed()) life.close();
  if (life.explores && !has_failed()) look(life, "end", "");
}

void Simulation::note(int depth, const std::string& event) {
  for (const char character : event) digest_ = digest_ * 1099511628211u + static_cast<unsigned char>(character);
  if (tells_) std::fprintf(stderr, "%*s%s\n", depth * 2, "", event.c_str());
}

void Simulation::fail(const std::string& violation) {
  if (has_failed()) return;
  violation_ = violation;
  note(0, "BROKEN: " + violation);
}

}  // namespace haulout
