//! Bodies that are gone: dropped by one row, released a bounded number of rows at a time.
//!
//! Invariants: dropping a body costs the same however long it is; a row of extents is deleted only once the chunks of its body
//! have been freed, and is then taken off the packs that it names; the row of `F` goes with the last row of its body; the body of an object is
//! dropped only with a [`Removable`], since no other module can drop an inode.

use super::repoint::Unpacked;
use super::{Change, Outcome, invalid};
use crate::namespace::body::{DroppedRow, DroppedScope, ExtentRow, INLINE_ROW_BYTES};
use crate::namespace::command::{Answer, DroppedKey, Release, ReleaseBodies};
use crate::namespace::key;
use crate::namespace::object_lock::Removable;
use crate::namespace::store::StoreError;
use crate::namespace::value;

impl Change<'_, '_> {
    /// Drops the body of an object that no row names any more, and its place.
    pub(super) fn drop_object(
        &mut self,
        bucket: u64,
        object: &Removable<'_>,
    ) -> Result<(), StoreError> {
        let entry = object.entry();
        self.drop_inode(entry.inode)?;
        self.delete(&key::inode(entry.inode))?;
        self.count_deleted(bucket, entry.size);
        Ok(())
    }

    /// Drops all that an inode has in `X`: its first few rows at once, the rest, once its chunks have been freed, by its row of
    /// `F`.
    fn drop_inode(&mut self, inode: u64) -> Result<(), StoreError> {
        // The attributes, all of an inline body, the tags, and the access list.
        let rows_at_once = 3 + self.limits.inline_bytes_max.div_ceil(INLINE_ROW_BYTES);
        let mut rows = 0;
        let mut goes_now = |row_key: &[u8]| {
            rows += 1;
            let kind = key::parse_x(row_key).map(|(_, kind, ..)| kind);
            let is_short =
                |kind| kind < key::X_EXTENTS || matches!(kind, key::X_TAGS | key::X_ACCESS_LIST);
            rows <= rows_at_once && kind.is_some_and(is_short)
        };
        self.wrote = true;
        let deleted = self
            .table
            .delete_first(self.txn, &key::x(inode), &mut goes_now)?;
        match deleted.all {
            true => Ok(()),
            false => self.queue_dropped(inode, DroppedScope::Inode),
        }
    }

    /// Drops an upload: as an inode, with its parts.
    pub(super) fn drop_upload(&mut self, upload: u64) -> Result<(), StoreError> {
        match self.table.any(self.txn, &key::parts(upload))? {
            true => self.queue_dropped(upload, DroppedScope::Inode),
            false => self.drop_inode(upload),
        }
    }

    /// Drops the body in a space of an inode; the rows that have gone with it.
    pub(super) fn drop_space(&mut self, inode: u64, space: u32) -> Result<usize, StoreError> {
        let inline = self.delete_prefix(&key::x_space(inode, key::X_INLINE, space))?;
        let extents = key::x_space(inode, key::X_EXTENTS, space);
        if inline == 0 && self.table.any(self.txn, &extents)? {
            self.queue_dropped(inode, DroppedScope::Space(space))?;
        }
        Ok(inline)
    }

    pub(super) fn queue_dropped(
        &mut self,
        inode: u64,
        scope: DroppedScope,
    ) -> Result<(), StoreError> {
        let key = DroppedKey {
            commit_sequence: self.sequence,
            index: self.dropped_bodies,
        };
        self.dropped_bodies += 1;
        self.put(&key::dropped(key), &DroppedRow { inode, scope })
    }

    pub(super) fn release_bodies(&mut self, command: &ReleaseBodies) -> Outcome {
        if command.releases.len() > self.limits.release_bodies_max {
            return invalid("a command releases at most 64 bodies");
        }
        let mut budget = self.limits.release_rows_max;
        for release in &command.releases {
            self.release(release, &mut budget)?;
        }
        Ok(Answer::Done)
    }

    fn release(&mut self, release: &Release, budget: &mut usize) -> Result<(), StoreError> {
        let Some(DroppedRow { inode, scope }) = self.view().dropped_row(release.body)? else {
            return Ok(());
        };
        let below = (release.space, release.offset);
        let released = match scope {
            DroppedScope::Inode => {
                self.release_rows(&key::x(inode), below, budget)?
                    && self.release_parts(inode, None, budget)?
            }
            DroppedScope::Space(space) => {
                self.release_rows(&key::x_space(inode, key::X_EXTENTS, space), below, budget)?
            }
            DroppedScope::Parts => {
                // Of an object that is gone by now, everything is released by its own row.
                let used = match self.view().place(inode)? {
                    Some(_) => Some(self.view().spaces_used(inode)?),
                    None => None,
                };
                self.release_parts(inode, used.as_deref(), budget)?
            }
            DroppedScope::Moved(moved) => {
                let mut unpacked = Unpacked::default();
                unpacked.note(moved.home_inode, moved.length);
                self.unpack(unpacked)?;
                true
            }
        };
        if released {
            self.delete(&key::dropped(release.body))?;
        }
        Ok(())
    }

    /// Deletes the rows under a prefix in `X` up to the first one of extents that is not below the place given, as many as the
    /// budget allows. Says whether none is left.
    fn release_rows(
        &mut self,
        prefix: &[u8],
        below: (u32, u64),
        budget: &mut usize,
    ) -> Result<bool, StoreError> {
        let mut scan = self.table.scan(self.txn, prefix, prefix)?;
        let (mut last, mut rows, mut all) = (None, 0, true);
        let mut unpacked = Unpacked::default();
        while let Some((row_key, value)) = scan.next_raw()? {
            let (_, kind, space, offset) = parse_x(row_key)?;
            if rows == *budget || (kind == key::X_EXTENTS && (space, offset) >= below) {
                all = false;
                break;
            }
            if kind == key::X_EXTENTS {
                let ExtentRow(extents) = value::open(row_key, value)?;
                let extents = extents.iter();
                extents.for_each(|extent| unpacked.note(extent.home_inode, extent.length));
            }
            (last, rows) = (Some(row_key), rows + 1);
        }
        let end = last.map(|last| [last, &[0]].concat());
        drop(scan);
        if let Some(end) = end {
            self.wrote = true;
            *budget -= self.table.delete_range(self.txn, prefix, &end)?;
        }
        self.unpack(unpacked)?;
        Ok(all)
    }

    /// Deletes the rows of parts, as many as the budget allows; those in none of the spaces `used` become bodies to drop, where
    /// that is given. Says whether none is left.
    fn release_parts(
        &mut self,
        upload: u64,
        used: Option<&[u32]>,
        budget: &mut usize,
    ) -> Result<bool, StoreError> {
        let parts = self.view().parts(upload, 0, *budget + 1)?;
        for (number, part) in parts {
            if *budget == 0 {
                return Ok(false);
            }
            let mut rows = 1;
            if used.is_some_and(|used| used.binary_search(&part.space).is_err()) {
                rows += self.drop_space(upload, part.space)?;
            }
            self.delete(&key::part(upload, number))?;
            *budget = budget.saturating_sub(rows);
        }
        Ok(true)
    }
}

fn parse_x(row_key: &[u8]) -> Result<(u64, u8, u32, u64), StoreError> {
    key::parse_x(row_key)
        .ok_or_else(|| StoreError::Invariant("a key in `X` is malformed".to_owned()))
}
