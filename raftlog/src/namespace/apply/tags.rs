//! Commands about the tags of objects.
//!
//! Invariants: those of [`tags`](crate::namespace::tags). Which version gets the tags is decided when the command is applied, and the
//! answer names it; a delete marker has none.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{Answer, Refusal, SetObjectTags};
use crate::namespace::entry::Entry;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::tags::{Tag, TagsRow};
use crate::namespace::version::VersionRow;
use crate::namespace::view::split_key;

impl Change<'_, '_> {
    pub(super) fn set_object_tags(&mut self, command: &SetObjectTags) -> Outcome {
        self.check_key(&command.key)?;
        self.check_tags(&command.tags)?;
        let (bucket, object_key) = (command.bucket, &command.key[..]);
        self.bucket(bucket)?;
        let found = self.find_object(bucket, object_key)?;
        if let (Some(directory), Some(entry)) = (found.directory, found.entry)
            && command.version.is_none_or(|asked| asked == entry.version)
        {
            let entry_key = key::entry(directory, split_key(object_key).1);
            let version = entry.version;
            if let Some(changed) = self.change_tags(entry, &command.tags)? {
                self.put(&entry_key, &changed)?;
            }
            return Ok(Answer::tagged(version));
        }
        let (earlier, absent) = match command.version {
            None => (
                self.view().newest_earlier(bucket, object_key)?,
                Refusal::NoSuchKey,
            ),
            Some(version) => (
                self.view().earlier_version(bucket, object_key, version)?,
                Refusal::NoSuchVersion,
            ),
        };
        match earlier {
            None => Err(absent.into()),
            Some((_, VersionRow::Marker(_))) => Err(Refusal::IsDeleteMarker.into()),
            Some((at, VersionRow::Object(entry))) => {
                let version = entry.version;
                if let Some(changed) = self.change_tags(entry, &command.tags)? {
                    let row_key = key::version(bucket, object_key, at);
                    self.put(&row_key, &VersionRow::Object(changed))?;
                }
                Ok(Answer::tagged(version))
            }
        }
    }

    /// Replaces the tags of an object; its entry as it is then to be stored, `None` where it had no tags and gets none.
    fn change_tags(&mut self, entry: Entry, tags: &[Tag]) -> Result<Option<Entry>, StoreError> {
        if tags.is_empty() {
            if entry.tag_count == 0 {
                return Ok(None);
            }
            self.delete(&key::x_kind(entry.inode, key::X_TAGS))?;
        }
        Ok(Some(Entry {
            tag_count: self.put_tags(entry.inode, tags)?,
            changed_nanos: self.now(),
            change_counter: entry.change_counter + 1,
            ..entry
        }))
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
