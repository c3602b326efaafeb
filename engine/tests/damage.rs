//! Damage in what was acknowledged, in the simulated world: it is reported, also where a torn write would look much the same,
//! and what lies behind it is kept.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, Simulation, World};
use strata_engine::{
    Device, DeviceOptions, EngineError, FormatOptions, Journal, Uuid, format_device,
};

const PATH: &str = "/strata.device";

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_owned(),
        arena_bytes: 8 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work).expect("no crash")
}

fn formatted(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: 256 << 10,
        log_segments: 4,
        log_mirrors: vec![Uuid([2; 16])],
    };
    run(&simulation, async || {
        format_device(Path::new(PATH), options)
            .await
            .expect("format")
    });
    simulation
}

async fn device() -> Device {
    let options = DeviceOptions {
        capacity_bytes: 8 << 20,
        ..DeviceOptions::default()
    };
    Device::open(Path::new(PATH), options)
        .await
        .expect("open the device")
}

/// Flips a bit of these bytes, which lie on the device once.
fn damage(simulation: &Simulation, needle: &[u8]) {
    let content = simulation.content(Path::new(PATH)).expect("a file");
    let mut places = content.windows(needle.len()).enumerate();
    let (at, _) = places
        .find(|(_, window)| *window == needle)
        .expect("the bytes are on the device");
    simulation
        .flip_bit(Path::new(PATH), at as u64 + 5, 3)
        .expect("a file");
}

/// A body that differs in every word from those of other numbers.
fn body(number: u8) -> Vec<u8> {
    [number, 0xa5, number ^ 0x5a, 0x3c].repeat(30)
}

/// Appends the bodies at once, so that they are one batch, and flushes them.
async fn append(journal: &Journal, numbers: impl IntoIterator<Item = u8>) {
    let places = numbers
        .into_iter()
        .map(|number| journal.append(1, &body(number)).expect("room"));
    journal
        .flush(places.last().expect("some"))
        .await
        .expect("flush");
}

fn refuse_to_open(simulation: &Simulation) {
    run(simulation, async || {
        let opened = Journal::open(&device().await, 0).await.err();
        assert!(
            matches!(opened, Some(EngineError::Corrupt { .. })),
            "{opened:?}"
        );
    });
}

#[test]
fn damage_behind_a_good_record_of_its_block_is_no_torn_tail() {
    let simulation = formatted(1);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        append(&journal, [2, 3]).await;
        append(&journal, [4]).await;
    });
    damage(&simulation, &body(3));
    refuse_to_open(&simulation);
}

#[test]
fn damage_in_the_last_block_is_known_after_a_restart() {
    let simulation = formatted(2);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        append(&journal, [2, 3]).await;
    });
    run(&simulation, async || {
        Journal::open(&device().await, 0).await.expect("open");
    });
    damage(&simulation, &body(3));
    refuse_to_open(&simulation);
}
