//! The protocol of the admin socket: on each connection one request and one answer, each a line of JSON.
//!
//! Invariants: both say which version of the protocol they are of, and another one is refused by name; lines are bounded. What
//! a version holds is written in docs/OPERATION.md.

pub mod users;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use strata_net::scheme::Scheme;
use strata_raftlog::namespace::RootKey;
use users::UsersRequest;

/// The version that is spoken.
pub const VERSION: u64 = 1;

/// The socket, in the metadata directory of a server.
pub const SOCKET: &str = "admin.sock";

/// The longest line of a request, with its end.
pub const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// The longest line of an answer, with its end: the most users there may be, with 3 KiB of each.
pub const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What is asked of a server.
#[derive(PartialEq, Eq)]
pub enum Request {
    /// What it shows of itself.
    Status,
    /// To bring a root key into force: this one, or one that it makes.
    SetRootKey(Option<RootKey>),
    /// To put a new device in an empty directory or on a block device in the place of a lost one.
    ReplaceDevice {
        /// The lost one: its uuid, or the path that it had.
        lost: String,
        /// The directory or block device, as a path from the root.
        place: String,
        /// Whether a block device may hold something.
        force_format: bool,
    },
    /// To put a new device in an empty directory or on a block device beside the others.
    AddDevice {
        /// The directory or block device, as a path from the root.
        place: String,
        /// Whether a block device may hold something.
        force_format: bool,
    },
    /// To give the slots of a device to others, and move what it holds.
    DrainDevice {
        /// Its uuid, or its path.
        device: String,
    },
    /// To remove what is noted of a device that holds nothing any more.
    ForgetDevice {
        /// Its uuid.
        device: String,
    },
    /// To spread the slots of placement groups over the devices anew.
    RebalanceLayout,
    /// To give the layout another scheme.
    SetLayout {
        /// That of new chunks.
        scheme: Scheme,
    },
    /// To read all chunks and compare them with their checksums.
    StartScrub,
    /// About users, groups, access keys and policies.
    Users(UsersRequest),
}

impl Request {
    /// The line, without its end.
    pub fn encode(&self) -> String {
        let request = match self {
            Request::Status => json!({ "version": VERSION, "request": "status" }),
            Request::SetRootKey(None) => json!({ "version": VERSION, "request": "set-root-key" }),
            Request::SetRootKey(Some(key)) => json!({
                "version": VERSION,
                "request": "set-root-key",
                "access_key_id": key.access_key_id,
                "secret_access_key": key.secret_access_key,
            }),
            Request::ReplaceDevice {
                lost,
                place,
                force_format,
            } => json!({
                "version": VERSION,
                "request": "replace-device",
                "lost": lost,
                "place": place,
                "force_format": force_format,
            }),
            Request::AddDevice {
                place,
                force_format,
            } => json!({
                "version": VERSION,
                "request": "add-device",
                "place": place,
                "force_format": force_format,
            }),
            Request::DrainDevice { device } => json!({
                "version": VERSION,
                "request": "drain-device",
                "device": device,
            }),
            Request::ForgetDevice { device } => json!({
                "version": VERSION,
                "request": "forget-device",
                "device": device,
            }),
            Request::SetLayout { scheme } => json!({
                "version": VERSION,
                "request": "set-layout",
                "data_shards": scheme.data_shards(),
                "parity_shards": scheme.losses(),
            }),
            Request::RebalanceLayout => {
                json!({ "version": VERSION, "request": "rebalance-layout" })
            }
            Request::StartScrub => json!({ "version": VERSION, "request": "start-scrub" }),
            Request::Users(request) => {
                let mut fields = request.fields();
                fields.insert("version".to_owned(), VERSION.into());
                Value::Object(fields)
            }
        };
        request.to_string()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for whoever sent it.
    pub fn decode(line: &str) -> Result<Request, String> {
        let fields = object(line)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let shards = |name: &str| usize::try_from(fields.get(name)?.as_u64()?).ok();
        let force_format = match fields.get("force_format") {
            None => false,
            Some(Value::Bool(force)) => *force,
            Some(_) => return Err("force_format is true or false".to_owned()),
        };
        match text("request") {
            Some("status") => Ok(Request::Status),
            Some("set-root-key") => match (text("access_key_id"), text("secret_access_key")) {
                (None, None) => Ok(Request::SetRootKey(None)),
                (Some(access_key_id), Some(secret_access_key)) => {
                    Ok(Request::SetRootKey(Some(RootKey {
                        access_key_id: access_key_id.to_owned(),
                        secret_access_key: secret_access_key.to_owned(),
                    })))
                }
                _ => Err("access_key_id and secret_access_key come together".to_owned()),
            },
            Some("replace-device") => match (text("lost"), text("place")) {
                (Some(lost), Some(place)) => Ok(Request::ReplaceDevice {
                    lost: lost.to_owned(),
                    place: place.to_owned(),
                    force_format,
                }),
                _ => Err("replace-device names `lost` and `place`".to_owned()),
            },
            Some("add-device") => match text("place") {
                Some(place) => Ok(Request::AddDevice {
                    place: place.to_owned(),
                    force_format,
                }),
                None => Err("add-device names `place`".to_owned()),
            },
            Some("drain-device") => match text("device") {
                Some(device) => Ok(Request::DrainDevice {
                    device: device.to_owned(),
                }),
                None => Err("drain-device names `device`".to_owned()),
            },
            Some("forget-device") => match text("device") {
                Some(device) => Ok(Request::ForgetDevice {
                    device: device.to_owned(),
                }),
                None => Err("forget-device names `device`".to_owned()),
            },
            Some("set-layout") => match (shards("data_shards"), shards("parity_shards")) {
                (Some(k), Some(m)) => {
                    let scheme = Scheme::new(k, m);
                    let scheme = scheme.ok_or_else(|| format!("there is no scheme {k}+{m}"))?;
                    Ok(Request::SetLayout { scheme })
                }
                _ => Err(
                    "set-layout names `data_shards` and `parity_shards`, both numbers".to_owned(),
                ),
            },
            Some("rebalance-layout") => Ok(Request::RebalanceLayout),
            Some("start-scrub") => Ok(Request::StartScrub),
            Some(other) => match UsersRequest::read(&fields) {
                Some(read) => Ok(Request::Users(
                    read.map_err(|why| format!("{other}: {why}"))?,
                )),
                None => Err(format!("`{other}` is no request of version {VERSION}")),
            },
            None => Err("the request has no name".to_owned()),
        }
    }
}

/// The line of an answer, without its end.
pub fn encode_answer(answer: Result<Value, String>) -> String {
    let answer = match answer {
        Ok(value) => json!({ "version": VERSION, "ok": value }),
        Err(why) => json!({ "version": VERSION, "error": why }),
    };
    answer.to_string()
}

/// Reads the line of an answer.
///
/// # Errors
/// That of the server, or what is wrong with the line.
pub fn decode_answer(line: &str) -> Result<Value, String> {
    let mut fields = object(line)?;
    match (
        fields.remove("ok"),
        fields.get("error").and_then(Value::as_str),
    ) {
        (Some(value), _) => Ok(value),
        (None, Some(why)) => Err(why.to_owned()),
        (None, None) => Err("the answer says nothing".to_owned()),
    }
}

fn object(line: &str) -> Result<Map<String, Value>, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("not a line of JSON: {error}"))?;
    let Value::Object(fields) = value else {
        return Err("not an object".to_owned());
    };
    match fields.get("version").and_then(Value::as_u64) {
        Some(VERSION) => Ok(fields),
        Some(other) => Err(format!(
            "version {other} of the protocol is spoken there, and {VERSION} here: use the `strata` of the server's version"
        )),
        None => Err("no version is told".to_owned()),
    }
}

/// Reads one line of at most so many bytes, with its end.
///
/// # Errors
/// What the system says; `InvalidData` for one that is too long or not UTF-8, `UnexpectedEof` for an unfinished one.
pub fn read_line(from: impl Read, bytes_max: u64) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(bytes_max)).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None if line.len() as u64 == bytes_max => Err(too_long("the line", bytes_max)),
        None => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the line has no end",
        )),
    }
}

/// Whether a request may be sent.
///
/// # Errors
/// `InvalidData` for one that is too long.
pub fn check_request(line: &str) -> io::Result<()> {
    match (line.len() as u64) < REQUEST_BYTES_MAX {
        true => Ok(()),
        false => Err(too_long("the request", REQUEST_BYTES_MAX)),
    }
}

fn too_long(what: &str, bytes_max: u64) -> io::Error {
    let why = format!("{what} is longer than {bytes_max} bytes, the most that the protocol allows");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Does something to the socket of a metadata directory by a path of few bytes, however long the directory's is: the address of
/// a socket has room for 107 (unix(7)).
///
/// # Errors
/// That of the act, and where the directory cannot be opened.
pub fn at_socket<R>(
    metadata_dir: &Path,
    act: impl FnOnce(&Path) -> io::Result<R>,
) -> io::Result<R> {
    let directory = File::open(metadata_dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    act(&short.join(SOCKET))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RootKey {
        RootKey {
            access_key_id: "ID".to_owned(),
            secret_access_key: "hushhush".to_owned(),
        }
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        for request in [
            Request::Status,
            Request::SetRootKey(None),
            Request::SetRootKey(Some(key())),
            Request::ReplaceDevice {
                lost: "a uuid".to_owned(),
                place: "/data/new disk".to_owned(),
                force_format: false,
            },
            Request::AddDevice {
                place: "/data/one more".to_owned(),
                force_format: true,
            },
            Request::DrainDevice {
                device: "a uuid".to_owned(),
            },
            Request::ForgetDevice {
                device: "a uuid".to_owned(),
            },
            Request::SetLayout {
                scheme: Scheme::copies(3),
            },
            Request::RebalanceLayout,
            Request::StartScrub,
        ] {
            assert!(Request::decode(&request.encode()) == Ok(request));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        for (line, why) in [
            ("", "JSON"),
            ("[]", "object"),
            ("{}", "version"),
            (r#"{"version":1}"#, "no name"),
            (r#"{"version":2,"request":"status"}"#, "version 2"),
            (r#"{"version":1,"request":"explode"}"#, "`explode`"),
            (
                r#"{"version":1,"request":"add-device","place":"/a","force_format":"x"}"#,
                "true or false",
            ),
            (
                r#"{"version":1,"request":"set-root-key","access_key_id":"x"}"#,
                "together",
            ),
            (
                r#"{"version":1,"request":"replace-device","lost":"x"}"#,
                "`place`",
            ),
            (
                r#"{"version":1,"request":"set-layout","data_shards":4}"#,
                "`parity_shards`",
            ),
            (
                r#"{"version":1,"request":"set-layout","data_shards":4,"parity_shards":0}"#,
                "no scheme 4+0",
            ),
        ] {
            let said = Request::decode(line).err().expect(line);
            assert!(said.contains(why), "{line}: {said}");
        }
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        assert_eq!(decode_answer(&encode_answer(Ok(json!(7)))), Ok(json!(7)));
        let refused = decode_answer(&encode_answer(Err("no".to_owned())));
        assert_eq!(refused, Err("no".to_owned()));
    }

    #[test]
    fn lines_are_bounded_and_whole() {
        assert_eq!(read_line(&b"one\ntwo"[..], 4).expect("a line"), "one");
        for (text, kind) in [
            (&b"half"[..], io::ErrorKind::UnexpectedEof),
            (&b"longer\n"[..], io::ErrorKind::InvalidData),
        ] {
            let refused = read_line(text, 6).expect_err("no line");
            assert_eq!(refused.kind(), kind);
        }
        let refused = read_line(io::repeat(b'x'), ANSWER_BYTES_MAX).expect_err("no line");
        assert!(refused.to_string().contains("16777216 bytes"), "{refused}");
    }

    #[test]
    fn a_request_that_is_too_long_is_not_sent() {
        let line = "x".repeat(REQUEST_BYTES_MAX as usize - 1);
        assert!(check_request(&line).is_ok());
        let refused = check_request(&(line + "x")).expect_err("too long");
        assert!(refused.to_string().contains("1048576 bytes"), "{refused}");
    }
}
