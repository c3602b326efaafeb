//! Flips bits of a data file: each that LMDB would read is noticed, each other one changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::namespace::WriteTxn;
use crate::namespace::store::checkpoint::SideFile;
use crate::namespace::store::environment::{DATA_FILE, SIDE_FILE};
use crate::namespace::store::{NamespaceStore, StoreOptions, verification};

const OPTIONS: StoreOptions = StoreOptions {
    map_bytes: 16 << 20,
};

/// xorshift64*: the test runs the same from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % bound
    }
}

/// A value as docs/FORMAT.md has it.
fn sealed(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &[1]);
    let crc = crc32c::crc32c_append(crc, payload);
    [&[1][..], &crc.to_be_bytes(), payload].concat()
}

fn some_key(random: &mut Random) -> Vec<u8> {
    let number = random.below(600);
    let name = format!("X{number:04}/{}", "n".repeat(number * 7 % 300));
    name.into_bytes()
}

/// Writes and deletes until both trees have several levels, long values and free pages; then makes a checkpoint.
fn filled(dir: &Path) {
    let (store, _) = NamespaceStore::open(dir, OPTIONS).expect("a store");
    let mut random = Random(7);
    for turn in 0..60 {
        let environment = &store.inner.environment;
        let txn = environment.env.write_txn().expect("a transaction");
        let mut txn = WriteTxn::new(txn, store.writer().tally);
        for _ in 0..30 {
            let key = some_key(&mut random);
            if random.below(3) == 0 {
                environment.table.delete(&mut txn, &key).expect("deleted");
                continue;
            }
            let length = [0, 40, 41, 900, 5_000, 13_000][random.below(6)];
            let value = sealed(&key, &vec![turn; length]);
            let put = environment.table.put_sealed(&mut txn, &key, &value);
            put.expect("put");
        }
        store.writer().tally = txn.commit().expect("committed");
        if turn % 8 == 7 {
            let checkpoint = store.begin_checkpoint().expect("begun");
            checkpoint.finish().expect("a checkpoint");
        }
    }
    let checkpoint = store.begin_checkpoint().expect("begun");
    checkpoint.finish().expect("a checkpoint");
}

/// What a byte of the file belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Headers, pointers, lengths.
    Structure,
    /// A key or a value.
    Row,
    /// A value in pages of its own, with the header of their first.
    LongValue,
    /// A separator of a branch page, or the number of a transaction in the tree of free pages.
    Boundary,
}

struct Stored {
    dir: tempfile::TempDir,
    file: File,
    bytes: Vec<u8>,
    side: SideFile,
    meta: Meta,
}

impl Stored {
    fn new() -> Stored {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path());
        let path = dir.path().join(DATA_FILE);
        let file = File::open_to_write(&path);
        let side = fs::read(dir.path().join(SIDE_FILE)).expect("a side file");
        let side = SideFile::decode(&side).expect("a sound one");
        Stored {
            file: file.expect("a data file"),
            bytes: fs::read(&path).expect("a data file"),
            meta: Meta::newest(&side.meta_pages).expect("a meta page"),
            side,
            dir,
        }
    }

    /// What is wrong with the file as it is now.
    fn fault(&self, reach: Reach) -> Option<String> {
        let dir = self.dir.path();
        let verified = verification::verify(dir, &self.side, reach, &|| false);
        verified.expect("the file can be opened").err()
    }

    fn fault_with_flip(&self, bit: usize, reach: Reach) -> Option<String> {
        let at = bit / 8;
        let flipped = [self.bytes[at] ^ 1 << (bit % 8)];
        self.file
            .write_all_at(&flipped, at as u64)
            .expect("written");
        let fault = self.fault(reach);
        self.file
            .write_all_at(&self.bytes[at..=at], at as u64)
            .expect("written");
        fault
    }

    fn page(&self, number: u64) -> &[u8] {
        &self.bytes[number as usize * self.meta.page_bytes..][..self.meta.page_bytes]
    }

    /// The bytes of the file that LMDB reads.
    fn read_bytes(&self) -> BTreeMap<usize, Part> {
        let mut read = BTreeMap::new();
        let Meta { main, free, .. } = self.meta;
        self.read_bytes_below(main.root, main.depth, Part::Row, &mut read);
        self.read_bytes_below(free.root, free.depth, Part::Boundary, &mut read);
        read
    }

    fn read_bytes_below(
        &self,
        number: u64,
        levels: u16,
        keys: Part,
        read: &mut BTreeMap<usize, Part>,
    ) {
        let start = number as usize * self.meta.page_bytes;
        let page = self.page(number);
        let lower = usize::from(u16_at(page, 12).expect("a bound"));
        read.extend((start..start + lower).map(|at| (at, Part::Structure)));
        for index in 0..(lower - HEADER_BYTES) / 2 {
            let at = u16_at(page, HEADER_BYTES + 2 * index).expect("a pointer");
            let node = Node::read(page, at.into()).expect("a node");
            let from = start + node.at;
            read.extend((from..from + NODE_HEADER_BYTES).map(|at| (at, Part::Structure)));
            let key = from + NODE_HEADER_BYTES..from + NODE_HEADER_BYTES + node.key_bytes;
            match levels {
                1 => {
                    read.extend(key.clone().map(|at| (at, keys)));
                    self.read_bytes_of_value(&node, key.end, read);
                }
                _ => {
                    if index > 0 {
                        read.extend(key.map(|at| (at, Part::Boundary)));
                    }
                    let child = u64::from(node.low) | u64::from(node.flags) << 32;
                    self.read_bytes_below(child, levels - 1, keys, read);
                }
            }
        }
    }

    fn read_bytes_of_value(&self, node: &Node, at: usize, read: &mut BTreeMap<usize, Part>) {
        if node.flags == 0 {
            read.extend((at..at + node.low as usize).map(|at| (at, Part::Row)));
            return;
        }
        read.extend((at..at + 8).map(|at| (at, Part::Structure)));
        let number = u64_at(&self.bytes, at).expect("a page number");
        let start = number as usize * self.meta.page_bytes;
        let end = start + HEADER_BYTES + node.low as usize;
        read.extend((start..end).map(|at| (at, Part::LongValue)));
    }
}

#[test]
fn a_sound_file_is_sound() {
    let stored = Stored::new();
    assert_eq!(stored.fault(Reach::Trees), None);
    assert_eq!(stored.fault(Reach::Everything), None);
    let Meta { main, free, .. } = stored.meta;
    assert!(main.depth >= 2 && main.overflow_pages > 10, "{main:?}");
    assert!(free.entries > 0 && main.entries > 100, "{free:?}");
}

/// Bits that lie in separators may move a boundary to where no key lies: then no search goes astray. Numbers of transactions
/// in the tree of free pages may name another one that is past.
#[test]
fn every_flipped_bit_that_is_read_is_noticed() {
    let stored = Stored::new();
    let mut random = Random(1);
    let mut tried = 0;
    for (at, part) in stored.read_bytes() {
        let one_in = match part {
            Part::Structure | Part::Boundary => 4,
            Part::Row => 30,
            Part::LongValue => 300,
        };
        if random.below(one_in) != 0 {
            continue;
        }
        let bit = at * 8 + random.below(8);
        tried += 1;
        let noticed = |reach| stored.fault_with_flip(bit, reach).is_some();
        let everything = noticed(Reach::Everything);
        let place = format!(
            "bit {} of byte {} of page {}",
            bit % 8,
            at % stored.meta.page_bytes,
            at / stored.meta.page_bytes
        );
        assert!(everything || part == Part::Boundary, "{place}");
        // The trees are verified without their long values.
        assert!(
            noticed(Reach::Trees) || !everything || part == Part::LongValue,
            "{place}"
        );
    }
    assert!(tried > 2_000, "{tried} bits were tried");
}

#[test]
fn a_flipped_bit_that_is_not_read_changes_nothing() {
    let stored = Stored::new();
    let read = stored.read_bytes();
    let mut random = Random(2);
    let mut tried = 0;
    while tried < 500 {
        let bit = random.below(stored.bytes.len() * 8);
        if read.contains_key(&(bit / 8)) {
            continue;
        }
        tried += 1;
        assert_eq!(
            stored.fault_with_flip(bit, Reach::Everything),
            None,
            "bit {bit}"
        );
        assert_eq!(stored.fault_with_flip(bit, Reach::Trees), None, "bit {bit}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_noticed() {
    let stored = Stored::new();
    let last = stored.meta.last_page * stored.meta.page_bytes as u64;
    for length in [last, last / 2, 4096, 1, 0] {
        stored.file.set_length(length).expect("cut");
        for reach in [Reach::Trees, Reach::Everything] {
            assert!(stored.fault(reach).is_some(), "{length} bytes");
        }
    }
}

/// A page that is whole but of an earlier moment: a write that the device has lost.
#[test]
fn an_older_version_of_a_page_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let older = fs::read(dir.path().join(DATA_FILE)).expect("a data file");
    filled(dir.path());
    let path = dir.path().join(DATA_FILE);
    let newer = fs::read(&path).expect("a data file");
    let side = fs::read(dir.path().join(SIDE_FILE)).expect("a side file");
    let side = SideFile::decode(&side).expect("a sound one");
    let meta = Meta::newest(&side.meta_pages).expect("a meta page");
    let file = File::open_to_write(&path);
    let file = file.expect("a data file");
    let mut lost = 0;
    let page_bytes = meta.page_bytes;
    for at in (2 * page_bytes..older.len().min(newer.len())).step_by(page_bytes) {
        let (old, new) = (&older[at..at + page_bytes], &newer[at..at + page_bytes]);
        if old == new {
            continue;
        }
        file.write_all_at(old, at as u64).expect("written");
        let verified = verification::verify(dir.path(), &side, Reach::Everything, &|| false);
        lost += usize::from(verified.expect("the file can be opened").is_err());
        file.write_all_at(new, at as u64).expect("written");
    }
    assert!(lost > 10, "{lost} lost writes were noticed");
}
