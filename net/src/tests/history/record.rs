//! The record of a history: what was called, with what outcome, in the order in which calls were made and returned.

use super::values::Value;

/// The keys that a history knows: some are each other's directories, prefixes and neighbours in byte order.
pub const KEYS: [&str; 24] = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/b0",
    "a-b",
    "a.b",
    "a0",
    "b",
    "b/",
    "b//",
    "b/0",
    "dir/1",
    "dir/10",
    "dir/2",
    "dir/3/x",
    "dir/3/y",
    "dir/4",
    "dir4",
    "dir5/1/2/3/4/5",
    "long",
    "z",
    "\u{e9}",
    "\u{10ffff}",
];

/// A call, by its place in the record.
pub type CallNumber = usize;

/// What a call does to the object under a key, or sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Puts it in place of what is there.
    Put(Value),
    /// Puts it where nothing is there; refused otherwise.
    PutIfAbsent(Value),
    Delete,
    /// Sees what is there; what that is is known when the call returns.
    See(Option<Value>),
}

impl Act {
    /// What is there afterwards; `None` where it changes nothing.
    pub fn written(self) -> Option<Option<Value>> {
        match self {
            Act::Put(value) | Act::PutIfAbsent(value) => Some(Some(value)),
            Act::Delete => Some(None),
            Act::See(_) => None,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered: it is done and durable, or has seen what it says.
    Done,
    /// It was refused because an object was there.
    Existed,
    /// It was refused and has changed nothing.
    Nothing,
}

/// A call of a client.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its key's place in [`KEYS`].
    pub key: usize,
    pub act: Act,
    /// `None` where it had no answer, or one that leaves the outcome open: it has taken effect before the end of the node's life, or never.
    pub outcome: Option<Outcome>,
}

/// What happened, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Invoked(CallNumber),
    Returned(CallNumber),
    /// The node has ended, with everything that was under way.
    Ended,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub calls: Vec<Call>,
    pub events: Vec<Event>,
}

impl Record {
    /// A client makes a call.
    pub fn invoke(&mut self, key: usize, act: Act) -> CallNumber {
        let outcome = None;
        self.calls.push(Call { key, act, outcome });
        self.events.push(Event::Invoked(self.calls.len() - 1));
        self.calls.len() - 1
    }

    /// It has an answer.
    pub fn answer(&mut self, call: CallNumber, outcome: Outcome) {
        self.calls[call].outcome = Some(outcome);
        self.events.push(Event::Returned(call));
    }

    /// It has seen this.
    pub fn see(&mut self, call: CallNumber, found: Option<Value>) {
        self.calls[call].act = Act::See(found);
        self.answer(call, Outcome::Done);
    }

    /// The node has ended.
    pub fn end(&mut self) {
        self.events.push(Event::Ended);
    }

    /// The events of one key and the ends.
    pub fn of_key(&self, key: usize) -> impl Iterator<Item = Event> + '_ {
        self.events
            .iter()
            .copied()
            .filter(move |event| match event {
                Event::Invoked(call) | Event::Returned(call) => self.calls[*call].key == key,
                Event::Ended => true,
            })
    }

    /// What was called of a key, for people.
    pub fn describe(&self, key: usize) -> String {
        let lines = self.of_key(key).map(|event| match event {
            Event::Invoked(call) => format!("  {call} begins: {:?}", self.calls[call].act),
            Event::Returned(call) => format!("  {call} ends: {:?}", self.calls[call].outcome),
            Event::Ended => "  the node ends".to_owned(),
        });
        let mut lines: Vec<String> = lines.collect();
        let first = lines.len().saturating_sub(60);
        lines.drain(..first);
        format!("{:?}:\n{}", KEYS[key], lines.join("\n"))
    }
}
