//! Values: a version byte, the CRC32C (big endian) of key, version and payload, and the payload.
//!
//! Payloads are big endian. A payload that ends early, goes on after its end, or has a reserved
//! field that is not zero is damaged.

use super::body::INLINE_ROW_BYTES;
use super::describe::describe_key;
use crate::namespace::store::StoreError;

/// Bytes in front of the payload.
const HEADER_BYTES: usize = 5;

// A row of an inline body fills a page but for LMDB's header of it, 16 bytes.
const _: () = assert!(HEADER_BYTES + INLINE_ROW_BYTES + 16 == 4096);

/// What is wrong with a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub &'static str);

/// A type that is the payload of a kind of row.
pub(crate) trait Row: Sized {
    /// The version that is written. Every version up to it can be read: a type whose payload has changed asks for
    /// [`Fields::version`].
    const VERSION: u8 = 1;

    /// Appends the payload.
    fn write(&self, fields: &mut FieldWriter);

    /// Reads the payload.
    fn read(fields: &mut Fields<'_>) -> Result<Self, Damage>;
}

/// The value to store under `key`.
pub(crate) fn seal<R: Row>(key: &[u8], row: &R) -> Vec<u8> {
    let mut fields = FieldWriter {
        bytes: vec![0; HEADER_BYTES],
    };
    row.write(&mut fields);
    let mut bytes = fields.bytes;
    let header = header::<R>(key, &bytes[HEADER_BYTES..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    bytes
}

/// What stands in front of the payload of a row under `key`.
pub(crate) fn header<R: Row>(key: &[u8], payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [R::VERSION; HEADER_BYTES];
    header[1..].copy_from_slice(&value_crc(key, R::VERSION, payload).to_be_bytes());
    header
}

/// Verifies and reads the value that lies under `key`.
pub(crate) fn open<R: Row>(key: &[u8], value: &[u8]) -> Result<R, StoreError> {
    let damaged = |Damage(detail)| StoreError::Corrupt {
        key: describe_key(key),
        detail: detail.to_owned(),
    };
    let (version, payload) = payload(key, value).map_err(damaged)?;
    if version > R::VERSION {
        let what = format!("version {version} of the row ({})", describe_key(key));
        return Err(StoreError::NewerFormat(what));
    }
    read_row(version, payload).map_err(damaged)
}

/// Verifies version and CRC alone.
pub(crate) fn verify(key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    payload(key, value)
        .map(|_| ())
        .map_err(|Damage(detail)| StoreError::Corrupt {
            key: describe_key(key),
            detail: detail.to_owned(),
        })
}

/// The CRC at the head of a value, unverified; 0 where there is none.
pub(crate) fn stored_crc(value: &[u8]) -> u32 {
    let crc = value.get(1..).and_then(|rest| rest.first_chunk());
    crc.map_or(0, |crc| u32::from_be_bytes(*crc))
}

fn read_row<R: Row>(version: u8, payload: &[u8]) -> Result<R, Damage> {
    if version == 0 || version > R::VERSION {
        return Err(Damage("unknown version"));
    }
    let mut fields = Fields {
        version,
        bytes: payload,
    };
    let row = R::read(&mut fields)?;
    if !fields.bytes.is_empty() {
        return Err(Damage("bytes after the end"));
    }
    Ok(row)
}

fn payload<'v>(key: &[u8], value: &'v [u8]) -> Result<(u8, &'v [u8]), Damage> {
    let Some((header, payload)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Damage("shorter than its header"));
    };
    let [version, crc @ ..] = *header;
    if u32::from_be_bytes(crc) != value_crc(key, version, payload) {
        return Err(Damage("the CRC does not match"));
    }
    Ok((version, payload))
}

/// The value with a CRC that holds, whatever its payload.
#[cfg(test)]
pub(super) fn sealed_again(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    let crc = value_crc(key, value[0], &value[HEADER_BYTES..]);
    value[1..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    value
}

fn value_crc(key: &[u8], version: u8, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &[version]);
    crc32c::crc32c_append(crc, payload)
}

/// Appends fields to a payload.
pub(crate) struct FieldWriter {
    bytes: Vec<u8>,
}

impl FieldWriter {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Bytes as they are; their length is known otherwise.
    pub(crate) fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// Length (4 bytes) and bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        assert!(
            value.len() <= u32::MAX as usize,
            "a field of a row exceeds 4 GiB"
        );
        self.u32(value.len() as u32);
        self.raw(value);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }
}

/// Reads fields from a payload.
pub(crate) struct Fields<'v> {
    version: u8,
    bytes: &'v [u8],
}

impl<'v> Fields<'v> {
    /// The version of the row that is read.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (array, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(Damage("ends inside a field"))?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Damage> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Damage> {
        self.array().map(u128::from_be_bytes)
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<&'v [u8], Damage> {
        let (bytes, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(Damage("ends inside a field"))?;
        self.bytes = rest;
        Ok(bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'v [u8], Damage> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    pub(crate) fn string(&mut self) -> Result<String, Damage> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Damage("a text that is not UTF-8"))
    }

    /// Reserved bytes.
    pub(crate) fn zeros(&mut self, count: usize) -> Result<(), Damage> {
        if self.raw(count)?.iter().any(|byte| *byte != 0) {
            return Err(Damage("a reserved field is not zero"));
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'v [u8] {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row whose second field came with version 2.
    #[derive(Debug, PartialEq, Eq)]
    struct Grown {
        first: u16,
        second: u16,
    }

    impl Row for Grown {
        const VERSION: u8 = 2;

        fn write(&self, fields: &mut FieldWriter) {
            fields.u16(self.first);
            fields.u16(self.second);
        }

        fn read(fields: &mut Fields<'_>) -> Result<Grown, Damage> {
            Ok(Grown {
                first: fields.u16()?,
                second: if fields.version() < 2 {
                    9
                } else {
                    fields.u16()?
                },
            })
        }
    }

    fn value_of(version: u8, payload: &[u8]) -> Vec<u8> {
        let crc = value_crc(b"key", version, payload);
        [&[version][..], &crc.to_be_bytes(), payload].concat()
    }

    #[test]
    fn older_versions_of_a_row_are_read_and_newer_ones_refused_by_name() {
        let read = |version, payload: &[u8]| open::<Grown>(b"key", &value_of(version, payload));
        let grown = |first, second| Grown { first, second };
        assert_eq!(read(1, &[0, 5]).expect("version 1"), grown(5, 9));
        assert_eq!(read(2, &[0, 5, 0, 6]).expect("version 2"), grown(5, 6));
        assert!(matches!(read(2, &[0, 5]), Err(StoreError::Corrupt { .. })));
        assert!(matches!(
            read(1, &[0, 5, 0, 6]),
            Err(StoreError::Corrupt { .. })
        ));
        assert!(matches!(read(0, &[0, 5]), Err(StoreError::Corrupt { .. })));
        assert!(matches!(read(3, &[0, 5]), Err(StoreError::NewerFormat(_))));
    }
}
