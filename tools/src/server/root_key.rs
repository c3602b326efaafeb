//! The root key: made at the first start, kept in the replicated state, with a private copy beside the metadata.
//!
//! Two files in the metadata directory, mode 0600, in the form that a shell can read (`. FILE`):
//! - `root-key`: the copy of a key that Strata made. It is written before the key comes into force, so that no moment exists
//!   in which the key is known to the state and to nobody else;
//! - `root-key.next`: a key that `strata admin root-key` wants in force. The next start takes it up, a running server within a
//!   second; then it becomes `root-key`.
//!
//! Invariants: a secret is in no log, no error and no metric; a request that others could have written is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use strata_raftlog::namespace::RootKey;

use crate::config::environment;
use crate::config::value::{Secret, check_key_pair};

/// The copy of the key in force.
pub const COPY: &str = "root-key";
/// The key that is wanted in force.
pub const REQUEST: &str = "root-key.next";

const ACCESS_KEY_LINE: &str = "AWS_ACCESS_KEY_ID=";
const SECRET_KEY_LINE: &str = "AWS_SECRET_ACCESS_KEY=";

/// Characters of a secret that Strata makes: 40 of 62 kinds are 238 bits.
const SECRET_CHARACTERS: usize = 40;

/// Who knows the key in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The copy beside the metadata.
    Copy,
    /// The two variables of this process.
    Environment,
    /// Neither.
    Elsewhere,
}

/// Finds out who knows the key in force.
pub fn who_knows(
    metadata_dir: &Path,
    in_force: Option<&RootKey>,
    environment: Option<&RootKey>,
) -> Known {
    let copy = read(&metadata_dir.join(COPY)).unwrap_or_else(|why| {
        tracing::warn!(%why, "the copy of the root key is left aside");
        None
    });
    match in_force {
        Some(_) if copy.as_ref() == in_force => Known::Copy,
        Some(_) if environment == in_force => Known::Environment,
        _ => Known::Elsewhere,
    }
}

/// Makes a key.
///
/// # Errors
/// When the system has no random bytes.
pub fn make() -> Result<RootKey, String> {
    const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const ANY: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    Ok(RootKey {
        access_key_id: format!("STRATA{}", random_text(UPPER, 14)?),
        secret_access_key: random_text(ANY, SECRET_CHARACTERS)?,
    })
}

/// Characters of the alphabet, each with the same chance: bytes past the last whole multiple are thrown away.
fn random_text(alphabet: &[u8], length: usize) -> Result<String, String> {
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

/// The key that the two variables hold, if any.
///
/// # Errors
/// One of the two is missing, or a half is malformed.
pub fn from_environment(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<RootKey>, String> {
    let pair = environment::root_key(variable)?;
    Ok(pair.map(|(access_key_id, secret)| RootKey {
        access_key_id,
        secret_access_key: secret.reveal().to_owned(),
    }))
}

/// The key for a start that formats the node: that of the variables, the copy of a first start that was interrupted, or a
/// new one, whose copy is written. Where a start is not `likely` to format, nothing is written, and a copy that cannot be used
/// stands in nobody's way: the key in force is in the replicated state.
///
/// # Errors
/// A malformed key, or a copy that cannot be read or written.
pub fn for_first_start(
    metadata_dir: &Path,
    environment: Option<&RootKey>,
    likely: bool,
) -> Result<RootKey, String> {
    if let Some(key) = environment {
        return Ok(key.clone());
    }
    let path = metadata_dir.join(COPY);
    match read(&path) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) if likely => {}
        Err(why) if likely => return Err(why),
        Ok(None) | Err(_) => return make(),
    }
    let key = make()?;
    write(&path, &key)?;
    Ok(key)
}

/// Reads a key file; `None` when there is none.
///
/// # Errors
/// It cannot be read, is malformed, or others than its owner could have written it.
pub fn read(path: &Path) -> Result<Option<RootKey>, String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let ours = is_trusted(metadata.uid(), rustix::process::geteuid().as_raw());
    if !metadata.is_file() || metadata.mode() & 0o022 != 0 || metadata.len() > 4096 || !ours {
        return Err(format!(
            "{} is not a small file that the user of the server owns and only its owner can write; it is not used",
            path.display()
        ));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    parse(&text)
        .map(Some)
        .map_err(|why| format!("{} {why}", path.display()))
}

/// Whether a file of this owner may decide for a server that runs as this user.
fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

fn parse(text: &str) -> Result<RootKey, String> {
    let value = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    match (value(ACCESS_KEY_LINE), value(SECRET_KEY_LINE)) {
        (Some(access_key_id), Some(secret)) => {
            check_key_pair(access_key_id, &Secret::new(secret.to_owned()))?;
            Ok(RootKey {
                access_key_id: access_key_id.to_owned(),
                secret_access_key: secret.to_owned(),
            })
        }
        _ => Err(format!(
            "does not hold the lines {ACCESS_KEY_LINE} and {SECRET_KEY_LINE}"
        )),
    }
}

/// Writes a key file durably and in one step: a reader sees the old one or the new one, whole.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, key: &RootKey) -> Result<(), String> {
    let text = format!(
        "{ACCESS_KEY_LINE}{}\n{SECRET_KEY_LINE}{}\n",
        key.access_key_id, key.secret_access_key
    );
    let new = path.with_extension("new");
    let written = write_private(&new, text.as_bytes())
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| sync_parent(path));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The request of `strata admin root-key`, if one waits.
///
/// # Errors
/// As [`read`].
pub fn requested(metadata_dir: &Path) -> Result<Option<RootKey>, String> {
    read(&metadata_dir.join(REQUEST))
}

/// Makes the request the copy, after its key came into force. A newer request that has taken its place meanwhile stays one.
///
/// # Errors
/// When a file cannot be read, renamed or written.
pub fn request_taken_up(metadata_dir: &Path, key: &RootKey) -> Result<PathBuf, String> {
    let (request, copy) = (metadata_dir.join(REQUEST), metadata_dir.join(COPY));
    if read(&request)?.as_ref() != Some(key) {
        write(&copy, key)?;
        return Ok(copy);
    }
    let renamed = fs::rename(&request, &copy).and_then(|()| sync_parent(&copy));
    renamed.map_err(|error| format!("cannot rename {}: {error}", request.display()))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_keys_differ_and_pass_the_check() {
        let (one, other) = (make().expect("random"), make().expect("random"));
        assert_ne!(one.access_key_id, other.access_key_id);
        assert_ne!(one.secret_access_key, other.secret_access_key);
        assert_eq!(
            (one.access_key_id.len(), one.secret_access_key.len()),
            (20, SECRET_CHARACTERS)
        );
        assert!(check_key_pair(&one.access_key_id, &Secret::new(one.secret_access_key)).is_ok());
    }

    #[test]
    fn an_interrupted_first_start_keeps_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = for_first_start(directory.path(), None, true).expect("made");
        let mode = fs::metadata(directory.path().join(COPY))
            .expect("written")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            for_first_start(directory.path(), None, true),
            Ok(made.clone())
        );
        assert_eq!(who_knows(directory.path(), Some(&made), None), Known::Copy);
        let other = make().expect("random");
        assert_eq!(
            who_knows(directory.path(), Some(&other), Some(&other)),
            Known::Environment
        );
        assert_eq!(
            who_knows(directory.path(), Some(&other), Some(&made)),
            Known::Elsewhere
        );
        assert_eq!(
            for_first_start(directory.path(), Some(&other), true),
            Ok(other)
        );
    }

    #[test]
    fn a_start_that_formats_nothing_writes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        for_first_start(directory.path(), None, false).expect("made");
        assert!(!directory.path().join(COPY).exists());
    }

    #[test]
    fn a_request_becomes_the_copy() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(requested(directory.path()).expect("none").is_none());
        let key = make().expect("random");
        write(&directory.path().join(REQUEST), &key).expect("written");
        assert_eq!(
            requested(directory.path())
                .expect("read")
                .expect("there")
                .access_key_id,
            key.access_key_id
        );
        request_taken_up(directory.path(), &key).expect("renamed");
        assert!(requested(directory.path()).expect("none").is_none());
        assert_eq!(
            read(&directory.path().join(COPY))
                .expect("read")
                .expect("there")
                .access_key_id,
            key.access_key_id
        );
    }

    #[test]
    fn a_newer_request_is_not_taken_for_the_one_in_force() {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (make().expect("random"), make().expect("random"));
        write(&directory.path().join(REQUEST), &second).expect("written");
        request_taken_up(directory.path(), &first).expect("written");
        assert_eq!(requested(directory.path()), Ok(Some(second)));
        assert_eq!(read(&directory.path().join(COPY)), Ok(Some(first)));
    }

    #[test]
    fn a_copy_that_cannot_be_used_stops_only_a_first_start() {
        let directory = tempfile::tempdir().expect("a directory");
        for_first_start(directory.path(), None, true).expect("made");
        let path = directory.path().join(COPY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).expect("changed");
        assert!(for_first_start(directory.path(), None, true).is_err());
        assert!(for_first_start(directory.path(), None, false).is_ok());
    }

    #[test]
    fn only_the_user_of_the_server_and_root_may_decide() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn a_request_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(REQUEST);
        write(&path, &make().expect("random")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("changed");
        assert!(requested(directory.path()).is_err());
    }

    #[test]
    fn a_malformed_copy_is_an_error_that_does_not_show_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(COPY);
        fs::write(&path, "AWS_ACCESS_KEY_ID=abc\nAWS_SECRET=hushhush\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        let why = read(&path).expect_err("malformed");
        assert!(!why.contains("hush"), "{why}");
    }
}
