//! A whole state as it was first written: rows of every kind. A difference is a format that changed.
//! `STRATA_WRITE_GOLDEN=1` writes the file of a new version.

use std::path::PathBuf;

use strata_raftlog::namespace::command::{
    AddSessionKey, AttachPolicy, ChunkPlace, CloseEpoch, CreateAccessKey, CreateAccount,
    CreateAccountKey, CreateBucket, CreateBucketWithSettings, CreateGroup, CreateRole,
    CreateUpload, CreateUploadWithExtras, CreateUser, DeleteKey, MarkDeleted, NewSetting, OldPlace,
    OpenEpoch, PutInlinePolicy, PutManagedPolicy, PutObjectWithExtras, PutPart, Repoint,
    RepointItem, SetAccessKeyActive, SetBoundary, SetBucketLock, SetBucketSetting, SetDevice,
    SetMembership, SetPlacementGroup, SetRoleBoundary, SetVersioning,
};
use strata_raftlog::namespace::setting::{ACCESS_LIST, TAGS};
use strata_raftlog::namespace::{
    AccessKeySecret, Body, Checksum, ChecksumAlgorithm, ChecksumKind, DefaultRetention,
    DeviceCondition, DeviceErrors, DeviceState, ETag, Grant, Grantee, LogEntry, LogPosition,
    ManagedPolicyName, ObjectAttributes, ObjectExtras, ObjectLock, Permission, PlacementGroup,
    PolicySource, Principal, Retention, RetentionMode, RetentionPeriod, SessionKeySecret, Slot,
    SlotState, Tag, Versioning, describe,
};

use crate::commands::put;
use crate::support::{Cluster, FIRST_BUCKET};

fn state() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    let freed = cluster.extent(1 << 20);
    cluster.put("bucket", b"a/b//c", Body::Extents(vec![freed]));
    let inode = cluster.inode();
    let mut command = put(
        FIRST_BUCKET,
        b"a/b//c",
        inode,
        Body::Inline(b"inline".to_vec()),
    );
    command.attributes = ObjectAttributes {
        content_type: Some("text/plain".into()),
        user_metadata: vec![("name".into(), "value".into())],
        ..ObjectAttributes::default()
    };
    command.checksum = Some(Checksum {
        algorithm: ChecksumAlgorithm::Sha256,
        kind: ChecksumKind::FullObject,
        value: vec![6; 32],
        part_count: 0,
    });
    cluster.change(command);
    let extents = (0..30).map(|_| cluster.extent(4_096)).collect();
    cluster.put("bucket", b"large", Body::Extents(extents));
    let short = cluster.extent(20_000);
    let inode = cluster.put("bucket", b"short", Body::Extents(vec![short.clone()]));
    let (home, chunk) = (cluster.inode(), cluster.extent(1 << 20));
    cluster.change(Repoint {
        home,
        chunk,
        items: vec![RepointItem {
            inode,
            space: 0,
            length: 20_000,
            offset: 0,
            old: OldPlace::Chunk(ChunkPlace {
                chunk: short.chunk,
                offset: 0,
            }),
            new_offset: 9,
        }],
    });
    let upload = cluster.inode();
    cluster.change(CreateUpload {
        bucket: FIRST_BUCKET,
        key: b"a key of more than eight".to_vec(),
        inode: upload,
        attributes: ObjectAttributes::default(),
        checksum: Some((ChecksumAlgorithm::Crc32, ChecksumKind::Composite)),
        owner: 3,
    });
    cluster.change(PutPart {
        bucket: FIRST_BUCKET,
        key: b"a key of more than eight".to_vec(),
        upload,
        number: 258,
        space: 7,
        size: 4,
        etag: ETag::single([2; 16]),
        checksum: None,
        body: Body::Inline(b"part".to_vec()),
    });
    let (writer, epoch) = (cluster.writer, cluster.epoch);
    cluster.change(OpenEpoch { writer });
    cluster.change(CloseEpoch { writer, epoch });
    cluster.change(SetPlacementGroup {
        group: PlacementGroup {
            number: 1,
            epoch: 1,
            pool: [4; 16],
            slots: vec![Slot {
                device: [5; 16],
                partition: 1,
                state: SlotState::Member,
            }],
            previous: Vec::new(),
        },
    });
    cluster.change(SetDevice {
        condition: DeviceCondition {
            device: [5; 16],
            state: DeviceState::ReadOnly,
            reason: "no data partition takes writes".into(),
            since_nanos: 1_700_000_000_000_000_000,
            capacity_bytes: 1 << 40,
            errors: DeviceErrors {
                reads: 3,
                writes: 1,
                checksums: 2,
            },
        },
    });
    cluster.change(SetBucketSetting {
        bucket: FIRST_BUCKET,
        setting: TAGS,
        document: Some(b"<Tagging/>".to_vec()),
    });
    let inode = cluster.inode();
    let tag = |key: &str, value: &str| Tag {
        key: key.into(),
        value: value.into(),
    };
    cluster.change(PutObjectWithExtras {
        put: put(FIRST_BUCKET, b"tagged", inode, Body::Empty),
        extras: ObjectExtras {
            tags: vec![tag("team", "storage"), tag("stage", "")],
            ..ObjectExtras::default()
        },
    });
    lists(&mut cluster);
    versions(&mut cluster);
    locks(&mut cluster);
    users(&mut cluster);
    accounts(&mut cluster);
    let position = LogPosition {
        term: 2,
        node: 1,
        index: 1_000,
    };
    cluster
        .store
        .apply(&[(position, LogEntry::Membership(b"members"))])
        .unwrap();
    cluster
}

/// A bucket with the null version, another one and a delete marker among the earlier ones of a key.
fn versions(cluster: &mut Cluster) {
    cluster.bucket("versions");
    let bucket = cluster.bucket_inode("versions");
    cluster.put(
        "versions",
        b"key of more than 8",
        Body::Inline(b"null".to_vec()),
    );
    let versioning = Versioning::Enabled;
    cluster.change(SetVersioning { bucket, versioning });
    let inode = cluster.inode();
    let body = Body::Inline(b"version".to_vec());
    cluster.change(put(bucket, b"key of more than 8", inode, body));
    let key = b"key of more than 8".to_vec();
    cluster.change(MarkDeleted {
        bucket,
        keys: vec![DeleteKey {
            key,
            if_match: None,
        }],
        owner: 4,
    });
}

/// A bucket that is made with a list, with an object that has one.
fn lists(cluster: &mut Cluster) {
    cluster.change(CreateBucketWithSettings {
        create: CreateBucket {
            bucket: "lists".into(),
            owner: 1,
            object_lock: false,
        },
        settings: vec![NewSetting {
            setting: ACCESS_LIST,
            document: b"<AccessControlPolicy/>".to_vec(),
        }],
    });
    let bucket = cluster.bucket_inode("lists");
    let inode = cluster.inode();
    let grant = |grantee, permission| Grant {
        grantee,
        permission,
    };
    cluster.change(PutObjectWithExtras {
        put: put(bucket, b"granted", inode, Body::Empty),
        extras: ObjectExtras {
            access_list: Some(vec![
                grant(Grantee::Account(1), Permission::FullControl),
                grant(Grantee::AllUsers, Permission::Read),
            ]),
            ..ObjectExtras::default()
        },
    });
}

/// A bucket that has Object Lock, with an object and an upload that are locked.
fn locks(cluster: &mut Cluster) {
    cluster.change(CreateBucket {
        bucket: "locks".into(),
        owner: 1,
        object_lock: true,
    });
    let bucket = cluster.bucket_inode("locks");
    cluster.change(SetBucketLock {
        bucket,
        default: Some(DefaultRetention {
            mode: RetentionMode::Governance,
            period: RetentionPeriod::Years(7),
        }),
    });
    let extras = |legal_hold, retention| ObjectExtras {
        lock: ObjectLock {
            retention,
            legal_hold,
        },
        ..ObjectExtras::default()
    };
    let inode = cluster.inode();
    cluster.change(PutObjectWithExtras {
        put: put(bucket, b"held", inode, Body::Empty),
        extras: extras(Some(true), None),
    });
    let retention = Retention {
        mode: RetentionMode::Compliance,
        until_millis: 1_700_000_000_123,
    };
    let inode = cluster.inode();
    cluster.change(CreateUploadWithExtras {
        create: CreateUpload {
            bucket,
            key: b"retained".to_vec(),
            inode,
            attributes: ObjectAttributes::default(),
            checksum: None,
            owner: 4,
        },
        extras: extras(Some(false), Some(retention)),
    });
}

/// A user with everything that one can have.
fn users(cluster: &mut Cluster) {
    let name = || "Alice".to_owned();
    cluster.change(CreateUser {
        name: name(),
        path: "/staff/".into(),
        id: "AIDAEXAMPLE0000000001".into(),
        account: 1,
        boundary: None,
    });
    cluster.change(CreateGroup {
        name: "Staff".into(),
        path: "/".into(),
        id: "AGPAEXAMPLE0000000001".into(),
        account: 1,
    });
    cluster.change(SetMembership {
        user: name(),
        group: "Staff".into(),
        member: true,
    });
    for (id, active) in [
        ("AKIAEXAMPLE000000001", true),
        ("AKIAEXAMPLE000000002", false),
    ] {
        cluster.change(CreateAccessKey {
            user: name(),
            access_key_id: id.into(),
            secret_access_key: AccessKeySecret("not a secret".replace(' ', "_")),
        });
        let access_key_id = id.to_owned();
        cluster.change(SetAccessKeyActive {
            access_key_id,
            active,
        });
    }
    cluster.change(PutManagedPolicy {
        name: "Read".into(),
        id: "ANPAEXAMPLE0000000001".into(),
        document: "what it allows".into(),
    });
    let policy = |source, name: &str| ManagedPolicyName {
        source,
        name: name.into(),
    };
    for principal in [Principal::User(name()), Principal::Group("Staff".into())] {
        cluster.change(PutInlinePolicy {
            principal: principal.clone(),
            name: "Own".into(),
            document: "what else it allows".into(),
        });
        let policy = policy(PolicySource::State, "Read");
        cluster.change(AttachPolicy { principal, policy });
    }
    cluster.change(SetBoundary {
        user: name(),
        policy: Some(policy(PolicySource::BuiltIn, "AmazonS3FullAccess")),
    });
    roles(cluster);
}

/// A role with everything that one can have, and a session key.
fn roles(cluster: &mut Cluster) {
    cluster.change(CreateRole {
        name: "Backup".into(),
        path: "/service/".into(),
        id: "AROAEXAMPLE0000000001".into(),
        account: 1,
        trust_policy: "who may assume it".into(),
        max_session_seconds: 7_200,
        description: "Copies reports".into(),
        boundary: None,
    });
    let principal = Principal::Role("Backup".into());
    cluster.change(PutInlinePolicy {
        principal: principal.clone(),
        name: "Own".into(),
        document: "what it allows".into(),
    });
    let policy = ManagedPolicyName {
        source: PolicySource::State,
        name: "Read".into(),
    };
    cluster.change(SetRoleBoundary {
        role: "Backup".into(),
        policy: Some(policy.clone()),
    });
    cluster.change(AttachPolicy { principal, policy });
    cluster.change(AddSessionKey {
        number: 1,
        secret: SessionKeySecret([0xA5; 32]),
    });
}

/// An account with a key.
fn accounts(cluster: &mut Cluster) {
    let number = 123_456_789_012;
    cluster.change(CreateAccount {
        number,
        name: "Research".into(),
    });
    cluster.change(CreateAccountKey {
        number,
        access_key_id: "AKIAEXAMPLE000000003".into(),
        secret_access_key: AccessKeySecret("not a secret".replace(' ', "_")),
    });
}

#[test]
fn every_kind_of_row_is_as_it_was_first_written() {
    let cluster = state();
    let piece = cluster
        .store
        .snapshot()
        .unwrap()
        .next_piece()
        .unwrap()
        .unwrap();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/namespace/golden");
    let path = dir.join("state_1.bin");
    if !path.exists() && std::env::var_os("STRATA_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &piece).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == piece,
        "a row is written in another form"
    );
}

#[test]
fn every_kind_of_row_is_described_in_words() {
    let cluster = state();
    let text: Vec<String> = cluster
        .rows()
        .iter()
        .map(|(key, value)| describe(key, value).to_string())
        .collect();
    for kind in [
        "D, kind entry, parent 1, segment \"bucket/\"",
        "I, kind place, inode ",
        "M, kind upload, bucket ",
        "M, kind part, upload ",
        "X, kind attributes, inode ",
        "X, kind inline, ",
        "X, kind extents, ",
        "V, kind version, bucket ",
        "V, kind null version, bucket ",
        "C, kind pack, home_inode ",
        "F, kind dropped, ",
        "R, kind session, ",
        "R, kind answer, ",
        "S, kind applied",
        "S, kind membership",
        "S, kind group",
        "S, kind cluster",
        "S, kind layout",
        "S, kind root key",
        "S, kind geometry",
        "S, kind placement group",
        "S, kind writer",
        "S, kind epoch",
        "S, kind usage, bucket ",
        "S, kind device, device 05050505-0505-0505-0505-050505050505",
        "X, kind tags, inode ",
        "X, kind object tags, inode ",
        "X, kind access list, inode ",
        "X, kind object access list, inode ",
        "lock (retention compliance, ",
        "bucket_lock (retention governance, ",
        "S, kind user, name \"alice\"",
        "S, kind user group, name \"staff\"",
        "S, kind role, name \"backup\"",
        "S, kind session key, number 1",
        "S, kind inline policy, role \"backup\", name ",
        "S, kind access key, access_key_id ",
        "S, kind managed policy, name ",
        "S, kind inline policy, user ",
        "S, kind inline policy, group ",
        "S, kind account, number 123456789012",
    ] {
        assert!(
            text.iter().any(|line| line.contains(kind)),
            "no row of {kind} in {text:#?}"
        );
    }
    assert!(
        !text
            .iter()
            .any(|line| line.contains("unknown") || line.contains("malformed"))
    );
    for (key, value) in cluster.rows() {
        // The sizes that docs/FORMAT.md states, with the header of 5 bytes.
        match (key[0], key[1]) {
            (b'D', _) => assert_eq!(value.len(), 5 + 180),
            (b'M', 1) => assert_eq!(value.len(), 5 + 48),
            (b'M', 2) => assert_eq!(value.len(), 5 + 84),
            (b'R', 1) => assert_eq!(value.len(), 5 + 28),
            (b'S', 12) => assert_eq!(value.len(), 5 + 68 + 30),
            (b'C', _) => assert_eq!(value.len(), 5 + 24),
            (b'X', _) if key[17] == 3 => assert_eq!((value.len() - 5) % 64, 0),
            _ => {}
        }
        for at in 0..key.len() {
            describe(&key[..at], &value);
            let cut = describe(&key, &value[..at.min(value.len() - 1)]);
            assert!(cut.error.is_some_and(|error| error.contains("damaged")));
        }
    }
}
