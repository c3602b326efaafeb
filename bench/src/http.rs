//! hyper on the reactor against hyper on tokio's current-thread runtime: the same service, core and client.
//!
//! - [`reactor_server`], [`tokio_server`]: the same server on either runtime
//!
//! Invariants: the server thread has one core and the client another; the processor time is the server thread's
//! alone, over exactly the time in which the requests are counted; both servers share one service and one hyper; the
//! client copies no body, so that it is faster than either server.

mod reactor_server;
mod tokio_server;

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tokio::task::{JoinHandle, spawn_local};

use crate::affinity::{ThreadClock, pin, raise_descriptor_limit};
use crate::connection::Connection;
use crate::report::{Report, Tally, parse_size};

/// Before requests are counted.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// Strata's own, on io_uring.
    Reactor,
    /// tokio's current-thread runtime, on epoll.
    Tokio,
}

/// Options of `http`.
#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum, default_value = "reactor")]
    runtime: Runtime,
    /// Bytes of the answer's body; the default is a hello.
    #[arg(long, value_parser = parse_size, default_value = "13")]
    body: u64,
    /// Connections of the client.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds to measure, after one second of warming up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The server's core.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The client's core.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Microseconds the reactor looks for work before sleeping.
    #[arg(long, default_value_t = 0)]
    spin: u64,
}

/// What a server thread needs.
struct Setup {
    core: usize,
    spin: Duration,
    service: Service,
    started: mpsc::Sender<Started>,
}

/// What a server thread tells when it listens.
struct Started {
    address: SocketAddr,
    clock: ThreadClock,
    stop: Box<dyn FnOnce() + Send>,
}

/// Answers every request with the same bytes.
#[derive(Clone)]
struct Service {
    body: Bytes,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn call(&self, _: Request<Incoming>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::new(self.body.clone()))))
    }
}

/// Starts the server, drives it, stops it.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(options.connections > 0, "no connection makes no request");
    raise_descriptor_limit().context("raise the limit of descriptors")?;
    let (started, starts) = mpsc::channel();
    let setup = Setup {
        core: options.server_core,
        spin: Duration::from_micros(options.spin),
        service: Service {
            body: vec![b'x'; usize::try_from(options.body)?].into(),
        },
        started,
    };
    let serve = match options.runtime {
        Runtime::Reactor => reactor_server::serve,
        Runtime::Tokio => tokio_server::serve,
    };
    let server = std::thread::Builder::new()
        .name("server".into())
        .spawn(move || serve(setup))?;
    // A server that could not start drops the channel and tells why when it is joined.
    let report = match starts.recv() {
        Ok(started) => {
            let report = drive(options, &started);
            (started.stop)();
            Some(report)
        }
        Err(_) => None,
    };
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the server thread panicked"))??;
    report.context("the server ended before it listened")?
}

/// What the connections share: nothing counts while the window is closed.
struct Window {
    open: Cell<bool>,
    closed: Cell<bool>,
}

fn drive(options: &Options, server: &Started) -> anyhow::Result<Report> {
    pin(options.client_core).context("pin the client")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let window = Rc::new(Window {
            open: Cell::new(false),
            closed: Cell::new(false),
        });
        let clients: Vec<JoinHandle<anyhow::Result<Tally>>> = (0..options.connections)
            .map(|_| spawn_local(ask(server.address, options.body, window.clone())))
            .collect();
        tokio::time::sleep(WARM_UP).await;
        let (begun, used) = (Instant::now(), server.clock.time()?);
        window.open.set(true);
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        let (elapsed, used) = (begun.elapsed(), server.clock.time()? - used);
        window.closed.set(true);
        let mut tally = Tally::default();
        for client in clients {
            tally.merge(&client.await??);
        }
        let mut report = Report::default();
        report.tally("", &tally, elapsed);
        report.number(
            "cpu_us_per_request",
            used.as_secs_f64() * 1e6 / tally.count().max(1) as f64,
        );
        report.number(
            "server_cpu_share",
            used.as_secs_f64() / elapsed.as_secs_f64(),
        );
        Ok(report)
    })
}

async fn ask(address: SocketAddr, bytes: u64, window: Rc<Window>) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address).await.context("connect")?;
    while !window.closed.get() {
        let begun = Instant::now();
        connection
            .send(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n", b"")
            .await?;
        let (head, received) = connection.receive_discarding().await?;
        ensure!(
            head.status == 200 && received == bytes,
            "status {} with {received} bytes",
            head.status
        );
        if window.open.get() && !window.closed.get() {
            tally.add(begun.elapsed(), bytes);
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runtimes_answer_and_stop() {
        for runtime in [Runtime::Reactor, Runtime::Tokio] {
            let options = Options {
                runtime,
                body: 64 << 10,
                connections: 3,
                seconds: 0,
                server_core: 0,
                client_core: 0,
                spin: 0,
            };
            run(&options).unwrap();
        }
    }
}
