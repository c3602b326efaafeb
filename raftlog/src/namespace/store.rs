//! The LMDB environment below the namespace.
//!
//! Invariants:
//! - a commit is not synced; the environment is a cache of the log, and after a power cut it is
//!   exactly the state of the last checkpoint (see [`checkpoint`]);
//! - there is one writer; readers are short transactions of any thread;
//! - after a failed sync nothing is written any more, because what it covered is unknown; nor after a
//!   failed batch, because nothing may be skipped.

pub mod checkpoint;
mod environment;
mod error;
mod inspect;
#[cfg(test)]
mod newer;
mod snapshot;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub use checkpoint::Checkpoint;
pub use error::StoreError;
pub use inspect::{Inspected, describe_checkpoint, inspect};
pub use snapshot::{Manifest, PieceSummary, SnapshotReader};

use tracing::warn;

use crate::namespace::command::Answer;
use crate::namespace::{Applier, LogEntry, LogPosition, View};
use environment::Environment;

/// How much of the data file is read at a time before the first request.
const PREFAULT_STEP_BYTES: usize = 1 << 20;

/// How to open a store.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Size of the memory map, and with it the most that the state can be, in bytes; rounded up to
    /// whole pages, and to the size of the file that is there.
    pub map_bytes: usize,
}

/// What was found when a store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The last entry of the log that the state holds; it is durable.
    pub applied: LogPosition,
    /// Whether there was no state that could be used: it must be rebuilt from snapshot and log.
    pub fresh: bool,
}

/// How full the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of pages that hold rows.
    pub used_bytes: u64,
    /// Bytes of pages that have ever been in use, with those that can be used again: the file.
    pub allocated_bytes: u64,
    /// Bytes of the map.
    pub map_bytes: u64,
}

impl Usage {
    /// Whether writes should be slowed: 80 % of the map are used.
    pub fn is_high(&self) -> bool {
        self.used_bytes / 4 >= self.map_bytes / 5
    }
}

/// The state of the group on this node. Clones share it.
#[derive(Clone)]
pub struct NamespaceStore {
    inner: Arc<Inner>,
}

struct Inner {
    // The order of the fields is the order in which they are dropped: the lock goes last.
    writer: Mutex<WriterState>,
    checkpoints: Mutex<checkpoint::State>,
    /// Signalled when a checkpoint ends.
    checkpoint_ended: Condvar,
    environment: Environment,
}

struct WriterState {
    applied: LogPosition,
    /// Why nothing is written any more.
    failed: Option<String>,
}

impl NamespaceStore {
    /// Opens the store in a directory, which is made where it is missing. The state is that of the
    /// last checkpoint; one that cannot be trusted is dropped and reported as fresh.
    ///
    /// # Errors
    /// `Locked` where another process has it open; `NewerFormat` where a newer version has written it; `Io` and `Lmdb` where an
    /// operation fails.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<(NamespaceStore, Opened), StoreError> {
        let (environment, restored) = environment::open(dir, options)?;
        let checkpoints = Mutex::new(checkpoint::State::new());
        let writer = WriterState {
            applied: LogPosition::default(),
            failed: None,
        };
        let inner = Inner {
            writer: Mutex::new(writer),
            checkpoints,
            checkpoint_ended: Condvar::new(),
            environment,
        };
        let store = NamespaceStore {
            inner: Arc::new(inner),
        };
        let applied = {
            let view = store.view()?;
            // A newer feature level is refused before anything is written.
            view.group()?;
            view.applied()?
        };
        store.writer().applied = applied;
        match restored {
            Some(ref side) => store.pin_restored(side)?,
            None => {
                store.begin_checkpoint()?.finish()?;
            }
        }
        Ok((
            store,
            Opened {
                applied,
                fresh: restored.is_none(),
            },
        ))
    }

    /// Applies entries of the log, in one transaction, without a sync. One answer for each.
    ///
    /// Pages that the last checkpoint needs are not used again before the next. Where that fills
    /// the map, a checkpoint is made here, which blocks on the device: make them often enough.
    ///
    /// # Errors
    /// Every error stops the group: nothing of the batch is kept, and nothing is applied any more.
    pub fn apply(&self, batch: &[(LogPosition, LogEntry<'_>)]) -> Result<Vec<Answer>, StoreError> {
        self.apply_until(batch, &mut || false)
    }

    /// The same, but only the first of the entries once `ends` says so, which is asked after each of them. At least one is
    /// applied, and as many as there are answers.
    ///
    /// # Errors
    /// Those of [`apply`](NamespaceStore::apply).
    pub fn apply_until(
        &self,
        batch: &[(LogPosition, LogEntry<'_>)],
        ends: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut result = self.try_apply(batch, ends);
        if matches!(result, Err(StoreError::Full)) {
            warn!("the metadata map is full: making a checkpoint to use its pages again");
            result = self.make_room().and_then(|()| self.try_apply(batch, ends));
        }
        if let Err(error) = &result {
            // What comes next must not be applied without what has just failed.
            let mut writer = self.writer();
            writer.failed.get_or_insert_with(|| error.to_string());
        }
        result
    }

    fn try_apply(
        &self,
        batch: &[(LogPosition, LogEntry<'_>)],
        ends: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut writer = self.writer();
        writer.check()?;
        let environment = &self.inner.environment;
        let mut txn = environment.env.write_txn()?;
        let mut applier = Applier::new(environment.table, &mut txn)?;
        let mut answers = Vec::with_capacity(batch.len());
        for (position, entry) in batch {
            answers.push(applier.apply(*position, *entry)?);
            if ends() {
                break;
            }
        }
        let applied = applier.finish()?;
        txn.commit()?;
        writer.applied = applied;
        Ok(answers)
    }

    /// The last entry that has been applied.
    pub fn applied(&self) -> LogPosition {
        self.writer().applied
    }

    /// A short read transaction; see [`View`].
    ///
    /// # Errors
    /// `Lmdb` where no more readers are possible.
    pub fn view(&self) -> Result<View<'_>, StoreError> {
        let environment = &self.inner.environment;
        Ok(View::own(environment.table, environment.env.read_txn()?))
    }

    /// How full the map is.
    ///
    /// # Errors
    /// `Lmdb` where no more readers are possible.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let environment = &self.inner.environment;
        let txn = environment.env.read_txn()?;
        let stat = environment.table.database().stat(&txn)?;
        let info = environment.env.info();
        let page_bytes = u64::from(stat.page_size);
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        Ok(Usage {
            used_bytes: pages as u64 * page_bytes,
            allocated_bytes: (info.last_page_number as u64 + 1) * page_bytes,
            map_bytes: info.map_size as u64,
        })
    }

    /// Bytes that are free in the file system below the directory.
    ///
    /// # Errors
    /// `Io` where it cannot be asked.
    pub fn disk_free(&self) -> Result<u64, StoreError> {
        let dir = &self.inner.environment.dir;
        let asked = rustix::fs::statvfs(dir.as_path());
        let found =
            asked.map_err(|error| environment::io("ask for the space of", dir)(error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Reads the data file from its beginning, `limit_bytes` at most, so that its pages are in memory
    /// before the first request asks for them. Gives the bytes read. Blocks: for a helper thread.
    ///
    /// # Errors
    /// `Io` where the file cannot be read.
    pub fn prefault(&self, limit_bytes: u64) -> Result<u64, StoreError> {
        let path = self.inner.environment.dir.join(environment::DATA_FILE);
        let file = File::open(&path).map_err(environment::io("open", &path))?;
        let mut limited = BufReader::with_capacity(PREFAULT_STEP_BYTES, file.take(limit_bytes));
        let copied = std::io::copy(&mut limited, &mut std::io::sink());
        copied.map_err(environment::io("read", &path))
    }

    fn writer(&self) -> MutexGuard<'_, WriterState> {
        self.inner.writer.lock().unwrap_or_else(|poisoned| {
            let mut guard = poisoned.into_inner();
            guard
                .failed
                .get_or_insert_with(|| "a panic while applying".to_owned());
            guard
        })
    }
}

impl WriterState {
    fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(StoreError::Failed(reason.clone())),
            None => Ok(()),
        }
    }
}
