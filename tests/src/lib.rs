//! What the tests share: the rules of the tree, a started server, reference models.
//!
//! - [`tidy`]: rules of the tree that a machine can check, run by `tests/tests/tidy.rs`

pub mod tidy;
