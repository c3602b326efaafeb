//! The structures of a device file, in the order in which they lie there.
//!
//! Invariants: lengths come from headers whose CRC holds, so that a payload is never taken for a structure; what a segment
//! holds from an earlier use is known by its salt and position and left out; what claims to be of this use and is damaged is a
//! structure that says so, and the walk goes on behind it by alignment units.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use strata_engine::Superblock;
use strata_engine::format::describe::describe;
use strata_engine::format::description::{Description, Structure};
use strata_engine::format::layout::{
    BLOCK_BYTES, SEGMENTS_OFFSET, SUPERBLOCK_OFFSETS, anchor_offset,
};
use strata_engine::format::segment::{Content, SegmentHeader};
use strata_engine::format::{entry, record};

use super::Page;

/// The longest structure: an entry with its body.
const STRUCTURE_BYTES_MAX: usize = 4 << 20;

/// Prints a device: superblocks, anchors, and every segment with what it holds.
///
/// # Errors
/// It cannot be read, or holds no superblock.
pub fn print(path: &Path, page: &mut Page) -> Result<(), String> {
    let device = DeviceFile::open(path)?;
    let superblock = device.print_head(page)?;
    let length = device.length()?;
    let mut offset = SEGMENTS_OFFSET;
    while offset < length && page.wants_more() {
        device.print_segment(offset, &superblock, page)?;
        offset += superblock.segment_bytes;
    }
    Ok(())
}

/// Prints the structure at an offset.
///
/// # Errors
/// It cannot be read.
pub fn print_at(path: &Path, offset: u64, page: &mut Page) -> Result<(), String> {
    let device = DeviceFile::open(path)?;
    let bytes = device.read(offset, STRUCTURE_BYTES_MAX)?;
    page.structure(Some(offset), &found_in(&bytes));
    Ok(())
}

struct DeviceFile<'a> {
    path: &'a Path,
    file: File,
}

impl DeviceFile<'_> {
    fn open(path: &Path) -> Result<DeviceFile<'_>, String> {
        let file =
            File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(DeviceFile { path, file })
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("cannot read {}: {error}", self.path.display())
    }

    /// Its end: a block device has no length of a file.
    fn length(&self) -> Result<u64, String> {
        let end = (&self.file).seek(SeekFrom::End(0));
        end.map_err(|error| self.failed(&error))
    }

    /// Up to so many bytes; fewer at the end of the file.
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self
                .file
                .read_at(&mut bytes[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Both superblocks and the anchors. Answers the superblock that counts.
    fn print_head(&self, page: &mut Page) -> Result<Superblock, String> {
        let mut best: Option<Superblock> = None;
        for offset in SUPERBLOCK_OFFSETS {
            let bytes = self.read(offset, BLOCK_BYTES)?;
            page.structure(Some(offset), &found_in(&bytes));
            if let Ok(block) = Superblock::decode(&bytes)
                && best
                    .as_ref()
                    .is_none_or(|best| best.generation < block.generation)
            {
                best = Some(block);
            }
        }
        let superblock = best.ok_or_else(|| {
            format!(
                "{} holds no superblock that this version can read",
                self.path.display()
            )
        })?;
        for partition in &superblock.partitions {
            for slot in 0..2 {
                let offset = anchor_offset(partition.number, slot);
                let bytes = self.read(offset, BLOCK_BYTES)?;
                if !is_blank(&bytes) {
                    page.structure(Some(offset), &found_in(&bytes));
                }
            }
        }
        Ok(superblock)
    }

    fn print_segment(
        &self,
        offset: u64,
        superblock: &Superblock,
        page: &mut Page,
    ) -> Result<(), String> {
        let head = self.read(offset, BLOCK_BYTES)?;
        if is_blank(&head) {
            return Ok(());
        }
        page.structure(Some(offset), &found_in(&head));
        let Ok(header) = SegmentHeader::decode(&head) else {
            return Ok(());
        };
        let length = usize::try_from(superblock.segment_bytes)
            .map_err(|_| "a segment is too long".to_owned())?;
        let segment = self.read(offset, length)?;
        let mut at = BLOCK_BYTES.max(superblock.alignment as usize);
        while at < segment.len() && page.wants_more() {
            let bytes = &segment[at..];
            let found = match header.content {
                Content::Index => Found::page(bytes),
                Content::Records => Found::record(bytes, superblock, &header),
            };
            match found {
                Found::Structure(length) => {
                    page.structure(Some(offset + at as u64), &found_in(bytes));
                    at += length.max(1);
                }
                Found::Damaged => {
                    page.structure(Some(offset + at as u64), &found_in(bytes));
                    at = (at + 1).next_multiple_of(superblock.alignment.max(512) as usize)
                }
                Found::Nothing => {
                    at = (at + 1).next_multiple_of(superblock.alignment.max(512) as usize)
                }
            }
        }
        Ok(())
    }
}

/// What lies at a place inside a segment.
enum Found {
    /// A structure of this segment's present use, with the bytes to the next.
    Structure(usize),
    /// A structure of this use whose bytes are not in order.
    Damaged,
    /// Padding, or the rest of an earlier use.
    Nothing,
}

impl Found {
    fn page(bytes: &[u8]) -> Found {
        if is_blank(&bytes[..BLOCK_BYTES.min(bytes.len())]) {
            Found::Nothing
        } else {
            Found::Structure(BLOCK_BYTES)
        }
    }

    fn record(bytes: &[u8], superblock: &Superblock, header: &SegmentHeader) -> Found {
        let present = |origin: record::Origin| {
            origin.salt == header.salt
                && origin.position / superblock.segment_bytes == header.sequence
        };
        if let Ok((found, _)) = entry::decode(bytes) {
            return if present(found.origin) {
                Found::Structure(found.entry_bytes() as usize)
            } else {
                Found::Nothing
            };
        }
        match record::decode_header(bytes) {
            Ok(found) if present(found.origin) => {
                Found::Structure(found.body.record_bytes(superblock.alignment as usize) as usize)
            }
            Ok(_) => Found::Nothing,
            Err(_) => {
                let entry = entry::claim(bytes).is_some_and(|claim| present(claim.origin));
                let record = record::claim(bytes, superblock.alignment as usize)
                    .is_some_and(|claim| claim.salt == header.salt);
                match entry || record {
                    true => Found::Damaged,
                    false => Found::Nothing,
                }
            }
        }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// What some bytes of a device are.
fn found_in(bytes: &[u8]) -> Structure {
    if bytes.is_empty() {
        return Structure::damaged("nothing", "behind the end of the device");
    }
    if is_blank(&bytes[..BLOCK_BYTES.min(bytes.len())]) {
        return Structure::new("zeros", Description::new());
    }
    let found = describe(bytes);
    match entry::decode(bytes) {
        Ok((header, body)) => with_record(found, header.content, body),
        Err(_) => found,
    }
}

/// A log entry with what it holds, which the engine does not know.
fn with_record(mut found: Structure, content: u8, body: &[u8]) -> Structure {
    match strata_raftlog::consensus::log::describe(content, body) {
        Ok(record) => found.value = found.value.map(|value| value.with("record", record)),
        Err(why) => found.error = Some(format!("its record: {why}")),
    }
    found
}
