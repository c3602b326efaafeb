//! `strata inspect`: what lies on disk, through the same code that reads it in the server.
//!
//! Invariants: nothing is changed, also beside a running server; bytes that are not in order are a line that says so.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use strata_raftlog::namespace::describe;
use strata_raftlog::store::{self, Inspected};

/// What of it to print.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most structures to print.
    pub limit: u64,
}

/// Prints what lies at a path: the names of a metadata directory.
///
/// # Errors
/// Nothing of Strata's lies there, or it cannot be read.
pub fn run(path: &Path, options: Options) -> Result<(), String> {
    let mut page = Page::new(options.limit);
    if path.join("data.mdb").exists() {
        print_names(path, &mut page)?;
    } else {
        return Err(format!(
            "{} is neither a metadata directory (no data.mdb in it) nor a device",
            path.display()
        ));
    }
    page.end()
}

/// Lines on standard output, up to a limit. A reader that goes away (`| head`) is no error.
struct Page {
    output: BufWriter<io::Stdout>,
    left: u64,
    error: Option<io::Error>,
}

impl Page {
    fn new(limit: u64) -> Page {
        Page {
            output: BufWriter::new(io::stdout()),
            left: limit,
            error: None,
        }
    }

    /// Prints a structure. Answers whether more may follow.
    fn structure(&mut self, text: impl fmt::Display) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.note(text);
        self.left > 0 && self.error.is_none()
    }

    /// Prints a line that does not count.
    fn note(&mut self, text: impl fmt::Display) {
        if self.error.is_none() {
            self.error = writeln!(self.output, "{text}").err();
        }
    }

    fn end(mut self) -> Result<(), String> {
        let flushed = self.output.flush().err();
        match self.error.or(flushed) {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

fn print_names(directory: &Path, page: &mut Page) -> Result<(), String> {
    let walked = store::inspect(directory, &mut |key, value| {
        page.structure(describe(key, value))
    });
    match walked.map_err(|error| format!("{}: {error}", directory.display()))? {
        Inspected::Running => page.note("# the newest state of a running server"),
        Inspected::Checkpoint => {
            page.note("# the state of the last checkpoint; a start replays the log from there")
        }
    }
    Ok(())
}
