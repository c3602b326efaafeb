//! Puts and gets of objects of one size, lists and batch deletes of them, in a closed loop or at a fixed rate.
//!
//! Invariants: in an open loop a latency begins when its operation was due, also when no connection was free then;
//! a put takes the next number, so a run that broke off goes on with `--first`; every body read is compared with
//! the one that belongs to its key.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};

use super::numbers::Numbers;
use super::session::{Endpoint, Session};
use crate::payload::{Comparison, Payloads};
use crate::report::{Report, Tally, parse_size};

/// How long a connection rests after an error, so that a refusing server is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Options of `put`, `get`, `list` and `delete`.
#[derive(Args, Clone)]
pub struct Options {
    /// Bytes of one object.
    #[arg(long, value_parser = parse_size, default_value = "4KiB")]
    pub size: u64,
    /// So many numbers from `first` on: a put and a delete end after the last, a get and a list choose among them.
    #[arg(long)]
    pub objects: Option<u64>,
    /// The first number.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Connections; in an open loop the most that may be in use.
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Seconds to run; a put or delete with `--objects` runs until it is done unless this ends it.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Operations a second in an open loop; a closed loop without it.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Get every number once, in order.
    #[arg(long)]
    pub each: bool,
    /// Get some numbers far more often than others: the one of rank r in proportion to 1 / r to this power.
    #[arg(long, conflicts_with = "each", value_parser = exponent)]
    pub zipf: Option<f64>,
}

/// What one operation of a load does with its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Store the object.
    Put,
    /// Read the object and compare it.
    Get,
    /// List up to 1,000 keys of the object's folder.
    List,
    /// Delete the object and those after it, [`BATCH`] in all.
    Delete,
}

/// Keys in a batch to delete.
const BATCH: u64 = 1_000;

/// What all connections of a load share.
pub struct Plan {
    /// Where to.
    pub endpoint: Rc<Endpoint>,
    /// What keys begin with.
    pub prefix: String,
    /// The bodies.
    pub payloads: Payloads,
    /// What is done with each number.
    pub verb: Verb,
    /// Which numbers, in which order.
    pub numbers: Numbers,
}

impl Plan {
    /// The key of an object by its number.
    pub fn key(&self, number: u64) -> String {
        key(&self.prefix, number)
    }

    /// Does one operation; the bytes of its body.
    pub async fn perform(&self, session: &mut Session, number: u64) -> anyhow::Result<u64> {
        let body = self.payloads.body(number);
        match self.verb {
            Verb::Put => session.put(&self.key(number), body).await.map(|_| ())?,
            Verb::Get => {
                let mut comparison = Comparison::new(body);
                session
                    .get(&self.key(number), |piece| comparison.take(piece))
                    .await?;
                comparison.finish()?;
            }
            Verb::List => {
                let keys = session.list(&folder(&self.prefix, number)).await?;
                ensure!(keys > 0, "an empty list");
                return Ok(0);
            }
            Verb::Delete => {
                let batch = number * BATCH..(number + 1) * BATCH;
                session
                    .delete_batch(batch.map(|number| self.key(number)))
                    .await?;
                return Ok(0);
            }
        }
        Ok(body.len() as u64)
    }
}

/// The key of an object: spread over 256 folders, so that a prefix does not hold everything.
pub fn key(prefix: &str, number: u64) -> String {
    format!("{}{number:010}", folder(prefix, number))
}

fn folder(prefix: &str, number: u64) -> String {
    format!("{prefix}{:02x}/", number % 256)
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=4.0).contains(number));
    number.ok_or_else(|| "an exponent is a number from 0 to 4".to_owned())
}

/// Stores objects.
pub async fn put(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    Session::new(endpoint).create_bucket().await?;
    let end = options
        .objects
        .map_or(u64::MAX, |objects| options.first.saturating_add(objects));
    let seconds = options.seconds.or(options.objects.is_none().then_some(10));
    run(
        endpoint,
        prefix,
        options,
        Verb::Put,
        Numbers::consecutive(options.first, end),
        seconds,
    )
    .await
}

/// Reads objects that `put` stored.
pub async fn get(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    let objects = options.objects.unwrap_or(1000);
    ensure!(objects > 0, "nothing to get: --objects is zero");
    let first = options.first;
    let (numbers, seconds) = if options.each {
        let numbers = Numbers::consecutive(first, first.saturating_add(objects));
        (numbers, options.seconds)
    } else {
        let numbers = match options.zipf {
            Some(exponent) => Numbers::zipf(first, objects, exponent),
            None => Numbers::random(first, objects),
        };
        (numbers, options.seconds.or(Some(10)))
    };
    run(endpoint, prefix, options, Verb::Get, numbers, seconds).await
}

/// Lists the folders of objects that `put` stored.
pub async fn list(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    let objects = options.objects.unwrap_or(1000);
    ensure!(objects > 0, "nothing to list: --objects is zero");
    let numbers = Numbers::random(options.first, objects);
    let seconds = options.seconds.or(Some(10));
    run(endpoint, prefix, options, Verb::List, numbers, seconds).await
}

/// Deletes objects that `put` stored, in batches of 1,000.
pub async fn delete(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
) -> anyhow::Result<Report> {
    let objects = options.objects.unwrap_or(BATCH);
    ensure!(
        options.first.is_multiple_of(BATCH) && objects.is_multiple_of(BATCH),
        "--first and --objects are multiples of {BATCH}"
    );
    let first = options.first / BATCH;
    let numbers = Numbers::consecutive(first, first + objects / BATCH);
    run(
        endpoint,
        prefix,
        options,
        Verb::Delete,
        numbers,
        options.seconds,
    )
    .await
}

async fn run(
    endpoint: &Rc<Endpoint>,
    prefix: &str,
    options: &Options,
    verb: Verb,
    numbers: Numbers,
    seconds: Option<u64>,
) -> anyhow::Result<Report> {
    ensure!(
        options.concurrency > 0,
        "a concurrency of zero does nothing"
    );
    let payloads = Payloads::new(usize::try_from(options.size)?);
    let plan = Rc::new(Plan {
        endpoint: endpoint.clone(),
        prefix: prefix.into(),
        payloads,
        verb,
        numbers,
    });
    let begun = Instant::now();
    let deadline = seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let tally = match options.rate {
        None => closed_loop(&plan, options.concurrency, deadline).await?,
        Some(rate) => {
            ensure!(rate > 0, "a rate of zero does nothing");
            open_loop(&plan, options.concurrency, rate, deadline).await?
        }
    };
    let mut report = Report::default();
    report.tally("", &tally, begun.elapsed());
    Ok(report)
}

/// Every connection begins its next operation when the last one has ended.
pub async fn closed_loop(
    plan: &Rc<Plan>,
    connections: usize,
    deadline: Option<Instant>,
) -> anyhow::Result<Tally> {
    let workers: Vec<JoinHandle<Tally>> = (0..connections)
        .map(|_| {
            let plan = plan.clone();
            spawn_local(async move {
                let (mut tally, mut session) = (Tally::default(), Session::new(&plan.endpoint));
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let Some(number) = plan.numbers.take() else {
                        break;
                    };
                    measure(&plan, &mut session, number, Instant::now(), &mut tally).await;
                }
                tally
            })
        })
        .collect();
    join(workers).await
}

/// Operations begin at fixed moments, whatever became of those before.
pub async fn open_loop(
    plan: &Rc<Plan>,
    connections: usize,
    rate: u64,
    deadline: Option<Instant>,
) -> anyhow::Result<Tally> {
    let due = Rc::new(Due {
        moments: RefCell::default(),
        waiting: Semaphore::new(0),
    });
    let workers: Vec<JoinHandle<Tally>> = (0..connections)
        .map(|_| {
            let (plan, due) = (plan.clone(), due.clone());
            spawn_local(async move {
                let (mut tally, mut session) = (Tally::default(), Session::new(&plan.endpoint));
                while let Some((number, moment)) = due.next().await {
                    measure(&plan, &mut session, number, moment, &mut tally).await;
                }
                tally
            })
        })
        .collect();
    due.fill(plan, rate, deadline).await;
    join(workers).await
}

/// Operations that are due and not begun.
struct Due {
    moments: RefCell<VecDeque<(u64, Instant)>>,
    waiting: Semaphore,
}

impl Due {
    /// Hands operations out at their moments, then closes. It spins: a sleep is good to a millisecond, and the
    /// client has its core for itself.
    async fn fill(&self, plan: &Plan, rate: u64, deadline: Option<Instant>) {
        let begun = Instant::now();
        for turn in 0u64.. {
            let nanoseconds = u128::from(turn) * 1_000_000_000 / u128::from(rate);
            let moment =
                begun + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
            if deadline.is_some_and(|deadline| moment >= deadline) {
                break;
            }
            while Instant::now() < moment {
                tokio::task::yield_now().await;
            }
            let Some(number) = plan.numbers.take() else {
                break;
            };
            self.moments.borrow_mut().push_back((number, moment));
            self.waiting.add_permits(1);
        }
        // What is queued is still done: a worker ends when the queue is empty and closed.
        while !self.moments.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        self.waiting.close();
    }

    async fn next(&self) -> Option<(u64, Instant)> {
        self.waiting.acquire().await.ok()?.forget();
        self.moments.borrow_mut().pop_front()
    }
}

async fn measure(
    plan: &Plan,
    session: &mut Session,
    number: u64,
    since: Instant,
    tally: &mut Tally,
) {
    match plan.perform(session, number).await {
        Ok(bytes) => tally.add(since.elapsed(), bytes),
        Err(error) => {
            tally.fail(&error);
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }
}

/// Adds up what the workers did.
pub async fn join(workers: Vec<JoinHandle<Tally>>) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for worker in workers {
        tally.merge(&worker.await?);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_and_distinct() {
        assert_eq!(key("p/", 258), "p/02/0000000258");
        assert_ne!(key("p/", 1), key("p/", 257));
    }

    /// A server that answers every request after 20 ms, one at a time.
    fn slow_server() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|length| length > 0) {
                std::thread::sleep(Duration::from_millis(20));
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        url
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_open_loop_counts_the_time_spent_waiting_for_a_connection() {
        let signer = super::super::sign::Signer::new("a".into(), "b".into(), "us-east-1".into());
        let endpoint = Rc::new(Endpoint::new(&slow_server(), "b".into(), signer, true).unwrap());
        let plan = Rc::new(Plan {
            endpoint,
            prefix: String::new(),
            payloads: Payloads::new(0),
            verb: Verb::Get,
            numbers: Numbers::consecutive(0, 10),
        });
        let local = tokio::task::LocalSet::new();
        let tally = local
            .run_until(open_loop(&plan, 1, 1000, None))
            .await
            .unwrap();
        assert_eq!((tally.count(), tally.error_count()), (10, 0));
        // Ten operations due within 10 ms on one connection that takes 20 ms each: the last waited for nine others.
        assert!(tally.quantile_ms(1.0) > 180.0, "{}", tally.quantile_ms(1.0));
        assert!(
            tally.quantile_ms(0.05) < 40.0,
            "{}",
            tally.quantile_ms(0.05)
        );
    }
}
