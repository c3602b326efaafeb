//! What the tests share: the rules of the tree, a started server, reference models.
//!
//! - [`tidy`]: rules of the tree that a machine can check, run by `tests/tests/tidy.rs`
//! - [`server`]: builds, starts, kills and stops the real binary
//! - [`http`]: one HTTP request, byte by byte as the test wants it
//! - [`signature`]: AWS signatures made by hand, also wrong ones
//! - [`tls`]: identities for servers, and connections that trust them
//! - [`content`]: random numbers and bodies that a seed gives back
//! - [`keys`]: hostile object keys and what a LIST of them must say

pub mod content;
pub mod http;
pub mod keys;
pub mod server;
pub mod signature;
pub mod tidy;
pub mod tls;
