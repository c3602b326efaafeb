//! Fuzz targets: one for each decoder of bytes that come from a device, from a file beside it, or from a client.
//!
//! A target takes any bytes and panics where a decoder breaks a promise: that it takes any bytes and gives a `Result`, that it
//! allocates no more than the bytes at hand can stand for, that it refuses bytes whose CRC does not match, and that it accepts one
//! form alone of what it decodes. The coverage-guided fuzzer (`bin/libfuzzer.rs`) and the smoke run (`tests/smoke.rs`) run the same
//! targets over the same corpus; docs/TESTING.md says how.
//!
//! - [`allocation`]: what a decoder allocates, bounded by its input
//! - [`canonical`]: the checks that targets have in common
//! - [`mutation`]: deterministic mutations of a corpus, for the smoke run
//! - [`patch`]: inputs that are changes of bytes that are there already
//! - `targets`: the targets themselves

pub mod allocation;
pub mod canonical;
pub mod mutation;
pub mod patch;
mod targets;

use std::io;
use std::path::{Path, PathBuf};

pub use targets::TARGETS;

/// What is fuzzed under one name.
pub struct Target {
    /// The name of its file, and of the folder of its corpus.
    pub name: &'static str,
    /// Takes any bytes and panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Mutations of its corpus that a smoke run takes, for each seed.
    pub mutations: usize,
}

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Where its corpus lies.
    pub fn corpus_dir(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        root.join(self.name)
    }

    /// The inputs of its corpus, in the order of their names.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn corpus(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let entries = std::fs::read_dir(self.corpus_dir())?;
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths?;
        paths.sort();
        let read = |path: PathBuf| std::fs::read(&path).map(|bytes| (path, bytes));
        paths.into_iter().map(read).collect()
    }
}
