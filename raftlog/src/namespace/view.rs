//! Queries. A view is one short read transaction: never held across an await, never for longer than
//! some steps of a listing, because pages that it may read cannot be used again.

mod accounts;
mod body;
mod every_body;
mod list;
mod packs;
mod roles;
mod system;
mod uploads;
mod users;
mod versions;

use heed::{RoTxn, WithoutTls};

pub use body::{BodyPiece, ChunkPage, DroppedBody, ObjectPart, PieceSource};
pub use every_body::{BodiesPage, BodyPosition};
pub use list::{ListPage, ListQuery, ListedObject, Listing};
pub use packs::{BodyCursor, PackQuery, Packable, PackablePage, PackableSource};
pub use roles::RolePolicies;
pub use uploads::{ListedUpload, UploadPage, UploadQuery};
pub use users::{PolicyText, UserPolicies};
pub use versions::{
    FoundVersion, ListedVersion, VersionListing, VersionMarker, VersionPage, VersionQuery,
};

use super::access_list::{AccessListRow, Grant};
use super::entry::{Entry, EntryKind, Place};
use super::object::{Checksum, ETag, ObjectAttributes};
use super::object_lock::{BucketLock, ObjectLock};
use super::store::table::Table;
use super::tags::{Tag, TagsRow};
use super::version::{VersionId, Versioning};
use super::{BUCKET_BYTES_MAX, KEY_BYTES_MAX, ROOT_INODE, key};
use crate::namespace::store::StoreError;

/// One consistent state of the namespace.
pub struct View<'t> {
    table: Table,
    transaction: Transaction<'t>,
}

enum Transaction<'t> {
    Own(RoTxn<'t, WithoutTls>),
    /// The transaction of the batch that is being applied.
    Borrowed(&'t RoTxn<'t>),
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub name: String,
    /// The inode of its directory.
    pub inode: u64,
    /// When it was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// The account that owns it.
    pub owner: u64,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Its Object Lock, where it has it.
    pub lock: Option<BucketLock>,
}

/// An object, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The inode, which names this body for good: another PUT takes another one.
    pub inode: u64,
    /// Size of the body, in bytes.
    pub size: u64,
    /// The tag.
    pub etag: ETag,
    /// An additional checksum.
    pub checksum: Option<Checksum>,
    /// Time of the last change, in nanoseconds since the Unix epoch.
    pub modified_nanos: i64,
    /// The account that owns it.
    pub owner: u64,
    /// The group's commit sequence of the change.
    pub commit_sequence: u64,
    /// Headers and user metadata.
    pub attributes: ObjectAttributes,
    /// How many tags it has: [`View::object_tags`].
    pub tag_count: u8,
    /// Whether it has an access list: [`View::object_access_list`].
    pub has_access_list: bool,
    /// What keeps it from being removed.
    pub lock: ObjectLock,
    /// The version that it is.
    pub version: VersionId,
}

impl<'t> View<'t> {
    pub(crate) fn own(table: Table, transaction: RoTxn<'t, WithoutTls>) -> View<'t> {
        View {
            table,
            transaction: Transaction::Own(transaction),
        }
    }

    pub(crate) fn borrowed(table: Table, transaction: &'t RoTxn<'t>) -> View<'t> {
        View {
            table,
            transaction: Transaction::Borrowed(transaction),
        }
    }

    fn txn(&self) -> &RoTxn<'_> {
        match &self.transaction {
            Transaction::Own(transaction) => transaction,
            Transaction::Borrowed(transaction) => transaction,
        }
    }

    /// The bucket of that name.
    ///
    /// # Errors
    /// `Corrupt` where a row is damaged, `Lmdb` where LMDB fails; so for every query here.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket>, StoreError> {
        if name.is_empty() || name.len() > BUCKET_BYTES_MAX || name.contains('/') {
            return Ok(None);
        }
        let segment = directory_segment(name.as_bytes());
        let entry = self.entry(ROOT_INODE, &segment)?;
        Ok(entry.map(|entry| bucket_of(name.to_owned(), &entry)))
    }

    /// All buckets, in the byte order of their names.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        let prefix = key::entry(ROOT_INODE, &[]);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let mut buckets = Vec::new();
        while let Some((key, entry)) = scan.next::<Entry>()? {
            let segment = &key[key::ENTRY_PREFIX_BYTES..];
            let name = segment.strip_suffix(b"/").unwrap_or(segment);
            let name = String::from_utf8_lossy(name).into_owned();
            buckets.push(bucket_of(name, &entry));
        }
        // Their segments end in `/`, which is above `-` and `.`.
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(buckets)
    }

    /// The object under a key of a bucket. `None` also where there is no such bucket: look it up
    /// to tell the two apart.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn object(&self, bucket: &str, key: &[u8]) -> Result<Option<Object>, StoreError> {
        match self.bucket(bucket)? {
            Some(bucket) => self.object_in(bucket.inode, key),
            None => Ok(None),
        }
    }

    /// The object under a key of a bucket, given by its inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn object_in(&self, bucket: u64, key: &[u8]) -> Result<Option<Object>, StoreError> {
        let Some(directory) = self.directory_of(bucket, key)? else {
            return Ok(None);
        };
        let Some(entry) = self.object_entry_in(directory, key)? else {
            return Ok(None);
        };
        self.object_of(entry).map(Some)
    }

    /// The object of an entry.
    fn object_of(&self, entry: Entry) -> Result<Object, StoreError> {
        let attributes = self.attributes(entry.inode)?;
        Ok(Object {
            inode: entry.inode,
            size: entry.size,
            etag: entry.etag.unwrap_or(ETag {
                digest: [0; 16],
                part_count: 0,
            }),
            checksum: entry.checksum,
            modified_nanos: entry.modified_nanos,
            owner: entry.owner,
            commit_sequence: entry.commit_sequence,
            attributes,
            tag_count: entry.tag_count,
            has_access_list: entry.has_access_list,
            lock: entry.lock,
            version: entry.version,
        })
    }

    /// The tags of an object that this view has found, in the order in which they were set.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); `Invariant` where they are not as many as its entry says.
    pub fn object_tags(&self, object: &Object) -> Result<Vec<Tag>, StoreError> {
        if object.tag_count == 0 {
            return Ok(Vec::new());
        }
        let row_key = key::x_kind(object.inode, key::X_TAGS);
        let row: Option<TagsRow> = self.table.get(self.txn(), &row_key)?;
        let TagsRow(tags) = row.unwrap_or_default();
        match tags.len() == usize::from(object.tag_count) {
            true => Ok(tags),
            false => Err(StoreError::Invariant(format!(
                "inode {} has {} tags where its entry says {}",
                object.inode,
                tags.len(),
                object.tag_count
            ))),
        }
    }

    /// The access list of an object that this view has found; `None` for the one that grants its owner everything.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); `Invariant` where its entry says that there is one.
    pub fn object_access_list(&self, object: &Object) -> Result<Option<Vec<Grant>>, StoreError> {
        if !object.has_access_list {
            return Ok(None);
        }
        let row_key = key::x_kind(object.inode, key::X_ACCESS_LIST);
        let row: Option<AccessListRow> = self.table.get(self.txn(), &row_key)?;
        match row {
            Some(AccessListRow(grants)) => Ok(Some(grants)),
            None => Err(StoreError::Invariant(format!(
                "inode {} has no access list where its entry says so",
                object.inode
            ))),
        }
    }

    /// Where an inode lies in the tree.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn place(&self, inode: u64) -> Result<Option<Place>, StoreError> {
        self.table.get(self.txn(), &key::inode(inode))
    }

    /// Headers and user metadata of an inode.
    pub(crate) fn attributes(&self, inode: u64) -> Result<ObjectAttributes, StoreError> {
        let key = key::x_kind(inode, key::X_ATTRIBUTES);
        Ok(self.table.get(self.txn(), &key)?.unwrap_or_default())
    }

    pub(crate) fn entry(&self, parent: u64, segment: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.table.get(self.txn(), &key::entry(parent, segment))
    }

    /// The directory that holds an object's entry, if it is there.
    pub(crate) fn directory_of(&self, bucket: u64, key: &[u8]) -> Result<Option<u64>, StoreError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let mut parent = bucket;
        for segment in split_key(key).0 {
            match self.entry(parent, segment)? {
                Some(entry) => parent = entry.inode,
                None => return Ok(None),
            }
        }
        Ok(Some(parent))
    }

    /// The entry of an object in its directory; directories are none.
    pub(crate) fn object_entry_in(
        &self,
        directory: u64,
        key: &[u8],
    ) -> Result<Option<Entry>, StoreError> {
        let entry = self.entry(directory, split_key(key).1)?;
        Ok(entry.filter(|entry| entry.kind == EntryKind::File))
    }

    /// Whether a directory holds nothing, so that it may be removed.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn is_empty_directory(&self, inode: u64) -> Result<bool, StoreError> {
        Ok(!self.table.any(self.txn(), &key::entry(inode, &[]))?)
    }
}

fn bucket_of(name: String, entry: &Entry) -> Bucket {
    Bucket {
        name,
        inode: entry.inode,
        created_nanos: entry.modified_nanos,
        owner: entry.owner,
        versioning: entry.versioning,
        lock: entry.bucket_lock,
    }
}

/// The segment of a directory of that name.
pub(crate) fn directory_segment(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// The directory segments of a key, each with its `/`, and the last segment, which is empty where
/// the key ends in `/`.
pub(crate) fn split_key(key: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let name_at = key
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    let (directories, name) = key.split_at(name_at);
    (directories.split_inclusive(|byte| *byte == b'/'), name)
}
