//! The reactor in the real world: every trap that was measured in other runtimes is a test here.
#![expect(
    clippy::disallowed_methods,
    reason = "reactors of a test run on threads of their own"
)]

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use strata_engine::reactor::{
    self, BUFFER_BYTES_MAX, File, OpenOptions, ReactorConfig, ReactorError, TaskClass, World,
};

fn config(index: usize) -> ReactorConfig {
    ReactorConfig {
        index,
        core: None,
        name: format!("test-{index}"),
        arena_bytes: 8 << 20,
        spin: Duration::from_micros(20),
    }
}

fn run<T>(main: impl AsyncFnOnce() -> T) -> T {
    reactor::run(config(0), World::Real, main).expect("io_uring is available")
}

/// An empty file, open for direct reads and writes.
async fn new_file(directory: &tempfile::TempDir) -> File {
    let options = OpenOptions {
        read_only: false,
        create: true,
        direct: true,
    };
    let path = directory.path().join("file");
    File::open(&path, options).await.expect("open")
}

/// Polls the future once and says whether it is still under way.
async fn starts(future: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

#[test]
fn tasks_timers_and_classes_work_together() {
    let order = run(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [30, 10, 20]
            .into_iter()
            .map(|delay| {
                let order = order.clone();
                reactor::spawn(TaskClass::Foreground, async move {
                    reactor::sleep(Duration::from_millis(delay)).await;
                    order.borrow_mut().push(delay);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        order.take()
    });
    assert_eq!(order, [10, 20, 30]);
}

#[test]
fn a_task_that_is_always_ready_does_not_starve_a_timer() {
    let elapsed = run(async || {
        let stop = Rc::new(Cell::new(false));
        for class in TaskClass::ALL {
            let stop = stop.clone();
            reactor::spawn(class, async move {
                while !stop.get() {
                    reactor::yield_now().await;
                }
            })
            .detach();
        }
        let start = reactor::now();
        reactor::sleep(Duration::from_millis(20)).await;
        stop.set(true);
        start.elapsed()
    });
    assert!(
        elapsed < Duration::from_millis(200),
        "a sleep of 20 ms took {elapsed:?}"
    );
}

#[test]
fn a_task_that_yields_for_ever_starves_neither_disk_nor_mailbox() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    std::fs::write(directory.path().join("file"), [7; 4096]).expect("a file");
    let (sender, mut receiver) = reactor::mailbox(1);
    let work = async || {
        let spinning = reactor::spawn(TaskClass::Foreground, async {
            loop {
                reactor::yield_now().await;
            }
        });
        let options = OpenOptions {
            read_only: true,
            create: false,
            direct: true,
        };
        let path = directory.path().join("file");
        let file = File::open(&path, options).await.expect("open");
        let buffer = reactor::allocate(4096).await;
        let bytes = file.read(buffer, 0, 4096).await.expect("read");
        assert!(bytes.iter().all(|byte| *byte == 7));
        // Another thread sends only once the read has ended.
        let sending = std::thread::spawn(move || sender.try_send(8).map_err(|_| "full"));
        assert_eq!(receiver.recv().await, Some(8));
        sending.join().expect("the thread").expect("room");
        drop(spinning);
    };
    run(async || {
        let worked = reactor::timeout(Duration::from_secs(20), work()).await;
        worked.expect("both complete");
    });
}

#[test]
fn files_write_read_and_sync() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    run(async || {
        let file = new_file(&directory).await;
        file.set_length(8 << 20).await.expect("length");
        let mut views = Vec::new();
        for fill in 1..=3u8 {
            let mut buffer = reactor::allocate(1 << 16).await;
            buffer.set_len(1 << 16);
            buffer.fill(fill);
            views.push(buffer.freeze());
        }
        file.write_durable(views.clone(), 4096)
            .await
            .expect("linked flush");
        file.write(vec![views[1].clone()], 0x100000)
            .await
            .expect("one view");
        file.write_durable(vec![views[2].slice(..4096)], 0)
            .await
            .expect("self-flushing");
        file.sync().await.expect("sync");
        file.write_durable(Vec::new(), 0)
            .await
            .expect("nothing to write is a flush");
        let buffer = reactor::allocate(1 << 18).await;
        let buffer = file.read(buffer, 0, 1 << 18).await.expect("read");
        assert_eq!(buffer.len(), 1 << 18);
        assert!(buffer[..4096].iter().all(|&byte| byte == 3));
        assert!(buffer[4096..4096 + 65536].iter().all(|&byte| byte == 1));
        assert!(
            buffer[4096 + 131072..4096 + 196608]
                .iter()
                .all(|&byte| byte == 3)
        );
        let buffer = file.read(buffer, 0x100000, 4096).await.expect("read");
        assert!(buffer.len() == 4096 && buffer.iter().all(|&byte| byte == 2));
        let buffer = file
            .read(buffer, (8 << 20) - 4096, 8192)
            .await
            .expect("read at the end");
        assert_eq!(buffer.len(), 4096);
        assert_eq!(file.length().await.expect("length"), 8 << 20);
    });
}

#[test]
fn a_dropped_read_frees_its_buffer_only_at_the_kernels_answer() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    run(async || {
        let file = new_file(&directory).await;
        let mut buffer = reactor::allocate(BUFFER_BYTES_MAX).await;
        buffer.set_len(BUFFER_BYTES_MAX);
        buffer.fill(9);
        file.write(vec![buffer.freeze()], 0).await.expect("write");
        for _ in 0..100 {
            let before = reactor::arena_pressure().free_bytes;
            let buffer = reactor::allocate(BUFFER_BYTES_MAX).await;
            let mut read = Box::pin(file.read(buffer, 0, BUFFER_BYTES_MAX));
            assert!(starts(&mut read).await);
            drop(read);
            let held = before - reactor::arena_pressure().free_bytes;
            assert_eq!(
                held, BUFFER_BYTES_MAX,
                "the kernel may still write into the buffer"
            );
            while reactor::arena_pressure().free_bytes < before {
                reactor::sleep(Duration::from_micros(100)).await;
            }
        }
        // The file is dropped while its operations are in flight, and then the reactor ends.
        let buffer = reactor::allocate(BUFFER_BYTES_MAX).await;
        let mut read = Box::pin(file.read(buffer, 0, BUFFER_BYTES_MAX));
        assert!(starts(&mut read).await);
    });
}

#[test]
fn a_scattered_read_fills_two_buffers_up_to_the_end_of_the_file() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    run(async || {
        let file = new_file(&directory).await;
        let content: Vec<u8> = (0..64 << 10).map(|at| (at / 7 % 251) as u8).collect();
        let mut buffer = reactor::allocate(content.len()).await;
        buffer.extend_from_slice(&content);
        file.write(vec![buffer.freeze()], 0).await.expect("write");
        let free = reactor::arena_pressure().free_bytes;
        let block = 4096;
        // Where it begins and how long the two are, in blocks of 16: the last end inside the second, at the boundary, inside
        // the first, and behind the end.
        for (from, first, second) in [
            (0, 1, 8),
            (3, 2, 11),
            (8, 1, 16),
            (12, 4, 4),
            (14, 8, 1),
            (16, 1, 1),
        ] {
            let (offset, lengths) = (from * block, [first * block, second * block]);
            let buffers = [
                (reactor::allocate(lengths[0]).await, lengths[0]),
                (reactor::allocate(lengths[1]).await, lengths[1]),
            ];
            let [one, two] = file
                .read_scattered(buffers, offset as u64)
                .await
                .expect("read");
            let rest = &content[offset..];
            let expected = rest.split_at(rest.len().min(lengths[0]));
            assert_eq!(one[..], *expected.0, "{from} {first} {second}");
            let second_bytes = expected.1.len().min(lengths[1]);
            assert_eq!(
                two[..],
                expected.1[..second_bytes],
                "{from} {first} {second}"
            );
        }
        // Given up while the kernel works on it: both buffers are held until its answer.
        let buffers = [
            (reactor::allocate(block).await, block),
            (reactor::allocate(8 * block).await, 8 * block),
        ];
        let mut read = Box::pin(file.read_scattered(buffers, 0));
        assert!(starts(&mut read).await);
        drop(read);
        assert_eq!(file.bytes_being_read(), 9 * block);
        assert_eq!(free - reactor::arena_pressure().free_bytes, 9 * block);
        while reactor::arena_pressure().free_bytes < free {
            reactor::sleep(Duration::from_micros(100)).await;
        }
        assert_eq!(file.bytes_being_read(), 0);
    });
}

#[test]
fn an_empty_arena_pushes_back_in_order() {
    run(async || {
        let held: Vec<_> = std::iter::from_fn(|| reactor::try_allocate(BUFFER_BYTES_MAX)).collect();
        assert_eq!(held.len(), 4);
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [BUFFER_BYTES_MAX, 4096, 4096]
            .into_iter()
            .enumerate()
            .map(|(number, bytes)| {
                let order = order.clone();
                reactor::spawn(TaskClass::Foreground, async move {
                    let buffer = reactor::allocate(bytes).await;
                    order.borrow_mut().push(number);
                    drop(buffer);
                })
            })
            .collect();
        reactor::sleep(Duration::from_millis(5)).await;
        assert!(
            order.borrow().is_empty(),
            "nobody gets memory that is not there"
        );
        assert!(reactor::try_allocate(4096).is_none());
        // One waiter gives up; those behind it still get theirs.
        let mut abandoned = Box::pin(reactor::allocate(4096));
        assert!(starts(&mut abandoned).await);
        drop(abandoned);
        drop(held);
        for task in tasks {
            task.await;
        }
        assert_eq!(order.take(), [0, 1, 2]);
        assert_eq!(reactor::arena_pressure().free_bytes, 8 << 20);
    });
}

/// Two reactors ask each other, all tasks at once.
fn ask_each_other(spin: Duration) {
    const TASKS: u64 = 64;
    const MESSAGES: u64 = 500;
    let (to_b, mut at_b) = reactor::mailbox::<(u64, reactor::OneSender<u64>)>(16);
    let (to_a, mut at_a) = reactor::mailbox::<(u64, reactor::OneSender<u64>)>(16);
    async fn side(
        to: reactor::Sender<(u64, reactor::OneSender<u64>)>,
        at: &mut reactor::Receiver<(u64, reactor::OneSender<u64>)>,
    ) -> u64 {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let to = to.clone();
                reactor::spawn(TaskClass::Foreground, async move {
                    let mut sum = 0;
                    for message in 0..MESSAGES {
                        let (sender, receiver) = reactor::oneshot();
                        to.send((task + message, sender)).await.expect("peer lives");
                        sum += receiver.await.expect("an answer");
                    }
                    sum
                })
            })
            .collect();
        drop(to);
        while let Some((number, answer)) = at.recv().await {
            answer.send(number + 1).expect("the asker waits");
        }
        let mut sum = 0;
        for task in tasks {
            sum += task.await;
        }
        sum
    }
    let spinning = move |index| ReactorConfig {
        spin,
        ..config(index)
    };
    let other = std::thread::spawn(move || {
        reactor::run(spinning(1), World::Real, async || {
            side(to_a, &mut at_b).await
        })
    });
    let here = reactor::run(spinning(0), World::Real, async || {
        side(to_b, &mut at_a).await
    })
    .expect("io_uring is available");
    let there = other.join().expect("thread").expect("reactor");
    let expected: u64 = (0..TASKS)
        .flat_map(|t| (0..MESSAGES).map(move |m| t + m + 1))
        .sum();
    assert_eq!((here, there), (expected, expected));
}

#[test]
fn thousands_of_wakes_in_both_directions_do_not_hang() {
    ask_each_other(Duration::from_micros(20));
}

#[test]
fn thousands_of_wakes_of_sleeping_reactors_do_not_hang() {
    ask_each_other(Duration::ZERO);
}

#[test]
fn a_panic_reaches_whoever_awaits_the_task() {
    let result = std::panic::catch_unwind(|| {
        run(async || {
            reactor::spawn(TaskClass::Foreground, async { panic!("inside") }).await;
        })
    });
    assert!(result.is_err());
    assert_eq!(run(async || 5), 5, "the thread can run a reactor again");
}

#[test]
fn dropping_a_task_drops_its_future_and_cancel_waits_for_it() {
    run(async || {
        let alive = Rc::new(());
        let task = |alive: Rc<()>| {
            reactor::spawn(TaskClass::Foreground, async move {
                reactor::sleep(Duration::from_secs(3600)).await;
                drop(alive);
            })
        };
        let first = task(alive.clone());
        reactor::yield_now().await;
        assert_eq!(first.cancel().await, None);
        assert_eq!(Rc::strong_count(&alive), 1);
        drop(task(alive.clone()));
        task(alive.clone()).detach();
        reactor::yield_now().await;
        assert_eq!(Rc::strong_count(&alive), 2);
    });
}

#[test]
fn helpers_run_blocking_work_and_carry_panics() {
    run(async || {
        let numbers: Vec<_> = (0..32).map(|n| reactor::offload(move || n * 2)).collect();
        for (number, work) in numbers.into_iter().enumerate() {
            assert_eq!(work.await, number * 2);
        }
        let work = std::panic::AssertUnwindSafe(reactor::offload(|| panic!("inside")));
        assert!(futures_util::FutureExt::catch_unwind(work).await.is_err());
    });
}

#[test]
fn a_reactor_inside_a_reactor_is_refused() {
    run(async || {
        let inner = reactor::run(config(1), World::Real, async || ());
        assert!(matches!(inner, Err(ReactorError::Nested)));
    });
}

#[test]
fn timeouts_end_what_takes_too_long() {
    run(async || {
        let never = std::future::pending::<()>();
        assert!(
            reactor::timeout(Duration::from_millis(5), never)
                .await
                .is_err()
        );
        assert_eq!(
            reactor::timeout(Duration::from_secs(5), async { 3 }).await,
            Ok(3)
        );
    });
}

#[test]
fn classes_share_the_core_by_time_and_long_turns_are_counted() {
    let (foreground, compaction, longest, long) = run(async || {
        let stop = Rc::new(Cell::new(false));
        for (class, turn) in [(TaskClass::Foreground, 10), (TaskClass::Background, 100)] {
            let stop = stop.clone();
            reactor::spawn(class, async move {
                assert_eq!(reactor::current_class(), class);
                while !stop.get() {
                    let start = reactor::now();
                    while start.elapsed() < Duration::from_micros(turn) {
                        std::hint::spin_loop();
                    }
                    reactor::yield_now().await;
                }
            })
            .detach();
        }
        reactor::sleep(Duration::from_millis(300)).await;
        stop.set(true);
        // Others may have the core for most of it.
        let start = reactor::now();
        while start.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        reactor::yield_if_due().await;
        let statistics = reactor::statistics();
        let [foreground, compaction] = &statistics.class_nanoseconds;
        (
            foreground.get(),
            compaction.get(),
            statistics.longest_turn_nanoseconds.get(),
            statistics.long_turns.get(),
        )
    });
    let ratio = foreground as f64 / compaction as f64;
    // 8 by the weights; another process on the core blurs it.
    assert!(
        (2.5..24.0).contains(&ratio),
        "foreground to compaction is {ratio}"
    );
    assert!(longest >= 3_000_000 && long >= 1);
}

#[test]
fn a_pause_lasts_until_the_next_turn_however_often_it_is_polled() {
    let turns = run(async || {
        let mut pause = std::pin::pin!(reactor::yield_now());
        let mut turns = 0;
        std::future::poll_fn(|context| {
            turns += 1;
            for _ in 0..3 {
                if pause.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
        turns
    });
    assert_eq!(turns, 2);
}

#[test]
fn a_turn_is_as_long_as_its_cpu_time() {
    let (longest, recent) = run(async || {
        #[expect(
            clippy::disallowed_methods,
            reason = "stands for a thread that gets no CPU"
        )]
        std::thread::sleep(Duration::from_millis(50));
        reactor::yield_now().await;
        let statistics = reactor::statistics();
        (
            statistics.longest_turn_nanoseconds.get(),
            statistics.recent_longest_turn_nanoseconds.get(),
        )
    });
    assert!(longest < 20_000_000, "{longest}");
    assert_eq!(longest, recent);
}

#[test]
fn a_parked_reactor_is_woken_by_messages_timers_and_completions() {
    let (sender, mut receiver) = reactor::mailbox(1);
    let foreign = std::thread::spawn(move || {
        for number in 0..50u32 {
            std::thread::sleep(Duration::from_millis(1));
            while sender.try_send(number).is_err() {
                std::thread::yield_now();
            }
        }
    });
    let quiet = ReactorConfig {
        spin: Duration::ZERO,
        ..config(0)
    };
    let parks = reactor::run(quiet, World::Real, async || {
        let mut expected = 0;
        while let Some(number) = receiver.recv().await {
            assert_eq!(number, expected);
            expected += 1;
        }
        assert_eq!(expected, 50);
        reactor::statistics().parks.get()
    });
    foreign.join().expect("thread");
    assert!(
        parks.expect("io_uring is available") >= 20,
        "it sleeps between messages"
    );
}

#[test]
fn many_readers_and_writers_give_up_at_random_and_nothing_is_corrupted() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    run(async || {
        let file = new_file(&directory).await;
        file.reserve(4 << 20).await.expect("reserve");
        let tasks: Vec<_> = (0..32u64)
            .map(|task| {
                let file = file.clone();
                reactor::spawn(TaskClass::Foreground, async move {
                    let offset = task * 65536;
                    for round in 0..40u8 {
                        let mut buffer = reactor::allocate(65536).await;
                        buffer.set_len(65536);
                        buffer.fill(round);
                        let view = buffer.freeze();
                        let limit = Duration::from_micros(reactor::random_u64() % 300);
                        let abandoned = file.write(vec![view.clone()], offset);
                        // A write that was given up may still happen: it writes what the next one does.
                        let _ = reactor::timeout(limit, abandoned).await;
                        file.write_durable(vec![view.slice(..4096), view.slice(4096..)], offset)
                            .await
                            .expect("write");
                        let limit = Duration::from_micros(reactor::random_u64() % 300);
                        let buffer = reactor::allocate(65536).await;
                        let _ = reactor::timeout(limit, file.read(buffer, offset, 65536)).await;
                        let buffer = reactor::allocate(65536).await;
                        let read = file.read(buffer, offset, 65536).await.expect("read");
                        assert!(read.len() == 65536 && read.iter().all(|&byte| byte == round));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        while reactor::statistics().orphaned_operations.get() > 0 {
            reactor::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(reactor::arena_pressure().free_bytes, 8 << 20);
    });
}

#[test]
fn what_outlives_its_reactor_still_works_on_the_next() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    let path = directory.path().join("file");
    let options = OpenOptions {
        read_only: false,
        create: true,
        direct: true,
    };
    let (file, view, decoy) = run(async || {
        let file = File::open(&path, options).await.expect("open");
        let mut buffer = reactor::allocate(4096).await;
        buffer.set_len(4096);
        buffer.fill(6);
        let decoy = File::open(&directory.path().join("decoy"), options)
            .await
            .expect("open");
        (file, buffer.freeze(), decoy)
    });
    drop(decoy);
    run(async || {
        // Takes the place in the ring's table that the file had in the first reactor.
        let other = File::open(&directory.path().join("other"), options)
            .await
            .expect("open");
        file.write_durable(vec![view.clone(), view], 0)
            .await
            .expect("write");
        assert_eq!(other.length().await.expect("length"), 0);
        let buffer = reactor::allocate(8192).await;
        let read = file.read(buffer, 0, 8192).await.expect("read");
        assert!(read.len() == 8192 && read.iter().all(|&byte| byte == 6));
        drop(file);
    });
}

#[test]
fn a_write_that_fails_cancels_its_flush_and_a_pair_can_be_given_up() {
    let directory = tempfile::tempdir_in(".").expect("directory");
    run(async || {
        let path = directory.path().join("file");
        let options = OpenOptions {
            read_only: false,
            create: true,
            direct: true,
        };
        drop(File::open(&path, options).await.expect("open"));
        let read_only = OpenOptions {
            read_only: true,
            ..options
        };
        let file = File::open(&path, read_only).await.expect("open");
        let mut buffer = reactor::allocate(1 << 18).await;
        buffer.set_len(1 << 18);
        let view = buffer.freeze();
        for _ in 0..50 {
            let refused = file.write_durable(vec![view.clone()], 0).await;
            assert_eq!(
                refused.expect_err("read only").raw_os_error(),
                Some(libc::EBADF)
            );
        }
        let file = File::open(&path, options).await.expect("open");
        for round in 0..200 {
            let limit = Duration::from_micros(round * 2);
            let _ = reactor::timeout(limit, file.write_durable(vec![view.clone()], 0)).await;
        }
        file.write_durable(vec![view], 0).await.expect("write");
        let statistics = reactor::statistics();
        while statistics.orphaned_operations.get() + statistics.disk_in_flight.get() > 0
            || reactor::arena_pressure().free_bytes < 8 << 20
        {
            reactor::sleep(Duration::from_millis(1)).await;
        }
    });
}
