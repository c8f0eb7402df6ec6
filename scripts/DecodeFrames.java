import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Decodes message bodies with Kafka's own codecs. A line of input is `KEY request|response VERSION HEX`; the line of output for it is
 * the value as Kafka's JSON, a tab, and the bytes that Kafka writes for that value, or `error: ` and the reason.
 */
public class DecodeFrames {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder output = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", -1);
            output.append(decode(Short.parseShort(words[0]), words[1].equals("request"), Short.parseShort(words[2]), words[3])).append('\n');
        }
        System.out.write(output.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static String decode(short key, boolean isRequest, short version, String hex) {
        try {
            ApiMessageType type = ApiMessageType.fromApiKey(key);
            ApiMessage message = isRequest ? type.newRequest() : type.newResponse();
            ByteBufferAccessor bytes = new ByteBufferAccessor(ByteBuffer.wrap(HexFormat.of().parseHex(hex)));
            message.read(bytes, version);
            if (bytes.remaining() > 0) return "error: " + bytes.remaining() + " bytes are left";
            Object json = Class.forName(message.getClass().getName() + "JsonConverter")
                .getMethod("write", message.getClass(), short.class, boolean.class).invoke(null, message, version, false);
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBuffer written = ByteBuffer.allocate(message.size(cache, version));
            message.write(new ByteBufferAccessor(written), cache, version);
            return json + "\t" + HexFormat.of().formatHex(written.array());
        } catch (Exception error) {
            return "error: " + error;
        }
    }
}
