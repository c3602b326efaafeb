//! Finds the devices of a node among the listed directories and files, in any order, and decides whether this is a first start.
//!
//! Invariants: nothing is formatted unless ALL listed places are empty and no metadata exists; a device is known by its uuid,
//! never by its path; nothing is written before every device has been looked at.

use std::path::{Path, PathBuf};

use strata_engine::{EngineError, Superblock, Uuid};

use super::failure_domain::{self, FailureDomain};
use super::{NodeConfig, NodeError};

/// The device file inside a data directory.
pub const DEVICE_FILE: &str = "strata.device";

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
    /// An empty directory, or one without a device file.
    Empty,
    /// A device.
    Device(Box<Superblock>),
}

/// What a look at all places shows.
#[derive(Debug)]
pub struct Discovery {
    /// Every place, in the order listed.
    pub candidates: Vec<Candidate>,
    /// Whether they are to be formatted.
    pub first_start: bool,
}

/// Looks at every listed place.
///
/// # Errors
/// A place that holds something else than a device, a device of another cluster, an empty place beside formatted ones,
/// metadata without devices: each with what to do.
pub async fn discover(config: &NodeConfig) -> Result<Discovery, NodeError> {
    let mut candidates = Vec::new();
    let domains = failure_domains(config)?;
    for (listed, domain) in config.data_dirs.iter().zip(domains) {
        let path = device_path(listed);
        let found = look_at(listed, &path).await?;
        candidates.push(Candidate {
            listed: listed.clone(),
            path,
            domain,
            found,
        });
    }
    refuse_duplicates(&candidates)?;
    let first_start = decide(config, &candidates)?;
    Ok(Discovery {
        candidates,
        first_start,
    })
}

/// The device file of a listed place: the place itself where it is a file or block device.
pub fn device_path(listed: &Path) -> PathBuf {
    if listed.is_dir() {
        listed.join(DEVICE_FILE)
    } else {
        listed.to_owned()
    }
}

fn failure_domains(config: &NodeConfig) -> Result<Vec<usize>, NodeError> {
    let mut domains = Vec::new();
    for (position, listed) in config.data_dirs.iter().enumerate() {
        if !listed.exists() {
            let create = std::fs::create_dir_all(listed);
            create.map_err(|error| {
                NodeError::Devices(format!(
                    "cannot create the data directory {}: {error}",
                    listed.display()
                ))
            })?;
        }
        domains.push(match config.assume_separate_failure_domains {
            true => FailureDomain::Declared(position),
            false => failure_domain::resolve(listed),
        });
    }
    Ok(failure_domain::group(&domains))
}

async fn look_at(listed: &Path, path: &Path) -> Result<Found, NodeError> {
    if !path.exists() {
        return Ok(Found::Empty);
    }
    match strata_engine::read_superblock(path).await {
        Ok(superblock) => Ok(Found::Device(Box::new(superblock))),
        Err(EngineError::Unformatted) if listed.is_dir() => Err(NodeError::Devices(format!(
            "{} holds no superblock. If an earlier first start was interrupted and nothing was stored, delete the file; else \
             restore the device",
            path.display()
        ))),
        Err(EngineError::Unformatted) => Err(NodeError::Devices(format!(
            "{} is a file without a Strata superblock and is not formatted, because it may hold something else. To use it, \
             list a directory instead",
            path.display()
        ))),
        Err(error) => Err(NodeError::Devices(format!("{}: {error}", path.display()))),
    }
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

fn decide(config: &NodeConfig, candidates: &[Candidate]) -> Result<bool, NodeError> {
    let clusters: Vec<(Uuid, &Path)> = candidates
        .iter()
        .filter_map(|candidate| match &candidate.found {
            Found::Device(superblock) => Some((superblock.cluster, candidate.path.as_path())),
            Found::Empty => None,
        })
        .collect();
    let metadata = config.metadata_dir.join("data.mdb").exists();
    let Some((cluster, first)) = clusters.first() else {
        return match metadata {
            false => Ok(true),
            true => Err(NodeError::Devices(format!(
                "{} holds the metadata of a cluster, but no data directory holds a device of it. Nothing was formatted. Check \
                 storage.data_dir; to begin anew, move the metadata away",
                config.metadata_dir.display()
            ))),
        };
    };
    if let Some((other, path)) = clusters.iter().find(|(uuid, _)| uuid != cluster) {
        return Err(NodeError::Devices(format!(
            "{} belongs to cluster {cluster}, {} to cluster {other}: they cannot serve together",
            first.display(),
            path.display()
        )));
    }
    match candidates
        .iter()
        .find(|candidate| matches!(candidate.found, Found::Empty))
    {
        None => Ok(false),
        Some(empty) => Err(NodeError::Devices(format!(
            "{} is empty, but {} holds a device of cluster {cluster}. It was not formatted: if a disk is not mounted, mount it; if \
             it was replaced, start without it (the node then runs degraded)",
            empty.listed.display(),
            first.display()
        ))),
    }
}
