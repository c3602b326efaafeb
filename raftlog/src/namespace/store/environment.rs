//! Opening the environment: the lock, the restored checkpoint, LMDB.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use tracing::warn;

use super::checkpoint::{SideFile, restore};
use super::{StoreError, StoreOptions};
use crate::namespace::{Table, View};

/// Read transactions that may be open at once.
const READERS_MAX: u32 = 1_024;

const LOCK_FILE: &str = "strata.lock";
const LMDB_LOCK_FILE: &str = "lock.mdb";
pub(super) const DATA_FILE: &str = "data.mdb";
pub(super) const SIDE_FILE: &str = "checkpoint";

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

/// Opens the environment of a directory in the state of its last checkpoint, and says which that
/// was; an empty one where there is none that can be trusted.
pub(super) fn open(
    dir: &Path,
    options: StoreOptions,
) -> Result<(Environment, Option<SideFile>), StoreError> {
    fs::create_dir_all(dir).map_err(io("create", dir))?;
    let lock = lock(dir)?;
    // No other process has the environment open: what LMDB's lock file says of readers is of the
    // dead.
    remove(&dir.join(LMDB_LOCK_FILE))?;
    if let Some(side) = restore(dir)? {
        match open_env(dir, options) {
            Ok((env, table)) if holds(&env, table, &side)? => {
                return Ok((
                    Environment {
                        table,
                        env,
                        dir: dir.to_owned(),
                        _lock: lock,
                    },
                    Some(side),
                ));
            }
            Ok(_) => warn!("the metadata environment is not in the state of its checkpoint"),
            Err(OpenError::Damaged(error)) => warn!(error, "the metadata environment is damaged"),
            Err(OpenError::Failed(error)) => return Err(error),
        }
    }
    discard(dir)?;
    let (env, table) = open_env(dir, options).map_err(|error| match error {
        OpenError::Damaged(error) => StoreError::Lmdb(error),
        OpenError::Failed(error) => error,
    })?;
    Ok((
        Environment {
            table,
            env,
            dir: dir.to_owned(),
            _lock: lock,
        },
        None,
    ))
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

fn open_env(dir: &Path, options: StoreOptions) -> Result<(Env<WithoutTls>, Table), OpenError> {
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
    let table = Table::new(open_database(&env)?);
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
    for name in [SIDE_FILE, DATA_FILE, LMDB_LOCK_FILE] {
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
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
