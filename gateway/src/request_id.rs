//! The id of a request: in the answer's header, in the XML of an error and in the log.

use std::fmt;

use strata_engine::reactor;

/// 64 random bits, shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// A new id, from the reactor's source of randomness.
    pub fn new() -> RequestId {
        RequestId(reactor::random_u64())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        RequestId::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}
