//! A connection after its handshake: records on the socket, plaintext for hyper.
//!
//! Reading takes bytes from the socket until there is plaintext to hand over; writing makes records of one piece of plaintext and accepts the
//! next one when those are with the kernel.
//!
//! Invariants: what a connection holds is bounded: [`RECEIVED_BYTES_MAX`] bytes of what the session has not taken yet; in the
//! session a record that is not whole, in a buffer of 32 KiB, and the plaintext of those that are, 18 KiB; and records that go out,
//! [`SENT_BYTES_MAX`] and 22 bytes for each 16 KiB of it. That is less than 150 KiB; an idle one holds less than 36 KiB. A record that is
//! incomplete keeps nobody waiting but its sender: each call that reads hands over what there is or asks the socket for more. The end
//! of the peer's bytes without its `close_notify` is an end like any other: the plaintext tells the lengths of HTTP requests, so that
//! one that is cut short is noticed.

use std::io::{self, BufRead, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use rustls::{ProtocolVersion, ServerConnection};
use strata_engine::reactor::TcpStream;

/// Bytes that are taken from the socket at once.
const RECEIVED_BYTES_MAX: usize = 32 << 10;

/// The least that is: hyper asks for little when it expects little, and a record has a head and a tag around its plaintext.
const RECEIVED_BYTES_MIN: usize = 4 << 10;

/// Plaintext that is made into records at once, in bytes.
const SENT_BYTES_MAX: usize = 64 << 10;

/// A TLS connection.
pub struct TlsStream {
    stream: TcpStream,
    session: ServerConnection,
    /// What has come and the session has not taken, from `taken` on. No memory while there is none.
    received: Vec<u8>,
    taken: usize,
    /// Whether the session has plaintext to hand over.
    has_plaintext: bool,
    /// Whether the peer sends no more plaintext.
    has_ended: bool,
    /// Whether the peer has been told that no more plaintext comes.
    is_closed: bool,
}

impl TlsStream {
    /// A connection whose handshake has not begun, and of which these bytes have come.
    pub(super) fn new(
        stream: TcpStream,
        mut session: ServerConnection,
        received: Vec<u8>,
    ) -> TlsStream {
        session.set_buffer_limit(Some(SENT_BYTES_MAX));
        TlsStream {
            stream,
            session,
            received,
            taken: 0,
            has_plaintext: false,
            has_ended: false,
            is_closed: false,
        }
    }

    /// The version that the handshake has come to.
    pub(super) fn version(&self) -> &'static str {
        match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        }
    }

    /// Carries the handshake on to its end.
    ///
    /// # Errors
    /// What the system says; `InvalidData` where the peer speaks no TLS that is understood, or refuses; `UnexpectedEof` where it
    /// goes away.
    pub(super) fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(context, RECEIVED_BYTES_MIN))?;
        }
    }

    /// Takes what has come, or waits for more: one step towards plaintext or the end.
    fn poll_receive(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            let mut place = [MaybeUninit::uninit(); RECEIVED_BYTES_MAX];
            let wanted = wanted.clamp(RECEIVED_BYTES_MIN, RECEIVED_BYTES_MAX);
            let mut buffer = ReadBuf::uninit(&mut place[..wanted]);
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer.unfilled()))?;
            let bytes = buffer.filled();
            self.has_ended |= bytes.is_empty();
            let taken = self.take(context, bytes)?;
            self.received = bytes[taken..].to_vec();
        } else {
            let received = std::mem::take(&mut self.received);
            self.taken += self.take(context, &received[self.taken..])?;
            if self.taken < received.len() {
                self.received = received;
                return Poll::Ready(Ok(()));
            }
        }
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    /// Gives the session bytes until it has plaintext; how many it took. What it answers to the peer is sent as far as it goes.
    fn take(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.has_plaintext && !self.has_ended {
            self.session.read_tls(&mut rest)?;
            match self.session.process_new_packets() {
                Ok(state) => {
                    self.has_plaintext = state.plaintext_bytes_to_read() > 0;
                    self.has_ended = state.peer_has_closed();
                }
                Err(error) => {
                    // The alert that says why; the connection ends all the same where it cannot be sent.
                    let _ = self.poll_send(context);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        if let Poll::Ready(sent) = self.poll_send(context) {
            sent?;
        }
        let taken = bytes.len() - rest.len();
        // Bytes behind the end of the plaintext mean nothing.
        Ok(if self.has_ended { bytes.len() } else { taken })
    }

    /// Copies plaintext, as much as there is and as fits.
    fn hand_over(&mut self, buffer: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let mut reader = self.session.reader();
        while self.has_plaintext && buffer.remaining() > 0 {
            let bytes: &[u8] = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => &[],
                bytes => bytes?,
            };
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            reader.consume(count);
            self.has_plaintext = count > 0;
        }
        Ok(())
    }

    /// Sends the records that are made.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Sending {
            stream: &mut self.stream,
            context,
        };
        while self.session.wants_write() {
            match self.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads bytes as they come, to be thrown away: after the end of this side nobody wants their plaintext.
    pub(super) fn poll_discard(
        &mut self,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// The socket as rustls writes to it. That it takes nothing is `WouldBlock`, and the task is woken when it does.
struct Sending<'a, 'c> {
    stream: &'a mut TcpStream,
    context: &'a mut Context<'c>,
}

impl io::Write for Sending<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write_vectored(self.context, slices) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        loop {
            self.hand_over(&mut buffer)?;
            let is_full = buffer.remaining() == 0;
            if is_full || (self.has_ended && self.received.is_empty()) {
                return Poll::Ready(Ok(()));
            }
            let wanted = buffer.remaining();
            match self.poll_receive(context, wanted) {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending if buffer.remaining() < room => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Write for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closed {
            self.session.send_close_notify();
            self.is_closed = true;
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        let count = self.session.writer().write_vectored(slices)?;
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What has not been sent yet is by the next call.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }
}
