//! Tags of objects: keys and values that come with an object, or are set later without a change of anything else.
//!
//! Invariants: the tags of an object are one row of `X` under its inode, so that a version that is put aside or comes back keeps them
//! and an inode that goes takes them along; its entry says how many there are, of an upload its row, and where that says none there
//! is no row: reading an object without tags looks for none; setting tags changes neither the body, nor the ETag, nor the time of
//! modification, nor where a version stands among those of its key.

use rkyv::{Archive, Deserialize, Serialize};

use super::value::{Damage, FieldWriter, Fields, Row};

/// Tags of an object at most.
pub const OBJECT_TAGS_MAX: usize = 10;

/// A tag of an object or a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value, which may be empty.
    pub value: String,
}

/// The tags of an object, in the order in which they were set; never none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TagsRow(pub Vec<Tag>);

impl Row for TagsRow {
    fn write(&self, fields: &mut FieldWriter) {
        for tag in &self.0 {
            fields.bytes(tag.key.as_bytes());
            fields.bytes(tag.value.as_bytes());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<TagsRow, Damage> {
        let mut tags = Vec::new();
        while !fields.is_empty() {
            tags.push(Tag {
                key: fields.string()?,
                value: fields.string()?,
            });
        }
        match tags.is_empty() {
            true => Err(Damage("a row of no tags")),
            false => Ok(TagsRow(tags)),
        }
    }
}
