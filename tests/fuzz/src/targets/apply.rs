//! Commands of the log, applied to a state that has rows of every kind: each is carried out or refused, and none stops the group.
//!
//! An input is a row of commands: length (2 bytes, little endian), what of the envelope is set right (1 byte), envelope. What they
//! change is dropped.

use std::cell::LazyCell;

use strata_raftlog::namespace::command::{
    Answer, ChunkPlace, Command, CreateBucket, CreateUpload, DeleteKey, DeleteObjects, Envelope,
    FEATURE_LEVEL, Initialise, LeaseInodes, MarkDeleted, OldPlace, OpenEpoch, OpenSession,
    Precondition, PutObject, PutPart, RegisterWriter, Repoint, RepointItem, SetBucketLock,
    SetDevice, SetLegalHold, SetObjectAccessList, SetObjectTags, SetVersioning,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreError, StoreOptions};
use strata_raftlog::namespace::{
    Body, ChecksumAlgorithm, ChecksumKind, ChunkId, DefaultRetention, DeviceCondition,
    DeviceErrors, DeviceState, ETag, Extent, Geometry, GeometryCode, Grant, Grantee, Layout,
    LayoutKind, LogEntry, LogPosition, ObjectAttributes, Permission, RetentionMode,
    RetentionPeriod, RootKey, Tag, VersionId, Versioning,
};

use super::command::sealed;

/// Bits of what is set right: session and sequence, and group, level and time, so that a command gets past them.
const IN_SESSION: u8 = 1;
const IN_GROUP: u8 = 2;

/// The inode of the first bucket, and those that are leased.
pub(super) const BUCKET: u64 = 16;
pub(super) const FIRST_INODE: u64 = 17;

const MAP_BYTES: usize = 16 << 20;

thread_local! {
    static STATE: LazyCell<State> = LazyCell::new(|| {
        let dir = tempfile::tempdir().expect("a directory");
        // What LMDB has open stays when its names go.
        State::filled(dir.path())
    });
}

/// A store, and where its log ends.
pub(super) struct State {
    pub(super) store: NamespaceStore,
    session: u64,
    sequence: u64,
    index: u64,
}

pub(super) fn run(data: &[u8]) {
    STATE.with(|state| {
        let mut transaction = state.store.begin().expect("the store has not failed");
        let (mut rest, mut position) = (data, state.index);
        let mut sequence = state.sequence;
        while let Some((head, tail)) = rest.split_first_chunk::<3>() {
            let [low, high, right] = *head;
            let length = usize::from(u16::from_le_bytes([low, high]));
            let (envelope, tail) = tail.split_at(length.min(tail.len()));
            rest = tail;
            let decoded = sealed(envelope).map(|bytes| Envelope::decode(&bytes));
            let Some(Ok(mut envelope)) = decoded else {
                continue;
            };
            if follows_no_more(&envelope.command) {
                continue;
            }
            if right & IN_GROUP != 0 {
                (envelope.group, envelope.feature_level) = (0, 1);
                envelope.time_nanos = 2_000_000;
            }
            if right & IN_SESSION != 0 {
                sequence += 1;
                (envelope.session, envelope.sequence) = (state.session, sequence);
                envelope.lowest_unanswered = state.sequence;
            }
            position += 1;
            let bytes = envelope.encode().expect("what was decoded can be encoded");
            match transaction.apply(at(position), LogEntry::Command(&bytes)) {
                Ok(_) => {}
                Err(StoreError::Full | StoreError::NoSpace) => return,
                Err(error) => panic!("{} stops the group: {error}", envelope.command.name()),
            }
        }
    });
}

/// A level that this version cannot follow stops the group, and is meant to.
fn follows_no_more(command: &Command) -> bool {
    matches!(command, Command::RaiseFeatureLevel(raise) if raise.level > FEATURE_LEVEL)
}

fn at(index: u64) -> LogPosition {
    LogPosition {
        term: 1,
        node: 1,
        index,
    }
}

impl State {
    /// A store in a directory, with objects, an upload, a pack and what is to be released.
    pub(super) fn filled(dir: &std::path::Path) -> State {
        let options = StoreOptions {
            map_bytes: MAP_BYTES,
        };
        let (store, _) = NamespaceStore::open(dir, options).expect("a store");
        let mut state = State {
            store,
            session: 0,
            sequence: 0,
            index: 0,
        };
        state.change(initialise());
        if let Answer::Session(session) = state.change(OpenSession { owner: 1 }) {
            (state.session, state.sequence) = (session, 0);
        }
        state.change(RegisterWriter {
            node: 1,
            reactor: 0,
        });
        let epoch = state.change(OpenEpoch { writer: 1 });
        let Answer::Epoch(epoch) = epoch else {
            panic!("no epoch: {epoch:?}");
        };
        state.change(SetDevice {
            condition: device_condition(),
        });
        state.change(CreateBucket {
            bucket: "bucket".into(),
            owner: 1,
            object_lock: false,
        });
        state.change(LeaseInodes { count: 10_000 });
        state.put_objects(epoch);
        state.begin_upload();
        state.pack(epoch);
        state.keep_versions();
        state.lock();
        state
    }

    pub(super) fn change(&mut self, command: impl Into<Command>) -> Answer {
        (self.index, self.sequence) = (self.index + 1, self.sequence + 1);
        let envelope = Envelope {
            group: 0,
            feature_level: 1,
            session: self.session,
            sequence: self.sequence,
            lowest_unanswered: self.sequence.saturating_sub(4),
            time_nanos: 1_000_000,
            command: command.into(),
        };
        let bytes = envelope.encode().expect("a command");
        let entry = (at(self.index), LogEntry::Command(&bytes));
        let answers = self.store.apply(&[entry]).expect("applied");
        let answer = answers.into_iter().next().expect("an answer");
        assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
        answer
    }

    fn put_objects(&mut self, epoch: u32) {
        let chunk = ChunkId(1 << 72 | u128::from(epoch) << 40 | 1);
        let extent = Extent::whole_chunk(chunk, 1 << 20, 1, 1);
        let inline = Body::Inline(b"inline".to_vec());
        let bodies = [inline, Body::Extents(vec![extent]), Body::Empty];
        for (number, body) in bodies.into_iter().enumerate() {
            self.put(number as u64, format!("a/b/{number}").as_bytes(), body);
        }
        self.put(3, b"key", Body::Inline(vec![7; 9_000]));
        self.change(SetObjectTags {
            bucket: BUCKET,
            key: b"key".to_vec(),
            version: None,
            tags: vec![Tag {
                key: "a".into(),
                value: "1".into(),
            }],
        });
        self.change(SetObjectAccessList {
            bucket: BUCKET,
            key: b"key".to_vec(),
            version: VersionId::Null,
            inode: FIRST_INODE + 3,
            access_list: Some(vec![Grant {
                grantee: Grantee::AllUsers,
                permission: Permission::Read,
            }]),
        });
        self.change(DeleteObjects {
            bucket: BUCKET,
            keys: vec![DeleteKey {
                key: b"a/b/1".to_vec(),
                if_match: None,
            }],
        });
    }

    /// An inline body and an extent move into a pack.
    fn pack(&mut self, epoch: u32) {
        let chunk = |number| {
            let id = ChunkId(1 << 72 | u128::from(epoch) << 40 | number);
            Extent::whole_chunk(id, 1 << 20, 1, 1)
        };
        self.put(110, b"packed", Body::Extents(vec![chunk(2)]));
        self.put(111, b"packed too", Body::Inline(vec![8; 2_000]));
        let item = |number, length, new_offset, old| RepointItem {
            inode: FIRST_INODE + number,
            space: 0,
            length,
            offset: 0,
            new_offset,
            old,
        };
        let place = ChunkPlace {
            chunk: chunk(2).chunk,
            offset: 0,
        };
        let inline = OldPlace::Inline(crc32c::crc32c(&[8; 2_000]));
        self.change(Repoint {
            home: FIRST_INODE + 112,
            chunk: Extent::whole_chunk(chunk(3).chunk, 2 << 20, 1, 1),
            items: vec![
                item(110, 1 << 20, 0, OldPlace::Chunk(place)),
                item(111, 2_000, 1 << 20, inline),
            ],
        });
    }

    /// A bucket with the null version, another one and a delete marker among the earlier ones of a key.
    fn keep_versions(&mut self) {
        self.change(CreateBucket {
            bucket: "versions".into(),
            owner: 1,
            object_lock: false,
        });
        let bucket = self.store.view().and_then(|view| view.bucket("versions"));
        let bucket = bucket.expect("a view").expect("the bucket").inode;
        let versioning = Versioning::Enabled;
        let body = |byte: u8| Body::Inline(vec![byte; 9]);
        self.put_in(bucket, 120, b"a/key", body(1));
        self.change(SetVersioning { bucket, versioning });
        self.put_in(bucket, 121, b"a/key", body(2));
        self.put_in(bucket, 122, b"other", body(3));
        self.change(MarkDeleted {
            bucket,
            keys: vec![DeleteKey {
                key: b"a/key".to_vec(),
                if_match: None,
            }],
            owner: 0,
        });
    }

    /// A bucket that has Object Lock and a default, with an object that is held.
    fn lock(&mut self) {
        self.change(CreateBucket {
            bucket: "locks".into(),
            owner: 1,
            object_lock: true,
        });
        let bucket = self.store.view().and_then(|view| view.bucket("locks"));
        let bucket = bucket.expect("a view").expect("the bucket").inode;
        self.change(SetBucketLock {
            bucket,
            default: Some(DefaultRetention {
                mode: RetentionMode::Governance,
                period: RetentionPeriod::Days(1),
            }),
        });
        self.put_in(bucket, 130, b"a/key", Body::Inline(vec![1; 9]));
        self.change(SetLegalHold {
            bucket,
            key: b"a/key".to_vec(),
            version: None,
            legal_hold: true,
        });
    }

    pub(super) fn put(&mut self, number: u64, key: &[u8], body: Body) {
        self.put_in(BUCKET, number, key, body);
    }

    fn put_in(&mut self, bucket: u64, number: u64, key: &[u8], body: Body) {
        self.change(PutObject {
            bucket,
            key: key.to_vec(),
            inode: FIRST_INODE + number,
            size: body.length(),
            etag: ETag::single([7; 16]),
            checksum: None,
            attributes: ObjectAttributes::default(),
            body,
            precondition: Precondition::default(),
            owner: 0,
        });
    }

    fn begin_upload(&mut self) {
        let (upload, key) = (FIRST_INODE + 100, b"key".to_vec());
        self.change(CreateUpload {
            bucket: BUCKET,
            key: key.clone(),
            inode: upload,
            attributes: ObjectAttributes::default(),
            checksum: Some((ChecksumAlgorithm::Crc32, ChecksumKind::Composite)),
            owner: 3,
        });
        self.change(PutPart {
            bucket: BUCKET,
            key,
            upload,
            number: 1,
            space: 7,
            size: 4,
            etag: ETag::single([2; 16]),
            checksum: None,
            body: Body::Inline(b"part".to_vec()),
        });
    }
}

fn device_condition() -> DeviceCondition {
    DeviceCondition {
        device: [3; 16],
        state: DeviceState::Slow,
        reason: "it is slow".into(),
        since_nanos: 1_000_000,
        capacity_bytes: 1 << 30,
        errors: DeviceErrors::default(),
    }
}

fn initialise() -> Initialise {
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
