//! A keep-alive HTTP/1.1 client on one tokio socket. It reads what a server under load answers, no more, so that
//! the client's core is never what is measured.
//!
//! Invariants: one request is in flight on a connection; an answer is read to its end before the next request; a
//! head is at most [`HEAD_MAX`] bytes long; bytes from the server never cause a panic.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

/// Room for one read.
const BUFFER_BYTES: usize = 256 << 10;
/// Room for the head of an answer whose body is thrown away.
const HEAD_READ_BYTES: usize = 512;
/// Longest answer head.
const HEAD_MAX: usize = 64 << 10;

/// One connection to a server.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Most bytes of one read.
    read_max: usize,
}

/// What the head of an answer said.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The entity tag as sent, with its quotes.
    pub etag: Option<String>,
    /// The server closes after this answer.
    pub close: bool,
    length: BodyLength,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum BodyLength {
    Known(u64),
    Chunked,
}

impl Connection {
    /// Connects without Nagle's delay.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            begin: 0,
            end: 0,
            read_max: BUFFER_BYTES,
        })
    }

    /// Sends a head and a whole body.
    pub async fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let (mut head, mut body) = (head, body);
        while !head.is_empty() {
            let sent = self
                .stream
                .write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
                .await?;
            let of_head = sent.min(head.len());
            (head, body) = (&head[of_head..], &body[sent - of_head..]);
        }
        self.stream.write_all(body).await
    }

    /// Reads an answer to its end; the body's bytes go to `sink` as they come.
    pub async fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> anyhow::Result<Head> {
        let head = self.receive_head().await?;
        match head.length {
            BodyLength::Known(length) => self.take_body(length, &mut sink).await?,
            BodyLength::Chunked => self.take_chunks(&mut sink).await?,
        }
        Ok(head)
    }

    /// Reads an answer's head, and lets the kernel throw the body away without copying it. The head, and the bytes that the
    /// body had.
    pub async fn receive_discarding(&mut self) -> anyhow::Result<(Head, u64)> {
        self.read_max = HEAD_READ_BYTES;
        let head = self.receive_head().await;
        self.read_max = BUFFER_BYTES;
        let head = head?;
        let BodyLength::Known(length) = head.length else {
            bail!("the answer does not say how long it is");
        };
        let here = usize::try_from(length).map_or(self.end - self.begin, |length| {
            length.min(self.end - self.begin)
        });
        self.begin += here;
        let mut left = length - here as u64;
        while left > 0 {
            let discard = || discard(self.stream.as_raw_fd(), left);
            let count = self.stream.async_io(Interest::READABLE, discard).await?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            left -= count as u64;
        }
        Ok((head, length))
    }

    async fn receive_head(&mut self) -> anyhow::Result<Head> {
        loop {
            let (seen, limit) = (self.begin, self.end);
            if let Some(length) = find(&self.buffer[seen..limit], b"\r\n\r\n") {
                let head = parse_head(&self.buffer[seen..seen + length])?;
                self.begin = seen + length + 4;
                // 100 Continue and its kind come before the answer.
                if head.status >= 200 {
                    return Ok(head);
                }
            } else if limit - seen > HEAD_MAX {
                bail!("an answer's head is longer than {HEAD_MAX} bytes");
            } else {
                self.fill().await?;
            }
        }
    }

    async fn take_body(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.begin == self.end {
                self.fill().await?;
            }
            let here = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.end - self.begin);
            sink(&self.buffer[self.begin..self.begin + here]);
            self.begin += here;
            left -= here as u64;
        }
        Ok(())
    }

    async fn take_chunks(&mut self, sink: &mut impl FnMut(&[u8])) -> anyhow::Result<()> {
        loop {
            let line = self.take_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = u64::from_str_radix(digits, 16)
                .with_context(|| format!("chunk length {digits:?}"))?;
            if length == 0 {
                while !self.take_line().await?.is_empty() {}
                return Ok(());
            }
            self.take_body(length, sink).await?;
            self.take_line().await?;
        }
    }

    async fn take_line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(length) = find(&self.buffer[self.begin..self.end], b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[self.begin..self.begin + length])
                    .into_owned();
                self.begin += length + 2;
                return Ok(line);
            }
            if self.end - self.begin > HEAD_MAX {
                bail!("a line of an answer is longer than {HEAD_MAX} bytes");
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        let limit = self.buffer.len().min(self.end + self.read_max);
        let room = &mut self.buffer[self.end..limit];
        let read = self.stream.read(room).await.context("read")?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        self.end += read;
        Ok(())
    }
}

/// Takes up to so many bytes off a socket and drops them in the kernel: `MSG_TRUNC`, tcp(7).
fn discard(socket: RawFd, bytes: u64) -> io::Result<usize> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(1 << 30);
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC the kernel writes nothing to the buffer.
    let count = unsafe { libc::recv(socket, ptr::null_mut(), length, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Head> {
    let text = std::str::from_utf8(bytes).context("an answer's head is not text")?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("status line {status_line:?}"))?;
    let mut head = Head {
        status,
        etag: None,
        close: false,
        length: BodyLength::Known(0),
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = BodyLength::Known(
                value
                    .parse()
                    .with_context(|| format!("content length {value:?}"))?,
            );
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            && value.eq_ignore_ascii_case("chunked")
        {
            head.length = BodyLength::Chunked;
        } else if name.eq_ignore_ascii_case("etag") {
            head.etag = Some(value.to_string());
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_the_body_ends() {
        let head = parse_head(
            b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: \"ab\"\r\nconnection: close",
        )
        .unwrap();
        let expected = Head {
            status: 200,
            etag: Some("\"ab\"".into()),
            close: true,
            length: BodyLength::Known(12),
        };
        assert_eq!(head, expected);
        let head = parse_head(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked").unwrap();
        assert_eq!((head.status, head.length), (404, BodyLength::Chunked));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1",
            b"HTTP/1.1 abc",
            b"SSH-2.0",
            b"\xff\xff",
            b"HTTP/1.1 200\r\ncontent-length: x",
        ] {
            assert!(parse_head(bytes).is_err(), "{bytes:?}");
        }
    }

    fn serve_once(answer: &'static [u8]) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).unwrap();
            for piece in answer.chunks(5) {
                stream.write_all(piece).unwrap();
            }
        });
        address
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bodies_by_length_and_in_chunks_arrive_whole() {
        let address = serve_once(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\
              transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        );
        let mut connection = Connection::open(address).await.unwrap();
        connection
            .send(b"GET / HTTP/1.1\r\n\r\n", b"")
            .await
            .unwrap();
        let mut body = Vec::new();
        connection
            .receive(|bytes| body.extend_from_slice(bytes))
            .await
            .unwrap();
        assert_eq!(body, b"hello");
        body.clear();
        connection
            .receive(|bytes| body.extend_from_slice(bytes))
            .await
            .unwrap();
        assert_eq!(body, b"abc0123456789");
        assert!(connection.receive(|_| ()).await.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_that_is_thrown_away_leaves_the_next_answer_whole() {
        let answer = [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n"[..],
            &[b'x'; 9000],
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ];
        let address = serve_once(answer.concat().leak());
        let mut connection = Connection::open(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\n\r\n";
        connection.send(request, b"").await.unwrap();
        assert_eq!(connection.receive_discarding().await.unwrap().1, 9000);
        let mut body = Vec::new();
        let take = |bytes: &[u8]| body.extend_from_slice(bytes);
        connection.receive(take).await.unwrap();
        assert_eq!(body, b"hello");
        assert!(connection.receive_discarding().await.is_err());
    }
}
