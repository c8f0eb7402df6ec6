#include "segment_compressor.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

namespace haulout {
namespace {

// 4 MiB: some milliseconds, if nobody else wants the processor.
constexpr size_t kBlocksAtOnce = 32;
constexpr int kNicest = 19;

// A thread that gave way to others may not take its place back, so the work gets a thread of its own, if there is one.
void run_giving_way(const std::function<void()>& work) {
  Thread thread;
  const int error = thread.start([&work] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNicest);
    work();
  });
  if (error != 0) work();
}

}  // namespace

void SegmentCompressor::add(CompressionTask task) {
  if (stopped_) return;
  waiting_.push_back(std::move(task));
  if (!busy_) begin_next();
}

void SegmentCompressor::stop() {
  stopped_ = true;
  waiting_.clear();
  look_again();
}

void SegmentCompressor::look_again() {
  if (writer_ != nullptr && !goes_on()) writer_->interrupt();
}

void SegmentCompressor::begin_next() {
  busy_ = false;
  current_ = {};
  while (!waiting_.empty() && !busy_) {
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    busy_ = current_.is_wanted();
  }
  if (!busy_) return;
  current_.begun();
  const std::string path = current_.plain_path + suffix_of(current_.header.codec);
  work(std::make_shared<CompressedWriter>(files_, current_.plain_path, path, current_.header, current_.checksum, direct_));
}

void SegmentCompressor::work(const WriterReference& writer) {
  writer_ = writer;
  workers_.run([writer] { run_giving_way([&writer] { writer->work(kBlocksAtOnce); }); }, [this, writer] { took_blocks(writer); });
}

void SegmentCompressor::took_blocks(const WriterReference& writer) {
  const auto next = [this] { begin_next(); };
  writer_ = nullptr;
  if (writer->state() == CompressedWriter::State::given_up) return current_.ended(std::nullopt, next);
  if (!goes_on()) {
    return workers_.run([writer] { writer->give_up(); }, [this, next] { current_.ended(std::nullopt, next); });
  }
  if (writer->state() == CompressedWriter::State::made) return current_.ended(writer->stored_bytes(), next);
  work(writer);
}

}  // namespace haulout
