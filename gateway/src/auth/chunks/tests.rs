//! The example of AWS's documentation, and everything that can be wrong with a framing.

use proptest::prelude::*;

use super::*;
use crate::signature::{EMPTY_SHA256, Scope, signing_key};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const FIRST: &str = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
const SECOND: &str = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
const LAST: &str = "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9";

fn signer() -> ChunkSigner {
    let scope = Scope {
        date: "20130524".into(),
        region: "us-east-1".into(),
        service: "s3".into(),
    };
    ChunkSigner {
        key: signing_key(SECRET, &scope),
        date_time: "20130524T000000Z".into(),
        scope: scope.to_string(),
        previous: SEED.into(),
    }
}

fn example() -> Vec<u8> {
    let mut wire = format!("10000;chunk-signature={FIRST}\r\n").into_bytes();
    wire.extend(std::iter::repeat_n(b'a', 65536));
    wire.extend_from_slice(format!("\r\n400;chunk-signature={SECOND}\r\n").as_bytes());
    wire.extend(std::iter::repeat_n(b'a', 1024));
    wire.extend_from_slice(format!("\r\n0;chunk-signature={LAST}\r\n\r\n").as_bytes());
    wire
}

type Decoded = Result<(Vec<u8>, Vec<(String, String)>), Code>;

/// Feeds a body in pieces of a size.
fn decode(chunks: &mut Chunks, wire: &[u8], piece: usize) -> Decoded {
    let mut data = Vec::new();
    for piece in wire.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(bytes) = chunks.next(&mut piece).map_err(|fault| fault.code)? {
            data.extend_from_slice(&bytes);
        }
    }
    let trailers = chunks.end().map_err(|fault| fault.code)?;
    Ok((data, trailers))
}

fn signed(wire: &[u8], length: u64, piece: usize) -> Decoded {
    decode(
        &mut Chunks::new(Some(Box::new(signer())), false, length),
        wire,
        piece,
    )
}

fn unsigned(wire: &[u8], length: u64, piece: usize) -> Decoded {
    decode(&mut Chunks::new(None, true, length), wire, piece)
}

#[test]
fn the_example_of_the_documentation_is_accepted_in_any_pieces() {
    for piece in [1, 7, 4096, 1 << 20] {
        let (data, trailers) = signed(&example(), 66560, piece).unwrap();
        assert!(data.len() == 66560 && data.iter().all(|byte| *byte == b'a'));
        assert!(trailers.is_empty());
    }
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let wire = example();
    for at in [5, 30, 200, 65536, wire.len() - 40] {
        let mut wire = wire.clone();
        wire[at] ^= 1;
        assert!(signed(&wire, 66560, 4096).is_err(), "byte {at}");
    }
}

#[test]
fn a_chunk_without_a_signature_is_refused() {
    assert_eq!(
        signed(b"1\r\na\r\n0\r\n\r\n", 1, 100),
        Err(Code::InvalidRequest)
    );
}

#[test]
fn a_body_that_ends_early_is_incomplete() {
    let wire = example();
    for end in [0, 50, 65000, 66700, wire.len() - 100] {
        assert_eq!(
            signed(&wire[..end], 66560, 4096),
            Err(Code::IncompleteBody),
            "{end}"
        );
    }
    let last = format!("0;chunk-signature={LAST}\r\n\r\n");
    assert_eq!(
        signed(last.as_bytes(), 5, 100),
        Err(Code::SignatureDoesNotMatch)
    );
}

#[test]
fn more_or_fewer_bytes_than_said_are_refused() {
    assert_eq!(signed(&example(), 66559, 4096), Err(Code::IncompleteBody));
    assert_eq!(signed(&example(), 66561, 4096), Err(Code::IncompleteBody));
    let huge = b"ffffffffffffffff\r\n";
    assert_eq!(unsigned(huge, 10, 100), Err(Code::IncompleteBody));
}

#[test]
fn unsigned_chunks_bring_their_trailers() {
    let wire = b"5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32: NhCmhg==\r\n\r\n";
    for piece in [1, 3, 100] {
        let (data, trailers) = unsigned(wire, 5, piece).unwrap();
        assert_eq!(data, b"hello");
        assert_eq!(
            trailers,
            [("x-amz-checksum-crc32".to_owned(), "NhCmhg==".to_owned())]
        );
    }
}

#[test]
fn signed_trailers_are_compared() {
    let mut signer = signer();
    let empty = signer.chunk_text(EMPTY_SHA256);
    signer.previous = hex::encode(hmac::sign(&signer.key, empty.as_bytes()));
    let canonical = "x-amz-checksum-crc32:AAAAAA==\n";
    let text = signer.trailer_text(&sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(hmac::sign(&signer.key, text.as_bytes()));
    let wire = |value: &str, signature: &str| {
        format!(
            "0;chunk-signature={}\r\nx-amz-checksum-crc32:{value}\r\n\
             x-amz-trailer-signature:{signature}\r\n\r\n",
            signer.previous
        )
    };
    let decode = |wire: String| {
        decode(
            &mut Chunks::new(Some(Box::new(super::tests::signer())), true, 0),
            wire.as_bytes(),
            9,
        )
    };
    assert!(decode(wire("AAAAAA==", &signature)).is_ok());
    assert_eq!(
        decode(wire("AAAAAQ==", &signature)),
        Err(Code::SignatureDoesNotMatch)
    );
    assert_eq!(
        decode(wire("AAAAAA==", SEED)),
        Err(Code::SignatureDoesNotMatch)
    );
}

#[test]
fn malformed_framing_is_refused() {
    let code = |wire: &[u8]| unsigned(wire, 5, 100).unwrap_err();
    assert_eq!(code(b"x\r\n"), Code::InvalidRequest);
    assert_eq!(code(b"5\nhello"), Code::InvalidRequest);
    assert_eq!(code(b"+5\r\nhello"), Code::InvalidRequest);
    assert_eq!(code(b"5;what=1\r\nhello"), Code::InvalidRequest);
    assert_eq!(code(b"5\r\nhelloXX0\r\n\r\n"), Code::InvalidRequest);
    assert_eq!(code(&[b'0'; 2000]), Code::InvalidRequest);
    assert_eq!(
        code(b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
        Code::MalformedTrailerError
    );
    let mut long = b"5\r\nhello\r\n0\r\n".to_vec();
    long.extend(std::iter::repeat_n(b'a', TRAILER_BYTES_MAX + 1));
    assert_eq!(code(&long), Code::MalformedTrailerError);
}

proptest! {
    #[test]
    fn noise_never_panics(wire in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50_usize) {
        let _ = unsigned(&wire, 1000, piece);
        let _ = signed(&wire, 1000, piece);
    }
}
