//! The keys of an issuer: a JSON Web Key Set (RFC 7517, RFC 7518).
//!
//! Invariants: keys that are not for signatures by RSA or on a curve of NIST's are passed over, as the standard has it; one of a kind that is known
//! and that cannot be read makes the whole set unusable; no error repeats what the set holds.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Keys of a set at most.
const KEYS_MAX: usize = 64;

/// Keys that are tried for one token at most: whoever signs nothing may ask. A set of several names each (OpenID Connect Core 1.0, section 10.1).
const TRIED_MAX: usize = 4;

/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What signs a token (RFC 7518, section 3.1). HMAC and `none` are none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// ECDSA on P-384, SHA-384.
    Es384,
    /// ECDSA on P-521, SHA-512.
    Es512,
}

impl Algorithm {
    /// The algorithm of a name; `None` for one that is not served.
    pub fn of_name(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Algorithm::Rs256,
            "RS384" => Algorithm::Rs384,
            "RS512" => Algorithm::Rs512,
            "ES256" => Algorithm::Es256,
            "ES384" => Algorithm::Es384,
            "ES512" => Algorithm::Es512,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point, and the algorithm of its curve.
    Point(Algorithm, Vec<u8>),
}

impl Material {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Material::Rsa { .. } => matches!(
                algorithm,
                Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512
            ),
            Material::Point(of_curve, _) => *of_curve == algorithm,
        }
    }
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

/// The keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<KeySet, String> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|error| format!("is no JSON Web Key Set (line {})", error.line()))?;
        if document.keys.len() > KEYS_MAX {
            return Err(format!("holds more than {KEYS_MAX} keys"));
        }
        let mut keys = Vec::new();
        for (at, entry) in document.keys.into_iter().enumerate() {
            if entry.used_for.as_deref().is_some_and(|used| used != "sig") {
                continue;
            }
            let key =
                key(entry).map_err(|why| format!("holds a key (number {}) that {why}", at + 1))?;
            keys.extend(key);
        }
        match keys.is_empty() {
            true => Err("holds no RSA or EC key for signatures".to_owned()),
            false => Ok(KeySet { keys }),
        }
    }

    /// Whether one of the keys that a token may mean has signed its text: of those of its id, or of all where it names none, the first few for its algorithm.
    pub fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        name: &str,
        text: &[u8],
        signature: &[u8],
    ) -> bool {
        let may_be = |key: &&Key| {
            let is_of_id = id.is_none_or(|id| key.id.as_deref() == Some(id));
            let is_of_name = key.algorithm.as_deref().is_none_or(|only| only == name);
            is_of_id && is_of_name && key.material.is_for(algorithm)
        };
        self.keys
            .iter()
            .filter(may_be)
            .take(TRIED_MAX)
            .any(|key| key.verifies(algorithm, text, signature))
    }
}

impl Key {
    fn verifies(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Rsa { n, e }, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512) => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, text, signature).is_ok()
            }
            (Material::Point(of_curve, point), _) if *of_curve == algorithm => {
                let on_curve = match algorithm {
                    Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
                    Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
                    _ => &ECDSA_P521_SHA512_FIXED,
                };
                UnparsedPublicKey::new(on_curve, point)
                    .verify(text, signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}

/// The key of an entry; `None` for one of a kind that is passed over.
fn key(entry: Entry) -> Result<Option<Key>, &'static str> {
    let bytes = |text: Option<String>| {
        let text = text.ok_or("lacks a part")?;
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| "has a part that is not base64url")
    };
    let material = match entry.kty.as_str() {
        "RSA" => {
            let (n, e) = (bytes(entry.n)?, bytes(entry.e)?);
            // Some write a zero before a modulus whose highest bit is set.
            let n = n
                .iter()
                .position(|byte| *byte != 0)
                .map_or(Vec::new(), |at| n[at..].to_vec());
            if !MODULUS_BYTES.contains(&n.len()) {
                return Err("is an RSA key of fewer than 2,048 bits or of more than 8,192");
            }
            Material::Rsa { n, e }
        }
        "EC" => {
            let (algorithm, length) = match entry.crv.as_deref() {
                Some("P-256") => (Algorithm::Es256, 32),
                Some("P-384") => (Algorithm::Es384, 48),
                Some("P-521") => (Algorithm::Es512, 66),
                _ => return Ok(None),
            };
            let (x, y) = (bytes(entry.x)?, bytes(entry.y)?);
            if x.len() != length || y.len() != length {
                return Err("has a coordinate of another length than its curve's");
            }
            let point = [&[4][..], &x, &y].concat();
            Material::Point(algorithm, point)
        }
        _ => return Ok(None),
    };
    Ok(Some(Key {
        id: entry.kid,
        algorithm: entry.alg,
        material,
    }))
}
