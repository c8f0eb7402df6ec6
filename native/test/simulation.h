// One run of the simulation, all of it decided by a seed: a store lives through several boots with random work and faults. At every
// step that changes the disk, crash states are made from it (simulated_disk.h), each is opened by an engine of its own and held
// against the promise, and some of those are worked with and crash again, also in the middle of their recovery.
#pragma once

#include <deque>

#include "simulated_machine.h"
#include "simulated_promise.h"

namespace haulout {

struct Snapshot {
  SimulatedDisk disk;
  StorePromise promise;
};

class Simulation {
 public:
  Simulation(uint64_t seed, Mutation mutation, bool tells) : random(seed), mutation(mutation), tells_(tells) {}

  // What was broken; nothing if the promise held in every state.
  std::optional<std::string> run();
  uint64_t states() const { return states_; }
  // Two runs that print the same number did the same.
  uint64_t digest() const { return digest_; }

  Random random;
  const Mutation mutation;
  SectorMemory memory;
  std::deque<ModelEntry> entries;

 private:
  friend class Life;

  void look(const class Life& life, const char* action, const std::string& path);
  void examine(Snapshot snapshot, int depth);
  void note(int depth, const std::string& event);
  void fail(const std::string& violation);
  bool has_failed() const { return violation_.has_value(); }

  const bool tells_;
  std::optional<std::string> violation_;
  uint64_t states_ = 0;
  uint64_t digest_ = 0;
  // One of the crash states of this boot, for the next one.
  std::optional<Snapshot> next_;
  uint64_t candidates_ = 0;
};

}  // namespace haulout
