//! Random ids and secrets.

use aws_lc_rs::rand;

/// The characters of ids, as AWS has them.
pub const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The characters of secrets.
pub const ANY: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Characters of a secret that Strata makes: 40 of 62 kinds are 238 bits.
pub const SECRET_CHARACTERS: usize = 40;

/// Characters of the ids of users, groups and policies behind their prefix.
const ENTITY_CHARACTERS: usize = 17;

/// Characters of access key ids behind their prefix.
const KEY_CHARACTERS: usize = 16;

/// Characters of the alphabet, each with the same chance: bytes past the last whole multiple are thrown away.
///
/// # Errors
/// When the system has no random bytes.
pub fn random_text(alphabet: &[u8], length: usize) -> Result<String, String> {
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::new();
    while text.len() < length {
        let mut bytes = [0; 64];
        rand::fill(&mut bytes).map_err(|_| "the system has no random bytes".to_owned())?;
        let usable = bytes.iter().filter(|byte| usize::from(**byte) < fair);
        text.extend(usable.map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])));
    }
    text.truncate(length);
    Ok(text)
}

/// An id as AWS has it, with a prefix such as `AIDA` for users (IAM user guide, "IAM identifiers").
///
/// # Errors
/// As [`random_text`].
pub fn entity_id(prefix: &str) -> Result<String, String> {
    Ok(prefix.to_owned() + &random_text(UPPER, ENTITY_CHARACTERS)?)
}

/// The id and the secret of an access key.
///
/// # Errors
/// As [`random_text`].
pub fn access_key() -> Result<(String, String), String> {
    let id = format!("AKIA{}", random_text(UPPER, KEY_CHARACTERS)?);
    Ok((id, random_text(ANY, SECRET_CHARACTERS)?))
}
