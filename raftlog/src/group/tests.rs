//! A whole group on journals in memory: start, propose, restart, losing what is not the log.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, World};

use super::{Group, GroupConfig, GroupError, ProposeError, Sender};
use crate::command::{
    Answer, Command, CreateBucket, Envelope, FEATURE_LEVEL, Initialise, LeaseInodes, Noop,
    OpenSession, Precondition, PutObject,
};
use crate::log::{Log, Memory, Source};
use crate::namespace::{
    Body, ETag, Geometry, GeometryCode, INLINE_BYTES_MAX, Layout, LayoutKind, ListQuery, Listing,
    LogEntry, LogPosition, ObjectAttributes, RootKey,
};
use crate::store::{NamespaceStore, StoreOptions};

/// Runs a test on a reactor of its own.
pub(crate) fn on_reactor<T>(test: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Real, test).expect("a reactor")
}

fn open_store(dir: &Path) -> NamespaceStore {
    NamespaceStore::open(
        dir,
        StoreOptions {
            map_bytes: 64 << 20,
        },
    )
    .expect("a store")
    .0
}

async fn start(memories: &[Memory], dir: &Path, config: GroupConfig) -> Result<Group, GroupError> {
    let sources = memories.iter().enumerate();
    let sources = sources
        .map(|(at, memory)| Source::Memory([at as u8; 16], memory.clone()))
        .collect();
    let (log, report) = Log::recover(sources, config.mirrors).await?;
    Group::start_on(config, log, report, open_store(dir), Sender::Unreachable).await
}

fn config() -> GroupConfig {
    GroupConfig::new(0, 1, 2)
}

fn envelope(session: u64, sequence: u64, command: impl Into<Command>) -> Vec<u8> {
    let envelope = Envelope {
        group: 0,
        feature_level: FEATURE_LEVEL,
        session,
        sequence,
        lowest_unanswered: sequence,
        time_micros: 0,
        command: command.into(),
    };
    envelope.encode().expect("an envelope")
}

fn initialise() -> Initialise {
    Initialise {
        cluster: [1; 16],
        incarnation: 1,
        layout: Layout {
            kind: LayoutKind::Single,
            k: 1,
            m: 0,
            geometry: 1,
        },
        geometries: vec![Geometry {
            number: 1,
            code: GeometryCode::Copies,
            k: 1,
            m: 0,
            cell_bytes: 65_536,
        }],
        placement_groups: Vec::new(),
        root_key: RootKey {
            access_key_id: "root".into(),
            secret_access_key: "secret".into(),
        },
    }
}

fn put(key: &str, inode: u64, body: Vec<u8>) -> PutObject {
    PutObject {
        bucket: "b".into(),
        key: key.as_bytes().to_vec(),
        inode,
        size: body.len() as u64,
        etag: ETag::single([7; 16]),
        checksum: None,
        attributes: ObjectAttributes::default(),
        body: Body::Inline(body),
        precondition: Precondition::default(),
        owner: 0,
    }
}

/// A started group with a session, a bucket and some inodes.
struct Client {
    group: Group,
    session: u64,
    sequence: u64,
    inode: u64,
}

impl Client {
    async fn new(group: Group) -> Client {
        group
            .propose(envelope(0, 0, initialise()))
            .await
            .expect("initialised");
        let opened = group
            .propose(envelope(0, 0, OpenSession { owner: 1 }))
            .await;
        let Ok(Answer::Session(session)) = opened else {
            panic!("{opened:?}")
        };
        let mut client = Client {
            group,
            session,
            sequence: 0,
            inode: 0,
        };
        let leased = client.propose(LeaseInodes { count: 100_000 }).await;
        let Answer::Inodes { first, .. } = leased else {
            panic!("{leased:?}")
        };
        client.inode = first;
        client
            .propose(CreateBucket {
                bucket: "b".into(),
                owner: 0,
            })
            .await;
        client
    }

    async fn propose(&mut self, command: impl Into<Command>) -> Answer {
        self.sequence += 1;
        let answer = self
            .group
            .propose(envelope(self.session, self.sequence, command))
            .await;
        answer.expect("an answer")
    }

    async fn put(&mut self, key: &str, bytes: usize) {
        self.inode += 1;
        let answer = self
            .propose(put(key, self.inode, vec![key.len() as u8; bytes]))
            .await;
        assert!(matches!(answer, Answer::Put { .. }), "{key}: {answer:?}");
    }
}

fn keys(store: &NamespaceStore) -> usize {
    let view = store.view().expect("a view");
    let bucket = view.bucket("b").expect("a look").expect("the bucket");
    let mut query = ListQuery {
        limit: 1000,
        ..ListQuery::default()
    };
    let mut count = 0;
    loop {
        let mut listing = Listing::new(query.clone());
        view.list(bucket.inode, &mut listing, usize::MAX)
            .expect("a page");
        let page = listing.into_page();
        count += page.objects.len();
        match page.next {
            Some(next) => query.start_after = next,
            None => return count,
        }
    }
}

#[test]
fn a_restart_finds_everything() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let group = start(&memories, dir.path(), config())
            .await
            .expect("a start");
        assert!(group.statistics().is_leader());
        let mut client = Client::new(group.clone()).await;
        for number in 0..50 {
            client.put(&format!("key{number}"), 100).await;
        }
        group.stop().await.expect("a stop");
        drop(client);
        let group = start(&memories, dir.path(), config())
            .await
            .expect("a second start");
        assert_eq!(keys(&group.0.shared.store), 50);
        assert_eq!(group.statistics().term(), 2);
    });
}

#[test]
fn without_the_metadata_directory_the_log_gives_everything_back() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let mut client = Client::new(
            start(&memories, dir.path(), config())
                .await
                .expect("a start"),
        )
        .await;
        for number in 0..300 {
            client.put(&format!("key{number}"), 1000).await;
        }
        memories.iter().for_each(|memory| memory.crash(0));
        drop(client);
        let other = tempfile::tempdir().expect("another directory");
        let group = start(&memories, other.path(), config())
            .await
            .expect("a start from the log");
        assert_eq!(keys(&group.0.shared.store), 300);
    });
}

#[test]
fn a_snapshot_shortens_the_log_and_replaces_the_metadata_directory() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let settings = GroupConfig {
            checkpoint_interval: Duration::from_millis(10),
            snapshot_log_bytes: 300_000,
            ..config()
        };
        let mut client = Client::new(
            start(&memories, dir.path(), settings)
                .await
                .expect("a start"),
        )
        .await;
        for number in 0..400 {
            client.put(&format!("key{}", number % 40), 4000).await;
            if number % 100 == 99 {
                reactor::sleep(Duration::from_millis(400)).await;
            }
        }
        let statistics = client.group.statistics();
        assert!(statistics.snapshot() > 0, "{statistics:?}");
        assert!(statistics.purged() > 0 && statistics.purged() <= statistics.snapshot());
        assert!(statistics.purged() <= statistics.checkpoint());
        assert!(
            memories[0].held() < 400,
            "{} records are held",
            memories[0].held()
        );
        memories.iter().for_each(|memory| memory.crash(0));
        drop(client);
        // The metadata directory and one of the mirrors are gone.
        let other = tempfile::tempdir().expect("another directory");
        let left = [Memory::default(), memories[1].copy()];
        let group = start(&left, other.path(), config())
            .await
            .expect("a start from the snapshot");
        assert_eq!(keys(&group.0.shared.store), 40);
        assert!(
            group
                .log_report()
                .remarks
                .iter()
                .any(|remark| remark.contains("rebuilt"))
        );
        assert!(left[0].held() > 0);
    });
}

#[test]
fn a_put_costs_one_flush() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let mut client = Client::new(
            start(&memories, dir.path(), config())
                .await
                .expect("a start"),
        )
        .await;
        for bytes in [100, INLINE_BYTES_MAX] {
            let before = memories[0].flushes();
            for number in 0..20 {
                client.put(&format!("key{number}"), bytes).await;
            }
            assert_eq!(memories[0].flushes() - before, 20, "{bytes} bytes");
        }
    });
}

#[test]
fn puts_at_once_share_flushes() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let mut client = Client::new(
            start(&memories, dir.path(), config())
                .await
                .expect("a start"),
        )
        .await;
        let before = memories[0].flushes();
        let lowest_unanswered = client.sequence + 1;
        let mut puts = Vec::new();
        for number in 0..256 {
            client.sequence += 1;
            client.inode += 1;
            let command = put(&format!("key{number}"), client.inode, vec![1; 100]);
            let proposal = Envelope {
                lowest_unanswered,
                ..Envelope::decode(&envelope(client.session, client.sequence, command))
                    .expect("an envelope")
            };
            let encoded = proposal.encode().expect("an envelope");
            puts.push(client.group.propose(encoded));
        }
        for answer in futures_util::future::join_all(puts).await {
            assert!(matches!(answer, Ok(Answer::Put { .. })), "{answer:?}");
        }
        let flushes = memories[0].flushes() - before;
        assert!(flushes <= 32, "{flushes} flushes for 256 puts");
    });
}

#[test]
fn a_repeated_proposal_gets_its_first_answer() {
    on_reactor(async || {
        let memories = [Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let group = start(&memories, dir.path(), GroupConfig::new(0, 1, 1))
            .await
            .expect("a start");
        let mut client = Client::new(group).await;
        client.sequence += 1;
        let proposal = envelope(client.session, client.sequence, LeaseInodes { count: 10 });
        let first = client
            .group
            .propose(proposal.clone())
            .await
            .expect("an answer");
        let again = client
            .group
            .propose(proposal.clone())
            .await
            .expect("an answer");
        assert_eq!(first, again);
        memories[0].crash(0);
        drop(client);
        let other = tempfile::tempdir().expect("another directory");
        let group = start(&memories, other.path(), GroupConfig::new(0, 1, 1))
            .await
            .expect("a start");
        assert_eq!(group.propose(proposal).await.expect("an answer"), first);
    });
}

#[test]
fn losing_one_mirror_is_survived_and_losing_both_stops_the_group() {
    on_reactor(async || {
        let memories = [Memory::default(), Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let mut client = Client::new(
            start(&memories, dir.path(), config())
                .await
                .expect("a start"),
        )
        .await;
        client.put("before", 10).await;
        memories[0].fail(true);
        client.put("after", 10).await;
        memories[1].fail(true);
        let lost = client
            .group
            .propose(envelope(0, 0, Noop { reserved: 0 }))
            .await;
        let Err(ProposeError::Unavailable(cause)) = lost else {
            panic!("{lost:?}")
        };
        assert!(cause.contains("told to fail"), "{cause}");
        drop(client);
        reactor::sleep(Duration::from_millis(10)).await;
        // The mirror that was lost first knows nothing of `after` and must not be believed.
        memories.iter().for_each(|memory| memory.fail(false));
        memories.iter().for_each(|memory| memory.crash(0));
        let other = tempfile::tempdir().expect("another directory");
        let stale = start(
            &[memories[0].copy(), Memory::default()],
            other.path(),
            config(),
        )
        .await;
        assert!(stale.is_ok(), "alone, nobody can tell that it is stale");
        drop(stale);
        let other = tempfile::tempdir().expect("another directory");
        let group = start(&memories, other.path(), config())
            .await
            .expect("a start with both");
        assert_eq!(keys(&group.0.shared.store), 2);
        assert!(
            group
                .log_report()
                .remarks
                .iter()
                .any(|remark| remark.contains("rebuilt"))
        );
        assert_eq!(group.statistics().mirrors(), 2);
    });
}

#[test]
fn too_many_proposals_are_pushed_back() {
    on_reactor(async || {
        let memories = [Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let settings = GroupConfig {
            outstanding_max: 4,
            ..GroupConfig::new(0, 1, 1)
        };
        let group = start(&memories, dir.path(), settings)
            .await
            .expect("a start");
        let tries = (0..8).map(|_| group.propose(envelope(0, 0, Noop { reserved: 0 })));
        let answers = futures_util::future::join_all(tries).await;
        let busy = answers
            .iter()
            .filter(|answer| **answer == Err(ProposeError::Busy))
            .count();
        assert_eq!(busy, 4);
    });
}

#[test]
fn a_failing_state_machine_stops_the_group_and_says_why() {
    on_reactor(async || {
        let memories = [Memory::default()];
        let dir = tempfile::tempdir().expect("a directory");
        let group = start(&memories, dir.path(), GroupConfig::new(0, 1, 1))
            .await
            .expect("a start");
        // No namespace store accepts an entry that follows none: what was applied is taken back.
        let position = LogPosition {
            term: 99,
            node: 1,
            index: u64::MAX,
        };
        group
            .0
            .shared
            .store
            .apply(&[(position, LogEntry::Blank)])
            .expect("applied");
        let first = group.propose(envelope(0, 0, Noop { reserved: 0 })).await;
        let Err(ProposeError::Unavailable(cause)) = first else {
            panic!("{first:?}")
        };
        assert!(cause.contains("is applied after"), "{cause}");
        let later = group.propose(envelope(0, 0, Noop { reserved: 0 })).await;
        assert_eq!(later, Err(ProposeError::Unavailable(cause)));
    });
}
