//! Whether the log at hand is the newest one, as far as the data partitions can tell.
//!
//! A writer and its allocation epochs are committed to the log before the first chunk carries their numbers. So a chunk of a
//! writer or an epoch that the log does not know was written after the last entry of this log: its newer mirrors are not among
//! the devices, because a device file was put back from an older copy or a newer one is not listed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strata_raftlog::namespace::store::{NamespaceStore, StoreError};

use super::NodeError;

/// The last allocation epoch of each writer of whom a data partition holds chunks.
#[derive(Debug, Clone)]
pub struct NewestEpochs {
    /// The device's file.
    pub path: PathBuf,
    /// Epochs by writer.
    pub by_writer: BTreeMap<u32, u32>,
}

/// Refuses a log that is older than what the data partitions hold.
///
/// # Errors
/// Says which device knows better, and what to do; a namespace that cannot be read.
pub(crate) fn refuse_stale_log(
    namespace: &NamespaceStore,
    partitions: &[NewestEpochs],
) -> Result<(), NodeError> {
    let known = Known::read(namespace).map_err(|error| NodeError::Metadata(error.to_string()))?;
    for partition in partitions {
        let mut held = partition.by_writer.iter();
        let Some((writer, epoch)) = held.find(|(writer, epoch)| !known.has(**writer, **epoch))
        else {
            continue;
        };
        return Err(NodeError::Metadata(format!(
            "the log at hand is older than {}, which holds data of writer {writer}, epoch {epoch}; the log knows no writer \
             after {}. A device file was put back from an older copy, or a newer one is not listed. Nothing was changed. \
             List every device of the node in its newest state; docs/OPERATION.md says how to go back to an older state on \
             purpose",
            partition.path.display(),
            known.last_writer
        )));
    }
    Ok(())
}

/// What the log knows of writers.
struct Known {
    last_writer: u32,
    /// The last epoch of each writer that has a row.
    last_epochs: BTreeMap<u32, u32>,
}

impl Known {
    fn read(namespace: &NamespaceStore) -> Result<Known, StoreError> {
        let writers = namespace.view()?.writers()?;
        let last_epochs: BTreeMap<u32, u32> = writers
            .iter()
            .map(|writer| (writer.number, writer.last_epoch))
            .collect();
        let last = last_epochs.last_key_value();
        Ok(Known {
            last_writer: last.map_or(0, |(writer, _)| *writer),
            last_epochs,
        })
    }

    fn has(&self, writer: u32, epoch: u32) -> bool {
        let last = self.last_epochs.get(&writer);
        writer <= self.last_writer && last.is_none_or(|last| epoch <= *last)
    }
}
