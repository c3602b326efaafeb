//! Sockets of the reactor: no byte is lost, whoever gives up, and hyper runs on them.
#![expect(
    clippy::disallowed_methods,
    reason = "reactors of a test run on threads of their own"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use strata_engine::reactor::{
    self, HyperTimer, ListenOptions, ReactorConfig, TaskClass, TcpListener, TcpStream, World,
};

fn run<T>(main: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_string(),
        arena_bytes: 2 << 20,
        spin: Duration::from_micros(20),
    };
    reactor::run(config, World::Real, main).expect("io_uring is available")
}

fn listen() -> (TcpListener, SocketAddr) {
    let options = ListenOptions {
        reuse_port: false,
        backlog: 128,
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(any, options).expect("bind");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 10_000];
    loop {
        match stream.read(&mut piece).await.expect("read") {
            0 => return bytes,
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

#[test]
fn streams_carry_more_than_the_kernel_buffers_both_ways() {
    run(async || {
        let (listener, address) = listen();
        let echo = reactor::spawn(TaskClass::Foreground, async move {
            let (stream, _) = listener.accept().await.expect("accept");
            let bytes = read_to_end(&stream).await;
            stream.write_all(&bytes).await.expect("write");
        });
        let stream = TcpStream::connect(address).await.expect("connect");
        let sent: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
        stream.write_all(&sent).await.expect("write");
        stream.shutdown_write().expect("shutdown");
        assert!(read_to_end(&stream).await == sent);
        echo.await;
    });
}

#[test]
fn a_dropped_read_loses_no_bytes() {
    run(async || {
        let (listener, address) = listen();
        let writer = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            for number in 0..2_000u32 {
                stream.write_all(&number.to_be_bytes()).expect("write");
                if number % 64 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut bytes = Vec::new();
        let mut abandoned = 0;
        loop {
            let mut piece = [0; 7];
            let mut read = Box::pin(stream.read(&mut piece));
            let first = std::future::poll_fn(|c| Poll::Ready(Pin::new(&mut read).poll(c))).await;
            let count = match first {
                Poll::Ready(count) => count.expect("read"),
                Poll::Pending => {
                    drop(read);
                    abandoned += 1;
                    reactor::sleep(Duration::from_micros(50)).await;
                    continue;
                }
            };
            drop(read);
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&piece[..count]);
        }
        let expected: Vec<u8> = (0..2_000u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(bytes, expected);
        assert!(abandoned > 0, "the test must abandon reads");
        writer.join().expect("thread");
    });
}

#[test]
fn a_dropped_accept_loses_no_connection() {
    run(async || {
        let (listener, address) = listen();
        for _ in 0..20 {
            let given_up = reactor::timeout(Duration::from_micros(10), listener.accept()).await;
            assert!(given_up.is_err());
            let client = std::net::TcpStream::connect(address).expect("connect");
            reactor::sleep(Duration::from_micros(200)).await;
            let (_, peer) = reactor::timeout(Duration::from_secs(5), listener.accept())
                .await
                .expect("the connection is there")
                .expect("accept");
            assert_eq!(peer, client.local_addr().expect("address"));
        }
    });
}

#[test]
fn a_refused_connection_names_the_address() {
    run(async || {
        let (listener, address) = listen();
        drop(listener);
        reactor::sleep(Duration::from_millis(5)).await;
        let error = TcpStream::connect(address)
            .await
            .err()
            .expect("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()));
    });
}

#[test]
fn hyper_serves_keep_alive_large_bodies_and_header_timeouts() {
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        Ok(Response::new(Full::new(body)))
    }
    run(async || {
        let (listener, address) = listen();
        reactor::spawn(TaskClass::Foreground, async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                reactor::spawn(TaskClass::Foreground, async move {
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(HyperTimer)
                        .header_read_timeout(Duration::from_millis(500));
                    let _ = http.serve_connection(stream, service_fn(answer)).await;
                })
                .detach();
            }
        })
        .detach();
        let stream = TcpStream::connect(address).await.expect("connect");
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("handshake");
        let connection = reactor::spawn(TaskClass::Foreground, connection);
        for size in [0, 5, 100_000, 3_000_000] {
            let sent = Bytes::from(vec![7u8; size]);
            let request = Request::post("/")
                .header("host", "x")
                .body(Full::new(sent.clone()));
            client.ready().await.expect("keep-alive");
            let answer = client
                .send_request(request.expect("request"))
                .await
                .expect("answer");
            let body = answer.into_body().collect().await.expect("body").to_bytes();
            assert!(body == sent);
        }
        drop(client);
        connection.await.expect("clean end");

        let silent = TcpStream::connect(address).await.expect("connect");
        silent.write_all(b"GET / HT").await.expect("write");
        let end = reactor::timeout(Duration::from_secs(20), read_to_end(&silent)).await;
        assert!(
            end.is_ok(),
            "the server hangs up on a client that never ends its header"
        );
    });
}
