//! What buckets hold: counted as commands put and delete objects, and written once for all commands of a transaction.

use std::collections::BTreeMap;

use super::{Applier, Change};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::system::BucketUsage;

/// Changes of a transaction that are not written yet, by bucket; `None` where the bucket is gone.
pub(super) type UsageChanges = BTreeMap<u64, Option<UsageChange>>;

/// What a bucket gained, less what it lost.
#[derive(Debug, Default)]
pub(super) struct UsageChange {
    objects: i64,
    bytes: i64,
}

impl UsageChange {
    fn applied_to(&self, usage: BucketUsage) -> Option<BucketUsage> {
        Some(BucketUsage {
            objects: usage.objects.checked_add_signed(self.objects)?,
            bytes: usage.bytes.checked_add_signed(self.bytes)?,
        })
    }
}

impl Change<'_, '_> {
    /// A bucket begins, with nothing in it.
    pub(super) fn begin_usage(&mut self, bucket: u64) {
        self.usage.insert(bucket, Some(UsageChange::default()));
    }

    /// A bucket is gone.
    pub(super) fn end_usage(&mut self, bucket: u64) {
        self.usage.insert(bucket, None);
    }

    /// An object of this size has got a name.
    pub(super) fn count_put(&mut self, bucket: u64, bytes: u64) {
        self.count(bucket, 1, bytes.cast_signed());
    }

    /// An object of this size has lost its name.
    pub(super) fn count_deleted(&mut self, bucket: u64, bytes: u64) {
        self.count(bucket, -1, -bytes.cast_signed());
    }

    fn count(&mut self, bucket: u64, objects: i64, bytes: i64) {
        let change = self
            .usage
            .entry(bucket)
            .or_insert_with(|| Some(UsageChange::default()));
        if let Some(change) = change {
            change.objects += objects;
            change.bytes += bytes;
        }
    }
}

/// Writes the changes of a transaction.
pub(super) fn write(applier: &mut Applier<'_>) -> Result<(), StoreError> {
    for (bucket, change) in std::mem::take(&mut applier.usage) {
        let row = key::usage(bucket);
        let Some(change) = change else {
            applier.table.delete(&mut applier.txn, &row)?;
            continue;
        };
        let before = applier.view().bucket_usage(bucket)?.unwrap_or_default();
        let Some(after) = change.applied_to(before) else {
            let reason =
                format!("bucket {bucket} would hold less than nothing: {before:?} with {change:?}");
            return Err(StoreError::Invariant(reason));
        };
        applier.table.put(&mut applier.txn, &row, &after)?;
    }
    Ok(())
}
