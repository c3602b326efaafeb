//! Commands about versions: what a bucket keeps, delete markers, and versions that are deleted for good.
//!
//! Invariants: those of [`version`](crate::namespace::version); an object keeps its inode and its body when it becomes an earlier version
//! or the present one again, so that neither costs more for a long body.

use std::collections::BTreeSet;

use super::objects::matches;
use super::tree::Found;
use super::{Change, Outcome, invalid};
use crate::namespace::ROOT_INODE;
use crate::namespace::command::{
    Answer, DeleteKey, DeleteVersion, DeleteVersions, MarkDeleted, MarkOutcome, Refusal,
    SetVersioning, VersionDeleteOutcome,
};
use crate::namespace::entry::{Entry, Place, PlaceKind};
use crate::namespace::key;
use crate::namespace::object_lock::Removable;
use crate::namespace::store::StoreError;
use crate::namespace::version::{Marker, NullVersion, VersionId, VersionRow, Versioning, position};
use crate::namespace::view::split_key;

impl Change<'_, '_> {
    pub(super) fn set_versioning(&mut self, command: &SetVersioning) -> Outcome {
        let place = self.bucket(command.bucket)?;
        let entry = self.bucket_entry(&place)?;
        if command.versioning == entry.versioning {
            return Ok(Answer::Done);
        }
        if command.versioning == Versioning::Off {
            return invalid("a bucket that has kept versions is never off again");
        }
        if entry.bucket_lock.is_some() {
            return Err(Refusal::InvalidBucketState.into());
        }
        let entry = Entry {
            versioning: command.versioning,
            ..entry
        };
        self.put(&key::entry(ROOT_INODE, &place.segment), &entry)?;
        Ok(Answer::Done)
    }

    pub(super) fn mark_deleted(&mut self, command: &MarkDeleted) -> Outcome {
        if command.keys.is_empty() || command.keys.len() > self.limits.delete_keys_max {
            return invalid("a delete has 1 to 1,000 keys");
        }
        for key in &command.keys {
            self.check_key(&key.key)?;
        }
        let place = self.bucket(command.bucket)?;
        let versioning = self.bucket_entry(&place)?.versioning;
        if versioning == Versioning::Off {
            return Err(Refusal::VersioningChanged.into());
        }
        let (mut outcomes, mut left) = (Vec::with_capacity(command.keys.len()), BTreeSet::new());
        for (number, key) in (1..).zip(&command.keys) {
            let (bucket, owner) = (command.bucket, command.owner);
            let found = self.find_object(bucket, &key.key)?;
            if !is_meant(key, found.entry.as_ref()) {
                let is_there = found.entry.is_some()
                    || self.view().newest_earlier(bucket, &key.key)?.is_some();
                outcomes.push(match is_there {
                    true => MarkOutcome::PreconditionFailed,
                    false => MarkOutcome::Absent,
                });
                continue;
            }
            left.extend(found.directory);
            let at = position(self.sequence, number);
            let version = match versioning {
                Versioning::Suspended => VersionId::Null,
                _ => VersionId::Of(at),
            };
            self.put_marker(bucket, &key.key, found, at, version, owner)?;
            outcomes.push(MarkOutcome::Marked(version));
        }
        for directory in left {
            self.prune(command.bucket, directory)?;
        }
        Ok(Answer::Marked(outcomes))
    }

    fn put_marker(
        &mut self,
        bucket: u64,
        object_key: &[u8],
        found: Found,
        at: u128,
        version: VersionId,
        owner: u64,
    ) -> Result<(), StoreError> {
        if let (Some(directory), Some(entry)) = (found.directory, found.entry) {
            self.delete(&key::entry(directory, split_key(object_key).1))?;
            self.supersede(bucket, object_key, entry, version)?;
        } else if version == VersionId::Null {
            self.drop_null_version(bucket, object_key)?;
        }
        let marker = VersionRow::Marker(Marker {
            version,
            modified_nanos: self.now(),
            owner,
        });
        self.put_version(bucket, object_key, at, &marker)
    }

    /// Has an object that is under its key no more make room for a version: it is dropped where both are null versions, and becomes
    /// an earlier version otherwise. Its place is given up; its entry was taken away or is written over.
    pub(super) fn supersede(
        &mut self,
        bucket: u64,
        object_key: &[u8],
        old: Entry,
        by: VersionId,
    ) -> Result<(), StoreError> {
        if by == VersionId::Null {
            if old.version == VersionId::Null {
                return self.drop_object(bucket, &self.unlocked(&old)?);
            }
            self.drop_null_version(bucket, object_key)?;
        }
        let at = old.position();
        let place = Place {
            kind: PlaceKind::Version(at),
            parent: bucket,
            segment: object_key.to_vec(),
        };
        self.put(&key::inode(old.inode), &place)?;
        self.put_version(bucket, object_key, at, &VersionRow::Object(old))
    }

    fn put_version(
        &mut self,
        bucket: u64,
        object_key: &[u8],
        at: u128,
        row: &VersionRow,
    ) -> Result<(), StoreError> {
        self.put(&key::version(bucket, object_key, at), row)?;
        if row.version() == VersionId::Null {
            self.put(&key::null_version(bucket, object_key), &NullVersion(at))?;
        }
        Ok(())
    }

    /// Drops the null version of a key, where it is an earlier one.
    pub(super) fn drop_null_version(
        &mut self,
        bucket: u64,
        object_key: &[u8],
    ) -> Result<(), StoreError> {
        let found = self
            .view()
            .earlier_version(bucket, object_key, VersionId::Null)?;
        if let Some((at, row)) = found {
            self.take_version(bucket, object_key, at, row.version())?;
            if let VersionRow::Object(entry) = row {
                self.drop_object(bucket, &self.unlocked(&entry)?)?;
            }
        }
        Ok(())
    }

    /// Takes an earlier version out of its row.
    fn take_version(
        &mut self,
        bucket: u64,
        object_key: &[u8],
        at: u128,
        version: VersionId,
    ) -> Result<(), StoreError> {
        self.delete(&key::version(bucket, object_key, at))?;
        if version == VersionId::Null {
            self.delete(&key::null_version(bucket, object_key))?;
        }
        Ok(())
    }

    pub(super) fn delete_versions(&mut self, command: &DeleteVersions) -> Outcome {
        let count = command.versions.len();
        if count == 0 || count > self.limits.delete_keys_max {
            return invalid("a delete has 1 to 1,000 versions");
        }
        for version in &command.versions {
            self.check_key(&version.key)?;
        }
        let bucket = command.bucket;
        self.bucket(bucket)?;
        let (mut outcomes, mut left) = (Vec::with_capacity(count), BTreeSet::new());
        for version in &command.versions {
            let found = self.find_object(bucket, &version.key)?;
            let directory = found.directory;
            let is_hiding = !command.may_grow && self.hides_object(bucket, version, &found)?;
            let outcome = match is_hiding {
                true => VersionDeleteOutcome::BringsBack,
                false => self.delete_version(bucket, version, found)?,
            };
            if outcome == VersionDeleteOutcome::Deleted {
                left.extend(directory);
            }
            outcomes.push(outcome);
        }
        for directory in left {
            self.prune(bucket, directory)?;
        }
        Ok(Answer::VersionsDeleted(outcomes))
    }

    /// Whether a version is the delete marker that a GET meets, and an object comes next.
    fn hides_object(
        &self,
        bucket: u64,
        asked: &DeleteVersion,
        found: &Found,
    ) -> Result<bool, StoreError> {
        if found.entry.is_some() || asked.if_match.is_some() {
            return Ok(false);
        }
        let newest = self.view().newest_earlier_two(bucket, &asked.key)?;
        Ok(match newest {
            [
                Some(VersionRow::Marker(marker)),
                Some(VersionRow::Object(_)),
            ] => marker.version == asked.version,
            _ => false,
        })
    }

    fn delete_version(
        &mut self,
        bucket: u64,
        asked: &DeleteVersion,
        found: Found,
    ) -> Result<VersionDeleteOutcome, StoreError> {
        let object_key = &asked.key[..];
        let condition = asked.if_match.as_ref();
        let is_meant = |entry: &Entry| condition.is_none_or(|condition| matches(condition, entry));
        if let (Some(directory), Some(entry)) = (found.directory, &found.entry)
            && entry.version == asked.version
        {
            if !is_meant(entry) {
                return Ok(VersionDeleteOutcome::PreconditionFailed);
            }
            let Some(object) = self.removable(entry, asked) else {
                return Ok(VersionDeleteOutcome::Locked);
            };
            self.delete(&key::entry(directory, split_key(object_key).1))?;
            self.drop_object(bucket, &object)?;
            self.bring_back(bucket, object_key)?;
            return Ok(VersionDeleteOutcome::Deleted);
        }
        let earlier = self
            .view()
            .earlier_version(bucket, object_key, asked.version)?;
        let Some((at, row)) = earlier else {
            return Ok(VersionDeleteOutcome::Absent);
        };
        match row {
            VersionRow::Object(entry) if is_meant(&entry) => {
                let Some(object) = self.removable(&entry, asked) else {
                    return Ok(VersionDeleteOutcome::Locked);
                };
                self.take_version(bucket, object_key, at, asked.version)?;
                self.drop_object(bucket, &object)?;
                Ok(VersionDeleteOutcome::Deleted)
            }
            VersionRow::Marker(_) if condition.is_none() => {
                self.take_version(bucket, object_key, at, asked.version)?;
                if found.entry.is_none() {
                    self.bring_back(bucket, object_key)?;
                }
                Ok(VersionDeleteOutcome::MarkerDeleted)
            }
            _ => Ok(VersionDeleteOutcome::PreconditionFailed),
        }
    }

    fn removable<'e>(&self, entry: &'e Entry, asked: &DeleteVersion) -> Option<Removable<'e>> {
        Removable::of(entry, self.now(), asked.bypass_governance)
    }

    /// Makes the newest earlier version the present one, where it is an object.
    fn bring_back(&mut self, bucket: u64, object_key: &[u8]) -> Result<(), StoreError> {
        let newest = self.view().newest_earlier(bucket, object_key)?;
        let Some((at, VersionRow::Object(entry))) = newest else {
            return Ok(());
        };
        self.take_version(bucket, object_key, at, entry.version)?;
        self.link(bucket, object_key, &entry)
    }
}

fn is_meant(key: &DeleteKey, entry: Option<&Entry>) -> bool {
    match (&key.if_match, entry) {
        (None, _) => true,
        (Some(condition), Some(entry)) => matches(condition, entry),
        (Some(_), None) => false,
    }
}
