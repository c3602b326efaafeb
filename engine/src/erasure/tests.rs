//! The codes against slow implementations, against bytes computed by ISA-L, and over all loss patterns of the usual geometries.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::cauchy::{Cauchy, PATTERNS_MAX};
use super::*;

use Code::{CauchyGf8, LeopardGf16};

/// Bytes that look random, the same ones for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn cells(&mut self, count: usize, length: usize) -> Vec<Vec<u8>> {
        let mut cell = || (0..length).map(|_| self.next().to_le_bytes()[0]).collect();
        (0..count).map(|_| cell()).collect()
    }

    /// As many different numbers below `bound`, in ascending order.
    fn numbers(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..bound).collect();
        while numbers.len() > count {
            numbers.remove(self.below(numbers.len()));
        }
        numbers
    }
}

fn codec(code: Code, k: usize, m: usize) -> Codec {
    Codec::new(Geometry::new(code, k, m).unwrap()).unwrap()
}

fn slices(cells: &[Vec<u8>]) -> Vec<&[u8]> {
    cells.iter().map(Vec::as_slice).collect()
}

fn slices_mut(cells: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    cells.iter_mut().map(Vec::as_mut_slice).collect()
}

/// All cells of a stripe of random data.
fn stripe(codec: &mut Codec, length: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let Geometry { k, m, .. } = codec.geometry();
    let mut cells = random.cells(k, length);
    let mut parity = random.cells(m, length);
    codec
        .encode(&slices(&cells), &mut slices_mut(&mut parity))
        .unwrap();
    cells.append(&mut parity);
    cells
}

fn reconstruct(
    codec: &mut Codec,
    cells: &[Vec<u8>],
    lost: &[usize],
    wanted: &[usize],
) -> Result<Vec<Vec<u8>>, ErasureError> {
    let left = |number| !lost.contains(&number);
    let present: Vec<Option<&[u8]>> = (0..)
        .zip(cells)
        .map(|(number, cell)| left(number).then_some(cell.as_slice()))
        .collect();
    let mut rebuilt = vec![vec![0xa5; cells[0].len()]; wanted.len()];
    codec.reconstruct(&present, wanted, &mut slices_mut(&mut rebuilt))?;
    Ok(rebuilt)
}

/// Loses cells, and computes all of them together and each alone.
fn check_loss(codec: &mut Codec, cells: &[Vec<u8>], lost: &[usize]) {
    let singles = lost.iter().map(std::slice::from_ref);
    for wanted in singles.chain([lost]) {
        let rebuilt = reconstruct(codec, cells, lost, wanted).unwrap();
        for (number, cell) in wanted.iter().zip(&rebuilt) {
            let geometry = codec.geometry();
            assert!(
                *cell == cells[*number],
                "{geometry:?}: {lost:?} lost, {wanted:?} wanted: cell {number} is another"
            );
        }
    }
}

fn numbers_of(set: u32) -> Vec<usize> {
    (0..32).filter(|number| set >> number & 1 == 1).collect()
}

/// The bytes of the golden vectors' data: byte x of cell j is 17 j + 31 x + 5 j x + 1, modulo 256.
fn golden_data(k: usize, length: usize) -> Vec<Vec<u8>> {
    let byte = |j: usize, x: usize| (17 * j + 31 * x + 5 * j * x + 1) % 256;
    let cell = |j| (0..length).map(move |x| u8::try_from(byte(j, x)).unwrap());
    (0..k).map(|j| cell(j).collect()).collect()
}

fn golden_parity(code: Code, k: usize, m: usize, length: usize) -> Vec<String> {
    let mut parity = vec![vec![0xa5; length]; m];
    codec(code, k, m)
        .encode(
            &slices(&golden_data(k, length)),
            &mut slices_mut(&mut parity),
        )
        .unwrap();
    let hex = |cell: Vec<u8>| cell.iter().map(|byte| format!("{byte:02x}")).collect();
    parity.into_iter().map(hex).collect()
}

/// The parity that ISA-L 2.30.0 computes (`gf_gen_cauchy1_matrix`, `ec_init_tables`, `ec_encode_data`) from the same data.
#[test]
fn parity_is_that_of_isa_l() {
    let four_and_two = [
        "a0f988563b8e11a8ebd634e2eb32da14c8a184846b8262f8bba5f3b263f58a44\
         0fd2dc3210ea3a93bfcdaba6c09d8e2f57baaf0b4099fdc3ef0ad8f617eede7f",
        "ddf42022992ce3cc94ad06da540a0bea36d479a5e0758fb5edc100a3e60c7293\
         30b85917d59eaf32ed2a201118e7721410533531acf2a94b942c4c68618b0b6d",
    ];
    assert_eq!(golden_parity(CauchyGf8, 4, 2, 64), four_and_two);
    let sixteen_and_eight = [
        "e652ba0201e471be2b3fe757f9c34e6d",
        "1d6405c547da067bacbb78e1aa0c0a59",
        "13d3c9aafc848c10ca1c6f7a12d1389e",
        "6649246d788d2c7b97b098dd187ad06d",
        "298d533957ae0cd2aaa504e73b527836",
        "64c131fe21336819d0c3d2764bfd3475",
        "ddb3f691a2d7ec9a93ab9e4325183473",
        "1934cc56331993df9ee64cf893c328dc",
    ];
    assert_eq!(golden_parity(CauchyGf8, 16, 8, 16), sixteen_and_eight);
}

/// The parity of the second code as reed-solomon-simd 3.1.0 computed it first: stored cells need the same bytes for good. In the
/// second geometry parity is left out (the code computes a power of two), and the last unit of 64 bytes is incomplete.
#[test]
fn parity_of_the_second_code_does_not_change() {
    let whole_unit = [
        "24d79747f288a2d4be5cb8c2a4a79105f48efcec55e37f7319812e657b3136a2\
         84f6c2c37a6f10e071c1efa8a642d3300aec4706edeac277e6136a3fc1c744a7",
        "20ef17470638a234ba5448c24067f195f0763cac41137f73fd891e85bf31b6d2\
         400ec2c34e9fd080f5c91f68824233200e144706391ac2f782db9a1f45c74457",
    ];
    assert_eq!(golden_parity(LeopardGf16, 4, 2, 64), whole_unit);
    assert_eq!(
        golden_parity(LeopardGf16, 20, 3, 6),
        ["3affe3ace70e", "116d7e8cad33", "887b686ca4b7"]
    );
}

/// The equations that define the second code, for the geometries in which no parity is left out. A symbol has its low byte in the
/// first half of a unit of 64 bytes, or of the last, shorter one, and its high byte in the second half.
#[test]
fn stripes_of_the_second_code_satisfy_its_equations() {
    let mut random = Random(9);
    for (k, m, length) in [(1, 1, 2), (4, 2, 64), (5, 4, 10), (20, 4, 64), (56, 8, 64)] {
        let mut codec = codec(LeopardGf16, k, m);
        let mut cells = stripe(&mut codec, length, &mut random);
        cells.rotate_left(k);
        for low in 0..length / 2 {
            let symbol = |cell: &Vec<u8>| u16::from_le_bytes([cell[low], cell[low + length / 2]]);
            let symbols: Vec<u16> = cells.iter().map(symbol).collect();
            let sums =
                (0..u32::try_from(m).unwrap()).map(|power| reference::power_sum(&symbols, power));
            assert!(
                sums.into_iter().all(|sum| sum == 0),
                "{k}+{m}, {length}: {low}"
            );
        }
    }
}

#[test]
fn parity_of_every_length_is_that_of_the_reference() {
    let mut random = Random(1);
    let lengths = [
        1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 4096, 65_536, 65_599,
    ];
    for (k, m) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 5),
        (6, 3),
        (8, 4),
        (16, 8),
    ] {
        for length in lengths {
            let cells = stripe(&mut codec(CauchyGf8, k, m), length, &mut random);
            for number in k..k + m {
                let expected = reference::cell(&cells[..k], number);
                assert!(cells[number] == expected, "{k}+{m}, {length}: {number}");
            }
        }
    }
}

/// Whatever this machine would choose, all implementations that run on it compute the same bytes.
#[test]
fn every_implementation_computes_the_bytes_of_the_reference() {
    let mut random = Random(2);
    for name in ["scalar", "ssse3", "avx2", "gfni", "neon"] {
        let Some(kernels) = rusty_erasure::kernels_named(name) else {
            continue;
        };
        for (k, m, length) in [(1, 1, 7), (4, 2, 200), (5, 3, 333), (16, 8, 97)] {
            let data = random.cells(k, length);
            let expected: Vec<_> = (k..k + m).map(|at| reference::cell(&data, at)).collect();
            let mut cauchy = Cauchy::new(k, m, kernels).unwrap();
            let mut parity = random.cells(m, length);
            cauchy.encode(&slices(&data), &mut slices_mut(&mut parity));
            assert!(parity == expected, "{name}, {k}+{m}: encode");
            parity.iter_mut().for_each(|cell| cell.fill(0));
            for (number, cell) in data.iter().enumerate() {
                cauchy.update(number, cell, &mut slices_mut(&mut parity));
            }
            assert!(parity == expected, "{name}, {k}+{m}: update");
            let present = slices(&data).into_iter().chain(slices(&parity));
            let present: Vec<_> = (0..)
                .zip(present)
                .map(|(number, cell)| (number != 0).then_some(cell))
                .collect();
            let sources = ((1 << k) - 1) << 1;
            let mut rebuilt = random.cells(1, length);
            let buffers = &mut slices_mut(&mut rebuilt);
            cauchy
                .reconstruct(&present, sources, &[0], buffers)
                .unwrap();
            assert!(rebuilt[0] == data[0], "{name}, {k}+{m}: reconstruct");
        }
    }
}

#[test]
fn every_loss_pattern_of_the_usual_geometries_is_rebuilt() {
    let mut random = Random(3);
    for (k, m) in [(1, 1), (2, 1), (4, 2), (6, 3), (8, 4)] {
        for (code, length) in [(CauchyGf8, 67), (LeopardGf16, 66)] {
            let mut codec = codec(code, k, m);
            let cells = stripe(&mut codec, length, &mut random);
            let patterns = (1..1u32 << (k + m)).map(numbers_of);
            for lost in patterns.filter(|lost| lost.len() <= m) {
                check_loss(&mut codec, &cells, &lost);
            }
        }
    }
}

#[test]
fn random_losses_of_wide_geometries_and_long_cells_are_rebuilt() {
    let mut random = Random(4);
    let wide = [
        (CauchyGf8, 16, 8, 300, 65),
        (CauchyGf8, 16, 8, 3, 65_599),
        (LeopardGf16, 16, 8, 50, 130),
        (LeopardGf16, 4, 2, 3, 65_600),
        (LeopardGf16, 20, 5, 20, 64),
        (LeopardGf16, 50, 14, 20, 64),
        (LeopardGf16, 3, 61, 20, 64),
    ];
    for (code, k, m, rounds, length) in wide {
        let mut codec = codec(code, k, m);
        let cells = stripe(&mut codec, length, &mut random);
        for _ in 0..rounds {
            let losses = 1 + random.below(m);
            let lost = random.numbers(losses, k + m);
            check_loss(&mut codec, &cells, &lost);
        }
    }
}

/// A second round over more patterns than are kept finds some of them gone and computes them again.
#[test]
fn tables_are_kept_for_a_bounded_number_of_patterns() {
    let mut random = Random(5);
    let mut cauchy = Cauchy::new(8, 4, rusty_erasure::best_kernels()).unwrap();
    let data = random.cells(8, 64);
    let parity: Vec<_> = (8..12).map(|at| reference::cell(&data, at)).collect();
    let cells = [data, parity].concat();
    let pairs = (0..12).flat_map(|first| (first + 1..12).map(move |second| [first, second]));
    let pairs: Vec<_> = pairs.collect();
    assert!(pairs.len() > PATTERNS_MAX);
    for lost in pairs.iter().chain(&pairs) {
        let left = |number: &usize| !lost.contains(number);
        let sources = (0..12).filter(left).take(8);
        let sources = sources.fold(0, |set, number| set | 1 << number);
        let present: Vec<_> = (0..12)
            .map(|number| left(&number).then(|| cells[number].as_slice()))
            .collect();
        let mut rebuilt = random.cells(2, 64);
        let buffers = &mut slices_mut(&mut rebuilt);
        cauchy
            .reconstruct(&present, sources, lost, buffers)
            .unwrap();
        assert!(rebuilt == lost.map(|number| cells[number].clone()));
    }
    assert_eq!(cauchy.patterns_kept(), PATTERNS_MAX);
}

#[test]
fn cells_taken_one_by_one_in_any_order_give_the_parity() {
    let mut random = Random(6);
    for (k, m, length) in [(1, 1, 10), (4, 2, 4096), (16, 8, 1000)] {
        let mut codec = codec(CauchyGf8, k, m);
        let cells = stripe(&mut codec, length, &mut random);
        let mut parity = vec![vec![0; length]; m];
        for number in (0..k).rev() {
            let buffers = &mut slices_mut(&mut parity);
            codec.update(number, &cells[number], buffers).unwrap();
        }
        assert!(parity == cells[k..]);
        let again = codec.update(0, &cells[0], &mut slices_mut(&mut parity));
        again.unwrap();
        assert!(parity != cells[k..], "the share of cell 0 is taken away");
    }
}

/// Nothing notices a damaged cell: what is computed from it is what the damaged stripe says.
#[test]
fn damage_of_a_source_spreads_unnoticed() {
    let mut random = Random(7);
    for code in [CauchyGf8, LeopardGf16] {
        let mut codec = codec(code, 4, 2);
        let mut cells = stripe(&mut codec, 64, &mut random);
        let whole = cells.clone();
        cells[1][7] ^= 0x10;
        let rebuilt = reconstruct(&mut codec, &cells, &[0, 5], &[0, 5]).unwrap();
        assert!(rebuilt[0] != whole[0] && rebuilt[1] != whole[5]);
        if code == CauchyGf8 {
            let sources = [1, 2, 3, 4].map(|number| (number, cells[number].clone()));
            let data = reference::solve(&sources);
            assert!(rebuilt[0] == data[0] && rebuilt[1] == reference::cell(&data, 5));
        }
    }
}

#[test]
fn empty_cells_have_empty_parity() {
    for code in [CauchyGf8, LeopardGf16] {
        let mut codec = codec(code, 2, 1);
        codec
            .encode(&[&[], &[]], &mut [&mut []])
            .expect("nothing to do");
        let cells: [Option<&[u8]>; 3] = [None, Some(&[]), Some(&[])];
        codec
            .reconstruct(&cells, &[0], &mut [&mut []])
            .expect("nothing to do");
    }
}

#[test]
fn geometries_are_bounded() {
    for (code, k, m) in [
        (CauchyGf8, 1, 1),
        (CauchyGf8, 16, 8),
        (LeopardGf16, 1, 63),
        (LeopardGf16, 63, 1),
    ] {
        let geometry = Geometry::new(code, k, m).unwrap();
        assert_eq!((geometry.data_cells(), geometry.parity_cells()), (k, m));
        assert_eq!((geometry.code(), geometry.cells()), (code, k + m));
        Codec::new(geometry).unwrap();
    }
    for (code, k, m) in [
        (CauchyGf8, 0, 1),
        (CauchyGf8, 1, 0),
        (CauchyGf8, 17, 1),
        (CauchyGf8, 1, 9),
        (LeopardGf16, 0, 1),
        (LeopardGf16, 1, 0),
        (LeopardGf16, 63, 2),
        (LeopardGf16, usize::MAX, 2),
    ] {
        let refused = Geometry::new(code, k, m);
        assert_eq!(refused, Err(ErasureError::Geometry { code, k, m }));
    }
}

#[test]
fn calls_that_break_the_contract_are_refused_and_write_nothing() {
    let mut codec = codec(CauchyGf8, 2, 1);
    let (a, b, p) = (&[1u8, 2, 3][..], &[4u8, 5, 6][..], &[7u8, 8, 9][..]);
    let mut out = [0xa5u8; 3];
    let mut short = [0xa5u8; 2];
    let refusals = [
        codec.encode(&[a], &mut [&mut out]),
        codec.encode(&[a, b], &mut []),
        codec.encode(&[a, &b[..2]], &mut [&mut out]),
        codec.encode(&[a, b], &mut [&mut short]),
        codec.update(2, a, &mut [&mut out]),
        codec.update(0, a, &mut []),
        codec.update(0, a, &mut [&mut short]),
        codec.reconstruct(&[None, Some(b)], &[0], &mut [&mut out]),
        codec.reconstruct(&[None, Some(b), Some(p)], &[0], &mut []),
        codec.reconstruct(&[None, Some(b), None], &[0], &mut [&mut out]),
        codec.reconstruct(&[Some(a), Some(b), Some(p)], &[3], &mut [&mut out]),
        codec.reconstruct(&[Some(a), Some(b), Some(p)], &[1], &mut [&mut out]),
        codec.reconstruct(&[None, Some(b), Some(&p[..2])], &[0], &mut [&mut out]),
        codec.reconstruct(&[None, Some(b), Some(p)], &[0], &mut [&mut short]),
    ];
    let said: Vec<String> = refusals
        .into_iter()
        .map(|refusal| refusal.unwrap_err().to_string())
        .collect();
    let expected = [
        "1 data cells were given, 2 are needed",
        "0 parity cells were given, 1 are needed",
        "cell 1 is 2 bytes long, the first one 3",
        "cell 2 is 2 bytes long, the first one 3",
        "there is no cell 2 of 2",
        "0 parity cells were given, 1 are needed",
        "cell 2 is 2 bytes long, the first one 3",
        "2 cells were given, 3 are needed",
        "0 buffers were given, 1 are needed",
        "1 cells of the stripe are left, 2 are needed",
        "there is no cell 3 of 3",
        "cell 1 is wanted, but not missing or not in ascending order",
        "cell 2 is 2 bytes long, the first one 3",
        "cell 0 is 2 bytes long, the first one 3",
    ];
    assert_eq!(said, expected);
    assert_eq!((out, short), ([0xa5; 3], [0xa5; 2]));
}

#[test]
fn more_losses_than_parity_cells_and_a_disorderly_list_are_refused() {
    let mut random = Random(8);
    for code in [CauchyGf8, LeopardGf16] {
        let mut codec = codec(code, 4, 2);
        let cells = stripe(&mut codec, 10, &mut random);
        let mut refuse = |lost: &[usize], wanted: &[usize]| {
            reconstruct(&mut codec, &cells, lost, wanted).unwrap_err()
        };
        let too_few = ErasureError::TooFewCells {
            present: 3,
            needed: 4,
        };
        assert_eq!(refuse(&[0, 1, 2], &[0]), too_few);
        assert_eq!(refuse(&[0, 1], &[1, 0]), ErasureError::Wanted { cell: 0 });
        assert_eq!(refuse(&[0, 1], &[1, 1]), ErasureError::Wanted { cell: 1 });
        assert!(reconstruct(&mut codec, &cells, &[0, 1], &[]).is_ok());
    }
}

#[test]
fn the_second_code_refuses_odd_lengths_and_single_cells() {
    let mut codec = codec(LeopardGf16, 2, 1);
    let (cell, mut out) = ([1u8, 2, 3], [0xa5u8; 3]);
    let (length, multiple) = (3, 2);
    let refused = codec.encode(&[&cell, &cell], &mut [&mut out]);
    assert_eq!(refused, Err(ErasureError::Length { length, multiple }));
    let code = LeopardGf16;
    let refused = codec.update(0, &cell[..2], &mut [&mut out[..2]]);
    assert_eq!(refused, Err(ErasureError::NoUpdate { code }));
    assert_eq!(out, [0xa5; 3]);
}

/// A geometry, a length of its cells, losses that it survives, and a seed.
fn scenario(code: Code) -> impl Strategy<Value = (usize, usize, usize, usize, u64)> {
    let (k_max, m_max) = match code {
        CauchyGf8 => (CAUCHY_DATA_CELLS_MAX, CAUCHY_PARITY_CELLS_MAX),
        LeopardGf16 => (CELLS_MAX / 2, CELLS_MAX / 2),
    };
    (1..=k_max, 1..=m_max).prop_flat_map(move |(k, m)| {
        let lengths = (1..300usize).prop_map(move |units| units * code.length_multiple());
        (Just(k), Just(m), lengths, 1..=m, any::<u64>())
    })
}

proptest! {
    #[test]
    fn any_k_cells_give_the_others((k, m, length, losses, seed) in scenario(CauchyGf8)) {
        let mut random = Random(seed);
        let mut codec = codec(CauchyGf8, k, m);
        let cells = stripe(&mut codec, length, &mut random);
        let lost = random.numbers(losses, k + m);
        let rebuilt = reconstruct(&mut codec, &cells, &lost, &lost).unwrap();
        let sources = (0..k + m).filter(|number| !lost.contains(number)).take(k);
        let sources: Vec<_> = sources.map(|number| (number, cells[number].clone())).collect();
        let data = reference::solve(&sources);
        prop_assert!(data == cells[..k]);
        for (number, cell) in lost.iter().zip(rebuilt) {
            prop_assert_eq!(&cell, &cells[*number]);
            prop_assert_eq!(cell, reference::cell(&data, *number));
        }
    }

    #[test]
    fn any_k_cells_of_the_second_code_give_the_others((k, m, length, losses, seed) in scenario(LeopardGf16)) {
        let mut random = Random(seed);
        let mut codec = codec(LeopardGf16, k, m);
        let cells = stripe(&mut codec, length, &mut random);
        let lost = random.numbers(losses, k + m);
        let rebuilt = reconstruct(&mut codec, &cells, &lost, &lost).unwrap();
        for (number, cell) in lost.iter().zip(rebuilt) {
            prop_assert_eq!(&cell, &cells[*number]);
        }
    }
}
