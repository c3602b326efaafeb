//! The bytes of one simulated file, and what a power cut leaves of them.
//!
//! Invariants: `current` is what reads see; `durable` is what surely survives; `changes` turn one into the other in
//! order. A successful flush moves the changes it covers to `durable`; a failed one dooms them: no later flush can
//! vouch for them, and a power cut resolves them by chance like everything unsynced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::super::random::SeededRandom;

/// The unit in which an unsynced write may be torn.
pub(super) const SECTOR_BYTES: usize = 512;
pub(super) const PAGE_BYTES: usize = 4096;

/// Sparse bytes with a length; what was never written reads as zeroes.
#[derive(Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    pub(super) length: u64,
}

impl Image {
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) {
        for (page, within, piece) in pieces(offset, bytes.len()) {
            let target = &mut bytes[piece];
            match self.pages.get(&page) {
                Some(content) => target.copy_from_slice(&content[within..within + target.len()]),
                None => target.fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, piece) in pieces(offset, bytes.len()) {
            let source = &bytes[piece];
            let content = self
                .pages
                .entry(page)
                .or_insert_with(|| Box::new([0; PAGE_BYTES]));
            content[within..within + source.len()].copy_from_slice(source);
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    /// Whether a read there would give these bytes, which reach over the end of no page.
    pub(super) fn holds(&self, offset: u64, bytes: &[u8]) -> bool {
        let within = (offset % PAGE_BYTES as u64) as usize;
        match self.pages.get(&(offset / PAGE_BYTES as u64)) {
            Some(content) => content[within..].starts_with(bytes),
            None => bytes.iter().all(|byte| *byte == 0),
        }
    }

    /// Where the pages lie that hold something.
    pub(super) fn written_pages(&self) -> Vec<u64> {
        let pages = self.pages.keys();
        pages.map(|page| page * PAGE_BYTES as u64).collect()
    }

    /// Writes all of it to an empty file of this machine.
    pub(super) fn write_to(&self, file: &File) -> io::Result<()> {
        for (page, content) in &self.pages {
            file.write_all_at(&content[..], page * PAGE_BYTES as u64)?;
        }
        file.set_len(self.length)
    }

    fn set_length(&mut self, length: u64) {
        if length < self.length {
            let first_beyond = length.div_ceil(PAGE_BYTES as u64);
            self.pages.split_off(&first_beyond);
            let within = (length % PAGE_BYTES as u64) as usize;
            if within > 0
                && let Some(last) = self.pages.get_mut(&(length / PAGE_BYTES as u64))
            {
                last[within..].fill(0);
            }
        }
        self.length = length;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => self.write(*offset, bytes),
            Change::Length(length) => self.set_length(*length),
            Change::Discard { range, choice } => self.discard(range, *choice),
        }
    }

    /// Of what is discarded some pages read as zeroes afterwards and the others as before, as the choice says: the same ones
    /// wherever it is applied.
    fn discard(&mut self, range: &Range<u64>, choice: u64) {
        let pages = range.start.div_ceil(PAGE_BYTES as u64)..range.end / PAGE_BYTES as u64;
        let there = self.pages.range(pages).map(|(page, _)| *page);
        let zeroed = there.filter(|page| SeededRandom::new(choice ^ page).below(2) == 0);
        for page in zeroed.collect::<Vec<u64>>() {
            self.pages.remove(&page);
        }
    }

    /// Applies as much of the change as chance wants: all of it, nothing, or some sectors.
    fn apply_by_chance(&mut self, change: &Change, random: &mut SeededRandom) {
        let fate = random.below(3);
        match change {
            Change::Length(length) if fate > 0 => self.set_length(*length),
            Change::Discard { range, choice } if fate > 0 => self.discard(range, *choice),
            Change::Write { offset, bytes } if fate == 1 => self.write(*offset, bytes),
            Change::Write { offset, bytes } if fate == 2 => {
                for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if random.below(2) == 0 {
                        self.write(offset + (number * SECTOR_BYTES) as u64, sector);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Splits a range into (page, offset within it, range of the buffer).
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let position = offset + done as u64;
        let within = (position % PAGE_BYTES as u64) as usize;
        let size = (PAGE_BYTES - within).min(length - done);
        let piece = done..done + size;
        done += size;
        Some((position / PAGE_BYTES as u64, within, piece))
    })
}

/// What an operation does to a file.
#[derive(Clone)]
pub(super) enum Change {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    Length(u64),
    /// What lies there is given up.
    Discard {
        range: Range<u64>,
        choice: u64,
    },
}

/// A file with its past.
#[derive(Default)]
pub(super) struct FileImage {
    pub(super) current: Image,
    durable: Image,
    /// Not durable yet, in the order they took effect.
    changes: Vec<Change>,
    /// Changes that have left `changes` since the file was made.
    flushed: u64,
    /// Covered by a flush that failed.
    doomed: Vec<Change>,
}

impl FileImage {
    pub(super) fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.changes.push(change);
    }

    /// Makes it so long, durably, before anything is written.
    pub(super) fn set_fixed_length(&mut self, length: u64) {
        (self.current.length, self.durable.length) = (length, length);
    }

    /// Marks what a flush that starts now covers.
    pub(super) fn flush_mark(&self) -> u64 {
        self.flushed + self.changes.len() as u64
    }

    /// A flush of everything before the mark has ended; another may have taken some of it meanwhile.
    pub(super) fn flushed(&mut self, mark: u64, succeeded: bool) {
        let covered = mark.saturating_sub(self.flushed) as usize;
        self.flushed += covered as u64;
        for change in self.changes.drain(..covered) {
            if succeeded {
                self.durable.apply(&change);
            } else {
                self.doomed.push(change);
            }
        }
    }

    /// The power is gone: everything that is not durable is resolved by chance.
    pub(super) fn cut(&mut self, random: &mut SeededRandom) {
        self.flushed += self.changes.len() as u64;
        for change in self.doomed.drain(..).chain(self.changes.drain(..)) {
            self.durable.apply_by_chance(&change, random);
        }
        self.current = self.durable.clone();
    }

    /// Changes bytes behind everybody's back, on the platter.
    pub(super) fn damage(&mut self, offset: u64, act: impl Fn(&mut u8)) {
        for image in [&mut self.current, &mut self.durable] {
            let mut byte = [0];
            image.read(offset, &mut byte);
            act(&mut byte[0]);
            let length = image.length;
            image.write(offset, &byte);
            image.length = length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &mut FileImage, offset: u64, fill: u8, length: usize) {
        file.change(Change::Write {
            offset,
            bytes: vec![fill; length],
        });
    }

    fn bytes(file: &FileImage, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        file.current.read(offset, &mut bytes);
        bytes
    }

    #[test]
    fn flushed_bytes_survive_every_cut() {
        for seed in 0..50 {
            let mut file = FileImage::default();
            write(&mut file, 100, 1, 10_000);
            file.flushed(file.flush_mark(), true);
            write(&mut file, 20_000, 2, 4096);
            file.cut(&mut SeededRandom::new(seed));
            assert_eq!(bytes(&file, 100, 10_000), vec![1; 10_000]);
        }
    }

    #[test]
    fn unsynced_bytes_have_three_fates_by_sector() {
        let (mut none, mut all, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let mut file = FileImage::default();
            write(&mut file, 0, 1, 8192);
            file.flushed(1, true);
            write(&mut file, 0, 2, 8192);
            file.cut(&mut SeededRandom::new(seed));
            let sectors: Vec<Vec<u8>> = bytes(&file, 0, 8192)
                .chunks(SECTOR_BYTES)
                .map(<[u8]>::to_vec)
                .collect();
            let new = sectors.iter().filter(|sector| sector[0] == 2).count();
            assert!(
                sectors.iter().all(|s| s.iter().all(|byte| *byte == s[0])),
                "sectors are atomic"
            );
            none += usize::from(new == 0);
            all += usize::from(new == sectors.len());
            torn += usize::from(new > 0 && new < sectors.len());
        }
        assert!(none > 50 && all > 50 && torn > 50, "{none} {all} {torn}");
    }

    #[test]
    fn what_a_failed_flush_covered_is_never_vouched_for() {
        let lost = (0..100).filter(|&seed| {
            let mut file = FileImage::default();
            write(&mut file, 0, 1, 4096);
            file.flushed(1, false);
            file.flushed(file.flush_mark(), true);
            file.cut(&mut SeededRandom::new(seed));
            bytes(&file, 0, 4096) != vec![1; 4096]
        });
        assert!(lost.count() > 30);
    }

    #[test]
    fn what_is_discarded_reads_as_before_or_as_zeroes_and_nothing_beside_it_changes() {
        let mut file = FileImage::default();
        write(&mut file, 0, 7, 40 * PAGE_BYTES);
        let page = PAGE_BYTES as u64;
        file.change(Change::Discard {
            range: 3 * page..37 * page,
            choice: 5,
        });
        assert_eq!(bytes(&file, 0, 3 * PAGE_BYTES), vec![7; 3 * PAGE_BYTES]);
        assert_eq!(
            bytes(&file, 37 * page, 3 * PAGE_BYTES),
            vec![7; 3 * PAGE_BYTES]
        );
        let inside = bytes(&file, 3 * page, 34 * PAGE_BYTES);
        let zeroed = inside
            .chunks(PAGE_BYTES)
            .filter(|page| page[0] == 0)
            .count();
        assert!((1..34).contains(&zeroed), "{zeroed}");
        file.flushed(file.flush_mark(), true);
        file.cut(&mut SeededRandom::new(1));
        assert_eq!(bytes(&file, 3 * page, 34 * PAGE_BYTES), inside);
    }

    #[test]
    fn shrinking_and_growing_shows_zeroes() {
        let mut file = FileImage::default();
        write(&mut file, 0, 7, 10_000);
        file.change(Change::Length(5_000));
        file.change(Change::Length(10_000));
        assert_eq!(bytes(&file, 0, 5_000), vec![7; 5_000]);
        assert_eq!(bytes(&file, 5_000, 5_000), vec![0; 5_000]);
    }
}
