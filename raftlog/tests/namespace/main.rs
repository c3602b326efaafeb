//! The namespace from outside: commands in, queries out.

mod access_lists;
mod accounts;
#[path = "../support/commands.rs"]
mod commands;
mod every_body;
mod full_disk;
mod golden;
mod levels;
mod listing;
mod model;
mod object_lock;
mod objects;
mod packs;
#[path = "../support/random.rs"]
mod random;
mod replace_chunk;
mod repoint;
mod roles;
#[path = "../support/small_file_system.rs"]
mod small_file_system;
mod snapshots;
mod support;
mod system;
mod tags;
mod uploads;
mod users;
mod users_model;
mod versions;
