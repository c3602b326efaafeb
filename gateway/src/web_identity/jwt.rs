//! A JSON Web Token in its compact form (RFC 7515, section 7.1; RFC 7519).
//!
//! Written here rather than taken from a crate: what is needed of the standard is three parts of base64url, two JSON objects and a call of the
//! library for signatures that is there anyway. Invariants: a token is bounded before it is read; a header that asks for extensions (`crit`) is refused; what the
//! token claims is used by nobody before [`Token::verify`] has found its signature right, but for the name of its issuer, whose keys are to be found.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TOKEN_BYTES_MAX;
use super::jwks::{Algorithm, KeySet};

/// What a token claims.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`; empty where there is none.
    pub subject: String,
    /// `aud`: one, or several.
    pub audiences: Vec<String>,
    /// `azp`.
    pub authorized_party: Option<String>,
    /// `email`.
    pub email: Option<String>,
    /// `amr`.
    pub methods: Vec<String>,
    /// `exp`.
    pub expires_seconds: Option<i64>,
    /// `nbf`.
    pub not_before_seconds: Option<i64>,
    /// `iat`.
    pub issued_seconds: Option<i64>,
}

/// A token, read and not verified. No `Debug`: it lets its bearer in.
pub struct Token<'t> {
    algorithm: String,
    key_id: Option<String>,
    has_extensions: bool,
    signed: &'t str,
    signature: Vec<u8>,
    /// What it claims.
    pub claims: Claims,
}

impl<'t> Token<'t> {
    /// Reads a token; `None` for what is none, or has a claim of another type than the standard's.
    pub fn parse(text: &'t str) -> Option<Token<'t>> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = object(header)?;
        let payload = object(payload)?;
        Some(Token {
            algorithm: text_of(&header, "alg")??,
            key_id: text_of(&header, "kid")?,
            has_extensions: header.contains_key("crit"),
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: claims(&payload)?,
        })
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// AWS's sentence, or why the token cannot be checked.
    pub fn verify(&self, keys: &KeySet) -> Result<(), &'static str> {
        if self.has_extensions {
            return Err("The token needs extensions that are not served.");
        }
        let algorithm = Algorithm::of_name(&self.algorithm);
        let algorithm = algorithm.ok_or("The token is signed by an algorithm that is not served: RS256, RS384, RS512, ES256, ES384 and ES512 are.")?;
        let (text, signature) = (self.signed.as_bytes(), &self.signature);
        match keys.verify(
            self.key_id.as_deref(),
            algorithm,
            &self.algorithm,
            text,
            signature,
        ) {
            true => Ok(()),
            false => Err(
                "Couldn't retrieve verification key from your identity provider, or the signature of the token is wrong.",
            ),
        }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn claims(payload: &Map<String, Value>) -> Option<Claims> {
    Some(Claims {
        issuer: text_of(payload, "iss")?,
        subject: text_of(payload, "sub")?.unwrap_or_default(),
        audiences: texts_of(payload, "aud")?,
        authorized_party: text_of(payload, "azp")?,
        email: text_of(payload, "email")?,
        methods: texts_of(payload, "amr")?,
        expires_seconds: seconds_of(payload, "exp")?,
        not_before_seconds: seconds_of(payload, "nbf")?,
        issued_seconds: seconds_of(payload, "iat")?,
    })
}

/// `None` where what is there is no text; `Some(None)` where nothing is.
fn text_of(fields: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match fields.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

fn texts_of(fields: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    match fields.get(name) {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect()
        }
        Some(_) => None,
    }
}

/// Seconds since the Unix epoch, which may have a fraction.
fn seconds_of(fields: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    let Some(value) = fields.get(name) else {
        return Some(None);
    };
    let whole = value.as_i64().or_else(|| {
        let seconds = value.as_f64()?;
        let is_time = seconds.is_finite() && seconds.abs() < 1e15;
        is_time.then_some(seconds.floor() as i64)
    });
    whole.map(Some)
}
