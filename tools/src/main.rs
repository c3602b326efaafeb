//! The `strata` binary: hands the command line to [`strata::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    strata::cli::run(std::env::args_os())
}
