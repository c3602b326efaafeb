//! What a device is: a file that one process holds, with a superblock that says what lies in it.

use std::path::Path;

use strata_engine::{
    DeviceHealth, DeviceLock, EngineError, PartitionKind, read_superblock, repair_superblock,
};

use crate::support::{DeviceFile, PATH, device_content, flip_bit, formatted, run, run_real};

/// Locks a device twice, then once more when the first lock is gone.
async fn lock_twice(device: &Path) {
    let first = DeviceLock::take(device).await.expect("free");
    let second = DeviceLock::take(device).await;
    assert!(matches!(second, Err(EngineError::Locked { path }) if path == device));
    drop(first);
    DeviceLock::take(device).await.expect("free again");
}

#[test]
fn a_simulated_device_is_locked_by_one_and_until_its_process_ends() {
    let simulation = formatted(46);
    let held = run(&simulation, async || {
        lock_twice(Path::new(PATH)).await;
        DeviceLock::take(Path::new(PATH)).await.expect("free")
    });
    run(&simulation, async || {
        let lock = DeviceLock::take(Path::new(PATH)).await.expect("free");
        drop(held);
        let second = DeviceLock::take(Path::new(PATH)).await;
        assert!(matches!(second, Err(EngineError::Locked { .. })));
        drop(lock);
    });
}

#[test]
fn a_second_lock_names_the_file_and_a_strange_file_is_refused() {
    let file = DeviceFile::formatted(2);
    run_real(async || lock_twice(&file.path).await);
    let strange = file.directory.path().join("strange");
    std::fs::write(&strange, vec![7; 1 << 20]).expect("write");
    run_real(async || {
        let refused = read_superblock(&strange).await;
        assert!(
            matches!(refused, Err(EngineError::Unformatted)),
            "{refused:?}"
        );
        let superblock = read_superblock(&file.path).await.expect("superblock");
        let kinds: Vec<_> = superblock
            .partitions
            .iter()
            .map(|entry| entry.kind)
            .collect();
        assert_eq!(
            kinds,
            [PartitionKind::Log, PartitionKind::Data, PartitionKind::Data]
        );
    });
}

#[test]
fn a_damaged_superblock_is_written_anew_from_the_other() {
    for offset in [0, 64 << 10] {
        let simulation = formatted(45);
        let before = device_content(&simulation);
        flip_bit(&simulation, offset + 100, 2);
        run(&simulation, async || {
            let path = Path::new(PATH);
            let health = DeviceHealth::default();
            let repaired = repair_superblock(path, &health).await.expect("readable");
            let said = repaired.expect("one copy is damaged");
            assert!(said.contains(&format!("at {offset} ")), "{said}");
            let again = repair_superblock(path, &health).await;
            assert_eq!(again.expect("readable"), None);
            assert_eq!(health.corruptions(), 1);
        });
        assert!(device_content(&simulation) == before);
    }
}
