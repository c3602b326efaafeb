//! Object Lock: what it refuses and gives, and random commands under a clock that is moved, against a model and against the one rule that what is
//! locked stays as it is.

use std::collections::BTreeMap;

use strata_raftlog::namespace::command::{
    Answer, Command, CommandClass, CompleteUpload, CompletedPart, CreateBucket, CreateUpload,
    CreateUploadWithExtras, DeleteBucket, DeleteKey, DeleteObjects, DeleteVersion, DeleteVersions,
    MarkDeleted, MarkOutcome, Noop, Precondition, PutObjectWithExtras, PutPart, Refusal,
    SetBucketLock, SetLegalHold, SetRetention, SetVersioning, VersionDeleteOutcome,
};
use strata_raftlog::namespace::{
    Body, BucketLock, DefaultRetention, ETag, FoundVersion, ObjectAttributes, ObjectExtras,
    ObjectLock, RETAIN_UNTIL_MILLIS_MAX, Retention, RetentionMode, RetentionPeriod, VersionId,
    Versioning,
};

use crate::commands::put;
use crate::random::Random;
use crate::support::{Cluster, FIRST_BUCKET};

use RetentionMode::{Compliance, Governance};

const KEYS: [&str; 4] = ["a", "a/b", "b/123456789", "z"];
const MILLI: i64 = 1_000_000;
const DAY_MILLIS: i64 = 86_400_000;

fn until(mode: RetentionMode, until_millis: i64) -> Retention {
    Retention { mode, until_millis }
}

fn lock(retention: Option<Retention>, legal_hold: Option<bool>) -> ObjectLock {
    ObjectLock {
        retention,
        legal_hold,
    }
}

/// A cluster with one bucket, which has Object Lock, at the first moment of the day after the Unix epoch.
fn locked_cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.time_nanos = DAY_MILLIS * MILLI;
    let answer = cluster.change(CreateBucket {
        bucket: "bucket".into(),
        owner: 1,
        object_lock: true,
    });
    assert_eq!(answer, Answer::Done);
    cluster
}

fn put_with(cluster: &mut Cluster, key: &str, asked: ObjectLock) -> Answer {
    let inode = cluster.inode();
    let body = Body::Inline(vec![1; 9]);
    cluster.change(PutObjectWithExtras {
        put: put(FIRST_BUCKET, key.as_bytes(), inode, body),
        extras: ObjectExtras {
            lock: asked,
            ..ObjectExtras::default()
        },
    })
}

fn begin_upload(cluster: &mut Cluster, key: &str, asked: ObjectLock) -> (u64, Answer) {
    let inode = cluster.inode();
    let answer = cluster.change(CreateUploadWithExtras {
        create: CreateUpload {
            bucket: FIRST_BUCKET,
            key: key.as_bytes().to_vec(),
            inode,
            attributes: ObjectAttributes::default(),
            checksum: None,
            owner: 0,
        },
        extras: ObjectExtras {
            lock: asked,
            ..ObjectExtras::default()
        },
    });
    (inode, answer)
}

fn complete(cluster: &mut Cluster, key: &str, upload: u64) -> Answer {
    cluster.change(PutPart {
        bucket: FIRST_BUCKET,
        key: key.as_bytes().to_vec(),
        upload,
        number: 1,
        space: 1,
        size: 4,
        etag: ETag::single([2; 16]),
        checksum: None,
        body: Body::Inline(b"part".to_vec()),
    });
    let view = cluster.store.view().unwrap();
    let row = view.upload(FIRST_BUCKET, key.as_bytes(), upload).unwrap();
    let parts_changed = row.expect("an upload").parts_changed;
    drop(view);
    cluster.change(CompleteUpload {
        bucket: FIRST_BUCKET,
        key: key.as_bytes().to_vec(),
        upload,
        parts_changed,
        parts: vec![CompletedPart { space: 1, size: 4 }],
        etag: ETag {
            digest: [3; 16],
            part_count: 1,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    })
}

fn delete(
    cluster: &mut Cluster,
    key: &str,
    version: VersionId,
    bypass: bool,
) -> VersionDeleteOutcome {
    let answer = cluster.change(DeleteVersions {
        bucket: FIRST_BUCKET,
        versions: vec![DeleteVersion {
            key: key.as_bytes().to_vec(),
            version,
            if_match: None,
            bypass_governance: bypass,
        }],
        may_grow: true,
    });
    match answer {
        Answer::VersionsDeleted(outcomes) => outcomes[0],
        other => panic!("{other:?}"),
    }
}

fn retain(
    key: &str,
    version: Option<VersionId>,
    retention: Option<Retention>,
    bypass: bool,
) -> SetRetention {
    SetRetention {
        bucket: FIRST_BUCKET,
        key: key.as_bytes().to_vec(),
        version,
        retention,
        bypass_governance: bypass,
    }
}

fn hold(key: &str, version: Option<VersionId>, legal_hold: bool) -> SetLegalHold {
    SetLegalHold {
        bucket: FIRST_BUCKET,
        key: key.as_bytes().to_vec(),
        version,
        legal_hold,
    }
}

fn mark(cluster: &mut Cluster, key: &str) -> VersionId {
    let answer = cluster.change(MarkDeleted {
        bucket: FIRST_BUCKET,
        keys: vec![DeleteKey {
            key: key.as_bytes().to_vec(),
            if_match: None,
        }],
        owner: 0,
    });
    match answer {
        Answer::Marked(outcomes) => match outcomes[..] {
            [MarkOutcome::Marked(version)] => version,
            ref other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The lock of a version; `None` where it is gone.
fn lock_of(cluster: &Cluster, key: &str, version: VersionId) -> Option<ObjectLock> {
    let view = cluster.store.view().unwrap();
    match view
        .version(FIRST_BUCKET, key.as_bytes(), version)
        .unwrap()?
    {
        FoundVersion::Object(object) => Some(object.lock),
        FoundVersion::Marker(_) => Some(ObjectLock::NONE),
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

#[test]
fn a_bucket_gets_object_lock_and_keeps_it() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("bucket");
    let default = Some(DefaultRetention {
        mode: Governance,
        period: RetentionPeriod::Days(3),
    });
    let set = SetBucketLock { bucket, default };
    let state = refused(Refusal::InvalidBucketState);
    assert_eq!(cluster.change(set.clone()), state, "it keeps no versions");
    let versioning = |versioning| SetVersioning { bucket, versioning };
    cluster.change(versioning(Versioning::Enabled));
    cluster.change(versioning(Versioning::Suspended));
    assert_eq!(cluster.change(set.clone()), state, "suspended");
    cluster.change(versioning(Versioning::Enabled));
    let seen = |cluster: &Cluster| {
        let view = cluster.store.view().unwrap();
        view.bucket("bucket").unwrap().unwrap().lock
    };
    assert_eq!(seen(&cluster), None);
    let settings = cluster.store.settings_version();
    assert_eq!(cluster.change(set), Answer::Done);
    assert!(
        cluster.store.settings_version() > settings,
        "buckets are kept by readers"
    );
    assert_eq!(seen(&cluster), Some(BucketLock { default }));
    assert_eq!(cluster.change(versioning(Versioning::Suspended)), state);
    assert_eq!(
        cluster.change(versioning(Versioning::Enabled)),
        Answer::Done
    );
    for period in [
        RetentionPeriod::Days(0),
        RetentionPeriod::Days(36_501),
        RetentionPeriod::Years(0),
        RetentionPeriod::Years(101),
    ] {
        let default = Some(DefaultRetention {
            mode: Compliance,
            period,
        });
        let answer = cluster.change(SetBucketLock { bucket, default });
        assert!(
            matches!(answer, Answer::Refused(Refusal::Invalid(_))),
            "{period:?}"
        );
    }
    let default = None;
    assert_eq!(
        cluster.change(SetBucketLock { bucket, default }),
        Answer::Done
    );
    assert_eq!(
        seen(&cluster),
        Some(BucketLock { default }),
        "the default goes, the lock stays"
    );
}

#[test]
fn a_bucket_that_is_created_with_object_lock_keeps_versions() {
    let cluster = locked_cluster();
    let view = cluster.store.view().unwrap();
    let bucket = view.bucket("bucket").unwrap().unwrap();
    assert_eq!(bucket.lock, Some(BucketLock::default()));
    assert_eq!(bucket.versioning, Versioning::Enabled);
}

#[test]
fn a_bucket_without_object_lock_has_no_locks() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    cluster.put("bucket", b"k", Body::Empty);
    let none = refused(Refusal::NoObjectLock);
    let asked = lock(Some(until(Governance, 5)), None);
    let before = cluster.rows_of(b"DIXV");
    assert_eq!(put_with(&mut cluster, "k", asked), none);
    assert_eq!(put_with(&mut cluster, "k", lock(None, Some(false))), none);
    assert_eq!(begin_upload(&mut cluster, "k", asked).1, none);
    assert_eq!(
        cluster.change(retain("k", None, asked.retention, true)),
        none
    );
    assert_eq!(cluster.change(hold("k", None, false)), none);
    assert_eq!(cluster.rows_of(b"DIXV"), before);
}

#[test]
fn what_cannot_be_locked_is_refused_by_what_is_there() {
    let mut cluster = locked_cluster();
    let unknown = Some(VersionId::Of(7 << 64 | 7));
    let ask = |cluster: &mut Cluster, key: &str, version| {
        let to = cluster.change(retain(key, version, Some(until(Governance, 5)), false));
        assert_eq!(cluster.change(hold(key, version, true)), to);
        to
    };
    assert_eq!(ask(&mut cluster, "k", None), refused(Refusal::NoSuchKey));
    put_with(&mut cluster, "k", ObjectLock::NONE);
    assert_eq!(
        ask(&mut cluster, "k", unknown),
        refused(Refusal::NoSuchVersion)
    );
    let marker = mark(&mut cluster, "k");
    for version in [None, Some(marker)] {
        assert_eq!(
            ask(&mut cluster, "k", version),
            refused(Refusal::IsDeleteMarker)
        );
    }
    for millis in [-1, RETAIN_UNTIL_MILLIS_MAX + 1, i64::MAX] {
        let asked = Some(until(Compliance, millis));
        for answer in [
            cluster.change(retain("k", None, asked, false)),
            put_with(&mut cluster, "k", lock(asked, None)),
        ] {
            assert!(
                matches!(answer, Answer::Refused(Refusal::Invalid(_))),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn a_retention_is_shortened_by_nobody_or_by_who_may() {
    let now = DAY_MILLIS;
    for (old, new, bypass, is_allowed) in [
        (Compliance, Some(until(Compliance, now + 9)), false, false),
        (Compliance, Some(until(Compliance, now + 9)), true, false),
        (Compliance, Some(until(Governance, now + 99)), true, false),
        (Compliance, None, true, false),
        (Compliance, Some(until(Compliance, now + 10)), false, true),
        (Compliance, Some(until(Compliance, now + 11)), false, true),
        (Governance, Some(until(Governance, now + 9)), false, false),
        (Governance, Some(until(Governance, now + 9)), true, true),
        (Governance, Some(until(Compliance, now + 99)), false, false),
        (Governance, Some(until(Compliance, now + 9)), true, true),
        (Governance, None, false, false),
        (Governance, None, true, true),
        (Governance, Some(until(Governance, now + 11)), false, true),
    ] {
        let mut cluster = locked_cluster();
        let before = lock(Some(until(old, now + 10)), Some(false));
        let version = put_with(&mut cluster, "k", before).version().unwrap();
        let answer = cluster.change(retain("k", Some(version), new, bypass));
        let expected = match is_allowed {
            true => (Answer::Done, lock(new, Some(false))),
            false => (refused(Refusal::ObjectLocked), before),
        };
        let after = lock_of(&cluster, "k", version).unwrap();
        assert_eq!((answer, after), expected, "{old:?} {new:?} {bypass}");
        // Once its time is over, everything is allowed.
        cluster.time_nanos += 200 * MILLI;
        assert_eq!(cluster.change(retain("k", None, None, false)), Answer::Done);
    }
}

#[test]
fn a_time_that_is_over_is_over_by_the_time_of_the_group() {
    let mut cluster = locked_cluster();
    let now = DAY_MILLIS;
    let asked = lock(Some(until(Compliance, now + 10)), None);
    let version = put_with(&mut cluster, "k", asked).version().unwrap();
    cluster.time_nanos += 10 * MILLI - 1;
    let locked = VersionDeleteOutcome::Locked;
    assert_eq!(delete(&mut cluster, "k", version, true), locked);
    // A leader whose clock is behind does not turn the time back.
    cluster.time_nanos += 1;
    let second = put_with(&mut cluster, "other", ObjectLock::NONE);
    cluster.time_nanos -= 9 * MILLI;
    assert!(second.version().is_some());
    let deleted = VersionDeleteOutcome::Deleted;
    assert_eq!(delete(&mut cluster, "k", version, false), deleted);
}

/// A clock that was once ahead has moved the time of the group for good: what a front end takes for the future may be past by then, and must not
/// be told as locked.
#[test]
fn a_retention_that_is_over_already_is_refused() {
    let mut cluster = locked_cluster();
    let version = put_with(&mut cluster, "k", lock(None, Some(true)))
        .version()
        .unwrap();
    cluster.time_nanos += 100 * MILLI;
    cluster.change(Noop { reserved: 0 });
    cluster.time_nanos -= 90 * MILLI;
    let before = cluster.rows_of(b"DIXVM");
    for (after_millis, is_over) in [(11, true), (100, true), (101, false)] {
        let asked = Some(until(Compliance, DAY_MILLIS + after_millis));
        let answers = [
            cluster.change(retain("k", Some(version), asked, true)),
            put_with(&mut cluster, "other", lock(asked, None)),
            begin_upload(&mut cluster, "other", lock(asked, None)).1,
        ];
        for answer in answers {
            let refused = answer == refused(Refusal::RetentionIsOver);
            assert_eq!(refused, is_over, "{after_millis}: {answer:?}");
        }
        let kept = lock_of(&cluster, "k", version).unwrap();
        match is_over {
            true => {
                assert_eq!(cluster.rows_of(b"DIXVM"), before);
                assert_eq!(kept, lock(None, Some(true)));
            }
            false => assert_eq!(kept, lock(asked, Some(true))),
        }
    }
    // An upload was asked when it was begun.
    let soon = lock(Some(until(Compliance, DAY_MILLIS + 150)), None);
    let (upload, _) = begin_upload(&mut cluster, "upload", soon);
    cluster.time_nanos += 200 * MILLI;
    let version = complete(&mut cluster, "upload", upload).version().unwrap();
    assert_eq!(lock_of(&cluster, "upload", version), Some(soon));
}

#[test]
fn a_default_is_given_when_an_object_is_made() {
    let mut cluster = locked_cluster();
    let default = |mode, period| SetBucketLock {
        bucket: FIRST_BUCKET,
        default: Some(DefaultRetention { mode, period }),
    };
    let explicit = lock(Some(until(Compliance, 2 * DAY_MILLIS)), None);
    let (early, _) = begin_upload(&mut cluster, "early", ObjectLock::NONE);
    let (asked, _) = begin_upload(&mut cluster, "asked", explicit);
    let days = RetentionPeriod::Days(2);
    assert_eq!(cluster.change(default(Governance, days)), Answer::Done);
    cluster.time_nanos += 5;
    let expected = Some(until(Governance, 3 * DAY_MILLIS + 1));
    for (answer, key, lock) in [
        (
            put_with(&mut cluster, "put", ObjectLock::NONE),
            "put",
            lock(expected, None),
        ),
        (
            put_with(&mut cluster, "held", lock(None, Some(true))),
            "held",
            lock(expected, Some(true)),
        ),
        (put_with(&mut cluster, "own", explicit), "own", explicit),
        (
            complete(&mut cluster, "early", early),
            "early",
            lock(expected, None),
        ),
        (complete(&mut cluster, "asked", asked), "asked", explicit),
    ] {
        let version = answer.version().expect("a version");
        assert_eq!(lock_of(&cluster, key, version), Some(lock), "{key}");
    }
    let years = RetentionPeriod::Years(1);
    cluster.change(default(Compliance, years));
    let version = put_with(&mut cluster, "put", ObjectLock::NONE).version();
    let found = lock_of(&cluster, "put", version.unwrap());
    let expected = until(Compliance, 366 * DAY_MILLIS + 1);
    assert_eq!(found, Some(lock(Some(expected), None)));
}

#[test]
fn only_taking_locks_off_frees() {
    let class = |command: Command| command.class();
    let retention = Some(until(Governance, 5));
    assert_eq!(
        class(retain("k", None, retention, false).into()),
        CommandClass::Grows
    );
    assert_eq!(
        class(retain("k", None, None, true).into()),
        CommandClass::Frees
    );
    assert_eq!(class(hold("k", None, true).into()), CommandClass::Grows);
    assert_eq!(class(hold("k", None, false).into()), CommandClass::Frees);
}

/// A version with its lock; `None` for a delete marker.
type Versions = Vec<(VersionId, Option<ObjectLock>)>;

struct Model {
    cluster: Cluster,
    /// The time of the group, which follows the clock only forward.
    time_nanos: i64,
    default: Option<DefaultRetention>,
    keys: BTreeMap<&'static str, Versions>,
}

/// What a step may take off although it is in force.
#[derive(Default)]
struct Allowed {
    bypass: bool,
    hold_of: Option<(&'static str, VersionId)>,
}

impl Model {
    /// Null versions from before, then Object Lock.
    fn new() -> Model {
        let mut cluster = Cluster::new();
        let bucket = cluster.bucket("bucket");
        let mut keys = BTreeMap::new();
        for key in KEYS {
            cluster.put("bucket", key.as_bytes(), Body::Empty);
            keys.insert(key, vec![(VersionId::Null, Some(ObjectLock::NONE))]);
        }
        let versioning = Versioning::Enabled;
        cluster.change(SetVersioning { bucket, versioning });
        let default = None;
        cluster.change(SetBucketLock { bucket, default });
        Model {
            time_nanos: cluster.time_nanos,
            cluster,
            default,
            keys,
        }
    }

    fn now_millis(&self) -> i64 {
        self.time_nanos / MILLI
    }

    fn some_retention(&self, random: &mut Random) -> Option<Retention> {
        let mode = [Governance, Compliance][random.below(2)];
        let until_millis = self.now_millis() + random.below(100) as i64 - 10;
        (random.below(4) > 0).then(|| until(mode, until_millis.max(0)))
    }

    fn move_clock(&mut self, random: &mut Random) {
        let by = random.below(40) as i64 * MILLI + random.below(3) as i64;
        // Back now and then, as another leader's clock may be.
        let is_back = random.below(4) == 0;
        self.cluster.time_nanos += if is_back { -by } else { by };
        self.cluster.time_nanos = self.cluster.time_nanos.max(0);
        self.cluster.change(Noop { reserved: 0 });
        self.time_nanos = self.time_nanos.max(self.cluster.time_nanos);
    }

    fn some_version(&mut self, random: &mut Random, key: &'static str) -> Option<VersionId> {
        let versions = self.keys.entry(key).or_default();
        let at = random.below(versions.len().max(1));
        versions.get(at).map(|(version, _)| *version)
    }

    fn is_in_force(&self, retention: Option<Retention>) -> Option<Retention> {
        let now = i128::from(self.time_nanos);
        retention.filter(|of| i128::from(of.until_millis) * i128::from(MILLI) > now)
    }

    fn put(&mut self, random: &mut Random, key: &'static str) {
        let asked = lock(
            self.some_retention(random),
            [None, Some(false), Some(true)][random.below(3)],
        );
        let is_over = asked.retention.is_some() && self.is_in_force(asked.retention).is_none();
        let answer = match random.below(2) {
            0 => put_with(&mut self.cluster, key, asked),
            _ => match begin_upload(&mut self.cluster, key, asked) {
                (upload, Answer::Done) => complete(&mut self.cluster, key, upload),
                (_, refused) => refused,
            },
        };
        if is_over {
            return assert_eq!(answer, refused(Refusal::RetentionIsOver));
        }
        let default = self.default.map(|default| {
            let RetentionPeriod::Days(days) = default.period else {
                panic!("years");
            };
            let began = (self.time_nanos + MILLI - 1) / MILLI;
            until(default.mode, began + i64::from(days) * DAY_MILLIS)
        });
        let given = lock(asked.retention.or(default), asked.legal_hold);
        let version = answer.version().expect("a version");
        let versions = self.keys.entry(key).or_default();
        versions.insert(0, (version, Some(given)));
    }

    fn set_retention(&mut self, random: &mut Random, key: &'static str, bypass: bool) {
        let Some(version) = self.some_version(random, key) else {
            return;
        };
        let new = self.some_retention(random);
        let answer = self.cluster.change(retain(key, Some(version), new, bypass));
        let time = self.time_nanos;
        let in_force =
            |of: &Retention| i128::from(of.until_millis) * i128::from(MILLI) > time.into();
        let versions = self.keys.get_mut(key).expect("a key");
        let (_, known) = versions.iter_mut().find(|(of, _)| *of == version).unwrap();
        let Some(known) = known else {
            return assert_eq!(answer, refused(Refusal::IsDeleteMarker));
        };
        if new.is_some_and(|new| !in_force(&new)) {
            return assert_eq!(answer, refused(Refusal::RetentionIsOver));
        }
        let is_allowed = match (known.retention.filter(in_force), new) {
            (None, _) => true,
            (Some(old), _) if old.mode == Governance && bypass => true,
            (Some(old), Some(new)) => old.mode == new.mode && new.until_millis >= old.until_millis,
            (Some(_), None) => false,
        };
        match is_allowed {
            true => {
                assert_eq!(answer, Answer::Done);
                known.retention = new;
            }
            false => assert_eq!(answer, refused(Refusal::ObjectLocked)),
        }
    }

    fn set_hold(&mut self, random: &mut Random, key: &'static str) -> Allowed {
        let Some(version) = self.some_version(random, key) else {
            return Allowed::default();
        };
        let on = random.below(2) == 0;
        let answer = self.cluster.change(hold(key, Some(version), on));
        let versions = self.keys.get_mut(key).expect("a key");
        match versions.iter_mut().find(|(of, _)| *of == version) {
            Some((_, Some(known))) => {
                assert_eq!(answer, Answer::Done);
                known.legal_hold = Some(on);
            }
            _ => assert_eq!(answer, refused(Refusal::IsDeleteMarker)),
        }
        Allowed {
            hold_of: Some((key, version)),
            ..Allowed::default()
        }
    }

    fn delete(&mut self, random: &mut Random, key: &'static str, bypass: bool) {
        let Some(version) = self.some_version(random, key) else {
            return;
        };
        let outcome = delete(&mut self.cluster, key, version, bypass);
        let known = self.keys[key].iter().find(|(of, _)| *of == version);
        let expected = match known.expect("a version").1 {
            None => VersionDeleteOutcome::MarkerDeleted,
            Some(known) => {
                let retained = self.is_in_force(known.retention);
                let retained = retained.filter(|of| of.mode == Compliance || !bypass);
                match retained.is_some() || known.legal_hold == Some(true) {
                    true => VersionDeleteOutcome::Locked,
                    false => VersionDeleteOutcome::Deleted,
                }
            }
        };
        assert_eq!(outcome, expected);
        if outcome != VersionDeleteOutcome::Locked {
            let versions = self.keys.get_mut(key).expect("a key");
            versions.retain(|(of, _)| *of != version);
        }
    }

    fn set_default(&mut self, random: &mut Random) {
        let mode = [Governance, Compliance][random.below(2)];
        let period = RetentionPeriod::Days(1 + random.below(2) as u32);
        self.default = (random.below(3) == 0).then_some(DefaultRetention { mode, period });
        let answer = self.cluster.change(SetBucketLock {
            bucket: FIRST_BUCKET,
            default: self.default,
        });
        assert_eq!(answer, Answer::Done);
    }

    /// What would remove without asking, were it let in.
    fn try_around(&mut self, random: &mut Random, key: &'static str) {
        let bucket = FIRST_BUCKET;
        let keys = vec![DeleteKey {
            key: key.as_bytes().to_vec(),
            if_match: None,
        }];
        let versioning = [Versioning::Suspended, Versioning::Off][random.below(2)];
        let answers = [
            self.cluster.change(DeleteObjects { bucket, keys }),
            self.cluster.change(SetVersioning { bucket, versioning }),
        ];
        assert!(
            answers.iter().all(|of| matches!(of, Answer::Refused(_))),
            "{answers:?}"
        );
        if self.keys.values().any(|versions| !versions.is_empty()) {
            let answer = self.cluster.change(DeleteBucket { bucket });
            assert_eq!(answer, refused(Refusal::BucketNotEmpty));
        }
    }

    fn step(&mut self, random: &mut Random) -> Allowed {
        let key = KEYS[random.below(KEYS.len())];
        let bypass = random.below(2) == 0;
        let allowed = Allowed {
            bypass,
            hold_of: None,
        };
        self.move_clock(random);
        match random.below(16) {
            0..=3 => self.put(random, key),
            4 => {
                let marker = mark(&mut self.cluster, key);
                let versions = self.keys.entry(key).or_default();
                versions.insert(0, (marker, None));
            }
            5..=8 => self.delete(random, key, bypass),
            9..=11 => self.set_retention(random, key, bypass),
            12 => return self.set_hold(random, key),
            13 => self.set_default(random),
            14 => self.try_around(random, key),
            _ => drop(self.cluster.release_all()),
        }
        allowed
    }

    /// What the store has of each version that the model knows.
    fn locks(&self) -> BTreeMap<(&'static str, VersionId), ObjectLock> {
        let versions = self.keys.iter();
        let versions = versions.flat_map(|(key, of)| of.iter().map(|of| (*key, of.0)));
        let found = versions.map(|(key, version)| {
            let lock = lock_of(&self.cluster, key, version).expect("a version");
            ((key, version), lock)
        });
        found.collect()
    }

    fn check(&self) {
        let found = self.locks();
        for (key, versions) in &self.keys {
            for (version, known) in versions {
                let known = known.unwrap_or(ObjectLock::NONE);
                assert_eq!(found[&(*key, *version)], known, "{key} {version}");
            }
        }
    }

    /// What was locked before a step is there after it, and its lock no weaker, but for what the step may take off.
    fn check_kept(
        &self,
        before: &BTreeMap<(&'static str, VersionId), ObjectLock>,
        allowed: &Allowed,
    ) {
        for ((key, version), old) in before {
            let new = lock_of(&self.cluster, key, *version);
            if old.legal_hold == Some(true) && allowed.hold_of != Some((*key, *version)) {
                assert_eq!(new.expect("held").legal_hold, Some(true));
            }
            let Some(retention) = self.is_in_force(old.retention) else {
                continue;
            };
            if retention.mode == Compliance || !allowed.bypass {
                let new = new.expect("retained").retention.expect("a retention");
                assert_eq!(new.mode, retention.mode);
                assert!(new.until_millis >= retention.until_millis);
            }
        }
    }
}

#[test]
fn nothing_that_is_locked_goes_whatever_comes() {
    for seed in 1..=4 {
        let mut random = Random::new(seed);
        let mut model = Model::new();
        for _ in 0..250 {
            let before = model.locks();
            let allowed = model.step(&mut random);
            model.check_kept(&before, &allowed);
            model.check();
        }
        // When all times are over and all holds are off, everything goes.
        model.cluster.time_nanos = 1_000 * DAY_MILLIS * MILLI;
        for (key, versions) in model.keys.clone() {
            for (version, lock) in versions {
                if lock.is_some() {
                    model.cluster.change(hold(key, Some(version), false));
                }
                let outcome = delete(&mut model.cluster, key, version, false);
                assert_ne!(outcome, VersionDeleteOutcome::Locked, "seed {seed}");
            }
        }
        model.cluster.release_all();
        assert_eq!(model.cluster.rows_of(b"XVMF"), 0, "seed {seed}");
    }
}
