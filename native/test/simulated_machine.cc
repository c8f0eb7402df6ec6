#include "simulated_machine.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <set>

namespace haulout {

class SimulatedFiles final : public Files {
 public:
  explicit SimulatedFiles(Machine& machine) : machine_(machine) {}

  int open(const std::string& path, int flags) override {
    if ((flags & O_DIRECT) && !machine_.allows_direct) return -EINVAL;
    NodeReference node = machine_.disk.find(path);
    if (node == nullptr) {
      if (!(flags & O_CREAT)) return -ENOENT;
      if (const int refused = refuse_new(); refused < 0) return refused;
      if (const int result = machine_.disk.create(path, false); result < 0) return result;
      machine_.step("create", path);
      node = machine_.disk.find(path);
    }
    if ((flags & O_TRUNC) && node->now.bytes > 0 && !machine_.is_dead) {
      machine_.disk.resize(*node, 0);
      machine_.step("truncate", path);
    }
    machine_.files_.push_back({node, path, (flags & O_DIRECT) != 0});
    return static_cast<int>(machine_.files_.size() - 1);
  }

  int close(int file) override {
    machine_.files_[static_cast<size_t>(file)].node.reset();
    return 0;
  }

  int64_t read_some(int file, uint8_t* data, size_t bytes, uint64_t position) override {
    const auto& [node, path, direct] = at(file);
    if (machine_.happens(machine_.trouble.interruption)) return -EINTR;
    if (machine_.happens(machine_.trouble.read_error)) return -EIO;
    const FileImage& image = direct && node->device ? *node->device : node->now;
    size_t count = position >= image.bytes ? 0 : std::min<uint64_t>(bytes, image.bytes - position);
    if (count > 4096 && machine_.happens(machine_.trouble.interruption)) count = std::max<size_t>(align_down(count / 2, 4096), 4096);
    image.read(data, count, position);
    return static_cast<int64_t>(count);
  }

  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    const auto& [node, path, direct] = at(file);
    if (machine_.is_dead) return -EIO;
    if (machine_.happens(machine_.trouble.interruption)) return -EINTR;
    const bool short_count = bytes > 4096 && machine_.happens(machine_.trouble.interruption);
    const size_t count = short_count ? std::max<size_t>(align_down(bytes / 2, 4096), 4096) : bytes;
    const bool grows = position + count > node->now.bytes;
    if (grows && !machine_.has_room(count)) return -ENOSPC;
    machine_.disk.write(*node, data, count, position);
    machine_.step("write", path);
    return machine_.happens(machine_.trouble.write_error) ? -EIO : static_cast<int64_t>(count);
  }

  int sync(int file) override {
    machine_.work_on_ring();
    return machine_.sync_node(*at(file).node, at(file).path);
  }

  int drop_cache(int file) override {
    DiskNode& node = *at(file).node;
    if (node.device) node.now = *node.device;
    return 0;
  }

  int truncate(int file, uint64_t bytes) override {
    if (machine_.is_dead) return -EIO;
    if (at(file).node->now.bytes == bytes) return 0;
    if (machine_.mutation == Mutation::keep_reserve && at(file).path.ends_with("haulout.reserve~")) return 0;
    machine_.disk.resize(*at(file).node, bytes);
    machine_.step("truncate", at(file).path);
    return 0;
  }

  int allocate(int file, uint64_t position, uint64_t bytes) override {
    DiskNode& node = *at(file).node;
    if (machine_.is_dead) return -EIO;
    if (position + bytes <= node.now.bytes) return 0;
    const uint64_t more = position + bytes - node.now.bytes;
    if (!machine_.has_room(more)) return -ENOSPC;
    machine_.disk.resize(node, position + bytes);
    machine_.step("allocate", at(file).path);
    return 0;
  }

  int64_t size(int file) override { return static_cast<int64_t>(at(file).node->now.bytes); }

  int make_directory(const std::string& path) override {
    if (machine_.disk.find(path) != nullptr) return -EEXIST;
    if (const int refused = refuse_new(); refused < 0) return refused;
    return changed(machine_.disk.create(path, true), "mkdir", path);
  }

  int rename(const std::string& from, const std::string& to) override {
    if (const int refused = refuse(); refused < 0) return refused;
    return changed(machine_.disk.rename(from, to), "rename", from);
  }

  int exchange(const std::string& one, const std::string& other) override {
    if (const int refused = refuse(); refused < 0) return refused;
    return changed(machine_.disk.exchange(one, other), "exchange", one);
  }

  int remove(const std::string& path) override {
    if (const int refused = refuse(); refused < 0) return refused;
    return changed(machine_.disk.unlink(path, false), "unlink", path);
  }

  int remove_directory(const std::string& path) override {
    if (const int refused = refuse(); refused < 0) return refused;
    return changed(machine_.disk.unlink(path, true), "rmdir", path);
  }

  int list(const std::string& path, std::vector<std::string>& names) override {
    const NodeReference node = machine_.disk.find(path);
    if (node == nullptr) return -ENOENT;
    if (!node->is_folder) return -ENOTDIR;
    if (machine_.happens(machine_.trouble.read_error)) return -EIO;
    for (const auto& [name, child] : node->names) {
      if (machine_.mutation != Mutation::overlook_reused || !name.ends_with(kReusedSuffix)) names.push_back(name);
    }
    return 0;
  }

  int sync_directory(const std::string& path) override {
    const NodeReference node = machine_.disk.find(path);
    return node == nullptr ? -ENOENT : machine_.sync_node(*node, path);
  }

  int64_t files_free(const std::string&) override { return INT64_MAX; }

  // One machine has one process.
  int lock(int) override { return 0; }
  int create_exclusively(const std::string&) override { return 0; }

  int64_t bytes_free(const std::string&) override {
    const uint64_t used = machine_.bytes_used();
    return used >= machine_.trouble.disk_bytes ? 0 : static_cast<int64_t>(std::min<uint64_t>(machine_.trouble.disk_bytes - used, INT64_MAX));
  }

 private:
  const Machine::OpenedFile& at(int file) const { return machine_.files_[static_cast<size_t>(file)]; }
  int refuse() { return machine_.is_dead || machine_.happens(machine_.trouble.folder_error) ? -EIO : 0; }
  int refuse_new() {
    if (!machine_.has_room(4096)) return -ENOSPC;
    return refuse();
  }
  int changed(int result, const char* action, const std::string& path) {
    if (result == 0) machine_.step(action, path);
    return result;
  }

  Machine& machine_;
};

class SimulatedRing final : public Ring {
 public:
  explicit SimulatedRing(Machine& machine) : machine_(machine) {}
  // What was answered too early may still be there.
  ~SimulatedRing() override {
    machine_.operations_.clear();
    machine_.ring_done_.clear();
  }

  void start(std::unique_ptr<Operation> operation) override {
    pending_++;
    operation->done = [this, done = std::move(operation->done)](int64_t result) {
      pending_--;
      done(result);
    };
    queued_.push_back(std::move(operation));
  }
  void submit() override {
    for (auto& operation : queued_) machine_.operations_.push_back({std::move(operation), std::nullopt, 0});
    queued_.clear();
  }
  void reap() override {
    auto done = std::move(machine_.ring_done_);
    machine_.ring_done_.clear();
    for (const auto& each : done) each();
  }
  void drain() override {
    do {
      submit();
      while (!machine_.operations_.empty()) machine_.work_on_ring();
      reap();
    } while (pending_ > 0);
  }
  size_t pending() const override { return pending_; }

 private:
  Machine& machine_;
  std::vector<std::unique_ptr<Operation>> queued_;
  size_t pending_ = 0;
};

class SimulatedWorkers final : public Workers {
 public:
  explicit SimulatedWorkers(Machine& machine) : Workers(0, [] {}), machine_(machine) {}

  void run(std::function<void()> work, std::function<void()> done) override {
    pending_++;
    machine_.pieces_.push_back({std::move(work), std::move(done)});
  }
  void reap() override {
    auto done = std::move(machine_.pieces_done_);
    machine_.pieces_done_.clear();
    pending_ -= done.size();
    for (const auto& each : done) each();
  }
  void drain() override {
    while (pending_ > 0) {
      machine_.work();
      reap();
    }
  }
  size_t pending() const override { return pending_; }

 private:
  Machine& machine_;
  size_t pending_ = 0;
};

StoreOptions Machine::options() {
  StoreOptions options;
  options.files = std::make_shared<SimulatedFiles>(*this);
  options.make_ring = [this](Wake) { return std::make_unique<SimulatedRing>(*this); };
  options.make_workers = [this](Wake) { return std::make_unique<SimulatedWorkers>(*this); };
  // It stands still: the bytes of an index come from the seed alone.
  options.now_ms = [] { return int64_t{0}; };
  return options;
}

bool Machine::work() {
  if (is_idle()) return false;
  if (!operations_.empty() && (pieces_.empty() || happens(0.5))) {
    work_on_ring();
    return true;
  }
  if (happens(trouble.others)) {
    const uint64_t used = bytes_used() - others_bytes_;
    others_bytes_ = happens(0.5) || used > trouble.disk_bytes ? 0 : trouble.disk_bytes - used;
  }
  const auto chosen = pieces_.begin() + static_cast<ptrdiff_t>(random() % pieces_.size());
  Piece piece = std::move(*chosen);
  pieces_.erase(chosen);
  piece.work();
  piece.work = nullptr;
  pieces_done_.push_back(std::move(piece.done));
  return true;
}

// The device works while threads do: this is also called in the middle of a worker's piece.
void Machine::work_on_ring() {
  if (operations_.empty()) return;
  const size_t chosen = random() % operations_.size();
  if (!operations_[chosen].answer) {
    if (mutation == Mutation::answer_before_writing) answer_too_early(*operations_[chosen].operation);
    return transfer(operations_[chosen]);
  }
  InFlight in_flight = std::move(operations_[chosen]);
  operations_.erase(operations_.begin() + static_cast<ptrdiff_t>(chosen));
  finish(in_flight);
}

void Machine::answer_too_early(Operation& operation) {
  if (operation.kind != Operation::Kind::write || operation.done == nullptr) return;
  int64_t bytes = 0;
  for (const iovec& part : operation.parts) bytes += static_cast<int64_t>(part.iov_len);
  // The copy keeps the buffers until the write is over.
  operation.done = [done = operation.done, answered = std::make_shared<bool>(false), bytes](int64_t) {
    if (!std::exchange(*answered, true)) done(bytes);
  };
  ring_done_.push_back([done = operation.done] { done(0); });
}

uint64_t Machine::bytes_used() const {
  std::set<const DiskNode*> unnamed;
  for (const OpenedFile& file : files_) {
    if (file.node != nullptr && file.node->is_unnamed) unnamed.insert(file.node.get());
  }
  uint64_t bytes = disk.bytes_used() + others_bytes_;
  for (const DiskNode* node : unnamed) bytes += align_up(node->now.bytes, 4096);
  return bytes;
}

bool Machine::has_room(uint64_t more_bytes) const {
  return trouble.disk_bytes == UINT64_MAX || bytes_used() + more_bytes <= trouble.disk_bytes;
}

bool Machine::drops_sync(const std::string& path, bool is_folder) const {
  const bool is_store = std::count(path.begin(), path.end(), '/') == 1;
  if (is_folder) return mutation == (is_store ? Mutation::drop_store_folder_sync : Mutation::drop_log_folder_sync);
  return mutation == (path.back() == '~' ? Mutation::drop_index_sync : Mutation::drop_segment_sync);
}

int Machine::sync_node(DiskNode& node, const std::string& path) {
  if (is_dead) return -EIO;
  step("sync", path);
  if (drops_sync(path, node.is_folder)) return 0;
  if (happens(trouble.sync_error)) {
    disk.lose(node, random);
    return mutation == Mutation::believe_failed_sync ? 0 : -EIO;
  }
  disk.sync(node);
  return 0;
}

void Machine::transfer(InFlight& in_flight) {
  const Operation& operation = *in_flight.operation;
  const OpenedFile& file = files_[static_cast<size_t>(operation.file)];
  in_flight.position = operation.position;
  if (operation.kind == Operation::Kind::sync) {
    in_flight.answer = 0;
  } else if (happens(trouble.interruption)) {
    in_flight.answer = happens(0.5) ? -EINTR : -EAGAIN;
  } else if (operation.kind == Operation::Kind::read) {
    in_flight.answer = read_parts(operation, file);
  } else if (is_dead) {
    in_flight.answer = -EIO;
  } else {
    in_flight.answer = write_parts(operation, file);
    step("write", file.path);
  }
}

int64_t Machine::read_parts(const Operation& operation, const OpenedFile& file) {
  if (happens(trouble.read_error)) return -EIO;
  const FileImage& image = file.direct && file.node->device ? *file.node->device : file.node->now;
  uint64_t position = operation.position;
  for (const iovec& part : operation.parts) {
    const size_t count = position >= image.bytes ? 0 : std::min<uint64_t>(part.iov_len, image.bytes - position);
    image.read(static_cast<uint8_t*>(part.iov_base), count, position);
    position += count;
    if (count < part.iov_len || happens(trouble.interruption)) break;
  }
  return static_cast<int64_t>(position - operation.position);
}

int64_t Machine::write_parts(const Operation& operation, const OpenedFile& file) {
  uint64_t position = operation.position;
  for (const iovec& part : operation.parts) {
    size_t count = part.iov_len;
    const bool short_count = count > 4096 && happens(trouble.interruption);
    if (short_count) count = std::max<size_t>(align_down(count / 2, 4096), 4096);
    if (position + count > file.node->now.bytes && !has_room(count)) return -ENOSPC;
    disk.write(*file.node, static_cast<const uint8_t*>(part.iov_base), count, position);
    position += count;
    if (short_count || happens(trouble.interruption)) break;
  }
  if (!happens(trouble.write_error)) return static_cast<int64_t>(position - operation.position);
  // Through the page cache: what could not be written looks as if it had been.
  if (!file.direct) disk.lose(*file.node, random);
  return -EIO;
}

// The device has answered: from here on a durable write is durable.
void Machine::finish(InFlight& in_flight) {
  Operation& operation = *in_flight.operation;
  const OpenedFile file = files_[static_cast<size_t>(operation.file)];
  int64_t answer = *in_flight.answer;
  if (operation.kind == Operation::Kind::sync) {
    answer = is_dead ? -EIO : mutation == Mutation::drop_data_sync ? 0 : sync_node(*file.node, file.path);
  } else if (operation.kind == Operation::Kind::write && operation.durable && answer > 0 && !is_dead &&
             mutation != Mutation::drop_durable_flag && !(mutation == Mutation::drop_journal && file.path.ends_with(kJournalName))) {
    disk.make_durable(*file.node, in_flight.position, static_cast<uint64_t>(answer));
  }
  int64_t result = 0;
  if (advance(operation, answer, result) == Next::again) {
    in_flight.answer.reset();
    operations_.push_back(std::move(in_flight));
    return;
  }
  ring_done_.push_back([operation = std::shared_ptr<Operation>(std::move(in_flight.operation)), result] { operation->done(result); });
}

}  // namespace haulout
