//! The directories and block devices of a server: checked before anything is made, then made, then locked.
//!
//! Invariants: one server at a time holds a metadata directory; what is made is readable by its owner alone and named on stable
//! storage; a start that is refused here has made nothing; beside data that is there already no data directory is made: where
//! one is missing, its disk is, and the root file system must not stand in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use strata_net::node::{block_device, discover, failure_domain};

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
            return Err(in_use(metadata_dir, &process_in(&file)));
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

/// The process that holds a metadata directory, empty where it has not written its number yet; `None` where no server does. A
/// directory without a lock file has none.
fn holder(metadata_dir: &Path) -> Option<String> {
    let path = metadata_dir.join(LOCK_FILE);
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Some(process_in(&file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn process_in(file: &File) -> String {
    let mut holder = String::new();
    let _ = file.take(32).read_to_string(&mut holder);
    holder.trim().to_owned()
}

/// `f_type` of file systems that keep files in memory (statfs(2)): they take O_DIRECT since Linux 6.6, and forget everything.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Checks that the file system below a data directory, which need not be there yet, does direct I/O, on a disk.
///
/// # Errors
/// It does not, or the directory cannot be written to.
pub fn check_direct_io(directory: &Path) -> Result<(), String> {
    let there = directory.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(format!(
            "the data directory {} is not a directory",
            directory.display()
        ));
    }
    let found = rustix::fs::statfs(there)
        .map_err(|error| format!("cannot look at {}: {error}", directory.display()))?;
    if MEMORY_FILE_SYSTEMS.contains(&found.f_type) {
        return Err(format!(
            "the file system of {} is in memory (tmpfs): it does no direct I/O to a disk, and what was acknowledged would \
             not survive a power cut; put the data on ext4, xfs or btrfs",
            directory.display()
        ));
    }
    let path = there.join(format!(".strata-direct-io-{}", std::process::id()));
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
        (io::ErrorKind::PermissionDenied, _) => format!(
            "this user may not write to the data directory {}, or make it",
            directory.display()
        ),
        (io::ErrorKind::ReadOnlyFilesystem, _) => {
            format!("the file system of {} is mounted read-only", directory.display())
        }
        _ => format!("cannot write to {}: {error}", directory.display()),
    })
}

/// Finds what stands in the way of a start in its directories, and makes nothing.
///
/// A data place that is a plain file is a device and is left to the engine, as is a directory or a block device that holds one:
/// where its disk does not work, the others may serve without it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(config: &Config, force_format: &[PathBuf]) -> Result<(), String> {
    for place in &config.metadata_dirs {
        if let Some(holder) = holder(place) {
            return Err(in_use(place, &holder));
        }
    }
    let metadata_dir = config.metadata_dir();
    let is_used = hold_data(config);
    let is_inside = |path: &&PathBuf| !path.exists() && metadata_dir.starts_with(path);
    match config.data_dirs.iter().find(is_inside) {
        Some(missing) if is_used => {
            return Err(format!(
                "the metadata directory {} lies in the data directory {}, which is missing, and is not made there: mount its \
                 disk, or give --metadata-dir another place; the namespace is rebuilt there from the log",
                metadata_dir.display(),
                missing.display()
            ));
        }
        _ => {}
    }
    for path in &config.data_dirs {
        if block_device::is_block_device(path) {
            // A node that has names is no new one: it looks at its disks itself, and waits for each only so long.
            match hold_names(config) {
                true => block_device::refuse_held(path)?,
                false => block_device::check(path, force_format.contains(path))?,
            }
            continue;
        }
        if !path.exists() && !is_used && block_device::is_path_of_devices(path) {
            return Err(format!(
                "there is no block device {}: nothing was formatted. `ls -l /dev/disk/by-id` shows those that are there",
                path.display()
            ));
        }
        let holds_none = path.is_dir() && !discover::device_path(path).exists();
        if holds_none || !path.exists() && !is_used {
            check_direct_io(path)?;
        }
    }
    Ok(())
}

/// What `--force-format` names, as `storage.data_dir` does.
///
/// # Errors
/// A path that is not listed there, or no block device.
pub fn forced(config: &Config, named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut forced = Vec::new();
    for path in named {
        let shown = path.display();
        let path = std::path::absolute(path).map_err(|error| {
            format!("--force-format {shown} cannot be made an absolute path: {error}")
        })?;
        if !config.data_dirs.contains(&path) {
            return Err(format!(
                "--force-format {shown}: `storage.data_dir` does not list it; name it by the same path"
            ));
        }
        if !block_device::is_block_device(&path) {
            return Err(format!(
                "--force-format {shown}: it is no block device, and nothing else is ever written over"
            ));
        }
        forced.push(path);
    }
    Ok(forced)
}

/// Makes the directories of a server that [`check`] has found in order, and takes the lock. What is missing beside data that
/// is there already is not made.
///
/// # Errors
/// A directory cannot be made, or another server was quicker.
pub fn prepare(config: &Config, metadata_dir: &Path) -> Result<Lock, String> {
    if !hold_data(config) {
        for path in config.data_dirs.iter().filter(|path| !is_file(path)) {
            make("data", path)?;
        }
    }
    make("metadata", metadata_dir)?;
    lock(metadata_dir)
}

/// Whether one of the places is in use already.
pub fn hold_data(config: &Config) -> bool {
    let mut places = config.data_dirs.iter();
    hold_names(config) || places.any(|path| discover::holds_device(path))
}

fn hold_names(config: &Config) -> bool {
    let mut places = config.metadata_dirs.iter();
    places.any(|path| path.join("data.mdb").exists())
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

    /// The configuration of a server with these data directories.
    fn config(data_dirs: &[PathBuf]) -> Config {
        let list: Vec<String> = data_dirs.iter().map(|path| format!("{path:?}")).collect();
        let key = crate::config::schema::known("storage.data_dir");
        let text = format!("[{}]", list.join(", "));
        let value = crate::config::value::Value::from_text(key.kind, &text);
        let mut flags = crate::config::Findings::default();
        flags.take(key, value, crate::config::Origin::Default);
        let machine = crate::config::machine::Machine::here().expect("it tells");
        let loaded = crate::config::load(None, flags, &[], machine);
        loaded.expect("in order").config
    }

    #[test]
    fn the_second_server_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(holder(directory.path()), None);
        let first = lock(directory.path()).expect("free");
        let this_process = std::process::id().to_string();
        assert_eq!(holder(directory.path()), Some(this_process.clone()));
        let why = lock(directory.path()).expect_err("held");
        assert!(why.contains(&format!("(process {this_process})")), "{why}");
        drop(first);
        assert_eq!(holder(directory.path()), None);
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
    fn memory_is_no_disk_and_nothing_is_made_there() {
        if !Path::new("/dev/shm").is_dir() {
            panic!("this test needs a tmpfs at /dev/shm");
        }
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        for path in [directory.path().to_owned(), directory.path().join("a/b")] {
            let why = check(&config(&[path]), &[]).expect_err("tmpfs");
            assert!(why.contains("in memory"), "{why}");
        }
        let mut left = fs::read_dir(directory.path()).expect("a directory");
        assert!(left.next().is_none());
    }

    #[test]
    fn beside_data_nothing_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        fs::create_dir(place("b")).expect("made");
        fs::write(discover::device_path(&place("b")), "").expect("written");
        let config = config(&[place("a"), place("b")]);
        check(&config, &[]).expect("in order");
        let lock = prepare(&config, config.metadata_dir()).expect("made");
        assert!(!place("a").exists(), "a missing disk is not replaced");
        assert!(place("b/metadata").join(LOCK_FILE).exists());
        drop(lock);
    }

    #[test]
    fn metadata_is_not_put_in_the_place_of_a_missing_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        fs::create_dir(place("b")).expect("made");
        fs::write(discover::device_path(&place("b")), "").expect("written");
        let mut config = config(&[place("a"), place("b")]);
        config.metadata_dirs = vec![place("a/names")];
        let why = check(&config, &[]).expect_err("its disk is missing");
        assert!(
            why.contains("is missing") && why.contains("--metadata-dir"),
            "{why}"
        );
    }

    #[test]
    fn only_listed_block_devices_may_be_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let listed = directory.path().join("a");
        fs::write(&listed, "something").expect("written");
        let config = config(&[listed.clone(), directory.path().to_owned()]);
        assert_eq!(forced(&config, &[]), Ok(Vec::new()));
        let why = forced(&config, &[listed]).expect_err("a file");
        assert!(why.contains("no block device"), "{why}");
        let why = forced(&config, &["/dev/other".into()]).expect_err("not listed");
        assert!(why.contains("does not list it"), "{why}");
    }

    #[test]
    fn an_unplugged_disk_is_no_directory_to_be_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = config(&[directory.path().to_owned(), "/dev/strata-no-disk".into()]);
        assert_eq!(config.metadata_dirs, [directory.path().join("metadata")]);
        let why = check(&config, &[]).expect_err("it is not there");
        assert!(why.contains("no block device /dev/strata-no-disk"), "{why}");
        // Beside data it is a missing device.
        fs::write(discover::device_path(directory.path()), "").expect("written");
        config.metadata_dirs = vec![directory.path().join("metadata")];
        check(&config, &[]).expect("in order");
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
