//! Every page of LMDB's data file, verified without LMDB: the file is read, never mapped, so that a file that is cut short is an
//! answer and not a signal.
//!
//! Invariants of a file that no power cut, no other program and no bad sector has changed (mdb.c of LMDB 0.9.70, on which
//! heed 0.23 is built):
//! - each page up to the last one is a meta page, or belongs to exactly one of the two trees, or is listed as free exactly once;
//! - a page knows its own number and kind; its nodes fill the space above `upper` without a gap;
//! - keys ascend over the whole tree and lie between the separators above them, so that a search finds what a walk finds;
//! - each tree has as many pages of each kind, as many entries and the depth that the meta page says.
//!
//! A verification of the trees alone ([`Reach::Trees`]) reads no long value. It knows of such a value where it begins, and not
//! how many pages it has been given, so that pages that belong to nothing are left to a verification of everything.
//!
//! What LMDB never reads may hold anything: the gap inside a page, what pads a node to an even length, the rest of the last page
//! of a long value, the first key of a branch page, and free pages.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::num::NonZeroU64;

use strata_engine::reactor::fs::blocking::File;

use super::StoreError;

/// LMDB's mark of a meta page, the version of its format, and where the fields of a meta page lie.
const META_MAGIC: u32 = 0xbeef_c0de;
const DATA_VERSION: u32 = 1;
const META_MAGIC_AT: usize = 16;
const META_VERSION_AT: usize = 20;
const META_FREE_AT: usize = 40;
const META_MAIN_AT: usize = 88;
const META_LAST_PAGE_AT: usize = 136;
const META_TRANSACTION_AT: usize = 144;
/// The first pages of the file.
const META_PAGES: u64 = 2;

const HEADER_BYTES: usize = 16;
const NODE_HEADER_BYTES: usize = 8;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
/// The flag of a node whose value lies in pages of its own.
const BIG_DATA: u16 = 0x01;
/// No page: the root of an empty tree.
const NO_PAGE: u64 = u64::MAX;
/// LMDB's cursors are not deeper.
const DEPTH_MAX: u16 = 32;

/// What is wrong with the file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not what LMDB wrote.
    Damaged(String),
    /// It cannot be read.
    Unreadable(std::io::Error),
    /// A row is refused by the caller.
    Row(StoreError),
}

type Checked<T> = Result<T, Fault>;

fn damaged<T>(what: impl Into<String>) -> Checked<T> {
    Err(Fault::Damaged(what.into()))
}

/// The start of one of the two trees.
#[derive(Debug, Clone, Copy)]
struct Tree {
    flags: u16,
    depth: u16,
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
    root: u64,
}

/// The meta page of one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    page_bytes: usize,
    last_page: u64,
    transaction: u64,
    free: Tree,
    main: Tree,
}

impl Meta {
    /// The newer of two meta pages; `None` where neither is one.
    pub(crate) fn newest(meta_pages: &[u8]) -> Option<Meta> {
        let pages = meta_pages.chunks_exact(meta_pages.len() / 2);
        pages
            .filter_map(Meta::read)
            .max_by_key(|meta| meta.transaction)
    }

    fn read(page: &[u8]) -> Option<Meta> {
        let known = u32_at(page, META_MAGIC_AT)? == META_MAGIC
            && u32_at(page, META_VERSION_AT)? == DATA_VERSION;
        let meta = Meta {
            page_bytes: page.len(),
            last_page: u64_at(page, META_LAST_PAGE_AT)?,
            transaction: u64_at(page, META_TRANSACTION_AT)?,
            free: Tree::read(page, META_FREE_AT)?,
            main: Tree::read(page, META_MAIN_AT)?,
        };
        known.then_some(meta)
    }

    /// The length that the file has at least, in bytes.
    fn file_bytes(&self) -> Option<u64> {
        let pages = self.last_page.checked_add(1)?;
        pages.checked_mul(self.page_bytes as u64)
    }
}

impl Tree {
    fn read(page: &[u8], at: usize) -> Option<Tree> {
        Some(Tree {
            flags: u16_at(page, at + 4)?,
            depth: u16_at(page, at + 6)?,
            branch_pages: u64_at(page, at + 8)?,
            leaf_pages: u64_at(page, at + 16)?,
            overflow_pages: u64_at(page, at + 24)?,
            entries: u64_at(page, at + 32)?,
            root: u64_at(page, at + 40)?,
        })
    }
}

/// What a walk has met of a tree.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
}

/// How the keys of a tree are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As bytes.
    Bytes,
    /// As one number of eight bytes in the machine's order: transactions, in the tree of free pages.
    Number,
}

impl Order {
    /// The key in a form that compares as bytes.
    fn comparable(self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Order::Bytes => Some(key.into()),
            Order::Number => {
                let number = u64::from_ne_bytes(key.try_into().ok()?);
                Some(number.to_be_bytes().to_vec().into())
            }
        }
    }
}

/// How much of the file a verification reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Both trees, with the values that lie in their leaves.
    Trees,
    /// Every page that is in use.
    Everything,
}

/// The value of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'v> {
    Read(&'v [u8]),
    /// A long one, which was not read; its length in bytes.
    Unread(usize),
}

/// Verifies the pages of the state that a meta page speaks of, and hands each row (key, value) over.
///
/// # Errors
/// The first thing that is wrong, or what `row` says.
pub(crate) fn verify(
    file: &File,
    meta: &Meta,
    reach: Reach,
    row: &mut impl FnMut(&[u8], Value<'_>) -> Result<(), StoreError>,
) -> Checked<()> {
    check_length(file, meta)?;
    let mut walk = Walk {
        file,
        meta,
        reach,
        seen: Seen::new(meta.last_page),
        met: Met::default(),
        page: Vec::new(),
    };
    walk.tree(&meta.main, Order::Bytes, &mut |_, key, value| {
        row(key, value).map_err(Fault::Row)
    })?;
    // The lists of free pages are read whole: a page that is in use and listed would be written over.
    walk.reach = Reach::Everything;
    let transaction = meta.transaction;
    walk.tree(&meta.free, Order::Number, &mut |seen, key, value| {
        let Value::Read(value) = value else {
            return damaged("a list of free pages was not read");
        };
        list_free(seen, transaction, key, value)
    })?;
    match reach {
        Reach::Trees => Ok(()),
        Reach::Everything => walk.seen.all(),
    }
}

/// Whether the file reaches to its last page: behind its end a mapping has nothing to show.
///
/// # Errors
/// It is cut short, or cannot be asked.
pub(super) fn check_length(file: &File, meta: &Meta) -> Checked<()> {
    let length = file.length().map_err(Fault::Unreadable)?;
    match meta.file_bytes() {
        Some(needed) if needed <= length => Ok(()),
        _ => damaged(format!(
            "the file has {length} bytes, but its last page is {}",
            meta.last_page
        )),
    }
}

/// A row of the tree of free pages: a count, then the numbers of so many pages.
fn list_free(seen: &mut Seen, transaction: u64, key: &[u8], value: &[u8]) -> Checked<()> {
    let freed_by = key.try_into().map(u64::from_ne_bytes);
    if freed_by.is_ok_and(|freed_by| freed_by > transaction) {
        return damaged("pages are listed as freed by a later transaction");
    }
    let mut numbers = value
        .chunks_exact(8)
        .map(|bytes| u64::from_ne_bytes(std::array::from_fn(|at| bytes[at])));
    let count = numbers.next().unwrap_or(u64::MAX);
    if count > numbers.len() as u64 {
        return damaged("a list of free pages is shorter than it says");
    }
    for page in numbers.take(count as usize) {
        seen.note(page)?;
    }
    Ok(())
}

/// Which pages have been met.
struct Seen {
    bits: Vec<u64>,
    last: u64,
    missing: u64,
}

impl Seen {
    fn new(last: u64) -> Seen {
        let words = (last / 64 + 1) as usize;
        Seen {
            bits: vec![0; words],
            last,
            missing: (last + 1).saturating_sub(META_PAGES),
        }
    }

    fn note(&mut self, page: u64) -> Checked<()> {
        if page < META_PAGES || page > self.last {
            return damaged(format!("page {page} is named and does not exist"));
        }
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        if self.bits[word] & bit != 0 {
            return damaged(format!("page {page} is named twice"));
        }
        self.bits[word] |= bit;
        self.missing -= 1;
        Ok(())
    }

    fn all(&self) -> Checked<()> {
        match self.missing {
            0 => Ok(()),
            count => damaged(format!("{count} pages are in no tree and not free")),
        }
    }
}

type RowSink<'a> = &'a mut dyn FnMut(&mut Seen, &[u8], Value<'_>) -> Checked<()>;

/// Keys in comparable form: at or above the first, below the second.
#[derive(Clone, Default)]
struct Bounds {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

struct Walk<'f> {
    file: &'f File,
    meta: &'f Meta,
    reach: Reach,
    seen: Seen,
    met: Met,
    /// The pages of one long value, used again and again.
    page: Vec<u8>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree, order: Order, rows: RowSink<'_>) -> Checked<()> {
        self.met = Met::default();
        if tree.depth > DEPTH_MAX || (tree.root == NO_PAGE) != (tree.depth == 0) {
            return damaged("a tree's depth is impossible");
        }
        if tree.depth > 0 {
            self.subtree(tree.root, tree.depth, order, &Bounds::default(), rows)?;
        }
        let said = Met {
            branch_pages: tree.branch_pages,
            leaf_pages: tree.leaf_pages,
            overflow_pages: tree.overflow_pages,
            entries: tree.entries,
        };
        if self.reach == Reach::Trees && self.met.overflow_pages <= said.overflow_pages {
            self.met.overflow_pages = said.overflow_pages;
        }
        match self.met == said {
            true => Ok(()),
            false => damaged(format!(
                "a tree (flags {:#x}) has {:?}, its meta page says {said:?}",
                tree.flags, self.met
            )),
        }
    }

    /// `levels` are left, with this one; the last is that of the leaves.
    fn subtree(
        &mut self,
        number: u64,
        levels: u16,
        order: Order,
        bounds: &Bounds,
        rows: RowSink<'_>,
    ) -> Checked<()> {
        self.seen.note(number)?;
        let bytes = self.read(number, 1)?;
        let kind = if levels == 1 { LEAF } else { BRANCH };
        let page = NodePage::check(&bytes, number, kind)?;
        match levels {
            1 => self.leaf(&page, order, bounds, rows),
            _ => self.branch(&page, levels, order, bounds, rows),
        }
    }

    fn branch(
        &mut self,
        page: &NodePage<'_>,
        levels: u16,
        order: Order,
        bounds: &Bounds,
        rows: RowSink<'_>,
    ) -> Checked<()> {
        self.met.branch_pages += 1;
        let mut children = Vec::with_capacity(page.nodes.len());
        for (index, node) in page.nodes.iter().enumerate() {
            let child = u64::from(node.low) | u64::from(node.flags) << 32;
            let low = match index {
                0 => bounds.low.clone(),
                _ => Some(page.key(node, order)?.into_owned()),
            };
            children.push((child, low));
        }
        self.announce(&children);
        for index in 0..children.len() {
            let high = match children.get(index + 1) {
                Some((_, low)) => low.clone(),
                None => bounds.high.clone(),
            };
            let (child, low) = children[index].clone();
            if low.is_some() && high.is_some() && low >= high {
                return damaged(format!("the keys of page {} do not ascend", page.number));
            }
            let within = Bounds { low, high };
            self.subtree(child, levels - 1, order, &within, rows)?;
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        page: &NodePage<'_>,
        order: Order,
        bounds: &Bounds,
        rows: RowSink<'_>,
    ) -> Checked<()> {
        self.met.leaf_pages += 1;
        let mut before: Option<Cow<'_, [u8]>> = None;
        for node in &page.nodes {
            let key = page.key(node, order)?;
            let in_order = before.as_ref().is_none_or(|before| *before < key)
                && bounds.low.as_ref().is_none_or(|low| low[..] <= *key)
                && bounds.high.as_ref().is_none_or(|high| *key < high[..]);
            if !in_order {
                return damaged(format!("a key of page {} is out of order", page.number));
            }
            self.met.entries += 1;
            match node.flags {
                0 => {
                    let value = Value::Read(page.data(node));
                    rows(&mut self.seen, page.raw_key(node), value)?;
                }
                _ => self.long_value(page.raw_key(node), page.data(node), node.low, rows)?,
            }
            before = Some(key);
        }
        Ok(())
    }

    /// A value in pages of its own, of which the first alone has a header.
    fn long_value(
        &mut self,
        key: &[u8],
        place: &[u8],
        length: u32,
        rows: RowSink<'_>,
    ) -> Checked<()> {
        let Some(number) = u64_at(place, 0) else {
            return damaged("a long value has no page");
        };
        let page_bytes = self.meta.page_bytes;
        let needed = (HEADER_BYTES - 1 + length as usize) / page_bytes + 1;
        if number.saturating_add(needed as u64 - 1) > self.meta.last_page {
            return damaged("a long value lies beyond the last page");
        }
        if self.reach == Reach::Trees {
            for page in number..number + needed as u64 {
                self.seen.note(page)?;
            }
            self.met.overflow_pages += needed as u64;
            return rows(&mut self.seen, key, Value::Unread(length as usize));
        }
        let bytes = self.read(number, needed)?;
        let pages = u32_at(&bytes, 12).unwrap_or(0);
        let known = u64_at(&bytes, 0) == Some(number)
            && u32_at(&bytes, 8) == Some(u32::from(OVERFLOW) << 16)
            && pages as usize >= needed;
        if !known {
            return damaged(format!("page {number} does not begin a long value"));
        }
        for page in number..number.saturating_add(u64::from(pages)) {
            self.seen.note(page)?;
        }
        self.met.overflow_pages += u64::from(pages);
        let value = bytes.get(HEADER_BYTES..HEADER_BYTES + length as usize);
        let value = Value::Read(value.unwrap_or_default());
        let result = rows(&mut self.seen, key, value);
        self.page = bytes;
        result
    }

    /// Says which pages are read next, so that the device fetches them at once and not one after the other.
    fn announce(&self, children: &[(u64, Option<Vec<u8>>)]) {
        let Some(page_bytes) = NonZeroU64::new(self.meta.page_bytes as u64) else {
            return;
        };
        for (child, _) in children {
            let at = child.saturating_mul(page_bytes.get());
            self.file.will_need(at, page_bytes);
        }
    }

    fn read(&mut self, number: u64, pages: usize) -> Checked<Vec<u8>> {
        let page_bytes = self.meta.page_bytes;
        let mut bytes = match pages {
            1 => Vec::new(),
            _ => std::mem::take(&mut self.page),
        };
        bytes.resize(pages * page_bytes, 0);
        self.file
            .read_exact_at(&mut bytes, number * page_bytes as u64)
            .map_err(Fault::Unreadable)?;
        Ok(bytes)
    }
}

/// A node: of a leaf page a key with its value, of a branch page a key with its child.
#[derive(Clone, Copy)]
struct Node {
    at: usize,
    /// Length of the value, or the low half of the child's number.
    low: u32,
    flags: u16,
    key_bytes: usize,
}

/// A page of nodes whose header and layout are as they must be.
struct NodePage<'p> {
    bytes: &'p [u8],
    number: u64,
    nodes: Vec<Node>,
}

impl<'p> NodePage<'p> {
    fn check(bytes: &'p [u8], number: u64, kind: u16) -> Checked<NodePage<'p>> {
        let header = (u64_at(bytes, 0), u32_at(bytes, 8));
        if header != (Some(number), Some(u32::from(kind) << 16)) {
            return damaged(format!("the header of page {number} is not its own"));
        }
        let (lower, upper) = (u16_at(bytes, 12), u16_at(bytes, 14));
        let lower = usize::from(lower.unwrap_or(0));
        let upper = usize::from(upper.unwrap_or(0));
        if lower <= HEADER_BYTES || lower % 2 != 0 || upper < lower || upper > bytes.len() {
            return damaged(format!("the bounds of page {number} are impossible"));
        }
        let mut nodes = Vec::with_capacity((lower - HEADER_BYTES) / 2);
        for at in (HEADER_BYTES..lower).step_by(2) {
            let Some(node) = u16_at(bytes, at).and_then(|at| Node::read(bytes, at.into())) else {
                return damaged(format!("a node of page {number} lies outside of it"));
            };
            nodes.push(node);
        }
        let page = NodePage {
            bytes,
            number,
            nodes,
        };
        page.check_filled(upper, kind)?;
        Ok(page)
    }

    /// The nodes lie one after the other from `upper` to the end of the page.
    fn check_filled(&self, upper: usize, kind: u16) -> Checked<()> {
        let mut extents = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let Some(length) = node.length(kind) else {
                return damaged(format!("a node of page {} has unknown flags", self.number));
            };
            extents.push((node.at, node.at + length));
        }
        extents.sort_unstable();
        let mut end = upper;
        for (from, to) in extents {
            if from != end {
                return damaged(format!("the nodes of page {} do not fill it", self.number));
            }
            end = to;
        }
        match end == self.bytes.len() {
            true => Ok(()),
            false => damaged(format!("the nodes of page {} do not fill it", self.number)),
        }
    }

    fn raw_key(&self, node: &Node) -> &'p [u8] {
        let from = node.at + NODE_HEADER_BYTES;
        self.bytes
            .get(from..from + node.key_bytes)
            .unwrap_or_default()
    }

    fn key(&self, node: &Node, order: Order) -> Checked<Cow<'p, [u8]>> {
        match order.comparable(self.raw_key(node)) {
            Some(key) => Ok(key),
            None => damaged(format!("a key of page {} has a wrong length", self.number)),
        }
    }

    /// The value in the page, or the number of the page where it begins.
    fn data(&self, node: &Node) -> &'p [u8] {
        let from = node.at + NODE_HEADER_BYTES + node.key_bytes;
        let length = match node.flags {
            0 => node.low as usize,
            _ => 8,
        };
        self.bytes.get(from..from + length).unwrap_or_default()
    }
}

impl Node {
    fn read(bytes: &[u8], at: usize) -> Option<Node> {
        Some(Node {
            at,
            low: u32_at(bytes, at)?,
            flags: u16_at(bytes, at + 4)?,
            key_bytes: u16_at(bytes, at + 6)?.into(),
        })
    }

    /// Its length in the page, in bytes; `None` for flags that no node of ours has.
    fn length(&self, kind: u16) -> Option<usize> {
        let data = match (kind, self.flags) {
            (BRANCH, _) => 0,
            (_, 0) => self.low as usize,
            (_, BIG_DATA) => 8,
            _ => return None,
        };
        Some((NODE_HEADER_BYTES + self.key_bytes + data).next_multiple_of(2))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*field))
}
