//! The directory tree of a simulated machine.
//!
//! Invariants: `current` is what is seen; a change of a name is durable only after its directory was synced; a power
//! cut keeps or loses every other change by chance, each rename and exchange as a whole, and what hangs below a lost directory
//! is lost with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::random::SeededRandom;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File(u64),
}

type Tree = BTreeMap<PathBuf, Entry>;

enum Change {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Entry),
    /// What two names stand for from now on.
    Exchange([(PathBuf, Entry); 2]),
}

impl Change {
    fn touches(&self, directory: &Path) -> bool {
        match self {
            Change::Set(path, _) | Change::Remove(path) => path.parent() == Some(directory),
            Change::Rename(from, to, _) => {
                from.parent() == Some(directory) || to.parent() == Some(directory)
            }
            Change::Exchange(names) => names
                .iter()
                .any(|(path, _)| path.parent() == Some(directory)),
        }
    }

    fn apply(self, tree: &mut Tree) {
        match self {
            Change::Set(path, entry) => drop(tree.insert(path, entry)),
            Change::Remove(path) => drop(tree.remove(&path)),
            Change::Rename(from, to, entry) => {
                tree.remove(&from);
                tree.insert(to, entry);
            }
            Change::Exchange(names) => tree.extend(names),
        }
    }
}

#[derive(Default)]
pub(super) struct Names {
    current: Tree,
    durable: Tree,
    changes: Vec<Change>,
}

impl Names {
    /// What the path stands for. The root and the empty path are directories that always exist.
    pub(super) fn look_up(&self, path: &Path) -> Option<Entry> {
        if path.parent().is_none() || path.as_os_str().is_empty() {
            return Some(Entry::Directory);
        }
        self.current.get(path).copied()
    }

    pub(super) fn set(&mut self, path: &Path, entry: Entry) {
        self.current.insert(path.to_path_buf(), entry);
        self.changes.push(Change::Set(path.to_path_buf(), entry));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.current.remove(path);
        self.changes.push(Change::Remove(path.to_path_buf()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, entry: Entry) {
        self.current.remove(from);
        self.current.insert(to.to_path_buf(), entry);
        self.changes
            .push(Change::Rename(from.to_path_buf(), to.to_path_buf(), entry));
    }

    pub(super) fn exchange(&mut self, one: (&Path, Entry), other: (&Path, Entry)) {
        let names = [
            (one.0.to_path_buf(), other.1),
            (other.0.to_path_buf(), one.1),
        ];
        self.current.extend(names.clone());
        self.changes.push(Change::Exchange(names));
    }

    pub(super) fn sync(&mut self, directory: &Path) {
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            if change.touches(directory) {
                change.apply(&mut self.durable);
            } else {
                self.changes.push(change);
            }
        }
    }

    pub(super) fn children(&self, directory: &Path) -> Vec<String> {
        self.current
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect()
    }

    pub(super) fn cut(&mut self, random: &mut SeededRandom) {
        for change in std::mem::take(&mut self.changes) {
            if random.below(2) == 0 {
                change.apply(&mut self.durable);
            }
        }
        let all = std::mem::take(&mut self.durable);
        // In order of paths, so that parents come before what hangs below them.
        for (path, entry) in all {
            let parent = path.parent().filter(|parent| parent.parent().is_some());
            if parent.is_none_or(|parent| {
                parent.as_os_str().is_empty() || self.durable.contains_key(parent)
            }) {
                self.durable.insert(path, entry);
            }
        }
        self.current = self.durable.clone();
    }

    /// The files that have a name.
    pub(super) fn files(&self) -> impl Iterator<Item = u64> {
        self.current.values().filter_map(|entry| match entry {
            Entry::File(file) => Some(*file),
            Entry::Directory => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    #[test]
    fn a_rename_is_seen_whole_or_not_at_all() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..100 {
            let mut names = Names::default();
            names.set(&path("/d"), Entry::Directory);
            names.sync(&path("/"));
            names.set(&path("/d/tmp"), Entry::File(1));
            names.sync(&path("/d"));
            names.rename(&path("/d/tmp"), &path("/d/name"), Entry::File(1));
            names.cut(&mut SeededRandom::new(seed));
            match (
                names.look_up(&path("/d/tmp")),
                names.look_up(&path("/d/name")),
            ) {
                (Some(Entry::File(1)), None) => old += 1,
                (None, Some(Entry::File(1))) => new += 1,
                other => panic!("a rename left {other:?}"),
            }
        }
        assert!(old > 20 && new > 20);
    }

    #[test]
    fn an_unsynced_directory_takes_its_children_along() {
        let lost = (0..100).filter(|&seed| {
            let mut names = Names::default();
            names.set(&path("/d"), Entry::Directory);
            names.set(&path("/d/f"), Entry::File(1));
            names.sync(&path("/d"));
            names.cut(&mut SeededRandom::new(seed));
            assert_eq!(
                names.look_up(&path("/d")).is_some(),
                names.look_up(&path("/d/f")).is_some()
            );
            names.look_up(&path("/d")).is_none()
        });
        assert!((20..80).contains(&lost.count()));
    }
}
