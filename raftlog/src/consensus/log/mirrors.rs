//! The mirror set: every record goes to all members of the generation; a device that fails leaves it.
//!
//! Invariant: `flush` returns success only when everything queued is durable on all members of a
//! generation that is itself durable on every device that can be reached.

use std::cell::{Cell, RefCell};

use futures_util::future::join_all;
use strata_engine::{EngineError, JournalPosition};

use super::LogError;
use super::medium::{Medium, Space};
use super::record::{Generation, NO_GROUP, Record};

/// What a release writes to a mirror, at most, in bytes: a generation, and marks of every group.
const RELEASE_BYTES: u64 = 64 << 10;

/// What a record takes on a mirror beside its body, at most, in bytes.
const RECORD_EXCESS_BYTES: usize = 64;

/// What a device is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Holds all records.
    Member,
    /// Holds generation records only.
    Witness,
    /// Failed, or was never reached.
    Lost,
}

/// One device of the set.
pub(crate) struct Slot {
    pub uuid: [u8; 16],
    pub medium: Medium,
    role: Cell<Role>,
    /// The last record queued on it.
    tail: Cell<Option<JournalPosition>>,
}

impl Slot {
    pub(crate) fn new(uuid: [u8; 16], medium: Medium, role: Role) -> Slot {
        Slot {
            uuid,
            medium,
            role: Cell::new(role),
            tail: Cell::new(None),
        }
    }

    fn append(&self, kind: u8, body: &[u8]) -> Result<JournalPosition, EngineError> {
        let place = self.medium.append(kind, body)?;
        self.tail.set(Some(place));
        Ok(place)
    }

    async fn flush(&self) -> Result<(), EngineError> {
        match self.tail.get() {
            Some(tail) => self.medium.flush(tail).await,
            None => Ok(()),
        }
    }
}

/// All devices of the set.
pub(crate) struct Mirrors {
    slots: Vec<Slot>,
    generation: Cell<u64>,
    /// The next record's number.
    number: Cell<u64>,
    /// A member was lost and no durable generation says so yet.
    unrecorded: Cell<bool>,
    /// The last failure, for the error that ends the log.
    failure: RefCell<String>,
}

impl Mirrors {
    pub(crate) fn new(slots: Vec<Slot>, generation: u64, number: u64) -> Mirrors {
        Mirrors {
            slots,
            generation: Cell::new(generation),
            number: Cell::new(number),
            unrecorded: Cell::new(false),
            failure: RefCell::new(String::new()),
        }
    }

    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn members(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.role.get() == Role::Member)
    }

    pub(crate) fn generation(&self) -> (u64, usize) {
        (self.generation.get(), self.members().count())
    }

    pub(crate) fn take_number(&self) -> u64 {
        let number = self.number.get();
        self.number.set(number + 1);
        number
    }

    /// Queues a record on all members; its place on each slot.
    pub(crate) fn append(
        &self,
        kind: u8,
        body: &[u8],
    ) -> Result<Vec<Option<JournalPosition>>, LogError> {
        // On all of them or on none: a member that alone has no room for it would be lost to the set.
        let bytes = (RECORD_EXCESS_BYTES + body.len()) as u64;
        let has_no_room = |(_, slot): (usize, &Slot)| slot.medium.space().free() < bytes;
        if self.members().any(has_no_room) {
            return Err(LogError::Full);
        }
        let mut places = vec![None; self.slots.len()];
        for (index, slot) in self.members() {
            match slot.append(kind, body) {
                Ok(place) => places[index] = Some(place),
                Err(EngineError::Full { .. }) if places.iter().all(Option::is_none) => {
                    return Err(LogError::Full);
                }
                Err(error) => self.lose(slot, &error),
            }
        }
        if places.iter().all(Option::is_none) {
            Err(self.failed())
        } else {
            Ok(places)
        }
    }

    /// Durable on all members what has been queued. A member that fails is left out of the next
    /// generation, which is durable before this returns.
    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        self.flush_slots(Role::Member).await;
        if self.unrecorded.get() {
            self.raise_generation().await?;
        }
        if self.members().next().is_none() {
            Err(self.failed())
        } else {
            Ok(())
        }
    }

    async fn flush_slots(&self, role: Role) {
        let slots: Vec<&Slot> = self
            .slots
            .iter()
            .filter(|slot| slot.role.get() == role)
            .collect();
        let results = join_all(slots.iter().map(|slot| slot.flush())).await;
        for (slot, result) in slots.into_iter().zip(results) {
            if let Err(error) = result {
                self.lose(slot, &error);
            }
        }
    }

    /// A new generation of the members that are left, durable on members and witnesses.
    pub(crate) async fn raise_generation(&self) -> Result<(), LogError> {
        loop {
            self.unrecorded.set(false);
            self.generation.set(self.generation.get() + 1);
            let mut members: Vec<_> = self.members().map(|(_, slot)| slot.uuid).collect();
            members.sort_unstable();
            if members.is_empty() {
                return Err(self.failed());
            }
            tracing::info!(
                generation = self.generation.get(),
                mirrors = members.len(),
                "the log's mirrors change"
            );
            self.write_generation(Generation {
                generation: self.generation.get(),
                members,
            });
            self.flush_slots(Role::Member).await;
            self.flush_slots(Role::Witness).await;
            if !self.unrecorded.get() {
                return Ok(());
            }
        }
    }

    fn write_generation(&self, generation: Generation) {
        let record = Record::Generation(generation);
        let body = record.encode(NO_GROUP, self.take_number());
        for slot in self
            .slots
            .iter()
            .filter(|slot| slot.role.get() != Role::Lost)
        {
            if let Err(error) = slot.append(record.kind(), &body) {
                self.lose(slot, &error);
            }
        }
    }

    /// The generation as it is, written anew so that older copies may be released.
    ///
    /// # Errors
    /// `Full` where a member has no room for it; no device is lost by that.
    pub(crate) fn rewrite_generation(&self) -> Result<(), LogError> {
        // On all of them or on none: one that has a record more would have to give it to the others in the next start.
        if self.space().free() < RELEASE_BYTES {
            return Err(LogError::Full);
        }
        let mut members: Vec<_> = self.members().map(|(_, slot)| slot.uuid).collect();
        members.sort_unstable();
        let generation = Record::Generation(Generation {
            generation: self.generation.get(),
            members,
        });
        let body = generation.encode(NO_GROUP, self.take_number());
        let slots = self.slots.iter();
        for slot in slots.filter(|slot| slot.role.get() != Role::Lost) {
            if let Err(error) = slot.append(generation.kind(), &body) {
                self.lose(slot, &error);
            }
        }
        Ok(())
    }

    /// Ends the writers of all media.
    pub(crate) async fn close(&self) {
        for slot in &self.slots {
            slot.medium.close().await;
        }
    }

    fn lose(&self, slot: &Slot, error: &EngineError) {
        let device = uuid_text(&slot.uuid);
        tracing::error!(device, %error, "a device of the log's mirror set failed and is left out");
        if slot.role.replace(Role::Lost) == Role::Member {
            self.unrecorded.set(true);
        }
        *self.failure.borrow_mut() = format!("device {device}: {error}");
    }

    fn failed(&self) -> LogError {
        LogError::Failed(self.failure.borrow().clone())
    }

    /// Reads a record from the first member that has it whole. `places` is by slot.
    pub(crate) async fn read(
        &self,
        places: &[Option<JournalPosition>],
        check: impl Fn(u8, &[u8]) -> Result<(), String>,
    ) -> Result<(u8, Vec<u8>), LogError> {
        let mut problems = Vec::new();
        for (slot, place) in self.slots.iter().zip(places) {
            let (Role::Member, Some(place)) = (slot.role.get(), place) else {
                continue;
            };
            let problem = match slot.medium.read(*place).await {
                Ok((kind, body)) => match check(kind, &body) {
                    Ok(()) => return Ok((kind, body)),
                    Err(problem) => problem,
                },
                Err(error) => error.to_string(),
            };
            let device = uuid_text(&slot.uuid);
            tracing::error!(
                device,
                position = place.0,
                problem,
                "a log record cannot be read from this mirror"
            );
            problems.push(format!("device {device}: {problem}"));
        }
        Err(LogError::Corrupt(format!(
            "no mirror has the record: {}",
            problems.join("; ")
        )))
    }

    /// Reads records that lie close together from the first member, and visits each with its place in `records`, which are by
    /// slot. Ends early where one cannot be read: [`Mirrors::read`] says why, or finds it elsewhere.
    pub(crate) async fn read_each(
        &self,
        records: &[&[Option<JournalPosition>]],
        visit: &mut (dyn FnMut(usize, u8, &[u8]) + '_),
    ) {
        let Some((at, slot)) = self.members().next() else {
            return;
        };
        let places: Vec<_> = records.iter().map_while(|places| places[at]).collect();
        // What went wrong is found out record by record.
        let _ = slot.medium.read_each(&places, visit).await;
    }

    /// Releases what lies below its bound on each device: of a witness older generations, once the newest is durable.
    pub(crate) async fn trim(&self, bounds: &[Option<JournalPosition>]) {
        self.flush_slots(Role::Witness).await;
        for (slot, bound) in self.slots.iter().zip(bounds) {
            let Some(bound) = bound.filter(|_| slot.role.get() != Role::Lost) else {
                continue;
            };
            if let Err(error) = slot.medium.trim(bound).await {
                self.lose(slot, &error);
            }
        }
    }

    /// How full the member with the least room is.
    pub(crate) fn space(&self) -> Space {
        let spaces = self.members().map(|(_, slot)| slot.medium.space());
        spaces.min_by_key(Space::free).unwrap_or(Space {
            used: 0,
            all: 0,
            segment: 0,
        })
    }

    /// Bytes of the log since the first of these places, which are by slot.
    pub(crate) fn bytes_since(&self, places: &[Option<JournalPosition>]) -> u64 {
        let slots = self.members().filter_map(|(at, slot)| {
            let place = places.get(at).copied().flatten()?;
            Some(slot.medium.bytes_since(place))
        });
        slots.max().unwrap_or(0)
    }

    /// The last place on each slot.
    pub(crate) fn tails(&self) -> Vec<Option<JournalPosition>> {
        self.slots.iter().map(|slot| slot.tail.get()).collect()
    }
}

/// A uuid as people write it.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]]
        .map(|part| part.concat())
        .join("-")
}
