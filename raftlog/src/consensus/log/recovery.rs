//! From log partitions to a log.
//!
//! 1. Every partition is replayed. One that is corrupt below what it knew to be durable is set aside.
//! 2. The newest generation that any device knows says who the mirrors are. Only those of that very
//!    generation are read; if none can be, the start is refused.
//! 3. The mirror with the longest valid log wins; the others get what they lack of its tail.
//! 4. Mirrors that were corrupt or stale are erased and rebuilt, as long as mirrors are lacking; each record is read from
//!    the first current mirror that has it whole.
//! 5. If the members are not what the generation says, the next one is raised before going on.

use std::collections::{BTreeMap, VecDeque};

use futures_util::future::join_all;
use strata_engine::{EngineError, Journal, JournalPosition};

use super::medium::Medium;
use super::mirrors::{Mirrors, Role, Slot, uuid_text};
use super::record::{self, Generation, Record};
use super::state::{LogIndex, LogState};
use super::{GroupLog, Log, LogError, LogPartition, LogReport, is_corrupt};

/// Places of records remembered from a replay; far more than crashes leave a mirror behind.
const RECENT_RECORDS: usize = 16_384;

/// Bytes copied to a mirror between two flushes.
const COPY_BATCH_BYTES: usize = 4 << 20;

/// Where a partition can be opened, and opened again after it was erased.
pub(crate) enum Source {
    Partition(LogPartition),
    #[cfg(test)]
    Memory([u8; 16], super::medium::memory::Memory),
}

impl Source {
    fn uuid(&self) -> [u8; 16] {
        match self {
            Source::Partition(partition) => partition.device.superblock().device.0,
            #[cfg(test)]
            Source::Memory(uuid, _) => *uuid,
        }
    }

    /// Whether the device was formatted as a mirror of the log: mirrors lie in different failure domains.
    fn may_mirror(&self) -> bool {
        match self {
            Source::Partition(partition) => {
                let superblock = partition.device.superblock();
                superblock.log_mirrors.contains(&superblock.device)
            }
            #[cfg(test)]
            Source::Memory(..) => true,
        }
    }

    async fn open(&self) -> Result<Medium, EngineError> {
        match self {
            Source::Partition(partition) => Journal::open(&partition.device, partition.partition)
                .await
                .map(Medium::Journal),
            #[cfg(test)]
            Source::Memory(_, memory) => Ok(Medium::Memory(memory.clone())),
        }
    }

    async fn erase(&self) -> Result<(), EngineError> {
        match self {
            Source::Partition(partition) => {
                Journal::erase(&partition.device, partition.partition).await
            }
            #[cfg(test)]
            Source::Memory(_, memory) => {
                memory.erase();
                Ok(())
            }
        }
    }
}

/// What the records of one mirror add up to.
#[derive(Default)]
struct Replayed {
    generation: Option<Generation>,
    last_number: Option<u64>,
    /// Numbers and places of the last records: what another mirror lacks is mostly among them.
    recent: VecDeque<(u64, JournalPosition)>,
    groups: BTreeMap<u16, (LogState, LogIndex)>,
    /// Groups whose newest manifest lacks pieces: they were not released, as those of an older one may have been.
    damaged: BTreeMap<u16, u64>,
}

impl Replayed {
    fn visit(&mut self, place: JournalPosition, kind: u8, body: &[u8]) -> Result<(), EngineError> {
        if let Some(version) = record::newer_version(kind, body) {
            let features = format!("version {version} of the log's records");
            return Err(EngineError::OtherFormat { features });
        }
        self.take(place, kind, body)
            .map_err(|detail| EngineError::Corrupt {
                place: format!("log position {}", place.0),
                detail,
            })
    }

    fn take(&mut self, place: JournalPosition, kind: u8, body: &[u8]) -> Result<(), String> {
        let (group, number, record) =
            record::decode_head(kind, body).map_err(|malformed| malformed.0)?;
        if self.last_number.is_some_and(|last| last >= number) {
            return Err(format!(
                "record number {number} follows {:?}",
                self.last_number
            ));
        }
        self.last_number = Some(number);
        self.recent.push_back((number, place));
        if self.recent.len() > RECENT_RECORDS {
            self.recent.pop_front();
        }
        if let Record::Generation(generation) = record {
            self.generation = Some(generation);
            return Ok(());
        }
        let (state, log_index) = self.groups.entry(group).or_default();
        if let Record::Entry(entry) = &record
            && state.lacks_before(entry.log_id.index)
        {
            state.forget_entries();
            log_index.forget_entries();
        }
        log_index
            .note(&record, place)
            .map_err(|malformed| malformed.0)?;
        let whole = match &record {
            Record::Manifest(manifest) => {
                let found = log_index.snapshot.as_ref();
                let whole = found.is_some_and(|snapshot| snapshot.manifest == place);
                match whole {
                    true => self.damaged.remove(&group),
                    false => self.damaged.insert(group, manifest.snapshot),
                };
                whole
            }
            _ => true,
        };
        // A manifest whose pieces have been released in part speaks of a snapshot that is no more.
        if whole {
            state
                .note(record, body.len())
                .map_err(|malformed| malformed.0)?;
            state.all_flushed();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        for (group, (state, _)) in &self.groups {
            state
                .check()
                .map_err(|malformed| format!("group {group}: {}", malformed.0))?;
        }
        Ok(())
    }

    /// Whether every entry that the state of a group holds has a place.
    fn agrees(&self) -> bool {
        self.groups.values().all(|(state, log_index)| {
            let (first, end) = state.held().unwrap_or_default();
            [first, end.saturating_sub(1)]
                .into_iter()
                .all(|index| first == end || log_index.entry(index).is_some())
        })
    }

    /// What of a snapshot that nothing newer replaces is not there.
    fn damage(&self) -> Option<String> {
        let (group, snapshot) = self.damaged.first_key_value()?;
        Some(format!(
            "group {group}: pieces of snapshot {snapshot}, the newest, are missing or damaged"
        ))
    }
}

/// Replays records (kind, body) as those of one mirror. Where they are a log, says whether all that the log states hold has a place.
///
/// # Errors
/// Says why they are none.
pub(crate) fn replay_records<'r>(
    records: impl Iterator<Item = (u8, &'r [u8])>,
) -> Result<bool, String> {
    let mut replayed = Replayed::default();
    for (at, (kind, body)) in records.enumerate() {
        let visited = replayed.visit(JournalPosition(at as u64), kind, body);
        visited.map_err(|error| error.to_string())?;
    }
    replayed.check()?;
    Ok(replayed.agrees())
}

/// A partition on the way to becoming a slot.
struct Candidate {
    source: Source,
    state: State,
}

enum State {
    Whole(Medium, Replayed),
    Corrupt(String),
    Unreachable(String),
}

impl Candidate {
    async fn open(source: Source) -> Result<Candidate, LogError> {
        let state = match open_and_replay(&source).await {
            Ok((medium, replayed)) => State::Whole(medium, replayed),
            // It is neither rebuilt nor left out: the other mirrors would go on without it.
            Err(EngineError::OtherFormat { features }) => {
                return Err(LogError::OtherFormat(features));
            }
            Err(error) if is_corrupt(&error) => State::Corrupt(error.to_string()),
            Err(error) => State::Unreachable(error.to_string()),
        };
        Ok(Candidate { source, state })
    }

    fn generation(&self) -> Option<&Generation> {
        match &self.state {
            State::Whole(_, replayed) => replayed.generation.as_ref(),
            _ => None,
        }
    }

    /// Whether it is a mirror of this very generation.
    fn is_current(&self, newest: &Generation) -> bool {
        newest.members.contains(&self.source.uuid()) && self.generation() == Some(newest)
    }

    /// Whether it lacks pieces of the newest snapshot.
    fn damage(&self) -> Option<String> {
        match &self.state {
            State::Whole(_, replayed) => replayed.damage(),
            _ => None,
        }
    }

    /// What was damaged when it was opened and has cost nothing.
    fn mended(&self) -> &[String] {
        match &self.state {
            State::Whole(medium, _) => medium.mended(),
            _ => &[],
        }
    }

    fn last_number(&self) -> u64 {
        match &self.state {
            State::Whole(_, replayed) => replayed.last_number.unwrap_or(0),
            _ => 0,
        }
    }

    fn name(&self) -> String {
        uuid_text(&self.source.uuid())
    }
}

async fn open_and_replay(source: &Source) -> Result<(Medium, Replayed), EngineError> {
    let medium = source.open().await?;
    let mut replayed = Replayed::default();
    medium
        .replay(&mut |place, kind, body| replayed.visit(place, kind, body))
        .await?;
    replayed.check().map_err(|detail| EngineError::Corrupt {
        place: "the log as a whole".into(),
        detail,
    })?;
    Ok((medium, replayed))
}

impl Log {
    /// Opens the log on all reachable partitions; `mirrors` of them are to hold it.
    ///
    /// # Errors
    /// When its mirrors are corrupt, stale or missing.
    pub async fn open(
        partitions: Vec<LogPartition>,
        mirrors: usize,
    ) -> Result<(Log, LogReport), LogError> {
        Log::recover(
            partitions.into_iter().map(Source::Partition).collect(),
            mirrors,
        )
        .await
    }

    pub(crate) async fn recover(
        mut sources: Vec<Source>,
        mirrors: usize,
    ) -> Result<(Log, LogReport), LogError> {
        assert!(mirrors > 0, "a log needs a mirror");
        sources.sort_by_key(Source::uuid);
        let candidates = join_all(sources.into_iter().map(Candidate::open)).await;
        let candidates = candidates.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut report = LogReport::default();
        let mended = candidates.iter().flat_map(Candidate::mended);
        report.remarks.extend(mended.cloned());
        let newest = candidates
            .iter()
            .filter_map(Candidate::generation)
            .max_by_key(|known| known.generation)
            .cloned();
        let recovered = match newest {
            Some(newest) => recover_members(candidates, &newest, mirrors, &mut report).await?,
            None => first_members(candidates, mirrors, &mut report)?,
        };
        finish(recovered, report).await
    }
}

/// Slots in order, each with what was replayed from it if it is a member.
struct Recovered {
    slots: Vec<Joined>,
    generation: u64,
    next_number: u64,
    changed: bool,
}

/// A set without any record: the first partitions become the mirrors.
fn first_members(
    candidates: Vec<Candidate>,
    mirrors: usize,
    report: &mut LogReport,
) -> Result<Recovered, LogError> {
    let mut slots = Vec::new();
    let mut members = 0;
    for candidate in candidates {
        let name = candidate.name();
        match candidate.state {
            State::Whole(medium, replayed) if replayed.last_number.is_none() => {
                let role = if members < mirrors && candidate.source.may_mirror() {
                    Role::Member
                } else {
                    Role::Witness
                };
                members += usize::from(role == Role::Member);
                let replayed = (role == Role::Member).then_some(replayed);
                slots.push((Slot::new(candidate.source.uuid(), medium, role), replayed));
            }
            State::Whole(..) => {
                return Err(LogError::Corrupt(format!(
                    "device {name} has records but no generation"
                )));
            }
            State::Corrupt(detail) => {
                return Err(LogError::Corrupt(format!("device {name}: {detail}")));
            }
            State::Unreachable(detail) => report
                .remarks
                .push(format!("device {name} is left out: {detail}")),
        }
    }
    if members == 0 {
        return Err(LogError::Missing(report.remarks.join("; ")));
    }
    Ok(Recovered {
        slots,
        generation: 0,
        next_number: 1,
        changed: true,
    })
}

type Joined = (Slot, Option<Replayed>);

async fn recover_members(
    mut candidates: Vec<Candidate>,
    newest: &Generation,
    mirrors: usize,
    report: &mut LogReport,
) -> Result<Recovered, LogError> {
    set_damaged_aside(&mut candidates, newest, report).await;
    let winner = choose_winner(&candidates, newest)?;
    report_missing(&candidates, newest, report);
    let next_number = candidates[winner].last_number() + 1;
    let good = candidates.remove(winner);
    let State::Whole(medium, replayed) = good.state else {
        return Err(LogError::Missing("no mirror has a whole log".into()));
    };
    let (current, mut spare): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|candidate| candidate.is_current(newest));
    let mut slots = Vec::new();
    for candidate in current {
        slots.extend(join_current(candidate, &medium, &replayed, report).await);
    }
    // Those that were members come first: they are the ones that are to hold the log.
    spare.sort_by_key(|candidate| !newest.members.contains(&candidate.source.uuid()));
    let slot = Slot::new(good.source.uuid(), medium, Role::Member);
    slots.insert(0, (slot, Some(replayed)));
    let current = slots.len();
    let mut members = current;
    let mut changed = members != newest.members.len();
    for candidate in spare {
        let rebuild = members < mirrors && candidate.source.may_mirror();
        let good = Good::of(&slots[..current]);
        let slot = admit(candidate, rebuild, &good, report).await;
        if let Some((_, Some(_))) = slot {
            members += 1;
            changed = true;
        }
        slots.extend(slot);
    }
    slots.sort_by_key(|(slot, _)| slot.uuid);
    Ok(Recovered {
        slots,
        generation: newest.generation,
        next_number,
        changed,
    })
}

/// A mirror that lacks pieces of the newest snapshot is rebuilt from one that does not. Where none is better, the log goes
/// on without that snapshot: the namespace may have all that it held.
async fn set_damaged_aside(
    candidates: &mut [Candidate],
    newest: &Generation,
    report: &mut LogReport,
) {
    let sound =
        |candidate: &Candidate| candidate.is_current(newest) && candidate.damage().is_none();
    let any_sound = candidates.iter().any(sound);
    for candidate in candidates {
        let Some(damage) = candidate.damage() else {
            continue;
        };
        if !any_sound {
            let name = candidate.name();
            report.remarks.push(format!(
                "mirror {name} is damaged, and no other is whole: {damage}"
            ));
            continue;
        }
        // The journal must be closed before its partition is erased.
        if let State::Whole(medium, _) = &candidate.state {
            medium.close().await;
        }
        candidate.state = State::Corrupt(damage);
    }
}

fn report_missing(candidates: &[Candidate], newest: &Generation, report: &mut LogReport) {
    for member in &newest.members {
        if !candidates
            .iter()
            .any(|candidate| candidate.source.uuid() == *member)
        {
            report
                .remarks
                .push(format!("mirror {} is missing", uuid_text(member)));
        }
    }
}

/// A mirror of the newest generation, with what it lacked of the longest log.
async fn join_current(
    candidate: Candidate,
    good: &Medium,
    good_replayed: &Replayed,
    report: &mut LogReport,
) -> Option<Joined> {
    let name = candidate.name();
    let uuid = candidate.source.uuid();
    let State::Whole(medium, replayed) = candidate.state else {
        let remark = format!("mirror {name} was not replayed and is left out");
        report.remarks.push(remark);
        return None;
    };
    match catch_up(good, good_replayed, medium, replayed).await {
        Ok((medium, replayed, copied)) => {
            if copied > 0 {
                let remark = format!("mirror {name} lacked the last {copied} records and got them");
                report.remarks.push(remark);
            }
            Some((Slot::new(uuid, medium, Role::Member), Some(replayed)))
        }
        Err(error) => {
            report
                .remarks
                .push(format!("mirror {name} is left out: {error}"));
            None
        }
    }
}

/// The member of the newest generation with the longest log.
fn choose_winner(candidates: &[Candidate], newest: &Generation) -> Result<usize, LogError> {
    let current = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.is_current(newest));
    if let Some((winner, _)) = current.max_by_key(|(_, candidate)| candidate.last_number()) {
        return Ok(winner);
    }
    let members: Vec<_> = newest.members.iter().map(uuid_text).collect();
    let mut states = Vec::new();
    let mut corrupt = false;
    for candidate in candidates {
        let state = match &candidate.state {
            State::Whole(_, replayed) => match &replayed.generation {
                Some(known) => format!("knows generation {}", known.generation),
                None => "is empty".to_owned(),
            },
            State::Corrupt(detail) => {
                corrupt |= newest.members.contains(&candidate.source.uuid());
                format!("is corrupt: {detail}")
            }
            State::Unreachable(detail) => format!("cannot be read: {detail}"),
        };
        states.push(format!("device {} {state}", candidate.name()));
    }
    let detail = format!(
        "generation {} is mirrored on {}; {}",
        newest.generation,
        members.join(", "),
        states.join("; ")
    );
    Err(if corrupt {
        LogError::Corrupt(detail)
    } else {
        LogError::Stale(detail)
    })
}

/// Gives a mirror of the same generation what it lacks of the winner's tail; says how many records.
async fn catch_up(
    good: &Medium,
    good_replayed: &Replayed,
    medium: Medium,
    mut replayed: Replayed,
) -> Result<(Medium, Replayed, usize), EngineError> {
    if replayed.last_number == good_replayed.last_number {
        return Ok((medium, replayed, 0));
    }
    let missing = records_after(good, good_replayed, replayed.last_number.unwrap_or(0)).await?;
    let mut copy = Copying::to(&medium);
    for place in &missing {
        let (kind, body) = good.read(*place).await?;
        copy.record(kind, &body, &mut replayed).await?;
    }
    copy.finish().await?;
    Ok((medium, replayed, missing.len()))
}

/// The places of all records of a higher number.
async fn records_after(
    good: &Medium,
    good_replayed: &Replayed,
    known: u64,
) -> Result<Vec<JournalPosition>, EngineError> {
    let remembered = good_replayed.recent.front();
    if remembered.is_some_and(|(first, _)| *first <= known) {
        let recent = good_replayed
            .recent
            .iter()
            .filter(|(number, _)| *number > known);
        return Ok(recent.map(|(_, place)| *place).collect());
    }
    let mut places = Vec::new();
    let mut collect = |place: JournalPosition, _: u8, body: &[u8]| {
        let number = record::number(body).map_err(|malformed| EngineError::Corrupt {
            place: format!("log position {}", place.0),
            detail: malformed.0,
        })?;
        if number > known {
            places.push(place);
        }
        Ok(())
    };
    good.replay(&mut collect).await?;
    Ok(places)
}

/// Copies records, numbers and all, and notes them on the way.
struct Copying<'a> {
    to: &'a Medium,
    queued: usize,
    last: Option<JournalPosition>,
}

impl<'a> Copying<'a> {
    fn to(to: &'a Medium) -> Copying<'a> {
        Copying {
            to,
            queued: 0,
            last: None,
        }
    }

    async fn record(
        &mut self,
        kind: u8,
        body: &[u8],
        replayed: &mut Replayed,
    ) -> Result<(), EngineError> {
        let copied = self.to.append(kind, body)?;
        replayed.visit(copied, kind, body)?;
        self.last = Some(copied);
        self.queued += body.len();
        if self.queued >= COPY_BATCH_BYTES {
            self.to.flush(copied).await?;
            self.queued = 0;
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), EngineError> {
        match self.last {
            Some(last) => self.to.flush(last).await,
            None => Ok(()),
        }
    }
}

/// Makes a partition that is not a current mirror a mirror again, or a witness.
async fn admit(
    candidate: Candidate,
    rebuild: bool,
    good: &Good<'_>,
    report: &mut LogReport,
) -> Option<Joined> {
    let name = candidate.name();
    let why = match &candidate.state {
        State::Unreachable(detail) => {
            report
                .remarks
                .push(format!("device {name} is left out: {detail}"));
            return None;
        }
        State::Corrupt(detail) => format!("was corrupt ({detail})"),
        State::Whole(_, replayed) => match &replayed.generation {
            Some(known) => format!("was at generation {}", known.generation),
            None => "was empty".to_owned(),
        },
    };
    let uuid = candidate.source.uuid();
    if !rebuild {
        return match candidate.state {
            State::Whole(medium, _) => Some((Slot::new(uuid, medium, Role::Witness), None)),
            _ => {
                report
                    .remarks
                    .push(format!("device {name} {why} and is left out"));
                None
            }
        };
    }
    // The journal must be closed before its partition is erased.
    let Candidate { source, state } = candidate;
    if let State::Whole(medium, _) = state {
        medium.close().await;
    }
    match rebuild_mirror(&source, good).await {
        Ok((medium, replayed)) => {
            report
                .remarks
                .push(format!("mirror {name} {why} and was rebuilt"));
            Some((Slot::new(uuid, medium, Role::Member), Some(replayed)))
        }
        Err(error) => {
            report.remarks.push(format!(
                "mirror {name} {why} and cannot be rebuilt: {error}"
            ));
            None
        }
    }
}

/// The mirrors that a lost one is rebuilt from.
struct Good<'a> {
    /// Each with the places of its live records, which are the same records in the same order on all.
    mirrors: Vec<(&'a Medium, Vec<JournalPosition>)>,
}

impl<'a> Good<'a> {
    fn of(slots: &'a [Joined]) -> Good<'a> {
        let current = slots.iter().filter_map(|(slot, replayed)| {
            let groups = &replayed.as_ref()?.groups;
            let log_indexes = groups.values().map(|(_, log_index)| log_index);
            let mut places: Vec<_> = log_indexes.flat_map(LogIndex::live).collect();
            places.sort_unstable();
            Some((&slot.medium, places))
        });
        Good {
            mirrors: current.collect(),
        }
    }

    fn count(&self) -> usize {
        self.mirrors.first().map_or(0, |(_, places)| places.len())
    }

    /// Reads a record from the first mirror that has it whole.
    async fn read(&self, at: usize) -> Result<(u8, Vec<u8>), EngineError> {
        let mut failure = EngineError::NotFound;
        for (medium, places) in &self.mirrors {
            let Some(place) = places.get(at).filter(|_| places.len() == self.count()) else {
                continue;
            };
            match medium.read(*place).await {
                Ok(record) => return Ok(record),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// An empty journal with all live records of the good ones. It is no mirror before a generation says so: generation records
/// are not copied. Nothing is erased before all of them have been read: a replay verifies no pieces of snapshots.
async fn rebuild_mirror(
    source: &Source,
    good: &Good<'_>,
) -> Result<(Medium, Replayed), EngineError> {
    for at in 0..good.count() {
        good.read(at).await?;
    }
    source.erase().await?;
    let medium = source.open().await?;
    let mut copy = Copying::to(&medium);
    let mut replayed = Replayed::default();
    for at in 0..good.count() {
        let (kind, body) = good.read(at).await?;
        copy.record(kind, &body, &mut replayed).await?;
    }
    copy.finish().await?;
    Ok((medium, replayed))
}

/// Joins what the members have replayed, and raises the generation if the members have changed.
async fn finish(recovered: Recovered, mut report: LogReport) -> Result<(Log, LogReport), LogError> {
    let count = recovered.slots.len();
    let mut groups: BTreeMap<u16, GroupLog> = BTreeMap::new();
    let mut slots = Vec::new();
    for (index, (slot, replayed)) in recovered.slots.into_iter().enumerate() {
        slots.push(slot);
        for (group, (state, log_index)) in
            replayed.map(|replayed| replayed.groups).unwrap_or_default()
        {
            let joined = groups.entry(group).or_insert_with(|| GroupLog {
                state: LogState::default(),
                log_indexes: (0..count).map(|_| LogIndex::default()).collect(),
            });
            if joined.state.last.is_some() && joined.state.last != state.last {
                return Err(LogError::Corrupt(format!(
                    "mirrors of group {group} end differently"
                )));
            }
            joined.state = state;
            joined.log_indexes[index] = log_index;
        }
    }
    let mirrors = Mirrors::new(slots, recovered.generation, recovered.next_number);
    if recovered.changed {
        mirrors.raise_generation().await?;
    }
    (report.generation, report.mirrors) = mirrors.generation();
    Ok((Log::new(mirrors, groups), report))
}
