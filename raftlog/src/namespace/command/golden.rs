//! Every kind of command and answer as it was first written. A difference is a format that changed:
//! give the changed body a new kind instead. `STRATA_WRITE_GOLDEN=1` writes the files of new kinds.

use std::path::PathBuf;

use super::layout::{Structure, structure};
use super::*;
use crate::namespace::{
    Body, Checksum, ChecksumAlgorithm, ChecksumKind, ChunkId, DefaultRetention, DeviceCondition,
    DeviceErrors, DeviceState, ETag, Extent, ExtentKind, Geometry, GeometryCode, Grant, Grantee,
    Layout, LayoutKind, ObjectAttributes, ObjectExtras, ObjectLock, Permission, PlacementGroup,
    Retention, RetentionMode, RetentionPeriod, RootKey, Slot, SlotState, StorageClass, Tag,
    VersionId, Versioning,
};

fn etag(part_count: u32) -> ETag {
    ETag {
        digest: std::array::from_fn(|at| at as u8),
        part_count,
    }
}

fn checksum() -> Checksum {
    Checksum {
        algorithm: ChecksumAlgorithm::Crc64Nvme,
        kind: ChecksumKind::FullObject,
        value: vec![1, 2, 3, 4, 5, 6, 7, 8],
        part_count: 0,
    }
}

fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        content_type: Some("text/plain".into()),
        cache_control: Some("no-cache".into()),
        content_disposition: Some("inline".into()),
        content_encoding: Some("identity".into()),
        content_language: Some("en".into()),
        expires: Some("never".into()),
        website_redirect: Some("/there".into()),
        user_metadata: vec![("a".into(), "1".into()), ("b".into(), String::new())],
        storage_class: StorageClass::ReducedRedundancy,
    }
}

fn extents() -> Body {
    let chunk = ChunkId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let whole = Extent::whole_chunk(chunk, 1 << 20, 1, 0b11);
    let hole = Extent {
        length: 5,
        kind: ExtentKind::Zeros,
        chunk: ChunkId(0),
        stored_length: 0,
        offset: 0,
        geometry: 0,
        slot_mask: 0,
        home_inode: 0,
        flags: 0,
    };
    Body::Extents(vec![whole, hole])
}

fn layout() -> Layout {
    Layout {
        kind: LayoutKind::Mirrored,
        k: 1,
        m: 2,
        geometry: 3,
    }
}

fn geometry() -> Geometry {
    Geometry {
        number: 3,
        code: GeometryCode::Copies,
        k: 1,
        m: 2,
        cell_bytes: 65_536,
    }
}

fn placement_group() -> PlacementGroup {
    let slot = |fill, state| Slot {
        device: [fill; 16],
        partition: 2,
        state,
    };
    PlacementGroup {
        number: 9,
        epoch: 4,
        pool: [8; 16],
        slots: vec![slot(1, SlotState::Member), slot(2, SlotState::Joining)],
        previous: vec![slot(3, SlotState::Removed)],
    }
}

fn device_condition() -> DeviceCondition {
    DeviceCondition {
        device: [5; 16],
        state: DeviceState::Failing,
        reason: "it has failed: EIO".into(),
        since_nanos: 1_700_000_000_000_000_000,
        capacity_bytes: 1 << 40,
        errors: DeviceErrors {
            reads: 94,
            writes: 95,
            checksums: 96,
        },
    }
}

fn root_key() -> RootKey {
    RootKey {
        access_key_id: "STRATAROOT".into(),
        secret_access_key: "not a secret".into(),
    }
}

fn precondition() -> Precondition {
    Precondition {
        if_match: Some(ETagMatch::OneOf(vec![etag(0), etag(2)])),
        if_none_match: Some(ETagMatch::Any),
    }
}

const BUCKET: u64 = 0x0007_0000_0000_0010;

fn key() -> Vec<u8> {
    b"a/key".to_vec()
}

fn tags() -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    vec![tag("team", "storage and more"), tag("stage", "")]
}

fn retention() -> Retention {
    Retention {
        mode: RetentionMode::Compliance,
        until_millis: 1_700_000_000_123,
    }
}

fn extras() -> ObjectExtras {
    ObjectExtras {
        tags: tags(),
        lock: ObjectLock {
            retention: Some(retention()),
            legal_hold: Some(true),
        },
        access_list: Some(grants()),
    }
}

fn grants() -> Vec<Grant> {
    let grant = |grantee, permission| Grant {
        grantee,
        permission,
    };
    vec![
        grant(Grantee::Account(4), Permission::FullControl),
        grant(Grantee::AllUsers, Permission::Read),
    ]
}

fn put_object() -> PutObject {
    PutObject {
        bucket: BUCKET,
        key: key(),
        inode: 79,
        size: 3,
        etag: etag(0),
        checksum: None,
        attributes: attributes(),
        body: Body::Inline(vec![1, 2, 3]),
        precondition: Precondition::default(),
        owner: 4,
    }
}

fn create_upload() -> CreateUpload {
    CreateUpload {
        bucket: BUCKET,
        key: key(),
        inode: 80,
        attributes: attributes(),
        checksum: None,
        owner: 4,
    }
}

/// A command, with the layout of its archive as docs/FORMAT.md has it.
pub(super) struct Sample {
    pub(super) command: Command,
    pub(super) layout: Structure,
}

macro_rules! samples {
    ($($name:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        vec![$(Sample {
            command: $name { $($field: $value),* }.into(),
            layout: structure!($name { $($field)* }),
        }),*]
    };
}

mod accounts;
mod roles;
mod users;

/// One of each kind.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = of_the_system();
    samples.extend(of_buckets());
    samples.extend(of_objects());
    samples.extend(of_extras());
    samples.extend(of_uploads());
    samples.extend(of_chunks());
    samples.extend(users::samples());
    samples.extend(roles::samples());
    samples.extend(accounts::samples());
    samples
}

/// One of each kind.
pub(super) fn commands() -> Vec<Command> {
    let samples = samples().into_iter();
    samples.map(|sample| sample.command).collect()
}

fn of_the_system() -> Vec<Sample> {
    samples! {
        Noop { reserved: 0 }
        Initialise {
            cluster: [7; 16],
            incarnation: 1,
            layout: layout(),
            geometries: vec![geometry()],
            placement_groups: vec![placement_group()],
            root_key: root_key(),
        }
        OpenSession { owner: 0x1_0002 }
        CloseSession { session: 3 }
        RegisterWriter {
            node: 1,
            reactor: 2,
        }
        OpenEpoch { writer: 5 }
        CloseEpoch {
            writer: 5,
            epoch: 6,
        }
        CloseWriter { writer: 5 }
        LeaseInodes { count: 4_096 }
        SetRootKey { key: root_key() }
        SetLayout { layout: layout() }
        AddGeometry {
            geometry: geometry(),
        }
        SetPlacementGroup {
            group: placement_group(),
        }
        RaiseFeatureLevel { level: 1 }
        SetDevice {
            condition: device_condition(),
        }
        ForgetDevice { device: [8; 16] }
    }
}

fn of_buckets() -> Vec<Sample> {
    samples! {
        CreateBucket {
            bucket: "bucket".to_owned(),
            owner: 4,
            object_lock: true,
        }
        DeleteBucket { bucket: BUCKET }
        SetBucketSetting {
            bucket: BUCKET,
            setting: 16,
            document: Some(b"<Tagging/>".to_vec()),
        }
        SetVersioning {
            bucket: BUCKET,
            versioning: Versioning::Enabled,
        }
        SetBucketLock {
            bucket: BUCKET,
            default: Some(DefaultRetention {
                mode: RetentionMode::Governance,
                period: RetentionPeriod::Years(7),
            }),
        }
    }
}

fn of_objects() -> Vec<Sample> {
    samples! {
        PutObject {
            bucket: BUCKET,
            key: key(),
            inode: 77,
            size: (1 << 20) + 5,
            etag: etag(0),
            checksum: Some(checksum()),
            attributes: attributes(),
            body: extents(),
            precondition: precondition(),
            owner: 4,
        }
        DeleteObjects {
            bucket: BUCKET,
            keys: vec![
                DeleteKey {
                    key: key(),
                    if_match: Some(ETagMatch::Any),
                },
                DeleteKey {
                    key: b"b".to_vec(),
                    if_match: None,
                },
            ],
        }
        MarkDeleted {
            bucket: BUCKET,
            keys: vec![DeleteKey {
                key: key(),
                if_match: Some(ETagMatch::Any),
            }],
            owner: 4,
        }
        DeleteVersions {
            bucket: BUCKET,
            versions: vec![
                DeleteVersion {
                    key: key(),
                    version: VersionId::Of(5 << 64 | 77),
                    if_match: Some(ETagMatch::Any),
                    bypass_governance: true,
                },
                DeleteVersion {
                    key: b"b".to_vec(),
                    version: VersionId::Null,
                    if_match: None,
                    bypass_governance: false,
                },
            ],
            may_grow: true,
        }
    }
}

/// What belongs to an object or a bucket beside the bytes.
fn of_extras() -> Vec<Sample> {
    samples! {
        SetObjectTags {
            bucket: BUCKET,
            key: key(),
            version: Some(VersionId::Of(5 << 64 | 77)),
            tags: tags(),
        }
        PutObjectWithExtras {
            put: put_object(),
            extras: extras(),
        }
        SetRetention {
            bucket: BUCKET,
            key: key(),
            version: Some(VersionId::Of(5 << 64 | 77)),
            retention: Some(retention()),
            bypass_governance: true,
        }
        SetLegalHold {
            bucket: BUCKET,
            key: key(),
            version: None,
            legal_hold: true,
        }
        SetObjectAccessList {
            bucket: BUCKET,
            key: key(),
            version: VersionId::Of(5 << 64 | 77),
            inode: 77,
            access_list: Some(grants()),
        }
        CreateBucketWithSettings {
            create: CreateBucket {
                bucket: "bucket".to_owned(),
                owner: 4,
                object_lock: false,
            },
            settings: vec![NewSetting {
                setting: 22,
                document: b"<AccessControlPolicy/>".to_vec(),
            }],
        }
    }
}

fn of_uploads() -> Vec<Sample> {
    samples! {
        CreateUpload {
            bucket: BUCKET,
            key: key(),
            inode: 78,
            attributes: attributes(),
            checksum: Some((ChecksumAlgorithm::Sha256, ChecksumKind::Composite)),
            owner: 4,
        }
        PutPart {
            bucket: BUCKET,
            key: key(),
            upload: 78,
            number: 2,
            space: 9,
            size: 3,
            etag: etag(0),
            checksum: None,
            body: Body::Inline(vec![1, 2, 3]),
        }
        CompleteUpload {
            bucket: BUCKET,
            key: key(),
            upload: 78,
            parts_changed: 79,
            parts: vec![CompletedPart {
                space: 80,
                size: 81,
            }],
            etag: etag(1),
            checksum: Some(checksum()),
            part_checksums: vec![82, 83, 84, 85, 86, 87, 88, 89],
            precondition: Precondition::default(),
        }
        AbortUpload {
            bucket: BUCKET,
            key: key(),
            upload: 78,
        }
        CreateUploadWithExtras {
            create: create_upload(),
            extras: extras(),
        }
        ReleaseBodies {
            releases: vec![Release {
                body: DroppedKey {
                    commit_sequence: 2,
                    index: 3,
                },
                space: 4,
                offset: 5,
            }],
        }
    }
}

fn of_chunks() -> Vec<Sample> {
    samples! {
        Repoint {
            home: 82,
            chunk: Extent::whole_chunk(ChunkId(83), 1 << 20, 1, 0b11),
            items: vec![
                RepointItem {
                    inode: 77,
                    space: 1,
                    length: 2_000,
                    offset: 0,
                    old: OldPlace::Inline(84),
                    new_offset: 85,
                },
                RepointItem {
                    inode: 78,
                    space: 2,
                    length: 20_000,
                    offset: 86,
                    old: OldPlace::Chunk(ChunkPlace {
                        chunk: ChunkId(87),
                        offset: 88,
                    }),
                    new_offset: 2_085,
                },
            ],
        }
        ReplaceChunk {
            inode: 89,
            space: 90,
            offset: 91,
            old: ChunkId(92),
            new: Extent::whole_chunk(ChunkId(93), 1 << 20, 0x0402, 0b11_1111),
        }
    }
}

fn answers() -> Vec<Answer> {
    let mut answers = vec![
        Answer::Done,
        Answer::Session(1),
        Answer::Inodes {
            first: 16,
            count: 2,
        },
        Answer::Writer(3),
        Answer::Epoch(4),
        Answer::Put {
            inode: 5,
            commit_sequence: 6,
            etag: etag(7),
            size: 8,
            modified_nanos: 9,
        },
        Answer::Deleted(vec![
            DeleteOutcome::Deleted,
            DeleteOutcome::Absent,
            DeleteOutcome::PreconditionFailed,
        ]),
    ];
    let refusals = [
        Refusal::NotInitialised,
        Refusal::AlreadyInitialised,
        Refusal::WrongGroup(1),
        Refusal::FeatureLevel {
            needed: 2,
            active: 1,
        },
        Refusal::SessionExpired,
        Refusal::SequenceAnswered,
        Refusal::TooManyOutstanding,
        Refusal::Invalid("why".into()),
        Refusal::Full,
        Refusal::NoSuchBucket,
        Refusal::BucketAlreadyOwnedByYou,
        Refusal::BucketNotEmpty,
        Refusal::NoSuchKey,
        Refusal::PreconditionFailed,
        Refusal::NoSuchUpload,
        Refusal::PartsChanged,
        Refusal::EntityTooLarge,
        Refusal::ChecksumMismatch,
        Refusal::NoSuchWriter(1),
        Refusal::EpochClosed {
            writer: 1,
            epoch: 2,
        },
        Refusal::Stale,
    ];
    answers.extend(refusals.map(Answer::Refused));
    answers.push(Answer::Repointed(vec![
        RepointOutcome::Moved,
        RepointOutcome::Gone,
        RepointOutcome::Changed,
    ]));
    answers
}

fn answers_of_versions() -> Vec<Answer> {
    vec![
        Answer::PutVersion {
            inode: 5,
            commit_sequence: 6,
            etag: etag(7),
            size: 8,
            modified_nanos: 9,
        },
        Answer::Marked(vec![
            MarkOutcome::Marked(VersionId::Null),
            MarkOutcome::Marked(VersionId::Of(6 << 64 | 5)),
            MarkOutcome::PreconditionFailed,
            MarkOutcome::Absent,
        ]),
        Answer::VersionsDeleted(vec![
            VersionDeleteOutcome::Deleted,
            VersionDeleteOutcome::MarkerDeleted,
            VersionDeleteOutcome::Absent,
            VersionDeleteOutcome::PreconditionFailed,
            VersionDeleteOutcome::BringsBack,
            VersionDeleteOutcome::Locked,
        ]),
        Answer::Refused(Refusal::VersioningChanged),
    ]
}

fn answers_of_tags() -> Vec<Answer> {
    vec![
        Answer::tagged(VersionId::Null),
        Answer::tagged(VersionId::Of(6 << 64 | 5)),
        Answer::Refused(Refusal::NoSuchVersion),
        Answer::Refused(Refusal::IsDeleteMarker),
    ]
}

fn answers_of_locks() -> Vec<Answer> {
    vec![
        Answer::Refused(Refusal::NoObjectLock),
        Answer::Refused(Refusal::ObjectLocked),
        Answer::Refused(Refusal::InvalidBucketState),
        Answer::Refused(Refusal::RetentionIsOver),
    ]
}

fn envelope(command: Command) -> Envelope {
    Envelope {
        group: 1,
        feature_level: 1,
        session: 2,
        sequence: 3,
        lowest_unanswered: 2,
        time_nanos: 1_700_000_000_000_000,
        command,
    }
}

/// The file's bytes; with `STRATA_WRITE_GOLDEN=1`, a missing one is written first.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/namespace/command/golden");
    let path = dir.join(name);
    if !path.exists() && std::env::var_os("STRATA_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_kind_of_command_is_as_it_was_first_written() {
    let commands = commands();
    let kinds: Vec<u16> = commands.iter().map(Command::kind).collect();
    let known: Vec<u16> = Command::KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, known, "one of each kind, in order");
    for command in commands {
        let name = format!("{:04x}_{}.bin", command.kind(), command.name());
        let envelope = envelope(command);
        let bytes = envelope.encode().unwrap();
        let golden = golden(&name, &bytes);
        assert!(bytes == golden, "{name}");
        assert_eq!(Envelope::decode(&golden).unwrap(), envelope, "{name}");
    }
}

#[test]
fn every_answer_is_as_it_was_first_written() {
    for (name, answers) in [
        ("answers.bin", answers()),
        ("answers_of_versions.bin", answers_of_versions()),
        ("answers_of_tags.bin", answers_of_tags()),
        ("answers_of_users.bin", users::answers()),
        ("answers_of_accounts.bin", accounts::answers()),
        ("answers_of_locks.bin", answers_of_locks()),
    ] {
        let mut bytes = Vec::new();
        for answer in answers {
            let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&answer).unwrap();
            bytes.extend_from_slice(&(archive.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&archive);
        }
        assert!(bytes == golden(name, &bytes), "{name}");
    }
}

#[test]
fn damaged_commands_are_errors() {
    for command in commands() {
        let mut bytes = envelope(command.clone()).encode().unwrap().to_vec();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x40;
            assert!(
                Envelope::decode(&bytes).is_err(),
                "{} byte {at}",
                command.name()
            );
            bytes[at] ^= 0x40;
            assert!(
                Envelope::decode(&bytes[..at]).is_err(),
                "{} cut at {at}",
                command.name()
            );
        }
        bytes.push(0);
        assert!(matches!(
            Envelope::decode(&bytes),
            Err(CommandError::Length { .. })
        ));
    }
}

/// With a CRC that holds, a hostile body is still validated.
#[test]
fn hostile_bodies_are_validated() {
    for command in commands() {
        let bytes = envelope(command.clone()).encode().unwrap().to_vec();
        for at in 64..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut hostile = bytes.clone();
                hostile[at] ^= flip;
                let crc = crc32c::crc32c(&hostile[4..]);
                hostile[..4].copy_from_slice(&crc.to_le_bytes());
                // Another command or an error; either way without a panic.
                let _ = Envelope::decode(&hostile);
            }
        }
    }
}

#[test]
fn what_is_reserved_or_newer_is_refused_by_name() {
    let bytes = envelope(Noop { reserved: 0 }.into())
        .encode()
        .unwrap()
        .to_vec();
    let with = |at: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[at] = value;
        let crc = crc32c::crc32c(&changed[4..]);
        changed[..4].copy_from_slice(&crc.to_le_bytes());
        Envelope::decode(&changed)
    };
    for version in [1, 3] {
        assert_eq!(
            with(4, version),
            Err(CommandError::UnknownVersion(version.into()))
        );
    }
    assert_eq!(with(6, 0xee), Err(CommandError::UnknownKind(0xee)));
    for reserved in (12..16).chain(52..64) {
        assert_eq!(with(reserved, 1), Err(CommandError::Reserved));
    }
}
