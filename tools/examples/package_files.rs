//! Writes what a package has beside the binary and is made from its command line: man pages and completions.
//!
//! An example, so that the crates it needs are built for nobody who only wants the server:
//! `cargo run -p strata --example package_files -- DIRECTORY`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::{Shell, generate_to};

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: package_files DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// `man/*.1`, one page for each command, and `completions/`.
fn write(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(strata::cli::command(), &man)?;
    for shell in SHELLS {
        generate_to(shell, &mut strata::cli::command(), "strata", &completions)?;
    }
    Ok(())
}
