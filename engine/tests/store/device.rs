//! What a device is: a file that one process holds, with a superblock that says what lies in it.

use strata_engine::{DeviceLock, EngineError, PartitionKind, read_superblock};

use crate::support::{DeviceFile, run_real};

#[test]
fn a_second_lock_names_the_file_and_a_strange_file_is_refused() {
    let file = DeviceFile::formatted(2);
    let first = DeviceLock::take(&file.path).expect("free");
    let second = DeviceLock::take(&file.path);
    assert!(matches!(second, Err(EngineError::Locked { path }) if path == file.path));
    drop(first);
    DeviceLock::take(&file.path).expect("free again");
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
