//! The server on the reactor.
//!
//! Invariant: it differs from the one on tokio in its runtime alone.

use anyhow::Context as _;
use hyper::server::conn::http1;
use strata_engine::reactor::{
    ListenOptions, ReactorConfig, TaskClass, TcpListener, World, oneshot, run, spawn,
};

use super::{Setup, Started};
use crate::affinity::ThreadClock;

/// Serves on this thread until it is told to stop.
pub(super) fn serve(setup: Setup) -> anyhow::Result<()> {
    let config = ReactorConfig {
        index: 0,
        core: Some(setup.core),
        name: "server".into(),
        arena_bytes: 16 << 20,
        spin: setup.spin,
    };
    run(config, World::Real, async || serve_here(setup).await)?
}

async fn serve_here(setup: Setup) -> anyhow::Result<()> {
    let options = ListenOptions {
        reuse_port: false,
        backlog: 1024,
    };
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), options).context("bind")?;
    let (stop, stopped) = oneshot();
    let started = Started {
        address: listener.local_addr()?,
        clock: ThreadClock::of_this_thread()?,
        stop: Box::new(move || _ = stop.send(())),
    };
    let accepting = spawn(TaskClass::Foreground, async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = http1::Builder::new().serve_connection(stream, setup.service.clone());
            // A client that goes away ends its connection, not the server.
            spawn(TaskClass::Foreground, async move { drop(connection.await) }).detach();
        }
    });
    setup
        .started
        .send(started)
        .ok()
        .context("nobody waits for the server")?;
    let outcome = stopped.await;
    drop(accepting);
    outcome.context("stop")
}
