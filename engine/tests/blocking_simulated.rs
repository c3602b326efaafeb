//! Calls that block, and files that a library maps, in the simulated world: they lose what was not synced, like everything else.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::fs::blocking::{self, File};
use strata_engine::reactor::fs::{self, MappedFile};
use strata_engine::reactor::{self, ReactorConfig, ReactorError, Simulation, World};

const PAGE_BYTES: usize = 4096;
const PAGES: usize = 24;
const NAME: &str = "data";

fn directory() -> &'static Path {
    Path::new("/d")
}

fn path() -> std::path::PathBuf {
    directory().join(NAME)
}

fn run<T>(simulation: &Simulation, main: impl AsyncFnOnce() -> T) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_string(),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), main)
}

/// What stands for a library: it writes to the file that it was given, by itself.
struct Library {
    mapped: MappedFile,
    file: std::fs::File,
}

impl Library {
    fn open() -> Library {
        let mapped = MappedFile::prepare(directory(), NAME).expect("a copy");
        let mut options = std::fs::File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(mapped.host_directory().join(NAME));
        let file = file.expect("the copy");
        mapped.written();
        Library { mapped, file }
    }

    fn write(&self, page: usize, fill: u8) {
        let written = self
            .file
            .write_all_at(&[fill; PAGE_BYTES], (page * PAGE_BYTES) as u64);
        written.expect("written");
    }

    fn write_all(&self, fill: u8) {
        (0..PAGES).for_each(|page| self.write(page, fill));
        self.mapped.written();
    }

    fn sync(&self) {
        self.mapped.sync(&self.file).expect("synced");
    }
}

/// A machine on which the file is durable, full of ones.
fn machine(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    run(&simulation, async || {
        fs::create_dir_all(directory()).await.expect("a directory");
        fs::sync_directory(Path::new("/")).await.expect("synced");
        let library = Library::open();
        library.write_all(1);
        library.sync();
        blocking::sync_directory(directory()).expect("synced");
    })
    .expect("a run");
    simulation
}

/// How many sectors of the file are filled with the number.
fn sectors(simulation: &Simulation, fill: u8) -> usize {
    let bytes = simulation.content(&path()).expect("the file");
    let filled = |sector: &&[u8]| sector.iter().all(|byte| *byte == fill);
    bytes.chunks(512).filter(filled).count()
}

#[test]
fn what_was_synced_survives_and_what_was_not_is_old_or_new() {
    const ALL: usize = PAGES * PAGE_BYTES / 512;
    for syncs in [true, false] {
        let (mut mixed, mut lost) = (0, 0);
        for seed in 0..20 {
            let simulation = machine(seed);
            let ended = run(&simulation, async || {
                let library = Library::open();
                library.write_all(2);
                library.write_all(3);
                // A program that forgets this is found out.
                if syncs {
                    library.sync();
                }
            });
            ended.expect("a run");
            assert_eq!(sectors(&simulation, 3), ALL, "nothing is lost before");
            simulation.power_cut();
            let counts = [1, 2, 3].map(|fill| sectors(&simulation, fill));
            assert_eq!(counts.iter().sum::<usize>(), ALL, "sectors are atomic");
            mixed += usize::from(counts.iter().all(|count| *count > 0));
            lost += usize::from(counts[2] < ALL);
        }
        match syncs {
            true => assert_eq!((mixed, lost), (0, 0)),
            false => assert!(mixed > 15 && lost == 20, "{mixed} {lost}"),
        }
    }
}

#[test]
fn the_length_and_the_name_are_lost_too() {
    let (mut lengths, mut nameless) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..40 {
        let simulation = Simulation::new(seed);
        run(&simulation, async || {
            fs::create_dir_all(directory()).await.expect("a directory");
            fs::sync_directory(Path::new("/")).await.expect("synced");
            Library::open().write_all(1);
        })
        .expect("a run");
        simulation.power_cut();
        match simulation.content(&path()) {
            Some(bytes) => drop(lengths.insert(bytes.len())),
            None => nameless += 1,
        }
    }
    assert!(
        lengths.len() > 3 && nameless > 5,
        "{lengths:?} {nameless} without a name"
    );
}

#[test]
fn a_kill_keeps_what_was_written_and_nothing_after_it() {
    let simulation = machine(1);
    simulation.crash_after(simulation.counters().operations + 3);
    let ended = run(&simulation, async || {
        let library = Library::open();
        library.write_all(2);
        let file = File::create(&directory().join("beside")).expect("a file");
        file.write_all_at(b"before", 0).expect("written");
        library.write(0, 3);
        let refused = file.write_all_at(b"within", 0);
        assert!(refused.is_err(), "the machine stops at this operation");
        library.write_all(4);
        assert!(library.mapped.sync(&library.file).is_err());
        assert!(file.sync().is_err() && file.length().is_err());
        assert!(blocking::rename(&path(), Path::new("/d/elsewhere")).is_err());
        assert!(MappedFile::prepare(directory(), NAME).is_err());
    });
    assert!(matches!(ended, Err(ReactorError::Crashed)), "{ended:?}");
    run(&simulation, async || {
        let bytes = blocking::read(&directory().join("beside")).expect("the file");
        assert_eq!(bytes, b"within");
    })
    .expect("a run");
    assert_eq!(sectors(&simulation, 3), PAGE_BYTES / 512);
    assert_eq!(sectors(&simulation, 2), (PAGES - 1) * PAGE_BYTES / 512);
}

#[test]
fn the_result_of_work_within_which_the_machine_stops_never_comes() {
    let simulation = machine(2);
    simulation.crash_after(simulation.counters().operations + 1);
    let ended = run(&simulation, async || {
        reactor::offload(|| blocking::sync_directory(directory())).await
    });
    assert!(matches!(ended, Err(ReactorError::Crashed)), "{ended:?}");
}

/// Replaces a file: over a spare one, synced, exchanged, the directory synced.
fn replace(bytes: &[u8]) -> std::io::Result<()> {
    let (spare, path) = (Path::new("/d/spare"), Path::new("/d/small"));
    let file = File::create(spare)?;
    file.write_all_at(bytes, 0)?;
    file.set_length(bytes.len() as u64)?;
    file.sync()?;
    match blocking::exchange(spare, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => blocking::rename(spare, path)?,
        exchanged => exchanged?,
    }
    blocking::sync_directory(directory())
}

#[test]
fn an_exchange_is_seen_whole_or_not_at_all() {
    let (mut old, mut new) = (0, 0);
    for (seed, at) in (0..20).flat_map(|seed| (1..=6).map(move |at| (seed, at))) {
        let simulation = machine(seed);
        run(&simulation, async || {
            replace(b"first").expect("replaced");
            replace(b"the second").expect("replaced");
        })
        .expect("a run");
        simulation.crash_after(simulation.counters().operations + at);
        // Five operations: at the sixth the machine has not stopped.
        let ended = run(&simulation, async || replace(b"third"));
        assert_eq!(ended.is_ok(), at == 6, "{ended:?}");
        simulation.power_cut();
        match simulation.content(Path::new("/d/small")).as_deref() {
            Some(b"the second") => old += 1,
            Some(b"third") => new += 1,
            other => panic!("seed {seed}, operation {at}: {other:?}"),
        }
    }
    assert!(old > 60 && new > 20, "{old} {new}");
}

#[test]
fn a_copy_that_is_open_sees_what_is_written_to_the_file() {
    let simulation = machine(3);
    run(&simulation, async || {
        let library = Library::open();
        let file = File::open_to_write(&path()).expect("the file");
        file.write_all_at(&[7; 512], 512).expect("written");
        library.write(1, 8);
        let mut bytes = [0; 512];
        library.file.read_exact_at(&mut bytes, 512).expect("read");
        assert_eq!(bytes, [7; 512]);
        let count = file.read_at(&mut bytes, PAGE_BYTES as u64).expect("read");
        assert_eq!((count, bytes), (512, [8; 512]));
        // Opened anew in the same run, it is as it was left.
        drop(library);
        let library = Library::open();
        library.file.read_exact_at(&mut bytes, 512).expect("read");
        assert_eq!(bytes, [7; 512]);
    })
    .expect("a run");
}

#[test]
fn a_lock_ends_with_its_owner_or_the_run() {
    let simulation = machine(4);
    let lock = || blocking::try_lock(&directory().join("lock")).expect("asked");
    let kept = run(&simulation, async || {
        let first = lock();
        assert!(first.is_some() && lock().is_none());
        drop(first);
        lock().expect("free again")
    });
    let kept = kept.expect("a run");
    run(&simulation, async || {
        let again = lock();
        assert!(again.is_some(), "the run has ended");
        drop(kept);
        assert!(lock().is_none(), "a lock of an earlier run frees nothing");
    })
    .expect("a run");
}

#[test]
fn the_scratch_directory_goes_with_the_machine() {
    let simulation = Simulation::new(5);
    let host = run(&simulation, async || {
        fs::create_dir_all(directory()).await.expect("a directory");
        let library = Library::open();
        library.mapped.host_directory().to_owned()
    });
    let scratch = host.expect("a run").parent().expect("a parent").to_owned();
    assert!(scratch.exists());
    drop(simulation);
    assert!(!scratch.exists());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let simulation = machine(seed);
        for _ in 0..3 {
            run(&simulation, async || {
                let library = Library::open();
                for fill in 0..20 {
                    library.write_all(fill);
                    reactor::offload(move || replace(&[fill]))
                        .await
                        .expect("replaced");
                }
            })
            .expect("a run");
            simulation.power_cut();
        }
        (simulation.trace_hash(), simulation.content(&path()))
    };
    assert!(trace(1) == trace(1));
    assert!(trace(1) != trace(2));
}
