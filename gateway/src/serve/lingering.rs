//! A lingering connection: its peer must take what it is sent, and is given time to hear an answer that came early.
//!
//! Without the first, clients that ask and never read would hold buffers for ever. Without the second,
//! a request that is refused while its body is still coming would be closed with bytes unread: the
//! kernel then resets the connection, and the reset destroys the answer before the client has read it.
//! What a peer does not send is timed elsewhere: the head by hyper, the body by the one who reads it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use strata_engine::reactor::{self, Sleep};

use crate::tls::transport::Transport;

/// How long a peer may take no byte that is ready for it.
const STALL_MAX: Duration = Duration::from_secs(60);

/// How long a peer that still sends is listened to after its last answer.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// How much of what it sends is thrown away, in bytes.
const LINGER_BYTES_MAX: usize = 256 << 20;

/// Whether a request of the connection was answered before its body had come.
#[derive(Debug, Clone, Default)]
pub struct UnreadBody(Rc<Cell<bool>>);

impl UnreadBody {
    /// Notes that there is such a request: it is the last of its connection.
    pub fn note(&self) {
        self.0.set(true);
    }
}

/// A connection with a limit on stalled writes, which is not closed on a peer that still sends.
pub struct Lingering {
    stream: Transport,
    stalled: Option<Sleep>,
    unread: UnreadBody,
    linger: Option<Linger>,
}

/// What is left of the time and the bytes of a peer that has its answer and still sends.
struct Linger {
    until: Sleep,
    bytes_left: usize,
}

impl Lingering {
    /// A connection.
    pub fn new(stream: Transport, unread: UnreadBody) -> Lingering {
        Lingering {
            stream,
            stalled: None,
            unread,
            linger: None,
        }
    }

    /// Throws away what comes, until the peer closes or the time is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            until: reactor::sleep(LINGER_MAX),
            bytes_left: LINGER_BYTES_MAX,
        });
        let mut scratch = [0; 16 << 10];
        while linger.bytes_left > 0 && Pin::new(&mut linger.until).poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = self.stream.poll_discard(context, buffer.unfilled());
            match (ready!(read), buffer.filled().len()) {
                (Err(_), _) | (Ok(()), 0) => break,
                (Ok(()), count) => linger.bytes_left = linger.bytes_left.saturating_sub(count),
            }
        }
        Poll::Ready(())
    }

    fn limit<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| reactor::sleep(STALL_MAX));
        ready!(Pin::new(stalled).poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no bytes",
        )))
    }
}

impl Read for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.limit(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.limit(context, outcome))?;
        }
        if self.unread.0.get() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limit(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;

    use strata_engine::reactor::{ListenOptions, TaskClass, TcpListener, TcpStream};

    use super::*;
    use crate::test_reactor::on_a_real_reactor;

    /// More than the kernel keeps of what nobody reads.
    const UPLOAD_BYTES: usize = 32 << 20;

    async fn refuse(stream: TcpStream, unread: UnreadBody) {
        let mut lingering = Lingering::new(Transport::plain(stream), unread);
        let answer = poll_fn(|context| Pin::new(&mut lingering).poll_write(context, b"refused"));
        assert_eq!(answer.await.unwrap(), 7);
        let closed = poll_fn(|context| Pin::new(&mut lingering).poll_shutdown(context));
        closed.await.unwrap();
    }

    /// Sends all of a body, as clients do that wait for no answer, and then reads.
    async fn upload(address: SocketAddr) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect(address).await?;
        stream.write_all(&vec![7; UPLOAD_BYTES]).await?;
        let mut answer = vec![0; 100];
        let count = stream.read(&mut answer).await?;
        answer.truncate(count);
        Ok(answer)
    }

    fn upload_to_a_refusal(unread: &UnreadBody) -> io::Result<Vec<u8>> {
        on_a_real_reactor(async || {
            let options = ListenOptions {
                reuse_port: false,
                backlog: 1,
            };
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = TcpListener::bind(any, options).unwrap();
            let client = upload(listener.local_addr().unwrap());
            let client = reactor::spawn(TaskClass::Foreground, client);
            let (stream, _) = listener.accept().await.unwrap();
            refuse(stream, unread.clone()).await;
            client.await
        })
    }

    #[test]
    fn a_client_that_still_sends_hears_that_it_is_refused() {
        let unread = UnreadBody::default();
        unread.note();
        assert_eq!(upload_to_a_refusal(&unread).unwrap(), b"refused");
        // What it is there for: otherwise the reset overtakes the answer.
        assert!(upload_to_a_refusal(&UnreadBody::default()).is_err());
    }
}
