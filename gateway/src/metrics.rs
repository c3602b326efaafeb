//! What the front end counts, for Prometheus. One set for all reactors of a node.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    operation: &'static str,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    operation: &'static str,
}

/// Counters of the S3 front end.
#[derive(Debug)]
pub struct GatewayMetrics {
    requests: Family<Outcome, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    bytes_received: Counter,
    bytes_sent: Counter,
    connections: Gauge,
    connections_refused: Counter,
}

/// From 100 us to 105 s by doubling.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 21))
}

impl GatewayMetrics {
    /// The counters, registered under their names.
    pub fn new(registry: &mut Registry) -> GatewayMetrics {
        let metrics = GatewayMetrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(latencies),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
        };
        registry.register(
            "strata_s3_requests",
            "S3 requests by operation and status",
            metrics.requests.clone(),
        );
        registry.register(
            "strata_s3_request_seconds",
            "Time from the head of an S3 request to the end of its answer, by operation",
            metrics.seconds.clone(),
        );
        registry.register(
            "strata_s3_received_bytes",
            "Bytes of bodies received from S3 clients",
            metrics.bytes_received.clone(),
        );
        registry.register(
            "strata_s3_sent_bytes",
            "Bytes of bodies sent to S3 clients",
            metrics.bytes_sent.clone(),
        );
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

    /// Counts a request that has ended.
    pub fn request(
        &self,
        operation: &'static str,
        status: u16,
        took: Duration,
        received: u64,
        sent: u64,
    ) {
        let status = u32::from(status);
        self.requests
            .get_or_create(&Outcome { operation, status })
            .inc();
        self.seconds
            .get_or_create(&Kind { operation })
            .observe(took.as_secs_f64());
        self.bytes_received.inc_by(received);
        self.bytes_sent.inc_by(sent);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_documentation() {
        let mut registry = Registry::default();
        let metrics = GatewayMetrics::new(&mut registry);
        metrics.request("GetObject", 200, Duration::from_millis(3), 0, 7);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = "strata_s3_requests_total{operation=\"GetObject\",status=\"200\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("strata_s3_request_seconds_count{operation=\"GetObject\"} 1"));
        assert!(text.contains("strata_s3_sent_bytes_total 7"));
    }
}
