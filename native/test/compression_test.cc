// Compressed segments: the format by itself, every byte of it damaged in turn, and logs that have them made while they are used.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "../compressed_files.h"
#include "support.h"

namespace haulout {
namespace {

// Words of a small vocabulary: they get smaller by about two thirds.
std::vector<uint8_t> some_text(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> text;
  while (text.size() < bytes) {
    const std::string word = "word-" + std::to_string(random() % 5000) + " ";
    text.insert(text.end(), word.begin(), word.end());
  }
  text.resize(bytes);
  return text;
}

std::vector<uint8_t> some_noise(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> noise(bytes);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  return noise;
}

void write_file(const std::string& path, const std::vector<uint8_t>& content) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
}

std::vector<uint8_t> content_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Compresses the file as a worker would, in pieces. The size of what came out, or nothing.
std::optional<uint64_t> compress_file(const std::string& path, SegmentCodec codec, uint32_t block_bytes = kSegmentBlockBytes) {
  const auto files = std::make_shared<Files>();
  const std::vector<uint8_t> plain = content_of_file(path);
  CompressedWriter writer(files, path, stored_path(path, codec), {codec, 0, plain.size(), block_bytes}, crc32c(0, plain.data(), plain.size()), false);
  while (writer.work(2) == CompressedWriter::State::begun) {}
  if (writer.state() == CompressedWriter::State::given_up) {
    CHECK(!std::filesystem::exists(stored_path(path, codec) + "~"));
    return std::nullopt;
  }
  std::filesystem::rename(stored_path(path, codec) + "~", stored_path(path, codec));
  CHECK(std::filesystem::file_size(stored_path(path, codec)) == writer.stored_bytes());
  return writer.stored_bytes();
}

void test_format(SegmentCodec codec) {
  for (const size_t bytes : {size_t{1000}, size_t{kSegmentBlockBytes}, 3 * size_t{kSegmentBlockBytes} + 777}) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "a");
    std::vector<uint8_t> plain = some_text(bytes, bytes);
    // A block that does not get smaller among others that do.
    if (bytes > 2 * kSegmentBlockBytes) std::ranges::copy(some_noise(kSegmentBlockBytes, 1), plain.begin() + kSegmentBlockBytes);
    write_file(folder / kFirst, plain);
    CHECK(compress_file(folder / kFirst, codec));
    std::filesystem::remove(folder / kFirst);

    const auto files = std::make_shared<CompressedFiles>(std::make_shared<Files>());
    const OpenFile file(files, files->open(folder / kFirst, O_RDWR | O_DIRECT));
    CHECK(file.get() >= 0 && files->codec_of(file.get()) == codec && files->size(file.get()) == static_cast<int64_t>(bytes));
    std::mt19937_64 random(bytes);
    for (int i = 0; i < 300; i++) {
      const uint64_t from = random() % (bytes + 10);
      std::vector<uint8_t> read(random() % (i % 10 == 0 ? 2 * bytes : 5000) + 1);
      const int64_t got = files->read(file.get(), read.data(), read.size(), from);
      CHECK(got == static_cast<int64_t>(from >= bytes ? 0 : std::min(read.size(), bytes - from)));
      CHECK(std::equal(read.begin(), read.begin() + got, plain.begin() + static_cast<ptrdiff_t>(std::min(from, bytes))));
    }
    uint8_t byte = 0;
    CHECK(files->write(file.get(), &byte, 1, 0) == -EROFS && files->truncate(file.get(), bytes - 1) == -EROFS && files->truncate(file.get(), bytes) == 0);
    std::vector<std::string> names;
    CHECK(files->list(folder / "a", names) == 0 && names == std::vector<std::string>{"00000000000000000000.log"});
    CHECK(files->remove(folder / kFirst) == 0 && std::filesystem::is_empty(folder / "a") && files->remove(folder / kFirst) == -ENOENT);
  }
}

void test_not_worth_it(SegmentCodec codec) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  write_file(folder / kFirst, some_noise(600000, 1));
  CHECK(!compress_file(folder / kFirst, codec));
  CHECK(content_of_file(folder / kFirst) == some_noise(600000, 1));
}

// Whatever byte is damaged, wherever the file is cut: nothing is read that was not there, and the damage is told with its place.
void test_damage(SegmentCodec codec) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  const std::vector<uint8_t> plain = some_text(10000, 5);
  write_file(folder / kFirst, plain);
  CHECK(compress_file(folder / kFirst, codec, 4096));
  std::filesystem::remove(folder / kFirst);
  const std::string path = stored_path(folder / kFirst, codec);
  const std::vector<uint8_t> whole = content_of_file(path);
  const auto check = [&] {
    const auto files = std::make_shared<CompressedFiles>(std::make_shared<Files>());
    const OpenFile file(files, files->open(folder / kFirst, O_RDONLY));
    size_t unread = 0;
    for (size_t at = 0; at < plain.size(); at += 1000) {
      uint8_t read[1000];
      const int64_t got = files->read(file.get(), read, 1000, at);
      CHECK(got == -EBADMSG || (got == 1000 && std::equal(read, read + 1000, plain.begin() + static_cast<ptrdiff_t>(at))));
      if (got < 0) unread++;
    }
    CHECK(unread > 0);
    const auto damage = files->damage(file.get(), 0, plain.size());
    CHECK(damage && damage->code == ErrorCode::corrupt && damage->message.find(path + " is damaged at position ") == 0);
    return unread;
  };
  for (size_t at = 0; at < whole.size(); at++) {
    std::vector<uint8_t> damaged = whole;
    damaged[at] ^= static_cast<uint8_t>(1 << at % 8);
    write_file(path, damaged);
    const size_t unread = check();
    // Blocks are independent: one of three is lost, and what a read of two of them asked for.
    if (at >= 64 && at < whole.size() - (24 + 12 * 3)) CHECK(unread <= 6);
  }
  for (size_t bytes = 0; bytes < whole.size(); bytes += 1 + bytes / 50) {
    write_file(path, {whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes)});
    check();
  }
}

std::vector<uint8_t> entry_number(int64_t number, size_t bytes = 20000) {
  std::vector<uint8_t> entry = some_text(bytes, static_cast<uint64_t>(number));
  const std::vector<uint8_t> header = make_entry(61, 0);
  std::copy_n(header.begin(), 61, entry.begin());
  store_u32(entry.data() + 8, static_cast<uint32_t>(bytes - 12));
  store_u32(entry.data() + 17, crc32c(0, entry.data() + 21, bytes - 21));
  store_i64(entry.data(), number);
  return entry;
}

std::vector<uint8_t> entries(int64_t from, int64_t end) {
  std::vector<uint8_t> all;
  for (int64_t number = from; number < end; number++) {
    const std::vector<uint8_t> entry = entry_number(number);
    all.insert(all.end(), entry.begin(), entry.end());
  }
  return all;
}

void append(Owner& owner, const LogReference& log, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const std::vector<uint8_t> entry = entry_number(log->end_offset());
    CHECK(log->append(entry.data(), entry.size()));
  }
  CHECK(owner.run_until([&] { return log->committed_end_offset() == log->end_offset(); }));
}

bool is_compressed(const LogReference& log) {
  return std::ranges::all_of(log->segments(), [](const SegmentReference& each) { return !each->sealed || each->stored.codec != SegmentCodec::none; });
}

void test_log(SegmentCodec codec) {
  const TemporaryFolder folder;
  {
    StoreOptions options;
    // So that reads come from the files.
    options.tail_bytes_max = 1;
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", true, 900000, codec);
    for (int i = 0; i < 20; i++) {
      append(owner, log, 10);
      if (i % 5 == 0) CHECK(content_of(owner, log) == entries(log->start_offset(), log->end_offset()));
    }
    CHECK(owner.run_until([&] { return is_compressed(log); }));
    CHECK(log->segments().size() >= 4 && content_of(owner, log) == entries(0, 200));
    for (const SegmentReference& segment : log->segments()) {
      const bool plain = std::filesystem::exists(segment->file.path);
      CHECK(plain == !segment->sealed && std::filesystem::exists(segment->file.path + suffix_of(segment->stored.codec)));
    }
    CHECK(!owner.finish([&](Done done) { log->truncate_front(60, done); }));
    CHECK(!std::filesystem::exists(stored_path(folder / kFirst, codec)));
    CHECK(content_of(owner, log).size() >= entries(60, 200).size());
    CHECK(!owner.close());
  }
  for (int boot = 0; boot < 2; boot++) {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, 900000, boot == 0 ? SegmentCodec::none : codec);
    CHECK(log->start_offset() == 60 && log->end_offset() == 200 + 10 * boot);
    const int64_t first = log->segments().front()->base_offset();
    std::vector<uint8_t> read;
    for (int64_t offset = 60; offset < log->end_offset();) {
      const auto outcome = owner.read(log, offset, 50000);
      CHECK(outcome);
      for (const Slice& part : outcome->parts) read.insert(read.end(), part.data, part.data + part.bytes);
      offset = outcome->next_offset;
    }
    CHECK(first <= 60 && read == entries(60, log->end_offset()));
    append(owner, log, 10);
    CHECK(!owner.close());
  }
}

// Closed, removed, made shorter at any moment; and the store is gone while it is at it.
void test_disturbed(SegmentCodec codec) {
  const TemporaryFolder folder;
  int64_t start = 0;
  int64_t end = 0;
  for (int round = 0; round < 12; round++) {
    Owner owner(folder.path());
    CHECK(owner.store);
    const LogReference log = *owner.open_log("a", true, 1300000, codec);
    CHECK(log->start_offset() == start && log->end_offset() == end);
    append(owner, log, 80);
    std::this_thread::sleep_for(std::chrono::milliseconds(round));
    if (round % 3 == 1) CHECK(!owner.finish([&](Done done) { log->truncate_front(log->end_offset() - 20, done); }));
    start = log->start_offset();
    end = log->end_offset();
    std::vector<uint8_t> expected = entries(start, end);
    if (round % 4 == 3) {
      // Not closed at all.
      CHECK(!owner.finish([&](Done done) { log->flush(done); }));
      continue;
    }
    if (round % 3 == 0) CHECK(content_of(owner, log) == expected);
    CHECK(!owner.close());
    for (const auto& each : std::filesystem::directory_iterator(folder / "a")) CHECK(!each.path().string().ends_with("~"));
  }
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, 1300000, codec);
  CHECK(content_of(owner, log) == entries(log->start_offset(), end));
  append(owner, log, 80);
  CHECK(!owner.finish([&](Done done) { owner.store->remove_log("a", done); }));
  CHECK(!std::filesystem::exists(folder / "a"));
  CHECK(!owner.close());
}

// Fails what is done to compressed files, and nothing else.
class NoSpaceFiles final : public Files {
 public:
  int open(const std::string& path, int flags) override {
    const int file = Files::open(path, flags);
    if (file >= 0 && file < 1024) doomed_[file] = path.find(".log.") != std::string::npos && (flags & O_CREAT) != 0;
    return file;
  }
  int64_t write_some(int file, const uint8_t* data, size_t bytes, uint64_t position) override {
    if (!doomed_[file]) return Files::write_some(file, data, bytes, position);
    failed++;
    return kind == 0 ? -ENOSPC : Files::write_some(file, data, bytes, position);
  }
  int sync(int file) override { return doomed_[file] && kind == 1 ? -EIO : Files::sync(file); }
  int rename(const std::string& from, const std::string& to) override {
    return from.find(".log.") != std::string::npos && kind == 2 ? -EIO : Files::rename(from, to);
  }
  int64_t bytes_free(const std::string& path) override { return kind == 3 ? (failed++, 1000) : Files::bytes_free(path); }

  int kind = 0;
  std::atomic<int> failed = 0;

 private:
  std::array<std::atomic<bool>, 1024> doomed_ = {};
};

void test_no_space(SegmentCodec codec) {
  for (int kind = 0; kind < 4; kind++) {
    const TemporaryFolder folder;
    const auto files = std::make_shared<NoSpaceFiles>();
    files->kind = kind;
    StoreOptions options;
    options.files = files;
    Owner owner(folder.path(), options);
    const LogReference log = *owner.open_log("a", true, 500000, codec);
    append(owner, log, 60);
    CHECK(!owner.finish([&](Done done) { log->roll(done); }));
    CHECK(owner.run_until([&] { return files->failed > 0; }) && !log->failure());
    append(owner, log, 10);
    CHECK(content_of(owner, log) == entries(0, 70));
    CHECK(!owner.close());
    for (const auto& each : std::filesystem::directory_iterator(folder / "a")) CHECK(each.path().string().find(".log.") == std::string::npos);
  }
}

// A damaged block costs the entries in it. Those before it and behind it are served, and so is everything that is appended.
void test_damaged_block(SegmentCodec codec) {
  const TemporaryFolder folder;
  {
    Owner owner(folder.path());
    const LogReference log = *owner.open_log("a", true, 800000, codec);
    append(owner, log, 60);
    CHECK(owner.run_until([&] { return is_compressed(log); }));
    CHECK(!owner.close());
  }
  const std::string path = stored_path(folder / kFirst, codec);
  std::vector<uint8_t> content = content_of_file(path);
  // In the second block of seven.
  content[content.size() * 3 / 14] ^= 1;
  write_file(path, content);
  Owner owner(folder.path());
  const LogReference log = *owner.open_log("a", true, 800000, codec);
  const auto before = owner.read(log, 0, 10 << 20);
  CHECK(before && before->next_offset == kSegmentBlockBytes / 20000);
  const auto inside = owner.read(log, 8);
  CHECK(!inside && inside.error().code == ErrorCode::corrupt && inside.error().message.find(path + " is damaged at position ") == 0);
  CHECK(owner.read(log, before->next_offset).error().code == ErrorCode::corrupt);
  const auto behind = owner.read(log, 30);
  CHECK(behind && behind->parts.size() == 1);
  append(owner, log, 5);
  CHECK(!log->failure() && !owner.close());
}

}  // namespace
}  // namespace haulout

int main() {
  using namespace haulout;
  for (const SegmentCodec codec : kSegmentCodecs) {
    if (!has_codec(codec)) {
      std::printf("compression: this build has no %s\n", name_of(codec));
      continue;
    }
    test_format(codec);
    test_not_worth_it(codec);
    test_damage(codec);
    test_log(codec);
    test_disturbed(codec);
    test_no_space(codec);
    test_damaged_block(codec);
    std::printf("compression: %s fine\n", name_of(codec));
  }
}
