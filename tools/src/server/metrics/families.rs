//! The families that `/metrics` shows of a node, each with what it reads. A new one is a row here and one in docs/OPERATION.md,
//! which a test holds against these tables.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::MetricType;
use strata_engine::device::latency::{DeviceLatencies, Latencies};
use strata_engine::reactor::{Gauge, ReactorStatistics};
use strata_engine::{ChunkStoreStatistics, DeviceHealth};
use strata_net::node::repair::Survey;
use strata_raftlog::consensus::group::GroupStatistics;
use strata_raftlog::namespace::BucketUsage;

use super::node::NodeReading;
use super::process::ProcessReading;

const NANOSECONDS: f64 = 1e9;

/// A family that shows one number of everything that counts in the same way.
pub struct Family<Counts> {
    /// Gauge or counter.
    pub kind: MetricType,
    /// The name; that of a counter without its `_total`.
    pub name: &'static str,
    /// What it shows.
    pub help: &'static str,
    /// The number; what is not known is not a number, and is not shown.
    pub read: fn(&Counts) -> f64,
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

fn number(value: &AtomicU64) -> f64 {
    value.load(Ordering::Relaxed) as f64
}

type LatenciesOf = fn(&DeviceLatencies) -> &Latencies;

/// The kinds of operations of a device, by the label that each has.
pub const DEVICE_OPERATIONS: [(&str, LatenciesOf); 4] = [
    ("read", |of| &of.reads),
    ("write", |of| &of.writes),
    ("durable_write", |of| &of.durable_writes),
    ("flush", |of| &of.flushes),
];

/// What the last walk has counted; not a number while that is not known.
fn surveyed(of: &NodeReading, read: fn(&Survey) -> u64) -> f64 {
    of.survey
        .as_ref()
        .map_or(f64::NAN, |survey| read(survey) as f64)
}

/// Of the node as a whole.
pub static NODE: &[Family<NodeReading>] = &[
    gauge("strata_ready", "Whether requests are served", |of| {
        f64::from(of.is_ready)
    }),
    gauge("strata_cluster_nodes", "Nodes of the cluster", |_| 1.0),
    gauge("strata_cluster_nodes_online", "Nodes that serve", |of| {
        f64::from(of.is_ready)
    }),
    gauge("strata_devices", "Devices of the node", |of| {
        of.devices as f64
    }),
    gauge(
        "strata_devices_missing",
        "Devices of the node that were not there at the start",
        |of| of.devices_missing as f64,
    ),
    gauge(
        "strata_devices_failed",
        "Devices that have failed since the start: no write goes there any more",
        |of| of.devices_failed as f64,
    ),
    gauge(
        "strata_surveyed_chunks",
        "Chunks that names need, as the last walk over all of them has found",
        |of| surveyed(of, |survey| survey.chunks),
    ),
    gauge(
        "strata_chunks_below_target",
        "Of them, those that lack shards",
        |of| surveyed(of, |survey| survey.below_target),
    ),
    gauge(
        "strata_chunks_unreadable",
        "Of them, those that lack so many that they cannot be read",
        |of| surveyed(of, |survey| survey.unreadable),
    ),
    gauge(
        "strata_chunks_written_weaker",
        "Of all, those that were written to survive fewer losses than the layout",
        |of| surveyed(of, |survey| survey.written_weaker),
    ),
    counter(
        "strata_cache_hits",
        "Reads of 64 KiB or less that were answered from memory",
        |of| of.cell_caches[0] as f64,
    ),
    counter(
        "strata_cache_misses",
        "Those that a device was asked for",
        |of| of.cell_caches[1] as f64,
    ),
    gauge(
        "strata_cache_bytes",
        "Bytes that are kept in memory",
        |of| of.cell_caches[2] as f64,
    ),
    gauge(
        "strata_chunks_written_otherwise",
        "Of all, those that are in another scheme than the layout's",
        |of| surveyed(of, |survey| survey.written_otherwise),
    ),
    counter(
        "strata_converted_chunks",
        "Chunks that were written again in the scheme of the layout",
        |of| of.converted.0 as f64,
    ),
    counter(
        "strata_converted_bytes",
        "Bytes of them, without redundancy",
        |of| of.converted.1 as f64,
    ),
    counter(
        "strata_repaired_shards",
        "Shards that were written anew, by reads, repair and scrub",
        |of| of.repaired.0 as f64,
    ),
    counter("strata_repaired_bytes", "Bytes of them", |of| {
        of.repaired.1 as f64
    }),
    gauge(
        "strata_capacity_bytes",
        "Bytes that the data partitions which are there may grow to together; each copy of an object counts",
        |of| of.capacity.total_bytes as f64,
    ),
    gauge(
        "strata_capacity_free_bytes",
        "Bytes of them that are free or come back by compaction",
        |of| of.capacity.free_bytes as f64,
    ),
    gauge(
        "strata_capacity_chunks",
        "Chunks that the node may hold, each copy counted",
        |of| of.capacity.chunks_max as f64,
    ),
    gauge(
        "strata_capacity_free_chunks",
        "Chunks of them that it does not hold yet",
        |of| of.capacity.chunks_max.saturating_sub(of.capacity.chunks) as f64,
    ),
    gauge("strata_buckets", "Buckets", |of| of.buckets.buckets as f64),
    gauge(
        "strata_objects",
        "Objects that have a name, in all buckets",
        |of| of.buckets.total.objects as f64,
    ),
    gauge(
        "strata_objects_bytes",
        "Their sizes together, in bytes; copies do not count",
        |of| of.buckets.total.bytes as f64,
    ),
    counter(
        "strata_packed_extents",
        "Short bodies, and ends of long ones, that were moved into packs since the start",
        |of| number(&of.packing.extents),
    ),
    counter(
        "strata_packed_bytes",
        "Their lengths together, in bytes; copies do not count",
        |of| number(&of.packing.bytes),
    ),
    gauge(
        "strata_packs",
        "Packs, the chunks that short bodies share; counted every half minute or more",
        |of| number(&of.packing.packs),
    ),
    gauge(
        "strata_packs_bytes",
        "Bytes of the bodies that were moved into them",
        |of| number(&of.packing.packs_bytes),
    ),
    gauge(
        "strata_packs_live_bytes",
        "Bytes of them that are not deleted, overwritten or moved on",
        |of| number(&of.packing.packs_live_bytes),
    ),
    gauge(
        "strata_raft_log_mirrors_expected",
        "Copies of the log that the layout keeps",
        |of| of.log_mirrors_expected as f64,
    ),
];

/// Of the process, under the names that Prometheus's client libraries use.
pub static PROCESS: &[Family<ProcessReading>] = &[
    counter(
        "process_cpu_seconds",
        "Time on a processor, of all threads",
        |of| of.cpu_seconds.unwrap_or(f64::NAN),
    ),
    gauge("process_resident_memory_bytes", "Resident memory", |of| {
        of.resident_bytes.unwrap_or(f64::NAN)
    }),
    gauge("process_virtual_memory_bytes", "Address space", |of| {
        of.virtual_bytes.unwrap_or(f64::NAN)
    }),
    gauge("process_threads", "Threads", |of| {
        of.threads.unwrap_or(f64::NAN)
    }),
    gauge(
        "process_start_time_seconds",
        "When the process began, since 1970",
        |of| of.start_seconds.unwrap_or(f64::NAN),
    ),
    gauge("process_open_fds", "Descriptors that are open", |of| {
        of.open_descriptors.unwrap_or(f64::NAN)
    }),
    gauge("process_max_fds", "Descriptors that may be open", |of| {
        of.descriptors_max.unwrap_or(f64::NAN)
    }),
];

/// Of each reactor.
pub static REACTOR: &[Family<ReactorStatistics>] = &[
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
        "The longest turn of a task in the last 30 to 60 seconds, in processor time",
        |of| of.recent_longest_turn_nanoseconds.get() as f64 / NANOSECONDS,
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

/// Of the Raft group and the namespace.
pub static GROUP: &[Family<GroupStatistics>] = &[
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
        "strata_metadata_map_used_bytes",
        "Bytes of the metadata map that hold names and inline bodies",
        |of| of.map_used_bytes() as f64,
    ),
    gauge(
        "strata_metadata_map_bytes",
        "Bytes of the metadata map",
        |of| of.map_bytes() as f64,
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

/// Of each bucket, of the 1,000 oldest.
pub static BUCKET: &[Family<BucketUsage>] = &[
    gauge(
        "strata_bucket_objects",
        "Objects that have a name in the bucket",
        |of| of.objects as f64,
    ),
    gauge(
        "strata_bucket_objects_bytes",
        "Their sizes together, in bytes; copies do not count",
        |of| of.bytes as f64,
    ),
];

/// Of each device.
pub static DEVICE: &[Family<DeviceHealth>] = &[
    counter(
        "strata_device_failed_reads",
        "Reads that the device answered with an error",
        |of| of.failed_reads() as f64,
    ),
    counter(
        "strata_device_corruptions",
        "Times that the superblock or the log on the device did not match its checksum",
        |of| of.corruptions() as f64,
    ),
    counter(
        "strata_device_discarded_bytes",
        "Bytes of free segments that the block device was told it need not keep",
        |of| of.discarded_bytes() as f64,
    ),
];

/// Of each data partition.
pub static PARTITION: &[Family<ChunkStoreStatistics>] = &[
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
        "strata_data_capacity_bytes",
        "Bytes that the partition may grow to",
        |of| of.log.capacity_bytes() as f64,
    ),
    gauge(
        "strata_data_used_bytes",
        "Bytes of segments in use; what of them holds no shard any more comes back by compaction",
        |of| of.log.used_bytes() as f64,
    ),
    gauge("strata_data_segment_bytes", "Length of a segment", |of| {
        number(&of.log.segment_bytes)
    }),
    gauge(
        "strata_data_writable",
        "Whether the partition takes new shards",
        |of| f64::from(of.log.closed().is_none()),
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
