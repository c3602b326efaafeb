//! An identity: a certificate chain and its private key, read from PEM, that belong together.
//!
//! Invariant: a private key leaves this module only inside rustls; no error repeats what was read.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};

use super::validity::{self, Validity};

/// The protocol that is spoken inside, as it is told to clients that ask (ALPN).
const PROTOCOL: &[u8] = b"http/1.1";

/// What a server shows to clients.
#[derive(Debug)]
pub struct Identity {
    /// How handshakes are made with it. Sessions are resumed by tickets, whose key is in here and nowhere else: nothing is kept for a
    /// client that is away, and who comes back after a replacement is shown the new identity.
    pub(super) config: Arc<ServerConfig>,
    /// Of the first certificate, which is the server's own.
    pub validity: Validity,
}

/// Why two files make no identity. Each but the last continues the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    /// The certificate chain cannot be used.
    Certificate(String),
    /// The private key cannot be used.
    Key(String),
    /// Both are in order, and the certificate is of another key.
    Mismatch,
    /// The system gave no random bytes for the key of the tickets.
    NoRandomness,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Certificate(why) => write!(f, "the certificate {why}"),
            IdentityError::Key(why) => write!(f, "the private key {why}"),
            IdentityError::Mismatch => f.write_str("the certificate is of another private key"),
            IdentityError::NoRandomness => f.write_str("the system gives no random bytes"),
        }
    }
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and a private key (PKCS#8, PKCS#1 or SEC1), both PEM.
    ///
    /// # Errors
    /// One of them cannot be used, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
        let chain = chain(certificates)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = private_key(key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            let why = "is of no kind that can be used: ECDSA with P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits";
            IdentityError::Key(why.to_owned())
        })?;
        let first = chain.first().map(|first| validity::of(first));
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            // A kind of key that cannot tell its public half is found out by clients.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(IdentityError::Mismatch),
            Err(_) => return Err(malformed()),
        }
        Ok(Identity {
            validity: first.flatten().ok_or_else(malformed)?,
            config: config(provider, pair)?,
        })
    }
}

fn malformed() -> IdentityError {
    IdentityError::Certificate("is malformed".to_owned())
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(IdentityError::Certificate(
            "holds no PEM block `CERTIFICATE`".to_owned(),
        )),
        Ok(chain) => Ok(chain),
        Err(_) => Err(IdentityError::Certificate("is not PEM".to_owned())),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let is_encrypted = pem
            .windows(b"ENCRYPTED".len())
            .any(|part| part == b"ENCRYPTED");
        IdentityError::Key(match error {
            _ if is_encrypted => "is encrypted; keep it in a file without a passphrase that only the server's user can read".to_owned(),
            pem::Error::NoItemsFound => {
                "holds no PEM block `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`".to_owned()
            }
            _ => "is not PEM".to_owned(),
        })
    })
}

fn config(
    provider: Arc<rustls::crypto::CryptoProvider>,
    pair: CertifiedKey,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| IdentityError::Certificate(format!("cannot be used: {error}")))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.ticketer = Ticketer::new().map_err(|_| IdentityError::NoRandomness)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::test_identity::{self, pem};

    fn refusal(certificates: &[u8], key: &[u8]) -> IdentityError {
        Identity::from_pem(certificates, key).expect_err("refused")
    }

    #[test]
    fn a_pair_is_read_and_one_of_two_pairs_is_refused() {
        let (one, other) = (test_identity::files(), test_identity::files());
        assert!(Identity::from_pem(&one.0, &one.1).is_ok());
        assert_eq!(refusal(&one.0, &other.1), IdentityError::Mismatch);
    }

    #[test]
    fn a_chain_may_follow_the_certificate_and_anything_else_may_not_come_first() {
        let (one, other) = (test_identity::files(), test_identity::files());
        let chain = |first: &[u8], second: &[u8]| [first, second].concat();
        assert!(Identity::from_pem(&chain(&one.0, &other.0), &one.1).is_ok());
        let wrong_order = chain(&other.0, &one.0);
        assert_eq!(refusal(&wrong_order, &one.1), IdentityError::Mismatch);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (certificates, key) = test_identity::files();
        let empty = refusal(b"", &key).to_string();
        assert!(empty.contains("no PEM block `CERTIFICATE`"), "{empty}");
        let no_key = refusal(&certificates, &certificates).to_string();
        assert!(no_key.contains("no PEM block `PRIVATE KEY`"), "{no_key}");
        let locked = pem("ENCRYPTED PRIVATE KEY", b"anything");
        let locked = refusal(&certificates, &locked).to_string();
        assert!(locked.contains("is encrypted"), "{locked}");
        let strange = refusal(&certificates, &pem("PRIVATE KEY", b"anything")).to_string();
        assert!(strange.contains("is of no kind"), "{strange}");
        let broken = refusal(&pem("CERTIFICATE", b"anything"), &key).to_string();
        assert_eq!(broken, "the certificate is malformed");
    }
}
