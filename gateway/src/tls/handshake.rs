//! The first bytes of a connection: a handshake, or what is told to a client that does not make one.
//!
//! Invariants: a handshake ends in time, whatever the client sends or leaves out; what it does to the client's disadvantage is
//! counted and has a line at `debug`, as whoever reaches the port can cause it.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use rustls::ServerConnection;
use strata_engine::reactor::{self, TcpStream};

use super::Tls;
use super::stream::TlsStream;
use super::transport::Transport;

/// Bytes of a connection that are read before it is known what it speaks.
const FIRST_BYTES_MAX: usize = 4 << 10;

/// How long telling a client that it speaks the wrong protocol may take.
const TELL_MAX: Duration = Duration::from_secs(5);

/// What a client is told that speaks HTTP without TLS.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 43\r\n\
    Connection: close\r\n\r\nThis port speaks TLS: use an https:// URL.\n";

/// What the first bytes were.
enum Beginning {
    /// A handshake, made.
    Session(Box<TlsStream>),
    /// HTTP.
    Http(TcpStream),
    /// None: somebody looked whether the port is open.
    Nothing,
}

/// Makes the handshake of a connection, within a time; on a port without TLS there is none. `None` where there is nothing to serve: what is to be said to
/// the client has been.
pub async fn accept(stream: TcpStream, tls: Option<&Tls>, time_max: Duration) -> Option<Transport> {
    let Some(tls) = tls else {
        return Some(Transport::plain(stream));
    };
    match reactor::timeout(time_max, begin(stream, tls)).await {
        Ok(Ok(Beginning::Session(stream))) => return Some(Transport::Tls(stream)),
        Ok(Ok(Beginning::Http(stream))) => {
            tls.count_failed_handshake();
            tracing::debug!("a client speaks HTTP without TLS on a port that speaks TLS");
            let mut plain = Transport::plain(stream);
            // The client may be gone.
            let _ = reactor::timeout(TELL_MAX, plain.finish_with(NO_TLS)).await;
        }
        Ok(Ok(Beginning::Nothing)) => {}
        Ok(Err(error)) => {
            tls.count_failed_handshake();
            tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => {
            tls.count_failed_handshake();
            tracing::debug!("a TLS handshake took too long");
        }
    }
    None
}

async fn begin(stream: TcpStream, tls: &Tls) -> io::Result<Beginning> {
    let mut first = vec![0; FIRST_BYTES_MAX];
    let count = stream.read(&mut first).await?;
    first.truncate(count);
    match first.first() {
        None => return Ok(Beginning::Nothing),
        // Methods are upper case; records of TLS begin with the number of their kind, which is below 32.
        Some(byte) if byte.is_ascii_uppercase() => return Ok(Beginning::Http(stream)),
        Some(_) => {}
    }
    let config = tls.identity().config.clone();
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = Box::new(TlsStream::new(stream, session, first));
    if let Err(error) = poll_fn(|context| stream.poll_handshake(context)).await {
        // The alert that says why; the client may be gone.
        let _ = reactor::timeout(TELL_MAX, poll_fn(|context| stream.poll_send(context))).await;
        return Err(error);
    }
    Ok(Beginning::Session(stream))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use strata_engine::reactor::{ListenOptions, TaskClass, TcpListener};

    use super::*;
    use crate::test_reactor::on_a_real_reactor;
    use crate::tls::test_identity;

    const SHORT: Duration = Duration::from_millis(200);

    /// What a client hears that sends these bytes and then waits; whether there was something to serve, and how many handshakes have failed.
    fn outcome(time_max: Duration, bytes: &'static [u8]) -> (Vec<u8>, bool, u64) {
        on_a_real_reactor(async || {
            let options = ListenOptions {
                reuse_port: false,
                backlog: 1,
            };
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = TcpListener::bind(any, options).unwrap();
            let address = listener.local_addr().unwrap();
            let client = reactor::offload(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.write_all(bytes).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).unwrap();
                heard
            });
            let client = reactor::spawn(TaskClass::Foreground, client);
            let tls = Tls::new(test_identity::identity());
            let (stream, _) = listener.accept().await.unwrap();
            let served = accept(stream, Some(&tls), time_max).await.is_some();
            (client.await, served, tls.failed_handshakes())
        })
    }

    #[test]
    fn a_client_without_tls_is_told_so() {
        let (heard, served, failed) = outcome(SHORT, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let heard = String::from_utf8(heard).unwrap();
        let (head, body) = heard.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(body.starts_with("This port speaks TLS"), "{body}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert_eq!((served, failed), (false, 1));
    }

    /// Of a ClientHello the first bytes: its record is to have 512.
    #[test]
    fn a_handshake_that_stands_still_is_cut_off() {
        let (heard, served, failed) = outcome(SHORT, b"\x16\x03\x01\x02\x00\x01");
        assert_eq!((heard, served, failed), (Vec::new(), false, 1));
        let (heard, served, failed) = outcome(SHORT, b"");
        assert_eq!((heard, served, failed), (Vec::new(), false, 1));
    }

    /// A ServerHello, which is no client's to send.
    #[test]
    fn what_is_out_of_order_gets_an_alert() {
        let hello = b"\x16\x03\x01\x00\x06\x02\x00\x00\x02\x03\x03";
        let (heard, served, failed) = outcome(Duration::from_secs(20), hello);
        // A record of the kind `alert`, fatal.
        assert_eq!((heard.first(), heard.get(5)), (Some(&0x15), Some(&2)));
        assert_eq!((served, failed), (false, 1));
    }
}
