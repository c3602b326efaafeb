//! A reactor for tests, on the thread of the test.

use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, Simulation, World};

/// Runs a test on a reactor of this machine.
pub fn on_a_real_reactor<T>(main: impl AsyncFnOnce() -> T) -> T {
    on_a_reactor_of(World::Real, main)
}

/// Runs a test on a reactor of a simulated machine.
pub fn on_a_reactor<T>(main: impl AsyncFnOnce() -> T) -> T {
    on_a_reactor_of(World::Simulated(Simulation::new(1)), main)
}

fn on_a_reactor_of<T>(world: World, main: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".into(),
        arena_bytes: 2 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, world, main).unwrap()
}
