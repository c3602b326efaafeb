//! What the front end counts, for Prometheus.
//!
//! Invariant: counting a request takes no lock and touches no memory of another reactor: each has
//! counters of its own, by the place of the operation or action in its table, which are added up when they are read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::operation::{OPERATIONS, Operation};
use crate::query_api::{ACTIONS, Action};

/// Statuses that are counted apart; every other one is counted as the last of its hundred.
const STATUSES: [u16; 18] = [
    200, 204, 206, 304, 400, 403, 404, 405, 409, 411, 412, 416, 499, 500, 501, 503, 507, 599,
];

/// The upper bound of the first bucket of the latencies, in microseconds; each is twice the one before.
const FIRST_BUCKET_MICROS: u64 = 100;

/// Buckets of the latencies: from 100 us to 105 s, and what is beyond.
const BUCKETS: usize = 22;

/// What is counted of one operation.
#[derive(Debug, Default)]
struct OperationCounters {
    by_status: [AtomicU64; STATUSES.len()],
    by_latency: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// What one reactor counts of its requests.
#[derive(Debug)]
pub struct RequestCounters {
    /// By the [place](Asked::place) of what is asked for.
    operations: Vec<OperationCounters>,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// An operation of S3.
    Operation(&'static Operation),
    /// An action of a query API.
    Action(&'static Action),
    /// It was refused before that was known.
    Unknown,
}

impl Asked {
    /// AWS's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Operation(operation) => operation.name,
            Asked::Action(action) => action.name,
            Asked::Unknown => "Unknown",
        }
    }

    /// Where it is counted: operations, then actions, then the rest.
    fn place(self) -> usize {
        match self {
            Asked::Operation(operation) => operation.id as usize,
            Asked::Action(action) => {
                let at = ACTIONS.iter().position(|known| std::ptr::eq(known, action));
                OPERATIONS.len() + at.unwrap_or(ACTIONS.len())
            }
            Asked::Unknown => OPERATIONS.len() + ACTIONS.len(),
        }
    }
}

/// The places of [`Asked`].
fn places() -> std::ops::RangeInclusive<usize> {
    0..=OPERATIONS.len() + ACTIONS.len()
}

impl Default for RequestCounters {
    fn default() -> RequestCounters {
        let counters = |_| OperationCounters::default();
        RequestCounters {
            operations: places().map(counters).collect(),
            bytes_received: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
        }
    }
}

impl RequestCounters {
    /// Counts a request that has ended.
    pub fn count(
        &self,
        asked: Asked,
        status: StatusCode,
        took: Duration,
        received: u64,
        sent: u64,
    ) {
        let counters = &self.operations[asked.place()];
        let micros = took.as_micros() as u64;
        add(&counters.by_status[status_place(status.as_u16())], 1);
        add(&counters.by_latency[latency_place(micros)], 1);
        add(&counters.micros, micros);
        add(&self.bytes_received, received);
        add(&self.bytes_sent, sent);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn status_place(status: u16) -> usize {
    let exact = STATUSES.iter().position(|known| *known == status);
    let last_of_hundred = || {
        STATUSES
            .iter()
            .rposition(|known| known / 100 == status / 100)
    };
    exact.or_else(last_of_hundred).unwrap_or(STATUSES.len() - 1)
}

fn latency_place(micros: u64) -> usize {
    let hundreds = micros.div_ceil(FIRST_BUCKET_MICROS).max(1);
    let place = hundreds.next_power_of_two().trailing_zeros() as usize;
    place.min(BUCKETS - 1)
}

/// Counters of the S3 front end, of all reactors of a node.
#[derive(Debug)]
pub struct GatewayMetrics {
    requests: Arc<Requests>,
    connections: Gauge,
    connections_refused: Counter,
}

impl GatewayMetrics {
    /// The counters, registered under their names.
    pub fn new(registry: &mut Registry) -> GatewayMetrics {
        let metrics = GatewayMetrics {
            requests: Arc::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
        };
        registry.register_collector(Box::new(Arc::clone(&metrics.requests)));
        registry.register(
            "strata_s3_connections",
            "Open connections of S3 clients",
            metrics.connections.clone(),
        );
        registry.register(
            "strata_s3_connections_refused",
            "Connections of S3 clients beyond the limit",
            metrics.connections_refused.clone(),
        );
        metrics
    }

    /// Counters for the requests of a reactor that begins to serve.
    pub fn counters_of_a_reactor(&self) -> Arc<RequestCounters> {
        let counters = Arc::<RequestCounters>::default();
        self.requests.reactors().push(Arc::clone(&counters));
        counters
    }

    /// Counts a connection that opens.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// Counts a connection that closes.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }
}

/// The requests of all reactors.
#[derive(Debug, Default)]
struct Requests {
    reactors: Mutex<Vec<Arc<RequestCounters>>>,
}

impl Requests {
    fn reactors(&self) -> std::sync::MutexGuard<'_, Vec<Arc<RequestCounters>>> {
        self.reactors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, of: impl Fn(&RequestCounters) -> &AtomicU64) -> u64 {
        let reactors = self.reactors();
        let values = reactors
            .iter()
            .map(|reactor| of(reactor).load(Ordering::Relaxed));
        values.sum()
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "S3 requests by operation and status";
        let mut metric =
            encoder.encode_descriptor("strata_s3_requests", help, None, MetricType::Counter)?;
        for place in places() {
            for (at, status) in STATUSES.iter().enumerate() {
                let count = self.sum(|reactor| &reactor.operations[place].by_status[at]);
                if count > 0 {
                    let labels = [
                        ("operation", name_of(place)),
                        ("status", &status.to_string()),
                    ];
                    let family = metric.encode_family(&labels)?;
                    ConstCounter::new(count).encode(family)?;
                }
            }
        }
        Ok(())
    }

    fn encode_seconds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "strata_s3_request_seconds";
        let help = "Time from the head of an S3 request to the end of its answer, by operation";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for place in places() {
            let bucket = |at: usize| {
                let bound = match at == BUCKETS - 1 {
                    true => f64::MAX,
                    false => (FIRST_BUCKET_MICROS << at) as f64 / 1e6,
                };
                let count = self.sum(|reactor| &reactor.operations[place].by_latency[at]);
                (bound, count)
            };
            let buckets: Vec<(f64, u64)> = (0..BUCKETS).map(bucket).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            if count > 0 {
                let micros = self.sum(|reactor| &reactor.operations[place].micros);
                let labels = [("operation", name_of(place))];
                let mut family = metric.encode_family(&labels)?;
                family.encode_histogram::<NoLabelSet>(
                    micros as f64 / 1e6,
                    count,
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }

    fn encode_bytes(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        bytes: u64,
    ) -> fmt::Result {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(bytes).encode(metric)
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_seconds(&mut encoder)?;
        let received = self.sum(|reactor| &reactor.bytes_received);
        let help = "Bytes of bodies received from S3 clients";
        Requests::encode_bytes(&mut encoder, "strata_s3_received_bytes", help, received)?;
        let sent = self.sum(|reactor| &reactor.bytes_sent);
        let help = "Bytes of bodies sent to S3 clients";
        Requests::encode_bytes(&mut encoder, "strata_s3_sent_bytes", help, sent)
    }
}

fn name_of(place: usize) -> &'static str {
    let action = || ACTIONS.get(place.checked_sub(OPERATIONS.len())?);
    let asked = match (OPERATIONS.get(place), action()) {
        (Some(operation), _) => Asked::Operation(operation),
        (None, Some(action)) => Asked::Action(action),
        (None, None) => Asked::Unknown,
    };
    asked.name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Id;

    #[test]
    fn names_are_those_of_the_documentation() {
        let mut registry = Registry::default();
        let metrics = GatewayMetrics::new(&mut registry);
        let get = &OPERATIONS[Id::GetObject as usize];
        let took = Duration::from_millis(3);
        for status in [StatusCode::OK, StatusCode::IM_A_TEAPOT] {
            let reactor = metrics.counters_of_a_reactor();
            reactor.count(Asked::Operation(get), status, took, 0, 7);
            reactor.count(Asked::Unknown, StatusCode::FORBIDDEN, took, 1, 0);
            let first = Asked::Action(&ACTIONS[0]);
            reactor.count(first, StatusCode::OK, took, 0, 0);
        }
        let first = format!(
            "strata_s3_requests_total{{operation=\"{}\",status=\"200\"}} 2",
            ACTIONS[0].name
        );
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "strata_s3_requests_total{operation=\"GetObject\",status=\"200\"} 1",
            "strata_s3_requests_total{operation=\"GetObject\",status=\"499\"} 1",
            "strata_s3_requests_total{operation=\"Unknown\",status=\"403\"} 2",
            "strata_s3_request_seconds_count{operation=\"GetObject\"} 2",
            "strata_s3_request_seconds_sum{operation=\"GetObject\"} 0.006",
            "strata_s3_request_seconds_bucket{le=\"0.0016\",operation=\"GetObject\"} 0",
            "strata_s3_request_seconds_bucket{le=\"0.0032\",operation=\"GetObject\"} 2",
            "strata_s3_request_seconds_bucket{le=\"+Inf\",operation=\"GetObject\"} 2",
            "strata_s3_sent_bytes_total 14",
            "strata_s3_received_bytes_total 2",
            &first,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn latencies_fall_into_the_bucket_that_bounds_them() {
        let places = [0, 1, 100, 101, 200, 201].map(latency_place);
        assert_eq!(places, [0, 0, 0, 1, 1, 2]);
        assert_eq!(latency_place(u64::MAX / 2), BUCKETS - 1);
    }
}
