//! Commands about Object Lock, and what it says of others.
//!
//! Invariants: those of [`object_lock`](crate::namespace::object_lock).

use super::{Change, Outcome, invalid};
use crate::namespace::ROOT_INODE;
use crate::namespace::command::{Answer, Refusal, SetBucketLock, SetLegalHold, SetRetention};
use crate::namespace::entry::{Entry, Place};
use crate::namespace::key;
use crate::namespace::object_lock::{
    BucketLock, ObjectLock, RETAIN_UNTIL_MILLIS_MAX, Removable, Retention,
};
use crate::namespace::store::StoreError;
use crate::namespace::version::Versioning;

impl Change<'_, '_> {
    pub(super) fn set_bucket_lock(&mut self, command: &SetBucketLock) -> Outcome {
        let place = self.bucket(command.bucket)?;
        let default = command.default;
        if default.is_some_and(|default| !default.period.is_valid()) {
            return invalid("a default retention is of 1 to 36,500 days or 1 to 100 years");
        }
        let entry = self.bucket_entry(&place)?;
        if entry.versioning != Versioning::Enabled {
            return Err(Refusal::InvalidBucketState.into());
        }
        let entry = Entry {
            bucket_lock: Some(BucketLock { default }),
            ..entry
        };
        self.put(&key::entry(ROOT_INODE, &place.segment), &entry)?;
        Ok(Answer::Done)
    }

    /// The entry of a bucket.
    pub(super) fn bucket_entry(&self, place: &Place) -> Outcome<Entry> {
        let entry = self.view().entry(ROOT_INODE, &place.segment)?;
        entry.ok_or_else(|| Refusal::NoSuchBucket.into())
    }

    pub(super) fn set_retention(&mut self, command: &SetRetention) -> Outcome {
        self.check_retention(command.retention)?;
        self.check_has_lock(command.bucket)?;
        let mut named = self.named_version(command.bucket, &command.key, command.version)?;
        self.check_in_force(command.retention)?;
        let (now, bypass) = (self.now(), command.bypass_governance);
        let lock = &mut named.entry.lock;
        if !lock.may_become(command.retention, now, bypass) {
            return Err(Refusal::ObjectLocked.into());
        }
        lock.retention = command.retention;
        self.put_named(named)?;
        Ok(Answer::Done)
    }

    pub(super) fn set_legal_hold(&mut self, command: &SetLegalHold) -> Outcome {
        self.check_has_lock(command.bucket)?;
        let mut named = self.named_version(command.bucket, &command.key, command.version)?;
        named.entry.lock.legal_hold = Some(command.legal_hold);
        self.put_named(named)?;
        Ok(Answer::Done)
    }

    fn check_has_lock(&self, bucket: u64) -> Outcome<()> {
        let place = self.bucket(bucket)?;
        match self.bucket_entry(&place)?.bucket_lock {
            Some(_) => Ok(()),
            None => Err(Refusal::NoObjectLock.into()),
        }
    }

    fn check_retention(&self, retention: Option<Retention>) -> Outcome<()> {
        let is_valid =
            |retention: Retention| (0..=RETAIN_UNTIL_MILLIS_MAX).contains(&retention.until_millis);
        match retention.is_none_or(is_valid) {
            true => Ok(()),
            false => invalid("a retention ends between the years 1970 and 9999"),
        }
    }

    /// A retention that is over by the time of the group would be taken for a lock and be none: its clock may have been ahead of the one
    /// that a front end asks.
    fn check_in_force(&self, retention: Option<Retention>) -> Outcome<()> {
        match retention.is_none_or(|retention| retention.is_in_force(self.now())) {
            true => Ok(()),
            false => Err(Refusal::RetentionIsOver.into()),
        }
    }

    /// Whether a lock that a request asks for may be given in a bucket. An upload is asked when it begins, not when it is completed.
    pub(super) fn check_lock(&self, lock: ObjectLock, bucket: &Entry) -> Outcome<()> {
        self.check_retention(lock.retention)?;
        match bucket.bucket_lock {
            None if lock != ObjectLock::NONE => Err(Refusal::NoObjectLock.into()),
            _ => self.check_in_force(lock.retention),
        }
    }

    /// The lock of an object that is put now: what was asked for, and the default of its bucket where no retention was.
    pub(super) fn lock_of_new(&self, asked: ObjectLock, bucket: &Entry) -> ObjectLock {
        let default = bucket.bucket_lock.and_then(|lock| lock.default);
        ObjectLock {
            retention: asked
                .retention
                .or_else(|| default.map(|default| default.from(self.now()))),
            legal_hold: asked.legal_hold,
        }
    }

    /// An object that is removed without having been asked whether it is locked: only in buckets that are not [`Versioning::Enabled`], which
    /// have no locked ones.
    pub(super) fn unlocked<'e>(&self, entry: &'e Entry) -> Result<Removable<'e>, StoreError> {
        let removable = Removable::of(entry, self.now(), false);
        removable.ok_or_else(|| {
            let inode = entry.inode;
            StoreError::Invariant(format!("inode {inode} is locked where nothing can be"))
        })
    }
}
