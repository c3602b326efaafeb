//! The `strata` binary: hands the command line to [`strata::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Reactors allocate and free on their own threads, which this allocator serves without locks or searching.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    strata::cli::run(std::env::args_os())
}
