//! Records of the log as named fields, for strata inspect. Of a command its name is shown, not what it carries: some carry secrets.

use openraft::EntryPayload;
use strata_engine::Uuid;
use strata_engine::format::description::Description;

use super::codec::decode_state;
use super::record::{self, Record};
use super::types::{Entry, LogId};
use crate::namespace::command::Envelope;

/// Says what the body of a log record holds, by the kind that stands in its header.
///
/// # Errors
/// Says what is wrong with it.
pub fn describe(kind: u8, body: &[u8]) -> Result<Description, String> {
    let (group, number, record) = record::decode(kind, body).map_err(|malformed| malformed.0)?;
    let group = (group != record::NO_GROUP).then_some(group);
    let fields = Description::new()
        .with("number", number)
        .with("group", group);
    Ok(match record {
        Record::Entry(entry) => fields.with("kind", "entry").with_all(entry_fields(&entry)?),
        Record::Vote(vote) => fields
            .with("kind", "vote")
            .with("term", vote.leader_id.term)
            .with("node", vote.leader_id.node_id)
            .with("committed", vote.committed),
        Record::Truncate(after) => fields
            .with("kind", "truncate")
            .with("after", after.map(id_fields)),
        Record::Purge(id) => fields.with("kind", "purge").with("up_to", id_fields(id)),
        Record::Committed(id) => fields
            .with("kind", "committed")
            .with("up_to", id_fields(id)),
        Record::Piece(piece) => fields
            .with("kind", "snapshot piece")
            .with("snapshot", piece.snapshot)
            .with("piece", piece.number)
            .with("piece_bytes", piece.bytes.len()),
        Record::Manifest(manifest) => {
            let (last, _, _) = decode_state(&manifest.state).map_err(|malformed| malformed.0)?;
            fields
                .with("kind", "snapshot manifest")
                .with("snapshot", manifest.snapshot)
                .with("pieces", manifest.pieces.len())
                .with("snapshot_bytes", manifest.bytes())
                .with("applied", last.map(id_fields))
        }
        Record::Generation(generation) => {
            let members = generation.members.into_iter().map(Uuid);
            fields
                .with("kind", "mirrors")
                .with("generation", generation.generation)
                .with("members", members.collect::<Vec<_>>())
        }
    })
}

fn id_fields(id: LogId) -> Description {
    Description::new()
        .with("term", id.leader_id.term)
        .with("node", id.leader_id.node_id)
        .with("index", id.index)
}

fn entry_fields(entry: &Entry) -> Result<Description, String> {
    let fields = id_fields(entry.log_id);
    Ok(match &entry.payload {
        EntryPayload::Blank => fields.with("entry", "blank"),
        EntryPayload::Membership(membership) => fields
            .with("entry", "membership")
            .with("voters", membership.voter_ids().collect::<Vec<u64>>())
            .with("learners", membership.learner_ids().collect::<Vec<u64>>()),
        EntryPayload::Normal(proposal) => {
            let envelope = Envelope::decode(&proposal.0).map_err(|error| error.to_string())?;
            fields
                .with("entry", "command")
                .with("command", envelope.command.name())
                .with("command_bytes", proposal.0.len())
                .with("session", envelope.session)
                .with("sequence", envelope.sequence)
                .with("time_nanos", envelope.time_nanos)
        }
    })
}
