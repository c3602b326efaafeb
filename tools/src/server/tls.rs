//! The certificate and the private key of the ports: read, checked, and shown by every reactor; [`reload`]: read again.
//!
//! Invariants: what was read at one time belongs together, or is refused; no error repeats what the files hold.

pub mod reload;

use std::fs;
use std::path::Path;

use strata_gateway::tls::identity::{Identity, IdentityError};
use strata_gateway::tls::validity::Validity;

use crate::config::TlsFiles;

/// A certificate chain or key that is larger, in bytes, is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads both files.
///
/// # Errors
/// One of them cannot be read or used, or they do not belong together; names the file.
pub fn read(files: &TlsFiles) -> Result<Identity, String> {
    let (cert, key) = (&files.cert, &files.key);
    let pair = (read_file("tls.cert", cert)?, read_file("tls.key", key)?);
    Identity::from_pem(&pair.0, &pair.1).map_err(|error| match error {
        IdentityError::Certificate(why) => format!("`tls.cert`: {} {why}", cert.display()),
        IdentityError::Key(why) => format!("`tls.key`: {} {why}", key.display()),
        IdentityError::Mismatch => format!(
            "`tls.cert` and `tls.key`: the certificate in {} is of another private key than the one in {}",
            cert.display(),
            key.display()
        ),
        IdentityError::NoRandomness => error.to_string(),
    })
}

fn read_file(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("`{name}`: {} {why}", path.display());
    let unreadable = |error| failed(format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(failed("is not a file".to_owned()));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(path).map_err(unreadable)
}

/// What is to be said of a certificate that clients refuse at this time, in seconds since the Unix epoch.
pub fn warning(files: &TlsFiles, validity: Validity, now: i64) -> Option<String> {
    let why = if now > validity.not_after {
        format!("expired {} days ago", (now - validity.not_after) / 86_400)
    } else if now < validity.not_before {
        let days = (validity.not_before - now) / 86_400;
        format!("does not hold before {days} days from now")
    } else {
        return None;
    };
    Some(format!(
        "`tls.cert`: the certificate in {} {why}: clients refuse it",
        files.cert.display()
    ))
}

/// The time, in seconds since the Unix epoch.
pub fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
