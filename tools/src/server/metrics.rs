//! What `/metrics` shows, in the OpenMetrics text that Prometheus reads.
//!
//! Reactors, stores and the Raft group count for themselves, in atomics; here they are given names when somebody asks. The
//! front end registers families of its own.
//!
//! Invariant: reading costs the reactors nothing: no message, no lock of theirs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use strata_engine::device::latency::{DeviceLatencies, Latencies};
use strata_engine::reactor::{Gauge, ReactorStatistics, TaskClass};
use strata_engine::{ChunkStoreStatistics, DeviceHealth};
use strata_net::node::status::{NodeStatus, Phase};
use strata_raftlog::consensus::group::GroupStatistics;

use crate::version::VERSION;

/// The registry of the process.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry of what the node counts.
    pub fn new(status: Arc<NodeStatus>) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(NodeCollector {
            status,
            last: Mutex::default(),
        }));
        Metrics { registry }
    }

    /// For the families of a front end.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Everything, as text.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Busy and idle nanoseconds of a reactor at the last reading.
type Times = (u64, u64);

struct NodeCollector {
    status: Arc<NodeStatus>,
    last: Mutex<Vec<(usize, Times, f64)>>,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page {
            encoder: &mut encoder,
        };
        self.encode_cluster(&mut page)?;
        self.encode_reactors(&mut page)?;
        page.table("partition", PARTITION, &self.status.partitions())?;
        page.device_latencies(&self.status.devices())?;
        let group: Vec<_> = self
            .status
            .group()
            .into_iter()
            .map(|of| (String::new(), of))
            .collect();
        page.table("", GROUP, &group)
    }
}

/// One row of a family: its labels and its value.
type Row = (Vec<(&'static str, String)>, f64);

struct Page<'page, 'encoder> {
    encoder: &'page mut DescriptorEncoder<'encoder>,
}

impl Page<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows)
    }

    /// `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        self.family(name, help, MetricType::Counter, rows)
    }

    /// The families of a table, each with a row for everything that counts.
    fn table<Counts>(
        &mut self,
        label: &'static str,
        families: &[Family<Counts>],
        counting: &[(String, Arc<Counts>)],
    ) -> fmt::Result {
        for family in families {
            let row = |(name, of): &(String, Arc<Counts>)| {
                let labels = if label.is_empty() {
                    Vec::new()
                } else {
                    vec![(label, name.clone())]
                };
                (labels, (family.read)(of))
            };
            self.family(
                family.name,
                family.help,
                family.kind,
                counting.iter().map(row).collect(),
            )?;
        }
        Ok(())
    }

    fn device_latencies(&mut self, devices: &[(String, Arc<DeviceHealth>)]) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(
            "strata_device_operation_seconds",
            "How long operations of a device take",
            None,
            MetricType::Histogram,
        )?;
        for (name, health) in devices {
            for (operation, kind) in DEVICE_OPERATIONS {
                let labels = [("device", name.as_str()), ("operation", operation)];
                let of = kind(health.latencies());
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
        for (labels, value) in &rows {
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

type LatenciesOf = fn(&DeviceLatencies) -> &Latencies;

/// The kinds of operations of a device, by the label that each has.
const DEVICE_OPERATIONS: [(&str, LatenciesOf); 4] = [
    ("read", |of| &of.reads),
    ("write", |of| &of.writes),
    ("durable_write", |of| &of.durable_writes),
    ("flush", |of| &of.flushes),
];

fn write_value(place: &mut MetricEncoder<'_>, is_counter: bool, value: f64) -> fmt::Result {
    if is_counter {
        place.encode_counter::<NoLabelSet, _, f64>(&value, None)
    } else {
        place.encode_gauge(&value)
    }
}

/// A family that shows one number of everything that counts in the same way.
struct Family<Counts> {
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    read: fn(&Counts) -> f64,
}

/// `_total` is added to the name.
const fn counter<Counts>(
    name: &'static str,
    help: &'static str,
    read: fn(&Counts) -> f64,
) -> Family<Counts> {
    Family {
        kind: MetricType::Counter,
        name,
        help,
        read,
    }
}

const fn gauge<Counts>(
    name: &'static str,
    help: &'static str,
    read: fn(&Counts) -> f64,
) -> Family<Counts> {
    Family {
        kind: MetricType::Gauge,
        name,
        help,
        read,
    }
}

fn seconds(nanoseconds: &Gauge) -> f64 {
    nanoseconds.get() as f64 / NANOSECONDS
}

static REACTOR: &[Family<ReactorStatistics>] = &[
    counter(
        "strata_reactor_busy_seconds",
        "Time spent running tasks",
        |of| seconds(&of.busy_nanoseconds),
    ),
    counter(
        "strata_reactor_idle_seconds",
        "Time spent waiting for work",
        |of| seconds(&of.idle_nanoseconds),
    ),
    gauge(
        "strata_reactor_longest_turn_seconds",
        "The longest turn of a task since the start",
        |of| seconds(&of.longest_turn_nanoseconds),
    ),
    counter(
        "strata_reactor_long_turns",
        "Turns longer than 200 us",
        |of| of.long_turns.get() as f64,
    ),
    counter("strata_reactor_turns", "Turns given to tasks", |of| {
        of.turns.get() as f64
    }),
    counter(
        "strata_reactor_parks",
        "Times the reactor went to sleep in the kernel",
        |of| of.parks.get() as f64,
    ),
    gauge("strata_reactor_tasks", "Tasks that exist", |of| {
        of.tasks.get() as f64
    }),
    gauge(
        "strata_reactor_queue_depth",
        "Tasks that are ready to run",
        |of| of.ready_tasks.get() as f64,
    ),
    gauge(
        "strata_reactor_disk_queue_depth",
        "Disk operations under way",
        |of| of.disk_in_flight.get() as f64,
    ),
    gauge(
        "strata_reactor_buffer_used_bytes",
        "Buffer memory in use",
        |of| of.arena_used_bytes.get() as f64,
    ),
    gauge("strata_reactor_buffer_bytes", "Buffer memory", |of| {
        of.arena_total_bytes.get() as f64
    }),
];

static GROUP: &[Family<GroupStatistics>] = &[
    gauge("strata_raft_term", "The term", |of| of.term() as f64),
    gauge("strata_raft_leader", "Whether this node leads", |of| {
        f64::from(of.is_leader())
    }),
    gauge("strata_raft_log_index", "The last entry of the log", |of| {
        of.last_log() as f64
    }),
    gauge(
        "strata_raft_applied_index",
        "The last entry that was applied",
        |of| of.applied() as f64,
    ),
    gauge(
        "strata_raft_checkpoint_index",
        "The last entry in a durable checkpoint",
        |of| of.checkpoint() as f64,
    ),
    gauge(
        "strata_raft_snapshot_index",
        "The last entry in a snapshot",
        |of| of.snapshot() as f64,
    ),
    gauge(
        "strata_raft_queue_depth",
        "Proposals that wait for their answers",
        |of| of.outstanding() as f64,
    ),
    gauge(
        "strata_raft_log_mirrors",
        "Copies of the log that are written",
        |of| of.mirrors() as f64,
    ),
    gauge(
        "strata_raft_log_used_bytes",
        "Bytes of the log in the fullest copy",
        |of| of.log_used_bytes() as f64,
    ),
    gauge(
        "strata_raft_log_bytes",
        "Bytes that the log may use",
        |of| of.log_capacity_bytes() as f64,
    ),
    gauge(
        "strata_raft_inline_bytes_max",
        "The longest body that is kept in log and namespace, in bytes",
        |of| of.inline_bytes_max() as f64,
    ),
];

fn number(value: &AtomicU64) -> f64 {
    value.load(Ordering::Relaxed) as f64
}

/// Of each data partition.
static PARTITION: &[Family<ChunkStoreStatistics>] = &[
    counter("strata_data_reads", "Ranges of shards read", |of| {
        number(&of.reads)
    }),
    counter("strata_data_writes", "Shards written", |of| {
        number(&of.writes)
    }),
    counter("strata_data_frees", "Shards freed", |of| number(&of.frees)),
    counter(
        "strata_data_read_bytes",
        "Bytes read from the device",
        |of| number(&of.bytes_read),
    ),
    counter(
        "strata_data_written_bytes",
        "Bytes written to the device",
        |of| number(&of.log.bytes_written),
    ),
    counter(
        "strata_data_corruptions",
        "Reads and records that did not match their checksum",
        |of| number(&of.corruptions),
    ),
    counter(
        "strata_data_checkpoints",
        "Checkpoints of the index",
        |of| number(&of.checkpoints),
    ),
    counter(
        "strata_data_compacted_segments",
        "Segments emptied by compaction",
        |of| number(&of.compacted_segments),
    ),
    gauge("strata_data_shards", "Shards that are stored", |of| {
        number(&of.shards)
    }),
    gauge(
        "strata_data_live_bytes",
        "Bytes of the shards that are stored",
        |of| number(&of.live_bytes),
    ),
    gauge(
        "strata_data_free_segments",
        "Segments that are free",
        |of| number(&of.log.free_segments),
    ),
    gauge("strata_data_segments", "Segments", |of| {
        number(&of.log.total_segments)
    }),
];

fn alone(value: f64) -> Vec<Row> {
    vec![(Vec::new(), value)]
}

const NANOSECONDS: f64 = 1e9;

impl NodeCollector {
    fn encode_cluster(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let ready = f64::from(self.status.phase() == Phase::Ready);
        let build = vec![(vec![("version", VERSION.to_owned())], 1.0)];
        page.gauge("strata_build", "The version that runs", build)?;
        page.gauge("strata_ready", "Whether requests are served", alone(ready))?;
        page.gauge(
            "strata_cluster_nodes_total",
            "Nodes of the cluster",
            alone(1.0),
        )?;
        page.gauge(
            "strata_cluster_nodes_online",
            "Nodes that serve",
            alone(ready),
        )?;
        let missing = self.status.report().missing_devices.len() as f64;
        let devices = self.status.devices();
        let failed = devices
            .iter()
            .filter(|(_, health)| health.failure().is_some())
            .count();
        page.gauge(
            "strata_devices_missing",
            "Devices of the node that are not there",
            alone(missing),
        )?;
        page.gauge(
            "strata_devices_failed",
            "Devices that have failed since the start: no write goes there any more",
            alone(failed as f64),
        )
    }

    fn encode_reactors(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let reactors = self.status.reactors();
        let named: Vec<(String, Arc<ReactorStatistics>)> = reactors
            .iter()
            .map(|(index, of)| (index.to_string(), of.clone()))
            .collect();
        page.table("reactor", REACTOR, &named)?;
        let share = self.busy_shares(&reactors);
        page.gauge(
            "strata_reactor_busy_share",
            "Share of the time since the reading before that tasks ran",
            share,
        )?;
        page.counter(
            "strata_reactor_class_seconds",
            "Run time of each class of tasks",
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
            rows.push((labels, time.get() as f64 / NANOSECONDS));
        }
    }
    rows
}
