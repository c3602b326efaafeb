//! Queries about the cluster itself.

use super::View;
use crate::namespace::command::Answer;
use crate::namespace::key;
use crate::namespace::setting::SettingRow;
use crate::namespace::store::StoreError;
use crate::namespace::system::{
    AllocationEpoch, AnswerRow, BucketUsage, ClusterIdentity, DeviceCondition, Geometry,
    GroupState, Layout, LogPosition, MembershipRow, PlacementGroup, RootKey, Session, Writer,
};
use crate::namespace::value::Row;

impl View<'_> {
    /// Which cluster this is; `None` before it is initialised.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn cluster(&self) -> Result<Option<ClusterIdentity>, StoreError> {
        self.table.get(self.txn(), &key::system(key::S_CLUSTER))
    }

    /// Counters of the group; `None` before it is initialised.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket); `NewerFormat` where the group has activated a feature level that this version does not
    /// follow.
    pub fn group(&self) -> Result<Option<GroupState>, StoreError> {
        let key = key::system(key::S_GROUP);
        let group: Option<GroupState> = self.table.get(self.txn(), &key)?;
        match group {
            Some(group) if group.feature_level > self.table.newest_level() => Err(
                StoreError::NewerFormat(format!("feature level {}", group.feature_level)),
            ),
            known => Ok(known),
        }
    }

    /// The layout of new chunks.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn layout(&self) -> Result<Option<Layout>, StoreError> {
        self.table.get(self.txn(), &key::system(key::S_LAYOUT))
    }

    /// The root credentials.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn root_key(&self) -> Result<Option<RootKey>, StoreError> {
        self.table.get(self.txn(), &key::system(key::S_ROOT_KEY))
    }

    /// The last entry that has been applied; all zeros for none.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn applied(&self) -> Result<LogPosition, StoreError> {
        let applied = self.table.get(self.txn(), &key::system(key::S_APPLIED))?;
        Ok(applied.unwrap_or_default())
    }

    /// The membership in force and the place of its entry, as the group wrote it.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn membership(&self) -> Result<Option<(LogPosition, Vec<u8>)>, StoreError> {
        let row = self
            .table
            .get::<MembershipRow>(self.txn(), &key::system(key::S_MEMBERSHIP))?;
        Ok(row.map(|row| (row.position, row.bytes)))
    }

    /// The geometries, by number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn geometries(&self) -> Result<Vec<Geometry>, StoreError> {
        self.all(&key::system(key::S_GEOMETRY))
    }

    /// The geometry of a number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn geometry(&self, number: u16) -> Result<Option<Geometry>, StoreError> {
        self.table.get(self.txn(), &key::geometry(number))
    }

    /// The placement groups, by number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn placement_groups(&self) -> Result<Vec<PlacementGroup>, StoreError> {
        self.all(&key::system(key::S_PLACEMENT_GROUP))
    }

    /// The placement group of a number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn placement_group(&self, number: u32) -> Result<Option<PlacementGroup>, StoreError> {
        self.table.get(self.txn(), &key::placement_group(number))
    }

    /// What is known of the devices, by uuid.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn devices(&self) -> Result<Vec<DeviceCondition>, StoreError> {
        self.all(&key::system(key::S_DEVICE))
    }

    /// What is known of a device.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn device(&self, device: [u8; 16]) -> Result<Option<DeviceCondition>, StoreError> {
        self.table.get(self.txn(), &key::device(device))
    }

    /// The writers, by number; those that have ended too.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn writers(&self) -> Result<Vec<Writer>, StoreError> {
        self.all(&key::system(key::S_WRITER))
    }

    /// The writer of a number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn writer(&self, number: u32) -> Result<Option<Writer>, StoreError> {
        self.table.get(self.txn(), &key::writer(number))
    }

    /// An allocation epoch that is open.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn epoch(&self, writer: u32, epoch: u32) -> Result<Option<AllocationEpoch>, StoreError> {
        self.table.get(self.txn(), &key::epoch(writer, epoch))
    }

    /// Whether an allocation epoch is known to be closed: nothing more is introduced under it, and orphan collection may free its
    /// unreferenced chunks. A closed writer implies its epochs.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn epoch_closed(&self, writer: u32, epoch: u32) -> Result<bool, StoreError> {
        let Some(row) = self.writer(writer)? else {
            return Ok(false);
        };
        Ok(epoch <= row.last_epoch && self.epoch(writer, epoch)?.is_none())
    }

    /// What a bucket holds, the bucket given by its inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn bucket_usage(&self, bucket: u64) -> Result<Option<BucketUsage>, StoreError> {
        self.table.get(self.txn(), &key::usage(bucket))
    }

    /// What buckets hold, each with its inode and name, by inode from `first` on; at most `limit` of them.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn bucket_usages(
        &self,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String, BucketUsage)>, StoreError> {
        let prefix = key::system(key::S_USAGE);
        let mut scan = self.table.scan(self.txn(), &prefix, &key::usage(first))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((row_key, usage)) = scan.next::<BucketUsage>()? else {
                break;
            };
            let bucket = row_key.last_chunk::<8>();
            let bucket = bucket.map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let place = self.place(bucket)?.ok_or_else(|| {
                StoreError::Invariant(format!("bucket {bucket} holds something and has no name"))
            })?;
            let name = place.segment.strip_suffix(b"/").unwrap_or(&place.segment);
            found.push((bucket, String::from_utf8_lossy(name).into_owned(), usage));
        }
        Ok(found)
    }

    /// The document of a bucket's setting, by the number of [`setting`](crate::namespace::setting).
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn bucket_setting(&self, bucket: u64, setting: u8) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<SettingRow> = self.table.get(self.txn(), &key::x_kind(bucket, setting))?;
        Ok(row.map(|row| row.0))
    }

    /// A proposer's session.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn session(&self, session: u64) -> Result<Option<Session>, StoreError> {
        self.table.get(self.txn(), &key::session(session))
    }

    pub(crate) fn answer(&self, session: u64, seq: u64) -> Result<Option<Answer>, StoreError> {
        let row = self
            .table
            .get::<AnswerRow>(self.txn(), &key::answer(session, seq))?;
        Ok(row.map(|row| row.0))
    }

    /// The numbers of all sessions with their rows.
    pub(crate) fn sessions(&self) -> Result<Vec<(u64, Session)>, StoreError> {
        let prefix = key::sessions();
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let mut found = Vec::new();
        while let Some((row_key, session)) = scan.next::<Session>()? {
            let number = row_key
                .last_chunk::<8>()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            found.push((number, session));
        }
        Ok(found)
    }

    pub(super) fn all<R: Row>(&self, prefix: &[u8]) -> Result<Vec<R>, StoreError> {
        let mut scan = self.table.scan(self.txn(), prefix, prefix)?;
        let mut rows = Vec::new();
        while let Some((_, row)) = scan.next::<R>()? {
            rows.push(row);
        }
        Ok(rows)
    }
}
