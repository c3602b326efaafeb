//! Many connections that did one request and stay open, beside many that are never idle.
//!
//! Invariant: every idle connection answers again at the end, so a server that closed it meanwhile shows.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::load::{Plan, Verb, closed_loop};
use super::numbers::Numbers;
use super::session::{Endpoint, Session};
use crate::payload::Payloads;
use crate::report::{Report, Tally, parse_size};

/// Objects that the busy connections read.
const OBJECTS: u64 = 1000;

/// Options of `connections`.
#[derive(Args)]
pub struct Options {
    /// Connections that wait.
    #[arg(long, default_value_t = 1000)]
    idle: usize,
    /// Connections that read, and as many again in a second half that write.
    #[arg(long, default_value_t = 200)]
    busy: usize,
    /// Bytes of an object.
    #[arg(long, value_parser = parse_size, default_value = "256KiB")]
    size: u64,
    /// Seconds of each half.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Opens the idle ones, writes and reads over the busy ones, asks the idle ones again.
pub async fn run(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    ensure!(options.busy > 0, "nobody is busy");
    Session::new(endpoint).create_bucket().await?;
    let idle_key = format!("{prefix}idle");
    Session::new(endpoint).put(&idle_key, b"idle").await?;
    let mut idle: Vec<Session> = (0..options.idle).map(|_| Session::new(endpoint)).collect();
    let opened = touch(&mut idle, &idle_key).await;
    let plan = |verb, numbers| -> anyhow::Result<Rc<Plan>> {
        let payloads = Payloads::new(usize::try_from(options.size)?);
        Ok(Rc::new(Plan {
            endpoint: endpoint.clone(),
            prefix: format!("{prefix}busy/"),
            payloads,
            verb,
            numbers,
        }))
    };
    let span = Duration::from_secs(options.seconds);
    closed_loop(
        &plan(Verb::Put, Numbers::consecutive(0, OBJECTS))?,
        options.busy,
        None,
    )
    .await?;
    let puts = plan(Verb::Put, Numbers::random(0, OBJECTS))?;
    let puts = closed_loop(&puts, options.busy, Some(Instant::now() + span)).await?;
    let gets = plan(Verb::Get, Numbers::random(0, OBJECTS))?;
    let gets = closed_loop(&gets, options.busy, Some(Instant::now() + span)).await?;
    let again = touch(&mut idle, &idle_key).await;
    let mut report = Report::default();
    report
        .tally("idle_first_", &opened, span)
        .tally("idle_again_", &again, span);
    report.tally("put_", &puts, span).tally("get_", &gets, span);
    Ok(report)
}

async fn touch(sessions: &mut [Session], key: &str) -> Tally {
    let mut tally = Tally::default();
    for session in sessions {
        let begun = Instant::now();
        match session.get(key, |_| ()).await {
            Ok(_) => tally.add(begun.elapsed(), 0),
            Err(error) => tally.fail(&error),
        }
    }
    tally
}
