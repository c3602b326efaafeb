//! The one LMDB database, with every value verified as it is read.

use std::io::Write as _;
use std::ops::Bound;

use std::ops::Deref;

use heed::types::Bytes;
use heed::{Database, PutFlags, ReservedSpace, RoRange, RoTxn, RwTxn};

use super::StoreError;
use crate::namespace::body::InlineRow;
use crate::namespace::key::prefix_end;
use crate::namespace::tally::Tally;
use crate::namespace::value::{self, Row};

/// A write transaction, with the tally of the rows as it leaves them.
pub(crate) struct WriteTxn<'e> {
    txn: RwTxn<'e>,
    tally: Tally,
}

impl<'e> WriteTxn<'e> {
    /// `tally` is that of the rows before the transaction.
    pub(crate) fn new(txn: RwTxn<'e>, tally: Tally) -> WriteTxn<'e> {
        WriteTxn { txn, tally }
    }

    /// Commits, and gives the tally of the rows after the transaction.
    pub(crate) fn commit(self) -> Result<Tally, StoreError> {
        self.txn.commit()?;
        Ok(self.tally)
    }
}

impl<'e> Deref for WriteTxn<'e> {
    type Target = RoTxn<'e>;

    fn deref(&self) -> &RoTxn<'e> {
        &self.txn
    }
}

/// The database that holds all families of keys.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    database: Database<'static, Bytes, Bytes>,
    newest_level: u16,
}

impl Table {
    /// One whose group may have activated levels up to `newest_level`.
    pub(crate) fn new(database: Database<'static, Bytes, Bytes>, newest_level: u16) -> Table {
        Table {
            database,
            newest_level,
        }
    }

    /// The highest feature level that is followed here.
    pub(crate) fn newest_level(&self) -> u16 {
        self.newest_level
    }

    pub(crate) fn database(&self) -> Database<'static, Bytes, Bytes> {
        self.database
    }

    pub(crate) fn get<R: Row>(&self, txn: &RoTxn<'_>, key: &[u8]) -> Result<Option<R>, StoreError> {
        match self.database.get(txn, key)? {
            Some(value) => value::open(key, value).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn contains(&self, txn: &RoTxn<'_>, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.database.get(txn, key)?.is_some())
    }

    /// Rows from `from` on, as long as their keys begin with `prefix`.
    pub(crate) fn scan<'t>(
        &self,
        txn: &'t RoTxn<'_>,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Scan<'t>, StoreError> {
        let end = prefix_end(prefix);
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let from = from.max(prefix);
        if end.as_deref().is_some_and(|end| from >= end) {
            return Ok(Scan { range: None });
        }
        // LMDB has no empty key to seek.
        let lower = if from.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Included(from)
        };
        let range = self.database.range(txn, &(lower, upper))?;
        Ok(Scan { range: Some(range) })
    }

    /// Whether any key begins with `prefix`.
    pub(crate) fn any(&self, txn: &RoTxn<'_>, prefix: &[u8]) -> Result<bool, StoreError> {
        Ok(self.scan(txn, prefix, prefix)?.next_raw()?.is_some())
    }

    pub(crate) fn put<R: Row>(
        &self,
        txn: &mut WriteTxn<'_>,
        key: &[u8],
        row: &R,
    ) -> Result<(), StoreError> {
        self.put_sealed(txn, key, &value::seal(key, row))
    }

    /// Puts a sealed value.
    pub(crate) fn put_sealed(
        &self,
        txn: &mut WriteTxn<'_>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        // Most rows are new: then one search does.
        let tally = &mut txn.tally;
        let is_new = match self.database.get_or_put(&mut txn.txn, key, value)? {
            None => true,
            Some(old) => {
                tally.remove(key, old);
                false
            }
        };
        tally.add(key, value);
        match is_new {
            true => Ok(()),
            false => Ok(self.database.put(&mut txn.txn, key, value)?),
        }
    }

    /// Puts a body as the payload of its row, written where it is to lie.
    pub(crate) fn put_inline(
        &self,
        txn: &mut WriteTxn<'_>,
        key: &[u8],
        body: &[u8],
    ) -> Result<(), StoreError> {
        let header = value::header::<InlineRow>(key, body);
        let write = |space: &mut ReservedSpace<'_>| {
            space.write_all(&header)?;
            space.write_all(body)
        };
        let bytes = header.len() + body.len();
        // Bodies are new but for a part that is put again: then one search does.
        let (database, tally) = (self.database, &mut txn.tally);
        let is_new = match database.get_or_put_reserved(&mut txn.txn, key, bytes, write)? {
            None => true,
            Some(old) => {
                tally.remove(key, old);
                false
            }
        };
        tally.add_head(key, &header, bytes);
        match is_new {
            true => Ok(()),
            false => Ok(database.put_reserved(&mut txn.txn, key, bytes, write)?),
        }
    }

    /// Puts a sealed value under a key above all others.
    pub(crate) fn append(
        &self,
        txn: &mut WriteTxn<'_>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        txn.tally.add(key, value);
        Ok(self
            .database
            .put_with_flags(&mut txn.txn, PutFlags::APPEND, key, value)?)
    }

    /// Deletes a row; says whether there was one.
    pub(crate) fn delete(&self, txn: &mut WriteTxn<'_>, key: &[u8]) -> Result<bool, StoreError> {
        let mut left = 1;
        let only = (Bound::Included(key), Bound::Included(key));
        let deleted = self.delete_while(txn, &only, &mut |_| std::mem::take(&mut left) == 1)?;
        Ok(deleted.rows == 1)
    }

    /// Deletes a row if `goes` says so of it; the row, if it is there, and whether it is deleted.
    pub(crate) fn delete_if<R: Row>(
        &self,
        txn: &mut WriteTxn<'_>,
        key: &[u8],
        goes: impl FnOnce(&R) -> bool,
    ) -> Result<Option<(R, bool)>, StoreError> {
        let WriteTxn { txn, tally } = txn;
        let only = (Bound::Included(key), Bound::Included(key));
        let mut found = self.database.range_mut(txn, &only)?;
        let Some(raw) = found.next() else {
            return Ok(None);
        };
        let (key, value) = raw?;
        let row: R = value::open(key, value)?;
        let deleted = goes(&row);
        if deleted {
            tally.remove(key, value);
            // SAFETY: key and value, which lie in the page that this changes, are not looked at any more.
            unsafe { found.del_current() }?;
        }
        Ok(Some((row, deleted)))
    }

    /// Deletes the keys from `from` up to but not including `below`; says how many.
    pub(crate) fn delete_range(
        &self,
        txn: &mut WriteTxn<'_>,
        from: &[u8],
        below: &[u8],
    ) -> Result<usize, StoreError> {
        if from >= below {
            return Ok(0);
        }
        let range = (Bound::Included(from), Bound::Excluded(below));
        Ok(self.delete_while(txn, &range, &mut |_| true)?.rows)
    }

    /// Deletes the rows whose keys begin with `prefix` up to the first of which `goes` says no.
    pub(crate) fn delete_first(
        &self,
        txn: &mut WriteTxn<'_>,
        prefix: &[u8],
        goes: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Deleted, StoreError> {
        let end = prefix_end(prefix);
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.delete_while(txn, &(Bound::Included(prefix), upper), goes)
    }

    /// Deletes the first rows of a range with one search for all.
    fn delete_while(
        &self,
        txn: &mut WriteTxn<'_>,
        range: &(Bound<&[u8]>, Bound<&[u8]>),
        goes: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Deleted, StoreError> {
        let WriteTxn { txn, tally } = txn;
        let mut found = self.database.range_mut(txn, range)?;
        let mut rows = 0;
        while let Some(row) = found.next() {
            let (key, value) = row?;
            if !goes(key) {
                return Ok(Deleted { rows, all: false });
            }
            tally.remove(key, value);
            // SAFETY: key and value, which lie in the page that this changes, are not looked at any more.
            unsafe { found.del_current() }?;
            rows += 1;
        }
        Ok(Deleted { rows, all: true })
    }

    /// Deletes all rows.
    pub(crate) fn clear(&self, txn: &mut WriteTxn<'_>) -> Result<(), StoreError> {
        txn.tally = Tally::default();
        Ok(self.database.clear(&mut txn.txn)?)
    }
}

/// What has been deleted of a range.
pub(crate) struct Deleted {
    pub rows: usize,
    /// Whether no row is left.
    pub all: bool,
}

/// A key and its value.
pub(crate) type RawRow<'t> = (&'t [u8], &'t [u8]);

/// A scan over rows in the order of their keys.
pub(crate) struct Scan<'t> {
    range: Option<RoRange<'t, Bytes, Bytes>>,
}

impl<'t> Scan<'t> {
    /// The next key and its value, not verified.
    pub(crate) fn next_raw(&mut self) -> Result<Option<RawRow<'t>>, StoreError> {
        match &mut self.range {
            Some(range) => Ok(range.next().transpose()?),
            None => Ok(None),
        }
    }

    /// The next key and its row.
    pub(crate) fn next<R: Row>(&mut self) -> Result<Option<(&'t [u8], R)>, StoreError> {
        match self.next_raw()? {
            Some((key, value)) => Ok(Some((key, value::open(key, value)?))),
            None => Ok(None),
        }
    }
}
