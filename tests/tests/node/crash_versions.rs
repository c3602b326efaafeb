//! kill -9 under changes of versions, again and again, in a bucket with Object Lock: every acknowledged version is there with its bytes, tags, hold and
//! retention, every deleted one is gone, what was held was never let go, and a change that was under way is there whole or not at all.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockRetention, ObjectLockRetentionMode, Tag, Tagging,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strata_tests::content::{Content, Random};
use strata_tests::server::{Server, ServerOptions};

const ROUNDS: usize = 12;
/// Each has a key of its own, on which it makes one change after the other.
const WORKERS: usize = 8;
/// Above so many versions of a key they are deleted rather than made.
const VERSIONS: usize = 6;
const BUCKET: &str = "versions";
const DAY: i64 = 86_400;

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    /// Empty while no answer has named it.
    id: String,
    /// `None` for a delete marker.
    content: Option<Content>,
    tag: Option<String>,
    held: bool,
    /// Until when it is under governance, in seconds since the Unix epoch.
    retained: Option<i64>,
}

/// The versions of a key, the newest first.
type Versions = Vec<Version>;

/// What a worker knows of its key.
struct Key {
    name: String,
    acknowledged: Versions,
    /// What a change under way would make of it.
    under_way: Option<Versions>,
}

struct Worker {
    client: Client,
    /// Whether the server was killed: before that it answers everything.
    killed: Rc<Cell<bool>>,
    random: Random,
    key: Key,
}

/// A change that got no answer, as the server was killed.
struct CutOff;

macro_rules! answered {
    ($worker:expr, $request:expr) => {
        $request
            .send()
            .await
            .map_err(|error| $worker.cut_off(error))
    };
}

impl Worker {
    /// Changes until the server is gone; the key, and how many changes were acknowledged.
    async fn run(mut self) -> (Key, usize) {
        let mut acknowledged = 0;
        while self.change().await.is_ok() {
            acknowledged += 1;
        }
        (self.key, acknowledged)
    }

    async fn change(&mut self) -> Result<(), CutOff> {
        let full = self.key.acknowledged.len() >= VERSIONS;
        match self.random.below(12) {
            0..=3 if !full => self.put().await,
            4 if !full => self.put_in_parts().await,
            5 if !full => self.copy().await,
            6 if !full => self.mark_deleted().await,
            7 => self.set_tag().await,
            8 => self.set_hold().await,
            9 => self.set_retention().await,
            _ => self.delete_version().await,
        }
    }

    /// A change ends without an answer only because the server was killed.
    fn cut_off<E>(&self, error: SdkError<E>) -> CutOff
    where
        E: ProvideErrorMetadata + std::fmt::Debug,
    {
        assert!(self.killed.get(), "a server that lives said {error:?}");
        CutOff
    }

    fn begin(&mut self, target: &[Version]) {
        self.key.under_way = Some(target.to_vec());
    }

    fn settle(&mut self, target: Versions) {
        self.key.acknowledged = target;
        self.key.under_way = None;
    }

    /// The place of some version that has bytes.
    fn some_object(&mut self) -> Option<usize> {
        let objects = self.key.acknowledged.iter().enumerate();
        let objects = objects.filter(|(_, version)| version.content.is_some());
        let places: Vec<usize> = objects.map(|(place, _)| place).collect();
        (!places.is_empty()).then(|| *self.random.pick(&places))
    }

    fn new_version(&mut self, bytes: usize) -> Version {
        let content = Content {
            seed: self.random.next_u64(),
            bytes,
        };
        let tag = (self.random.below(2) == 0).then(|| format!("t{}", self.random.below(100)));
        Version {
            id: String::new(),
            content: Some(content),
            tag,
            held: self.random.below(4) == 0,
            retained: (self.random.below(4) == 0).then(|| self.some_time()),
        }
    }

    /// A time that lies days ahead.
    fn some_time(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("a time").as_secs().cast_signed();
        now + DAY * (1 + self.random.below(30) as i64)
    }

    fn with(&self, version: Version) -> Versions {
        let mut target = vec![version];
        target.extend(self.key.acknowledged.iter().cloned());
        target
    }

    /// Notes a version that an answer has named.
    fn settle_new(&mut self, mut target: Versions, id: Option<&str>) {
        target[0].id = id.expect("a version").to_owned();
        self.settle(target);
    }

    async fn put(&mut self) -> Result<(), CutOff> {
        let bytes = match self.random.below(4) {
            0..=2 => self.random.below(16 << 10),
            _ => (100 << 10) + self.random.below(300 << 10),
        };
        let version = self.new_version(bytes);
        let body = version.content.expect("an object").make();
        let put = self.client.put_object().bucket(BUCKET).key(&self.key.name);
        let put = put
            .body(ByteStream::from(body))
            .set_tagging(version.tag.as_ref().map(|tag| format!("tag={tag}")))
            .set_object_lock_legal_hold_status(
                version.held.then_some(ObjectLockLegalHoldStatus::On),
            )
            .set_object_lock_mode(version.retained.map(|_| "GOVERNANCE".into()))
            .set_object_lock_retain_until_date(version.retained.map(DateTime::from_secs));
        let target = self.with(version);
        self.begin(&target);
        let answer = answered!(self, put)?;
        self.settle_new(target, answer.version_id());
        Ok(())
    }

    async fn put_in_parts(&mut self) -> Result<(), CutOff> {
        let bytes = self.random.below(64 << 10);
        let version = self.new_version(bytes);
        let key = self.key.name.clone();
        let create = self.client.create_multipart_upload().bucket(BUCKET);
        let create = create
            .key(&key)
            .set_tagging(version.tag.as_ref().map(|tag| format!("tag={tag}")))
            .set_object_lock_legal_hold_status(
                version.held.then_some(ObjectLockLegalHoldStatus::On),
            )
            .set_object_lock_mode(version.retained.map(|_| "GOVERNANCE".into()))
            .set_object_lock_retain_until_date(version.retained.map(DateTime::from_secs));
        let created = answered!(self, create)?;
        let id = created.upload_id().expect("an id");
        let part = self.client.upload_part().bucket(BUCKET).key(&key);
        let body = ByteStream::from(version.content.expect("an object").make());
        let sent = answered!(self, part.upload_id(id).part_number(1).body(body))?;
        let part = CompletedPart::builder()
            .part_number(1)
            .set_e_tag(sent.e_tag);
        let part = part.set_checksum_crc32(sent.checksum_crc32).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = self.client.complete_multipart_upload().bucket(BUCKET);
        let complete = complete.key(&key).upload_id(id).multipart_upload(parts);
        let target = self.with(version);
        self.begin(&target);
        let answer = answered!(self, complete)?;
        self.settle_new(target, answer.version_id());
        Ok(())
    }

    /// A copy of some version, which takes over its tag and neither hold nor retention.
    async fn copy(&mut self) -> Result<(), CutOff> {
        let Some(place) = self.some_object() else {
            return self.put().await;
        };
        let source = self.key.acknowledged[place].clone();
        let key = &self.key.name;
        let copy = self.client.copy_object().bucket(BUCKET).key(key);
        let copy = copy
            .copy_source(format!("{BUCKET}/{key}?versionId={}", source.id))
            .metadata_directive("REPLACE".into());
        let target = self.with(Version {
            id: String::new(),
            held: false,
            retained: None,
            ..source
        });
        self.begin(&target);
        let answer = answered!(self, copy)?;
        self.settle_new(target, answer.version_id());
        Ok(())
    }

    async fn mark_deleted(&mut self) -> Result<(), CutOff> {
        let target = self.with(Version {
            id: String::new(),
            content: None,
            tag: None,
            held: false,
            retained: None,
        });
        self.begin(&target);
        let delete = self.client.delete_object().bucket(BUCKET);
        let answer = answered!(self, delete.key(&self.key.name))?;
        self.settle_new(target, answer.version_id());
        Ok(())
    }

    async fn set_tag(&mut self) -> Result<(), CutOff> {
        let Some(place) = self.some_object() else {
            return Ok(());
        };
        let mut target = self.key.acknowledged.clone();
        let tag = (self.random.below(3) > 0).then(|| format!("t{}", self.random.below(100)));
        let (key, id) = (self.key.name.clone(), target[place].id.clone());
        target[place].tag.clone_from(&tag);
        self.begin(&target);
        match tag {
            Some(tag) => {
                let tag = Tag::builder().key("tag").value(tag).build().expect("a tag");
                let tagging = Tagging::builder().tag_set(tag).build().expect("tags");
                let put = self.client.put_object_tagging().bucket(BUCKET).key(key);
                answered!(self, put.version_id(id).tagging(tagging))?;
            }
            None => {
                let delete = self.client.delete_object_tagging().bucket(BUCKET).key(key);
                answered!(self, delete.version_id(id))?;
            }
        }
        self.settle(target);
        Ok(())
    }

    async fn set_hold(&mut self) -> Result<(), CutOff> {
        let Some(place) = self.some_object() else {
            return Ok(());
        };
        let mut target = self.key.acknowledged.clone();
        target[place].held = !target[place].held;
        let status = match target[place].held {
            true => ObjectLockLegalHoldStatus::On,
            false => ObjectLockLegalHoldStatus::Off,
        };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let put = self.client.put_object_legal_hold().bucket(BUCKET);
        let put = put.key(&self.key.name).version_id(&target[place].id);
        self.begin(&target);
        answered!(self, put.legal_hold(hold))?;
        self.settle(target);
        Ok(())
    }

    async fn set_retention(&mut self) -> Result<(), CutOff> {
        let Some(place) = self.some_object() else {
            return Ok(());
        };
        let until = self.some_time();
        let mut target = self.key.acknowledged.clone();
        target[place].retained = Some(until);
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(DateTime::from_secs(until));
        let put = self.client.put_object_retention().bucket(BUCKET);
        let put = put.key(&self.key.name).version_id(&target[place].id);
        let put = put.retention(retention.build());
        self.begin(&target);
        answered!(self, put.bypass_governance_retention(true))?;
        self.settle(target);
        Ok(())
    }

    /// Deletes a version, or is refused one that is held or retained.
    async fn delete_version(&mut self) -> Result<(), CutOff> {
        let count = self.key.acknowledged.len();
        if count == 0 {
            return self.put().await;
        }
        let place = self.random.below(count);
        let mut target = self.key.acknowledged.clone();
        let version = target.remove(place);
        let bypass = self.random.below(2) == 0;
        let delete = self.client.delete_object().bucket(BUCKET);
        let delete = delete.key(&self.key.name).version_id(&version.id);
        let delete = delete.set_bypass_governance_retention(bypass.then_some(true));
        if version.held || version.retained.is_some() && !bypass {
            let error = delete.send().await.expect_err("it is locked");
            if let SdkError::ServiceError(_) = &error {
                let refused = crate::failure(Err::<(), _>(error));
                assert_eq!(refused, crate::code(403, "AccessDenied"));
                return Ok(());
            }
            return Err(self.cut_off(error));
        }
        self.begin(&target);
        answered!(self, delete)?;
        self.settle(target);
        Ok(())
    }
}

/// The versions of a key as the server tells them.
async fn found(client: &Client, key: &str) -> Versions {
    let list = client.list_object_versions().bucket(BUCKET).prefix(key);
    let list = list.send().await.expect("a list");
    let objects = list.versions().iter().map(|version| {
        let time = version.last_modified().expect("a time");
        (version.is_latest(), *time, version.version_id(), true)
    });
    let markers = list.delete_markers().iter().map(|marker| {
        let time = marker.last_modified().expect("a time");
        (marker.is_latest(), *time, marker.version_id(), false)
    });
    let all: Vec<_> = objects.chain(markers).collect();
    let latest = all
        .iter()
        .filter(|(is_latest, ..)| *is_latest == Some(true));
    assert_eq!(latest.count(), all.len().min(1), "{key}: {all:?}");
    let mut versions = Vec::new();
    for (_, _, id, is_object) in all {
        let id = id.expect("a version").to_owned();
        versions.push(match is_object {
            true => object(client, key, id).await,
            false => Version {
                id,
                content: None,
                tag: None,
                held: false,
                retained: None,
            },
        });
    }
    versions
}

/// One version that has bytes; what they are stands in `content` as length and, for want of the seed, a hash.
async fn object(client: &Client, key: &str, id: String) -> Version {
    let get = client.get_object().bucket(BUCKET).key(key).version_id(&id);
    let got = get.send().await.expect("a version that is listed");
    let held = got.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
    let retained = got.object_lock_retain_until_date().map(DateTime::secs);
    let body = got.body.collect().await.expect("a body").into_bytes();
    let tags = client.get_object_tagging().bucket(BUCKET).key(key);
    let tags = tags.version_id(&id).send().await.expect("tags");
    let tag = tags.tag_set().first().map(|tag| tag.value().to_owned());
    Version {
        id,
        content: Some(digest(&body)),
        tag,
        held,
        retained,
    }
}

/// Length and a hash of bytes.
fn digest(bytes: &[u8]) -> Content {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    Content {
        seed: bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold),
        bytes: bytes.len(),
    }
}

/// Whether the server tells these versions: an id that no answer has named may be any. The order is that of the ids, since lists tell
/// objects and markers apart.
fn are(expected: &[Version], found: &[Version]) -> bool {
    let mut rest: Vec<&Version> = found.iter().collect();
    expected.len() == found.len()
        && expected.iter().all(|version| {
            let told = Version {
                content: version.content.map(|content| digest(&content.make())),
                ..version.clone()
            };
            let fits = |other: &&Version| {
                let told_id = if told.id.is_empty() {
                    &other.id
                } else {
                    &told.id
                };
                **other
                    == Version {
                        id: told_id.clone(),
                        ..told.clone()
                    }
            };
            let at = rest.iter().position(fits);
            at.map(|at| rest.remove(at)).is_some()
        })
}

/// The key holds what was acknowledged, or what the change that was under way makes of it. Ids that no answer has named are taken over.
async fn verify(client: &Client, key: &mut Key, round: usize) {
    let found = found(client, &key.name).await;
    let mut possible = vec![key.acknowledged.clone()];
    possible.extend(key.under_way.take());
    let Some(mut now) = possible.iter().find(|one| are(one, &found)).cloned() else {
        panic!(
            "round {round}: {} holds {found:#?}, expected one of {possible:#?}",
            key.name
        );
    };
    let known: Vec<String> = now.iter().map(|version| version.id.clone()).collect();
    if let Some(new) = now.iter_mut().find(|version| version.id.is_empty()) {
        let is_new = |version: &&Version| !known.contains(&version.id);
        new.id
            .clone_from(&found.iter().find(is_new).expect("the new one").id);
    }
    key.acknowledged = now;
}

#[tokio::test]
async fn kill_nine_keeps_versions_with_their_tags_and_locks() {
    let mut random = Random::announced("crash_versions");
    let mut server = Server::start(ServerOptions::default());
    let create = server.client().create_bucket().bucket(BUCKET);
    let create = create.object_lock_enabled_for_bucket(true);
    create.send().await.expect("a bucket");
    let mut keys: Vec<Key> = (0..WORKERS)
        .map(|number| Key {
            name: format!("w{number}/key"),
            acknowledged: Vec::new(),
            under_way: None,
        })
        .collect();
    let (mut acknowledged, mut cut) = (0, 0);
    for round in 0..ROUNDS {
        let load = tokio::task::LocalSet::new();
        let killed = Rc::new(Cell::new(false));
        let workers: Vec<_> = keys
            .drain(..)
            .map(|key| {
                let worker = Worker {
                    client: server.client(),
                    killed: killed.clone(),
                    random: Random::new(random.next_u64()),
                    key,
                };
                load.spawn_local(worker.run())
            })
            .collect();
        let life = Duration::from_millis(50 + random.below(700) as u64);
        load.run_until(tokio::time::sleep(life)).await;
        killed.set(true);
        server.kill();
        load.run_until(async {
            for worker in workers {
                let (key, count) = worker.await.expect("a worker");
                acknowledged += count;
                cut += usize::from(key.under_way.is_some());
                keys.push(key);
            }
        })
        .await;
        server.restart();
        for key in &mut keys {
            verify(&server.client(), key, round).await;
        }
    }
    println!("crash_versions: {ROUNDS} kills, {acknowledged} changes acknowledged, {cut} cut off");
    assert!(
        acknowledged >= ROUNDS * 10,
        "too little load: {acknowledged}"
    );
    assert!(cut >= ROUNDS / 2, "too few changes were under way: {cut}");
}
