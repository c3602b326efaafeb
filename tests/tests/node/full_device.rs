//! A full device: writes are refused with the right error, reads and deletes go on, deleted space comes back.

use crate::{code, failure, get};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use std::time::{Duration, Instant};
use strata_tests::content::body;
use strata_tests::server::{Server, ServerOptions};

const BYTES: usize = 4 << 20;
/// How long freed space may take to come back: orphan collection and compaction run in the background.
const PATIENCE: Duration = Duration::from_secs(60);

async fn try_put(client: &Client, key: &str, content: Vec<u8>) -> Result<(), (u16, String)> {
    let put = client
        .put_object()
        .bucket("full")
        .key(key)
        .body(ByteStream::from(content))
        .send()
        .await;
    put.map(|_| ())
        .map_err(|error| failure(Err::<(), _>(error)))
}

/// Puts objects until one is refused; how many were taken.
async fn fill(client: &Client, from: usize) -> usize {
    for n in from..from + 1000 {
        match try_put(client, &format!("k{n:04}"), body(n as u64, BYTES)).await {
            Ok(()) => {}
            Err(refused) => {
                assert_eq!(refused, code(507, "InsufficientStorage"));
                return n - from;
            }
        }
    }
    panic!("never full");
}

async fn assert_all(client: &Client, count: usize) {
    for n in 0..count {
        assert!(
            get(client, "full", &format!("k{n:04}")).await == body(n as u64, BYTES),
            "k{n:04}"
        );
    }
}

#[tokio::test]
async fn a_full_device_refuses_writes_and_comes_back() {
    let mut server = Server::start(ServerOptions {
        capacity: "512MiB".into(),
        ..ServerOptions::default()
    });
    let client = server.client();
    client
        .create_bucket()
        .bucket("full")
        .send()
        .await
        .expect("a bucket");
    let count = fill(&client, 0).await;
    // Every core has partitions of its own: more than half means that one connection fills those of others too.
    assert!(count * BYTES > 256 << 20, "only {count} objects fitted");
    assert_all(&client, count).await;
    assert_eq!(
        crate::keys(&client, "full").await.len(),
        count,
        "the refused one is not listed"
    );
    server.kill();
    server.restart();
    let client = server.client();
    assert_all(&client, count).await;
    for n in 0..count {
        client
            .delete_object()
            .bucket("full")
            .key(format!("k{n:04}"))
            .send()
            .await
            .expect("delete");
    }
    assert!(crate::keys(&client, "full").await.is_empty());
    let deadline = Instant::now() + PATIENCE;
    let mut again = 0;
    while again < count / 2 {
        assert!(
            Instant::now() < deadline,
            "only {again} of {count} objects fit again"
        );
        match try_put(&client, &format!("k{again:04}"), body(again as u64, BYTES)).await {
            Ok(()) => again += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    assert_all(&client, again).await;
}
