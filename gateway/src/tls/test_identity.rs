//! Identities for tests, each made anew.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::identity::Identity;

/// A certificate for `localhost` and its key, both PEM.
pub fn files() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (
        pem("CERTIFICATE", certificate.der()),
        pem("PRIVATE KEY", key.serialized_der()),
    )
}

/// Such a pair, read.
pub fn identity() -> Identity {
    let (certificates, key) = files();
    Identity::from_pem(&certificates, &key).unwrap()
}

/// A block of PEM.
pub fn pem(label: &str, bytes: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(bytes);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}
