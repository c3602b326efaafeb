//! Multipart uploads: the values of `M` rows.

use super::entry::{
    read_algorithm, read_checksum, read_checksum_kind, read_etag, read_storage_class,
    write_algorithm, write_checksum, write_checksum_kind, write_etag, write_storage_class,
};
use super::object::{Checksum, ChecksumAlgorithm, ChecksumKind, ETag, StorageClass};
use super::object_lock::ObjectLock;
use super::value::{Damage, FieldWriter, Fields, Row};

/// An upload that is not complete. Its attributes, tags and access list lie in `X`, as those of an object do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// When it was begun, in nanoseconds since the Unix epoch.
    pub initiated_nanos: i64,
    /// The account that began it.
    pub owner: u64,
    /// The storage class.
    pub storage_class: StorageClass,
    /// The additional checksum that its parts and the object will have.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// How many tags the object will have.
    pub tag_count: u8,
    /// Whether the object will have an access list.
    pub has_access_list: bool,
    /// What will keep the object from being removed, as it was asked for when the upload was begun.
    pub lock: ObjectLock,
    /// The group's commit sequence of its beginning.
    pub commit_sequence: u64,
    /// That of the last part that was put, or of its beginning.
    pub parts_changed: u64,
}

impl Row for Upload {
    fn write(&self, fields: &mut FieldWriter) {
        fields.i64(self.initiated_nanos);
        fields.u64(self.owner);
        fields.u64(self.commit_sequence);
        fields.u64(self.parts_changed);
        fields.u8(write_storage_class(self.storage_class));
        fields.u8(write_algorithm(
            self.checksum.map(|(algorithm, _)| algorithm),
        ));
        fields.u8(self
            .checksum
            .map_or(0, |(_, kind)| write_checksum_kind(kind)));
        fields.u8(self.tag_count);
        let (lock, until) = self.lock.to_row();
        fields.u8(lock);
        fields.u8(u8::from(self.has_access_list));
        fields.zeros(2);
        fields.u64(until);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Upload, Damage> {
        let (initiated_nanos, owner) = (fields.i64()?, fields.u64()?);
        let (commit_sequence, parts_changed) = (fields.u64()?, fields.u64()?);
        let storage_class = read_storage_class(fields.u8()?)?;
        let checksum = match read_algorithm(fields.u8()?)? {
            None => fields.zeros(1).map(|()| None)?,
            Some(algorithm) => Some((algorithm, read_checksum_kind(fields.u8()?)?)),
        };
        let tag_count = fields.u8()?;
        let lock = fields.u8()?;
        let has_access_list = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Damage("neither with nor without an access list")),
        };
        fields.zeros(2)?;
        let lock = ObjectLock::of_row(lock, fields.u64()?)?;
        Ok(Upload {
            initiated_nanos,
            owner,
            storage_class,
            checksum,
            tag_count,
            has_access_list,
            lock,
            commit_sequence,
            parts_changed,
        })
    }
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The space of the upload's inode that holds its bytes.
    pub space: u32,
    /// Size, in bytes.
    pub size: u64,
    /// The part's tag.
    pub etag: ETag,
    /// An additional checksum.
    pub checksum: Option<Checksum>,
    /// When it was put, in nanoseconds since the Unix epoch.
    pub modified_nanos: i64,
}

impl Row for Part {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.space);
        fields.zeros(4);
        fields.u64(self.size);
        fields.i64(self.modified_nanos);
        write_etag(fields, self.etag);
        write_checksum(fields, self.checksum.as_ref());
    }

    fn read(fields: &mut Fields<'_>) -> Result<Part, Damage> {
        let space = fields.u32()?;
        fields.zeros(4)?;
        Ok(Part {
            space,
            size: fields.u64()?,
            modified_nanos: fields.i64()?,
            etag: read_etag(fields)?,
            checksum: read_checksum(fields)?,
        })
    }
}
