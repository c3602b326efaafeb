//! The cluster itself: identity, writers, epochs, geometries, and what bodies may name.

use strata_engine::erasure;
use strata_raftlog::namespace::command::{
    AddGeometry, Answer, CloseEpoch, CloseSession, CloseWriter, ForgetDevice, LeaseInodes, Noop,
    OpenEpoch, Refusal, RegisterWriter, ReleaseBodies, SetDevice, SetLayout, SetPlacementGroup,
    SetRootKey,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreError, StoreOptions};
use strata_raftlog::namespace::{
    Body, ChunkId, DeviceCondition, DeviceErrors, DeviceState, Extent, ExtentKind, GeometryCode,
    INLINE_BYTES_MAX, LogEntry, LogPosition, ObjectAttributes, PlacementGroup, ROOT_INODE, RootKey,
    Slot, SlotState,
};

use crate::commands::{initialise, put};
use crate::support::{Cluster, FIRST_BUCKET, MAP_BYTES};

fn invalid(answer: Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::Invalid(_)))
}

#[test]
fn a_cluster_is_initialised_once() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.change(initialise()), Answer::Done, "the same again");
    assert_eq!(
        cluster.epoch,
        1 << 20 | 1,
        "the incarnation and the first epoch"
    );
    let mut other = initialise();
    other.cluster = [2; 16];
    assert_eq!(
        cluster.change(other),
        Answer::Refused(Refusal::AlreadyInitialised)
    );
    let view = cluster.store.view().unwrap();
    assert_eq!(view.cluster().unwrap().unwrap().cluster, [1; 16]);
    assert_eq!(view.layout().unwrap(), Some(initialise().layout));
    assert_eq!(view.geometries().unwrap(), initialise().geometries);
    assert_eq!(view.root_key().unwrap(), Some(initialise().root_key));
    drop(view);
    let key = RootKey {
        access_key_id: "new".into(),
        secret_access_key: "hidden".into(),
    };
    assert_eq!(
        cluster.change(SetRootKey { key: key.clone() }),
        Answer::Done
    );
    assert_eq!(
        cluster.store.view().unwrap().root_key().unwrap(),
        Some(key.clone())
    );
    let described: String = cluster
        .rows()
        .iter()
        .map(|(key, value)| strata_raftlog::namespace::describe(key, value).to_string())
        .collect();
    assert!(
        described.contains("\"new\"") && !described.contains("hidden"),
        "{described}"
    );
    assert!(!format!("{key:?}").contains("hidden"));
    assert!(invalid(cluster.change(SetRootKey {
        key: RootKey {
            access_key_id: String::new(),
            secret_access_key: "x".into()
        }
    })));
}

#[test]
fn nothing_is_done_before_a_cluster_is_initialised() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (store, _) = NamespaceStore::open(dir.path(), options).unwrap();
    let mut helper = Cluster::new();
    helper.session = 0;
    let bytes = helper.envelope(Noop { reserved: 0 }).encode().unwrap();
    let position = |index| LogPosition {
        term: 1,
        node: 1,
        index,
    };
    let answers = store
        .apply(&[
            (position(0), LogEntry::Membership(b"members")),
            (position(1), LogEntry::Blank),
            (position(2), LogEntry::Command(&bytes)),
        ])
        .unwrap();
    assert_eq!(answers[2], Answer::Refused(Refusal::NotInitialised));
    let view = store.view().unwrap();
    assert_eq!(
        view.membership().unwrap(),
        Some((position(0), b"members".to_vec()))
    );
    assert_eq!(view.applied().unwrap(), position(2));
    drop(view);
    let again = store.apply(&[(position(2), LogEntry::Blank)]);
    assert!(
        matches!(again, Err(StoreError::Invariant(_))),
        "an entry is applied once"
    );
    assert_eq!(store.applied(), position(2));
}

#[test]
fn nothing_is_applied_after_a_batch_that_failed() {
    let mut cluster = Cluster::new();
    let bytes = cluster.envelope(Noop { reserved: 0 }).encode().unwrap();
    let applied = cluster.store.applied();
    let position = |ahead| LogPosition {
        index: applied.index + ahead,
        ..applied
    };
    let entries = [
        (position(1), LogEntry::Command(&bytes)),
        (position(2), LogEntry::Command(&bytes[1..])),
    ];
    let damaged = cluster.store.apply(&entries);
    assert!(
        matches!(damaged, Err(StoreError::Command { index, .. }) if index == applied.index + 2)
    );
    assert_eq!(
        cluster.store.applied(),
        applied,
        "nothing of the batch is kept"
    );
    for entry in entries {
        let skipped = cluster.store.apply(&[entry]);
        assert!(matches!(skipped, Err(StoreError::Failed(_))), "{skipped:?}");
    }
    assert!(
        cluster.store.view().unwrap().cluster().unwrap().is_some(),
        "reads go on"
    );
}

#[test]
fn chunks_are_introduced_under_open_epochs_alone() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let (writer, epoch) = (cluster.writer, cluster.epoch);
    let put_extent = |cluster: &mut Cluster, extent: Extent| {
        let inode = cluster.inode();
        cluster.change(put(FIRST_BUCKET, b"k", inode, Body::Extents(vec![extent])))
    };
    let good = cluster.extent(10);
    assert!(matches!(
        put_extent(&mut cluster, good.clone()),
        Answer::Put { .. }
    ));
    let other_epoch = ChunkId(good.chunk.0 + (1 << 40));
    assert_eq!(
        put_extent(
            &mut cluster,
            Extent {
                chunk: other_epoch,
                ..good.clone()
            }
        ),
        Answer::Refused(Refusal::EpochClosed {
            writer,
            epoch: epoch + 1
        })
    );
    assert_eq!(
        cluster.change(OpenEpoch { writer }),
        Answer::Epoch(epoch + 1)
    );
    assert_eq!(cluster.change(CloseEpoch { writer, epoch }), Answer::Done);
    assert_eq!(
        cluster.change(CloseEpoch { writer, epoch }),
        Answer::Done,
        "again"
    );
    assert_eq!(
        put_extent(&mut cluster, good.clone()),
        Answer::Refused(Refusal::EpochClosed { writer, epoch })
    );
    let view = cluster.store.view().unwrap();
    let is_closed = |epoch| view.epoch_closed(writer, epoch).unwrap();
    assert_eq!(
        [epoch, epoch + 1, epoch + 2].map(is_closed),
        [true, false, false]
    );
    drop(view);
    let open_epochs = |cluster: &Cluster| {
        let rows = cluster.rows();
        rows.iter()
            .filter(|(key, _)| key.starts_with(&[b'S', 10]))
            .count()
    };
    assert_eq!(open_epochs(&cluster), 1, "a closed epoch has no row");
    let never_opened = CloseEpoch {
        writer,
        epoch: epoch + 2,
    };
    assert!(matches!(
        cluster.change(never_opened),
        Answer::Refused(Refusal::Invalid(_))
    ));
    assert_eq!(cluster.change(CloseWriter { writer }), Answer::Done);
    assert_eq!(
        cluster.change(OpenEpoch { writer }),
        Answer::Refused(Refusal::NoSuchWriter(writer))
    );
    assert_eq!(open_epochs(&cluster), 0);
    let view = cluster.store.view().unwrap();
    let is_closed = |epoch| view.epoch_closed(writer, epoch).unwrap();
    assert_eq!(
        [epoch, epoch + 1, epoch + 2].map(is_closed),
        [true, true, false]
    );
    drop(view);
    assert_eq!(
        cluster.change(RegisterWriter {
            node: 1,
            reactor: 0
        }),
        Answer::Writer(writer + 1)
    );
}

#[test]
fn bodies_that_contradict_themselves_are_refused() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let good = cluster.extent(10);
    let bad = [
        Extent {
            length: 0,
            ..good.clone()
        },
        Extent {
            home_inode: 5,
            ..good.clone()
        },
        Extent {
            flags: 1,
            ..good.clone()
        },
        Extent {
            offset: 1,
            ..good.clone()
        },
        Extent {
            offset: u64::MAX,
            ..good.clone()
        },
        Extent {
            chunk: ChunkId(0),
            ..good.clone()
        },
        Extent {
            slot_mask: 0,
            ..good.clone()
        },
        Extent {
            slot_mask: 0b11,
            ..good.clone()
        },
        Extent {
            geometry: 9,
            ..good.clone()
        },
        Extent {
            kind: ExtentKind::Zeros,
            ..good.clone()
        },
    ];
    let mut bodies: Vec<Body> = bad
        .into_iter()
        .map(|extent| Body::Extents(vec![extent]))
        .collect();
    bodies.extend([
        Body::Extents(Vec::new()),
        Body::Inline(Vec::new()),
        Body::Inline(vec![0; INLINE_BYTES_MAX + 1]),
    ]);
    let before = cluster.rows_of(b"DIXF");
    for body in bodies {
        let inode = cluster.inode();
        let answer = cluster.change(put(FIRST_BUCKET, b"k", inode, body.clone()));
        assert!(invalid(answer), "{body:?}");
    }
    let inode = cluster.inode();
    let fine = || put(FIRST_BUCKET, b"k", inode, Body::Extents(vec![good.clone()]));
    let mut longer = fine();
    longer.size += 1;
    assert!(invalid(cluster.change(longer)));
    let mut keys = [fine(), fine()];
    (keys[0].key, keys[1].key) = (Vec::new(), vec![b'k'; 1_025]);
    for command in keys {
        assert!(invalid(cluster.change(command)));
    }
    let mut metadata = fine();
    metadata.attributes = ObjectAttributes {
        user_metadata: vec![("k".into(), "v".repeat(17_000))],
        ..ObjectAttributes::default()
    };
    assert!(invalid(cluster.change(metadata)));
    for foreign in [0, ROOT_INODE, u64::MAX, 1 << 48 | 20, inode + 1_000_000] {
        let mut command = fine();
        command.inode = foreign;
        assert!(invalid(cluster.change(command)), "inode {foreign}");
    }
    assert_eq!(cluster.rows_of(b"DIXF"), before);
    assert!(matches!(cluster.change(fine()), Answer::Put { .. }));
    assert!(invalid(cluster.change(fine())), "the inode is in use");
    let holes = Extent {
        kind: ExtentKind::Zeros,
        chunk: ChunkId(0),
        stored_length: 0,
        slot_mask: 0,
        geometry: 0,
        ..good
    };
    let inode = cluster.inode();
    let answer = cluster.change(put(
        FIRST_BUCKET,
        b"hole",
        inode,
        Body::Extents(vec![holes]),
    ));
    assert!(matches!(answer, Answer::Put { .. }));
    cluster.delete("b", &[b"hole"]);
    let view = cluster.store.view().unwrap();
    let dropped = view.dropped(None, 9).unwrap();
    assert_eq!(dropped.len(), 1);
    let page = view.chunks_of_dropped(&dropped[0], 9).unwrap();
    assert_eq!((page.rows, page.chunks.len()), (1, 0), "a hole is no chunk");
}

#[test]
fn only_geometries_that_can_be_coded_are_added() {
    let mut cluster = Cluster::new();
    let mut geometry = initialise().geometries[0];
    for (code, k, m) in (0..=u8::MAX).flat_map(|shards| {
        let codes = [GeometryCode::Copies, GeometryCode::CauchyGf8];
        codes.into_iter().flat_map(move |code| {
            [
                (code, 1, shards),
                (code, shards, 0),
                (code, shards, 1),
                (code, 16, shards),
            ]
        })
    }) {
        geometry.number += 1;
        (geometry.code, geometry.k, geometry.m) = (code, k, m);
        let is_added = cluster.change(AddGeometry { geometry }) == Answer::Done;
        let can_be_coded = match code {
            GeometryCode::Copies => k == 1 && m < 64,
            GeometryCode::CauchyGf8 => {
                erasure::Geometry::new(erasure::Code::CauchyGf8, k.into(), m.into()).is_ok()
            }
        };
        assert_eq!(is_added, can_be_coded, "{code:?} of {k} and {m}");
    }
}

#[test]
fn tables_grow_and_epochs_rise() {
    let mut cluster = Cluster::new();
    let mut geometry = initialise().geometries[0];
    assert_eq!(
        cluster.change(AddGeometry { geometry }),
        Answer::Done,
        "the same again"
    );
    geometry.m = 1;
    assert!(
        invalid(cluster.change(AddGeometry { geometry })),
        "a number is taken for good"
    );
    geometry.number = 2;
    geometry.code = GeometryCode::CauchyGf8;
    assert_eq!(cluster.change(AddGeometry { geometry }), Answer::Done);
    let mut layout = initialise().layout;
    layout.geometry = 3;
    assert!(invalid(cluster.change(SetLayout { layout })));
    layout.geometry = 2;
    assert_eq!(cluster.change(SetLayout { layout }), Answer::Done);

    let slot = Slot {
        device: [5; 16],
        partition: 0,
        state: SlotState::Member,
    };
    let mut group = PlacementGroup {
        number: 7,
        epoch: 1,
        pool: [6; 16],
        slots: vec![slot],
        previous: vec![],
    };
    let set = |cluster: &mut Cluster, group: &PlacementGroup| {
        cluster.change(SetPlacementGroup {
            group: group.clone(),
        })
    };
    assert_eq!(set(&mut cluster, &group), Answer::Done);
    assert_eq!(set(&mut cluster, &group), Answer::Refused(Refusal::Stale));
    group.epoch = 2;
    group.slots[0].state = SlotState::Removed;
    assert_eq!(set(&mut cluster, &group), Answer::Done);
    let view = cluster.store.view().unwrap();
    assert_eq!(view.placement_groups().unwrap(), [group.clone()]);
    assert_eq!(view.placement_group(7).unwrap(), Some(group.clone()));
    drop(view);
    group.number = 1 << 24;
    assert!(invalid(set(&mut cluster, &group)));
    group.number = 8;
    group.slots = vec![slot; 65];
    assert!(invalid(set(&mut cluster, &group)));
}

#[test]
fn what_is_known_of_a_device_is_replaced_and_bounded() {
    let mut cluster = Cluster::new();
    let mut condition = DeviceCondition {
        device: [5; 16],
        state: DeviceState::Healthy,
        reason: String::new(),
        since_nanos: 1,
        capacity_bytes: 2,
        errors: DeviceErrors::default(),
    };
    let set = |cluster: &mut Cluster, condition: &DeviceCondition| {
        cluster.change(SetDevice {
            condition: condition.clone(),
        })
    };
    assert_eq!(set(&mut cluster, &condition), Answer::Done);
    let sequence = |cluster: &Cluster| {
        let view = cluster.store.view().unwrap();
        view.group().unwrap().unwrap().commit_sequence
    };
    let before = sequence(&cluster);
    assert_eq!(set(&mut cluster, &condition), Answer::Done);
    assert_eq!(sequence(&cluster), before, "the same again changes nothing");
    for state in DeviceState::ALL {
        condition.state = state;
        condition.reason = "x".repeat(200);
        condition.errors.reads += 1;
        assert_eq!(set(&mut cluster, &condition), Answer::Done);
        let view = cluster.store.view().unwrap();
        assert_eq!(view.devices().unwrap(), [condition.clone()]);
        assert_eq!(view.device([5; 16]).unwrap(), Some(condition.clone()));
        assert_eq!(view.device([6; 16]).unwrap(), None);
    }
    let long = DeviceCondition {
        reason: "x".repeat(201),
        ..condition.clone()
    };
    assert!(invalid(set(&mut cluster, &long)));
    let nil = DeviceCondition {
        device: [0; 16],
        ..condition.clone()
    };
    assert!(invalid(set(&mut cluster, &nil)));
    for number in 1..1_024u128 {
        condition.device = number.to_be_bytes();
        assert_eq!(set(&mut cluster, &condition), Answer::Done);
    }
    condition.device = [7; 16];
    assert!(invalid(set(&mut cluster, &condition)), "one too many");
    condition.device = [5; 16];
    condition.capacity_bytes = 3;
    assert_eq!(
        set(&mut cluster, &condition),
        Answer::Done,
        "what is known can change"
    );
}

#[test]
fn a_device_without_slots_is_forgotten() {
    let mut cluster = Cluster::new();
    let condition = |device: [u8; 16]| DeviceCondition {
        device,
        state: DeviceState::Gone,
        reason: "lost".to_owned(),
        since_nanos: 1,
        capacity_bytes: 2,
        errors: DeviceErrors::default(),
    };
    for device in [[5; 16], [6; 16], [7; 16]] {
        let condition = condition(device);
        assert_eq!(cluster.change(SetDevice { condition }), Answer::Done);
    }
    let slot = |device| Slot {
        device,
        partition: 0,
        state: SlotState::Member,
    };
    let group = PlacementGroup {
        number: 0,
        epoch: 1,
        pool: [1; 16],
        slots: vec![slot([5; 16])],
        previous: vec![slot([6; 16])],
    };
    assert_eq!(cluster.change(SetPlacementGroup { group }), Answer::Done);
    for device in [[5; 16], [6; 16]] {
        assert!(invalid(cluster.change(ForgetDevice { device })));
    }
    for _ in 0..2 {
        let device = [7; 16];
        assert_eq!(cluster.change(ForgetDevice { device }), Answer::Done);
        let view = cluster.store.view().unwrap();
        let noted: Vec<_> = view.devices().unwrap().into_iter().collect();
        assert_eq!(noted, [condition([5; 16]), condition([6; 16])]);
    }
}

#[test]
fn envelopes_are_for_this_group_level_and_session() {
    let mut cluster = Cluster::new();
    let mut other = cluster.envelope(Noop { reserved: 0 });
    other.group = 3;
    assert_eq!(
        cluster.apply(&other),
        Answer::Refused(Refusal::WrongGroup(3))
    );
    let mut newer = cluster.envelope(Noop { reserved: 0 });
    newer.feature_level = 2;
    assert_eq!(
        cluster.apply(&newer),
        Answer::Refused(Refusal::FeatureLevel {
            needed: 2,
            active: 1
        })
    );
    let mut answered = cluster.envelope(Noop { reserved: 0 });
    answered.lowest_unanswered = answered.sequence + 1;
    assert!(invalid(cluster.apply(&answered)));
    assert!(invalid(cluster.change(Noop { reserved: 1 })));
    assert!(invalid(cluster.change(LeaseInodes { count: 0 })));
    assert!(invalid(cluster.change(LeaseInodes { count: u32::MAX })));
    let mut none = cluster.envelope(ReleaseBodies {
        releases: Vec::new(),
    });
    none.session = 0;
    assert_eq!(
        cluster.apply(&none),
        Answer::Refused(Refusal::SessionExpired)
    );
    let session = cluster.session;
    assert_eq!(cluster.change(CloseSession { session }), Answer::Done);
    assert_eq!(cluster.rows_of(b"R"), 0);
    assert_eq!(
        cluster.change(Noop { reserved: 0 }),
        Answer::Refused(Refusal::SessionExpired)
    );
}

#[test]
fn time_only_moves_forward() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    cluster.time_nanos = 5_000_000;
    cluster.put("b", b"first", Body::Empty);
    cluster.time_nanos = 4_000_000;
    cluster.put("b", b"second", Body::Empty);
    let view = cluster.store.view().unwrap();
    let object = view.object("b", b"second").unwrap().unwrap();
    assert_eq!(object.modified_nanos, 5_000_000);
}
