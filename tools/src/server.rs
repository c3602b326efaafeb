//! `strata server`: from a configuration to a node that serves, and back.
//!
//! In the order of a start:
//! - [`limits`]: descriptors, processors, buffer memory; [`directories`]: made, locked, checked; [`addresses`]: claimed;
//! - [`root_key`]: the key that a first start keeps, and requests for a new one;
//! - [`attendant`]: signals, and [`health`] with [`metrics`], up before the node recovers;
//! - [`front_end`]: S3 on every reactor once the node is ready; [`banner`]: the lines that say so; [`notify`]:
//!   the same for a service manager; [`stop`]: the end.
//!
//! Invariants: everything that can be refused is refused before a device is opened; nothing is printed as listening that does
//! not; a stop finishes the requests under way.

pub mod addresses;
pub mod attendant;
pub mod banner;
pub mod directories;
pub mod front_end;
pub mod health;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod root_key;
pub mod stop;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use strata_engine::reactor;
use strata_gateway::{Credential, GatewayConfig, GatewayMetrics};
use strata_net::node::status::NodeStatus;
use strata_net::node::{self, NodeConfig};
use strata_raftlog::namespace::RootKey;

use crate::config::Config;
use crate::logging;
use attendant::Attendant;
use banner::Banner;
use front_end::{Announcement, FrontEnd};
use health::Health;
use metrics::Metrics;
use stop::Stop;

/// The claimed addresses of a server.
struct Claims {
    s3: addresses::Claim,
    metrics: addresses::Claim,
}

/// The keys of a start.
struct RootKeys {
    first: RootKey,
    environment: Option<RootKey>,
    replacement: Option<RootKey>,
}

/// Runs a server until it is told to stop.
///
/// # Errors
/// What stands in the way of the start, with the remedy; or why it had to stop.
pub fn run(config: Config, warnings: &[String]) -> Result<(), String> {
    logging::start(config.log_filter.clone(), &config.log_format)?;
    let low = limits::raise_descriptors()?;
    for warning in warnings.iter().chain(&low) {
        tracing::warn!("{warning}");
    }
    reactor::probe().map_err(|error| error.to_string())?;
    let lock = directories::prepare(&config.data_dirs, &config.metadata_dir)?;
    let claims = Claims {
        s3: addresses::claim("S3", "s3.bind_addr", config.s3_addr)?,
        metrics: addresses::claim("metrics", "observability.metrics_addr", config.metrics_addr)?,
    };
    let keys = root_keys(&config)?;
    let outcome = run_node(&config, &claims, keys);
    drop(lock);
    outcome
}

fn root_keys(config: &Config) -> Result<RootKeys, String> {
    let environment = root_key::from_environment(|name| std::env::var(name).ok())?;
    let likely = !config.data_dirs.iter().any(|path| holds_something(path));
    let first = root_key::for_first_start(&config.metadata_dir, environment.as_ref(), likely)?;
    Ok(RootKeys {
        first,
        environment,
        replacement: root_key::requested(&config.metadata_dir)?,
    })
}

/// Whether a data place is in use already; the decision to format is the node's, this one only about a copy of a key.
fn holds_something(path: &Path) -> bool {
    node::discover::device_path(path).exists()
}

fn run_node(config: &Config, claims: &Claims, keys: RootKeys) -> Result<(), String> {
    let cores = &config.cores;
    let status = Arc::new(NodeStatus::default());
    let stop = Stop::new(cores.len());
    let _notifying = notify::start(status.clone());
    let mut metrics = Metrics::new(status.clone());
    let gateway_metrics = Arc::new(GatewayMetrics::new(metrics.registry_mut()));
    attendant::start(Attendant {
        index: cores.len(),
        address: claims.metrics.address,
        health: Health {
            status: status.clone(),
            metrics: Arc::new(metrics),
        },
        stop: stop.clone(),
    })?;
    let node_config = node_config(config, &keys);
    let front_end = Arc::new(FrontEnd {
        address: claims.s3.address,
        gateway: gateway_config(config),
        metrics: gateway_metrics,
        status: status.clone(),
        stop,
        metadata_dir: config.metadata_dir.clone(),
        waiting: AtomicUsize::new(cores.len()),
        announce: announcement(config, claims, keys, status.clone()),
    });
    tracing::info!(
        version = crate::version::VERSION,
        node = config.node_id,
        cores = cores.len(),
        "starting"
    );
    node::run(node_config, status.clone(), move |connected| {
        front_end::serve(front_end.clone(), connected)
    })
    .map_err(|error| error.to_string())?;
    match status.phase() {
        node::status::Phase::Failed(why) => Err(why),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

fn node_config(config: &Config, keys: &RootKeys) -> NodeConfig {
    NodeConfig {
        node_id: config.node_id,
        data_dirs: config.data_dirs.clone(),
        metadata_dir: config.metadata_dir.clone(),
        cores: config.cores.clone(),
        assume_separate_failure_domains: config.assume_separate_failure_domains,
        capacity_bytes: config.capacity,
        arena_bytes: usize::try_from(config.buffer_bytes_per_core).unwrap_or(usize::MAX),
        metadata_map_bytes: usize::try_from(config.metadata_map_bytes).unwrap_or(usize::MAX),
        first_root_key: keys.first.clone(),
        replace_root_key: keys.replacement.clone(),
    }
}

fn gateway_config(config: &Config) -> GatewayConfig {
    let credentials = config.credentials.iter().map(|credential| Credential {
        access_key_id: credential.access_key_id.clone(),
        secret_access_key: credential.secret_key.reveal().to_owned(),
    });
    GatewayConfig {
        region: config.region.clone(),
        allow_anonymous: config.allow_anonymous,
        credentials: credentials.collect(),
    }
}

/// What is done when all reactors listen: the request for a root key has come into force, and the lines are printed.
fn announcement(
    config: &Config,
    claims: &Claims,
    keys: RootKeys,
    status: Arc<NodeStatus>,
) -> Announcement {
    let config = config.clone();
    let (s3, metrics) = (claims.s3.address, claims.metrics.address);
    Box::new(move |in_force| {
        if let Some(key) = &keys.replacement
            && let Err(why) = root_key::request_taken_up(&config.metadata_dir, key)
        {
            tracing::error!(%why, "the new root key is in force, but its request is still there");
        }
        announce(&config, (s3, metrics), &keys, &status, in_force);
    })
}

fn announce(
    config: &Config,
    (s3, metrics): (SocketAddr, SocketAddr),
    keys: &RootKeys,
    status: &NodeStatus,
    in_force: Option<RootKey>,
) {
    let report = status.report();
    let environment = keys.environment.as_ref();
    // The line to paste must work in any directory.
    let key_file = config.metadata_dir.join(root_key::COPY);
    let key_file = std::path::absolute(&key_file).unwrap_or(key_file);
    let banner = Banner {
        config,
        report: &report,
        cores: &config.cores,
        s3,
        metrics,
        key_file: &key_file,
        key: in_force.as_ref(),
        known: root_key::who_knows(&config.metadata_dir, in_force.as_ref(), environment),
        shared_disks: directories::describe_shared_disks(config),
        environment_differs: environment.is_some() && environment != in_force.as_ref(),
        terminal: std::io::stdout().is_terminal(),
    };
    tracing::info!(%s3, %metrics, layout = report.layout, missing = report.missing_devices.len(), "ready");
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(banner.text().as_bytes())
        .and_then(|()| output.flush());
    if let Err(error) = written {
        tracing::warn!(%error, "the lines of the start could not be printed");
    }
}
