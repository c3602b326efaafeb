//! Where copies of the root key lie: in the metadata directory, and where that is chosen among the data directories, in `metadata`
//! inside each that holds a device, so that the loss of one directory does not lose the copy.
//!
//! Invariants: the directory in use comes first; nothing is written in the place of a data directory that is missing; a copy that
//! cannot be written keeps nobody from serving.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use strata_net::node::discover;
use strata_raftlog::namespace::RootKey;

use super::{COPY, NEXT, read, write};
use crate::config::Config;
use crate::server::directories;

/// Who knows the key in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The copies beside the metadata.
    Copy,
    /// The two variables of this process.
    Environment,
    /// Neither.
    Elsewhere,
}

/// The places of the copies.
#[derive(Debug, Clone)]
pub struct Copies {
    in_use: PathBuf,
    others: Vec<PathBuf>,
}

impl Copies {
    /// Those of a server that uses this metadata directory.
    pub fn new(config: &Config, in_use: &Path) -> Copies {
        let others = config.metadata_dirs.iter();
        Copies {
            in_use: in_use.to_owned(),
            others: others.filter(|place| *place != in_use).cloned().collect(),
        }
    }

    /// The metadata directory in use.
    pub fn metadata_dir(&self) -> &Path {
        &self.in_use
    }

    /// The copy in the metadata directory in use.
    pub fn file(&self) -> PathBuf {
        self.in_use.join(COPY)
    }

    /// Writes down the key of a change before it is proposed.
    ///
    /// # Errors
    /// When it cannot be written, or when the outcome of the change before is not known: its key must not be lost.
    pub fn begin_change(&self, key: &RootKey) -> Result<(), String> {
        let next = self.in_use.join(NEXT);
        if next.exists() {
            return Err(format!(
                "it is not known whether the last change of the root key came into force; {} holds its key. Restart the server, \
                 which settles it, and try again",
                next.display()
            ));
        }
        write(&next, key)
    }

    /// Forgets a change that was refused.
    pub fn give_up_change(&self) {
        remove_next(&self.in_use);
    }

    /// Makes the key, which is in force, the copy everywhere.
    ///
    /// # Errors
    /// When it cannot be written beside the metadata in use.
    pub fn end_change(&self, key: &RootKey) -> Result<PathBuf, String> {
        let copy = self.file();
        write(&copy, key)?;
        remove_next(&self.in_use);
        self.write_to_others(key);
        Ok(copy)
    }

    /// Puts the copies in order at a start: a change that the end of the last run interrupted is finished when its key is in
    /// force and forgotten when it is not, and places without the key in force get it where another has it.
    pub fn settle(&self, in_force: Option<&RootKey>, environment: Option<&RootKey>) -> Known {
        let Some(key) = in_force else {
            return Known::Elsewhere;
        };
        let is_known = self
            .all()
            .any(|place| holds(place, COPY, key) || holds(place, NEXT, key));
        if is_known {
            if !holds(&self.in_use, COPY, key)
                && let Err(why) = write(&self.file(), key)
            {
                tracing::warn!(%why, "the copy of the root key is not up to date");
            }
            self.write_to_others(key);
        }
        self.all().for_each(|place| remove_next(place));
        match environment == in_force {
            _ if is_known => Known::Copy,
            true => Known::Environment,
            false => Known::Elsewhere,
        }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.in_use).chain(&self.others)
    }

    fn write_to_others(&self, key: &RootKey) {
        let is_there = |place: &&PathBuf| {
            let directory = place.parent();
            directory.is_some_and(|path| path.is_dir() && discover::device_path(path).exists())
        };
        for place in self.others.iter().filter(is_there) {
            if holds(place, COPY, key) {
                continue;
            }
            let written = directories::make("metadata", place);
            if let Err(why) = written.and_then(|()| write(&place.join(COPY), key)) {
                tracing::warn!(%why, "a copy of the root key is not up to date");
            }
        }
    }
}

fn holds(place: &Path, file: &str, key: &RootKey) -> bool {
    match read(&place.join(file)) {
        Ok(held) => held.as_ref() == Some(key),
        Err(why) => {
            tracing::warn!(%why, "a copy of the root key is left aside");
            false
        }
    }
}

fn remove_next(place: &Path) {
    let path = place.join(NEXT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the key of a change that has ended cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::make;
    use super::*;

    /// Two data directories that hold a device each, and a third that is missing; the first has the metadata in use.
    fn copies(root: &Path) -> Copies {
        let place = |name: &str| root.join(name).join("metadata");
        for name in ["a", "b"] {
            fs::create_dir_all(place(name)).expect("made");
            fs::write(discover::device_path(&root.join(name)), "").expect("written");
        }
        Copies {
            in_use: place("a"),
            others: vec![place("b"), place("c")],
        }
    }

    fn copy_in(root: &Path, name: &str) -> Option<RootKey> {
        read(&root.join(name).join("metadata").join(COPY)).expect("read")
    }

    #[test]
    fn a_change_reaches_every_directory_that_is_there() {
        let root = tempfile::tempdir().expect("a directory");
        let (copies, key) = (copies(root.path()), make().expect("random"));
        copies.begin_change(&key).expect("written");
        assert_eq!(copy_in(root.path(), "a"), None, "it is not in force yet");
        assert!(copies.begin_change(&key).is_err(), "one at a time");
        assert_eq!(copies.end_change(&key), Ok(copies.file()));
        for name in ["a", "b"] {
            assert_eq!(copy_in(root.path(), name).as_ref(), Some(&key), "{name}");
        }
        assert!(!copies.in_use.join(NEXT).exists());
        assert!(
            !root.path().join("c").exists(),
            "a missing disk is not replaced"
        );
    }

    #[test]
    fn an_interrupted_change_ends_at_the_next_start() {
        let root = tempfile::tempdir().expect("a directory");
        let copies = copies(root.path());
        let (old, new) = (make().expect("random"), make().expect("random"));
        copies.end_change(&old).expect("written");
        copies.begin_change(&new).expect("written");
        assert_eq!(copies.settle(Some(&old), None), Known::Copy);
        assert!(
            !copies.in_use.join(NEXT).exists(),
            "it did not come into force"
        );
        copies.begin_change(&new).expect("written");
        assert_eq!(copies.settle(Some(&new), None), Known::Copy);
        assert_eq!(copy_in(root.path(), "b"), Some(new), "it did");
    }

    #[test]
    fn a_directory_that_was_away_gets_the_key_in_force() {
        let root = tempfile::tempdir().expect("a directory");
        let copies = copies(root.path());
        let (old, new) = (make().expect("random"), make().expect("random"));
        copies.end_change(&old).expect("written");
        write(&root.path().join("b/metadata").join(COPY), &new).expect("written");
        assert_eq!(copies.settle(Some(&new), None), Known::Copy);
        assert_eq!(copy_in(root.path(), "a"), Some(new));
    }

    #[test]
    fn a_key_that_no_copy_knows_is_written_nowhere() {
        let root = tempfile::tempdir().expect("a directory");
        let copies = copies(root.path());
        let (old, new) = (make().expect("random"), make().expect("random"));
        copies.end_change(&old).expect("written");
        assert_eq!(copies.settle(Some(&new), Some(&new)), Known::Environment);
        assert_eq!(copies.settle(Some(&new), Some(&old)), Known::Elsewhere);
        assert_eq!(copies.settle(None, None), Known::Elsewhere);
        assert_eq!(copy_in(root.path(), "a"), Some(old));
    }
}
