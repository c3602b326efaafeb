//! The file API's simulated arm.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::buffer::{Buffer, BufferView};
use super::super::file::OpenOptions;
use super::disk::{Effect, Outcome};
use super::image::Change;
use super::{Simulation, State};

/// An open file of a simulated machine.
#[derive(Clone)]
pub(in super::super) struct SimulatedFile {
    handle: Rc<Handle>,
}

struct Handle {
    simulation: Simulation,
    file: u64,
    path: PathBuf,
    options: OpenOptions,
}

impl SimulatedFile {
    pub(in super::super) fn open(
        simulation: &Simulation,
        path: &Path,
        options: OpenOptions,
    ) -> io::Result<SimulatedFile> {
        let mut state = simulation.state.borrow_mut();
        let file = state.disk.open(path, options.create)?;
        let handle = Handle {
            simulation: simulation.clone(),
            file,
            path: path.to_path_buf(),
            options,
        };
        Ok(SimulatedFile {
            handle: Rc::new(handle),
        })
    }

    pub(in super::super) fn alignment(&self) -> usize {
        self.handle.simulation.state.borrow().disk.alignment
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.handle.path
    }

    pub(in super::super) fn bytes_being_read(&self) -> usize {
        let state = self.handle.simulation.state.borrow();
        state.disk.bytes_being_read(self.handle.file)
    }

    fn check(&self, offset: u64, length: usize, writes: bool) -> io::Result<()> {
        if writes && self.handle.options.read_only {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let alignment = self.alignment() as u64;
        let aligned = offset.is_multiple_of(alignment) && (length as u64).is_multiple_of(alignment);
        if self.handle.options.direct && !aligned {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(())
    }

    pub(in super::super) async fn read(
        &self,
        buffer: Buffer,
        offset: u64,
        length: usize,
    ) -> io::Result<Buffer> {
        self.check(offset, length, false)?;
        let file = self.handle.file;
        let effect = Effect::Read {
            file,
            buffer,
            offset,
            length,
        };
        let buffer = self.handle.simulation.operate(effect).await?;
        buffer.ok_or_else(|| io::Error::other("a simulated read lost its buffer"))
    }

    pub(in super::super) async fn write(
        &self,
        views: Vec<BufferView>,
        offset: u64,
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(views.iter().map(|view| view.len()).sum());
        views.iter().for_each(|view| bytes.extend_from_slice(view));
        drop(views);
        self.check(offset, bytes.len(), true)?;
        self.write_bytes(offset, bytes).await
    }

    pub(super) async fn write_bytes(&self, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let change = Change::Write { offset, bytes };
        self.handle
            .simulation
            .operate(Effect::Change {
                file: self.handle.file,
                change,
            })
            .await?;
        Ok(())
    }

    pub(in super::super) async fn sync(&self) -> io::Result<()> {
        let file = self.handle.file;
        let mark = self
            .handle
            .simulation
            .state
            .borrow_mut()
            .disk
            .file(file)
            .flush_mark();
        self.handle
            .simulation
            .operate(Effect::Sync { file, mark })
            .await?;
        Ok(())
    }

    pub(in super::super) fn length(&self) -> u64 {
        self.handle
            .simulation
            .state
            .borrow_mut()
            .disk
            .file(self.handle.file)
            .current
            .length
    }

    pub(in super::super) async fn set_length(&self, length: u64) -> io::Result<()> {
        self.check(0, 0, true)?;
        if self.handle.simulation.is_block_device(self.handle.file) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let change = Change::Length(length);
        self.handle
            .simulation
            .operate(Effect::Change {
                file: self.handle.file,
                change,
            })
            .await?;
        Ok(())
    }
}

impl SimulatedFile {
    pub(in super::super) async fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length as usize, true)?;
        let (file, choice) = {
            let mut state = self.handle.simulation.state.borrow_mut();
            if !state.disk.block_devices.contains_key(&self.handle.file) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            (self.handle.file, state.random.next())
        };
        let range = offset..offset + length;
        let change = Change::Discard { range, choice };
        let effect = Effect::Change { file, change };
        self.handle.simulation.operate(effect).await.map(drop)
    }
}

/// The future of one simulated operation. It goes on when the future is dropped.
pub(super) struct SimulatedOperation {
    state: Rc<RefCell<State>>,
    /// `None`: the machine has stopped, nothing ever completes.
    number: Option<u64>,
    run: u64,
}

impl Simulation {
    pub(super) fn operate(&self, effect: Effect) -> SimulatedOperation {
        let mut state = self.state.borrow_mut();
        let State {
            disk,
            clock,
            trace,
            run,
            ..
        } = &mut *state;
        let number = disk.submit(*clock, effect, trace);
        SimulatedOperation {
            state: self.state.clone(),
            number,
            run: *run,
        }
    }
}

impl Future for SimulatedOperation {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(number) = self.number else {
            return Poll::Pending;
        };
        let outcome = self.state.borrow_mut().disk.poll(number, context.waker());
        let Some(outcome) = outcome else {
            return Poll::Pending;
        };
        self.number = None;
        Poll::Ready(outcome)
    }
}

impl Drop for SimulatedOperation {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.state.borrow_mut();
        if state.run == self.run {
            let left = state.disk.abandon(number);
            drop(state);
            drop(left);
        }
    }
}
