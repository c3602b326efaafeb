//! Bodies on a simulated reactor: whole, short, wrong, stalled.

use std::collections::VecDeque;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body::Frame;

use super::*;
use crate::md5;
use crate::test_reactor::on_a_reactor;

/// A connection that delivers pieces and then ends, breaks, or says nothing more.
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    ending: Ending,
    pause: Option<reactor::Sleep>,
}

#[derive(Clone, Copy)]
enum Ending {
    End,
    Break,
    Stall,
    /// A byte after each pause, for ever.
    Trickle(Duration),
}

impl Pieces {
    fn new(pieces: &[&'static [u8]], ending: Ending) -> Pieces {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece));
        Pieces {
            pieces: pieces.collect(),
            ending,
            pause: None,
        }
    }

    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match (self.pieces.pop_front(), self.ending) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, Ending::End) => Poll::Ready(None),
            (None, Ending::Break) => Poll::Ready(Some(Err("the peer is gone".into()))),
            (None, Ending::Stall) => Poll::Pending,
            (None, Ending::Trickle(pause)) => {
                let sleep = self.pause.get_or_insert_with(|| reactor::sleep(pause));
                Pin::new(sleep).poll(context).map(|()| {
                    self.pause = None;
                    Some(Ok(Frame::data(Bytes::from_static(b"x"))))
                })
            }
        }
    }
}

fn expectation(length: u64) -> Expectation {
    Expectation {
        length,
        payload: Payload::Unsigned,
        content_md5: None,
        checksum: None,
        trailers: Vec::new(),
        waits_for_continue: false,
    }
}

fn body(pieces: &[&'static [u8]], ending: Ending, expectation: Expectation) -> RequestBody {
    let wire = Wire::Pieces(Pieces::new(pieces, ending));
    let mut body = RequestBody::new(
        wire,
        Expectation::unread(&HeaderMap::new()),
        &Md5Queue::default(),
    );
    body.expect(expectation);
    body
}

/// Reads a body to its end.
fn outcome(
    pieces: &[&'static [u8]],
    ending: Ending,
    expectation: Expectation,
) -> Result<(Vec<u8>, Digests), Code> {
    on_a_reactor(async || {
        let mut body = body(pieces, ending, expectation);
        body.want_checksum(ChecksumAlgorithm::Crc64Nvme);
        let mut whole = Vec::new();
        while let Some(bytes) = body.next().await.map_err(|fault| fault.code)? {
            whole.extend_from_slice(&bytes);
        }
        let digests = body.finish().await.map_err(|fault| fault.code)?;
        Ok((whole, digests))
    })
}

fn refusal(pieces: &[&'static [u8]], expectation: Expectation) -> Code {
    outcome(pieces, Ending::End, expectation).unwrap_err()
}

#[test]
fn a_whole_body_brings_its_digests() {
    let (whole, digests) = outcome(&[b"he", b"", b"llo"], Ending::End, expectation(5)).unwrap();
    assert_eq!(whole, b"hello");
    assert_eq!((digests.length, digests.md5), (5, md5::digest(b"hello")));
    let crc = checksum::of_bytes(ChecksumAlgorithm::Crc64Nvme, b"hello");
    assert_eq!(digests.checksum, Some((ChecksumAlgorithm::Crc64Nvme, crc)));
    let (whole, digests) = outcome(&[], Ending::End, expectation(0)).unwrap();
    assert_eq!((whole.len(), digests.md5), (0, md5::digest(b"")));
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_incomplete() {
    assert_eq!(refusal(&[b"hell"], expectation(5)), Code::IncompleteBody);
    assert_eq!(refusal(&[b"hello!"], expectation(5)), Code::IncompleteBody);
    let broken = outcome(&[b"hell"], Ending::Break, expectation(5));
    assert_eq!(broken.unwrap_err(), Code::IncompleteBody);
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let stalled = outcome(&[b"hell"], Ending::Stall, expectation(5));
    assert_eq!(stalled.unwrap_err(), Code::RequestTimeout);
}

#[test]
fn a_body_read_in_part_is_not_good() {
    on_a_reactor(async || {
        let mut body = body(&[b"hello"], Ending::End, expectation(5));
        let _ = body.next().await.unwrap();
        assert_eq!(body.finish().await.unwrap_err().code, Code::IncompleteBody);
    });
}

#[test]
fn the_signed_hash_is_compared() {
    let hash = |bytes: &[u8]| {
        let digest = digest::digest(&digest::SHA256, bytes);
        Payload::Hash(digest.as_ref().try_into().unwrap())
    };
    let right = Expectation {
        payload: hash(b"hello"),
        ..expectation(5)
    };
    assert!(outcome(&[b"hello"], Ending::End, right).is_ok());
    let wrong = Expectation {
        payload: hash(b"hullo"),
        ..expectation(5)
    };
    assert_eq!(refusal(&[b"hello"], wrong), Code::XAmzContentSHA256Mismatch);
}

#[test]
fn content_md5_is_compared() {
    let right = Expectation {
        content_md5: Some(md5::digest(b"hello")),
        ..expectation(5)
    };
    assert!(outcome(&[b"hello"], Ending::End, right).is_ok());
    let wrong = Expectation {
        content_md5: Some(md5::digest(b"hullo")),
        ..expectation(5)
    };
    assert_eq!(refusal(&[b"hello"], wrong), Code::BadDigest);
}

#[test]
fn every_checksum_in_a_header_is_compared() {
    for (algorithm, ..) in checksum::ALGORITHMS {
        let declare = |bytes: &[u8]| {
            let declared = Declared::Value(checksum::of_bytes(algorithm, bytes));
            let checksum = Some(Declaration {
                algorithm,
                declared,
            });
            Expectation {
                checksum,
                ..expectation(5)
            }
        };
        assert!(
            outcome(&[b"hello"], Ending::End, declare(b"hello")).is_ok(),
            "{algorithm:?}"
        );
        assert_eq!(
            refusal(&[b"hello"], declare(b"hullo")),
            Code::BadDigest,
            "{algorithm:?}"
        );
    }
}

fn with_trailer() -> Expectation {
    let checksum = Declaration {
        algorithm: ChecksumAlgorithm::Crc32,
        declared: Declared::Trailer,
    };
    Expectation {
        payload: Payload::Chunked {
            signer: None,
            trailers: true,
        },
        checksum: Some(checksum),
        trailers: vec!["x-amz-checksum-crc32".to_owned()],
        ..expectation(5)
    }
}

#[test]
fn a_checksum_in_a_trailer_is_compared() {
    let right = BASE64.encode(checksum::of_bytes(ChecksumAlgorithm::Crc32, b"hello"));
    assert_eq!(right, "NhCmhg==");
    let wire: &[&[u8]] = &[
        b"5\r\nhel",
        b"lo\r\n0\r\nx-amz-checksum-crc32:NhCm",
        b"hg==\r\n\r\n",
    ];
    assert_eq!(
        outcome(wire, Ending::End, with_trailer()).unwrap().0,
        b"hello"
    );
    let wrong: &[&[u8]] = &[b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"];
    assert_eq!(refusal(wrong, with_trailer()), Code::BadDigest);
    let missing: &[&[u8]] = &[b"5\r\nhello\r\n0\r\n\r\n"];
    assert_eq!(
        refusal(missing, with_trailer()),
        Code::MalformedTrailerError
    );
    let another: &[&[u8]] = &[b"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n"];
    assert_eq!(
        refusal(another, with_trailer()),
        Code::MalformedTrailerError
    );
    let cut: &[&[u8]] = &[b"5\r\nhello\r\n"];
    assert_eq!(refusal(cut, with_trailer()), Code::IncompleteBody);
}

#[test]
fn a_body_that_nobody_wants_is_drained_within_bounds() {
    on_a_reactor(async || {
        let mut small = body(&[b"hello"], Ending::End, expectation(5));
        small.drain_briefly().await;
        assert_eq!(small.wire_bytes(), 5);
        let mut large = body(&[b"hello"], Ending::End, expectation(DRAIN_BYTES_MAX + 1));
        large.drain_briefly().await;
        assert_eq!(large.wire_bytes(), 0);
        let waiting = Expectation {
            waits_for_continue: true,
            ..expectation(5)
        };
        let mut waiting = body(&[b"hello"], Ending::End, waiting);
        waiting.drain_briefly().await;
        assert_eq!(waiting.wire_bytes(), 0);
        let began = reactor::now();
        let mut stalled = body(&[], Ending::Stall, expectation(5));
        stalled.drain_briefly().await;
        assert!(began.elapsed() >= DRAIN_TIME_MAX && began.elapsed() < STALL_MAX);
    });
}

#[test]
fn a_small_body_is_collected_and_a_large_one_refused() {
    on_a_reactor(async || {
        let mut small = body(&[b"he", b"llo"], Ending::End, expectation(5));
        assert_eq!(small.collect(5).await.unwrap(), "hello");
        let mut large = body(&[b"hello"], Ending::End, expectation(5));
        assert_eq!(
            large.collect(4).await.unwrap_err().code,
            Code::MaxMessageLengthExceeded
        );
    });
}

/// Reads a form to its end: what its file held, or what was wrong.
fn form_outcome(
    pieces: &[&'static [u8]],
    ending: Ending,
    lengths: std::ops::RangeInclusive<u64>,
    expected: Expectation,
) -> Result<(Vec<u8>, Digests), Code> {
    on_a_reactor(async || {
        let wire = Wire::Pieces(Pieces::new(pieces, ending));
        let unread = Expectation::unread(&HeaderMap::new());
        let mut body = RequestBody::new(wire, unread, &Md5Queue::default());
        let delimiter = Delimiter::of_media_type("multipart/form-data; boundary=b").unwrap();
        body.open_form(delimiter)
            .await
            .map_err(|fault| fault.code)?;
        body.bound_file(lengths);
        body.expect(expected);
        body.want_checksum(ChecksumAlgorithm::Crc64Nvme);
        let mut whole = Vec::new();
        while let Some(bytes) = body.next().await.map_err(|fault| fault.code)? {
            whole.extend_from_slice(&bytes);
        }
        let digests = body.finish().await.map_err(|fault| fault.code)?;
        Ok((whole, digests))
    })
}

const FORM_HEAD: &[u8] =
    b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhel";

#[test]
fn the_body_of_a_form_is_its_file() {
    let pieces: [&[u8]; 4] = [FORM_HEAD, b"lo\r\n--", b"b--\r", b"\nafter it"];
    let (whole, digests) = form_outcome(&pieces, Ending::End, 5..=5, expectation(99)).unwrap();
    assert_eq!(whole, b"hello");
    assert_eq!((digests.length, digests.md5), (5, md5::digest(b"hello")));
    let crc = checksum::of_bytes(ChecksumAlgorithm::Crc64Nvme, b"hello");
    assert_eq!(digests.checksum, Some((ChecksumAlgorithm::Crc64Nvme, crc)));
    let wrong = Expectation {
        content_md5: Some(md5::digest(b"hello!")),
        ..expectation(99)
    };
    let refused = form_outcome(&pieces, Ending::End, 0..=9, wrong);
    assert_eq!(refused.unwrap_err(), Code::BadDigest);
}

#[test]
fn the_file_of_a_form_is_as_long_as_it_may_be() {
    let pieces: [&[u8]; 2] = [FORM_HEAD, b"lo\r\n--b--\r\n"];
    let code = |lengths| form_outcome(&pieces, Ending::End, lengths, expectation(99)).unwrap_err();
    assert_eq!(code(0..=4), Code::EntityTooLarge);
    assert_eq!(code(6..=9), Code::EntityTooSmall);
    let never = std::ops::RangeInclusive::new(9, 0);
    assert_eq!(code(never), Code::EntityTooLarge);
}

#[test]
fn a_form_that_ends_early_is_not_good() {
    let code = |pieces: &[&'static [u8]], ending| {
        form_outcome(pieces, ending, 0..=9, expectation(99)).unwrap_err()
    };
    assert_eq!(code(&[FORM_HEAD], Ending::End), Code::MalformedPOSTRequest);
    assert_eq!(code(&[FORM_HEAD], Ending::Break), Code::IncompleteBody);
    assert_eq!(code(&[FORM_HEAD], Ending::Stall), Code::RequestTimeout);
    assert_eq!(code(&[b"--b\r\n"], Ending::End), Code::MalformedPOSTRequest);
    assert_eq!(code(&[b"--b\r\n"], Ending::Stall), Code::RequestTimeout);
    // Whoever asks is not known before the fields are there, so that bytes in time do not help.
    let slow = Ending::Trickle(STALL_MAX / 2);
    assert_eq!(code(&[b"--b\r\n"], slow), Code::RequestTimeout);
    // What follows the file is not wanted, but the request must come to its end.
    let whole: [&[u8]; 2] = [FORM_HEAD, b"lo\r\n--b--\r\n"];
    assert_eq!(code(&whole, Ending::Break), Code::IncompleteBody);
}
