//! What goes wrong or is changed while a node serves.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation};

use super::super::devices::change;
use super::clients::Shared;
use crate::cluster::Cluster;
use crate::node::devices::DeviceChange;

/// Bytes at the beginning of a device that say what it is; a disk that has lost them is one that is lost.
const HEAD_BYTES: u64 = 1 << 20;

/// Something that happens to a node while it serves. Disks are given by their numbers.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Bits flip on the platter.
    Flip {
        disk: usize,
        draw: Vec<u64>,
    },
    /// No operation is answered for so long.
    Hang {
        disk: usize,
        time: Duration,
    },
    /// Every read fails until the node ends.
    FailReads {
        disk: usize,
    },
    FailWrite {
        disk: usize,
    },
    FailSync {
        disk: usize,
    },
    Scrub,
    /// The machine stops after so many operations of its disks.
    Crash {
        operations: u64,
    },
    Add {
        disk: usize,
    },
    /// A new disk takes the place of a lost device, given by its uuid.
    Replace {
        disk: usize,
        lost: String,
    },
    Drain {
        disk: usize,
    },
    Rebalance,
}

thread_local! {
    /// The machine of the history that runs on this thread. What serves must be `Send` and cannot hold it.
    static SIMULATION: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

/// Says which machine faults of this thread strike.
pub fn set_simulation(simulation: &Simulation) {
    SIMULATION.set(Some(simulation.clone()));
}

fn simulation() -> Simulation {
    SIMULATION
        .with_borrow(Clone::clone)
        .expect("a history runs")
}

/// The directory of a disk.
pub fn directory_of(disk: usize) -> PathBuf {
    PathBuf::from(format!("/disk{disk}"))
}

/// The device file of a disk.
pub fn device_of(disk: usize) -> PathBuf {
    directory_of(disk).join("strata.device")
}

/// Flips bits at places that were written.
pub fn flip(simulation: &Simulation, path: &std::path::Path, head_bytes: u64, draw: &[u64]) {
    let mut pages = simulation.written_pages(path);
    pages.retain(|page| *page >= head_bytes);
    for drawn in draw.iter().filter(|_| !pages.is_empty()) {
        let page = pages[(*drawn % pages.len() as u64) as usize];
        let (within, bit) = ((drawn >> 32) % 4096, (drawn >> 48) as u8 % 8);
        simulation
            .flip_bit(path, page + within, bit)
            .expect("a file");
    }
}

/// Has a fault strike; returns when it is over.
pub async fn strike(cluster: &Cluster, shared: &Shared, fault: Fault) {
    let simulation = simulation();
    match fault {
        Fault::Flip { disk, draw } => {
            shared.count("bits flipped on a disk");
            flip(&simulation, &device_of(disk), HEAD_BYTES, &draw);
        }
        Fault::Hang { disk, time } => {
            shared.count("disk hangs");
            simulation.hang(&device_of(disk));
            reactor::sleep(time).await;
            simulation.answer(&device_of(disk));
        }
        Fault::FailReads { disk } => {
            shared.count("reads of a disk fail");
            simulation.fail_reads_at(&device_of(disk), 0..u64::MAX);
        }
        Fault::FailWrite { disk } => {
            shared.count("a write of a disk fails");
            simulation.fail_next_write(&device_of(disk));
        }
        Fault::FailSync { disk } => {
            shared.count("a flush of a disk fails");
            simulation.fail_next_sync(&device_of(disk));
        }
        Fault::Scrub => {
            shared.count("scrub");
            cluster.parts().redundancy.ask_scrub();
        }
        Fault::Crash { operations } => {
            let now = simulation.counters().operations;
            simulation.crash_after(now + operations);
        }
        Fault::Add { disk } => {
            let place = directory_of(disk);
            let add = DeviceChange::Add {
                place,
                force_format: false,
            };
            make_change(cluster, shared, "disk added", add).await;
        }
        Fault::Replace { disk, lost } => {
            let missing = cluster.parts().status.report().missing_devices;
            if missing.contains(&lost) {
                let place = directory_of(disk);
                let replace = DeviceChange::Replace {
                    lost,
                    place,
                    force_format: false,
                };
                make_change(cluster, shared, "disk replaced", replace).await;
            }
        }
        Fault::Drain { disk } => {
            let device = device_of(disk).display().to_string();
            make_change(
                cluster,
                shared,
                "disk drained",
                DeviceChange::Drain { device },
            )
            .await;
        }
        Fault::Rebalance => {
            make_change(cluster, shared, "rebalance", DeviceChange::Rebalance).await
        }
    }
}

async fn make_change(cluster: &Cluster, shared: &Shared, name: &'static str, asked: DeviceChange) {
    match change(cluster, asked).await {
        Ok(_) => shared.count(name),
        Err(why) => {
            println!("{name}: refused: {why}");
            shared.count("device change refused");
        }
    }
}
