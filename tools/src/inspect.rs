//! `strata inspect`: what lies on disk, through the same code that reads it in the server.
//!
//! Invariants: nothing is changed, also beside a running server; bytes that are not in order are a structure that says so; text and
//! JSON are made from the same description.

mod device;
mod json;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use strata_engine::format::description::{Description, Structure};
use strata_net::node::discover::{DEVICE_FILE, device_path};
use strata_raftlog::namespace::describe;
use strata_raftlog::namespace::store::{self, Inspected};

use crate::terminal;

/// What of it to print.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most structures to print.
    pub limit: u64,
    /// Only the structure at this offset of a device, in bytes.
    pub at: Option<u64>,
    /// One JSON object a line instead of text.
    pub json: bool,
}

/// Prints what lies at a path: the checkpoint and the rows of a metadata directory, its checkpoint alone, or the structures of
/// a device.
///
/// # Errors
/// Nothing of Strata's lies there, or it cannot be read.
pub fn run(path: &Path, options: Options) -> Result<(), String> {
    let mut page = Page::new(options);
    let device = device_path(path);
    match options.at {
        None if path.file_name().is_some_and(|name| name == CHECKPOINT_FILE) => {
            print_checkpoint(path, &mut page)?
        }
        Some(offset) => device::print_at(&device, offset, &mut page)?,
        None if path.join(NAMES_FILE).exists() => print_names(path, &mut page)?,
        None if path.is_dir() && !device.is_file() => {
            return Err(format!(
                "{} is neither a data directory ({DEVICE_FILE} in it) nor a metadata directory ({NAMES_FILE} in it)",
                path.display()
            ));
        }
        None => device::print(&device, &mut page)?,
    }
    page.end()
}

/// LMDB's file in a metadata directory.
const NAMES_FILE: &str = "data.mdb";

/// The side file beside it, which says to which of its states a start goes back.
const CHECKPOINT_FILE: &str = "checkpoint";

/// Structures on standard output, up to a limit. A reader that goes away (`| head`) is no error.
struct Page {
    output: BufWriter<io::Stdout>,
    left: u64,
    json: bool,
    error: Option<io::Error>,
}

impl Page {
    fn new(options: Options) -> Page {
        Page {
            output: BufWriter::new(io::stdout()),
            left: options.limit,
            json: options.json,
            error: None,
        }
    }

    /// Prints a structure, with where on the device it lies. Answers whether more may follow.
    fn structure(&mut self, offset: Option<u64>, structure: &Structure) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.line(&match (self.json, offset) {
            (true, offset) => json::line(offset, structure),
            (false, Some(offset)) => format!("{offset:#012x}  {structure:#}"),
            (false, None) => structure.to_string(),
        });
        self.wants_more()
    }

    /// Whether the limit leaves room for another structure.
    fn wants_more(&self) -> bool {
        self.left > 0 && self.error.is_none()
    }

    fn line(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = writeln!(self.output, "{text}").err();
        }
    }

    fn end(mut self) -> Result<(), String> {
        match self.error {
            Some(error) => terminal::outcome(Err(error)),
            None => terminal::outcome(self.output.flush()),
        }
    }
}

fn print_checkpoint(path: &Path, page: &mut Page) -> Result<(), String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    page.structure(None, &store::describe_checkpoint(&bytes));
    Ok(())
}

fn print_names(directory: &Path, page: &mut Page) -> Result<(), String> {
    let checkpoint = directory.join(CHECKPOINT_FILE);
    if checkpoint.exists() {
        print_checkpoint(&checkpoint, page)?;
    }
    let walked = store::inspect(directory, &mut |key, value| {
        page.structure(None, &describe(key, value))
    });
    let walked = walked.map_err(|error| format!("{}: {error}", directory.display()))?;
    let (of, text) = match walked {
        Inspected::Running => ("running", "# the newest state of a running server"),
        Inspected::Checkpoint => (
            "checkpoint",
            "# the state of the last checkpoint; a start replays the log from there",
        ),
    };
    // Says of what moment the rows are; no structure, so that it does not count.
    let state = Structure::new("state", Description::new().with("of", of));
    page.line(&match page.json {
        true => json::line(None, &state),
        false => text.to_owned(),
    });
    Ok(())
}
