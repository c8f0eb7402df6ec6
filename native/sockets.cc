#include "sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace haulout {
namespace {

constexpr int kReadyMax = 64;
constexpr size_t kAcceptedMax = 64;
// Less room than this in the receive buffer is not worth a read.
constexpr size_t kReceiveBytesMin = 64 << 10;
// A peer that vanished without a word is noticed after about two minutes.
constexpr int kKeepAliveIdleSeconds = 60;
constexpr int kKeepAliveIntervalSeconds = 7;
constexpr int kKeepAliveProbes = 9;
// Every kernel has it, and every user may choose it (tcp(7)).
constexpr char kUnpaced[] = "reno";

std::string text_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  return text;
}

void set_option(int file, int level, int name, int value) { ::setsockopt(file, level, name, &value, sizeof value); }

bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == IN_LOOPBACKNET);
}

void configure(int file, const sockaddr_storage& peer) {
  set_option(file, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(file, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(file, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set_option(file, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set_option(file, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  // Nothing is congested inside a machine. Where BBR is its default, a timer would pace what is sent, to the rate at which the peer has read.
  if (is_loopback(peer)) ::setsockopt(file, IPPROTO_TCP, TCP_CONGESTION, kUnpaced, sizeof kUnpaced - 1);
}

bool would_wait(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

// Bytes that the kernel took, 0 if it has no room, or -errno.
int64_t send_some(int file, const iovec* parts, size_t count) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts);
  message.msg_iovlen = std::min<size_t>(count, IOV_MAX);
  const ssize_t bytes = ::sendmsg(file, &message, MSG_NOSIGNAL);
  if (bytes >= 0) return bytes;
  return would_wait(errno) ? 0 : -errno;
}

uint64_t bytes_of(const iovec* parts, size_t count) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += parts[i].iov_len;
  return bytes;
}

// Leaves out the first `bytes` bytes; returns how many parts that were.
size_t skip(iovec* parts, size_t count, uint64_t bytes) {
  size_t at = 0;
  while (at < count && bytes >= parts[at].iov_len) bytes -= parts[at++].iov_len;
  if (at < count) {
    parts[at].iov_base = static_cast<uint8_t*>(parts[at].iov_base) + bytes;
    parts[at].iov_len -= bytes;
  }
  return at;
}

}  // namespace

Sockets::Sockets(uint8_t* receive_buffer, size_t receive_bytes) : receive_buffer_(receive_buffer), receive_bytes_(receive_bytes) {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) failure_ = errno;
}

Sockets::~Sockets() {
  for (const auto& [id, socket] : sockets_) ::close(socket.file);
  if (epoll_ >= 0) ::close(epoll_);
}

SocketId Sockets::add_listener(int file) {
  const SocketId id = next_id_++;
  Socket& socket = sockets_[id];
  socket.file = file;
  socket.is_listener = true;
  if (watch(id, socket, true) == 0) return id;
  const int error = errno;
  sockets_.erase(id);
  errno = error;
  return 0;
}

void Sockets::accept_again(SocketId listener) {
  Socket* socket = find(listener);
  if (socket == nullptr) return;
  socket->reading = true;
  watch(listener, *socket);
}

const std::vector<SocketEvent>& Sockets::poll() {
  events_.clear();
  received_bytes_ = 0;
  epoll_event ready_now[kReadyMax];
  const int count = ::epoll_wait(epoll_, ready_now, kReadyMax, 0);
  for (int i = 0; i < count; i++) {
    // What does not fit is ready in the next poll, too, before what was looked at now.
    if (events_.size() + kAcceptedMax > kEventsMax) break;
    ready(ready_now[i].data.u64, ready_now[i].events);
  }
  return events_;
}

void Sockets::ready(SocketId id, uint32_t what) {
  Socket* socket = find(id);
  if (socket == nullptr) return;
  if (socket->is_listener) return accept(id, socket->file);
  if ((what & EPOLLOUT) && !send_queued(id, *socket)) return;
  if (what & EPOLLIN && socket->reading && !socket->ended) {
    if (!receive(id, *socket)) return;
  } else if (what & (EPOLLERR | EPOLLHUP)) {
    // Nothing can be sent any more, and nobody wants what there may be to read.
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket->file, SOL_SOCKET, SO_ERROR, &error, &length);
    fail(id, error);
  }
}

void Sockets::accept(SocketId listener, int file) {
  for (size_t count = 0; count < kAcceptedMax; count++) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    const int accepted = ::accept4(file, reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
      const int error = errno;
      if (error == ECONNABORTED || error == EINTR) continue;
      if (would_wait(error)) return;
      // Without descriptors or memory it would be ready for ever.
      Socket& socket = *find(listener);
      socket.reading = false;
      watch(listener, socket);
      events_.push_back({SocketEvent::accept_failed, listener, static_cast<uint64_t>(error), 0, {}});
      return;
    }
    configure(accepted, address);
    const SocketId id = next_id_++;
    Socket& socket = sockets_[id];
    socket.file = accepted;
    if (watch(id, socket, true) != 0) {
      ::close(accepted);
      sockets_.erase(id);
      continue;
    }
    events_.push_back({SocketEvent::accepted, id, listener, 0, text_of(address)});
  }
}

bool Sockets::receive(SocketId id, Socket& socket) {
  const bool has_target = socket.work && socket.work->target_bytes > 0;
  uint8_t* data = receive_buffer_ + received_bytes_;
  size_t bytes_max = receive_bytes_ - received_bytes_;
  if (has_target) {
    data = socket.work->target;
    bytes_max = socket.work->target_bytes;
  } else if (bytes_max < std::min(kReceiveBytesMin, receive_bytes_)) {
    return true;
  }
  const ssize_t bytes = ::recv(socket.file, data, bytes_max, 0);
  if (bytes < 0) {
    if (would_wait(errno)) return true;
    fail(id, errno);
    return false;
  }
  if (bytes == 0) {
    socket.ended = true;
    watch(id, socket);
    events_.push_back({SocketEvent::ended, id, 0, 0, {}});
    return true;
  }
  if (has_target) {
    socket.work->target_bytes = 0;
    tidy(socket);
    events_.push_back({SocketEvent::filled, id, 0, static_cast<uint64_t>(bytes), {}});
  } else {
    events_.push_back({SocketEvent::received, id, received_bytes_, static_cast<uint64_t>(bytes), {}});
    received_bytes_ += static_cast<size_t>(bytes);
  }
  return true;
}

bool Sockets::send_queued(SocketId id, Socket& socket) {
  if (!socket.work || socket.work->queued_bytes == 0) return true;
  Work& work = *socket.work;
  iovec* parts = work.queue.data() + work.queue_at;
  const size_t count = work.queue.size() - work.queue_at;
  const int64_t bytes = send_some(socket.file, parts, count);
  if (bytes < 0) {
    fail(id, static_cast<int>(-bytes));
    return false;
  }
  if (bytes == 0) return true;
  work.queue_at += skip(parts, count, static_cast<uint64_t>(bytes));
  work.queued_bytes -= static_cast<uint64_t>(bytes);
  events_.push_back({SocketEvent::sent, id, work.queued_bytes, static_cast<uint64_t>(bytes), {}});
  if (work.queued_bytes == 0) {
    work.queue.clear();
    work.queue_at = 0;
    tidy(socket);
    watch(id, socket);
  }
  return true;
}

int64_t Sockets::send(SocketId id, const iovec* parts, size_t count) {
  Socket* socket = find(id);
  if (socket == nullptr) return -EBADF;
  const uint64_t bytes = bytes_of(parts, count);
  uint64_t done = 0;
  size_t at = 0;
  if (!socket->work || socket->work->queued_bytes == 0) {
    // One call for all of it, unless there are more parts than one call may have.
    while (at < count) {
      const uint64_t offered = bytes_of(parts + at, std::min<size_t>(count - at, IOV_MAX));
      const int64_t taken = send_some(socket->file, parts + at, count - at);
      if (taken < 0) return taken;
      done += static_cast<uint64_t>(taken);
      if (static_cast<uint64_t>(taken) < offered) break;
      at += std::min<size_t>(count - at, IOV_MAX);
    }
    if (done == bytes) return 0;
  }
  if (!socket->work) socket->work = std::make_unique<Work>();
  Work& work = *socket->work;
  std::vector<iovec> rest(parts, parts + count);
  const size_t skipped = skip(rest.data(), count, done);
  work.queue.erase(work.queue.begin(), work.queue.begin() + static_cast<ptrdiff_t>(work.queue_at));
  work.queue_at = 0;
  work.queue.insert(work.queue.end(), rest.begin() + static_cast<ptrdiff_t>(skipped), rest.end());
  work.queued_bytes += bytes - done;
  watch(id, *socket);
  return static_cast<int64_t>(work.queued_bytes);
}

uint64_t Sockets::bytes_queued(SocketId id) const {
  const auto found = sockets_.find(id);
  return found == sockets_.end() || !found->second.work ? 0 : found->second.work->queued_bytes;
}

void Sockets::read_into(SocketId id, uint8_t* data, size_t bytes) {
  Socket* socket = find(id);
  if (socket == nullptr) return;
  if (!socket->work) socket->work = std::make_unique<Work>();
  socket->work->target = data;
  socket->work->target_bytes = bytes;
  tidy(*socket);
}

void Sockets::set_reading(SocketId id, bool reading) {
  Socket* socket = find(id);
  if (socket == nullptr || socket->reading == reading) return;
  socket->reading = reading;
  watch(id, *socket);
}

int Sockets::shutdown(SocketId id) {
  const Socket* socket = find(id);
  if (socket == nullptr) return -EBADF;
  return ::shutdown(socket->file, SHUT_WR) == 0 ? 0 : -errno;
}

void Sockets::close(SocketId id) {
  const auto found = sockets_.find(id);
  if (found == sockets_.end()) return;
  ::close(found->second.file);
  sockets_.erase(found);
}

Sockets::Socket* Sockets::find(SocketId id) {
  const auto found = sockets_.find(id);
  return found == sockets_.end() ? nullptr : &found->second;
}

// Tells the kernel what this connection waits for, if that has changed.
int Sockets::watch(SocketId id, Socket& socket, bool is_new) {
  uint32_t events = 0;
  if (socket.reading && !socket.ended) events |= EPOLLIN;
  if (socket.work && socket.work->queued_bytes > 0) events |= EPOLLOUT;
  if (!is_new && events == socket.watched) return 0;
  socket.watched = events;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket.file, &event);
}

void Sockets::fail(SocketId id, int error) {
  close(id);
  events_.push_back({SocketEvent::failed, id, static_cast<uint64_t>(error), 0, {}});
}

// An idle connection keeps nothing.
void Sockets::tidy(Socket& socket) {
  if (socket.work && socket.work->queued_bytes == 0 && socket.work->target_bytes == 0) socket.work.reset();
}

}  // namespace haulout
