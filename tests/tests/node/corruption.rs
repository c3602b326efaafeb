//! Flipped bits on the device: an error or the other copy, never other bytes, never silence.

use crate::{get, put, send_to};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

/// How much of a file is searched at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// Flips one bit in every place below `folder` that holds `pattern`; how many there were.
fn flip(folder: &Path, pattern: &[u8]) -> usize {
    let mut flipped = 0;
    for path in files(folder) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file of the server");
        let length = file.metadata().expect("its length").len();
        let mut at = 0;
        while at < length {
            flipped += usize::from(flip_in_window(&file, at, pattern));
            at += WINDOW_BYTES as u64;
        }
    }
    flipped
}

fn flip_in_window(file: &File, at: u64, pattern: &[u8]) -> bool {
    let mut window = vec![0; WINDOW_BYTES + pattern.len() - 1];
    let mut filled = 0;
    while filled < window.len() {
        match file
            .read_at(&mut window[filled..], at + filled as u64)
            .expect("a read")
        {
            0 => break,
            count => filled += count,
        }
    }
    let found = window[..filled]
        .windows(pattern.len())
        .position(|bytes| bytes == pattern);
    let Some(found) = found else { return false };
    file.write_all_at(&[pattern[0] ^ 4], at + found as u64)
        .expect("a flipped bit");
    true
}

/// A server that has stored one body, stopped.
async fn stored(data_dirs: usize, content: &[u8]) -> Server {
    let mut server = Server::start(ServerOptions {
        data_dirs,
        ..ServerOptions::default()
    });
    let client = server.client();
    client
        .create_bucket()
        .bucket("flips")
        .send()
        .await
        .expect("a bucket");
    put(&client, "flips", "k", content).await;
    put(&client, "flips", "other", &body(99, 100_000)).await;
    assert!(server.stop().success());
    server
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_where_there_is_one_copy() {
    let content = body(1, 300_000);
    let mut server = stored(1, &content).await;
    assert_eq!(flip(&server.data_dirs()[0], &content[40_000..40_032]), 1);
    server.restart();
    let answer = send_to(&server, Request::new("GET", "/flips/k"))
        .expect("an answer that says what is wrong");
    assert_eq!(answer.status, 500, "{} bytes came back", answer.body.len());
    let code = "<Code>InternalError</Code>";
    assert!(answer.text().contains(code), "{}", answer.text());
    let client = server.client();
    let sound = client
        .get_object()
        .bucket("flips")
        .key("k")
        .range("bytes=100000-100099")
        .send()
        .await;
    let sound = sound
        .expect("another cell")
        .body
        .collect()
        .await
        .expect("its bytes")
        .into_bytes();
    assert!(
        sound == content[100_000..100_100],
        "the damage is no larger than its cell"
    );
    assert!(get(&client, "flips", "other").await == body(99, 100_000));
    assert!(
        server.log().to_lowercase().contains("corrupt"),
        "the damage is reported:\n{}",
        server.log()
    );
    assert_named(&server);
}

/// A line of the log names the object that cannot be read.
fn assert_named(server: &Server) {
    let log = server.log();
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let is_it = |line: &serde_json::Value| {
        line["level"] == "ERROR" && line["bucket"] == "flips" && line["key"] == "k"
    };
    assert!(lines.any(|line| is_it(&line)), "no line names it:\n{log}");
}

#[tokio::test]
async fn a_flipped_bit_behind_the_first_bytes_closes_the_connection() {
    let content = body(4, 3_000_000);
    let mut server = stored(1, &content).await;
    let damaged = &content[2_900_000..2_900_032];
    assert_eq!(flip(&server.data_dirs()[0], damaged), 1);
    server.restart();
    match send_to(&server, Request::new("GET", "/flips/k")) {
        Ok(answer) => panic!("{}: {} bytes came", answer.status, answer.body.len()),
        Err(error) => assert!(error.to_string().contains("cut short"), "{error}"),
    }
    assert_named(&server);
}

#[tokio::test]
async fn a_flipped_bit_is_served_from_the_other_copy() {
    let content = body(2, 300_000);
    let mut server = stored(2, &content).await;
    assert_eq!(flip(&server.data_dirs()[0], &content[200_000..200_032]), 1);
    server.restart();
    assert!(get(&server.client(), "flips", "k").await == content);
    assert!(server.stop().success());
    assert_eq!(flip(&server.data_dirs()[1], &content[100_000..100_032]), 1);
    server.restart();
    assert!(
        get(&server.client(), "flips", "k").await == content,
        "each cell has one sound copy"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_is_mended_from_the_mirror() {
    // An inline body lies in the log of each device; later records follow it, so that it is no torn tail.
    let content = body(3, 8_000);
    let mut server = stored(2, &content).await;
    assert!(flip(&server.data_dirs()[0], &content[4_000..4_032]) >= 1);
    std::fs::remove_dir_all(server.metadata_dir()).expect("the namespace is removed");
    server.restart();
    assert!(get(&server.client(), "flips", "k").await == content);
}
