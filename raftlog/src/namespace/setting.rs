//! The settings of a bucket. Each is a row of `X` under the bucket's inode, of a kind that is its number, and holds a document that
//! the front end has checked. They go with the bucket.
//!
//! Invariant: a setting keeps its number and the form of its document; another form is another number.

use super::value::{Damage, FieldWriter, Fields, Row};

/// The numbers that settings have: kinds of `X` beyond those of bodies.
pub const SETTINGS: std::ops::RangeInclusive<u8> = 16..=127;

/// The tags of a bucket: a document `Tagging` of S3.
pub const TAGS: u8 = 16;

/// The rules of a bucket for cross-origin requests: a document `CORSConfiguration` of S3.
pub const CORS: u8 = 17;

/// The policy of a bucket: a document in AWS's policy language, as it was sent.
pub const POLICY: u8 = 18;

/// The block of public access of a bucket: a document `PublicAccessBlockConfiguration` of S3.
pub const PUBLIC_ACCESS_BLOCK: u8 = 19;

/// Whose the objects of a bucket are, and whether access lists count: a document `OwnershipControls` of S3. One without a rule says that they were
/// removed; a bucket without the row has what new buckets have.
pub const OWNERSHIP: u8 = 21;

/// The access list of a bucket: a document `AccessControlPolicy` of S3. A bucket without the row has the one that grants its owner everything.
pub const ACCESS_LIST: u8 = 22;

/// The document of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingRow(pub Vec<u8>);

impl Row for SettingRow {
    fn write(&self, fields: &mut FieldWriter) {
        fields.raw(&self.0);
    }

    fn read(fields: &mut Fields<'_>) -> Result<SettingRow, Damage> {
        Ok(SettingRow(fields.rest().to_vec()))
    }
}
