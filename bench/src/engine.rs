//! The storage engine of a node without a network: objects through the cluster client, on all its reactors.
//!
//! A run makes a node of its own on new directories, does its phases one after the other, and removes the node. What it measures is what
//! an S3 request costs behind HTTP, authentication and MD5: chunks, shards, barriers, names.
//!
//! Invariants: nothing is written but below directories that the run has made; a phase begins on all reactors at once and is timed from
//! there; every eighth body that is read is compared.

mod load;
mod phases;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use crate::node::{Node, NodeOptions};
use crate::report::{Report, parse_size};
use load::Load;
use phases::Phases;

/// What is done with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Stores new ones.
    Put,
    /// Reads any of them.
    Get,
    /// Reads and stores in turn.
    Mixed,
    /// Reads any of them with `--lost` disks away.
    Degraded,
    /// Reads nothing while the disks that were lost are filled anew.
    Rebuild,
    /// Reads any of them while the disks that were lost are filled anew.
    RebuildUnderLoad,
    /// Deletes all, in order.
    Delete,
}

/// Options of `engine`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    node: NodeOptions,
    /// What is done, in this order. Without a put at the beginning nothing is there. The figures of a phase that comes again are
    /// numbered. The first puts write segments of the devices over before they use them, later ones use them again.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "get", "mixed", "delete"])]
    phases: Vec<Phase>,
    /// Bytes of one object.
    #[arg(long, value_parser = parse_size, default_value = "1MiB")]
    size: u64,
    /// So many objects: what is stored beyond them takes the place of the first ones.
    #[arg(long, default_value_t = 3000)]
    objects: u64,
    /// Operations that each core has under way.
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Seconds of each phase but for a rebuild, which ends by itself, and of a delete, which may be shorter.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Disks that are away in `degraded` and filled anew in a rebuild: the last ones.
    #[arg(long, default_value_t = 1)]
    lost: usize,
}

/// Runs the phases.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(
        options.depth > 0 && options.objects > 0,
        "a depth or objects of zero do nothing"
    );
    let node = Node::make(&options.node)?;
    ensure!(
        options.lost < node.places().len(),
        "a disk has to be left: --lost is below the number of disks"
    );
    let mut phases = Phases {
        node,
        lost: options.lost,
    };
    let mut load = Load::new(options)?;
    let mut report = Report::default();
    for (number, phase) in options.phases.iter().enumerate() {
        let before = options.phases[..number].iter();
        let turn = 1 + before.filter(|before| *before == phase).count();
        phases.run(*phase, turn, &mut load, &mut report)?;
    }
    Ok(report)
}
