//! `strata-bench`: measures the bounds that Strata promises, and any S3 endpoint beside it.
//!
//! - [`affinity`]: which core a thread runs on, what it has burnt
//! - [`own_file`]: which files a run may write to
//! - [`progress`]: what is shown while it goes on
//! - [`report`]: latencies, figures, how they are printed
//! - [`connection`]: a keep-alive HTTP/1.1 client that costs little
//! - [`device`]: reads and writes of one file through the reactor
//! - [`engine`]: a node without a network: objects through the cluster client
//! - [`erasure`]: erasure coding of stripes in memory
//! - [`http`]: hyper on the reactor against hyper on tokio
//! - [`index`]: the index of a data partition: start, memory, pages of a look-up
//! - [`journal`]: group commit of the engine's journal
//! - [`namespace`]: the names of a node without a network: made, looked up, listed
//! - [`node`]: a node of a run, without a network
//! - [`payload`]: the bodies of objects
//! - [`s3`]: loads for an S3 endpoint
//! - [`stalls`]: what the machine itself takes of a thread
//!
//! Invariants: every run ends by itself; a server is driven from another core than its own; a latency in an open
//! loop counts from the moment at which the request should have begun.

mod affinity;
mod connection;
mod device;
mod engine;
mod erasure;
mod http;
mod index;
mod journal;
mod namespace;
mod node;
mod own_file;
mod payload;
mod progress;
mod report;
mod s3;
mod stalls;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use report::{Run, complain};

/// Measures Strata's parts, and any S3 endpoint.
#[derive(Parser)]
#[command(name = "strata-bench")]
struct CommandLine {
    /// Print one line of JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Random reads and sequential writes of one file through the reactor.
    Device(device::Options),
    /// Objects through the storage engine of a node, without a network.
    Engine(engine::Options),
    /// Parity of stripes, and rebuilding of lost cells, on one core.
    Erasure(erasure::Options),
    /// Requests a second of hyper on the reactor or on tokio, one core for the server and one for the client.
    Http(http::Options),
    /// The index of a data partition, on a device without its shards: how soon it is ready, its memory, pages read by a look-up.
    Index(index::Options),
    /// Group commit of small records through the engine's journal.
    Journal(journal::Options),
    /// Names in the namespace of a node, without a network: made, looked up, listed.
    Namespace(namespace::Options),
    /// Loads for an S3 endpoint.
    S3(s3::Options),
    /// The longest step of a thread's processor time while it only looks at the clock.
    Stalls(stalls::Options),
}

/// The version of this build and the commit that it was made from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BUILT_FROM_COMMIT"),
    ")"
);

fn main() -> ExitCode {
    let mut command = CommandLine::command().version(VERSION);
    command.build();
    let parsed = command.clone().try_get_matches().and_then(|matches| {
        let line = CommandLine::from_arg_matches(&matches)?;
        Ok((line, Run::new(VERSION, &command, &matches)))
    });
    let (line, about) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error),
    };
    let shown = progress::show();
    let outcome = match line.subject {
        Subject::Device(options) => device::run(&options),
        Subject::Engine(options) => engine::run(&options),
        Subject::Erasure(options) => erasure::run(&options),
        Subject::Http(options) => http::run(&options),
        Subject::Index(options) => index::run(&options),
        Subject::Journal(options) => journal::run(&options),
        Subject::Namespace(options) => namespace::run(&options),
        Subject::S3(options) => s3::run(options),
        Subject::Stalls(options) => stalls::run(&options),
    };
    drop(shown);
    match outcome {
        Ok(report) => report.print(&about, line.json),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints help, version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(why) if !error.use_stderr() && why.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {why}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}
