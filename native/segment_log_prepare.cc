// What a segment's file needs before the first entry is written to it: to be there, with space, and to be found after a crash. A worker does
// it, in one piece.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "segment_log.h"

namespace haulout {

// What the worker is told, and what it made. The file is null where it has to be made.
struct SegmentLog::Preparation {
  std::shared_ptr<Files> files;
  std::string directory;
  std::string path;
  // The file of a removed segment, which becomes this one's, and the name that says so.
  std::string spare;
  std::string reused;
  FileReference file;
  std::mutex& making;
  // What it needs of space is there, or in this.
  SpaceClaim claim;
  // The index goes that stood for all of the segment.
  std::string former_index;
  int flags;
  bool durable;
  bool zeros;
  uint64_t written;
  // Where there is no file, as much as its entries take now.
  uint64_t needed;
  uint64_t wanted;
  uint64_t reserved;

  int descriptor = -1;
  Status error = std::nullopt;

  Status make_file() {
    const std::lock_guard lock(making);
    if (const int result = files->make_directory(directory); result < 0 && result != -EEXIST) {
      return file_error("create", directory, -result);
    }
    if (auto refused = take_spare()) return refused;
    descriptor = files->open(path, flags);
    if (descriptor < 0) return file_error("create", path, -descriptor);
    const int64_t there = spare.empty() ? 0 : files->size(descriptor);
    reserved = align_down(static_cast<uint64_t>(std::max<int64_t>(0, there)), kBlockBytes);
    if (reserved >= needed) return std::nullopt;
    const auto reached = make_space(*files, descriptor, path, reserved, wanted, needed);
    if (reached) {
      reserved = *reached;
      return std::nullopt;
    }
    files->close(std::exchange(descriptor, -1));
    files->remove(path);
    return reached.error();
  }

  // Nothing is written before the folder is synced, so until then it does not matter which of the two names a crash leaves. When this is
  // done again, the file may have its new name already.
  Status take_spare() {
    if (spare.empty()) return std::nullopt;
    const int note = files->open(reused, O_WRONLY | O_CREAT);
    if (note < 0) return file_error("create", reused, -note);
    files->close(note);
    const int result = files->rename(spare, path);
    return result < 0 && result != -ENOENT ? Status(file_error("rename", spare, -result)) : std::nullopt;
  }

  Status run() {
    if (file == nullptr) {
      auto refused = claim.spend([this] {
        auto result = make_file();
        // Nothing ahead of need, should it be asked for again.
        wanted = needed;
        return result;
      });
      if (refused) return refused;
    }
    const int open = file == nullptr ? descriptor : file->get();
    if (auto refused = note_flush_policy(*files, directory, durable)) return refused;
    if (!former_index.empty()) {
      const int result = files->remove(former_index);
      if (result < 0 && result != -ENOENT) return file_error("delete", former_index, -result);
    }
    const uint64_t zeros_from = align_up(written, kBlockBytes);
    const uint64_t zeros_to = zeros ? std::min(reserved, zeros_from + kGrowthBytesMin) : 0;
    if (zeros_from < zeros_to) {
      if (auto refused = write_zeros(*files, open, path, zeros_from, zeros_to)) return refused;
    }
    if (const int result = files->sync(open); result < 0) return file_error("sync", path, -result);
    const int result = files->sync_directory(directory);
    return result < 0 ? Status(file_error("sync", directory, -result)) : std::nullopt;
  }
};

void SegmentLog::prepare(const SegmentReference& segment) {
  if (!has_descriptor(segment)) return;
  FileReference file;
  if (segment->has_file) {
    const auto opened = context_.cache.open(segment->file);
    if (!opened) return fail(opened.error());
    file = *opened;
  }
  const uint64_t unwritten = segment->bytes() - segment->written;
  const uint64_t needed = space_needed(segment->bytes());
  const std::string former_index = segment->reopened ? path(index_name(segment->base_offset())) : "";
  const auto preparation = std::make_shared<Preparation>(Preparation{
      context_.files, directory_, segment->file.path, segment->spare, path(reused_name(segment->base_offset())), file, context_.space.making, std::move(segment->claim), former_index, O_RDWR | O_CREAT | (context_.direct ? O_DIRECT : 0),
      settings_.durable, segment->spare.empty() && wants_zeros(unwritten), segment->written, needed,
      std::max(needed, growth_step(0, segment->bytes())), segment->reserved});
  folder_is_made_ = true;
  run_step(
      [preparation]() -> Status {
        preparation->error = preparation->run();
        return std::nullopt;
      },
      [this, segment, preparation] { finish_prepare(segment, *preparation); });
}

void SegmentLog::finish_prepare(const SegmentReference& segment, Preparation& prepared) {
  if (!segment->has_file) context_.cache.take_made(segment->file, prepared.descriptor);
  const bool is_made = !segment->has_file && prepared.descriptor >= 0;
  if (is_made) {
    segment->has_file = true;
    segment->reserved = segment->made = prepared.reserved;
  } else {
    segment->claim.join(std::move(prepared.claim));
  }
  if (prepared.error) return take_again_or_fail(*segment, *prepared.error);
  if (failure_) return;
  // What came meanwhile.
  if (auto error = reserve(*segment, 0)) return fail(*error);
  prepared.claim.release();
  segment->claim.release();
  const auto finish = [this, segment] {
    segment->prepared = true;
    // Its index is gone, so nothing is covered any more.
    if (segment->reopened) segment->covered = 0;
    segment->reopened = false;
  };
  if (folder_is_durable_) return finish();
  busy_ = true;
  context_.sync_names([self = shared_from_this(), finish](Status error) {
    self->busy_ = false;
    if (error) self->fail(*error);
    self->folder_is_durable_ = !error;
    if (!error) finish();
    self->pump();
  });
}

}  // namespace haulout
