//! What runs on every reactor once the node is ready: the S3 front end; on the last one to listen also the lines of the start,
//! and on reactor 0 the watch for a new root key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strata_engine::reactor::{self, ListenOptions, TaskClass, TcpListener};
use strata_gateway::{GatewayConfig, GatewayMetrics};
use strata_net::node::Serving;
use strata_net::node::status::{NodeStatus, Phase};
use strata_net::{Cluster, ClusterError};
use strata_raftlog::namespace::RootKey;
use strata_raftlog::namespace::command::SetRootKey;

use super::stop::Stop;
use super::{notify, root_key};

/// Connections that wait to be accepted, per reactor.
const BACKLOG: u32 = 1024;

/// How often a request for a new root key is looked for.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// Runs when all reactors listen, with the root key in force.
pub type Announcement = Box<dyn Fn(Option<RootKey>) + Send + Sync>;

/// What every reactor's front end is made from.
pub struct FrontEnd {
    /// Where S3 listens.
    pub address: SocketAddr,
    /// How the gateway behaves.
    pub gateway: GatewayConfig,
    /// What it counts.
    pub metrics: Arc<GatewayMetrics>,
    /// The node's phase.
    pub status: Arc<NodeStatus>,
    /// Ends it.
    pub stop: Stop,
    /// Where requests for a new root key are left.
    pub metadata_dir: PathBuf,
    /// Reactors that do not listen yet.
    pub waiting: AtomicUsize,
    /// Runs when all listen.
    pub announce: Announcement,
}

/// Serves on this reactor until the server is told to stop.
pub fn serve(front_end: Arc<FrontEnd>, connected: Result<Cluster, ClusterError>) -> Serving {
    Box::pin(async move {
        let told = front_end.stop.told(reactor::index());
        let cluster = match connected {
            Ok(cluster) => cluster,
            Err(error) => {
                let index = reactor::index();
                front_end
                    .status
                    .fail(format!("reactor {index} cannot join the cluster: {error}"));
                front_end.stop.begin();
                return;
            }
        };
        let options = ListenOptions {
            reuse_port: true,
            backlog: BACKLOG,
        };
        let listener = match TcpListener::bind(front_end.address, options) {
            Ok(listener) => listener,
            Err(error) => {
                front_end.status.fail(format!(
                    "cannot listen on {} for S3: {error}",
                    front_end.address
                ));
                front_end.stop.begin();
                return;
            }
        };
        if front_end.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            front_end.status.enter(Phase::Ready);
            (front_end.announce)(root_key_in_force(&cluster));
        }
        let watch = (reactor::index() == 0).then(|| {
            let watch = watch_root_key(cluster.clone(), front_end.metadata_dir.clone());
            reactor::spawn(TaskClass::Foreground, watch)
        });
        reactor::spawn(TaskClass::Foreground, notify::beat()).detach();
        let config = Rc::new(front_end.gateway.clone());
        strata_gateway::serve(listener, cluster, config, front_end.metrics.clone(), told).await;
        drop(watch);
    })
}

fn root_key_in_force(cluster: &Cluster) -> Option<RootKey> {
    cluster
        .names(|view| view.root_key())
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the root key in force cannot be read");
            None
        })
}

/// Takes up the keys that `strata admin root-key` leaves.
async fn watch_root_key(cluster: Cluster, metadata_dir: PathBuf) {
    loop {
        reactor::sleep(REQUEST_INTERVAL).await;
        match root_key::requested(&metadata_dir) {
            Ok(None) => continue,
            Ok(Some(key)) => match cluster.change(SetRootKey { key: key.clone() }).await {
                Ok(_) => report_taken_up(&metadata_dir, &key),
                Err(error) => {
                    tracing::error!(%error, "the new root key could not be taken up; trying again")
                }
            },
            Err(why) => tracing::error!(%why, "the request for a new root key cannot be used"),
        }
        reactor::sleep(REQUEST_INTERVAL * 10).await;
    }
}

fn report_taken_up(metadata_dir: &std::path::Path, key: &RootKey) {
    let access_key_id = &key.access_key_id;
    match root_key::request_taken_up(metadata_dir, key) {
        Ok(copy) => {
            tracing::info!(access_key_id, copy = %copy.display(), "a new root key is in force")
        }
        Err(why) => {
            tracing::error!(%why, access_key_id, "a new root key is in force, but its request is still there")
        }
    }
}
