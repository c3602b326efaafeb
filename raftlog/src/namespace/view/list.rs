//! LIST: a depth-first walk over `D` rows alone.
//!
//! A directory's segment ends in `/`, so the walk meets keys in byte order. A listing is the sorted
//! set of its entries, keys and common prefixes; a page is those above `start_after`. What lies
//! below a common prefix is skipped: a whole directory by not entering it, any other prefix by
//! seeking to its end.

use super::View;
use crate::namespace::KEY_BYTES_MAX;
use crate::namespace::entry::{Entry, EntryKind};
use crate::namespace::key::{self, prefix_end};
use crate::namespace::object::{ChecksumAlgorithm, ChecksumKind, ETag, StorageClass};
use crate::namespace::table::Scan;
use crate::store::StoreError;

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
    /// Time of the last change, in microseconds since the Unix epoch.
    pub modified_micros: u64,
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

impl View<'_> {
    /// One page of the objects of a bucket, given by its inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn list(&self, bucket: u64, query: &ListQuery) -> Result<ListPage, StoreError> {
        let mut page = ListPage::default();
        let mut last = None;
        if query.limit == 0 {
            return Ok(page);
        }
        let Some(start) = first_candidate(query) else {
            return Ok(page);
        };
        let mut walk = Walk::new(self, bucket, &query.prefix);
        walk.seek(&start)?;
        while let Some((key, entry)) = walk.next()? {
            let rolled = common_prefix(query, &key);
            // An implicit directory holds a key: it need not be entered to be rolled up.
            if entry.kind == EntryKind::Directory && !(entry.implicit && rolled.is_some()) {
                walk.enter(key, &entry)?;
                continue;
            }
            if page.objects.len() + page.common_prefixes.len() == query.limit {
                page.next = last;
                break;
            }
            let Some(length) = rolled else {
                last = Some(key.clone());
                page.objects.push(listed(key, entry));
                continue;
            };
            last = Some(key[..length].to_vec());
            page.common_prefixes.push(key[..length].to_vec());
            if entry.kind == EntryKind::Directory && length == key.len() {
                // All that is rolled up lies in this directory, which the walk has passed.
                continue;
            }
            match prefix_end(&key[..length]) {
                Some(beyond) => walk.seek(&beyond)?,
                None => break,
            }
        }
        Ok(page)
    }
}

/// The length of the common prefix that a key is rolled up in.
fn common_prefix(query: &ListQuery, key: &[u8]) -> Option<usize> {
    let delimiter = &query.delimiter[..];
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.get(query.prefix.len()..)?;
    let at = rest
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    Some(query.prefix.len() + at + delimiter.len())
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
        modified_micros: entry.modified_micros,
        storage_class: entry.storage_class,
        owner: entry.owner,
    }
}

/// A depth-first walk over the objects below a directory whose keys begin with a prefix.
struct Walk<'v> {
    view: &'v View<'v>,
    root: u64,
    prefix: Vec<u8>,
    /// The path of the directory on top of the stack, below the root.
    path: Vec<u8>,
    stack: Vec<Level<'v>>,
}

struct Level<'v> {
    scan: Scan<'v>,
    /// Length of the path without this directory's segment.
    parent_path_bytes: usize,
}

impl<'v> Walk<'v> {
    fn new(view: &'v View<'v>, root: u64, prefix: &[u8]) -> Walk<'v> {
        Walk {
            view,
            root,
            prefix: prefix.to_vec(),
            path: Vec::new(),
            stack: Vec::new(),
        }
    }

    /// Goes to the first key that is not below `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.path.clear();
        self.stack.clear();
        let mut directory = self.root;
        let mut parent_path_bytes = 0;
        for segment in key.split_inclusive(|byte| *byte == b'/') {
            self.push(directory, segment, parent_path_bytes)?;
            if !segment.ends_with(b"/") {
                return Ok(());
            }
            let Some(entry) = self.view.entry(directory, segment)? else {
                return Ok(());
            };
            // The directory itself comes first in the scan of its parent, and is entered here.
            self.top().next_raw()?;
            parent_path_bytes = self.path.len();
            self.path.extend_from_slice(segment);
            directory = entry.inode;
        }
        self.push(directory, &[], parent_path_bytes)
    }

    /// The next object or directory whose key, or path, begins with the prefix. What a directory
    /// holds is passed over unless it is entered.
    fn next(&mut self) -> Result<Option<(Vec<u8>, Entry)>, StoreError> {
        while let Some(level) = self.stack.last_mut() {
            let Some((row_key, entry)) = level.scan.next::<Entry>()? else {
                self.path.truncate(level.parent_path_bytes);
                self.stack.pop();
                continue;
            };
            let key = [&self.path[..], &row_key[key::ENTRY_PREFIX_BYTES..]].concat();
            if key.starts_with(&self.prefix) {
                return Ok(Some((key, entry)));
            }
            self.stack.clear();
        }
        Ok(None)
    }

    /// Goes into the directory that came last.
    fn enter(&mut self, path: Vec<u8>, directory: &Entry) -> Result<(), StoreError> {
        let parent_path_bytes = self.path.len();
        self.path = path;
        self.push(directory.inode, &[], parent_path_bytes)
    }

    fn push(&mut self, directory: u64, from: &[u8], parent: usize) -> Result<(), StoreError> {
        let prefix = key::entry(directory, &[]);
        let from = key::entry(directory, from);
        let scan = self.view.table.scan(self.view.txn(), &prefix, &from)?;
        self.stack.push(Level {
            scan,
            parent_path_bytes: parent,
        });
        Ok(())
    }

    fn top(&mut self) -> &mut Scan<'v> {
        let level = self.stack.last_mut().expect("a level has just been pushed");
        &mut level.scan
    }
}
