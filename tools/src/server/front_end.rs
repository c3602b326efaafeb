//! What runs on every reactor once the node is ready: the S3 front end; on the last one to listen also the lines of the start,
//! and on reactor 0 what proposes changes of the root key and answers requests about users.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use strata_engine::reactor::{self, ListenOptions, Receiver, TaskClass, TcpListener};
use strata_gateway::{GatewayConfig, GatewayMetrics};
use strata_net::node::Serving;
use strata_net::node::status::{NodeStatus, Phase};
use strata_net::{Cluster, ClusterError};
use strata_raftlog::namespace::RootKey;

use super::huge_pages;
use super::notify;
use super::root_key::change::{self, Proposal};
use super::stop::Stop;
use super::users;

/// Connections that wait to be accepted, per reactor.
const BACKLOG: u32 = 1024;

/// Runs when all reactors listen, with the root key in force.
pub type Announcement = Box<dyn FnOnce(Option<RootKey>) + Send>;

/// Checks the root key in force before anything is served.
pub type KeyCheck = Box<dyn Fn(&RootKey) -> Result<(), String> + Send + Sync>;

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
    /// Says whether the root key in force fits the configured keys.
    pub check_root_key: KeyCheck,
    /// Changes of the root key, for reactor 0.
    pub proposals: Mutex<Option<Receiver<Proposal>>>,
    /// Requests about users, for reactor 0.
    pub user_requests: Mutex<Option<Receiver<users::Asked>>>,
    /// Reactors that do not listen yet.
    pub waiting: AtomicUsize,
    /// Runs when all listen.
    pub announce: Mutex<Option<Announcement>>,
}

impl FrontEnd {
    /// Ends the server, which cannot serve.
    fn fail(&self, why: String) {
        self.status.fail(why);
        self.stop.begin();
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Serves on this reactor until the server is told to stop.
pub fn serve(front_end: Arc<FrontEnd>, connected: Result<Cluster, ClusterError>) -> Serving {
    Box::pin(async move {
        let told = front_end.stop.told(reactor::index());
        let index = reactor::index();
        let cluster = match connected {
            Ok(cluster) => cluster,
            Err(error) => {
                front_end.fail(format!("reactor {index} cannot join the cluster: {error}"));
                return;
            }
        };
        let root_key = root_key_in_force(&cluster);
        if let Some(Err(why)) = root_key.as_ref().map(&front_end.check_root_key) {
            front_end.fail(why);
            return;
        }
        let configured = front_end.gateway.credentials.iter();
        let configured: Vec<String> = configured
            .map(|known| known.access_key_id.clone())
            .collect();
        if let Err(why) = users::refuse_configured(&cluster, &configured) {
            front_end.fail(why);
            return;
        }
        let options = ListenOptions {
            reuse_port: true,
            backlog: BACKLOG,
        };
        let listener = match TcpListener::bind(front_end.address, options) {
            Ok(listener) => listener,
            Err(error) => {
                let address = front_end.address;
                front_end.fail(format!("cannot listen on {address} for S3: {error}"));
                return;
            }
        };
        if front_end.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            huge_pages::leave_to_buffers();
            front_end.status.enter(Phase::Ready);
            if let Some(announce) = take(&front_end.announce) {
                // It reads and writes files.
                let announcing = reactor::offload(move || announce(root_key));
                reactor::spawn(TaskClass::Foreground, announcing).detach();
            }
        }
        let proposals = (index == 0).then(|| take(&front_end.proposals)).flatten();
        let proposing = proposals.map(|proposals| {
            let propose = change::propose(cluster.clone(), proposals);
            reactor::spawn(TaskClass::Foreground, propose)
        });
        let user_requests = (index == 0)
            .then(|| take(&front_end.user_requests))
            .flatten();
        let answering = user_requests.map(|requests| {
            let answer = users::answer_all(cluster.clone(), requests);
            reactor::spawn(TaskClass::Foreground, answer)
        });
        reactor::spawn(TaskClass::Foreground, notify::beat()).detach();
        let config = Rc::new(front_end.gateway.clone());
        strata_gateway::serve(listener, cluster, config, front_end.metrics.clone(), told).await;
        drop((proposing, answering));
    })
}

fn root_key_in_force(cluster: &Cluster) -> Option<RootKey> {
    cluster
        .read(|view| view.root_key())
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the root key in force cannot be read");
            None
        })
}
