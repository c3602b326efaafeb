//! Applying commands: the one writer of the namespace.
//!
//! A command is decided before anything is written: a refusal after a write is a broken invariant
//! and stops the group, as every error of the store does. Sessions come first: a repeated proposal
//! gets its first answer and changes nothing.

mod access_list;
mod accounts;
mod bodies;
mod buckets;
mod named_version;
mod object_lock;
mod objects;
mod release;
mod repoint;
mod roles;
mod sessions;
mod system;
mod tags;
mod tree;
mod uploads;
mod usage;
mod users;
mod versions;

use std::collections::BTreeMap;

use self::usage::UsageChanges;
use super::key;
use super::level::{Limits, limits};
use super::store::table::{Table, WriteTxn};
use super::system::{GroupState, LogPosition, MembershipRow, Session};
use super::value::Row;
use super::view::View;
use crate::namespace::command::{Answer, Command, Envelope, Refusal, command_table};
use crate::namespace::store::StoreError;
use crate::namespace::{Place, PlaceKind, ROOT_INODE};

/// An entry of the log, as it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEntry<'a> {
    /// Nothing but its place.
    Blank,
    /// An encoded [`Envelope`].
    Command(&'a [u8]),
    /// A membership, kept as it is.
    Membership(&'a [u8]),
}

/// Why a command stops.
enum Halt {
    /// It changes nothing; the answer says why.
    Refused(Refusal),
    /// The store failed: the group stops.
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Halt {
        Halt::Failed(error)
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

type Outcome<T = Answer> = Result<T, Halt>;

fn invalid<T>(reason: &str) -> Outcome<T> {
    Err(Halt::Refused(Refusal::Invalid(reason.to_owned())))
}

/// Applies entries in the order of the log within one transaction.
pub(crate) struct Applier<'e> {
    txn: WriteTxn<'e>,
    table: Table,
    /// `None` before the group is initialised.
    group: Option<GroupState>,
    applied: LogPosition,
    /// Sessions that commands of the batch have changed, not written yet.
    sessions: BTreeMap<u64, Session>,
    /// What buckets hold more or less by commands of the batch, not written yet.
    usage: UsageChanges,
    /// Whether a command may have changed a bucket, the root key or what a user may do.
    changes_settings: bool,
}

impl<'e> Applier<'e> {
    pub(crate) fn new(table: Table, txn: WriteTxn<'e>) -> Result<Applier<'e>, StoreError> {
        let group = View::borrowed(table, &txn).group()?;
        let applied = View::borrowed(table, &txn).applied()?;
        Ok(Applier {
            txn,
            table,
            group,
            applied,
            sessions: BTreeMap::new(),
            usage: UsageChanges::new(),
            changes_settings: false,
        })
    }

    fn view(&self) -> View<'_> {
        View::borrowed(self.table, &self.txn)
    }

    /// Applies one entry, which must follow the last one.
    pub(crate) fn apply(
        &mut self,
        position: LogPosition,
        entry: LogEntry<'_>,
    ) -> Result<Answer, StoreError> {
        if position.index <= self.applied.index && self.applied != LogPosition::default() {
            return Err(StoreError::Invariant(format!(
                "log entry {} is applied after {}",
                position.index, self.applied.index
            )));
        }
        self.applied = position;
        match entry {
            LogEntry::Blank => Ok(Answer::Done),
            LogEntry::Membership(bytes) => {
                let row = MembershipRow {
                    position,
                    bytes: bytes.to_vec(),
                };
                self.table
                    .put(&mut self.txn, &key::system(key::S_MEMBERSHIP), &row)?;
                Ok(Answer::Done)
            }
            LogEntry::Command(bytes) => {
                let envelope = Envelope::decode(bytes).map_err(|error| StoreError::Command {
                    index: position.index,
                    error,
                })?;
                self.apply_envelope(envelope)
            }
        }
    }

    /// Whether a command may have changed a bucket, the root key or what a user may do.
    pub(crate) fn changes_settings(&self) -> bool {
        self.changes_settings
    }

    /// Writes what the entries have in common; the last of them, and the transaction, which is to be committed.
    pub(crate) fn finish(mut self) -> Result<(LogPosition, WriteTxn<'e>), StoreError> {
        sessions::write(&mut self)?;
        usage::write(&mut self)?;
        self.table
            .put(&mut self.txn, &key::system(key::S_APPLIED), &self.applied)?;
        if let Some(group) = &self.group {
            self.table
                .put(&mut self.txn, &key::system(key::S_GROUP), group)?;
        }
        Ok((self.applied, self.txn))
    }

    fn apply_envelope(&mut self, envelope: Envelope) -> Result<Answer, StoreError> {
        if let Some(group) = &mut self.group {
            group.time_nanos = group.time_nanos.max(envelope.time_nanos);
        }
        match sessions::admit(self, &envelope)? {
            sessions::Admission::Answered(answer) => Ok(answer),
            sessions::Admission::Execute => {
                if matches!(
                    envelope.command,
                    Command::OpenSession(_) | Command::CloseSession(_)
                ) {
                    // These look at the rows of all sessions.
                    sessions::write(self)?;
                }
                let answer = self.execute(&envelope)?;
                sessions::remember(self, &envelope, &answer)?;
                Ok(answer)
            }
        }
    }

    fn execute(&mut self, envelope: &Envelope) -> Result<Answer, StoreError> {
        self.changes_settings |= envelope.command.changes_settings();
        let Some(group) = self.group.or_else(|| system::first_state(envelope)) else {
            return Ok(Answer::Refused(Refusal::NotInitialised));
        };
        let mut change = Change {
            txn: &mut self.txn,
            table: self.table,
            group,
            sequence: group.commit_sequence + 1,
            first: self.group.is_none(),
            limits: limits(group.feature_level),
            usage: &mut self.usage,
            dropped_bodies: 0,
            wrote: false,
        };
        match change.run(&envelope.command) {
            Ok(answer) => {
                if change.wrote {
                    change.group.commit_sequence = change.sequence;
                }
                self.group = Some(change.group);
                Ok(answer)
            }
            Err(Halt::Refused(refusal)) if change.wrote => Err(StoreError::Invariant(format!(
                "{} was refused after it had changed something: {refusal}",
                envelope.command.name()
            ))),
            Err(Halt::Refused(refusal)) => Ok(Answer::Refused(refusal)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }
}

/// One command as it is carried out.
struct Change<'c, 'e> {
    txn: &'c mut WriteTxn<'e>,
    table: Table,
    group: GroupState,
    /// The commit sequence that the command gets if it changes something.
    sequence: u64,
    /// Whether the group is being initialised.
    first: bool,
    /// Those of the level that is activated.
    limits: &'static Limits,
    usage: &'c mut UsageChanges,
    /// Rows of `F` that the command has written.
    dropped_bodies: u32,
    wrote: bool,
}

macro_rules! run {
    ($(
        $(#[$doc:meta])*
        $number:literal since $level:literal $class:ident $name:ident |$command:pat_param| $bytes:expr => $apply:ident,
    )*) => {
        impl Change<'_, '_> {
            fn run(&mut self, command: &Command) -> Outcome {
                match command { $(Command::$name(command) => self.$apply(command),)* }
            }
        }
    };
}

command_table!(run);

impl Change<'_, '_> {
    fn view(&self) -> View<'_> {
        View::borrowed(self.table, self.txn)
    }

    fn now(&self) -> i64 {
        self.group.time_nanos
    }

    fn put<R: Row>(&mut self, key: &[u8], row: &R) -> Result<(), StoreError> {
        self.wrote = true;
        self.table.put(self.txn, key, row)
    }

    fn put_inline(&mut self, key: &[u8], body: &[u8]) -> Result<(), StoreError> {
        self.wrote = true;
        self.table.put_inline(self.txn, key, body)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        self.wrote = true;
        self.table.delete(self.txn, key)
    }

    /// Deletes the rows under a prefix; how many there were.
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.wrote = true;
        let end = key::prefix_end(prefix).expect("no family of keys begins with 0xff");
        self.table.delete_range(self.txn, prefix, &end)
    }

    /// Where a bucket lies, which a command names by its inode: another bucket of its name is not the one that was meant.
    fn bucket(&self, inode: u64) -> Outcome<Place> {
        let place = self.view().place(inode)?;
        let bucket =
            place.filter(|place| place.parent == ROOT_INODE && place.kind == PlaceKind::Name);
        bucket.ok_or_else(|| Refusal::NoSuchBucket.into())
    }

    /// The next inode of the group.
    fn take_inode(&mut self) -> u64 {
        let inode = self.group.next_inode;
        self.group.next_inode += 1;
        u64::from(self.group.group) << system::INODE_COUNTER_BITS | inode
    }
}
