//! A version that a command names, so that its entry is changed in place.

use super::{Change, Outcome};
use crate::namespace::command::Refusal;
use crate::namespace::entry::Entry;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::version::{VersionId, VersionRow};
use crate::namespace::view::split_key;

/// An object, present or not, with the key of the row that holds its entry.
pub(super) struct NamedVersion {
    pub(super) entry: Entry,
    row: RowKey,
}

enum RowKey {
    Present(Vec<u8>),
    Earlier(Vec<u8>),
}

impl Change<'_, '_> {
    /// The object that is a version of a key, or is its newest one. A delete marker is none.
    pub(super) fn named_version(
        &self,
        bucket: u64,
        object_key: &[u8],
        version: Option<VersionId>,
    ) -> Outcome<NamedVersion> {
        self.check_key(object_key)?;
        self.bucket(bucket)?;
        let found = self.find_object(bucket, object_key)?;
        if let (Some(directory), Some(entry)) = (found.directory, found.entry)
            && version.is_none_or(|asked| asked == entry.version)
        {
            let row = RowKey::Present(key::entry(directory, split_key(object_key).1));
            return Ok(NamedVersion { entry, row });
        }
        let (earlier, absent) = match version {
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
                let row = RowKey::Earlier(key::version(bucket, object_key, at));
                Ok(NamedVersion { entry, row })
            }
        }
    }

    /// Writes what is changed of an object, and that it was changed now.
    pub(super) fn put_named(&mut self, named: NamedVersion) -> Result<(), StoreError> {
        let entry = Entry {
            changed_nanos: self.now(),
            change_counter: named.entry.change_counter + 1,
            ..named.entry
        };
        match named.row {
            RowKey::Present(row) => self.put(&row, &entry),
            RowKey::Earlier(row) => self.put(&row, &VersionRow::Object(entry)),
        }
    }
}
