//! A small limit of locked memory: the reactor starts, warns once and works. A test binary of its own, because the limit
//! belongs to the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strata_engine::reactor::{self, File, OpenOptions, ReactorConfig, World};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts warnings that name the limit.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

struct NamesRemedy(bool);

impl tracing::field::Visit for NamesRemedy {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0 |= format!("{value:?}").contains("LimitMEMLOCK");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut visitor = NamesRemedy(false);
        event.record(&mut visitor);
        self.0.fetch_add(usize::from(visitor.0), Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lowers the limit to 64 KiB and gives up the capability that overrides it.
fn lower_memlock() {
    #[repr(C)]
    struct Header {
        version: u32,
        thread: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_IPC_LOCK: u32 = 14;
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    let mut header = Header {
        version: VERSION_3,
        thread: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: setrlimit reads a limit; capget and capset use a header and two sets in the layout of version 3 and
    // concern the calling thread only.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        assert_eq!(
            libc::syscall(libc::SYS_capget, &mut header, sets.as_mut_ptr()),
            0
        );
        sets[0].effective &= !(1 << CAP_IPC_LOCK);
        assert_eq!(
            libc::syscall(libc::SYS_capset, &mut header, sets.as_ptr()),
            0
        );
    }
}

#[test]
fn a_small_limit_of_locked_memory_is_a_warning() {
    lower_memlock();
    let warnings = Warnings::default();
    let directory = tempfile::tempdir_in(".").expect("directory");
    tracing::subscriber::with_default(warnings.clone(), || {
        for index in 0..2 {
            let config = ReactorConfig {
                index,
                core: None,
                name: "small".to_string(),
                arena_bytes: 4 << 20,
                spin: Duration::ZERO,
            };
            let read = reactor::run(config, World::Real, async || {
                let options = OpenOptions {
                    read_only: false,
                    create: true,
                    direct: true,
                };
                let file = File::open(&directory.path().join("f"), options)
                    .await
                    .expect("open");
                let mut buffer = reactor::allocate(8192).await;
                buffer.set_len(8192);
                buffer.fill(5);
                file.write_durable(vec![buffer.freeze()], 0)
                    .await
                    .expect("write");
                let buffer = reactor::allocate(8192).await;
                file.read(buffer, 0, 8192).await.expect("read").to_vec()
            });
            assert_eq!(read.expect("the reactor starts"), vec![5; 8192]);
        }
    });
    // The arena's warning comes once per process, the ring's once per reactor on kernels that count rings.
    let count = warnings.0.load(Ordering::SeqCst);
    assert!((1..=3).contains(&count), "{count} warnings");
}
