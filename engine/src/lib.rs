//! The storage engine of one node: reactor, formats, journal, index, chunk store.

pub mod reactor;
