//! What is not there yet says so; what is malformed is refused; nothing falls over.

pub mod missing_operations;

use crate::{bucket, put, send, send_to, shared};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use strata_tests::http::{Request, Response};
use strata_tests::server::{ACCESS_KEY_ID, Server, ServerOptions};
use strata_tests::signature::{Payload, Signer};

/// How long the log may be behind the answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn assert_alive() {
    let server = shared();
    let health = Request::new("GET", "/healthz")
        .send(server.metrics())
        .expect("an answer");
    assert_eq!(health.status, 200);
}

fn assert_not_implemented(what: &str, answer: &Response) {
    let text = answer.text();
    assert_eq!(answer.status, 501, "{what}: {text}");
    assert!(
        text.contains("<Code>NotImplemented</Code>"),
        "{what}: {text}"
    );
}

#[tokio::test]
async fn what_changes_no_meaning_is_ignored() {
    let (client, name) = bucket("refusals-lenient").await;
    put(&client, &name, "k", b"x").await;
    for (header, value) in [
        ("x-amz-api-version", "2006-03-01"),
        ("x-amz-optional-object-attributes", "RestoreStatus"),
        ("x-amz-checksum-mode", "enabled"),
        ("x-amz-unheard-of", "1"),
    ] {
        let answer = send(Request::new("GET", &format!("/{name}/k")).header(header, value));
        assert_eq!((answer.status, &*answer.body), (200, &b"x"[..]), "{header}");
        let mut names = answer.headers.iter().map(|(name, _)| name.as_str());
        let has_checksum = names.any(|name| name.starts_with("x-amz-checksum-crc"));
        assert_eq!(has_checksum, header == "x-amz-checksum-mode", "{header}");
    }
    for query in ["?metadata=true", "?unheard-of=1"] {
        let list = send(Request::new("GET", &format!("/{name}{query}")));
        assert!(list.text().contains("<Key>k</Key>"), "{}", list.text());
    }
}

#[tokio::test]
async fn operations_that_are_not_there_say_so() {
    let (client, name) = bucket("refusals-missing").await;
    put(&client, &name, "k", b"x").await;
    for (header, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ] {
        let request = Request::new("PUT", &format!("/{name}/h"));
        let answer = send(request.header(header, value).body("x"));
        assert_not_implemented(header, &answer);
    }
    let answer = send(Request::new("PUT", &format!("/{name}/k?versionId=null")).body("x"));
    assert_not_implemented("versionId", &answer);
    assert_eq!(
        crate::keys(&client, &name).await,
        ["k"],
        "nothing of this has written"
    );
}

/// The lines of a log that are about a request, when its last one is there: it follows the answer.
fn lines_about(server: &Server, id: &str) -> Vec<serde_json::Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = server.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_about = |line: &serde_json::Value| line["request_id"] == id;
        let lines: Vec<serde_json::Value> = lines.filter(is_about).collect();
        if lines.iter().any(|line| line["message"] == "request") {
            return lines;
        }
        assert!(Instant::now() < deadline, "{id} is not in the log:\n{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn an_error_carries_its_request_id_and_the_log_too() {
    let server = Server::start(ServerOptions {
        arguments: vec!["--log-level".into(), "debug".into()],
        ..ServerOptions::default()
    });
    let request = Request::new("GET", "/no-such-bucket/missing");
    let answer = send_to(&server, request).expect("an answer");
    let id = answer
        .header("x-amz-request-id")
        .expect("a request id")
        .to_string();
    assert!(
        answer
            .text()
            .contains(&format!("<RequestId>{id}</RequestId>")),
        "{}",
        answer.text()
    );
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.contains("xml"))
    );
    let lines = lines_about(&server, &id);
    let request = lines.iter().find(|line| line["status"] == 404);
    let request = request.expect("the line of the request");
    assert_eq!(request["operation"], "GetObject");
    assert_eq!(request["bucket"], "no-such-bucket");
    assert_eq!(request["access_key_id"], ACCESS_KEY_ID);
    let says_why = |line: &serde_json::Value| line["code"] == "NoSuchBucket";
    assert!(lines.iter().any(says_why), "{lines:?}");
}

/// The key of a log-in that failed, the client, and what it asked for are in the log, at `info`.
#[tokio::test]
async fn access_that_is_denied_is_logged() {
    let server = Server::start(ServerOptions::default());
    let signer = Signer {
        access_key_id: "NOBODY".into(),
        ..server.signer()
    };
    let request = Request::new("GET", "/bucket/some/key");
    let request = signer.sign(request, server.s3(), Payload::Hashed, None);
    assert_eq!(request.send(server.s3()).expect("an answer").status, 403);
    let deadline = Instant::now() + PATIENCE;
    let line = loop {
        let log = server.log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_it = |line: &serde_json::Value| line["access_key_id"] == "NOBODY";
        match lines.find(is_it) {
            Some(line) => break line,
            None => assert!(Instant::now() < deadline, "no line:\n{log}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["code"], "InvalidAccessKeyId");
    assert_eq!(
        (&line["bucket"], &line["key"]),
        (&"bucket".into(), &"some/key".into())
    );
    let client = line["client"].as_str().unwrap_or_default();
    assert!(client.starts_with("127.0.0.1:"), "{client}");
}

#[tokio::test]
async fn every_request_is_logged_at_info_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("strata.toml");
    std::fs::write(&file, "[observability]\nlog_requests = true\n").expect("written");
    let server = Server::start(ServerOptions {
        arguments: vec!["--config".into(), file.display().to_string()],
        ..ServerOptions::default()
    });
    let answer = send_to(&server, Request::new("GET", "/no-such-bucket/k")).expect("an answer");
    let id = answer.header("x-amz-request-id").expect("a request id");
    let lines = lines_about(&server, id);
    let line = lines.iter().find(|line| line["message"] == "request");
    let line = line.expect("the line of the request");
    assert_eq!(
        (&line["level"], &line["status"]),
        (&"INFO".into(), &404.into())
    );
    assert_eq!(line["access_key_id"], ACCESS_KEY_ID);
    let client = line["client"].as_str().unwrap_or_default();
    assert!(client.starts_with("127.0.0.1:"), "{client}");
}

#[tokio::test]
async fn metadata_that_is_too_large_is_refused_before_the_body() {
    let (_, name) = bucket("refusals-metadata").await;
    let names = ["cache-control", "content-disposition", "content-language"];
    let request = Request::new("PUT", &format!("/{name}/k")).header("expect", "100-continue");
    let with = |request: Request, name: &&str| request.header(name, "x".repeat(8 << 10));
    let request = names.iter().fold(request, with).body("x".repeat(100));
    // `send` sends the body unasked; an answer that is no 100 shows that it was not waited for.
    let answer = send(request);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.text().contains("<Code>MetadataTooLarge</Code>"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_header_that_is_refused_is_named_in_the_message() {
    let (_, name) = bucket("refusals-named").await;
    let request = Request::new("PUT", &format!("/{name}/k"));
    let answer = send(request.header("x-amz-mfa", "a b").body("x"));
    let text = answer.text();
    let (_, message) = text.split_once("<Message>").expect("a message");
    let (message, _) = message.split_once("</Message>").expect("a message");
    assert!(message.contains("x-amz-mfa"), "{message}");
}

#[tokio::test]
async fn cdata_in_a_key_is_text() {
    let (client, name) = bucket("refusals-cdata").await;
    for key in ["dir/", "dir/x"] {
        put(&client, &name, key, b"x").await;
    }
    let body = "<Delete><Object><Key>dir/<![CDATA[x]]></Key></Object></Delete>";
    let digest = strata_tests::signature::sha256_base64(body.as_bytes());
    let request = Request::new("POST", &format!("/{name}?delete"));
    let answer = send(request.header("x-amz-checksum-sha256", digest).body(body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(crate::keys(&client, &name).await, ["dir/"]);
}

#[tokio::test]
async fn a_refused_upload_hears_why_while_it_still_sends() {
    let (_, name) = bucket("refusals-upload").await;
    let upload = Request::new("PUT", &format!("/{name}/k")).body(vec![7; 32 << 20]);
    // Without a signature, and with one but for a bucket that is not there.
    let anonymous = upload.send(shared().s3()).expect("an answer");
    assert_eq!(anonymous.status, 403, "{}", anonymous.text());
    let mut lost = upload;
    lost.target = "/refusals-nowhere/k".into();
    assert_eq!(send(lost).status, 404);
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let (_, name) = bucket("refusals-xml").await;
    let deep = format!("<Delete>{}", "<Object>".repeat(100_000));
    let huge = format!(
        "<Delete>{}</Delete>",
        "<Object><Key>k</Key></Object>".repeat(1001)
    );
    let bomb =
        "<!DOCTYPE a [<!ENTITY b \"cccc\">]><Delete><Object><Key>&b;</Key></Object></Delete>";
    for body in [
        "",
        "nonsense",
        "<Delete>",
        "<Delete/>",
        "<Other/>",
        &deep,
        &huge,
        bomb,
        "\0\u{1}",
    ] {
        let answer = send(Request::new("POST", &format!("/{name}?delete")).body(body));
        let start = &body[..body.len().min(40)];
        assert!(
            (400..500).contains(&answer.status),
            "{start}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let upload = send(Request::new("POST", &format!("/{name}/k?uploadId=x")).body("<Wrong"));
    assert!((400..500).contains(&upload.status), "{}", upload.text());
    assert_alive();
}

#[tokio::test]
async fn broken_http_is_refused() {
    let server = shared();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    let requests: [&[u8]; 7] = [
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(server.s3()).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        // The server may refuse and close before it has read all.
        let _sent = stream.write_all(request);
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ended = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{text}"
        );
    }
    assert_alive();
}

#[tokio::test]
async fn keys_that_try_to_leave_stay() {
    let (client, name) = bucket("refusals-dots").await;
    for key in ["../../etc/passwd", "..", ".", "a/../../b"] {
        put(&client, &name, key, key.as_bytes()).await;
        assert_eq!(crate::get(&client, &name, key).await, key.as_bytes());
    }
    let target = format!("/{name}/bad%00key");
    let nul = send(Request::new("PUT", &target).body("x"));
    assert!(matches!(nul.status, 200 | 400), "{}", nul.text());
    let utf8 = send(Request::new("PUT", &format!("/{name}/%ff%fe")).body("x"));
    assert_eq!(utf8.status, 400, "{}", utf8.text());
    assert_alive();
}
