//! Checkpoints: what the state is after a power cut, although commits are not synced.
//!
//! LMDB never writes over a page that an open read transaction may need. So:
//! 1. between two writes, the PIN is opened: a read transaction of the newest transaction N, and
//!    the file's two meta pages are copied;
//! 2. the data file is synced, off the core, while further transactions are written: all pages of
//!    N are on the device, and the pin keeps them from being written over;
//! 3. the side file, with the two meta pages and the position in the log, is written over the spare one, synced, exchanged
//!    with the one in force, and the directory synced. The spare one is never removed: a checkpoint needs no room in a file
//!    system that others have filled;
//! 4. only then the pin of the checkpoint before is dropped.
//!
//! At any moment the side file on the device speaks of a transaction whose pages are synced and
//! pinned. A start syncs the directory, so that the side file that it finds is the one on the device,
//! writes its meta pages back and pins it again BEFORE the first write: after `kill -9` nothing else
//! keeps its pages. An environment without a valid side file is dropped.
//!
//! Side file (big endian): magic 8, version 4, page size 4, transaction 8, position in the log 24
//! (term, node, index), tally of the rows 16 (count, sum), the two meta pages, CRC32C 4 of all before it.

#[cfg(test)]
mod power_cut;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::environment::{DATA_FILE, Environment, Found, SIDE_FILE, SIDE_FILE_SPARE, io, sync_dir};
use super::pages::{self, Meta};
use super::{Inner, NamespaceStore, StoreError};
use crate::namespace::{LogPosition, Tally};
use heed::{RoTxn, WithoutTls};
use strata_engine::reactor::fs::blocking::{self, File};

/// Room for the data file to grow into that is taken before it is needed, so that deletes go on when others have filled the
/// file system: this share of the map, so many bytes at most.
const GROWTH_SHARE: u64 = 16;
const GROWTH_BYTES_MAX: u64 = 32 << 20;

const MAGIC: [u8; 8] = *b"STRATAck";
const VERSION: u32 = 6;
const HEADER_BYTES: usize = 64;

/// Page sizes that LMDB uses.
const PAGE_BYTES_MIN: usize = 512;
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// LMDB's mark of a meta page, and where it and the transaction's number lie in one.
const META_MAGIC: u32 = 0xbeef_c0de;
const META_MAGIC_AT: usize = 16;
const META_TRANSACTION_AT: usize = 144;

/// What is known of the checkpoints of an open store.
pub(super) struct State {
    /// The pin of the durable checkpoint.
    pin: Option<RoTxn<'static, WithoutTls>>,
    durable: LogPosition,
    running: bool,
}

impl State {
    pub(super) fn new() -> State {
        State {
            pin: None,
            durable: LogPosition::default(),
            running: false,
        }
    }
}

/// The content of a side file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SideFile {
    /// The transaction of which it speaks.
    pub(super) transaction: u64,
    pub(super) applied: LogPosition,
    /// Of all rows.
    pub(super) tally: Tally,
    /// Both meta pages, as they were.
    pub(super) meta_pages: Vec<u8>,
}

/// A checkpoint under way. Dropping it gives it up; the one before stays in force.
pub struct Checkpoint {
    inner: Arc<Inner>,
    pin: Option<RoTxn<'static, WithoutTls>>,
    side: SideFile,
    /// Its pages are on the device.
    data_synced: bool,
}

impl NamespaceStore {
    /// Begins a checkpoint of the state as it is. Quick; [`Checkpoint::finish`] does the waiting.
    ///
    /// # Errors
    /// `Invariant` where one is under way, `Failed` after a failed sync.
    pub fn begin_checkpoint(&self) -> Result<Checkpoint, StoreError> {
        // Holding the writer keeps a commit from coming between the pin and the meta pages.
        let writer = self.writer();
        writer.check()?;
        let mut state = self.checkpoints();
        if state.running {
            return Err(StoreError::Invariant(
                "a checkpoint is under way already".into(),
            ));
        }
        let environment = &self.inner.environment;
        let pin = environment.env.clone().static_read_txn()?;
        let page_bytes = environment.table.database().stat(&pin)?.page_size as usize;
        let meta_pages = read_meta_pages(&environment.dir, page_bytes)?;
        let side = SideFile {
            transaction: pin.id() as u64,
            applied: writer.applied,
            tally: writer.tally,
            meta_pages,
        };
        if newest_transaction(&side.meta_pages) != Some(side.transaction) {
            return Err(StoreError::Invariant(format!(
                "the meta pages are not of transaction {}",
                side.transaction
            )));
        }
        state.running = true;
        Ok(Checkpoint {
            inner: self.inner.clone(),
            pin: Some(pin),
            side,
            data_synced: false,
        })
    }

    /// Whether a checkpoint is under way: there is no other before it has ended.
    pub(crate) fn makes_checkpoint(&self) -> bool {
        self.checkpoints().running
    }

    /// The position in the log that is durable here: the log may be purged up to it.
    pub fn durable(&self) -> LogPosition {
        self.checkpoints().durable
    }

    /// Takes the checkpoint away, so that the next start rebuilds the state from snapshot and log.
    ///
    /// # Errors
    /// `Io` where the directory cannot be changed.
    pub(crate) fn drop_checkpoint(&self) -> Result<(), StoreError> {
        let dir = &self.inner.environment.dir;
        let path = dir.join(SIDE_FILE);
        match blocking::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", &path)(error)),
            _ => sync_dir(dir),
        }
    }

    /// Pins the state that a start has restored.
    pub(super) fn pin_restored(&self, side: &SideFile) -> Result<(), StoreError> {
        let pin = self.inner.environment.env.clone().static_read_txn()?;
        if pin.id() as u64 != side.transaction || self.applied() != side.applied {
            return Err(StoreError::Invariant(
                "the restored state is not the checkpoint's".into(),
            ));
        }
        let mut state = self.checkpoints();
        state.pin = Some(pin);
        state.durable = side.applied;
        Ok(())
    }

    fn checkpoints(&self) -> MutexGuard<'_, State> {
        self.inner.checkpoints()
    }
}

impl Inner {
    fn checkpoints(&self) -> MutexGuard<'_, State> {
        self.checkpoints
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Checkpoint {
    /// Does the longer part of [`finish`](Checkpoint::finish), and nothing more: the data file is synced. Blocks on the device:
    /// not for a core that serves.
    ///
    /// # Errors
    /// Those of `finish`.
    pub fn sync(mut self) -> Result<Checkpoint, StoreError> {
        let synced = self.sync_data();
        self.noted(synced)?;
        self.data_synced = true;
        Ok(self)
    }

    /// Makes the checkpoint durable; returns the position in the log that it holds. Blocks on the
    /// device: not for a core that serves.
    ///
    /// # Errors
    /// `NoSpace`, where the one before stays in force; `Io`, after which the store refuses all further writes.
    pub fn finish(mut self) -> Result<LogPosition, StoreError> {
        if !self.data_synced {
            self = self.sync()?;
        }
        let written = self.write_side_file();
        self.noted(written)?;
        Ok(self.release_older())
    }

    /// Takes note of what stops the store.
    fn noted(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        match result {
            Ok(()) => Ok(()),
            Err(StoreError::NoSpace) => Err(StoreError::NoSpace),
            Err(error) => {
                let mut writer = match self.inner.writer.lock() {
                    Ok(writer) => writer,
                    Err(poisoned) => poisoned.into_inner(),
                };
                writer.failed.get_or_insert_with(|| error.to_string());
                Err(error)
            }
        }
    }

    fn sync_data(&self) -> Result<(), StoreError> {
        let Environment { env, dir, data, .. } = &self.inner.environment;
        // LMDB's own descriptor, open for as long as it writes: no error of writing back is missed.
        let own = env.try_clone_inner_file()?;
        data.sync(&own).map_err(|source| StoreError::Io {
            action: "sync",
            path: dir.join(DATA_FILE),
            source,
        })?;
        if let Ok(metadata) = own.metadata() {
            let map_bytes = env.info().map_size as u64;
            data.reserve(&own, growth(map_bytes, metadata.len()));
        }
        Ok(())
    }

    fn write_side_file(&self) -> Result<(), StoreError> {
        write_side_file(&self.inner.environment.dir, &self.side)
    }

    /// Puts the pin in the place of the older one, which is dropped.
    fn release_older(&mut self) -> LogPosition {
        let mut state = self.inner.checkpoints();
        state.durable = self.side.applied;
        state.pin = self.pin.take();
        state.durable
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.inner.checkpoints().running = false;
    }
}

/// Puts the meta pages of the side file back before LMDB opens the data file; `Err` says why that cannot be. The data file is
/// not waited for: the pages of that transaction are on the device, and its meta pages are put back again by every start until
/// the next checkpoint. The directory is: a process may have died between the renaming of a side file and the sync of its
/// directory, and a power cut would bring the older one back, whose pages nobody pins any more.
pub(super) fn restore(dir: &Path) -> Result<Result<SideFile, Found>, StoreError> {
    sync_dir(dir)?;
    let (data, path) = (dir.join(DATA_FILE), dir.join(SIDE_FILE));
    let doubtful = |why: &str| Ok(Err(Found::Doubtful(why.to_owned())));
    let bytes = match blocking::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match blocking::exists(&data).map_err(io("look for", &data))? {
                false => Ok(Err(Found::Nothing)),
                true => doubtful("it has no checkpoint"),
            };
        }
        Err(error) => return Err(io("read", &path)(error)),
    };
    if let Some(version) = SideFile::newer_version(&bytes) {
        let what = format!("version {version} of the checkpoint's side file");
        return Err(StoreError::NewerFormat(what));
    }
    let Some(side) = SideFile::decode(&bytes) else {
        return doubtful("its checkpoint's side file is damaged");
    };
    let file = match File::open_to_write(&data) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return doubtful("its data file is gone");
        }
        Err(error) => return Err(io("open", &data)(error)),
    };
    if Meta::newest(&side.meta_pages).is_none_or(|meta| pages::check_length(&file, &meta).is_err())
    {
        return doubtful("its data file is cut short");
    }
    file.write_all_at(&side.meta_pages, 0)
        .map_err(io("write", &data))?;
    Ok(Ok(side))
}

fn write_side_file(dir: &Path, side: &SideFile) -> Result<(), StoreError> {
    let (spare, path) = (dir.join(SIDE_FILE_SPARE), dir.join(SIDE_FILE));
    let bytes = side.encode();
    write_over(&spare, &bytes)?;
    if let Err(error) = blocking::exchange(&spare, &path) {
        // The first checkpoint of a directory has nothing to exchange with; some file systems exchange nothing.
        let replaces = [
            ErrorKind::NotFound,
            ErrorKind::InvalidInput,
            ErrorKind::Unsupported,
        ];
        if !replaces.contains(&error.kind()) {
            return Err(io("exchange", &spare)(error));
        }
        blocking::rename(&spare, &path).map_err(io("rename", &spare))?;
        // The room for the next one. Where there is none now, the next one asks for it.
        let _ = write_over(&spare, &bytes);
    }
    sync_dir(dir)
}

/// Writes a whole file, over what it holds where it is there.
fn write_over(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let file = File::create(path).map_err(io("open", path))?;
    file.write_all_at(bytes, 0).map_err(io("write", path))?;
    file.set_length(bytes.len() as u64)
        .and_then(|()| file.sync())
        .map_err(io("sync", path))
}

/// How much room is taken behind the end of the data file.
fn growth(map_bytes: u64, file_bytes: u64) -> u64 {
    let wanted = (map_bytes / GROWTH_SHARE).min(GROWTH_BYTES_MAX);
    wanted.min(map_bytes.saturating_sub(file_bytes))
}

fn read_meta_pages(dir: &Path, page_bytes: usize) -> Result<Vec<u8>, StoreError> {
    let path = dir.join(DATA_FILE);
    let mut pages = vec![0; 2 * page_bytes];
    File::open(&path)
        .and_then(|file| file.read_exact_at(&mut pages, 0))
        .map_err(io("read", &path))?;
    Ok(pages)
}

/// The number of the newer of the transactions that two meta pages speak of.
fn newest_transaction(meta_pages: &[u8]) -> Option<u64> {
    let pages = meta_pages.chunks_exact(meta_pages.len() / 2);
    pages.filter_map(meta_transaction).max()
}

fn meta_transaction(page: &[u8]) -> Option<u64> {
    let magic = page.get(META_MAGIC_AT..)?.first_chunk::<4>()?;
    let transaction = page.get(META_TRANSACTION_AT..)?.first_chunk::<8>()?;
    (u32::from_ne_bytes(*magic) == META_MAGIC).then_some(u64::from_ne_bytes(*transaction))
}

impl SideFile {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.meta_pages.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&((self.meta_pages.len() / 2) as u32).to_be_bytes());
        let LogPosition { term, node, index } = self.applied;
        let Tally { rows, sum } = self.tally;
        for field in [self.transaction, term, node, index, rows, sum] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&self.meta_pages);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// The version of a side file, whole, that a newer version than this has written.
    pub(crate) fn newer_version(bytes: &[u8]) -> Option<u32> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        let version = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        let whole = bytes.starts_with(&MAGIC) && u32::from_be_bytes(*crc) == crc32c::crc32c(bytes);
        (whole && version > VERSION).then_some(version)
    }

    /// `None` for anything but what `encode` wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SideFile> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if u32::from_be_bytes(*crc) != crc32c::crc32c(bytes) {
            return None;
        }
        let (header, meta_pages) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| header[at + i]));
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| header[at + i]));
        let page_bytes = u32_at(12) as usize;
        let sound = header[..8] == MAGIC
            && u32_at(8) == VERSION
            && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
            && meta_pages.len() == 2 * page_bytes
            && newest_transaction(meta_pages) == Some(u64_at(16));
        sound.then(|| SideFile {
            transaction: u64_at(16),
            applied: LogPosition {
                term: u64_at(24),
                node: u64_at(32),
                index: u64_at(40),
            },
            tally: Tally {
                rows: u64_at(48),
                sum: u64_at(56),
            },
            meta_pages: meta_pages.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as it was first written. A difference is a format that changed.
    #[test]
    fn the_side_file_is_as_it_was_first_written() {
        let mut meta_pages = vec![0; 2 * PAGE_BYTES_MIN];
        meta_pages[META_MAGIC_AT..][..4].copy_from_slice(&META_MAGIC.to_ne_bytes());
        meta_pages[META_TRANSACTION_AT..][..8].copy_from_slice(&5u64.to_ne_bytes());
        let side = SideFile {
            transaction: 5,
            applied: LogPosition {
                term: 1,
                node: 2,
                index: 3,
            },
            tally: Tally { rows: 4, sum: 6 },
            meta_pages,
        };
        let bytes = side.encode();
        let mut head = b"STRATAck".to_vec();
        head.extend([0, 0, 0, 6]);
        head.extend((PAGE_BYTES_MIN as u32).to_be_bytes());
        for field in [5u64, 1, 2, 3, 4, 6] {
            head.extend(field.to_be_bytes());
        }
        assert_eq!(bytes[..HEADER_BYTES], head);
        let (content, crc) = bytes.split_at(bytes.len() - 4);
        assert_eq!(content[HEADER_BYTES..], side.meta_pages);
        assert_eq!(crc, crc32c::crc32c(content).to_be_bytes());
        let read = SideFile::decode(&bytes).expect("it reads back");
        assert_eq!((read.transaction, read.applied), (5, side.applied));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(SideFile::decode(&damaged).is_none(), "byte {at}");
        }
    }
}
