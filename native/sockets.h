// TCP connections of one owner on one epoll instance. Knows nothing of what they carry.
//
// Everything happens in calls of the owner, on its thread: `poll` looks once at what is ready and returns what happened; nothing is
// called back, so the owner may do anything about it, such as closing. What is received lies in the owner's receive buffer until the
// next `poll`, or where the owner said (`read_into`). `send` passes to the kernel what it takes at once; the rest stays queued, by
// reference, and goes on in `poll`: the owner keeps that memory until it is told of so many bytes `sent`, or of the end.
//
// An idle connection is one entry of a table. Its descriptor is watched level-triggered, so what one `poll` leaves the next one sees.
#pragma once

#include <sys/epoll.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace haulout {

// Never used twice. 0 is none.
using SocketId = uint64_t;

struct SocketEvent {
  enum Kind {
    // From listener `value`; `address` is the peer's.
    accepted,
    // `bytes` bytes at `value` of the receive buffer.
    received,
    // `bytes` bytes where `read_into` said.
    filled,
    // The peer sends no more; it may still read.
    ended,
    // `bytes` bytes of what was queued; `value` bytes still are.
    sent,
    // It failed with errno `value` and is gone.
    failed,
    // Listener `id` cannot accept, with errno `value`, and is not watched until `accept_again`.
    accept_failed,
  };
  Kind kind;
  SocketId id;
  uint64_t value;
  uint64_t bytes;
  std::string address;
};

class Sockets {
 public:
  // The most events of one poll.
  static constexpr size_t kEventsMax = 256;

  // The receive buffer has at least kReceiveBytesMin bytes.
  Sockets(uint8_t* receive_buffer, size_t receive_bytes);
  ~Sockets();
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  // What to wait for: it is readable when `poll` has something to do. -1 if there is none (errno of epoll_create1 in `failure`).
  int event_file() const { return epoll_; }
  int failure() const { return failure_; }
  size_t count() const { return sockets_.size(); }

  // Takes over a listening, non-blocking socket: 0 and errno when it cannot be watched.
  SocketId add_listener(int file);
  void accept_again(SocketId listener);

  // Valid until the next call.
  const std::vector<SocketEvent>& poll();

  // Bytes that stay queued, or -errno: then the connection can only be closed.
  int64_t send(SocketId id, const iovec* parts, size_t count);
  uint64_t bytes_queued(SocketId id) const;
  // The next bytes go there, once. Nothing more is received there after `close`, or after `read_into` with 0 bytes.
  void read_into(SocketId id, uint8_t* data, size_t bytes);
  void set_reading(SocketId id, bool reading);
  // Sends the end (FIN); what is queued must be sent before. 0 or -errno.
  int shutdown(SocketId id);
  // A connection or a listener. No event follows, but those of the last poll may still name it.
  void close(SocketId id);

 private:
  // What only a connection at work has.
  struct Work {
    std::vector<iovec> queue;
    size_t queue_at = 0;
    uint64_t queued_bytes = 0;
    uint8_t* target = nullptr;
    size_t target_bytes = 0;
  };
  struct Socket {
    int file;
    bool is_listener = false;
    bool reading = true;
    // The peer's end came.
    bool ended = false;
    uint32_t watched = 0;
    std::unique_ptr<Work> work;
  };

  Socket* find(SocketId id);
  int watch(SocketId id, Socket& socket, bool is_new = false);
  void ready(SocketId id, uint32_t what);
  void accept(SocketId listener, int file);
  // False if the connection is gone.
  bool receive(SocketId id, Socket& socket);
  bool send_queued(SocketId id, Socket& socket);
  void fail(SocketId id, int error);
  static void tidy(Socket& socket);

  int epoll_ = -1;
  int failure_ = 0;
  uint8_t* const receive_buffer_;
  const size_t receive_bytes_;
  size_t received_bytes_ = 0;
  SocketId next_id_ = 1;
  std::unordered_map<SocketId, Socket> sockets_;
  std::vector<SocketEvent> events_;
};

}  // namespace haulout
