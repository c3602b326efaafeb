//! The clients of a node: what they call at random, and what is noted of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use strata_engine::reactor;
use strata_raftlog::namespace::ListQuery;
use strata_raftlog::namespace::command::Refusal;

use super::counters::Counters;
use super::objects::{self, Upload};
use super::record::{Act, CallNumber, KEYS, Outcome, Record};
use super::values::{Random, Value};
use super::{Planted, Violation, bounds, durability, listing};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::node::status::NodeStatus;

/// What all clients of a history share.
#[derive(Default)]
pub struct Inner {
    pub record: Record,
    pub counters: Counters,
    /// The first mistake that was found.
    pub violation: Option<Violation>,
    /// Uploads that were begun and not ended.
    pub uploads: Vec<Upload>,
    values: u32,
    /// What the node that runs says of itself, once it serves.
    pub status: Option<Arc<NodeStatus>>,
}

/// A handle to what they share.
#[derive(Clone, Default)]
pub struct Shared {
    inner: Arc<Mutex<Inner>>,
    pub planted: Option<Planted>,
}

impl Shared {
    /// That of a history in which a mistake is planted, or none.
    pub fn new(planted: Option<Planted>) -> Shared {
        Shared {
            planted,
            ..Shared::default()
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    pub fn count(&self, name: &'static str) {
        self.lock().counters.add(name);
    }

    /// Notes what a checker has found, unless another has found something before.
    pub fn note(&self, checker: &'static str, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.lock()
                .violation
                .get_or_insert(Violation { checker, what });
        }
    }

    /// Whether a mistake was found, after which nothing more is called.
    pub fn has_failed(&self) -> bool {
        self.lock().violation.is_some()
    }

    fn new_value(&self, bytes: usize) -> Value {
        let mut inner = self.lock();
        inner.values += 1;
        Value {
            number: inner.values,
            bytes: bytes as u32,
        }
    }

    fn invoke(&self, key: usize, act: Act) -> CallNumber {
        self.lock().record.invoke(key, act)
    }

    /// Notes how a change ended.
    fn end(&self, call: CallNumber, ended: Result<(), ClusterError>) {
        let outcome = match ended {
            Ok(()) => Outcome::Done,
            Err(ClusterError::Refused(Refusal::PreconditionFailed)) => Outcome::Existed,
            Err(ClusterError::Refused(Refusal::NoSuchUpload | Refusal::PartsChanged)) => {
                Outcome::Nothing
            }
            Err(ClusterError::Busy(_) | ClusterError::Full(_)) => Outcome::Nothing,
            Err(ClusterError::Unavailable(_)) => return self.count("outcome unknown"),
            Err(other) => {
                let what = format!("a change failed as none may: {other}");
                return self.note("durability", Err(what));
            }
        };
        let mut inner = self.lock();
        inner.record.answer(call, outcome);
        match outcome {
            Outcome::Done => {}
            Outcome::Existed => inner.counters.add("put if absent, refused"),
            Outcome::Nothing => inner.counters.add("no effect"),
        }
    }
}

/// Lengths of bodies: inline ones, whole copies, one chunk, several.
const LENGTHS: [usize; 12] = [
    0,
    1,
    700,
    16 << 10,
    (16 << 10) + 1,
    40_000,
    70_000,
    100_000,
    130_000,
    160_000,
    400_000,
    1_300_000,
];

/// A client on one reactor.
pub struct Client {
    pub cluster: Cluster,
    pub shared: Shared,
    pub random: Random,
    /// The longest pause between two calls.
    pub pause: Duration,
}

impl Client {
    /// Makes so many calls.
    pub async fn call(mut self, calls: usize) {
        for _ in 0..calls {
            let pause = self.random.below(self.pause.as_millis() as usize + 1) as u64;
            reactor::sleep(Duration::from_millis(pause)).await;
            if self.shared.has_failed() {
                return;
            }
            self.call_one().await;
            self.shared
                .note("bounds", bounds::check_queues(&self.cluster));
        }
    }

    async fn call_one(&mut self) {
        let key = self.random.below(KEYS.len());
        match self.random.below(100) {
            0..28 => self.put(key).await,
            28..33 => self.put_if_absent(key).await,
            33..42 => self.delete(key).await,
            42..49 => self.copy(key).await,
            49..66 => self.get(key).await,
            66..71 => self.get_range(key).await,
            71..81 => self.list().await,
            81..86 => self.begin_upload(key).await,
            86..92 => self.put_part_again().await,
            _ => self.end_upload().await,
        }
    }

    fn length(&mut self) -> usize {
        let bytes = LENGTHS[self.random.below(LENGTHS.len())];
        // Long ones are what takes a history its time.
        let bytes = if bytes > 200_000 && self.random.percent(60) {
            bytes / 8
        } else {
            bytes
        };
        bytes + self.random.below(2) * self.random.below(500)
    }

    async fn put(&mut self, key: usize) {
        let bytes = self.length();
        let value = self.shared.new_value(bytes);
        let call = self.shared.invoke(key, Act::Put(value));
        self.shared.count("put");
        let ended = self.store_and_name(key, value, false).await;
        self.shared.end(call, ended);
    }

    async fn put_if_absent(&mut self, key: usize) {
        let bytes = self.length();
        let value = self.shared.new_value(bytes);
        let call = self.shared.invoke(key, Act::PutIfAbsent(value));
        self.shared.count("put if absent");
        let ended = self.store_and_name(key, value, true).await;
        self.shared.end(call, ended);
    }

    async fn store_and_name(
        &self,
        key: usize,
        value: Value,
        only_if_absent: bool,
    ) -> Result<(), ClusterError> {
        let stored = objects::store_value(&self.cluster, value).await?;
        objects::name(&self.cluster, KEYS[key], value, stored, only_if_absent).await
    }

    async fn delete(&mut self, key: usize) {
        let call = self.shared.invoke(key, Act::Delete);
        self.shared.count("delete");
        let ended = objects::delete(&self.cluster, KEYS[key]).await;
        self.shared.end(call, ended);
    }

    async fn copy(&mut self, key: usize) {
        let source = self.random.below(KEYS.len());
        let opened = objects::open(&self.cluster, KEYS[source], |size| 0..size);
        let Some(opened) = self.answer_of_read(opened).flatten() else {
            return;
        };
        let value = Value::of(&opened.object);
        let call = self.shared.invoke(key, Act::Put(value));
        self.shared.count("copy");
        let copied = async {
            let stored = objects::store_copy(&self.cluster, opened).await?;
            objects::name(&self.cluster, KEYS[key], value, stored, false).await
        };
        let ended = copied.await;
        self.shared.end(call, ended);
    }

    /// What a read has found; nothing where it is to be tried again later.
    fn answer_of_read<T>(&self, read: Result<T, ClusterError>) -> Option<T> {
        match read {
            Ok(found) => Some(found),
            Err(ClusterError::Busy(_)) => None,
            // The machine is about to stop, and to make its metadata anew.
            Err(_) if self.cluster.parts().status.needs_rebuild() => None,
            Err(error) => {
                let what = format!("a read failed while no more was damaged than may be: {error}");
                self.shared.note("durability", Err(what));
                None
            }
        }
    }

    async fn get(&mut self, key: usize) {
        self.shared.count("get");
        get_and_check(self, key).await;
    }

    async fn get_range(&mut self, key: usize) {
        self.shared.count("get a range");
        let (one, other) = (
            self.random.below(1001) as u64,
            self.random.below(1001) as u64,
        );
        let cut = move |size: u64| size * one.min(other) / 1000..size * one.max(other) / 1000;
        let opened = objects::open(&self.cluster, KEYS[key], cut);
        let Some(Some(opened)) = self.answer_of_read(opened) else {
            return;
        };
        let (value, range) = (Value::of(&opened.object), cut(opened.object.size));
        let read = opened.read().await;
        if let Some(read) = self.answer_of_read(read) {
            let wanted = value
                .content()
                .slice(range.start as usize..range.end as usize);
            let same = (read == wanted).then_some(());
            let what = || {
                format!(
                    "bytes {range:?} of {:?} are not those of {value:?}",
                    KEYS[key]
                )
            };
            self.shared.note("durability", same.ok_or_else(what));
        }
    }

    /// Lists a page or some, each with a look at every key in the same turn.
    async fn list(&mut self) {
        let mut query = ListQuery {
            prefix: self
                .random
                .pick(&["", "", "a", "a/", "dir/", "b/"])
                .unwrap_or("")
                .into(),
            delimiter: self.random.pick(&["", "", "/"]).unwrap_or("").into(),
            start_after: Vec::new(),
            limit: 1 + self.random.below(9),
        };
        for _ in 0..4 {
            self.shared.count("list a page");
            let Some(next) = list_and_check(self, &query) else {
                return;
            };
            query.start_after = next;
            reactor::sleep(Duration::from_millis(self.random.below(40) as u64)).await;
        }
    }

    async fn begin_upload(&mut self, key: usize) {
        let parts: Vec<usize> = (0..1 + self.random.below(3))
            .map(|_| self.length())
            .collect();
        let value = self.shared.new_value(parts.iter().sum());
        self.shared.count("create an upload");
        let Ok(inode) = objects::create_upload(&self.cluster, KEYS[key]).await else {
            return;
        };
        let upload = Upload {
            key,
            inode,
            value,
            parts,
        };
        for part in 0..upload.parts.len() {
            self.shared.count("put a part");
            if objects::put_part(&self.cluster, KEYS[key], &upload, part)
                .await
                .is_err()
            {
                // What has no answer may be there: the upload is ended later, or dropped at last.
                break;
            }
        }
        self.shared.lock().uploads.push(upload);
    }

    fn take_upload(&mut self) -> Option<Upload> {
        let mut inner = self.shared.lock();
        let count = inner.uploads.len();
        (count > 0).then(|| inner.uploads.swap_remove(self.random.below(count)))
    }

    async fn put_part_again(&mut self) {
        let Some(upload) = self.take_upload() else {
            return;
        };
        self.shared.count("put a part again");
        let part = self.random.below(upload.parts.len());
        // Its answer changes nothing: the part has the same bytes.
        let _ = objects::put_part(&self.cluster, KEYS[upload.key], &upload, part).await;
        self.shared.lock().uploads.push(upload);
    }

    async fn end_upload(&mut self) {
        let Some(upload) = self.take_upload() else {
            return;
        };
        let key = KEYS[upload.key];
        if self.random.percent(25) {
            self.shared.count("abort an upload");
            let _ = objects::abort(&self.cluster, key.as_bytes(), upload.inode).await;
            return;
        }
        let completion = objects::completion(&self.cluster, key, &upload);
        let Some(Some(complete)) = self.answer_of_read(completion) else {
            return;
        };
        let call = self.shared.invoke(upload.key, Act::Put(upload.value));
        self.shared.count("complete an upload");
        let ended = self.cluster.submit(complete).await.map(drop);
        self.shared.end(call, ended);
    }
}

/// Reads what lies under a key and compares every byte.
pub async fn get_and_check(client: &Client, key: usize) {
    let shared = &client.shared;
    let call = shared.invoke(key, Act::See(None));
    let opened = objects::open(&client.cluster, KEYS[key], |size| 0..size);
    let Some(opened) = client.answer_of_read(opened) else {
        return;
    };
    let Some(opened) = opened else {
        return shared.lock().record.see(call, None);
    };
    let value = Value::of(&opened.object);
    let read = opened.read().await;
    if let Some(read) = client.answer_of_read(read) {
        shared.note("durability", durability::check_bytes(key, value, &read));
        shared.lock().record.see(call, Some(value));
    }
}

/// Sees every key in one turn; the keys that are there.
pub fn look_at_all(client: &Client) -> Option<std::collections::BTreeSet<Vec<u8>>> {
    let mut there = std::collections::BTreeSet::new();
    for (key, name) in KEYS.iter().enumerate() {
        let found = client.answer_of_read(objects::find(&client.cluster, name))?;
        let mut inner = client.shared.lock();
        let call = inner.record.invoke(key, Act::See(None));
        inner.record.see(call, found.as_ref().map(Value::of));
        if found.is_some() {
            there.insert(name.as_bytes().to_vec());
        }
    }
    Some(there)
}

/// Lists a page and compares it with what is there in the same turn; where the next one begins.
pub fn list_and_check(client: &Client, query: &ListQuery) -> Option<Vec<u8>> {
    let mut page = client.answer_of_read(objects::list(&client.cluster, query.clone()))?;
    if client.shared.planted == Some(Planted::ListPageOneShort) && page.next.is_some() {
        page.objects.pop();
    }
    let there = look_at_all(client)?;
    client
        .shared
        .note("listing", listing::check_page(query, &there, &page));
    page.next
}
