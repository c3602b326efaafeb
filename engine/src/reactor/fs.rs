//! Directories and small files, in both worlds.
//!
//! Invariant: a name is durable only after [`sync_directory`] of its directory; the simulated world loses names that
//! were not synced.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::executor::{Arm, with_current};
use super::offload::offload;
use super::simulated::Simulation;

fn simulation() -> Option<Simulation> {
    with_current(|reactor| match &reactor.arm {
        Arm::Simulated(simulation) => Some(simulation.clone()),
        Arm::Real { .. } => None,
    })
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_path_buf();
    offload(move || {
        work(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
    .await
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says, with the path.
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.sync_directory(path).await,
        None => blocking(path, |path| std::fs::File::open(path)?.sync_all()).await,
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// What the system says, with the path.
pub async fn create_dir_all(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.create_dir_all(path).await,
        None => blocking(path, |path| std::fs::create_dir_all(path)).await,
    }
}

/// Renames a file, replacing what has the new name.
///
/// # Errors
/// What the system says, with the path.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(simulation) = simulation() {
        return simulation.rename(from, to).await;
    }
    let to = to.to_path_buf();
    blocking(from, move |from| std::fs::rename(from, to)).await
}

/// Removes a file.
///
/// # Errors
/// What the system says, with the path.
pub async fn remove_file(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.remove_file(path).await,
        None => blocking(path, |path| std::fs::remove_file(path)).await,
    }
}

/// Whether a file or directory has the path.
///
/// # Errors
/// What the system says, with the path.
pub async fn exists(path: &Path) -> io::Result<bool> {
    match simulation() {
        Some(simulation) => Ok(simulation.exists(path)),
        None => blocking(path, |path| path.try_exists()).await,
    }
}

/// The names in a directory, sorted by their bytes.
///
/// # Errors
/// What the system says, with the path.
pub async fn list_directory(path: &Path) -> io::Result<Vec<String>> {
    if let Some(simulation) = simulation() {
        return simulation.list_directory(path);
    }
    blocking(path, |path| {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
    .await
}

/// The whole of a small file.
///
/// # Errors
/// What the system says, with the path.
pub async fn read_small_file(path: &Path) -> io::Result<Vec<u8>> {
    match simulation() {
        Some(simulation) => simulation.read_small_file(path),
        None => blocking(path, |path| std::fs::read(path)).await,
    }
}

/// Replaces the content of a small file, made with the permission bits `mode` when it does not exist. With `durable` the
/// content is on stable storage on return; the name is so only after [`sync_directory`].
///
/// # Errors
/// What the system says, with the path.
pub async fn write_small_file(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durable: bool,
) -> io::Result<()> {
    if let Some(simulation) = simulation() {
        return simulation.write_small_file(path, bytes, durable).await;
    }
    let bytes = bytes.to_vec();
    blocking(path, move |path| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        file.write_all(&bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    })
    .await
}
