// Thousands of crashes of a simulated computer, each held against the promise (simulation.h): from the same seeds each time, and from others
// that nobody has tried. `simulation_test SEED` replays one run and tells every step of it, `simulation_test FIRST..LAST` runs many seeds;
// `simulation_test SEED MUTATION` leaves a part of the engine's care out.
#include <chrono>
#include <cinttypes>
#include <random>

#include "simulation.h"

#if defined(__SANITIZE_ADDRESS__)
// It allocates without end, and a third of the time would go into where each piece of memory came from.
extern "C" const char* __asan_default_options() { return "malloc_context_size=2:quarantine_size_mb=16"; }
#endif

namespace haulout {
namespace {

struct NamedMutation {
  Mutation mutation;
  const char* name;
  // The search begins at a seed that finds it soon.
  uint64_t seed_first = 1;
};

constexpr NamedMutation kMutations[] = {
    {Mutation::drop_segment_sync, "drop_segment_sync"},
    {Mutation::drop_index_sync, "drop_index_sync"},
    {Mutation::drop_log_folder_sync, "drop_log_folder_sync"},
    {Mutation::drop_store_folder_sync, "drop_store_folder_sync"},
    {Mutation::drop_data_sync, "drop_data_sync"},
    {Mutation::drop_durable_flag, "drop_durable_flag"},
    {Mutation::drop_journal, "drop_journal"},
    {Mutation::answer_before_writing, "answer_before_writing"},
    {Mutation::believe_failed_sync, "believe_failed_sync"},
    {Mutation::keep_reserve, "keep_reserve"},
    {Mutation::overlook_reused, "overlook_reused", 5},
};

constexpr uint64_t kMutantSeedLast = 300;
// Of the seeds that are the same in every run.
constexpr uint64_t kStates = 7000;
constexpr uint64_t kNewStates = 3000;
// Of so many the new seeds of a run begin at one.
constexpr uint64_t kSeeds = 1'000'000'000;

bool replay(uint64_t seed, const char* mutation_name) {
  Mutation mutation = Mutation::none;
  for (const NamedMutation& each : kMutations) {
    if (mutation_name != nullptr && std::strcmp(each.name, mutation_name) == 0) mutation = each.mutation;
  }
  Simulation simulation(seed, mutation, true);
  const auto violation = simulation.run();
  std::printf("simulation: seed %" PRIu64 ": %" PRIu64 " crash states, %s\n", seed, simulation.states(),
              violation ? violation->c_str() : "fine");
  return !violation;
}

// A simulation that cannot fail shows nothing: each mutation must be found by one of the seeds.
bool find_mutants() {
  bool all_found = true;
  for (const auto& [mutation, name, seed_first] : kMutations) {
    uint64_t seed = seed_first;
    uint64_t states = 0;
    std::optional<std::string> violation;
    for (; seed <= kMutantSeedLast && !violation; seed++) {
      Simulation simulation(seed, mutation, false);
      violation = simulation.run();
      states += simulation.states();
    }
    std::printf("mutation %s: %s\n", name,
                violation ? ("found after " + std::to_string(states) + " crash states: " + *violation).c_str() : "NOT FOUND");
    all_found = all_found && violation;
  }
  return all_found;
}

// Seeds from `seed` on, up to `seed_last` or until there were so many states.
bool run_seeds(uint64_t seed, uint64_t seed_last, uint64_t states_wanted) {
  const uint64_t seed_first = seed;
  const auto began_at = std::chrono::steady_clock::now();
  uint64_t states = 0;
  for (; states < states_wanted && seed <= seed_last; seed++) {
    Simulation simulation(seed, Mutation::none, false);
    if (const auto violation = simulation.run()) {
      std::printf("simulation: seed %" PRIu64 ": %s\n  to replay: npm run simulate -- %" PRIu64 "\n", seed, violation->c_str(), seed);
      return false;
    }
    states += simulation.states();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began_at;
  std::printf("simulation: %" PRIu64 " crash states from seeds %" PRIu64 " to %" PRIu64 ", fine (%.0f per second)\n", states, seed_first, seed - 1,
              static_cast<double>(states) / seconds.count());
  return true;
}

bool is_deterministic() {
  Simulation first(7, Mutation::none, false);
  Simulation second(7, Mutation::none, false);
  return first.run() == second.run() && first.states() == second.states() && first.digest() == second.digest();
}

}  // namespace
}  // namespace haulout

int main(int count, char** arguments) {
  using namespace haulout;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const char* range = count > 1 ? std::strstr(arguments[1], "..") : nullptr;
  if (range != nullptr) {
    return run_seeds(std::strtoull(arguments[1], nullptr, 10), std::strtoull(range + 2, nullptr, 10), UINT64_MAX) ? 0 : 1;
  }
  if (count > 1) return replay(std::strtoull(arguments[1], nullptr, 10), count > 2 ? arguments[2] : nullptr) ? 0 : 1;
  CHECK(is_deterministic());
  if (!run_seeds(1, UINT64_MAX, kStates)) return 1;
  return run_seeds(std::random_device()() % kSeeds, UINT64_MAX, kNewStates) && find_mutants() ? 0 : 1;
}
