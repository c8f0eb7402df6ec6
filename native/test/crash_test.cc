// Cut the power in the middle of a write, from a seed, again and again: every entry that was committed is there afterwards, byte
// for byte, in order, and nothing that never was appended. `crash_test SEED` replays one.
#include <cinttypes>

#include "support.h"

namespace haulout {
namespace {

struct Model {
  // All entries ever appended and not known to be lost, as they should be in the log.
  std::vector<std::vector<uint8_t>> entries;
  size_t committed = 0;
};

void append_some(Owner& owner, const LogReference& log, Model& model, std::mt19937_64& random) {
  for (int i = 0; i < 60 && !log->failure(); i++) {
    const size_t bytes = 61 + random() % (random() % 4 == 0 ? 40000 : 900);
    std::vector<uint8_t> entry = make_entry(bytes, static_cast<uint8_t>(random() % 255 + 1));
    const auto end = log->append(entry.data(), entry.size());
    if (!end) {
      CHECK(end.error().code == ErrorCode::failed || end.error().code == ErrorCode::full);
      break;
    }
    store_i64(entry.data(), *end - 1);
    CHECK(static_cast<size_t>(*end) == model.entries.size() + 1);
    model.entries.push_back(std::move(entry));
    if (random() % 8 == 0) log->roll([](Status) {});
    if (random() % 3 == 0) owner.run_until([&] { return log->committed_end_offset() == log->end_offset() || log->failure(); });
  }
  owner.run_until([&] { return log->committed_end_offset() == log->end_offset() || log->failure(); });
  model.committed = static_cast<size_t>(log->committed_end_offset());
}

void check(Owner& owner, const LogReference& log, Model& model) {
  const auto count = static_cast<size_t>(log->end_offset());
  CHECK(count >= model.committed && count <= model.entries.size());
  model.entries.resize(count);
  std::vector<uint8_t> expected;
  for (const auto& entry : model.entries) expected.insert(expected.end(), entry.begin(), entry.end());
  CHECK(content_of(owner, log) == expected);
}

void run(uint64_t seed) {
  const TemporaryFolder folder;
  std::mt19937_64 random(seed);
  Model model;
  for (int life = 0; life < 4; life++) {
    const auto faults = std::make_shared<Faults>(seed * 31 + static_cast<uint64_t>(life));
    StoreOptions options;
    options.files = std::make_shared<FaultFiles>(faults);
    options.make_ring = [faults](Wake wake) { return std::make_unique<FaultRing>(std::move(wake), faults); };
    options.tail_bytes_max = random() % 2 == 0 ? 20000 : 1 << 20;
    if (random() % 3 > 0) options.uncovered_bytes_max = 1 + random() % 40000;
    Owner owner(folder.path(), options);
    CHECK(owner.store);
    const auto log = owner.open_log("a", true, 100000);
    if (!log) std::fprintf(stderr, "seed %" PRIu64 ", life %d: %s\n", seed, life, log.error().message.c_str());
    CHECK(log);
    check(owner, *log, model);
    faults->short_transfer = 0.2;
    if (random() % 4 == 0) faults->write_error = 0.05;
    else faults->crash = 0.08;
    if (random() % 4 == 0) faults->bytes_free = static_cast<int64_t>(random() % 1000000);
    append_some(owner, *log, model, random);
    // The store goes without a close.
  }
  Owner owner(folder.path());
  const auto log = owner.open_log("a", true, 100000);
  if (!log) std::fprintf(stderr, "seed %" PRIu64 ", at the end: %s\n", seed, log.error().message.c_str());
  CHECK(log);
  check(owner, *log, model);
  CHECK(!owner.close());
}

}  // namespace
}  // namespace haulout

int main(int count, char** arguments) {
  if (count > 1) {
    haulout::run(std::strtoull(arguments[1], nullptr, 10));
  } else {
    for (uint64_t seed = 1; seed <= 150; seed++) haulout::run(seed);
  }
  std::puts("crash: fine");
}
