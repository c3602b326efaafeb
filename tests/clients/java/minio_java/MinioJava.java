import io.minio.*;
import io.minio.http.Method;
import io.minio.messages.*;
import java.io.ByteArrayInputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * minio-java with its defaults against a server, called by tests/clients.sh. Version 8 is the one that signs no
 * Content-Type.
 */
final class MinioJava {
    static final String BUCKET = "clients-minio-java";
    static final MinioClient CLIENT = MinioClient.builder()
            .endpoint(Checks.ENDPOINT.toString()).credentials(Checks.ACCESS_KEY, Checks.SECRET_KEY).build();

    static void put(String key, byte[] body) throws Exception {
        CLIENT.putObject(PutObjectArgs.builder().bucket(BUCKET).object(key)
                .stream(new ByteArrayInputStream(body), (long) body.length, -1L).build());
    }

    static byte[] get(String key) throws Exception {
        try (GetObjectResponse response = CLIENT.getObject(GetObjectArgs.builder().bucket(BUCKET).object(key).build())) {
            return response.readAllBytes();
        }
    }

    static void putAndGet(String key, byte[] body) throws Exception {
        put(key, body);
        Checks.same(key, get(key), body);
    }

    static List<String> keys(ListObjectsArgs.Builder query) throws Exception {
        List<String> found = new ArrayList<>();
        for (Result<Item> entry : CLIENT.listObjects(query.bucket(BUCKET).build())) {
            found.add(entry.get().objectName());
        }
        return found;
    }

    static void list() throws Exception {
        Checks.each(Checks.MANY, number -> {
            try {
                put(String.format("many/%04d", number), new byte[0]);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        Checks.equal("keys", keys(ListObjectsArgs.builder().prefix("many/")).size(), Checks.MANY);
        Checks.equal("keys of version 1", keys(ListObjectsArgs.builder().prefix("many/").useApiVersion1(true)).size(),
                Checks.MANY);
        Checks.equal("folder", keys(ListObjectsArgs.builder()).contains("many/"), true);
    }

    static void copies() throws Exception {
        for (String key : List.of("copy/a b", "copy/a+b")) {
            put(key, key.getBytes());
        }
        for (String key : List.of("copy/a b", "copy/a+b")) {
            CLIENT.copyObject(CopyObjectArgs.builder().bucket(BUCKET).object(key + ".copy")
                    .source(CopySource.builder().bucket(BUCKET).object(key).build()).build());
            Checks.same(key, get(key + ".copy"), key.getBytes());
        }
    }

    static void presigned() throws Exception {
        GetPresignedObjectUrlArgs.Builder query =
                GetPresignedObjectUrlArgs.builder().bucket(BUCKET).object("presigned + ä").expiry(3600);
        byte[] body = Checks.random(5000);
        Checks.send(CLIENT.getPresignedObjectUrl(query.method(Method.PUT).build()), body);
        Checks.same("presigned", Checks.fetch(CLIENT.getPresignedObjectUrl(query.method(Method.GET).build())), body);
    }

    static void remove() throws Exception {
        List<DeleteObject> doomed = new ArrayList<>();
        for (String key : keys(ListObjectsArgs.builder().recursive(true))) {
            doomed.add(new DeleteObject(key));
        }
        for (Result<DeleteError> failure
                : CLIENT.removeObjects(RemoveObjectsArgs.builder().bucket(BUCKET).objects(doomed).build())) {
            throw new AssertionError(failure.get().message());
        }
        Checks.equal("left", keys(ListObjectsArgs.builder().recursive(true)), List.of());
        CLIENT.removeBucket(RemoveBucketArgs.builder().bucket(BUCKET).build());
    }

    static void describe() throws Exception {
        CLIENT.putObject(PutObjectArgs.builder().bucket(BUCKET).object("typed").contentType("text/x-strata")
                .userMetadata(Map.of("colour", "green")).stream(new ByteArrayInputStream(new byte[1]), 1L, -1L).build());
        StatObjectResponse found = CLIENT.statObject(StatObjectArgs.builder().bucket(BUCKET).object("typed").build());
        Checks.equal("type", found.contentType(), "text/x-strata");
        Checks.equal("metadata", found.headers().get("x-amz-meta-colour"), "green");
    }

    static void range() throws Exception {
        GetObjectArgs query = GetObjectArgs.builder().bucket(BUCKET).object("big").offset(5L << 20).length(10L).build();
        try (GetObjectResponse response = CLIENT.getObject(query)) {
            Checks.same("range", response.readAllBytes(), java.util.Arrays.copyOfRange(Checks.BIG, 5 << 20, (5 << 20) + 10));
        }
        StatObjectResponse found = CLIENT.statObject(StatObjectArgs.builder().bucket(BUCKET).object("big").build());
        Checks.equal("size", found.size(), (long) Checks.BIG.length);
    }

    static void compose() throws Exception {
        ComposeSource big = ComposeSource.builder().bucket(BUCKET).object("big").build();
        CLIENT.composeObject(ComposeObjectArgs.builder().bucket(BUCKET).object("composed").sources(new ArrayList<>(List.of(big, big))).build());
        byte[] twice = java.util.Arrays.copyOf(Checks.BIG, 2 * Checks.BIG.length);
        System.arraycopy(Checks.BIG, 0, twice, Checks.BIG.length, Checks.BIG.length);
        Checks.same("composed", get("composed"), twice);
    }

    public static void main(String[] arguments) {
        Checks checks = new Checks("minio_java");
        checks.check("make a bucket", () -> {
            CLIENT.makeBucket(MakeBucketArgs.builder().bucket(BUCKET).build());
            Checks.equal("exists", CLIENT.bucketExists(BucketExistsArgs.builder().bucket(BUCKET).build()), true);
        });
        checks.check("put and get an empty body", () -> putAndGet("empty", new byte[0]));
        checks.check("put and get 5 kB", () -> putAndGet("dir/small", Checks.random(5000)));
        checks.check("put and get 100 KiB", () -> putAndGet("dir/medium", Checks.random(100 << 10)));
        checks.check("put and get 20 MiB in parts", () -> putAndGet("big", Checks.BIG));
        checks.check("a range, and the size", MinioJava::range);
        checks.check("content type and metadata", MinioJava::describe);
        checks.check("an empty body, then one of 100 bytes", () -> {
            put("kept", new byte[0]);
            putAndGet("kept", Checks.random(100));
        });
        checks.check("odd keys", () -> {
            for (String key : Checks.ODD_KEYS) {
                putAndGet(key, key.getBytes());
            }
            Checks.equal("listed", keys(ListObjectsArgs.builder().prefix("odd/").recursive(true)), Checks.ODD_KEYS);
        });
        checks.check("copy names with a space and with a plus", MinioJava::copies);
        checks.check("compose 40 MiB of two copies", MinioJava::compose);
        checks.check("presigned PUT and GET", MinioJava::presigned);
        checks.check("list 1,001 keys by pages and by folder", MinioJava::list);
        checks.check("delete all and remove the bucket", MinioJava::remove);
        checks.end();
    }
}
