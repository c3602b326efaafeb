//! The root key: made at the first start, kept in the replicated state, with private copies beside the metadata.
//!
//! Two files, mode 0600, in the form that a shell can read (`. FILE`):
//! - `root-key`: a copy of the key in force; [`copies`] says where;
//! - `root-key.next`: the key of a [`change`] under way.
//!
//! Invariants: a key that Strata made is in a file before it comes into force, so that no moment exists in which it is known to
//! the state and to nobody else; a secret is in no log, no error and no metric; a file that others could have written is refused;
//! no configured key has the id of the root key.

pub mod change;
pub mod copies;

pub(super) use change::is_without_effect;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use strata_gateway::random_text::{ANY, SECRET_CHARACTERS, UPPER, random_text};
use strata_raftlog::namespace::RootKey;

use crate::config::value::{Secret, check_key_pair};
use crate::config::{Config, environment};

/// The copy of the key in force.
pub const COPY: &str = "root-key";
/// The key of a change under way.
pub const NEXT: &str = "root-key.next";

const ACCESS_KEY_LINE: &str = "AWS_ACCESS_KEY_ID=";
const SECRET_KEY_LINE: &str = "AWS_SECRET_ACCESS_KEY=";

/// Makes a key.
///
/// # Errors
/// When the system has no random bytes.
pub fn make() -> Result<RootKey, String> {
    Ok(RootKey {
        access_key_id: format!("STRATA{}", random_text(UPPER, 14)?),
        secret_access_key: random_text(ANY, SECRET_CHARACTERS)?,
    })
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

/// Refuses a configured key that has the id of a root key: one of the two would silently win.
///
/// # Errors
/// Names the id and what to do.
pub fn refuse_same_id(config: &Config, root: &RootKey) -> Result<(), String> {
    let same = |id: &str| id == root.access_key_id;
    let mut configured = config.credentials.iter();
    match configured.find(|credential| same(&credential.access_key_id)) {
        None => Ok(()),
        Some(credential) => Err(format!(
            "`s3.auth.credentials` holds the id of the root key, {}: take it out of there, or change the root key with `strata \
             admin root-key` before",
            credential.access_key_id
        )),
    }
}

/// Checks the keys that can be known before a start: the two variables, and the configured keys against them and against the
/// copies that are there. Answers the key of the variables.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    config: &Config,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<RootKey>, String> {
    let environment = from_environment(variable)?;
    let copies = config.metadata_dirs.iter();
    // One that cannot be read decides nothing: the key in force is in the replicated state.
    let copies = copies.filter_map(|place| read(&place.join(COPY)).ok().flatten());
    for key in environment.iter().cloned().chain(copies) {
        refuse_same_id(config, &key)?;
    }
    Ok(environment)
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
        let other = make().expect("random");
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
    fn a_file_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(COPY);
        write(&path, &make().expect("random")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("changed");
        assert!(read(&path).is_err());
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
