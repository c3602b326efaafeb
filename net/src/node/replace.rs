//! Replacing a lost device while the node serves: a new one is formatted, opened and given the slots of the old one; repair fills it.
//!
//! Invariants: a device that works is not replaced, as what it holds would count as lost; the new one shares no failure domain with
//! another slot of a group that it joins; a step that was made before a crash is found made when the replacement is asked for again,
//! so that asking again ends it; one replacement is made at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use strata_engine::reactor::local::Mutex;
use strata_engine::reactor::{self, Sender, TaskClass, fs};
use strata_engine::{Superblock, Uuid};
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::command::{Command, SetPlacementGroup};

use super::capacity::{self, DeviceSpace};
use super::discover::{self, Found, Look};
use super::failure_domain::{self, FailureDomain};
use super::format::{self, NodeDevice};
use super::open::OpenRequest;
use super::propose::Metadata;
use super::start::{change_layout, layout_of, share_out};
use super::{ClusterParts, NodeConfig, NodeError, Partition};
use crate::message::{NodeRequest, Place};

/// A replacement that was asked for.
pub struct Replacement {
    /// The lost device: its uuid, or the path that it had.
    pub lost: String,
    /// The empty directory that is to hold the new one.
    pub place: PathBuf,
    /// Where the answer goes.
    pub reply: mpsc::Sender<Result<Replaced, String>>,
}

/// What a replacement has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The device that was lost.
    pub lost: Uuid,
    /// The one that has its slots now.
    pub device: Uuid,
    /// Its file.
    pub path: PathBuf,
    /// Placement groups that it has joined.
    pub groups: usize,
    /// Whether the configuration of the node names its place already.
    pub is_listed: bool,
}

/// Asks the metadata core of a node for replacements.
#[derive(Clone)]
pub struct Replacements(pub(super) Sender<NodeRequest>);

impl std::fmt::Debug for Replacements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replacements")
    }
}

impl Replacements {
    /// Has a lost device replaced by a new one. Blocks until that is done; not for a reactor.
    ///
    /// # Errors
    /// Why it was not, or why that is not known.
    pub fn replace(&self, lost: &str, place: &Path) -> Result<Replaced, String> {
        let (reply, answer) = mpsc::channel();
        let replacement = Replacement {
            lost: lost.to_owned(),
            place: place.to_owned(),
            reply,
        };
        let asked = self.0.try_send(NodeRequest::Replace(replacement));
        asked.map_err(|_| "the server is busy or stopping; ask again".to_owned())?;
        let lost_answer = |_| "the server is stopping; ask again when it runs".to_owned();
        answer.recv().map_err(lost_answer)?
    }
}

/// The devices of a node that serves, on its metadata core.
pub(super) struct DeviceSet {
    /// Once it serves.
    serving: RefCell<Option<Serving>>,
    turn: Mutex<()>,
}

/// What a node that serves is made of. Its devices hold the locks that keep other servers off them.
#[derive(Clone)]
struct Serving {
    config: NodeConfig,
    parts: Arc<ClusterParts>,
    devices: Rc<RefCell<Vec<NodeDevice>>>,
}

impl DeviceSet {
    /// That of a node that does not serve yet.
    pub(super) fn new() -> DeviceSet {
        DeviceSet {
            serving: RefCell::default(),
            turn: Mutex::new(()),
        }
    }

    /// From now on devices can be replaced.
    pub(super) fn serve(
        &self,
        config: &NodeConfig,
        parts: Arc<ClusterParts>,
        devices: Vec<NodeDevice>,
    ) {
        *self.serving.borrow_mut() = Some(Serving {
            config: config.clone(),
            parts,
            devices: Rc::new(RefCell::new(devices)),
        });
    }

    /// Makes a replacement in a task of its own.
    pub(super) fn replace_in_task(self: &Rc<Self>, metadata: Rc<Metadata>, asked: Replacement) {
        let set = self.clone();
        let work = async move {
            let _turn = set.turn.lock().await;
            let serving = set.serving.borrow().clone();
            let outcome = match serving {
                Some(serving) => serving.replace(&metadata, &asked).await,
                None => Err(refused("the server does not serve yet")),
            };
            let outcome = outcome.map_err(|error| error.to_string());
            if let Err(why) = &outcome {
                tracing::warn!(%why, lost = %asked.lost, "a device was not replaced");
            }
            // Whoever has stopped waiting asks again.
            let _ = asked.reply.send(outcome);
        };
        reactor::spawn(TaskClass::Foreground, work).detach();
    }
}

impl Serving {
    async fn replace(
        &self,
        metadata: &Metadata,
        asked: &Replacement,
    ) -> Result<Replaced, NodeError> {
        let view = self.parts.namespace.view();
        let groups = view.and_then(|view| view.placement_groups());
        let groups = groups.map_err(|error| NodeError::Metadata(error.to_string()))?;
        let lost = self.lost_device(&asked.lost, &groups)?;
        let position = self.config.data_dirs.len();
        let look = discover::look_at(&self.config, position, &asked.place).await?;
        self.refuse_shared_fate(lost, &look, &groups).await?;
        let path = look.path.clone();
        let device = self.device_at(lost, &asked.place, look, &groups).await?;
        let changed = changed_groups(&groups, lost, device);
        let joined = changed.len();
        change_layout(&self.config, metadata, changed).await?;
        let layout = layout_of(&self.config, &self.parts.namespace, &self.devices.borrow())?;
        self.parts.status.set_layout(layout);
        self.parts.status.forget_device(lost);
        self.parts.note_layout_change();
        self.parts.redundancy.ask_survey();
        tracing::info!(%lost, %device, path = %path.display(), groups = joined, "a device was replaced; repair fills it");
        Ok(Replaced {
            lost,
            device,
            path,
            groups: joined,
            is_listed: self.config.data_dirs.contains(&asked.place),
        })
    }

    /// The device that is meant, if it belongs to the node and does not work.
    fn lost_device(&self, asked: &str, groups: &[PlacementGroup]) -> Result<Uuid, NodeError> {
        let known = self.parts.status.devices();
        let mut members = groups.iter().flat_map(|group| &group.slots);
        let member = members.find(|slot| Uuid(slot.device).to_string() == asked);
        let by_path = known.iter().find(|device| device.name == asked);
        let lost = member
            .map(|slot| Uuid(slot.device))
            .or(by_path.map(|device| device.uuid));
        let lost = lost.ok_or_else(|| {
            refused(&format!(
                "`{asked}` is no device of this node: `strata device list` shows them with their uuids"
            ))
        })?;
        let works = known
            .iter()
            .any(|device| device.uuid == lost && device.health.failure().is_none());
        if works {
            return Err(refused(&format!(
                "device {lost} works: what it holds would count as lost. To take a disk out, stop the server, take it out and \
                 start again"
            )));
        }
        Ok(lost)
    }

    /// Refuses a place on a disk that holds another slot of a group that the new device would join.
    async fn refuse_shared_fate(
        &self,
        lost: Uuid,
        look: &Look,
        groups: &[PlacementGroup],
    ) -> Result<(), NodeError> {
        if self.config.assume_separate_failure_domains {
            return Ok(());
        }
        let joined = groups
            .iter()
            .filter(|group| group.slots.iter().any(|slot| slot.device == lost.0));
        let others: Vec<Uuid> = joined
            .flat_map(|group| &group.slots)
            .map(|slot| Uuid(slot.device))
            .filter(|device| *device != lost)
            .collect();
        let paths: Vec<PathBuf> = {
            let devices = self.devices.borrow();
            let devices = devices.iter();
            let beside = devices.filter(|device| others.contains(&device.uuid()));
            beside.map(|device| device.path.clone()).collect()
        };
        for path in paths {
            let place = path.clone();
            let resolving = fs::ask_kernel(move || failure_domain::resolve(&place));
            let domain = resolving.await.unwrap_or(FailureDomain::Unresolved);
            if domain.shares_fate_with(&look.domain) {
                return Err(refused(&format!(
                    "{} lies on the same disk as {}: one failure would take both. Use a disk of its own",
                    look.path.display(),
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The new device, open: formatted now, or by an earlier try that did not come to its end.
    async fn device_at(
        &self,
        lost: Uuid,
        listed: &Path,
        look: Look,
        groups: &[PlacementGroup],
    ) -> Result<Uuid, NodeError> {
        let shown = look.path.display();
        let like = {
            let devices = self.devices.borrow();
            let first = devices
                .first()
                .ok_or_else(|| refused("no device is left"))?;
            first.superblock.clone()
        };
        match look.found {
            Found::Empty => {
                let capacity = self.capacity_of(listed, &look.path).await?;
                format_whole(lost, &like, &look.path, capacity).await?;
                self.open(format::take(&look.path, capacity).await?).await
            }
            Found::Device(found) if found.cluster == like.cluster => {
                let device = found.device;
                let is_beside = |group: &PlacementGroup| {
                    let has = |wanted: Uuid| group.slots.iter().any(|slot| slot.device == wanted.0);
                    has(device) && has(lost)
                };
                if device == lost || groups.iter().any(is_beside) {
                    return Err(refused(&format!(
                        "{shown} is a device of this node already ({device}): give an empty directory"
                    )));
                }
                if self
                    .devices
                    .borrow()
                    .iter()
                    .any(|open| open.uuid() == device)
                {
                    return Ok(device);
                }
                let capacity = self.capacity_of(listed, &look.path).await?;
                self.open(format::take(&look.path, capacity).await?).await
            }
            Found::Device(found) => Err(refused(&format!(
                "{shown} is a device of cluster {}: give an empty directory",
                found.cluster
            ))),
            Found::Missing => Err(refused(&format!("{} does not exist", listed.display()))),
            Found::Sick(why) => Err(refused(&format!("{shown} does not work: {why}"))),
        }
    }

    /// Bytes that a device may grow to.
    async fn capacity_of(&self, listed: &Path, file: &Path) -> Result<u64, NodeError> {
        if let Some(bytes) = self.config.capacity_bytes {
            return Ok(bytes / self.config.data_dirs.len() as u64);
        }
        let space = DeviceSpace {
            listed: listed.to_owned(),
            file: file.to_owned(),
        };
        let shares = capacity::shares(&[space]).await?;
        Ok(shares.into_iter().next().unwrap_or(0))
    }

    /// Has the reactors open the partitions of a device.
    async fn open(&self, device: NodeDevice) -> Result<Uuid, NodeError> {
        let uuid = device.uuid();
        let name = device.path.display().to_string();
        let requests = {
            let mut devices = self.devices.borrow_mut();
            devices.push(device);
            share_out(self.parts.peers.len(), &devices, devices.len() - 1)
        };
        let opened = self.open_on(requests).await;
        let opened = opened.inspect_err(|_| {
            self.devices
                .borrow_mut()
                .retain(|known| known.uuid() != uuid);
        })?;
        let health = {
            let devices = self.devices.borrow();
            let found = devices.iter().find(|known| known.uuid() == uuid);
            found.map(NodeDevice::health)
        };
        if let Some(health) = health {
            self.parts.status.add_device(uuid, name, health);
        }
        for (place, partition) in &opened {
            self.parts.status.add_partition(*place, partition.clone());
        }
        self.parts.partitions.add(opened);
        Ok(uuid)
    }

    async fn open_on(
        &self,
        requests: Vec<OpenRequest>,
    ) -> Result<BTreeMap<Place, Partition>, NodeError> {
        let stopping = || NodeError::Ended("the node is stopping".to_owned());
        let mut opened = BTreeMap::new();
        for (peer, request) in self.parts.peers.iter().zip(requests) {
            let (reply, answer) = reactor::oneshot();
            let sent = peer.send(NodeRequest::Open(request, reply)).await;
            sent.map_err(|_| stopping())?;
            let report = answer.await.map_err(|_| stopping())?;
            let report = report.map_err(|error| NodeError::Devices(error.to_string()))?;
            if let Some(lost) = report.lost.into_iter().next() {
                return Err(NodeError::Devices(lost.why));
            }
            opened.extend(report.opened);
        }
        Ok(opened)
    }
}

/// Formats a device under another name and gives it its own when it is whole, so that a crash leaves a device or none.
async fn format_whole(
    lost: Uuid,
    like: &Superblock,
    path: &Path,
    capacity: u64,
) -> Result<(), NodeError> {
    let failed = |error: std::io::Error| NodeError::Devices(format!("{}: {error}", path.display()));
    let unfinished = path.with_file_name(discover::UNFINISHED_FILE);
    if fs::exists(&unfinished).await.map_err(failed)? {
        fs::remove_file(&unfinished).await.map_err(failed)?;
    }
    format::format_in_place_of(lost, like, &unfinished, capacity).await?;
    fs::rename(&unfinished, path).await.map_err(failed)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::sync_directory(directory).await.map_err(failed)
}

/// The groups with the new device in the slots of the lost one, each under its next epoch.
fn changed_groups(groups: &[PlacementGroup], lost: Uuid, new: Uuid) -> Vec<Command> {
    let mut changed = Vec::new();
    for group in groups {
        let mut group = group.clone();
        let mut lost_slots = group.slots.iter_mut().filter(|slot| slot.device == lost.0);
        if let Some(slot) = lost_slots.next() {
            slot.device = new.0;
            group.epoch += 1;
            changed.push(SetPlacementGroup { group }.into());
        }
    }
    changed
}

fn refused(why: &str) -> NodeError {
    NodeError::Devices(why.to_owned())
}
