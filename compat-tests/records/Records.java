import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The records of README.md beside this file, and the comparison of what was read with them. */
final class Records {
  private static final String TABLE = table();

  private static String table() {
    String alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    StringBuilder text = new StringBuilder();
    int state = 42;
    for (int position = 0; position < 65_536; position++) {
      state = (state * 1103515245 + 12345) & 0x7fffffff;
      text.append(alphabet.charAt((state >>> 16) & 63));
    }
    return text.toString();
  }

  static byte[] key(String writer, int index) {
    return index % 50 == 24 ? null : bytes(writer + ":" + index);
  }

  static byte[] value(String writer, int index) {
    if (index % 50 == 49) return null;
    int length = index % 1000 == 500 ? 20_000 : 20 + (index * 37) % 400;
    int start = (int) ((index * 31L) % 32_768);
    return bytes(writer + ":" + index + ":" + TABLE.substring(start, start + length));
  }

  static List<Header> headers(String writer, int index) {
    return List.of(new RecordHeader("writer", bytes(writer)), new RecordHeader("index", indexHeader(index)));
  }

  private static byte[] indexHeader(int index) {
    return new byte[] {(byte) (0x80 | (index >>> 21)), (byte) (0x80 | (index >>> 14)), (byte) (0x80 | (index >>> 7)), (byte) (0x80 | index)};
  }

  static String[] identity(ConsumerRecord<byte[], byte[]> record) {
    byte[] source = record.value() != null ? record.value() : record.key();
    return source == null ? new String[] {"?", "-1"} : new String(source, StandardCharsets.ISO_8859_1).split(":", 3);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  /** Takes every record once; `problems` says what is missing, differs, comes twice or out of order. */
  static final class Verifier {
    private record Expectation(int from, int to, boolean indexHeader, boolean partitionRule, BitSet seen) {}

    private final Map<String, Expectation> expectations = new LinkedHashMap<>();
    private final Map<String, Integer> newestIndex = new HashMap<>();
    private final List<String> problems = new ArrayList<>();
    private final int partitionCount;
    private int missing;
    private int problemCount;

    Verifier(String expect, int partitionCount) {
      this.partitionCount = partitionCount;
      for (String part : expect.split(",")) {
        String[] fields = part.split(":");
        String flags = fields.length > 3 ? fields[3] : "";
        int from = Integer.parseInt(fields[1]);
        int to = Integer.parseInt(fields[2]);
        expectations.put(fields[0], new Expectation(from, to, !flags.contains("h"), !flags.contains("p"), new BitSet()));
        missing += to - from;
      }
    }

    boolean complete() {
      return missing == 0;
    }

    void take(ConsumerRecord<byte[], byte[]> record) {
      String[] identity = identity(record);
      String writer = identity[0];
      int index = Integer.parseInt(identity[1]);
      Expectation expected = expectations.get(writer);
      String where = "partition " + record.partition() + " offset " + record.offset() + " (" + writer + ":" + index + ")";
      if (expected == null || index < expected.from || index >= expected.to) {
        problem(where + ": not expected here");
        return;
      }
      if (expected.seen.get(index - expected.from)) {
        problem(where + ": delivered twice");
        return;
      }
      expected.seen.set(index - expected.from);
      missing--;
      if (!java.util.Arrays.equals(record.key(), key(writer, index))) problem(where + ": key differs");
      if (!java.util.Arrays.equals(record.value(), value(writer, index))) problem(where + ": value differs");
      List<Header> wanted = headers(writer, index).subList(0, expected.indexHeader ? 2 : 1);
      if (!wanted.equals(List.of(record.headers().toArray()))) problem(where + ": headers differ: " + record.headers());
      if (expected.partitionRule && record.partition() != index % partitionCount) problem(where + ": wrong partition");
      Integer newest = newestIndex.put(writer + "/" + record.partition(), index);
      if (newest != null && index <= newest) problem(where + ": out of order after " + newest);
    }

    /** The JSON that `consume` prints. */
    String result() {
      int records = 0;
      boolean ok = missing == 0 && problemCount == 0;
      for (Map.Entry<String, Expectation> entry : expectations.entrySet()) {
        Expectation expected = entry.getValue();
        int seen = expected.seen.cardinality();
        records += seen;
        if (seen < expected.to - expected.from) {
          problems.add((expected.to - expected.from - seen) + " records of " + entry.getKey() + " missing, the first is " + (expected.from + expected.seen.nextClearBit(0)));
        }
      }
      return "{\"ok\":" + ok + ",\"records\":" + records + ",\"problemCount\":" + (problemCount + missing) + ",\"problems\":" + json(problems) + "}";
    }

    private void problem(String text) {
      problemCount++;
      if (problems.size() < 10) problems.add(text);
    }
  }

  static String json(List<String> texts) {
    StringBuilder json = new StringBuilder("[");
    for (String text : texts) {
      if (json.length() > 1) json.append(',');
      json.append('"').append(text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("[\\x00-\\x1f]", " ")).append('"');
    }
    return json.append(']').toString();
  }
}
