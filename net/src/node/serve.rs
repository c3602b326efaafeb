//! What every reactor of a node does from its start to its stop: it answers its mailbox, and runs the front ends while told to.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use strata_engine::reactor::{self, Receiver, Sender, TaskClass};

use super::devices::DeviceSet;
use super::propose::{self, Metadata};
use super::status::{NodeStatus, Phase};
use super::store::LocalStores;
use super::{ClusterParts, NodeError, Serve, answer, open, orphans};
use crate::cluster::Cluster;
use crate::message::NodeRequest;

/// What the metadata core answers from beside its stores.
pub(super) struct MetadataCore {
    pub(super) metadata: Rc<Metadata>,
    pub(super) devices: Rc<DeviceSet>,
}

/// Answers the mailbox of a reactor, which has no stores yet, until it is told to stop. `core` is there on the metadata core.
pub(super) async fn serve_mailbox(
    local: LocalStores,
    mut mailbox: Receiver<NodeRequest>,
    core: Option<MetadataCore>,
    serve: impl Serve,
) {
    while let Some(request) = mailbox.recv().await {
        let Some(request) = local.serve(request) else {
            continue;
        };
        match request {
            NodeRequest::Open(open, reply) => {
                answer(reply, open::open_partitions(&local, open).await)
            }
            NodeRequest::Change(command, proposer, reply) => {
                let metadata = core.as_ref().map(|core| core.metadata.clone());
                propose::propose_in_task(metadata, *command, proposer, reply)
            }
            NodeRequest::ChangeDevices(change, reply) => match &core {
                Some(core) => {
                    let metadata = core.metadata.clone();
                    core.devices.change_in_task(metadata, change, reply);
                }
                None => unreachable_request(),
            },
            NodeRequest::Serve(parts, reply) => {
                let (local, serve) = (local.clone(), serve.clone());
                let serving = async move {
                    serve_front_end(parts, local, serve).await;
                    answer(reply, ());
                };
                reactor::spawn(TaskClass::Foreground, serving).detach();
            }
            NodeRequest::Stop(reply) => {
                local.close().await;
                answer(reply, ());
                return;
            }
            _ => unreachable_request(),
        }
    }
}

/// `LocalStores::serve` answers every other kind, and the metadata core what only it is asked.
fn unreachable_request() {
    tracing::error!("a request came that this reactor does not answer");
}

async fn serve_front_end(parts: Arc<ClusterParts>, local: LocalStores, serve: impl Serve) {
    let connected = Cluster::connect(parts, local).await;
    let background = connected.as_ref().map(orphans::spawn_background).ok();
    serve(connected).await;
    drop(background);
}

/// Runs the front ends on every reactor until they have ended.
///
/// # Errors
/// One that has ended by a panic: the connections that come to its core would never be served.
pub(super) async fn serve_until_stopped(
    status: &Arc<NodeStatus>,
    peers: &[Sender<NodeRequest>],
    parts: Arc<ClusterParts>,
) -> Result<(), NodeError> {
    status.enter(Phase::Starting("opening the front ends".to_owned()));
    let mut ended = FuturesUnordered::new();
    for peer in peers {
        let (reply, done) = reactor::oneshot();
        if peer
            .send(NodeRequest::Serve(parts.clone(), reply))
            .await
            .is_ok()
        {
            ended.push(done);
        }
    }
    while let Some(done) = ended.next().await {
        if done.is_err() {
            let why = "the front end of a reactor has panicked: report it with the log";
            status.enter(Phase::Failed(why.to_owned()));
            return Err(NodeError::Ended(why.to_owned()));
        }
    }
    status.enter(Phase::Stopping);
    Ok(())
}
