//! Small reads at a fixed rate, first alone, then beside one paced put stream, a LIST of 1,000 keys and the deletion
//! of 1,000 keys every second. With `--parts` the stream is an object of so many parts, and the reads last as long: it is
//! uploaded, completed, written over by another like it, and deleted.
//!
//! Invariants: both phases read the same objects at the same rate over the same number of connections; the keys to
//! delete are stored before the first phase; the stream never runs ahead of its rate and catches up when late.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::task::spawn_local;

use super::load::{Plan, Verb, closed_loop, key, open_loop};
use super::multipart;
use super::numbers::Numbers;
use super::session::{Endpoint, Request, Session};
use super::sign::hash;
use crate::payload::Payloads;
use crate::report::{Report, Tally, parse_size};

/// Keys in a LIST page and in a batch to delete.
const BATCH: u64 = 1000;
/// Objects of the stream before it begins to overwrite, so that a long run does not fill the disk.
const STREAM_OBJECTS: u64 = 16;
/// How much of its rate the stream must reach: the last object is counted when it has ended.
const STREAM_SHARE_MIN: f64 = 0.99;
/// Bytes of a part of the large object.
const PART_BYTES: usize = 5 << 20;
/// Seconds of a phase beside the large object.
const LOADED_SECONDS: u64 = 2;
/// Seconds before a phase counts.
const WARM_UP_SECONDS: u64 = 2;

/// Options of `mixed`.
#[derive(Args)]
pub struct Options {
    /// Bytes of an object that is read.
    #[arg(long, value_parser = parse_size, default_value = "4KiB")]
    size: u64,
    /// Objects to read from.
    #[arg(long, default_value_t = 10_000)]
    objects: u64,
    /// Reads a second.
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Connections for the reads.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Bytes a second of the put stream.
    #[arg(long, value_parser = parse_size, default_value = "100MiB")]
    stream_rate: u64,
    /// Bytes of one object of the put stream.
    #[arg(long, value_parser = parse_size, default_value = "16MiB")]
    stream_size: u64,
    /// Parts of 5 MiB of an object that is uploaded twice and deleted, in place of the stream's objects.
    #[arg(long)]
    parts: Option<usize>,
    /// The objects to read are there from an earlier run.
    #[arg(long)]
    filled: bool,
}

/// Runs both phases.
pub async fn run(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    ensure!(
        options.objects >= BATCH,
        "a LIST of {BATCH} keys needs as many objects"
    );
    ensure!(
        options.rate > 0 && options.stream_rate > 0,
        "a rate of zero does nothing"
    );
    Session::new(endpoint).create_bucket().await?;
    if !options.filled {
        fill(
            endpoint,
            &format!("{prefix}read/"),
            options.size,
            options.objects,
        )
        .await?;
    }
    fill(
        endpoint,
        &format!("{prefix}doomed/"),
        options.size,
        (options.seconds + WARM_UP_SECONDS) * BATCH,
    )
    .await?;
    phase(endpoint, prefix, options, WARM_UP_SECONDS).await?;
    let alone = phase(endpoint, prefix, options, options.seconds).await?;
    let beside = Beside::start(endpoint, prefix, options);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, mut loaded) = (Instant::now(), Tally::default());
    // Beside the large object in short phases, so that few reads are counted after its end.
    let seconds = options.parts.map_or(options.seconds, |_| LOADED_SECONDS);
    loop {
        loaded.merge(&phase(endpoint, prefix, options, seconds).await?);
        if options.parts.is_none() || beside.stream.is_finished() {
            break;
        }
    }
    let loaded_span = begun.elapsed();
    let others = beside.stop().await?;
    let mut report = Report::default();
    report
        .tally("unloaded_", &alone, Duration::from_secs(options.seconds))
        .tally("loaded_", &loaded, loaded_span);
    others.report(&mut report);
    let bound = (3.0 * alone.quantile_ms(0.99)).max(2.0);
    report.number("bound_ms", bound);
    let is_full = others.are_full(options);
    report.word("load", if is_full { "full" } else { "short" });
    let errors = alone.error_count() + loaded.error_count() + others.error_count();
    let is_held = is_full && errors == 0 && loaded.quantile_ms(0.99) <= bound;
    report.word("verdict", if is_held { "held" } else { "missed" });
    Ok(report)
}

async fn fill(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    size: u64,
    objects: u64,
) -> anyhow::Result<()> {
    let plan = plan(
        endpoint,
        prefix,
        size,
        Verb::Put,
        Numbers::consecutive(0, objects),
    )?;
    let tally = closed_loop(&plan, 32, None).await?;
    ensure!(
        tally.error_count() == 0,
        "{} of {objects} objects could not be stored: {tally:?}",
        tally.error_count()
    );
    Ok(())
}

fn plan(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    size: u64,
    verb: Verb,
    numbers: Numbers,
) -> anyhow::Result<Rc<Plan>> {
    let payloads = Payloads::new(usize::try_from(size)?);
    Ok(Rc::new(Plan {
        endpoint: endpoint.clone(),
        prefix: prefix.into(),
        payloads,
        verb,
        numbers,
    }))
}

async fn phase(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
    seconds: u64,
) -> anyhow::Result<Tally> {
    let numbers = Numbers::random(0, options.objects);
    let plan = plan(
        endpoint,
        &format!("{prefix}read/"),
        options.size,
        Verb::Get,
        numbers,
    )?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    open_loop(&plan, options.concurrency, options.rate, Some(deadline)).await
}

/// What runs beside the reads.
struct Beside {
    stop: Rc<Cell<bool>>,
    begun: Instant,
    stream: tokio::task::JoinHandle<anyhow::Result<Tally>>,
    lists: tokio::task::JoinHandle<anyhow::Result<Tally>>,
    deletes: tokio::task::JoinHandle<anyhow::Result<Tally>>,
}

/// What they did.
struct Others {
    elapsed: Duration,
    stream: Tally,
    lists: Tally,
    deletes: Tally,
}

impl Others {
    fn report(&self, report: &mut Report) {
        report.tally("stream_", &self.stream, self.elapsed);
        report.tally("list_", &self.lists, self.elapsed);
        report.tally("delete_", &self.deletes, self.elapsed);
    }

    fn error_count(&self) -> u64 {
        self.stream.error_count() + self.lists.error_count() + self.deletes.error_count()
    }

    /// Whether the reads had beside them what the bound speaks of: the stream at its rate, and a LIST and a deletion
    /// for each second but the last. A server that falls behind with those is no quiet one.
    fn are_full(&self, options: &Options) -> bool {
        let rate = match options.parts {
            // It has failed where it fell behind.
            Some(_) => f64::INFINITY,
            None => {
                let streamed = (self.stream.count() * options.stream_size) as f64;
                streamed / self.elapsed.as_secs_f64().max(1e-9)
            }
        };
        let turns = options.seconds.saturating_sub(1);
        rate >= STREAM_SHARE_MIN * options.stream_rate as f64
            && self.lists.count() >= turns
            && self.deletes.count() >= turns
    }
}

impl Beside {
    fn start(endpoint: &Rc<Endpoint>, prefix: &str, options: &Options) -> Beside {
        let stop = Rc::new(Cell::new(false));
        let (rate, size) = (options.stream_rate, options.stream_size);
        let batches = options.seconds + WARM_UP_SECONDS;
        let (to, stream_prefix) = (endpoint.clone(), format!("{prefix}stream/"));
        let stream = match options.parts {
            Some(parts) => spawn_local(large_object(to, stream_prefix, rate, parts)),
            None => spawn_local(stream(to, stream_prefix, rate, size, stop.clone())),
        };
        Beside {
            begun: Instant::now(),
            stream,
            lists: spawn_local(lists(
                endpoint.clone(),
                format!("{prefix}read/"),
                stop.clone(),
            )),
            deletes: spawn_local(deletes(
                endpoint.clone(),
                format!("{prefix}doomed/"),
                batches,
                stop.clone(),
            )),
            stop,
        }
    }

    async fn stop(self) -> anyhow::Result<Others> {
        self.stop.set(true);
        let stream = self.stream.await?.context("put stream")?;
        let elapsed = self.begun.elapsed();
        let lists = self.lists.await?.context("lists")?;
        let deletes = self.deletes.await?.context("batch deletes")?;
        Ok(Others {
            elapsed,
            stream,
            lists,
            deletes,
        })
    }
}

async fn stream(
    endpoint: Rc<Endpoint>,
    prefix: String,
    rate: u64,
    size: u64,
    stop: Rc<Cell<bool>>,
) -> anyhow::Result<Tally> {
    let payloads = Payloads::new(usize::try_from(size)?);
    // One body for all, hashed once: hashing is not to steal the core from the reads.
    let (body, payload_hash) = (payloads.body(0), hash(payloads.body(0)));
    let (mut tally, mut session) = (Tally::default(), Session::new(&endpoint));
    let pace = Pace::new(rate);
    for number in 0u64.. {
        if stop.get() {
            break;
        }
        let key = key(&prefix, number % STREAM_OBJECTS);
        let request = Request {
            method: "PUT",
            key: &key,
            query: "",
            headers: &[],
            payload_hash: &payload_hash,
        };
        let started = Instant::now();
        let due = async |bytes| pace.due(bytes).await;
        session.perform_paced(&request, body, due).await?;
        tally.add(started.elapsed(), size);
    }
    Ok(tally)
}

/// When so many bytes may have been sent, for [`Session::perform_paced`].
struct Pace {
    begun: Instant,
    rate: u64,
    sent: Cell<u64>,
}

impl Pace {
    fn new(rate: u64) -> Pace {
        Pace {
            begun: Instant::now(),
            rate,
            sent: Cell::new(0),
        }
    }

    /// Waits for the moment of the next bytes.
    async fn due(&self, bytes: usize) {
        let seconds = self.sent.get() as f64 / self.rate as f64;
        let moment = self.begun + Duration::from_secs_f64(seconds);
        while Instant::now() < moment {
            tokio::time::sleep_until(moment.into()).await;
        }
        self.sent.set(self.sent.get() + bytes as u64);
    }
}

/// An object of many parts: uploaded, completed, written over by another, deleted. Each part counts as an operation.
async fn large_object(
    endpoint: Rc<Endpoint>,
    prefix: String,
    rate: u64,
    parts: usize,
) -> anyhow::Result<Tally> {
    let payloads = Payloads::new(PART_BYTES);
    // Hashed once, as the stream's.
    let (body, payload_hash) = (payloads.body(0), hash(payloads.body(0)));
    let (mut tally, mut session) = (Tally::default(), Session::new(&endpoint));
    let key = key(&prefix, 0);
    for _ in 0..2 {
        let upload = multipart::create(&mut session, &key).await?;
        let (pace, mut etags) = (Pace::new(rate), Vec::with_capacity(parts));
        for part in 1..=parts {
            let query = format!("partNumber={part}&uploadId={upload}");
            let request = Request {
                method: "PUT",
                key: &key,
                query: &query,
                headers: &[],
                payload_hash: &payload_hash,
            };
            let started = Instant::now();
            let due = async |bytes| pace.due(bytes).await;
            let head = session.perform_paced(&request, body, due).await?;
            etags.push(head.etag.context("a stored part has no ETag")?);
            tally.add(started.elapsed(), PART_BYTES as u64);
        }
        let planned = (parts * PART_BYTES) as f64 / rate as f64;
        let took = pace.begun.elapsed().as_secs_f64();
        ensure!(
            took <= planned / STREAM_SHARE_MIN + 1.0,
            "the parts took {took:.1} s in place of {planned:.1} s"
        );
        multipart::complete(&mut session, &key, &upload, &etags).await?;
    }
    session.delete(&key).await?;
    Ok(tally)
}

async fn lists(
    endpoint: Rc<Endpoint>,
    prefix: String,
    stop: Rc<Cell<bool>>,
) -> anyhow::Result<Tally> {
    let mut session = Session::new(&endpoint);
    every_second(u64::MAX, &stop, async |_| {
        let keys = session.list(&prefix).await?;
        ensure!(
            keys as u64 == BATCH,
            "a LIST gave {keys} keys instead of {BATCH}"
        );
        Ok(())
    })
    .await
}

async fn deletes(
    endpoint: Rc<Endpoint>,
    prefix: String,
    batches: u64,
    stop: Rc<Cell<bool>>,
) -> anyhow::Result<Tally> {
    let mut session = Session::new(&endpoint);
    every_second(batches, &stop, async |turn| {
        session
            .delete_batch((turn * BATCH..(turn + 1) * BATCH).map(|number| key(&prefix, number)))
            .await
    })
    .await
}

async fn every_second(
    turns: u64,
    stop: &Cell<bool>,
    mut act: impl AsyncFnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for turn in 0..turns {
        ticks.tick().await;
        if stop.get() {
            break;
        }
        let started = Instant::now();
        act(turn).await?;
        tally.add(started.elapsed(), 0);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(count: u64) -> Tally {
        let mut tally = Tally::default();
        (0..count).for_each(|_| tally.add(Duration::from_millis(5), 0));
        tally
    }

    #[test]
    fn a_load_that_falls_behind_is_not_full() {
        let options = Options {
            size: 4096,
            objects: 10_000,
            rate: 2000,
            concurrency: 64,
            seconds: 10,
            stream_rate: 100 << 20,
            stream_size: 10 << 20,
            parts: None,
            filled: false,
        };
        let is_full = |stream, lists, deletes| {
            let others = Others {
                elapsed: Duration::from_secs(11),
                stream: tally(stream),
                lists: tally(lists),
                deletes: tally(deletes),
            };
            others.are_full(&options)
        };
        assert!(is_full(110, 11, 9));
        assert!(!is_full(100, 11, 11), "the stream is slow");
        assert!(!is_full(110, 8, 11), "lists are missing");
        assert!(!is_full(110, 11, 8), "deletions are missing");
    }
}
