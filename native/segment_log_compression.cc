// What a log does to have its sealed segments compressed: it asks for it, and puts the compressed file in the place of the plain one.
#include "log_folder.h"
#include "segment_compressor.h"
#include "segment_log.h"

namespace haulout {
namespace {

// False when nothing has changed: the plain file is there, and the compressed one is not.
bool replace_segment(Files& files, const std::string& directory, const std::string& plain_path, SegmentCodec codec) {
  const std::string path = plain_path + suffix_of(codec);
  if (files.rename(path + "~", path) < 0 || files.sync_directory(directory) < 0) {
    files.remove(path + "~");
    files.remove(path);
    return false;
  }
  // If it stays, it counts, until the next open.
  files.remove_only(plain_path);
  return true;
}

}  // namespace

bool SegmentLog::wants_compressed(const SegmentReference& segment) const {
  return !closing_ && !failure_ && segment_of(segment->base_offset()) == segment;
}

void SegmentLog::compress(const SegmentReference& segment) {
  const SegmentSummary& summary = segment->index.summary;
  const bool stays = segment->sealed && !summary.may_go_on && segment->stored.codec == SegmentCodec::none;
  if (settings_.compression == SegmentCodec::none || !stays || !wants_compressed(segment)) return;
  const SegmentCodec codec = settings_.compression;
  const std::weak_ptr<SegmentLog> weak = weak_from_this();
  context_.compressor.add({
      segment->file.path,
      {codec, summary.base_offset, segment->bytes(), kSegmentBlockBytes},
      summary.checksum,
      [weak, segment = std::weak_ptr(segment)] {
        const auto self = weak.lock();
        const auto wanted = segment.lock();
        return self && wanted && self->wants_compressed(wanted);
      },
      [weak] {
        if (const auto self = weak.lock()) self->compressing_ = true;
      },
      [weak, segment, codec](std::optional<uint64_t> stored_bytes, std::function<void()> next) {
        const auto self = weak.lock();
        if (!self) return next();
        if (stored_bytes) return self->take_compressed(segment, {codec, *stored_bytes}, std::move(next));
        self->compressing_ = false;
        self->pump();
        next();
      },
  });
}

void SegmentLog::take_compressed(const SegmentReference& segment, const StoredForm& stored, std::function<void()> next) {
  // It may be one of those that are being deleted.
  if (moving_start_to_ != 0) {
    after_move_.push_back([self = shared_from_this(), segment, stored, next] { self->take_compressed(segment, stored, next); });
    return;
  }
  replacing_ = true;
  const auto replaced = std::make_shared<bool>(false);
  context_.workers.run(
      [files = context_.files, directory = directory_, path = segment->file.path, codec = stored.codec, replaced,
       wanted = wants_compressed(segment)] {
        if (wanted) *replaced = replace_segment(*files, directory, path, codec);
        else files->remove(path + suffix_of(codec) + "~");
      },
      [self = shared_from_this(), segment, stored, replaced, next = std::move(next)] {
        self->replacing_ = self->compressing_ = false;
        if (*replaced) {
          segment->stored = stored;
          // Reads under way have the plain file.
          self->context_.cache.forget(segment->file);
        }
        self->pump();
        next();
      });
}

}  // namespace haulout
