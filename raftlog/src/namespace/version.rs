//! Versions: what a bucket keeps of its objects when they are put again or deleted, and the rows of `V` that hold it.
//!
//! Invariants: the object that a GET without a version finds is in `D` and nowhere else; every earlier one, and every delete marker, is a
//! row of `V` under the bucket and the whole key, the newest first; where a key has no entry in `D`, its newest row in `V` is a delete
//! marker; a key has at most one null version, and where that is in `V`, the pointer to it says where.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::entry::Entry;
use super::value::{Damage, FieldWriter, Fields, Row};

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub enum Versioning {
    /// It never has.
    #[default]
    Off,
    /// Every object that is put is a version of its own.
    Enabled,
    /// What is put is the null version, and versions that are there stay.
    Suspended,
}

/// Names a version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub enum VersionId {
    /// The one that was put while the bucket kept no versions.
    Null,
    /// Any other: never 0.
    Of(u128),
}

/// How many digits a version has as text.
const DIGITS: usize = 32;

impl VersionId {
    /// The one with a number in an entry, where 0 is the null version.
    pub(crate) fn of_number(number: u128) -> VersionId {
        match number {
            0 => VersionId::Null,
            number => VersionId::Of(number),
        }
    }

    pub(crate) fn number(self) -> u128 {
        match self {
            VersionId::Null => 0,
            VersionId::Of(number) => number,
        }
    }

    /// Reads the form that `Display` writes; `None` for any other.
    pub fn parse(text: &str) -> Option<VersionId> {
        if text == "null" {
            return Some(VersionId::Null);
        }
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return None;
        }
        let number = u128::from_str_radix(text, 16).ok()?;
        (number > 0).then_some(VersionId::Of(number))
    }
}

impl fmt::Display for VersionId {
    /// `null`, or 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionId::Null => f.write_str("null"),
            VersionId::Of(number) => write!(f, "{number:032x}"),
        }
    }
}

/// Where a version stands among those of its key: the commit sequence of the command that made it, then a number that no other
/// version of that command has. Later ones are greater.
pub(crate) fn position(commit_sequence: u64, number: u64) -> u128 {
    u128::from(commit_sequence) << 64 | u128::from(number)
}

/// A row of `V`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRow {
    /// An object that is not the present one.
    Object(Entry),
    /// A delete marker.
    Marker(Marker),
}

/// A delete marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The version that it is.
    pub version: VersionId,
    /// When it was put, in nanoseconds since the Unix epoch.
    pub modified_nanos: i64,
    /// The account that owns it.
    pub owner: u64,
}

impl VersionRow {
    /// The version that it is.
    pub fn version(&self) -> VersionId {
        match self {
            VersionRow::Object(entry) => entry.version,
            VersionRow::Marker(marker) => marker.version,
        }
    }
}

impl Row for VersionRow {
    fn write(&self, fields: &mut FieldWriter) {
        match self {
            VersionRow::Object(entry) => {
                fields.u8(1);
                entry.write(fields);
            }
            VersionRow::Marker(marker) => {
                fields.u8(2);
                fields.u128(marker.version.number());
                fields.i64(marker.modified_nanos);
                fields.u64(marker.owner);
            }
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<VersionRow, Damage> {
        match fields.u8()? {
            1 => Ok(VersionRow::Object(Entry::read(fields)?)),
            2 => Ok(VersionRow::Marker(Marker {
                version: VersionId::of_number(fields.u128()?),
                modified_nanos: fields.i64()?,
                owner: fields.u64()?,
            })),
            _ => Err(Damage("unknown kind of version")),
        }
    }
}

/// Where the null version of a key stands in `V`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullVersion(pub u128);

impl Row for NullVersion {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u128(self.0);
    }

    fn read(fields: &mut Fields<'_>) -> Result<NullVersion, Damage> {
        Ok(NullVersion(fields.u128()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_shown() {
        for version in [VersionId::Null, VersionId::Of(1), VersionId::Of(u128::MAX)] {
            assert_eq!(VersionId::parse(&version.to_string()), Some(version));
        }
        let zero = "0".repeat(32);
        let upper = "A".repeat(32);
        let signed = format!("+{}", "1".repeat(31));
        for text in ["", "Null", "1", &zero, &upper, &signed, &"1".repeat(33)] {
            assert_eq!(VersionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn later_versions_are_greater() {
        assert!(position(1, u64::MAX) < position(2, 0));
        assert!(position(2, 1) < position(2, 2));
    }
}
