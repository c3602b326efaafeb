//! A walk over the extents of all bodies, in the order of inodes, and which of them a name still needs.

use super::View;
use super::body::malformed_key;
use crate::namespace::body::ExtentRow;
use crate::namespace::chunk::{Extent, ExtentKind};
use crate::namespace::entry::PlaceKind;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::upload::Part;
use crate::namespace::value;

/// A place in the order of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BodyPosition {
    /// The inode that holds the body.
    pub inode: u64,
    /// Its space: 0 is the file, each part of an upload is another.
    pub space: u32,
    /// The offset in the space, in bytes.
    pub offset: u64,
}

/// Extents of bodies, some of which may be dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodiesPage {
    /// Those that name a chunk, each with its place.
    pub extents: Vec<(BodyPosition, Extent)>,
    /// The next row; `None` at the end.
    pub next: Option<BodyPosition>,
}

impl View<'_> {
    /// The extents from a place on, of at most so many rows, be they of extents or not. A pack is found once, under its home.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn every_extent(&self, from: BodyPosition, rows: usize) -> Result<BodiesPage, StoreError> {
        let start = key::x_at(from.inode, key::X_EXTENTS, from.space, from.offset);
        let mut scan = self.table.scan(self.txn(), &[key::EXTENTS], &start)?;
        let mut page = BodiesPage::default();
        let mut seen = 0;
        while let Some((row_key, row)) = scan.next_raw()? {
            let (inode, kind, space, offset) =
                key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
            let is_of_extents = kind == key::X_EXTENTS;
            let mut at = BodyPosition {
                inode,
                space: if is_of_extents { space } else { 0 },
                offset: if is_of_extents { offset } else { 0 },
            };
            // The rows of an inode before its extents are seen again by whoever goes on from there; nothing behind them is of use here.
            if seen >= rows {
                page.next = match kind <= key::X_EXTENTS {
                    true => Some(at),
                    false => inode.checked_add(1).map(|inode| BodyPosition {
                        inode,
                        ..BodyPosition::default()
                    }),
                };
                break;
            }
            seen += 1;
            if !is_of_extents {
                continue;
            }
            let ExtentRow(extents) = value::open(row_key, row)?;
            for extent in extents {
                let (here, length) = (at, extent.length);
                if extent.kind == ExtentKind::Chunk && extent.home_inode == 0 {
                    page.extents.push((here, extent));
                }
                at.offset = at.offset.saturating_add(length);
            }
        }
        Ok(page)
    }

    /// Whether a name, or an upload that is under way, needs the body in a space of an inode, or extents name the pack of which it
    /// is the home. What is dropped keeps its rows until it is released.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn is_body_needed(&self, inode: u64, space: u32) -> Result<bool, StoreError> {
        let Some(place) = self.place(inode)? else {
            return Ok(self.pack(inode)?.is_some());
        };
        if place.kind == PlaceKind::Upload {
            let parts = key::parts(inode);
            let mut scan = self.table.scan(self.txn(), &parts, &parts)?;
            while let Some((_, part)) = scan.next::<Part>()? {
                if part.space == space {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let used = self.spaces_used(inode)?;
        Ok(match used.is_empty() {
            true => space == 0,
            false => used.binary_search(&space).is_ok(),
        })
    }
}
