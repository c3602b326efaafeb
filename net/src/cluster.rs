//! The cluster client: one per reactor, what front ends call.

mod as_laid_out;
mod chunk;
mod convert;
mod fill;
mod free;
pub mod metadata;
mod pack;
pub mod placement;
pub mod read;
mod read_repair;
pub(crate) mod redundancy;
mod settings;
pub(crate) mod shard;
pub mod write;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor::local::Notify;
use strata_engine::reactor::{self, Sender, TaskClass};
use strata_raftlog::consensus::group::GroupStatistics;
use strata_raftlog::namespace::store::{Reader, StoreError};
use strata_raftlog::namespace::{INLINE_BYTES_MAX, View};

use crate::error::ClusterError;
use crate::memory::{BeyondArena, MemoryQueue, Promises};
use crate::message::{NodeRequest, Place};
use crate::node::ClusterParts;
use crate::node::store::LocalStores;

use metadata::Session;
pub use settings::{POLICY_BYTES_MAX, policy_bytes, role_policy_bytes};
use write::WriterEpoch;

/// How long a reactor keeps a read transaction of the namespace at most.
const READER_KEPT: Duration = Duration::from_millis(20);

/// A handle to the cluster on this reactor. Cheap to clone, not `Send`.
#[derive(Clone)]
pub struct Cluster {
    inner: Rc<Inner>,
}

struct Inner {
    parts: Arc<ClusterParts>,
    /// What the Raft group says of itself.
    group: Option<Arc<GroupStatistics>>,
    local: LocalStores,
    session: RefCell<Session>,
    /// The change that all others wait for has its answer.
    answered: Notify,
    inodes: RefCell<std::ops::Range<u64>>,
    writer: WriterEpoch,
    groups: RefCell<placement::GroupTable>,
    /// Changes of the placement groups that are in the table.
    layout_changes_seen: Cell<u64>,
    schemes: RefCell<redundancy::KnownSchemes>,
    codecs: RefCell<redundancy::Codecs>,
    chunk_memory: MemoryQueue,
    parity_memory: BeyondArena,
    read_memory: Promises,
    /// Places of which it was reported that a copy could not be read.
    reported: RefCell<BTreeSet<Place>>,
    /// Whether read repair is under way.
    repairing: Cell<bool>,
    reader: Reader,
    /// Whether the transaction that the reader keeps is about to be released.
    releasing: Cell<bool>,
    settings: RefCell<settings::Settings>,
}

impl Cluster {
    /// Opens a proposer session, registers this reactor as a writer and opens its first allocation epoch.
    ///
    /// # Errors
    /// Those of [`Cluster::submit`], and a namespace that holds no placement groups.
    pub async fn connect(
        parts: Arc<ClusterParts>,
        local: LocalStores,
    ) -> Result<Cluster, ClusterError> {
        let session = Session::open(&parts).await?;
        let inner = Inner {
            local,
            session: RefCell::new(session),
            answered: Notify::new(),
            inodes: RefCell::new(0..0),
            writer: WriterEpoch::unregistered(),
            groups: RefCell::new(placement::GroupTable::empty()),
            layout_changes_seen: Cell::default(),
            schemes: RefCell::default(),
            codecs: RefCell::default(),
            chunk_memory: MemoryQueue::default(),
            parity_memory: BeyondArena::default(),
            read_memory: Promises::default(),
            reported: RefCell::default(),
            repairing: Cell::default(),
            reader: Reader::new(parts.namespace.clone()),
            releasing: Cell::default(),
            settings: RefCell::default(),
            group: parts.status.group(),
            parts,
        };
        let cluster = Cluster {
            inner: Rc::new(inner),
        };
        cluster.load_placement_groups()?;
        let writers = cluster.read(|view| view.writers())?;
        cluster.inner.local.fence(&[], &writers);
        cluster.register_writer().await?;
        Ok(cluster)
    }

    /// Reads names in one short read transaction on this core. The closure must not block and cannot await.
    ///
    /// # Errors
    /// What the closure returns, and [`ClusterError::Unavailable`] when the namespace cannot be read.
    pub fn read<R>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<R, StoreError>,
    ) -> Result<R, ClusterError> {
        self.release_reader_soon();
        let result = self.inner.reader.read(read)?;
        Ok(result.inspect_err(|error| {
            if error.is_damage() {
                self.inner.parts.namespace.doubt(error);
            }
        })?)
    }

    /// Lets go of the reader's transaction in a while, so that a reactor that reads no more keeps no pages.
    fn release_reader_soon(&self) {
        if self.inner.releasing.replace(true) {
            return;
        }
        let weak = Rc::downgrade(&self.inner);
        let release = async move {
            reactor::sleep(READER_KEPT).await;
            if let Some(inner) = weak.upgrade() {
                inner.releasing.set(false);
                inner.reader.release();
            }
        };
        reactor::spawn(TaskClass::Foreground, release).detach();
    }

    /// Whether the names have so little room that bodies should leave it to them.
    pub(crate) fn names_are_short(&self) -> bool {
        self.inline_bytes_max() < INLINE_BYTES_MAX
    }

    /// The longest body that is kept inline now, in bytes; what is longer lies in chunks.
    fn inline_bytes_max(&self) -> usize {
        let group = self.inner.group.as_ref();
        let advised = group.map_or(u64::MAX, |group| group.inline_bytes_max());
        usize::try_from(advised).map_or(INLINE_BYTES_MAX, |advised| advised.min(INLINE_BYTES_MAX))
    }

    /// The parts that all reactors of the node share.
    pub fn parts(&self) -> &Arc<ClusterParts> {
        &self.inner.parts
    }

    fn peer_of(&self, place: Place) -> Option<&Sender<NodeRequest>> {
        let owner = self.inner.parts.owner_of(place)?;
        if owner == reactor::index() {
            None
        } else {
            self.inner.parts.peers.get(owner)
        }
    }
}
