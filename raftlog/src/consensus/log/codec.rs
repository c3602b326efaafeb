//! Little-endian fields of our own formats: an infallible writer and a reader that checks every length.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, Membership};

use super::types::{self, LogId, StoredMembership};

/// Why bytes are not what they should be; says which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub String);

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Malformed(what.into())
    }
}

/// Members and nodes of a decoded membership, at most; far above any real group.
const MEMBERS_MAX: u32 = 1024;

/// Reads fields from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, length: usize, what: &str) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(Malformed(format!(
                "{what}: {length} bytes are expected, {} are left",
                self.rest.len()
            )));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(N, what)?;
        Ok(std::array::from_fn(|at| bytes[at]))
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn uuid(&mut self, what: &str) -> Result<[u8; 16], Malformed> {
        self.array(what)
    }

    pub(crate) fn zeros(&mut self, length: usize, what: &str) -> Result<(), Malformed> {
        if self.bytes(length, what)?.iter().any(|byte| *byte != 0) {
            return Err(Malformed(format!("{what}: reserved bytes are not zero")));
        }
        Ok(())
    }

    pub(crate) fn flag(&mut self, what: &str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed(format!("{what}: {other} is neither 0 nor 1"))),
        }
    }

    pub(crate) fn log_id(&mut self, what: &str) -> Result<LogId, Malformed> {
        let term = self.u64(what)?;
        let node = self.u64(what)?;
        let index = self.u64(what)?;
        // Behind every entry there is a place for the next.
        if index == u64::MAX {
            return Err(Malformed(format!("{what}: no log has an index {index}")));
        }
        Ok(types::log_id(term, node, index))
    }

    /// A flag, seven reserved bytes, and a log id that counts only where the flag is set.
    pub(crate) fn optional_log_id(&mut self, what: &str) -> Result<Option<LogId>, Malformed> {
        let present = self.flag(what)?;
        self.zeros(7, what)?;
        let id = self.log_id(what)?;
        if !present && id != types::log_id(0, 0, 0) {
            return Err(Malformed(format!("{what}: a log id without its flag")));
        }
        Ok(present.then_some(id))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(&self, what: &str) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Malformed(format!(
            "{what}: {} bytes too many",
            self.rest.len()
        )))
    }
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    put_u64(out, id.leader_id.term);
    put_u64(out, id.leader_id.node_id);
    put_u64(out, id.index);
}

pub(crate) fn put_optional_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.push(u8::from(id.is_some()));
    out.extend_from_slice(&[0; 7]);
    put_log_id(out, id.unwrap_or(&types::log_id(0, 0, 0)));
}

/// Voter sets, each a count and ascending node ids; then all nodes with their addresses.
pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership<u64, BasicNode>) {
    let configs = membership.get_joint_config();
    put_u32(out, configs.len() as u32);
    for config in configs {
        put_u32(out, config.len() as u32);
        config.iter().for_each(|node| put_u64(out, *node));
    }
    let nodes: Vec<_> = membership.nodes().collect();
    put_u32(out, nodes.len() as u32);
    for (id, node) in nodes {
        put_u64(out, *id);
        put_u32(out, node.addr.len() as u32);
        out.extend_from_slice(node.addr.as_bytes());
    }
}

fn count(reader: &mut Reader<'_>, what: &str) -> Result<u32, Malformed> {
    let count = reader.u32(what)?;
    if count > MEMBERS_MAX {
        return Err(Malformed(format!(
            "{what}: {count} is more than {MEMBERS_MAX}"
        )));
    }
    Ok(count)
}

pub(crate) fn read_membership(
    reader: &mut Reader<'_>,
) -> Result<Membership<u64, BasicNode>, Malformed> {
    let mut configs = Vec::new();
    for _ in 0..count(reader, "voter sets")? {
        let mut voters = BTreeSet::new();
        for _ in 0..count(reader, "voters")? {
            let voter = reader.u64("voter")?;
            if voters.last().is_some_and(|last| *last >= voter) {
                return Err(Malformed(format!("voter {voter} is out of order")));
            }
            voters.insert(voter);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..count(reader, "nodes")? {
        let id = reader.u64("node")?;
        let length = reader.u32("address length")? as usize;
        let address = std::str::from_utf8(reader.bytes(length, "address")?)
            .map_err(|_| Malformed::new("address: not UTF-8"))?;
        if nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(Malformed(format!("node {id} is out of order")));
        }
        nodes.insert(id, BasicNode::new(address));
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|error| Malformed(format!("membership: {error}")))
}

pub(crate) fn encode_membership(membership: &Membership<u64, BasicNode>) -> Vec<u8> {
    let mut out = Vec::new();
    put_membership(&mut out, membership);
    out
}

/// # Errors
/// Names the field that is wrong.
pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, BasicNode>, Malformed> {
    let mut reader = Reader::new(bytes);
    let membership = read_membership(&mut reader)?;
    reader.end("membership")?;
    Ok(membership)
}

/// What a snapshot's manifest says of its state: version, last applied log id, membership, and the
/// state machine's own manifest.
pub(crate) fn encode_state(
    last: Option<&LogId>,
    membership: &StoredMembership,
    manifest: &[u8],
) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0, 0, 0, 0, 0];
    put_optional_log_id(&mut out, last);
    put_optional_log_id(&mut out, membership.log_id().as_ref());
    put_membership(&mut out, membership.membership());
    out.extend_from_slice(manifest);
    out
}

/// # Errors
/// Names the field that is wrong.
pub(crate) fn decode_state(
    bytes: &[u8],
) -> Result<(Option<LogId>, StoredMembership, &[u8]), Malformed> {
    let mut reader = Reader::new(bytes);
    match reader.u8("version")? {
        1 => reader.zeros(7, "snapshot state")?,
        other => {
            return Err(Malformed(format!(
                "snapshot state of version {other} is unknown"
            )));
        }
    }
    let last = reader.optional_log_id("applied log id")?;
    let membership_log_id = reader.optional_log_id("membership log id")?;
    let membership = read_membership(&mut reader)?;
    Ok((
        last,
        StoredMembership::new(membership_log_id, membership),
        reader.rest(),
    ))
}
