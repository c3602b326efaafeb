//! Commands about objects.

use std::collections::BTreeSet;

use super::bodies::check_checksum;
use super::tree::Found;
use super::{Change, Outcome, invalid};
use crate::namespace::command::{
    Answer, DeleteKey, DeleteObjects, DeleteOutcome, ETagMatch, Precondition, PutObject,
    PutObjectWithExtras, Refusal,
};
use crate::namespace::entry::{Entry, EntryKind};
use crate::namespace::extras::ObjectExtras;
use crate::namespace::key as row_key;
use crate::namespace::object::{Checksum, ETag, StorageClass};
use crate::namespace::object_lock::ObjectLock;
use crate::namespace::store::StoreError;
use crate::namespace::version::{VersionId, Versioning, position};
use crate::namespace::view::split_key;

/// What is said of an object when it is put in place.
pub(super) struct NewObject<'c> {
    pub(super) bucket: &'c Entry,
    pub(super) key: &'c [u8],
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) etag: ETag,
    pub(super) checksum: Option<&'c Checksum>,
    pub(super) owner: u64,
    pub(super) storage_class: StorageClass,
    pub(super) tag_count: u8,
    pub(super) has_access_list: bool,
    /// The lock that was asked for.
    pub(super) lock: ObjectLock,
}

impl Change<'_, '_> {
    pub(super) fn put_object(&mut self, command: &PutObject) -> Outcome {
        self.put_with(command, &ObjectExtras::default())
    }

    pub(super) fn put_object_with_extras(&mut self, command: &PutObjectWithExtras) -> Outcome {
        self.put_with(&command.put, &command.extras)
    }

    fn put_with(&mut self, command: &PutObject, extras: &ObjectExtras) -> Outcome {
        self.check_key(&command.key)?;
        self.check_attributes(&command.attributes)?;
        self.check_tags(&extras.tags)?;
        self.check_access_list(extras.access_list.as_deref())?;
        check_checksum(command.checksum.as_ref())?;
        let bucket = command.bucket;
        let place = self.bucket(bucket)?;
        let bucket_entry = self.bucket_entry(&place)?;
        self.check_lock(extras.lock, &bucket_entry)?;
        let found = self.find_object(bucket, &command.key)?;
        check_precondition(&command.precondition, found.entry.as_ref())?;
        self.check_fresh_inode(command.inode)?;
        self.check_body(&command.body, command.size)?;
        self.put_body(command.inode, 0, &command.body)?;
        self.put_attributes(command.inode, &command.attributes)?;
        let new = NewObject {
            bucket: &bucket_entry,
            key: &command.key,
            inode: command.inode,
            size: command.size,
            etag: command.etag,
            checksum: command.checksum.as_ref(),
            owner: command.owner,
            storage_class: command.attributes.storage_class,
            tag_count: self.put_tags(command.inode, &extras.tags)?,
            has_access_list: self.put_access_list(command.inode, extras.access_list.as_deref())?,
            lock: extras.lock,
        };
        Ok(self.put_in_place(&new, found)?)
    }

    /// Puts an object, of which the body is there, under its key; the old one is dropped or becomes an earlier version.
    pub(super) fn put_in_place(
        &mut self,
        new: &NewObject<'_>,
        found: Found,
    ) -> Result<Answer, StoreError> {
        let now = self.now();
        let (bucket, versioning) = (new.bucket.inode, new.bucket.versioning);
        let entry = Entry {
            kind: EntryKind::File,
            size: new.size,
            mode: 0o644,
            etag: Some(new.etag),
            checksum: new.checksum.cloned(),
            storage_class: new.storage_class,
            tag_count: new.tag_count,
            has_access_list: new.has_access_list,
            lock: self.lock_of_new(new.lock, new.bucket),
            version: match versioning {
                Versioning::Enabled => VersionId::Of(position(self.sequence, new.inode)),
                Versioning::Off | Versioning::Suspended => VersionId::Null,
            },
            ..Entry::directory(new.inode, false, now, self.sequence, new.owner)
        };
        match (found.entry, versioning) {
            (Some(old), _) => self.supersede(bucket, new.key, old, entry.version)?,
            (None, Versioning::Suspended) => self.drop_null_version(bucket, new.key)?,
            (None, _) => {}
        }
        self.count_put(bucket, new.size);
        match found.directory {
            Some(directory) => self.link_in(directory, split_key(new.key).1, &entry)?,
            None => self.link(bucket, new.key, &entry)?,
        }
        let (inode, commit_sequence, etag, size) = (new.inode, self.sequence, new.etag, new.size);
        Ok(match entry.version {
            VersionId::Null => Answer::Put {
                inode,
                commit_sequence,
                etag,
                size,
                modified_nanos: now,
            },
            VersionId::Of(_) => Answer::PutVersion {
                inode,
                commit_sequence,
                etag,
                size,
                modified_nanos: now,
            },
        })
    }

    pub(super) fn delete_objects(&mut self, command: &DeleteObjects) -> Outcome {
        if command.keys.is_empty() || command.keys.len() > self.limits.delete_keys_max {
            return invalid("a delete has 1 to 1,000 keys");
        }
        let bucket = command.bucket;
        let place = self.bucket(bucket)?;
        if self.bucket_entry(&place)?.versioning != Versioning::Off {
            return Err(Refusal::VersioningChanged.into());
        }
        let mut outcomes = Vec::with_capacity(command.keys.len());
        // Keys of one command often share a directory, which is looked up once, and looked at once when they are gone.
        let (mut last, mut left) = (None, BTreeSet::new());
        for key in &command.keys {
            let name_at = key.key.len() - split_key(&key.key).1.len();
            let above = &key.key[..name_at];
            let directory = match last {
                Some((known, directory)) if known == above => directory,
                _ => self.view().directory_of(bucket, &key.key)?,
            };
            last = Some((above, directory));
            let outcome = match directory {
                Some(directory) => self.delete_object(bucket, directory, key)?,
                None => DeleteOutcome::Absent,
            };
            if outcome == DeleteOutcome::Deleted {
                left.extend(directory);
            }
            outcomes.push(outcome);
        }
        for directory in left {
            self.prune(bucket, directory)?;
        }
        Ok(Answer::Deleted(outcomes))
    }

    /// Deletes an object of a directory, which stays though it may be empty now.
    fn delete_object(
        &mut self,
        bucket: u64,
        directory: u64,
        key: &DeleteKey,
    ) -> Result<DeleteOutcome, StoreError> {
        let is_meant = |entry: &Entry| {
            let condition = key.if_match.as_ref();
            condition.is_none_or(|condition| matches(condition, entry))
        };
        let goes = |entry: &Entry| entry.kind == EntryKind::File && is_meant(entry);
        let place = row_key::entry(directory, split_key(&key.key).1);
        match self.table.delete_if(self.txn, &place, goes)? {
            Some((entry, true)) => {
                self.wrote = true;
                self.drop_object(bucket, &self.unlocked(&entry)?)?;
                Ok(DeleteOutcome::Deleted)
            }
            Some((entry, false)) if entry.kind == EntryKind::File => {
                Ok(DeleteOutcome::PreconditionFailed)
            }
            Some(_) | None => Ok(DeleteOutcome::Absent),
        }
    }
}

pub(super) fn check_precondition(
    precondition: &Precondition,
    entry: Option<&Entry>,
) -> Outcome<()> {
    if let Some(condition) = &precondition.if_match {
        match entry {
            None => return Err(Refusal::NoSuchKey.into()),
            Some(entry) if !matches(condition, entry) => {
                return Err(Refusal::PreconditionFailed.into());
            }
            Some(_) => {}
        }
    }
    match (&precondition.if_none_match, entry) {
        (Some(condition), Some(entry)) if matches(condition, entry) => {
            Err(Refusal::PreconditionFailed.into())
        }
        _ => Ok(()),
    }
}

pub(super) fn matches(condition: &ETagMatch, entry: &Entry) -> bool {
    match condition {
        ETagMatch::Any => true,
        ETagMatch::OneOf(tags) => entry.etag.is_some_and(|etag| tags.contains(&etag)),
    }
}
