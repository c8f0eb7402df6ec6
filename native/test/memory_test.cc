// The memory that reads and appends share, files that are mapped, and what is read before anybody asks for it.
#include "support.h"

namespace haulout {
namespace {

void test_memory() {
  CHECK(find_run(0, 1) == -1 && find_run(~uint64_t{0}, 64) == 0 && find_run(~uint64_t{1}, 64) == -1);
  CHECK(find_run(0b0111'0110, 2) == 1 && find_run(0b0111'0110, 3) == 4 && find_run(0b0111'0110, 4) == -1);
  CHECK(find_run(uint64_t{1} << 63, 1) == 63 && find_run(uint64_t{0x7fff} << 49, 15) == 49 && find_run(uint64_t{0x7fff} << 49, 16) == -1);
  const auto pool = std::make_shared<MemoryPool>();
  constexpr size_t kMiB = size_t{1} << 20;
  // What does not share a region's bytes is there at the same time; what is given back is used again.
  std::vector<MemoryReference> blocks;
  for (int i = 0; i < 6; i++) {
    blocks.push_back(pool->take(kMiB + 36864));
    std::memset(blocks.back()->data, i, blocks.back()->bytes);
  }
  for (int i = 0; i < 6; i++) CHECK(blocks[i]->data[0] == i && blocks[i]->data[blocks[i]->bytes - 1] == i);
  CHECK(pool->bytes_mapped() == 8 * kMiB && pool->bytes_taken() == 6 * (kMiB + 36864));
  const uint8_t* second = blocks[1]->data;
  blocks[1] = nullptr;
  blocks[1] = pool->take(kMiB);
  CHECK(blocks[1]->data == second && reinterpret_cast<uintptr_t>(second) % kBlockBytes == 0);
  // Small ones have regions of their own, page beside page, and large ones none.
  const MemoryReference small = pool->take(4096);
  std::vector<MemoryReference> pages;
  for (int i = 0; i < 63; i++) pages.push_back(pool->take(4096));
  CHECK(pages[62]->data == small->data + 63 * 4096 && pool->bytes_mapped() == 8 * kMiB + 256 * 1024);
  pages[7] = nullptr;
  CHECK(pool->take(8192)->data != pages[6]->data + 4096 && pool->take(4096)->data == pages[6]->data + 4096);
  for (int i = 0; i < 1000; i++) pages.push_back(pool->take(4096 + i % 4 * 4096));
  CHECK(pool->bytes_mapped() > 17 * kMiB);
  pages.clear();
  CHECK(pool->bytes_mapped() == 10 * kMiB + 256 * 1024);
  const MemoryReference large = pool->take(9 * kMiB);
  std::memset(large->data, 1, large->bytes);
  // After a burst a part of it is kept.
  for (int i = 0; i < 40; i++) blocks.push_back(pool->take(4 * kMiB));
  CHECK(pool->bytes_mapped() == 170 * kMiB + 256 * 1024);
  blocks.clear();
  CHECK(pool->bytes_mapped() == 34 * kMiB + 256 * 1024 && pool->bytes_taken() == 9 * kMiB + 4096);
  // What was given up has memory again when it is used again, and stays where it was: each block says where its region is.
  for (int i = 0; i < 40; i++) {
    blocks.push_back(pool->take(4 * kMiB));
    std::memset(blocks.back()->data, i, blocks.back()->bytes);
    const MemoryRegion* region = blocks.back()->region;
    CHECK(region->data == blocks.back()->data && region->bytes == 4 * kMiB && &region->pool == pool.get());
    CHECK(i == 0 || region->number > blocks[static_cast<size_t>(i) - 1]->region->number);
  }
  CHECK(pool->bytes_mapped() == 162 * kMiB + 256 * 1024 && large->region == nullptr && small->region->bytes == 256 * 1024);
}

// A file that shrinks and grows while it is read through its mapping.
void test_maps() {
  const TemporaryFolder folder;
  const int file = ::open((folder / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  std::vector<uint8_t> written(1 << 20, 7);
  const auto fill = [&] { CHECK(::pwrite(file, written.data(), written.size(), 0) == static_cast<ssize_t>(written.size())); };
  fill();
  FileMaps maps;
  std::vector<uint8_t> read(300000);
  const std::vector<iovec> parts{{read.data(), 100}, {read.data() + 100, read.size() - 100}};
  CHECK(maps.read(file, parts, 5) == static_cast<int64_t>(read.size()) && read[0] == 7 && read.back() == 7);
  CHECK(maps.read(file, parts, (1 << 20) - 10) == 10);
  CHECK(maps.read(file, parts, 1 << 20) == 0);
  CHECK(maps.read(-1, parts, 0) == -EBADF);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      CHECK(::ftruncate(file, 4096) == 0);
      fill();
    }
  });
  for (int i = 0; i < 3000; i++) {
    const int64_t got = maps.read(file, parts, 500000);
    CHECK(got == -EIO || (got >= 0 && got <= static_cast<int64_t>(read.size())));
  }
  stop = true;
  other.join();
  CHECK(maps.count() == 1);
  maps.forget(file);
  CHECK(maps.count() == 0);
  ::close(file);
}

void test_read_ahead_memory() {
  const auto pool = std::make_shared<MemoryPool>();
  ReadAhead ahead;
  // Only its address counts.
  const auto place = std::make_shared<int>();
  const std::shared_ptr<Segment> segment(place, static_cast<Segment*>(static_cast<void*>(place.get())));
  for (int64_t offset = 0; offset < 64; offset++) {
    const auto next = std::make_shared<NextRead>(NextRead{segment, offset, 0});
    next->memory = pool->take(1 << 20);
    ahead.remember(segment, next);
  }
  CHECK(pool->bytes_taken() <= size_t{32} << 20);
  CHECK(ahead.take(segment, 31) == nullptr);
  CHECK(ahead.take(segment, 32) != nullptr);
  CHECK(ahead.take(segment, 32) == nullptr);
  CHECK(ahead.take(segment, 63)->offset == 63);
}

// Who goes on where an answer ended finds the next bytes in memory: they are there even when the file is gone meanwhile.
void test_read_ahead() {
  const TemporaryFolder folder;
  StoreOptions options;
  options.tail_bytes_max = 0;
  Owner owner(folder.path(), options);
  const LogReference log = *owner.open_log("a");
  std::vector<uint8_t> expected;
  for (int i = 0; i < 400; i++) {
    std::vector<uint8_t> entry = make_entry(5000, static_cast<uint8_t>(i + 1));
    CHECK(log->append(entry.data(), entry.size()));
    store_i64(entry.data(), i);
    expected.insert(expected.end(), entry.begin(), entry.end());
  }
  CHECK(!owner.finish([&](Done done) { log->flush(done); }));
  CHECK(!owner.finish([&](Done done) { log->roll(done); }));
  std::vector<uint8_t> got;
  int64_t offset = 0;
  const auto read_on = [&] {
    const auto outcome = owner.read(log, offset, 100000);
    if (!outcome) return false;
    for (const Slice& part : outcome->parts) got.insert(got.end(), part.data, part.data + part.bytes);
    offset = outcome->next_offset;
    owner.run_until([] { return false; });
    return true;
  };
  CHECK(read_on() && read_on());
  CHECK(::truncate((folder / kFirst).c_str(), 0) == 0);
  CHECK(read_on());
  CHECK(offset == 60 && std::equal(got.begin(), got.end(), expected.begin()));
  CHECK(!read_on());
  CHECK(!owner.close());
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  test_memory();
  test_maps();
  test_read_ahead_memory();
  for (const BackendChoice backend : kBackends) {
    tested_backend = backend;
    test_read_ahead();
  }
  std::puts("memory: fine");
}
