import com.amazonaws.HttpMethod;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.s3.AmazonS3;
import com.amazonaws.services.s3.AmazonS3ClientBuilder;
import com.amazonaws.services.s3.model.*;
import com.amazonaws.services.s3.transfer.TransferManager;
import com.amazonaws.services.s3.transfer.TransferManagerBuilder;
import java.io.ByteArrayInputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** aws-sdk-java v1 with its defaults against a server, called by tests/clients.sh. */
final class AwsSdkJavaV1 {
    static final String BUCKET = "clients-aws-sdk-java-v1";
    static final AmazonS3 S3 = AmazonS3ClientBuilder.standard()
            .withEndpointConfiguration(new EndpointConfiguration(Checks.ENDPOINT.toString(), "us-east-1")).build();

    static void put(String key, byte[] body) {
        ObjectMetadata metadata = new ObjectMetadata();
        metadata.setContentLength(body.length);
        S3.putObject(BUCKET, key, new ByteArrayInputStream(body), metadata);
    }

    static byte[] get(GetObjectRequest query) throws Exception {
        try (S3Object object = S3.getObject(query)) {
            return object.getObjectContent().readAllBytes();
        }
    }

    static void same(String key, byte[] sent) throws Exception {
        Checks.same(key, get(new GetObjectRequest(BUCKET, key)), sent);
    }

    static void putAndGet(String key, byte[] body) throws Exception {
        put(key, body);
        same(key, body);
    }

    static List<String> keys(String prefix) {
        List<String> found = new ArrayList<>();
        ListObjectsV2Request query = new ListObjectsV2Request().withBucketName(BUCKET).withPrefix(prefix);
        ListObjectsV2Result page;
        do {
            page = S3.listObjectsV2(query);
            page.getObjectSummaries().forEach(entry -> found.add(entry.getKey()));
            query.setContinuationToken(page.getNextContinuationToken());
        } while (page.isTruncated());
        return found;
    }

    static void upload() throws Exception {
        TransferManager transfers = TransferManagerBuilder.standard().withS3Client(S3).build();
        ObjectMetadata metadata = new ObjectMetadata();
        metadata.setContentLength(Checks.BIG.length);
        transfers.upload(BUCKET, "big", new ByteArrayInputStream(Checks.BIG), metadata).waitForCompletion();
        transfers.shutdownNow(false);
        same("big", Checks.BIG);
    }

    static void range() throws Exception {
        byte[] got = get(new GetObjectRequest(BUCKET, "big").withRange(5242875, 5242884));
        Checks.same("range", got, Arrays.copyOfRange(Checks.BIG, 5242875, 5242885));
        Checks.equal("size", S3.getObjectMetadata(BUCKET, "big").getContentLength(), (long) Checks.BIG.length);
    }

    static void copies() throws Exception {
        for (String key : List.of("copy/a b", "copy/a+b")) {
            put(key, key.getBytes());
        }
        for (String key : List.of("copy/a b", "copy/a+b")) {
            S3.copyObject(BUCKET, key, BUCKET, key + ".copy");
            same(key + ".copy", key.getBytes());
        }
    }

    static void presigned() throws Exception {
        byte[] body = Checks.random(5000);
        Checks.send(S3.generatePresignedUrl(BUCKET, "presigned + ä", null, HttpMethod.PUT).toString(), body);
        Checks.same("presigned", Checks.fetch(S3.generatePresignedUrl(BUCKET, "presigned + ä", null).toString()), body);
    }

    static void list() throws Exception {
        Checks.each(Checks.MANY, number -> put(String.format("many/%04d", number), new byte[0]));
        Checks.equal("keys", keys("many/").size(), Checks.MANY);
        ObjectListing old = S3.listObjects(new ListObjectsRequest().withBucketName(BUCKET).withDelimiter("/"));
        Checks.equal("folder", old.getCommonPrefixes().contains("many/"), true);
    }

    static void remove() {
        List<String> doomed = keys("");
        for (int at = 0; at < doomed.size(); at += 1000) {
            String[] batch = doomed.subList(at, Math.min(at + 1000, doomed.size())).toArray(new String[0]);
            DeleteObjectsResult answer = S3.deleteObjects(new DeleteObjectsRequest(BUCKET).withKeys(batch));
            Checks.equal("deleted", answer.getDeletedObjects().size(), batch.length);
        }
        Checks.equal("left", keys(""), List.of());
        S3.deleteBucket(BUCKET);
        Checks.equal("exists", S3.doesBucketExistV2(BUCKET), false);
    }

    public static void main(String[] arguments) {
        Checks checks = new Checks("aws_sdk_java_v1");
        checks.check("make a bucket", () -> S3.createBucket(BUCKET));
        checks.check("the bucket exists, by its ACL", () -> Checks.equal("exists", S3.doesBucketExistV2(BUCKET), true));
        checks.check("put and get an empty body", () -> putAndGet("empty", new byte[0]));
        checks.check("put and get 5 kB", () -> putAndGet("dir/small", Checks.random(5000)));
        checks.check("put and get 100 KiB", () -> putAndGet("dir/medium", Checks.random(100 << 10)));
        checks.check("put and get a string", () -> {
            S3.putObject(BUCKET, "string", "grün");
            Checks.equal("string", S3.getObjectAsString(BUCKET, "string"), "grün");
        });
        checks.check("upload 20 MiB in parts", AwsSdkJavaV1::upload);
        checks.check("a range, and the size", AwsSdkJavaV1::range);
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
        checks.check("copy names with a space and with a plus", AwsSdkJavaV1::copies);
        checks.check("presigned PUT and GET", AwsSdkJavaV1::presigned);
        checks.check("list 1,001 keys by pages and by folder", AwsSdkJavaV1::list);
        checks.check("delete all and remove the bucket", AwsSdkJavaV1::remove);
        checks.end();
    }
}
