//! The data partitions of a node, as every reactor sees them.
//!
//! Invariant: a partition that was once there stays in the table, be its device lost or replaced; a look-up takes no lock, because
//! every new chunk needs several.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use strata_engine::reactor;
use strata_engine::{ChunkStore, ChunkStoreStatistics, DeviceHealth};

use crate::message::Place;

/// A data partition that is there.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The reactor that owns it.
    pub reactor: usize,
    /// Whether its device works.
    pub health: Arc<DeviceHealth>,
    /// What it has done and holds.
    pub statistics: Arc<ChunkStoreStatistics>,
}

impl Partition {
    /// A store of this reactor.
    pub(crate) fn of(store: &ChunkStore) -> Partition {
        Partition {
            reactor: reactor::index(),
            health: store.device_health().clone(),
            statistics: store.statistics(),
        }
    }

    /// Whether neither its device has failed nor its log has closed. Takes no lock: every new chunk asks.
    pub fn is_writable(&self) -> bool {
        self.health.failure().is_none() && self.statistics.log.closed().is_none()
    }
}

/// Every data partition that is there: those of the start, then those of each device that was added since.
#[derive(Debug, Default)]
pub struct Partitions {
    there: BTreeMap<Place, Partition>,
    added: OnceLock<Box<Partitions>>,
}

impl From<BTreeMap<Place, Partition>> for Partitions {
    fn from(there: BTreeMap<Place, Partition>) -> Partitions {
        Partitions {
            there,
            added: OnceLock::new(),
        }
    }
}

impl Partitions {
    /// The partition of a place.
    pub fn get(&self, place: Place) -> Option<&Partition> {
        self.tables().find_map(|table| table.there.get(&place))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &Partition)> {
        let tables = self.tables();
        tables.flat_map(|table| {
            table
                .there
                .iter()
                .map(|(place, partition)| (*place, partition))
        })
    }

    /// Adds those of a device.
    pub(super) fn add(&self, partitions: BTreeMap<Place, Partition>) {
        let mut more = Box::new(Partitions::from(partitions));
        for table in self.tables() {
            match table.added.set(more) {
                Ok(()) => return,
                Err(back) => more = back,
            }
        }
    }

    fn tables(&self) -> impl Iterator<Item = &Partitions> {
        std::iter::successors(Some(self), |table| table.added.get().map(|next| &**next))
    }
}
