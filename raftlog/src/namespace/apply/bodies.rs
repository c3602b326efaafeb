//! Bodies: what may be put, and their rows in `X`.

use super::{Change, Outcome, invalid};
use crate::namespace::body::{EXTENTS_PER_ROW, ExtentRow, INLINE_ROW_BYTES};
use crate::namespace::chunk::{Extent, ExtentKind};
use crate::namespace::command::Refusal;
use crate::namespace::key;
use crate::namespace::object::{Body, Checksum, ObjectAttributes};
use crate::namespace::store::StoreError;

impl Change<'_, '_> {
    /// Whether a body may be put: as long as it says, and every chunk introduced under an open
    /// epoch and coded in a known way.
    pub(super) fn check_body(&self, body: &Body, size: u64) -> Outcome<()> {
        if size > self.limits.object_bytes_max {
            return Err(Refusal::EntityTooLarge.into());
        }
        if body.length() != size {
            return invalid("the body is not as long as its size");
        }
        match body {
            Body::Empty => Ok(()),
            Body::Inline(bytes)
                if bytes.is_empty() || bytes.len() > self.limits.inline_bytes_max =>
            {
                invalid("an inline body has 1 to 16,384 bytes")
            }
            Body::Inline(_) => Ok(()),
            Body::Extents(extents) if extents.is_empty() => invalid("a body of no extents"),
            Body::Extents(extents) => self.check_extents(extents),
        }
    }

    pub(super) fn check_extents(&self, extents: &[Extent]) -> Outcome<()> {
        let view = self.view();
        let (mut open_epoch, mut known_geometry) = (None, None);
        for extent in extents {
            check_extent(extent)?;
            if extent.kind == ExtentKind::Zeros {
                continue;
            }
            let (writer, epoch) = (extent.chunk.writer(), extent.chunk.epoch());
            if open_epoch != Some((writer, epoch)) {
                if view.epoch(writer, epoch)?.is_none() {
                    return Err(Refusal::EpochClosed { writer, epoch }.into());
                }
                open_epoch = Some((writer, epoch));
            }
            let shards = match known_geometry {
                Some((number, shards)) if number == extent.geometry => shards,
                _ => {
                    let Some(geometry) = view.geometry(extent.geometry)? else {
                        return invalid("an extent names a geometry that does not exist");
                    };
                    u32::from(geometry.k) + u32::from(geometry.m)
                }
            };
            known_geometry = Some((extent.geometry, shards));
            if extent.slot_mask.count_ones() != shards {
                return invalid("an extent does not name as many slots as its geometry has shards");
            }
        }
        Ok(())
    }

    pub(super) fn put_body(
        &mut self,
        inode: u64,
        space: u32,
        body: &Body,
    ) -> Result<(), StoreError> {
        match body {
            Body::Empty => Ok(()),
            Body::Inline(bytes) => {
                for (number, piece) in bytes.chunks(INLINE_ROW_BYTES).enumerate() {
                    let offset = (number * INLINE_ROW_BYTES) as u64;
                    let key = key::x_at(inode, key::X_INLINE, space, offset);
                    self.put_inline(&key, piece)?;
                }
                Ok(())
            }
            Body::Extents(extents) => {
                let mut offset = 0;
                for row in extents.chunks(EXTENTS_PER_ROW) {
                    let key = key::x_at(inode, key::X_EXTENTS, space, offset);
                    self.put(&key, &ExtentRow(row.to_vec()))?;
                    offset += row.iter().map(|extent| extent.length).sum::<u64>();
                }
                Ok(())
            }
        }
    }

    pub(super) fn check_attributes(&self, attributes: &ObjectAttributes) -> Outcome<()> {
        let headers = attributes.standard().into_iter().flatten().map(String::len);
        let pairs = attributes
            .user_metadata
            .iter()
            .map(|(name, value)| name.len() + value.len() + 8);
        if headers.chain(pairs).sum::<usize>() > self.limits.attributes_bytes_max {
            return invalid("headers and user metadata have at most 16 KiB");
        }
        Ok(())
    }

    pub(super) fn put_attributes(
        &mut self,
        inode: u64,
        attributes: &ObjectAttributes,
    ) -> Result<(), StoreError> {
        if *attributes == ObjectAttributes::default() {
            return Ok(());
        }
        self.put(&key::x_kind(inode, key::X_ATTRIBUTES), attributes)
    }

    /// Whether a space of an inode holds a body.
    pub(super) fn holds_body(&self, inode: u64, space: u32) -> Result<bool, StoreError> {
        for kind in [key::X_INLINE, key::X_EXTENTS] {
            if self
                .table
                .any(self.txn, &key::x_space(inode, kind, space))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn check_extent(extent: &Extent) -> Outcome<()> {
    if extent.length == 0 || extent.home_inode != 0 || extent.flags != 0 {
        return invalid("an extent has bytes, and its reserved fields are zero");
    }
    let none = extent.chunk.0 == 0 && extent.slot_mask == 0 && extent.stored_length == 0;
    let end = extent.offset.checked_add(extent.length);
    match extent.kind {
        ExtentKind::Zeros if none && extent.offset == 0 => Ok(()),
        ExtentKind::Zeros => invalid("a hole names a chunk"),
        ExtentKind::Chunk if extent.chunk.0 == 0 || extent.slot_mask == 0 => {
            invalid("an extent names no chunk or no slots")
        }
        ExtentKind::Chunk if end.is_none_or(|end| end > extent.stored_length) => {
            invalid("an extent goes beyond its chunk")
        }
        ExtentKind::Chunk => Ok(()),
    }
}

pub(super) fn check_checksum(checksum: Option<&Checksum>) -> Outcome<()> {
    match checksum {
        Some(checksum) if checksum.value.len() != checksum.algorithm.value_bytes() => {
            invalid("a checksum is as long as its algorithm says")
        }
        _ => Ok(()),
    }
}
