//! GetObjectAttributes: what each name asks for, and the parts of an object page by page.

use crate::{bucket, code, failure, put, send};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    ObjectAttributes,
};
use strata_tests::content::body;
use strata_tests::http::Request;

/// The sizes of the parts that [`upload`] puts.
const SIZES: [usize; 3] = [5 << 20, (5 << 20) + 1, 77];

/// Uploads an object in parts and checks what is answered on the way; its ETag without quotation marks.
async fn upload(
    client: &Client,
    bucket: &str,
    key: &str,
    algorithm: Option<(ChecksumAlgorithm, ChecksumType)>,
) -> String {
    let create = client.create_multipart_upload().bucket(bucket).key(key);
    let (of, kind) = algorithm.unzip();
    let created = create
        .set_checksum_algorithm(of.clone())
        .set_checksum_type(kind.clone());
    let created = created.send().await.expect("an upload");
    assert_eq!(
        (created.checksum_algorithm(), created.checksum_type()),
        (of.as_ref(), kind.as_ref())
    );
    let id = created.upload_id().expect("its id");
    let mut done = Vec::new();
    for (number, bytes) in (1..).zip(SIZES) {
        let put = client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .part_number(number)
            .set_checksum_algorithm(of.clone());
        let part = put.body(ByteStream::from(body(1, bytes))).send().await;
        let part = part.expect("a part");
        if of == Some(ChecksumAlgorithm::Sha256) {
            assert!(part.checksum_sha256().is_some(), "{part:?}");
        }
        let named = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_sha256(part.checksum_sha256)
            .set_checksum_crc32(part.checksum_crc32);
        done.push(named.build());
    }
    let listed = client.list_parts().bucket(bucket).key(key).upload_id(id);
    let listed = listed.send().await.expect("the parts");
    let default = (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject);
    let (of, kind) = (of.unwrap_or(default.0), kind.unwrap_or(default.1));
    assert_eq!(listed.checksum_algorithm(), Some(&of));
    assert_eq!(listed.checksum_type(), Some(&kind));
    let parts = CompletedMultipartUpload::builder().set_parts(Some(done));
    let complete = client
        .complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(parts.build());
    let answer = complete.send().await.expect("complete");
    assert_eq!(answer.checksum_type(), Some(&kind));
    let etag = answer.e_tag().expect("a tag").trim_matches('"');
    etag.to_owned()
}

#[tokio::test]
async fn each_name_asks_for_its_attribute() {
    let (client, name) = bucket("attributes-plain").await;
    put(&client, &name, "k", b"hello").await;
    let ask = || client.get_object_attributes().bucket(&name).key("k");
    let all = ask()
        .object_attributes(ObjectAttributes::Etag)
        .object_attributes(ObjectAttributes::Checksum)
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::StorageClass)
        .object_attributes(ObjectAttributes::ObjectSize);
    let all = all.send().await.expect("attributes");
    assert_eq!(all.e_tag(), Some("5d41402abc4b2a76b9719d911017c592"));
    let checksum = all.checksum().expect("a checksum");
    assert!(checksum.checksum_crc32().is_some(), "the SDK's default");
    assert_eq!(checksum.checksum_type(), Some(&ChecksumType::FullObject));
    assert!(all.object_parts().is_none(), "it has none");
    assert_eq!(all.object_size(), Some(5));
    assert_eq!(
        all.storage_class().map(|class| class.as_str()),
        Some("STANDARD")
    );
    assert!(all.last_modified().is_some());
    let size = ask().object_attributes(ObjectAttributes::ObjectSize);
    let size = size.send().await.expect("attributes");
    assert_eq!((size.object_size(), size.e_tag()), (Some(5), None));
    let missing = client
        .get_object_attributes()
        .bucket(&name)
        .key("missing")
        .object_attributes(ObjectAttributes::Etag);
    assert_eq!(failure(missing.send().await), code(404, "NoSuchKey"));
}

/// The checksum of a part that comes with the part's bytes, against which the SDK has compared them (user guide of S3, "Checking object
/// integrity"; API reference of GetObject, `partNumber`).
async fn own_checksum(
    client: &Client,
    bucket: &str,
    key: &str,
    number: i32,
    kind: &ChecksumType,
) -> String {
    let get = client.get_object().bucket(bucket).key(key);
    let get = get.part_number(number).checksum_mode(ChecksumMode::Enabled);
    let got = get.send().await.expect("a part");
    assert_eq!(got.checksum_type(), Some(kind));
    let told = [
        got.checksum_sha256(),
        got.checksum_crc32(),
        got.checksum_crc64_nvme(),
    ];
    let told: Vec<String> = told.into_iter().flatten().map(str::to_owned).collect();
    let bytes = got.body.collect().await.expect("its bytes").into_bytes();
    let size = SIZES[number as usize - 1];
    assert_eq!(bytes, body(1, size));
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].clone()
}

#[tokio::test]
async fn the_parts_of_an_object_come_by_pages() {
    let (client, name) = bucket("attributes-parts").await;
    for (key, algorithm) in [
        ("plain", None),
        (
            "composite",
            Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
        ),
        (
            "full",
            Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject)),
        ),
    ] {
        let etag = upload(&client, &name, key, algorithm.clone()).await;
        let mut found = Vec::new();
        let mut marker = None;
        for page in 0.. {
            let asked = client
                .get_object_attributes()
                .bucket(&name)
                .key(key)
                .max_parts(2)
                .set_part_number_marker(marker.clone())
                .object_attributes(ObjectAttributes::Etag)
                .object_attributes(ObjectAttributes::Checksum)
                .object_attributes(ObjectAttributes::ObjectParts);
            let answer = asked.send().await.expect("attributes");
            assert_eq!(answer.e_tag(), Some(etag.as_str()));
            let checksum = answer.checksum().expect("a checksum");
            let kind = algorithm.as_ref().map(|(_, kind)| kind.clone());
            let kind = kind.unwrap_or(ChecksumType::FullObject);
            assert_eq!(checksum.checksum_type(), Some(&kind), "{key}");
            let parts = answer.object_parts().expect("its parts");
            assert_eq!(parts.total_parts_count(), Some(3));
            assert_eq!(parts.max_parts(), Some(2));
            let asked = marker.clone().unwrap_or("0".to_owned());
            assert_eq!(parts.part_number_marker(), Some(asked.as_str()));
            let here = parts.parts().iter();
            found.extend(here.map(|part| (part.part_number(), part.size())));
            for part in parts.parts() {
                let number = part.part_number().expect("a number");
                let own = own_checksum(&client, &name, key, number, &kind).await;
                let told = [
                    part.checksum_sha256(),
                    part.checksum_crc32(),
                    part.checksum_crc64_nvme(),
                ];
                assert_eq!(told.into_iter().flatten().collect::<Vec<_>>(), [own]);
            }
            let more = parts.is_truncated() == Some(true);
            assert_eq!(more, page == 0, "{key}");
            if !more {
                break;
            }
            marker = parts.next_part_number_marker().map(str::to_owned);
        }
        let expected = (1..).zip(SIZES);
        let expected: Vec<_> = expected
            .map(|(number, size)| (Some(number), Some(size as i64)))
            .collect();
        assert_eq!(found, expected, "{key}");
    }
    let target = format!("/{name}/plain?attributes");
    let ask = |header: &str, value: &str| {
        let request = Request::new("GET", &target);
        let request = request.header("x-amz-object-attributes", "ObjectParts");
        let answer = send(request.header(header, value));
        (answer.status, answer.text())
    };
    let (status, none) = ask("x-amz-max-parts", "0");
    assert!(status == 200 && !none.contains("<Part>"), "{none}");
    assert!(none.contains("<IsTruncated>false</IsTruncated>"), "{none}");
    let (status, beyond) = ask("x-amz-part-number-marker", "3");
    assert!(status == 200 && !beyond.contains("<Part>"), "{beyond}");
    for (header, value) in [
        ("x-amz-max-parts", "-1"),
        ("x-amz-max-parts", "many"),
        ("x-amz-part-number-marker", "x"),
    ] {
        let (status, text) = ask(header, value);
        assert_eq!(status, 400, "{header}: {value}: {text}");
        assert!(text.contains("<Code>InvalidArgument</Code>"), "{text}");
    }
}

/// A plain object is its own first part, as with AWS; a part that is not there is no range that can be met.
#[tokio::test]
async fn parts_are_read_by_their_number() {
    let (client, name) = bucket("attributes-read").await;
    put(&client, &name, "plain", b"hello").await;
    upload(&client, &name, "parts", None).await;
    for method in ["GET", "HEAD"] {
        let ask = |key: &str, number: u32| {
            send(Request::new(
                method,
                &format!("/{name}/{key}?partNumber={number}"),
            ))
        };
        let plain = ask("plain", 1);
        assert_eq!(plain.status, 206, "{method}: {}", plain.text());
        assert_eq!(
            plain.header("content-range"),
            Some("bytes 0-4/5"),
            "{method}"
        );
        assert_eq!(plain.header("x-amz-mp-parts-count"), None, "{method}");
        let last = ask("parts", 3);
        let (start, size) = (SIZES[0] + SIZES[1], SIZES.iter().sum::<usize>());
        let range = format!("bytes {start}-{}/{size}", size - 1);
        assert_eq!(last.status, 206, "{method}: {}", last.text());
        assert_eq!(
            last.header("content-range"),
            Some(range.as_str()),
            "{method}"
        );
        assert_eq!(last.header("x-amz-mp-parts-count"), Some("3"), "{method}");
        for (key, number) in [("plain", 2), ("parts", 4), ("parts", 10_000)] {
            let beyond = ask(key, number);
            assert_eq!(beyond.status, 416, "{method} {key} {number}");
            if method == "GET" {
                let text = beyond.text();
                assert!(text.contains("<Code>InvalidPartNumber</Code>"), "{text}");
            }
        }
        for number in [0, 10_001] {
            assert_eq!(ask("parts", number).status, 400, "{method} {number}");
        }
    }
}
