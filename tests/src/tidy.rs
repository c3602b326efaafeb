//! Rules of the tree that a machine can check. Each check returns what it found, one line per finding, so that
//! a finding says where; `tests/tests/tidy.rs` runs them over this tree.
//!
//! - [`tree`]: the files that belong to the repository
//! - [`source`]: Rust text with comments and strings blanked, its functions, where its tests begin
//! - [`edges`]: which crate may depend on which
//! - [`shape`]: lengths of files and functions, names of files
//! - [`words`]: leftovers, machine paths, panics on outside bytes, `unsafe`, holes in the determinism fence
//! - [`map`]: the module map of docs/ARCHITECTURE.md against the tree
//! - [`promises`]: docs/SEMANTICS.md names tests that exist
//! - [`glossary`]: docs/GLOSSARY.md: each term stands in the head of the module that it names
//! - [`licences`]: licences of all dependencies against deny.toml

pub mod edges;
pub mod glossary;
pub mod licences;
pub mod map;
pub mod promises;
pub mod shape;
pub mod source;
pub mod tree;
pub mod words;
