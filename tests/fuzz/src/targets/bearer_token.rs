//! Tokens that clients bring: those of temporary credentials as they are, and JSON Web Tokens. An input is header, claims and key set of one, a line each; its
//! signature is the fourth.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strata_gateway::auth::session_token;
use strata_gateway::web_identity::jwks::KeySet;
use strata_gateway::web_identity::jwt::Token;
use strata_gateway::web_identity::{Provider, WebIdentity};
use strata_raftlog::namespace::{SESSION_KEY_BYTES, SessionKey, SessionKeySecret};

use crate::allocation::bounded;

/// What the keys of the corpus are of.
const ISSUER: &str = "https://id.example.com/realm";

pub(super) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let key = SessionKey {
            number: session_token::key_number(text).unwrap_or_default(),
            created_nanos: 0,
            secret: SessionKeySecret([7; SESSION_KEY_BYTES]),
        };
        assert_eq!(
            session_token::open(text, &key),
            None,
            "it was sealed by none"
        );
        let _ = bounded(data.len(), || Token::parse(text).map(|token| token.claims));
    }
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (header, claims, keys, signature) = (part(), part(), part(), part());
    let encoded = [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = encoded.join(".");
    let claimed = bounded(token.len(), || {
        Token::parse(&token).map(|token| token.claims)
    });
    let Ok(keys) = bounded(keys.len(), || KeySet::parse(keys)) else {
        return;
    };
    let provider = Provider::new(ISSUER.to_owned(), vec!["strata".to_owned()], keys);
    let trusted = WebIdentity {
        providers: vec![provider],
    };
    // The corpus has no private key.
    let refused = trusted.verify(&token, 1_700_000_000).is_err();
    assert!(refused, "{claimed:?} has no signature");
}
