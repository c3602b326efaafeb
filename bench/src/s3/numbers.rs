//! Which object a load takes next.

use std::cell::Cell;

/// Gives out the numbers of the objects.
pub enum Numbers {
    /// Each once, in order.
    Consecutive { next: Cell<u64>, end: u64 },
    /// Any of them, again and again.
    Random { first: u64, count: u64, dice: Dice },
    /// Any of them, some far more often than others.
    Zipf {
        first: u64,
        /// The share of all operations that the ranks up to each have, the most popular first.
        shares: Vec<f64>,
        dice: Dice,
    },
}

/// Random numbers, the same in every run.
pub struct Dice(Cell<u64>);

impl Dice {
    fn new() -> Dice {
        Dice(Cell::new(0x2545_f491_4f6c_dd1d))
    }

    fn roll(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x
    }
}

impl Numbers {
    /// From `first` to before `end`, in order.
    pub fn consecutive(first: u64, end: u64) -> Numbers {
        Numbers::Consecutive {
            next: Cell::new(first),
            end,
        }
    }

    /// Among `count` numbers from `first` on.
    pub fn random(first: u64, count: u64) -> Numbers {
        Numbers::Random {
            first,
            count,
            dice: Dice::new(),
        }
    }

    /// Among `count` numbers from `first` on, by Zipf's law: the object of rank r is taken in proportion to 1 / r^exponent. Ranks are
    /// scattered over the numbers.
    pub fn zipf(first: u64, count: u64, exponent: f64) -> Numbers {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        let mut shares: Vec<f64> = weights.collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Numbers::Zipf {
            first,
            shares,
            dice: Dice::new(),
        }
    }

    /// The next one.
    pub fn take(&self) -> Option<u64> {
        match self {
            Numbers::Consecutive { next, end } => {
                (next.get() < *end).then(|| next.replace(next.get() + 1))
            }
            Numbers::Random { first, count, dice } => {
                // The high bits of a multiplication spread evenly over the count.
                Some(first + ((u128::from(dice.roll()) * u128::from(*count)) >> 64) as u64)
            }
            Numbers::Zipf {
                first,
                shares,
                dice,
            } => {
                let at = dice.roll() as f64 / u64::MAX as f64;
                let rank = shares.partition_point(|share| *share < at);
                let count = shares.len() as u64;
                let rank = (rank as u64).min(count - 1);
                Some(first + scattered(rank, count))
            }
        }
    }
}

/// Another order of the numbers below `count`, each once.
fn scattered(number: u64, count: u64) -> u64 {
    let has_common_divisor = |step: u64| {
        let (mut a, mut b) = (step, count);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a > 1
    };
    let mut step = (count as f64 * 0.618) as u64;
    while step < 2 || has_common_divisor(step) {
        step += 1;
    }
    (u128::from(number) * u128::from(step) % u128::from(count)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_end_and_random_ones_stay_in_range() {
        let numbers = Numbers::consecutive(5, 7);
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take()],
            [Some(5), Some(6), None]
        );
        let numbers = Numbers::random(100, 10);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[usize::try_from(numbers.take().unwrap() - 100).unwrap()] = true;
        }
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn zipf_takes_the_first_ranks_most_often() {
        let count = 1000;
        let numbers = Numbers::zipf(100, count, 1.0);
        let mut taken = vec![0u32; count as usize];
        for _ in 0..100_000 {
            taken[usize::try_from(numbers.take().unwrap() - 100).unwrap()] += 1;
        }
        // The harmonic number of 1000 is 7.485: rank 1 has 13.4 % of all, rank 10 a tenth of that.
        let of_rank = |rank: u64| taken[usize::try_from(scattered(rank - 1, count)).unwrap()];
        assert!((12_500..14_300).contains(&of_rank(1)), "{}", of_rank(1));
        assert!((1_150..1_530).contains(&of_rank(10)), "{}", of_rank(10));
    }

    #[test]
    fn scattered_numbers_are_each_there_once() {
        for count in [1, 2, 3, 4, 10, 97, 1000] {
            let mut found: Vec<u64> = (0..count).map(|number| scattered(number, count)).collect();
            found.sort_unstable();
            assert_eq!(found, (0..count).collect::<Vec<_>>());
        }
    }
}
