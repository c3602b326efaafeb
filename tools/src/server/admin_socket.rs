//! The admin socket: a Unix socket in the metadata directory, by which the user of the server and root ask a running server.
//!
//! It has threads of its own, beside the ops server: what is asked may wait for disks, and health must answer meanwhile. So does
//! the status while another request waits.
//!
//! Invariants: who asks is known by the kernel's word and not by the mode of a file alone; connections are bounded in number, size
//! and time; the socket of a server that was killed is replaced, as the lock of the directory says that its server is gone.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use strata_net::node::devices::DeviceChange;
use strata_net::node::status::Phase;
use strata_raftlog::namespace::RootKey;

use super::root_key::change::KeyChanges;
use super::status_report::StatusReport;
use super::users::Users;
use crate::admin::protocol::{self, Request};
use crate::config::value::{Secret, check_key_pair};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;

/// A request must be there, and its answer taken, within this.
const TRANSFER_TIME: Duration = Duration::from_secs(5);

/// Pause after a failed accept, which is mostly one without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What requests are answered from.
pub struct AdminRequests {
    /// What the server tells of itself.
    pub report: StatusReport,
    /// Changes of the root key.
    pub keys: KeyChanges,
    /// Users, groups, access keys and policies.
    pub users: Users,
}

/// The socket, removed when it is dropped.
pub struct AdminSocket {
    path: PathBuf,
}

impl AdminSocket {
    /// Listens in a metadata directory whose lock is held, and answers until the process ends.
    ///
    /// # Errors
    /// When it cannot be listened there.
    pub fn start(metadata_dir: &Path, requests: AdminRequests) -> Result<AdminSocket, String> {
        let path = metadata_dir.join(protocol::SOCKET);
        let failed = |error: io::Error| format!("cannot listen on {}: {error}", path.display());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = protocol::at_socket(metadata_dir, |short| UnixListener::bind(short));
        let listener = listener.map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        let thread = std::thread::Builder::new().name("strata-admin".to_owned());
        let spawned = thread.spawn(move || accept(&listener, &Arc::new(requests)));
        spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(AdminSocket { path })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // One that cannot be removed is replaced by the next start.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, requests: &Arc<AdminRequests>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no connection to the admin socket could be accepted; trying again");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            tracing::warn!("a connection to the admin socket was turned away: too many are open");
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (requests, counted) = (requests.clone(), open.clone());
        let thread = std::thread::Builder::new().name("strata-admin".to_owned());
        let spawned = thread.spawn(move || {
            if let Err(error) = serve(&stream, &requests) {
                tracing::debug!(%error, "a connection to the admin socket failed");
            }
            counted.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: &UnixStream, requests: &AdminRequests) -> io::Result<()> {
    stream.set_read_timeout(Some(TRANSFER_TIME))?;
    stream.set_write_timeout(Some(TRANSFER_TIME))?;
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    let answer = if may_ask(peer.uid.as_raw(), rustix::process::geteuid().as_raw()) {
        let line = protocol::read_line(stream, protocol::REQUEST_BYTES_MAX)?;
        Request::decode(&line).and_then(|request| answer(request, requests))
    } else {
        Err("only the user of the server and root may ask it".to_owned())
    };
    let line = protocol::encode_answer(answer) + "\n";
    stream.write_all(line.as_bytes())
}

/// Whether whoever runs as the one user may ask a server that runs as the other.
fn may_ask(peer: u32, server: u32) -> bool {
    peer == server || peer == 0
}

fn answer(request: Request, requests: &AdminRequests) -> Result<Value, String> {
    match request {
        Request::Status => Ok(requests.report.now()),
        Request::SetRootKey(given) => set_root_key(given, requests),
        Request::ReplaceDevice {
            lost,
            place,
            force_format,
        } => {
            let place = PathBuf::from(place);
            let replaced = DeviceChange::Replace {
                lost,
                place,
                force_format,
            };
            change_devices(replaced, requests)
        }
        Request::AddDevice {
            place,
            force_format,
        } => {
            let place = PathBuf::from(place);
            let added = DeviceChange::Add {
                place,
                force_format,
            };
            change_devices(added, requests)
        }
        Request::DrainDevice { device } => change_devices(DeviceChange::Drain { device }, requests),
        Request::ForgetDevice { device } => {
            change_devices(DeviceChange::Forget { device }, requests)
        }
        Request::RebalanceLayout => change_devices(DeviceChange::Rebalance, requests),
        Request::SetLayout { scheme } => {
            change_devices(DeviceChange::SetScheme { scheme }, requests)
        }
        Request::StartScrub => start_scrub(requests),
        Request::Users(request) => {
            refuse_unless_ready(requests, "users can be seen and changed")?;
            requests.users.ask(request)
        }
    }
}

/// # Errors
/// Why what was asked cannot be done now.
fn refuse_unless_ready(requests: &AdminRequests, what: &str) -> Result<(), String> {
    match requests.report.status.phase() {
        Phase::Ready => Ok(()),
        Phase::Starting(step) => Err(format!(
            "the server is starting ({step}); {what} when it is ready"
        )),
        Phase::Stopping => Err("the server is stopping".to_owned()),
        Phase::Failed(why) => Err(format!("the server has failed: {why}")),
    }
}

fn change_devices(change: DeviceChange, requests: &AdminRequests) -> Result<Value, String> {
    refuse_unless_ready(requests, "devices can be changed")?;
    if let DeviceChange::Replace { place, .. } | DeviceChange::Add { place, .. } = &change
        && !place.is_absolute()
    {
        return Err(format!("{} is no path from the root", place.display()));
    }
    let changes = requests.report.status.device_changes();
    let changed = changes
        .ok_or("the server does not serve yet")?
        .make(change)?;
    Ok(json!({
        "lost": changed.lost.map(|lost| lost.to_string()),
        "device": changed.device.map(|device| device.to_string()),
        "path": changed.path.display().to_string(),
        "placement_groups": changed.groups,
        "listed": changed.is_listed,
    }))
}

fn start_scrub(requests: &AdminRequests) -> Result<Value, String> {
    refuse_unless_ready(requests, "a scrub can be started")?;
    let redundancy = requests.report.status.redundancy();
    redundancy
        .ok_or("the server does not serve yet")?
        .ask_scrub();
    Ok(json!({}))
}

fn set_root_key(given: Option<RootKey>, requests: &AdminRequests) -> Result<Value, String> {
    refuse_unless_ready(requests, "the root key can be changed")?;
    if let Some(key) = &given {
        check_key_pair(
            &key.access_key_id,
            &Secret::new(key.secret_access_key.clone()),
        )
        .map_err(|why| format!("the root key {why}"))?;
    }
    let changed = requests.keys.change(given)?;
    let (copy, no_copy) = match changed.copy {
        Ok(copy) => (Some(copy.display().to_string()), None),
        Err(why) => (None, Some(why)),
    };
    Ok(json!({
        "access_key_id": changed.key.access_key_id,
        "secret_access_key": changed.key.secret_access_key,
        "copy": copy,
        "no_copy": no_copy,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_of_the_server_and_root_may_ask() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }
}
