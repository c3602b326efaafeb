//! Which seeds are run: a few in every test run, others where the environment asks for them, with a ledger that a long run resumes from.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::counters::Counters;

/// The seeds of every test run, beside one that is new each time. In the second a bit of the metadata file flips, and the start finds it while
/// it is under way.
const USUAL: [u64; 2] = [2, 67_810_983];

/// Runs the seeds that `STRATA_TEST_SEEDS=100..200` asks for, but for those that the ledger has; the usual ones where it asks for none.
///
/// # Panics
/// When a history does.
pub fn run(history: impl Fn(u64) -> Counters) {
    let mut counters = Counters::default();
    let Ok(asked) = std::env::var("STRATA_TEST_SEEDS") else {
        for seed in USUAL.into_iter().chain([fresh()]) {
            counters.add_all(&history(seed));
        }
        return println!("{}", counters.line());
    };
    let (from, to) = asked.split_once("..").expect("a range of seeds");
    let seeds = from.parse().expect("a seed")..to.parse().expect("a seed");
    let is_one = seeds.clone().count() == 1;
    let mut ledger = Ledger::open();
    for seed in seeds {
        if !is_one && ledger.passed.contains(&seed) {
            continue;
        }
        let of_seed = history(seed);
        ledger.note(seed, &of_seed);
        counters.add_all(&of_seed);
    }
    println!("{} calls; {}", counters.calls(), counters.line());
    println!("never met: {}", counters.never_met().join("; "));
}

/// A seed that nobody has chosen.
fn fresh() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is printed, and everything after it comes from it"
    )]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64 % 1_000_000_007)
}

/// The seeds that have passed: a line for each, with what was met.
struct Ledger {
    file: File,
    passed: BTreeSet<u64>,
}

impl Ledger {
    /// That of this checkout, below its target folder.
    fn open() -> Ledger {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/histories.ledger");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let seeds = text
            .lines()
            .filter_map(|line| line.split(' ').next()?.parse().ok());
        let passed = seeds.collect();
        fs::create_dir_all(path.parent().expect("a folder")).expect("the target folder");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.expect("the ledger");
        Ledger { file, passed }
    }

    fn note(&mut self, seed: u64, counters: &Counters) {
        writeln!(self.file, "{seed} passed; {}", counters.line()).expect("a line of the ledger");
    }
}
