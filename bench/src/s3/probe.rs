//! How long until a server that was just started answers a signed GET and a signed PUT.
//!
//! Invariant: the clock starts when the probe does, or at the moment given in nanoseconds since 1970, so that a script
//! can take the moment before it starts the server.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;

use super::load::{Plan, Verb};
use super::numbers::Numbers;
use super::session::{Endpoint, Session};
use crate::payload::Payloads;
use crate::report::{Report, parse_size};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Options of `probe`.
#[derive(Args)]
pub struct Options {
    /// When the server was started, in nanoseconds since 1970; now without it.
    #[arg(long)]
    since: Option<u64>,
    /// Number of an object that `put` stored; the GET reads it and compares it.
    #[arg(long, default_value_t = 0)]
    object: u64,
    /// Its size in bytes.
    #[arg(long, value_parser = parse_size, default_value = "4KiB")]
    size: u64,
    /// Seconds after which the probe gives up.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

fn nanoseconds_since_1970() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks until both have worked.
pub async fn run(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    let since = options.since.unwrap_or_else(nanoseconds_since_1970);
    let plan = |verb, prefix: String| -> anyhow::Result<Plan> {
        let payloads = Payloads::new(usize::try_from(options.size)?);
        Ok(Plan {
            endpoint: endpoint.clone(),
            prefix,
            payloads,
            verb,
            numbers: Numbers::consecutive(0, 0),
        })
    };
    let get = first_success(&plan(Verb::Get, prefix.to_string())?, since, options)
        .await
        .context("GET")?;
    let put = first_success(&plan(Verb::Put, format!("{prefix}probe/"))?, since, options)
        .await
        .context("PUT")?;
    let mut report = Report::default();
    report.number("get_seconds", get).number("put_seconds", put);
    Ok(report)
}

/// Seconds from `since` to the end of the first operation that worked.
async fn first_success(plan: &Plan, since: u64, options: &Options) -> anyhow::Result<f64> {
    let elapsed = || Duration::from_nanos(nanoseconds_since_1970().saturating_sub(since));
    let limit = Duration::from_secs(options.timeout);
    loop {
        let mut session = Session::new(&plan.endpoint);
        let left = limit.saturating_sub(elapsed());
        let attempt = plan.perform(&mut session, options.object);
        match tokio::time::timeout(left, attempt).await {
            Ok(Ok(_)) => return Ok(elapsed().as_secs_f64()),
            Ok(Err(error)) if elapsed() >= limit => return Err(error),
            Err(_) => bail!("no answer within {} s", options.timeout),
            Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
}
