import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Java's kafka-clients; the verbs are those of ../records/README.md. */
public final class Program {
  private static final Duration IDLE_LIMIT = Duration.ofSeconds(30);
  private static final Duration EXCESS_WAIT = Duration.ofMillis(300);

  public static void main(String[] args) {
    Map<String, String> options = new HashMap<>();
    for (int at = 1; at + 1 < args.length; at += 2) options.put(args[at].substring(2), args[at + 1]);
    String result;
    try {
      result = switch (args[0]) {
        case "create" -> create(options);
        case "produce" -> produce(options);
        case "consume" -> consume(options);
        case "member" -> member(options);
        default -> throw new IllegalArgumentException("no verb " + args[0]);
      };
    } catch (Exception error) {
      StringWriter text = new StringWriter();
      error.printStackTrace(new PrintWriter(text));
      result = "{\"ok\":false,\"problems\":" + Records.json(List.of(text.toString())) + "}";
    }
    System.out.println(result);
    System.exit(result.startsWith("{\"ok\":true") ? 0 : 1);
  }

  private static Properties properties(Map<String, String> options, String... more) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", options.get("bootstrap"));
    properties.put("client.id", "compat-java");
    for (int at = 0; at < more.length; at += 2) properties.put(more[at], more[at + 1]);
    return properties;
  }

  private static String create(Map<String, String> options) throws Exception {
    try (Admin admin = Admin.create(properties(options))) {
      admin.createTopics(List.of(new NewTopic(options.get("topic"), Integer.parseInt(options.get("partitions")), (short) 1))).all().get();
    }
    return "{\"ok\":true}";
  }

  private static String produce(Map<String, String> options) throws Exception {
    String writer = options.get("writer");
    int partitions = Integer.parseInt(options.get("partitions"));
    int records = 0;
    for (String range : options.get("ranges").split(",")) {
      String[] fields = range.split(":");
      Properties properties = properties(options, "acks", "all", "compression.type", fields[0], "linger.ms", "5", "batch.size", "65536");
      List<Future<RecordMetadata>> acknowledgements = new ArrayList<>();
      try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
        for (int index = Integer.parseInt(fields[1]); index < Integer.parseInt(fields[2]); index++, records++) {
          acknowledgements.add(producer.send(new ProducerRecord<>(
              options.get("topic"), index % partitions, Records.key(writer, index), Records.value(writer, index), Records.headers(writer, index))));
        }
        for (Future<RecordMetadata> acknowledgement : acknowledgements) acknowledgement.get();
      }
    }
    return "{\"ok\":true,\"records\":" + records + "}";
  }

  private static KafkaConsumer<byte[], byte[]> consumer(Map<String, String> options, String... more) {
    Properties properties = properties(options, more);
    properties.put("group.id", options.get("group"));
    properties.put("auto.offset.reset", "earliest");
    properties.put("enable.auto.commit", "false");
    return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  private static String consume(Map<String, String> options) {
    Records.Verifier verifier = new Records.Verifier(options.get("expect"), Integer.parseInt(options.get("partitions")));
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(options)) {
      consumer.subscribe(List.of(options.get("topic").split(",")));
      long quietSinceNanos = System.nanoTime();
      Duration limit = IDLE_LIMIT;
      while (System.nanoTime() - quietSinceNanos < limit.toNanos()) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
          verifier.take(record);
          quietSinceNanos = System.nanoTime();
        }
        if (verifier.complete()) limit = EXCESS_WAIT;
      }
      consumer.commitSync();
    }
    return verifier.result();
  }

  private static String member(Map<String, String> options) throws IOException {
    String assignor = "cooperative-sticky".equals(options.get("assignor")) ? "CooperativeStickyAssignor" : "RangeAssignor";
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(options,
        "session.timeout.ms", options.getOrDefault("sessiontimeout", "10000"), "heartbeat.interval.ms", "500",
        "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor)) {
      Set<Integer> mine = new TreeSet<>();
      consumer.subscribe(List.of(options.get("topic")), new ConsumerRebalanceListener() {
        @Override public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
          consumer.commitSync();
          partitions.forEach(one -> mine.remove(one.partition()));
          printAssigned(mine);
        }

        @Override public void onPartitionsLost(Collection<TopicPartition> partitions) {
          partitions.forEach(one -> mine.remove(one.partition()));
          printAssigned(mine);
        }

        @Override public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
          partitions.forEach(one -> mine.add(one.partition()));
          printAssigned(mine);
        }
      });
      while (!toldToLeave()) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
          String[] identity = Records.identity(record);
          System.out.println("R " + record.partition() + " " + record.offset() + " " + identity[0] + " " + identity[1]);
        }
        consumer.commitAsync();
      }
      consumer.commitSync();
    }
    return "{\"ok\":true}";
  }

  private static void printAssigned(Set<Integer> partitions) {
    System.out.println("A " + partitions.stream().map(String::valueOf).collect(Collectors.joining(",")));
  }

  private static volatile Thread watcher;
  private static volatile boolean told;

  /** The driver ends stdin when the member is to leave. */
  private static boolean toldToLeave() {
    if (watcher == null) {
      watcher = new Thread(() -> {
        try {
          while (System.in.read() >= 0) { }
        } catch (IOException ended) {
          // The same word.
        }
        told = true;
      });
      watcher.setDaemon(true);
      watcher.start();
    }
    return told;
  }
}
