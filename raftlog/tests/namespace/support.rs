//! A store in a temporary directory with a proposer's session.

use strata_raftlog::namespace::command::{
    Answer, Command, CreateBucket, DeleteKey, DeleteObjects, DeleteOutcome, Envelope, LeaseInodes,
    OpenEpoch, OpenSession, RegisterWriter, Release, ReleaseBodies,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreError, StoreOptions};
use strata_raftlog::namespace::{
    Body, ChunkId, Extent, ListPage, ListQuery, Listing, LogEntry, LogPosition, RELEASE_ROWS_MAX,
};

use crate::commands::{initialise, put};

pub const MAP_BYTES: usize = 64 << 20;

pub struct Cluster {
    pub store: NamespaceStore,
    pub dir: tempfile::TempDir,
    pub session: u64,
    pub writer: u32,
    pub epoch: u32,
    pub time_nanos: i64,
    /// How many sequences back the lowest unanswered one is.
    pub outstanding: u64,
    /// Every command so far.
    pub log: Vec<(LogPosition, Vec<u8>)>,
    sequence: u64,
    index: u64,
    inodes: std::ops::Range<u64>,
    chunks: u128,
}

impl Cluster {
    pub fn new() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            map_bytes: MAP_BYTES,
        };
        let (store, opened) = NamespaceStore::open(dir.path(), options).unwrap();
        assert!(opened.fresh);
        Cluster::on(store, dir)
    }

    /// A cluster on a fresh store.
    pub fn on(store: NamespaceStore, dir: tempfile::TempDir) -> Cluster {
        let mut cluster = Cluster {
            store,
            dir,
            session: 0,
            writer: 0,
            epoch: 0,
            time_nanos: 1_000_000,
            outstanding: 64,
            log: Vec::new(),
            sequence: 0,
            index: 0,
            inodes: 0..0,
            chunks: 0,
        };
        assert_eq!(cluster.change(initialise()), Answer::Done);
        cluster.open_session();
        let Answer::Writer(writer) = cluster.change(RegisterWriter {
            node: 1,
            reactor: 0,
        }) else {
            panic!("no writer");
        };
        let Answer::Epoch(epoch) = cluster.change(OpenEpoch { writer }) else {
            panic!("no epoch");
        };
        (cluster.writer, cluster.epoch) = (writer, epoch);
        cluster
    }

    pub fn open_session(&mut self) {
        self.session = 0;
        let Answer::Session(session) = self.change(OpenSession { owner: 1 }) else {
            panic!("no session");
        };
        (self.session, self.sequence) = (session, 0);
    }

    pub fn envelope(&mut self, command: impl Into<Command>) -> Envelope {
        self.sequence += 1;
        Envelope {
            group: 0,
            feature_level: 1,
            session: self.session,
            sequence: self.sequence,
            lowest_unanswered: self.sequence.saturating_sub(self.outstanding),
            time_nanos: self.time_nanos,
            command: command.into(),
        }
    }

    pub fn apply(&mut self, envelope: &Envelope) -> Answer {
        self.try_apply(envelope).unwrap()
    }

    /// The last place in the log.
    pub fn position(&self) -> LogPosition {
        LogPosition {
            term: 1,
            node: 1,
            index: self.index,
        }
    }

    /// A command in the next place of the log, which the caller applies.
    pub fn next_entry(&mut self, command: impl Into<Command>) -> (LogPosition, Vec<u8>) {
        let envelope = self.envelope(command);
        self.index += 1;
        let bytes = envelope.encode().unwrap().to_vec();
        self.log.push((self.position(), bytes.clone()));
        (self.position(), bytes)
    }

    fn try_apply(&mut self, envelope: &Envelope) -> Result<Answer, StoreError> {
        self.index += 1;
        let position = self.position();
        let bytes = envelope.encode().unwrap();
        self.log.push((position, bytes.to_vec()));
        let mut answers = self.store.apply(&[(position, LogEntry::Command(&bytes))])?;
        Ok(answers.pop().unwrap())
    }

    pub fn change(&mut self, command: impl Into<Command>) -> Answer {
        let envelope = self.envelope(command);
        self.apply(&envelope)
    }

    /// Changes in one batch.
    pub fn change_all(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let mut encoded = Vec::new();
        for command in commands {
            let envelope = self.envelope(command);
            self.index += 1;
            let position = LogPosition {
                term: 1,
                node: 1,
                index: self.index,
            };
            encoded.push((position, envelope.encode().unwrap().to_vec()));
            self.log.extend(encoded.last().cloned());
        }
        let entries = encoded
            .iter()
            .map(|(position, bytes)| (*position, LogEntry::Command(bytes)));
        self.store.apply(&entries.collect::<Vec<_>>()).unwrap()
    }

    /// How many chunks were introduced so far.
    pub fn chunks_introduced(&self) -> u128 {
        self.chunks
    }

    pub fn bucket(&mut self, bucket: &str) -> u64 {
        let answer = self.change(CreateBucket {
            bucket: bucket.into(),
            owner: 1,
            object_lock: false,
        });
        assert_eq!(answer, Answer::Done);
        self.bucket_inode(bucket)
    }

    /// The inode of a bucket; 0 where there is none.
    pub fn bucket_inode(&self, bucket: &str) -> u64 {
        let found = self.store.view().unwrap().bucket(bucket).unwrap();
        found.map_or(0, |bucket| bucket.inode)
    }

    pub fn inode(&mut self) -> u64 {
        if self.inodes.is_empty() {
            let Answer::Inodes { first, count } = self.change(LeaseInodes { count: 10_000 }) else {
                panic!("no inodes");
            };
            self.inodes = first..first + u64::from(count);
        }
        self.inodes.next().unwrap()
    }

    /// A fresh chunk of this cluster's writer.
    pub fn chunk(&mut self) -> ChunkId {
        self.chunks += 1;
        ChunkId(u128::from(self.writer) << 72 | u128::from(self.epoch) << 40 | self.chunks)
    }

    pub fn extent(&mut self, length: u64) -> Extent {
        Extent::whole_chunk(self.chunk(), length, 1, 1)
    }

    pub fn put(&mut self, bucket: &str, key: &[u8], body: Body) -> u64 {
        let inode = self.inode();
        let answer = self.change(put(self.bucket_inode(bucket), key, inode, body));
        assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
        inode
    }

    pub fn try_put(&mut self, bucket: &str, key: &[u8], body: Body) -> Result<(), StoreError> {
        let inode = self.inode();
        let envelope = self.envelope(put(self.bucket_inode(bucket), key, inode, body));
        self.try_apply(&envelope).map(drop)
    }

    pub fn delete(&mut self, bucket: &str, keys: &[&[u8]]) -> Vec<DeleteOutcome> {
        let keys = keys.iter().map(|key| DeleteKey {
            key: key.to_vec(),
            if_match: None,
        });
        let command = DeleteObjects {
            bucket: self.bucket_inode(bucket),
            keys: keys.collect(),
        };
        match self.change(command) {
            Answer::Deleted(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// Frees and releases everything that was dropped, and gives the chunks in order. No command deletes more rows than one
    /// may.
    pub fn release_all(&mut self) -> Vec<ChunkId> {
        let mut chunks = std::collections::BTreeSet::new();
        loop {
            let view = self.store.view().unwrap();
            let dropped = view.dropped(None, 2).unwrap();
            let mut releases = Vec::new();
            for body in dropped {
                let page = view.chunks_of_dropped(&body, RELEASE_ROWS_MAX / 2).unwrap();
                chunks.extend(page.chunks);
                let (space, offset) = page.next.unwrap_or((u32::MAX, u64::MAX));
                let body = body.key;
                releases.push(Release {
                    body,
                    space,
                    offset,
                });
            }
            drop(view);
            if releases.is_empty() {
                return chunks.into_iter().collect();
            }
            let before = self.rows_of(b"MX");
            assert_eq!(self.change(ReleaseBodies { releases }), Answer::Done);
            // The last part that is released may have five rows of its own.
            assert!(before - self.rows_of(b"MX") <= RELEASE_ROWS_MAX + 5);
        }
    }

    /// One page of a listing, of which so many steps are made in each transaction.
    pub fn list(&self, bucket: u64, query: &ListQuery, steps: usize) -> ListPage {
        let mut listing = Listing::new(query.clone());
        while !listing.is_complete() {
            let view = self.store.view().unwrap();
            view.list(bucket, &mut listing, steps).unwrap();
        }
        listing.into_page()
    }

    /// Rows of these families, by the first byte of their keys.
    pub fn rows_of(&self, families: &[u8]) -> usize {
        self.rows()
            .iter()
            .filter(|(key, _)| families.contains(&key[0]))
            .count()
    }

    /// All rows.
    pub fn rows(&self) -> Rows {
        rows_of(&self.store)
    }
}

/// The inode of the first bucket, where no inodes were leased before it was made.
pub const FIRST_BUCKET: u64 = 16;

/// Keys and values.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// All rows of a store, through a snapshot.
pub fn rows_of(store: &NamespaceStore) -> Rows {
    let mut snapshot = store.snapshot().unwrap();
    let mut rows = Vec::new();
    while let Some(piece) = snapshot.next_piece().unwrap() {
        let mut rest = &piece[12..];
        while !rest.is_empty() {
            let length =
                |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
            let (key_end, end) = (8 + length(0), 8 + length(0) + length(4));
            rows.push((rest[8..key_end].to_vec(), rest[key_end..end].to_vec()));
            rest = &rest[end..];
        }
    }
    rows
}
