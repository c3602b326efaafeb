//! Tags of objects: against a model of versions with their tags, and on every way that an object, an upload or its body takes.

use std::collections::BTreeMap;

use strata_raftlog::namespace::command::{
    AbortUpload, Answer, Command, CommandClass, CompleteUpload, CompletedPart, CreateUpload,
    CreateUploadWithExtras, DeleteKey, DeleteVersion, DeleteVersions, MarkDeleted, MarkOutcome,
    OldPlace, Precondition, PutObjectWithExtras, PutPart, Refusal, Repoint, RepointItem,
    SetObjectTags, SetVersioning,
};
use strata_raftlog::namespace::{
    Body, ETag, FoundVersion, Object, ObjectAttributes, ObjectExtras, Tag, VersionId, Versioning,
};

use crate::commands::put;
use crate::random::Random;
use crate::support::{Cluster, FIRST_BUCKET, Rows};

const KEYS: [&str; 5] = ["a", "a/b", "a/b/c", "b/123456789", "z"];

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn some_tags(random: &mut Random) -> Vec<Tag> {
    let count = random.below(11);
    let one = |at| tag(&format!("key {at}"), &"v".repeat(at * 25));
    (0..count).map(one).collect()
}

fn extras(tags: &[Tag]) -> ObjectExtras {
    ObjectExtras {
        tags: tags.to_vec(),
        ..ObjectExtras::default()
    }
}

fn with_tags(cluster: &mut Cluster, key: &[u8], body: Body, tags: &[Tag]) -> PutObjectWithExtras {
    let inode = cluster.inode();
    PutObjectWithExtras {
        put: put(FIRST_BUCKET, key, inode, body),
        extras: extras(tags),
    }
}

fn set(key: &[u8], version: Option<VersionId>, tags: &[Tag]) -> SetObjectTags {
    SetObjectTags {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        version,
        tags: tags.to_vec(),
    }
}

fn object(cluster: &Cluster, key: &[u8]) -> Object {
    let view = cluster.store.view().unwrap();
    view.object_in(FIRST_BUCKET, key)
        .unwrap()
        .expect("an object")
}

/// The tags of the object that a GET finds; that it counts them is checked.
fn tags_of(cluster: &Cluster, key: &[u8]) -> Vec<Tag> {
    let view = cluster.store.view().unwrap();
    let object = view.object_in(FIRST_BUCKET, key).unwrap();
    let object = object.expect("an object");
    let tags = view.object_tags(&object).unwrap();
    assert_eq!(tags.len(), usize::from(object.tag_count));
    tags
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Rows of tags.
fn rows_of_tags(cluster: &Cluster) -> usize {
    let rows = cluster.rows();
    let is_of_tags = |key: &[u8]| key[0] == b'X' && key[17] == 5;
    rows.iter().filter(|(key, _)| is_of_tags(key)).count()
}

/// The rows of objects, of what is stored with them, of versions and of what is to be freed.
fn named_rows(cluster: &Cluster) -> Rows {
    let mut rows = cluster.rows();
    rows.retain(|(key, _)| b"DIXFV".contains(&key[0]));
    rows
}

#[test]
fn tags_are_set_and_change_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    cluster.put("bucket", b"a/k", Body::Inline(vec![1; 9]));
    let before = object(&cluster, b"a/k");
    assert_eq!((before.tag_count, rows_of_tags(&cluster)), (0, 0));
    cluster.time_nanos += 5_000_000_000;
    let two = [tag("team", "storage"), tag("stage", "")];
    let answer = cluster.change(set(b"a/k", None, &two));
    assert_eq!(answer.tagged_version(), Some(VersionId::Null));
    assert_eq!(tags_of(&cluster, b"a/k"), two);
    let expected = Object {
        tag_count: 2,
        ..before.clone()
    };
    assert_eq!(object(&cluster, b"a/k"), expected, "all but their number");
    let one = [tag("other", "x")];
    cluster.change(set(b"a/k", Some(VersionId::Null), &one));
    assert_eq!(tags_of(&cluster, b"a/k"), one, "replaced, not added to");

    let answer = cluster.change(set(b"a/k", None, &[]));
    assert_eq!(answer.tagged_version(), Some(VersionId::Null));
    assert_eq!(object(&cluster, b"a/k"), before);
    assert_eq!(rows_of_tags(&cluster), 0);
    let rows = named_rows(&cluster);
    cluster.time_nanos += 5_000_000_000;
    cluster.change(set(b"a/k", None, &[]));
    assert_eq!(named_rows(&cluster), rows, "nothing is written");
}

#[test]
fn what_has_no_tags_to_set_is_refused_by_what_is_there() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("bucket");
    let tags = [tag("a", "1")];
    let unknown = VersionId::Of(7 << 64 | 7);
    let ask = |cluster: &mut Cluster, key: &[u8], version| {
        let before = named_rows(cluster);
        let refusal = refused(cluster.change(set(key, version, &tags)));
        assert_eq!(named_rows(cluster), before);
        refusal
    };
    assert_eq!(ask(&mut cluster, b"k", None), Refusal::NoSuchKey);
    assert_eq!(
        ask(&mut cluster, b"k", Some(unknown)),
        Refusal::NoSuchVersion
    );
    cluster.put("bucket", b"k/below", Body::Empty);
    assert_eq!(ask(&mut cluster, b"k", None), Refusal::NoSuchKey);
    assert_eq!(ask(&mut cluster, b"k/", None), Refusal::NoSuchKey);
    cluster.put("bucket", b"k", Body::Empty);
    assert_eq!(
        ask(&mut cluster, b"k", Some(unknown)),
        Refusal::NoSuchVersion
    );
    let versioning = Versioning::Enabled;
    cluster.change(SetVersioning { bucket, versioning });
    let marker = mark(&mut cluster, b"k");
    assert_eq!(ask(&mut cluster, b"k", None), Refusal::IsDeleteMarker);
    assert_eq!(
        ask(&mut cluster, b"k", Some(marker)),
        Refusal::IsDeleteMarker
    );
    let mut elsewhere = set(b"k", None, &tags);
    elsewhere.bucket += 1_000;
    assert_eq!(refused(cluster.change(elsewhere)), Refusal::NoSuchBucket);

    let invalid = |answer| matches!(refused(answer), Refusal::Invalid(_));
    let eleven: Vec<Tag> = (0..11).map(|at| tag(&at.to_string(), "")).collect();
    let long = [tag("a", &"v".repeat(17_000))];
    for tags in [&eleven[..], &long] {
        assert!(invalid(cluster.change(set(b"k", None, tags))));
        let command = with_tags(&mut cluster, b"new", Body::Empty, tags);
        assert!(invalid(cluster.change(command)));
        let create = create(&mut cluster, b"new", tags);
        assert!(invalid(cluster.change(create)));
    }
    assert_eq!(rows_of_tags(&cluster), 0);
}

fn mark(cluster: &mut Cluster, key: &[u8]) -> VersionId {
    let command = MarkDeleted {
        bucket: FIRST_BUCKET,
        keys: vec![DeleteKey {
            key: key.to_vec(),
            if_match: None,
        }],
        owner: 0,
    };
    match cluster.change(command) {
        Answer::Marked(outcomes) => match outcomes[..] {
            [MarkOutcome::Marked(version)] => version,
            ref other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn create(cluster: &mut Cluster, key: &[u8], tags: &[Tag]) -> CreateUploadWithExtras {
    CreateUploadWithExtras {
        create: CreateUpload {
            bucket: FIRST_BUCKET,
            key: key.to_vec(),
            inode: cluster.inode(),
            attributes: ObjectAttributes::default(),
            checksum: None,
            owner: 0,
        },
        extras: extras(tags),
    }
}

/// Begins an upload with tags and puts a part; the upload.
fn upload(cluster: &mut Cluster, key: &[u8], tags: &[Tag]) -> u64 {
    let command = create(cluster, key, tags);
    let upload = command.create.inode;
    assert_eq!(cluster.change(command), Answer::Done);
    let body = Body::Extents(vec![cluster.extent(5_000)]);
    let answer = cluster.change(PutPart {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        upload,
        number: 1,
        space: 3,
        size: 5_000,
        etag: ETag::single([1; 16]),
        checksum: None,
        body,
    });
    assert_eq!(answer, Answer::Done);
    upload
}

fn complete(cluster: &mut Cluster, key: &[u8], upload: u64) -> Answer {
    let view = cluster.store.view().unwrap();
    let row = view.upload(FIRST_BUCKET, key, upload).unwrap();
    let parts_changed = row.expect("an upload").parts_changed;
    drop(view);
    cluster.change(CompleteUpload {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        upload,
        parts_changed,
        parts: vec![CompletedPart {
            space: 3,
            size: 5_000,
        }],
        etag: ETag {
            digest: [1; 16],
            part_count: 1,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    })
}

#[test]
fn an_upload_gives_its_tags_to_the_object_or_takes_them_along() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    let tags = [tag("a", "1"), tag("b", "2")];
    let first = upload(&mut cluster, b"k", &tags);
    assert!(matches!(
        complete(&mut cluster, b"k", first),
        Answer::Put { .. }
    ));
    assert_eq!(tags_of(&cluster, b"k"), tags);
    let abort = |key: &[u8], upload| AbortUpload {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        upload,
    };
    let second = upload(&mut cluster, b"k", &tags);
    cluster.change(abort(b"k", second));
    let empty = create(&mut cluster, b"k", &tags);
    let third = empty.create.inode;
    cluster.change(empty);
    assert_eq!(rows_of_tags(&cluster), 3);
    cluster.change(abort(b"k", third));
    assert_eq!(rows_of_tags(&cluster), 2, "without parts they go at once");
    cluster.release_all();
    assert_eq!(rows_of_tags(&cluster), 1);
    assert_eq!(tags_of(&cluster, b"k"), tags);
    cluster.delete("bucket", &[b"k"]);
    cluster.release_all();
    assert_eq!(cluster.rows_of(b"XMF"), 0);
}

#[test]
fn an_overwrite_or_a_delete_takes_the_tags_along() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    let tags = [tag("a", "1")];
    let attributes = ObjectAttributes {
        content_type: Some("text/plain".to_owned()),
        ..ObjectAttributes::default()
    };
    let long = Body::Extents(vec![cluster.extent(20_000)]);
    for body in [Body::Empty, Body::Inline(vec![1; 16 << 10]), long] {
        let mut command = with_tags(&mut cluster, b"k", body.clone(), &tags);
        command.put.attributes = attributes.clone();
        cluster.change(command);
        assert_eq!(tags_of(&cluster, b"k"), tags);
        cluster.put("bucket", b"k", Body::Empty);
        assert_eq!(tags_of(&cluster, b"k"), []);
        let is_long = matches!(body, Body::Extents(_));
        assert_eq!(cluster.rows_of(b"F") > 0, is_long, "short ones go at once");
        cluster.release_all();
        assert_eq!(cluster.rows_of(b"XF"), 0);
    }
    let command = with_tags(&mut cluster, b"k", Body::Inline(vec![1; 9]), &tags);
    cluster.change(command);
    cluster.delete("bucket", &[b"k"]);
    assert_eq!(cluster.rows_of(b"XF"), 0);
}

/// A body that moves into a pack leaves the tags where they are.
#[test]
fn packing_leaves_tags_alone() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    let tags = [tag("a", "1")];
    let bytes = vec![7; 2_000];
    let command = with_tags(&mut cluster, b"k", Body::Inline(bytes.clone()), &tags);
    let inode = command.put.inode;
    cluster.change(command);
    let (home, chunk) = (cluster.inode(), cluster.extent(1 << 20));
    let answer = cluster.change(Repoint {
        home,
        chunk,
        items: vec![RepointItem {
            inode,
            space: 0,
            length: 2_000,
            offset: 0,
            old: OldPlace::Inline(crc32c::crc32c(&bytes)),
            new_offset: 0,
        }],
    });
    assert!(matches!(answer, Answer::Repointed(_)), "{answer:?}");
    assert_eq!(tags_of(&cluster, b"k"), tags);
    cluster.change(set(b"k", None, &[tag("b", "2")]));
    assert_eq!(tags_of(&cluster, b"k"), [tag("b", "2")]);
    cluster.delete("bucket", &[b"k"]);
    cluster.release_all();
    assert_eq!(cluster.rows_of(b"XFC"), 0);
}

/// Removing tags is let in where the store is full, setting them is not.
#[test]
fn only_removing_tags_frees() {
    let class = |tags: &[Tag]| Command::from(set(b"k", None, tags)).class();
    assert_eq!(class(&[]), CommandClass::Frees);
    assert_eq!(class(&[tag("a", "")]), CommandClass::Grows);
    let bytes = |tags: &[Tag]| Command::from(set(b"k", None, tags)).map_bytes();
    let longest: Vec<Tag> = (0..10)
        .map(|_| tag(&"k".repeat(512), &"v".repeat(1_024)))
        .collect();
    assert!(bytes(&longest) >= bytes(&[]) + 16_384);
}

/// A version with its tags; `None` for a delete marker.
type Versions = Vec<(VersionId, Option<Vec<Tag>>)>;

struct Model {
    cluster: Cluster,
    versioning: Versioning,
    keys: BTreeMap<&'static str, Versions>,
}

impl Model {
    fn note(&mut self, key: &'static str, version: VersionId, tags: Option<Vec<Tag>>) {
        let versions = self.keys.entry(key).or_default();
        if version == VersionId::Null {
            versions.retain(|(known, _)| *known != VersionId::Null);
        }
        versions.insert(0, (version, tags));
    }

    fn put(&mut self, random: &mut Random, key: &'static str) {
        let tags = some_tags(random);
        let answer = match random.below(3) {
            0 => {
                let inode = upload(&mut self.cluster, key.as_bytes(), &tags);
                complete(&mut self.cluster, key.as_bytes(), inode)
            }
            kind => {
                let body = match kind {
                    1 => Body::Inline(vec![1; 5_000]),
                    _ => Body::Extents(vec![self.cluster.extent(20_000)]),
                };
                let command = with_tags(&mut self.cluster, key.as_bytes(), body, &tags);
                self.cluster.change(command)
            }
        };
        let version = answer.version().unwrap_or(VersionId::Null);
        assert_eq!(
            version == VersionId::Null,
            self.versioning != Versioning::Enabled,
            "{answer:?}"
        );
        self.note(key, version, Some(tags));
    }

    fn set_tags(&mut self, random: &mut Random, key: &'static str) {
        let tags = some_tags(random);
        let versions = self.keys.entry(key).or_default();
        let at = random.below(versions.len().max(1));
        let version = versions.get(at).map(|(version, _)| *version);
        let asked = version.filter(|_| random.below(2) == 0);
        let meant = if asked.is_some() { at } else { 0 };
        let answer = self.cluster.change(set(key.as_bytes(), asked, &tags));
        match versions.get_mut(meant) {
            None => assert_eq!(refused(answer), Refusal::NoSuchKey),
            Some((_, None)) => assert_eq!(refused(answer), Refusal::IsDeleteMarker),
            Some((version, Some(known))) => {
                assert_eq!(answer.tagged_version(), Some(*version));
                *known = tags;
            }
        }
    }

    fn delete(&mut self, key: &'static str, version: VersionId) {
        self.cluster.change(DeleteVersions {
            bucket: FIRST_BUCKET,
            versions: vec![DeleteVersion {
                key: key.as_bytes().to_vec(),
                version,
                if_match: None,
                bypass_governance: false,
            }],
            may_grow: true,
        });
        let versions = self.keys.entry(key).or_default();
        versions.retain(|(known, _)| *known != version);
    }

    fn step(&mut self, random: &mut Random) {
        let key = KEYS[random.below(KEYS.len())];
        match random.below(12) {
            0 => {
                self.versioning = match self.versioning {
                    Versioning::Enabled => Versioning::Suspended,
                    Versioning::Off | Versioning::Suspended => Versioning::Enabled,
                };
                let (bucket, versioning) = (FIRST_BUCKET, self.versioning);
                self.cluster.change(SetVersioning { bucket, versioning });
            }
            1..=4 => self.put(random, key),
            5 if self.versioning != Versioning::Off => {
                let version = mark(&mut self.cluster, key.as_bytes());
                self.note(key, version, None);
            }
            6 | 7 => {
                let versions = self.keys.entry(key).or_default();
                if !versions.is_empty() {
                    let version = versions[random.below(versions.len())].0;
                    self.delete(key, version);
                }
            }
            8 => drop(self.cluster.release_all()),
            _ => self.set_tags(random, key),
        }
    }

    fn check(&self) {
        let view = self.cluster.store.view().unwrap();
        for (key, versions) in &self.keys {
            for (version, tags) in versions {
                let found = view.version(FIRST_BUCKET, key.as_bytes(), *version);
                match (found.unwrap().expect(key), tags) {
                    (FoundVersion::Object(object), Some(tags)) => {
                        assert_eq!(usize::from(object.tag_count), tags.len());
                        assert_eq!(view.object_tags(&object).unwrap(), *tags);
                    }
                    (FoundVersion::Marker(_), None) => {}
                    other => panic!("{key} {version}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn tags_follow_their_versions_as_the_model_has_them() {
    for seed in 1..=3 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new();
        cluster.bucket("bucket");
        let mut model = Model {
            cluster,
            versioning: Versioning::Off,
            keys: BTreeMap::new(),
        };
        for _ in 0..150 {
            model.step(&mut random);
            model.check();
        }
        for (key, versions) in model.keys.clone() {
            for (version, _) in versions {
                model.delete(key, version);
            }
        }
        model.cluster.release_all();
        assert_eq!(model.cluster.rows_of(b"XVMF"), 0, "seed {seed}");
    }
}
