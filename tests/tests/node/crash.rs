//! kill -9 under mixed load, again and again: every acknowledged change is there byte for byte and listed, every other
//! one is there whole or not at all.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use strata_tests::content::{Content, Random};
use strata_tests::server::{Server, ServerOptions};

const ROUNDS: usize = 30;
const WORKERS: usize = 8;
/// Keys of each worker: few, so that overwrites and deletes meet what is there.
const KEYS: usize = 12;
const BUCKET: &str = "crash";
const PART_BYTES: usize = 5 << 20;

/// What a key may hold after a crash: the last acknowledged state, and one for each change that was under way.
#[derive(Clone, Debug, Default)]
struct Expected {
    acknowledged: Option<Content>,
    under_way: Vec<Option<Content>>,
}

/// Whether the server was killed: before that it answers everything.
type Killed = Rc<Cell<bool>>;

type Model = Rc<RefCell<BTreeMap<String, Expected>>>;

/// A change before it is sent; whoever settles it heard the answer.
fn begin(model: &Model, key: &str, target: Option<Content>) {
    model
        .borrow_mut()
        .entry(key.to_string())
        .or_default()
        .under_way
        .push(target);
}

fn settle(model: &Model, key: &str, target: Option<Content>) {
    let mut model = model.borrow_mut();
    let expected = model.entry(key.to_string()).or_default();
    expected.under_way.clear();
    expected.acknowledged = target;
}

struct Worker {
    client: Client,
    model: Model,
    killed: Killed,
    random: Random,
    number: usize,
}

impl Worker {
    fn key(&mut self) -> String {
        format!("w{}/{}/key", self.number, self.random.below(KEYS))
    }

    fn content(&mut self) -> Content {
        let bytes = match self.random.below(10) {
            0..=4 => self.random.below(16 << 10),
            5..=7 => (16 << 10) + self.random.below(300 << 10),
            8 => (1 << 20) + self.random.below(2 << 20),
            _ => 0,
        };
        Content {
            seed: self.random.next_u64(),
            bytes,
        }
    }

    /// Changes until the server is gone; how many it acknowledged.
    async fn run(mut self) -> usize {
        let mut acknowledged = 0;
        loop {
            let outcome = match self.random.below(12) {
                0 | 1 => self.delete().await,
                2 => self.delete_many().await,
                3 => self.put_in_parts().await,
                _ => self.put().await,
            };
            match outcome {
                Ok(()) => acknowledged += 1,
                Err(()) => return acknowledged,
            }
        }
    }

    /// A change ends without an answer only because the server was killed; a server that answers may only ask for
    /// patience.
    fn cut_off<E>(&self, error: SdkError<E>)
    where
        E: ProvideErrorMetadata + std::fmt::Debug,
    {
        if let SdkError::ServiceError(_) = &error {
            let (status, code) = crate::failure(Err::<(), _>(error));
            assert_eq!(status, 503, "{code}");
        } else {
            assert!(
                self.killed.get(),
                "no answer from a server that lives: {error:?}"
            );
        }
    }

    async fn put(&mut self) -> Result<(), ()> {
        let (key, content) = (self.key(), self.content());
        begin(&self.model, &key, Some(content));
        let body = ByteStream::from(content.make());
        let put = self.client.put_object().bucket(BUCKET).key(&key).body(body);
        put.send().await.map_err(|error| self.cut_off(error))?;
        settle(&self.model, &key, Some(content));
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), ()> {
        let key = self.key();
        begin(&self.model, &key, None);
        self.client
            .delete_object()
            .bucket(BUCKET)
            .key(&key)
            .send()
            .await
            .map_err(|error| self.cut_off(error))?;
        settle(&self.model, &key, None);
        Ok(())
    }

    async fn delete_many(&mut self) -> Result<(), ()> {
        let keys: Vec<String> = (0..3).map(|_| self.key()).collect();
        let ids = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key).build().expect("an id"));
        let delete = Delete::builder()
            .set_objects(Some(ids.collect()))
            .build()
            .expect("a delete");
        keys.iter().for_each(|key| begin(&self.model, key, None));
        let answer = self
            .client
            .delete_objects()
            .bucket(BUCKET)
            .delete(delete)
            .send()
            .await
            .map_err(|error| self.cut_off(error))?;
        assert!(answer.errors().is_empty(), "{:?}", answer.errors());
        keys.iter().for_each(|key| settle(&self.model, key, None));
        Ok(())
    }

    async fn put_in_parts(&mut self) -> Result<(), ()> {
        let key = self.key();
        let content = Content {
            seed: self.random.next_u64(),
            bytes: PART_BYTES + self.random.below(1 << 20),
        };
        let created = self
            .client
            .create_multipart_upload()
            .bucket(BUCKET)
            .key(&key);
        let created = created.send().await.map_err(|error| self.cut_off(error))?;
        let id = created.upload_id().expect("an id");
        let mut done = Vec::new();
        for (number, part) in (1..).zip(content.make().chunks(PART_BYTES)) {
            let sent = self
                .client
                .upload_part()
                .bucket(BUCKET)
                .key(&key)
                .upload_id(id);
            let sent = sent
                .part_number(number)
                .body(ByteStream::from(part.to_vec()));
            let sent = sent.send().await.map_err(|error| self.cut_off(error))?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag);
            done.push(part.set_checksum_crc32(sent.checksum_crc32).build());
        }
        begin(&self.model, &key, Some(content));
        let upload = CompletedMultipartUpload::builder()
            .set_parts(Some(done))
            .build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key(&key)
            .upload_id(id);
        complete
            .multipart_upload(upload)
            .send()
            .await
            .map_err(|error| self.cut_off(error))?;
        settle(&self.model, &key, Some(content));
        Ok(())
    }
}

/// Reads one key: its bytes, or `None` where there is no object.
async fn read(client: &Client, key: &str) -> Option<Vec<u8>> {
    match client.get_object().bucket(BUCKET).key(key).send().await {
        Ok(got) => {
            let body = got.body.collect().await;
            Some(
                body.unwrap_or_else(|error| panic!("body of {key}: {error:?}"))
                    .into_bytes()
                    .to_vec(),
            )
        }
        Err(error) => {
            let refused = crate::failure(Err::<(), _>(error));
            assert_eq!(refused, crate::code(404, "NoSuchKey"), "{key}");
            None
        }
    }
}

fn fits(content: Option<Content>, bytes: Option<&[u8]>) -> bool {
    match (content, bytes) {
        (None, None) => true,
        (Some(content), Some(bytes)) => content.is(bytes),
        _ => false,
    }
}

/// Every key holds its acknowledged state or, where changes were under way, one of them; the list says the same.
async fn verify(client: &Client, model: &Model, round: usize) {
    let before = model.borrow().clone();
    let mut present = Vec::new();
    for (key, expected) in before {
        let bytes = read(client, &key).await;
        let mut possible = vec![expected.acknowledged];
        possible.extend(&expected.under_way);
        let found = possible
            .iter()
            .find(|content| fits(**content, bytes.as_deref()));
        let Some(found) = found else {
            let length = bytes.map(|bytes| bytes.len());
            panic!("round {round}: {key} holds {length:?} bytes, expected one of {possible:?}");
        };
        settle(model, &key, *found);
        if found.is_some() {
            present.push(key);
        }
    }
    present.sort();
    assert_eq!(
        crate::keys(client, BUCKET).await,
        present,
        "round {round}: the list"
    );
}

#[tokio::test]
async fn kill_nine_loses_nothing_that_was_acknowledged() {
    let mut random = Random::announced("crash");
    let mut server = Server::start(ServerOptions {
        capacity: "8GiB".into(),
        ..ServerOptions::default()
    });
    server
        .client()
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .expect("a bucket");
    let model = Model::default();
    let (mut acknowledged, mut cut) = (0, 0);
    for round in 0..ROUNDS {
        let client = server.client();
        let load = tokio::task::LocalSet::new();
        let killed = Killed::default();
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let random = Random::new(random.next_u64());
                let (client, model, killed) = (client.clone(), model.clone(), killed.clone());
                load.spawn_local(
                    Worker {
                        client,
                        model,
                        killed,
                        random,
                        number,
                    }
                    .run(),
                )
            })
            .collect();
        let life = Duration::from_millis(50 + random.below(700) as u64);
        load.run_until(tokio::time::sleep(life)).await;
        killed.set(true);
        server.kill();
        load.run_until(async {
            for worker in workers {
                acknowledged += worker.await.expect("a worker");
            }
        })
        .await;
        cut += model
            .borrow()
            .values()
            .filter(|expected| !expected.under_way.is_empty())
            .count();
        server.restart();
        verify(&server.client(), &model, round).await;
    }
    println!(
        "crash: {ROUNDS} kills, {acknowledged} changes acknowledged, {cut} keys cut off under way"
    );
    assert!(
        acknowledged >= ROUNDS * 10,
        "too little load to prove anything: {acknowledged}"
    );
    assert!(
        cut >= ROUNDS / 2,
        "too few kills met a change under way: {cut}"
    );
}
