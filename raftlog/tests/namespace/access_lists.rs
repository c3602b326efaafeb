//! Access lists of objects, and buckets that are made with settings.

use strata_raftlog::namespace::command::{
    Answer, Command, CommandClass, CompleteUpload, CompletedPart, CreateBucket,
    CreateBucketWithSettings, CreateUpload, CreateUploadWithExtras, DeleteVersion, DeleteVersions,
    NewSetting, Precondition, PutObjectWithExtras, PutPart, Refusal, SetObjectAccessList,
    SetVersioning,
};
use strata_raftlog::namespace::setting::{ACCESS_LIST, OWNERSHIP};
use strata_raftlog::namespace::{
    Body, ETag, GRANTS_MAX, Grant, Grantee, Object, ObjectAttributes, ObjectExtras, Permission,
    VersionId, Versioning,
};

use crate::commands::put;
use crate::support::{Cluster, FIRST_BUCKET};

fn grants() -> Vec<Grant> {
    let grant = |grantee, permission| Grant {
        grantee,
        permission,
    };
    vec![
        grant(Grantee::Account(7), Permission::FullControl),
        grant(Grantee::AllUsers, Permission::Read),
        grant(Grantee::AuthenticatedUsers, Permission::ReadAcp),
        grant(Grantee::LogDelivery, Permission::WriteAcp),
        grant(Grantee::AllUsers, Permission::Write),
    ]
}

fn extras(list: &[Grant]) -> ObjectExtras {
    ObjectExtras {
        access_list: Some(list.to_vec()),
        ..ObjectExtras::default()
    }
}

fn put_with(cluster: &mut Cluster, key: &[u8], list: &[Grant]) -> Answer {
    let inode = cluster.inode();
    cluster.change(PutObjectWithExtras {
        put: put(FIRST_BUCKET, key, inode, Body::Inline(vec![1; 9])),
        extras: extras(list),
    })
}

fn object(cluster: &Cluster, key: &[u8]) -> Object {
    let view = cluster.store.view().unwrap();
    let object = view.object_in(FIRST_BUCKET, key).unwrap();
    object.expect("an object")
}

fn list_of(cluster: &Cluster, key: &[u8]) -> Option<Vec<Grant>> {
    let object = object(cluster, key);
    let view = cluster.store.view().unwrap();
    view.object_access_list(&object).unwrap()
}

fn set(object: &Object, key: &[u8], list: Option<&[Grant]>) -> SetObjectAccessList {
    SetObjectAccessList {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        version: object.version,
        inode: object.inode,
        access_list: list.map(<[Grant]>::to_vec),
    }
}

fn rows_of_lists(cluster: &Cluster) -> usize {
    let rows = cluster.rows();
    let is_list = |key: &[u8]| key[0] == b'X' && key[17] == 8;
    rows.iter().filter(|(key, _)| is_list(key)).count()
}

#[test]
fn a_list_is_set_and_removed_and_changes_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    cluster.put("bucket", b"a/k", Body::Inline(vec![1; 9]));
    let before = object(&cluster, b"a/k");
    assert_eq!(list_of(&cluster, b"a/k"), None);
    for list in [&grants()[..], &[]] {
        let answer = cluster.change(set(&before, b"a/k", Some(list)));
        assert_eq!(answer, Answer::Done);
        assert_eq!(list_of(&cluster, b"a/k").as_deref(), Some(list));
        let expected = Object {
            has_access_list: true,
            ..before.clone()
        };
        assert_eq!(object(&cluster, b"a/k"), expected);
    }
    let remove = set(&before, b"a/k", None);
    assert_eq!(
        Command::from(remove.clone()).class(),
        CommandClass::Frees,
        "also in a full store"
    );
    cluster.change(remove);
    assert_eq!(object(&cluster, b"a/k"), before);
    assert_eq!(rows_of_lists(&cluster), 0);
}

#[test]
fn what_cannot_have_the_list_is_refused() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    cluster.put("bucket", b"k", Body::Empty);
    let there = object(&cluster, b"k");
    let many = vec![grants()[0]; GRANTS_MAX + 1];
    let answer = cluster.change(set(&there, b"k", Some(&many)));
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
    let answer = put_with(&mut cluster, b"other", &many);
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
    let most = &many[1..];
    assert_eq!(cluster.change(set(&there, b"k", Some(most))), Answer::Done);
    assert_eq!(list_of(&cluster, b"k").as_deref(), Some(most));
    let answer = cluster.change(set(&there, b"absent", Some(&grants())));
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
}

#[test]
fn a_list_is_for_the_object_that_it_was_made_for() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    cluster.put("bucket", b"k", Body::Empty);
    let replaced = object(&cluster, b"k");
    cluster.put("bucket", b"k", Body::Empty);
    let answer = cluster.change(set(&replaced, b"k", Some(&grants())));
    assert_eq!(answer, Answer::Done, "as if it had been replaced after");
    assert_eq!(list_of(&cluster, b"k"), None);
}

#[test]
fn a_list_goes_with_its_version() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("bucket");
    let versioning = Versioning::Enabled;
    cluster.change(SetVersioning { bucket, versioning });
    put_with(&mut cluster, b"k", &grants());
    let first = object(&cluster, b"k");
    cluster.put_version(b"k");
    assert_eq!(list_of(&cluster, b"k"), None);
    let second = object(&cluster, b"k");
    cluster.change(set(&first, b"k", Some(&grants()[..2])));
    assert_eq!(list_of(&cluster, b"k"), None, "that of the other version");
    let delete = |version| DeleteVersions {
        bucket,
        versions: vec![DeleteVersion {
            key: b"k".to_vec(),
            version,
            if_match: None,
            bypass_governance: false,
        }],
        may_grow: false,
    };
    cluster.change(delete(second.version));
    assert_eq!(list_of(&cluster, b"k").as_deref(), Some(&grants()[..2]));
    cluster.change(delete(first.version));
    cluster.release_all();
    assert_eq!(rows_of_lists(&cluster), 0);
    assert_eq!(cluster.rows_of(b"XF"), 0);
}

#[test]
fn an_upload_gives_its_list_to_the_object() {
    let mut cluster = Cluster::new();
    cluster.bucket("bucket");
    let (key, upload) = (b"k".to_vec(), cluster.inode());
    cluster.change(CreateUploadWithExtras {
        create: CreateUpload {
            bucket: FIRST_BUCKET,
            key: key.clone(),
            inode: upload,
            attributes: ObjectAttributes::default(),
            checksum: None,
            owner: 7,
        },
        extras: extras(&grants()),
    });
    let body = Body::Extents(vec![cluster.extent(5_000)]);
    cluster.change(PutPart {
        bucket: FIRST_BUCKET,
        key: key.clone(),
        upload,
        number: 1,
        space: 3,
        size: 5_000,
        etag: ETag::single([1; 16]),
        checksum: None,
        body,
    });
    let view = cluster.store.view().unwrap();
    let row = view.upload(FIRST_BUCKET, &key, upload).unwrap();
    let row = row.expect("an upload");
    drop(view);
    assert!(row.has_access_list);
    let parts_changed = row.parts_changed;
    let answer = cluster.change(CompleteUpload {
        bucket: FIRST_BUCKET,
        key: key.clone(),
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
    });
    assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
    assert_eq!(object(&cluster, b"k").owner, 7);
    assert_eq!(list_of(&cluster, b"k"), Some(grants()));
    cluster.delete("bucket", &[b"k"]);
    cluster.release_all();
    assert_eq!(cluster.rows_of(b"XMF"), 0);
}

#[test]
fn a_bucket_is_never_there_without_what_it_is_made_with() {
    let mut cluster = Cluster::new();
    let setting = |setting, text: &str| NewSetting {
        setting,
        document: text.as_bytes().to_vec(),
    };
    let create = |settings: Vec<NewSetting>| CreateBucketWithSettings {
        create: CreateBucket {
            bucket: "made".into(),
            owner: 1,
            object_lock: false,
        },
        settings,
    };
    for wrong in [
        vec![setting(OWNERSHIP, "a"), setting(5, "b")],
        vec![setting(OWNERSHIP, "a"); 9],
        vec![setting(OWNERSHIP, &"x".repeat((256 << 10) + 1))],
    ] {
        let answer = cluster.change(create(wrong));
        assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
        assert_eq!(cluster.bucket_inode("made"), 0, "nothing was written");
    }
    let both = create(vec![setting(OWNERSHIP, "a"), setting(ACCESS_LIST, "b")]);
    assert_eq!(cluster.change(both.clone()), Answer::Done);
    let bucket = cluster.bucket_inode("made");
    let view = cluster.store.view().unwrap();
    for (number, text) in [(OWNERSHIP, b"a"), (ACCESS_LIST, b"b")] {
        let document = view.bucket_setting(bucket, number).unwrap();
        assert_eq!(document.as_deref(), Some(&text[..]));
    }
    drop(view);
    let answer = cluster.change(both);
    assert_eq!(answer, Answer::Refused(Refusal::BucketAlreadyOwnedByYou));
}

/// A version without anything beside.
impl Cluster {
    fn put_version(&mut self, key: &[u8]) {
        let inode = self.inode();
        let answer = self.change(put(FIRST_BUCKET, key, inode, Body::Empty));
        assert!(matches!(answer.version(), Some(VersionId::Of(_))));
    }
}
