//! Finds the devices of a node among the listed directories, block devices and files, in any order, and decides whether this is a first start.
//!
//! Invariants: nothing is formatted unless ALL listed places are there and empty and no metadata exists; a place that is not
//! there or empty, or whose disk does not work, beside formatted ones is a missing device, and is never made; a device is known by
//! its uuid, never by its path; nothing is written before every device has been looked at.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::device::block;
use strata_engine::reactor::block_device::{BlockDevice, block_device as facts_of};
use strata_engine::reactor::{self, File, OpenOptions, fs};
use strata_engine::{EngineError, Superblock, Uuid};

use super::failure_domain::{self, FailureDomain};
use super::{NodeConfig, NodeError, block_device};

/// The device file inside a data directory.
pub const DEVICE_FILE: &str = "strata.device";

/// What a device is called that is being formatted in the place of another one: it gets its name when it is whole.
pub(super) const UNFINISHED_FILE: &str = "strata.device.new";

/// How long a place has to answer before it counts as sick: as long as an open device.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// A place where a device is or will be.
#[derive(Debug)]
pub struct Candidate {
    /// What the configuration says.
    pub listed: PathBuf,
    /// The device file.
    pub path: PathBuf,
    /// The number of its failure domain among those listed.
    pub domain: usize,
    /// What was found there.
    pub found: Found,
}

/// What lies at a place.
#[derive(Debug)]
pub enum Found {
    /// Nothing: the path does not exist.
    Missing,
    /// A disk that does not answer, or a device that cannot be used; says why.
    Sick(String),
    /// An empty directory or block device.
    Empty,
    /// A block device that is formatted all the same; says what it holds.
    Overwritten(String),
    /// A device.
    Device(Box<Superblock>),
}

/// What a look at all places shows.
#[derive(Debug)]
pub struct Discovery {
    /// Every place that is there, in the order listed.
    pub candidates: Vec<Candidate>,
    /// The places that are listed and count as missing devices, each with the reason.
    pub missing: Vec<String>,
    /// Those of them that are empty.
    pub empty: Vec<PathBuf>,
    /// Whether they are to be formatted.
    pub first_start: bool,
}

impl Discovery {
    /// Refuses empty places that no missing device of the node can have left.
    ///
    /// # Errors
    /// More of them than devices that are missing.
    pub(super) fn refuse_superfluous(&self, missing_devices: usize) -> Result<(), NodeError> {
        match self.empty.get(missing_devices) {
            None => Ok(()),
            Some(empty) => Err(NodeError::Devices(format!(
                "{} is empty and in the place of no missing device. Take it off storage.data_dir; to add it, start without it and \
                 hand it over: `strata device add`",
                empty.display()
            ))),
        }
    }
}

/// Looks at every listed place.
///
/// # Errors
/// A place that holds something else than a device, a device of another cluster or node, an empty place beside formatted
/// ones, metadata without devices: each with what to do.
pub async fn discover(config: &NodeConfig) -> Result<Discovery, NodeError> {
    let places = config.data_dirs.iter().enumerate();
    let looking = places.map(|(position, listed)| {
        let forced = config.force_format.contains(listed);
        look_at(config, position, listed, forced)
    });
    let looks = futures_util::future::try_join_all(looking).await?;
    let domains: Vec<FailureDomain> = looks.iter().map(|look| look.domain.clone()).collect();
    let candidates: Vec<Candidate> = config
        .data_dirs
        .iter()
        .zip(looks)
        .zip(failure_domain::group(&domains))
        .map(|((listed, look), domain)| Candidate {
            listed: listed.clone(),
            path: look.path,
            domain,
            found: look.found,
        })
        .collect();
    refuse_duplicates(&candidates)?;
    let first_start = decide(config, &candidates).await?;
    let (missing, candidates) = candidates
        .into_iter()
        .partition::<Vec<_>, _>(|candidate| !first_start && candidate.absence().is_some());
    let empty = missing.iter();
    let empty = empty.filter(|candidate| matches!(candidate.found, Found::Empty));
    Ok(Discovery {
        empty: empty.map(|candidate| candidate.listed.clone()).collect(),
        candidates,
        missing: missing.iter().filter_map(Candidate::absence).collect(),
        first_start,
    })
}

impl Candidate {
    /// Why its device counts as missing, if it does.
    fn absence(&self) -> Option<String> {
        let listed = self.listed.display();
        match &self.found {
            Found::Missing => Some(format!("{listed} is not there")),
            Found::Sick(why) => Some(format!("{listed} does not work ({why})")),
            Found::Empty => Some(format!(
                "{listed} is empty (of a directory: is its disk mounted? If it is a new disk, `strata device replace` takes it)"
            )),
            Found::Device(_) | Found::Overwritten(_) => None,
        }
    }
}

/// Whether a listed place is in use already, as far as can be seen before a start: a directory or path with a device file, a block
/// device with a superblock. Blocks.
pub fn holds_device(listed: &Path) -> bool {
    let path = device_path(listed);
    match block_device::is_block_device(&path) {
        true => block_device::holds_superblock(&path),
        false => path.exists(),
    }
}

/// The device file of a listed place: the place itself where it is a file or block device.
pub fn device_path(listed: &Path) -> PathBuf {
    if listed.is_dir() {
        listed.join(DEVICE_FILE)
    } else {
        listed.to_owned()
    }
}

/// What a look at one listed place has shown.
pub(super) struct Look {
    /// The device file.
    pub(super) path: PathBuf,
    pub(super) domain: FailureDomain,
    pub(super) found: Found,
}

/// What the file system says of a place.
enum Seen {
    Nothing,
    EmptyDirectory,
    DeviceIn(PathBuf),
}

/// Looks at a place, which is the so-many-th of those listed. `forced`: a block device may hold anything.
///
/// # Errors
/// A place that holds something else than a device, a block device that is in use.
pub(super) async fn look_at(
    config: &NodeConfig,
    position: usize,
    listed: &Path,
    forced: bool,
) -> Result<Look, NodeError> {
    let (path, domain, seen) = match in_time(see(config, position, listed)).await {
        Ok((path, domain, seen)) => (path, domain, seen?),
        Err(error) => {
            return Ok(Look {
                path: listed.join(DEVICE_FILE),
                domain: FailureDomain::Declared(position),
                found: sick_or_refused(listed, error)?,
            });
        }
    };
    let found = match seen {
        Seen::Nothing => Found::Missing,
        Seen::EmptyDirectory => Found::Empty,
        Seen::DeviceIn(path) => look_at_device(listed, &path, forced).await?,
    };
    Ok(Look {
        path,
        domain,
        found,
    })
}

/// A disk that hangs has as long to answer as an open device has.
async fn in_time<T>(question: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let asked = reactor::timeout(ANSWER_WAIT_MAX, question);
    let late = || io::Error::new(ErrorKind::TimedOut, "it does not answer");
    asked.await.unwrap_or_else(|_| Err(late()))
}

/// The device file of a listed place, its failure domain, and what the file system says of it.
async fn see(
    config: &NodeConfig,
    position: usize,
    listed: &Path,
) -> io::Result<(PathBuf, FailureDomain, Result<Seen, NodeError>)> {
    let domain = if config.assume_separate_failure_domains {
        FailureDomain::Declared(position)
    } else {
        let place = listed.to_owned();
        let resolving = fs::ask_kernel(move || failure_domain::resolve(&place));
        resolving.await.unwrap_or(FailureDomain::Unresolved)
    };
    let is_directory = match fs::status(listed).await {
        Ok(status) => status.is_directory,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((listed.to_owned(), domain, Ok(Seen::Nothing)));
        }
        Err(error) => return Err(error),
    };
    let path = match is_directory {
        true => listed.join(DEVICE_FILE),
        false => listed.to_owned(),
    };
    let seen = if fs::exists(&path).await? {
        Ok(Seen::DeviceIn(path.clone()))
    } else {
        let refused = refuse_other_content(listed, &config.metadata_dir).await;
        refused.map(|()| Seen::EmptyDirectory)
    };
    Ok((path, domain, seen))
}

async fn look_at_device(listed: &Path, path: &Path, forced: bool) -> Result<Found, NodeError> {
    let device = match in_time(facts_of(path)).await {
        Ok(device) => device,
        Err(error) => return sick_or_refused(path, error),
    };
    if device.is_some_and(|device| device.bytes == 0) {
        return Ok(Found::Sick("the block device has no bytes".to_owned()));
    }
    match strata_engine::read_superblock(path).await {
        Ok(superblock) => {
            if let Some(device) = &device {
                let kept = block::refuse_shrunk(device, superblock.block_device_bytes);
                kept.map_err(|error| NodeError::Devices(format!("{}: {error}", path.display())))?;
            }
            let options = OpenOptions {
                read_only: false,
                create: false,
                direct: false,
            };
            match in_time(File::open(path, options)).await {
                Ok(_) => Ok(Found::Device(Box::new(superblock))),
                Err(error) => sick_or_refused(path, error),
            }
        }
        Err(EngineError::Io(error)) => sick_or_refused(path, error),
        Err(error @ EngineError::Corrupt { .. }) => Ok(Found::Sick(error.to_string())),
        Err(EngineError::Unformatted) if let Some(device) = device => {
            look_at_unformatted(path, &device, forced).await
        }
        Err(EngineError::Unformatted) if path != listed => Err(NodeError::Devices(format!(
            "{} holds no superblock. If an earlier first start was interrupted and nothing was stored, delete the file; else \
             restore the device",
            path.display()
        ))),
        Err(EngineError::Unformatted) => Err(NodeError::Devices(format!(
            "{} is a file without a Strata superblock and is not formatted, because it may hold something else. To use it, \
             list a directory or a block device instead",
            path.display()
        ))),
        Err(error) => Err(NodeError::Devices(format!("{}: {error}", path.display()))),
    }
}

/// A block device that is not ours: empty, or to be overwritten, and used by nobody.
async fn look_at_unformatted(
    path: &Path,
    device: &BlockDevice,
    forced: bool,
) -> Result<Found, NodeError> {
    let place = path.to_owned();
    let asking = fs::ask_kernel(move || block_device::refuse_in_use(&place));
    let unused = asking.await.unwrap_or(Ok(()));
    unused.map_err(NodeError::Devices)?;
    let content = match block_device::content(path, device).await {
        Ok(content) => content,
        Err(EngineError::Io(error)) => return sick_or_refused(path, error),
        Err(error) => return Err(NodeError::Devices(format!("{}: {error}", path.display()))),
    };
    block_device::refuse_content(path, &content, forced).map_err(NodeError::Devices)?;
    Ok(content.map_or(Found::Empty, Found::Overwritten))
}

/// A disk that fails is one device less; what the user can put right is refused.
fn sick_or_refused(path: &Path, error: std::io::Error) -> Result<Found, NodeError> {
    match error.kind() {
        ErrorKind::PermissionDenied => Err(NodeError::Devices(format!(
            "this user may not read and write {}",
            path.display()
        ))),
        _ => Ok(Found::Sick(error.to_string())),
    }
}

/// A directory without a device may hold the metadata directory, what a fresh file system holds and what a formatting that was
/// interrupted has left, nothing else: whoever lists a directory full of files has probably listed the wrong one.
async fn refuse_other_content(listed: &Path, metadata_dir: &Path) -> Result<(), NodeError> {
    let unreadable = |error: io::Error| NodeError::Devices(error.to_string());
    let metadata_dir = std::path::absolute(metadata_dir).map_err(unreadable)?;
    for name in fs::list_directory(listed).await.map_err(unreadable)? {
        let path = std::path::absolute(listed.join(&name)).map_err(unreadable)?;
        let is_usual = name == "lost+found" || name == UNFINISHED_FILE;
        if !is_usual && !metadata_dir.starts_with(&path) {
            return Err(NodeError::Devices(format!(
                "{} holds no device and is not empty (there is {}): nothing was formatted. List an empty directory",
                listed.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

fn refuse_duplicates(candidates: &[Candidate]) -> Result<(), NodeError> {
    let mut seen: Vec<(Uuid, &Path)> = Vec::new();
    for candidate in candidates {
        let Found::Device(superblock) = &candidate.found else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(uuid, _)| *uuid == superblock.device) {
            return Err(NodeError::Devices(format!(
                "{} and {} are the same device ({}): one is a copy or is listed twice",
                first.display(),
                candidate.path.display(),
                superblock.device
            )));
        }
        seen.push((superblock.device, &candidate.path));
    }
    Ok(())
}

/// Whether this is a first start.
async fn decide(config: &NodeConfig, candidates: &[Candidate]) -> Result<bool, NodeError> {
    let formatted: Vec<(&Superblock, &Path)> = candidates
        .iter()
        .filter_map(|candidate| match &candidate.found {
            Found::Device(superblock) => Some((&**superblock, candidate.path.as_path())),
            Found::Empty | Found::Overwritten(_) | Found::Missing | Found::Sick(_) => None,
        })
        .collect();
    let Some((first, first_path)) = formatted.first() else {
        return decide_without_devices(config, candidates).await;
    };
    for candidate in candidates {
        if let Found::Overwritten(held) = &candidate.found {
            return Err(NodeError::Devices(format!(
                "{} holds {held}, and this is no first start: nothing was written. Start without --force-format and without it, then \
                 hand it over: `strata device add --force-format` or `replace`",
                candidate.listed.display()
            )));
        }
    }
    for (superblock, path) in &formatted {
        if superblock.cluster != first.cluster {
            return Err(NodeError::Devices(format!(
                "{} belongs to cluster {}, {} to cluster {}: they cannot serve together",
                first_path.display(),
                first.cluster,
                path.display(),
                superblock.cluster
            )));
        }
        if superblock.writer_node != config.node_id {
            return Err(NodeError::Devices(format!(
                "{} was formatted by node {}, this is node {}: a node keeps its id for the life of its data (node.id, --node-id)",
                path.display(),
                superblock.writer_node,
                config.node_id
            )));
        }
    }
    Ok(false)
}

async fn decide_without_devices(
    config: &NodeConfig,
    candidates: &[Candidate],
) -> Result<bool, NodeError> {
    let sick = candidates
        .iter()
        .find(|candidate| matches!(candidate.found, Found::Sick(_)));
    if let Some(why) = sick.and_then(Candidate::absence) {
        return Err(NodeError::Devices(format!(
            "{why}, and no other place holds a device: nothing was formatted. Put the disk right, or restore the device"
        )));
    }
    let metadata = fs::exists(&config.metadata_dir.join("data.mdb")).await;
    if metadata.map_err(|error| NodeError::Devices(error.to_string()))? {
        return Err(NodeError::Devices(format!(
            "{} holds the metadata of a cluster, but no data directory holds a device of it. Nothing was formatted. Check \
             storage.data_dir; to begin anew, move the metadata away",
            config.metadata_dir.display()
        )));
    }
    let missing = candidates
        .iter()
        .find(|candidate| matches!(candidate.found, Found::Missing));
    match missing {
        None => Ok(true),
        Some(missing) => Err(NodeError::Devices(format!(
            "{} does not exist, and no other place holds a device: nothing was formatted",
            missing.listed.display()
        ))),
    }
}
