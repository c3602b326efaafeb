//! Feature levels: a store is upgraded, and an older version refuses it only after that.

use strata_raftlog::namespace::command::{Answer, FEATURE_LEVEL, Noop, RaiseFeatureLevel, Refusal};
use strata_raftlog::namespace::store::{NamespaceStore, StoreError, StoreOptions};
use strata_raftlog::namespace::{Body, GroupState};

use crate::support::{Cluster, MAP_BYTES};

const NEXT: u16 = FEATURE_LEVEL + 1;

/// Opens the directory as a version does that follows levels up to `newest`.
fn open(dir: &std::path::Path, newest: u16) -> Result<NamespaceStore, StoreError> {
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    NamespaceStore::open_following(dir, options, newest).map(|(store, _)| store)
}

fn group(store: &NamespaceStore) -> GroupState {
    store.view().unwrap().group().unwrap().unwrap()
}

fn checkpoint(store: &NamespaceStore) {
    store.begin_checkpoint().unwrap().finish().unwrap();
}

#[test]
fn an_older_version_refuses_a_store_only_once_its_level_was_raised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let mut cluster = Cluster::on(open(&path, FEATURE_LEVEL).unwrap(), dir);
    cluster.bucket("b");
    cluster.put("b", b"old", Body::Inline(vec![1]));
    cluster.store = cluster.closed(|| open(&path, NEXT).unwrap());
    cluster.put("b", b"still old", Body::Inline(vec![2]));
    assert_eq!(group(&cluster.store).feature_level, FEATURE_LEVEL);

    cluster.store = cluster.closed(|| open(&path, FEATURE_LEVEL).expect("nothing was raised yet"));
    let mut early = cluster.envelope(Noop { reserved: 0 });
    early.feature_level = NEXT;
    let refused = Refusal::FeatureLevel {
        needed: NEXT,
        active: FEATURE_LEVEL,
    };
    assert_eq!(cluster.apply(&early), Answer::Refused(refused));

    cluster.store = cluster.closed(|| open(&path, NEXT).unwrap());
    assert_eq!(
        cluster.change(RaiseFeatureLevel { level: NEXT }),
        Answer::Done
    );
    assert_eq!(group(&cluster.store).feature_level, NEXT);
    assert_eq!(
        cluster.change(RaiseFeatureLevel {
            level: FEATURE_LEVEL
        }),
        Answer::Done
    );
    assert_eq!(
        group(&cluster.store).feature_level,
        NEXT,
        "levels never fall"
    );
    // What was stamped before the raise and is applied after it.
    cluster.put("b", b"on its way", Body::Inline(vec![3]));
    let mut new = cluster.envelope(Noop { reserved: 0 });
    new.feature_level = NEXT;
    assert_eq!(cluster.apply(&new), Answer::Done);

    let mut older = None;
    cluster.store = cluster.closed(|| {
        older = open(&path, FEATURE_LEVEL).err();
        open(&path, NEXT).unwrap()
    });
    let older = older.expect("refused").to_string();
    assert!(older.contains("feature level 2"), "{older}");
    let view = cluster.store.view().unwrap();
    for key in [&b"old"[..], b"still old", b"on its way"] {
        assert!(view.object("b", key).unwrap().is_some(), "{key:?}");
    }
}

impl Cluster {
    /// Closes the store with a checkpoint and opens it as it is told.
    fn closed(&mut self, open: impl FnOnce() -> NamespaceStore) -> NamespaceStore {
        checkpoint(&self.store);
        let empty = tempfile::tempdir().unwrap();
        let other = crate::levels::open(empty.path(), FEATURE_LEVEL).unwrap();
        drop(std::mem::replace(&mut self.store, other));
        open()
    }
}
