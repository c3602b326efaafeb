//! openraft's state machine: the namespace store, and snapshots of it in the log.
//!
//! Entries are applied in batches of one transaction each; the reactor is given back between them.
//! openraft counts log entries from 0, the store from 1 (its 0 means that nothing was applied).

use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, alias};
use strata_engine::reactor;

use super::Shared;
use crate::consensus::log::{
    Applied, Entry, LogError, LogId, LogStore, Malformed, SnapshotBody, SnapshotMeta,
    StoredMembership, Types, decode_membership, decode_state, encode_membership, encode_state,
    log_id,
};
use crate::namespace::command::{Answer, sets_level};
use crate::namespace::store::{Manifest, NamespaceStore, SnapshotReader, StoreError};
use crate::namespace::{LogEntry, LogPosition};

/// Entries and bytes of one transaction at most: large enough to share its cost.
const BATCH_ENTRIES: usize = 32;
const BATCH_BYTES: usize = 256 << 10;
/// A transaction ends with the command that was under way at the end of so many turns: its commit, which is a turn of its own,
/// writes every page that it has changed.
const TURNS: usize = 6;
/// Between two looks at a file system that was full.
const ROOM_PAUSE: Duration = Duration::from_millis(500);
/// How long a full map waits for the checkpoint that is under way, and between two looks at it.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(30);
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(1);
/// A snapshot up to this size is installed from memory, a larger one piece by piece.
const INSTALL_AT_ONCE_BYTES: u64 = 64 << 20;
/// Pieces in memory while a larger one is installed.
const INSTALL_PIECES: usize = 4;

type Waiting = (Entry, Option<ApplyResponder<Types>>);
type LogSnapshot = alias::SnapshotOf<Types, SnapshotBody>;

/// The state machine.
pub(crate) struct Machine {
    shared: Rc<Shared>,
}

/// Builds one snapshot of the state at the moment it was made.
pub(crate) struct Builder {
    shared: Rc<Shared>,
    parts: Option<Result<(SnapshotReader, StoredMembership), io::Error>>,
}

/// The store's position of an entry.
pub(super) fn position_of(id: &LogId) -> LogPosition {
    LogPosition {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index + 1,
    }
}

/// The entry of a store's position.
pub(super) fn log_id_of(position: LogPosition) -> Option<LogId> {
    let index = position.index.checked_sub(1)?;
    Some(log_id(position.term, position.node, index))
}

impl Machine {
    pub(super) fn new(shared: Rc<Shared>) -> Machine {
        Machine { shared }
    }

    fn membership(&self) -> Result<StoredMembership, io::Error> {
        let view = self
            .shared
            .store
            .view()
            .map_err(|error| self.fail(&error))?;
        let stored = view.membership().map_err(|error| self.fail(&error))?;
        let Some((position, bytes)) = stored else {
            return Ok(StoredMembership::default());
        };
        let membership = decode_membership(&bytes).map_err(|error| self.fail(&error))?;
        Ok(StoredMembership::new(log_id_of(position), membership))
    }

    /// The cause is kept for the proposers; openraft only carries text.
    fn fail(&self, error: &dyn std::fmt::Display) -> io::Error {
        self.shared.fail(error);
        io::Error::other(error.to_string())
    }

    /// Applies the first entries of a batch: all of them, or as many as a transaction has time for.
    async fn apply_some(&self, batch: &mut Vec<Waiting>) -> Result<(), io::Error> {
        let memberships: Vec<Option<Vec<u8>>> = batch
            .iter()
            .map(|(entry, _)| match &entry.payload {
                EntryPayload::Membership(membership) => Some(encode_membership(membership)),
                _ => None,
            })
            .collect();
        let entries: Vec<_> = batch
            .iter()
            .zip(&memberships)
            .map(|((entry, _), membership)| {
                let content = match (&entry.payload, membership) {
                    (EntryPayload::Normal(proposal), _) => LogEntry::Command(&proposal.0),
                    (_, Some(membership)) => LogEntry::Membership(membership),
                    (_, None) => LogEntry::Blank,
                };
                (position_of(&entry.log_id), content)
            })
            .collect();
        let answers = self.apply_when_it_fits(&entries).await;
        let answers = answers.map_err(|error| self.fail_store(&error))?;
        drop(entries);
        // Before the proposers hear of it: what they had reserved is in use now.
        super::housekeeping::measure(&self.shared).map_err(|error| self.fail(&error))?;
        let applied = &batch[..answers.len()];
        if applied.iter().any(|(entry, _)| may_set_level(entry)) {
            self.shared
                .read_level()
                .map_err(|error| self.fail(&error))?;
        }
        for ((entry, responder), answer) in batch.drain(..answers.len()).zip(answers) {
            let command = matches!(entry.payload, EntryPayload::Normal(_));
            if let Some(responder) = responder {
                responder.send(Applied(command.then_some(answer)));
            }
        }
        Ok(())
    }

    /// Applies entries, as often as it takes until there is room for them: what is agreed is never skipped.
    async fn apply_when_it_fits(
        &self,
        entries: &[(LogPosition, LogEntry<'_>)],
    ) -> Result<Vec<Answer>, StoreError> {
        let store = &self.shared.store;
        let mut shortage = Shortage::default();
        loop {
            let error = match apply_in_turns(store, entries).await {
                Ok(answers) => {
                    self.note_room();
                    return Ok(answers);
                }
                Err(error) => error,
            };
            match shortage.remedy(&error) {
                Some(Remedy::Checkpoint) => make_room(store).await?,
                Some(Remedy::Wait) if !self.shared.stopping.get() => self.wait_for_disk().await,
                Some(Remedy::Wait) | None => return Err(error),
            }
        }
    }

    async fn wait_for_disk(&self) {
        if !self.shared.waits_for_disk.replace(true) {
            let full = self.shared.end_of_room();
            tracing::error!("{full}: changes of names wait for room");
            self.shared.publish_full();
        }
        reactor::sleep(ROOM_PAUSE).await;
    }

    fn note_room(&self) {
        if self.shared.waits_for_disk.replace(false) {
            tracing::info!("the metadata has room again: changes of names go on");
        }
    }

    fn fail_store(&self, error: &StoreError) -> io::Error {
        self.shared.store.fail(error);
        self.fail(error)
    }
}

/// What a batch has met that has no room.
#[derive(Default)]
struct Shortage {
    full_map: bool,
    full_disk: bool,
}

/// What is done before a batch is applied again.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// A checkpoint, made by a helper thread, so that pages which only the last one needed can be used again.
    Checkpoint,
    /// Others may take their files away.
    Wait,
}

impl Shortage {
    /// What helps against an error; `None` where nothing does. For each cause there is one checkpoint: what fits after the one
    /// may meet the other. A file system that is full even then is waited for, and what has waited may find the map full anew.
    fn remedy(&mut self, error: &StoreError) -> Option<Remedy> {
        match error {
            StoreError::Full if !self.full_map => {
                self.full_map = true;
                Some(Remedy::Checkpoint)
            }
            StoreError::NoSpace if !self.full_disk => {
                self.full_disk = true;
                Some(Remedy::Checkpoint)
            }
            StoreError::NoSpace => {
                self.full_map = false;
                Some(Remedy::Wait)
            }
            _ => None,
        }
    }
}

/// Applies the first of the entries in one transaction; at least one, and as many as there are answers.
async fn apply_in_turns(
    store: &NamespaceStore,
    entries: &[(LogPosition, LogEntry<'_>)],
) -> Result<Vec<Answer>, StoreError> {
    let mut transaction = store.begin()?;
    let (mut answers, mut turns) = (Vec::with_capacity(entries.len()), 0);
    for (position, entry) in entries {
        answers.push(transaction.apply(*position, *entry)?);
        turns += usize::from(reactor::yield_if_due().await);
        if turns == TURNS {
            break;
        }
    }
    transaction.commit()?;
    Ok(answers)
}

/// Makes a checkpoint, after the one that may be under way: pages that only older ones needed can be used again. Where there is
/// no room for one, that is waited for too.
async fn make_room(store: &NamespaceStore) -> Result<(), StoreError> {
    tracing::warn!(
        "no room for the metadata: making a checkpoint, so that pages of the last one can be used again"
    );
    let begun = reactor::now();
    while store.makes_checkpoint() {
        if begun.elapsed() > CHECKPOINT_WAIT_MAX {
            return Err(StoreError::Full);
        }
        reactor::sleep(CHECKPOINT_PAUSE).await;
    }
    match super::housekeeping::checkpoint(store).await {
        Err(StoreError::NoSpace) => Ok(()),
        made => made,
    }
}

/// Whether an entry may have activated a feature level.
fn may_set_level(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(proposal) => sets_level(&proposal.0),
        _ => false,
    }
}

impl Machine {
    async fn apply_batch(&self, batch: &mut Vec<Waiting>) -> Result<(), io::Error> {
        while !batch.is_empty() {
            self.apply_some(batch).await?;
            reactor::yield_if_due().await;
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotBody;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((log_id_of(self.shared.store.applied()), self.membership()?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item.map_err(|error| self.fail(&error))?;
            if let EntryPayload::Normal(proposal) = &entry.payload {
                bytes += proposal.0.len();
            }
            batch.push((entry, responder));
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                self.apply_batch(&mut batch).await?;
                bytes = 0;
            }
        }
        self.apply_batch(&mut batch).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // One moment for both: nothing is applied between these two lines.
        let membership = self.membership();
        let reader = self.shared.store.snapshot();
        let reader = reader.map_err(|error| self.fail(&error));
        let parts = reader.and_then(|reader| membership.map(|membership| (reader, membership)));
        if let Ok(usage) = self.shared.store.usage() {
            self.shared.snapshot_allocated.set(usage.allocated_bytes);
        }
        self.shared
            .rows
            .state_taken(self.shared.pending.get().rows());
        self.shared.building.set(true);
        Builder {
            shared: self.shared.clone(),
            parts: Some(parts),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotBody,
    ) -> Result<(), io::Error> {
        tracing::info!(%meta, pieces = snapshot.piece_count(), "a snapshot is installed");
        let installed = install(&self.shared, &snapshot).await;
        installed.map_err(|error| self.fail(&error))?;
        if !snapshot.is_in(&self.shared.log) {
            let kept = keep(&self.shared.log, &snapshot).await;
            kept.map_err(|error| self.fail(&error))?;
        }
        let checkpoint = super::housekeeping::checkpoint(&self.shared.store).await;
        checkpoint.map_err(|error| self.fail(&error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<LogSnapshot>, io::Error> {
        let Some(body) = self.shared.log.snapshot() else {
            return Ok(None);
        };
        let meta = body.meta().map_err(|error| self.fail(&error))?;
        Ok(Some(Snapshot {
            meta,
            snapshot: body,
        }))
    }
}

/// Any of the parts that an installation touches may fail.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

async fn install(shared: &Shared, snapshot: &SnapshotBody) -> Result<(), InstallError> {
    let (_, _, manifest) = decode_state(snapshot.state())?;
    let manifest = Manifest::decode(manifest)?;
    if snapshot.bytes() <= INSTALL_AT_ONCE_BYTES {
        let mut pieces = Vec::new();
        for number in 0..snapshot.piece_count() {
            pieces.push(Ok(snapshot.piece(number).await?.to_vec()));
        }
        shared.store.install_snapshot(&manifest, pieces)?;
        return Ok(());
    }
    // LMDB wants all pieces within one call: a helper thread makes it, and is fed from here.
    let (feed, pieces) = mpsc::sync_channel(INSTALL_PIECES);
    let store = shared.store.clone();
    let installing = reactor::offload(move || store.install_snapshot(&manifest, pieces));
    let (installed, fed) =
        futures_util::future::join(installing, feed_pieces(snapshot, feed)).await;
    fed?;
    installed?;
    Ok(())
}

async fn feed_pieces(
    snapshot: &SnapshotBody,
    feed: mpsc::SyncSender<Result<Vec<u8>, StoreError>>,
) -> Result<(), LogError> {
    for number in 0..snapshot.piece_count() {
        let mut piece = Ok(snapshot.piece(number).await?.to_vec());
        while let Err(mpsc::TrySendError::Full(back)) = feed.try_send(piece) {
            piece = back;
            reactor::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

/// Writes a snapshot that came from elsewhere into the own log.
async fn keep(log: &LogStore, snapshot: &SnapshotBody) -> Result<(), LogError> {
    let mut writer = log.begin_snapshot();
    for number in 0..snapshot.piece_count() {
        writer.piece(snapshot.piece(number).await?).await?;
    }
    writer.finish(snapshot.state().clone()).await
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotBody;

    async fn build_snapshot(&mut self) -> Result<LogSnapshot, io::Error> {
        let Some(parts) = self.parts.take() else {
            return Err(io::Error::other("a builder builds one snapshot"));
        };
        let (reader, membership) = parts?;
        let built = build(&self.shared, reader, membership).await;
        let body = built.map_err(|error| {
            if let InstallError::Store(error) = &error
                && error.is_damage()
            {
                self.shared.store.doubt(error);
            }
            self.shared.fail(&error);
            io::Error::other(error.to_string())
        })?;
        let meta = body.meta().map_err(io::Error::other)?;
        let (pieces, bytes) = (body.piece_count(), body.bytes());
        self.shared.rows.counted(bytes);
        self.shared.snapshot_built.set(meta.last_log_id);
        tracing::info!(%meta, pieces, bytes, "a snapshot was written");
        Ok(Snapshot {
            meta,
            snapshot: body,
        })
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.shared.building.set(false);
        self.shared.snapshot_written.set(0);
    }
}

/// Reads the state off the core and writes it to the log, a piece at a time.
async fn build(
    shared: &Shared,
    mut reader: SnapshotReader,
    membership: StoredMembership,
) -> Result<SnapshotBody, InstallError> {
    let log = &shared.log;
    reader = reader.in_pieces_of(log.space().piece_bytes() as usize);
    let mut writer = log.begin_snapshot();
    loop {
        let (back, piece) = reactor::offload(move || {
            let piece = reader.next_piece();
            (reader, piece)
        })
        .await;
        reader = back;
        let Some(piece) = piece? else { break };
        let written = &shared.snapshot_written;
        written.set(written.get() + piece.len() as u64);
        writer.piece(Bytes::from(piece)).await?;
    }
    let Some(manifest) = reader.manifest() else {
        return Err(Malformed::new("a snapshot without a manifest").into());
    };
    let last = log_id_of(manifest.applied);
    let state = encode_state(last.as_ref(), &membership, &manifest.encode());
    writer.finish(Bytes::from(state)).await?;
    let written = log.snapshot();
    written.ok_or_else(|| Malformed::new("the snapshot is not in the log").into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use strata_engine::reactor::TaskClass;

    use super::*;
    use crate::consensus::log::on_reactor;
    use crate::namespace::store::StoreOptions;

    /// Far more than fit into the turns of one transaction.
    const ENTRIES: u64 = 100_000;

    #[test]
    fn a_transaction_takes_several_turns_and_shows_nothing_before_its_end() {
        on_reactor(async || {
            let dir = tempfile::tempdir().expect("a directory");
            let options = StoreOptions {
                map_bytes: 16 << 20,
            };
            let (store, _) = NamespaceStore::open(dir.path(), options).expect("a store");
            let turns_of_others = Rc::new(Cell::new(0));
            let (others, seen) = (turns_of_others.clone(), store.clone());
            let other = reactor::spawn(TaskClass::Foreground, async move {
                loop {
                    assert_eq!(seen.applied().index, 0, "nothing counts before the commit");
                    others.set(others.get() + 1);
                    reactor::yield_now().await;
                }
            });
            let entries: Vec<_> = (1..=ENTRIES).map(blank).collect();
            let answers = apply_in_turns(&store, &entries).await.expect("applied");
            drop(other);
            assert!(turns_of_others.get() >= TURNS, "{turns_of_others:?}");
            let applied = answers.len() as u64;
            assert!((1..ENTRIES).contains(&applied), "{applied} entries");
            assert_eq!(
                store.applied().index,
                applied,
                "as many as there are answers"
            );
        });
    }

    fn blank(index: u64) -> (LogPosition, LogEntry<'static>) {
        let position = LogPosition {
            term: 1,
            node: 1,
            index,
        };
        (position, LogEntry::Blank)
    }

    #[test]
    fn a_full_map_is_given_a_checkpoint_before_and_after_a_full_file_system() {
        let (checkpoint, wait) = (Some(Remedy::Checkpoint), Some(Remedy::Wait));
        let mut shortage = Shortage::default();
        assert_eq!(shortage.remedy(&StoreError::NoSpace), checkpoint);
        assert_eq!(shortage.remedy(&StoreError::Full), checkpoint);
        assert_eq!(shortage.remedy(&StoreError::NoSpace), wait);
        assert_eq!(shortage.remedy(&StoreError::NoSpace), wait);
        assert_eq!(shortage.remedy(&StoreError::Full), checkpoint);
        // Nothing has changed since.
        assert_eq!(shortage.remedy(&StoreError::Full), None);
        let failed = StoreError::Failed("a sync".to_owned());
        assert_eq!(Shortage::default().remedy(&failed), None);
    }
}
