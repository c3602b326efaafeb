//! `strata server`: from a configuration to a node that serves, and back.
//!
//! In the order of a start:
//! - [`limits`]: descriptors, processors, buffer memory; [`root_key`]: the keys that can be known; [`tls`]: what the ports show to
//!   clients; [`directories`]: checked;
//!   [`addresses`]: claimed; then the directories are made and locked;
//! - [`ops_server`]: signals, and [`health`] with [`metrics`], up before the node recovers, as is the [`admin_socket`];
//! - [`front_end`]: S3 on every reactor once the node is ready, and no more [`huge_pages`] from then on; [`banner`]: the lines that say so; [`notify`]: the same for a
//!   service manager; [`stop`]: the end.
//!
//! Invariants: everything that can be refused is refused before a directory is made or a device is opened; nothing is printed
//! as listening that does not; a stop finishes the requests under way.

mod accounts;
pub mod addresses;
pub mod admin_socket;
pub mod banner;
pub mod capacity;
pub mod directories;
pub mod front_end;
pub mod health;
pub mod huge_pages;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod ops_server;
pub mod root_key;
pub mod status_report;
pub mod stop;
pub mod tls;
pub mod users;
pub mod web_identity;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use strata_engine::reactor::{self, World};
use strata_gateway::tls::Tls;
use strata_gateway::web_identity::WebIdentity;
use strata_gateway::{Credential, GatewayConfig, GatewayMetrics};
use strata_net::node::status::NodeStatus;
use strata_net::node::{self, NodeConfig};
use strata_raftlog::namespace::RootKey;

use crate::config::Config;
use crate::logging;
use admin_socket::{AdminRequests, AdminSocket};
use banner::Banner;
use front_end::{Announcement, FrontEnd};
use health::Health;
use metrics::Metrics;
use ops_server::OpsServer;
use root_key::change::KeyChanges;
use root_key::copies::Copies;
use status_report::StatusReport;
use stop::Stop;
use tls::reload::{Stamp, Watched};
use users::Users;

/// Changes of the root key that may wait to be proposed; they are made one after the other.
const KEY_CHANGES_MAX: usize = 4;

/// Requests about users that may wait; they are answered one after the other.
const USER_REQUESTS_MAX: usize = 16;

/// What a start has claimed for itself.
struct Claims {
    s3: addresses::Claim,
    metrics: addresses::Claim,
    metadata_dir: PathBuf,
    _lock: directories::Lock,
}

/// The keys of a start.
struct RootKeys {
    first: RootKey,
    environment: Option<RootKey>,
}

/// Runs a server until it is told to stop. A first start formats the block devices of `force_format` whatever they hold.
///
/// # Errors
/// What stands in the way of the start, with the remedy; or why it had to stop.
pub fn run(config: Config, force_format: &[PathBuf], warnings: &[String]) -> Result<(), String> {
    logging::start(config.log_filter.clone(), &config.log_format)?;
    let low = limits::raise_descriptors()?;
    for warning in warnings.iter().chain(&low) {
        tracing::warn!("{warning}");
    }
    reactor::probe().map_err(|error| error.to_string())?;
    let environment = root_key::check(&config, |name| std::env::var(name).ok())?;
    let tls = tls(&config)?;
    let force_format = directories::forced(&config, force_format)?;
    directories::check(&config, &force_format)?;
    let claims = claim(&config)?;
    let keys = root_keys(&config, &claims.metadata_dir, environment)?;
    run_node(&config, &claims, keys, tls, force_format)
}

/// What the ports show to clients, where they speak TLS.
fn tls(config: &Config) -> Result<Option<(Arc<Tls>, Stamp)>, String> {
    let Some(files) = &config.tls else {
        return Ok(None);
    };
    let stamp = Stamp::of(files);
    let identity = tls::read(files)?;
    if let Some(warning) = tls::warning(files, identity.validity, tls::unix_seconds()) {
        tracing::warn!("{warning}");
    }
    Ok(Some((Arc::new(Tls::new(identity)), stamp)))
}

/// The same, with what is needed to read it again.
fn watched(
    config: &Config,
    tls: Option<(Arc<Tls>, Stamp)>,
    status: &Arc<NodeStatus>,
) -> Option<Watched> {
    let (files, (tls, stamp)) = config.tls.clone().zip(tls)?;
    let status = status.clone();
    Some(Watched {
        files,
        stamp,
        tls,
        status,
    })
}

/// Claims addresses, then directories: from here on something may be left behind by a start that fails.
fn claim(config: &Config) -> Result<Claims, String> {
    let s3 = addresses::claim("S3", "s3.bind_addr", config.s3_addr)?;
    let metrics = addresses::claim("metrics", "observability.metrics_addr", config.metrics_addr)?;
    let metadata_dir = config.metadata_dir().to_owned();
    let lock = directories::prepare(config, &metadata_dir)?;
    Ok(Claims {
        s3,
        metrics,
        metadata_dir,
        _lock: lock,
    })
}

fn root_keys(
    config: &Config,
    metadata_dir: &Path,
    environment: Option<RootKey>,
) -> Result<RootKeys, String> {
    // The decision to format is the node's; this one is only about a copy of a key.
    let likely = !directories::hold_data(config);
    let first = root_key::for_first_start(metadata_dir, environment.as_ref(), likely)?;
    Ok(RootKeys { first, environment })
}

fn run_node(
    config: &Config,
    claims: &Claims,
    keys: RootKeys,
    tls: Option<(Arc<Tls>, Stamp)>,
    force_format: Vec<PathBuf>,
) -> Result<(), String> {
    let cores = &config.cores;
    let status = Arc::new(NodeStatus::default());
    let watched = watched(config, tls, &status);
    let web_identity = web_identity::read(config, &status)?;
    let known_issuers = web_identity.known.clone();
    let tls = watched.as_ref().map(|watched| watched.tls.clone());
    let stop = Stop::new(cores.len());
    let _notifying = notify::start(status.clone());
    let mut metrics = Metrics::new(status.clone());
    let gateway_metrics = Arc::new(GatewayMetrics::new(metrics.registry_mut()));
    if let Some(tls) = &tls {
        metrics.show_tls(tls.clone());
    }
    ops_server::start(OpsServer {
        index: cores.len(),
        address: claims.metrics.address,
        health: Health {
            status: status.clone(),
            metrics: Arc::new(metrics),
            tls: tls.clone(),
        },
        stop: stop.clone(),
        watched,
        web_identity,
    })?;
    let copies = Copies::new(config, &claims.metadata_dir);
    let (proposals, proposed) = reactor::mailbox(KEY_CHANGES_MAX);
    let (user_requests, asked) = reactor::mailbox(USER_REQUESTS_MAX);
    let _socket = AdminSocket::start(
        &claims.metadata_dir,
        AdminRequests {
            report: status_report(config, claims, status.clone()),
            keys: KeyChanges::new(config, copies.clone(), proposals),
            users: Users::new(config, user_requests),
        },
    )?;
    let node_config = node_config(config, claims, &keys, force_format);
    let checked = config.clone();
    let front_end = Arc::new(FrontEnd {
        address: claims.s3.address,
        gateway: gateway_config(config, tls, known_issuers),
        metrics: gateway_metrics,
        status: status.clone(),
        stop,
        check_root_key: Box::new(move |key| root_key::refuse_same_id(&checked, key)),
        proposals: Mutex::new(Some(proposed)),
        user_requests: Mutex::new(Some(asked)),
        waiting: AtomicUsize::new(cores.len()),
        announce: Mutex::new(Some(announcement(
            config,
            claims,
            copies,
            keys.environment,
            status.clone(),
        ))),
    });
    log_start(config);
    node::run(World::Real, node_config, status.clone(), move |connected| {
        front_end::serve(front_end.clone(), connected)
    })
    .map_err(|error| error.to_string())?;
    how_it_ended(&status)
}

fn log_start(config: &Config) {
    tracing::info!(
        version = crate::version::VERSION,
        node = config.node_id,
        cores = config.cores.len(),
        "starting"
    );
}

fn status_report(config: &Config, claims: &Claims, status: Arc<NodeStatus>) -> StatusReport {
    StatusReport {
        status,
        node_id: config.node_id,
        url_scheme: config.url_scheme(),
        s3: claims.s3.address,
        metrics: claims.metrics.address,
        metadata_dir: claims.metadata_dir.clone(),
        begun: std::time::Instant::now(),
    }
}

/// A node that was told to stop and one that had to both end in order; only one of them has done its work.
fn how_it_ended(status: &NodeStatus) -> Result<(), String> {
    let failure = status.group().and_then(|group| group.failure());
    match (status.phase(), failure) {
        (node::status::Phase::Failed(why), _) => Err(why),
        (_, Some(why)) => Err(format!("the metadata group had stopped: {why}")),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

fn node_config(
    config: &Config,
    claims: &Claims,
    keys: &RootKeys,
    force_format: Vec<PathBuf>,
) -> NodeConfig {
    NodeConfig {
        node_id: config.node_id,
        data_dirs: config.data_dirs.clone(),
        force_format,
        discard: config.discard,
        metadata_dir: claims.metadata_dir.clone(),
        cores: config.cores.clone(),
        assume_separate_failure_domains: config.assume_separate_failure_domains,
        scheme: config.scheme,
        degraded_writes: config.degraded_writes,
        pack_after: config.pack_after,
        capacity_bytes: config.capacity,
        arena_bytes: usize::try_from(config.buffer_bytes_per_core).unwrap_or(usize::MAX),
        cache_bytes: config.cache_bytes_per_core,
        metadata_map_bytes: usize::try_from(config.metadata_map_bytes).unwrap_or(usize::MAX),
        first_root_key: keys.first.clone(),
    }
}

fn gateway_config(
    config: &Config,
    tls: Option<Arc<Tls>>,
    web_identity: Arc<WebIdentity>,
) -> GatewayConfig {
    let credentials = config.credentials.iter().map(|credential| Credential {
        access_key_id: credential.access_key_id.clone(),
        secret_access_key: credential.secret_key.reveal().to_owned(),
    });
    GatewayConfig {
        region: config.region.clone(),
        domains: config.domains.clone(),
        allow_anonymous: config.allow_anonymous,
        default_object_ownership: config.default_object_ownership,
        credentials: credentials.collect(),
        log_requests: config.log_requests,
        web_identity,
        tls,
    }
}

/// What is done when all reactors listen: the copies of the root key are put in order, and the lines are printed.
fn announcement(
    config: &Config,
    claims: &Claims,
    copies: Copies,
    environment: Option<RootKey>,
    status: Arc<NodeStatus>,
) -> Announcement {
    let config = config.clone();
    let addresses = (claims.s3.address, claims.metrics.address);
    Box::new(move |in_force| {
        announce(
            &config,
            addresses,
            &copies,
            environment.as_ref(),
            &status,
            in_force,
        );
    })
}

fn announce(
    config: &Config,
    (s3, metrics): (SocketAddr, SocketAddr),
    copies: &Copies,
    environment: Option<&RootKey>,
    status: &NodeStatus,
    in_force: Option<RootKey>,
) {
    let (report, layout) = (status.report(), status.layout());
    // The line to paste must work in any directory.
    let key_file = copies.file();
    let key_file = std::path::absolute(&key_file).unwrap_or(key_file);
    let banner = Banner {
        config,
        report: &report,
        layout: &layout,
        degradations: &status.degradations(),
        cores: &config.cores,
        s3,
        metrics,
        metadata_dir: copies.metadata_dir(),
        key_file: &key_file,
        key: in_force.as_ref(),
        known: copies.settle(in_force.as_ref(), environment),
        shared_disks: directories::describe_shared_disks(config),
        environment_differs: environment.is_some() && environment != in_force.as_ref(),
        terminal: std::io::stdout().is_terminal(),
    };
    tracing::info!(%s3, %metrics, layout, missing = report.missing_devices.len(), "ready");
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(banner.text().as_bytes())
        .and_then(|()| output.flush());
    if let Err(error) = written {
        tracing::warn!(%error, "the lines of the start could not be printed");
    }
}
