//! The tables of docs/FORMAT.md against the archives: sizes, and the offset of every field.

use super::golden::samples;
use super::*;
use crate::namespace::{
    Body, Checksum, DefaultRetention, DeviceCondition, DeviceErrors, ETag, Extent, Geometry, Grant,
    Grantee, Layout, ManagedPolicyName, ObjectAttributes, ObjectExtras, ObjectLock, PlacementGroup,
    Principal, Retention, RetentionPeriod, RootKey, Slot, Tag, VersionId,
};

/// A structure's name, its size and its fields, each with its offset.
pub(super) type Structure = (&'static str, usize, Vec<(usize, &'static str)>);

macro_rules! structure {
    ($name:ident { $($field:ident)* }) => {
        (
            stringify!($name),
            std::mem::size_of::<rkyv::Archived<$name>>(),
            vec![$((std::mem::offset_of!(rkyv::Archived<$name>, $field), stringify!($field))),*],
        )
    };
}
pub(super) use structure;

macro_rules! structures {
    ($($name:ident { $($field:ident)* })*) => {
        vec![$(structure!($name { $($field)* })),*]
    };
}

/// What commands are made of.
fn of_parts() -> Vec<Structure> {
    structures! {
        Layout { kind k m geometry }
        Geometry { number code k m cell_bytes }
        PlacementGroup { number epoch pool slots previous }
        Slot { device partition state }
        DeviceCondition { device state reason since_nanos capacity_bytes errors }
        DeviceErrors { reads writes checksums }
        RootKey { access_key_id secret_access_key }
        ETag { digest part_count }
        Checksum { algorithm kind value part_count }
        ObjectAttributes {
            content_type cache_control content_disposition content_encoding content_language
            expires website_redirect user_metadata storage_class
        }
        Tag { key value }
        ObjectExtras { tags lock access_list }
        Grant { grantee permission }
        Grantee {}
        NewSetting { setting document }
        ObjectLock { retention legal_hold }
        Retention { mode until_millis }
        DefaultRetention { mode period }
        RetentionPeriod {}
        Extent {
            length kind chunk stored_length offset geometry slot_mask home_inode flags
        }
        Precondition { if_match if_none_match }
        DeleteKey { key if_match }
        DeleteVersion { key version if_match bypass_governance }
        VersionId {}
        MarkOutcome {}
        CompletedPart { space size }
        DroppedKey { commit_sequence index }
        Release { body space offset }
        RepointItem { inode space length offset new_offset old }
        ChunkPlace { chunk offset }
        OldPlace {}
        Body {}
        ETagMatch {}
        Principal {}
        ManagedPolicyName { source name }
        Answer {}
        Refusal {}
    }
}

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FORMAT.md");
    std::fs::read_to_string(path).expect(path)
}

/// The cells behind a name in a table: its size, then fields such as `8 key list of u8; ...`.
fn documented(document: &str, name: &str) -> (usize, Vec<(usize, String)>) {
    let (_, commands) = document.split_once("\n## Commands\n").expect("commands");
    let rows = commands.lines().map(|line| line.split('|').map(str::trim));
    let row = rows.filter_map(|mut cells| cells.any(|cell| cell == name).then_some(cells));
    let mut cells = row.into_iter().next().expect(name);
    let size = cells.next().and_then(|size| size.parse().ok());
    let fields = cells.next().unwrap_or_default().split("; ").map(|field| {
        let mut words = field.split(' ');
        let offset = words.next().and_then(|offset| offset.parse().ok());
        (offset.expect(field), words.next().expect(field).to_owned())
    });
    (size.expect(name), fields.collect())
}

#[test]
fn the_documented_layout_of_archives_is_theirs() {
    let document = document();
    let commands = samples().into_iter().map(|sample| sample.layout);
    for (name, size, fields) in commands.chain(of_parts()) {
        let (documented_size, documented) = documented(&document, name);
        assert_eq!(size, documented_size, "{name}");
        if !fields.is_empty() {
            let fields: Vec<(usize, String)> = fields
                .into_iter()
                .map(|(offset, field)| (offset, field.to_owned()))
                .collect();
            assert_eq!(fields, documented, "{name}");
        }
    }
}
