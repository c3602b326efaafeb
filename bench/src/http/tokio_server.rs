//! The server on tokio's current-thread runtime, the control.
//!
//! Invariant: it differs from the one on the reactor in its runtime alone; like it, it writes gathered and reads
//! into hyper's own buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{Setup, Started};
use crate::affinity::{ThreadClock, pin};

/// Serves on this thread until it is told to stop.
pub(super) fn serve(setup: Setup) -> anyhow::Result<()> {
    pin(setup.core).context("pin the server")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_here(setup))
}

async fn serve_here(setup: Setup) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind")?;
    let (stop, stopped) = oneshot::channel();
    let started = Started {
        address: listener.local_addr()?,
        clock: ThreadClock::of_this_thread()?,
        stop: Box::new(move || _ = stop.send(())),
    };
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let connection =
                http1::Builder::new().serve_connection(Stream(stream), setup.service.clone());
            // A client that goes away ends its connection, not the server.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    setup
        .started
        .send(started)
        .ok()
        .context("nobody waits for the server")?;
    let outcome = stopped.await;
    accepting.abort();
    outcome.context("stop")
}

/// tokio's stream as hyper wants it.
struct Stream(TcpStream);

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing uninitialised is read through the slice, and no byte of it is made uninitialised.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
        let filled = buffer.filled().len();
        // SAFETY: tokio has initialised what it says it has filled.
        unsafe { cursor.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}
