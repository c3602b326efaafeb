//! What commands say on standard output and standard error.
//!
//! Invariants: no command panics because nobody reads it: a reader that went away (`| head`) is no error and nothing is said of
//! it; any other failure to write, such as a full disk, is told and ends the command with a failing status.

use std::io::{self, Write};

/// Prints a text on standard output, whole.
///
/// # Errors
/// It could not be written, for another reason than that the reader went away.
pub fn print(text: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    outcome(written)
}

/// Says a line on standard error. Where nobody listens nothing can be done about it.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "strata: {line}");
}

/// What the outcome of writing to standard output means for a command.
///
/// # Errors
/// As [`print`].
pub fn outcome(written: io::Result<()>) -> Result<(), String> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}
