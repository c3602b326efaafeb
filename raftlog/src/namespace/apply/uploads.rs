//! Commands about multipart uploads. Each part is a space of the upload's inode; completing writes a
//! table of spans and moves neither bytes nor rows, nor does it read the parts: an upload knows when one of them was last put.

use super::bodies::check_checksum;
use super::objects::{NewObject, check_precondition};
use super::{Change, Outcome, invalid};
use crate::namespace::body::{DroppedScope, SPANS_PER_ROW, Span, SpanRow};
use crate::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CreateUpload, CreateUploadWithExtras, PutPart, Refusal,
};
use crate::namespace::entry::{Place, PlaceKind};
use crate::namespace::extras::ObjectExtras;
use crate::namespace::key;
use crate::namespace::object::{Checksum, ChecksumAlgorithm};
use crate::namespace::store::StoreError;
use crate::namespace::upload::{Part, Upload};

impl Change<'_, '_> {
    pub(super) fn create_upload(&mut self, command: &CreateUpload) -> Outcome {
        self.create_with(command, &ObjectExtras::default())
    }

    pub(super) fn create_upload_with_extras(
        &mut self,
        command: &CreateUploadWithExtras,
    ) -> Outcome {
        self.create_with(&command.create, &command.extras)
    }

    fn create_with(&mut self, command: &CreateUpload, extras: &ObjectExtras) -> Outcome {
        self.check_key(&command.key)?;
        self.check_attributes(&command.attributes)?;
        self.check_tags(&extras.tags)?;
        self.check_access_list(extras.access_list.as_deref())?;
        let bucket = command.bucket;
        let place = self.bucket(bucket)?;
        self.check_lock(extras.lock, &self.bucket_entry(&place)?)?;
        self.check_fresh_inode(command.inode)?;
        let upload = Upload {
            initiated_nanos: self.now(),
            owner: command.owner,
            storage_class: command.attributes.storage_class,
            checksum: command.checksum,
            tag_count: self.put_tags(command.inode, &extras.tags)?,
            has_access_list: self.put_access_list(command.inode, extras.access_list.as_deref())?,
            lock: extras.lock,
            commit_sequence: self.sequence,
            parts_changed: self.sequence,
        };
        let place = Place {
            kind: PlaceKind::Upload,
            parent: bucket,
            segment: command.key.clone(),
        };
        self.put(&key::upload(bucket, &command.key, command.inode), &upload)?;
        self.put(&key::inode(command.inode), &place)?;
        self.put_attributes(command.inode, &command.attributes)?;
        Ok(Answer::Done)
    }

    pub(super) fn put_part(&mut self, command: &PutPart) -> Outcome {
        let bucket = command.bucket;
        self.bucket(bucket)?;
        let upload = self.upload(bucket, &command.key, command.upload)?;
        if command.number == 0 || command.number > self.limits.part_number_max {
            return invalid("a part's number is 1 to 10,000");
        }
        check_checksum(command.checksum.as_ref())?;
        check_part_checksum(&upload, command.checksum.as_ref())?;
        self.check_body(&command.body, command.size)?;
        if command.space == 0 || self.holds_body(command.upload, command.space)? {
            return invalid("a part's space is not 0 and was not used before");
        }
        let old = self.view().part(command.upload, command.number)?;
        if let Some(old) = old {
            self.drop_space(command.upload, old.space)?;
        }
        self.put_body(command.upload, command.space, &command.body)?;
        let part = Part {
            space: command.space,
            size: command.size,
            etag: command.etag,
            checksum: command.checksum.clone(),
            modified_nanos: self.now(),
        };
        self.put(&key::part(command.upload, command.number), &part)?;
        let upload = Upload {
            parts_changed: self.sequence,
            ..upload
        };
        let row = key::upload(bucket, &command.key, command.upload);
        self.put(&row, &upload)?;
        Ok(Answer::Done)
    }

    pub(super) fn complete_upload(&mut self, command: &CompleteUpload) -> Outcome {
        let bucket = command.bucket;
        let place = self.bucket(bucket)?;
        let upload = self.upload(bucket, &command.key, command.upload)?;
        check_checksum(command.checksum.as_ref())?;
        if upload.parts_changed != command.parts_changed {
            return Err(Refusal::PartsChanged.into());
        }
        let parts = command.parts.len();
        if parts == 0 || parts > usize::from(self.limits.part_number_max) {
            return invalid("an upload is completed with 1 to 10,000 parts");
        }
        let sizes = command.parts.iter().map(|part| part.size);
        let size = sizes.fold(0, u64::saturating_add);
        if size > self.limits.object_bytes_max {
            return Err(Refusal::EntityTooLarge.into());
        }
        if command.etag.part_count as usize != command.parts.len() {
            return invalid("the tag does not count the parts");
        }
        let checksum_bytes = part_checksum_bytes(command)?;
        let bucket_entry = self.bucket_entry(&place)?;
        let found = self.find_object(bucket, &command.key)?;
        check_precondition(&command.precondition, found.entry.as_ref())?;
        self.put_spans(command, checksum_bytes)?;
        self.delete(&key::upload(bucket, &command.key, command.upload))?;
        self.queue_dropped(command.upload, DroppedScope::Parts)?;
        let new = NewObject {
            bucket: &bucket_entry,
            key: &command.key,
            inode: command.upload,
            size,
            etag: command.etag,
            checksum: command.checksum.as_ref(),
            owner: upload.owner,
            storage_class: upload.storage_class,
            tag_count: upload.tag_count,
            has_access_list: upload.has_access_list,
            lock: upload.lock,
        };
        Ok(self.put_in_place(&new, found)?)
    }

    pub(super) fn abort_upload(&mut self, command: &AbortUpload) -> Outcome {
        let bucket = command.bucket;
        self.bucket(bucket)?;
        self.upload(bucket, &command.key, command.upload)?;
        self.drop_upload(command.upload)?;
        self.delete(&key::upload(bucket, &command.key, command.upload))?;
        self.delete(&key::inode(command.upload))?;
        Ok(Answer::Done)
    }

    fn upload(&self, bucket: u64, object_key: &[u8], upload: u64) -> Outcome<Upload> {
        if object_key.is_empty() || object_key.len() > self.limits.key_bytes_max {
            return Err(Refusal::NoSuchUpload.into());
        }
        let row = self.view().upload(bucket, object_key, upload)?;
        row.ok_or_else(|| Refusal::NoSuchUpload.into())
    }

    fn put_spans(
        &mut self,
        command: &CompleteUpload,
        checksum_bytes: usize,
    ) -> Result<(), StoreError> {
        let (mut offset, mut checksums) = (0, &command.part_checksums[..]);
        for parts in command.parts.chunks(SPANS_PER_ROW) {
            let key = key::x_at(command.upload, key::X_SPANS, 0, offset);
            let spans = parts.iter().map(|part| Span {
                space: part.space,
                length: part.size,
            });
            let (own, others) = checksums.split_at(parts.len() * checksum_bytes);
            let row = SpanRow {
                spans: spans.collect(),
                checksums: own.to_vec(),
            };
            self.put(&key, &row)?;
            checksums = others;
            offset += parts.iter().map(|part| part.size).sum::<u64>();
        }
        Ok(())
    }
}

/// Bytes of the checksum of each part; 0 where they are not kept.
fn part_checksum_bytes(command: &CompleteUpload) -> Outcome<usize> {
    if command.part_checksums.is_empty() {
        return Ok(0);
    }
    let algorithm = command.checksum.as_ref().map(|checksum| checksum.algorithm);
    let bytes = algorithm.map_or(0, ChecksumAlgorithm::value_bytes);
    match command.part_checksums.len() == bytes * command.parts.len() {
        true => Ok(bytes),
        false => invalid("there is one checksum for each part, or none"),
    }
}

/// A part's checksum is of the algorithm that its upload was begun with, where it was with one.
fn check_part_checksum(upload: &Upload, checksum: Option<&Checksum>) -> Outcome<()> {
    match (upload.checksum, checksum) {
        (Some((algorithm, _)), Some(checksum)) if checksum.algorithm != algorithm => {
            Err(Refusal::ChecksumMismatch.into())
        }
        _ => Ok(()),
    }
}
