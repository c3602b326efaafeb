//! The targets over their corpus and over mutations of it. What fails says how it is repeated; see docs/TESTING.md.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use strata_fuzz::mutation::{Random, mutated};
use strata_fuzz::{TARGETS, Target, target};

/// The seed of every run; each run has another one beside it.
const SEED: u64 = 1;

fn seeds() -> Vec<u64> {
    if let Ok(given) = std::env::var("STRATA_TEST_SEED") {
        return vec![given.parse().expect("STRATA_TEST_SEED is a number")];
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    vec![SEED, now.expect("after 1970").as_micros() as u64]
}

/// Runs a target over an input; whether it holds. An input that fails is written beside the build, and how to repeat it is printed.
fn holds(target: &Target, input: &[u8], what: &str) -> bool {
    let failed = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err();
    if failed {
        let name = target.name;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bin"));
        std::fs::write(&path, input).expect("the input is written");
        eprintln!(
            "{name} fails on {what}. Again:\n  STRATA_FUZZ_TARGET={name} STRATA_FUZZ_INPUT={} cargo test -p strata-fuzz --test smoke",
            path.display()
        );
    }
    !failed
}

/// Whether a target holds over its corpus and over mutations of it.
fn holds_everywhere(target: &Target, seeds: &[u64]) -> bool {
    let corpus = target.corpus().expect("a corpus");
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let whole = corpus
        .iter()
        .all(|(path, input)| holds(target, input, &path.display().to_string()));
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    whole
        && seeds.iter().all(|seed| {
            let mut random = Random::new(*seed);
            let what = format!("a mutation of seed {seed}");
            (0..target.mutations).all(|_| holds(target, &mutated(&corpus, &mut random), &what))
        })
}

#[test]
fn every_target_holds_over_its_corpus_and_mutations_of_it() {
    if let Ok(path) = std::env::var("STRATA_FUZZ_INPUT") {
        let name = std::env::var("STRATA_FUZZ_TARGET").expect("STRATA_FUZZ_TARGET");
        let target = target(&name).expect("STRATA_FUZZ_TARGET names a target");
        let input = std::fs::read(&path).expect("STRATA_FUZZ_INPUT is a file");
        assert!(holds(target, &input, &path));
        return;
    }
    let seeds = seeds();
    println!("seeds {seeds:?}; STRATA_TEST_SEED=N runs one again");
    let failed: Vec<&str> = TARGETS
        .iter()
        .filter(|target| {
            let begun = Instant::now();
            let holds = holds_everywhere(target, &seeds);
            println!("{}: {:?}", target.name, begun.elapsed());
            !holds
        })
        .map(|target| target.name)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}
