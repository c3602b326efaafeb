//! What the node counts for itself, read when somebody asks and written as families.
//!
//! Invariant: reading costs the reactors nothing: no message, no lock of theirs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use strata_engine::reactor::{ReactorStatistics, TaskClass};
use strata_net::node::repair::Survey;
use strata_net::node::status::{
    BucketUsages, DeviceStatus, NodeStatus, PackingStatistics, PartitionStatus, Phase, Severity,
};

use super::families::{self, DEVICE_OPERATIONS, Family};
use super::process;
use crate::server::capacity::Capacity;
use crate::version::VERSION;

/// The node as a whole, at one time.
pub struct NodeReading {
    /// Whether requests are served.
    pub is_ready: bool,
    /// Devices, missing ones counted.
    pub devices: usize,
    /// Of them, those that were not there at the start.
    pub devices_missing: usize,
    /// Of them, those that have failed since.
    pub devices_failed: usize,
    /// How full it is.
    pub capacity: Capacity,
    /// What the buckets hold.
    pub buckets: Arc<BucketUsages>,
    /// What the last walk over all chunks has found; none while one is due.
    pub survey: Option<Survey>,
    /// Shards that were written anew since the start, and their bytes.
    pub repaired: (u64, u64),
    /// Chunks that were written again in the scheme of the layout since the start, and their bytes.
    pub converted: (u64, u64),
    /// Reads that were answered from memory, those that were not, and bytes that are kept.
    pub cell_caches: [u64; 3],
    /// What packing has done.
    pub packing: Arc<PackingStatistics>,
    /// Copies of the log that the layout keeps.
    pub log_mirrors_expected: usize,
}

impl NodeReading {
    fn read(status: &NodeStatus) -> NodeReading {
        let (there, missing) = (status.devices(), status.report().missing_devices.len());
        let has_failed = |device: &&DeviceStatus| device.health.failure().is_some();
        let redundancy = status.redundancy();
        let surveyed = redundancy.as_ref().and_then(|found| found.surveyed());
        NodeReading {
            is_ready: status.phase() == Phase::Ready,
            devices: there.len() + missing,
            devices_missing: missing,
            devices_failed: there.iter().filter(has_failed).count(),
            capacity: Capacity::of(&status.partitions()),
            buckets: status.bucket_usages(),
            survey: surveyed.map(|surveyed| surveyed.survey),
            repaired: redundancy.as_ref().map_or((0, 0), |found| found.repaired()),
            converted: redundancy.map_or((0, 0), |found| found.converted()),
            cell_caches: status.cell_caches(),
            packing: status.packing(),
            log_mirrors_expected: status.log_mirrors_expected(),
        }
    }
}

/// One row of a family: its labels and its value.
type Row = (Vec<(&'static str, String)>, f64);

/// Busy and idle nanoseconds of a reactor at the last reading.
type Times = (u64, u64);

/// Collects what the node counts.
pub struct NodeCollector {
    status: Arc<NodeStatus>,
    last: Mutex<Vec<(usize, Times, f64)>>,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page {
            encoder: &mut encoder,
        };
        let status = &self.status;
        page.gauge("strata_build_info", "The version that runs", build())?;
        page.table(families::NODE, [(Vec::new(), &NodeReading::read(status))])?;
        page.gauge(
            "strata_degradations",
            "What the node is short of now, by kind and severity; none when nothing is wrong",
            degradations(status),
        )?;
        encode_devices(&mut page, status)?;
        self.encode_reactors(&mut page)?;
        let partitions = status.partitions();
        let partitions = partitions.iter().map(|partition| {
            (
                partition_labels(partition),
                &*partition.partition.statistics,
            )
        });
        page.table(families::PARTITION, partitions)?;
        let group = status.group();
        let group = group.iter().map(|group| (Vec::new(), &**group));
        page.table(families::GROUP, group)?;
        let buckets = status.bucket_usages();
        let buckets = buckets.shown.iter();
        let buckets = buckets.map(|(name, usage)| (vec![("bucket", name.clone())], usage));
        page.table(families::BUCKET, buckets)?;
        page.table(families::PROCESS, [(Vec::new(), &process::read())])
    }
}

fn build() -> Vec<Row> {
    vec![(vec![("version", VERSION.to_owned())], 1.0)]
}

fn partition_labels(partition: &PartitionStatus) -> Vec<(&'static str, String)> {
    vec![
        ("device", partition.place.device.to_string()),
        ("partition", partition.place.partition.to_string()),
    ]
}

/// How many there are of each kind and severity.
fn degradations(status: &NodeStatus) -> Vec<Row> {
    let mut counts: Vec<(&'static str, Severity, f64)> = Vec::new();
    for found in status.degradations() {
        let known = |(kind, severity, _): &&mut (&str, Severity, f64)| {
            *kind == found.kind && *severity == found.severity
        };
        match counts.iter_mut().find(known) {
            Some((.., count)) => *count += 1.0,
            None => counts.push((found.kind, found.severity, 1.0)),
        }
    }
    let row = |(kind, severity, count): (&'static str, Severity, f64)| {
        let severity = severity_word(severity).to_owned();
        (
            vec![("kind", kind.to_owned()), ("severity", severity)],
            count,
        )
    };
    counts.into_iter().map(row).collect()
}

/// A severity as one word, for programs.
pub fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn encode_devices(page: &mut Page<'_, '_>, status: &NodeStatus) -> fmt::Result {
    const STATES: [&str; 4] = ["ok", "slow", "failed", "missing"];
    let there = status.devices();
    let missing = status.report().missing_devices;
    let info = |device: &DeviceStatus| {
        let labels = vec![
            ("device", device.uuid.to_string()),
            ("path", device.name.clone()),
        ];
        (labels, 1.0)
    };
    page.gauge(
        "strata_device_info",
        "Where a device lies that is there, to join with the families that name it",
        there.iter().map(info).collect(),
    )?;
    let states = there
        .iter()
        .map(|device| (device.uuid.to_string(), device_state(device)))
        .chain(missing.into_iter().map(|uuid| (uuid, "missing")));
    let rows = states.flat_map(|(uuid, state)| {
        STATES.map(|label| {
            let labels = vec![("device", uuid.clone()), ("state", label.to_owned())];
            (labels, f64::from(label == state))
        })
    });
    page.gauge(
        "strata_device_state",
        "1 for the state that a device of the node is in: ok, slow, failed or missing",
        rows.collect(),
    )?;
    let counting = there.iter().map(|device| {
        let labels = vec![("device", device.uuid.to_string())];
        (labels, &*device.health)
    });
    page.table(families::DEVICE, counting)?;
    page.device_latencies(&there)
}

/// The state of a device that was there at the start, as one word.
fn device_state(device: &DeviceStatus) -> &'static str {
    match device.health.failure() {
        Some(_) => "failed",
        None if device.health.is_slow() => "slow",
        None => "ok",
    }
}

struct Page<'page, 'encoder> {
    encoder: &'page mut DescriptorEncoder<'encoder>,
}

impl Page<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows)
    }

    /// The families of a table, each with a row for everything that counts.
    fn table<'of, Counts: 'of>(
        &mut self,
        families: &[Family<Counts>],
        counting: impl IntoIterator<Item = (Vec<(&'static str, String)>, &'of Counts)>,
    ) -> fmt::Result {
        let counting: Vec<_> = counting.into_iter().collect();
        for family in families {
            let row = |(labels, of): &(Vec<_>, &Counts)| (labels.clone(), (family.read)(of));
            let rows = counting.iter().map(row).collect();
            self.family(family.name, family.help, family.kind, rows)?;
        }
        Ok(())
    }

    fn device_latencies(&mut self, devices: &[DeviceStatus]) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(
            "strata_device_operation_seconds",
            "How long operations of a device take",
            None,
            MetricType::Histogram,
        )?;
        for device in devices {
            let uuid = device.uuid.to_string();
            for (operation, kind) in DEVICE_OPERATIONS {
                let labels = [("device", uuid.as_str()), ("operation", operation)];
                let of = kind(device.health.latencies());
                let buckets = of.buckets();
                let count = buckets.iter().map(|(_, count)| count).sum();
                metric
                    .encode_family(&labels.as_slice())?
                    .encode_histogram::<NoLabelSet>(of.sum_seconds(), count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, rows: Vec<Row>) -> fmt::Result {
        let is_counter = matches!(kind, MetricType::Counter);
        let mut metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows.iter().filter(|(_, value)| !value.is_nan()) {
            let labels = labels.as_slice();
            if labels.is_empty() {
                write_value(&mut metric, is_counter, *value)?;
            } else {
                write_value(&mut metric.encode_family(&labels)?, is_counter, *value)?;
            }
        }
        Ok(())
    }
}

fn write_value(place: &mut MetricEncoder<'_>, is_counter: bool, value: f64) -> fmt::Result {
    if is_counter {
        place.encode_counter::<NoLabelSet, _, f64>(&value, None)
    } else {
        place.encode_gauge(&value)
    }
}

impl NodeCollector {
    /// Collects from this status.
    pub fn new(status: Arc<NodeStatus>) -> NodeCollector {
        NodeCollector {
            status,
            last: Mutex::default(),
        }
    }

    fn encode_reactors(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let reactors = self.status.reactors();
        let named = reactors
            .iter()
            .map(|(index, of)| (vec![("reactor", index.to_string())], &**of));
        page.table(families::REACTOR, named)?;
        page.gauge(
            "strata_reactor_busy_share",
            "Share of the time since the reading before that tasks ran",
            self.busy_shares(&reactors),
        )?;
        page.family(
            "strata_reactor_class_seconds",
            "Run time of each class of tasks",
            MetricType::Counter,
            class_rows(&reactors),
        )
    }

    /// The busy share of each reactor between two readings; readings that follow at once repeat the last answer.
    fn busy_shares(&self, reactors: &[(usize, Arc<ReactorStatistics>)]) -> Vec<Row> {
        const SHORTEST_NANOSECONDS: u64 = 100_000_000;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for (index, of) in reactors {
            let now = (of.busy_nanoseconds.get(), of.idle_nanoseconds.get());
            let before = last.iter().position(|(number, ..)| number == index);
            let before = before.unwrap_or_else(|| {
                last.push((*index, (0, 0), 0.0));
                last.len() - 1
            });
            let (_, times, share) = &mut last[before];
            let (busy, idle) = (now.0.saturating_sub(times.0), now.1.saturating_sub(times.1));
            if busy + idle >= SHORTEST_NANOSECONDS {
                (*times, *share) = (now, busy as f64 / (busy + idle) as f64);
            }
            rows.push((vec![("reactor", index.to_string())], *share));
        }
        rows
    }
}

fn class_rows(reactors: &[(usize, Arc<ReactorStatistics>)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, of) in reactors {
        for (class, time) in TaskClass::ALL.iter().zip(&of.class_nanoseconds) {
            let class = format!("{class:?}").to_lowercase();
            let labels = vec![("reactor", index.to_string()), ("class", class)];
            rows.push((labels, time.get() as f64 / 1e9));
        }
    }
    rows
}
