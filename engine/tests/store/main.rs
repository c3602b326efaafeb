//! The chunk store and the journal on a device: in files on this machine, and in the simulated world, where devices are
//! damaged, full, or stopped at any disk operation.

mod block_device;
mod crash;
mod damage;
mod device;
mod fence;
mod journal;
mod limits;
mod shards;
mod silence;
mod support;
mod tail_damage;
