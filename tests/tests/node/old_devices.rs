//! Device files that are put back from an older copy: the start is refused where another device knows better.

use crate::{get, put};
use std::path::Path;
use strata_tests::content::body;
use strata_tests::server::{Server, ServerOptions};

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copied");
}

#[tokio::test]
async fn a_log_from_an_older_copy_is_refused_beside_newer_data() {
    let mut server = Server::start(ServerOptions {
        data_dirs: 4,
        capacity: "1GiB".into(),
        ..ServerOptions::default()
    });
    let client = server.client();
    let made = client.create_bucket().bucket("old").send().await;
    made.expect("a bucket");
    put(&client, "old", "before", &body(1, 1 << 20)).await;
    assert!(server.stop().success());
    // Three of the four hold the log. Two are kept as they are now.
    let places = server.data_dirs();
    let device = |at: usize| places[at].join("strata.device");
    let kept = |at: usize| places[at].with_extension("kept");
    for at in 0..2 {
        copy(&device(at), &kept(at));
    }
    server.restart();
    let client = server.client();
    for number in 0..12 {
        put(
            &client,
            "old",
            &format!("after{number}"),
            &body(number, 1 << 20),
        )
        .await;
    }
    assert!(server.stop().success());
    for at in 0..2 {
        copy(&kept(at), &device(at));
    }
    std::fs::rename(&places[2], places[2].with_extension("away")).expect("moved away");
    std::fs::remove_dir_all(server.metadata_dir()).expect("the namespace is removed");
    assert!(server.try_restart().is_err(), "this start is refused");
    let said = server.log();
    let device = device(3).display().to_string();
    for word in ["the log at hand is older than", &device] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    // Without what is newer the older state is served.
    std::fs::rename(&places[3], places[3].with_extension("away")).expect("moved away");
    server.restart();
    assert!(get(&server.client(), "old", "before").await == body(1, 1 << 20));
}
