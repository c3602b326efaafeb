//! Changes of the tree: directories come with the keys that need them and go with the last.

use super::{Change, Outcome, invalid};
use crate::namespace::entry::{Entry, Place, PlaceKind};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::view::split_key;

/// What there is on the way to an object.
pub(super) struct Found {
    /// The directory that holds its entry, or would.
    pub(super) directory: Option<u64>,
    pub(super) entry: Option<Entry>,
}

impl Change<'_, '_> {
    /// The object under a key.
    pub(super) fn find_object(&self, bucket: u64, key: &[u8]) -> Result<Found, StoreError> {
        let view = self.view();
        let directory = view.directory_of(bucket, key)?;
        let entry = match directory {
            Some(directory) => view.object_entry_in(directory, key)?,
            None => None,
        };
        Ok(Found { directory, entry })
    }

    /// Puts an object's entry under a key, with the directories that are missing.
    pub(super) fn link(
        &mut self,
        bucket: u64,
        key: &[u8],
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let (directories, name) = split_key(key);
        let mut parent = bucket;
        for segment in directories {
            let known = self.view().entry(parent, segment)?;
            parent = match known {
                Some(directory) => directory.inode,
                None => {
                    let directory = self.new_directory(true, entry.owner);
                    self.link_in(parent, segment, &directory)?;
                    directory.inode
                }
            };
        }
        self.link_in(parent, name, entry)
    }

    /// Puts an entry into a directory.
    pub(super) fn link_in(
        &mut self,
        parent: u64,
        segment: &[u8],
        entry: &Entry,
    ) -> Result<(), StoreError> {
        self.put(&key::entry(parent, segment), entry)?;
        let place = Place {
            kind: PlaceKind::Name,
            parent,
            segment: segment.to_vec(),
        };
        self.put(&key::inode(entry.inode), &place)
    }

    /// Takes an entry out of a directory. The directory stays, though it may be empty now: see
    /// [`prune`](Change::prune).
    pub(super) fn unlink(
        &mut self,
        parent: u64,
        segment: &[u8],
        inode: u64,
    ) -> Result<(), StoreError> {
        self.delete(&key::entry(parent, segment))?;
        self.delete(&key::inode(inode))?;
        Ok(())
    }

    /// Takes a directory away that is empty and was made for a key, and those above it that this leaves empty, up to the
    /// bucket.
    pub(super) fn prune(&mut self, bucket: u64, directory: u64) -> Result<(), StoreError> {
        let mut inode = directory;
        while inode != bucket && self.view().is_empty_directory(inode)? {
            match self.directory_entry(inode)? {
                Some((place, entry)) if entry.implicit => {
                    self.unlink(place.parent, &place.segment, inode)?;
                    inode = place.parent;
                }
                // It was made for itself, or is gone already.
                Some(_) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether bytes may be an object's key.
    pub(super) fn check_key(&self, key: &[u8]) -> Outcome<()> {
        if key.is_empty() || key.len() > self.limits.key_bytes_max {
            return invalid("a key has 1 to 1,024 bytes");
        }
        Ok(())
    }

    /// A directory's entry by its inode; `None` for the root.
    fn directory_entry(&self, inode: u64) -> Result<Option<(Place, Entry)>, StoreError> {
        let view = self.view();
        let Some(place) = view.place(inode)? else {
            return Ok(None);
        };
        match view.entry(place.parent, &place.segment)? {
            Some(entry) => Ok(Some((place, entry))),
            None => Err(StoreError::Invariant(format!(
                "inode {inode} has a place but no entry"
            ))),
        }
    }
}
