//! LIST: a depth-first walk over `D` rows alone.
//!
//! A directory's segment ends in `/`, so the walk meets keys in byte order. A listing is the sorted
//! set of its entries, keys and common prefixes; a page is those above `start_after`. What lies
//! below a common prefix is skipped: a whole directory by not entering it, any other prefix by
//! seeking to its end.
//!
//! A page of few entries may lie below many directories: a thousand keys of five hundred levels each
//! are half a million rows. So the walk stops after a number of steps, remembers where it stands, and
//! goes on in another transaction.

use super::View;
use crate::namespace::KEY_BYTES_MAX;
use crate::namespace::entry::{Entry, EntryKind};
use crate::namespace::key::{self, prefix_end};
use crate::namespace::object::{ChecksumAlgorithm, ChecksumKind, ETag, StorageClass};
use crate::namespace::store::StoreError;
use crate::namespace::store::table::Scan;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Roll up keys that hold this after the prefix; empty is none.
    pub delimiter: Vec<u8>,
    /// Only entries, keys and common prefixes, above this.
    pub start_after: Vec<u8>,
    /// Entries of a page at most.
    pub limit: usize,
}

/// An object as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: Vec<u8>,
    /// Size of the body, in bytes.
    pub size: u64,
    /// The tag.
    pub etag: ETag,
    /// The additional checksum's algorithm and kind.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Time of the last change, in nanoseconds since the Unix epoch.
    pub modified_nanos: i64,
    /// The storage class.
    pub storage_class: StorageClass,
    /// The account that owns it.
    pub owner: u64,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, by key.
    pub objects: Vec<ListedObject>,
    /// The common prefixes, in order; they count as entries like the objects.
    pub common_prefixes: Vec<Vec<u8>>,
    /// Where more follows: what to give as `start_after` for it (the last entry of this page).
    pub next: Option<Vec<u8>>,
}

/// A listing under way: the page so far, and where the walk stands between two transactions.
#[derive(Debug, Clone)]
pub struct Listing {
    query: ListQuery,
    page: ListPage,
    /// The last entry of the page.
    last: Option<Vec<u8>>,
    /// `None` where the page is complete.
    position: Option<Position>,
}

impl Listing {
    /// A page that is still to be filled.
    pub fn new(query: ListQuery) -> Listing {
        let from = match query.limit {
            0 => None,
            _ => first_candidate(&query),
        };
        let position = from.map(Position::at);
        Listing {
            query,
            page: ListPage::default(),
            last: None,
            position,
        }
    }

    /// Whether the page is as it will be answered.
    pub fn is_complete(&self) -> bool {
        self.position.is_none()
    }

    /// The page.
    pub fn into_page(self) -> ListPage {
        self.page
    }

    /// Takes in what the walk has met; whether it is to go on.
    fn meet(&mut self, walk: &mut Walk<'_>, key: Vec<u8>, entry: Entry) -> bool {
        if !key.starts_with(&self.query.prefix) {
            return false;
        }
        let rolled = common_prefix(&self.query, &key);
        // An implicit directory holds a key: it need not be entered to be rolled up.
        if entry.kind == EntryKind::Directory && !(entry.implicit && rolled.is_some()) {
            walk.enter(key, entry.inode);
            return true;
        }
        if self.page.objects.len() + self.page.common_prefixes.len() == self.query.limit {
            self.page.next = self.last.take();
            return false;
        }
        let Some(length) = rolled else {
            self.last = Some(key.clone());
            self.page.objects.push(listed(key, entry));
            return true;
        };
        let prefix = &key[..length];
        self.last = Some(prefix.to_vec());
        self.page.common_prefixes.push(prefix.to_vec());
        if entry.kind == EntryKind::Directory && length == key.len() {
            // All that is rolled up lies in this directory, which the walk has passed.
            return true;
        }
        match prefix_end(prefix) {
            Some(beyond) => {
                walk.seek(&beyond);
                true
            }
            None => false,
        }
    }
}

impl View<'_> {
    /// Goes on with a page of the objects of a bucket, given by its inode, for at most so many
    /// steps, and at least one: a row, or a directory entered or left. Each takes about a microsecond.
    ///
    /// The view of the next call may be a later one: the page then shows changes that were made
    /// while it was filled, above what it holds already.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); the listing is of no use then.
    pub fn list(
        &self,
        bucket: u64,
        listing: &mut Listing,
        steps_max: usize,
    ) -> Result<(), StoreError> {
        let Some(position) = listing.position.take() else {
            return Ok(());
        };
        let mut walk = Walk::new(self, bucket, position);
        for _ in 0..steps_max.max(1) {
            let goes_on = match walk.step()? {
                Step::Moved => true,
                Step::Met(key, entry) => listing.meet(&mut walk, key, entry),
                Step::Ended => false,
            };
            if !goes_on {
                return Ok(());
            }
        }
        listing.position = Some(walk.position);
        Ok(())
    }
}

/// The length of the common prefix that a key is rolled up in: up to the first delimiter behind the prefix.
pub(super) fn rolled_up(prefix: &[u8], delimiter: &[u8], key: &[u8]) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    Some(prefix.len() + at + delimiter.len())
}

fn common_prefix(query: &ListQuery, key: &[u8]) -> Option<usize> {
    rolled_up(&query.prefix, &query.delimiter, key)
}

/// The smallest key that may be on the page; `None` where there is none.
fn first_candidate(query: &ListQuery) -> Option<Vec<u8>> {
    if query.prefix.len() > KEY_BYTES_MAX {
        return None;
    }
    // No key is longer, so that none lies between what is cut off and what is left.
    let after = &query.start_after[..query.start_after.len().min(KEY_BYTES_MAX)];
    if *after < query.prefix[..] || after.is_empty() {
        return Some(query.prefix.clone());
    }
    if after.starts_with(&query.prefix) {
        if let Some(length) = common_prefix(query, after) {
            return prefix_end(&after[..length]);
        }
        return Some([after, &[0]].concat());
    }
    None
}

fn listed(key: Vec<u8>, entry: Entry) -> ListedObject {
    ListedObject {
        key,
        size: entry.size,
        etag: entry.etag.unwrap_or(ETag {
            digest: [0; 16],
            part_count: 0,
        }),
        checksum: entry
            .checksum
            .map(|checksum| (checksum.algorithm, checksum.kind)),
        modified_nanos: entry.modified_nanos,
        storage_class: entry.storage_class,
        owner: entry.owner,
    }
}

/// Where a walk stands.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// The path of the directory in which it stands, below the bucket.
    path: Vec<u8>,
    /// The inodes from the bucket down to that directory, one more than the path has segments.
    /// None before the first step. A directory that is removed meanwhile holds no keys any more.
    directories: Vec<u64>,
    /// Keys below this, relative to that directory, have been passed.
    from: Vec<u8>,
}

/// What a step of a walk has come to.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every step meets an entry, and boxing each would be an allocation for each key of a list"
)]
pub(super) enum Step {
    /// Into a directory or out of one.
    Moved,
    /// An object, or a directory with its path. What a directory holds is passed over unless it is
    /// entered.
    Met(Vec<u8>, Entry),
    /// The end of the bucket.
    Ended,
}

/// A depth-first walk over the objects below a directory, as long as one transaction.
pub(super) struct Walk<'v> {
    view: &'v View<'v>,
    position: Position,
    /// For each directory of the position the scan over it, where this walk has begun one.
    scans: Vec<Option<Scan<'v>>>,
}

impl<'v> Walk<'v> {
    pub(super) fn new(view: &'v View<'v>, root: u64, mut position: Position) -> Walk<'v> {
        if position.directories.is_empty() {
            position.directories.push(root);
        }
        let mut scans = Vec::new();
        scans.resize_with(position.directories.len(), || None);
        Walk {
            view,
            position,
            scans,
        }
    }

    pub(super) fn step(&mut self) -> Result<Step, StoreError> {
        let Some(directory) = self.position.directories.last().copied() else {
            return Ok(Step::Ended);
        };
        let mut scan = match self.scans.pop().flatten() {
            Some(scan) => scan,
            None => match self.directory_ahead(directory)? {
                Some((path_bytes, inode)) => {
                    self.scans.push(None);
                    self.descend(path_bytes, inode);
                    return Ok(Step::Moved);
                }
                None => self.scan(directory)?,
            },
        };
        let Some((row_key, entry)) = scan.next::<Entry>()? else {
            self.position.leave();
            return Ok(match self.position.directories.is_empty() {
                true => Step::Ended,
                false => Step::Moved,
            });
        };
        self.scans.push(Some(scan));
        let segment = &row_key[key::ENTRY_PREFIX_BYTES..];
        self.position.pass(segment);
        let key = [&self.position.path[..], segment].concat();
        Ok(Step::Met(key, entry))
    }

    /// The directory that holds what comes next, where it is there and not entered yet: the length
    /// of its segment, and its inode.
    fn directory_ahead(&self, parent: u64) -> Result<Option<(usize, u64)>, StoreError> {
        let segment = first_segment(&self.position.from);
        if !segment.ends_with(b"/") {
            return Ok(None);
        }
        let entry = self.view.entry(parent, segment)?;
        Ok(entry.map(|entry| (segment.len(), entry.inode)))
    }

    fn descend(&mut self, segment_bytes: usize, inode: u64) {
        let segment = self.position.from.drain(..segment_bytes);
        self.position.path.extend(segment);
        self.position.directories.push(inode);
        self.scans.push(None);
    }

    /// Goes into the directory that was met last.
    pub(super) fn enter(&mut self, path: Vec<u8>, inode: u64) {
        self.position.path = path;
        self.position.from.clear();
        self.position.directories.push(inode);
        self.scans.push(None);
    }

    /// Goes on to the first key that is not below `key`, which is above all that was met.
    pub(super) fn seek(&mut self, key: &[u8]) {
        while !key.starts_with(&self.position.path) {
            self.position.leave();
            self.scans.pop();
        }
        self.position.from = key[self.position.path.len()..].to_vec();
        if let Some(scan) = self.scans.last_mut() {
            *scan = None;
        }
    }

    fn scan(&self, directory: u64) -> Result<Scan<'v>, StoreError> {
        let prefix = key::entry(directory, &[]);
        let from = key::entry(directory, first_segment(&self.position.from));
        self.view.table.scan(self.view.txn(), &prefix, &from)
    }
}

impl Position {
    /// In front of the keys of a bucket that are not below `from`.
    pub(super) fn at(from: Vec<u8>) -> Position {
        Position {
            path: Vec::new(),
            directories: Vec::new(),
            from,
        }
    }

    /// Passes over a row of the directory.
    fn pass(&mut self, segment: &[u8]) {
        self.from.clear();
        self.from.extend_from_slice(segment);
        match self.from.last_mut() {
            // What is below a directory begins with its segment.
            Some(last) if *last == b'/' => *last += 1,
            _ => self.from.push(0),
        }
    }

    /// Goes out of the directory, to what follows it in its parent.
    fn leave(&mut self) {
        self.directories.pop();
        let name = self.path.strip_suffix(b"/").unwrap_or_default();
        let parent_bytes = name.iter().rposition(|byte| *byte == b'/');
        let segment = self.path.split_off(parent_bytes.map_or(0, |at| at + 1));
        self.pass(&segment);
    }
}

/// The first segment of a path, with its `/` where it is a directory's.
fn first_segment(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| *byte == b'/');
    &path[..end.map_or(path.len(), |at| at + 1)]
}
