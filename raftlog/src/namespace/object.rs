//! What is known of an object beside its place: ETag, checksum, attributes, body.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::chunk::Extent;

/// The entity tag of an object: a digest, and the number of parts where it is one of digests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct ETag {
    /// MD5 of the body, or of the parts' MD5s.
    pub digest: [u8; 16],
    /// Number of parts of a multipart upload; 0 for an object put in one piece.
    pub part_count: u32,
}

/// As clients know it, in whatever it is part of.
impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ETag {
    /// The tag of an object put in one piece.
    pub fn single(digest: [u8; 16]) -> ETag {
        ETag {
            digest,
            part_count: 0,
        }
    }

    /// Reads the form that `Display` writes, with or without quotation marks; `None` for any other.
    pub fn parse(text: &str) -> Option<ETag> {
        let text = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        let (hex, part_count) = match text.split_once('-') {
            Some((hex, count)) if count.bytes().all(|b| b.is_ascii_digit()) => {
                (hex, count.parse().ok().filter(|n| *n > 0)?)
            }
            Some(_) => return None,
            None => (text, 0),
        };
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; 16];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(ETag { digest, part_count })
    }
}

impl fmt::Display for ETag {
    /// Lower-case hexadecimal, with `-count` for a multipart object; without quotation marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let half = |at: usize| {
            let byte = self.digest[at / 2];
            let digit = if at.is_multiple_of(2) {
                byte >> 4
            } else {
                byte & 15
            };
            DIGITS[usize::from(digit)]
        };
        // One call for all digits: every answer about an object has a tag.
        let text: [u8; 32] = std::array::from_fn(half);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())?;
        match self.part_count {
            0 => Ok(()),
            count => write!(f, "-{count}"),
        }
    }
}

/// The algorithms of additional checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl ChecksumAlgorithm {
    /// Length of a value, in bytes.
    pub fn value_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
            ChecksumAlgorithm::Crc64Nvme => 8,
            ChecksumAlgorithm::Sha1 => 20,
            ChecksumAlgorithm::Sha256 => 32,
        }
    }
}

/// What a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// The whole body.
    FullObject,
    /// The checksums of the parts.
    Composite,
}

/// An additional checksum of an object or a part.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: ChecksumAlgorithm,
    /// What it covers.
    pub kind: ChecksumKind,
    /// The value, big endian, as long as the algorithm says.
    pub value: Vec<u8>,
    /// Number of parts of a composite checksum, else 0.
    pub part_count: u32,
}

/// Storage classes that are accepted; all are stored alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub enum StorageClass {
    /// `STANDARD`.
    #[default]
    Standard,
    /// `REDUCED_REDUNDANCY`.
    ReducedRedundancy,
}

/// Standard headers and user metadata that are given back with an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct ObjectAttributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`: name without the prefix, value; in the order in which they are given back.
    pub user_metadata: Vec<(String, String)>,
    /// The storage class.
    pub storage_class: StorageClass,
}

/// The body of an object or a part.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Body {
    /// No bytes.
    Empty,
    /// The bytes themselves, 1 to [`INLINE_BYTES_MAX`](super::INLINE_BYTES_MAX) of them.
    Inline(Vec<u8>),
    /// Extents from offset 0 on, without gaps; together as long as the body.
    Extents(Vec<Extent>),
}

impl Body {
    /// Length of the body, in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Body::Empty => 0,
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Extents(extents) => extents
                .iter()
                .fold(0, |sum: u64, extent| sum.saturating_add(extent.length)),
        }
    }
}
