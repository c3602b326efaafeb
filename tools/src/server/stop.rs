//! Tells every reactor to stop, once.
//!
//! Invariants: a reactor that asks late is told at once; the process ends, at the latest, when [`DRAIN_TIME_MAX`] is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strata_engine::reactor::{self, OneReceiver, OneSender};

/// Requests under way have this long to finish.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Shared by everybody who may stop the server and everybody who is to be told.
#[derive(Clone)]
pub struct Stop {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    senders: Vec<OneSender<()>>,
    receivers: Vec<Option<OneReceiver<()>>>,
    begun: bool,
}

impl Stop {
    /// For so many reactors.
    pub fn new(reactor_count: usize) -> Stop {
        let (senders, receivers) = (0..reactor_count)
            .map(|_| {
                let (sender, receiver) = reactor::oneshot();
                (sender, Some(receiver))
            })
            .unzip();
        Stop {
            inner: Arc::new(Mutex::new(Inner {
                senders,
                receivers,
                begun: false,
            })),
        }
    }

    /// What ends when the reactor is to stop. Each reactor asks once.
    ///
    /// # Panics
    /// When a reactor asks twice.
    pub fn told(&self, reactor: usize) -> impl Future<Output = ()> + 'static {
        let receiver = self.lock().receivers[reactor].take();
        let receiver = receiver.expect("each reactor asks once");
        async move {
            // An error means that the sender is gone, and with it whoever could keep the server running.
            let _ = receiver.await;
        }
    }

    /// Tells all. Answers whether this is the first time.
    pub fn begin(&self) -> bool {
        let mut inner = self.lock();
        let first = !std::mem::replace(&mut inner.begun, true);
        for sender in inner.senders.drain(..) {
            // A reactor that has ended needs not be told.
            let _ = sender.send(());
        }
        first
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
