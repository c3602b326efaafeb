//! The checker of order: whether there is an order of all calls of a key in which each takes effect at one moment between its
//! beginning and its end, and sees what the ones before have left.
//!
//! All states that a key may be in are kept: what is there, and which calls under way have not taken effect. Whenever something happens, each
//! of those may take effect or not. A call that returned has taken effect, and what returned with something that no state has ever been since
//! it began is a mistake. What has no answer when the node ends has taken effect until then or never does.

use std::collections::BTreeSet;

use super::record::{Act, CallNumber, Event, KEYS, Outcome, Record};
use super::values::Value;

/// A state that a key may be in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    there: Option<Value>,
    /// Changes under way that have not taken effect.
    pending: BTreeSet<CallNumber>,
    /// Calls that see something and have not seen it yet.
    looking: BTreeSet<CallNumber>,
}

/// Whether every key's calls have such an order.
///
/// # Errors
/// The first key that has none, with its last calls.
pub fn check(record: &Record) -> Result<(), String> {
    (0..KEYS.len()).try_for_each(|key| check_key(record, key))
}

fn check_key(record: &Record, key: usize) -> Result<(), String> {
    let nothing = State {
        there: None,
        pending: BTreeSet::new(),
        looking: BTreeSet::new(),
    };
    let mut states = BTreeSet::from([nothing]);
    for event in record.of_key(key) {
        states = match event {
            Event::Invoked(call) => begin(record, states, call),
            Event::Returned(call) => end(states, call),
            Event::Ended => states.into_iter().map(without_calls).collect(),
        };
        if states.is_empty() {
            let call = match event {
                Event::Invoked(call) | Event::Returned(call) => call,
                Event::Ended => 0,
            };
            return Err(format!(
                "no order of calls explains how call {call} ended; of {}",
                record.describe(key)
            ));
        }
        states = with_effects(record, states);
    }
    Ok(())
}

fn without_calls(mut state: State) -> State {
    state.pending.clear();
    state.looking.clear();
    state
}

fn begin(record: &Record, states: BTreeSet<State>, number: CallNumber) -> BTreeSet<State> {
    let call = &record.calls[number];
    let begun = states.into_iter().map(|mut state| {
        match (call.act, call.outcome) {
            // A look that had no answer has seen nothing.
            (_, Some(Outcome::Nothing)) | (Act::See(_), None) => {}
            (Act::See(_), _) | (_, Some(Outcome::Existed)) => {
                if !sees(record, number, state.there) {
                    state.looking.insert(number);
                }
            }
            (Act::Put(_) | Act::PutIfAbsent(_) | Act::Delete, _) => {
                state.pending.insert(number);
            }
        }
        state
    });
    begun.collect()
}

/// Whether a call that looks saw this.
fn sees(record: &Record, number: CallNumber, there: Option<Value>) -> bool {
    match record.calls[number].act {
        Act::See(found) => found == there,
        // It was refused because there was something.
        Act::Put(_) | Act::PutIfAbsent(_) | Act::Delete => there.is_some(),
    }
}

fn end(states: BTreeSet<State>, number: CallNumber) -> BTreeSet<State> {
    let has_happened =
        |state: &State| !state.pending.contains(&number) && !state.looking.contains(&number);
    states.into_iter().filter(has_happened).collect()
}

/// The states, and those after changes under way have taken effect, in any order.
fn with_effects(record: &Record, states: BTreeSet<State>) -> BTreeSet<State> {
    let mut all = states.clone();
    let mut new: Vec<State> = states.into_iter().collect();
    while let Some(state) = new.pop() {
        for number in &state.pending {
            let act = record.calls[*number].act;
            if matches!(act, Act::PutIfAbsent(_)) && state.there.is_some() {
                continue;
            }
            let Some(there) = act.written() else {
                continue;
            };
            let mut after = state.clone();
            after.there = there;
            after.pending.remove(number);
            after.looking.retain(|call| !sees(record, *call, there));
            if all.insert(after.clone()) {
                new.push(after);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Value = Value {
        number: 1,
        bytes: 1,
    };
    const TWO: Value = Value {
        number: 2,
        bytes: 1,
    };

    fn put(record: &mut Record, value: Value) {
        let call = record.invoke(0, Act::Put(value));
        record.answer(call, Outcome::Done);
    }

    fn see(record: &mut Record, found: Option<Value>) {
        let call = record.invoke(0, Act::See(None));
        record.see(call, found);
    }

    #[test]
    fn what_was_answered_is_seen_and_nothing_older_after_it() {
        let mut record = Record::default();
        put(&mut record, ONE);
        see(&mut record, Some(ONE));
        put(&mut record, TWO);
        check(&record).expect("an order");
        let mut old = record.clone();
        see(&mut old, Some(ONE));
        check(&old).expect_err("it was replaced");
        let mut gone = record.clone();
        see(&mut gone, None);
        check(&gone).expect_err("nobody deleted it");
    }

    #[test]
    fn what_is_under_way_is_seen_or_not_but_never_unseen_again() {
        let mut record = Record::default();
        put(&mut record, ONE);
        let under_way = record.invoke(0, Act::Put(TWO));
        see(&mut record, Some(ONE));
        see(&mut record, Some(TWO));
        check(&record).expect("an order");
        let mut back = record.clone();
        see(&mut back, Some(ONE));
        check(&back).expect_err("it had taken effect");
        record.answer(under_way, Outcome::Nothing);
        check(&record).expect_err("what was refused was seen");
    }

    #[test]
    fn what_had_no_answer_at_the_end_is_there_or_never_will_be() {
        let mut record = Record::default();
        put(&mut record, ONE);
        record.invoke(0, Act::Put(TWO));
        record.end();
        for found in [ONE, TWO] {
            let mut record = record.clone();
            see(&mut record, Some(found));
            check(&record).expect("either");
        }
        see(&mut record, Some(ONE));
        see(&mut record, Some(TWO));
        check(&record).expect_err("it was not there after the end");
    }

    #[test]
    fn a_put_for_what_is_absent_tells_what_was_there() {
        let mut record = Record::default();
        let call = record.invoke(0, Act::PutIfAbsent(ONE));
        record.answer(call, Outcome::Existed);
        check(&record).expect_err("nothing was there");
        let mut record = Record::default();
        put(&mut record, ONE);
        let call = record.invoke(0, Act::PutIfAbsent(TWO));
        let mut refused = record.clone();
        refused.answer(call, Outcome::Existed);
        check(&refused).expect("it was there");
        record.answer(call, Outcome::Done);
        check(&record).expect_err("it was there");
    }

    #[test]
    fn a_look_during_a_delete_and_a_put_may_see_any_of_three() {
        for found in [Some(ONE), None, Some(TWO)] {
            let mut record = Record::default();
            put(&mut record, ONE);
            let look = record.invoke(0, Act::See(None));
            let delete = record.invoke(0, Act::Delete);
            record.answer(delete, Outcome::Done);
            put(&mut record, TWO);
            record.see(look, found);
            check(&record).expect("each was there meanwhile");
        }
    }
}
