//! Inputs that are changes of bytes that are there already: what is too large for a corpus is made by the code that writes it,
//! and an input says what is changed in it.
//!
//! A change is where it begins (3 bytes, little endian), how many bytes it is long (1 byte), and those bytes.

/// Bytes of a change in front of its own.
const HEADER_BYTES: usize = 4;

/// Applies the changes of an input, as far as they lie inside `bytes`; says where they are.
pub fn apply(input: &[u8], bytes: &mut [u8]) -> Vec<std::ops::Range<usize>> {
    let mut rest = input;
    let mut changed = Vec::new();
    while let Some((header, tail)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let [low, middle, high, count] = *header;
        let at = u32::from_le_bytes([low, middle, high, 0]) as usize;
        let (change, tail) = tail.split_at(tail.len().min(count.into()));
        rest = tail;
        if let Some(place) = bytes.get_mut(at..at + change.len()) {
            place.copy_from_slice(change);
            changed.push(at..at + change.len());
        }
    }
    changed
}

/// An input of one change.
pub fn change(at: usize, bytes: &[u8]) -> Vec<u8> {
    let [low, middle, high, ..] = (at as u32).to_le_bytes();
    [&[low, middle, high, bytes.len() as u8], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_lie_where_they_say() {
        let input = [change(2, b"ab"), change(9, b"xyz"), change(4, b"c")].concat();
        let mut bytes = *b"0123456789";
        assert_eq!(apply(&input, &mut bytes), [2..4, 4..5]);
        assert_eq!(&bytes, b"01abc56789");
    }
}
