//! Commands about multipart uploads. Each part is a space of the upload's inode; completing writes a
//! table of spans and moves neither bytes nor rows.

use std::cmp::Ordering;

use super::bodies::check_checksum;
use super::objects::{NewObject, check_precondition};
use super::{Change, Outcome, invalid};
use crate::namespace::body::{DroppedScope, SPANS_PER_ROW, Span, SpanRow};
use crate::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CompletedPart, CreateUpload, PutPart, Refusal,
};
use crate::namespace::entry::Place;
use crate::namespace::object::Checksum;
use crate::namespace::store::StoreError;
use crate::namespace::table::Scan;
use crate::namespace::upload::{Part, Upload};
use crate::namespace::{key, value};

impl Change<'_, '_> {
    pub(super) fn create_upload(&mut self, command: &CreateUpload) -> Outcome {
        self.check_key(&command.key)?;
        self.check_attributes(&command.attributes)?;
        let bucket = command.bucket;
        self.bucket(bucket)?;
        self.check_fresh_inode(command.inode)?;
        let upload = Upload {
            initiated_nanos: self.now(),
            owner: command.owner,
            storage_class: command.attributes.storage_class,
            checksum: command.checksum,
            commit_sequence: self.sequence,
        };
        let place = Place {
            parent: bucket,
            segment: command.key.clone(),
            upload: true,
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
        Ok(Answer::Done)
    }

    pub(super) fn complete_upload(&mut self, command: &CompleteUpload) -> Outcome {
        let bucket = command.bucket;
        self.bucket(bucket)?;
        let upload = self.upload(bucket, &command.key, command.upload)?;
        check_checksum(command.checksum.as_ref())?;
        let spans = self.chosen_spans(command)?;
        let size = spans.iter().map(|span| span.length).sum();
        if size > self.limits.object_bytes_max {
            return Err(Refusal::EntityTooLarge.into());
        }
        if command.etag.part_count as usize != command.parts.len() {
            return invalid("the tag does not count the parts");
        }
        let old = self.find_object(bucket, &command.key)?;
        check_precondition(&command.precondition, old.as_ref().map(|old| &old.entry))?;
        self.put_spans(command.upload, &spans)?;
        self.delete(&key::upload(bucket, &command.key, command.upload))?;
        self.queue_dropped(command.upload, DroppedScope::Parts)?;
        let new = NewObject {
            bucket,
            key: &command.key,
            inode: command.upload,
            size,
            etag: command.etag,
            checksum: command.checksum.as_ref(),
            owner: upload.owner,
            storage_class: upload.storage_class,
        };
        Ok(self.put_in_place(&new, old)?)
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

    /// The parts that the object is made of, checked against what the client named. The rows of both are in the order of
    /// their numbers, so each is met once.
    fn chosen_spans(&self, command: &CompleteUpload) -> Outcome<Vec<Span>> {
        let numbers = command.parts.iter().map(|part| part.number);
        if command.parts.is_empty() {
            return invalid("an upload is completed with at least one part");
        }
        if !numbers.is_sorted_by(|a, b| a < b) {
            return Err(Refusal::InvalidPartOrder.into());
        }
        let prefix = key::parts(command.upload);
        let mut stored = self.table.scan(self.txn, &prefix, &prefix)?;
        let mut spans = Vec::with_capacity(command.parts.len());
        for (place, named) in command.parts.iter().enumerate() {
            let part = part_under(&mut stored, &key::part(command.upload, named.number))?;
            let Some(part) = part.filter(|part| is_named(part, named)) else {
                return Err(Refusal::InvalidPart(named.number).into());
            };
            if part.size < self.limits.part_bytes_min && place + 1 < command.parts.len() {
                let (number, size) = (named.number, part.size);
                return Err(Refusal::EntityTooSmall { number, size }.into());
            }
            spans.push(Span {
                space: part.space,
                length: part.size,
            });
        }
        Ok(spans)
    }

    fn put_spans(&mut self, upload: u64, spans: &[Span]) -> Result<(), StoreError> {
        let mut offset = 0;
        for row in spans.chunks(SPANS_PER_ROW) {
            let key = key::x_at(upload, key::X_SPANS, 0, offset);
            self.put(&key, &SpanRow(row.to_vec()))?;
            offset += row.iter().map(|span| span.length).sum::<u64>();
        }
        Ok(())
    }
}

/// The part under a key; the rows before it are passed over.
fn part_under(stored: &mut Scan<'_>, wanted: &[u8]) -> Result<Option<Part>, StoreError> {
    while let Some((row_key, value)) = stored.next_raw()? {
        match row_key.cmp(wanted) {
            Ordering::Less => {}
            Ordering::Equal => return value::open(row_key, value).map(Some),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}

fn is_named(part: &Part, named: &CompletedPart) -> bool {
    let stored = part.checksum.as_ref().map(|checksum| &checksum.value);
    part.etag == named.etag && (named.checksum.is_none() || stored == named.checksum.as_ref())
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
