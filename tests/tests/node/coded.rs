//! A node whose layout is coded: six disks of which any two may be lost, schemes that are configured, writes with disks away.

use crate::{get, put};
use std::path::PathBuf;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

/// Bodies in the log, in copies, in one chunk, and in several.
const SIZES: [usize; 6] = [100, 40_000, 200_000, 1 << 20, (1 << 20) + 1, 5 << 20];

fn directories(count: usize, arguments: &[&str]) -> ServerOptions {
    ServerOptions {
        data_dirs: count,
        capacity: format!("{}MiB", 512 * count),
        arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
        ..ServerOptions::default()
    }
}

async fn fill(server: &Server, prefix: &str) {
    let client = server.client();
    let _ = client.create_bucket().bucket("coded").send().await;
    for bytes in SIZES {
        let key = format!("{prefix}/{bytes}");
        put(&client, "coded", &key, &body(bytes as u64, bytes)).await;
    }
}

async fn assert_there(server: &Server, prefix: &str) {
    let client = server.client();
    for bytes in SIZES {
        let (key, content) = (format!("{prefix}/{bytes}"), body(bytes as u64, bytes));
        assert!(get(&client, "coded", &key).await == content, "{key}");
        let part = client.get_object().bucket("coded").key(&key);
        let (from, to) = (bytes / 3, bytes / 3 + bytes / 5);
        let part = part.range(format!("bytes={from}-{to}")).send().await;
        let part = part.expect("a range").body.collect().await;
        let part = part.expect("a body").into_bytes();
        assert!(part[..] == content[from..=to], "{from}-{to} of {key}");
    }
}

fn take_away(place: &PathBuf) -> PathBuf {
    let away = place.with_extension("away");
    std::fs::rename(place, &away).expect("moved away");
    away
}

fn readyz(server: &Server) -> String {
    let answer = Request::new("GET", "/readyz").send(server.metrics());
    answer.expect("an answer").text()
}

fn assert_says(said: &str, words: &str) {
    assert!(said.contains(words), "{words:?} is not in: {said}");
}

#[tokio::test]
async fn six_directories_survive_the_loss_of_two() {
    let mut server = Server::start(directories(6, &[]));
    assert_says(
        &server.log(),
        "4+2 on 6 devices: survives the loss of any 2 disks",
    );
    fill(&server, "first").await;
    assert_there(&server, "first").await;
    assert_eq!(readyz(&server), "ready\n");
    server.kill();
    let places = server.data_dirs();
    let away: Vec<PathBuf> = [1, 4].map(|at| take_away(&places[at])).to_vec();
    server.restart();
    assert_there(&server, "first").await;
    let ready = readyz(&server);
    assert_says(
        &ready,
        "new objects above 128 KiB are written as 2+2, which survives the loss of 2 disks",
    );
    fill(&server, "second").await;
    assert_there(&server, "second").await;
    server.kill();
    std::fs::rename(&away[0], &places[1]).expect("moved back");
    // Two others are lost now, of what was written before and of what was written meanwhile.
    for at in [0, 5] {
        take_away(&places[at]);
    }
    std::fs::rename(&away[1], &places[4]).expect("moved back");
    server.restart();
    assert_there(&server, "first").await;
    assert_there(&server, "second").await;
}

#[tokio::test]
async fn a_configured_scheme_is_kept_from_the_first_start_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("strata.toml");
    let asks = |data: usize, parity: usize| {
        let text = format!(
            "[erasure_coding]\ndata_shards = {data}\nparity_shards = {parity}\n[storage]\ndegraded_writes = \"refuse\"\n"
        );
        std::fs::write(&config, text).expect("a file");
    };
    asks(4, 1);
    let arguments = ["--config", &config.display().to_string()];
    let mut server = Server::start(directories(5, &arguments));
    assert_says(
        &server.log(),
        "4+1 on 5 devices: survives the loss of any one disk",
    );
    fill(&server, "first").await;
    assert!(server.stop().success());
    asks(3, 2);
    take_away(&server.data_dirs()[2]);
    server.restart();
    let said = "asks for 3+2, which counts for the first start only: this node has 4+1";
    assert_says(&server.log(), said);
    assert_there(&server, "first").await;
    assert_says(
        &readyz(&server),
        "new objects above 128 KiB are refused with 503",
    );
    let refused = server.client().put_object().bucket("coded").key("huge");
    let refused = refused.body(body(4, 1 << 20).into()).send().await;
    let status = refused
        .expect_err("a disk is missing")
        .raw_response()
        .map(|raw| raw.status().as_u16());
    assert_eq!(status, Some(503));
}
