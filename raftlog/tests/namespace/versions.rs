//! Versions against a model: for each key the list of what was put under it, the newest first.

use std::collections::{BTreeMap, BTreeSet};

use strata_raftlog::namespace::command::{
    Answer, Command, CommandClass, CompleteUpload, CompletedPart, CreateUpload, DeleteBucket,
    DeleteKey, DeleteObjects, DeleteVersion, DeleteVersions, ETagMatch, MarkDeleted, MarkOutcome,
    Precondition, PutPart, Refusal, SetVersioning, VersionDeleteOutcome,
};
use strata_raftlog::namespace::{
    Body, ETag, FoundVersion, ListQuery, ListedVersion, ObjectAttributes, VersionId,
    VersionListing, VersionMarker, VersionPage, VersionQuery, VersionRow, Versioning,
};

use crate::commands::put;
use crate::random::Random;
use crate::support::Cluster;

const BUCKET: &str = "versions";

/// Keys around `/` and around the groups of eight bytes in which they lie in `V`.
const KEYS: [&str; 12] = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/bc",
    "a0",
    "b",
    "b/12345678",
    "b/1234567",
    "b/123456789",
    "\u{1}",
    "é/x",
];

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An object with so many bytes.
    Object(u64),
    Marker,
}

type Versions = Vec<(VersionId, Kind)>;

/// A version of a listing: key, version, whether it is the latest.
type Shown = (Vec<u8>, VersionId, bool);

struct Model {
    cluster: Cluster,
    bucket: u64,
    versioning: Versioning,
    keys: BTreeMap<Vec<u8>, Versions>,
}

fn delete_key(key: &[u8]) -> DeleteKey {
    DeleteKey {
        key: key.to_vec(),
        if_match: None,
    }
}

fn one_version(key: &[u8], version: VersionId) -> DeleteVersion {
    DeleteVersion {
        key: key.to_vec(),
        version,
        if_match: None,
        bypass_governance: false,
    }
}

impl Model {
    fn new() -> Model {
        let mut cluster = Cluster::new();
        let bucket = cluster.bucket(BUCKET);
        Model {
            cluster,
            bucket,
            versioning: Versioning::Off,
            keys: BTreeMap::new(),
        }
    }

    fn set(&mut self, versioning: Versioning) {
        let bucket = self.bucket;
        let answer = self.cluster.change(SetVersioning { bucket, versioning });
        assert_eq!(answer, Answer::Done);
        self.versioning = versioning;
    }

    /// A version comes, and with it goes what it takes the place of.
    fn note(&mut self, key: &[u8], version: VersionId, kind: Kind) {
        let versions = self.keys.entry(key.to_vec()).or_default();
        if version == VersionId::Null {
            versions.retain(|(known, _)| *known != VersionId::Null);
        }
        versions.insert(0, (version, kind));
    }

    fn put(&mut self, key: &[u8], bytes: u64) {
        let body = match bytes {
            0 => Body::Empty,
            bytes if bytes < 100 => Body::Inline(vec![1; bytes as usize]),
            bytes => Body::Extents(vec![self.cluster.extent(bytes)]),
        };
        let inode = self.cluster.inode();
        let answer = self.cluster.change(put(self.bucket, key, inode, body));
        let version = match (&answer, self.versioning) {
            (Answer::PutVersion { .. }, Versioning::Enabled) => answer.version().unwrap(),
            (Answer::Put { .. }, Versioning::Off | Versioning::Suspended) => VersionId::Null,
            other => panic!("{other:?}"),
        };
        self.note(key, version, Kind::Object(bytes));
    }

    fn mark(&mut self, keys: &[&[u8]]) {
        let command = MarkDeleted {
            bucket: self.bucket,
            keys: keys.iter().map(|key| delete_key(key)).collect(),
            owner: 0,
        };
        let Answer::Marked(outcomes) = self.cluster.change(command) else {
            panic!("not marked");
        };
        assert_eq!(outcomes.len(), keys.len());
        for (key, outcome) in keys.iter().zip(outcomes) {
            let MarkOutcome::Marked(version) = outcome else {
                panic!("{outcome:?}");
            };
            let is_null = self.versioning == Versioning::Suspended;
            assert_eq!(version == VersionId::Null, is_null);
            self.note(key, version, Kind::Marker);
        }
    }

    fn delete(&mut self, key: &[u8], version: VersionId) {
        self.delete_all(&[(key, version)]);
    }

    /// Deletes versions by one command.
    fn delete_all(&mut self, versions: &[(&[u8], VersionId)]) {
        let of = versions
            .iter()
            .map(|(key, version)| one_version(key, *version));
        let command = DeleteVersions {
            bucket: self.bucket,
            versions: of.collect(),
            may_grow: true,
        };
        let answer = self.cluster.change(command);
        let mut outcomes = Vec::new();
        for (key, version) in versions {
            let of_key = self.keys.entry(key.to_vec()).or_default();
            let known = of_key.iter().position(|(known, _)| known == version);
            outcomes.push(match known.map(|at| of_key.remove(at).1) {
                Some(Kind::Object(_)) => VersionDeleteOutcome::Deleted,
                Some(Kind::Marker) => VersionDeleteOutcome::MarkerDeleted,
                None => VersionDeleteOutcome::Absent,
            });
        }
        assert_eq!(answer, Answer::VersionsDeleted(outcomes));
    }

    fn some_version(&self, random: &mut Random, key: &[u8]) -> VersionId {
        let versions = self.keys.get(key).filter(|versions| !versions.is_empty());
        match (versions, random.below(8)) {
            (_, 0) => VersionId::Null,
            (None, _) | (_, 1) => VersionId::Of(u128::from(random.next())),
            (Some(versions), _) => versions[random.below(versions.len())].0,
        }
    }

    fn step(&mut self, random: &mut Random) {
        let key = KEYS[random.below(KEYS.len())].as_bytes();
        match random.below(10) {
            0 if self.versioning != Versioning::Suspended => self.set(Versioning::Enabled),
            0 | 1 if random.below(4) == 0 => self.set(match self.versioning {
                Versioning::Enabled => Versioning::Suspended,
                Versioning::Off | Versioning::Suspended => Versioning::Enabled,
            }),
            0..=4 => self.put(key, [0, 9, 5_000][random.below(3)]),
            5 | 6 if self.versioning != Versioning::Off => {
                let other = KEYS[random.below(KEYS.len())].as_bytes();
                self.mark(&[key, other]);
            }
            _ => {
                let mut versions = Vec::new();
                for _ in 0..1 + random.below(3) {
                    let keys = [key, KEYS[random.below(KEYS.len())].as_bytes()];
                    let key = keys[random.below(2)];
                    versions.push((key, self.some_version(random, key)));
                }
                self.delete_all(&versions);
            }
        }
    }

    /// Keys and versions.
    fn existing(&self) -> BTreeSet<(Vec<u8>, VersionId)> {
        let keys = self.keys.iter();
        let of = keys.flat_map(|(key, all)| all.iter().map(|(version, _)| (key.clone(), *version)));
        of.collect()
    }

    /// Every key and version is found as the model has it.
    fn check(&self) {
        let view = self.cluster.store.view().unwrap();
        let (mut objects, mut bytes) = (0, 0);
        for (key, versions) in &self.keys {
            for (version, kind) in versions {
                let found = view.version(self.bucket, key, *version).unwrap();
                match (found.unwrap(), kind) {
                    (FoundVersion::Object(object), Kind::Object(size)) => {
                        assert_eq!((object.size, object.version), (*size, *version));
                        let body = view.body(&object, 0..*size, 8).unwrap().unwrap();
                        let length: u64 = body.iter().map(|piece| piece.length).sum();
                        assert_eq!(length, *size);
                        // A part of an upload lies in a space of its own.
                        let space = u32::from(object.etag.part_count > 0);
                        assert!(view.is_body_needed(object.inode, space).unwrap());
                        (objects, bytes) = (objects + 1, bytes + size);
                    }
                    (FoundVersion::Marker(marker), Kind::Marker) => {
                        assert_eq!(marker.version, *version);
                    }
                    other => panic!("{other:?}"),
                }
            }
            let present = view.object_in(self.bucket, key).unwrap();
            let present = present.map(|object| object.version);
            let marker = view.latest_marker(self.bucket, key).unwrap();
            let marker = marker.map(|marker| marker.version);
            let expected = match versions.first() {
                Some((version, Kind::Object(_))) => (Some(*version), None),
                Some((version, Kind::Marker)) => (None, Some(*version)),
                None => (None, None),
            };
            assert_eq!((present, marker), expected, "{key:?}");
        }
        let usage = view.bucket_usage(self.bucket).unwrap().unwrap_or_default();
        assert_eq!((usage.objects, usage.bytes), (objects, bytes));
        let live = self.cluster.list(self.bucket, &all(), 3).objects;
        let live: Vec<Vec<u8>> = live.into_iter().map(|object| object.key).collect();
        let is_live = |versions: &Versions| matches!(versions.first(), Some((_, Kind::Object(_))));
        let expected = self.keys.iter().filter(|(_, versions)| is_live(versions));
        let expected: Vec<Vec<u8>> = expected.map(|(key, _)| key.clone()).collect();
        assert_eq!(live, expected);
    }

    fn page(&self, query: &VersionQuery, steps: usize) -> VersionPage {
        let mut listing = VersionListing::new(query.clone());
        while !listing.is_complete() {
            let view = self.cluster.store.view().unwrap();
            view.list_versions(self.bucket, &mut listing, steps)
                .unwrap();
        }
        listing.into_page()
    }

    /// What a listing without markers holds: common prefixes, and versions with whether each is the latest.
    fn expected(&self, query: &VersionQuery) -> (BTreeSet<Vec<u8>>, Vec<Shown>) {
        let (mut prefixes, mut listed) = (BTreeSet::new(), Vec::new());
        for (key, versions) in self
            .keys
            .iter()
            .filter(|(_, versions)| !versions.is_empty())
        {
            let Some(rest) = key.strip_prefix(&query.prefix[..]) else {
                continue;
            };
            let delimiter = &query.delimiter[..];
            let windows = rest.windows(delimiter.len().max(1));
            let mut windows = windows.into_iter();
            match windows.position(|window| !delimiter.is_empty() && window == delimiter) {
                Some(at) => {
                    let length = query.prefix.len() + at + delimiter.len();
                    prefixes.insert(key[..length].to_vec());
                }
                None => {
                    for (at, (version, _)) in versions.iter().enumerate() {
                        listed.push((key.clone(), *version, at == 0));
                    }
                }
            }
        }
        (prefixes, listed)
    }

    /// All pages together hold what the model has, each in order and no longer than asked.
    fn check_listing(&self, query: &VersionQuery, steps: usize) {
        let (mut prefixes, mut listed) = (Vec::new(), Vec::new());
        let mut query = query.clone();
        loop {
            let page = self.page(&query, steps);
            let entries = page.versions.len() + page.common_prefixes.len();
            assert!(entries <= query.limit);
            prefixes.extend(page.common_prefixes);
            listed.extend(page.versions.into_iter().map(shown));
            match page.next {
                Some(next) => {
                    assert_eq!(entries, query.limit);
                    query.after = Some(next);
                }
                None => break,
            }
        }
        let expected = self.expected(&query);
        let is_ordered = prefixes.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_ordered, "{prefixes:?}");
        assert_eq!(
            prefixes.into_iter().collect::<BTreeSet<_>>(),
            expected.0,
            "{query:?}"
        );
        assert_eq!(listed, expected.1, "{query:?} {steps}");
    }
}

fn all() -> ListQuery {
    ListQuery {
        limit: 1_000,
        ..ListQuery::default()
    }
}

fn shown(version: ListedVersion) -> Shown {
    (version.key, version.row.version(), version.is_latest)
}

#[test]
fn versions_are_found_and_listed_as_the_model_has_them() {
    let mut random = Random::new(11);
    for _ in 0..40 {
        let mut model = Model::new();
        for _ in 0..60 {
            model.step(&mut random);
            model.check();
        }
        for _ in 0..30 {
            let some = |random: &mut Random| {
                let key = KEYS[random.below(KEYS.len())].as_bytes();
                key[..random.below(key.len() + 1)].to_vec()
            };
            let query = VersionQuery {
                prefix: some(&mut random),
                delimiter: [&b""[..], b"/", b"b", b"/b"][random.below(4)].to_vec(),
                after: None,
                limit: [1, 2, 3, 7, 1_000][random.below(5)],
            };
            model.check_listing(&query, [1, 2, 5, 1_000][random.below(4)]);
        }
        model.empty_the_bucket();
    }
}

impl Model {
    /// With the last version the bucket can go, and every body is dropped.
    fn empty_the_bucket(mut self) {
        let bucket = self.bucket;
        let left: Vec<(Vec<u8>, VersionId)> = self
            .keys
            .iter()
            .flat_map(|(key, versions)| versions.iter().map(|(version, _)| (key.clone(), *version)))
            .collect();
        for (key, version) in left {
            let refused = self.cluster.change(DeleteBucket { bucket });
            assert_eq!(refused, Answer::Refused(Refusal::BucketNotEmpty));
            self.delete(&key, version);
            self.check();
        }
        assert_eq!(self.cluster.change(DeleteBucket { bucket }), Answer::Done);
        self.cluster.release_all();
        assert_eq!(self.cluster.rows_of(b"VXF"), 0);
        assert_eq!(self.cluster.rows_of(b"DI"), 0, "no name is left");
    }
}

/// Versions that are there from before a listing begins until it has ended are listed once, in order, whatever comes and goes between two
/// transactions and two pages.
#[test]
fn a_listing_goes_on_while_versions_come_and_go() {
    let mut random = Random::new(12);
    for round in 0..200 {
        let mut model = Model::new();
        model.set(Versioning::Enabled);
        for _ in 0..40 {
            model.step(&mut random);
        }
        let mut always: BTreeSet<_> = model.existing();
        let mut query = VersionQuery {
            limit: [2, 5, 1_000][random.below(3)],
            ..VersionQuery::default()
        };
        let mut listed = Vec::new();
        loop {
            let mut listing = VersionListing::new(query.clone());
            while !listing.is_complete() {
                let view = model.cluster.store.view().unwrap();
                view.list_versions(model.bucket, &mut listing, 2).unwrap();
                drop(view);
                if random.below(2) == 0 {
                    model.step(&mut random);
                    always = &always & &model.existing();
                }
            }
            let page = listing.into_page();
            listed.extend(page.versions.into_iter().map(shown));
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let keys: Vec<_> = listed.iter().map(|(key, ..)| key).collect();
        assert!(keys.is_sorted(), "round {round}: {keys:?}");
        let found = listed
            .iter()
            .map(|(key, version, _)| (key.clone(), *version));
        let found: Vec<_> = found.collect();
        let once: BTreeSet<_> = found.iter().cloned().collect();
        // A null version that is put again is another one.
        let doubled = found.iter().filter(|of| of.1 != VersionId::Null).count();
        let single = once.iter().filter(|of| of.1 != VersionId::Null).count();
        assert_eq!(doubled, single, "round {round}: {listed:?}");
        let lost: Vec<_> = always.difference(&once).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {listed:?}");
    }
}

#[test]
fn a_page_that_ends_at_a_null_version_goes_on_when_that_is_gone() {
    let mut model = Model::new();
    model.set(Versioning::Enabled);
    model.put(b"key", 1);
    model.set(Versioning::Suspended);
    model.put(b"key", 2);
    model.set(Versioning::Enabled);
    model.put(b"key", 3);
    let oldest = model.keys[&b"key"[..]][2].0;
    let mut query = VersionQuery {
        limit: 2,
        ..VersionQuery::default()
    };
    let page = model.page(&query, 100);
    for listed in &page.versions {
        model.delete(b"key", listed.row.version());
    }
    query.after = page.next;
    let left: Vec<_> = model.page(&query, 100).versions;
    let left: Vec<_> = left.into_iter().map(shown).collect();
    assert_eq!(left, [(b"key".to_vec(), oldest, true)]);
}

#[test]
fn an_object_comes_back_only_where_the_namespace_may_grow() {
    let mut model = Model::new();
    model.set(Versioning::Enabled);
    let key = b"a/b/c/d/e/key";
    model.put(key, 5);
    model.mark(&[key]);
    let (bucket, marker) = (model.bucket, model.keys[&key[..]][0].0);
    let rows = model.cluster.rows_of(b"DIV");
    let command = DeleteVersions {
        bucket,
        versions: vec![one_version(key, marker)],
        may_grow: false,
    };
    assert_eq!(command_class(&command), CommandClass::Frees);
    let outcome = VersionDeleteOutcome::BringsBack;
    let answer = model.cluster.change(command.clone());
    assert_eq!(answer, Answer::VersionsDeleted(vec![outcome]));
    assert_eq!(model.cluster.rows_of(b"DIV"), rows);
    let grows = DeleteVersions {
        may_grow: true,
        ..command.clone()
    };
    assert_eq!(command_class(&grows), CommandClass::Grows);
    let bound = |command: &DeleteVersions| Command::from(command.clone()).map_bytes();
    // Each of the five directories is an entry and a place.
    assert!(bound(&grows) > bound(&command) + 5 * 2 * 200);
    model.delete(key, marker);
    model.check();
    // Where the present object goes, its directories are there for the one that comes back.
    model.put(key, 6);
    let rows = model.cluster.rows_of(b"DIV");
    let present = model.keys[&key[..]][0].0;
    let answer = model.cluster.change(DeleteVersions {
        bucket,
        versions: vec![one_version(key, present)],
        may_grow: false,
    });
    let deleted = VersionDeleteOutcome::Deleted;
    assert_eq!(answer, Answer::VersionsDeleted(vec![deleted]));
    assert!(model.cluster.rows_of(b"DIV") < rows);
}

fn command_class(command: &DeleteVersions) -> CommandClass {
    Command::from(command.clone()).class()
}

#[test]
fn a_marker_that_goes_brings_the_object_back() {
    let mut model = Model::new();
    model.put(b"key", 5);
    model.set(Versioning::Enabled);
    model.mark(&[b"key"]);
    model.mark(&[b"key"]);
    model.check();
    for _ in 0..2 {
        let marker = model.keys[&b"key"[..]][0].0;
        model.delete(b"key", marker);
        model.check();
    }
    assert_eq!(
        model.keys[&b"key"[..]],
        [(VersionId::Null, Kind::Object(5))]
    );
}

#[test]
fn versioning_is_not_turned_off_and_commands_know_of_it() {
    let mut model = Model::new();
    let bucket = model.bucket;
    let mark = MarkDeleted {
        bucket,
        keys: vec![delete_key(b"key")],
        owner: 0,
    };
    let changed = Answer::Refused(Refusal::VersioningChanged);
    assert_eq!(model.cluster.change(mark), changed);
    model.set(Versioning::Enabled);
    let delete = DeleteObjects {
        bucket,
        keys: vec![delete_key(b"key")],
    };
    assert_eq!(model.cluster.change(delete), changed);
    model.set(Versioning::Suspended);
    let off = SetVersioning {
        bucket,
        versioning: Versioning::Off,
    };
    let answer = model.cluster.change(off);
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
    let missing = SetVersioning {
        bucket: bucket + 1,
        versioning: Versioning::Enabled,
    };
    let answer = model.cluster.change(missing);
    assert_eq!(answer, Answer::Refused(Refusal::NoSuchBucket));
}

#[test]
fn conditions_are_of_the_version_that_is_meant() {
    let mut model = Model::new();
    model.set(Versioning::Enabled);
    model.put(b"key", 5);
    let bucket = model.bucket;
    let other = Some(ETagMatch::OneOf(vec![ETag::single([9; 16])]));
    let same = Some(ETagMatch::OneOf(vec![ETag::single([7; 16])]));
    let mut mark = |keys: &[(&[u8], &Option<ETagMatch>)]| {
        let keys = keys.iter().map(|(key, condition)| DeleteKey {
            key: key.to_vec(),
            if_match: (*condition).clone(),
        });
        let keys = keys.collect();
        let owner = 0;
        match model.cluster.change(MarkDeleted {
            bucket,
            keys,
            owner,
        }) {
            Answer::Marked(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    };
    let failed = MarkOutcome::PreconditionFailed;
    let outcomes = mark(&[(b"key", &other), (b"absent", &same)]);
    assert_eq!(outcomes, [failed, MarkOutcome::Absent]);
    let outcomes = mark(&[(b"key", &same), (b"key", &same)]);
    assert!(matches!(outcomes[0], MarkOutcome::Marked(_)));
    assert_eq!(outcomes[1], failed, "a marker has no tag");
    let MarkOutcome::Marked(marker) = outcomes[0] else {
        panic!("no marker");
    };
    let object = model.keys[&b"key"[..]][0].0;
    for (version, condition, outcome) in [
        (marker, &same, VersionDeleteOutcome::PreconditionFailed),
        (object, &other, VersionDeleteOutcome::PreconditionFailed),
        (object, &same, VersionDeleteOutcome::Deleted),
        (object, &same, VersionDeleteOutcome::Absent),
        (marker, &None, VersionDeleteOutcome::MarkerDeleted),
    ] {
        let version = DeleteVersion {
            if_match: condition.clone(),
            ..one_version(b"key", version)
        };
        let versions = vec![version];
        let may_grow = true;
        let answer = model.cluster.change(DeleteVersions {
            bucket,
            versions,
            may_grow,
        });
        assert_eq!(answer, Answer::VersionsDeleted(vec![outcome]));
    }
}

#[test]
fn an_upload_that_is_completed_is_a_version() {
    let mut model = Model::new();
    model.set(Versioning::Enabled);
    model.put(b"key", 5);
    let bucket = model.bucket;
    let upload = model.cluster.inode();
    let key = b"key".to_vec();
    model.cluster.change(CreateUpload {
        bucket,
        key: key.clone(),
        inode: upload,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    });
    model.cluster.change(PutPart {
        bucket,
        key: key.clone(),
        upload,
        number: 1,
        space: 1,
        size: 4,
        etag: ETag::single([2; 16]),
        checksum: None,
        body: Body::Inline(b"part".to_vec()),
    });
    let row = {
        let view = model.cluster.store.view().unwrap();
        view.upload(bucket, &key, upload).unwrap().unwrap()
    };
    let answer = model.cluster.change(CompleteUpload {
        bucket,
        key,
        upload,
        parts_changed: row.parts_changed,
        parts: vec![CompletedPart { space: 1, size: 4 }],
        etag: ETag {
            digest: [3; 16],
            part_count: 1,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    });
    let version = answer.version().unwrap();
    model.note(b"key", version, Kind::Object(4));
    model.check();
    model.put(b"key", 9);
    model.check();
}

#[test]
fn a_page_begins_behind_a_version_that_is_gone() {
    let mut model = Model::new();
    model.set(Versioning::Enabled);
    for bytes in 1..=4 {
        model.put(b"key", bytes);
    }
    model.put(b"later", 1);
    let versions = model.keys[&b"key"[..]].clone();
    for (at, (version, _)) in versions.iter().enumerate() {
        model.delete(b"key", *version);
        let query = VersionQuery {
            after: Some(VersionMarker {
                key: b"key".to_vec(),
                version: Some(*version),
            }),
            limit: 10,
            ..VersionQuery::default()
        };
        let listed: Vec<_> = model.page(&query, 100).versions;
        let of_key = listed.iter().filter(|listed| listed.key == b"key");
        assert_eq!(of_key.clone().count(), versions.len() - at - 1);
        let latest = of_key.filter(|listed| listed.is_latest).count();
        assert_eq!(
            latest,
            usize::from(at + 1 < versions.len()),
            "what was before is gone"
        );
        assert!(listed.last().unwrap().key == b"later");
    }
    let is_object = |row: &VersionRow| matches!(row, VersionRow::Object(_));
    let page = model.page(
        &VersionQuery {
            limit: 10,
            ..VersionQuery::default()
        },
        100,
    );
    assert!(page.versions.iter().all(|listed| is_object(&listed.row)));
}
