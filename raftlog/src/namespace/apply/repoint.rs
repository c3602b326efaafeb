//! Bytes that move: extents and inline bodies of several inodes become extents of one chunk (packing), or an extent gets another
//! chunk of its own, and where they lay is dropped.
//!
//! Invariants: an extent that names a pack, in a row of `X` or as one that has moved in a row of `F`, counts in the row of `C` of
//! its home, and nothing else does; a pack is dropped with the last of them, so that its chunk is freed like that of any other
//! body; where an extent lay is released only after the readers of its inode, so what they have looked up stays readable.

use std::collections::BTreeMap;

use super::{Change, Outcome, invalid};
use crate::namespace::body::{DroppedScope, ExtentRow, MovedExtent, Pack};
use crate::namespace::chunk::{Extent, ExtentKind};
use crate::namespace::command::{
    Answer, ChunkPlace, OldPlace, ReplaceChunk, Repoint, RepointItem, RepointOutcome,
};
use crate::namespace::key;
use crate::namespace::store::StoreError;

/// What extents that go take off their packs: bytes and extents, by home inode.
#[derive(Default)]
pub(super) struct Unpacked(BTreeMap<u64, (u64, u32)>);

impl Unpacked {
    /// An extent goes; one without another home is in no pack.
    pub(super) fn note(&mut self, home_inode: u64, length: u64) {
        if home_inode != 0 {
            let (bytes, extents) = self.0.entry(home_inode).or_default();
            *bytes += length;
            *extents += 1;
        }
    }
}

impl Change<'_, '_> {
    pub(super) fn repoint(&mut self, command: &Repoint) -> Outcome {
        self.check_repoint(command)?;
        let (mut bytes, mut live_extents) = (0, 0);
        let mut outcomes = Vec::with_capacity(command.items.len());
        for item in &command.items {
            let outcome = self.repoint_item(command, item)?;
            if outcome == RepointOutcome::Moved {
                bytes += u64::from(item.length);
                live_extents += 1;
            }
            outcomes.push(outcome);
        }
        if live_extents > 0 {
            let chunk = key::x_at(command.home, key::X_EXTENTS, 0, 0);
            self.put(&chunk, &ExtentRow(vec![command.chunk.clone()]))?;
            let pack = Pack {
                bytes,
                live_bytes: bytes,
                live_extents,
            };
            self.put(&key::pack(command.home), &pack)?;
        }
        Ok(Answer::Repointed(outcomes))
    }

    pub(super) fn replace_chunk(&mut self, command: &ReplaceChunk) -> Outcome {
        let new = &command.new;
        self.check_extents(std::slice::from_ref(new))?;
        if new.kind != ExtentKind::Chunk || !is_whole(new) || new.home_inode != 0 {
            return invalid("an extent is given a whole chunk of its own");
        }
        if self.view().place(command.inode)?.is_none() {
            return Ok(Answer::Repointed(vec![RepointOutcome::Gone]));
        }
        let at = (command.inode, command.space, command.offset);
        let old = ChunkPlace {
            chunk: command.old,
            offset: 0,
        };
        let belongs_to_it = self
            .view()
            .extent_at(at.0, at.1, at.2)?
            .is_some_and(|extent| extent.home_inode == 0);
        let has_moved = belongs_to_it && self.move_extent(at, old, new.clone())?;
        Ok(Answer::Repointed(vec![match has_moved {
            true => RepointOutcome::Moved,
            false => RepointOutcome::Changed,
        }]))
    }

    fn check_repoint(&self, command: &Repoint) -> Outcome<()> {
        let items = command.items.len();
        if items == 0 || items > self.limits.repoint_items_max {
            return invalid("a command packs 1 to 256 extents");
        }
        self.check_fresh_inode(command.home)?;
        let chunk = &command.chunk;
        self.check_extents(std::slice::from_ref(chunk))?;
        if chunk.kind != ExtentKind::Chunk || !is_whole(chunk) {
            return invalid("a pack is a whole chunk");
        }
        let fits = |item: &RepointItem| {
            let length = u64::from(item.length);
            let end = item.new_offset.checked_add(length);
            length > 0 && end.is_some_and(|end| end <= chunk.stored_length)
        };
        match command.items.iter().all(fits) {
            true => Ok(()),
            false => invalid("an item has bytes, and they lie in the pack"),
        }
    }

    fn repoint_item(
        &mut self,
        command: &Repoint,
        item: &RepointItem,
    ) -> Result<RepointOutcome, StoreError> {
        if self.view().place(item.inode)?.is_none() {
            return Ok(RepointOutcome::Gone);
        }
        let new = Extent {
            length: item.length.into(),
            offset: item.new_offset,
            home_inode: command.home,
            ..command.chunk.clone()
        };
        let has_moved = match item.old {
            OldPlace::Inline(crc32c) => self.move_inline(item, crc32c, new)?,
            OldPlace::Chunk(place) => {
                self.move_extent((item.inode, item.space, item.offset), place, new)?
            }
        };
        Ok(match has_moved {
            true => RepointOutcome::Moved,
            false => RepointOutcome::Changed,
        })
    }

    /// Replaces an inline body, if it is the one that is meant.
    fn move_inline(
        &mut self,
        item: &RepointItem,
        crc32c: u32,
        new: Extent,
    ) -> Result<bool, StoreError> {
        let body = self.view().inline_body(item.inode, item.space)?;
        let is_meant = |body: &Vec<u8>| {
            body.len() as u64 == new.length && crc32c::crc32c(body) == crc32c && item.offset == 0
        };
        if !body.as_ref().is_some_and(is_meant) {
            return Ok(false);
        }
        self.delete_prefix(&key::x_space(item.inode, key::X_INLINE, item.space))?;
        let row = key::x_at(item.inode, key::X_EXTENTS, item.space, 0);
        self.put(&row, &ExtentRow(vec![new]))?;
        Ok(true)
    }

    /// Replaces an extent, if it is the one that is meant, and drops where it lay.
    fn move_extent(
        &mut self,
        (inode, space, offset): (u64, u32, u64),
        place: ChunkPlace,
        new: Extent,
    ) -> Result<bool, StoreError> {
        let found = self.view().extent_row(inode, space, offset)?;
        let Some((row_key, mut row, at)) = found else {
            return Ok(false);
        };
        let old = &row.0[at];
        let is_meant = old.kind == ExtentKind::Chunk
            && (old.chunk, old.offset) == (place.chunk, place.offset)
            && old.length == new.length;
        // Of a chunk of the body's own, other extents may name the rest, for which it must stay.
        if !is_meant || (old.home_inode == 0 && !is_whole(old)) {
            return Ok(false);
        }
        let moved = MovedExtent {
            chunk: old.chunk,
            home_inode: old.home_inode,
            length: old.length,
        };
        row.0[at] = new;
        self.put(&row_key, &row)?;
        self.queue_dropped(inode, DroppedScope::Moved(moved))?;
        Ok(true)
    }

    /// Takes what has gone off the packs, and drops those of which nothing is left.
    pub(super) fn unpack(&mut self, unpacked: Unpacked) -> Result<(), StoreError> {
        for (home, (bytes, extents)) in unpacked.0 {
            let left = self.view().pack(home)?.and_then(|pack| {
                Some(Pack {
                    live_bytes: pack.live_bytes.checked_sub(bytes)?,
                    live_extents: pack.live_extents.checked_sub(extents)?,
                    ..pack
                })
            });
            let left = left.ok_or_else(|| {
                StoreError::Invariant(format!("pack {home} holds less than its extents"))
            })?;
            if left.live_extents > 0 {
                self.put(&key::pack(home), &left)?;
                continue;
            }
            self.delete(&key::pack(home))?;
            self.queue_dropped(home, DroppedScope::Inode)?;
        }
        Ok(())
    }
}

fn is_whole(extent: &Extent) -> bool {
    extent.offset == 0 && extent.length == extent.stored_length
}
