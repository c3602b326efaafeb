//! Operations that the kernel works on, and who owns what they touch.
//!
//! Invariants: the slot of an operation owns every buffer, path and descriptor the kernel may still use, from
//! submission to the terminal completion. Dropping the future turns the slot into an orphan and asks the kernel to
//! cancel; it never frees anything early. A slot is named by index and generation, so a late completion never
//! reaches a new owner.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::buffer::{Buffer, BufferView};
use super::executor::{try_with_current, with_current};
use super::file::{Descriptor, ReadUnderWay};

/// What an operation owns until its end.
pub(super) enum Resources {
    Nothing,
    Read {
        buffer: Buffer,
        _under_way: ReadUnderWay,
    },
    ScatteredRead {
        buffers: [Buffer; 2],
        _vectors: Box<[libc::iovec]>,
        _under_way: ReadUnderWay,
    },
    Write {
        _views: Vec<BufferView>,
        _vectors: Box<[libc::iovec]>,
        _file: Rc<Descriptor>,
    },
    File {
        _file: Rc<Descriptor>,
    },
    Address {
        _address: Box<socket2::SockAddr>,
        _socket: Rc<Descriptor>,
    },
}

/// What an operation counts as while the kernel works on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A read or write of a file: decides when to submit.
    Disk,
    /// A flush: runs on a kernel worker that shares our core, so nobody spins meanwhile.
    Barrier,
    Other,
}

/// The end of an operation: the kernel's result (negative errno) and what the operation owned.
pub(super) struct Completion {
    pub(super) result: i32,
    pub(super) resources: Resources,
}

/// Receives the events of an operation that completes many times.
pub(super) trait Watcher {
    /// One event. Runs while the driver is borrowed: it may collect wakers, nothing else.
    fn event(&self, result: i32, woken: &mut Vec<Waker>);
    /// The kernel has ended the operation; the watcher may start it again.
    fn ended(self: Rc<Self>);
}

enum State {
    Vacant,
    Waiting {
        waker: Option<Waker>,
        sort: Sort,
        resources: Resources,
    },
    Orphan {
        sort: Sort,
        resources: Resources,
    },
    Finished(Completion),
    Watching(Rc<dyn Watcher>),
}

struct Slot {
    generation: u32,
    state: State,
    /// The other half of a linked pair of which the kernel reports only the half that fails or comes last, and the
    /// result that follows for the other half from a report of this one.
    partner: Option<(Key, i32)>,
}

/// Names one operation; the kernel carries it as user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    pub(super) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_user_data(data: u64) -> Key {
        Key {
            index: data as u32,
            generation: (data >> 32) as u32,
        }
    }
}

/// What the round has to do after it has let go of the driver.
#[derive(Default)]
pub(super) struct Reaped {
    pub(super) woken: Vec<Waker>,
    pub(super) released: Vec<Resources>,
    pub(super) ended: Vec<Rc<dyn Watcher>>,
}

/// The table of operations. Grows with the operations in flight, never shrinks below what was needed once.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    pub(super) disk_in_flight: usize,
    pub(super) barriers_in_flight: usize,
    pub(super) orphans: usize,
}

impl Slots {
    fn insert(&mut self, state: State) -> Key {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                state: State::Vacant,
                partner: None,
            });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(matches!(slot.state, State::Vacant));
        slot.state = state;
        slot.partner = None;
        Key {
            index,
            generation: slot.generation,
        }
    }

    fn remove(&mut self, key: Key) -> State {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(
            slot.generation, key.generation,
            "an operation slot was used after its end"
        );
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(key.index);
        std::mem::replace(&mut slot.state, State::Vacant)
    }

    pub(super) fn start(&mut self, sort: Sort, resources: Resources) -> Key {
        match sort {
            Sort::Disk => self.disk_in_flight += 1,
            Sort::Barrier => self.barriers_in_flight += 1,
            Sort::Other => {}
        }
        self.insert(State::Waiting {
            waker: None,
            sort,
            resources,
        })
    }

    /// Ties a write to the flush linked behind it: the kernel reports either the write's failure, and the flush is then
    /// cancelled, or the flush, and all of the write has then succeeded.
    pub(super) fn tie(&mut self, write: Key, written: i32, flush: Key) {
        self.slots[write.index as usize].partner = Some((flush, -libc::ECANCELED));
        self.slots[flush.index as usize].partner = Some((write, written));
    }

    pub(super) fn watch(&mut self, watcher: Rc<dyn Watcher>) -> Key {
        self.insert(State::Watching(watcher))
    }

    /// Slots whose terminal completion has not come.
    pub(super) fn unfinished(&self) -> usize {
        let ended = |slot: &&Slot| matches!(slot.state, State::Vacant | State::Finished(_));
        self.slots.len() - self.slots.iter().filter(ended).count()
    }

    fn left_kernel(&mut self, sort: Sort) {
        match sort {
            Sort::Disk => self.disk_in_flight -= 1,
            Sort::Barrier => self.barriers_in_flight -= 1,
            Sort::Other => {}
        }
    }

    /// Takes in one completion. `more` says that the operation goes on.
    pub(super) fn complete(&mut self, key: Key, result: i32, more: bool, reaped: &mut Reaped) {
        if let Some((partner, result)) = self.end(key, result, more, reaped) {
            self.end(partner, result, false, reaped);
        }
    }

    /// Ends one operation; its partner and the result that follows for it.
    fn end(
        &mut self,
        key: Key,
        result: i32,
        more: bool,
        reaped: &mut Reaped,
    ) -> Option<(Key, i32)> {
        let slot = self.slots.get_mut(key.index as usize);
        let slot = slot.filter(|slot| slot.generation == key.generation)?;
        if let State::Watching(watcher) = &slot.state {
            watcher.event(result, &mut reaped.woken);
            if more {
                return None;
            }
        }
        let partner = slot.partner.take();
        debug_assert!(!more, "only watched operations complete many times");
        match std::mem::replace(&mut slot.state, State::Vacant) {
            State::Watching(watcher) => {
                self.remove(key);
                reaped.ended.push(watcher);
            }
            State::Waiting {
                waker,
                sort,
                resources,
            } => {
                slot.state = State::Finished(Completion { result, resources });
                self.left_kernel(sort);
                reaped.woken.extend(waker);
            }
            State::Orphan { sort, resources } => {
                self.remove(key);
                self.left_kernel(sort);
                self.orphans -= 1;
                reaped.released.push(resources);
            }
            state @ (State::Vacant | State::Finished(_)) => slot.state = state,
        }
        partner
    }

    fn poll(&mut self, key: Key, waker: &Waker) -> Option<Completion> {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(
            slot.generation, key.generation,
            "an operation was polled after its end"
        );
        if let State::Waiting { waker: stored, .. } = &mut slot.state {
            match stored {
                Some(stored) => stored.clone_from(waker),
                None => *stored = Some(waker.clone()),
            }
            return None;
        }
        match self.remove(key) {
            State::Finished(completion) => Some(completion),
            _ => panic!("an operation future owns a slot that is not its own"),
        }
    }

    /// The future is gone. While the kernel works on the operation, the slot keeps what it uses.
    pub(super) fn abandon(&mut self, key: Key) -> Abandoned {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(
            slot.generation, key.generation,
            "an operation was dropped twice"
        );
        match std::mem::replace(&mut slot.state, State::Vacant) {
            State::Waiting {
                sort, resources, ..
            } => {
                slot.state = State::Orphan { sort, resources };
                self.orphans += 1;
                Abandoned::InFlight
            }
            state => {
                self.remove(key);
                match state {
                    State::Finished(completion) => Abandoned::Finished {
                        _resources: completion.resources,
                    },
                    _ => panic!("an operation future owns a slot that is not its own"),
                }
            }
        }
    }
}

/// What became of an operation whose future was dropped.
pub(super) enum Abandoned {
    /// The kernel may still use the resources; the slot owns them.
    InFlight,
    /// The operation had ended; the resources are the caller's to drop.
    Finished { _resources: Resources },
}

/// The future of one operation.
#[must_use = "an operation is cancelled when it is dropped"]
pub(super) struct Operation {
    key: Option<Key>,
    /// The reactor whose ring works on it.
    reactor: u64,
    // Slots belong to one thread's ring.
    _thread: PhantomData<*const ()>,
}

impl Operation {
    pub(super) fn new(key: Key, reactor: u64) -> Operation {
        Operation {
            key: Some(key),
            reactor,
            _thread: PhantomData,
        }
    }
}

impl Future for Operation {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let key = self.key.expect("an operation was polled after its end");
        let completion = with_current(|reactor| {
            assert_eq!(
                reactor.id, self.reactor,
                "an operation was polled on another reactor"
            );
            reactor
                .driver()
                .borrow_mut()
                .slots
                .poll(key, context.waker())
        });
        let Some(completion) = completion else {
            return Poll::Pending;
        };
        self.key = None;
        Poll::Ready(completion)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        // When its reactor has ended, the operation has, too.
        let abandoned = try_with_current(|reactor| {
            (reactor.id == self.reactor).then(|| reactor.driver().borrow_mut().abandon(key))
        });
        // What it owned is dropped here, after the driver was let go: dropping may start a close.
        drop(abandoned);
    }
}
