#include "folder.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "journal_format.h"
#include "memory.h"

namespace haulout {
namespace {

// That of a new folder, and the newest that is known: one with compressed segments.
constexpr int kFormatVersion = 1;
constexpr int kFormatVersionCompressed = 2;
constexpr char kLockName[] = ".lock";
constexpr char kGuardName[] = ".lock~";
// The line in it is filled up, and blanked in place: who opens a folder on a full disk has no other space for it.
constexpr size_t kLockBytes = 64;
constexpr int kGuardWaitsMax = 40;
constexpr std::chrono::milliseconds kGuardWait{25};
constexpr char kFormatName[] = "haulout.format";
constexpr char kProbeName[] = "haulout.probe~";
constexpr char kDeletedPrefix[] = "~deleted.";

// Field 22 of /proc/<pid>/stat; 0 when the process is not there, or /proc is not.
uint64_t start_time_of(long pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return 0;
  char text[1024];
  const size_t length = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[length] = 0;
  // The second field is the name in brackets, and may hold spaces and brackets itself.
  const char* at = std::strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 22; field++) at = std::strchr(at + 1, ' ');
  return at == nullptr ? 0 : std::strtoull(at + 1, nullptr, 10);
}

struct Owner {
  long pid = 0;
  unsigned long long start_time = 0;
  bool holds_flock = false;
};

std::optional<Owner> read_owner(Files& files, int file) {
  char text[128] = {};
  if (files.read(file, reinterpret_cast<uint8_t*>(text), sizeof text - 1, 0) <= 0) return std::nullopt;
  Owner owner;
  char kind[8] = {};
  if (std::sscanf(text, "%ld %llu %7s", &owner.pid, &owner.start_time, kind) != 3 || owner.pid <= 0) return std::nullopt;
  owner.holds_flock = std::strcmp(kind, "flock") == 0;
  return owner;
}

int write_lock_line(Files& files, int file, std::string line) {
  line.append("\n").resize(kLockBytes, ' ');
  return static_cast<int>(std::min<int64_t>(0, files.write(file, reinterpret_cast<const uint8_t*>(line.data()), line.size(), 0)));
}

bool lives(const Owner& owner) {
  if (::kill(static_cast<pid_t>(owner.pid), 0) < 0 && errno == ESRCH) return false;
  const uint64_t start_time = start_time_of(owner.pid);
  return owner.start_time == 0 || start_time == 0 || start_time == owner.start_time;
}

// Who cannot take a flock makes this file while it looks at the owner and writes its own line (src/log/folder.ts), so that nobody else does the
// same in between. Where it can neither be made nor removed, the flock has to do.
class Guard {
 public:
  Guard(Files& files, const std::string& directory) : files_(files), path_(directory + "/" + kGuardName) {
    for (int waits = 0; (result_ = files_.create_exclusively(path_)) == -EEXIST && waits <= kGuardWaitsMax; waits++) {
      // Nobody holds it for longer than a few reads: its owner was killed.
      if (waits == kGuardWaitsMax) files_.remove(path_);
      else std::this_thread::sleep_for(kGuardWait);
    }
  }
  ~Guard() {
    if (result_ == 0) files_.remove(path_);
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Files& files_;
  const std::string path_;
  int result_;
};

std::vector<uint8_t> format_line(int version) {
  const std::string line = "haulout-format " + std::to_string(version) + "\n";
  return {line.begin(), line.end()};
}

Error in_use(const std::string& directory, const std::optional<Owner>& owner) {
  return {ErrorCode::locked,
          "folder " + directory + " is in use by " + (owner ? "process " + std::to_string(owner->pid) : "another process")};
}

std::string parent_of(const std::string& directory) {
  const size_t slash = directory.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : directory.substr(0, slash);
}

// The folder is new, and perhaps some of those above it, made by this process or by one that was killed: what is stored in it is only
// as durable as their names are. What cannot be synced was not made by us.
Status sync_parents(Files& files, const std::string& directory) {
  std::string child = directory;
  for (std::string parent = parent_of(child); parent != child; parent = parent_of(child)) {
    const int result = files.sync_directory(parent);
    if (result < 0 && result != -EACCES && result != -EPERM && result != -EINVAL && result != -EROFS) return file_error("sync", parent, -result);
    child = parent;
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<FolderLock>> FolderLock::take(const std::shared_ptr<Files>& files, const std::string& directory) {
  const std::string path = directory + "/" + kLockName;
  OpenFile file(files, files->open(path, O_RDWR | O_CREAT));
  if (file.get() < 0) return file_error("open", path, -file.get());
  int result = files->lock(file.get());
  if (result == -EWOULDBLOCK) return in_use(directory, read_owner(*files, file.get()));
  if (result < 0) return file_error("lock", path, -result);
  const Guard guard(*files, directory);
  const auto owner = read_owner(*files, file.get());
  if (owner && !owner->holds_flock && lives(*owner)) return in_use(directory, owner);
  const long pid = ::getpid();
  result = write_lock_line(*files, file.get(), std::to_string(pid) + " " + std::to_string(start_time_of(pid)) + " flock");
  if (result < 0) return file_error("write", path, -result);
  return std::unique_ptr<FolderLock>(new FolderLock(files, path, std::move(file), !owner.has_value()));
}

// A file that keeps its line does no harm: the lock itself ends with the descriptor.
FolderLock::~FolderLock() { (void)write_lock_line(*files_, file_.get(), ""); }

Status make_folder(const std::shared_ptr<Files>& files, const std::string& directory) {
  int result = files->make_directory(directory);
  if (result == -ENOENT && parent_of(directory) != directory) {
    if (auto error = make_folder(files, parent_of(directory))) return error;
    result = files->make_directory(directory);
  }
  if (result < 0 && result != -EEXIST) return file_error("create", directory, -result);
  return std::nullopt;
}

Status check_format(const std::shared_ptr<Files>& files, const std::string& directory) {
  const std::string path = directory + "/" + kFormatName;
  auto content = read_file(files, path);
  if (!content) return content.error();
  if (*content) {
    const std::string text((*content)->begin(), (*content)->end());
    int version = 0;
    if (std::sscanf(text.c_str(), "haulout-format %d", &version) != 1 || version < 1) {
      return Error{ErrorCode::corrupt, path + " is damaged at position 0: it does not hold a format version"};
    }
    if (version <= kFormatVersionCompressed) return std::nullopt;
    return Error{ErrorCode::denied, "folder " + directory + " was written by a newer Haulout: it has format version " +
                                        std::to_string(version) + ", this one knows versions up to " +
                                        std::to_string(kFormatVersionCompressed)};
  }
  std::vector<std::string> names;
  if (const int result = files->list(directory, names); result < 0) return file_error("list", directory, -result);
  const auto is_foreign = [](const std::string& name) { return name != kLockName && name.back() != '~' && name != "lost+found"; };
  const auto foreign = std::find_if(names.begin(), names.end(), is_foreign);
  if (foreign != names.end()) {
    return Error{ErrorCode::denied, "folder " + directory + " is not empty and has no " + kFormatName + " (there is " + *foreign +
                                        " in it): it is not a data folder of Haulout"};
  }
  if (auto error = sync_parents(*files, directory)) return error;
  return replace_file(files, directory, kFormatName, format_line(kFormatVersion));
}

Status allow_compressed(const std::shared_ptr<Files>& files, const std::string& directory) {
  const auto content = read_file(files, directory + "/" + kFormatName);
  if (!content) return content.error();
  const std::vector<uint8_t> line = format_line(kFormatVersionCompressed);
  return *content && **content == line ? std::nullopt : replace_file(files, directory, kFormatName, line);
}

bool allows_direct(Files& files, const std::string& directory) {
  const std::string path = directory + "/" + kProbeName;
  const int file = files.open(path, O_RDWR | O_CREAT | O_DIRECT);
  int64_t result = file;
  if (file >= 0) {
    const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(kBlockBytes, kBlockBytes), &std::free);
    std::memset(block.get(), 0, kBlockBytes);
    result = files.write(file, static_cast<const uint8_t*>(block.get()), kBlockBytes, 0);
    files.close(file);
  }
  files.remove(path);
  if (result != -ENOSPC && result != -EDQUOT) return result == kBlockBytes;
  // There is no space to try it in: whether what is there can be opened so has to do.
  const int format = files.open(directory + "/" + kFormatName, O_RDONLY | O_DIRECT);
  if (format >= 0) files.close(format);
  return format >= 0;
}

std::optional<std::string> flaw_of_name(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 255) return "a log's name has 1 to 255 characters";
  if (!std::all_of(name.begin(), name.end(), allowed)) return "a log's name is made of A-Z, a-z, 0-9, '.', '_' and '-'";
  if (name == "." || name == ".." || name == kLockName || name == kFormatName || name == kJournalName) return "a log cannot be named " + name;
  return std::nullopt;
}

Status delete_leftovers(Files& files, const std::string& directory) {
  std::vector<std::string> names;
  if (const int result = files.list(directory, names); result < 0) return file_error("list", directory, -result);
  for (const std::string& name : names) {
    if (name.rfind(kDeletedPrefix, 0) != 0) continue;
    const std::string doomed = directory + "/" + name;
    std::vector<std::string> inside;
    files.list(doomed, inside);
    for (const std::string& each : inside) files.remove(doomed + "/" + each);
    if (const int result = files.remove_directory(doomed); result < 0) return file_error("delete", doomed, -result);
  }
  return std::nullopt;
}

}  // namespace haulout
