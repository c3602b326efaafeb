//! Verifying the state of a checkpoint: its trees before it is mapped, its long values while it is in use.
//!
//! Invariants:
//! - no row is read before both trees are whole and hold the rows that were written: what is then missing was deleted;
//! - a long value that nothing has verified yet is verified by whoever reads it, as every value is;
//! - the pages of the checkpoint are pinned until all of them have been read, so that none is written over meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heed::{RoTxn, WithoutTls};
use strata_engine::reactor::fs::blocking::File;
use tracing::info;

use super::checkpoint::SideFile;
use super::environment::{DATA_FILE, io};
use super::pages::{self, Fault, Meta, Reach, Value};
use super::{NamespaceStore, StoreError};
use crate::namespace::{Tally, verify_row};

/// How much of the data file is read at a time before its pages are walked.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// A checkpoint of which only the trees have been verified.
struct Unverified {
    side: SideFile,
    _pin: RoTxn<'static, WithoutTls>,
}

/// How far the verification of a store has come.
#[derive(Default)]
pub(super) struct Verification {
    rest: Mutex<Option<Unverified>>,
    done: AtomicBool,
    cancelled: AtomicBool,
}

impl Verification {
    /// Nothing is left to verify.
    pub(super) fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }

    fn rest(&self) -> MutexGuard<'_, Option<Unverified>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NamespaceStore {
    /// Whether every page and row of the state that a start has found was verified. Before, nothing may be freed on its word,
    /// and no snapshot be made of it.
    pub fn is_verified(&self) -> bool {
        self.inner.verification.done.load(Ordering::Acquire)
    }

    /// Verifies what [`open`](NamespaceStore::open) has left: the long values. What is damaged puts the store in doubt. Blocks,
    /// for as long as reading the whole file takes: for a helper thread.
    ///
    /// # Errors
    /// `Io` where the file cannot be read.
    pub fn verify_rest(&self) -> Result<(), StoreError> {
        let verification = &self.inner.verification;
        let Some(rest) = verification.rest().take() else {
            return Ok(());
        };
        let dir = &self.inner.environment.dir;
        let cancelled = || verification.cancelled.load(Ordering::Relaxed);
        read_ahead(dir, &cancelled)?;
        let verified = verify(dir, &rest.side, Reach::Everything, &cancelled)?;
        match verified {
            _ if cancelled() => {}
            Ok(()) => {
                verification.finish();
                info!(
                    rows = rest.side.tally.rows,
                    "every page and row of the metadata was verified"
                );
            }
            Err(why) => self.doubt(&why),
        }
        Ok(())
    }

    /// Keeps the pages of the checkpoint that a start has restored until all of them have been verified.
    pub(super) fn leave_rest(&self, side: &SideFile) -> Result<(), StoreError> {
        let pin = self.inner.environment.env.clone().static_read_txn()?;
        *self.inner.verification.rest() = Some(Unverified {
            side: side.clone(),
            _pin: pin,
        });
        Ok(())
    }

    /// Lets a verification that is under way end early. The state stays unverified.
    pub fn cancel_verification(&self) {
        let cancelled = &self.inner.verification.cancelled;
        cancelled.store(true, Ordering::Relaxed);
    }
}

/// Reads the trees of a checkpoint, or every page and row of it; `Err` says what is wrong.
pub(super) fn verify(
    dir: &Path,
    side: &SideFile,
    reach: Reach,
    cancelled: &dyn Fn() -> bool,
) -> Result<Result<(), String>, StoreError> {
    let path = dir.join(DATA_FILE);
    let Some(meta) = Meta::newest(&side.meta_pages) else {
        return Ok(Err("its meta pages are not LMDB's".to_owned()));
    };
    let file = File::open(&path).map_err(io("open", &path))?;
    let mut tally = Tally::default();
    let verified = pages::verify(&file, &meta, reach, &mut |key, value| match value {
        _ if cancelled() => Err(StoreError::Failed("it was cancelled".to_owned())),
        Value::Read(value) => {
            tally.add(key, value);
            verify_row(key, value)
        }
        Value::Unread(bytes) => {
            tally.add_head(key, &[], bytes);
            Ok(())
        }
    });
    Ok(match verified {
        Ok(()) if tally == side.tally => Ok(()),
        Ok(()) => Err(format!(
            "{} rows were found and {} were written, or some of them are not the same",
            tally.rows, side.tally.rows
        )),
        Err(Fault::Damaged(why)) => Err(why),
        Err(Fault::Row(error)) => Err(error.to_string()),
        Err(Fault::Unreadable(error)) => Err(format!("{} cannot be read: {error}", path.display())),
    })
}

/// Reads the data file from its beginning, so that a walk over its pages finds them in memory: in its own order it would wait
/// for the device at every page.
fn read_ahead(dir: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), StoreError> {
    let path = dir.join(DATA_FILE);
    let file = File::open(&path).map_err(io("open", &path))?;
    let mut step = vec![0; READ_AHEAD_BYTES];
    let mut at = 0;
    while !cancelled() {
        // What cannot be read is found again, and named, by the walk.
        match file.read_at(&mut step, at) {
            Ok(0) | Err(_) => break,
            Ok(count) => at += count as u64,
        }
    }
    Ok(())
}
