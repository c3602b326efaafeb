//! Signals. A test binary of its own, because handlers belong to the whole process.

use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, Signal, TaskClass, World, signal};

#[test]
fn a_signal_wakes_its_waiters_and_does_not_end_the_process() {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_string(),
        arena_bytes: 2 << 20,
        spin: Duration::ZERO,
    };
    let ended = reactor::run(config, World::Real, async || {
        for _ in 0..2 {
            let waiters: Vec<_> = (0..2)
                .map(|_| reactor::spawn(TaskClass::Foreground, signal(Signal::Terminate)))
                .collect();
            let interrupt = reactor::spawn(TaskClass::Foreground, signal(Signal::Interrupt));
            reactor::sleep(Duration::from_millis(2)).await;
            let kill = std::process::Command::new("kill")
                .arg(std::process::id().to_string())
                .status();
            assert!(kill.expect("kill").success());
            for waiter in waiters {
                waiter.await.expect("signal");
            }
            reactor::sleep(Duration::from_millis(2)).await;
            assert!(!interrupt.is_finished());
        }
    });
    ended.expect("io_uring is available");
}
