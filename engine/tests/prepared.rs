//! Space that was written over once is the file's for good: a later start does not write it over again.
//! On a real file system: it alone knows what it has allocated. A test binary of its own: a start counts as settled when the disk
//! has been quiet for a moment, and tests beside it that keep the disk busy would make it look so too early.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor::{self, File, OpenOptions, ReactorConfig, World};
use strata_engine::{
    ChunkStore, Device, DeviceHealth, DeviceOptions, FormatOptions, Uuid, format_device,
};

const SEGMENT: u64 = 4 << 20;

fn run<T: Send + 'static>(body: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "prepared".to_owned(),
        arena_bytes: 16 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Real, body).expect("a reactor")
}

#[test]
fn the_file_system_says_where_the_space_of_a_file_ends() {
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let path = directory.path().join("file");
    run(async move || {
        let options = OpenOptions {
            read_only: false,
            create: true,
            direct: true,
        };
        let file = File::open(&path, options).await.expect("open");
        for offset in [0, 3 << 20] {
            let mut buffer = reactor::allocate(1 << 20).await;
            buffer.set_len(1 << 20);
            buffer.fill(7);
            file.write(vec![buffer.freeze()], offset)
                .await
                .expect("write");
        }
        assert_eq!(file.hole_after(0).await, Some(1 << 20));
        assert_eq!(file.hole_after(2 << 20).await, Some(2 << 20));
        assert_eq!(file.hole_after(3 << 20).await, Some(4 << 20));
        assert_eq!(file.hole_after(5 << 20).await, None, "behind the end");
    });
}

/// Opens the store and waits until it has prepared what it wants; how many writes without a barrier that took.
async fn writes_of_a_start(path: &Path) -> u64 {
    let health = Arc::new(DeviceHealth::default());
    let options = DeviceOptions {
        capacity_bytes: 256 << 20,
        health: health.clone(),
        ..DeviceOptions::default()
    };
    let device = Device::open(path, options).await.expect("open");
    let (store, _) = ChunkStore::open(&device, 1).await.expect("recovery");
    let count = || -> u64 {
        let buckets = health.latencies().writes.buckets();
        buckets.iter().map(|(_, count)| count).sum()
    };
    let mut before = u64::MAX;
    while before != count() {
        before = count();
        reactor::sleep(Duration::from_millis(100)).await;
    }
    store.close().await;
    before
}

#[test]
fn what_an_earlier_start_prepared_is_not_written_over_again() {
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let path = directory.path().join("device");
    run(async move || {
        let uuid = Uuid([7; 16]);
        let options = FormatOptions {
            cluster: uuid,
            device: uuid,
            pool: uuid,
            node: 1,
            data_partitions: 1,
            segment_bytes: SEGMENT,
            log_segments: 4,
            log_mirrors: vec![uuid],
        };
        format_device(&path, options).await.expect("format");
        let first = writes_of_a_start(&path).await;
        assert_ne!(first, 0, "no write prepared a segment");
        let second = writes_of_a_start(&path).await;
        assert_eq!(second, 0, "writes at the second start");
    });
}
