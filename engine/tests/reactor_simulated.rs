//! The simulated world: one seed, one run; and a disk that keeps exactly what was flushed.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Timer;
use strata_engine::reactor::{
    self, BufferView, File, HyperTimer, OpenOptions, ReactorConfig, ReactorError, Simulation,
    TaskClass, World, fs,
};

const DIRECT: OpenOptions = OpenOptions {
    read_only: false,
    create: true,
    direct: true,
};

fn run<T>(simulation: &Simulation, main: impl AsyncFnOnce() -> T) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_string(),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), main)
}

async fn filled(fill: u8, length: usize) -> BufferView {
    let mut buffer = reactor::allocate(length).await;
    buffer.set_len(length);
    buffer.fill(fill);
    buffer.freeze()
}

async fn read(file: &File, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let buffer = reactor::allocate(length).await;
    Ok(file.read(buffer, offset, length).await?.to_vec())
}

/// Many tasks that read, write, sleep and draw random numbers; the order in which they ended.
async fn busy() -> Vec<u64> {
    let file = File::open(Path::new("/busy"), DIRECT).await.expect("open");
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..20u64)
        .map(|number| {
            let (file, order) = (file.clone(), order.clone());
            reactor::spawn(TaskClass::Foreground, async move {
                for _ in 0..5 {
                    let offset = (reactor::random_u64() % 64) * 4096;
                    let view = filled(number as u8, 4096).await;
                    file.write(vec![view], offset).await.expect("write");
                    read(&file, offset, 4096).await.expect("read");
                    reactor::sleep(Duration::from_micros(reactor::random_u64() % 500)).await;
                }
                order.borrow_mut().push(number);
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    order.take()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let simulation = Simulation::new(seed);
        let order = run(&simulation, busy).expect("no crash was planned");
        simulation.power_cut();
        let again = run(&simulation, busy).expect("no crash was planned");
        (
            simulation.trace_hash(),
            order,
            again,
            simulation.content(Path::new("/busy")),
        )
    };
    let first = trace(1);
    assert!(first == trace(1));
    let orders: Vec<_> = (2..6).map(trace).collect();
    assert!(orders.iter().all(|other| other.0 != first.0));
    assert!(
        orders.iter().any(|other| other.1 != first.1),
        "the seed decides who is first"
    );
}

#[test]
fn an_hour_of_sleep_costs_nothing_and_ready_tasks_do_not_stop_the_clock() {
    let simulation = Simulation::new(1);
    let slept = run(&simulation, async || {
        let start = reactor::now();
        let before = reactor::wall_clock();
        reactor::sleep(Duration::from_secs(3600)).await;
        let spinning = reactor::spawn(TaskClass::Background, async {
            loop {
                reactor::yield_now().await;
            }
        });
        reactor::sleep(Duration::from_millis(1)).await;
        drop(spinning);
        (
            start.elapsed(),
            reactor::wall_clock().seconds() - before.seconds(),
        )
    });
    let (slept, wall) = slept.expect("no crash was planned");
    assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601));
    assert_eq!(wall, 3600);
}

#[test]
fn hypers_timers_follow_the_reactors_clock() {
    let simulation = Simulation::new(1);
    run(&simulation, async || {
        let timer = HyperTimer;
        let (start, began) = (reactor::now(), timer.now());
        let hour = Duration::from_secs(3600);
        timer.sleep_until(began + hour).await;
        assert_eq!(timer.now() - began, start.elapsed());
        assert!(start.elapsed() >= hour && start.elapsed() < hour + Duration::from_millis(1));

        let mut sleeping = timer.sleep(hour);
        timer.reset(&mut sleeping, timer.now() + 2 * hour);
        sleeping.await;
        assert!(start.elapsed() >= 3 * hour);
    })
    .expect("no crash was planned");
}

#[test]
fn a_run_that_nothing_can_wake_is_an_error() {
    let stuck = run(&Simulation::new(1), async || {
        std::future::pending::<()>().await
    });
    assert!(matches!(stuck, Err(ReactorError::Stuck)));
}

/// Appends blocks, each flushed before it counts as acknowledged; the second block of a pair is written with the first.
async fn append_blocks(acknowledged: Rc<RefCell<u64>>) {
    fs::create_dir_all(Path::new("/d"))
        .await
        .expect("directory");
    fs::sync_directory(Path::new("/")).await.expect("sync");
    let file = File::open(Path::new("/d/log"), DIRECT).await.expect("open");
    fs::sync_directory(Path::new("/d")).await.expect("sync");
    for block in 0..8u64 {
        let views = vec![
            filled(block as u8 + 1, 4096).await,
            filled(block as u8 + 1, 4096).await,
        ];
        file.write_durable(views, block * 8192)
            .await
            .expect("write");
        *acknowledged.borrow_mut() = block + 1;
    }
}

#[test]
fn what_was_flushed_survives_a_power_cut_at_every_operation() {
    let (mut torn, mut crashes) = (0, 0);
    for seed in 0..20 {
        for operation in 1.. {
            let simulation = Simulation::new(seed);
            simulation.crash_after(operation);
            let acknowledged = Rc::new(RefCell::new(0));
            let end = run(&simulation, async || {
                append_blocks(acknowledged.clone()).await
            });
            if end.is_ok() {
                break;
            }
            assert!(matches!(end, Err(ReactorError::Crashed)));
            crashes += 1;
            simulation.power_cut();
            let acknowledged = *acknowledged.borrow();
            let content = run(&simulation, async || {
                if acknowledged == 0 && !fs::exists(Path::new("/d/log")).await.expect("look-up") {
                    return Vec::new();
                }
                let file = File::open(Path::new("/d/log"), DIRECT)
                    .await
                    .expect("a durable name");
                read(&file, 0, 16 * 8192).await.expect("read")
            });
            let content = content.expect("no crash was planned");
            for block in 0..acknowledged as usize {
                let bytes = &content[block * 8192..(block + 1) * 8192];
                assert!(
                    bytes.iter().all(|&byte| byte == block as u8 + 1),
                    "seed {seed}"
                );
            }
            let rest = content
                .get(acknowledged as usize * 8192..)
                .unwrap_or_default();
            let written = rest.iter().filter(|&&byte| byte != 0).count();
            torn += usize::from(written > 0 && written < 8192);
        }
    }
    assert!(
        crashes > 300 && torn > 20,
        "{crashes} crashes, {torn} torn writes"
    );
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let simulation = Simulation::new(3);
    run(&simulation, async || {
        let file = File::open(Path::new("/f"), DIRECT).await.expect("open");
        file.write(vec![filled(1, 4096).await], 0)
            .await
            .expect("write");
    })
    .expect("no crash was planned");
    assert_eq!(simulation.content(Path::new("/f")), Some(vec![1; 4096]));
    run(&simulation, async || {
        let file = File::open(Path::new("/f"), DIRECT).await.expect("open");
        assert_eq!(read(&file, 0, 4096).await.expect("read"), vec![1; 4096]);
    })
    .expect("no crash was planned");
}

#[test]
fn an_unsynced_name_may_be_lost_and_a_synced_one_is_not() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..60 {
        let simulation = Simulation::new(seed);
        run(&simulation, async || {
            fs::create_dir_all(Path::new("/d"))
                .await
                .expect("directory");
            fs::sync_directory(Path::new("/")).await.expect("sync");
            fs::write_small_file(Path::new("/d/a"), b"one", 0o600, true)
                .await
                .expect("write");
            fs::sync_directory(Path::new("/d")).await.expect("sync");
            fs::write_small_file(Path::new("/d/new"), b"two", 0o600, true)
                .await
                .expect("write");
            fs::rename(Path::new("/d/new"), Path::new("/d/a"))
                .await
                .expect("rename");
        })
        .expect("no crash was planned");
        simulation.power_cut();
        match simulation.content(Path::new("/d/a")).as_deref() {
            Some(b"one") => lost += 1,
            Some(b"two") => kept += 1,
            other => panic!("seed {seed} left {other:?}"),
        }
    }
    assert!(kept > 10 && lost > 10, "{kept} kept, {lost} lost");
}

#[test]
fn planned_faults_strike_where_they_were_told() {
    let simulation = Simulation::new(5);
    let path = Path::new("/f");
    run(&simulation, async || {
        let file = File::open(path, DIRECT).await.expect("open");
        file.set_length(65_536).await.expect("length");
        simulation.fail_sync(2);
        file.sync().await.expect("the first flush");
        let error = file.sync().await.expect_err("the second flush");
        assert_eq!(error.raw_os_error(), Some(5));
        file.sync().await.expect("the third flush");

        simulation.fail_write(1);
        let view = filled(3, 4096).await;
        assert!(file.write(vec![view.clone()], 0).await.is_err());
        file.write_durable(vec![view.clone()], 0)
            .await
            .expect("write");

        simulation.fail_next_sync(Path::new("/another"));
        file.sync().await.expect("a flush of this file");
        simulation.fail_next_sync(path);
        simulation.fail_next_write(path);
        assert!(file.sync().await.is_err());
        file.sync().await.expect("the flush after it");
        assert!(file.write(vec![view.clone()], 4096).await.is_err());
        assert_eq!(simulation.written_pages(path), [0]);
        file.write(vec![view.clone()], 0)
            .await
            .expect("the write after it");
        simulation.clear_faults();

        simulation.fail_reads_at(path, 5_000..5_001);
        assert!(read(&file, 4096, 4096).await.is_err());
        assert_eq!(read(&file, 0, 4096).await.expect("read"), vec![3; 4096]);

        simulation.flip_bit(path, 10, 2).expect("the file exists");
        assert_eq!(read(&file, 0, 4096).await.expect("read")[10], 3 ^ 4);

        simulation.limit_space(Some(65_536));
        let error = file
            .write(vec![view.clone()], 65_536)
            .await
            .expect_err("no space");
        assert_eq!(error.raw_os_error(), Some(28));
        simulation.clear_faults();
        file.write(vec![view.slice(..4096)], 65_536)
            .await
            .expect("space again");

        let misaligned = file
            .write(vec![view.slice(..100)], 0)
            .await
            .expect_err("direct");
        assert_eq!(misaligned.raw_os_error(), Some(22));
    })
    .expect("no crash was planned");
    let counters = simulation.counters();
    assert_eq!((counters.syncs, counters.changes), (7, 1));
    assert_eq!(
        counters.operations,
        counters.reads + counters.writes + counters.syncs + counters.changes
    );
}

#[test]
fn dropped_operations_go_on_and_give_their_buffers_back() {
    let simulation = Simulation::new(9);
    run(&simulation, async || {
        let file = File::open(Path::new("/f"), DIRECT).await.expect("open");
        let all = reactor::arena_pressure().free_bytes;
        let view = filled(8, 4096).await;
        assert!(
            reactor::timeout(Duration::ZERO, file.write(vec![view], 0))
                .await
                .is_err()
        );
        let buffer = reactor::allocate(4096).await;
        assert!(
            reactor::timeout(Duration::ZERO, file.read(buffer, 0, 4096))
                .await
                .is_err()
        );
        assert_eq!(
            reactor::arena_pressure().free_bytes,
            all - 4096,
            "the read owns its buffer"
        );
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(reactor::arena_pressure().free_bytes, all);
        assert_eq!(read(&file, 0, 4096).await.expect("read"), vec![8; 4096]);
    })
    .expect("no crash was planned");
}
