//! Devices, in files on this machine and in the simulated world, and shards whose bytes follow from their numbers.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::device::block;
use strata_engine::reactor::{self, Buffer, ReactorConfig, ReactorError, Simulation, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, EngineError, FormatOptions, Journal,
    JournalPosition, Owner, Payload, RecoveryReport, ShardId, ShardWrite, Uuid, format_device,
};
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;
pub const CELL: usize = 64 << 10;
/// Segments of the log partition of every device.
pub const LOG_SEGMENTS: u32 = 6;

/// The device of a simulated machine.
pub const PATH: &str = "/strata.device";
/// Length of its segments: little fills many.
pub const SEGMENT: u64 = 256 << 10;
/// Arena of its reactor, where a test is not about that.
pub const ARENA: usize = 8 << 20;

fn on_reactor<T>(
    world: World,
    arena_bytes: usize,
    work: impl AsyncFnOnce() -> T,
) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes,
        spin: Duration::ZERO,
    };
    reactor::run(config, world, work)
}

/// Runs on this machine.
pub fn run_real<T>(work: impl AsyncFnOnce() -> T) -> T {
    on_reactor(World::Real, 32 << 20, work).expect("io_uring is usable")
}

/// Runs on the simulated machine, which may crash.
pub fn try_run<T>(
    simulation: &Simulation,
    arena_bytes: usize,
    work: impl AsyncFnOnce() -> T,
) -> Result<T, ReactorError> {
    on_reactor(World::Simulated(simulation.clone()), arena_bytes, work)
}

/// Runs on the simulated machine to the end.
pub fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    try_run(simulation, ARENA, work).expect("no crash")
}

fn format_options(data_partitions: u16, segment_bytes: u64) -> FormatOptions {
    FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions,
        segment_bytes,
        log_segments: LOG_SEGMENTS,
        log_mirrors: vec![Uuid([2; 16])],
    }
}

async fn open_device(path: &Path, capacity_bytes: u64) -> Device {
    let options = DeviceOptions {
        capacity_bytes,
        discard: true,
        ..DeviceOptions::default()
    };
    Device::open(path, options).await.expect("a device")
}

/// A device in a file on this machine, with segments of 4 MiB.
pub struct DeviceFile {
    pub directory: TempDir,
    pub path: PathBuf,
}

impl DeviceFile {
    /// Beside the build, because direct I/O needs a real file system.
    pub fn formatted(data_partitions: u16) -> DeviceFile {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let path = directory.path().join("strata.device");
        let options = format_options(data_partitions, 4 * MIB);
        run_real(async || format_device(&path, options).await.expect("format"));
        DeviceFile { directory, path }
    }

    pub async fn open(&self, capacity_mib: u64) -> Device {
        open_device(&self.path, capacity_mib * MIB).await
    }

    /// Flips a bit of these bytes.
    pub fn damage(&self, needle: &[u8]) {
        let mut file = std::fs::read(&self.path).expect("a file");
        let at = place_of(needle, &file);
        file[at] ^= 1;
        std::fs::write(&self.path, file).expect("damage");
    }
}

/// Where on the device these bytes begin.
pub fn place_of(needle: &[u8], device: &[u8]) -> usize {
    let places = device.windows(needle.len());
    let mut found = places.enumerate().filter(|(_, window)| *window == needle);
    found.next().expect("the bytes are on the device").0
}

/// A simulated machine with a formatted device.
pub fn formatted(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    let options = format_options(1, SEGMENT);
    run(&simulation, async || {
        format_device(Path::new(PATH), options)
            .await
            .expect("format")
    });
    simulation
}

/// A simulated machine with a formatted block device that has room for so many data segments, and held something else before.
pub fn formatted_block_device(
    seed: u64,
    data_segments: u64,
    physical_sector_bytes: u32,
) -> Simulation {
    let simulation = Simulation::new(seed);
    let path = Path::new(PATH);
    let bytes = slot_offset(data_segments);
    let made = simulation.set_block_device(path, bytes, physical_sector_bytes);
    made.expect("the root directory");
    for offset in (0..bytes).step_by(64 << 10) {
        let before = content(offset, 512);
        let written = simulation.overwrite(path, offset, &before);
        written.expect("it is there");
    }
    let options = format_options(1, SEGMENT);
    run(&simulation, async || {
        block::erase(path, false).await.expect("erased");
        format_device(path, options).await.expect("format");
    });
    simulation
}

/// Where a data segment begins on the device of a simulated machine.
pub fn slot_offset(slot: u64) -> u64 {
    MIB + (u64::from(LOG_SEGMENTS) + slot) * SEGMENT
}

/// The device of the simulated machine, with room for so many data segments.
pub async fn device(data_segments: u64) -> Device {
    open_device(Path::new(PATH), slot_offset(data_segments)).await
}

/// What the file of the simulated device holds.
pub fn device_content(simulation: &Simulation) -> Vec<u8> {
    simulation.content(Path::new(PATH)).expect("a file")
}

/// Flips a bit of the simulated device.
pub fn flip_bit(simulation: &Simulation, offset: u64, bit: u8) {
    let path = Path::new(PATH);
    simulation.flip_bit(path, offset, bit).expect("a file");
}

/// The store of the first data partition.
pub async fn open_store(device: &Device) -> (ChunkStore, RecoveryReport) {
    ChunkStore::open(device, 1).await.expect("recovery")
}

pub async fn open_journal(device: &Device) -> Journal {
    Journal::open(device, 0).await.expect("recovery")
}

/// All records of a journal: their places, kinds and bodies.
pub async fn records(journal: &Journal) -> Vec<(JournalPosition, u8, Vec<u8>)> {
    let mut records = Vec::new();
    let mut visit = |at: JournalPosition, kind: u8, body: &[u8]| {
        records.push((at, kind, body.to_vec()));
        Ok(())
    };
    journal.replay(None, &mut visit).await.expect("replay");
    records
}

/// A small generator, apart from the simulation's own.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Bytes that differ from those of other numbers in every word, and so can be found on a device.
pub fn content(number: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(number);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 1, 1, number),
        shard: 0,
    }
}

/// A shard of these bytes, which are put into the buffer.
pub fn shard_in(mut buffer: Buffer, number: u64, bytes: &[u8]) -> ShardWrite {
    buffer.extend_from_slice(bytes);
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        slot_mask: u64::MAX,
        introduces: true,
        chunk_bytes: bytes.len() as u64,
        owner: Owner {
            inode: number,
            ..Owner::default()
        },
        payload: Payload::of(vec![buffer.freeze()]),
    }
}

/// A shard whose bytes are the [`content`] of its number.
pub async fn shard(number: u64, length: usize) -> ShardWrite {
    let buffer = reactor::allocate(length).await;
    shard_in(buffer, number, &content(number, length))
}

pub async fn write(store: &ChunkStore, number: u64, length: usize) -> Result<(), EngineError> {
    store.write(shard(number, length).await).await
}

pub async fn free(store: &ChunkStore, numbers: impl IntoIterator<Item = u64>) {
    let shards: Vec<ShardId> = numbers.into_iter().map(id).collect();
    store.free(&shards).await.expect("frees go on");
}

pub async fn read(
    store: &ChunkStore,
    number: u64,
    range: Range<usize>,
) -> Result<Vec<u8>, EngineError> {
    let views = store
        .read(id(number), range.start as u32..range.end as u32)
        .await?;
    Ok(views.iter().flat_map(|view| view.to_vec()).collect())
}

/// The first shards of a store, in the order of their ids.
pub async fn scan(store: &ChunkStore, limit: usize) -> Vec<(ShardId, u64)> {
    store.scan(None, limit).await.expect("a scan")
}

/// Reads shards and compares them with what was written.
pub async fn expect_whole(
    store: &ChunkStore,
    numbers: impl IntoIterator<Item = u64>,
    length: usize,
) {
    for number in numbers {
        let back = read(store, number, 0..length).await;
        let back = back.unwrap_or_else(|error| panic!("shard {number}: {error}"));
        assert!(back == content(number, length), "shard {number}");
    }
}

/// Writes shards from `first` on until the partition is full; the number of the one that had no room.
pub async fn fill(store: &ChunkStore, first: u64, length: usize) -> u64 {
    for number in first..first + 2_000 {
        match write(store, number, length).await {
            Ok(()) => {}
            Err(EngineError::Full { .. }) => return number,
            Err(error) => panic!("shard {number}: {error}"),
        }
    }
    panic!("the partition never fills");
}
