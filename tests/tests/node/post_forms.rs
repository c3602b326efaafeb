//! Forms of browsers, byte by byte: AWS's S3 API reference, "POST Object", "Creating a POST policy" and "Creating an HTML form".

use std::time::Duration;

use aws_sdk_s3::Client;
use strata_tests::content::body;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::{Payload, sha256_base64};

use crate::{bucket, get, keys, shared};

/// An object `k`, with the boundary `b`.
pub const SHORT_FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
                              --b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n";

/// As browsers make them.
const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// A form: fields, then a file.
#[derive(Clone)]
pub struct Form {
    bytes: Vec<u8>,
}

impl Form {
    fn new(fields: &[(String, String)]) -> Form {
        let mut form = Form { bytes: Vec::new() };
        for (name, value) in fields {
            form = form.field(name, value);
        }
        form
    }

    pub fn field(self, name: &str, value: &str) -> Form {
        self.part(&format!("name=\"{name}\""), value.as_bytes())
    }

    pub fn file(self, file_name: &str, content: &[u8]) -> Form {
        let head = format!(
            "name=\"file\"; filename=\"{file_name}\"\r\nContent-Type: application/octet-stream"
        );
        self.part(&head, content)
    }

    fn part(mut self, head: &str, content: &[u8]) -> Form {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    fn request(mut self, bucket: &str) -> Request {
        let end = format!("--{BOUNDARY}--\r\n");
        self.bytes.extend_from_slice(end.as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = Request::new("POST", &format!("/{bucket}"));
        request.header("content-type", kind).body(self.bytes)
    }

    pub fn send(self, bucket: &str) -> Response {
        sent(self.request(bucket))
    }
}

fn sent(request: Request) -> Response {
    request.send(shared().s3()).expect("an answer")
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The fields of a form to a bucket with these conditions, beside that on the bucket, signed for an hour.
fn signed(bucket: &str, conditions: &str) -> Vec<(String, String)> {
    let conditions = format!("{{\"bucket\":\"{bucket}\"}},{conditions}");
    shared().signer().form(&conditions, 3600)
}

/// A form with these fields, and conditions that let every one of them through.
pub fn form_of(bucket: &str, fields: &[(&str, &str)]) -> Form {
    let conditions = fields.iter();
    let conditions = conditions.map(|(name, _)| format!("[\"starts-with\",\"${name}\",\"\"]"));
    let conditions: Vec<String> = conditions.collect();
    let mut all = signed(bucket, &conditions.join(","));
    all.extend(fields.iter().map(|(name, value)| pair(name, value)));
    Form::new(&all)
}

#[track_caller]
fn refused(answer: &Response, status: u16, code: &str, says: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    assert!(text.contains(says), "{says}: {text}");
    assert!(!text.contains(strata_tests::server::SECRET_KEY), "{text}");
}

async fn has(client: &Client, bucket: &str, key: &str) -> bool {
    keys(client, bucket).await.iter().any(|found| found == key)
}

#[tokio::test]
async fn a_form_puts_its_file_with_all_that_its_fields_say() {
    let (client, name) = bucket("forms-whole").await;
    let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1+2</Value></Tag></TagSet></Tagging>";
    for length in [0, 1, 100, 70_000, 3 << 20] {
        let content = body(length as u64, length);
        let form = form_of(
            &name,
            &[
                ("Key", "user/${filename}"),
                ("acl", "private"),
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Cache-Control", "no-cache"),
                ("Content-Disposition", "attachment"),
                ("Content-Encoding", "gzip"),
                ("Expires", "never"),
                ("x-amz-meta-tag", "länger"),
                ("x-amz-storage-class", "STANDARD"),
                ("x-amz-checksum-sha256", &sha256_base64(&content)),
                ("tagging", tagging),
                ("submit", "Upload to Amazon S3"),
            ],
        );
        let file_name = format!("C:\\photos\\löwe {length}.jpg");
        let key = format!("user/löwe {length}.jpg");
        let answer = form.file(&file_name, &content).send(&name);
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert!(answer.body.is_empty());
        assert_eq!(get(&client, &name, &key).await, content);
        let head = client.head_object().bucket(&name).key(&key);
        let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
        let head = head.send().await.expect("a head");
        assert_eq!(answer.header("etag"), head.e_tag());
        assert_eq!(head.content_type(), Some("text/plain; charset=utf-8"));
        assert_eq!(head.cache_control(), Some("no-cache"));
        assert_eq!(head.content_disposition(), Some("attachment"));
        assert_eq!(head.content_encoding(), Some("gzip"));
        assert_eq!(head.expires_string(), Some("never"));
        assert_eq!(head.checksum_sha256(), Some(&*sha256_base64(&content)));
        assert_eq!(head.tag_count(), Some(1));
        let metadata = head.metadata().expect("metadata");
        assert!(metadata["tag"].starts_with("=?UTF-8?"), "{metadata:?}");
        let tags = client.get_object_tagging().bucket(&name).key(&key);
        let tags = tags.send().await.expect("tags");
        let tag = &tags.tag_set()[0];
        assert_eq!((tag.key(), tag.value()), ("a b", "1+2"));
    }
    // Nothing said: what a PUT makes of nothing.
    let plain = form_of(&name, &[("key", "plain")]).file("", b"x");
    assert_eq!(plain.send(&name).status, 204);
    let head = client.head_object().bucket(&name).key("plain");
    let head = head.send().await.expect("a head");
    assert_eq!(head.content_type(), Some("binary/octet-stream"));
}

#[tokio::test]
async fn a_form_is_answered_as_it_asks_for() {
    let (_client, name) = bucket("forms-answers").await;
    let etag = "%229dd4e461268c8034f5c8564e155c67a6%22";
    let send = |fields: &[(&str, &str)]| {
        let mut all = vec![("key", "a b/é&")];
        all.extend(fields);
        form_of(&name, &all).file("f", b"x").send(&name)
    };
    for (redirect, to) in [
        ("http://example.com/done", "http://example.com/done?"),
        ("https://example.com/?a=b", "https://example.com/?a=b&"),
    ] {
        for field in ["success_action_redirect", "redirect"] {
            let answer = send(&[(field, redirect), ("success_action_status", "201")]);
            assert_eq!(answer.status, 303, "{}", answer.text());
            let expected = format!("{to}bucket={name}&key=a+b%2F%C3%A9%26&etag={etag}");
            assert_eq!(answer.header("location"), Some(&*expected));
        }
    }
    let address = format!("http://{}/{name}/a%20b%2F%C3%A9%26", shared().s3());
    for (status, expected) in [("200", 200), ("201", 201), ("204", 204), ("404", 204)] {
        // What is no web address is passed over.
        let answer = send(&[
            ("success_action_status", status),
            ("success_action_redirect", "javascript:alert(1)"),
        ]);
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert_eq!(answer.header("location"), Some(&*address));
        let text = answer.text();
        if expected != 201 {
            assert_eq!(text, "");
            continue;
        }
        assert_eq!(answer.header("content-type"), Some("application/xml"));
        for element in [
            format!(
                "<PostResponse><Location>{}</Location>",
                address.replace('&', "&amp;")
            ),
            format!("<Bucket>{name}</Bucket>"),
            "<Key>a b/é&amp;</Key>".to_owned(),
            "<ETag>&quot;9dd4e461268c8034f5c8564e155c67a6&quot;</ETag></PostResponse>".to_owned(),
        ] {
            assert!(text.contains(&element), "{element}: {text}");
        }
    }
}

#[tokio::test]
async fn a_policy_lets_through_what_it_names() {
    let (client, name) = bucket("forms-policies").await;
    let conditions = r#"["starts-with","$key","user/"],{"acl":"private"},["starts-with","$Content-Type","image/"],["content-length-range",5,10]"#;
    let send = |fields: &[(&str, &str)], content: &[u8]| {
        let mut all = signed(&name, conditions);
        all.extend(fields.iter().map(|(name, value)| pair(name, value)));
        Form::new(&all).file("a.png", content).send(&name)
    };
    let good = [
        ("key", "user/${filename}"),
        ("acl", "private"),
        ("Content-Type", "image/png"),
    ];
    for content in [&b"12345"[..], b"1234567890"] {
        let answer = send(&good, content);
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert_eq!(get(&client, &name, "user/a.png").await, content);
    }
    let with = |name, value| {
        good.map(|field| {
            if field.0 == name {
                (name, value)
            } else {
                field
            }
        })
    };
    for (fields, says) in [
        (
            with("key", "other/b"),
            r#"[&quot;starts-with&quot;, &quot;$key&quot;, &quot;user/&quot;]"#,
        ),
        (
            with("acl", "bucket-owner-full-control"),
            r#"[&quot;eq&quot;, &quot;$acl&quot;, &quot;private&quot;]"#,
        ),
        (
            with("Content-Type", "image/png,text/html"),
            r#"[&quot;starts-with&quot;, &quot;$Content-Type&quot;"#,
        ),
    ] {
        let says = format!("Policy Condition failed: {says}");
        refused(&send(&fields, b"12345"), 403, "AccessDenied", &says);
    }
    let mut more = good.to_vec();
    more.push(("x-amz-meta-a", "b"));
    let says = "Invalid according to Policy: Extra input fields: x-amz-meta-a";
    refused(&send(&more, b"12345"), 403, "AccessDenied", says);
    let mut ignored = good.to_vec();
    ignored.push(("x-ignore-a", "b"));
    assert_eq!(send(&ignored, b"12345").status, 204);
    refused(
        &send(&with("key", "user/long"), b"12345678901"),
        400,
        "EntityTooLarge",
        "<MaxSizeAllowed>10</MaxSizeAllowed>",
    );
    refused(
        &send(&with("key", "user/long"), &body(1, 5 << 20)),
        400,
        "EntityTooLarge",
        "",
    );
    refused(
        &send(&with("key", "user/short"), b"1234"),
        400,
        "EntityTooSmall",
        "<MinSizeAllowed>5</MinSizeAllowed>",
    );
    assert_eq!(keys(&client, &name).await, ["user/a.png"]);
    // The policy of one bucket is none of another.
    let (other, elsewhere) = bucket("forms-policies-other").await;
    let mut all = signed(&name, r#"{"key":"k"}"#);
    all.push(pair("key", "k"));
    let answer = Form::new(&all).file("a", b"x").send(&elsewhere);
    refused(&answer, 403, "AccessDenied", "Policy Condition failed");
    assert!(keys(&other, &elsewhere).await.is_empty());
}

#[tokio::test]
async fn a_form_counts_only_with_the_right_signature_in_time() {
    let (client, name) = bucket("forms-signatures").await;
    let server = shared();
    let send = |fields: &[(String, String)]| {
        let form = Form::new(fields).field("key", "k");
        form.file("a", b"x").send(&name)
    };
    let conditions = format!(r#"{{"bucket":"{name}"}},{{"key":"k"}}"#);
    let good = server.signer().form(&conditions, 3600);
    let with = |field: &str, value: &str| {
        let mut fields = good.clone();
        fields.retain(|(name, _)| name != field);
        fields.push(pair(field, value));
        fields
    };
    let without = |field: &str| {
        let mut fields = good.clone();
        fields.retain(|(name, _)| name != field);
        fields
    };
    let wrong = send(&with("x-amz-signature", &"0".repeat(64)));
    refused(&wrong, 403, "SignatureDoesNotMatch", "");
    let longer = server.signer().form(&conditions, 7200);
    let policy = longer.iter().find(|(name, _)| name == "policy");
    let (_, policy) = policy.expect("a policy");
    refused(
        &send(&with("policy", policy)),
        403,
        "SignatureDoesNotMatch",
        "",
    );
    let late = server.signer().form(&conditions, -5);
    refused(
        &send(&late),
        403,
        "AccessDenied",
        "Invalid according to Policy: Policy expired.",
    );
    for (field, value, code) in [
        ("x-amz-credential", "nobody", "InvalidArgument"),
        (
            "x-amz-credential",
            "nobody/20260101/us-east-1/s3/aws4_request",
            "InvalidArgument",
        ),
        ("x-amz-date", "today", "InvalidArgument"),
        (
            "x-amz-algorithm",
            "AWS4-ECDSA-P256-SHA256",
            "InvalidArgument",
        ),
        ("AWSAccessKeyId", "nobody", "InvalidRequest"),
        ("signature", "x", "InvalidRequest"),
    ] {
        let answer = send(&with(field, value));
        refused(&answer, 400, code, "");
    }
    let mut stranger = server.signer();
    stranger.access_key_id = "nobody".into();
    refused(
        &send(&stranger.form(&conditions, 60)),
        403,
        "InvalidAccessKeyId",
        "",
    );
    for shown in [
        "policy",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Signature",
    ] {
        let answer = send(&without(&shown.to_ascii_lowercase()));
        refused(
            &answer,
            400,
            "InvalidArgument",
            &format!("named &apos;{shown}&apos;"),
        );
    }
    // A policy without a signature counts for nothing.
    let mut unsigned = good.clone();
    unsigned.retain(|(name, _)| name == "policy");
    refused(&send(&unsigned), 403, "AccessDenied", "Access Denied");
    let malformed = server.signer().form("1", 60);
    refused(
        &send(&malformed),
        400,
        "InvalidPolicyDocument",
        "Invalid Policy: ",
    );
    let token = server.signer().form(
        &format!(r#"{conditions},{{"x-amz-security-token":"t"}}"#),
        60,
    );
    let mut fields = token;
    fields.push(pair("x-amz-security-token", "t"));
    refused(&send(&fields), 400, "InvalidToken", "");
    assert!(keys(&client, &name).await.is_empty(), "nothing was written");
    // A form that was signed long ago counts as long as its policy says.
    let mut early = server.signer();
    early.clock_offset_seconds = -3 * 24 * 3600;
    let answer = send(&early.form(&conditions, 60));
    assert_eq!(answer.status, 204, "{}", answer.text());
    // No other mechanism counts beside it.
    let request = Form::new(&good)
        .field("key", "k")
        .file("a", b"x")
        .request(&name);
    refused(
        &crate::send(request.clone()),
        400,
        "InvalidRequest",
        "in its fields",
    );
    let mut presigned = request;
    presigned.target += "?X-Amz-Signature=x";
    refused(&sent(presigned), 400, "InvalidRequest", "in its fields");
}

#[tokio::test]
async fn without_a_policy_the_bucket_decides() {
    let (client, name) = bucket("forms-anonymous").await;
    let form = |key: &str| {
        let form = Form::new(&[pair("key", key)]);
        form.file("a", b"anonymous").send(&name)
    };
    refused(&form("in/k"), 403, "AccessDenied", "Access Denied");
    let allow = format!(
        r#"{{"Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::{name}/in/*"}}]}}"#
    );
    let put = client.put_bucket_policy().bucket(&name).policy(allow);
    put.send().await.expect("a policy");
    let answer = form("in/k");
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(get(&client, &name, "in/k").await, b"anonymous");
    refused(&form("out/k"), 403, "AccessDenied", "");
    // Tags need leave of their own, and what is signed is asked how.
    let tagging = "<Tagging><TagSet/></Tagging>";
    let tagged = Form::new(&[pair("key", "in/t"), pair("tagging", tagging)]);
    refused(&tagged.file("a", b"x").send(&name), 403, "AccessDenied", "");
    let deny = format!(
        r#"{{"Statement":[{{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::{name}/*","Condition":{{"StringEquals":{{"s3:authType":"POST"}}}}}}]}}"#
    );
    let put = client.put_bucket_policy().bucket(&name).policy(deny);
    put.send().await.expect("a policy");
    let answer = form_of(&name, &[("key", "in/s")])
        .file("a", b"x")
        .send(&name);
    refused(&answer, 403, "AccessDenied", "");
    assert_eq!(keys(&client, &name).await, ["in/k"]);
    let nowhere = form_of("forms-nowhere", &[("key", "k")]);
    refused(
        &nowhere.file("a", b"x").send("forms-nowhere"),
        404,
        "NoSuchBucket",
        "",
    );
}

#[tokio::test]
async fn a_form_that_is_cut_anywhere_is_the_same() {
    let (client, name) = bucket("forms-cut").await;
    let content = format!("\r\n--{BOUNDARY}x\r\n--{}\r\n\r\n-", &BOUNDARY[1..]);
    let content = content.replace(&format!("{BOUNDARY}x"), &BOUNDARY[..20]);
    let form = form_of(&name, &[("key", "k")]);
    let request = form
        .file("a", content.as_bytes())
        .field("after", "x")
        .request(&name);
    let end = request.body.len();
    let places = (end - 400..end).step_by(13).chain([0, 1, 2, 30]);
    for place in places {
        let pause = || std::thread::sleep(Duration::from_millis(3));
        let answer = request.send_with_pause(shared().s3(), place, pause);
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 204, "cut at {place}: {}", answer.text());
        assert_eq!(get(&client, &name, "k").await, content.as_bytes());
    }
}

#[tokio::test]
async fn what_follows_the_file_is_passed_over() {
    let (client, name) = bucket("forms-after").await;
    let form = form_of(&name, &[("key", "k")]).file("a", b"first");
    let form = form.field("key", "other").field("acl", "public-read");
    let answer = form.file("b", b"second").send(&name);
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(keys(&client, &name).await, ["k"]);
    assert_eq!(get(&client, &name, "k").await, b"first");
    // So does the signature: without it the form is anonymous.
    let late = Form::new(&[pair("key", "late")]).file("a", b"x");
    let mut late = late;
    for (field, value) in signed(&name, r#"{"key":"late"}"#) {
        late = late.field(&field, &value);
    }
    refused(&late.send(&name), 403, "AccessDenied", "Access Denied");
}

#[tokio::test]
async fn broken_forms_are_refused() {
    let (client, name) = bucket("forms-broken").await;
    let key = || form_of(&name, &[("key", "k")]);
    let none = key().send(&name);
    refused(
        &none,
        400,
        "InvalidArgument",
        "POST requires exactly one file upload per request.",
    );
    let unnamed = form_of(&name, &[("acl", "private")])
        .file("a", b"x")
        .send(&name);
    refused(
        &unnamed,
        400,
        "InvalidArgument",
        "must contain a field named &apos;key&apos;",
    );
    let empty = form_of(&name, &[("key", "${filename}")])
        .file("", b"x")
        .send(&name);
    refused(
        &empty,
        400,
        "InvalidArgument",
        "User key must have a length greater than 0.",
    );
    let long = form_of(&name, &[("key", &"k".repeat(1025))])
        .file("a", b"x")
        .send(&name);
    refused(&long, 400, "KeyTooLongError", "");
    let huge = key()
        .field("x-ignore-a", &"x".repeat(21 << 10))
        .file("a", b"x");
    refused(&huge.send(&name), 400, "MaxPostPreDataLengthExceeded", "");
    let endless = key()
        .field("x-ignore-a", &"x".repeat(3 << 20))
        .file("a", b"x");
    refused(
        &endless.send(&name),
        400,
        "MaxPostPreDataLengthExceeded",
        "",
    );
    let twice = key().field("KEY", "other").file("a", b"x").send(&name);
    refused(&twice, 400, "InvalidArgument", "more than once");
    let whole = key().file("a", &body(1, 100_000)).request(&name);
    for kind in ["multipart/form-data", "multipart/form-data; boundary=other"] {
        let mut request = key().file("a", b"x").request(&name);
        request.headers[0].1 = kind.to_owned();
        refused(&sent(request), 400, "MalformedPOSTRequest", "");
    }
    // Without its end, or without its last delimiter.
    let mut cut = whole.clone();
    cut.body.truncate(whole.body.len() - 100);
    refused(&sent(cut), 400, "MalformedPOSTRequest", "");
    let digest = form_of(
        &name,
        &[("key", "k"), ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")],
    );
    refused(&digest.file("a", b"x").send(&name), 400, "BadDigest", "");
    let sum = form_of(&name, &[("key", "k"), ("x-amz-checksum-crc32", "AAAAAA==")]);
    refused(&sum.file("a", b"x").send(&name), 400, "BadDigest", "");
    for (field, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-website-redirect-location", "/a"),
        ("x-amz-copy-source", "/a/b"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ] {
        let form = form_of(&name, &[("key", "k"), (field, value)]);
        refused(&form.file("a", b"x").send(&name), 501, "NotImplemented", "");
    }
    let list = form_of(&name, &[("key", "k"), ("acl", "public-read")]);
    refused(
        &list.file("a", b"x").send(&name),
        400,
        "AccessControlListNotSupported",
        "",
    );
    let header = key()
        .file("a", b"x")
        .request(&name)
        .header("x-amz-tagging", "a=b");
    refused(&sent(header), 501, "NotImplemented", "x-amz-tagging");
    let mut chunked = key().file("a", b"x").request(&name);
    let length = chunked.body.len();
    chunked = chunked.header("transfer-encoding", "chunked");
    let body = [
        format!("{length:x}\r\n").as_bytes(),
        &chunked.body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    refused(&sent(chunked.body(body)), 411, "MissingContentLength", "");
    assert!(!has(&client, &name, "k").await, "nothing was written");
}

#[tokio::test]
async fn a_browser_may_send_a_form_from_a_page() {
    let (client, name) = bucket("forms-cors").await;
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>https://example.com</AllowedOrigin><AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>";
    let put = Request::new("PUT", &format!("/{name}?cors")).body(rules);
    assert_eq!(crate::send(put).status, 200);
    let form = form_of(&name, &[("key", "k")]).file("a", b"x");
    let port = shared().s3().port();
    let mut by_host = form.clone().request(&name);
    by_host.target = "/".to_owned();
    let by_host = by_host.header("host", format!("{name}.localhost:{port}"));
    for request in [form.request(&name), by_host] {
        let answer = sent(request.header("origin", "https://example.com"));
        assert_eq!(answer.status, 204, "{}", answer.text());
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://example.com"));
        assert_eq!(get(&client, &name, "k").await, b"x");
    }
}

/// A browser sends a form for any page, and asks nobody before: it must not lend a page the rights of whoever reaches the port.
#[tokio::test]
async fn a_page_has_no_rights_of_whoever_reaches_the_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("strata.toml");
    std::fs::write(&config, "[s3.auth]\nallow_anonymous = true\n").expect("a file");
    let config = config.to_str().expect("a path").to_owned();
    let server = Server::start(ServerOptions {
        arguments: vec!["--config".to_owned(), config],
        ..ServerOptions::default()
    });
    let client = server.client();
    let made = client.create_bucket().bucket("open").send().await;
    made.expect("a bucket");
    let form = || Form::new(&[pair("key", "k")]).file("a", b"x");
    let from = |origin: &str| {
        let request = form().request("open").header("origin", origin);
        request.send(server.s3()).expect("an answer")
    };
    let plain = form().request("open").send(server.s3()).expect("an answer");
    assert_eq!(plain.status, 204, "{}", plain.text());
    for origin in ["https://evil.example", "null"] {
        refused(&from(origin), 403, "AccessDenied", "");
    }
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>https://good.example</AllowedOrigin><AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>";
    let put = Request::new("PUT", "/open?cors").body(rules);
    let signer = server.signer();
    let put = signer.sign(put, server.s3(), Payload::Hashed, None);
    assert_eq!(put.send(server.s3()).expect("an answer").status, 200);
    assert_eq!(from("https://good.example").status, 204);
    refused(&from("https://evil.example"), 403, "AccessDenied", "");
}
