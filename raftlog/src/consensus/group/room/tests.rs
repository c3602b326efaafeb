//! The arithmetic of the log's room, over many sizes: by itself, against a journal that is packed record by record, and in lives
//! of a log that is kept full.

use std::collections::VecDeque;

use super::*;

const BLOCK_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound.max(1)
    }
}

fn space(segments: u64, segment: u64) -> Space {
    Space {
        used: 0,
        all: segments * segment,
        segment,
    }
}

/// Logs from one that is smaller than any that a node is formatted with, up to the largest.
fn sizes() -> impl Iterator<Item = Space> {
    let small = [
        (8, MIB),
        (12, MIB),
        (8, 2 * MIB),
        (8, 4 * MIB),
        (9, 4 * MIB),
    ];
    let servers = [12, 13, 16, 31, 100, 1024]
        .map(|segments| [4, 8, 16, 32, 64].map(|mib| (segments, mib * MIB)));
    let all = small.into_iter().chain(servers.into_iter().flatten());
    all.map(|(segments, segment)| space(segments, segment))
}

#[test]
fn two_snapshots_of_the_largest_namespace_fit_the_log() {
    for space in sizes() {
        let rows = rows_max(&space);
        assert!(2 * space.of_snapshot(rows) + log_margin(&space) <= space.all);
        // No more is given away than rounding takes.
        let more = rows + space.segment / 256;
        assert!(2 * space.of_snapshot(more) + log_margin(&space) > space.all);
        assert!(
            space.segment < 4 * MIB || rows > space.all / 4,
            "{space:?}: {rows}"
        );
    }
}

#[test]
fn what_frees_fits_or_a_snapshot_brings_room_for_it() {
    for empty in sizes() {
        let (margin, kept) = (log_margin(&empty), kept(&empty, CommandClass::Frees));
        for step in 0..=64 {
            let rows = rows_max(&empty) * step / 64;
            let need = empty.of_snapshot(rows);
            for takes in [0, BLOCK_BYTES, longest(&empty) / 2, longest(&empty)] {
                for used in (0..=1024).map(|at| empty.all * at / 1024) {
                    let space = Space { used, ..empty };
                    if space.free() >= need + kept + takes {
                        continue;
                    }
                    assert!(brings_room(&space, rows), "{space:?}, {rows} bytes of rows");
                    let after = empty.all - need - margin / 16;
                    assert!(after >= need + kept + takes, "{space:?}, {takes} bytes");
                }
                let after = Space {
                    used: need,
                    ..empty
                };
                assert!(!brings_room(&after, rows), "one follows the other");
            }
        }
    }
}

#[test]
fn the_longest_command_that_frees_fits_every_log_of_a_node() {
    // A thousand keys of 1 KiB, with what is archived beside them.
    let encoded = 1000 * (1024 + 128);
    for space in sizes().filter(|space| space.all >= 12 * 4 * MIB) {
        assert!(space.of_records(2 * encoded + BLOCK_BYTES) <= longest(&space));
    }
}

#[test]
fn the_rows_are_bounded_by_their_pages_and_by_what_was_counted() {
    let rows = Rows::new();
    rows.measured(1000, 0);
    assert_eq!(rows.bytes(), 1000);
    rows.grow(100);
    rows.state_taken(30);
    rows.grow(7);
    assert_eq!(rows.bytes(), 1107);
    rows.counted(500);
    assert_eq!(rows.bytes(), 537);
    // More pages by deletes.
    rows.measured(1200, 0);
    assert_eq!((rows.bytes(), rows.pages()), (537, 1200));
    rows.measured(400, 20);
    assert_eq!((rows.bytes(), rows.pages()), (420, 400));
}

/// Where records of a journal come to lie.
struct Packed {
    space: Space,
    /// The segments in use, by sequence.
    in_use: VecDeque<u64>,
    next: u64,
    cursor: u64,
}

impl Packed {
    fn new(space: Space) -> Packed {
        Packed {
            space,
            in_use: VecDeque::new(),
            next: 0,
            cursor: 0,
        }
    }

    fn rest(&self) -> u64 {
        match self.cursor % self.space.segment {
            0 => 0,
            within => self.space.segment - within,
        }
    }

    fn space(&self) -> Space {
        let in_use = self.in_use.len() as u64 * self.space.segment;
        Space {
            used: in_use - self.rest(),
            ..self.space
        }
    }

    /// Appends a record that is padded to a block; its place.
    fn append(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES);
        if self.rest() < bytes {
            let segments = self.space.all / self.space.segment;
            assert!((self.in_use.len() as u64) < segments, "the journal is full");
            self.in_use.push_back(self.next);
            self.cursor = self.next * self.space.segment + BLOCK_BYTES;
            self.next += 1;
        }
        let place = self.cursor;
        self.cursor += bytes;
        place
    }

    fn trim(&mut self, below: u64) {
        let first = below / self.space.segment;
        self.in_use
            .retain(|sequence| *sequence >= first || *sequence + 1 == self.next);
    }
}

/// The bytes of a piece, and of its record, at their longest or at random.
fn piece(space: &Space, random: &mut Random, left: u64) -> (u64, u64) {
    let excess = match random.below(2) {
        0 => 0,
        _ => random.below(20_000),
    };
    let bytes = (space.piece_bytes() + excess).min(left);
    (bytes, bytes + 96)
}

#[test]
fn a_snapshot_takes_no_more_than_was_said() {
    let mut random = Random(1);
    for space in sizes().filter(|space| space.all <= 2048 * MIB) {
        for _ in 0..8 {
            let mut journal = Packed::new(space);
            let rows = random.below(rows_max(&space));
            journal.append(1 + random.below(space.segment - 2 * BLOCK_BYTES));
            // All that may be taken, and not a segment more.
            let room = space.room_for(rows);
            let free = journal.space().free();
            let taken = free.saturating_sub(room) / space.segment;
            let before = journal.in_use.len() as u64;
            (0..taken).for_each(|at| journal.in_use.push_front(u64::MAX - at));
            let (mut left, mut first) = (rows, None);
            while left > 0 {
                let (bytes, record) = piece(&space, &mut random, left);
                first.get_or_insert(journal.append(record));
                left -= bytes;
            }
            let pieces = rows / space.piece_bytes() + 1;
            let manifest = journal.append(16 * pieces + 256);
            journal.in_use.drain(..taken as usize);
            assert!(before >= 1);
            journal.trim(first.unwrap_or(manifest));
            let used = journal.space().used;
            assert!(
                used <= space.of_snapshot(rows),
                "{space:?}: {used} for {rows}"
            );
        }
    }
}

/// A log as the group keeps it, without a group: what is let in, when snapshots are made, what they give back.
struct Kept {
    journal: Packed,
    random: Random,
    /// Bytes of rows, and of the pages that they lie in.
    rows: u64,
    pages: u64,
    known: Rows,
    snapshots: u32,
}

impl Kept {
    fn new(space: Space, seed: u64) -> Kept {
        let known = Rows::new();
        known.measured(0, 0);
        Kept {
            journal: Packed::new(space),
            random: Random(seed + 1),
            rows: 0,
            pages: 0,
            known,
            snapshots: 0,
        }
    }

    fn fits(&self, class: CommandClass, rows: u64, takes: u64, written: u64) -> bool {
        let space = self.journal.space();
        let left = self.known.bytes().saturating_sub(written) + rows;
        let need = space.of_snapshot(left) + kept(&space, class);
        space.free() >= need + space.of_records(takes)
    }

    /// A put, where it is let in. Its rows fill their pages or do not.
    fn grow(&mut self, written: u64) -> bool {
        let encoded = 100 + self.random.below(16 << 10);
        let bound = encoded + 1024;
        let space = self.journal.space();
        let is_in = self.pages + bound <= rows_max(&space)
            && self.fits(
                CommandClass::Grows,
                bound,
                2 * encoded + BLOCK_BYTES,
                written,
            );
        if is_in {
            self.known.grow(bound);
            self.journal.append(encoded);
            self.rows += encoded + self.random.below(512);
            self.pages = self.pages.max(self.rows) + self.random.below(64);
            self.known.measured(self.pages, 0);
        }
        is_in
    }

    /// Puts until none is let in, with snapshots while they bring room.
    fn fill(&mut self) {
        for _ in 0..4 {
            while self.grow(0) {}
            let space = self.journal.space();
            let fits = space.free() >= space.room_for(self.known.bytes());
            if !fits || !brings_room(&space, self.known.bytes()) {
                return;
            }
            self.snapshot();
        }
    }

    /// A delete of any length: pages may become more by it, and rows become fewer.
    fn free(&mut self, written: u64, encoded: u64) -> bool {
        let fits = self.fits(CommandClass::Frees, 0, 2 * encoded + BLOCK_BYTES, written);
        if fits {
            self.journal.append(encoded);
            self.rows -= self.random.below(encoded).min(self.rows);
            self.pages = (self.pages + self.random.below(encoded)).min(2 * self.rows);
            self.known.measured(self.pages, 0);
        }
        fits
    }

    fn marks(&mut self) {
        for _ in 0..2 {
            self.journal.append(4000);
        }
    }

    fn snapshot(&mut self) {
        let rows = self.rows;
        self.known.state_taken(0);
        let (mut left, mut first) = (rows, None);
        while left > 0 {
            let (bytes, record) = piece(&self.journal.space, &mut self.random, left);
            first.get_or_insert(self.journal.append(record));
            left -= bytes;
            match self.random.below(8) {
                0 => drop(self.grow(rows - left)),
                1 => drop(self.free(rows - left, 4000)),
                _ => {}
            }
        }
        let manifest = self.journal.append(4000);
        self.known.counted(rows);
        // A generation, a vote, two marks.
        self.marks();
        self.journal.trim(first.unwrap_or(manifest));
        self.marks();
        self.snapshots += 1;
    }

    /// What frees, let in at once or after snapshots that are worth it.
    fn free_in_the_end(&mut self, encoded: u64) {
        for _ in 0..4 {
            if self.free(0, encoded) {
                return;
            }
            let space = self.journal.space();
            assert!(
                brings_room(&space, self.known.bytes()),
                "{space:?}, {encoded} bytes"
            );
            assert!(
                space.free() >= space.room_for(self.known.bytes()),
                "{space:?}"
            );
            self.snapshot();
        }
        panic!("{:?}: no room for {encoded} bytes", self.journal.space());
    }

    /// A start: a vote, an entry of its term, and a snapshot where the log is short.
    fn restart(&mut self) {
        self.marks();
        self.known = Rows::new();
        self.known.measured(self.pages, 0);
        let space = self.journal.space();
        if space.free() >= space.room_for(self.rows) {
            self.snapshot();
        }
    }
}

#[test]
fn whatever_is_let_in_what_frees_finds_room_in_the_end() {
    for space in sizes().filter(|space| space.all <= 64 * MIB) {
        for seed in 0..12 {
            let mut log = Kept::new(space, seed);
            for _ in 0..60 {
                log.fill();
                for _ in 0..log.random.below(4) {
                    // The longest is taken twice, scaled by less than a half where segments are short.
                    let longest = (longest(&space) - 2 * BLOCK_BYTES) / 3;
                    let encoded = match log.random.below(3) {
                        0 => longest.min(space.segment / 2),
                        _ => 100 + log.random.below(40_000.min(longest)),
                    };
                    log.free_in_the_end(encoded);
                }
                if log.random.below(3) == 0 {
                    log.restart();
                }
            }
            assert!(log.snapshots > 3, "{space:?}: {} snapshots", log.snapshots);
        }
    }
}
