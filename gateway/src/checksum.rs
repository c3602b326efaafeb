//! Additional checksums: what a request asks for, computing, comparing, combining.
//!
//! Invariants: a value that the client sent is compared before anything is committed; what is
//! stored was computed here, never taken over.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::{HeaderMap, HeaderName, HeaderValue};
use strata_raftlog::namespace::{Checksum, ChecksumAlgorithm, ChecksumKind};

use crate::error::{Code, Fault};
use crate::xml;

/// All algorithms with AWS's name and the header that carries a value.
pub const ALGORITHMS: [(ChecksumAlgorithm, &str, &str); 5] = [
    (ChecksumAlgorithm::Crc32, "CRC32", "x-amz-checksum-crc32"),
    (ChecksumAlgorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c"),
    (
        ChecksumAlgorithm::Crc64Nvme,
        "CRC64NVME",
        "x-amz-checksum-crc64nvme",
    ),
    (ChecksumAlgorithm::Sha1, "SHA1", "x-amz-checksum-sha1"),
    (ChecksumAlgorithm::Sha256, "SHA256", "x-amz-checksum-sha256"),
];

/// What is computed where the client names nothing, as AWS does.
pub const DEFAULT: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

/// AWS's name of an algorithm.
pub fn name_of(algorithm: ChecksumAlgorithm) -> &'static str {
    let found = ALGORITHMS.iter().find(|(known, ..)| *known == algorithm);
    found.map_or("", |(_, name, _)| name)
}

/// Algorithms that AWS has and this server does not serve.
const NOT_SERVED: [&str; 5] = ["MD5", "SHA512", "XXHASH3", "XXHASH64", "XXHASH128"];

/// Refuses the name of an algorithm that is AWS's and not served.
///
/// # Errors
/// `NotImplemented`.
pub fn refuse_not_served(name: &str) -> Result<(), Fault> {
    let is_named = |known: &&&str| known.eq_ignore_ascii_case(name);
    match NOT_SERVED.iter().find(is_named) {
        None => Ok(()),
        Some(known) => Err(Fault::not_implemented(format!(
            "The checksum algorithm {known}"
        ))),
    }
}

/// The algorithm of AWS's name.
pub fn by_name(name: &str) -> Option<ChecksumAlgorithm> {
    let found = ALGORITHMS
        .iter()
        .find(|(_, known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(algorithm, ..)| *algorithm)
}

/// The algorithm whose values a header carries.
pub fn by_header(header: &str) -> Option<ChecksumAlgorithm> {
    let found = ALGORITHMS
        .iter()
        .find(|(.., known)| known.eq_ignore_ascii_case(header));
    found.map(|(algorithm, ..)| *algorithm)
}

/// Adds the value of a checksum to the headers of an answer.
pub fn add_value(headers: &mut HeaderMap, checksum: &Checksum) {
    let known = ALGORITHMS
        .iter()
        .find(|(known, ..)| *known == checksum.algorithm);
    if let Some((.., name)) = known
        && let Ok(value) = HeaderValue::from_str(&text_of(checksum))
    {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Adds the value and the kind of a checksum to the headers of an answer.
pub fn add(headers: &mut HeaderMap, checksum: &Checksum) {
    add_value(headers, checksum);
    let kind = HeaderValue::from_static(kind_name(checksum.kind));
    headers.insert(HeaderName::from_static("x-amz-checksum-type"), kind);
}

/// Writes the value of a checksum into a document.
pub fn write(xml: &mut xml::Writer, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum {
        let element = format!("Checksum{}", name_of(checksum.algorithm));
        xml.element(&element, &text_of(checksum));
    }
}

/// AWS's name of a kind.
pub fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// The kind of AWS's name.
pub fn kind_by_name(name: &str) -> Option<ChecksumKind> {
    match name {
        "FULL_OBJECT" => Some(ChecksumKind::FullObject),
        "COMPOSITE" => Some(ChecksumKind::Composite),
        _ => None,
    }
}

/// The kind that a multipart upload has where the client names none.
pub fn default_kind(algorithm: ChecksumAlgorithm) -> ChecksumKind {
    match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
        _ => ChecksumKind::Composite,
    }
}

/// Whether an upload may have that kind of that algorithm: a CRC64NVME is of the whole object
/// alone, a SHA never is, because it cannot be combined.
pub fn kind_is_possible(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> bool {
    match algorithm {
        ChecksumAlgorithm::Crc64Nvme => kind == ChecksumKind::FullObject,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => kind == ChecksumKind::Composite,
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
    }
}

/// A value as it stands in a header: base64, and the number of parts where it is a composite.
pub fn text_of(checksum: &Checksum) -> String {
    let value = BASE64.encode(&checksum.value);
    match checksum.kind {
        ChecksumKind::Composite if checksum.part_count > 0 => {
            format!("{value}-{}", checksum.part_count)
        }
        _ => value,
    }
}

/// Reads a value of an algorithm.
///
/// # Errors
/// `InvalidRequest`, as AWS says it, where it is not base64 or not as long as it must be.
pub fn parse_value(algorithm: ChecksumAlgorithm, text: &str) -> Result<Vec<u8>, Fault> {
    let decoded = BASE64.decode(text).ok();
    decoded
        .filter(|value| value.len() == algorithm.value_bytes())
        .ok_or_else(|| {
            let name = name_of(algorithm).to_ascii_lowercase();
            Fault::new(
                Code::InvalidRequest,
                format!("Value for x-amz-checksum-{name} header is invalid."),
            )
        })
}

/// Where the value that a client declares comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// In a header, with this value.
    Value(Vec<u8>),
    /// In a trailer after the body.
    Trailer,
}

/// The checksum that a request declares for its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// The value, or where it will come from.
    pub declared: Declared,
}

/// What the headers of a request with a body declare.
///
/// # Errors
/// `InvalidRequest` for more than one, a malformed value, or `x-amz-sdk-checksum-algorithm` that
/// names another algorithm or nothing at all.
pub fn declaration(headers: &HeaderMap, trailers: &[String]) -> Result<Option<Declaration>, Fault> {
    let mut found = Vec::new();
    for (algorithm, _, header) in ALGORITHMS {
        if let Some(value) = headers.get(header) {
            let text = value.to_str().unwrap_or_default();
            let text = text.split_once('-').map_or(text, |(value, _)| value);
            let declared = Declared::Value(parse_value(algorithm, text)?);
            found.push(Declaration {
                algorithm,
                declared,
            });
        }
    }
    for trailer in trailers {
        let trailer = trailer.to_ascii_lowercase();
        if let Some(name) = trailer.strip_prefix("x-amz-checksum-") {
            refuse_not_served(name)?;
        }
        if let Some(algorithm) = by_header(&trailer) {
            found.push(Declaration {
                algorithm,
                declared: Declared::Trailer,
            });
        }
    }
    if found.len() > 1 {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    let found = found.pop();
    agree(headers, found.as_ref())?;
    Ok(found)
}

fn agree(headers: &HeaderMap, found: Option<&Declaration>) -> Result<(), Fault> {
    let Some(named) = headers.get("x-amz-sdk-checksum-algorithm") else {
        return Ok(());
    };
    let named = named.to_str().unwrap_or_default();
    refuse_not_served(named)?;
    let named = by_name(named).ok_or_else(|| {
        Fault::new(
            Code::InvalidRequest,
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        )
    })?;
    match found {
        Some(declaration) if declaration.algorithm == named => Ok(()),
        Some(_) => Err(Fault::new(
            Code::InvalidRequest,
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        )),
        // Announced for a trailer that does not come, as the Java SDK does without chunks.
        None if headers.contains_key("x-amz-trailer") => Ok(()),
        None => Err(Fault::new(
            Code::InvalidRequest,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
             x-amz-trailer headers were found.",
        )),
    }
}

/// `Content-MD5` of a request.
///
/// # Errors
/// `InvalidDigest` where it is not base64 of 16 bytes.
pub fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, Fault> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let decoded = BASE64.decode(value.as_bytes()).ok();
    let digest = decoded.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    digest.map(Some).ok_or_else(|| {
        Fault::new(
            Code::InvalidDigest,
            "The Content-MD5 you specified was invalid.",
        )
    })
}

/// One checksum over a stream.
#[derive(Clone)]
pub struct Hasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Clone)]
enum State {
    Crc(Box<crc_fast::Digest>),
    Sha(digest::Context),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Hasher {
    /// Begins.
    pub fn new(algorithm: ChecksumAlgorithm) -> Hasher {
        let state = match crc_algorithm(algorithm) {
            Some(crc) => State::Crc(Box::new(crc_fast::Digest::new(crc))),
            None if algorithm == ChecksumAlgorithm::Sha1 => {
                State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            }
            None => State::Sha(digest::Context::new(&digest::SHA256)),
        };
        Hasher { algorithm, state }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha(context) => context.update(bytes),
        }
    }

    /// The value, big endian.
    pub fn finish(self) -> Vec<u8> {
        match self.state {
            State::Crc(digest) => crc_bytes(self.algorithm, digest.finalize()),
            State::Sha(context) => context.finish().as_ref().to_vec(),
        }
    }
}

/// The checksum of some bytes.
pub fn of_bytes(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// A checksum of a whole body.
pub fn full_object(algorithm: ChecksumAlgorithm, value: Vec<u8>) -> Checksum {
    Checksum {
        algorithm,
        kind: ChecksumKind::FullObject,
        value,
        part_count: 0,
    }
}

/// The checksum of an upload, made from those of its parts in their order.
#[derive(Debug)]
pub struct OfParts {
    algorithm: ChecksumAlgorithm,
    whole: Whole,
    part_count: u32,
}

#[derive(Debug)]
enum Whole {
    /// The CRC of all bytes so far.
    FullObject(CrcAlgorithm, u64),
    Composite(Hasher),
    /// The algorithm has no checksum of this kind.
    Impossible,
}

impl OfParts {
    /// Begins.
    pub fn new(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> OfParts {
        let whole = match (kind, crc_algorithm(algorithm)) {
            (ChecksumKind::FullObject, Some(crc)) => Whole::FullObject(crc, 0),
            (ChecksumKind::FullObject, None) => Whole::Impossible,
            (ChecksumKind::Composite, _) => Whole::Composite(Hasher::new(algorithm)),
        };
        OfParts {
            algorithm,
            whole,
            part_count: 0,
        }
    }

    /// Adds the next part with its length in bytes; `None` where it has no checksum of the algorithm.
    pub fn add(&mut self, length: u64, checksum: Option<&Checksum>) -> Option<()> {
        let checksum = checksum.filter(|checksum| checksum.algorithm == self.algorithm)?;
        match &mut self.whole {
            Whole::FullObject(crc, so_far) => {
                let number = crc_number(&checksum.value)?;
                *so_far = match self.part_count {
                    0 => number,
                    _ => crc_fast::checksum_combine(*crc, *so_far, number, length),
                };
            }
            Whole::Composite(hasher) => hasher.update(&checksum.value),
            Whole::Impossible => return None,
        }
        self.part_count += 1;
        Some(())
    }

    /// The checksum; `None` where there were no parts.
    pub fn finish(self) -> Option<Checksum> {
        let algorithm = self.algorithm;
        match self.whole {
            _ if self.part_count == 0 => None,
            Whole::FullObject(_, number) => {
                Some(full_object(algorithm, crc_bytes(algorithm, number)))
            }
            Whole::Composite(hasher) => Some(Checksum {
                algorithm,
                kind: ChecksumKind::Composite,
                value: hasher.finish(),
                part_count: self.part_count,
            }),
            Whole::Impossible => None,
        }
    }
}

fn crc_algorithm(algorithm: ChecksumAlgorithm) -> Option<CrcAlgorithm> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
        ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

fn crc_bytes(algorithm: ChecksumAlgorithm, number: u64) -> Vec<u8> {
    number.to_be_bytes()[8 - algorithm.value_bytes()..].to_vec()
}

fn crc_number(value: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes
        .get_mut(8_usize.checked_sub(value.len())?..)?
        .copy_from_slice(value);
    Some(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_parts(
        algorithm: ChecksumAlgorithm,
        kind: ChecksumKind,
        parts: &[(u64, Option<&Checksum>)],
    ) -> Option<Checksum> {
        let mut whole = OfParts::new(algorithm, kind);
        for (length, checksum) in parts {
            whole.add(*length, *checksum)?;
        }
        whole.finish()
    }

    #[test]
    fn known_values() {
        let text = |algorithm| BASE64.encode(of_bytes(algorithm, b"123456789"));
        assert_eq!(
            of_bytes(ChecksumAlgorithm::Crc32, b"123456789"),
            0xcbf4_3926_u32.to_be_bytes()
        );
        assert_eq!(
            of_bytes(ChecksumAlgorithm::Crc32c, b"123456789"),
            0xe306_9283_u32.to_be_bytes()
        );
        let crc64 = 0xae8b_1486_0a79_9888_u64;
        assert_eq!(
            of_bytes(ChecksumAlgorithm::Crc64Nvme, b"123456789"),
            crc64.to_be_bytes()
        );
        assert_eq!(
            text(ChecksumAlgorithm::Sha1),
            "98O8HYCOBHMq32eZZczDTKeuNEE="
        );
        assert_eq!(of_bytes(ChecksumAlgorithm::Sha256, b"").len(), 32);
    }

    proptest! {
        #[test]
        fn combined_crcs_are_those_of_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        ) {
            for algorithm in
                [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme]
            {
                let sums: Vec<_> = parts
                    .iter()
                    .map(|part| full_object(algorithm, of_bytes(algorithm, part)))
                    .collect();
                let list: Vec<_> = parts
                    .iter()
                    .zip(&sums)
                    .map(|(part, sum)| (part.len() as u64, Some(sum)))
                    .collect();
                let whole = of_parts(algorithm, ChecksumKind::FullObject, &list).unwrap();
                prop_assert_eq!(whole.value, of_bytes(algorithm, &parts.concat()));
            }
        }
    }

    #[test]
    fn a_composite_counts_its_parts() {
        let sum = |bytes: &[u8]| {
            full_object(
                ChecksumAlgorithm::Sha256,
                of_bytes(ChecksumAlgorithm::Sha256, bytes),
            )
        };
        let (first, second) = (sum(b"a"), sum(b"b"));
        let parts = [(1, Some(&first)), (1, Some(&second))];
        let whole = of_parts(ChecksumAlgorithm::Sha256, ChecksumKind::Composite, &parts).unwrap();
        assert!(text_of(&whole).ends_with("-2"));
        assert_eq!(
            of_parts(ChecksumAlgorithm::Sha1, ChecksumKind::Composite, &parts),
            None
        );
        assert_eq!(
            of_parts(ChecksumAlgorithm::Sha256, ChecksumKind::FullObject, &parts),
            None
        );
    }

    #[test]
    fn declarations_are_one_and_agree() {
        let mut headers = HeaderMap::new();
        assert_eq!(declaration(&headers, &[]).unwrap(), None);
        headers.insert(
            "x-amz-sdk-checksum-algorithm",
            HeaderValue::from_static("CRC32"),
        );
        assert!(declaration(&headers, &[]).is_err());
        let trailers = ["x-amz-checksum-crc32".to_owned()];
        let found = declaration(&headers, &trailers).unwrap().unwrap();
        assert_eq!(found.declared, Declared::Trailer);
        headers.insert(
            "x-amz-checksum-sha1",
            HeaderValue::from_static("98O8HYCOBHMq32eZZczDTKeuNEE="),
        );
        assert!(declaration(&headers, &trailers).is_err());
        headers.insert("x-amz-checksum-sha1", HeaderValue::from_static("AAAA"));
        assert!(declaration(&headers, &[]).is_err());
    }

    #[test]
    fn algorithms_that_are_not_served_are_refused_by_name() {
        let trailers = ["X-Amz-Checksum-Md5".to_owned()];
        let fault = declaration(&HeaderMap::new(), &trailers).unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented);
        let mut headers = HeaderMap::new();
        let name = "x-amz-sdk-checksum-algorithm";
        headers.insert(name, HeaderValue::from_static("XXHASH64"));
        let fault = declaration(&headers, &[]).unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented);
        assert!(fault.message.contains("XXHASH64"), "{}", fault.message);
        headers.insert(name, HeaderValue::from_static("ROT13"));
        let fault = declaration(&headers, &[]).unwrap_err();
        assert_eq!(fault.code, Code::InvalidRequest);
    }

    #[test]
    fn content_md5_must_be_16_bytes() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-md5",
            HeaderValue::from_static("1B2M2Y8AsgTpgAmY7PhCfg=="),
        );
        assert_eq!(
            content_md5(&headers).unwrap(),
            Some(crate::md5::digest(b""))
        );
        headers.insert("content-md5", HeaderValue::from_static("AAAA"));
        assert_eq!(content_md5(&headers).unwrap_err().code, Code::InvalidDigest);
    }
}
