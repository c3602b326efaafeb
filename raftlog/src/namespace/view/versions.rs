//! Queries about versions: one of a key, and ListObjectVersions as one walk over `D` and `V` side by side.
//!
//! Both families are in the order of keys. Of a key the entry in `D` comes first, then its rows in `V`, the newest first. A page is
//! what lies behind its markers; what lies below a common prefix is skipped in both.
//!
//! As a listing of objects does, the walk stops after a number of steps and goes on in another transaction, from the last entry of the page
//! and from nothing else: what was met and is not on the page may have gone from one family to the other by then. So it does not stop
//! before a transaction has put an entry on the page. Versions that are there all along are on a page once; those that come or go
//! meanwhile are or are not.

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
    /// Behind this version of the key, or where it was; behind all where none is named. A null version that is not there has all of
    /// the key behind it.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It goes on behind the last entry of the page, or begins.
    Open,
    Complete,
}

/// Where a walk begins in both families.
struct Sides {
    /// In `D`.
    names: Position,
    /// The key of `V`.
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
                false => State::Open,
            },
            page: VersionPage::default(),
            last: None,
            query,
        }
    }

    /// Whether the page is as it will be answered.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The page.
    pub fn into_page(self) -> VersionPage {
        self.page
    }

    fn entries(&self) -> usize {
        self.page.versions.len() + self.page.common_prefixes.len()
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
        if self.entries() >= self.query.limit {
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
            let (listed, at) = listed;
            // By its place, that of the null version too: it is known when the version is gone.
            self.last = Some(VersionMarker {
                key: listed.key.clone(),
                version: Some(VersionId::Of(at)),
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

    /// The two newest of the versions of a key that are not the present one.
    pub(crate) fn newest_earlier_two(
        &self,
        bucket: u64,
        object_key: &[u8],
    ) -> Result<[Option<VersionRow>; 2], StoreError> {
        if object_key.len() > KEY_BYTES_MAX {
            return Ok([None, None]);
        }
        let prefix = key::versions_of(bucket, object_key);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let mut next = || Ok::<_, StoreError>(scan.next::<VersionRow>()?.map(|(_, row)| row));
        Ok([next()?, next()?])
    }

    /// Whether a bucket, given by its inode, holds no objects and no versions of some.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn is_empty_bucket(&self, bucket: u64) -> Result<bool, StoreError> {
        let has_earlier = self.table.any(self.txn(), &key::versions(bucket))?;
        Ok(!has_earlier && self.is_empty_directory(bucket)?)
    }

    /// Goes on with a page of the versions of a bucket, given by its inode, for about so many steps, but until an entry is on the page: a
    /// step is a row, or a directory entered or left.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); the listing is of no use then.
    pub fn list_versions(
        &self,
        bucket: u64,
        listing: &mut VersionListing,
        steps_max: usize,
    ) -> Result<(), StoreError> {
        if listing.is_complete() {
            return Ok(());
        }
        listing.state = State::Complete;
        let after = listing.last.as_ref().or(listing.query.after.as_ref());
        let Some(sides) = self.first_sides(bucket, &listing.query, after)? else {
            return Ok(());
        };
        let mut walk = SideBySide::new(self, bucket, sides)?;
        let entries_before = listing.entries();
        for step in 0.. {
            if step >= steps_max && listing.entries() > entries_before {
                listing.state = State::Open;
                return Ok(());
            }
            if walk.name.is_none() && walk.names.is_some() {
                walk.look_for_name(&listing.query)?;
            } else if !listing.take(&mut walk)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where a walk begins; `None` where nothing follows.
    fn first_sides(
        &self,
        bucket: u64,
        query: &VersionQuery,
        after: Option<&VersionMarker>,
    ) -> Result<Option<Sides>, StoreError> {
        let from = |key: Vec<u8>| Sides {
            earlier: key::versions_of(bucket, &key),
            names: Position::at(key),
            passed: None,
        };
        let Some(after) = after else {
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
        let Some(version) = after.version.filter(|_| marker.len() == after.key.len()) else {
            return Ok(Some(beyond));
        };
        let present = self.present(bucket, marker)?;
        let Some(at) = self.place_of(bucket, marker, present.as_ref(), version)? else {
            return Ok(Some(beyond));
        };
        if present.as_ref().is_some_and(|entry| entry.position() < at) {
            return Ok(Some(from(marker.to_vec())));
        }
        let newest = match present {
            Some(entry) => Some(entry.position()),
            None => self.newest_earlier(bucket, marker)?.map(|(at, _)| at),
        };
        let is_passed = newest.is_some_and(|newest| newest >= at);
        Ok(Some(Sides {
            earlier: [&key::version(bucket, marker, at)[..], &[0]].concat(),
            passed: is_passed.then(|| marker.to_vec()),
            ..beyond
        }))
    }

    /// Where a version stands among those of its key, or stood: only of a null version that is gone it is not known.
    fn place_of(
        &self,
        bucket: u64,
        object_key: &[u8],
        present: Option<&Entry>,
        version: VersionId,
    ) -> Result<Option<u128>, StoreError> {
        match (version, present) {
            (VersionId::Of(number), _) => Ok(Some(number)),
            (VersionId::Null, Some(entry)) if entry.version == VersionId::Null => {
                Ok(Some(entry.position()))
            }
            (VersionId::Null, _) => {
                let found = self.earlier_version(bucket, object_key, version)?;
                Ok(found.map(|(at, _)| at))
            }
        }
    }
}

/// A row of `V` that was met.
struct Earlier {
    key: Vec<u8>,
    /// Where it stands among the versions of the key.
    at: u128,
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
    /// The key whose newest version has been passed.
    passed: Option<Vec<u8>>,
}

impl<'v> SideBySide<'v> {
    fn new(view: &'v View<'v>, bucket: u64, sides: Sides) -> Result<SideBySide<'v>, StoreError> {
        let prefix = key::versions(bucket);
        let mut walk = SideBySide {
            view,
            bucket,
            names: Some(Walk::new(view, bucket, sides.names)),
            name: None,
            scan: view.table.scan(view.txn(), &prefix, &sides.earlier)?,
            earlier: None,
            passed: sides.passed,
        };
        walk.look_for_earlier()?;
        Ok(walk)
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
                let (key, at) =
                    key::parse_version(row_key).ok_or_else(|| malformed_key(row_key))?;
                Some(Earlier { key, at, row })
            }
        };
        Ok(())
    }

    /// The entry of `D`, and where it stands among the versions of its key.
    fn take_name(&mut self) -> Option<(ListedVersion, u128)> {
        let (key, entry) = self.name.take()?;
        self.passed = Some(key.clone());
        let at = entry.position();
        let listed = ListedVersion {
            key,
            row: VersionRow::Object(entry),
            is_latest: true,
        };
        Some((listed, at))
    }

    /// The row of `V`, and where it stands among the versions of its key.
    fn take_earlier(&mut self) -> Result<Option<(ListedVersion, u128)>, StoreError> {
        let Some(Earlier { key, at, row }) = self.earlier.take() else {
            return Ok(None);
        };
        let is_latest = self.passed.as_ref() != Some(&key);
        if is_latest {
            self.passed = Some(key.clone());
        }
        self.look_for_earlier()?;
        let listed = ListedVersion {
            key,
            row,
            is_latest,
        };
        Ok(Some((listed, at)))
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
            let from = key::versions_of(self.bucket, &beyond);
            self.scan = self.view.table.scan(self.view.txn(), &all, &from)?;
            self.look_for_earlier()?;
        }
        Ok(true)
    }
}
