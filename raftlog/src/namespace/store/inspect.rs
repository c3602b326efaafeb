//! Reading all rows for `strata inspect`, beside a running server or without one.
//!
//! The directory is one of this machine: nothing inspects a simulated one. Nothing of it is changed. Where no server runs, the
//! data file may be in any state after a power cut: a copy of it is put into the state of the checkpoint and read instead. A
//! server can start as soon as that copy is made; and the copy has lost its name before the first row is read, so that no end
//! of the process leaves it.

use std::fs::{self, DirBuilder};
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};
use strata_engine::format::description::{Description, Structure};

use super::StoreError;
use super::checkpoint::{SideFile, restore};
use super::environment::{DATA_FILE, SIDE_FILE, io, try_lock};

/// Copies that may be left behind by inspections that were killed.
const COPIES_MAX: u32 = 1_000;

/// Rows that are read in one transaction.
const ROWS_PER_TRANSACTION: usize = 1_000;

/// What was walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// The newest states of a running server: rows that lie far apart may be of different moments.
    Running,
    /// The state of the last checkpoint, which a start would find.
    Checkpoint,
}

/// Walks all rows in the order of their keys, until `visit` gives false; `visit` may take its time. Values are not verified:
/// [`describe`](crate::namespace::describe) says what is wrong with one.
///
/// # Errors
/// `Invariant` where there is no state that can be trusted; `Io` and `Lmdb` where an operation
/// fails.
pub fn inspect(
    dir: &Path,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<Inspected, StoreError> {
    // First: the lock's file is made where it is missing.
    if !dir.join(SIDE_FILE).exists() {
        return Err(untrusted(dir));
    }
    match try_lock(dir)? {
        None => {
            walk(&open_env(dir, EnvFlags::READ_ONLY)?, visit)?;
            Ok(Inspected::Running)
        }
        Some(lock) => {
            let copy = Copy::make(dir)?;
            drop(lock);
            let env = open_env(&copy.dir, EnvFlags::READ_ONLY | EnvFlags::NO_LOCK)?;
            drop(copy);
            walk(&env, visit)?;
            Ok(Inspected::Checkpoint)
        }
    }
}

/// Says what a checkpoint's side file holds.
pub fn describe_checkpoint(bytes: &[u8]) -> Structure {
    let name = "checkpoint";
    match SideFile::decode(bytes) {
        None => Structure::damaged(name, "it is not what a checkpoint writes"),
        Some(side) => Structure::new(
            name,
            Description::new()
                .with("transaction", side.transaction)
                .with("applied_term", side.applied.term)
                .with("applied_node", side.applied.node)
                .with("applied_index", side.applied.index)
                .with("meta_page_bytes", side.meta_pages.len() / 2),
        ),
    }
}

fn open_env(dir: &Path, flags: EnvFlags) -> Result<Env<WithoutTls>, StoreError> {
    let data = dir.join(DATA_FILE);
    let bytes = fs::metadata(&data).map_err(io("read", &data))?.len();
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    // A running server may go on to write while the rows are walked: leave room in the map.
    open.map_size((bytes * 2).next_multiple_of(1 << 20) as usize);
    // SAFETY: the flags only take abilities away; without LMDB's lock, the file is a copy that
    // nobody else knows.
    unsafe { open.flags(flags) };
    // SAFETY: a file that is mapped here is either a copy of our own or kept by a server that takes
    // part in LMDB's locking and never truncates it.
    let env = unsafe { open.open(dir) }?;
    Ok(env)
}

fn walk(
    env: &Env<WithoutTls>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), StoreError> {
    let txn = env.read_txn()?;
    let database = env.open_databases_and_commit(txn, |opener, txn| {
        let database = opener.open_database::<Bytes, Bytes>(txn, None)?;
        let database = database.expect("the unnamed database always exists");
        Ok::<_, heed::Error>(heed::CommitOrAbort::<_, ()>::Commit(database))
    })?;
    let database = database.unwrap_commit();
    let mut after: Option<Vec<u8>> = None;
    loop {
        // Nothing is visited while a transaction is open: whoever reads what is printed may take hours, and the server
        // could use no page again that was freed meanwhile.
        let rows = some_rows(env, database, after.as_deref())?;
        for (key, value) in &rows {
            if !visit(key, value) {
                return Ok(());
            }
        }
        match rows.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

type OwnedRow = (Vec<u8>, Vec<u8>);

/// The rows behind a key, as many as are read in one transaction.
fn some_rows(
    env: &Env<WithoutTls>,
    database: Database<'_, Bytes, Bytes>,
    after: Option<&[u8]>,
) -> Result<Vec<OwnedRow>, StoreError> {
    let txn = env.read_txn()?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let range = database.range(&txn, &(from, Bound::Unbounded))?;
    let rows = range.take(ROWS_PER_TRANSACTION).map(|row| {
        let (key, value) = row?;
        Ok((key.to_vec(), value.to_vec()))
    });
    rows.collect()
}

fn untrusted(dir: &Path) -> StoreError {
    StoreError::Invariant(format!(
        "{} holds no state that can be trusted",
        dir.display()
    ))
}

/// A copy of an environment in the state of its checkpoint; removed when dropped. An environment that was opened in it meanwhile
/// can still be read.
struct Copy {
    dir: PathBuf,
}

impl Copy {
    fn make(dir: &Path) -> Result<Copy, StoreError> {
        let side = dir.join(SIDE_FILE);
        let sound = fs::read(&side)
            .ok()
            .and_then(|bytes| SideFile::decode(&bytes));
        if sound.is_none() {
            return Err(untrusted(dir));
        }
        // The names may be larger than the memory in which temporary files often lie: first beside the directory.
        let beside = std::path::absolute(dir).ok();
        let beside = beside.as_deref().and_then(Path::parent);
        match beside.map(|base| Copy::make_in(base, dir)) {
            Some(Ok(copy)) => Ok(copy),
            Some(Err(_)) | None => Copy::make_in(&std::env::temp_dir(), dir),
        }
    }

    fn make_in(base: &Path, dir: &Path) -> Result<Copy, StoreError> {
        let copy = Copy {
            dir: private_dir(base)?,
        };
        for name in [DATA_FILE, SIDE_FILE] {
            let (from, to) = (dir.join(name), copy.dir.join(name));
            fs::copy(&from, &to).map_err(io("copy", &from))?;
        }
        match restore(&copy.dir)? {
            Ok(_) => Ok(copy),
            Err(_) => Err(untrusted(dir)),
        }
    }
}

/// A new directory that nobody else may read: the rows hold secrets.
fn private_dir(base: &Path) -> Result<PathBuf, StoreError> {
    for attempt in 0..COPIES_MAX {
        let dir = base.join(format!("strata-inspect-{}-{attempt}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("create", &dir)(error)),
        }
    }
    Err(StoreError::Invariant(format!(
        "{} is full of copies",
        base.display()
    )))
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What is left of a copy is the operating system's to clean up.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NamespaceStore, StoreOptions};
    use super::*;

    const OPTIONS: StoreOptions = StoreOptions { map_bytes: 4 << 20 };

    /// A directory in which a metadata directory with one row lies.
    fn with_one_row() -> (tempfile::TempDir, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("metadata");
        let (store, _) = NamespaceStore::open(&dir, OPTIONS).unwrap();
        let environment = &store.inner.environment;
        let mut txn = environment.env.write_txn().unwrap();
        let database = environment.table.database();
        database.put(&mut txn, b"key", b"value").unwrap();
        txn.commit().unwrap();
        store.begin_checkpoint().unwrap().finish().unwrap();
        (base, dir)
    }

    fn names_in(dir: &Path) -> Vec<std::ffi::OsString> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_server_can_start_while_rows_are_printed() {
        let (base, dir) = with_one_row();
        let mut rows = 0;
        let inspected = inspect(&dir, &mut |key, value| {
            assert_eq!((key, value), (&b"key"[..], &b"value"[..]));
            assert_eq!(names_in(base.path()), ["metadata"], "no copy has a name");
            NamespaceStore::open(&dir, OPTIONS).expect("the lock can be had");
            rows += 1;
            true
        });
        assert_eq!((inspected.unwrap(), rows), (Inspected::Checkpoint, 1));
    }

    #[test]
    fn the_copy_lies_beside_the_directory_and_goes_with_its_owner() {
        let (base, dir) = with_one_row();
        let copy = Copy::make(&dir).unwrap();
        assert_eq!(copy.dir.parent(), Some(base.path()));
        drop(copy);
        assert_eq!(names_in(base.path()), ["metadata"]);
    }

    #[test]
    fn a_copy_that_cannot_be_made_leaves_nothing() {
        let (base, dir) = with_one_row();
        fs::remove_file(dir.join(DATA_FILE)).unwrap();
        let failed = inspect(&dir, &mut |_, _| true);
        assert!(matches!(failed, Err(StoreError::Io { .. })));
        assert_eq!(names_in(base.path()), ["metadata"]);
    }
}
