//! The records of the log, as bodies of journal records. docs/FORMAT.md, "Log and snapshots".
//!
//! Every body begins with 16 bytes: version, a reserved byte, the group, four reserved bytes, and the
//! record's number in its mirror set. The number grows by at least one from record to record; two
//! mirrors of one generation hold the same record under the same number.

use bytes::Bytes;
use openraft::EntryPayload;

use super::codec::{
    self, Malformed, Reader, put_log_id, put_optional_log_id, put_u16, put_u32, put_u64,
};
use super::types::{self, Entry, LogId, Payload, Proposal, Vote};

const VERSION: u8 = 1;
/// Bytes of the header that all records share.
pub(crate) const HEADER_BYTES: usize = 16;
/// The journal's kind byte of a piece, and how much of its body [`decode_head`] needs.
pub(crate) const PIECE_KIND: u8 = 6;
pub(crate) const PIECE_HEAD_BYTES: usize = HEADER_BYTES + 16;
/// Generation records speak of the mirror set, not of a group.
pub(crate) const NO_GROUP: u16 = u16::MAX;
/// Mirrors named by a generation record, at most.
const MEMBERS_MAX: u16 = 256;

/// One record, without its header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// An entry of the group's log.
    Entry(Entry),
    /// The vote that holds from here on.
    Vote(Vote),
    /// Entries above this one are gone; all of them where there is none.
    Truncate(Option<LogId>),
    /// Entries up to this one are gone.
    Purge(LogId),
    /// Entries up to this one are known to be committed.
    Committed(LogId),
    /// A piece of a snapshot.
    Piece(Piece),
    /// All pieces of the snapshot are durable.
    Manifest(Manifest),
    /// Who mirrors the log from here on.
    Generation(Generation),
}

/// A piece of a snapshot, opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The snapshot it belongs to.
    pub snapshot: u64,
    /// Its place in it, from 0.
    pub number: u32,
    /// Its content.
    pub bytes: Bytes,
}

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Its number, larger than that of every snapshot before it.
    pub snapshot: u64,
    /// What state it is of (see `encode_state`).
    pub state: Bytes,
    /// Length in bytes and CRC32C of every piece.
    pub pieces: Vec<(u32, u32)>,
}

impl Manifest {
    /// Bytes of all pieces.
    pub(crate) fn bytes(&self) -> u64 {
        let lengths = self.pieces.iter().map(|(length, _)| u64::from(*length));
        lengths.sum()
    }
}

/// The mirrors that hold the log; a higher generation makes every lower one stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Grows by one whenever the members change.
    pub generation: u64,
    /// The devices, by uuid, ascending.
    pub members: Vec<[u8; 16]>,
}

impl Record {
    /// The journal's kind byte.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Record::Entry(_) => 1,
            Record::Vote(_) => 2,
            Record::Truncate(_) => 3,
            Record::Purge(_) => 4,
            Record::Committed(_) => 5,
            Record::Piece(_) => PIECE_KIND,
            Record::Manifest(_) => 7,
            Record::Generation(_) => 8,
        }
    }

    /// The body, header included.
    pub(crate) fn encode(&self, group: u16, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        out.extend_from_slice(&[VERSION, 0]);
        put_u16(&mut out, group);
        put_u32(&mut out, 0);
        put_u64(&mut out, number);
        match self {
            Record::Entry(entry) => put_entry(&mut out, entry),
            Record::Vote(vote) => put_vote(&mut out, vote),
            Record::Truncate(after) => put_optional_log_id(&mut out, after.as_ref()),
            Record::Purge(id) | Record::Committed(id) => put_log_id(&mut out, id),
            Record::Piece(piece) => put_piece(&mut out, piece),
            Record::Manifest(manifest) => put_manifest(&mut out, manifest),
            Record::Generation(generation) => put_generation(&mut out, generation),
        }
        out
    }

    fn size_hint(&self) -> usize {
        HEADER_BYTES
            + match self {
                Record::Entry(Entry {
                    payload: EntryPayload::Normal(proposal),
                    ..
                }) => 40 + proposal.0.len(),
                Record::Piece(piece) => 16 + piece.bytes.len(),
                _ => 112,
            }
    }
}

/// Header and record of a journal record.
///
/// # Errors
/// Names the field that is wrong.
pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<(u16, u64, Record), Malformed> {
    let mut reader = Reader::new(body);
    let (group, number) = read_header(&mut reader)?;
    let record = match kind {
        1 => Record::Entry(read_entry(&mut reader)?),
        2 => Record::Vote(read_vote(&mut reader)?),
        3 => Record::Truncate(reader.optional_log_id("truncate")?),
        4 => Record::Purge(reader.log_id("purge")?),
        5 => Record::Committed(reader.log_id("committed")?),
        PIECE_KIND => Record::Piece(read_piece(&mut reader)?),
        7 => Record::Manifest(read_manifest(&mut reader)?),
        8 => Record::Generation(read_generation(&mut reader)?),
        other => return Err(Malformed(format!("record kind {other} is unknown"))),
    };
    reader.end("record")?;
    Ok((group, number, record))
}

/// Header and record as [`decode`] reads them, but of a piece only the beginning is needed: its bytes are left out.
///
/// # Errors
/// Names the field that is wrong.
pub(crate) fn decode_head(kind: u8, body: &[u8]) -> Result<(u16, u64, Record), Malformed> {
    match body.get(..PIECE_HEAD_BYTES) {
        Some(head) if kind == PIECE_KIND => decode(kind, head),
        _ => decode(kind, body),
    }
}

/// The version of a record that a newer version than this has written. A piece's head is read unverified and says nothing; the
/// manifest behind it does.
pub(crate) fn newer_version(kind: u8, body: &[u8]) -> Option<u8> {
    let version = body.first().copied()?;
    (kind != PIECE_KIND && version > VERSION).then_some(version)
}

/// The number of a record.
///
/// # Errors
/// Names the field that is wrong.
pub(crate) fn number(body: &[u8]) -> Result<u64, Malformed> {
    let (_, number) = read_header(&mut Reader::new(body))?;
    Ok(number)
}

fn read_header(reader: &mut Reader<'_>) -> Result<(u16, u64), Malformed> {
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(Malformed(format!("record version {version} is unknown")));
    }
    reader.zeros(1, "header")?;
    let group = reader.u16("group")?;
    reader.zeros(4, "header")?;
    Ok((group, reader.u64("record number")?))
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_log_id(out, &entry.log_id);
    let kind = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(_) => 1,
        EntryPayload::Membership(_) => 2,
    };
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(proposal) => out.extend_from_slice(&proposal.0),
        EntryPayload::Membership(membership) => codec::put_membership(out, membership),
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let log_id = reader.log_id("entry")?;
    let kind = reader.u8("payload kind")?;
    reader.zeros(7, "entry")?;
    let payload: Payload = match kind {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Proposal(Bytes::copy_from_slice(reader.rest()))),
        2 => EntryPayload::Membership(codec::read_membership(reader)?),
        other => return Err(Malformed(format!("payload kind {other} is unknown"))),
    };
    Ok(Entry { log_id, payload })
}

fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    put_u64(out, vote.leader_id.term);
    put_u64(out, vote.leader_id.node_id);
    out.extend_from_slice(&[u8::from(vote.committed), 0, 0, 0, 0, 0, 0, 0]);
}

fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, Malformed> {
    let term = reader.u64("vote term")?;
    let node = reader.u64("vote node")?;
    let committed = reader.flag("vote")?;
    reader.zeros(7, "vote")?;
    Ok(types::vote(term, node, committed))
}

fn put_piece(out: &mut Vec<u8>, piece: &Piece) {
    put_u64(out, piece.snapshot);
    put_u32(out, piece.number);
    put_u32(out, 0);
    out.extend_from_slice(&piece.bytes);
}

fn read_piece(reader: &mut Reader<'_>) -> Result<Piece, Malformed> {
    let snapshot = reader.u64("snapshot")?;
    let number = reader.u32("piece")?;
    reader.zeros(4, "piece")?;
    Ok(Piece {
        snapshot,
        number,
        bytes: Bytes::copy_from_slice(reader.rest()),
    })
}

fn put_manifest(out: &mut Vec<u8>, manifest: &Manifest) {
    put_u64(out, manifest.snapshot);
    put_u32(out, manifest.state.len() as u32);
    put_u32(out, manifest.pieces.len() as u32);
    out.extend_from_slice(&manifest.state);
    for (length, crc) in &manifest.pieces {
        put_u32(out, *length);
        put_u32(out, *crc);
    }
}

fn read_manifest(reader: &mut Reader<'_>) -> Result<Manifest, Malformed> {
    let snapshot = reader.u64("snapshot")?;
    let state_length = reader.u32("state length")? as usize;
    let count = reader.u32("pieces")?;
    let state = Bytes::copy_from_slice(reader.bytes(state_length, "state")?);
    let mut pieces = Vec::new();
    for _ in 0..count {
        let length = reader.u32("piece length")?;
        pieces.push((length, reader.u32("piece CRC")?));
    }
    Ok(Manifest {
        snapshot,
        state,
        pieces,
    })
}

fn put_generation(out: &mut Vec<u8>, generation: &Generation) {
    put_u64(out, generation.generation);
    put_u16(out, generation.members.len() as u16);
    out.extend_from_slice(&[0; 6]);
    generation
        .members
        .iter()
        .for_each(|uuid| out.extend_from_slice(uuid));
}

fn read_generation(reader: &mut Reader<'_>) -> Result<Generation, Malformed> {
    let generation = reader.u64("generation")?;
    let count = reader.u16("members")?;
    reader.zeros(6, "generation")?;
    if count == 0 || count > MEMBERS_MAX {
        return Err(Malformed(format!("a generation of {count} members")));
    }
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(reader.uuid("member")?);
    }
    Ok(Generation {
        generation,
        members,
    })
}
