//! The `strata` binary: server, configuration, inspection.
//!
//! Map:
//! - [`cli`]: commands and flags; [`config`]: the table of keys and its four sources; [`logging`]: `tracing` set up;
//! - [`server`]: from a configuration to a node that serves; [`admin`]: a new root key; [`self_signed`]: a certificate; [`inspect`]: what lies on
//!   disk; [`version`]: what this binary is; [`terminal`]: how commands say what they say.
//!
//! Invariants: a flag, a variable and a key of the file are three spellings of one row of [`config::schema::KEYS`]; exit
//! status 0 is success, 1 a failure while working, 2 a mistake in the command line or the configuration.

pub mod admin;
pub mod cli;
pub mod config;
pub mod inspect;
pub mod logging;
pub mod self_signed;
pub mod server;
pub mod terminal;
pub mod version;
