//! The checker of durability: what was acknowledged reads back byte for byte, and what was not is the old or the new, whole.

use std::collections::BTreeMap;

use super::record::{CallNumber, Event, KEYS, Outcome, Record};
use super::values::Value;

/// Whether a key may hold this, given all that was called until now: what nobody called is not there, nor is what something acknowledged
/// has replaced that was called after it was answered.
///
/// # Errors
/// Says what is wrong.
pub fn check_found(record: &Record, key: usize, found: Option<Value>) -> Result<(), String> {
    // Changes that may have left this: where each is over. What was there at first is over at the beginning.
    let mut overs: Vec<usize> = found.is_none().then_some(0).into_iter().collect();
    let mut under_way: Vec<CallNumber> = Vec::new();
    let mut last_replaced = 0;
    let mut invoked = BTreeMap::new();
    for (at, event) in (1..).zip(record.of_key(key)) {
        let over: Vec<CallNumber> = match event {
            Event::Invoked(call) => {
                invoked.insert(call, at);
                under_way.push(call);
                continue;
            }
            Event::Returned(call) => {
                under_way.retain(|other| *other != call);
                let is_done = record.calls[call].outcome == Some(Outcome::Done);
                if is_done && record.calls[call].act.written().is_some() {
                    last_replaced = last_replaced.max(invoked[&call]);
                }
                vec![call]
            }
            Event::Ended => std::mem::take(&mut under_way),
        };
        overs.extend(
            over.iter()
                .filter(|call| writes(record, **call, found))
                .map(|_| at),
        );
    }
    let is_under_way = under_way.iter().any(|call| writes(record, *call, found));
    if is_under_way || overs.iter().any(|over| *over >= last_replaced) {
        return Ok(());
    }
    Err(format!(
        "{found:?} is there, which was replaced, or was never called; of {}",
        record.describe(key)
    ))
}

fn writes(record: &Record, call: CallNumber, found: Option<Value>) -> bool {
    let call = &record.calls[call];
    let may_have = call.outcome.is_none_or(|outcome| outcome == Outcome::Done);
    may_have && call.act.written() == Some(found)
}

/// Whether bytes that were read are those of what the object is said to hold.
///
/// # Errors
/// Says where they differ.
pub fn check_bytes(key: usize, value: Value, read: &[u8]) -> Result<(), String> {
    let content = value.content();
    if read == content {
        return Ok(());
    }
    let differs = content
        .iter()
        .zip(read)
        .position(|(one, other)| one != other);
    Err(format!(
        "{:?} reads back as {} bytes that differ from those of {value:?} at {differs:?}",
        KEYS[key],
        read.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::record::Act;
    use super::*;

    #[test]
    fn what_is_acknowledged_stays_until_something_may_have_replaced_it() {
        let (one, two) = (
            Value {
                number: 1,
                bytes: 9,
            },
            Value {
                number: 2,
                bytes: 9,
            },
        );
        let mut record = Record::default();
        check_found(&record, 0, None).expect("nothing was put");
        check_found(&record, 0, Some(one)).expect_err("nobody put it");
        let call = record.invoke(0, Act::Put(one));
        record.answer(call, Outcome::Done);
        check_found(&record, 0, None).expect_err("it was acknowledged");
        record.invoke(0, Act::Put(two));
        record.end();
        for found in [one, two] {
            check_found(&record, 0, Some(found)).expect("old or new");
        }
        let call = record.invoke(0, Act::Delete);
        record.answer(call, Outcome::Done);
        check_found(&record, 0, None).expect("deleted");
        for found in [one, two] {
            check_found(&record, 0, Some(found)).expect_err("deleted since");
        }
    }

    #[test]
    fn of_two_at_the_same_time_either_is_the_last() {
        let (one, two) = (
            Value {
                number: 1,
                bytes: 9,
            },
            Value {
                number: 2,
                bytes: 9,
            },
        );
        let mut record = Record::default();
        let calls = [one, two].map(|value| record.invoke(0, Act::Put(value)));
        for call in calls {
            record.answer(call, Outcome::Done);
        }
        for found in [one, two] {
            check_found(&record, 0, Some(found)).expect("the last");
        }
        check_found(&record, 0, None).expect_err("both were acknowledged");
    }

    #[test]
    fn a_byte_that_differs_is_found() {
        let value = Value {
            number: 3,
            bytes: 5000,
        };
        let mut read = value.content().to_vec();
        check_bytes(0, value, &read).expect("the same");
        read[4321] ^= 1;
        let said = check_bytes(0, value, &read).expect_err("another");
        assert!(said.contains("Some(4321)"), "{said}");
        check_bytes(0, value, &value.content()[..4999]).expect_err("short");
    }
}
