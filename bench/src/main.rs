//! The strata-bench binary: bounds and workloads.
fn main() {}
