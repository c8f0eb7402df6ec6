// Replays requests that were encoded before, over many connections, with hardly any processor time: the frames go from a file to the socket
// inside the kernel (sendfile), answers are counted and thrown away there too (MSG_TRUNC) but for their first bytes.
//
//   wire load port=9092 frames=FILE connections=6 depth=4 seconds=5 warmupSeconds=1 errorAt=35    one line of JSON when it is done
//   wire idle port=9092 frames=FILE connections=5000                        "ready" when each has had an answer; holds them until its input ends
//
// FILE: requests one after the other, each with its length in front. A connection begins at the frame of its own number and goes on from there.
// depth: requests on the way per connection. errorAt: where in an answer the error code stands, which has to be 0; negative when there is none.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { kDepthMax = 64, kHeadBytes = 128, kReceiveBytes = 4096, kBuckets = 64 * 8, kEvents = 512, kUnknownTopicOrPartition = 3, kNotLeader = 6 };

struct Connection {
  int fd;
  size_t frame;          // the next one, or the one that is being sent
  size_t sent;           // bytes of it
  int on_the_way;
  double sent_at[kDepthMax];
  unsigned first;        // of sent_at
  uint8_t head[kHeadBytes];
  uint64_t have, total;  // of the answer, with its length; total is 0 until the length is known
  uint64_t answers;
};

static int file;
static const uint8_t* bytes;
static off_t* offsets;  // of the frames; one more at the end
static size_t frame_count;
static int depth, error_at;
static double started_at, counted_from, counted_until;
static uint64_t requests, bytes_out, bytes_in, whole_in, whole_out;
static uint64_t latencies[kBuckets];  // eight to each doubling of microseconds

static void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static uint32_t big_endian(const uint8_t* at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

static void open_frames(const char* path) {
  file = open(path, O_RDONLY);
  struct stat about;
  if (file < 0 || fstat(file, &about) != 0) fail(path);
  bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED) fail("mmap");
  offsets = malloc(sizeof *offsets);
  off_t at = 0;
  for (; at + 4 <= about.st_size; at += 4 + (off_t)big_endian(bytes + at)) {
    offsets[frame_count++] = at;
    offsets = realloc(offsets, (frame_count + 1) * sizeof *offsets);
  }
  offsets[frame_count] = at;
  if (frame_count == 0 || at != about.st_size) fprintf(stderr, "%s does not hold whole frames\n", path), exit(2);
}

static void connect_to(struct Connection* connection, int port) {
  connection->fd = socket(AF_INET, SOCK_STREAM, 0);
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int one = 1;
  if (connection->fd < 0 || connect(connection->fd, (const struct sockaddr*)&address, sizeof address) != 0) fail("connect");
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
}

static size_t bucket_of(double seconds) {
  const uint64_t us = (uint64_t)(seconds * 1e6) + 8;
  const int power = 63 - __builtin_clzll(us);
  return (size_t)(power - 3) * 8 + (us >> (power - 3) & 7);
}

static double bucket_us(size_t bucket) { return (double)((8 + bucket % 8) << (bucket / 8)) - 8; }

static void answered(struct Connection* connection, double now) {
  if (error_at >= 0 && connection->total >= (uint64_t)error_at + 2) {
    const int code = (int16_t)(connection->head[error_at] << 8 | connection->head[error_at + 1]);
    // A partition that was just made may not have come to life.
    const int young = now < counted_from && (code == kUnknownTopicOrPartition || code == kNotLeader);
    if (code != 0 && !young) fprintf(stderr, "answered with error %d\n", code), exit(1);
  }
  connection->on_the_way--;
  connection->answers++;
  whole_in += connection->total;
  count_slot(now - started_at, 1);
  const double latency = now - connection->sent_at[connection->first++ % kDepthMax];
  if (now < counted_from || now > counted_until) return;
  requests++;
  bytes_in += connection->total;
  const size_t bucket = bucket_of(latency);
  latencies[bucket < kBuckets ? bucket : kBuckets - 1]++;
}

// Takes bytes of answers that were read.
static void take(struct Connection* connection, const uint8_t* from, size_t count, double now) {
  while (count > 0) {
    const uint64_t wanted = connection->total == 0 ? 4 - connection->have : connection->total - connection->have;
    const size_t part = count < wanted ? count : (size_t)wanted;
    if (connection->have < kHeadBytes) {
      const size_t room = kHeadBytes - (size_t)connection->have;
      memcpy(connection->head + connection->have, from, part < room ? part : room);
    }
    connection->have += part;
    from += part;
    count -= part;
    if (connection->total == 0 && connection->have == 4) connection->total = 4 + (uint64_t)big_endian(connection->head);
    if (connection->total != 0 && connection->have == connection->total) {
      answered(connection, now);
      connection->have = connection->total = 0;
    }
  }
}

static void receive(struct Connection* connection) {
  uint8_t buffer[kReceiveBytes];
  for (;;) {
    const uint64_t left = connection->total == 0 ? 0 : connection->total - connection->have;
    const int discard = left > kReceiveBytes && connection->have >= kHeadBytes;
    const ssize_t count = discard ? recv(connection->fd, NULL, left < 1u << 30 ? (size_t)left : 1u << 30, MSG_TRUNC) : recv(connection->fd, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) fprintf(stderr, "the broker closed a connection\n"), exit(1);
    const double now = now_seconds();
    if (!discard) {
      take(connection, buffer, (size_t)count, now);
      continue;
    }
    connection->have += (uint64_t)count;
    if (connection->have == connection->total) {
      answered(connection, now);
      connection->have = connection->total = 0;
    }
  }
}

static void transmit(struct Connection* connection) {
  while (connection->on_the_way < depth) {
    off_t at = offsets[connection->frame] + (off_t)connection->sent;
    const size_t left = (size_t)(offsets[connection->frame + 1] - at);
    const ssize_t count = sendfile(connection->fd, file, &at, left);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) fail("sendfile");
    connection->sent += (size_t)count;
    if ((size_t)count < left) continue;
    const double now = now_seconds();
    connection->sent_at[(connection->first + (unsigned)connection->on_the_way) % kDepthMax] = now;
    connection->on_the_way++;
    const uint64_t whole = (uint64_t)(offsets[connection->frame + 1] - offsets[connection->frame]);
    whole_out += whole;
    if (now >= counted_from && now <= counted_until) bytes_out += whole;
    connection->sent = 0;
    connection->frame = (connection->frame + 1) % frame_count;
  }
}

static void print(double cpu) {
  const double seconds = counted_until - counted_from;
  printf("{\"requests\":%llu,\"bytesOut\":%llu,\"bytesIn\":%llu,\"wholeBytesOut\":%llu,\"wholeBytesIn\":%llu,\"seconds\":%.6f,\"clientCpuSeconds\":%.3f,\"slotMs\":%d,\"slotRequests\":[",
         (unsigned long long)requests, (unsigned long long)bytes_out, (unsigned long long)bytes_in, (unsigned long long)whole_out, (unsigned long long)whole_in, seconds, cpu, kSlotMs);
  print_slots(counted_until - started_at);
  printf("],\"latencyUs\":[");
  int some = 0;
  for (size_t i = 0; i < kBuckets; i++) {
    if (latencies[i] > 0) printf("%s[%.0f,%llu]", some++ ? "," : "", bucket_us(i), (unsigned long long)latencies[i]);
  }
  printf("]}\n");
}

int main(int argc, char** argv) {
  argument_count = argc;
  arguments = argv;
  const int idle = argc > 1 && strcmp(argv[1], "idle") == 0;
  if (!idle && (argc < 2 || strcmp(argv[1], "load") != 0)) return fprintf(stderr, "usage: wire load|idle name=value...\n"), 2;
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  open_frames(text("frames"));
  const int count = (int)number("connections");
  depth = idle ? 1 : (int)number("depth");
  error_at = idle ? -1 : (int)number("errorAt");
  if (depth < 1 || depth > kDepthMax || count < 1 || error_at > kHeadBytes - 2) return fprintf(stderr, "depth is 1 to %d, connections at least 1\n", kDepthMax), 2;
  struct Connection* all = calloc((size_t)count, sizeof *all);
  const int poll = epoll_create1(0);
  started_at = now_seconds();
  for (int i = 0; i < count; i++) {
    all[i].frame = (size_t)i % frame_count;
    connect_to(&all[i], (int)number("port"));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event) != 0) fail("epoll_ctl");
    if (!idle) continue;
    // One after the other: a backlog would hide what a connection costs.
    fcntl(all[i].fd, F_SETFL, 0);
    transmit(&all[i]);
    uint8_t buffer[kReceiveBytes];
    const ssize_t got = recv(all[i].fd, buffer, sizeof buffer, 0);
    if (got <= 0) fail("no answer");
  }
  if (idle) {
    printf("ready\n");
    fflush(stdout);
    char nothing;
    while (read(0, &nothing, 1) > 0) continue;
    return 0;
  }
  started_at = now_seconds();
  counted_from = started_at + number("warmupSeconds");
  counted_until = counted_from + number("seconds");
  double cpu_before = -1;
  for (double now = started_at; now < counted_until; now = now_seconds()) {
    if (cpu_before < 0 && now >= counted_from) cpu_before = cpu_seconds();
    struct epoll_event events[kEvents];
    const int ready = epoll_wait(poll, events, kEvents, 20);
    for (int i = 0; i < ready; i++) {
      receive(events[i].data.ptr);
      transmit(events[i].data.ptr);
    }
  }
  print(cpu_seconds() - cpu_before);
  return requests > 0 ? 0 : 1;
}
