//! A group on real journals: in files on this machine, and in the simulated world, where it is killed and
//! loses power at any disk operation.

mod crash;
mod full_log;
mod journal;
mod mirrors;
mod restart;
mod support;
