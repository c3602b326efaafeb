import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/**
 * aws-sdk-java v2 with its defaults against a server, called by tests/clients.sh: the synchronous client, the
 * asynchronous one, which sends big bodies in parts, and the same with chunked encoding off.
 */
final class AwsSdkJavaV2 {
    static final String BUCKET = "clients-aws-sdk-java-v2";
    static final S3Client S3 = S3Client.builder().endpointOverride(Checks.ENDPOINT).region(Region.US_EAST_1).build();
    static final S3AsyncClient ASYNC = S3AsyncClient.builder()
            .endpointOverride(Checks.ENDPOINT).region(Region.US_EAST_1).multipartEnabled(true).build();
    static final S3AsyncClient UNCHUNKED = S3AsyncClient.builder().endpointOverride(Checks.ENDPOINT)
            .region(Region.US_EAST_1).serviceConfiguration(settings -> settings.chunkedEncodingEnabled(false)).build();

    static void put(String key, byte[] body) {
        S3.putObject(request -> request.bucket(BUCKET).key(key), RequestBody.fromBytes(body));
    }

    static byte[] get(String key) {
        return S3.getObjectAsBytes(request -> request.bucket(BUCKET).key(key)).asByteArray();
    }

    static void putAndGet(String key, byte[] body) {
        put(key, body);
        Checks.same(key, get(key), body);
    }

    static List<String> keys(String prefix) {
        return S3.listObjectsV2Paginator(request -> request.bucket(BUCKET).prefix(prefix)).contents().stream()
                .map(S3Object::key).toList();
    }

    static void asynchronous(S3AsyncClient client, String key, byte[] body) {
        client.putObject(request -> request.bucket(BUCKET).key(key), AsyncRequestBody.fromBytes(body)).join();
        Checks.same(key, get(key), body);
        GetObjectRequest query = GetObjectRequest.builder().bucket(BUCKET).key(key).build();
        Checks.same(key, client.getObject(query, AsyncResponseTransformer.toBytes()).join().asByteArray(), body);
    }

    static void range() {
        byte[] got = S3.getObjectAsBytes(request -> request.bucket(BUCKET).key("big").range("bytes=5242875-5242884"))
                .asByteArray();
        Checks.same("range", got, Arrays.copyOfRange(Checks.BIG, 5242875, 5242885));
        HeadObjectResponse head = S3.headObject(request -> request.bucket(BUCKET).key("big"));
        Checks.equal("size", head.contentLength(), (long) Checks.BIG.length);
    }

    static void copies() {
        for (String key : List.of("copy/a b", "copy/a+b")) {
            put(key, key.getBytes());
        }
        for (String key : List.of("copy/a b", "copy/a+b")) {
            S3.copyObject(request -> request.sourceBucket(BUCKET).sourceKey(key).destinationBucket(BUCKET)
                    .destinationKey(key + ".copy"));
            Checks.same(key, get(key + ".copy"), key.getBytes());
        }
    }

    static void presigned() throws Exception {
        byte[] body = Checks.random(5000);
        String key = "presigned + ä";
        try (S3Presigner signer =
                S3Presigner.builder().endpointOverride(Checks.ENDPOINT).region(Region.US_EAST_1).build()) {
            Checks.send(signer.presignPutObject(request -> request.signatureDuration(Duration.ofHours(1))
                    .putObjectRequest(put -> put.bucket(BUCKET).key(key))).url().toString(), body);
            Checks.same(key, Checks.fetch(signer.presignGetObject(request -> request.signatureDuration(Duration.ofHours(1))
                    .getObjectRequest(get -> get.bucket(BUCKET).key(key))).url().toString()), body);
        }
    }

    static void list() throws Exception {
        Checks.each(Checks.MANY, number -> put(String.format("many/%04d", number), new byte[0]));
        Checks.equal("keys", keys("many/").size(), Checks.MANY);
        ListObjectsV2Response folders = S3.listObjectsV2(request -> request.bucket(BUCKET).delimiter("/"));
        Checks.equal("folder", folders.commonPrefixes().stream().anyMatch(entry -> entry.prefix().equals("many/")), true);
        ListObjectsV2Response attributes = S3.listObjectsV2(request -> request.bucket(BUCKET).prefix("big")
                .optionalObjectAttributes(OptionalObjectAttributes.RESTORE_STATUS));
        Checks.equal("keys with attributes", attributes.contents().size(), 1);
    }

    static void refusals() {
        try {
            get("missing");
            throw new AssertionError("NoSuchKey expected");
        } catch (NoSuchKeyException expected) {
            // Its type is what was checked.
        }
        try {
            S3.putObject(request -> request.bucket(BUCKET).key("big").ifNoneMatch("*"), RequestBody.fromString("x"));
            throw new AssertionError("PreconditionFailed expected");
        } catch (S3Exception refused) {
            Checks.equal("code", refused.awsErrorDetails().errorCode(), "PreconditionFailed");
        }
    }

    static void remove() {
        List<String> doomed = keys("");
        for (int at = 0; at < doomed.size(); at += 1000) {
            List<ObjectIdentifier> batch = doomed.subList(at, Math.min(at + 1000, doomed.size())).stream()
                    .map(key -> ObjectIdentifier.builder().key(key).build()).toList();
            DeleteObjectsResponse answer = S3.deleteObjects(request -> request.bucket(BUCKET)
                    .delete(delete -> delete.objects(batch)));
            Checks.equal("deleted", answer.deleted().size(), batch.size());
        }
        Checks.equal("left", keys(""), List.of());
        S3.deleteBucket(request -> request.bucket(BUCKET));
    }

    public static void main(String[] arguments) {
        Checks checks = new Checks("aws_sdk_java_v2");
        checks.check("make a bucket", () -> {
            S3.createBucket(request -> request.bucket(BUCKET));
            S3.headBucket(request -> request.bucket(BUCKET));
        });
        checks.check("put and get an empty body", () -> putAndGet("empty", new byte[0]));
        checks.check("put and get 5 kB", () -> putAndGet("dir/small", Checks.random(5000)));
        checks.check("put and get 100 KiB", () -> putAndGet("dir/medium", Checks.random(100 << 10)));
        checks.check("put and get 20 MiB", () -> putAndGet("big", Checks.BIG));
        // Version 2.57.8 now and then never ends its own download by parts of an empty body, although it has the whole answer, the
        // same bytes as when it ends (200 with a length of 0 for partNumber=1, as AWS answers). The others read it.
        checks.check("asynchronous: an empty body", () -> {
            ASYNC.putObject(request -> request.bucket(BUCKET).key("async/empty"), AsyncRequestBody.empty()).join();
            Checks.same("async/empty", get("async/empty"), new byte[0]);
        });
        checks.check("asynchronous: 100 KiB", () -> asynchronous(ASYNC, "async/medium", Checks.random(100 << 10)));
        checks.check("asynchronous: 20 MiB in parts", () -> asynchronous(ASYNC, "async/big", Checks.BIG));
        checks.check("chunked encoding off: an empty body", () -> asynchronous(UNCHUNKED, "plain/empty", new byte[0]));
        checks.check("chunked encoding off: 100 KiB",
                () -> asynchronous(UNCHUNKED, "plain/medium", Checks.random(100 << 10)));
        checks.check("a range, and the size", AwsSdkJavaV2::range);
        checks.check("an empty body, then one of 100 bytes", () -> {
            put("kept", new byte[0]);
            putAndGet("kept", Checks.random(100));
        });
        checks.check("odd keys", () -> {
            for (String key : Checks.ODD_KEYS) {
                putAndGet(key, key.getBytes());
            }
            Checks.equal("listed", keys("odd/"), Checks.ODD_KEYS);
        });
        checks.check("copy names with a space and with a plus", AwsSdkJavaV2::copies);
        checks.check("presigned PUT and GET", AwsSdkJavaV2::presigned);
        checks.check("list 1,001 keys by pages and by folder", AwsSdkJavaV2::list);
        checks.check("errors by their names", AwsSdkJavaV2::refusals);
        checks.check("delete all and remove the bucket", AwsSdkJavaV2::remove);
        checks.end();
    }
}
