// A computer for the engine to run on, without time or threads: a simulated disk, a ring and workers that do one thing at a time, in
// an order that a seed decides, and the faults that a disk has. Everything that changes the disk is a step; before a step's effect is
// complete, `on_step` may look at the disk: that is where the power goes.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "../store.h"
#include "simulated_disk.h"

namespace haulout {

// What the engine relies on, left out. Each must break the promise in the end, or the simulation could not see it.
enum class Mutation {
  none,
  drop_segment_sync,
  drop_index_sync,
  drop_log_folder_sync,
  drop_store_folder_sync,
  drop_data_sync,
  drop_durable_flag,
  drop_journal,
  answer_before_writing,
  believe_failed_sync,
  keep_reserve,
  overlook_reused,
};

struct Trouble {
  // Of each operation.
  double write_error = 0;
  double sync_error = 0;
  double read_error = 0;
  double folder_error = 0;
  // EINTR, EAGAIN and short counts: nobody may notice.
  double interruption = 0;
  uint64_t disk_bytes = UINT64_MAX;
  // Of each piece of work: before it somebody else takes all that is free, or gives it back.
  double others = 0;
};

class Machine {
 public:
  Machine(SimulatedDisk disk, Random& random) : disk(std::move(disk)), random(random) {}

  StoreOptions options();
  // Does one thing that is waiting to be done; false if nothing is.
  bool work();
  // Pieces of work and operations under way.
  bool is_idle() const { return operations_.empty() && pieces_.empty(); }

  // Also by files that have no name any more, and by somebody else.
  uint64_t bytes_used() const;

  SimulatedDisk disk;
  Random& random;
  Trouble trouble;
  Mutation mutation = Mutation::none;
  bool allows_direct = true;
  std::function<void(const char* action, const std::string& path)> on_step;
  // Nothing has any effect any more.
  bool is_dead = false;

 private:
  friend class SimulatedFiles;
  friend class SimulatedRing;
  friend class SimulatedWorkers;

  struct OpenedFile {
    NodeReference node;
    std::string path;
    bool direct;
  };
  // An operation on its way through the device. What a write has transferred is on the disk and not yet durable.
  struct InFlight {
    std::unique_ptr<Operation> operation;
    std::optional<int64_t> answer;
    uint64_t position;
  };
  struct Piece {
    std::function<void()> work;
    std::function<void()> done;
  };

  void step(const char* action, const std::string& path) {
    if (on_step && !is_dead) on_step(action, path);
  }
  bool happens(double probability) { return haulout::happens(random, probability); }
  bool has_room(uint64_t more_bytes) const;
  bool drops_sync(const std::string& path, bool is_folder) const;
  int sync_node(DiskNode& node, const std::string& path);
  void work_on_ring();
  void answer_too_early(Operation& operation);
  void transfer(InFlight& in_flight);
  int64_t write_parts(const Operation& operation, const OpenedFile& file);
  int64_t read_parts(const Operation& operation, const OpenedFile& file);
  void finish(InFlight& in_flight);

  std::vector<OpenedFile> files_;
  // Of somebody else, on the same disk.
  uint64_t others_bytes_ = 0;
  std::vector<InFlight> operations_;
  std::vector<std::function<void()>> ring_done_;
  std::vector<Piece> pieces_;
  std::vector<std::function<void()>> pieces_done_;
};

}  // namespace haulout
