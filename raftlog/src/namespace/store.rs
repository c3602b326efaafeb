//! The LMDB environment below the namespace.
//!
//! Invariants:
//! - a commit is not synced; the environment is a cache of the log, and after a power cut it is
//!   exactly the state of the last checkpoint (see [`checkpoint`]);
//! - there is one writer; readers are short transactions of any thread;
//! - no state is read before both of its trees have been verified ([`pages`], [`Tally`]), since a row that is hidden reads like
//!   one that was deleted; nothing is freed on its word before all of it has been ([`verification`]); what turns out to be
//!   damaged later is in doubt, and is rebuilt;
//! - after a failed sync nothing is written any more, because what it covered is unknown; nor after a
//!   failed batch, because nothing may be skipped. A full file system fails nothing: what did not fit is tried again.

pub mod checkpoint;
mod environment;
mod error;
mod inspect;
#[cfg(test)]
mod newer;
pub(crate) mod pages;
mod reader;
pub(crate) mod snapshot;
pub(crate) mod table;
mod transaction;
mod verification;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

pub use checkpoint::Checkpoint;
pub use error::StoreError;
pub use inspect::{Inspected, describe_checkpoint, inspect};
pub use reader::Reader;
pub use snapshot::{Manifest, PieceSummary, SnapshotReader};
use strata_engine::reactor::fs::blocking::space;
pub use transaction::Transaction;

use crate::namespace::command::FEATURE_LEVEL;
use crate::namespace::{LogPosition, Tally, View};
use environment::{Environment, Found};
use verification::Verification;

/// How to open a store.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Size of the memory map, and with it the most that the state can be, in bytes; rounded up to
    /// whole pages, and to the size of the file that is there.
    pub map_bytes: usize,
}

/// What was found when a store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last entry of the log that the state holds; it is durable.
    pub applied: LogPosition,
    /// Whether there was no state that could be used: it must be rebuilt from snapshot and log.
    pub fresh: bool,
    /// Why the state that was there was dropped.
    pub doubt: Option<String>,
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
    /// Why the state cannot be trusted.
    doubt: OnceLock<String>,
    verification: Verification,
    /// Raised after every commit, and after those that changed a bucket or the root key.
    version: AtomicU64,
    settings_version: AtomicU64,
    environment: Environment,
}

struct WriterState {
    applied: LogPosition,
    /// Of all rows, as of `applied`.
    tally: Tally,
    /// Why nothing is written any more.
    failed: Option<String>,
}

impl NamespaceStore {
    /// Opens the store in a directory, which is made where it is missing. The state is that of the
    /// last checkpoint, whose trees have been verified; one that cannot be trusted is dropped and reported as fresh, with the
    /// reason. [`verify_rest`](NamespaceStore::verify_rest) is to follow. Blocks, for as long as reading the trees takes: for
    /// a helper thread.
    ///
    /// # Errors
    /// `Locked` where another process has it open; `NewerFormat` where a newer version has written it; `Io` and `Lmdb` where an
    /// operation fails.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<(NamespaceStore, Opened), StoreError> {
        NamespaceStore::open_following(dir, options, FEATURE_LEVEL)
    }

    /// The same, as a version would that follows feature levels up to `newest_level`.
    ///
    /// # Errors
    /// Those of [`open`](NamespaceStore::open).
    pub fn open_following(
        dir: &Path,
        options: StoreOptions,
        newest_level: u16,
    ) -> Result<(NamespaceStore, Opened), StoreError> {
        let (environment, found) = environment::open(dir, options, newest_level)?;
        let checkpoints = Mutex::new(checkpoint::State::new());
        let writer = WriterState {
            applied: LogPosition::default(),
            tally: found.tally(),
            failed: None,
        };
        let inner = Inner {
            writer: Mutex::new(writer),
            checkpoints,
            doubt: OnceLock::new(),
            verification: Verification::default(),
            version: AtomicU64::new(1),
            settings_version: AtomicU64::new(1),
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
        match &found {
            Found::Checkpoint(side) => {
                store.pin_restored(side)?;
                store.leave_rest(side)?;
            }
            Found::Nothing | Found::Doubtful(_) => {
                store.inner.verification.finish();
                store.begin_checkpoint()?.finish()?;
            }
        }
        Ok((
            store,
            Opened {
                applied,
                fresh: !matches!(found, Found::Checkpoint(_)),
                doubt: found.doubt(),
            },
        ))
    }

    /// Refuses all later writes: what comes next must not be applied without what has just failed.
    pub(crate) fn fail(&self, error: &StoreError) {
        if error.is_damage() {
            self.doubt(error);
        }
        let mut writer = self.writer();
        writer.failed.get_or_insert_with(|| error.to_string());
    }

    /// Says that the state is not what was written: nothing is written any more, no chunk may be freed on its word, and the
    /// next start rebuilds it from snapshot and log. The first reason is kept.
    pub fn doubt(&self, why: &dyn std::fmt::Display) {
        let why = why.to_string();
        if self.inner.doubt.set(why.clone()).is_ok() {
            tracing::error!(
                why,
                "the metadata cannot be trusted; it must be rebuilt from snapshot and log"
            );
        }
        self.writer().failed.get_or_insert(why);
    }

    /// Why the state cannot be trusted; `None` while nothing speaks against it, see
    /// [`is_verified`](NamespaceStore::is_verified).
    pub fn doubted(&self) -> Option<&str> {
        self.inner.doubt.get().map(String::as_str)
    }

    /// To be called after a commit and before anybody hears of it.
    fn committed(&self, changes_settings: bool) {
        self.inner.version.fetch_add(1, Ordering::Release);
        if changes_settings {
            let version = &self.inner.settings_version;
            version.fetch_add(1, Ordering::Release);
        }
    }

    /// Raised by every commit.
    pub(crate) fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    /// Raised by every commit that may have changed a bucket, what is set of one, or the root key; never 0.
    pub fn settings_version(&self) -> u64 {
        self.inner.settings_version.load(Ordering::Acquire)
    }

    /// The highest feature level that the group of this store can activate here.
    pub fn newest_level(&self) -> u16 {
        self.inner.environment.table.newest_level()
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

    /// Where the store lies.
    pub fn directory(&self) -> &Path {
        &self.inner.environment.dir
    }

    /// Bytes that are free in the file system below the directory.
    ///
    /// # Errors
    /// `Io` where it cannot be asked.
    pub fn disk_free(&self) -> Result<u64, StoreError> {
        let dir = &self.inner.environment.dir;
        let found = space(dir).map_err(environment::io("ask for the space of", dir))?;
        Ok(found.available_bytes)
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
