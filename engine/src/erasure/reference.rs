//! The codes once more, slow and from their definitions alone, for tests to compare with.

/// The product of two elements: of polynomials over GF(2), modulo x^8 + x^4 + x^3 + x^2 + 1.
pub(super) fn product(left: u8, right: u8) -> u8 {
    let mut product = 0u16;
    for bit in 0..8 {
        if right >> bit & 1 == 1 {
            product ^= u16::from(left) << bit;
        }
    }
    for bit in (8..15).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11d << (bit - 8);
        }
    }
    u8::try_from(product).expect("a remainder of degree below 8")
}

/// The inverse of an element that is not zero: the one whose product with it is one.
pub(super) fn inverse(element: u8) -> u8 {
    let is_inverse = |other: &u8| product(element, *other) == 1;
    (1..=255).find(is_inverse).expect("zero has no inverse")
}

/// The coefficients of a cell in terms of the k data cells.
pub(super) fn coefficients(k: usize, cell: usize) -> Vec<u8> {
    let small = |number: usize| u8::try_from(number).expect("fewer than 256 cells");
    let coefficient = |data: usize| match cell < k {
        true => u8::from(cell == data),
        false => inverse(small(cell ^ data)),
    };
    (0..k).map(coefficient).collect()
}

/// `target += factor * source`, for each byte.
fn add_scaled(target: &mut [u8], factor: u8, source: &[u8]) {
    let multiples: Vec<u8> = (0..=255).map(|byte| product(factor, byte)).collect();
    for (to, from) in target.iter_mut().zip(source) {
        *to ^= multiples[usize::from(*from)];
    }
}

/// One cell, from all data cells.
pub(super) fn cell(data: &[Vec<u8>], number: usize) -> Vec<u8> {
    let mut cell = vec![0; data[0].len()];
    for (factor, source) in coefficients(data.len(), number).into_iter().zip(data) {
        add_scaled(&mut cell, factor, source);
    }
    cell
}

/// All data cells, from k cells with their numbers, by Gaussian elimination: every step changes a row of coefficients and the
/// bytes that go with it alike, until the coefficients are those of the data.
pub(super) fn solve(cells: &[(usize, Vec<u8>)]) -> Vec<Vec<u8>> {
    let k = cells.len();
    let row = |(number, bytes): &(usize, Vec<u8>)| [&coefficients(k, *number)[..], bytes].concat();
    let mut rows: Vec<Vec<u8>> = cells.iter().map(row).collect();
    for column in 0..k {
        let pivot = (column..k).find(|row| rows[*row][column] != 0);
        rows.swap(column, pivot.expect("any k cells determine the data"));
        let mut pivot = vec![0; rows[column].len()];
        add_scaled(&mut pivot, inverse(rows[column][column]), &rows[column]);
        for (at, row) in rows.iter_mut().enumerate() {
            if at == column {
                row.clone_from(&pivot);
            } else {
                let factor = row[column];
                add_scaled(row, factor, &pivot);
            }
        }
    }
    rows.into_iter().map(|row| row[k..].to_vec()).collect()
}

/// The basis of GF(2^16) in which the second code counts its elements.
const CANTOR_BASIS: [u16; 16] = [
    0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900,
    0xfdb8, 0xfb34, 0xff38, 0x991e,
];

/// The element of GF(2^16) with these coordinates, as a polynomial over GF(2).
fn element(coordinates: u16) -> u16 {
    let basis = (0..).zip(CANTOR_BASIS);
    let used = basis.filter(|(bit, _)| coordinates >> bit & 1 == 1);
    used.fold(0, |sum, (_, element)| sum ^ element)
}

/// The product of two elements of GF(2^16): of polynomials modulo x^16 + x^5 + x^3 + x^2 + 1.
fn wide_product(left: u16, right: u16) -> u16 {
    let mut product = 0u32;
    for bit in 0..16 {
        if right >> bit & 1 == 1 {
            product ^= u32::from(left) << bit;
        }
    }
    for bit in (16..31).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x1_002d << (bit - 16);
        }
    }
    u16::try_from(product).expect("a remainder of degree below 16")
}

/// The sum of all symbols, each times its position to a power. Where a stripe has a power of two of parity cells, at the positions
/// from 0, and at least as many data cells behind them, the sums vanish for all powers below the number of parity cells.
pub(super) fn power_sum(symbols: &[u16], power: u32) -> u16 {
    let term = |(position, symbol): (u16, &u16)| {
        let factors = (0..power).map(|_| element(position));
        factors.fold(element(*symbol), wide_product)
    };
    (0..).zip(symbols).map(term).fold(0, |sum, term| sum ^ term)
}
