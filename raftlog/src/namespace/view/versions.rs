//! Queries about versions: one of a key, and ListObjectVersions as one walk over `D` and `V` side by side.
//!
//! Both families are in the order of keys. Of a key the entry in `D` comes first, then its rows in `V`, the newest first. A page is
//! what lies behind its markers; what lies below a common prefix is skipped in both.
//!
//! As a listing of objects does, the walk stops after a number of steps and goes on in another transaction. It does so only while
//! nothing of `D` has been met that is not on the page yet.

use super::list::{Position, Step, Walk, rolled_up};
use super::{Object, View};
use crate::namespace::KEY_BYTES_MAX;
use crate::namespace::entry::{Entry, EntryKind};
use crate::namespace::key::{self, prefix_end};
use crate::namespace::store::StoreError;
use crate::namespace::store::table::Scan;
use crate::namespace::version::{Marker, NullVersion, VersionId, VersionRow};
use crate::namespace::view::body::malformed_key;

/// What a version of a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundVersion {
    /// An object.
    Object(Box<Object>),
    /// A delete marker.
    Marker(Marker),
}

/// Which versions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionQuery {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Roll up keys that hold this after the prefix; empty is none.
    pub delimiter: Vec<u8>,
    /// Only what lies behind this.
    pub after: Option<VersionMarker>,
    /// Entries of a page at most: versions and common prefixes.
    pub limit: usize,
}

/// A place in the order of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMarker {
    /// The key, or a common prefix.
    pub key: Vec<u8>,
    /// Behind this version of the key, or behind all where none is named. One that is not there has all of the key behind it.
    pub version: Option<VersionId>,
}

/// A version of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The key.
    pub key: Vec<u8>,
    /// What it is.
    pub row: VersionRow,
    /// Whether a GET of the key without a version finds it, or this delete marker.
    pub is_latest: bool,
}

/// One page of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// By key, then the newest first.
    pub versions: Vec<ListedVersion>,
    /// In order; they count as entries.
    pub common_prefixes: Vec<Vec<u8>>,
    /// Where more follows: the last entry of this page.
    pub next: Option<VersionMarker>,
}

/// A listing under way: the page so far, and where the walk stands between two transactions.
#[derive(Debug, Clone)]
pub struct VersionListing {
    query: VersionQuery,
    page: VersionPage,
    /// The last entry of the page.
    last: Option<VersionMarker>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    New,
    At(Sides),
    Complete,
}

/// Where the walk stands in both families.
#[derive(Debug, Clone)]
struct Sides {
    /// `None` where nothing is left in `D`.
    names: Option<Position>,
    /// The key of `V` from which to go on.
    earlier: Vec<u8>,
    /// The key whose newest version has been passed.
    passed: Option<Vec<u8>>,
}

impl VersionListing {
    /// A page that is still to be filled.
    pub fn new(query: VersionQuery) -> VersionListing {
        let is_empty = query.limit == 0 || query.prefix.len() > KEY_BYTES_MAX;
        VersionListing {
            state: match is_empty {
                true => State::Complete,
                false => State::New,
            },
            page: VersionPage::default(),
            last: None,
            query,
        }
    }

    /// Whether the page is as it will be answered.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// The page.
    pub fn into_page(self) -> VersionPage {
        self.page
    }

    /// Puts on the page what comes next; whether the walk is to go on.
    fn take(&mut self, walk: &mut SideBySide<'_>) -> Result<bool, StoreError> {
        let name = walk.name.as_ref().map(|(key, _)| key);
        let earlier = walk.earlier.as_ref().map(|earlier| &earlier.key);
        let comes_first = match (name, earlier) {
            (Some(name), Some(earlier)) => name <= earlier,
            (name, _) => name.is_some(),
        };
        let Some(key) = (if comes_first { name } else { earlier }) else {
            return Ok(false);
        };
        if !key.starts_with(&self.query.prefix) {
            return Ok(false);
        }
        if self.page.versions.len() + self.page.common_prefixes.len() >= self.query.limit {
            self.page.next = self.last.take();
            return Ok(false);
        }
        if let Some(length) = rolled_up(&self.query.prefix, &self.query.delimiter, key) {
            let prefix = key[..length].to_vec();
            self.last = Some(VersionMarker {
                key: prefix.clone(),
                version: None,
            });
            let goes_on = walk.pass_prefix(&prefix)?;
            self.page.common_prefixes.push(prefix);
            return Ok(goes_on);
        }
        let listed = match comes_first {
            true => walk.take_name(),
            false => walk.take_earlier()?,
        };
        if let Some(listed) = listed {
            self.last = Some(VersionMarker {
                key: listed.key.clone(),
                version: Some(listed.row.version()),
            });
            self.page.versions.push(listed);
        }
        Ok(true)
    }
}

impl View<'_> {
    /// A version of a key of a bucket, given by its inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn version(
        &self,
        bucket: u64,
        key: &[u8],
        version: VersionId,
    ) -> Result<Option<FoundVersion>, StoreError> {
        let object = |entry| {
            self.object_of(entry)
                .map(Box::new)
                .map(FoundVersion::Object)
        };
        if let Some(entry) = self.present(bucket, key)?
            && entry.version == version
        {
            return object(entry).map(Some);
        }
        match self.earlier_version(bucket, key, version)? {
            Some((_, VersionRow::Object(entry))) => object(entry).map(Some),
            Some((_, VersionRow::Marker(marker))) => Ok(Some(FoundVersion::Marker(marker))),
            None => Ok(None),
        }
    }

    /// The delete marker that is the newest version of a key, where its newest version is one.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn latest_marker(&self, bucket: u64, key: &[u8]) -> Result<Option<Marker>, StoreError> {
        if self.present(bucket, key)?.is_some() {
            return Ok(None);
        }
        Ok(match self.newest_earlier(bucket, key)? {
            Some((_, VersionRow::Marker(marker))) => Some(marker),
            _ => None,
        })
    }

    fn present(&self, bucket: u64, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        match self.directory_of(bucket, key)? {
            Some(directory) => self.object_entry_in(directory, key),
            None => Ok(None),
        }
    }

    /// A version that is not the present one, and where it stands.
    pub(crate) fn earlier_version(
        &self,
        bucket: u64,
        object_key: &[u8],
        version: VersionId,
    ) -> Result<Option<(u128, VersionRow)>, StoreError> {
        if object_key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let at = match version {
            VersionId::Of(number) => Some(number),
            VersionId::Null => {
                let pointer = key::null_version(bucket, object_key);
                let pointer = self.table.get::<NullVersion>(self.txn(), &pointer)?;
                pointer.map(|NullVersion(at)| at)
            }
        };
        let Some(at) = at else {
            return Ok(None);
        };
        let row: Option<VersionRow> = self
            .table
            .get(self.txn(), &key::version(bucket, object_key, at))?;
        // The null version has a place, too, which is not its name.
        let row = row.filter(|row| row.version() == version);
        Ok(row.map(|row| (at, row)))
    }

    /// The object that stands at a place among the earlier versions of a key.
    pub(crate) fn earlier_at(
        &self,
        bucket: u64,
        object_key: &[u8],
        at: u128,
    ) -> Result<Option<Entry>, StoreError> {
        let row = self
            .table
            .get(self.txn(), &key::version(bucket, object_key, at))?;
        Ok(match row {
            Some(VersionRow::Object(entry)) => Some(entry),
            Some(VersionRow::Marker(_)) | None => None,
        })
    }

    /// The newest of the versions of a key that are not the present one, and where it stands.
    pub(crate) fn newest_earlier(
        &self,
        bucket: u64,
        object_key: &[u8],
    ) -> Result<Option<(u128, VersionRow)>, StoreError> {
        if object_key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let prefix = key::versions_of(bucket, object_key);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let Some((row_key, row)) = scan.next::<VersionRow>()? else {
            return Ok(None);
        };
        let (_, at) = key::parse_version(row_key).ok_or_else(|| malformed_key(row_key))?;
        Ok(Some((at, row)))
    }

    /// Whether a bucket, given by its inode, holds no objects and no versions of some.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn is_empty_bucket(&self, bucket: u64) -> Result<bool, StoreError> {
        let has_earlier = self.table.any(self.txn(), &key::versions(bucket))?;
        Ok(!has_earlier && self.is_empty_directory(bucket)?)
    }

    /// Goes on with a page of the versions of a bucket, given by its inode, for about so many steps, and at least one: a row, or a
    /// directory entered or left.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); the listing is of no use then.
    pub fn list_versions(
        &self,
        bucket: u64,
        listing: &mut VersionListing,
        steps_max: usize,
    ) -> Result<(), StoreError> {
        let sides = match std::mem::replace(&mut listing.state, State::Complete) {
            State::New => self.first_sides(bucket, &listing.query)?,
            State::At(sides) => Some(sides),
            State::Complete => None,
        };
        let Some(sides) = sides else {
            return Ok(());
        };
        let mut walk = SideBySide::new(self, bucket, sides)?;
        for step in 0.. {
            if walk.name.is_some() || walk.names.is_none() {
                if !listing.take(&mut walk)? {
                    return Ok(());
                }
            } else if step >= steps_max.max(1) {
                break;
            } else {
                walk.look_for_name(&listing.query)?;
            }
            if step >= steps_max.max(1) && walk.name.is_none() {
                break;
            }
        }
        listing.state = State::At(walk.into_sides());
        Ok(())
    }

    /// Where a page begins; `None` where it is empty.
    fn first_sides(&self, bucket: u64, query: &VersionQuery) -> Result<Option<Sides>, StoreError> {
        let from = |key: Vec<u8>| Sides {
            earlier: key::versions_of(bucket, &key),
            names: Some(Position::at(key)),
            passed: None,
        };
        let Some(after) = &query.after else {
            return Ok(Some(from(query.prefix.clone())));
        };
        // No key is longer, so that none lies between what is cut off and what is left.
        let marker = &after.key[..after.key.len().min(KEY_BYTES_MAX)];
        if *marker < query.prefix[..] {
            return Ok(Some(from(query.prefix.clone())));
        }
        if !marker.starts_with(&query.prefix) {
            return Ok(None);
        }
        if let Some(length) = rolled_up(&query.prefix, &query.delimiter, marker) {
            return Ok(prefix_end(&marker[..length]).map(from));
        }
        let beyond = from([marker, &[0]].concat());
        let Some(version) = after.version else {
            return Ok(Some(beyond));
        };
        let present = self.present(bucket, marker)?;
        let at = match (&present, version) {
            (Some(entry), _) if entry.version == version => Some(entry.position()),
            (_, VersionId::Of(number)) => Some(number),
            (_, VersionId::Null) => {
                let found = self.earlier_version(bucket, marker, version)?;
                found.map(|(at, _)| at)
            }
        };
        let Some(at) = at else {
            return Ok(Some(beyond));
        };
        if present.is_some_and(|entry| entry.position() < at) {
            return Ok(Some(from(marker.to_vec())));
        }
        Ok(Some(Sides {
            earlier: [&key::version(bucket, marker, at)[..], &[0]].concat(),
            passed: Some(marker.to_vec()),
            ..beyond
        }))
    }
}

/// A row of `V` that was met.
struct Earlier {
    key: Vec<u8>,
    row: VersionRow,
}

/// A walk over both families, as long as one transaction.
struct SideBySide<'v> {
    view: &'v View<'v>,
    bucket: u64,
    /// `None` where nothing is left in `D`.
    names: Option<Walk<'v>>,
    /// What was met in `D` and is not on the page: an object, or a directory that is rolled up.
    name: Option<(Vec<u8>, Entry)>,
    scan: Scan<'v>,
    /// What was met in `V` and is not on the page.
    earlier: Option<Earlier>,
    /// The key of `V` from which to go on.
    earlier_from: Vec<u8>,
    /// The key whose newest version has been passed.
    passed: Option<Vec<u8>>,
}

impl<'v> SideBySide<'v> {
    fn new(view: &'v View<'v>, bucket: u64, sides: Sides) -> Result<SideBySide<'v>, StoreError> {
        let names = sides.names;
        let prefix = key::versions(bucket);
        let mut walk = SideBySide {
            view,
            bucket,
            names: names.map(|position| Walk::new(view, bucket, position)),
            name: None,
            scan: view.table.scan(view.txn(), &prefix, &sides.earlier)?,
            earlier: None,
            earlier_from: sides.earlier,
            passed: sides.passed,
        };
        walk.look_for_earlier()?;
        Ok(walk)
    }

    fn into_sides(self) -> Sides {
        Sides {
            names: self.names.map(|walk| walk.position),
            earlier: self.earlier_from,
            passed: self.passed,
        }
    }

    /// One step in `D`.
    fn look_for_name(&mut self, query: &VersionQuery) -> Result<(), StoreError> {
        let Some(walk) = &mut self.names else {
            return Ok(());
        };
        match walk.step()? {
            Step::Moved => {}
            Step::Ended => self.names = None,
            Step::Met(key, entry) => {
                let is_rolled = rolled_up(&query.prefix, &query.delimiter, &key).is_some();
                // An implicit directory holds a key: it need not be entered to be rolled up.
                if entry.kind == EntryKind::Directory && !(entry.implicit && is_rolled) {
                    walk.enter(key, entry.inode);
                } else {
                    self.name = Some((key, entry));
                }
            }
        }
        Ok(())
    }

    /// Meets the next row of `V`.
    fn look_for_earlier(&mut self) -> Result<(), StoreError> {
        self.earlier = match self.scan.next::<VersionRow>()? {
            None => None,
            Some((row_key, row)) => {
                let (key, _) = key::parse_version(row_key).ok_or_else(|| malformed_key(row_key))?;
                self.earlier_from = row_key.to_vec();
                Some(Earlier { key, row })
            }
        };
        Ok(())
    }

    fn take_name(&mut self) -> Option<ListedVersion> {
        let (key, entry) = self.name.take()?;
        self.passed = Some(key.clone());
        Some(ListedVersion {
            key,
            row: VersionRow::Object(entry),
            is_latest: true,
        })
    }

    fn take_earlier(&mut self) -> Result<Option<ListedVersion>, StoreError> {
        let Some(Earlier { key, row }) = self.earlier.take() else {
            return Ok(None);
        };
        let is_latest = self.passed.as_ref() != Some(&key);
        if is_latest {
            self.passed = Some(key.clone());
        }
        self.earlier_from.push(0);
        self.look_for_earlier()?;
        Ok(Some(ListedVersion {
            key,
            row,
            is_latest,
        }))
    }

    /// Passes over all keys that begin with a prefix; whether any may follow.
    fn pass_prefix(&mut self, prefix: &[u8]) -> Result<bool, StoreError> {
        let Some(beyond) = prefix_end(prefix) else {
            return Ok(false);
        };
        if let Some((key, entry)) = self.name.take_if(|(key, _)| key.starts_with(prefix)) {
            // Of a directory that is rolled up as a whole the walk has passed all that lies in it.
            let is_passed = entry.kind == EntryKind::Directory && key.len() == prefix.len();
            if let Some(walk) = self.names.as_mut().filter(|_| !is_passed) {
                walk.seek(&beyond);
            }
        }
        if let Some(earlier) = &self.earlier
            && earlier.key.starts_with(prefix)
        {
            let all = key::versions(self.bucket);
            self.earlier_from = key::versions_of(self.bucket, &beyond);
            self.scan = self
                .view
                .table
                .scan(self.view.txn(), &all, &self.earlier_from)?;
            self.look_for_earlier()?;
        }
        Ok(true)
    }
}
