//! Buckets and objects: put, get, list, delete, conditions, sessions.

use crate::commands::put;
use crate::support::{Cluster, FIRST_BUCKET};
use strata_raftlog::namespace::command::{
    Answer, CreateBucket, DeleteBucket, DeleteKey, DeleteObjects, DeleteOutcome, ETagMatch,
    Precondition, Refusal, SetBucketSetting,
};
use strata_raftlog::namespace::setting::TAGS;
use strata_raftlog::namespace::store::Reader;
use strata_raftlog::namespace::{
    Body, BucketUsage, ETag, ListQuery, ObjectAttributes, PieceSource, View,
};

#[test]
fn a_put_object_is_found_listed_and_deleted() {
    let mut cluster = Cluster::new();
    cluster.bucket("photos");
    let inode = cluster.inode();
    let mut command = put(
        FIRST_BUCKET,
        b"2026/a.jpg",
        inode,
        Body::Inline(b"hello".to_vec()),
    );
    command.attributes = ObjectAttributes {
        content_type: Some("image/jpeg".into()),
        user_metadata: vec![("camera".into(), "k1000".into())],
        ..ObjectAttributes::default()
    };
    let attributes = command.attributes.clone();
    assert!(matches!(
        cluster.change(command),
        Answer::Put { size: 5, .. }
    ));

    let view = cluster.store.view().unwrap();
    let object = view.object("photos", b"2026/a.jpg").unwrap().unwrap();
    assert_eq!((object.size, object.inode), (5, inode));
    assert_eq!(object.attributes, attributes);
    let pieces = view.body(&object, 1..4, 10).unwrap().unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].source, PieceSource::Inline(b"ell".to_vec()));
    let bucket = view.bucket("photos").unwrap().unwrap();
    let query = ListQuery {
        delimiter: b"/".to_vec(),
        limit: 10,
        ..ListQuery::default()
    };
    let page = cluster.list(bucket.inode, &query, usize::MAX);
    assert_eq!(page.common_prefixes, [b"2026/".to_vec()]);
    drop(view);

    assert_eq!(
        cluster.change(DeleteBucket {
            bucket: FIRST_BUCKET
        }),
        Answer::Refused(Refusal::BucketNotEmpty)
    );
    assert_eq!(
        cluster.delete("photos", &[b"2026/a.jpg", b"2026/b.jpg"]),
        [DeleteOutcome::Deleted, DeleteOutcome::Absent]
    );
    assert_eq!(
        cluster.change(DeleteBucket {
            bucket: FIRST_BUCKET
        }),
        Answer::Done
    );
    assert_eq!(
        cluster.change(DeleteBucket {
            bucket: FIRST_BUCKET
        }),
        Answer::Refused(Refusal::NoSuchBucket)
    );
    assert_eq!(cluster.rows_of(b"DIXM"), 0, "nothing may stay behind");
}

#[test]
fn an_inline_body_of_any_length_is_found_whole_and_leaves_nothing() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    for length in [1, 4074, 4075, 4076, 4096, 8150, 8151, 16_384] {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let inode = cluster.inode();
        let command = put(FIRST_BUCKET, b"k", inode, Body::Inline(bytes.clone()));
        assert!(matches!(cluster.change(command), Answer::Put { .. }));
        let view = cluster.store.view().unwrap();
        let object = view.object("b", b"k").unwrap().unwrap();
        for (start, end) in [(0, length), (length - 1, length), (length / 3, length / 2)] {
            let range = start as u64..end as u64;
            let pieces = view.body(&object, range, 10).unwrap().unwrap();
            let found: Vec<u8> = pieces
                .into_iter()
                .flat_map(|piece| match piece.source {
                    PieceSource::Inline(bytes) => bytes,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(found, bytes[start..end], "{start}..{end} of {length}");
        }
    }
    let count = |of: &[u8]| cluster.rows_of(of);
    assert_eq!(count(b"X"), 5, "the rows of 16,384 bytes alone");
    assert_eq!(count(b"F"), 0, "what was written over went at once");
    cluster.delete("b", &[b"k"]);
    assert_eq!(cluster.rows_of(b"XF"), 0, "nothing may stay behind");
}

#[test]
fn a_setting_of_a_bucket_is_kept_and_goes_with_it() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let mut set = |setting, document: Option<&[u8]>| {
        cluster.change(SetBucketSetting {
            bucket: FIRST_BUCKET,
            setting,
            document: document.map(<[u8]>::to_vec),
        })
    };
    assert_eq!(set(TAGS, Some(b"one")), Answer::Done);
    assert_eq!(set(TAGS, Some(b"two")), Answer::Done);
    assert_eq!(set(127, Some(&vec![1; 256 << 10])), Answer::Done);
    assert_eq!(set(17, Some(b"three")), Answer::Done);
    assert_eq!(set(17, None), Answer::Done);
    assert_eq!(set(17, None), Answer::Done);
    for (setting, bytes) in [(15, 1), (128, 1), (TAGS, (256 << 10) + 1)] {
        let answer = set(setting, Some(&vec![1; bytes]));
        assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
    }
    let view = cluster.store.view().unwrap();
    let kept = |setting| view.bucket_setting(FIRST_BUCKET, setting).unwrap();
    assert_eq!(kept(TAGS), Some(b"two".to_vec()));
    assert_eq!(kept(17), None);
    drop(view);
    cluster.change(DeleteBucket {
        bucket: FIRST_BUCKET,
    });
    assert_eq!(cluster.rows_of(b"DIXM"), 0, "nothing may stay behind");
}

#[test]
fn what_a_bucket_holds_is_counted() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let usage = |cluster: &Cluster| cluster.store.view().unwrap().bucket_usage(FIRST_BUCKET);
    let of = |objects, bytes| Some(BucketUsage { objects, bytes });
    assert_eq!(usage(&cluster).unwrap(), of(0, 0));
    let body = |bytes: usize| Body::Inline(vec![7; bytes]);
    for (key, bytes) in [("a/1", 10), ("2", 20), ("a/1", 5)] {
        let inode = cluster.inode();
        cluster.change(put(FIRST_BUCKET, key.as_bytes(), inode, body(bytes)));
    }
    assert_eq!(usage(&cluster).unwrap(), of(2, 25));
    let mut refused = put(FIRST_BUCKET, b"2", cluster.inode(), body(100));
    refused.precondition.if_none_match = Some(ETagMatch::Any);
    assert_eq!(
        cluster.change(refused),
        Answer::Refused(Refusal::PreconditionFailed)
    );
    cluster.delete("b", &[b"a/1", b"absent"]);
    assert_eq!(usage(&cluster).unwrap(), of(1, 20));
    cluster.delete("b", &[b"2"]);
    assert_eq!(usage(&cluster).unwrap(), of(0, 0));
    cluster.change(DeleteBucket {
        bucket: FIRST_BUCKET,
    });
    assert_eq!(usage(&cluster).unwrap(), None);
}

#[test]
fn one_delete_takes_every_directory_that_it_leaves_empty() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    for key in ["a/b/1", "a/b/2", "a/c/1", "d/1"] {
        let inode = cluster.inode();
        cluster.change(put(FIRST_BUCKET, key.as_bytes(), inode, Body::Empty));
    }
    use DeleteOutcome::{Absent, Deleted};
    assert_eq!(
        cluster.delete("b", &[b"a/b/1", b"a/c/1", b"a/b/1", b"d/1", b"e/1"]),
        [Deleted, Deleted, Absent, Deleted, Absent]
    );
    assert_eq!(
        cluster.rows_of(b"D"),
        4,
        "the bucket, a/, a/b/ and a/b/2 are left"
    );
    assert_eq!(cluster.delete("b", &[b"a/b/2"]), [Deleted]);
    assert_eq!(cluster.rows_of(b"D"), 1);
}

#[test]
fn conditions_are_decided_when_applied() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let conditional = |cluster: &mut Cluster, precondition: Precondition| {
        let inode = cluster.inode();
        let mut command = put(FIRST_BUCKET, b"k", inode, Body::Empty);
        command.precondition = precondition;
        cluster.change(command)
    };
    let if_match = |etag| Precondition {
        if_match: Some(ETagMatch::OneOf(vec![etag])),
        ..Precondition::default()
    };
    let if_absent = Precondition {
        if_none_match: Some(ETagMatch::Any),
        ..Precondition::default()
    };
    let tag = ETag::single([7; 16]);
    assert_eq!(
        conditional(&mut cluster, if_match(tag)),
        Answer::Refused(Refusal::NoSuchKey)
    );
    assert!(matches!(
        conditional(&mut cluster, if_absent.clone()),
        Answer::Put { .. }
    ));
    assert_eq!(
        conditional(&mut cluster, if_absent),
        Answer::Refused(Refusal::PreconditionFailed)
    );
    assert!(matches!(
        conditional(&mut cluster, if_match(tag)),
        Answer::Put { .. }
    ));
    let other = ETag::single([8; 16]);
    assert_eq!(
        conditional(&mut cluster, if_match(other)),
        Answer::Refused(Refusal::PreconditionFailed)
    );
    let key = DeleteKey {
        key: b"k".to_vec(),
        if_match: Some(ETagMatch::OneOf(vec![other])),
    };
    assert_eq!(
        cluster.change(DeleteObjects {
            bucket: FIRST_BUCKET,
            keys: vec![key]
        }),
        Answer::Deleted(vec![DeleteOutcome::PreconditionFailed])
    );
}

#[test]
fn a_repeated_proposal_gets_its_first_answer() {
    let mut cluster = Cluster::new();
    cluster.outstanding = u64::MAX;
    let create = CreateBucket {
        bucket: "b".into(),
        owner: 1,
        object_lock: false,
    };
    let envelope = cluster.envelope(create.clone());
    assert_eq!(cluster.apply(&envelope), Answer::Done);
    assert_eq!(
        cluster.apply(&envelope),
        Answer::Done,
        "not BucketAlreadyOwnedByYou"
    );
    assert_eq!(
        cluster.change(create),
        Answer::Refused(Refusal::BucketAlreadyOwnedByYou),
        "another proposal of the same is another"
    );
    // The proposer says that it has all answers: the old ones are dropped and cannot be repeated.
    let mut next = cluster.envelope(DeleteBucket {
        bucket: FIRST_BUCKET,
    });
    next.lowest_unanswered = next.sequence;
    assert_eq!(cluster.apply(&next), Answer::Done);
    assert_eq!(
        cluster.apply(&envelope),
        Answer::Refused(Refusal::SequenceAnswered)
    );
    assert_eq!(cluster.rows_of(b"R"), 2, "the session and one answer");
}

#[test]
fn a_session_is_bounded_and_expires() {
    let mut cluster = Cluster::new();
    cluster.outstanding = u64::MAX;
    let first = cluster.session;
    for _ in 2..1_024 {
        assert_eq!(
            cluster.change(strata_raftlog::namespace::command::Noop { reserved: 0 }),
            Answer::Done
        );
    }
    let mut over = cluster.envelope(strata_raftlog::namespace::command::Noop { reserved: 0 });
    assert_eq!(
        cluster.apply(&over),
        Answer::Refused(Refusal::TooManyOutstanding)
    );
    over.lowest_unanswered = 10;
    assert_eq!(
        cluster.apply(&over),
        Answer::Done,
        "refused for lack of room is not an answer"
    );
    cluster.open_session();
    assert_ne!(cluster.session, first);
    assert_eq!(
        cluster.apply(&over),
        Answer::Refused(Refusal::SessionExpired)
    );
    assert_eq!(
        cluster.rows_of(b"R"),
        1,
        "an expired session leaves no answers"
    );
}

#[test]
fn a_reader_sees_every_commit_and_settings_have_a_version() {
    let mut cluster = Cluster::new();
    let reader = Reader::new(cluster.store.clone());
    let count = |reader: &Reader| {
        let objects = |view: &View<'_>| {
            let there = |key| view.object("b", key).unwrap().is_some();
            [&b"one"[..], b"two"]
                .into_iter()
                .filter(|key| there(key))
                .count()
        };
        reader.read(objects).unwrap()
    };
    assert_eq!(count(&reader), 0);
    let before = cluster.store.settings_version();
    cluster.bucket("b");
    let with_bucket = cluster.store.settings_version();
    assert!(with_bucket > before, "a bucket was made");
    cluster.put("b", b"one", Body::Empty);
    assert_eq!(count(&reader), 1);
    assert_eq!(count(&reader), 1, "of the transaction that is kept");
    cluster.put("b", b"two", Body::Empty);
    assert_eq!(count(&reader), 2);
    reader.release();
    cluster.delete("b", &[b"one", b"two"]);
    assert_eq!(count(&reader), 0);
    assert_eq!(
        cluster.store.settings_version(),
        with_bucket,
        "objects are no settings"
    );
    let bucket = cluster.bucket_inode("b");
    cluster.change(SetBucketSetting {
        bucket,
        setting: TAGS,
        document: Some(b"tags".to_vec()),
    });
    let with_setting = cluster.store.settings_version();
    assert!(with_setting > with_bucket, "a setting was made");
    cluster.change(DeleteBucket { bucket });
    assert!(cluster.store.settings_version() > with_setting);
}
