//! Connections that are used again, closed by half, or told to close: byte by byte, as clients send.

use crate::{bucket, get, shared};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use strata_tests::http::Request;
use strata_tests::signature::Payload;

/// How long a test waits for a byte.
const READ_MAX: Duration = Duration::from_secs(20);

fn connect() -> TcpStream {
    let stream = TcpStream::connect(shared().s3()).expect("connect");
    stream.set_read_timeout(Some(READ_MAX)).expect("a timeout");
    stream
}

/// A signed request as bytes, the connection to be kept.
fn kept(request: Request) -> (Vec<u8>, Vec<u8>) {
    let server = shared();
    let request = request.header("connection", "keep-alive");
    let signer = server.signer();
    let request = signer.sign(request, server.s3(), Payload::Hashed, None);
    (request.head(server.s3()).into_bytes(), request.body)
}

/// The head of the next answer, in lower case. Its body, where there is one, follows in the stream.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

fn says_close(head: &str) -> bool {
    head.contains("\r\nconnection: close\r\n")
}

/// botocore waits for `100 Continue` also before an empty body. Where none comes, it takes the next
/// answer of the connection for it, so that connection must not be used again.
#[tokio::test]
async fn an_empty_body_that_waits_for_continue_does_not_spoil_the_connection() {
    let (client, name) = bucket("connections-continue").await;
    let mut stream = connect();
    let put = Request::new("PUT", &format!("/{name}/empty")).header("expect", "100-continue");
    stream.write_all(&kept(put).0).expect("sent");
    let head = read_head(&mut stream);
    assert!(
        head.starts_with("http/1.1 100") || says_close(&head),
        "{head}"
    );
    assert!(get(&client, &name, "empty").await.is_empty());
    // With a body the 100 comes first, and the connection is kept.
    let mut stream = connect();
    let put = Request::new("PUT", &format!("/{name}/k")).header("expect", "100-continue");
    let (head, body) = kept(put.body("x".repeat(100)));
    stream.write_all(&head).expect("sent");
    assert!(read_head(&mut stream).starts_with("http/1.1 100"));
    stream.write_all(&body).expect("sent");
    let head = read_head(&mut stream);
    assert!(
        head.starts_with("http/1.1 200") && !says_close(&head),
        "{head}"
    );
    assert_eq!(get(&client, &name, "k").await, "x".repeat(100).as_bytes());
}

#[tokio::test]
async fn a_final_answer_instead_of_continue_closes_the_connection() {
    let (_, name) = bucket("connections-refused").await;
    let target = format!("/{name}/k");
    let put = || {
        Request::new("PUT", &target)
            .header("expect", "100-continue")
            .body("0123456789")
    };
    let (signed, _) = kept(put());
    let wrong = String::from_utf8(signed)
        .expect("a head")
        .replace("Signature=", "Signature=00");
    let missing = put().header("if-match", "\"900150983cd24fb0d6963f7d28e17f72\"");
    let lost = Request::new("PUT", "/connections-nowhere/k")
        .header("expect", "100-continue")
        .body("0123456789");
    for (head, status) in [
        (wrong.into_bytes(), "403"),
        (kept(lost).0, "404"),
        (kept(missing).0, "100"),
    ] {
        let mut stream = connect();
        stream.write_all(&head).expect("sent");
        let head = read_head(&mut stream);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(says_close(&head), status != "100", "{head}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_answered() {
    let (client, name) = bucket("connections-half").await;
    crate::put(&client, &name, "k", b"the body").await;
    let (head, _) = kept(Request::new("GET", &format!("/{name}/k")));
    for round in 0..200 {
        let mut stream = connect();
        stream.write_all(&head).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{round}: {error}"),
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("the body"),
            "{round}: {text}"
        );
    }
}
