//! Rows as text, for `strata inspect` and for errors. Secrets are not shown.

use std::fmt::Debug;

use strata_engine::Uuid;

use super::body::{DroppedRow, ExtentRow, InlineRow, SpanRow};
use super::entry::{Entry, Place};
use super::key;
use super::object::ObjectAttributes;
use super::setting::{SETTINGS, SettingRow, TAGS};
use super::system::{
    AllocationEpoch, AnswerRow, BucketUsage, ClusterIdentity, Geometry, GroupState, Layout,
    LogPosition, MembershipRow, PlacementGroup, RootKey, Session, Slot, SlotState, Writer,
};
use super::upload::{Part, Upload};
use super::value::{self, Row};

/// A row of the namespace as one line of text; what is wrong with it where it is damaged.
pub fn describe(key: &[u8], value: &[u8]) -> String {
    format!("{} = {}", describe_key(key), describe_value(key, value))
}

/// A key as text. Works on any bytes.
pub fn describe_key(key: &[u8]) -> String {
    let u64_at = |at: usize| {
        let bytes = key
            .get(at..at + 8)
            .and_then(|bytes| bytes.first_chunk::<8>());
        bytes.map_or("?".to_owned(), |bytes| {
            u64::from_be_bytes(*bytes).to_string()
        })
    };
    let tail = |at: usize| key.get(at..).unwrap_or_default().escape_ascii().to_string();
    match (key.first().copied(), key.get(1).copied()) {
        (Some(key::DIRECTORY), _) => format!("D {} \"{}\"", u64_at(1), tail(9)),
        (Some(key::INODE), _) => format!("I {}", u64_at(1)),
        (Some(key::MULTIPART), Some(key::UPLOAD)) => match key::parse_upload(key) {
            Some((object_key, upload)) => {
                format!(
                    "M upload {} \"{}\" {upload}",
                    u64_at(2),
                    object_key.escape_ascii()
                )
            }
            None => format!("M upload {} malformed {}", u64_at(2), tail(10)),
        },
        (Some(key::MULTIPART), Some(key::PART)) => {
            format!("M part {} {}", u64_at(2), number(key.get(10..)))
        }
        (Some(key::EXTENTS), _) => match key::parse_x(key) {
            Some((inode, kind, space, offset)) => {
                format!("X {inode} {} space {space} offset {offset}", x_kind(kind))
            }
            None => format!("X malformed {}", tail(1)),
        },
        (Some(key::DROPPED), _) => match key::parse_dropped(key) {
            Some(body) => format!("F {} {}", body.commit_sequence, body.index),
            None => format!("F malformed {}", tail(1)),
        },
        (Some(key::SESSION), Some(key::OPEN)) => format!("R session {}", u64_at(2)),
        (Some(key::SESSION), Some(key::ANSWER)) => {
            format!("R answer {} {}", u64_at(2), u64_at(10))
        }
        (Some(key::SYSTEM), Some(kind)) => {
            format!("S {} {}", s_kind(kind), key[2..].escape_ascii())
        }
        _ => format!("unknown \"{}\"", key.escape_ascii()),
    }
}

fn number(bytes: Option<&[u8]>) -> String {
    match bytes.and_then(|bytes| bytes.first_chunk::<2>()) {
        Some(bytes) => u16::from_be_bytes(*bytes).to_string(),
        None => "?".to_owned(),
    }
}

fn x_kind(kind: u8) -> &'static str {
    match kind {
        key::X_ATTRIBUTES => "attributes",
        key::X_INLINE => "inline",
        key::X_EXTENTS => "extents",
        key::X_SPANS => "spans",
        TAGS => "tags",
        kind if SETTINGS.contains(&kind) => "setting",
        _ => "unknown",
    }
}

fn s_kind(kind: u8) -> &'static str {
    match kind {
        key::S_APPLIED => "applied",
        key::S_MEMBERSHIP => "membership",
        key::S_GROUP => "group",
        key::S_CLUSTER => "cluster",
        key::S_LAYOUT => "layout",
        key::S_ROOT_KEY => "root key",
        key::S_GEOMETRY => "geometry",
        key::S_PLACEMENT_GROUP => "placement group",
        key::S_WRITER => "writer",
        key::S_EPOCH => "epoch",
        key::S_USAGE => "usage",
        _ => "unknown",
    }
}

fn describe_value(key: &[u8], value: &[u8]) -> String {
    match (key.first().copied(), key.get(1).copied()) {
        (Some(key::DIRECTORY), _) => show::<Entry>(key, value),
        (Some(key::INODE), _) => show::<Place>(key, value),
        (Some(key::MULTIPART), Some(key::UPLOAD)) => show::<Upload>(key, value),
        (Some(key::MULTIPART), Some(key::PART)) => show::<Part>(key, value),
        (Some(key::EXTENTS), _) => match key.get(17).copied() {
            Some(key::X_ATTRIBUTES) => show::<ObjectAttributes>(key, value),
            Some(key::X_INLINE) => match value::open::<InlineRow>(key, value) {
                Ok(row) => format!("{} bytes", row.0.len()),
                Err(error) => error.to_string(),
            },
            Some(key::X_EXTENTS) => show::<ExtentRow>(key, value),
            Some(key::X_SPANS) => show::<SpanRow>(key, value),
            Some(kind) if SETTINGS.contains(&kind) => say(key, value, |row: &SettingRow| {
                format!("\"{}\"", row.0.escape_ascii())
            }),
            _ => unknown(key, value),
        },
        (Some(key::DROPPED), _) => show::<DroppedRow>(key, value),
        (Some(key::SESSION), Some(key::OPEN)) => show::<Session>(key, value),
        (Some(key::SESSION), Some(key::ANSWER)) => show::<AnswerRow>(key, value),
        (Some(key::SYSTEM), Some(kind)) => describe_system(kind, key, value),
        _ => unknown(key, value),
    }
}

fn describe_system(kind: u8, key: &[u8], value: &[u8]) -> String {
    match kind {
        key::S_APPLIED => show::<LogPosition>(key, value),
        key::S_MEMBERSHIP => show::<MembershipRow>(key, value),
        key::S_GROUP => show::<GroupState>(key, value),
        key::S_CLUSTER => say(key, value, cluster_text),
        key::S_LAYOUT => show::<Layout>(key, value),
        key::S_ROOT_KEY => show::<RootKey>(key, value),
        key::S_GEOMETRY => show::<Geometry>(key, value),
        key::S_PLACEMENT_GROUP => say(key, value, placement_group_text),
        key::S_WRITER => show::<Writer>(key, value),
        key::S_EPOCH => show::<AllocationEpoch>(key, value),
        key::S_USAGE => show::<BucketUsage>(key, value),
        _ => unknown(key, value),
    }
}

fn say<R: Row>(key: &[u8], value: &[u8], text: impl Fn(&R) -> String) -> String {
    match value::open::<R>(key, value) {
        Ok(row) => text(&row),
        Err(error) => error.to_string(),
    }
}

fn cluster_text(row: &ClusterIdentity) -> String {
    format!(
        "cluster {}, incarnation {}, initialised at {} ns",
        Uuid(row.cluster),
        row.incarnation,
        row.created_nanos
    )
}

fn placement_group_text(row: &PlacementGroup) -> String {
    let slots = |slots: &[Slot]| {
        let texts: Vec<String> = slots.iter().map(slot_text).collect();
        texts.join(", ")
    };
    format!(
        "number {}, epoch {}, pool {}, slots [{}], before the last change [{}]",
        row.number,
        row.epoch,
        Uuid(row.pool),
        slots(&row.slots),
        slots(&row.previous)
    )
}

fn slot_text(slot: &Slot) -> String {
    let state = match slot.state {
        SlotState::Member => "member",
        SlotState::Removed => "removed",
        SlotState::Joining => "joining",
    };
    format!(
        "{state}: partition {} of device {}",
        slot.partition,
        Uuid(slot.device)
    )
}

fn show<R: Row + Debug>(key: &[u8], value: &[u8]) -> String {
    match value::open::<R>(key, value) {
        Ok(row) => format!("{row:?}"),
        Err(error) => error.to_string(),
    }
}

fn unknown(key: &[u8], value: &[u8]) -> String {
    match value::verify(key, value) {
        Ok(()) => format!("{} bytes of an unknown kind", value.len()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every kind.
    const STATE: &[u8] = include_bytes!("../../tests/namespace/golden/state_1.bin");

    fn rows() -> Vec<(&'static [u8], &'static [u8])> {
        let mut rows = Vec::new();
        let mut rest = &STATE[12..];
        while !rest.is_empty() {
            let length =
                |at: usize| u32::from_be_bytes(std::array::from_fn(|i| rest[at + i])) as usize;
            let (key_end, end) = (8 + length(0), 8 + length(0) + length(4));
            rows.push((&rest[8..key_end], &rest[key_end..end]));
            rest = &rest[end..];
        }
        rows
    }

    /// With a CRC that holds, a hostile payload is read or refused, never a panic.
    #[test]
    fn hostile_payloads_are_decoded_into_results() {
        for (key, value) in rows() {
            assert!(!describe(key, value).contains("damaged"));
            for at in 5..value.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut hostile = value.to_vec();
                    hostile[at] ^= flip;
                    describe(key, &value::sealed_again(key, &hostile));
                    describe(key, &value::sealed_again(key, &hostile[..at]));
                }
            }
        }
    }

    #[test]
    fn uuids_and_digests_are_shown_as_people_know_them() {
        let rows = rows();
        let texts: Vec<String> = rows
            .iter()
            .map(|(key, value)| describe(key, value))
            .collect();
        for (kind, known) in [
            ("S cluster ", "= cluster "),
            ("S placement group ", "of device "),
        ] {
            let text = texts.iter().find(|text| text.starts_with(kind));
            let text = text.expect("a row of the kind");
            let (_, rest) = text.split_once(known).expect(text);
            let groups: Vec<usize> = rest[..36].split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
        }
        assert!(
            texts.iter().all(|text| !text.contains("digest: [")),
            "{texts:?}"
        );
    }

    #[test]
    fn a_value_under_another_key_is_damaged() {
        let rows = rows();
        for pair in rows.windows(2) {
            assert!(describe(pair[0].0, pair[1].1).contains("the CRC does not match"));
        }
    }
}
