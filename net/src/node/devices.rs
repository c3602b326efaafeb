//! The devices of a node that serves: new ones come while it does, in the place of lost ones ([`replace`]) or beside the others
//! ([`add`]), and others go ([`drain`]) and are forgotten ([`forget`]). What they hold is spread over them ([`rebalance`]), and what new chunks are made into can be set
//! ([`scheme`]). The state of each ([`states`]) is noted in the replicated state ([`noting`]).
//!
//! Invariants: a new device is formatted under another name and gets its own when it is whole, so that a crash leaves a device or
//! none (a block device, which has its name, gets its superblock last); a step that was made before a crash is found made when the
//! change is asked for again, so that asking again ends it; one change is made at a time.

mod add;
mod drain;
mod forget;
mod groups;
pub(crate) mod noting;
mod rebalance;
mod replace;
mod scheme;
pub(crate) mod states;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use strata_engine::reactor::local::Mutex;
use strata_engine::reactor::{self, Sender, TaskClass, fs};
use strata_engine::{Superblock, Uuid};
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::command::{Command, ForgetDevice, SetPlacementGroup};

use super::capacity::{self, DeviceSpace};
use super::discover::{self, Found, Look};
use super::failure_domain::{self, FailureDomain};
use super::format::{self, NodeDevice};
use super::open::OpenRequest;
use super::propose::Metadata;
use super::start::{change_layout, layout_of, share_out};
use super::status::{DeviceStatus, PartitionStatus};
use super::{ClusterParts, NodeConfig, NodeError, Partition};
use crate::message::{NodeRequest, Place};
use crate::scheme::Scheme;

/// A change of a node's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChange {
    /// A new device takes the place of a lost one.
    Replace {
        /// The lost one: its uuid, or the path that it had.
        lost: String,
        /// The empty directory that is to hold the new one, or a block device.
        place: PathBuf,
        /// Whether a block device that nobody uses may hold something.
        force_format: bool,
    },
    /// A new device comes beside the others.
    Add {
        /// The empty directory that is to hold it, or a block device.
        place: PathBuf,
        /// Whether a block device that nobody uses may hold something.
        force_format: bool,
    },
    /// A device gives its slots to others.
    Drain {
        /// Its uuid, or its path.
        device: String,
    },
    /// What is noted of a device that holds nothing any more is removed.
    Forget {
        /// Its uuid.
        device: String,
    },
    /// Slots go from devices that have too many of them to those that have too few.
    Rebalance,
    /// The layout gets another scheme, over the same devices.
    SetScheme {
        /// That of new chunks from then on.
        scheme: Scheme,
    },
}

/// What a change has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChanged {
    /// The device that was lost, where one was replaced.
    pub lost: Option<Uuid>,
    /// The one that has come, is drained, or is forgotten.
    pub device: Option<Uuid>,
    /// Its file; empty where it is not known.
    pub path: PathBuf,
    /// Placement groups that were added or have other slots now.
    pub groups: usize,
    /// Whether the configuration of the node names its place.
    pub is_listed: bool,
}

/// Where the answer goes to whoever asked for a change.
pub type DeviceReply = mpsc::Sender<Result<DeviceChanged, String>>;

/// Asks the metadata core of a node for changes of its devices.
#[derive(Clone)]
pub struct DeviceChanges(pub(super) Sender<NodeRequest>);

impl std::fmt::Debug for DeviceChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceChanges")
    }
}

impl DeviceChanges {
    /// Has a change made. Blocks until that is done; not for a reactor.
    ///
    /// # Errors
    /// Why it was not, or why that is not known.
    pub fn make(&self, change: DeviceChange) -> Result<DeviceChanged, String> {
        let (reply, answer) = mpsc::channel();
        let asked = self.0.try_send(NodeRequest::ChangeDevices(change, reply));
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
    /// Devices that some reactors could not open.
    half_open: Rc<RefCell<BTreeSet<Uuid>>>,
}

impl DeviceSet {
    /// That of a node that does not serve yet.
    pub(super) fn new() -> DeviceSet {
        DeviceSet {
            serving: RefCell::default(),
            turn: Mutex::new(()),
        }
    }

    /// From now on devices can be changed.
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
            half_open: Rc::default(),
        });
    }

    /// Makes a change in a task of its own.
    pub(super) fn change_in_task(
        self: &Rc<Self>,
        metadata: Rc<Metadata>,
        change: DeviceChange,
        reply: DeviceReply,
    ) {
        let set = self.clone();
        let work = async move {
            let _turn = set.turn.lock().await;
            let serving = set.serving.borrow().clone();
            let outcome = match serving {
                Some(serving) => serving.change(&metadata, &change).await,
                None => Err(refused("the server does not serve yet")),
            };
            let outcome = outcome.map_err(|error| error.to_string());
            match &outcome {
                Ok(changed) => tracing::info!(?changed, "the devices have changed"),
                Err(why) => tracing::warn!(%why, ?change, "the devices were not changed"),
            }
            // Whoever has stopped waiting asks again.
            let _ = reply.send(outcome);
        };
        reactor::spawn(TaskClass::Foreground, work).detach();
    }
}

impl Serving {
    async fn change(
        &self,
        metadata: &Metadata,
        change: &DeviceChange,
    ) -> Result<DeviceChanged, NodeError> {
        let groups = self.groups()?;
        let (changed, commands) = self.commands(change, &groups).await?;
        let made = change_layout(&self.config, metadata, commands).await;
        // Of several commands some may have been carried out.
        self.parts.note_layout_change();
        self.parts.redundancy.ask_survey();
        made?;
        let layout = layout_of(&self.config, &self.parts.namespace, &self.devices.borrow())?;
        self.parts.status.set_layout(layout);
        let moving = self.groups()?;
        let moving = moving.iter().filter(|group| !group.previous.is_empty());
        self.parts
            .redundancy
            .set_groups_moving(moving.count() as u64);
        if let Some(lost) = changed.lost {
            self.parts.status.forget_device(lost);
        }
        if let (DeviceChange::Forget { .. }, Some(device)) = (change, changed.device) {
            self.parts.status.forget_note(device);
        }
        Ok(changed)
    }

    /// The placement groups as they are now.
    fn groups(&self) -> Result<Vec<PlacementGroup>, NodeError> {
        let view = self.parts.namespace.view();
        let groups = view.and_then(|view| view.placement_groups());
        groups.map_err(|error| NodeError::Metadata(error.to_string()))
    }

    /// What a change comes to, and the commands that make it, after everything else was done.
    async fn commands(
        &self,
        change: &DeviceChange,
        groups: &[PlacementGroup],
    ) -> Result<(DeviceChanged, Vec<Command>), NodeError> {
        let (changed, groups) = match change {
            DeviceChange::Replace {
                lost,
                place,
                force_format,
            } => {
                let lost = self.lost_device(lost, groups)?;
                let (look, path) = self.look_at(place, *force_format).await?;
                let device = self.device_in_place_of(lost, place, look, groups).await?;
                let changed = replace::changed_groups(groups, lost, device);
                (self.changed(Some(lost), Some(device), path, place), changed)
            }
            DeviceChange::Add {
                place,
                force_format,
            } => {
                let (look, path) = self.look_at(place, *force_format).await?;
                let (device, added) = self.device_beside(place, look, groups).await?;
                (self.changed(None, Some(device), path, place), added)
            }
            DeviceChange::SetScheme { scheme } => {
                let (commands, added) = self.commands_for(*scheme, groups).await?;
                let changed = self.changed(None, None, PathBuf::new(), Path::new(""));
                let changed = DeviceChanged {
                    groups: added,
                    ..changed
                };
                return Ok((changed, commands));
            }
            DeviceChange::Forget { device } => {
                let device = self.device_to_forget(device, groups)?;
                let changed = self.changed(None, Some(device), PathBuf::new(), Path::new(""));
                let forgets = ForgetDevice { device: device.0 };
                return Ok((changed, vec![forgets.into()]));
            }
            DeviceChange::Rebalance => {
                let moved = self.groups_rebalanced(groups).await?;
                let changed = self.changed(None, None, PathBuf::new(), Path::new(""));
                (changed, moved)
            }
            DeviceChange::Drain { device } => {
                let device = self.known_device(device, groups)?;
                let (path, moved) = self.groups_without(device, groups).await?;
                let lost = path.is_none().then_some(device);
                let path = path.unwrap_or_default();
                (self.changed(lost, Some(device), path, Path::new("")), moved)
            }
        };
        let changed = DeviceChanged {
            groups: groups.len(),
            ..changed
        };
        Ok((changed, groups.into_iter().map(set_group).collect()))
    }

    async fn look_at(&self, place: &Path, forced: bool) -> Result<(Look, PathBuf), NodeError> {
        let position = self.config.data_dirs.len();
        let look = discover::look_at(&self.config, position, place, forced).await?;
        let path = look.path.clone();
        Ok((look, path))
    }

    fn changed(
        &self,
        lost: Option<Uuid>,
        device: Option<Uuid>,
        path: PathBuf,
        place: &Path,
    ) -> DeviceChanged {
        DeviceChanged {
            lost,
            device,
            path,
            groups: 0,
            is_listed: self.config.data_dirs.iter().any(|listed| listed == place),
        }
    }

    /// The scheme of the layout.
    fn scheme(&self) -> Result<Scheme, NodeError> {
        Ok(layout_of(&self.config, &self.parts.namespace, &self.devices.borrow())?.scheme)
    }

    /// Refuses what needs all devices while some are lost.
    fn refuse_unless_whole(&self, what: &str) -> Result<(), NodeError> {
        let missing = self.parts.status.report().missing_devices.len();
        let has_failed = |device: &DeviceStatus| device.health.failure().is_some();
        if missing > 0 || self.parts.status.devices().iter().any(has_failed) {
            return Err(refused(&format!(
                "a device is missing or has failed: put it back or replace it before {what}"
            )));
        }
        let is_closed = |of: &PartitionStatus| !of.partition.is_writable();
        let partitions = &self.parts.status;
        if !partitions.lost_partitions().is_empty() || partitions.partitions().iter().any(is_closed)
        {
            return Err(refused(&format!(
                "a partition of a device takes no writes (`strata status`): put that right before {what}"
            )));
        }
        Ok(())
    }

    /// The device of the node that is meant.
    fn known_device(&self, asked: &str, groups: &[PlacementGroup]) -> Result<Uuid, NodeError> {
        let mut members = groups.iter().flat_map(|group| &group.slots);
        let member = members.find(|slot| Uuid(slot.device).to_string() == asked);
        let known = self.parts.status.devices();
        let by_path = known.iter().find(|device| device.name == asked);
        let found = member.map(|slot| Uuid(slot.device));
        let found = found.or(by_path.map(|device| device.uuid));
        found.ok_or_else(|| {
            refused(&format!(
                "`{asked}` is no device of this node: `strata device list` shows them with their uuids"
            ))
        })
    }

    /// Whether a device is there and has not failed.
    fn works(&self, device: Uuid) -> bool {
        let known = self.parts.status.devices();
        known
            .iter()
            .any(|known| known.uuid == device && known.health.failure().is_none())
    }

    /// The device at a place, open: formatted now, or by an earlier try that did not come to its end. One that is formatted may become
    /// a mirror of the log in the place of `mirror`.
    async fn device_at(
        &self,
        listed: &Path,
        look: Look,
        groups: &[PlacementGroup],
        mirror: Option<Uuid>,
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
            Found::Empty | Found::Overwritten(_) => {
                let capacity = self.capacity_of(listed, &look.path).await?;
                let config = &self.config;
                format_whole(config, mirror, &like, &look.path, capacity).await?;
                self.open(format::take(config, &look.path, capacity).await?)
                    .await
            }
            Found::Device(found) if found.cluster == like.cluster => {
                let device = found.device;
                if self.half_open.borrow().contains(&device) {
                    return Err(refused(&format!(
                        "{shown} could not be opened whole: restart the server, then ask again"
                    )));
                }
                if self
                    .devices
                    .borrow()
                    .iter()
                    .all(|open| open.uuid() != device)
                {
                    let capacity = self.capacity_of(listed, &look.path).await?;
                    let device = format::take(&self.config, &look.path, capacity).await?;
                    self.open(device).await?;
                }
                self.refuse_used(device, groups)?;
                Ok(device)
            }
            Found::Device(found) => Err(refused(&format!(
                "{shown} is a device of cluster {}: give an empty directory or block device",
                found.cluster
            ))),
            Found::Missing => Err(refused(&format!("{} does not exist", listed.display()))),
            Found::Sick(why) => Err(refused(&format!("{shown} does not work: {why}"))),
        }
    }

    /// Refuses a device that has no slot and holds shards all the same: of a slot that it once had. Nothing reads them, and nothing
    /// would free them.
    fn refuse_used(&self, device: Uuid, groups: &[PlacementGroup]) -> Result<(), NodeError> {
        if has_slots(device, groups) {
            return Ok(());
        }
        let partitions = self.parts.partitions.iter();
        let of_it = partitions.filter(|(place, _)| place.device == device);
        let shards: u64 = of_it
            .map(|(_, partition)| partition.statistics.shards.load(Ordering::Relaxed))
            .sum();
        match shards {
            0 => Ok(()),
            _ => Err(refused(&format!(
                "device {device} was replaced and still holds {shards} shards of before: delete its file, or write over the first MiB \
                 of its block device, to use the disk anew"
            ))),
        }
    }

    /// The open devices that are mirrors of the log, or may become some when others are lost.
    fn log_mirrors(&self) -> Vec<Uuid> {
        let devices = self.devices.borrow();
        let mirrors = |device: &&NodeDevice| device.superblock.log_mirrors.contains(&device.uuid());
        devices
            .iter()
            .filter(mirrors)
            .map(NodeDevice::uuid)
            .collect()
    }

    /// Bytes that a device may grow to.
    async fn capacity_of(&self, listed: &Path, file: &Path) -> Result<u64, NodeError> {
        let space = DeviceSpace {
            listed: listed.to_owned(),
            file: file.to_owned(),
        };
        if let Some(bytes) = self.config.capacity_bytes {
            return space
                .at_most(bytes / self.config.data_dirs.len() as u64)
                .await;
        }
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
        // Some reactors may have opened their part: it cannot be opened once more, so the device stays in the set as it is.
        let opened = opened.inspect_err(|_| {
            self.half_open.borrow_mut().insert(uuid);
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

    /// The failure domain of each open device.
    async fn domains(&self) -> Vec<(Uuid, PathBuf, FailureDomain)> {
        let open: Vec<(Uuid, PathBuf)> = {
            let devices = self.devices.borrow();
            let devices = devices.iter();
            devices
                .map(|device| (device.uuid(), device.path.clone()))
                .collect()
        };
        let mut domains = Vec::new();
        for (position, (device, path)) in open.into_iter().enumerate() {
            let domain = if self.config.assume_separate_failure_domains {
                FailureDomain::Declared(position)
            } else {
                let place = path.clone();
                let resolving = fs::ask_kernel(move || failure_domain::resolve(&place));
                resolving.await.unwrap_or(FailureDomain::Unresolved)
            };
            domains.push((device, path, domain));
        }
        domains
    }
}

/// Whether a device has a slot in any of the groups.
fn has_slots(device: Uuid, groups: &[PlacementGroup]) -> bool {
    let mut slots = groups.iter().flat_map(|group| &group.slots);
    slots.any(|slot| slot.device == device.0)
}

fn set_group(group: PlacementGroup) -> Command {
    SetPlacementGroup { group }.into()
}

/// Formats a device under another name and gives it its own when it is whole, so that a crash leaves a device or none. A block
/// device gets its superblock last.
async fn format_whole(
    config: &NodeConfig,
    lost_mirror: Option<Uuid>,
    like: &Superblock,
    path: &Path,
    capacity: u64,
) -> Result<(), NodeError> {
    let failed = |error: std::io::Error| NodeError::Devices(format!("{}: {error}", path.display()));
    let is_there = fs::exists(path).await.map_err(failed)?;
    if is_there && fs::status(path).await.map_err(failed)?.is_block_device {
        return format::format_one_more(config, lost_mirror, like, path, capacity).await;
    }
    let unfinished = path.with_file_name(discover::UNFINISHED_FILE);
    if fs::exists(&unfinished).await.map_err(failed)? {
        fs::remove_file(&unfinished).await.map_err(failed)?;
    }
    format::format_one_more(config, lost_mirror, like, &unfinished, capacity).await?;
    fs::rename(&unfinished, path).await.map_err(failed)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::sync_directory(directory).await.map_err(failed)
}

fn refused(why: &str) -> NodeError {
    NodeError::Devices(why.to_owned())
}
