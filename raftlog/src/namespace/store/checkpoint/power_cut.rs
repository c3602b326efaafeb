//! Cuts the power under the store. The device keeps of every page that was written since the last
//! sync any version it has had since then, page by page at random; of a file that was renamed since
//! its directory was synced, either. After a cut the state must be exactly that of the checkpoint
//! that was durable, also when the process was killed and started again before the cut.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::namespace::command::{
    Command, CreateBucket, DeleteKey, DeleteObjects, Envelope, Initialise, LeaseInodes,
    OpenSession, Precondition, PutObject,
};
use crate::namespace::store::StoreOptions;
use crate::namespace::store::environment::DIRECTORY_SYNCS;
use crate::namespace::{
    Body, ETag, Geometry, GeometryCode, Layout, LayoutKind, LogEntry, ObjectAttributes, RootKey,
};

const OPTIONS: StoreOptions = StoreOptions {
    map_bytes: 16 << 20,
};

/// The inode of the bucket, behind those that are leased before.
const BUCKET: u64 = 16 + 100_000;

/// What the device tears: 8 sectors of 512 bytes make a page of LMDB.
const SECTOR_BYTES: usize = 512;

/// xorshift64*: the test runs the same from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What a process has open.
struct Process {
    store: NamespaceStore,
    checkpoint: Option<(Checkpoint, Stage)>,
}

#[derive(PartialEq)]
enum Stage {
    Begun,
    DataSynced,
    SideFileWritten,
}

/// A machine with a log that is never lost and a device that forgets.
struct Machine {
    random: Random,
    dir: tempfile::TempDir,
    /// Versions of the data file since it was last synced; the first is what was synced.
    versions: Vec<Vec<u8>>,
    /// Entries of the log, from index 1 on.
    log: Vec<Vec<u8>>,
    /// All rows after each entry.
    states: BTreeMap<u64, Rows>,
    /// The checkpoint that must be found after a cut.
    durable: u64,
    inode: u64,
    /// Sectors that a cut has set back.
    set_back: usize,
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

impl Machine {
    fn new(seed: u64) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let log = first_commands()
            .iter()
            .enumerate()
            .map(|(at, c)| envelope(at, c))
            .collect();
        Machine {
            random,
            dir,
            versions: vec![Vec::new()],
            log,
            states: BTreeMap::new(),
            durable: 0,
            inode: 16,
            set_back: 0,
        }
    }

    fn data_file(&self) -> PathBuf {
        self.dir.path().join(DATA_FILE)
    }

    /// Starts a process: the state must be that of the durable checkpoint. The log is replayed.
    fn start(&mut self, durable: &[u64]) -> Process {
        let (store, opened) = NamespaceStore::open(self.dir.path(), OPTIONS).unwrap();
        let found = opened.applied.index;
        assert!(
            durable.contains(&found),
            "the state is of {found}, durable are {durable:?}"
        );
        assert_eq!(
            opened.fresh,
            found == 0 && self.durable == 0 && self.states.is_empty()
        );
        if let Some(rows) = self.states.get(&found) {
            assert!(
                *rows == rows_of(&store),
                "the state is not that of the checkpoint {found}"
            );
        }
        self.durable = found;
        self.states.entry(found).or_insert_with(|| rows_of(&store));
        let data = fs::read(self.data_file()).unwrap();
        match opened.fresh {
            true => self.versions = vec![data],
            // The meta pages that were put back are not synced.
            false => self.versions.push(data),
        }
        let mut process = Process {
            store,
            checkpoint: None,
        };
        while process.store.applied().index < self.log.len() as u64 {
            self.apply_next(&mut process);
        }
        process
    }

    fn apply_next(&mut self, process: &mut Process) {
        let index = process.store.applied().index + 1;
        let bytes = &self.log[index as usize - 1];
        let position = LogPosition {
            term: 1,
            node: 1,
            index,
        };
        process
            .store
            .apply(&[(position, LogEntry::Command(bytes))])
            .unwrap();
        let rows = rows_of(&process.store);
        match self.states.get(&index) {
            Some(known) => assert!(*known == rows, "a replay came to another state"),
            None => drop(self.states.insert(index, rows)),
        }
        self.versions.push(fs::read(self.data_file()).unwrap());
    }

    fn write(&mut self, process: &mut Process) {
        let command = self.some_command();
        self.log.push(envelope(self.log.len(), &command));
        self.apply_next(process);
    }

    /// A step of a checkpoint, if it is its turn. Returns the checkpoints of which either may be
    /// found when the power is cut within the step.
    fn checkpoint_step(&mut self, process: &mut Process) -> Vec<u64> {
        let Some((mut checkpoint, stage)) = process.checkpoint.take() else {
            let checkpoint = process.store.begin_checkpoint().unwrap();
            process.checkpoint = Some((checkpoint, Stage::Begun));
            return vec![self.durable];
        };
        match stage {
            Stage::Begun => {
                checkpoint.sync_data().unwrap();
                self.versions = vec![fs::read(self.data_file()).unwrap()];
                process.checkpoint = Some((checkpoint, Stage::DataSynced));
                vec![self.durable]
            }
            Stage::DataSynced => {
                let older = self.durable;
                checkpoint.write_side_file().unwrap();
                self.durable = checkpoint.side.applied.index;
                process.checkpoint = Some((checkpoint, Stage::SideFileWritten));
                vec![older, self.durable]
            }
            Stage::SideFileWritten => {
                checkpoint.release_older();
                vec![self.durable]
            }
        }
    }

    /// Cuts the power: what the device keeps of the data file.
    fn cut(&mut self) {
        let length = self.versions.iter().map(Vec::len).max().unwrap_or(0);
        let mut kept = Vec::with_capacity(length);
        let now = self.versions.last().cloned().unwrap_or_default();
        for at in (0..length).step_by(SECTOR_BYTES) {
            let version = &self.versions[self.random.below(self.versions.len())];
            let sector = version
                .get(at..at + SECTOR_BYTES)
                .unwrap_or(&[0; SECTOR_BYTES]);
            self.set_back += usize::from(now.get(at..at + SECTOR_BYTES) != Some(sector));
            kept.extend_from_slice(sector);
        }
        fs::write(self.data_file(), &kept).unwrap();
        self.versions = vec![kept];
    }

    fn some_command(&mut self) -> Command {
        let key = format!("dir{}/key{}", self.random.below(4), self.random.below(40)).into_bytes();
        if self.random.below(4) == 0 {
            let keys = vec![DeleteKey {
                key,
                if_match: None,
            }];
            return DeleteObjects {
                bucket: BUCKET,
                keys,
            }
            .into();
        }
        let size = [20, 900, 5_000][self.random.below(3)];
        let fill = self.random.next() as u8;
        self.inode += 1;
        PutObject {
            bucket: BUCKET,
            key,
            inode: self.inode - 1,
            size,
            etag: ETag::single([fill; 16]),
            checksum: None,
            attributes: ObjectAttributes::default(),
            body: Body::Inline(vec![fill; size as usize]),
            precondition: Precondition::default(),
            owner: 0,
        }
        .into()
    }
}

fn envelope(at: usize, command: &Command) -> Vec<u8> {
    let envelope = Envelope {
        group: 0,
        feature_level: 1,
        session: u64::from(at >= 2),
        sequence: at as u64,
        lowest_unanswered: (at as u64).saturating_sub(3),
        time_nanos: at as i64,
        command: command.clone(),
    };
    envelope.encode().unwrap().to_vec()
}

fn first_commands() -> [Command; 4] {
    let geometry = Geometry {
        number: 1,
        code: GeometryCode::Copies,
        k: 1,
        m: 0,
        cell_bytes: 4_096,
    };
    let initialise = Initialise {
        cluster: [1; 16],
        incarnation: 0,
        layout: Layout {
            kind: LayoutKind::Single,
            k: 1,
            m: 0,
            geometry: 1,
        },
        geometries: vec![geometry],
        placement_groups: Vec::new(),
        root_key: RootKey {
            access_key_id: "a".into(),
            secret_access_key: "b".into(),
        },
    };
    [
        initialise.into(),
        OpenSession { owner: 1 }.into(),
        LeaseInodes { count: 100_000 }.into(),
        CreateBucket {
            bucket: "b".into(),
            owner: 1,
            object_lock: false,
        }
        .into(),
    ]
}

fn rows_of(store: &NamespaceStore) -> Rows {
    let environment = &store.inner.environment;
    let txn = environment.env.read_txn().unwrap();
    let mut scan = environment.table.scan(&txn, &[], &[]).unwrap();
    let mut rows = Vec::new();
    while let Some((key, value)) = scan.next_raw().unwrap() {
        crate::namespace::verify_row(key, value).unwrap();
        rows.push((key.to_vec(), value.to_vec()));
    }
    rows
}

/// One life of a machine: processes that are killed, and cuts at any point.
fn live(seed: u64, lives: usize) -> usize {
    let mut machine = Machine::new(seed);
    let mut process = machine.start(&[0]);
    for _ in 0..lives {
        let mut side_before = side_file(&machine);
        let mut possible = vec![machine.durable];
        for _ in 0..machine.random.below(60) {
            possible = vec![machine.durable];
            if machine.random.below(3) == 0 {
                side_before = side_file(&machine);
                possible = machine.checkpoint_step(&mut process);
            } else {
                machine.write(&mut process);
            }
        }
        drop(process);
        if machine.random.below(2) == 0 {
            let syncs = DIRECTORY_SYNCS.get();
            process = machine.start(&[machine.durable]);
            // Killed between the renaming of a side file and the sync of its directory.
            if DIRECTORY_SYNCS.get() > syncs {
                (possible, side_before) = (vec![machine.durable], side_file(&machine));
            }
            for _ in 0..machine.random.below(20) {
                machine.write(&mut process);
            }
            if machine.random.below(2) == 0 {
                drop(process.store.begin_checkpoint().unwrap());
            }
            drop(process);
        }
        if possible.len() == 2 && machine.random.below(2) == 0 {
            fs::write(machine.dir.path().join(SIDE_FILE), side_before).unwrap();
            possible.truncate(1);
            machine.durable = possible[0];
        }
        machine.cut();
        if machine.random.below(3) == 0 {
            // The start after the cut comes as far as the meta pages, and the power goes again.
            assert!(restore(machine.dir.path()).unwrap().is_ok());
            machine
                .versions
                .push(fs::read(machine.data_file()).unwrap());
            machine.cut();
        }
        process = machine.start(&[machine.durable]);
    }
    machine.set_back
}

fn side_file(machine: &Machine) -> Vec<u8> {
    fs::read(machine.dir.path().join(SIDE_FILE)).unwrap()
}

#[test]
fn a_power_cut_leaves_exactly_the_checkpoint() {
    let set_back: usize = (1..=30).map(|seed| live(seed, 4)).sum();
    assert!(
        set_back > 10_000,
        "the cuts have set back only {set_back} sectors"
    );
}

#[test]
fn a_damaged_side_file_makes_the_store_fresh() {
    let mut machine = Machine::new(7);
    let mut process = machine.start(&[0]);
    machine.write(&mut process);
    machine.checkpoint_step(&mut process);
    for _ in 0..3 {
        machine.checkpoint_step(&mut process);
    }
    drop(process);
    let path = machine.dir.path().join(SIDE_FILE);
    let sound = fs::read(&path).unwrap();
    let mut pages = fs::read(machine.data_file()).unwrap();
    for at in (0..sound.len()).step_by(997).chain([sound.len() - 1]) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        assert_eq!(SideFile::decode(&damaged), None, "byte {at}");
        assert_eq!(SideFile::decode(&sound[..at]), None, "cut at {at}");
    }
    fs::write(&path, &sound[1..]).unwrap();
    let (store, opened) = NamespaceStore::open(machine.dir.path(), OPTIONS).unwrap();
    assert_eq!(
        opened,
        crate::namespace::store::Opened {
            doubt: Some("its checkpoint's side file is damaged".to_owned()),
            applied: LogPosition::default(),
            fresh: true
        }
    );
    drop(store);
    assert!(pages.len() > 2 * 4_096);
    pages[2 * 4_096..].fill(0);
    fs::write(machine.data_file(), pages).unwrap();
    fs::write(&path, &sound).unwrap();
    let (store, opened) = NamespaceStore::open(machine.dir.path(), OPTIONS).unwrap();
    assert!(opened.fresh, "pages that were never written");
    drop(store);
    fs::remove_file(machine.data_file()).unwrap();
    let (_store, opened) = NamespaceStore::open(machine.dir.path(), OPTIONS).unwrap();
    assert!(opened.fresh);
}

#[test]
fn a_directory_is_open_once_and_a_checkpoint_runs_once() {
    let mut machine = Machine::new(9);
    let process = machine.start(&[0]);
    assert!(matches!(
        NamespaceStore::open(machine.dir.path(), OPTIONS),
        Err(StoreError::Locked(_))
    ));
    let first = process.store.begin_checkpoint().unwrap();
    assert!(matches!(
        process.store.begin_checkpoint(),
        Err(StoreError::Invariant(_))
    ));
    assert_eq!(first.finish().unwrap().index, 4);
    assert_eq!(process.store.durable().index, 4);
    drop(process.store.begin_checkpoint().unwrap());
    process.store.begin_checkpoint().unwrap().finish().unwrap();
}

#[test]
fn after_a_checkpoint_that_failed_nothing_is_written() {
    let mut machine = Machine::new(11);
    let mut process = machine.start(&[0]);
    process.store.begin_checkpoint().unwrap().finish().unwrap();
    machine.durable = process.store.durable().index;
    machine.versions = vec![fs::read(machine.data_file()).unwrap()];
    machine.write(&mut process);
    let obstacle = machine.dir.path().join(SIDE_FILE_SPARE);
    fs::remove_file(&obstacle).unwrap();
    fs::create_dir(&obstacle).unwrap();
    let failed = process.store.begin_checkpoint().unwrap().finish();
    assert!(
        matches!(failed, Err(StoreError::Io { action: "open", .. })),
        "{failed:?}"
    );
    let position = LogPosition {
        term: 1,
        node: 1,
        index: 6,
    };
    let applied = process.store.apply(&[(position, LogEntry::Blank)]);
    assert!(matches!(applied, Err(StoreError::Failed(_))), "{applied:?}");
    assert!(matches!(
        process.store.begin_checkpoint(),
        Err(StoreError::Failed(_))
    ));
    assert_eq!(process.store.durable().index, machine.durable);
    drop(process);
    fs::remove_dir(obstacle).unwrap();
    machine.cut();
    let mut process = machine.start(&[machine.durable]);
    machine.write(&mut process);
}
