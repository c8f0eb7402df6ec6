// A load of librdkafka's: `rdkafka produce|consume name=value...`, one line of JSON on stdout when it is done.
//
// produce: brokers topic partitions recordBytes batchBytes batchRecords inFlight lingerMs acks codec seconds warmupSeconds records (0: until the
//          seconds are over)
//          What is counted is what was acknowledged after the warm-up and before the end.
// consume: brokers topic partitions records fetchBytes rewindSeconds; the clock starts with the first records, which are not counted.
//          rewindSeconds > 0: each partition from its beginning again when its end is reached, until so much time is over.
//
// The payload is shared by all records and never copied here, deliveries are taken as events: what is left is librdkafka itself.
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "program.h"

enum { kBatch = 1000 };

static void set(rd_kafka_conf_t* conf, const char* name, const char* value) {
  char error[512];
  if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
    fprintf(stderr, "%s=%s: %s\n", name, value, error);
    exit(2);
  }
}

static rd_kafka_t* client(rd_kafka_type_t type, rd_kafka_conf_t* conf) {
  char error[512];
  set(conf, "bootstrap.servers", text("brokers"));
  set(conf, "broker.address.family", "v4");
  rd_kafka_t* rk = rd_kafka_new(type, conf, error, sizeof error);
  if (rk == NULL) {
    fprintf(stderr, "%s\n", error);
    exit(2);
  }
  return rk;
}

static void print(const char* verb, uint64_t records, uint64_t bytes, double seconds, double cpu, uint64_t errors, double whole_seconds) {
  printf("{\"verb\":\"%s\",\"records\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"clientCpuSeconds\":%.3f,\"errors\":%llu,\"librdkafka\":\"%s\",\"slotMs\":%d,\"slotBytes\":[", verb,
         (unsigned long long)records, (unsigned long long)bytes, seconds, cpu, (unsigned long long)errors, rd_kafka_version_str(), kSlotMs);
  print_slots(whole_seconds);
  printf("]}\n");
}

static rd_kafka_queue_t* deliveries;
static double started_at, counted_from, counted_until;
static atomic_uint_fast64_t acknowledged, errors;
static uint64_t counted_records, counted_bytes;
static double last_counted_at;
static atomic_int finished;

static void* take_deliveries(void* unused) {
  (void)unused;
  while (!atomic_load(&finished)) {
    rd_kafka_event_t* event = rd_kafka_queue_poll(deliveries, 50);
    if (event == NULL) continue;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
      uint64_t records = 0, bytes = 0;
      for (const rd_kafka_message_t* message; (message = rd_kafka_event_message_next(event)) != NULL;) {
        if (message->err) {
          if (atomic_fetch_add(&errors, 1) == 0) fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(message->err));
          continue;
        }
        records++;
        bytes += message->len;
      }
      const double now = now_seconds();
      count_slot(now - started_at, bytes);
      if (now >= counted_from && now <= counted_until) {
        counted_records += records;
        counted_bytes += bytes;
        last_counted_at = now;
      }
      atomic_fetch_add(&acknowledged, records);
    }
    rd_kafka_event_destroy(event);
  }
  return NULL;
}

static int produce(void) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  set(conf, "batch.size", text("batchBytes"));
  set(conf, "batch.num.messages", text("batchRecords"));
  set(conf, "max.in.flight.requests.per.connection", text("inFlight"));
  set(conf, "linger.ms", text("lingerMs"));
  set(conf, "acks", text("acks"));
  set(conf, "compression.codec", text("codec"));
  set(conf, "queue.buffering.max.messages", "2000000");
  set(conf, "queue.buffering.max.kbytes", "262144");
  set(conf, "message.max.bytes", number("batchBytes") > 1000000 ? "100000000" : "1048576");
  rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
  rd_kafka_t* rk = client(RD_KAFKA_PRODUCER, conf);
  rd_kafka_topic_t* topic = rd_kafka_topic_new(rk, text("topic"), NULL);
  const size_t record_bytes = (size_t)number("recordBytes");
  const int partitions = (int)number("partitions");
  // Letters and digits: a codec finds something to do, as in text.
  char* payload = malloc(record_bytes + 65536);
  unsigned seed = 42;
  for (size_t i = 0; i < record_bytes + 65536; i++) payload[i] = "abcdefghijklmnopqrstuvwxyz 0123456789"[rand_r(&seed) % 37];
  // Few at a time when records are large: one call stays below a batch.
  const size_t per_call = (size_t)number("batchBytes") / record_bytes < 1 ? 1
                          : (size_t)number("batchBytes") / record_bytes > kBatch ? kBatch : (size_t)number("batchBytes") / record_bytes;
  rd_kafka_message_t messages[kBatch];
  deliveries = rd_kafka_queue_get_main(rk);
  const uint64_t limit = (uint64_t)number("records");
  started_at = now_seconds();
  counted_from = started_at + number("warmupSeconds");
  counted_until = limit > 0 ? 1e300 : counted_from + number("seconds");
  pthread_t thread;
  pthread_create(&thread, NULL, take_deliveries, NULL);
  uint64_t sent = 0;
  double cpu_before = cpu_seconds();
  int cpu_taken = 0;
  for (int partition = 0; limit > 0 ? sent < limit : now_seconds() < counted_until; partition = (partition + 1) % partitions) {
    if (!cpu_taken && now_seconds() >= counted_from) cpu_before = cpu_seconds(), cpu_taken = 1;
    size_t left = limit > 0 && limit - sent < per_call ? (size_t)(limit - sent) : per_call;
    while (left > 0) {
      memset(messages, 0, left * sizeof *messages);
      for (size_t i = 0; i < left; i++) messages[i].payload = payload + (sent + i) * 64 % 65536, messages[i].len = record_bytes;
      const int taken = rd_kafka_produce_batch(topic, partition, 0, messages, (int)left);
      sent += (uint64_t)taken;
      left -= (size_t)taken;
      if (left == 0) break;
      const rd_kafka_resp_err_t why = messages[taken].err;
      if (why != RD_KAFKA_RESP_ERR__QUEUE_FULL && why != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "not accepted: %s\n", rd_kafka_err2str(why));
        return 1;
      }
      if (limit == 0 && now_seconds() >= counted_until) break;
      nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
  }
  const double cpu = cpu_seconds() - cpu_before;
  const double ended_at = now_seconds();
  if (limit > 0) {
    while (atomic_load(&acknowledged) + atomic_load(&errors) < limit && now_seconds() < ended_at + 120) nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  atomic_store(&finished, 1);
  pthread_join(thread, NULL);
  const double until = limit > 0 ? last_counted_at : counted_until;
  print("produce", counted_records, counted_bytes, until - counted_from, cpu, atomic_load(&errors), until - started_at);
  fflush(stdout);
  if (counted_records == 0) fprintf(stderr, "no record was acknowledged in the time that counts: the broker refuses them, is too slow, or its disk is full\n");
  // What is still queued is nobody's business: no orderly end, which would send it.
  _exit(atomic_load(&errors) == 0 && counted_records > 0 ? 0 : 1);
}

static void rewind_partition(rd_kafka_t* rk, int32_t partition) {
  if (number("rewindSeconds") <= 0) return;
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, text("topic"), partition)->offset = 0;
  rd_kafka_error_t* error = rd_kafka_seek_partitions(rk, list, 0);
  if (error != NULL) rd_kafka_error_destroy(error);
  rd_kafka_topic_partition_list_destroy(list);
}

static int consume(void) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  set(conf, "group.id", "bench");
  set(conf, "enable.auto.commit", "false");
  set(conf, "auto.offset.reset", "earliest");
  set(conf, "queued.min.messages", "1000000");
  set(conf, "queued.max.messages.kbytes", "262144");
  set(conf, "fetch.message.max.bytes", text("fetchBytes"));
  const double rewind_seconds = number("rewindSeconds");
  if (rewind_seconds > 0) set(conf, "enable.partition.eof", "true"), set(conf, "fetch.wait.max.ms", "10");
  rd_kafka_t* rk = client(RD_KAFKA_CONSUMER, conf);
  rd_kafka_poll_set_consumer(rk);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  for (int i = 0; i < (int)number("partitions"); i++) rd_kafka_topic_partition_list_add(list, text("topic"), i)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(rk, list);
  rd_kafka_queue_t* queue = rd_kafka_queue_get_consumer(rk);
  rd_kafka_message_t* messages[10 * kBatch];
  const uint64_t limit = (uint64_t)number("records");
  uint64_t taken = 0, records = 0, bytes = 0;
  double cpu_before = 0, last = now_seconds();
  while (rewind_seconds > 0 ? taken == 0 || last - started_at < rewind_seconds : taken < limit) {
    // A short wait: the call comes back only when as many as asked for are there, or the time is over.
    const ssize_t count = rd_kafka_consume_batch_queue(queue, 5, messages, 10 * kBatch);
    const double now = now_seconds();
    if (count <= 0 && now - last > 30) {
      fprintf(stderr, "nothing came for 30 seconds, %llu of %llu records were there\n", (unsigned long long)taken, (unsigned long long)limit);
      return 1;
    }
    if (count <= 0) continue;
    uint64_t now_records = 0, now_bytes = 0;
    for (ssize_t i = 0; i < count; i++) {
      if (!messages[i]->err) now_records++, now_bytes += messages[i]->len;
      else if (messages[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) rewind_partition(rk, messages[i]->partition);
      else fprintf(stderr, "not consumed: %s\n", rd_kafka_message_errstr(messages[i]));
      rd_kafka_message_destroy(messages[i]);
    }
    if (now_records == 0) continue;
    if (taken == 0) started_at = now, cpu_before = cpu_seconds();
    else records += now_records, bytes += now_bytes, count_slot(now - started_at, now_bytes);
    taken += now_records;
    last = now;
  }
  print("consume", records, bytes, last - started_at, cpu_seconds() - cpu_before, 0, last - started_at);
  fflush(stdout);
  _exit(0);
}

int main(int argc, char** argv) {
  argument_count = argc;
  arguments = argv;
  if (argc > 1 && strcmp(argv[1], "produce") == 0) return produce();
  if (argc > 1 && strcmp(argv[1], "consume") == 0) return consume();
  fprintf(stderr, "usage: rdkafka produce|consume name=value...\n");
  return 2;
}
