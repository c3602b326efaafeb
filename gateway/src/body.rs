//! The body of a request, on its way into an object: framing off, counted, hashed, compared. Of a form it is the file.
//!
//! Invariants: a body is good only when [`RequestBody::finish`] has returned without an error; until
//! then nothing of it may be committed. No more is held than the piece that hyper read last, and what
//! waits for MD5.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::future::poll_fn;
use http::HeaderMap;
use http::header::{self, HeaderName};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use strata_engine::reactor;
use strata_raftlog::namespace::ChecksumAlgorithm;

use crate::auth::Payload;
use crate::auth::chunks::Chunks;
use crate::checksum::{self, Declaration, Declared, Hasher};
use crate::error::{Code, Fault};
use crate::form::parts::{Delimiter, Field, FilePart, Prelude};
use crate::guard::{PUT_BYTES_MAX, too_large};
use crate::md5::queue::{Md5Queue, QueuedMd5};

/// How long a client may leave a body without a byte.
const STALL_MAX: Duration = Duration::from_secs(60);

/// How long the fields of a form may take to come: nobody has asked for anything before they are there, and whoever asks is not known.
const PRELUDE_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes that are hashed between two looks at the clock.
const HASH_BYTES_MAX: usize = 64 << 10;

/// The most that is read of a body that nobody wants, so that the connection can be used again.
const DRAIN_BYTES_MAX: u64 = 1 << 20;

/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Bytes as they come from the connection.
pub enum Wire {
    /// From hyper.
    Connection(Incoming),
    /// From a test.
    #[cfg(test)]
    Pieces(tests::Pieces),
}

impl Wire {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self {
            Wire::Connection(incoming) => {
                let frame = Pin::new(incoming).poll_frame(context);
                frame.map(|frame| frame.map(|frame| frame.map_err(|error| error.to_string())))
            }
            #[cfg(test)]
            Wire::Pieces(pieces) => pieces.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Wire::Connection(incoming) => incoming.is_end_stream(),
            #[cfg(test)]
            Wire::Pieces(_) => false,
        }
    }
}

/// What a request says of its body.
#[derive(Clone)]
pub struct Expectation {
    /// Bytes without the framing of chunks.
    pub length: u64,
    /// What the signature covers.
    pub payload: Payload,
    /// `Content-MD5`.
    pub content_md5: Option<[u8; 16]>,
    /// An additional checksum.
    pub checksum: Option<Declaration>,
    /// Names of the trailers that are announced.
    pub trailers: Vec<String>,
    /// Whether the client waits for `100 Continue`.
    pub waits_for_continue: bool,
}

impl Expectation {
    /// Of a body that nobody wants.
    pub fn unread(headers: &HeaderMap) -> Expectation {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let expect = text(header::EXPECT).unwrap_or_default();
        Expectation {
            length: length.unwrap_or(0),
            payload: Payload::Unsigned,
            content_md5: None,
            checksum: None,
            trailers: Vec::new(),
            waits_for_continue: expect.eq_ignore_ascii_case("100-continue"),
        }
    }
}

/// What is known of a body that was taken whole.
#[derive(Debug, Clone)]
pub struct Digests {
    /// Bytes.
    pub length: u64,
    /// MD5.
    pub md5: [u8; 16],
    /// The checksum that the caller wanted.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

/// How a body is framed.
enum Framing {
    None,
    Chunks(Chunks),
    /// In a form, whose file may have so many bytes.
    Form(FilePart, RangeInclusive<u64>),
}

/// A body that is being read.
pub struct RequestBody {
    wire: Wire,
    /// Bytes that came off the wire and are not handed on yet.
    pending: Bytes,
    framing: Framing,
    expectation: Expectation,
    trailers: Vec<(String, String)>,
    sha256: Option<digest::Context>,
    md5: QueuedMd5,
    /// The declared checksum and the wanted one, where they are not the same.
    hashers: Vec<Hasher>,
    wanted: Option<ChecksumAlgorithm>,
    length: u64,
    wire_bytes: u64,
    is_polled: bool,
    /// The wire has ended or is broken.
    is_ended: bool,
    /// The body has been handed on to its end.
    is_over: bool,
}

impl RequestBody {
    /// A body from a connection, of which nothing is known but what the head of its request says.
    pub fn new(wire: Wire, expectation: Expectation, md5: &Md5Queue) -> RequestBody {
        RequestBody {
            wire,
            pending: Bytes::new(),
            framing: Framing::None,
            trailers: Vec::new(),
            sha256: None,
            md5: md5.stream(),
            hashers: Vec::new(),
            wanted: None,
            length: 0,
            wire_bytes: 0,
            is_polled: false,
            is_ended: false,
            is_over: false,
            expectation,
        }
    }

    /// Says what the body must be, before the first byte is read.
    pub fn expect(&mut self, expectation: Expectation) {
        assert_eq!(self.length, 0, "the hashers must see every byte");
        let checksum = expectation.checksum.as_ref();
        self.hashers = checksum
            .map(|checksum| Hasher::new(checksum.algorithm))
            .into_iter()
            .collect();
        match &expectation.payload {
            Payload::Chunked { signer, trailers } => {
                let chunks = Chunks::new(signer.clone(), *trailers, expectation.length);
                self.framing = Framing::Chunks(chunks);
            }
            Payload::Hash(_) => self.sha256 = Some(digest::Context::new(&digest::SHA256)),
            Payload::Unsigned => {}
        }
        self.expectation = expectation;
    }

    /// Reads a form up to its file, which is what the body is from then on. Returns the fields before it, and its name.
    ///
    /// # Errors
    /// Those of [`Prelude`], and of the connection as [`next`](RequestBody::next); `RequestTimeout` where they come slowly.
    pub async fn open_form(
        &mut self,
        delimiter: Delimiter,
    ) -> Result<(Vec<Field>, Option<String>), Fault> {
        let opened = reactor::timeout(PRELUDE_TIME_MAX, self.read_prelude(delimiter)).await;
        opened.map_err(|_| Fault::from(Code::RequestTimeout))?
    }

    async fn read_prelude(
        &mut self,
        delimiter: Delimiter,
    ) -> Result<(Vec<Field>, Option<String>), Fault> {
        assert!(!self.is_polled, "the form begins with the first byte");
        let mut prelude = Prelude::new(delimiter);
        while let Some(bytes) = self.read().await? {
            if let Some(start) = prelude.push(&bytes)? {
                self.pending = start.rest;
                self.framing = Framing::Form(start.file, 0..=PUT_BYTES_MAX);
                return Ok((start.fields, start.file_name));
            }
        }
        Err(prelude.ended())
    }

    /// Says how many bytes the file of a form may have.
    pub fn bound_file(&mut self, lengths: RangeInclusive<u64>) {
        if let Framing::Form(_, bounds) = &mut self.framing {
            *bounds = lengths;
        }
    }

    /// What the request says of the body.
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// Asks for a checksum in [`Digests`], before the first byte is read.
    pub fn want_checksum(&mut self, algorithm: ChecksumAlgorithm) {
        assert_eq!(self.length, 0, "the hasher must see every byte");
        self.wanted = Some(algorithm);
        if !self
            .hashers
            .iter()
            .any(|hasher| hasher.algorithm() == algorithm)
        {
            self.hashers.push(Hasher::new(algorithm));
        }
    }

    /// Bytes that came off the connection, framing and all.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// Whether bytes of it may still come.
    pub fn is_unread(&self) -> bool {
        !self.is_ended && !self.wire.is_end_stream()
    }

    /// Whether the client waits for `100 Continue` and has not been sent it. hyper sends it when a
    /// body is read that has a length; clients that wait in vain count the next answer for it
    /// (botocore issue 3755), so the connection must not be used again.
    pub fn is_continue_owed(&self) -> bool {
        let is_sent = self.is_polled && self.wire_bytes > 0;
        self.expectation.waits_for_continue && !is_sent
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `IncompleteBody`, `RequestTimeout`, `EntityTooLarge` for the file of a form, and those of the framing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while !self.is_over {
            if let Some(data) = self.take_pending()? {
                self.take(&data).await?;
                return Ok(Some(data));
            }
            match self.read().await? {
                Some(bytes) => self.pending = bytes,
                None => self.end()?,
            }
        }
        Ok(None)
    }

    /// Compares everything that was declared with what came.
    ///
    /// # Errors
    /// `IncompleteBody`, `EntityTooSmall` for the file of a form, `XAmzContentSHA256Mismatch`, `BadDigest`.
    pub async fn finish(&mut self) -> Result<Digests, Fault> {
        self.check_whole()?;
        if let (Payload::Hash(expected), Some(context)) =
            (&self.expectation.payload, self.sha256.take())
            && context.finish().as_ref() != expected
        {
            return Err(Code::XAmzContentSHA256Mismatch.into());
        }
        let md5 = self.md5.finish().await;
        if self
            .expectation
            .content_md5
            .is_some_and(|expected| expected != md5)
        {
            return Err(Fault::new(
                Code::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ));
        }
        let hashers = std::mem::take(&mut self.hashers);
        let values: Vec<_> = hashers
            .into_iter()
            .map(|hasher| (hasher.algorithm(), hasher.finish()))
            .collect();
        if let Some(declaration) = &self.expectation.checksum {
            self.compare(declaration, &values)?;
        }
        let checksum = values
            .into_iter()
            .find(|(algorithm, _)| Some(*algorithm) == self.wanted);
        Ok(Digests {
            length: self.length,
            md5,
            checksum,
        })
    }

    /// Reads a small body whole and compares it.
    ///
    /// # Errors
    /// As [`next`](RequestBody::next) and [`finish`](RequestBody::finish), and
    /// `MaxMessageLengthExceeded` beyond `bytes_max`.
    pub async fn collect(&mut self, bytes_max: u64) -> Result<Bytes, Fault> {
        if self.expectation.length > bytes_max {
            return Err(Fault::from(Code::MaxMessageLengthExceeded)
                .detail("MaxMessageLengthBytes", bytes_max.to_string()));
        }
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        self.finish().await?;
        Ok(Bytes::from(whole))
    }

    /// Reads a little of what nobody wants, so that the connection can be used again. A client that
    /// waits to be asked is not asked.
    pub async fn drain_briefly(&mut self) {
        let waits = self.expectation.waits_for_continue && !self.is_polled;
        if !self.is_unread() || waits || self.expectation.length > DRAIN_BYTES_MAX {
            return;
        }
        let drain = async {
            while let Ok(Some(bytes)) = self.read().await {
                drop(bytes);
                if self.wire_bytes > 2 * DRAIN_BYTES_MAX {
                    break;
                }
            }
        };
        let _ = reactor::timeout(DRAIN_TIME_MAX, drain).await;
    }

    fn take_pending(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.framing {
            Framing::Chunks(chunks) => chunks.next(&mut self.pending),
            Framing::Form(file, _) => file.next(&mut self.pending),
            Framing::None if self.pending.is_empty() => Ok(None),
            Framing::None => Ok(Some(std::mem::take(&mut self.pending))),
        }
    }

    fn check_not_too_long(&self) -> Result<(), Fault> {
        match &self.framing {
            Framing::Form(_, lengths) if self.length > *lengths.end() => {
                Err(too_large(None, *lengths.end()))
            }
            Framing::None | Framing::Chunks(_) if self.length > self.expectation.length => {
                Err(Code::IncompleteBody.into())
            }
            _ => Ok(()),
        }
    }

    fn check_whole(&self) -> Result<(), Fault> {
        match &self.framing {
            _ if !self.is_over => Err(Code::IncompleteBody.into()),
            Framing::Form(_, lengths) if self.length < *lengths.start() => {
                Err(Fault::from(Code::EntityTooSmall)
                    .detail("ProposedSize", self.length.to_string())
                    .detail("MinSizeAllowed", lengths.start().to_string()))
            }
            Framing::None | Framing::Chunks(_) if self.length != self.expectation.length => {
                Err(Code::IncompleteBody.into())
            }
            _ => Ok(()),
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Fault> {
        self.is_polled = true;
        loop {
            let frame = poll_fn(|context| self.wire.poll_frame(context));
            let frame = reactor::timeout(STALL_MAX, frame)
                .await
                .map_err(|_| Fault::from(Code::RequestTimeout))?;
            match frame {
                None => {
                    self.is_ended = true;
                    return Ok(None);
                }
                Some(Err(error)) => {
                    self.is_ended = true;
                    return Err(Fault::from(Code::IncompleteBody).because(error));
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.wire_bytes += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        match &mut self.framing {
            Framing::None => {}
            Framing::Form(file, _) => file.end()?,
            Framing::Chunks(chunks) => self.trailers = chunks.end()?,
        }
        let announced = &self.expectation.trailers;
        if self
            .trailers
            .iter()
            .any(|(name, _)| !announced.contains(name))
        {
            return Err(Code::MalformedTrailerError.into());
        }
        self.is_over = true;
        Ok(())
    }

    async fn take(&mut self, data: &Bytes) -> Result<(), Fault> {
        self.length += data.len() as u64;
        self.check_not_too_long()?;
        for piece in data.chunks(HASH_BYTES_MAX) {
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(piece);
            }
            self.hashers
                .iter_mut()
                .for_each(|hasher| hasher.update(piece));
            reactor::yield_if_due().await;
        }
        let is_last = self.length == self.expectation.length;
        self.md5.update(data.clone(), is_last).await;
        Ok(())
    }

    fn compare(
        &self,
        declaration: &Declaration,
        values: &[(ChecksumAlgorithm, Vec<u8>)],
    ) -> Result<(), Fault> {
        let algorithm = declaration.algorithm;
        let expected = match &declaration.declared {
            Declared::Value(value) => value.clone(),
            Declared::Trailer => self.trailer_value(algorithm)?,
        };
        let computed = values
            .iter()
            .find(|(found, _)| *found == algorithm)
            .map(|(_, value)| value);
        if computed == Some(&expected) {
            return Ok(());
        }
        Err(Fault::new(
            Code::BadDigest,
            format!(
                "The {} you specified did not match the calculated checksum.",
                checksum::name_of(algorithm)
            ),
        ))
    }

    fn trailer_value(&self, algorithm: ChecksumAlgorithm) -> Result<Vec<u8>, Fault> {
        let found = self
            .trailers
            .iter()
            .find(|(name, _)| checksum::by_header(name) == Some(algorithm))
            .ok_or_else(|| Fault::from(Code::MalformedTrailerError))?;
        checksum::parse_value(algorithm, &found.1)
    }
}

#[cfg(test)]
mod tests;
