//! A connection with or without TLS, as hyper takes it.
//!
//! Invariant: on a port without TLS the first byte of a connection is looked at, once, so that a client that speaks TLS there is told from
//! one that sends rubbish.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use strata_engine::reactor::TcpStream;

use super::stream::TlsStream;

/// The first byte of a TLS handshake. No method of HTTP begins with it.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

/// Bytes that are read at the beginning of a connection, to look at the first of them.
const FIRST_BYTES_MAX: usize = 4 << 10;

/// A connection.
pub enum Transport {
    /// Without TLS.
    Plain(PlainStream),
    /// With it.
    Tls(Box<TlsStream>),
}

/// A connection without TLS.
pub struct PlainStream {
    stream: TcpStream,
    has_begun: bool,
    client_speaks_tls: ClientSpeaksTls,
}

/// What is to be said of a client that speaks TLS on a port that does not.
pub const CLIENT_SPEAKS_TLS: &str = "a connection was closed: the client speaks TLS, and `tls.cert` and `tls.key` (--tls-cert, --tls-key) are not set";

/// Whether the client of a connection speaks TLS on a port that does not. hyper takes the error that ends such a connection for
/// a client that goes away, and says nothing of it.
#[derive(Debug, Clone, Default)]
pub struct ClientSpeaksTls(Rc<Cell<bool>>);

impl ClientSpeaksTls {
    /// Whether it does, as far as it has sent anything.
    pub fn is_so(&self) -> bool {
        self.0.get()
    }
}

impl Transport {
    /// A connection without TLS.
    pub fn plain(stream: TcpStream) -> Transport {
        Transport::Plain(PlainStream {
            stream,
            has_begun: false,
            client_speaks_tls: ClientSpeaksTls::default(),
        })
    }

    /// The version of TLS that it speaks, such as `1.3`; `None` without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(tls.version()),
        }
    }

    /// Tells, while the connection lasts and afterwards, whether its client speaks TLS and it does not.
    pub fn client_speaks_tls(&self) -> ClientSpeaksTls {
        match self {
            Transport::Plain(plain) => plain.client_speaks_tls.clone(),
            Transport::Tls(_) => ClientSpeaksTls::default(),
        }
    }

    /// Writes an answer and ends this side, then listens until the peer has ended its own: bytes that nobody reads would turn the
    /// close into a reset that destroys the answer.
    ///
    /// # Errors
    /// What the system says.
    pub async fn finish_with(&mut self, answer: &[u8]) -> io::Result<()> {
        let mut rest = answer;
        while !rest.is_empty() {
            let count = poll_fn(|context| Pin::new(&mut *self).poll_write(context, rest)).await?;
            rest = &rest[count..];
        }
        poll_fn(|context| Pin::new(&mut *self).poll_shutdown(context)).await?;
        let mut scratch = [0; FIRST_BYTES_MAX];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            poll_fn(|context| self.poll_discard(context, buffer.unfilled())).await?;
            if buffer.filled().is_empty() {
                return Ok(());
            }
        }
    }

    /// Reads bytes as they come from the network, to be thrown away.
    pub fn poll_discard(
        &mut self,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(plain) => Pin::new(&mut plain.stream).poll_read(context, buffer),
            Transport::Tls(tls) => tls.poll_discard(context, buffer),
        }
    }
}

impl PlainStream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_begun {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut place = [MaybeUninit::uninit(); FIRST_BYTES_MAX];
        let length = FIRST_BYTES_MAX.min(buffer.remaining());
        let mut first = ReadBuf::uninit(&mut place[..length]);
        ready!(Pin::new(&mut self.stream).poll_read(context, first.unfilled()))?;
        self.has_begun = true;
        if first.filled().first() == Some(&HANDSHAKE_RECORD) {
            self.client_speaks_tls.0.set(true);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        buffer.put_slice(first.filled());
        Poll::Ready(Ok(()))
    }
}

impl Read for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(plain) => plain.poll_read(context, buffer),
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_read(context, buffer),
        }
    }
}

impl Write for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(plain) => Pin::new(&mut plain.stream).poll_write(context, bytes),
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(plain) => Pin::new(&mut plain.stream).poll_flush(context),
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(plain) => Pin::new(&mut plain.stream).poll_shutdown(context),
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(plain) => {
                Pin::new(&mut plain.stream).poll_write_vectored(context, slices)
            }
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(context, slices),
        }
    }
}
