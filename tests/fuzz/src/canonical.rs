//! The checks that targets have in common: bytes that are accepted are those that the encoder writes, and a CRC that does not
//! match is refused.

use crate::allocation::bounded;

/// Places at which two forms differ that are shown.
const PLACES_SHOWN: usize = 16;

/// What a decoder does about bytes behind the structure that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// They are not its own: something else may follow.
    Ignored,
    /// They are damage.
    Refused,
}

/// Checks a decoder of bytes without a CRC of their own. `again` reads bytes and gives what the encoder makes of them; `None` where
/// they are refused. Says whether they are accepted.
///
/// # Panics
/// Where other bytes than those of the encoder are accepted.
pub fn check(bytes: &[u8], behind: Behind, again: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let Some(encoded) = bounded(bytes.len(), || again(bytes)) else {
        return false;
    };
    let own = match behind {
        Behind::Ignored => &bytes[..encoded.len().min(bytes.len())],
        Behind::Refused => bytes,
    };
    if own != encoded {
        // A CRC in front differs too: what it covers says more.
        let same = |at: &usize| own.get(*at) == encoded.get(*at);
        let longer = own.len().max(encoded.len());
        let places: Vec<usize> = (0..longer)
            .filter(|at| !same(at))
            .take(PLACES_SHOWN)
            .collect();
        panic!(
            "two forms of one value are accepted: {} bytes were read, {} are written, bytes {places:?} differ",
            own.len(),
            encoded.len(),
        );
    }
    true
}

/// Checks a decoder of bytes under a CRC, as they are and with a CRC that holds, which `seal` puts there: behind the checksum there
/// is more to go wrong than in front of it.
///
/// # Panics
/// As [`check`], and where a flipped bit of accepted bytes is not noticed.
pub fn check_sealed(
    bytes: &[u8],
    behind: Behind,
    seal: impl Fn(&mut [u8]),
    again: impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    check_flipped(bytes, behind, &again);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    if sealed != bytes {
        check_flipped(&sealed, behind, &again);
    }
}

fn check_flipped(bytes: &[u8], behind: Behind, again: &impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if !check(bytes, behind, again) {
        return;
    }
    let length = again(bytes).map_or(0, |encoded| encoded.len());
    let bit = crc32c::crc32c(bytes) as usize % (length * 8);
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    assert!(
        again(&flipped).is_none(),
        "bit {bit} of {length} bytes is not covered by the CRC"
    );
}

/// Puts the CRC32C of all that follows it, little endian, in front.
pub fn seal_little(bytes: &mut [u8]) {
    if let Some((head, rest)) = bytes.split_first_chunk_mut() {
        *head = crc32c::crc32c(rest).to_le_bytes();
    }
}

/// Puts the CRC32C of all that follows it, big endian, in front.
pub fn seal_big(bytes: &mut [u8]) {
    if let Some((head, rest)) = bytes.split_first_chunk_mut() {
        *head = crc32c::crc32c(rest).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(bytes: &'static [u8], again: fn(&[u8]) -> Option<Vec<u8>>) -> bool {
        std::panic::catch_unwind(|| check_sealed(bytes, Behind::Refused, seal_little, again))
            .is_err()
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let mut sealed = bytes.to_vec();
        seal_little(&mut sealed);
        sealed == bytes
    }

    #[test]
    fn a_second_form_and_a_crc_that_does_not_count_are_noticed() {
        assert!(!panics(b"\0\0\0\0body", |bytes| is_whole(bytes)
            .then(|| bytes.to_vec())));
        assert!(panics(b"\0\0\0\0body", |bytes| Some(bytes.to_vec())));
        assert!(panics(b"\0\0\0\0body", |bytes| {
            is_whole(bytes).then(|| [&bytes[..7], b"?"].concat())
        }));
    }
}
