//! The cluster client and the background work of a node, in the simulated world.

mod coded;
mod memory;
mod placement;
mod reads;
mod repair;
mod replacing;
mod space;
mod staleness;
mod whole;
mod world;
