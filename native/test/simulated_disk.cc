#include "simulated_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace haulout {
namespace {

// The probability for each change: nothing and everything are as likely as all that lies between.
double probability_of(Random& random, Survival survival) {
  if (survival == Survival::nothing) return 0;
  if (survival == Survival::everything) return 1;
  const uint64_t kind = random() % 4;
  return kind == 0 ? 0 : kind == 1 ? 1 : static_cast<double>(random() % 1000) / 1000;
}

// Any of the writes, and the changes of size up to any of them. A write into what a truncation cut off needs the truncation.
FileImage surviving_image(const DiskNode& file, SectorMemory& memory, Random& random, double probability) {
  size_t resizes = 0;
  for (const FileChange& change : file.changes) resizes += change.kind == FileChange::Kind::resize;
  size_t resizes_left = probability == 0 ? 0 : probability == 1 ? resizes : random() % (resizes + 1);
  FileImage image = file.durable;
  uint64_t writable = UINT64_MAX;
  for (const FileChange& change : file.changes) {
    if (change.kind == FileChange::Kind::resize) {
      if (resizes_left > 0) {
        resizes_left--;
        image.resize(change.bytes, memory);
      } else {
        writable = std::min(writable, change.bytes);
      }
    } else if (change.index * kDiskSectorBytes < writable && happens(random, probability)) {
      image.set(change.index, change.sector);
    }
  }
  // Sectors behind the end were written and cannot be reached.
  image.resize(image.bytes, memory);
  return image;
}

void apply_change(std::map<std::string, NodeReference>& names, const NameChange& change) {
  if (change.node != nullptr) names[change.name] = change.node;
  else names.erase(change.name);
  if (!change.to.empty()) names[change.to] = change.node_at_to;
}

// A change happens only if all earlier ones of its names did.
std::map<std::string, NodeReference> surviving_names(const DiskNode& folder, Random& random, double probability) {
  std::map<std::string, NodeReference> names = folder.durable_names;
  std::map<std::string, bool> is_stuck;
  for (const NameChange& change : folder.name_changes) {
    const bool allowed = !is_stuck[change.name] && (change.to.empty() || !is_stuck[change.to]);
    if (allowed && happens(random, probability)) {
      apply_change(names, change);
    } else {
      is_stuck[change.name] = true;
      if (!change.to.empty()) is_stuck[change.to] = true;
    }
  }
  return names;
}

}  // namespace

Sector SectorMemory::keep(const uint8_t* data) {
  if (data[0] == 0 && std::memcmp(data, data + 1, kDiskSectorBytes - 1) == 0) return nullptr;
  std::memcpy(sectors_.emplace_back().data(), data, kDiskSectorBytes);
  return sectors_.back().data();
}

void FileImage::set(size_t index, Sector sector) {
  if (index >= sectors.size()) {
    if (sector == nullptr) return;
    sectors.resize(index + 1);
  }
  sectors[index] = sector;
}

void FileImage::resize(uint64_t to, SectorMemory& memory) {
  bytes = to;
  const size_t whole = to / kDiskSectorBytes;
  const size_t rest = to % kDiskSectorBytes;
  if (sectors.size() > whole + (rest > 0)) sectors.resize(whole + (rest > 0));
  if (rest == 0 || at(whole) == nullptr) return;
  std::array<uint8_t, kDiskSectorBytes> last{};
  std::memcpy(last.data(), at(whole), rest);
  if (std::memcmp(last.data(), at(whole), kDiskSectorBytes) != 0) sectors[whole] = memory.keep(last.data());
}

void FileImage::read(uint8_t* data, size_t count, uint64_t position) const {
  while (count > 0) {
    const size_t inside = position % kDiskSectorBytes;
    const size_t now = std::min(count, kDiskSectorBytes - inside);
    const Sector sector = at(position / kDiskSectorBytes);
    if (sector == nullptr) std::memset(data, 0, now);
    else std::memcpy(data, sector + inside, now);
    data += now;
    position += now;
    count -= now;
  }
}

std::pair<NodeReference, std::string> SimulatedDisk::parent_of(const std::string& path) const {
  const size_t slash = path.rfind('/');
  return {find(path.substr(0, slash)), path.substr(slash + 1)};
}

NodeReference SimulatedDisk::find(const std::string& path) const {
  NodeReference node = root_;
  for (size_t at = 1; node != nullptr && at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const auto entry = node->names.find(path.substr(at, slash - at));
    node = entry == node->names.end() ? nullptr : entry->second;
    at = slash + 1;
  }
  return node;
}

int SimulatedDisk::create(const std::string& path, bool is_folder) {
  const auto [parent, name] = parent_of(path);
  if (parent == nullptr) return -ENOENT;
  if (parent->names.count(name) > 0) return -EEXIST;
  const auto node = std::make_shared<DiskNode>();
  node->is_folder = is_folder;
  parent->name_changes.push_back({name, node});
  parent->names[name] = node;
  return 0;
}

int SimulatedDisk::unlink(const std::string& path, bool is_folder) {
  const auto [parent, name] = parent_of(path);
  const NodeReference node = parent == nullptr ? nullptr : find(path);
  if (node == nullptr) return -ENOENT;
  if (node->is_folder != is_folder) return is_folder ? -ENOTDIR : -EISDIR;
  if (!node->names.empty()) return -ENOTEMPTY;
  parent->name_changes.push_back({name, nullptr});
  parent->names.erase(name);
  node->is_unnamed = true;
  return 0;
}

int SimulatedDisk::rename(const std::string& from, const std::string& to) {
  const auto [parent, name] = parent_of(from);
  const auto [other_parent, other_name] = parent_of(to);
  const NodeReference node = parent == nullptr ? nullptr : find(from);
  if (node == nullptr) return -ENOENT;
  // The engine renames within a folder only.
  if (parent != other_parent) return -EXDEV;
  const NodeReference target = find(to);
  if (target != nullptr && target->is_folder && !target->names.empty()) return -ENOTEMPTY;
  if (target != nullptr) target->is_unnamed = true;
  parent->name_changes.push_back({name, nullptr, other_name, node});
  apply_change(parent->names, parent->name_changes.back());
  return 0;
}

int SimulatedDisk::exchange(const std::string& one, const std::string& other) {
  const auto [parent, name] = parent_of(one);
  const NodeReference node = find(one);
  const NodeReference other_node = find(other);
  if (node == nullptr || other_node == nullptr) return -ENOENT;
  parent->name_changes.push_back({name, other_node, parent_of(other).second, node});
  apply_change(parent->names, parent->name_changes.back());
  return 0;
}

void SimulatedDisk::write(DiskNode& file, const uint8_t* data, size_t bytes, uint64_t position) {
  if (bytes == 0) return;
  const uint64_t end = position + bytes;
  if (end > file.now.bytes) resize(file, end);
  for (uint64_t at = position - position % kDiskSectorBytes; at < end; at += kDiskSectorBytes) {
    const size_t index = at / kDiskSectorBytes;
    const uint64_t from = std::max(at, position);
    const uint64_t to = std::min(at + kDiskSectorBytes, end);
    bool changed = false;
    for (FileImage* image : {&file.now, file.device.get()}) {
      if (image == nullptr) continue;
      std::array<uint8_t, kDiskSectorBytes> content;
      image->read(content.data(), content.size(), at);
      if (std::memcmp(content.data() + (from - at), data + (from - position), to - from) == 0) continue;
      std::memcpy(content.data() + (from - at), data + (from - position), to - from);
      image->set(index, memory_->keep(content.data()));
      changed = true;
    }
    // Written again as it was: that is on disk, or a change says so already.
    if (!changed) continue;
    const Sector sector = (file.device ? *file.device : file.now).at(index);
    file.changes.push_back({FileChange::Kind::write, index, sector, 0});
  }
}

void SimulatedDisk::resize(DiskNode& file, uint64_t bytes) {
  file.now.resize(bytes, *memory_);
  if (file.device) file.device->resize(bytes, *memory_);
  file.changes.push_back({FileChange::Kind::resize, 0, nullptr, bytes});
}

// As fdatasync of a range: the file's size becomes durable with it, and other ranges do not.
void SimulatedDisk::make_durable(DiskNode& file, uint64_t position, uint64_t bytes) {
  const FileImage& image = file.device ? *file.device : file.now;
  std::vector<FileChange> left;
  for (const FileChange& change : file.changes) {
    if (change.kind == FileChange::Kind::write) {
      left.push_back(change);
      continue;
    }
    file.durable.resize(change.bytes, *memory_);
    // What was written before and lies behind the new end is gone with it.
    FileImage masked;
    for (FileChange& each : left) {
      if ((each.index + 1) * kDiskSectorBytes <= change.bytes) continue;
      masked.sectors.clear();
      masked.set(each.index, each.sector);
      masked.resize(change.bytes, *memory_);
      each.sector = masked.at(each.index);
    }
  }
  const size_t first = position / kDiskSectorBytes;
  const size_t end = (position + bytes + kDiskSectorBytes - 1) / kDiskSectorBytes;
  std::erase_if(left, [&](const FileChange& change) { return change.index >= first && change.index < end; });
  for (size_t index = first; index < end; index++) file.durable.set(index, image.at(index));
  file.changes = std::move(left);
}

void SimulatedDisk::sync(DiskNode& node) {
  if (node.is_folder) {
    node.durable_names = node.names;
    node.name_changes.clear();
    return;
  }
  node.durable = node.device ? *node.device : node.now;
  node.changes.clear();
}

void SimulatedDisk::lose(DiskNode& node, Random& random) {
  const double probability = probability_of(random, Survival::some);
  if (node.is_folder) {
    // Names live in the journal: a file system that cannot write it stops. What is durable is not known.
    return;
  }
  node.durable = surviving_image(node, *memory_, random, probability);
  node.durable.resize(node.now.bytes, *memory_);
  node.changes.clear();
  node.device = std::make_unique<FileImage>(node.durable);
}

uint64_t SimulatedDisk::bytes_used() const {
  uint64_t bytes = 0;
  std::vector<const DiskNode*> nodes{root_.get()};
  while (!nodes.empty()) {
    const DiskNode* node = nodes.back();
    nodes.pop_back();
    bytes += 4096 + (node->now.bytes + 4095) / 4096 * 4096;
    for (const auto& [name, child] : node->names) nodes.push_back(child.get());
  }
  return bytes;
}

NodeReference SimulatedDisk::survivor_of(const DiskNode& node, Random& random, Survival survival) const {
  const auto survivor = std::make_shared<DiskNode>();
  survivor->is_folder = node.is_folder;
  const double probability = probability_of(random, survival);
  if (!node.is_folder) {
    survivor->now = survivor->durable = surviving_image(node, *memory_, random, probability);
    return survivor;
  }
  for (const auto& [name, child] : surviving_names(node, random, probability)) {
    survivor->names[name] = survivor->durable_names[name] = survivor_of(*child, random, survival);
  }
  return survivor;
}

SimulatedDisk SimulatedDisk::after_power_cut(Random& random, Survival survival) const {
  SimulatedDisk disk(*memory_);
  disk.root_ = survivor_of(*root_, random, survival);
  return disk;
}

NodeReference SimulatedDisk::copy_of(const NodeReference& node, std::map<const DiskNode*, NodeReference>& copies) const {
  if (node == nullptr) return nullptr;
  NodeReference& copy = copies[node.get()];
  if (copy != nullptr) return copy;
  copy = std::make_shared<DiskNode>();
  const NodeReference made = copy;
  made->is_folder = node->is_folder;
  made->now = node->now;
  made->durable = node->durable;
  made->changes = node->changes;
  if (node->device) made->device = std::make_unique<FileImage>(*node->device);
  for (const auto& [name, child] : node->names) made->names[name] = copy_of(child, copies);
  for (const auto& [name, child] : node->durable_names) made->durable_names[name] = copy_of(child, copies);
  for (const NameChange& change : node->name_changes) {
    made->name_changes.push_back({change.name, copy_of(change.node, copies), change.to, copy_of(change.node_at_to, copies)});
  }
  return made;
}

SimulatedDisk SimulatedDisk::after_kill() const {
  SimulatedDisk disk(*memory_);
  std::map<const DiskNode*, NodeReference> copies;
  disk.root_ = copy_of(root_, copies);
  return disk;
}

}  // namespace haulout
