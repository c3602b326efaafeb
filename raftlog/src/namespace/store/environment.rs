//! Opening the environment: the lock, the restored checkpoint, LMDB.

use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use strata_engine::reactor::fs::MappedFile;
use strata_engine::reactor::fs::blocking::{self, Lock};
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
    /// The data file as LMDB has it.
    pub(super) data: MappedFile,
    pub(super) dir: PathBuf,
    /// Held until LMDB has closed its files.
    _lock: Lock,
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
    create_dir(dir)?;
    let lock = lock(dir)?;
    // No other process has the environment open: what LMDB's lock file says of readers is of the
    // dead.
    remove(&dir.join(LMDB_LOCK_FILE))?;
    let opened = open_restored(dir, options, newest_level)?;
    let (lmdb, found) = match opened {
        Ok((lmdb, side)) => (lmdb, Found::Checkpoint(side)),
        Err(found) => {
            if let Some(why) = found.doubt() {
                warn!(
                    why,
                    "the metadata cannot be trusted; it is rebuilt from snapshot and log"
                );
            }
            (open_empty(dir, options, newest_level)?, found)
        }
    };
    let Lmdb { env, table, data } = lmdb;
    let environment = Environment {
        table,
        env,
        data,
        dir: dir.to_owned(),
        _lock: lock,
    };
    Ok((environment, found))
}

/// What LMDB has open.
struct Lmdb {
    env: Env<WithoutTls>,
    table: Table,
    data: MappedFile,
}

/// The state of the last checkpoint; `Err` says why there is none. Nothing is mapped before its trees have been verified.
fn open_restored(
    dir: &Path,
    options: StoreOptions,
    newest_level: u16,
) -> Result<Result<(Lmdb, SideFile), Found>, StoreError> {
    let doubtful = |why: String| Ok(Err(Found::Doubtful(why)));
    let side = match restore(dir)? {
        Ok(side) => side,
        Err(found) => return Ok(Err(found)),
    };
    if let Err(why) = verify(dir, &side, Reach::Trees, &|| false)? {
        return doubtful(why);
    }
    match open_env(dir, options, newest_level) {
        Ok(lmdb) if holds(&lmdb.env, lmdb.table, &side)? => Ok(Ok((lmdb, side))),
        Ok(_) => doubtful("it is not in the state of its checkpoint".to_owned()),
        Err(OpenError::Damaged(error)) => doubtful(error),
        Err(OpenError::Failed(error)) => Err(error),
    }
}

fn open_empty(dir: &Path, options: StoreOptions, newest_level: u16) -> Result<Lmdb, StoreError> {
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

fn open_env(dir: &Path, options: StoreOptions, newest_level: u16) -> Result<Lmdb, OpenError> {
    let path = dir.join(DATA_FILE);
    let file_bytes = match blocking::File::open(&path).and_then(|file| file.length()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(OpenError::Failed(io("read", &path)(error))),
    };
    let map_bytes = (options.map_bytes as u64)
        .max(file_bytes)
        .next_multiple_of(64 * 1024);
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(map_bytes as usize).max_readers(READERS_MAX);
    // SAFETY: the flag does not break transactions within this process; what a power cut may leave
    // is put right by the checkpoint before LMDB reads the file.
    unsafe { open.flags(EnvFlags::NO_SYNC) };
    let data = MappedFile::prepare(dir, DATA_FILE);
    let data = data.map_err(|error| OpenError::Failed(io("prepare", &path)(error)))?;
    // SAFETY: the exclusive lock on the directory keeps other processes from changing or truncating
    // the file while it is mapped, and heed refuses a second environment of this process.
    let env = unsafe { open.open(data.host_directory()) }?;
    let table = Table::new(open_database(&env)?, newest_level);
    data.written();
    Ok(Lmdb { env, table, data })
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

/// Makes a directory and those above it. Each that is new outlives a power cut: without it no checkpoint in it does.
fn create_dir(dir: &Path) -> Result<(), StoreError> {
    if blocking::exists(dir).map_err(io("look for", dir))? {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    create_dir(parent)?;
    blocking::create_dir_all(dir).map_err(io("create", dir))?;
    sync_dir(parent)
}

fn lock(dir: &Path) -> Result<Lock, StoreError> {
    try_lock(dir)?.ok_or_else(|| StoreError::Locked(dir.to_owned()))
}

/// The lock on the directory; `None` where another process holds it.
pub(super) fn try_lock(dir: &Path) -> Result<Option<Lock>, StoreError> {
    let path = dir.join(LOCK_FILE);
    blocking::try_lock(&path).map_err(io("lock", &path))
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
    match blocking::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    DIRECTORY_SYNCS.set(DIRECTORY_SYNCS.get() + 1);
    blocking::sync_directory(dir).map_err(io("sync", dir))
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
