//! Several reactors of one process, in the simulated world on one thread and in the real one on a thread each.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::reactor::{
    self, BufferView, File, Main, OneSender, OpenOptions, ReactorConfig, ReactorError, Sender,
    Simulation, TaskClass, World, fs,
};

const DIRECT: OpenOptions = OpenOptions {
    read_only: false,
    create: true,
    direct: true,
};

fn config(index: usize) -> ReactorConfig {
    ReactorConfig {
        index,
        core: None,
        name: format!("test-{index}"),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    }
}

fn run_all<T: Send + 'static>(
    simulation: &Simulation,
    mains: Vec<Main<T>>,
) -> Result<Vec<T>, ReactorError> {
    reactor::run_all(World::Simulated(simulation.clone()), mains)
}

fn run<T>(simulation: &Simulation, main: impl AsyncFnOnce() -> T) -> T {
    let world = World::Simulated(simulation.clone());
    reactor::run(config(0), world, main).expect("no crash was planned")
}

async fn filled(fill: u8, length: usize) -> BufferView {
    let mut buffer = reactor::allocate(length).await;
    buffer.set_len(length);
    buffer.fill(fill);
    buffer.freeze()
}

async fn open(path: &str) -> File {
    File::open(Path::new(path), DIRECT).await.expect("open")
}

async fn read(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let buffer = reactor::allocate(length).await;
    let read = file.read(buffer, offset, length).await;
    read.expect("read").to_vec()
}

/// What several reactors have written down, in the order in which they did.
type Log<T> = Arc<Mutex<Vec<T>>>;

fn note<T>(log: &Log<T>, entry: T) {
    log.lock().expect("no panic while it is held").push(entry);
}

fn taken<T>(log: &Log<T>) -> Vec<T> {
    std::mem::take(&mut log.lock().expect("no panic while it is held"))
}

/// Counts those that have not been dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Question {
    number: u64,
    reply: OneSender<(usize, u64)>,
}

/// One reactor that answers and two that ask it, through a mailbox with room for one.
fn questions_and_answers() -> Vec<Main<u64>> {
    let (sender, mut receiver) = reactor::mailbox::<Question>(1);
    let answers = async move || {
        let mut answered = 0;
        while let Some(question) = receiver.recv().await {
            let answer = (reactor::index(), question.number * 2);
            question.reply.send(answer).expect("somebody waits");
            answered += 1;
        }
        answered
    };
    let asks = |sender: Sender<Question>| {
        async move || {
            let mut sum = 0;
            for number in 0..50 {
                let (reply, answer) = reactor::oneshot();
                let question = Question { number, reply };
                assert!(sender.send(question).await.is_ok(), "it answers");
                let (by, doubled) = answer.await.expect("an answer");
                assert_eq!((by, doubled), (0, number * 2));
                sum += doubled;
            }
            sum + reactor::index() as u64
        }
    };
    let second = sender.clone();
    vec![
        Main::new(config(0), answers),
        Main::new(config(1), asks(sender)),
        Main::new(config(2), asks(second)),
    ]
}

#[test]
fn reactors_talk_through_mailboxes() {
    let answered = run_all(&Simulation::new(1), questions_and_answers());
    let expected = vec![100, 2450 + 1, 2450 + 2];
    assert_eq!(answered.expect("no crash was planned"), expected);
    let none: Vec<Main<()>> = Vec::new();
    assert!(run_all(&Simulation::new(1), none).is_ok());
}

#[test]
fn reactors_talk_in_the_real_world_too() {
    let answered = reactor::run_all(World::Real, questions_and_answers());
    let expected = vec![100, 2450 + 1, 2450 + 2];
    assert_eq!(answered.expect("io_uring is available"), expected);
}

#[test]
fn timers_of_all_reactors_follow_one_clock() {
    let log = Log::default();
    let sleeper = |index: usize| {
        let log = log.clone();
        Main::new(config(index), async move || {
            for step in 1..=20u64 {
                let pause = Duration::from_micros(50 + 70 * index as u64 + 13 * step);
                let due = reactor::now() + pause;
                reactor::sleep(pause).await;
                let late = reactor::now().saturating_duration_since(due);
                assert!(late < Duration::from_micros(20), "{late:?}");
                note(&log, (reactor::now().nanoseconds(), index));
            }
        })
    };
    run_all(&Simulation::new(4), (0..3).map(sleeper).collect()).expect("no crash was planned");
    let log = taken(&log);
    assert!(log.is_sorted() && log.len() == 60);
    let changes = log.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    assert!(changes.count() > 20, "they do not run one after the other");
}

#[test]
fn a_reactor_reads_what_another_has_written_and_left() {
    let simulation = Simulation::new(7);
    let (done, mut wait) = reactor::mailbox::<()>(1);
    let writes = Main::new(config(0), async move || {
        let file = open("/f").await;
        let view = filled(5, 4096).await;
        file.write_durable(vec![view], 0).await.expect("write");
        drop(done);
        Vec::new()
    });
    let reads = Main::new(config(1), async move || {
        assert_eq!(wait.recv().await, None, "the writer has ended");
        reactor::sleep(Duration::from_secs(1)).await;
        read(&open("/f").await, 0, 4096).await
    });
    let outputs = run_all(&simulation, vec![writes, reads]).expect("no crash was planned");
    assert_eq!(outputs, [vec![], vec![5; 4096]]);
}

#[test]
fn a_reactor_that_ends_early_leaves_the_operations_of_the_others_whole() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        run(&simulation, async || {
            let views = vec![filled(9, 65_536).await];
            open("/f").await.write(views, 0).await.expect("write");
        });
        let ends = Main::new(config(0), async || {
            let file = open("/f").await;
            let view = filled(1, 4096).await;
            let buffer = reactor::allocate(4096).await;
            let (writer, reader) = (file.clone(), file);
            let writing = async move { writer.write(vec![view], 65_536).await };
            let reading = async move { reader.read(buffer, 0, 4096).await };
            reactor::spawn(TaskClass::Foreground, writing).detach();
            reactor::spawn(TaskClass::Background, reading).detach();
            reactor::sleep(Duration::from_micros(5)).await;
        });
        let stays = Main::new(config(1), async || {
            let file = Rc::new(open("/f").await);
            let all = reactor::arena_pressure().free_bytes;
            let reads = (0..16).map(|block| {
                let file = file.clone();
                let reading = async move { read(&file, block * 4096, 4096).await };
                reactor::spawn(TaskClass::Foreground, reading)
            });
            for reading in reads.collect::<Vec<_>>() {
                assert_eq!(reading.await, vec![9; 4096]);
            }
            assert_eq!(reactor::arena_pressure().free_bytes, all);
            reactor::sleep(Duration::from_millis(10)).await;
            assert_eq!(read(&file, 65_536, 4096).await, vec![1; 4096]);
        });
        run_all(&simulation, vec![ends, stays]).expect("no crash was planned");
    }
}

/// Reactors that write, read, draw random numbers and pass messages round; who has done what, in order.
fn busy(simulation: &Simulation) -> Vec<(usize, u64)> {
    const REACTORS: usize = 3;
    let log = Log::default();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..REACTORS).map(|_| reactor::mailbox::<u64>(2)).unzip();
    let worker = |(index, mut receiver): (usize, reactor::Receiver<u64>)| {
        let (next, log) = (senders[(index + 1) % REACTORS].clone(), log.clone());
        Main::new(config(index), async move || {
            let file = open("/busy").await;
            let sends = reactor::spawn(TaskClass::Foreground, async move {
                for number in 0..20 {
                    let offset = (reactor::random_u64() % 16) * 4096;
                    let view = filled(number as u8, 4096).await;
                    file.write(vec![view], offset).await.expect("write");
                    next.send(number).await.expect("the next one lives");
                }
            });
            for _ in 0..20 {
                let number = receiver.recv().await.expect("the one before lives");
                note(&log, (index, number));
                reactor::sleep(Duration::from_micros(reactor::random_u64() % 300)).await;
            }
            sends.await;
        })
    };
    let mains = receivers.into_iter().enumerate().map(worker).collect();
    run_all(simulation, mains).expect("no crash was planned");
    taken(&log)
}

#[test]
fn the_same_seed_is_the_same_interleaving() {
    let trace = |seed| {
        let simulation = Simulation::new(seed);
        let first = busy(&simulation);
        simulation.power_cut();
        (first, busy(&simulation), simulation.trace_hash())
    };
    let first = trace(1);
    assert!(first == trace(1));
    let others: Vec<_> = (2..6).map(trace).collect();
    assert!(others.iter().all(|other| other.2 != first.2));
    assert!(others.iter().all(|other| other.0 != first.0));
}

/// Which of the reactors, all ready from the start and without anything random of their own, has each of the turns.
fn turns(seed: u64, reactors: usize) -> Vec<usize> {
    let log = Log::default();
    let main = |index| {
        let log = log.clone();
        Main::new(config(index), async move || {
            for _ in 0..10 {
                note(&log, index);
                reactor::yield_now().await;
            }
        })
    };
    let mains = (0..reactors).map(main).collect();
    run_all(&Simulation::new(seed), mains).expect("no crash was planned");
    taken(&log)
}

#[test]
fn the_seed_chooses_among_ready_reactors() {
    assert_eq!(turns(1, 3), turns(1, 3));
    let first: Vec<_> = (0..30).map(|seed| turns(seed, 3)[0]).collect();
    assert!((0..3).all(|index| first.contains(&index)), "{first:?}");
}

/// Writes blocks of the reactor's own fill to a file of its own, each flushed before it counts.
async fn append(acknowledged: Log<usize>, alive: Arc<AtomicUsize>) {
    let index = reactor::index();
    let _counted = Counted::new(&alive);
    let counted = Counted::new(&alive);
    let waits = async move {
        let _counted = counted;
        pending::<()>().await;
    };
    reactor::spawn(TaskClass::Background, waits).detach();
    let file = open(&format!("/log-{index}")).await;
    fs::sync_directory(Path::new("/")).await.expect("sync");
    for block in 0..6 {
        let view = filled(index as u8 + 1, 4096).await;
        file.write_durable(vec![view], block * 4096)
            .await
            .expect("write");
        note(&acknowledged, index);
    }
}

#[test]
fn a_crash_ends_all_reactors_and_leaves_what_was_flushed() {
    let mut crashes = 0;
    for seed in 0..8 {
        for operation in 1.. {
            let simulation = Simulation::new(seed);
            simulation.crash_after(operation);
            let (log, alive) = (Log::default(), Arc::new(AtomicUsize::new(0)));
            let main = |index| {
                let (log, alive) = (log.clone(), alive.clone());
                Main::new(config(index), move || append(log, alive))
            };
            let end = run_all(&simulation, (0..3).map(main).collect());
            assert_eq!(alive.load(Ordering::Relaxed), 0, "futures are left");
            if end.is_ok() {
                break;
            }
            assert!(matches!(end, Err(ReactorError::Crashed)), "{end:?}");
            crashes += 1;
            simulation.power_cut();
            let acknowledged = taken(&log);
            run(&simulation, async || {
                for index in 0..3 {
                    let blocks = acknowledged.iter().filter(|by| **by == index).count();
                    if blocks > 0 {
                        let file = open(&format!("/log-{index}")).await;
                        let bytes = read(&file, 0, blocks * 4096).await;
                        assert_eq!(bytes, vec![index as u8 + 1; blocks * 4096]);
                    }
                }
            });
        }
    }
    assert!(crashes > 100, "{crashes} crashes");
}

#[test]
fn reactors_that_wait_for_each_other_are_stuck() {
    let (to_first, mut from_second) = reactor::mailbox::<()>(1);
    let (to_second, mut from_first) = reactor::mailbox::<()>(1);
    let first = Main::new(config(0), async move || {
        from_second.recv().await;
        drop(to_second);
    });
    let second = Main::new(config(1), async move || {
        from_first.recv().await;
        drop(to_first);
    });
    let ends = Main::new(config(2), async || {});
    let stuck = run_all(&Simulation::new(1), vec![first, second, ends]);
    assert!(matches!(stuck, Err(ReactorError::Stuck)), "{stuck:?}");
}

#[test]
fn a_panic_in_one_main_ends_the_run_and_nothing_more() {
    let simulation = Simulation::new(1);
    let alive = Arc::new(AtomicUsize::new(0));
    let (panicking, waiting) = (Counted::new(&alive), alive.clone());
    let panics = Main::new(config(0), async move || {
        let _counted = panicking;
        let reading = async {
            let file = open("/f").await;
            read(&file, 0, 4096).await
        };
        reactor::spawn(TaskClass::Foreground, reading).detach();
        reactor::sleep(Duration::from_micros(10)).await;
        panic!("as planned");
    });
    let waits = Main::new(config(1), async move || {
        let _counted = Counted::new(&waiting);
        let sleeping = reactor::sleep(Duration::from_secs(1));
        sleeping.await;
    });
    let run_both = AssertUnwindSafe(|| run_all(&simulation, vec![panics, waits]));
    let cause = catch_unwind(run_both).expect_err("one of them panics");
    assert_eq!(cause.downcast_ref(), Some(&"as planned"));
    assert_eq!(alive.load(Ordering::Relaxed), 0, "futures are left");
    assert!(catch_unwind(reactor::now).is_err(), "no reactor is left");
    assert_eq!(busy(&simulation).len(), 60);
}

#[test]
fn a_run_within_a_run_is_refused() {
    let nested = Main::new(config(1), async || {
        let inner = run_all(&Simulation::new(2), vec![Main::new(config(0), async || {})]);
        matches!(inner, Err(ReactorError::Nested))
    });
    let outer = Main::new(config(0), async || true);
    let refused = run_all(&Simulation::new(1), vec![outer, nested]);
    assert_eq!(refused.expect("no crash was planned"), [true, true]);
}

#[test]
fn each_real_reactor_has_a_thread_and_its_panic_is_an_error() {
    let name = |index| {
        Main::new(config(index), async || {
            let thread = std::thread::current();
            (reactor::index(), thread.name().map(str::to_owned))
        })
    };
    let names = reactor::run_all(World::Real, vec![name(0), name(1)]);
    let names = names.expect("io_uring is available");
    assert_eq!(names[1], (1, Some("test-1".to_owned())));
    assert!(names[0].0 == 0 && names[0].1 != names[1].1);

    let (sender, mut receiver) = reactor::mailbox::<()>(1);
    let hears = Main::new(config(0), async move || receiver.recv().await);
    let panics = Main::new(config(1), async move || {
        let _sender = sender;
        panic!("as planned");
    });
    let ended = reactor::run_all(World::Real, vec![hears, panics]);
    match ended {
        Err(ReactorError::Panicked { name }) => assert_eq!(name, "test-1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_real_reactor_that_cannot_be_set_up_is_an_error_and_the_others_hear_of_it() {
    let (sender, mut receiver) = reactor::mailbox::<()>(1);
    let hears = Main::new(config(0), async move || receiver.recv().await);
    let impossible = ReactorConfig {
        arena_bytes: usize::MAX / 2,
        ..config(1)
    };
    let fails = Main::new(impossible, async move || sender.send(()).await.ok());
    let ended = reactor::run_all(World::Real, vec![hears, fails]);
    assert!(
        matches!(ended, Err(ReactorError::Arena { .. })),
        "{ended:?}"
    );
}
