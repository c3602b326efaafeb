//! The cluster client and the background work of a node, in the simulated world.

mod placement;
mod space;
mod world;
