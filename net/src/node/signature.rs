//! What a block device holds, by the marks that file systems, partition tables and the like leave at its ends.
//!
//! Invariant: only what is zero throughout is empty. A mark that is not in the table is none the less something.
//!
//! Sources of the marks: Linux `include/uapi/linux/magic.h` and the on-disk headers of each (`fs/ext4/ext4.h`,
//! `fs/xfs/libxfs/xfs_format.h`, `fs/btrfs`, `include/uapi/linux/raid/md_p.h`, `include/linux/swap.h`); LVM2 `lib/format_text/layout.h`;
//! cryptsetup, LUKS2 on-disk format; OpenZFS `sys/uberblock_impl.h`; UEFI 2.10, 5.3 (GPT); Microsoft, FAT and exFAT
//! specifications; Ceph `BlueStore`.

use strata_engine::format::anchor::Anchor;
use strata_engine::format::layout::{BLOCK_BYTES, anchor_offset};

/// Where a mark lies.
enum Place {
    /// At these offsets from the beginning.
    Start(&'static [usize]),
    /// So many bytes before the end.
    End(&'static [usize]),
}

struct Mark {
    name: &'static str,
    place: Place,
    bytes: &'static [u8],
}

const fn at_start(name: &'static str, offsets: &'static [usize], bytes: &'static [u8]) -> Mark {
    Mark {
        name,
        place: Place::Start(offsets),
        bytes,
    }
}

const fn at_end(name: &'static str, offsets: &'static [usize], bytes: &'static [u8]) -> Mark {
    Mark {
        name,
        place: Place::End(offsets),
        bytes,
    }
}

const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];

/// The first that is found counts: boot sectors of FAT and NTFS end like an MBR, and a GPT has one before it.
const MARKS: [Mark; 24] = [
    at_start("a LUKS container", &[0], b"LUKS\xba\xbe"),
    at_start(
        "an LVM2 physical volume",
        &[0, 512, 1024, 1536],
        b"LABELONE",
    ),
    at_start("a member of a Linux RAID (md)", &[0, 4096], MD),
    at_start("a GPT partition table", &[512, 4096], b"EFI PART"),
    at_start("an XFS file system", &[0], b"XFSB"),
    at_start("a btrfs file system", &[0x1_0040], b"_BHRfS_M"),
    at_start(
        "swap space",
        &[4096 - 10, 8192 - 10, 16384 - 10, 65536 - 10],
        b"SWAPSPACE2",
    ),
    at_start("an NTFS file system", &[3], b"NTFS    "),
    at_start("an exFAT file system", &[3], b"EXFAT   "),
    at_start("a FAT file system", &[82], b"FAT32   "),
    at_start("a FAT file system", &[54], b"FAT16   "),
    at_start("a FAT file system", &[54], b"FAT12   "),
    at_start("an F2FS file system", &[1024], &[0x10, 0x20, 0xf5, 0xf2]),
    at_start("a SquashFS file system", &[0], b"hsqs"),
    at_start("an ISO 9660 file system", &[0x8001], b"CD001"),
    at_start("a Ceph OSD (BlueStore)", &[0], b"bluestore block device"),
    at_start("a bcache device", &[4096 + 24], BCACHE),
    at_start(
        "a ZFS pool",
        ZFS_UBERBLOCKS,
        &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0],
    ),
    at_start(
        "a ZFS pool",
        ZFS_UBERBLOCKS,
        &[0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c],
    ),
    // Two bytes alone, so behind the longer ones.
    at_start("an ext2, ext3 or ext4 file system", &[0x438], &[0x53, 0xef]),
    at_start("an MBR partition table", &[510], &[0x55, 0xaa]),
    at_end(
        "a GPT partition table (its copy at the end)",
        &[512, 4096],
        b"EFI PART",
    ),
    at_end("a member of a Linux RAID (md, at the end)", MD_1_0, MD),
    at_end(
        "a ZFS pool (its label at the end)",
        ZFS_UBERBLOCKS_AT_END,
        &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0],
    ),
];

/// The uuid by which bcache knows a superblock (`include/uapi/linux/bcache.h`).
const BCACHE: &[u8] = &[
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];

/// Where md of version 1.0 lies: 8 KiB before the end, rounded down to 4 KiB.
const MD_1_0: &[usize] = &{
    let mut offsets = [0; 8];
    let mut at = 0;
    while at < 8 {
        offsets[at] = 8192 + at * 512;
        at += 1;
    }
    offsets
};

/// The uberblocks of the first ZFS label: behind 128 KiB, in steps of 1 KiB.
const ZFS_UBERBLOCKS: &[usize] = &{
    let mut offsets = [0; 128];
    let mut at = 0;
    while at < 128 {
        offsets[at] = (128 + at) << 10;
        at += 1;
    }
    offsets
};

/// Those of the last label, where the device is a whole number of 256 KiB long.
const ZFS_UBERBLOCKS_AT_END: &[usize] = &{
    let mut offsets = [0; 128];
    let mut at = 0;
    while at < 128 {
        offsets[at] = (at + 1) << 10;
        at += 1;
    }
    offsets
};

/// What a device of so many bytes holds whose beginning and end read so; `None` where it is empty.
pub fn content(first: &[u8], last: &[u8], device_bytes: u64) -> Option<String> {
    if is_zero(first) && is_zero(last) {
        return None;
    }
    let marks = MARKS.iter().filter(|mark| mark.lies_in(first, last));
    if let Some(mark) = marks.into_iter().next() {
        return Some(mark.name.to_owned());
    }
    if md_0_90(last, device_bytes) {
        return Some("a member of a Linux RAID (md 0.90)".to_owned());
    }
    if holds_anchor(first) {
        return Some(
            "a Strata device that was not formatted to the end, or has lost both superblocks"
                .to_owned(),
        );
    }
    Some("data of a kind that is not known".to_owned())
}

impl Mark {
    fn lies_in(&self, first: &[u8], last: &[u8]) -> bool {
        match self.place {
            Place::Start(offsets) => offsets
                .iter()
                .any(|offset| holds(first, *offset, self.bytes)),
            Place::End(offsets) => offsets.iter().any(|before| {
                let offset = last.len().checked_sub(*before);
                offset.is_some_and(|offset| holds(last, offset, self.bytes))
            }),
        }
    }
}

fn holds(bytes: &[u8], offset: usize, wanted: &[u8]) -> bool {
    let behind = bytes.get(offset..).unwrap_or_default();
    behind.starts_with(wanted)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// md of version 0.90 lies in the last whole 64 KiB of the device but for the rest behind them.
fn md_0_90(last: &[u8], device_bytes: u64) -> bool {
    let superblock = (device_bytes & !0xffff).checked_sub(0x1_0000);
    let begin = device_bytes.saturating_sub(last.len() as u64);
    let within = superblock.and_then(|offset| offset.checked_sub(begin));
    within.is_some_and(|offset| holds(last, offset as usize, MD))
}

fn holds_anchor(first: &[u8]) -> bool {
    let offsets = [0, 1].map(|slot| anchor_offset(0, slot) as usize);
    offsets.iter().any(|offset| {
        let block = first.get(*offset..offset + BLOCK_BYTES);
        block.is_some_and(|block| Anchor::decode(block).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// What is found where these bytes lie so far from the beginning, or from the end, of a device of 64 MiB.
    fn found(offset: i64, bytes: &[u8]) -> String {
        let (mut first, mut last) = (vec![0; MIB], vec![0; MIB]);
        let (end, at) = match usize::try_from(offset) {
            Ok(at) => (&mut first, at),
            Err(_) => (&mut last, MIB - offset.unsigned_abs() as usize),
        };
        end[at..at + bytes.len()].copy_from_slice(bytes);
        content(&first, &last, 64 * MIB as u64).expect("something")
    }

    #[test]
    fn only_zeroes_are_empty() {
        let zeroes = vec![0; MIB];
        assert_eq!(content(&zeroes, &zeroes, 64 << 20), None);
        assert_eq!(content(&zeroes[..512], &[], 512), None);
        for offset in [0, 700_000, -1, -(MIB as i64)] {
            assert!(found(offset, &[1]).contains("not known"), "{offset}");
        }
    }

    #[test]
    fn each_mark_has_its_name() {
        for (offset, bytes, name) in [
            (0x438, &b"\x53\xef"[..], "ext4"),
            (0, b"XFSB", "XFS"),
            (0x1_0040, b"_BHRfS_M", "btrfs"),
            (82, b"FAT32   ", "FAT"),
            (3, b"NTFS    ", "NTFS"),
            (4086, b"SWAPSPACE2", "swap"),
            (65526, b"SWAPSPACE2", "swap"),
            (512, b"LABELONE", "LVM2"),
            (0, b"LUKS\xba\xbe", "LUKS"),
            (4096, MD, "md"),
            (-8192, MD, "md, at the end"),
            (-65536, MD, "md 0.90"),
            ((128 << 10) + 7 * 1024, b"\x0c\xb1\xba\0\0\0\0\0", "ZFS"),
            (-4 * 1024, b"\x0c\xb1\xba\0\0\0\0\0", "ZFS"),
            (512, b"EFI PART", "GPT"),
            (4096, b"EFI PART", "GPT"),
            (-512, b"EFI PART", "GPT"),
            (510, b"\x55\xaa", "MBR"),
            (0, b"bluestore block device", "Ceph"),
        ] {
            let found = found(offset, bytes);
            assert!(found.contains(name), "{name} at {offset}: {found}");
        }
    }

    #[test]
    fn the_longer_mark_wins() {
        let (mut first, last) = (vec![0; MIB], vec![0; MIB]);
        first[510..512].copy_from_slice(&[0x55, 0xaa]);
        let name = |first: &[u8]| content(first, &last, 64 << 20).expect("something");
        assert!(name(&first).contains("MBR"));
        first[512..520].copy_from_slice(b"EFI PART");
        assert!(name(&first).contains("GPT"));
        first[512..520].fill(0);
        first[3..11].copy_from_slice(b"NTFS    ");
        assert!(name(&first).contains("NTFS"));
    }

    #[test]
    fn an_interrupted_format_is_told_from_other_data() {
        let anchor = Anchor {
            partition: 0,
            generation: 2,
            next_sequence: 1,
            ..Anchor::default()
        };
        let offset = anchor_offset(0, 0) as i64;
        assert!(found(offset, &anchor.encode()).contains("not formatted to the end"));
    }

    #[test]
    fn a_short_device_has_no_mark_beyond_its_end() {
        assert!(content(&[1; 16], &[], 16).is_some());
        assert!(content(&[0; 600], &[0x55; 16], 616).is_some());
    }
}
