//! A panic in a background task is logged. Alone in its process: which events are wanted is cached for all threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, TaskClass, World};

/// What is logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Errors {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut logged = self.0.lock().expect("no panic while it is held");
        logged.push(format!("{field}: {value:?}"));
    }
}

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_panic_that_nobody_awaits_is_logged() {
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || {
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "panics".to_owned(),
            arena_bytes: 2 << 20,
            spin: Duration::ZERO,
        };
        let ran = reactor::run(config, World::Real, async || {
            reactor::spawn(TaskClass::Foreground, async { panic!("in the background") }).detach();
            reactor::sleep(Duration::from_millis(1)).await;
        });
        ran.expect("io_uring is available");
    });
    let logged = errors
        .0
        .lock()
        .expect("no panic while it is held")
        .join(", ");
    assert!(logged.contains("in the background"), "{logged}");
}
