//! Commands about the tags of objects.
//!
//! Invariants: those of [`tags`](crate::namespace::tags). Which version gets the tags is decided when the command is applied, and the
//! answer names it; a delete marker has none.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{Answer, SetObjectTags};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::tags::{Tag, TagsRow};

impl Change<'_, '_> {
    pub(super) fn set_object_tags(&mut self, command: &SetObjectTags) -> Outcome {
        self.check_tags(&command.tags)?;
        let mut named = self.named_version(command.bucket, &command.key, command.version)?;
        let version = named.entry.version;
        if command.tags.is_empty() {
            if named.entry.tag_count == 0 {
                return Ok(Answer::tagged(version));
            }
            self.delete(&key::x_kind(named.entry.inode, key::X_TAGS))?;
        }
        named.entry.tag_count = self.put_tags(named.entry.inode, &command.tags)?;
        self.put_named(named)?;
        Ok(Answer::tagged(version))
    }

    /// Writes the tags of an inode, where there are some, in place of those that may be there; how many.
    pub(super) fn put_tags(&mut self, inode: u64, tags: &[Tag]) -> Result<u8, StoreError> {
        if !tags.is_empty() {
            let row = TagsRow(tags.to_vec());
            self.put(&key::x_kind(inode, key::X_TAGS), &row)?;
        }
        Ok(tags.len() as u8)
    }

    pub(super) fn check_tags(&self, tags: &[Tag]) -> Outcome<()> {
        if tags.len() > self.limits.object_tags_max {
            return invalid("an object has at most 10 tags");
        }
        let bytes = tags.iter().map(|tag| tag.key.len() + tag.value.len() + 8);
        if bytes.sum::<usize>() > self.limits.attributes_bytes_max {
            return invalid("the tags of an object have at most 16 KiB");
        }
        Ok(())
    }
}
