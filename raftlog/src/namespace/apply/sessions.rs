//! Proposers' sessions: each sequence is carried out once, and its answer kept until the proposer
//! says that it has it.

use super::{Applier, Change, Outcome};
use crate::namespace::command::{Answer, CloseSession, Command, Envelope, OpenSession, Refusal};
use crate::namespace::key;
use crate::namespace::level::limits;
use crate::namespace::store::StoreError;
use crate::namespace::system::{AnswerRow, Session};

/// What to do with an envelope.
pub(super) enum Admission {
    /// Give this answer; change nothing.
    Answered(Answer),
    Execute,
}

/// Looks at all but the command itself.
pub(super) fn admit(
    applier: &mut Applier<'_>,
    envelope: &Envelope,
) -> Result<Admission, StoreError> {
    if let Some(refusal) = refuse_level(applier, envelope) {
        return Ok(Admission::Answered(Answer::Refused(refusal)));
    }
    if envelope.session == 0 {
        return Ok(match envelope.command {
            Command::Noop(_) | Command::Initialise(_) | Command::OpenSession(_) => {
                Admission::Execute
            }
            _ => Admission::Answered(Answer::Refused(Refusal::SessionExpired)),
        });
    }
    admit_in_session(applier, envelope)
}

fn refuse_level(applier: &Applier<'_>, envelope: &Envelope) -> Option<Refusal> {
    let newest = applier.table.newest_level();
    let active = applier.group.map_or(newest, |group| group.feature_level);
    let needed = envelope.feature_level.max(envelope.command.since_level());
    if needed > active {
        return Some(Refusal::FeatureLevel { needed, active });
    }
    let group = applier.group?;
    (envelope.group != group.group).then_some(Refusal::WrongGroup(envelope.group))
}

fn admit_in_session(
    applier: &mut Applier<'_>,
    envelope: &Envelope,
) -> Result<Admission, StoreError> {
    let refuse = |refusal| Ok(Admission::Answered(Answer::Refused(refusal)));
    let known = match applier.sessions.get(&envelope.session) {
        Some(session) => Some(*session),
        None => applier.view().session(envelope.session)?,
    };
    let Some(mut session) = known else {
        return refuse(Refusal::SessionExpired);
    };
    if envelope.lowest_unanswered > envelope.sequence {
        return refuse(Refusal::Invalid(
            "the sequence is said to be answered".into(),
        ));
    }
    if envelope.sequence < session.lowest_unanswered {
        return refuse(Refusal::SequenceAnswered);
    }
    if let Some(answer) = applier.view().answer(envelope.session, envelope.sequence)? {
        return Ok(Admission::Answered(answer));
    }
    drop_answers(applier, envelope, &mut session)?;
    let level = applier.group.map_or(0, |group| group.feature_level);
    if session.outstanding >= limits(level).outstanding_max {
        applier.sessions.insert(envelope.session, session);
        return refuse(Refusal::TooManyOutstanding);
    }
    session.outstanding += 1;
    applier.sessions.insert(envelope.session, session);
    Ok(Admission::Execute)
}

/// Writes the sessions that commands have changed since the last time, one row each.
pub(super) fn write(applier: &mut Applier<'_>) -> Result<(), StoreError> {
    for (number, session) in std::mem::take(&mut applier.sessions) {
        applier
            .table
            .put(&mut applier.txn, &key::session(number), &session)?;
    }
    Ok(())
}

/// Drops the answers below the proposer's mark.
fn drop_answers(
    applier: &mut Applier<'_>,
    envelope: &Envelope,
    session: &mut Session,
) -> Result<(), StoreError> {
    if envelope.lowest_unanswered <= session.lowest_unanswered {
        return Ok(());
    }
    let from = key::answer(envelope.session, session.lowest_unanswered);
    let below = key::answer(envelope.session, envelope.lowest_unanswered);
    let dropped = applier
        .table
        .delete_range(&mut applier.txn, &from, &below)?;
    session.lowest_unanswered = envelope.lowest_unanswered;
    let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
    session.outstanding = session.outstanding.checked_sub(dropped).ok_or_else(|| {
        StoreError::Invariant(format!(
            "session {} has more answers than it counts",
            envelope.session
        ))
    })?;
    Ok(())
}

/// Keeps the answer of a command that was carried out, unless it has ended its own session.
pub(super) fn remember(
    applier: &mut Applier<'_>,
    envelope: &Envelope,
    answer: &Answer,
) -> Result<(), StoreError> {
    let session = key::session(envelope.session);
    let is_open = applier.sessions.contains_key(&envelope.session)
        || (envelope.session != 0 && applier.table.contains(&applier.txn, &session)?);
    if !is_open {
        return Ok(());
    }
    let key = key::answer(envelope.session, envelope.sequence);
    applier
        .table
        .put(&mut applier.txn, &key, &AnswerRow(answer.clone()))
}

impl Change<'_, '_> {
    pub(super) fn open_session(&mut self, command: &OpenSession) -> Outcome {
        let sessions = self.view().sessions()?;
        let room_for = sessions.len().saturating_sub(self.limits.sessions_max - 1);
        for (place, (number, session)) in sessions.iter().enumerate() {
            if place < room_for || session.owner == command.owner {
                self.drop_session(*number)?;
            }
        }
        let number = self.group.next_session;
        self.group.next_session += 1;
        let session = Session {
            owner: command.owner,
            opened_nanos: self.now(),
            lowest_unanswered: 0,
            outstanding: 0,
        };
        self.put(&key::session(number), &session)?;
        Ok(Answer::Session(number))
    }

    pub(super) fn close_session(&mut self, command: &CloseSession) -> Outcome {
        let session = command.session;
        if self.view().session(session)?.is_none() {
            return Err(Refusal::SessionExpired.into());
        }
        self.drop_session(session)?;
        Ok(Answer::Done)
    }

    fn drop_session(&mut self, session: u64) -> Result<(), StoreError> {
        self.delete(&key::session(session))?;
        self.delete_prefix(&key::answers(session))?;
        Ok(())
    }
}
