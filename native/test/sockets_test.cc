// The sockets of sockets.h against peers that behave as peers do: many at once, slow, gone in the middle, half-closed.
#include "../sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <set>

#include "support.h"

namespace haulout {
namespace {

constexpr size_t kReceiveBytes = 256 << 10;

int listen_on_loopback() {
  const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(::bind(file, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(::listen(file, 511) == 0);
  return file;
}

// What the owner knows of one connection.
struct Known {
  std::string received;
  bool ended = false;
  int failed = -1;
  uint64_t sent = 0;
};

class Server {
 public:
  Server() : sockets(buffer_.data(), buffer_.size()) {
    CHECK(sockets.event_file() >= 0);
    const int file = listen_on_loopback();
    socklen_t length = sizeof address_;
    CHECK(::getsockname(file, reinterpret_cast<sockaddr*>(&address_), &length) == 0);
    listener = sockets.add_listener(file);
    CHECK(listener != 0);
  }

  int connect() const {
    const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(file >= 0);
    CHECK(::connect(file, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0);
    return file;
  }

  // A client and the connection that it has become.
  std::pair<int, SocketId> pair() {
    const int file = connect();
    const size_t before = accepted.size();
    CHECK(run_until([&] { return accepted.size() > before; }));
    return {file, accepted.back()};
  }

  void turn(int wait_ms = 20) {
    pollfd wanted{sockets.event_file(), POLLIN, 0};
    ::poll(&wanted, 1, wait_ms);
    const auto& events = sockets.poll();
    polls++;
    for (const SocketEvent& event : events) {
      take(event);
      if (on_event) on_event(event);
    }
  }

  bool run_until(const std::function<bool()>& condition) {
    for (int turns = 0; turns < 500; turns++) {
      if (condition()) return true;
      turn();
    }
    return condition();
  }

  Sockets& operator*() { return sockets; }

 private:
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kReceiveBytes);
  sockaddr_in address_{};

  void take(const SocketEvent& event) {
    Known& one = known[event.id];
    switch (event.kind) {
      case SocketEvent::accepted:
        CHECK(event.value == listener);
        CHECK(event.address == "127.0.0.1");
        accepted.push_back(event.id);
        break;
      case SocketEvent::received:
        CHECK(event.value + event.bytes <= kReceiveBytes);
        one.received.append(reinterpret_cast<char*>(buffer_.data()) + event.value, event.bytes);
        break;
      case SocketEvent::filled: filled_bytes += event.bytes; break;
      case SocketEvent::ended: CHECK(!one.ended); one.ended = true; break;
      case SocketEvent::sent: one.sent += event.bytes; break;
      case SocketEvent::failed: CHECK(one.failed < 0); one.failed = static_cast<int>(event.value); break;
      case SocketEvent::accept_failed: accept_failures++; break;
    }
  }

 public:
  Sockets sockets;
  SocketId listener = 0;
  std::vector<SocketId> accepted;
  std::map<SocketId, Known> known;
  uint64_t filled_bytes = 0;
  int accept_failures = 0;
  int polls = 0;
  std::function<void(const SocketEvent&)> on_event;
};

void write_all(int file, const std::string& bytes) { CHECK(::send(file, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())); }

int64_t send_text(Sockets& sockets, SocketId id, const std::string& text) {
  const iovec part{const_cast<char*>(text.data()), text.size()};
  return sockets.send(id, &part, 1);
}

void reset(int file) {
  const linger at_once{1, 0};
  CHECK(::setsockopt(file, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  ::close(file);
}

std::string read_all(int file, size_t bytes) {
  std::string all(bytes, '\0');
  size_t at = 0;
  while (at < bytes) {
    const ssize_t count = ::recv(file, all.data() + at, bytes - at, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN)) break;
    if (count < 0) break;
    at += static_cast<size_t>(count);
  }
  all.resize(at);
  return all;
}

// Reads on while the server goes on, until the end or so many bytes.
std::string read_along(Server& server, int file, size_t bytes) {
  std::string all;
  for (int turns = 0; turns < 2000 && all.size() < bytes; turns++) {
    all += read_all(file, bytes - all.size());
    server.turn(1);
  }
  return all;
}

void many_connections() {
  Server server;
  std::vector<int> clients;
  for (int i = 0; i < 400; i++) clients.push_back(server.connect());
  CHECK(server.run_until([&] { return server.accepted.size() == 400; }));
  CHECK(std::set<SocketId>(server.accepted.begin(), server.accepted.end()).size() == 400);
  // More at once than one poll looks at, and than fit into the receive buffer: nobody is forgotten.
  for (size_t i = 0; i < clients.size(); i++) write_all(clients[i], std::string(2000, static_cast<char>('a' + i % 26)));
  const auto all_there = [&] {
    size_t bytes = 0;
    for (const SocketId id : server.accepted) bytes += server.known[id].received.size();
    return bytes == clients.size() * 2000;
  };
  CHECK(server.run_until(all_there));
  for (const SocketId id : server.accepted) CHECK(server.known[id].received.find_first_not_of(server.known[id].received[0]) == std::string::npos);
  for (const SocketId id : server.accepted) CHECK(send_text(*server, id, "answer") == 0);
  for (const int client : clients) CHECK(read_along(server, client, 6) == "answer");
  for (const int client : clients) ::close(client);
  CHECK(server.run_until([&] {
    for (const SocketId id : server.accepted) if (!server.known[id].ended) return false;
    return true;
  }));
  for (const SocketId id : server.accepted) server.sockets.close(id);
  CHECK(server.sockets.count() == 1);
}

// Nothing to do means that, after what is on its way, nothing is ready: an event file that stays readable would be a loop that spins.
void is_quiet(Server& server) {
  for (int turns = 0; turns < 100; turns++) {
    pollfd wanted{server.sockets.event_file(), POLLIN, 0};
    if (::poll(&wanted, 1, 50) == 0) return;
    server.turn(0);
  }
  CHECK(false);
}

void partial_writes() {
  Server server;
  const auto [client, id] = server.pair();
  // More parts than one call takes, of all sizes, and more bytes than the kernel keeps.
  std::vector<std::string> texts;
  std::string expected;
  for (size_t i = 0; i < 3000; i++) {
    texts.push_back(std::string(i % 7 == 0 ? 0 : 1 + i * 13 % 9000, static_cast<char>('a' + i % 26)));
    expected += texts.back();
  }
  std::vector<iovec> parts;
  for (const std::string& text : texts) parts.push_back({const_cast<char*>(text.data()), text.size()});
  const int64_t queued = server.sockets.send(id, parts.data(), parts.size());
  CHECK(queued > 0);
  // The list of parts belongs to the caller; what they refer to stays.
  parts.assign(parts.size(), {nullptr, 0});
  const std::string more(3 << 20, '!');
  CHECK(send_text(*server, id, more) == queued + static_cast<int64_t>(more.size()));
  CHECK(server.sockets.bytes_queued(id) == static_cast<uint64_t>(queued) + more.size());
  CHECK(read_along(server, client, expected.size() + more.size()) == expected + more);
  CHECK(server.run_until([&] { return server.sockets.bytes_queued(id) == 0; }));
  CHECK(server.known[id].sent == static_cast<uint64_t>(queued) + more.size());
  is_quiet(server);
  // All parts empty.
  const iovec nothing{nullptr, 0};
  CHECK(server.sockets.send(id, &nothing, 1) == 0);
  ::close(client);
}

void resets_in_the_middle() {
  Server server;
  const std::string large(32 << 20, 'x');
  for (int round = 0; round < 20; round++) {
    const auto [client, id] = server.pair();
    CHECK(send_text(*server, id, large) > 0);
    read_all(client, 100'000);
    reset(client);
    CHECK(server.run_until([&, id = id] { return server.known[id].failed >= 0; }));
    CHECK(server.known[id].failed == ECONNRESET || server.known[id].failed == EPIPE);
    CHECK(send_text(*server, id, "late") == -EBADF);
    CHECK(server.sockets.bytes_queued(id) == 0);
  }
  // One that is not read is noticed, too, and one that resets while nothing is sent.
  const auto [paused, paused_id] = server.pair();
  server.sockets.set_reading(paused_id, false);
  write_all(paused, "unread");
  reset(paused);
  CHECK(server.run_until([&, id = paused_id] { return server.known[id].failed == ECONNRESET; }));
  const auto [other, other_id] = server.pair();
  reset(other);
  CHECK(server.run_until([&, id = other_id] { return server.known[id].failed == ECONNRESET; }));
  CHECK(server.sockets.count() == 1);
  is_quiet(server);
}

void half_closed() {
  Server server;
  const auto [client, id] = server.pair();
  const std::string large(16 << 20, 'y');
  write_all(client, "question");
  CHECK(send_text(*server, id, large) > 0);
  CHECK(::shutdown(client, SHUT_WR) == 0);
  CHECK(server.run_until([&, id = id] { return server.known[id].ended; }));
  CHECK(server.known[id].received == "question");
  is_quiet(server);
  CHECK(read_along(server, client, large.size()) == large);
  CHECK(server.run_until([&, id = id] { return server.sockets.bytes_queued(id) == 0; }));
  CHECK(server.sockets.shutdown(id) == 0);
  char byte;
  CHECK(::recv(client, &byte, 1, 0) == 0);
  server.sockets.close(id);
  ::close(client);

  // The other way round: what the client sends after this side's end is received.
  const auto [second, second_id] = server.pair();
  CHECK(server.sockets.shutdown(second_id) == 0);
  write_all(second, "still here");
  CHECK(server.run_until([&, id = second_id] { return server.known[id].received == "still here"; }));
  ::close(second);
  CHECK(server.run_until([&, id = second_id] { return server.known[id].ended; }));
  server.sockets.close(second_id);
  is_quiet(server);
}

void pauses() {
  Server server;
  const auto [client, id] = server.pair();
  server.sockets.set_reading(id, false);
  write_all(client, "later");
  for (int i = 0; i < 5; i++) server.turn(5);
  CHECK(server.known[id].received.empty());
  is_quiet(server);
  server.sockets.set_reading(id, true);
  CHECK(server.run_until([&, id = id] { return server.known[id].received == "later"; }));
  ::close(client);
}

void read_into_given_memory() {
  Server server;
  const auto [client, id] = server.pair();
  std::string target(300'000, '\0');
  std::string content;
  for (size_t i = 0; i < target.size(); i++) content += static_cast<char>('a' + i % 23);
  size_t at = 0;
  const auto ask = [&, id = id] { server.sockets.read_into(id, reinterpret_cast<uint8_t*>(target.data()) + at, target.size() - at); };
  server.on_event = [&](const SocketEvent& event) {
    if (event.kind != SocketEvent::filled) return;
    at += event.bytes;
    ask();
  };
  ask();
  size_t written = 0;
  for (int turns = 0; turns < 2000 && at < target.size(); turns++) {
    const ssize_t count = ::send(client, content.data() + written, content.size() - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) written += static_cast<size_t>(count);
    server.turn(1);
  }
  CHECK(target == content);
  server.on_event = nullptr;
  // The place was for those bytes only.
  write_all(client, "next");
  CHECK(server.run_until([&, id = id] { return server.known[id].received == "next"; }));
  // Taken back, and closed while it is given.
  server.sockets.read_into(id, reinterpret_cast<uint8_t*>(target.data()), 10);
  server.sockets.read_into(id, nullptr, 0);
  write_all(client, "!");
  CHECK(server.run_until([&, id = id] { return server.known[id].received == "next!"; }));
  server.sockets.read_into(id, reinterpret_cast<uint8_t*>(target.data()), 10);
  server.sockets.close(id);
  ::close(client);
}

// The owner closes all connections at the first event of a poll that has one for each.
void close_while_told() {
  Server server;
  std::vector<int> clients;
  for (int i = 0; i < 30; i++) clients.push_back(server.connect());
  CHECK(server.run_until([&] { return server.accepted.size() == 30; }));
  for (const int client : clients) write_all(client, "x");
  server.on_event = [&](const SocketEvent&) {
    for (const SocketId id : server.accepted) server.sockets.close(id);
  };
  server.turn();
  server.on_event = nullptr;
  CHECK(server.sockets.count() == 1);
  for (const int client : clients) ::close(client);
  // A descriptor number is used again at once, an id never.
  const auto [client, id] = server.pair();
  CHECK(id > server.accepted[29]);
  CHECK(send_text(*server, server.accepted[0], "?") == -EBADF);
  ::close(client);
  server.sockets.close(server.listener);
  is_quiet(server);
}

void no_descriptors() {
  Server server;
  rlimit before{};
  CHECK(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<int> clients;
  for (int i = 0; i < 3; i++) clients.push_back(server.connect());
  const int next = ::dup(0);
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(server.run_until([&] { return server.accept_failures == 1; }));
  CHECK(server.accepted.empty());
  is_quiet(server);
  CHECK(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  server.sockets.accept_again(server.listener);
  CHECK(server.run_until([&] { return server.accepted.size() == 3; }));
  CHECK(server.accept_failures == 1);
  for (const int client : clients) ::close(client);
}

// The accepted socket of a client, by the client's address.
int accepted_file_of(int client) {
  sockaddr_in name{};
  socklen_t length = sizeof name;
  CHECK(::getsockname(client, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  for (int file = 0; file < 1024; file++) {
    sockaddr_in peer{};
    length = sizeof peer;
    if (::getpeername(file, reinterpret_cast<sockaddr*>(&peer), &length) == 0 && peer.sin_port == name.sin_port) return file;
  }
  return -1;
}

void is_not_paced_inside_a_machine() {
  Server server;
  const auto [client, id] = server.pair();
  char name[16] = "";
  socklen_t length = sizeof name;
  CHECK(::getsockopt(accepted_file_of(client), IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
  CHECK(std::string(name) == "reno");
  ::close(client);
}

// Ends with connections open, one of them in the middle of a send.
void ends_at_work() {
  const std::string large(32 << 20, 'z');
  int client;
  {
    Server server;
    const auto [file, id] = server.pair();
    client = file;
    CHECK(send_text(*server, id, large) > 0);
  }
  ::close(client);
}

}  // namespace
}  // namespace haulout

int main() {
  haulout::many_connections();
  haulout::partial_writes();
  haulout::resets_in_the_middle();
  haulout::half_closed();
  haulout::pauses();
  haulout::read_into_given_memory();
  haulout::close_while_told();
  haulout::no_descriptors();
  haulout::is_not_paced_inside_a_machine();
  haulout::ends_at_work();
  std::puts("sockets: fine");
  return 0;
}
