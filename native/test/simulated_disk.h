// A file system in memory that knows what is durable. What was changed since the last sync is kept as a list; a power cut leaves any
// part of it that POSIX and a journal allow:
//
// - Data: each sector of 512 bytes is as it was at the last sync or as any write since has made it, independently of all others.
// - A file's size: the changes of one file's size (truncate, allocate, a write behind the end) happen in order, up to any of them.
//   What a truncation that happened has cut off stays away; what grew and was not written reads as zeros.
// - Names: each create, unlink, mkdir, rmdir and rename happened or did not, wholly; those of one name happen in order. A name whose
//   change was not synced says nothing about the content, and the other way round: an fsync of a file does not keep its name.
//
// A sync that fails leaves any part of the changes on disk and forgets the rest, while buffered reads still show all of it: a second
// sync succeeds and means nothing. (That is what Linux does.) Direct reads show what is on the device.
//
// Plain values and no clock: two runs with the same random numbers do the same.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace haulout {

constexpr size_t kDiskSectorBytes = 512;

using Random = std::mt19937_64;

inline bool happens(Random& random, double probability) {
  return static_cast<double>(random() >> 11) * 0x1p-53 < probability;
}

// 512 bytes that never change; null for zeros.
using Sector = const uint8_t*;

// Owns the sectors of all disks of a run.
class SectorMemory {
 public:
  Sector keep(const uint8_t* data);

 private:
  std::deque<std::array<uint8_t, kDiskSectorBytes>> sectors_;
};

struct FileImage {
  uint64_t bytes = 0;
  std::vector<Sector> sectors;

  Sector at(size_t index) const { return index < sectors.size() ? sectors[index] : nullptr; }
  void set(size_t index, Sector sector);
  // What is cut off is gone, also in the sector that the new end lies in.
  void resize(uint64_t to, SectorMemory& memory);
  void read(uint8_t* data, size_t count, uint64_t position) const;
};

struct FileChange {
  enum class Kind { write, resize } kind;
  size_t index;
  Sector sector;
  uint64_t bytes;
};

struct DiskNode;
using NodeReference = std::shared_ptr<DiskNode>;

// What `name` stands for afterwards, null for nothing; in a rename also what `to` does.
struct NameChange {
  std::string name;
  NodeReference node;
  std::string to = {};
  NodeReference node_at_to = {};
};

struct DiskNode {
  bool is_folder = false;
  // Nothing leads to it any more, but for who has it open.
  bool is_unnamed = false;

  FileImage now;
  FileImage durable;
  std::vector<FileChange> changes;
  // What direct reads see, when a failed sync has made that differ from `now`.
  std::unique_ptr<FileImage> device;

  std::map<std::string, NodeReference> names;
  std::map<std::string, NodeReference> durable_names;
  std::vector<NameChange> name_changes;
};

// How much of what was not synced a power cut leaves.
enum class Survival { nothing, everything, some };

class SimulatedDisk {
 public:
  explicit SimulatedDisk(SectorMemory& memory) : memory_(&memory), root_(std::make_shared<DiskNode>()) { root_->is_folder = true; }

  NodeReference find(const std::string& path) const;
  // These return 0 or a negative errno, as the system calls do.
  int create(const std::string& path, bool is_folder);
  int unlink(const std::string& path, bool is_folder);
  int rename(const std::string& from, const std::string& to);
  int exchange(const std::string& one, const std::string& other);

  void write(DiskNode& file, const uint8_t* data, size_t bytes, uint64_t position);
  void resize(DiskNode& file, uint64_t bytes);
  // What the range holds now is durable, and the file's size.
  void make_durable(DiskNode& file, uint64_t position, uint64_t bytes);
  void sync(DiskNode& node);
  // The sync that fails.
  void lose(DiskNode& node, Random& random);

  uint64_t bytes_used() const;

  SimulatedDisk after_power_cut(Random& random, Survival survival) const;
  // The disk as it is: what a process sees that starts after another one was killed.
  SimulatedDisk after_kill() const;

 private:
  std::pair<NodeReference, std::string> parent_of(const std::string& path) const;
  NodeReference survivor_of(const DiskNode& node, Random& random, Survival survival) const;
  NodeReference copy_of(const NodeReference& node, std::map<const DiskNode*, NodeReference>& copies) const;

  SectorMemory* memory_;
  NodeReference root_;
};

}  // namespace haulout
