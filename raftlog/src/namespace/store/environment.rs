//! Opening the environment: the lock, the restored checkpoint, LMDB.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use tracing::warn;

use super::checkpoint::{SideFile, restore};
use super::error::is_no_space;
use super::pages::Reach;
use super::verification::verify;
use super::{StoreError, StoreOptions};
use crate::namespace::{Table, Tally, View};

/// Read transactions that may be open at once.
const READERS_MAX: u32 = 1_024;

const LOCK_FILE: &str = "strata.lock";
const LMDB_LOCK_FILE: &str = "lock.mdb";
pub(super) const DATA_FILE: &str = "data.mdb";
pub(super) const SIDE_FILE: &str = "checkpoint";
/// The side file before, which the next one is written over.
pub(super) const SIDE_FILE_SPARE: &str = "checkpoint.spare";

#[cfg(test)]
thread_local! {
    /// How often this thread has synced a directory: before, a power cut may undo a renaming.
    pub(super) static DIRECTORY_SYNCS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// An open environment.
pub(super) struct Environment {
    pub(super) table: Table,
    pub(super) env: Env<WithoutTls>,
    pub(super) dir: PathBuf,
    /// Held until LMDB has closed its files.
    _lock: File,
}

/// What was found in a directory.
pub(super) enum Found {
    /// The state of a checkpoint, whose trees have been verified.
    Checkpoint(SideFile),
    /// No state.
    Nothing,
    /// A state that cannot be trusted, which was dropped; and why.
    Doubtful(String),
}

impl Found {
    /// The tally of the rows that are there now.
    pub(super) fn tally(&self) -> Tally {
        match self {
            Found::Checkpoint(side) => side.tally,
            Found::Nothing | Found::Doubtful(_) => Tally::default(),
        }
    }

    /// Why the state that was there was dropped.
    pub(super) fn doubt(&self) -> Option<String> {
        match self {
            Found::Doubtful(why) => Some(why.clone()),
            Found::Checkpoint(_) | Found::Nothing => None,
        }
    }
}

/// Opens the environment of a directory in the state of its last checkpoint, and says what was found; an empty one where
/// there is none that can be trusted.
pub(super) fn open(
    dir: &Path,
    options: StoreOptions,
    newest_level: u16,
) -> Result<(Environment, Found), StoreError> {
    fs::create_dir_all(dir).map_err(io("create", dir))?;
    let lock = lock(dir)?;
    // No other process has the environment open: what LMDB's lock file says of readers is of the
    // dead.
    remove(&dir.join(LMDB_LOCK_FILE))?;
    let opened = open_restored(dir, options, newest_level)?;
    let (env, table, found) = match opened {
        Ok((env, table, side)) => (env, table, Found::Checkpoint(side)),
        Err(found) => {
            if let Some(why) = found.doubt() {
                warn!(
                    why,
                    "the metadata cannot be trusted; it is rebuilt from snapshot and log"
                );
            }
            let (env, table) = open_empty(dir, options, newest_level)?;
            (env, table, found)
        }
    };
    let environment = Environment {
        table,
        env,
        dir: dir.to_owned(),
        _lock: lock,
    };
    Ok((environment, found))
}

type Restored = (Env<WithoutTls>, Table, SideFile);

/// The state of the last checkpoint; `Err` says why there is none. Nothing is mapped before its trees have been verified.
fn open_restored(
    dir: &Path,
    options: StoreOptions,
    newest_level: u16,
) -> Result<Result<Restored, Found>, StoreError> {
    let doubtful = |why: String| Ok(Err(Found::Doubtful(why)));
    let side = match restore(dir)? {
        Ok(side) => side,
        Err(found) => return Ok(Err(found)),
    };
    if let Err(why) = verify(dir, &side, Reach::Trees, &|| false)? {
        return doubtful(why);
    }
    match open_env(dir, options, newest_level) {
        Ok((env, table)) if holds(&env, table, &side)? => Ok(Ok((env, table, side))),
        Ok(_) => doubtful("it is not in the state of its checkpoint".to_owned()),
        Err(OpenError::Damaged(error)) => doubtful(error),
        Err(OpenError::Failed(error)) => Err(error),
    }
}

fn open_empty(
    dir: &Path,
    options: StoreOptions,
    newest_level: u16,
) -> Result<(Env<WithoutTls>, Table), StoreError> {
    discard(dir)?;
    open_env(dir, options, newest_level).map_err(|error| match error {
        OpenError::Damaged(error) => StoreError::Lmdb(error),
        OpenError::Failed(error) => error,
    })
}

/// Whether the environment is in the state of which the side file speaks. One that a newer version has written is no damaged
/// one: it is kept.
fn holds(env: &Env<WithoutTls>, table: Table, side: &SideFile) -> Result<bool, StoreError> {
    let Ok(txn) = env.read_txn() else {
        return Ok(false);
    };
    match View::borrowed(table, &txn).applied() {
        Ok(applied) => Ok(txn.id() as u64 == side.transaction && applied == side.applied),
        Err(error @ StoreError::NewerFormat(_)) => Err(error),
        Err(_) => Ok(false),
    }
}

enum OpenError {
    Damaged(String),
    Failed(StoreError),
}

impl From<heed::Error> for OpenError {
    fn from(error: heed::Error) -> OpenError {
        match error {
            heed::Error::Mdb(
                MdbError::Invalid
                | MdbError::Corrupted
                | MdbError::VersionMismatch
                | MdbError::PageNotFound,
            ) => OpenError::Damaged(error.to_string()),
            other => OpenError::Failed(other.into()),
        }
    }
}

fn open_env(
    dir: &Path,
    options: StoreOptions,
    newest_level: u16,
) -> Result<(Env<WithoutTls>, Table), OpenError> {
    let file_bytes = fs::metadata(dir.join(DATA_FILE)).map_or(0, |metadata| metadata.len());
    let map_bytes = (options.map_bytes as u64)
        .max(file_bytes)
        .next_multiple_of(64 * 1024);
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(map_bytes as usize).max_readers(READERS_MAX);
    // SAFETY: the flag does not break transactions within this process; what a power cut may leave
    // is put right by the checkpoint before LMDB reads the file.
    unsafe { open.flags(EnvFlags::NO_SYNC) };
    // SAFETY: the exclusive lock on the directory keeps other processes from changing or truncating
    // the file while it is mapped, and heed refuses a second environment of this process.
    let env = unsafe { open.open(dir) }?;
    let table = Table::new(open_database(&env)?, newest_level);
    Ok((env, table))
}

fn open_database(env: &Env<WithoutTls>) -> Result<Database<'static, Bytes, Bytes>, heed::Error> {
    let txn = env.read_txn()?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        let database = opener.open_database::<Bytes, Bytes>(txn, None)?;
        let database = database.expect("the unnamed database always exists");
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(database))
    })?;
    Ok(opened.unwrap_commit())
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    try_lock(dir)?.ok_or_else(|| StoreError::Locked(dir.to_owned()))
}

/// The lock on the directory; `None` where another process holds it.
pub(super) fn try_lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io("lock", &path)(error)),
    }
}

/// Drops what cannot be trusted.
fn discard(dir: &Path) -> Result<(), StoreError> {
    // The side file goes first: without it the data file is never trusted.
    for name in [SIDE_FILE, SIDE_FILE_SPARE, DATA_FILE, LMDB_LOCK_FILE] {
        remove(&dir.join(name))?;
        sync_dir(dir)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    DIRECTORY_SYNCS.set(DIRECTORY_SYNCS.get() + 1);
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", dir))
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| match is_no_space(&source) {
        true => StoreError::NoSpace,
        false => StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        },
    }
}
