import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/**
 * Runs the cases of one client program: a line for each, and an exit status that is not zero after a failure. A case
 * that fails does not stop those behind it.
 */
final class Checks {
    static final URI ENDPOINT = URI.create(System.getenv("STRATA_ENDPOINT"));
    static final String ACCESS_KEY = System.getenv("AWS_ACCESS_KEY_ID");
    static final String SECRET_KEY = System.getenv("AWS_SECRET_ACCESS_KEY");
    /** What every client sends in parts. */
    static final byte[] BIG = random((20 << 20) + 7);
    /** More than one page of a list and one batch of a delete hold. */
    static final int MANY = 1001;
    /** Names that clients and servers have escaped in different ways, in the order of their bytes. */
    static final List<String> ODD_KEYS =
            List.of("odd/!*'()~", "odd/100%25", "odd/pl+us", "odd/q?x=1&y#z", "odd/semi;colon,@$=:", "odd/sp ace",
                    "odd/ä ö/ü%", "odd/日本語");

    private final String client;
    private boolean failed;

    Checks(String client) {
        this.client = client;
    }

    /** A case, which says by an exception that it failed. */
    interface Case {
        void run() throws Exception;
    }

    void check(String name, Case one) {
        try {
            one.run();
            System.out.println("ok      " + client + ": " + name);
        } catch (Throwable failure) {
            failed = true;
            System.out.println("FAILED  " + client + ": " + name);
            for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
                System.out.println("        " + cause);
            }
        }
    }

    /** Ends the program: clients may have left threads behind. */
    void end() {
        System.exit(failed ? 1 : 0);
    }

    static byte[] random(int size) {
        byte[] body = new byte[size];
        new Random().nextBytes(body);
        return body;
    }

    static void same(String what, byte[] got, byte[] sent) {
        int at = Arrays.mismatch(got, sent);
        if (at >= 0) {
            throw new AssertionError(what + ": " + got.length + " bytes came back, " + sent.length
                    + " were sent, the first difference is at " + at);
        }
    }

    static void equal(String what, Object got, Object wanted) {
        if (!wanted.equals(got)) {
            throw new AssertionError(what + ": " + got + " instead of " + wanted);
        }
    }

    /** Calls a function with every number below the count, eight at a time. */
    static void each(int count, java.util.function.IntConsumer run) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        try {
            List<Callable<Object>> calls =
                    IntStream.range(0, count).mapToObj(number -> Executors.callable(() -> run.accept(number))).toList();
            for (Future<Object> done : pool.invokeAll(calls)) {
                done.get();
            }
        } finally {
            pool.shutdown();
        }
    }

    /** Reads an address with no header but those of the transport. */
    static byte[] fetch(String address) throws Exception {
        return answer(HttpRequest.newBuilder(URI.create(address)).build());
    }

    /** Sends a body to an address with no header but those of the transport. */
    static void send(String address, byte[] body) throws Exception {
        answer(HttpRequest.newBuilder(URI.create(address)).PUT(HttpRequest.BodyPublishers.ofByteArray(body)).build());
    }

    private static byte[] answer(HttpRequest request) throws Exception {
        HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpResponse<byte[]> response = http.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) {
            throw new AssertionError(response.statusCode() + ": " + new String(response.body()));
        }
        return response.body();
    }
}
