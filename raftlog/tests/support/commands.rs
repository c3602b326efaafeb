//! Commands that every test needs, with the fields that few of them are about.

use strata_raftlog::namespace::command::{Initialise, Precondition, PutObject};
use strata_raftlog::namespace::{
    Body, ETag, Geometry, GeometryCode, Layout, LayoutKind, ObjectAttributes, RootKey,
};

pub fn initialise() -> Initialise {
    Initialise {
        cluster: [1; 16],
        incarnation: 1,
        layout: Layout {
            kind: LayoutKind::Single,
            k: 1,
            m: 0,
            geometry: 1,
        },
        geometries: vec![Geometry {
            number: 1,
            code: GeometryCode::Copies,
            k: 1,
            m: 0,
            cell_bytes: 65_536,
        }],
        placement_groups: Vec::new(),
        root_key: RootKey {
            access_key_id: "root".into(),
            secret_access_key: "secret".into(),
        },
    }
}

pub fn put(bucket: u64, key: &[u8], inode: u64, body: Body) -> PutObject {
    PutObject {
        bucket,
        key: key.to_vec(),
        inode,
        size: body.length(),
        etag: ETag::single([7; 16]),
        checksum: None,
        attributes: ObjectAttributes::default(),
        body,
        precondition: Precondition::default(),
        owner: 0,
    }
}
