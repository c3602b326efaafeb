//! Which parts of the arena are free.
//!
//! Invariants: every leaf (4 KiB) belongs to exactly one block, free or handed out; a block of order `n` has 2^n
//! leaves and starts at a multiple of that; two free buddies are always merged up to the largest order. Pure
//! bookkeeping in leaf numbers, without pointers.

/// Blocks of the largest order are 2 MiB: 512 leaves.
pub(super) const ORDER_MAX: u8 = 9;
const ORDER_COUNT: usize = ORDER_MAX as usize + 1;
/// Leaves in a block of the largest order.
pub(super) const ROOT_LEAVES: u32 = 1 << ORDER_MAX;
const NONE: u32 = u32::MAX;
const TAKEN: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

pub(super) struct Buddy {
    /// Order of the free block that starts at the leaf, `TAKEN` elsewhere.
    free_order: Vec<u8>,
    links: Vec<Link>,
    heads: [u32; ORDER_COUNT],
    free_leaves: u32,
}

impl Buddy {
    pub(super) fn new(roots: u32) -> Buddy {
        let leaves = (roots * ROOT_LEAVES) as usize;
        let mut buddy = Buddy {
            free_order: vec![TAKEN; leaves],
            links: vec![
                Link {
                    previous: NONE,
                    next: NONE
                };
                leaves
            ],
            heads: [NONE; ORDER_COUNT],
            free_leaves: roots * ROOT_LEAVES,
        };
        for root in (0..roots).rev() {
            buddy.link(root * ROOT_LEAVES, ORDER_MAX);
        }
        buddy
    }

    pub(super) fn free_leaves(&self) -> u32 {
        self.free_leaves
    }

    /// The first leaf of a block of the order, `None` when no block is large enough.
    pub(super) fn take(&mut self, order: u8) -> Option<u32> {
        let mut found = (order..=ORDER_MAX).find(|&order| self.heads[order as usize] != NONE)?;
        let leaf = self.heads[found as usize];
        self.unlink(leaf, found);
        while found > order {
            found -= 1;
            self.link(leaf + (1 << found), found);
        }
        self.free_leaves -= 1 << order;
        Some(leaf)
    }

    /// Gives back a block that `take` handed out with the same order.
    pub(super) fn give(&mut self, leaf: u32, order: u8) {
        assert!(
            order <= ORDER_MAX && leaf.is_multiple_of(1 << order),
            "block {leaf} of {order}"
        );
        assert_eq!(
            self.free_order[leaf as usize], TAKEN,
            "block {leaf} was given back twice"
        );
        self.free_leaves += 1 << order;
        let (mut leaf, mut order) = (leaf, order);
        while order < ORDER_MAX {
            let buddy = leaf ^ (1 << order);
            if self.free_order[buddy as usize] != order {
                break;
            }
            self.unlink(buddy, order);
            leaf &= !(1 << order);
            order += 1;
        }
        self.link(leaf, order);
    }

    fn link(&mut self, leaf: u32, order: u8) {
        let head = self.heads[order as usize];
        self.links[leaf as usize] = Link {
            previous: NONE,
            next: head,
        };
        if head != NONE {
            self.links[head as usize].previous = leaf;
        }
        self.heads[order as usize] = leaf;
        self.free_order[leaf as usize] = order;
    }

    fn unlink(&mut self, leaf: u32, order: u8) {
        let Link { previous, next } = self.links[leaf as usize];
        if previous == NONE {
            self.heads[order as usize] = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.free_order[leaf as usize] = TAKEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everything_given_back_merges_to_roots() {
        let mut buddy = Buddy::new(2);
        let leaves: Vec<u32> = std::iter::from_fn(|| buddy.take(0)).collect();
        assert_eq!(leaves.len(), 2 * ROOT_LEAVES as usize);
        assert_eq!(buddy.free_leaves(), 0);
        for leaf in leaves.into_iter().rev() {
            buddy.give(leaf, 0);
        }
        assert!(buddy.take(ORDER_MAX).is_some() && buddy.take(ORDER_MAX).is_some());
        assert!(buddy.take(0).is_none());
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn giving_back_twice_is_caught() {
        let mut buddy = Buddy::new(1);
        let leaf = buddy.take(ORDER_MAX).expect("one root");
        buddy.give(leaf, ORDER_MAX);
        buddy.give(leaf, ORDER_MAX);
    }

    proptest! {
        #[test]
        fn blocks_never_overlap(steps in proptest::collection::vec((0u8..=ORDER_MAX, any::<bool>(), any::<prop::sample::Index>()), 1..400)) {
            let mut buddy = Buddy::new(3);
            let mut owner = vec![false; 3 * ROOT_LEAVES as usize];
            let mut held: Vec<(u32, u8)> = Vec::new();
            for (order, give, index) in steps {
                if give && !held.is_empty() {
                    let (leaf, order) = held.swap_remove(index.index(held.len()));
                    owner[leaf as usize..(leaf + (1 << order)) as usize].fill(false);
                    buddy.give(leaf, order);
                } else if let Some(leaf) = buddy.take(order) {
                    let range = leaf as usize..(leaf + (1 << order)) as usize;
                    prop_assert!(owner[range.clone()].iter().all(|taken| !taken));
                    owner[range].fill(true);
                    held.push((leaf, order));
                }
                let taken = owner.iter().filter(|&&taken| taken).count() as u32;
                prop_assert_eq!(buddy.free_leaves(), 3 * ROOT_LEAVES - taken);
            }
        }
    }
}
