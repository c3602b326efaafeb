//! Bodies framed in chunks (`aws-chunked`): signed or not, with trailers or not.
//!
//! Invariants: data is handed on as it comes, whatever length the client gives its chunks, so that
//! memory does not depend on it; nothing is good before [`Chunks::end`] has returned without an
//! error, because a chunk's signature is compared when the chunk is over.

use aws_lc_rs::{digest, hmac};
use bytes::{Buf, Bytes};

use crate::error::{Code, Fault};
use crate::signature::{chunk_to_sign, sha256_hex, trailer_to_sign};

/// The longest line before a chunk, in bytes.
const LINE_BYTES_MAX: usize = 1024;

/// The longest block of trailers, in bytes.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Verifies the signatures of chunks, each made over the one before.
#[derive(Clone)]
pub struct ChunkSigner {
    /// The signing key.
    pub key: hmac::Key,
    /// The time of the request.
    pub date_time: String,
    /// The scope of the key.
    pub scope: String,
    /// The signature before, in hexadecimal.
    pub previous: String,
}

impl ChunkSigner {
    /// The text of which the signature of the next chunk is the HMAC.
    pub fn chunk_text(&self, sha256: &str) -> String {
        chunk_to_sign(&self.date_time, &self.scope, &self.previous, sha256)
    }

    /// The text of which the signature of the trailers is the HMAC.
    pub fn trailer_text(&self, sha256: &str) -> String {
        trailer_to_sign(&self.date_time, &self.scope, &self.previous, sha256)
    }

    fn check(&mut self, text: &str, signature: &str) -> Result<(), Fault> {
        let mut expected = [0; 32];
        // A signature that is no hexadecimal leaves what no text has.
        let _ = hex::decode_to_slice(signature, &mut expected);
        hmac::verify(&self.key, text.as_bytes(), &expected)
            .map_err(|_| Fault::from(Code::SignatureDoesNotMatch))?;
        self.previous = signature.to_owned();
        Ok(())
    }
}

enum State {
    /// In the line before a chunk.
    Line(Vec<u8>),
    /// In a chunk.
    Data {
        left: u64,
        signature: String,
        sha256: digest::Context,
    },
    /// In the line end after a chunk's data, which has this many bytes still to come.
    LineEnd(usize),
    /// After the last chunk.
    Trailers(Vec<u8>),
}

/// Takes the framing off a body.
pub struct Chunks {
    signer: Option<Box<ChunkSigner>>,
    trailers_expected: bool,
    /// Bytes of data that are still to come, in all.
    left: u64,
    state: State,
}

impl Chunks {
    /// A body with `length` bytes of data.
    pub fn new(signer: Option<Box<ChunkSigner>>, trailers_expected: bool, length: u64) -> Chunks {
        Chunks {
            signer,
            trailers_expected,
            left: length,
            state: State::Line(Vec::new()),
        }
    }

    /// Takes bytes off the front of `wire` until there is data to hand on; `None` where there is
    /// none in it.
    ///
    /// # Errors
    /// `InvalidRequest` for a wrong framing, `IncompleteBody` for more or fewer bytes than said,
    /// `SignatureDoesNotMatch`.
    pub fn next(&mut self, wire: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        while !wire.is_empty() {
            match &mut self.state {
                State::Line(line) => {
                    if take_line(line, wire)? {
                        let line = std::mem::take(line);
                        self.begin_chunk(&line)?;
                    }
                }
                State::Data { left, sha256, .. } => {
                    let length = (*left).min(wire.len() as u64);
                    let data = wire.split_to(length as usize);
                    if self.signer.is_some() {
                        sha256.update(&data);
                    }
                    *left -= length;
                    self.left -= length;
                    if *left == 0 {
                        self.end_chunk()?;
                    }
                    return Ok(Some(data));
                }
                State::LineEnd(left) => {
                    let expected = if *left == 2 { b'\r' } else { b'\n' };
                    if wire.get_u8() != expected {
                        return Err(malformed("a chunk is not followed by a line end"));
                    }
                    *left -= 1;
                    if *left == 0 {
                        self.state = State::Line(Vec::new());
                    }
                }
                State::Trailers(block) => {
                    if block.len() + wire.len() > TRAILER_BYTES_MAX {
                        return Err(Code::MalformedTrailerError.into());
                    }
                    block.extend_from_slice(wire);
                    wire.clear();
                }
            }
        }
        Ok(None)
    }

    /// Ends the body: compares what remains to be compared, and returns the trailers.
    ///
    /// # Errors
    /// As [`next`](Chunks::next), and `MalformedTrailerError`.
    pub fn end(&mut self) -> Result<Vec<(String, String)>, Fault> {
        let State::Trailers(block) = &self.state else {
            return Err(Code::IncompleteBody.into());
        };
        if self.left != 0 {
            return Err(Code::IncompleteBody.into());
        }
        let (trailers, signature) = parse_trailers(block)?;
        if !self.trailers_expected {
            return match trailers.is_empty() && signature.is_none() {
                true => Ok(trailers),
                false => Err(Code::MalformedTrailerError.into()),
            };
        }
        if let Some(signer) = &mut self.signer {
            let mut canonical = String::new();
            for (name, value) in &trailers {
                canonical.push_str(&format!("{name}:{value}\n"));
            }
            let text = signer.trailer_text(&sha256_hex(canonical.as_bytes()));
            signer.check(&text, &signature.unwrap_or_default())?;
        }
        Ok(trailers)
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (size, signature) = parse_line(line).ok_or_else(|| malformed("a chunk's line"))?;
        if self.signer.is_some() && signature.is_none() {
            return Err(malformed("a chunk without a signature"));
        }
        if size > self.left {
            return Err(Fault::new(
                Code::IncompleteBody,
                "The body is longer than x-amz-decoded-content-length says.",
            ));
        }
        let signature = signature.unwrap_or_default().to_owned();
        let sha256 = digest::Context::new(&digest::SHA256);
        self.state = State::Data {
            left: size,
            signature,
            sha256,
        };
        if size == 0 {
            self.end_chunk()?;
            self.state = State::Trailers(Vec::new());
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), Fault> {
        let State::Data {
            signature, sha256, ..
        } = std::mem::replace(&mut self.state, State::LineEnd(2))
        else {
            return Err(malformed("an end without a chunk"));
        };
        if let Some(signer) = &mut self.signer {
            let text = signer.chunk_text(&hex::encode(sha256.finish()));
            signer.check(&text, &signature)?;
        }
        Ok(())
    }
}

fn malformed(what: &str) -> Fault {
    Fault::new(
        Code::InvalidRequest,
        format!("The body is not framed as aws-chunked: {what}."),
    )
}

/// Moves bytes up to and with a line feed; whether the line is whole.
fn take_line(line: &mut Vec<u8>, wire: &mut Bytes) -> Result<bool, Fault> {
    let end = wire.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let taken = wire.split_to(end.unwrap_or(wire.len()));
    if line.len() + taken.len() > LINE_BYTES_MAX {
        return Err(malformed("a chunk's line is too long"));
    }
    line.extend_from_slice(&taken);
    Ok(end.is_some())
}

/// `SIZE[;chunk-signature=SIGNATURE]\r\n`, the size in hexadecimal.
fn parse_line(line: &[u8]) -> Option<(u64, Option<&str>)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let (size, extension) = match line.split_once(';') {
        Some((size, extension)) => (size, Some(extension)),
        None => (line, None),
    };
    if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let signature = match extension {
        None => None,
        Some(extension) => Some(extension.trim().strip_prefix("chunk-signature=")?),
    };
    Some((u64::from_str_radix(size, 16).ok()?, signature))
}

type Trailers = (Vec<(String, String)>, Option<String>);

/// Names in lower case and values without spaces around, in the order sent; their signature.
fn parse_trailers(block: &[u8]) -> Result<Trailers, Fault> {
    let malformed = || Fault::from(Code::MalformedTrailerError);
    let text = std::str::from_utf8(block).map_err(|_| malformed())?;
    let (mut trailers, mut signature) = (Vec::new(), None);
    for line in text.split('\n').map(|line| line.trim_end_matches('\r')) {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name == "x-amz-trailer-signature" {
            true => signature = Some(value),
            false => trailers.push((name, value)),
        }
    }
    Ok((trailers, signature))
}

#[cfg(test)]
mod tests;
