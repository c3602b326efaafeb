//! The strata binary: server, configuration, inspection.
