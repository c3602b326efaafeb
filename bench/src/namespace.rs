//! The names of a node without a network: made, looked up, listed and deleted through the cluster client, on all its reactors.
//!
//! A run makes a node of its own on new directories, starts it for each of its phases, and removes it. What it measures is what the
//! replicated namespace costs behind HTTP and authentication: bodies are as short as they lie in the commands.
//!
//! Invariants: every key is made once, before anything is looked up; a look-up that finds nothing, and a page that is not full although more
//! follows, or is out of order, is an error.

mod load;

use std::sync::Arc;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use strata_net::node::status::NodeStatus;
use strata_raftlog::namespace::INLINE_BYTES_MAX;

use crate::node::{Node, NodeOptions};
use crate::report::{Report, parse_size};
use load::NamespaceRound;

/// What is done with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Makes all, once each.
    Create,
    /// Looks up any of them.
    LookUp,
    /// Lists pages from any key on.
    List,
    /// Deletes all, in order.
    Delete,
}

/// Options of `namespace`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    node: NodeOptions,
    /// What is done, in this order, beginning with `create`.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["create", "look-up", "list"])]
    phases: Vec<Phase>,
    /// How many keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// In how many folders they lie, in turn.
    #[arg(long, default_value_t = 256)]
    folders: u64,
    /// Bytes of each body.
    #[arg(long, value_parser = parse_size, default_value = "256")]
    size: u64,
    /// Keys of a page.
    #[arg(long, default_value_t = 1000)]
    page: usize,
    /// Operations that each core has under way.
    #[arg(long, default_value_t = 64)]
    depth: u64,
    /// Seconds of looking up and of listing.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Runs the phases.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let (depth, keys) = (options.depth, options.keys);
    ensure!(
        depth > 0 && keys > 0 && options.folders > 0 && options.page > 0,
        "a depth, keys, folders or a page of zero do nothing"
    );
    ensure!(
        options.size <= INLINE_BYTES_MAX as u64,
        "bodies of more than {INLINE_BYTES_MAX} bytes do not lie in commands: `strata-bench engine` stores such"
    );
    ensure!(
        options.phases.first() == Some(&Phase::Create),
        "nothing is there before `create`"
    );
    let node = Node::make(&options.node)?;
    let mut report = Report::default();
    for phase in &options.phases {
        let (status, round) = (
            Arc::new(NodeStatus::default()),
            Arc::new(NamespaceRound::new(options, *phase)),
        );
        node.serve(node.places().len(), status, round.clone())?;
        let outcome = round.course.outcome();
        if let Some(error) = outcome.failure {
            return Err(error);
        }
        let prefix = prefix_of(*phase);
        report.tally(prefix, &outcome.tally, outcome.elapsed);
        let microseconds = outcome.used.as_secs_f64() * 1e6;
        let operations = outcome.tally.count().max(1) as f64;
        report.number(format!("{prefix}cpu_us"), microseconds / operations);
    }
    Ok(report)
}

fn prefix_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Create => "create_",
        Phase::LookUp => "look_up_",
        Phase::List => "list_",
        Phase::Delete => "delete_",
    }
}
