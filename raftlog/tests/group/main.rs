//! A group on real journals: in files on this machine, and in the simulated world, where it is killed and
//! loses power at any disk operation.

#[path = "../support/commands.rs"]
mod commands;
mod crash;
mod full_disk;
mod full_log;
mod full_log_lives;
mod journal;
mod mirrors;
mod proposals;
#[path = "../support/random.rs"]
mod random;
mod restart;
#[path = "../support/small_file_system.rs"]
mod small_file_system;
mod support;
