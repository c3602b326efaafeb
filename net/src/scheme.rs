//! Redundancy schemes: into how many shards a chunk is made, and how many of them may be lost.
//!
//! A scheme is k+m: any k of a chunk's k + m shards give its bytes. With k = 1 every shard is a whole copy.
//!
//! Invariants: a scheme has a geometry number of its own, and a number means the same geometry on every node and for ever; what
//! a scheme is weakened to survives as many losses as before while there is room for that, and one further loss unless less was
//! allowed.

use std::fmt;
use std::str::FromStr;

use strata_engine::CELL_BYTES;
use strata_engine::erasure::{CAUCHY_DATA_CELLS_MAX, CAUCHY_PARITY_CELLS_MAX};
use strata_raftlog::namespace::{Geometry, GeometryCode, Layout, LayoutKind};

/// Data shards that a node is formatted for where nothing is configured and there are disks enough.
const DATA_SHARDS_DEFAULT: usize = 4;
/// Losses that are then survived.
const LOSSES_DEFAULT: usize = 2;

/// k+m.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheme {
    k: u8,
    m: u8,
}

/// What becomes of a new chunk when fewer places can be written than its scheme has shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DegradedWrites {
    /// It is written in a weaker scheme that survives one further loss, or not at all.
    #[default]
    Safe,
    /// It is not written.
    Refuse,
    /// It is written as long as one place is left.
    Any,
}

impl FromStr for Scheme {
    type Err = String;

    /// Reads `k+m`.
    fn from_str(text: &str) -> Result<Scheme, String> {
        let number = |part: &str| part.parse::<usize>().ok();
        let parts = text.split_once('+');
        let numbers = parts.and_then(|(k, m)| Some((number(k)?, number(m)?)));
        let scheme = numbers.and_then(|(k, m)| Scheme::new(k, m));
        scheme.ok_or_else(|| {
            format!(
                "`{text}` is no scheme: 1 to {CAUCHY_DATA_CELLS_MAX} data shards, `+`, and 1 to {CAUCHY_PARITY_CELLS_MAX} parity \
                 shards, or 1+0"
            )
        })
    }
}

impl Scheme {
    /// So many whole copies, from 1 to 9.
    pub const fn copies(count: u8) -> Scheme {
        assert!(count >= 1 && count as usize <= CAUCHY_PARITY_CELLS_MAX + 1);
        Scheme { k: 1, m: count - 1 }
    }

    /// `k` data shards and `m` that may be lost: 1 to 16 and 1 to 8, and 1+0, which is a single copy.
    pub const fn new(k: usize, m: usize) -> Option<Scheme> {
        if k == 0 || k > CAUCHY_DATA_CELLS_MAX || m > CAUCHY_PARITY_CELLS_MAX || (m == 0 && k > 1) {
            return None;
        }
        Some(Scheme {
            k: k as u8,
            m: m as u8,
        })
    }

    /// The strongest that so many failure domains carry.
    pub fn strongest_for(domains: usize) -> Scheme {
        let m = domains.saturating_sub(1).min(LOSSES_DEFAULT);
        let k = domains.saturating_sub(m).clamp(1, DATA_SHARDS_DEFAULT);
        let k = if m < LOSSES_DEFAULT { 1 } else { k };
        Scheme {
            k: k as u8,
            m: m as u8,
        }
    }

    /// The scheme of a geometry; `None` for one that this version does not write.
    pub fn of(geometry: &Geometry) -> Option<Scheme> {
        let scheme = Scheme::new(usize::from(geometry.k), usize::from(geometry.m))?;
        (scheme.geometry() == *geometry).then_some(scheme)
    }

    /// The scheme of a layout.
    pub fn of_layout(layout: &Layout) -> Option<Scheme> {
        let scheme = Scheme::new(usize::from(layout.k), usize::from(layout.m))?;
        (scheme.layout() == *layout).then_some(scheme)
    }

    /// Shards that hold the bytes of a chunk as they are, k.
    pub fn data_shards(self) -> usize {
        usize::from(self.k)
    }

    /// Shards that may be lost, m.
    pub fn losses(self) -> usize {
        usize::from(self.m)
    }

    /// All shards, k + m.
    pub fn shards(self) -> usize {
        self.data_shards() + self.losses()
    }

    /// Whether shards are computed, and not copied.
    pub fn is_coded(self) -> bool {
        self.k > 1
    }

    /// The scheme of whole copies that survives as many losses.
    pub fn as_copies(self) -> Scheme {
        Scheme { k: 1, m: self.m }
    }

    /// What is written instead when only so many places are there; `None` when nothing is.
    pub fn within(self, places: usize, allowed: DegradedWrites) -> Option<Scheme> {
        if places >= self.shards() {
            return Some(self);
        }
        let m = match (allowed, places) {
            (DegradedWrites::Refuse, _) | (_, 0) => return None,
            (DegradedWrites::Safe, 1) => return None,
            _ => self.losses().min(places - 1),
        };
        Scheme::new(places - m, m)
    }

    /// The row of the table of geometries.
    pub fn geometry(self) -> Geometry {
        let (number, code) = if self.is_coded() {
            let number = u16::from_be_bytes([self.k, self.m]);
            (number, GeometryCode::CauchyGf8)
        } else {
            (u16::from(self.m) + 1, GeometryCode::Copies)
        };
        Geometry {
            number,
            code,
            k: self.k,
            m: self.m,
            cell_bytes: CELL_BYTES as u32,
        }
    }

    /// The geometries of the scheme and of all that it is weakened to.
    pub fn geometries(self) -> Vec<Geometry> {
        let coded = (2..=self.k).map(|k| Scheme { k, m: self.m });
        let copies = (1..=self.m + 1).map(Scheme::copies);
        copies.chain(coded).map(Scheme::geometry).collect()
    }

    /// The row of the layout.
    pub fn layout(self) -> Layout {
        let kind = match (self.k, self.m) {
            (1, 0) => LayoutKind::Single,
            (1, _) => LayoutKind::Mirrored,
            _ => LayoutKind::ErasureCoded,
        };
        Layout {
            kind,
            k: self.k,
            m: self.m,
            geometry: self.geometry().number,
        }
    }
}

/// `single copy`, `3 copies`, `4+2`.
impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.k, self.m) {
            (1, 0) => formatter.write_str("single copy"),
            (1, m) => write!(formatter, "{} copies", m + 1),
            (k, m) => write!(formatter, "{k}+{m}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn scheme(k: usize, m: usize) -> Scheme {
        Scheme::new(k, m).expect("a scheme")
    }

    #[test]
    fn a_scheme_is_within_the_bounds_of_the_code() {
        let shown =
            [(1, 0), (1, 1), (1, 2), (4, 2), (16, 8)].map(|(k, m)| scheme(k, m).to_string());
        assert_eq!(
            shown,
            ["single copy", "2 copies", "3 copies", "4+2", "16+8"]
        );
        for (k, m) in [(0, 2), (2, 0), (17, 2), (4, 9)] {
            assert_eq!(Scheme::new(k, m), None, "{k}+{m}");
        }
    }

    #[test]
    fn schemes_are_read_as_people_write_them() {
        for (k, m) in [(1, 0), (1, 2), (4, 2), (16, 8)] {
            assert_eq!(format!("{k}+{m}").parse(), Ok(scheme(k, m)));
        }
        for wrong in [
            "", "4", "4+", "+2", "4+0", "0+2", "17+2", "4+9", "4 + 2", "4+2+1", "-4+2",
        ] {
            let said = wrong.parse::<Scheme>().expect_err(wrong);
            assert!(
                said.starts_with(&format!("`{wrong}` is no scheme")),
                "{said}"
            );
        }
    }

    #[test]
    fn the_strongest_scheme_survives_two_losses_where_it_can() {
        let strongest: Vec<String> = (0..9)
            .map(|domains| Scheme::strongest_for(domains).to_string())
            .collect();
        let expected = [
            "single copy",
            "single copy",
            "2 copies",
            "3 copies",
            "2+2",
            "3+2",
            "4+2",
            "4+2",
            "4+2",
        ];
        assert_eq!(strongest, expected);
    }

    #[test]
    fn a_weaker_scheme_gives_up_data_shards_before_losses() {
        let within = |k, m, allowed| -> Vec<String> {
            let scheme = scheme(k, m);
            (0..=scheme.shards())
                .rev()
                .map(|places| {
                    let weaker = scheme.within(places, allowed);
                    weaker.map_or_else(|| "-".to_owned(), |weaker| weaker.to_string())
                })
                .collect()
        };
        assert_eq!(
            within(4, 2, DegradedWrites::Safe),
            ["4+2", "3+2", "2+2", "3 copies", "2 copies", "-", "-"]
        );
        assert_eq!(
            within(4, 2, DegradedWrites::Refuse),
            ["4+2", "-", "-", "-", "-", "-", "-"]
        );
        let any = within(1, 2, DegradedWrites::Any);
        assert_eq!(any, ["3 copies", "2 copies", "single copy", "-"]);
        assert_eq!(within(1, 1, DegradedWrites::Safe), ["2 copies", "-", "-"]);
        assert_eq!(within(1, 0, DegradedWrites::Safe), ["single copy", "-"]);
    }

    #[test]
    fn every_scheme_has_a_number_of_its_own_and_the_weaker_ones_are_in_its_table() {
        let all = (1..=CAUCHY_DATA_CELLS_MAX)
            .flat_map(|k| (0..=CAUCHY_PARITY_CELLS_MAX).filter_map(move |m| Scheme::new(k, m)));
        let all: Vec<Scheme> = all.collect();
        let numbers: BTreeSet<u16> = all.iter().map(|one| one.geometry().number).collect();
        assert_eq!(numbers.len(), all.len());
        for one in all {
            assert_eq!(Scheme::of(&one.geometry()), Some(one));
            assert_eq!(Scheme::of_layout(&one.layout()), Some(one));
            let table = one.geometries();
            assert!(table.contains(&one.geometry()));
            for places in 0..one.shards() {
                let weaker = one.within(places, DegradedWrites::Any);
                assert!(weaker.is_none_or(|weaker| table.contains(&weaker.geometry())));
            }
        }
    }
}
