//! A device that gives no answer: neither an error nor an end, for as long as the machine runs.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor;
use strata_engine::{EngineError, READ_ELSEWHERE_AFTER};

use crate::support::{
    PATH, device, expect_whole, formatted, open_journal, open_store, read, run, write,
};

const KIB: usize = 1 << 10;

#[test]
fn a_device_that_does_not_answer_is_late_then_slow_then_failed() {
    let simulation = formatted(40);
    run(&simulation, async || {
        let device = device(8).await;
        let (store, _) = open_store(&device).await;
        let journal = open_journal(&device).await;
        write(&store, 1, 100 * KIB).await.expect("written");
        let health = store.device_health().clone();
        simulation.hang(Path::new(PATH));
        let begun = reactor::now();
        let writing = write(&store, 2, 100 * KIB);
        let appending = async {
            let position = journal.append(1, b"entry").expect("appended");
            journal.flush(position).await
        };
        let watching = async {
            reactor::sleep(Duration::from_millis(900)).await;
            assert!(!health.is_late());
            reactor::sleep(Duration::from_secs(1)).await;
            assert!(health.is_late() && !health.is_slow());
            reactor::sleep(Duration::from_secs(10)).await;
            assert!(health.is_slow() && health.failure().is_none());
            read(&store, 1, 0..KIB).await
        };
        let (written, (appended, read_late)) =
            futures_util::future::join(writing, futures_util::future::join(appending, watching))
                .await;
        for outcome in [written, appended, read_late.map(drop)] {
            let failed = matches!(&outcome, Err(EngineError::Failed { detail, .. }) if detail.contains("no answer"));
            assert!(failed, "{outcome:?}");
        }
        let took = begun.elapsed();
        assert!(
            took > Duration::from_secs(29) && took < Duration::from_secs(33),
            "{took:?}"
        );
        assert!(health.is_silent() && !health.is_slow());
        // From here on nothing is waited for.
        let begun = reactor::now();
        let refused = read(&store, 1, 0..KIB).await.map(drop);
        assert!(
            matches!(refused, Err(EngineError::Failed { .. })),
            "{refused:?}"
        );
        let refused = write(&store, 3, KIB).await;
        assert!(
            matches!(refused, Err(EngineError::Failed { .. })),
            "{refused:?}"
        );
        assert!(begun.elapsed() < READ_ELSEWHERE_AFTER);
        // An answer that comes after all changes nothing.
        simulation.answer(Path::new(PATH));
        reactor::sleep(Duration::from_secs(1)).await;
        assert!(health.failure().is_some());
        store.close().await;
        journal.close().await;
    });
    run(&simulation, async || {
        let (store, report) = open_store(&device(8).await).await;
        assert_eq!(report.damage, [""; 0]);
        expect_whole(&store, [1], 100 * KIB).await;
        store.close().await;
    });
}

#[test]
fn a_stop_waits_for_no_device_that_does_not_answer() {
    let simulation = formatted(41);
    run(&simulation, async || {
        let (store, _) = open_store(&device(8).await).await;
        write(&store, 1, 100 * KIB).await.expect("written");
        simulation.hang(Path::new(PATH));
        store.device_health().begin_stop();
        let begun = reactor::now();
        store.close().await;
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn a_disk_that_was_slow_for_a_while_has_not_failed() {
    let simulation = formatted(42);
    run(&simulation, async || {
        let (store, _) = open_store(&device(8).await).await;
        simulation.hang(Path::new(PATH));
        let answering = async {
            reactor::sleep(Duration::from_secs(20)).await;
            simulation.answer(Path::new(PATH));
        };
        let (written, ()) =
            futures_util::future::join(write(&store, 1, 100 * KIB), answering).await;
        written.expect("it answers in the end");
        let health = store.device_health();
        assert!(!health.is_late() && !health.is_slow() && health.failure().is_none());
        store.close().await;
    });
}

#[test]
fn what_a_device_does_not_answer_keeps_its_memory() {
    let simulation = formatted(43);
    run(&simulation, async || {
        let (store, _) = open_store(&device(8).await).await;
        write(&store, 1, 100 * KIB).await.expect("written");
        simulation.hang(Path::new(PATH));
        let given_up = reactor::timeout(Duration::from_secs(1), read(&store, 1, 0..100 * KIB));
        assert!(given_up.await.is_err());
        assert!(store.device_bytes_being_read() >= 100 * KIB);
        simulation.answer(Path::new(PATH));
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.device_bytes_being_read(), 0);
        store.close().await;
    });
}
