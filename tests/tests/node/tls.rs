//! TLS on both ports: versions, large bodies, clients that speak the other protocol, closed halves, configurations that cannot work, and
//! identities that are replaced while the server runs.

use crate::{get, put, shared};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use strata_tests::content;
use strata_tests::http::Request;
use strata_tests::server::binary::strata;
use strata_tests::server::{Server, ServerOptions, scratch};
use strata_tests::signature::Payload;
use strata_tests::tls::{Files, Identity, TlsStream, client, connect};

/// How long what happens in the background may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that speaks TLS, and what its files are.
struct Secured {
    server: Server,
    identity: Identity,
    folder: tempfile::TempDir,
}

impl Secured {
    fn start() -> Secured {
        let folder = tempfile::tempdir_in(scratch()).expect("a folder");
        let identity = Identity::fresh();
        let options = ServerOptions {
            tls: Some(identity.write(folder.path())),
            ..ServerOptions::default()
        };
        Secured {
            server: Server::start(options),
            identity,
            folder,
        }
    }

    fn signed(&self, request: Request) -> Request {
        let server = &self.server;
        let signer = server.signer();
        signer.sign(request, server.s3(), Payload::Hashed, None)
    }

    fn connect(&self) -> TlsStream {
        let config = client(&self.identity.cert, &[]);
        connect(self.server.s3(), &config).expect("a handshake")
    }

    fn sdk(&self) -> aws_sdk_s3::Client {
        let trusted = TrustStore::empty().with_pem_certificate(self.identity.cert.as_bytes());
        let context = TlsContext::builder().with_trust_store(trusted).build();
        let http = Builder::new()
            .tls_provider(Provider::rustls(CryptoMode::AwsLc))
            .tls_context(context.expect("a context"))
            .build_https();
        let config = self.server.client_config().http_client(http).build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// The server that tests share; it lives as long as the process.
fn secured() -> &'static Secured {
    static SECURED: OnceLock<Secured> = OnceLock::new();
    SECURED.get_or_init(Secured::start)
}

#[test]
fn both_versions_are_spoken_on_both_ports() {
    let secured = secured();
    let server = &secured.server;
    let list = secured.signed(Request::new("GET", "/"));
    let ready = Request::new("GET", "/readyz");
    for version in [&TLS12, &TLS13] {
        let mut config = client(&secured.identity.cert, &[version]);
        Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        for (port, request) in [(server.s3(), &list), (server.metrics(), &ready)] {
            let mut stream = connect(port, &config).expect("a handshake");
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            let answer = request.send_over(&mut stream, port).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        // Whoever comes back is known again, and is spared the signature.
        let again = connect(server.s3(), &config).expect("a handshake");
        let kind = again.conn.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
    }
    let mut only_h2 = client(&secured.identity.cert, &[]);
    Arc::make_mut(&mut only_h2).alpn_protocols = vec![b"h2".to_vec()];
    assert!(connect(server.s3(), &only_h2).is_err());
    let stranger = client(&Identity::fresh().cert, &[]);
    assert!(connect(server.s3(), &stranger).is_err());
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let client = secured().sdk();
    let bucket = "tls-bodies";
    let made = client.create_bucket().bucket(bucket).send().await;
    made.expect("a new bucket");
    for length in [0, 1, 16_384, 20 << 20] {
        let body = content::body(length as u64, length);
        put(&client, bucket, "k", &body).await;
        assert!(get(&client, bucket, "k").await == body, "{length} bytes");
    }
    let upload = client.create_multipart_upload().bucket(bucket).key("k");
    let upload = upload.send().await.expect("begun");
    let id = upload.upload_id().expect("an upload");
    let part = client.upload_part().bucket(bucket).key("k").upload_id(id);
    let part = part.part_number(1).body(ByteStream::from_static(b"part"));
    let tag = part.send().await.expect("a part");
    let part = CompletedPart::builder().part_number(1);
    let part = part.set_e_tag(tag.e_tag().map(str::to_owned)).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key("k");
    let complete = complete.upload_id(id).multipart_upload(parts);
    let answer = complete.send().await.expect("completed");
    let location = answer.location().expect("where it is");
    assert!(location.starts_with("https://"), "{location}");
}

#[test]
fn a_client_without_tls_is_told_what_the_port_speaks() {
    let server = &secured().server;
    for port in [server.s3(), server.metrics()] {
        let answer = Request::new("GET", "/readyz")
            .send(port)
            .expect("an answer");
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains("This port speaks TLS"),
            "{}",
            answer.text()
        );
    }
    // Counted, for those who watch.
    let metrics = Request::new("GET", "/metrics").header("accept", "text/plain");
    let shown = server.ask(server.metrics(), &metrics).expect("an answer");
    let failed = shown.text().lines().find_map(|line| {
        let value = line.strip_prefix("strata_tls_handshakes_failed_total ")?;
        value.parse::<u64>().ok()
    });
    assert!(failed.is_some_and(|failed| failed >= 2), "{}", shown.text());
}

#[test]
fn a_client_of_tls_on_a_plain_port_is_closed_and_the_log_names_the_setting() {
    let server = shared();
    let config = client(&Identity::fresh().cert, &[]);
    for port in [server.s3(), server.metrics()] {
        let error = connect(port, &config).expect_err("it speaks plain HTTP");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    }
    let lines = || {
        let log = server.log();
        let of_it = log.lines().filter(|line| line.contains("--tls-cert"));
        of_it
            .map(|line| line.contains("metrics"))
            .collect::<Vec<_>>()
    };
    wait_until(|| lines().contains(&true) && lines().contains(&false));
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// By `close_notify` and the socket's end, and by the socket's end alone, as some clients do.
#[test]
fn a_client_that_has_closed_its_half_is_answered() {
    let secured = secured();
    let request = secured
        .signed(Request::new("GET", "/"))
        .header("connection", "keep-alive");
    for says_so in [true, false] {
        let mut stream = secured.connect();
        let head = request.head(secured.server.s3());
        stream.write_all(head.as_bytes()).expect("sent");
        if says_so {
            stream.conn.send_close_notify();
        }
        stream.flush().expect("sent");
        stream.sock.shutdown(Shutdown::Write).expect("closed");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer, and an end that was told");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// Records come in pieces, and a piece holds the end of one and the beginning of the next.
#[test]
fn records_may_be_cut_anywhere() {
    let secured = secured();
    let mut stream = secured.connect();
    let body = content::body(7, 40_000);
    let request = secured.signed(Request::new("PUT", "/no-such-bucket/k").body(body.clone()));
    let head = request.head(secured.server.s3());
    let mut writer = stream.conn.writer();
    writer.write_all(head.as_bytes()).expect("room");
    writer.write_all(&body).expect("room");
    let mut records = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut records).expect("in memory");
    }
    let mut socket = &stream.sock;
    socket.set_nodelay(true).expect("at once");
    for piece in records.chunks(1_009) {
        socket.write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_micros(500));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("NoSuchBucket"), "{answer}");
}

/// The refusal comes before the body has, and the client sends all of it before it listens.
#[test]
fn a_client_that_still_sends_hears_that_it_is_refused() {
    let secured = secured();
    let body = vec![7; 8 << 20];
    let request = secured.signed(Request::new("PUT", "/no-such-bucket/k").body(body));
    let mut stream = secured.connect();
    let answer = request.send_over(&mut stream, secured.server.s3());
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
}

/// Clients that begin a handshake and leave it do not keep others waiting.
#[test]
fn handshakes_that_stand_still_hold_up_nobody() {
    let secured = secured();
    let half_open: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(secured.server.s3()).expect("connected");
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
            stream
        })
        .collect();
    let begun = Instant::now();
    let list = secured.signed(Request::new("GET", "/"));
    let answer = secured
        .server
        .ask(secured.server.s3(), &list)
        .expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(half_open);
}

#[test]
fn what_is_printed_names_https() {
    let secured = secured();
    let server = &secured.server;
    let said = server.log();
    let urls: [SocketAddr; 2] = [server.s3(), server.metrics()];
    for url in urls.map(|address| format!("https://{address}")) {
        assert!(said.contains(&url), "{url} is not in\n{said}");
        let status = server.run(&["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains(&url), "{url} is not in\n{status}");
    }
    assert!(!said.contains("http://"), "{said}");
}

impl Secured {
    /// Whether a new connection is shown this identity.
    fn shows(&self, identity: &Identity) -> bool {
        connect(self.server.s3(), &client(&identity.cert, &[])).is_ok()
    }

    fn write(&self, identity: &Identity) {
        identity.write(self.folder.path());
    }

    /// What `/readyz` says to whoever trusts an identity.
    fn readiness(&self, identity: &Identity) -> String {
        let port = self.server.metrics();
        let mut stream = connect(port, &client(&identity.cert, &[])).expect("a handshake");
        let ready = Request::new("GET", "/readyz");
        let answer = ready.send_over(&mut stream, port).expect("an answer");
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// One request over a connection that stays open.
    fn ask_over(&self, stream: &mut TlsStream) {
        let request = Request::new("GET", "/").header("connection", "keep-alive");
        let request = self.signed(request);
        let head = request.head(self.server.s3());
        stream.write_all(head.as_bytes()).expect("sent");
        stream.flush().expect("sent");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"</ListAllMyBucketsResult>") {
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[test]
fn a_hangup_replaces_the_identity_and_open_connections_go_on() {
    let secured = Secured::start();
    let mut open = secured.connect();
    secured.ask_over(&mut open);
    let next = Identity::fresh();
    secured.write(&next);
    assert!(secured.shows(&secured.identity) && !secured.shows(&next));
    let begun = Instant::now();
    secured.server.hang_up();
    wait_until(|| secured.shows(&next));
    // Sooner than two looks at the files would have found it.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(!secured.shows(&secured.identity));
    secured.ask_over(&mut open);
}

#[test]
fn files_that_change_are_read_without_being_asked() {
    let secured = Secured::start();
    let mut open = secured.connect();
    let next = Identity::fresh();
    secured.write(&next);
    wait_until(|| secured.shows(&next));
    secured.ask_over(&mut open);
}

#[test]
fn a_pair_that_does_not_match_keeps_the_old_one_and_is_told_of() {
    let secured = Secured::start();
    let next = Identity::fresh();
    let half = Identity {
        cert: secured.identity.cert.clone(),
        key: next.key.clone(),
    };
    secured.write(&half);
    secured.server.hang_up();
    wait_until(|| secured.readiness(&secured.identity).contains("degraded"));
    let says = secured.readiness(&secured.identity);
    assert!(says.contains("is of another private key"), "{says}");
    let status = secured.server.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.status.code(), Some(4), "{said}");
    assert!(
        said.contains("DEGRADED") && said.contains("is of another private key"),
        "{said}"
    );
    assert!(secured.shows(&secured.identity));
    // The other half comes, and nobody has to ask.
    secured.write(&next);
    wait_until(|| secured.shows(&next));
    assert_eq!(secured.readiness(&next), "ready\n");
}

#[test]
fn a_certificate_that_has_expired_is_told_of_while_it_is_shown() {
    let secured = Secured::start();
    secured.write(&Identity::until(2021));
    secured.server.hang_up();
    let status = || {
        let status = secured.server.run(&["status"]);
        String::from_utf8_lossy(&status.stdout).into_owned()
    };
    wait_until(|| status().contains("expired"));
    assert!(status().contains("CRITICAL  `tls.cert`"), "{}", status());
}

/// What `config check` says of two files: whether they are in order, and its words.
fn checked(files: &Files) -> (bool, String) {
    let output = Command::new(strata())
        .args(["config", "check", "--data-dir", "/data", "--tls-cert"])
        .arg(&files.cert)
        .arg("--tls-key")
        .arg(&files.key)
        .env("XDG_DATA_HOME", "/data")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() || output.status.code() == Some(2),
        "{said}"
    );
    (output.status.success(), said)
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let files = Identity::fresh().write(folder.path());
    assert_eq!(checked(&files), (true, String::new()));
    std::fs::write(&files.key, Identity::fresh().key).expect("written");
    let (in_order, said) = checked(&files);
    assert!(
        !in_order && said.contains("is of another private key"),
        "{said}"
    );
    std::fs::write(&files.key, "none\n").expect("written");
    let (in_order, said) = checked(&files);
    assert!(
        !in_order && said.contains("key.pem holds no PEM block"),
        "{said}"
    );
    std::fs::remove_file(&files.key).expect("removed");
    let (in_order, said) = checked(&files);
    assert!(
        !in_order && said.contains("key.pem cannot be read: No such file"),
        "{said}"
    );
    let half = Command::new(strata())
        .args(["config", "check", "--tls-cert", "cert.pem"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&half.stderr).into_owned();
    assert_eq!(half.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--tls-cert: `tls.cert` needs `tls.key` beside it"),
        "{said}"
    );
}

#[tokio::test]
async fn what_self_signed_makes_is_served_and_trusted() {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let mut make = Command::new(strata());
    make.args([
        "tls",
        "self-signed",
        "--host",
        "s3.example.org",
        "10.0.0.1",
        "--out",
    ]);
    let made = make.arg(folder.path()).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let files = Files {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    assert_eq!(checked(&files), (true, String::new()));
    let options = ServerOptions {
        tls: Some(files.clone()),
        ..ServerOptions::default()
    };
    let secured = Secured {
        server: Server::start(options),
        identity: Identity {
            cert: std::fs::read_to_string(&files.cert).expect("there"),
            key: std::fs::read_to_string(&files.key).expect("there"),
        },
        folder,
    };
    let listed = secured.sdk().list_buckets().send().await;
    listed.expect("a list");
    let again = make.output().expect("it runs");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("not overwritten"),
        "{said}"
    );
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let files = Identity::until(2021).write(folder.path());
    let (in_order, said) = checked(&files);
    assert!(in_order && said.contains("warning: `tls.cert`"), "{said}");
    assert!(
        said.contains("expired") && said.contains("clients refuse it"),
        "{said}"
    );
}
