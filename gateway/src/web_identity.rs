//! Identities of providers outside (OpenID Connect), by which `AssumeRoleWithWebIdentity` lets somebody in: which issuers are trusted, for which audiences, and by
//! which keys.
//!
//! | module | what |
//! |---|---|
//! | [`jwks`] | the keys of an issuer (RFC 7517) |
//! | [`jwt`] | a token: its form, its signature and its claims (RFC 7519, RFC 7515) |
//!
//! The checks are those of OpenID Connect Core 1.0, section 3.1.3.7, and of AWS's API reference of STS, AssumeRoleWithWebIdentity. Invariants: only issuers
//! of the configuration are trusted, each with its own keys; a signature is checked before a claim but the issuer's name is looked at; `none` and keys
//! that are shared (HMAC) are refused whatever a token says; a token is never logged.

pub mod jwks;
pub mod jwt;

use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Code, Fault};
use jwks::KeySet;
use jwt::{Claims, Token};

/// The longest token, in bytes (API reference of STS, AssumeRoleWithWebIdentity).
pub const TOKEN_BYTES_MAX: usize = 20_000;

/// How far the clock of an issuer may be ahead, in seconds.
const SKEW_SECONDS_MAX: i64 = 60;

/// An issuer of identities that is trusted.
#[derive(Debug)]
pub struct Provider {
    /// `https://` and its name, as its tokens have it.
    pub issuer: String,
    /// The audiences that tokens may be for.
    pub audiences: Vec<String>,
    keys: RwLock<Arc<KeySet>>,
}

impl Provider {
    /// One with these keys.
    pub fn new(issuer: String, audiences: Vec<String>, keys: KeySet) -> Provider {
        Provider {
            issuer,
            audiences,
            keys: RwLock::new(Arc::new(keys)),
        }
    }

    /// Its name, as policies have it: the issuer without `https://`.
    pub fn name(&self) -> &str {
        self.issuer.strip_prefix("https://").unwrap_or(&self.issuer)
    }

    /// Has other keys from now on.
    pub fn replace_keys(&self, keys: KeySet) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn keys(&self) -> Arc<KeySet> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An identity that a provider has vouched for.
#[derive(Debug)]
pub struct Vouched<'p> {
    /// The provider.
    pub provider: &'p Provider,
    /// What the token claims.
    pub claims: Claims,
    /// The audience that the token is for and that is trusted.
    pub audience: String,
}

/// All issuers that are trusted.
#[derive(Debug, Default)]
pub struct WebIdentity {
    /// Each with its own keys.
    pub providers: Vec<Provider>,
}

impl WebIdentity {
    /// Checks a token, at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// `InvalidIdentityToken`, `ExpiredTokenException`.
    pub fn verify(&self, token: &str, now: i64) -> Result<Vouched<'_>, Fault> {
        let token = Token::parse(token)
            .ok_or_else(|| invalid("The token is no JSON Web Token that can be read."))?;
        let issuer = token.claims.issuer.as_deref().unwrap_or_default();
        let mut providers = self.providers.iter();
        let provider = providers.find(|provider| provider.issuer == issuer);
        let provider = provider.ok_or_else(|| {
            invalid("No OpenIDConnect provider found in your account for the issuer of the token.")
        })?;
        token.verify(&provider.keys()).map_err(invalid)?;
        let claims = token.claims;
        check_times(&claims, now)?;
        if claims.subject.is_empty() {
            return Err(invalid("The token has no subject."));
        }
        // A token that names who it was made for counts as for that one.
        let of_token = match &claims.authorized_party {
            Some(party) => std::slice::from_ref(party),
            None => &claims.audiences[..],
        };
        let mut of_token = of_token.iter();
        let audience = of_token
            .find(|audience| provider.audiences.contains(audience))
            .cloned();
        let audience = audience.ok_or_else(|| invalid("Incorrect token audience"))?;
        Ok(Vouched {
            provider,
            claims,
            audience,
        })
    }
}

fn check_times(claims: &Claims, now: i64) -> Result<(), Fault> {
    let Some(expires) = claims.expires_seconds else {
        return Err(invalid("The token does not say when it expires."));
    };
    if now >= expires {
        return Err(Code::ExpiredTokenException.into());
    }
    let is_ahead =
        |time: Option<i64>| time.is_some_and(|time| time > now.saturating_add(SKEW_SECONDS_MAX));
    match is_ahead(claims.not_before_seconds) || is_ahead(claims.issued_seconds) {
        true => Err(invalid("The token is not valid yet.")),
        false => Ok(()),
    }
}

fn invalid(message: &'static str) -> Fault {
    Fault::new(Code::InvalidIdentityToken, message)
}

#[cfg(test)]
mod tests;
