//! TLS on a port: TLS 1.2 and 1.3 by rustls, with the cryptography of aws-lc.
//!
//! - [`identity`]: a certificate chain and its private key, checked; [`validity`]: when a certificate begins and ceases to hold;
//! - [`handshake`]: the first bytes of a connection: a handshake, or what is told to a client that speaks the other protocol;
//! - [`stream`]: a connection after its handshake; [`transport`]: a connection with or without TLS, as hyper takes it.
//!
//! Invariants: a connection keeps the identity that its handshake began with, whatever replaces it; what a connection buffers is
//! bounded by constants of [`stream`]; no call blocks, and one call does the cryptography of at most 64 KiB or of one handshake
//! message.

pub mod handshake;
pub mod identity;
pub mod stream;
#[cfg(test)]
pub mod test_identity;
pub mod transport;
pub mod validity;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use identity::Identity;

/// The identity that the ports of a server show, shared by all reactors, and what came of handshakes.
///
/// The lock is held for the copy of a pointer, once for each new connection.
#[derive(Debug)]
pub struct Tls {
    identity: RwLock<Arc<Identity>>,
    failed_handshakes: AtomicU64,
}

impl Tls {
    /// Shows this identity.
    pub fn new(identity: Identity) -> Tls {
        Tls {
            identity: RwLock::new(Arc::new(identity)),
            failed_handshakes: AtomicU64::new(0),
        }
    }

    /// What new connections are shown.
    pub fn identity(&self) -> Arc<Identity> {
        let identity = self.identity.read();
        Arc::clone(&identity.unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows another identity to connections that begin from now on.
    pub fn replace(&self, identity: Identity) {
        let mut place = self
            .identity
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(identity);
    }

    /// How many handshakes have failed, of all ports: what the client sent was refused, the client refused the certificate, or
    /// it took too long.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    fn count_failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }
}
