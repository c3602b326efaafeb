//! Short bodies that a server packs: read before, meanwhile and afterwards, with disks away, and their space comes back.

use std::time::{Duration, Instant};

use crate::{get, put};
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

const OBJECTS: usize = 200;
/// Bodies in the log, and in copies.
const SIZES: [usize; 5] = [1_100, 4_000, 16_000, 40_000, 100_000];

fn size(number: usize) -> usize {
    SIZES[number % SIZES.len()] + number
}

fn content(number: usize) -> Vec<u8> {
    body(number as u64, size(number))
}

/// Six directories, which keep 4+2 shards, and bodies that are packed after a second.
pub fn options(folder: &std::path::Path) -> ServerOptions {
    let config = folder.join("strata.toml");
    std::fs::write(&config, "[storage]\npack_after_seconds = 1\n").expect("a file");
    ServerOptions {
        data_dirs: 6,
        arguments: vec!["--config".to_owned(), config.display().to_string()],
        ..ServerOptions::default()
    }
}

/// The sum of a metric over all its labels.
fn metric(server: &Server, name: &str) -> u64 {
    let metrics = Request::new("GET", "/metrics").send(server.metrics());
    let text = metrics.expect("an answer").text();
    let lines = text.lines().filter_map(|line| {
        let (shown, value) = line.rsplit_once(' ')?;
        let shown = shown.split('{').next();
        (shown == Some(name)).then(|| value.parse::<f64>().expect("a number"))
    });
    lines.sum::<f64>() as u64
}

async fn wait_until(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn check(server: &Server, numbers: impl Iterator<Item = usize>) {
    let client = server.client();
    for number in numbers {
        let (key, expected) = (format!("k{number}"), content(number));
        assert!(get(&client, "packed", &key).await == expected, "{key}");
        let (from, to) = (size(number) / 3, size(number) / 2);
        let part = client.get_object().bucket("packed").key(&key);
        let part = part.range(format!("bytes={from}-{to}")).send().await;
        let part = part.expect("a range").body.collect().await;
        let part = part.expect("a body").into_bytes();
        assert!(part[..] == expected[from..=to], "{from}-{to} of {key}");
    }
}

#[tokio::test]
async fn packed_bodies_are_read_with_disks_away_and_give_their_space_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(options(folder.path()));
    let client = server.client();
    let bucket = client.create_bucket().bucket("packed").send().await;
    bucket.expect("a bucket");
    for number in 0..OBJECTS {
        put(&client, "packed", &format!("k{number}"), &content(number)).await;
    }
    // What is too little for one more pack may wait.
    let enough = OBJECTS as u64 * 9 / 10;
    wait_until("packs", async || {
        check(&server, (0..OBJECTS).step_by(17)).await;
        metric(&server, "strata_packed_extents_total") >= enough
    })
    .await;
    check(&server, 0..OBJECTS).await;
    // What waits to be freed from the disks that go is left to the sweep, which takes an hour.
    wait_until("the chunks that they were", async || {
        let packed = metric(&server, "strata_packed_extents_total");
        let left = OBJECTS as u64 - packed;
        metric(&server, "strata_data_shards") <= 6 * metric(&server, "strata_packs") + 3 * left
    })
    .await;
    server.kill();
    let places = server.data_dirs();
    let away = [0, 3].map(|at: usize| (&places[at], places[at].with_extension("away")));
    for (place, away) in &away {
        std::fs::rename(place, away).expect("moved away");
    }
    server.restart();
    check(&server, 0..OBJECTS).await;
    server.kill();
    for (place, away) in &away {
        std::fs::rename(away, place).expect("moved back");
    }
    server.restart();
    check(&server, 0..OBJECTS).await;

    let client = server.client();
    let copy = client.copy_object().bucket("packed").key("copy");
    copy.copy_source("packed/k3").send().await.expect("a copy");
    assert!(get(&client, "packed", "copy").await == content(3));
    let delete = client.delete_object().bucket("packed").key("copy");
    delete.send().await.expect("deleted");
    for number in 0..OBJECTS {
        let delete = client.delete_object().bucket("packed");
        let delete = delete.key(format!("k{number}")).send().await;
        delete.expect("deleted");
    }
    wait_until("space", async || {
        metric(&server, "strata_packs") == 0 && metric(&server, "strata_data_shards") == 0
    })
    .await;
}

/// The log of a small node has room for some thousand bodies that ride in their commands. They leave it although they are young.
#[tokio::test]
async fn bodies_leave_the_log_when_it_is_short_of_room() {
    let server = Server::start(ServerOptions {
        capacity: "1GiB".into(),
        ..ServerOptions::default()
    });
    let client = server.client();
    let bucket = client.create_bucket().bucket("packed").send().await;
    bucket.expect("a bucket");
    let mut number = 0;
    while metric(&server, "strata_packed_extents_total") == 0 {
        assert!(number < 20_000, "the log has room for all of them");
        let mut puts = tokio::task::JoinSet::new();
        for number in number..number + 100 {
            let client = client.clone();
            puts.spawn(async move {
                let content = body(number as u64, 16_000);
                put(&client, "packed", &format!("k{number}"), &content).await;
            });
        }
        puts.join_all().await;
        number += 100;
    }
    for number in (0..number).step_by(number / 50) {
        let key = format!("k{number}");
        let expected = body(number as u64, 16_000);
        assert!(get(&client, "packed", &key).await == expected, "{key}");
    }
}
