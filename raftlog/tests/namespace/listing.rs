//! LIST against a model: the sorted set of keys and common prefixes over hostile key sets.

use std::collections::BTreeSet;

use strata_raftlog::namespace::command::Answer;
use strata_raftlog::namespace::{Body, ListQuery, Listing};

use crate::commands::put;
use crate::random::Random;
use crate::support::Cluster;

/// Pieces of keys: what sorts around '/', control characters, several bytes, the highest ones.
const PIECES: [&str; 16] = [
    "/",
    "/",
    "/",
    "a",
    "b",
    "\0",
    "!",
    ".",
    "0",
    "//",
    "a/",
    "\u{1}",
    "é",
    "\u{10ffff}",
    "\x7f",
    "..",
];

fn key(random: &mut Random) -> Vec<u8> {
    let pieces = 1 + random.below(6);
    (0..pieces)
        .flat_map(|_| PIECES[random.below(PIECES.len())].bytes())
        .collect()
}

/// An entry of a listing: a key, or a common prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ModelEntry {
    text: Vec<u8>,
    rolled: bool,
}

fn model(keys: &BTreeSet<Vec<u8>>, query: &ListQuery) -> Vec<ModelEntry> {
    let delimiter = &query.delimiter[..];
    let entry = |key: &Vec<u8>| {
        let rest = key.strip_prefix(&query.prefix[..])?;
        let windows = rest.windows(delimiter.len().max(1));
        let at = windows
            .into_iter()
            .position(|w| !delimiter.is_empty() && w == delimiter);
        Some(match at {
            Some(at) => {
                let text = key[..query.prefix.len() + at + delimiter.len()].to_vec();
                ModelEntry { text, rolled: true }
            }
            None => ModelEntry {
                text: key.clone(),
                rolled: false,
            },
        })
    };
    let entries: BTreeSet<ModelEntry> = keys.iter().filter_map(entry).collect();
    let above = |entry: &ModelEntry| query.start_after.is_empty() || entry.text > query.start_after;
    entries.into_iter().filter(above).collect()
}

/// All pages of a listing, each compared with the model's, with so many steps in a transaction.
fn check(
    cluster: &Cluster,
    bucket: u64,
    keys: &BTreeSet<Vec<u8>>,
    query: &ListQuery,
    steps: usize,
) {
    let mut query = query.clone();
    loop {
        let expected = model(keys, &query);
        let page = cluster.list(bucket, &query, steps);
        let cut = expected.len().min(query.limit);
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for entry in &expected[..cut] {
            if entry.rolled {
                &mut prefixes
            } else {
                &mut objects
            }
            .push(entry.text.clone());
        }
        let found: Vec<Vec<u8>> = page.objects.into_iter().map(|object| object.key).collect();
        let context = || format!("keys {keys:?}\nquery {query:?}\nsteps {steps}");
        assert_eq!(found, objects, "{}", context());
        assert_eq!(page.common_prefixes, prefixes, "{}", context());
        let next = (expected.len() > cut && cut > 0).then(|| expected[cut - 1].text.clone());
        assert_eq!(page.next, next, "{}", context());
        match next {
            Some(next) => query.start_after = next,
            None => return,
        }
    }
}

fn some_query(random: &mut Random, keys: &BTreeSet<Vec<u8>>) -> ListQuery {
    let some_key = |random: &mut Random| {
        let key = keys.iter().nth(random.below(keys.len())).unwrap().clone();
        let length = random.below(key.len() + 1);
        key[..length].to_vec()
    };
    let prefix = match random.below(3) {
        0 => Vec::new(),
        1 => some_key(random),
        _ => key(random),
    };
    let delimiter = match random.below(5) {
        0 => Vec::new(),
        1 => PIECES[random.below(PIECES.len())].into(),
        2 => some_key(random),
        _ => b"/".to_vec(),
    };
    let start_after = match random.below(4) {
        0 => some_key(random),
        1 => [some_key(random), key(random)].concat(),
        2 => key(random),
        _ => Vec::new(),
    };
    let limit = [1, 2, 3, 5, 1_000][random.below(5)];
    ListQuery {
        prefix,
        delimiter,
        start_after,
        limit,
    }
}

#[test]
fn a_listing_is_the_byte_order_of_hostile_keys() {
    let mut random = Random::new(1);
    let mut cluster = Cluster::new();
    for set in 0..20_000 {
        let name = format!("bucket{set}");
        let bucket = cluster.bucket(&name);
        let mut commands = Vec::new();
        let keys: BTreeSet<Vec<u8>> = (0..1 + random.below(14))
            .map(|_| key(&mut random))
            .collect();
        for key in &keys {
            let inode = cluster.inode();
            commands.push(put(bucket, key, inode, Body::Empty).into());
        }
        for answer in cluster.change_all(commands) {
            assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
        }
        let bucket = cluster
            .store
            .view()
            .unwrap()
            .bucket(&name)
            .unwrap()
            .unwrap()
            .inode;
        let all = ListQuery {
            limit: 3,
            ..ListQuery::default()
        };
        check(&cluster, bucket, &keys, &all, usize::MAX);
        for _ in 0..6 {
            let query = some_query(&mut random, &keys);
            let steps = [1, 2, 3, 7, usize::MAX][random.below(5)];
            check(&cluster, bucket, &keys, &query, steps);
        }
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        cluster.delete(&name, &keys);
        let left = cluster.list(bucket, &all, usize::MAX);
        assert!(left.objects.is_empty());
    }
    assert_eq!(cluster.rows_of(b"D"), 20_000, "only the buckets are left");
}

#[test]
fn keys_of_the_greatest_length_and_depth_are_listed() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("b");
    let keys: BTreeSet<Vec<u8>> = [
        vec![b'/'; 1_024],
        vec![b'a'; 1_024],
        vec![0; 1_024],
        [vec![b'/'; 1_023], vec![b'x']].concat(),
        "\u{10ffff}".repeat(256).into_bytes(),
        b"a/".repeat(512),
    ]
    .into();
    for key in &keys {
        cluster.put("b", key, Body::Inline(vec![1]));
    }
    for delimiter in [&b""[..], b"/", b"a/a", &[0]] {
        for start_after in [
            Vec::new(),
            vec![b'/'; 1_024],
            vec![b'/'; 6_000],
            vec![0xff; 1_100],
        ] {
            for limit in [1, 10] {
                let delimiter = delimiter.to_vec();
                let start_after = start_after.clone();
                let query = ListQuery {
                    delimiter,
                    start_after,
                    limit,
                    prefix: Vec::new(),
                };
                for steps in [1, 256, usize::MAX] {
                    check(&cluster, bucket, &keys, &query, steps);
                }
            }
        }
    }
    let long = ListQuery {
        prefix: vec![b'a'; 5_000],
        limit: 1,
        ..ListQuery::default()
    };
    check(&cluster, bucket, &keys, &long, 1);
    let view = cluster.store.view().unwrap();
    assert_eq!(view.object("b", &[b'a'; 5_000]).unwrap(), None);
    assert_eq!(view.bucket(&"b".repeat(5_000)).unwrap(), None);
    drop(view);
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    cluster.delete("b", &keys);
    assert_eq!(cluster.rows_of(b"DIX"), 2, "only the bucket is left");
}

/// Keys of so many levels that share none of them.
fn deep_keys(count: usize, levels: usize) -> BTreeSet<Vec<u8>> {
    let deep = |number: usize| format!("{number:03}/{}k", "d/".repeat(levels - 1)).into_bytes();
    (0..count).map(deep).collect()
}

#[test]
fn a_page_below_many_directories_is_filled_in_bounded_steps() {
    const STEPS: usize = 256;
    let (count, levels) = (40, 500);
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("b");
    let keys = deep_keys(count, levels);
    for key in &keys {
        cluster.put("b", key, Body::Inline(vec![1]));
    }
    let whole = ListQuery {
        limit: 1_000,
        ..ListQuery::default()
    };
    check(&cluster, bucket, &keys, &whole, STEPS);
    let mut listing = Listing::new(whole);
    let (mut calls, mut largest) = (0, 0);
    while !listing.is_complete() {
        let before = listing.clone().into_page().objects.len();
        let view = cluster.store.view().unwrap();
        view.list(bucket, &mut listing, STEPS).unwrap();
        largest = largest.max(listing.clone().into_page().objects.len() - before);
        calls += 1;
    }
    // Every directory is met, and left again.
    let rows = count * levels;
    assert!(calls >= 2 * rows / STEPS, "{calls} calls for {rows} rows");
    assert!(calls <= 4 * rows / STEPS, "{calls} calls for {rows} rows");
    assert!(
        largest <= 1,
        "{largest} keys of {levels} levels in one call"
    );
}

#[test]
fn a_listing_goes_on_where_directories_went_and_came_meanwhile() {
    let query = ListQuery {
        limit: 1_000,
        ..ListQuery::default()
    };
    for steps_before in 1..60 {
        let mut cluster = Cluster::new();
        let bucket = cluster.bucket("b");
        let staying = ["a", "m/n/o/1", "m/n/o/9", "z/z"];
        let going = ["b/c/d", "m/n/o/5/6/7"];
        for key in staying.iter().chain(&going) {
            cluster.put("b", key.as_bytes(), Body::Empty);
        }
        let mut listing = Listing::new(query.clone());
        let view = cluster.store.view().unwrap();
        view.list(bucket, &mut listing, steps_before).unwrap();
        drop(view);
        cluster.delete("b", &going.map(str::as_bytes));
        cluster.put("b", b"m/n/o/5/0", Body::Empty);
        let view = cluster.store.view().unwrap();
        view.list(bucket, &mut listing, usize::MAX).unwrap();
        let page = listing.into_page();
        let found: Vec<&[u8]> = page.objects.iter().map(|object| &object.key[..]).collect();
        assert!(found.is_sorted(), "{found:?}");
        for key in staying {
            let count = found.iter().filter(|found| **found == key.as_bytes());
            assert_eq!(
                count.count(),
                1,
                "{key} after {steps_before} steps: {found:?}"
            );
        }
    }
}

#[test]
fn nothing_is_listed_for_a_limit_of_zero() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("b");
    cluster.put("b", b"k", Body::Empty);
    let page = cluster.list(bucket, &ListQuery::default(), usize::MAX);
    assert!(page.objects.is_empty() && page.next.is_none());
}
