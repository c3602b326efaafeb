//! A whole device, opened as a start opens it: superblock, anchors, segment headers, the journal's records, index pages, the records
//! behind the checkpoint. An input is how it is changed (1 byte) and changes ([`patch`]) of those blocks of a device that are not
//! zero.
//!
//! Where no CRC is made to hold, no shard that is read has other bytes than it had, and what was opened and written opens again.

use std::cell::LazyCell;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use strata_engine::format::describe::describe;
use strata_engine::format::entry::HEADER_BYTES;
use strata_engine::format::kind;
use strata_engine::reactor::{self, File, OpenOptions, ReactorConfig, Simulation, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, EngineError, FormatOptions, Journal, Owner,
    Payload, ShardId, ShardWrite, Uuid, format_device,
};

use crate::canonical::seal_little;
use crate::patch;

const PATH: &str = "/strata.device";
const SEGMENT_BYTES: u64 = 256 << 10;
const CAPACITY_BYTES: u64 = (1 << 20) + 16 * SEGMENT_BYTES;
const BLOCK_BYTES: usize = 4096;
const ARENA_BYTES: usize = 8 << 20;

/// Shards of the device: number and length in bytes. The second is freed; the last two came after the checkpoint.
const SHARDS: [(u64, usize); 5] = [(1, 5_000), (2, 100), (3, 9_000), (4, 4_000), (5, 300)];
const FREED: u64 = 2;
const BEHIND_CHECKPOINT: usize = 3;

/// The bit of an input's first byte that makes the CRCs of changed structures hold.
const SEALED: u8 = 1;

/// Where a record or an entry says how long it is.
const LENGTH_AT: usize = 24;

thread_local! {
    static BASE: LazyCell<Base> = LazyCell::new(Base::made);
}

/// The blocks of a device that are not zero.
struct Base {
    offsets: Vec<u64>,
    bytes: Vec<u8>,
    length: u64,
    structures: Vec<Structure>,
}

struct Structure {
    at: usize,
    kind: u16,
}

pub(super) fn run(data: &[u8]) {
    let Some((how, changes)) = data.split_first() else {
        return;
    };
    BASE.with(|base| {
        let mut bytes = base.bytes.clone();
        let changed = patch::apply(changes, &mut bytes);
        let sealed = how & SEALED != 0;
        if sealed {
            base.seal(&mut bytes, &changed);
        }
        let simulation = Simulation::new(1);
        let opened = on_reactor(&simulation, async || {
            base.put(&bytes).await;
            match open().await {
                Ok((journal, store)) => {
                    read_all(&journal, &store, !sealed).await;
                    write_more(&journal, &store).await.is_ok()
                }
                Err(_) => false,
            }
        });
        if opened {
            let again = on_reactor(&simulation, async || open().await.err());
            assert!(
                sealed || again.is_none(),
                "it does not open again: {again:?}"
            );
        }
    });
}

fn on_reactor<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "fuzz".to_owned(),
        arena_bytes: ARENA_BYTES,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work).expect("no crash")
}

async fn open() -> Result<(Journal, ChunkStore), EngineError> {
    let options = DeviceOptions {
        capacity_bytes: CAPACITY_BYTES,
        ..DeviceOptions::default()
    };
    let device = Device::open(Path::new(PATH), options).await?;
    let journal = Journal::open(&device, 0).await?;
    let (store, _) = ChunkStore::open(&device, 1).await?;
    Ok((journal, store))
}

async fn read_all(journal: &Journal, store: &ChunkStore, compared: bool) {
    // An error is an answer.
    let _ = journal.replay(None, &mut |_, _, _| Ok(())).await;
    for (number, length) in SHARDS {
        let read = store.read(id(number), 0..length as u32).await;
        if let (Ok(views), true) = (read, compared) {
            let bytes: Vec<u8> = views.iter().flat_map(|view| view.to_vec()).collect();
            assert!(bytes == content(number, length), "shard {number}");
        }
    }
}

async fn write_more(journal: &Journal, store: &ChunkStore) -> Result<(), EngineError> {
    let place = journal.append(1, b"one more")?;
    journal.flush(place).await?;
    store.write(shard(9, 700).await).await?;
    store.checkpoint().await
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 1, 1, number),
        shard: 0,
    }
}

fn content(number: u64, length: usize) -> Vec<u8> {
    let mut random = crate::mutation::Random::new(number);
    (0..length).map(|_| random.number() as u8 | 1).collect()
}

async fn shard(number: u64, length: usize) -> ShardWrite {
    let mut buffer = reactor::allocate(length).await;
    buffer.extend_from_slice(&content(number, length));
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        slot_mask: u64::MAX,
        introduces: true,
        chunk_bytes: length as u64,
        owner: Owner {
            inode: number,
            ..Owner::default()
        },
        payload: Payload::of(vec![buffer.freeze()]),
    }
}

impl Base {
    fn made() -> Base {
        let simulation = Simulation::new(1);
        on_reactor(&simulation, async || {
            fill().await.expect("a device");
        });
        let device = simulation.content(Path::new(PATH)).expect("a file");
        let (mut offsets, mut bytes) = (Vec::new(), Vec::new());
        for (number, block) in device.chunks(BLOCK_BYTES).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                offsets.push((number * BLOCK_BYTES) as u64);
                bytes.extend_from_slice(block);
            }
        }
        bytes.resize(offsets.len() * BLOCK_BYTES, 0);
        let structures = structures_of(&bytes);
        Base {
            offsets,
            bytes,
            length: device.len() as u64,
            structures,
        }
    }

    /// Makes the CRCs of the structures hold of which something has changed.
    fn seal(&self, bytes: &mut [u8], changed: &[Range<usize>]) {
        for structure in &self.structures {
            let length = structure.length(bytes);
            let own = structure.at..structure.at + length;
            let is_changed = changed
                .iter()
                .any(|change| change.start < own.end && own.start < change.end);
            if let (true, Some(own)) = (is_changed, bytes.get_mut(own)) {
                seal_little(own);
            }
        }
    }

    /// Writes the blocks to the device.
    async fn put(&self, bytes: &[u8]) {
        let options = OpenOptions {
            read_only: false,
            create: true,
            direct: true,
        };
        let file = File::open(Path::new(PATH), options).await.expect("a file");
        file.set_length(self.length).await.expect("a length");
        for (block, offset) in bytes.chunks(BLOCK_BYTES).zip(&self.offsets) {
            let mut buffer = reactor::allocate(BLOCK_BYTES).await;
            buffer.extend_from_slice(block);
            let written = file.write(vec![buffer.freeze()], *offset).await;
            written.expect("written");
        }
        file.sync().await.expect("synced");
    }
}

impl Structure {
    /// Its length as it is said now.
    fn length(&self, bytes: &[u8]) -> usize {
        let at = self.at + LENGTH_AT;
        let said = bytes.get(at..).and_then(|rest| rest.first_chunk());
        let said = said.map_or(0, |said| u32::from_le_bytes(*said)) as usize;
        match self.kind {
            kind::ENTRY => HEADER_BYTES + said,
            kind::SHARD | kind::TOMBSTONE => said,
            _ => BLOCK_BYTES,
        }
    }
}

/// Whatever stands at a multiple of 16 bytes and is whole.
fn structures_of(bytes: &[u8]) -> Vec<Structure> {
    let found = (0..bytes.len()).step_by(16).filter_map(|at| {
        let rest = &bytes[at..];
        let kind = u16::from_le_bytes([*rest.get(4)?, *rest.get(5)?]);
        let is_whole =
            (kind::SUPERBLOCK..=kind::INNER).contains(&kind) && describe(rest).error.is_none();
        is_whole.then_some(Structure { at, kind })
    });
    found.collect()
}

async fn fill() -> Result<(), EngineError> {
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: SEGMENT_BYTES,
        log_segments: 6,
        log_mirrors: vec![Uuid([2; 16])],
    };
    format_device(Path::new(PATH), options).await?;
    let (journal, store) = open().await?;
    for number in 0..5 {
        let place = journal.append(1, &content(number, 100 + number as usize))?;
        journal.flush(place).await?;
    }
    for (at, (number, length)) in SHARDS.into_iter().enumerate() {
        if at == BEHIND_CHECKPOINT {
            store.checkpoint().await?;
        }
        store.write(shard(number, length).await).await?;
    }
    store.free(&[id(FREED)]).await
}
