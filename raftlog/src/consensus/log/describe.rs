//! Records of the log as text, for strata inspect. Of a command its name is shown, not what it carries: some carry secrets.

use openraft::EntryPayload;

use super::codec::decode_state;
use super::mirrors::uuid_text;
use super::record::{self, Record};
use super::types::{Entry, LogId};
use crate::namespace::command::Envelope;

/// Says in a line what the body of a log record holds, by the kind that stands in its header.
///
/// # Errors
/// Says what is wrong with it.
pub fn describe(kind: u8, body: &[u8]) -> Result<String, String> {
    let (group, number, record) = record::decode(kind, body).map_err(|malformed| malformed.0)?;
    let text = match record {
        Record::Entry(entry) => entry_text(&entry)?,
        Record::Vote(vote) => format!("vote {vote}"),
        Record::Truncate(after) => format!("entries above {} are gone", text_of(after)),
        Record::Purge(id) => format!("entries up to {id} are gone"),
        Record::Committed(id) => format!("committed up to {id}"),
        Record::Piece(piece) => format!(
            "piece {} of snapshot {}, {} bytes",
            piece.number,
            piece.snapshot,
            piece.bytes.len()
        ),
        Record::Manifest(manifest) => format!(
            "snapshot {} is whole: {} pieces, {} bytes, {}",
            manifest.snapshot,
            manifest.pieces.len(),
            manifest.bytes(),
            state_text(&manifest.state)?
        ),
        Record::Generation(generation) => {
            let members = generation.members.iter();
            let members: Vec<_> = members.map(uuid_text).collect();
            format!(
                "generation {} of the mirrors: {}",
                generation.generation,
                members.join(", ")
            )
        }
    };
    let of = match group {
        record::NO_GROUP => String::new(),
        group => format!(", group {group}"),
    };
    Ok(format!("record {number}{of}: {text}"))
}

fn text_of(id: Option<LogId>) -> String {
    id.map_or_else(|| "the first".to_owned(), |id| id.to_string())
}

fn entry_text(entry: &Entry) -> Result<String, String> {
    let text = match &entry.payload {
        EntryPayload::Blank => "blank".to_owned(),
        EntryPayload::Membership(membership) => format!("membership {membership}"),
        EntryPayload::Normal(proposal) => {
            let envelope = Envelope::decode(&proposal.0).map_err(|error| error.to_string())?;
            format!(
                "{}, {} bytes, session {} sequence {}, stamped {} ns",
                envelope.command.name(),
                proposal.0.len(),
                envelope.session,
                envelope.sequence,
                envelope.time_nanos
            )
        }
    };
    Ok(format!("entry {}: {text}", entry.log_id))
}

fn state_text(state: &[u8]) -> Result<String, String> {
    let (last, _, _) = decode_state(state).map_err(|malformed| malformed.0)?;
    Ok(format!("the state after {}", text_of(last)))
}
