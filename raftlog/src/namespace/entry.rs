//! Entries: the value of a `D` row, 185 bytes, all that LIST and HEAD's size, tag and lock need.

use super::object::{Checksum, ChecksumAlgorithm, ChecksumKind, ETag, StorageClass};
use super::object_lock::{BucketLock, ObjectLock, bucket_lock_of_row, bucket_lock_to_row};
use super::value::{Damage, FieldWriter, Fields, Row};
use super::version::{self, VersionId, Versioning};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file or an object.
    File,
    /// A directory; its segment ends in `/`.
    Directory,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// File or directory.
    pub kind: EntryKind,
    /// Whether a directory came with a key and goes with its last one.
    pub implicit: bool,
    /// The inode.
    pub inode: u64,
    /// Size of the body, in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Number of names of the inode.
    pub link_count: u32,
    /// Time of the last access, in nanoseconds since the Unix epoch, as all times here.
    pub accessed_nanos: i64,
    /// Time of the last change of the body.
    pub modified_nanos: i64,
    /// Time of the last change of body or attributes.
    pub changed_nanos: i64,
    /// Raised with every change of the inode.
    pub change_counter: u64,
    /// The tag of an object.
    pub etag: Option<ETag>,
    /// An additional checksum of an object.
    pub checksum: Option<Checksum>,
    /// The group's commit sequence of the last change.
    pub commit_sequence: u64,
    /// The account that owns it.
    pub owner: u64,
    /// The storage class.
    pub storage_class: StorageClass,
    /// How many tags an object has.
    pub tag_count: u8,
    /// Whether an object has an access list.
    pub has_access_list: bool,
    /// The version that an object is; null for all else.
    pub version: VersionId,
    /// Whether a bucket keeps versions; off for all else.
    pub versioning: Versioning,
    /// What keeps an object from being removed.
    pub lock: ObjectLock,
    /// The Object Lock of a bucket that has it.
    pub bucket_lock: Option<BucketLock>,
}

const FLAG_IMPLICIT: u32 = 1;
const FLAG_ETAG: u32 = 1 << 1;
const FLAG_VERSIONED: u32 = 1 << 2;
const FLAG_SUSPENDED: u32 = 1 << 3;
const FLAG_ACCESS_LIST: u32 = 1 << 4;
const FLAGS_KNOWN: u32 =
    FLAG_IMPLICIT | FLAG_ETAG | FLAG_VERSIONED | FLAG_SUSPENDED | FLAG_ACCESS_LIST;

impl Entry {
    pub(crate) fn directory(
        inode: u64,
        implicit: bool,
        now: i64,
        sequence: u64,
        owner: u64,
    ) -> Entry {
        Entry {
            kind: EntryKind::Directory,
            implicit,
            inode,
            size: 0,
            mode: 0o755,
            uid: 0,
            gid: 0,
            link_count: 1,
            accessed_nanos: now,
            modified_nanos: now,
            changed_nanos: now,
            change_counter: 1,
            etag: None,
            checksum: None,
            commit_sequence: sequence,
            owner,
            storage_class: StorageClass::Standard,
            tag_count: 0,
            has_access_list: false,
            version: VersionId::Null,
            versioning: Versioning::Off,
            lock: ObjectLock::NONE,
            bucket_lock: None,
        }
    }

    /// Where an object stands among the versions of its key.
    pub(crate) fn position(&self) -> u128 {
        match self.version {
            VersionId::Of(number) => number,
            VersionId::Null => version::position(self.commit_sequence, self.inode),
        }
    }

    fn flags(&self) -> u32 {
        let implicit = if self.implicit { FLAG_IMPLICIT } else { 0 };
        let etag = if self.etag.is_some() { FLAG_ETAG } else { 0 };
        let versioning = match self.versioning {
            Versioning::Off => 0,
            Versioning::Enabled => FLAG_VERSIONED,
            Versioning::Suspended => FLAG_VERSIONED | FLAG_SUSPENDED,
        };
        let access_list = if self.has_access_list {
            FLAG_ACCESS_LIST
        } else {
            0
        };
        implicit | etag | versioning | access_list
    }
}

impl Row for Entry {
    fn write(&self, fields: &mut FieldWriter) {
        let (lock, lock_number) = match self.kind {
            EntryKind::File => self.lock.to_row(),
            EntryKind::Directory => bucket_lock_to_row(self.bucket_lock),
        };
        fields.u8(match self.kind {
            EntryKind::File => 1,
            EntryKind::Directory => 2,
        });
        fields.u8(write_storage_class(self.storage_class));
        fields.u8(self.tag_count);
        fields.u8(lock);
        fields.u32(self.flags());
        fields.u64(self.inode);
        fields.u64(self.size);
        for field in [self.mode, self.uid, self.gid, self.link_count] {
            fields.u32(field);
        }
        fields.u64(0);
        for field in [self.accessed_nanos, self.modified_nanos, self.changed_nanos] {
            fields.i64(field);
        }
        fields.u64(self.change_counter);
        write_etag(
            fields,
            self.etag.unwrap_or(ETag {
                digest: [0; 16],
                part_count: 0,
            }),
        );
        write_checksum(fields, self.checksum.as_ref());
        fields.u128(self.version.number());
        fields.u64(self.commit_sequence);
        fields.u64(self.owner);
        fields.u64(lock_number);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Entry, Damage> {
        let kind = match fields.u8()? {
            1 => EntryKind::File,
            2 => EntryKind::Directory,
            _ => return Err(Damage("unknown kind of entry")),
        };
        let storage_class = read_storage_class(fields.u8()?)?;
        let tag_count = fields.u8()?;
        let lock = fields.u8()?;
        let flags = fields.u32()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(Damage("unknown flags"));
        }
        let versioning = match flags & (FLAG_VERSIONED | FLAG_SUSPENDED) {
            0 => Versioning::Off,
            FLAG_VERSIONED => Versioning::Enabled,
            FLAG_SUSPENDED => return Err(Damage("suspended without versions")),
            _ => Versioning::Suspended,
        };
        let (inode, size) = (fields.u64()?, fields.u64()?);
        let (mode, uid, gid, link_count) =
            (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        fields.zeros(8)?;
        let (accessed_nanos, modified_nanos, changed_nanos) =
            (fields.i64()?, fields.i64()?, fields.i64()?);
        let change_counter = fields.u64()?;
        let etag = match flags & FLAG_ETAG {
            0 => fields.zeros(ETAG_BYTES).map(|()| None)?,
            _ => Some(read_etag(fields)?),
        };
        let checksum = read_checksum(fields)?;
        let version = VersionId::of_number(fields.u128()?);
        let (commit_sequence, owner) = (fields.u64()?, fields.u64()?);
        let lock_number = fields.u64()?;
        let (lock, bucket_lock) = match kind {
            EntryKind::File => (ObjectLock::of_row(lock, lock_number)?, None),
            EntryKind::Directory => (ObjectLock::NONE, bucket_lock_of_row(lock, lock_number)?),
        };
        if bucket_lock.is_some() && versioning != Versioning::Enabled {
            return Err(Damage("Object Lock without versions"));
        }
        Ok(Entry {
            kind,
            implicit: flags & FLAG_IMPLICIT != 0,
            inode,
            size,
            mode,
            uid,
            gid,
            link_count,
            accessed_nanos,
            modified_nanos,
            changed_nanos,
            change_counter,
            etag,
            checksum,
            commit_sequence,
            owner,
            storage_class,
            tag_count,
            has_access_list: flags & FLAG_ACCESS_LIST != 0,
            version,
            versioning,
            lock,
            bucket_lock,
        })
    }
}

/// The place of an inode: the value of an `I` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the inode is there.
    pub kind: PlaceKind,
    /// The directory; the bucket for an upload and for an earlier version.
    pub parent: u64,
    /// The segment, with its `/` for a directory; the whole key for an upload and for an earlier version.
    pub segment: Vec<u8>,
}

/// What an inode is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// An entry of a directory.
    Name,
    /// An upload that is not complete.
    Upload,
    /// A version that is not the present one: where it stands among those of its key.
    Version(u128),
}

impl Row for Place {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u8(match self.kind {
            PlaceKind::Name => 1,
            PlaceKind::Upload => 2,
            PlaceKind::Version(_) => 3,
        });
        fields.u64(self.parent);
        if let PlaceKind::Version(position) = self.kind {
            fields.u128(position);
        }
        fields.raw(&self.segment);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Place, Damage> {
        let kind = fields.u8()?;
        let parent = fields.u64()?;
        let kind = match kind {
            1 => PlaceKind::Name,
            2 => PlaceKind::Upload,
            3 => PlaceKind::Version(fields.u128()?),
            _ => return Err(Damage("unknown kind of place")),
        };
        Ok(Place {
            kind,
            parent,
            segment: fields.rest().to_vec(),
        })
    }
}

/// Digest and number of parts.
const ETAG_BYTES: usize = 20;

pub(crate) fn write_etag(fields: &mut FieldWriter, etag: ETag) {
    fields.raw(&etag.digest);
    fields.u32(etag.part_count);
}

pub(crate) fn read_etag(fields: &mut Fields<'_>) -> Result<ETag, Damage> {
    Ok(ETag {
        digest: fields.array()?,
        part_count: fields.u32()?,
    })
}

pub(crate) fn write_storage_class(class: StorageClass) -> u8 {
    match class {
        StorageClass::Standard => 0,
        StorageClass::ReducedRedundancy => 1,
    }
}

pub(crate) fn read_storage_class(byte: u8) -> Result<StorageClass, Damage> {
    match byte {
        0 => Ok(StorageClass::Standard),
        1 => Ok(StorageClass::ReducedRedundancy),
        _ => Err(Damage("unknown storage class")),
    }
}

pub(crate) fn write_algorithm(algorithm: Option<ChecksumAlgorithm>) -> u8 {
    match algorithm {
        None => 0,
        Some(ChecksumAlgorithm::Crc32) => 1,
        Some(ChecksumAlgorithm::Crc32c) => 2,
        Some(ChecksumAlgorithm::Crc64Nvme) => 3,
        Some(ChecksumAlgorithm::Sha1) => 4,
        Some(ChecksumAlgorithm::Sha256) => 5,
    }
}

pub(crate) fn read_algorithm(byte: u8) -> Result<Option<ChecksumAlgorithm>, Damage> {
    Ok(Some(match byte {
        0 => return Ok(None),
        1 => ChecksumAlgorithm::Crc32,
        2 => ChecksumAlgorithm::Crc32c,
        3 => ChecksumAlgorithm::Crc64Nvme,
        4 => ChecksumAlgorithm::Sha1,
        5 => ChecksumAlgorithm::Sha256,
        _ => return Err(Damage("unknown checksum algorithm")),
    }))
}

pub(crate) fn write_checksum_kind(kind: ChecksumKind) -> u8 {
    match kind {
        ChecksumKind::FullObject => 0,
        ChecksumKind::Composite => 1,
    }
}

pub(crate) fn read_checksum_kind(byte: u8) -> Result<ChecksumKind, Damage> {
    match byte {
        0 => Ok(ChecksumKind::FullObject),
        1 => Ok(ChecksumKind::Composite),
        _ => Err(Damage("unknown checksum kind")),
    }
}

/// Longest checksum value, in bytes.
const CHECKSUM_BYTES_MAX: usize = 32;

/// 40 bytes: algorithm, kind, 2 reserved, parts, value padded with zeros.
pub(crate) fn write_checksum(fields: &mut FieldWriter, checksum: Option<&Checksum>) {
    let Some(checksum) = checksum else {
        return fields.zeros(8 + CHECKSUM_BYTES_MAX);
    };
    let length = checksum.algorithm.value_bytes();
    assert_eq!(
        checksum.value.len(),
        length,
        "a checksum is as long as its algorithm says"
    );
    fields.u8(write_algorithm(Some(checksum.algorithm)));
    fields.u8(write_checksum_kind(checksum.kind));
    fields.u16(0);
    fields.u32(checksum.part_count);
    fields.raw(&checksum.value);
    fields.zeros(CHECKSUM_BYTES_MAX - length);
}

pub(crate) fn read_checksum(fields: &mut Fields<'_>) -> Result<Option<Checksum>, Damage> {
    let Some(algorithm) = read_algorithm(fields.u8()?)? else {
        return fields.zeros(7 + CHECKSUM_BYTES_MAX).map(|()| None);
    };
    let kind = read_checksum_kind(fields.u8()?)?;
    fields.zeros(2)?;
    let part_count = fields.u32()?;
    let value = fields.raw(algorithm.value_bytes())?.to_vec();
    fields.zeros(CHECKSUM_BYTES_MAX - value.len())?;
    Ok(Some(Checksum {
        algorithm,
        kind,
        value,
        part_count,
    }))
}
