//! The cluster client and the background work of a node, in the simulated world.

mod block_devices;
mod coded;
mod convert;
mod device_states;
mod devices;
mod history;
mod memory;
mod packing;
mod placement;
mod reads;
mod repair;
mod space;
mod staleness;
mod user_keys;
mod whole;
mod world;
