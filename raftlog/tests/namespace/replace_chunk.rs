//! An extent gets another chunk of its own, and the one that it named is freed.

use strata_raftlog::namespace::command::{
    Answer, CloseEpoch, Refusal, ReplaceChunk, RepointOutcome,
};
use strata_raftlog::namespace::{Body, ChunkId, Extent, ExtentKind};

use crate::repoint::{chunk, cluster, inline, pack};
use crate::support::Cluster;
use RepointOutcome::{Changed, Gone, Moved};

fn replacing(inode: u64, offset: u64, old: &Extent, new: Extent) -> ReplaceChunk {
    ReplaceChunk {
        inode,
        space: 0,
        offset,
        old: old.chunk,
        new,
    }
}

fn replace(cluster: &mut Cluster, command: ReplaceChunk) -> RepointOutcome {
    match cluster.change(command) {
        Answer::Repointed(outcomes) if outcomes.len() == 1 => outcomes[0],
        other => panic!("{other:?}"),
    }
}

fn refused(cluster: &mut Cluster, command: ReplaceChunk) -> Refusal {
    match cluster.change(command) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn chunks_of(cluster: &Cluster, inode: u64) -> Vec<ChunkId> {
    let view = cluster.store.view().unwrap();
    view.chunks(inode, (0, 0), 99).unwrap().chunks
}

#[test]
fn the_extent_names_the_new_chunk_and_the_old_one_is_freed() {
    let mut cluster = cluster();
    let extents: Vec<Extent> = (0..30).map(|at| cluster.extent(1_000 + at)).collect();
    let inode = cluster.put("b", b"a", Body::Extents(extents.clone()));
    let offset = extents[..27].iter().map(|extent| extent.length).sum();
    let new = cluster.extent(1_027);
    let command = replacing(inode, offset, &extents[27], new.clone());
    assert_eq!(replace(&mut cluster, command.clone()), Moved);
    let mut expected: Vec<ChunkId> = extents.iter().map(|extent| extent.chunk).collect();
    expected[27] = new.chunk;
    assert_eq!(chunks_of(&cluster, inode), expected);
    assert_eq!(cluster.release_all(), [extents[27].chunk]);
    // Once more by another proposer, it is another chunk already.
    assert_eq!(replace(&mut cluster, command), Changed);
    cluster.delete("b", &[b"a"]);
    let mut freed = cluster.release_all();
    freed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(freed, expected, "the new chunk goes with the body");
}

#[test]
fn what_is_not_as_it_was_is_left_alone() {
    let mut cluster = cluster();
    let (old, other) = (cluster.extent(20_000), cluster.extent(20_000));
    let inode = cluster.put("b", b"a", Body::Extents(vec![old.clone()]));
    let deleted = cluster.put("b", b"b", Body::Extents(vec![other.clone()]));
    cluster.delete("b", &[b"b"]);
    cluster.release_all();
    let body = vec![7; 2_000];
    let packed = cluster.put("b", b"c", Body::Inline(body.clone()));
    let (home, outcomes) = pack(&mut cluster, &[inline(packed, &body)]);
    assert_eq!(outcomes, [Moved]);
    let of_pack = {
        let view = cluster.store.view().unwrap();
        view.extent_at(packed, 0, 0).unwrap().unwrap()
    };
    let (new, short) = (cluster.extent(20_000), cluster.extent(19_999));
    let as_long = cluster.extent(2_000);
    let wrong = [
        (replacing(deleted, 0, &other, new.clone()), Gone),
        (replacing(9_999, 0, &old, new.clone()), Gone),
        (replacing(inode, 0, &other, new.clone()), Changed),
        (replacing(inode, 1, &old, new.clone()), Changed),
        (replacing(inode, 0, &old, short), Changed),
        (
            ReplaceChunk {
                space: 1,
                ..replacing(inode, 0, &old, new.clone())
            },
            Changed,
        ),
        // The chunk of a pack belongs to others too, and its home has no name.
        (replacing(packed, 0, &of_pack, as_long), Changed),
        (replacing(home, 0, &of_pack, new), Gone),
    ];
    let before = cluster.rows_of(b"CDFIMX");
    for (command, expected) in wrong {
        assert_eq!(
            replace(&mut cluster, command.clone()),
            expected,
            "{command:?}"
        );
        assert_eq!(cluster.rows_of(b"CDFIMX"), before, "{command:?}");
    }
}

#[test]
fn a_chunk_that_no_extent_may_name_is_refused() {
    let mut cluster = cluster();
    let old = cluster.extent(20_000);
    let inode = cluster.put("b", b"a", Body::Extents(vec![old.clone()]));
    let new = cluster.extent(20_000);
    let half = Extent {
        stored_length: 40_000,
        ..new.clone()
    };
    let hole = Extent {
        kind: ExtentKind::Zeros,
        chunk: ChunkId(0),
        stored_length: 0,
        slot_mask: 0,
        geometry: 0,
        ..new.clone()
    };
    let shared = Extent {
        home_inode: 7,
        ..new.clone()
    };
    let unknown = Extent {
        geometry: 999,
        ..new.clone()
    };
    for wrong in [half, hole, shared, unknown] {
        let refusal = refused(&mut cluster, replacing(inode, 0, &old, wrong.clone()));
        assert!(
            matches!(refusal, Refusal::Invalid(_)),
            "{wrong:?}: {refusal:?}"
        );
    }
    let (writer, epoch) = (new.chunk.writer(), new.chunk.epoch());
    cluster.change(CloseEpoch { writer, epoch });
    let refusal = refused(&mut cluster, replacing(inode, 0, &old, new));
    assert_eq!(refusal, Refusal::EpochClosed { writer, epoch });
    assert_eq!(chunks_of(&cluster, inode), [old.chunk]);
}

#[test]
fn packing_and_replacing_race_and_one_of_them_wins() {
    let mut cluster = cluster();
    let old = cluster.extent(20_000);
    let inode = cluster.put("b", b"a", Body::Extents(vec![old.clone()]));
    let new = cluster.extent(20_000);
    let command = replacing(inode, 0, &old, new.clone());
    assert_eq!(replace(&mut cluster, command), Moved);
    let (_, outcomes) = pack(&mut cluster, &[chunk(inode, 0, &old)]);
    assert_eq!(outcomes, [Changed]);
    let (_, outcomes) = pack(&mut cluster, &[chunk(inode, 0, &new)]);
    assert_eq!(outcomes, [Moved]);
    let again = cluster.extent(20_000);
    let command = replacing(inode, 0, &new, again);
    assert_eq!(replace(&mut cluster, command), Changed);
    let mut freed = cluster.release_all();
    freed.sort_unstable();
    let mut expected = vec![old.chunk, new.chunk];
    expected.sort_unstable();
    assert_eq!(freed, expected);
}
