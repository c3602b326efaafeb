//! The directories of a server: made, locked and checked before anything is written to them.
//!
//! Invariants: one server at a time holds a metadata directory; what is made is readable by its owner alone; beside data that
//! is there already no data directory is made: where one is missing, its disk is, and the root file system must not stand in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use strata_net::node::{discover, failure_domain};

use crate::config::Config;

/// The file that a running server holds locked, with its process id inside.
pub const LOCK_FILE: &str = "server.lock";

/// Makes a directory and those above it. Each that is new outlives a power cut: the one that it lies in is synced.
///
/// # Errors
/// When it cannot be made, is not a directory, or may not be written to.
pub fn make(what: &str, path: &Path) -> Result<(), String> {
    let parents = parents_of_new(path);
    make_all(what, path)?;
    for parent in parents {
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|error| format!("cannot make {} durable: {error}", parent.display()))?;
    }
    Ok(())
}

/// The directories in which a new one lies when `path` and those above it are made.
fn parents_of_new(path: &Path) -> Vec<&Path> {
    let new = path.ancestors().take_while(|above| !above.exists());
    let parents = new.filter_map(Path::parent);
    parents
        .map(|parent| {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        })
        .collect()
}

fn make_all(what: &str, path: &Path) -> Result<(), String> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "cannot make the {what} directory {}: this user may not; choose another or make it with the right owner",
            path.display()
        ),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            format!("the {what} directory {} is not a directory", path.display())
        }
        _ => format!("cannot make the {what} directory {}: {error}", path.display()),
    })
}

/// A held lock; let go when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of a metadata directory.
///
/// # Errors
/// Another server holds it: names its process.
pub fn lock(metadata_dir: &Path) -> Result<Lock, String> {
    let path = metadata_dir.join(LOCK_FILE);
    let mut file =
        open_lock(&path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            return Err(in_use(metadata_dir, holder.trim()));
        }
        Err(TryLockError::Error(error)) => {
            return Err(format!("cannot lock {}: {error}", path.display()));
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(Lock { _file: file })
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn in_use(metadata_dir: &Path, holder: &str) -> String {
    let process = if holder.is_empty() {
        String::new()
    } else {
        format!(" (process {holder})")
    };
    format!(
        "another strata server{process} is running on {}; stop it first, or give this one a data directory, a metadata \
         directory and addresses of its own",
        metadata_dir.display()
    )
}

/// Whether a server holds a metadata directory. A directory without a lock file has none.
pub fn is_held(metadata_dir: &Path) -> bool {
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open(metadata_dir.join(LOCK_FILE))
    {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// `f_type` of file systems that keep files in memory (statfs(2)): they take O_DIRECT since Linux 6.6, and forget everything.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Checks that the file system below a data directory does direct I/O, on a disk.
///
/// # Errors
/// It does not, or the directory cannot be written to.
pub fn check_direct_io(directory: &Path) -> Result<(), String> {
    let found = rustix::fs::statfs(directory)
        .map_err(|error| format!("cannot look at {}: {error}", directory.display()))?;
    if MEMORY_FILE_SYSTEMS.contains(&found.f_type) {
        return Err(format!(
            "the file system of {} is in memory (tmpfs): it does no direct I/O to a disk, and what was acknowledged would \
             not survive a power cut; put the data on ext4, xfs or btrfs",
            directory.display()
        ));
    }
    let path = directory.join(format!(".strata-direct-io-{}", std::process::id()));
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_DIRECT)
        .open(&path);
    let _ = fs::remove_file(&path);
    opened.map(drop).map_err(|error| match (error.kind(), error.raw_os_error()) {
        (_, Some(libc::EINVAL)) => format!(
            "the file system of {} does not do direct I/O (O_DIRECT), which Strata needs; put the data on ext4, xfs or btrfs",
            directory.display()
        ),
        (io::ErrorKind::PermissionDenied, _) => {
            format!("this user may not write to the data directory {}", directory.display())
        }
        (io::ErrorKind::ReadOnlyFilesystem, _) => {
            format!("the file system of {} is mounted read-only", directory.display())
        }
        _ => format!("cannot write to {}: {error}", directory.display()),
    })
}

/// Makes and checks all directories of a server, and takes the lock.
///
/// A data place that is a plain file is a device and is left to the engine, as is a directory that holds one: where its disk
/// does not work, the others may serve without it.
///
/// # Errors
/// The first thing that is wrong.
pub fn prepare(data_dirs: &[PathBuf], metadata_dir: &Path) -> Result<Lock, String> {
    if !hold_data(data_dirs, metadata_dir) {
        for path in data_dirs.iter().filter(|path| !is_file(path)) {
            make("data", path)?;
        }
    }
    make("metadata", metadata_dir)?;
    let lock = lock(metadata_dir)?;
    let holds_none = |path: &&PathBuf| path.is_dir() && !discover::device_path(path).exists();
    for path in data_dirs.iter().filter(holds_none) {
        check_direct_io(path)?;
    }
    Ok(lock)
}

/// Whether one of the places is in use already.
fn hold_data(data_dirs: &[PathBuf], metadata_dir: &Path) -> bool {
    let device = |path: &PathBuf| discover::device_path(path).exists();
    data_dirs.iter().any(device) || metadata_dir.join("data.mdb").exists()
}

/// What is to be said when several data directories are on fewer disks than there are directories.
pub fn describe_shared_disks(config: &Config) -> Option<String> {
    if config.assume_separate_failure_domains {
        return None;
    }
    let domains: Vec<_> = config
        .data_dirs
        .iter()
        .map(|path| failure_domain::resolve(path))
        .collect();
    let mut groups = failure_domain::group(&domains);
    groups.sort_unstable();
    groups.dedup();
    let (directories, disks) = (config.data_dirs.len(), groups.len());
    (disks < directories).then(|| {
        format!(
            "the {directories} data directories count as {disks} failure domain{}: those on one disk, or on one that the \
             system does not tell, fail together",
            if disks == 1 { "" } else { "s" }
        )
    })
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_second_server_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!is_held(directory.path()));
        let first = lock(directory.path()).expect("free");
        assert!(is_held(directory.path()));
        let why = lock(directory.path()).expect_err("held");
        assert!(
            why.contains(&format!("(process {})", std::process::id())),
            "{why}"
        );
        drop(first);
        assert!(!is_held(directory.path()));
        assert!(lock(directory.path()).is_ok());
    }

    #[test]
    fn every_directory_that_gets_a_new_one_is_synced() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("a/b/c");
        let parents = ["a/b", "a", ""].map(|path| directory.path().join(path));
        assert_eq!(parents_of_new(&deep), parents);
        make("data", &deep).expect("made");
        assert!(parents_of_new(&deep).is_empty());
        assert_eq!(
            parents_of_new(Path::new("no/such")),
            [Path::new("no"), Path::new(".")]
        );
    }

    #[test]
    fn memory_is_no_disk() {
        if !Path::new("/dev/shm").is_dir() {
            panic!("this test needs a tmpfs at /dev/shm");
        }
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        let why = check_direct_io(directory.path()).expect_err("tmpfs");
        assert!(why.contains("in memory"), "{why}");
    }

    #[test]
    fn beside_data_nothing_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        fs::create_dir(place("a")).expect("made");
        fs::write(discover::device_path(&place("a")), "").expect("written");
        let lock = prepare(&[place("a"), place("b")], &place("metadata"));
        drop(lock);
        assert!(!place("b").exists(), "a missing disk is not replaced");
    }

    #[test]
    fn what_is_made_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b");
        make("data", &path).expect("made");
        make("data", &path).expect("it may be there already");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("file"), "").expect("written");
        assert!(make("data", &path.join("file")).is_err());
    }
}
