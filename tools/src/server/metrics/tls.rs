//! What `/metrics` shows of TLS, where the ports speak it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use strata_gateway::tls::Tls;

use crate::server::tls::unix_seconds;

/// Reads when somebody asks.
#[derive(Debug)]
pub struct TlsCollector(pub Arc<Tls>);

impl Collector for TlsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let left = self.0.identity().validity.not_after - unix_seconds();
        let name = "strata_tls_certificate_expiry_seconds";
        let help = "Seconds until the certificate that new connections are shown expires; negative afterwards";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(left).encode(metric)?;
        let failed = self.0.failed_handshakes();
        let help = "Connections to both ports that ended before a TLS handshake had";
        let name = "strata_tls_handshakes_failed";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(failed).encode(metric)
    }
}
