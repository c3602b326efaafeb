//! The namespace from outside: commands in, queries out.

mod golden;
mod listing;
mod model;
mod objects;
mod snapshots;
mod support;
mod system;
mod uploads;
