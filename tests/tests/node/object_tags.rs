//! Tags of objects, through the SDK: AWS's user guide, "Categorizing your objects using tags", and the API reference of the three
//! operations.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, MetadataDirective, Tag,
    Tagging, TaggingDirective, VersioningConfiguration,
};
use strata_tests::content::body;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};

use crate::{bucket, code, failure, get, put, send};

/// Keys and values.
type Pairs = Vec<(String, String)>;

fn pairs(of: &[(&str, &str)]) -> Pairs {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    of.iter().map(own).collect()
}

fn document(tags: &[(&str, &str)]) -> Tagging {
    let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
    let tags: Result<Vec<Tag>, _> = tags.iter().map(tag).collect();
    let set = Tagging::builder().set_tag_set(Some(tags.expect("tags")));
    set.build().expect("a document")
}

fn of_set(set: &[Tag]) -> Pairs {
    let pair = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
    set.iter().map(pair).collect()
}

async fn put_with_tags(client: &Client, bucket: &str, key: &str, content: &[u8], tags: &str) {
    let put = client.put_object().bucket(bucket).key(key).tagging(tags);
    let put = put.body(ByteStream::from(content.to_vec())).send().await;
    put.unwrap_or_else(|error| panic!("put {key}: {error:?}"));
}

/// The tags of an object. That GET and HEAD count them is checked.
async fn tags(client: &Client, bucket: &str, key: &str) -> Pairs {
    let found = client.get_object_tagging().bucket(bucket).key(key);
    let found = of_set(found.send().await.expect("tags").tag_set());
    let count = (!found.is_empty()).then_some(found.len() as i32);
    let head = client.head_object().bucket(bucket).key(key).send().await;
    assert_eq!(head.expect("a head").tag_count(), count);
    let got = client.get_object().bucket(bucket).key(key).send().await;
    assert_eq!(got.expect("an object").tag_count(), count);
    found
}

async fn set(client: &Client, bucket: &str, key: &str, tags: &[(&str, &str)]) {
    let put = client.put_object_tagging().bucket(bucket).key(key);
    let put = put.tagging(document(tags)).send().await;
    let answer = put.expect("tags are set");
    assert_eq!(answer.version_id(), None, "the bucket keeps no versions");
}

async fn remove(client: &Client, bucket: &str, key: &str) {
    let delete = client.delete_object_tagging().bucket(bucket).key(key);
    delete.send().await.expect("tags are removed");
}

#[tokio::test]
async fn tags_come_with_an_object_and_change_alone() {
    let (client, name) = bucket("tags-life").await;
    for bytes in [0, 100, 20_000, 3 << 20] {
        let content = body(bytes as u64, bytes);
        let text = "team=storage+%2B+more&stage=&l%C3%A4nge=%3D";
        put_with_tags(&client, &name, "a/k", &content, text).await;
        let expected = [("team", "storage + more"), ("stage", ""), ("länge", "=")];
        assert_eq!(tags(&client, &name, "a/k").await, pairs(&expected));
        let before = client.head_object().bucket(&name).key("a/k").send().await;
        let before = before.expect("a head");

        let other = [("one", "1"), ("a b", "+-=._:/@")];
        set(&client, &name, "a/k", &other).await;
        assert_eq!(tags(&client, &name, "a/k").await, pairs(&other));
        remove(&client, &name, "a/k").await;
        assert_eq!(tags(&client, &name, "a/k").await, []);
        remove(&client, &name, "a/k").await;
        set(&client, &name, "a/k", &other).await;
        set(&client, &name, "a/k", &[]).await;
        assert_eq!(tags(&client, &name, "a/k").await, []);

        let after = client.head_object().bucket(&name).key("a/k").send().await;
        let after = after.expect("a head");
        assert_eq!(after.e_tag(), before.e_tag());
        assert_eq!(after.last_modified(), before.last_modified());
        assert!(get(&client, &name, "a/k").await == content);
    }
    set(&client, &name, "a/k", &[("a", "1")]).await;
    put(&client, &name, "a/k", b"again").await;
    assert_eq!(tags(&client, &name, "a/k").await, [], "another object");
}

/// Answers as they are on the wire.
#[tokio::test]
async fn answers_about_tags_are_those_of_aws() {
    let (client, name) = bucket("tags-wire").await;
    put_with_tags(&client, &name, "k", b"x", "a=1").await;
    let target = format!("/{name}/k?tagging");
    let answer = send(Request::new("GET", &target));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        text.contains("<Tag><Key>a</Key><Value>1</Value></Tag>"),
        "{text}"
    );
    let xml = "<Tagging><TagSet><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tagging>";
    let answer = send(Request::new("PUT", &target).body(xml));
    assert_eq!((answer.status, &*answer.body), (200, &b""[..]));
    let answer = send(Request::new("HEAD", &format!("/{name}/k")));
    assert_eq!(answer.header("x-amz-tagging-count"), Some("1"));
    let answer = send(Request::new("DELETE", &target));
    assert_eq!((answer.status, &*answer.body), (204, &b""[..]));
    let answer = send(Request::new("HEAD", &format!("/{name}/k")));
    assert_eq!(answer.header("x-amz-tagging-count"), None);
}

async fn begin(client: &Client, bucket: &str, key: &str, tags: &str) -> String {
    let create = client.create_multipart_upload().bucket(bucket).key(key);
    let created = create.tagging(tags).send().await.expect("begun");
    created.upload_id().expect("an upload").to_owned()
}

#[tokio::test]
async fn an_upload_gives_its_tags_to_the_object() {
    let (client, name) = bucket("tags-upload").await;
    let id = begin(&client, &name, "k", "a=1&b=2").await;
    let part = client.upload_part().bucket(&name).key("k").upload_id(&id);
    let part = part.part_number(1).body(ByteStream::from_static(b"part"));
    let part = part.send().await.expect("a part");
    let etag = part.e_tag().expect("a tag");
    let part = CompletedPart::builder().part_number(1).e_tag(etag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(&name).key("k");
    let complete = complete.upload_id(&id).multipart_upload(parts);
    complete.send().await.expect("complete");
    let expected = pairs(&[("a", "1"), ("b", "2")]);
    assert_eq!(tags(&client, &name, "k").await, expected);

    let id = begin(&client, &name, "k", "c=3").await;
    let abort = client.abort_multipart_upload().bucket(&name).key("k");
    abort.upload_id(&id).send().await.expect("aborted");
    assert_eq!(tags(&client, &name, "k").await, expected);
    let create = client.create_multipart_upload().bucket(&name).key("k");
    let refused = create.tagging("a=1&a=2").send().await;
    assert_eq!(failure(refused), code(400, "InvalidArgument"));
}

#[tokio::test]
async fn a_copy_has_the_tags_of_its_source_or_its_own() {
    let (client, from) = bucket("tags-copy-from").await;
    let (_, to) = bucket("tags-copy-to").await;
    put_with_tags(&client, &from, "k", b"x", "a=1&b=2").await;
    put(&client, &from, "plain", b"x").await;
    let both = pairs(&[("a", "1"), ("b", "2")]);
    let copy = |source: &str, to: &str, key: &str| {
        let copy = client.copy_object().bucket(to).key(key);
        copy.copy_source(format!("{from}/{source}"))
    };
    copy("k", &to, "kept").send().await.expect("copied");
    assert_eq!(tags(&client, &to, "kept").await, both);
    let asked = copy("k", &from, "kept").tagging_directive(TaggingDirective::Copy);
    // Without the other directive the header is passed over.
    asked.tagging("c=3").send().await.expect("copied");
    assert_eq!(tags(&client, &from, "kept").await, both);
    let replaced = copy("k", &to, "new").tagging_directive(TaggingDirective::Replace);
    replaced.tagging("c=3").send().await.expect("copied");
    assert_eq!(tags(&client, &to, "new").await, pairs(&[("c", "3")]));
    let replaced = copy("k", &to, "none").tagging_directive(TaggingDirective::Replace);
    replaced.send().await.expect("copied");
    assert_eq!(tags(&client, &to, "none").await, []);
    copy("plain", &to, "kept").send().await.expect("copied");
    assert_eq!(tags(&client, &to, "kept").await, [], "overwritten");

    let itself = copy("k", &from, "k").metadata_directive(MetadataDirective::Replace);
    itself.metadata("m", "1").send().await.expect("copied");
    assert_eq!(tags(&client, &from, "k").await, both, "tags stay");
    let itself = copy("k", &from, "k").metadata_directive(MetadataDirective::Replace);
    let itself = itself.tagging_directive(TaggingDirective::Replace);
    itself.tagging("d=4").send().await.expect("copied");
    assert_eq!(tags(&client, &from, "k").await, pairs(&[("d", "4")]));
    let itself = copy("k", &from, "k").tagging_directive(TaggingDirective::Replace);
    let itself = itself.tagging("e=5").send().await;
    assert_eq!(failure(itself), code(400, "InvalidRequest"));
    let unknown = copy("k", &to, "k").tagging_directive(TaggingDirective::from("MERGE"));
    assert_eq!(failure(unknown.send().await), code(400, "InvalidArgument"));
    let long = copy("k", &to, "k").tagging_directive(TaggingDirective::Replace);
    let long = long.tagging(format!("{}=1", "k".repeat(129))).send().await;
    assert_eq!(failure(long), code(400, "InvalidTag"));
    assert_eq!(tags(&client, &from, "k").await, pairs(&[("d", "4")]));
}

async fn set_versioning(client: &Client, bucket: &str, status: BucketVersioningStatus) {
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = client.put_bucket_versioning().bucket(bucket);
    let put = put.versioning_configuration(configuration);
    put.send().await.expect("versioning");
}

/// Puts an object with a tag; its version.
async fn put_version(client: &Client, bucket: &str, value: &str) -> String {
    let put = client.put_object().bucket(bucket).key("k");
    let put = put.tagging(format!("v={value}"));
    let put = put.body(ByteStream::from(value.as_bytes().to_vec()));
    let answer = put.send().await.expect("put");
    answer.version_id().expect("a version").to_owned()
}

/// The value of the one tag of a version; the version that is named by the answer is compared.
async fn value_of(client: &Client, bucket: &str, version: &str) -> String {
    let found = client.get_object_tagging().bucket(bucket).key("k");
    let found = found.version_id(version).send().await.expect("tags");
    assert_eq!(found.version_id(), Some(version));
    found.tag_set()[0].value().to_owned()
}

#[tokio::test]
async fn every_version_has_its_own_tags() {
    let (client, name) = bucket("tags-versions").await;
    put_with_tags(&client, &name, "k", b"null", "v=null").await;
    set_versioning(&client, &name, BucketVersioningStatus::Enabled).await;
    let first = put_version(&client, &name, "first").await;
    let second = put_version(&client, &name, "second").await;
    for (version, value) in [("null", "null"), (&first, "first"), (&second, "second")] {
        assert_eq!(value_of(&client, &name, version).await, value);
    }
    let put = |version: Option<&str>, value: &str| {
        let put = client.put_object_tagging().bucket(&name).key("k");
        let put = put.tagging(document(&[("v", value)]));
        put.set_version_id(version.map(str::to_owned)).send()
    };
    let answer = put(Some(&first), "changed").await.expect("set");
    assert_eq!(answer.version_id(), Some(&first[..]));
    let answer = put(None, "newest").await.expect("set");
    assert_eq!(answer.version_id(), Some(&second[..]));
    let answer = put(Some("null"), "nil").await.expect("set");
    assert_eq!(answer.version_id(), Some("null"));
    for (version, value) in [("null", "nil"), (&first, "changed"), (&second, "newest")] {
        assert_eq!(value_of(&client, &name, version).await, value);
    }
    // A version that becomes the present one again has kept its tags.
    let delete = client.delete_object().bucket(&name).key("k");
    delete.version_id(&second).send().await.expect("deleted");
    let expected = pairs(&[("v", "changed")]);
    assert_eq!(tags(&client, &name, "k").await, expected);
    let delete = client.delete_object_tagging().bucket(&name).key("k");
    let answer = delete.version_id("null").send().await.expect("removed");
    assert_eq!(answer.version_id(), Some("null"));
    assert_eq!(tags(&client, &name, "k").await, expected);

    set_versioning(&client, &name, BucketVersioningStatus::Suspended).await;
    put_with_tags(&client, &name, "k", b"null", "v=again").await;
    let answer = put(None, "more").await.expect("set");
    assert_eq!(answer.version_id(), Some("null"));
    assert_eq!(value_of(&client, &name, "null").await, "more");
    assert_eq!(value_of(&client, &name, &first).await, "changed");
}

fn assert_refused(answer: &Response, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
}

#[tokio::test]
async fn a_delete_marker_and_what_is_not_there_have_no_tags() {
    let (client, name) = bucket("tags-absent").await;
    let xml = "<Tagging><TagSet/></Tagging>";
    let ask = |target: &str| -> Vec<Response> {
        let methods = [("GET", ""), ("PUT", xml), ("DELETE", "")];
        let ask =
            |(method, body): (&str, &str)| send(Request::new(method, target).body(body.to_owned()));
        methods.into_iter().map(ask).collect()
    };
    for answer in ask(&format!("/{name}/k?tagging")) {
        assert_refused(&answer, 404, "NoSuchKey");
    }
    for answer in ask("/tags-no-such-bucket/k?tagging") {
        assert_refused(&answer, 404, "NoSuchBucket");
    }
    set_versioning(&client, &name, BucketVersioningStatus::Enabled).await;
    put_with_tags(&client, &name, "k", b"x", "a=1").await;
    let version = "0123456789abcdef0123456789abcdef";
    for answer in ask(&format!("/{name}/k?tagging&versionId={version}")) {
        assert_refused(&answer, 404, "NoSuchVersion");
        assert!(answer.text().contains(version), "{}", answer.text());
    }
    for answer in ask(&format!("/{name}/k?tagging&versionId=x")) {
        assert_refused(&answer, 400, "InvalidArgument");
    }
    let deleted = client.delete_object().bucket(&name).key("k").send().await;
    let deleted = deleted.expect("deleted");
    let marker = deleted.version_id().expect("a delete marker");
    for target in ["", &format!("&versionId={marker}")] {
        for answer in ask(&format!("/{name}/k?tagging{target}")) {
            assert_refused(&answer, 405, "MethodNotAllowed");
            assert_eq!(answer.header("x-amz-delete-marker"), Some("true"));
            assert_eq!(answer.header("x-amz-version-id"), Some(marker));
        }
    }
}

#[tokio::test]
async fn tags_that_aws_refuses_are_refused_and_change_nothing() {
    let (client, name) = bucket("tags-refused").await;
    put_with_tags(&client, &name, "k", b"x", "a=1").await;
    let eleven: Vec<String> = (0..11).map(|at| format!("k{at}")).collect();
    let eleven: Vec<(&str, &str)> = eleven.iter().map(|key| (&key[..], "v")).collect();
    let (key, value) = ("k".repeat(128), "é".repeat(256));
    let (key_beyond, value_beyond) = ("k".repeat(129), "é".repeat(257));
    for (tags, expected) in [
        (&eleven[..], code(400, "BadRequest")),
        (&[("a", "1"), ("a", "2")], code(400, "InvalidTag")),
        (&[("aws:a", "1")], code(400, "InvalidTag")),
        (&[("a!", "1")], code(400, "InvalidTag")),
        (&[("", "1")], code(400, "InvalidTag")),
        (&[(&key_beyond[..], "1")], code(400, "InvalidTag")),
        (&[("a", &value_beyond[..])], code(400, "InvalidTag")),
    ] {
        let put = client.put_object_tagging().bucket(&name).key("k");
        let put = put.tagging(document(tags)).send().await;
        assert_eq!(failure(put), expected, "{tags:?}");
    }
    let target = format!("/{name}/k?tagging");
    for xml in ["<Tagging/>", "<Tagging", "<Other><TagSet/></Other>"] {
        let answer = send(Request::new("PUT", &target).body(xml));
        assert_refused(&answer, 400, "MalformedXML");
    }
    let eleven: Vec<String> = eleven.iter().map(|(key, _)| format!("{key}=v")).collect();
    for (text, expected) in [
        (&eleven.join("&")[..], "BadRequest"),
        ("a=1&a=2", "InvalidArgument"),
        ("a=%zz", "InvalidArgument"),
        ("a=%ff", "InvalidArgument"),
        ("a=%7B", "InvalidTag"),
        ("aws%3Aa=1", "InvalidTag"),
    ] {
        let request = Request::new("PUT", &format!("/{name}/k")).body("y");
        let answer = send(request.header("x-amz-tagging", text));
        assert_refused(&answer, 400, expected);
    }
    assert_eq!(get(&client, &name, "k").await, b"x");
    assert_eq!(tags(&client, &name, "k").await, pairs(&[("a", "1")]));
    let most = [(&key[..], &value[..])];
    set(&client, &name, "k", &most).await;
    assert_eq!(tags(&client, &name, "k").await, pairs(&most));
}

#[tokio::test]
async fn tags_outlive_a_kill() {
    let mut server = Server::start(ServerOptions::default());
    let client = server.client();
    let create = client.create_bucket().bucket("tags").send().await;
    create.expect("made");
    put_with_tags(&client, "tags", "k", b"x", "a=1").await;
    put_with_tags(&client, "tags", "changed", b"x", "a=1").await;
    set(&client, "tags", "changed", &[("b", "2"), ("c", "")]).await;
    put_with_tags(&client, "tags", "removed", b"x", "a=1").await;
    remove(&client, "tags", "removed").await;
    server.kill();
    server.restart();
    let client = server.client();
    assert_eq!(tags(&client, "tags", "k").await, pairs(&[("a", "1")]));
    let changed = pairs(&[("b", "2"), ("c", "")]);
    assert_eq!(tags(&client, "tags", "changed").await, changed);
    assert_eq!(tags(&client, "tags", "removed").await, []);
}
