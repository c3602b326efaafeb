//! Lives of a node whose log is full: started again and again, filled, emptied in part. Whatever came before, what deletes and
//! what a start needs find room.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation};
use strata_raftlog::consensus::group::GroupConfig;
use strata_raftlog::namespace::command::{DeleteKey, DeleteObjects};
use strata_raftlog::namespace::store::NamespaceStore;

use crate::random::Random;
use crate::support::{
    Acknowledged, BUCKET, Client, config, format_log, keys, live, new_place, simulate,
};

/// Others than usual where the environment asks for them: `STRATA_TEST_SEEDS=100..200`.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("STRATA_TEST_SEEDS") else {
        return usual;
    };
    let (from, to) = asked.split_once("..").expect("a range of seeds");
    from.parse().expect("a seed")..to.parse().expect("a seed")
}

/// A log: its mirrors, and what each consists of.
#[derive(Clone, Copy, Debug)]
struct Shape {
    mirrors: u8,
    segment_bytes: u64,
    segments: u32,
}

impl Shape {
    fn settings(self) -> GroupConfig {
        GroupConfig {
            checkpoint_interval: Duration::from_millis(50),
            ..config(usize::from(self.mirrors))
        }
    }
}

/// What all lives of a node share.
struct Lives {
    random: Random,
    acknowledged: Acknowledged,
    inode: u64,
    /// Keys that were ever put.
    put: usize,
    refused: usize,
    deleted: usize,
    context: String,
}

impl Lives {
    fn new(seed: u64, context: String) -> Lives {
        Lives {
            random: Random::new(seed),
            acknowledged: Acknowledged::default(),
            inode: 0,
            put: 0,
            refused: 0,
            deleted: 0,
            context,
        }
    }

    /// Puts until it is refused for good.
    async fn fill(&mut self, client: &mut Client) {
        loop {
            let size = 1 + self.random.below(4096);
            let burst: Vec<String> = (0..1 + self.random.below(64))
                .map(|at| format!("{:04x}/{}", self.random.below(1 << 16), self.put + at))
                .collect();
            self.put += burst.len();
            client.inode = self.inode;
            let acknowledged = client.put_all(&burst, size).await;
            self.inode = client.inode;
            if acknowledged == 0 {
                self.refused += 1;
                return;
            }
        }
    }

    /// Deletes some keys, in batches of one length; a full log is no reason to refuse that.
    async fn delete(&mut self, client: &mut Client, store: &NamespaceStore) {
        let mut victims = keys(store);
        let count = 1 + self.random.below(victims.len().max(8) / 8);
        let batch = 1 + self.random.below(300);
        while victims.len() > count {
            victims.swap_remove(self.random.below(victims.len()));
        }
        for batch in victims.chunks(batch) {
            let keys = batch.iter().map(|key| DeleteKey {
                key: key.clone().into_bytes(),
                if_match: None,
            });
            let delete = DeleteObjects {
                bucket: BUCKET,
                keys: keys.collect(),
            };
            let deleted = client.propose(delete).await;
            if let Err(error) = deleted {
                panic!("{}: a delete when full: {error:?}", self.context);
            }
        }
        self.deleted += victims.len();
        self.acknowledged
            .borrow_mut()
            .retain(|key| !victims.contains(key));
    }

    async fn work(&mut self, client: &mut Client, store: &NamespaceStore) {
        for _ in 0..1 + self.random.below(3) {
            match self.random.below(4) {
                0 => self.fill(client).await,
                1 => reactor::sleep(Duration::from_millis(self.random.below(1500) as u64)).await,
                _ => self.delete(client, store).await,
            }
        }
        self.fill(client).await;
    }
}

fn lives(seed: u64, shape: Shape, count: usize) {
    let mut lives = Lives::new(seed, String::new());
    let mut metadata = new_place();
    let simulation = Simulation::new(seed);
    simulate(&simulation, async || {
        let Shape {
            mirrors,
            segment_bytes,
            segments,
        } = shape;
        let paths = format_log(Path::new("/devices"), mirrors, segment_bytes, segments).await;
        live(&paths, &metadata, shape.settings(), async |group, _| {
            let mut client = Client::new(group, &lives.acknowledged).await;
            lives.inode = client.inode;
            lives.fill(&mut client).await;
        })
        .await;
        for life in 0..count {
            lives.context = format!("seed {seed}, {shape:?}, life {life}");
            if lives.random.below(8) == 0 {
                metadata = new_place();
            }
            live(&paths, &metadata, shape.settings(), async |group, store| {
                if lives.random.below(2) == 0 {
                    reactor::sleep(Duration::from_millis(lives.random.below(1500) as u64)).await;
                }
                let mut client = Client::returning(2, group, &lives.acknowledged).await;
                assert_eq!(keys(store).len(), lives.acknowledged.borrow().len());
                lives.work(&mut client, store).await;
            })
            .await;
        }
    });
    assert!(lives.refused >= count && lives.deleted > 0);
}

/// Seeds of some length of life for each shape of a log.
fn all_lives(shapes: &[Shape], seeds: std::ops::Range<u64>, count: usize) {
    for shape in shapes {
        for seed in seeds.clone() {
            lives(seed, *shape, count);
        }
    }
}

fn shape(mirrors: u8, segment_bytes: u64, segments: u32) -> Shape {
    Shape {
        mirrors,
        segment_bytes,
        segments,
    }
}

#[test]
fn a_small_full_log_takes_deletes_through_hundreds_of_starts() {
    all_lives(&[shape(1, 512 << 10, 8)], seeds(1..4), 70);
}

#[test]
fn a_full_log_on_three_mirrors_takes_deletes_after_every_start() {
    let shapes = [shape(3, 512 << 10, 8), shape(3, 1 << 20, 12)];
    all_lives(&shapes, seeds(1..3), 12);
}

#[test]
fn a_full_log_of_any_length_takes_deletes_after_every_start() {
    let shapes = [
        shape(1, 512 << 10, 12),
        shape(1, 1 << 20, 9),
        shape(1, 2 << 20, 8),
        // The shortest that a node is formatted with.
        shape(1, 4 << 20, 12),
    ];
    all_lives(&shapes, seeds(5..6), 6);
}
