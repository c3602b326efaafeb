//! Tokens of temporary credentials: all that is known of a session, sealed under a key of the cluster.
//!
//! A token is base64 of: version 1, the number of the session key 4, a nonce 12, and what AES-256-GCM-SIV (RFC 8452) makes of the session, with its tag 16; version
//! and number are authenticated with it. In it, numbers are big endian, and a text is its length 2 and UTF-8:
//!
//! | field | bytes |
//! |---|---|
//! | issued, expires | 8 each, seconds since the Unix epoch |
//! | access key id, secret | texts |
//! | who | 1: 1 the root, then its account 8 and when that was created 8; 2 a user, then name and id; 3 a role, then name, id, name of the session, and provider of the identity (empty for none) |
//! | session policies | 1: 0 none, 1 some |
//! | where some | the document, a text (empty for none); how many managed policies 1; of each its source 1 (1 of the replicated state, 2 built in) and name |
//!
//! Invariants: the state holds nothing of a session, so that every node knows a token by the key alone, and none outlives the removal of its key; a
//! token that differs in one bit is refused; a token fits a header, see [`TOKEN_BYTES_MAX`]; what came from outside is read without a panic;
//! secrets are shown by no `Debug`. The nonce is random; with GCM-SIV two that are alike would tell no more than whether their sessions are.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strata_raftlog::namespace::{ManagedPolicyName, PolicySource, SESSION_KEY_BYTES, SessionKey};

use super::{Credential, Subject};
use crate::error::{Code, Fault};

/// The beginning of the ids of temporary access keys, which no other key has (IAM user guide, "IAM identifiers").
pub const TEMPORARY_KEY_PREFIX: &str = "ASIA";

/// The longest token, in bytes: it rides in a header, or percent-encoded in a URL, and both are bounded.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// The most that the session policies of a token take, in bytes: 2,048 characters of two bytes, and ten names.
pub const PACKED_POLICY_BYTES_MAX: usize = 5_500;

/// The longest document of a session policy, in characters (API reference of STS, AssumeRole).
pub const SESSION_POLICY_CHARACTERS_MAX: usize = 2_048;

/// Managed policies of a session at most.
pub const SESSION_POLICY_ARNS_MAX: usize = 10;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The header that a token comes in.
pub const HEADER: &str = "x-amz-security-token";

/// The token that comes with a request: in its header, or in the query of a presigned URL, where it counts more than the header.
///
/// # Errors
/// `InvalidToken` for two, or for one that is no text.
pub fn of_request<'s>(subject: &Subject<'s>) -> Result<Option<&'s str>, Fault> {
    let pairs = subject.query.pairs().iter();
    let mut in_query = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(HEADER));
    let mut in_header = subject.headers.get_all(HEADER).iter();
    let found = match (in_query.next(), in_header.next()) {
        (Some((_, token)), _) => token.as_str(),
        (None, Some(token)) => token.to_str().map_err(|_| Code::InvalidToken)?,
        (None, None) => return Ok(None),
    };
    match in_query.next().is_some() || in_header.next().is_some() {
        true => Err(Code::InvalidToken.into()),
        false => Ok(Some(found)),
    }
}

/// Whose rights a session has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Those of an account's root.
    Root {
        /// The account.
        account: u64,
        /// When it was created, in nanoseconds since the Unix epoch, 0 for the first: another account of that number was at another time.
        created_nanos: i64,
    },
    /// Those of a user.
    User {
        /// The name.
        name: String,
        /// The id: another user of that name has another.
        id: String,
    },
    /// Those of a role.
    Role {
        /// The role's name.
        name: String,
        /// The id: another role of that name has another.
        id: String,
        /// What the session is called.
        session: String,
        /// The provider of the identity that it was assumed with, where it was one.
        provider: Option<String>,
    },
}

/// What restricts a session beside the policies of whoever it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicies {
    /// What it was given in the call.
    pub document: Option<String>,
    /// The managed policies that were named there.
    pub managed: Vec<ManagedPolicyName>,
}

impl SessionPolicies {
    /// The bytes that they take in a token.
    pub fn packed_bytes(&self) -> usize {
        let names = self.managed.iter().map(|policy| 3 + policy.name.len());
        3 + self.document.as_ref().map_or(0, String::len) + names.sum::<usize>()
    }
}

/// A session: temporary credentials and whose rights they carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Key and secret.
    pub credential: Credential,
    /// When it began, in seconds since the Unix epoch.
    pub issued_seconds: i64,
    /// When it ends.
    pub expires_seconds: i64,
    /// Whose rights it has.
    pub who: Who,
    /// What restricts them; `None` where nothing does.
    pub policies: Option<SessionPolicies>,
}

/// Why a token could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// The session does not fit.
    TooLong,
    /// There is no randomness, or the key cannot be used.
    Failed,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealError::TooLong => "the session does not fit a token",
            SealError::Failed => "the token could not be sealed",
        })
    }
}

/// Makes the token of a session.
///
/// # Errors
/// `TooLong` where a text of it, or the token, is longer than may be.
pub fn seal(session: &Session, key: &SessionKey) -> Result<String, SealError> {
    let mut plain = encode(session).ok_or(SealError::TooLong)?;
    let mut nonce = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError::Failed)?;
    let mut token = vec![VERSION];
    token.extend_from_slice(&key.number.to_be_bytes());
    let sealing = sealing_key(&key.secret.0).ok_or(SealError::Failed)?;
    let head = Aad::from(token.clone());
    let sealed =
        sealing.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), head, &mut plain);
    sealed.map_err(|_| SealError::Failed)?;
    token.extend_from_slice(&nonce);
    token.extend_from_slice(&plain);
    let token = STANDARD.encode(token);
    match token.len() <= TOKEN_BYTES_MAX {
        true => Ok(token),
        false => Err(SealError::TooLong),
    }
}

/// The number of the key that a token says it is sealed with; `None` for what is no token.
pub fn key_number(token: &str) -> Option<u32> {
    // The head needs no more than the first characters.
    let start = token.get(..8).filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
    let head = STANDARD.decode(start).ok()?;
    match head.first_chunk::<HEAD_BYTES>()? {
        [VERSION, number @ ..] => Some(u32::from_be_bytes(*number)),
        _ => None,
    }
}

/// The session of a token; `None` for what the key has not sealed as it is.
pub fn open(token: &str, key: &SessionKey) -> Option<Session> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let token = STANDARD.decode(token).ok()?;
    let (head, rest) = token.split_first_chunk::<HEAD_BYTES>()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
    if head[0] != VERSION || head[1..] != key.number.to_be_bytes() || sealed.len() < TAG_BYTES {
        return None;
    }
    let mut sealed = sealed.to_vec();
    let opening = sealing_key(&key.secret.0)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = opening
        .open_in_place(nonce, Aad::from(*head), &mut sealed)
        .ok()?;
    decode(plain)
}

fn sealing_key(secret: &[u8; SESSION_KEY_BYTES]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM_SIV, secret).ok()?;
    Some(LessSafeKey::new(key))
}

fn encode(session: &Session) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(512);
    let text = |plain: &mut Vec<u8>, text: &str| {
        let length = u16::try_from(text.len()).ok()?;
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
        Some(())
    };
    plain.extend_from_slice(&session.issued_seconds.to_be_bytes());
    plain.extend_from_slice(&session.expires_seconds.to_be_bytes());
    text(&mut plain, &session.credential.access_key_id)?;
    text(&mut plain, &session.credential.secret_access_key)?;
    match &session.who {
        Who::Root {
            account,
            created_nanos,
        } => {
            plain.push(1);
            plain.extend_from_slice(&account.to_be_bytes());
            plain.extend_from_slice(&created_nanos.to_be_bytes());
        }
        Who::User { name, id } => {
            plain.push(2);
            text(&mut plain, name)?;
            text(&mut plain, id)?;
        }
        Who::Role {
            name,
            id,
            session,
            provider,
        } => {
            plain.push(3);
            for part in [name, id, session, provider.as_deref().unwrap_or_default()] {
                text(&mut plain, part)?;
            }
        }
    }
    let Some(policies) = &session.policies else {
        plain.push(0);
        return Some(plain);
    };
    plain.push(1);
    text(&mut plain, policies.document.as_deref().unwrap_or_default())?;
    plain.push(u8::try_from(policies.managed.len()).ok()?);
    for policy in &policies.managed {
        plain.push(match policy.source {
            PolicySource::State => 1,
            PolicySource::BuiltIn => 2,
        });
        text(&mut plain, &policy.name)?;
    }
    Some(plain)
}

fn decode(plain: &[u8]) -> Option<Session> {
    let mut rest = Rest(plain);
    let (issued_seconds, expires_seconds) = (rest.i64()?, rest.i64()?);
    let credential = Credential {
        access_key_id: rest.text()?,
        secret_access_key: rest.text()?,
    };
    let who = match rest.u8()? {
        1 => Who::Root {
            account: rest.i64()?.cast_unsigned(),
            created_nanos: rest.i64()?,
        },
        2 => Who::User {
            name: rest.text()?,
            id: rest.text()?,
        },
        3 => Who::Role {
            name: rest.text()?,
            id: rest.text()?,
            session: rest.text()?,
            provider: Some(rest.text()?).filter(|provider| !provider.is_empty()),
        },
        _ => return None,
    };
    let policies = match rest.u8()? {
        0 => None,
        1 => Some(rest.policies()?),
        _ => return None,
    };
    rest.0.is_empty().then_some(Session {
        credential,
        issued_seconds,
        expires_seconds,
        who,
        policies,
    })
}

/// What is not read yet.
struct Rest<'p>(&'p [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn policies(&mut self) -> Option<SessionPolicies> {
        let document = Some(self.text()?).filter(|document| !document.is_empty());
        let count = self.u8()?;
        let managed = (0..count).map(|_| {
            let source = match self.u8()? {
                1 => PolicySource::State,
                2 => PolicySource::BuiltIn,
                _ => return None,
            };
            let name = self.text()?;
            Some(ManagedPolicyName { source, name })
        });
        let managed = managed.collect::<Option<Vec<_>>>()?;
        Some(SessionPolicies { document, managed })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strata_raftlog::namespace::SessionKeySecret;

    use super::*;

    fn key(number: u32) -> SessionKey {
        SessionKey {
            number,
            created_nanos: 0,
            secret: SessionKeySecret([number as u8; SESSION_KEY_BYTES]),
        }
    }

    fn session(who: Who, policies: Option<SessionPolicies>) -> Session {
        Session {
            credential: Credential {
                access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
                secret_access_key: "s".repeat(40),
            },
            issued_seconds: 1_700_000_000,
            expires_seconds: 1_700_003_600,
            who,
            policies,
        }
    }

    fn role(provider: Option<&str>) -> Who {
        Who::Role {
            name: "backup".to_owned(),
            id: "AROA00000000000000001".to_owned(),
            session: "nightly".to_owned(),
            provider: provider.map(str::to_owned),
        }
    }

    fn sessions() -> Vec<Session> {
        let user = Who::User {
            name: "alice".to_owned(),
            id: "AIDA00000000000000001".to_owned(),
        };
        let managed = |source, name: &str| ManagedPolicyName {
            source,
            name: name.to_owned(),
        };
        let policies = SessionPolicies {
            document: Some("{\"ä\":1}".to_owned()),
            managed: vec![
                managed(PolicySource::State, "read"),
                managed(PolicySource::BuiltIn, "AmazonS3ReadOnlyAccess"),
            ],
        };
        let none = SessionPolicies {
            document: None,
            managed: Vec::new(),
        };
        vec![
            session(
                Who::Root {
                    account: 2,
                    created_nanos: 7,
                },
                None,
            ),
            session(user, None),
            session(role(None), Some(policies)),
            session(role(Some("id.example.com/a")), Some(none)),
        ]
    }

    #[test]
    fn a_token_opens_with_its_key_alone() {
        for session in sessions() {
            let token = seal(&session, &key(7)).unwrap();
            assert_eq!(key_number(&token), Some(7));
            assert_eq!(open(&token, &key(7)), Some(session.clone()));
            assert_eq!(open(&token, &key(8)), None);
            let other = SessionKey {
                number: 7,
                ..key(8)
            };
            assert_eq!(open(&token, &other), None, "the secret is another");
            let again = seal(&session, &key(7)).unwrap();
            assert_ne!(token, again, "the nonce is random");
        }
    }

    #[test]
    fn a_token_with_any_bit_flipped_is_refused() {
        let session = &sessions()[2];
        let token = seal(session, &key(1)).unwrap();
        let bytes = STANDARD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&STANDARD.encode(&flipped), &key(1)), None, "bit {bit}");
        }
        for length in 0..token.len() {
            assert_eq!(open(&token[..length], &key(1)), None, "cut at {length}");
        }
        assert_eq!(open(&format!("{token}AAAA"), &key(1)), None);
    }

    #[test]
    fn the_longest_session_fits_and_a_longer_one_is_refused() {
        let name = |letter: &str| ManagedPolicyName {
            source: PolicySource::State,
            name: letter.repeat(128),
        };
        let longest = |document: usize| {
            let policies = SessionPolicies {
                document: Some("x".repeat(document)),
                managed: vec![name("p"); SESSION_POLICY_ARNS_MAX],
            };
            let who = Who::Role {
                name: "r".repeat(64),
                id: "A".repeat(21),
                session: "s".repeat(64),
                provider: Some("h".repeat(255)),
            };
            session(who, Some(policies))
        };
        let names = longest(0).policies.unwrap().packed_bytes();
        let most = longest(PACKED_POLICY_BYTES_MAX - names);
        assert_eq!(
            most.policies.as_ref().unwrap().packed_bytes(),
            PACKED_POLICY_BYTES_MAX
        );
        assert!(PACKED_POLICY_BYTES_MAX - names > SESSION_POLICY_CHARACTERS_MAX * 2);
        let token = seal(&most, &key(1)).unwrap();
        assert!(token.len() <= TOKEN_BYTES_MAX, "{}", token.len());
        assert_eq!(seal(&longest(7_000), &key(1)), Err(SealError::TooLong));
        assert_eq!(seal(&longest(70_000), &key(1)), Err(SealError::TooLong));
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", sessions()[0]);
        assert!(!shown.contains("ssss"), "{shown}");
    }

    proptest! {
        /// What is decoded was sealed by us, but a decoder never panics.
        #[test]
        fn whatever_is_read_is_read_without_a_panic(bytes in any::<Vec<u8>>(), text in ".{0,80}", cut in 0usize..400, at in 0usize..400, byte in any::<u8>()) {
            let _ = (decode(&bytes), open(&text, &key(1)), key_number(&text));
            let _ = open(&STANDARD.encode(&bytes), &key(1));
            for session in sessions() {
                let mut plain = encode(&session).unwrap();
                prop_assert_eq!(decode(&plain), Some(session));
                let end = plain.len();
                plain[at % end] = byte;
                let _ = decode(&plain);
                plain.truncate(cut % end);
                let _ = decode(&plain);
            }
        }
    }
}
