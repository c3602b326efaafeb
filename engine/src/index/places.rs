//! The places of index pages: which are used, in the index segments of a partition.
//!
//! Invariants: a place is used when the durable trees or the pages of a running checkpoint lie there; what the durable trees use is
//! given out again only after a checkpoint that no longer uses it is durable. Nothing of this is stored: the trees say it.

use std::collections::BTreeMap;

use crate::format::page::PagePlace;

/// A segment of index pages.
#[derive(Debug, Clone)]
struct PageSegment {
    /// One bit for each place.
    bits: Vec<u64>,
    used: u32,
    /// Every place before is used.
    search_from: u32,
}

/// The places of all index segments of a partition.
#[derive(Debug, Clone)]
pub(crate) struct PagePlaces {
    pages_per_segment: u32,
    segments: BTreeMap<u32, PageSegment>,
    used: u64,
    /// The segment that is being emptied: no place of it is given out.
    emptied: Option<u32>,
}

impl PagePlaces {
    pub(crate) fn new(pages_per_segment: u32, slots: impl IntoIterator<Item = u32>) -> PagePlaces {
        let mut places = PagePlaces {
            pages_per_segment,
            segments: BTreeMap::new(),
            used: 0,
            emptied: None,
        };
        slots.into_iter().for_each(|slot| places.add_segment(slot));
        places
    }

    pub(crate) fn pages_per_segment(&self) -> u32 {
        self.pages_per_segment
    }

    /// Takes in a segment whose places are all free.
    pub(crate) fn add_segment(&mut self, slot: u32) {
        let segment = PageSegment {
            bits: vec![0; self.pages_per_segment.div_ceil(64) as usize],
            used: 0,
            search_from: 0,
        };
        let earlier = self.segments.insert(slot, segment);
        assert!(earlier.is_none(), "a segment is taken in once");
    }

    /// Notes that a page lies at a place; `false` when there is no such place or another page lies there.
    pub(crate) fn take(&mut self, place: PagePlace) -> bool {
        let Some(segment) = self.segments.get_mut(&place.slot) else {
            return false;
        };
        let (word, bit) = (place.page as usize / 64, 1 << (place.page % 64));
        if place.page >= self.pages_per_segment || segment.bits[word] & bit != 0 {
            return false;
        }
        segment.bits[word] |= bit;
        segment.used += 1;
        self.used += 1;
        true
    }

    /// A free place in the segments that are there.
    pub(crate) fn allocate(&mut self) -> Option<PagePlace> {
        let full = self.pages_per_segment;
        let emptied = self.emptied;
        let has_room = |(slot, segment): &(&u32, &mut PageSegment)| {
            segment.used < full && Some(**slot) != emptied
        };
        let (slot, segment) = self.segments.iter_mut().find(has_room)?;
        let is_free = |page: &u32| segment.bits[*page as usize / 64] & (1 << (page % 64)) == 0;
        let page = (segment.search_from..full).find(is_free)?;
        segment.bits[page as usize / 64] |= 1 << (page % 64);
        segment.used += 1;
        segment.search_from = page + 1;
        self.used += 1;
        Some(PagePlace { slot: *slot, page })
    }

    /// Gives a place back.
    pub(crate) fn free(&mut self, place: PagePlace) {
        let Some(segment) = self.segments.get_mut(&place.slot) else {
            return;
        };
        let (word, bit) = (place.page as usize / 64, 1 << (place.page % 64));
        assert!(segment.bits[word] & bit != 0, "only what is used is freed");
        segment.bits[word] &= !bit;
        segment.used -= 1;
        segment.search_from = segment.search_from.min(place.page);
        self.used -= 1;
    }

    /// Leaves out a segment in which no page lies.
    pub(crate) fn remove_segment(&mut self, slot: u32) {
        let removed = self.segments.remove(&slot);
        assert!(
            removed.is_some_and(|segment| segment.used == 0),
            "what is left out has no pages"
        );
        self.emptied = self.emptied.filter(|emptied| *emptied != slot);
    }

    /// Leaves out the segments in which no page lies; returns them.
    pub(crate) fn remove_empty(&mut self) -> Vec<u32> {
        let empty = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.used == 0);
        let empty: Vec<u32> = empty.map(|(slot, _)| *slot).collect();
        empty.iter().for_each(|slot| self.remove_segment(*slot));
        empty
    }

    /// Begins to empty the segment with the fewest pages when so many places are free beside those needed that a segment is gained
    /// by it, and lets go of one when they are not any more.
    pub(crate) fn choose_emptied(&mut self, needed: u64) {
        let full = u64::from(self.pages_per_segment);
        if self.all_free() < needed + full {
            self.emptied = None;
        } else if self.emptied.is_none() && self.segments.len() > 1 {
            let emptiest = self.segments.iter().min_by_key(|(_, segment)| segment.used);
            self.emptied = emptiest.map(|(slot, _)| *slot);
        }
    }

    /// The segment that is being emptied.
    pub(crate) fn emptied(&self) -> Option<u32> {
        self.emptied
    }

    /// Empties nothing any more: its places are needed.
    pub(crate) fn keep_emptied(&mut self) -> bool {
        self.emptied.take().is_some()
    }

    fn all_free(&self) -> u64 {
        self.segments.len() as u64 * u64::from(self.pages_per_segment) - self.used
    }

    /// Places that can be given out without another segment.
    pub(crate) fn free_count(&self) -> u64 {
        self.all_free()
    }

    pub(crate) fn used_count(&self) -> u64 {
        self.used
    }

    /// The segments, by their number in the partition.
    pub(crate) fn segments(&self) -> impl ExactSizeIterator<Item = u32> {
        self.segments.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(slot: u32, page: u32) -> PagePlace {
        PagePlace { slot, page }
    }

    #[test]
    fn places_are_given_out_once_and_again_when_they_are_free() {
        let mut places = PagePlaces::new(70, [4]);
        assert!(places.take(place(4, 1)));
        assert!(!places.take(place(4, 1)), "it is used");
        assert!(!places.take(place(4, 70)) && !places.take(place(5, 0)));
        let given: Vec<u32> = std::iter::from_fn(|| places.allocate())
            .map(|place| place.page)
            .collect();
        assert_eq!(given.len(), 69);
        assert!(given.is_sorted() && !given.contains(&1));
        places.free(place(4, 66));
        places.free(place(4, 3));
        assert_eq!(places.allocate(), Some(place(4, 3)));
        places.add_segment(2);
        assert_eq!(places.allocate(), Some(place(2, 0)));
        assert_eq!((places.used_count(), places.free_count()), (70, 70));
    }

    #[test]
    fn the_emptiest_segment_is_emptied_while_places_are_left_over() {
        let mut places = PagePlaces::new(10, [1, 2, 3]);
        for page in 0..8 {
            places.take(place(1, page));
        }
        places.take(place(2, 0));
        places.take(place(3, 0));
        places.take(place(3, 1));
        places.choose_emptied(10);
        assert_eq!(places.emptied(), None, "nothing would be gained");
        places.choose_emptied(9);
        assert_eq!(places.emptied(), Some(2));
        let mut moved = places.clone();
        assert_eq!(moved.allocate(), Some(place(1, 8)));
        moved.free(place(2, 0));
        assert_eq!(moved.remove_empty(), [2]);
        assert_eq!(moved.emptied(), None);
        places.choose_emptied(12);
        assert_eq!(places.emptied(), None, "its places are needed");
    }
}
