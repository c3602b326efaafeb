//! The storage engine of a node without a network: objects through the cluster client, on all its reactors.
//!
//! A run makes a node of its own on new directories, does its phases one after the other, and removes the node. What it measures is what
//! an S3 request costs behind HTTP, authentication and MD5: chunks, shards, barriers, names.
//!
//! Invariants: nothing is written but below directories that the run has made; a phase begins on all reactors at once and is timed from
//! there; every eighth body that is read is compared.

mod load;
mod node;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use strata_net::scheme::Scheme;

use crate::report::{Report, parse_size};
use load::Load;
use node::Node;

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
    /// A directory of a disk. A folder is made in it, one for each time that it is named, and removed at the end.
    #[arg(long = "disk", required = true)]
    disks: Vec<PathBuf>,
    /// The scheme of the layout; else the strongest that so many disks carry.
    #[arg(long, value_name = "K+M")]
    scheme: Option<Scheme>,
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
    /// Reactors, on the first cores of the machine.
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Seconds of each phase but for a rebuild, which ends by itself, and of a delete, which may be shorter.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Disks that are away in `degraded` and filled anew in a rebuild: the last ones.
    #[arg(long, default_value_t = 1)]
    lost: usize,
    /// Bytes that all disks together may take; a rebuild needs a quarter more than what is stored.
    #[arg(long, value_parser = parse_size, default_value = "12GiB")]
    capacity: u64,
    /// Buffer memory of each core.
    #[arg(long, value_parser = parse_size, default_value = "128MiB")]
    buffers: u64,
    /// Memory of each core for what is read again.
    #[arg(long, value_parser = parse_size, default_value = "0")]
    cache: u64,
}

/// Runs the phases.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(
        options.depth > 0 && options.cores > 0 && options.objects > 0,
        "a depth, cores or objects of zero do nothing"
    );
    ensure!(
        options.lost < options.disks.len(),
        "a disk has to be left: --lost is below the number of disks"
    );
    let mut node = Node::make(options)?;
    let mut load = Load::new(options)?;
    let mut report = Report::default();
    for (number, phase) in options.phases.iter().enumerate() {
        let before = options.phases[..number].iter();
        let turn = 1 + before.filter(|before| *before == phase).count();
        node.run(*phase, turn, &mut load, &mut report)?;
    }
    Ok(report)
}
