//! `strata-bench`: measures the bounds that Strata promises, and any S3 endpoint beside it.
//!
//! - [`affinity`]: which core a thread runs on, what it has burnt
//! - [`report`]: latencies, figures, how they are printed
//! - [`connection`]: a keep-alive HTTP/1.1 client that costs little
//! - [`device`]: reads and writes of one file through the reactor
//! - [`http`]: hyper on the reactor against hyper on tokio
//! - [`journal`]: group commit of the engine's journal
//! - [`s3`]: loads for an S3 endpoint
//!
//! Invariants: every run ends by itself; a server is driven from another core than its own; a latency in an open
//! loop counts from the moment at which the request should have begun.

mod affinity;
mod connection;
mod device;
mod http;
mod journal;
mod report;
mod s3;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Strata's parts, and any S3 endpoint.
#[derive(Parser)]
#[command(name = "strata-bench", version)]
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
    /// Requests a second of hyper on the reactor or on tokio, one core for the server and one for the client.
    Http(http::Options),
    /// Group commit of small records through the engine's journal.
    Journal(journal::Options),
    /// Loads for an S3 endpoint.
    S3(s3::Options),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = match line.subject {
        Subject::Device(options) => device::run(&options),
        Subject::Http(options) => http::run(&options),
        Subject::Journal(options) => journal::run(&options),
        Subject::S3(options) => s3::run(options),
    };
    match outcome {
        Ok(report) => report.print(line.json),
        Err(error) => {
            eprintln!("strata-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
