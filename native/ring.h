// Asynchronous positioned reads and writes. One thread owns a ring: it alone calls start(), submit() and reap(), and every `done`
// runs on it, from reap(). Buffers and descriptors of an operation must stay as they are until its `done` runs.
//
// A ring reports whole transfers: it goes on after EINTR, EAGAIN and short counts. `done` gets the bytes transferred (fewer than
// asked for only when a read met the end of the file) or a negative errno. A failed sync is reported, never repeated.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "file_maps.h"
#include "result.h"
#include "workers.h"

namespace haulout {

struct Operation {
  enum class Kind { read, write, sync };

  Kind kind;
  int file;
  uint64_t position;
  // For a write: on stable storage before `done` runs (RWF_DSYNC).
  bool durable = false;
  // Positions, addresses and lengths are multiples of 4 KiB; what is left after a short count must be so again.
  bool aligned = false;
  // False: nobody has to be woken for this one alone. What it brings is there after the next reap() or look().
  bool awaited = true;
  std::vector<iovec> parts;
  std::function<void(int64_t result)> done;

  int64_t transferred = 0;
};

class Ring {
 public:
  virtual ~Ring() = default;

  // Starts the thread that it cannot do without, if any: 0, or an errno.
  virtual int start_first_thread() { return 0; }
  // Queues an operation; nothing happens before submit().
  virtual void start(std::unique_ptr<Operation> operation) = 0;
  // Hands everything queued to the kernel, in one system call where the backend can.
  virtual void submit() = 0;
  // Runs `done` of everything that has finished.
  virtual void reap() = 0;
  // Reaps what has finished without a wake-up. Costs nothing where there is nothing.
  virtual void look() {}
  // Somebody waits for what was started as not awaited.
  virtual void await_all() {}
  // Waits until everything started has finished, and reaps it.
  virtual void drain() = 0;
  // Operations started whose `done` has not run.
  virtual size_t pending() const = 0;
  // Those that a wake-up will come for.
  virtual size_t awaited() const { return pending(); }
  // Becomes readable when there is something to reap; -1 if the backend calls `Wake` instead.
  virtual int event_file() const { return -1; }
};

// Called from any thread: the owner should call reap() soon.
using Wake = std::function<void()>;

// What is to be done after the kernel has answered an operation.
enum class Next { again, finished };

// Takes the kernel's answer to an operation, an errno or a count, into account.
Next advance(Operation& operation, int64_t answer, int64_t& result);

// Does at once what an operation asks for, as far as one system call goes: an errno or a count.
int64_t answer_to(const Operation& operation);

// The error is the reason, for people, why io_uring cannot be used here. `one_thread`: the thread that makes it is the one that uses it.
Result<std::unique_ptr<Ring>> make_uring_ring(Wake wake, bool one_thread = false);
std::unique_ptr<Ring> make_threads_ring(Wake wake);
// Threads, too, which read through mappings of the files. A write does not go through one: what fails there is a signal, or the next
// msync of whoever comes first, while the answer to a pwritev2 with RWF_DSYNC is about the bytes of this write.
std::unique_ptr<Ring> make_mmap_ring(Wake wake, std::shared_ptr<FileMaps> maps);

// Keeps the reads of another ring from delaying its writes, and lets large writes take turns. `now_ms` is a monotonic clock.
std::unique_ptr<Ring> make_writes_first_ring(std::unique_ptr<Ring> ring, std::function<int64_t()> now_ms);

// True if this build has io_uring in it.
bool has_uring();

}  // namespace haulout
