//! Files and devices: direct reads, scattered ones too, gathered writes, durability.
//!
//! Invariants: an operation holds the descriptor and its buffers until the kernel's answer; the descriptor is closed
//! through the ring after the last handle and the last operation are gone. A write is complete or an error; a flush
//! that failed is an error each time it is asked about by its own caller and never retried here.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::block_device::DiscardTurn;
use super::buffer::{Buffer, BufferView};
use super::executor::{Arm, try_with_current, with_current};
use super::offload::offload;
use super::operation::{Completion, Operation, Resources, Sort};
use super::simulated::SimulatedFile;
use super::uring::Driver;

/// Alignment assumed for direct I/O where the kernel does not tell.
const ALIGNMENT_DEFAULT: usize = 4096;
const ALIGNMENT_MIN: usize = 512;
/// Most pieces of memory in one gathered write.
const VECTORS_MAX: usize = 1024;
/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Only for reading.
    pub read_only: bool,
    /// Make it when it does not exist.
    pub create: bool,
    /// Past the page cache. Offsets, lengths and buffers must then be multiples of [`File::alignment`].
    pub direct: bool,
}

/// An open descriptor that is closed through the ring.
pub(super) struct Descriptor {
    descriptor: RawFd,
    /// The reactor and the place in its ring's table of files, which saves the kernel a look-up per operation.
    place: Option<(u64, u32)>,
    /// Bytes of reads that the kernel works on.
    being_read: Cell<usize>,
}

/// Counts a read at its file until the kernel has given the buffer back.
pub(super) struct ReadUnderWay {
    file: Rc<Descriptor>,
    bytes: usize,
}

impl ReadUnderWay {
    fn begin(file: &Rc<Descriptor>, bytes: usize) -> ReadUnderWay {
        file.being_read.set(file.being_read.get() + bytes);
        ReadUnderWay {
            file: file.clone(),
            bytes,
        }
    }
}

impl Drop for ReadUnderWay {
    fn drop(&mut self) {
        let being_read = &self.file.being_read;
        being_read.set(being_read.get() - self.bytes);
    }
}

impl Descriptor {
    pub(super) fn new(owned: OwnedFd) -> Rc<Descriptor> {
        Rc::new(Descriptor {
            descriptor: owned.into_raw_fd(),
            place: None,
            being_read: Cell::new(0),
        })
    }

    /// For a file that many operations will name.
    fn registered(owned: OwnedFd) -> Rc<Descriptor> {
        let descriptor = owned.into_raw_fd();
        let place = with_current(|reactor| {
            let place = reactor.driver().borrow_mut().register_file(descriptor)?;
            Some((reactor.id, place))
        });
        Rc::new(Descriptor {
            descriptor,
            place,
            being_read: Cell::new(0),
        })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.descriptor
    }

    fn place_in(&self, reactor: u64) -> Option<u32> {
        self.place
            .filter(|(owner, _)| *owner == reactor)
            .map(|(_, place)| place)
    }

    /// What an entry names, and how: the place in the ring's table or the descriptor.
    fn target(&self, driver: &Driver) -> (types::Fd, Flags) {
        match self.place_in(driver.reactor()) {
            Some(place) => (types::Fd(place as RawFd), Flags::FIXED_FILE),
            None => (types::Fd(self.descriptor), Flags::empty()),
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let queued = try_with_current(|reactor| match &reactor.arm {
            Arm::Real { driver, .. } => driver
                .try_borrow_mut()
                .is_ok_and(|mut driver| driver.close(self.raw(), self.place_in(reactor.id))),
            Arm::Simulated(_) => false,
        });
        if queued != Some(true) {
            // SAFETY: the descriptor is ours, and no operation uses it: each holds an Rc of this.
            drop(unsafe { OwnedFd::from_raw_fd(self.raw()) });
        }
    }
}

/// An open file or block device. Clones share it; it stays on its reactor.
#[derive(Clone)]
pub struct File {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Real(Rc<RealFile>),
    Simulated(SimulatedFile),
}

struct RealFile {
    descriptor: Rc<Descriptor>,
    alignment: usize,
    path: PathBuf,
}

impl File {
    /// Opens a file or device.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub async fn open(path: &Path, options: OpenOptions) -> io::Result<File> {
        let simulation = with_current(|reactor| match &reactor.arm {
            Arm::Simulated(simulation) => Some(simulation.clone()),
            Arm::Real { .. } => None,
        });
        if let Some(simulation) = simulation {
            let file = SimulatedFile::open(&simulation, path, options)?;
            return Ok(File {
                inner: Inner::Simulated(file),
            });
        }
        let owned_path = path.to_path_buf();
        let (descriptor, alignment) = offload(move || {
            let opened = open_blocking(&owned_path, options)?;
            let alignment = direct_alignment(&opened);
            Ok::<_, io::Error>((opened, alignment))
        })
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let file = RealFile {
            descriptor: Descriptor::registered(descriptor),
            alignment,
            path: path.to_path_buf(),
        };
        Ok(File {
            inner: Inner::Real(Rc::new(file)),
        })
    }

    /// What offsets and lengths must be multiples of when the file is open for direct I/O, in bytes.
    pub fn alignment(&self) -> usize {
        match &self.inner {
            Inner::Real(file) => file.alignment,
            Inner::Simulated(file) => file.alignment(),
        }
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        match &self.inner {
            Inner::Real(file) => &file.path,
            Inner::Simulated(file) => file.path(),
        }
    }

    /// Bytes of reads that are under way, with those whose future was dropped: their buffers are not free either.
    pub fn bytes_being_read(&self) -> usize {
        match &self.inner {
            Inner::Real(file) => file.descriptor.being_read.get(),
            Inner::Simulated(file) => file.bytes_being_read(),
        }
    }

    /// Reads `length` bytes at the offset into the buffer, replacing what it held. The buffer's length is then what was
    /// read: less than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the device says. The buffer is then back in its arena.
    ///
    /// # Panics
    /// When the buffer is too small.
    pub async fn read(&self, mut buffer: Buffer, offset: u64, length: usize) -> io::Result<Buffer> {
        assert!(
            length <= buffer.capacity(),
            "{length} bytes into {}",
            buffer.capacity()
        );
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => return file.read(buffer, offset, length).await,
        };
        let mut done = 0;
        while done < length {
            let completion = file
                .start_read(buffer, offset + done as u64, done, length - done)
                .await;
            let (count, resources) = result_of(completion);
            let Resources::Read {
                buffer: returned, ..
            } = resources
            else {
                unreachable!("a read gives back its buffer")
            };
            buffer = returned;
            if file.count_read(count, &mut done)? {
                break;
            }
        }
        buffer.set_len(done);
        Ok(buffer)
    }

    /// Reads what lies at the offset into two buffers, one after the other, so many bytes into each, as [`File::read`] does.
    ///
    /// # Errors
    /// What the device says. The buffers are then back in their arena.
    ///
    /// # Panics
    /// When a buffer is too small.
    pub async fn read_scattered(
        &self,
        parts: [(Buffer, usize); 2],
        offset: u64,
    ) -> io::Result<[Buffer; 2]> {
        let lengths = parts.each_ref().map(|(_, length)| *length);
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => {
                let [(first, _), (second, _)] = parts;
                let behind = offset + lengths[0] as u64;
                let first = file.read(first, offset, lengths[0]);
                let second = file.read(second, behind, lengths[1]);
                let (first, second) = futures_util::future::join(first, second).await;
                return Ok([first?, second?]);
            }
        };
        let mut buffers = parts.map(|(buffer, _)| buffer);
        let mut done = 0;
        while done < lengths[0] + lengths[1] {
            let reading = file.start_scattered_read(buffers, lengths, offset, done);
            let (count, resources) = result_of(reading.await);
            let Resources::ScatteredRead {
                buffers: returned, ..
            } = resources
            else {
                unreachable!("a read gives back its buffers")
            };
            buffers = returned;
            if file.count_read(count, &mut done)? {
                break;
            }
        }
        buffers[0].set_len(done.min(lengths[0]));
        buffers[1].set_len(done.saturating_sub(lengths[0]));
        Ok(buffers)
    }

    /// Writes the views one after the other at the offset.
    ///
    /// # Errors
    /// What the device says; what reached the file is then unknown.
    pub async fn write(&self, views: Vec<BufferView>, offset: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.write_all(views, offset).await,
            Inner::Simulated(file) => file.write(views, offset).await,
        }
    }

    /// Writes like [`File::write`], and returns when the bytes are on stable storage.
    ///
    /// # Errors
    /// What the device says; what reached the file or stable storage is then unknown.
    pub async fn write_durable(&self, views: Vec<BufferView>, offset: u64) -> io::Result<()> {
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => {
                file.write(views, offset).await?;
                return file.sync().await;
            }
        };
        file.write_then_flush(views, offset).await
    }

    /// Returns when everything written before is on stable storage (fdatasync).
    ///
    /// # Errors
    /// What the device says. A failed flush must not be tried again: what it covered is unknown.
    pub async fn sync(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => {
                let completion = file.start_flush().await;
                result_of(completion).0.map(|_| ())
            }
            Inner::Simulated(file) => file.sync().await,
        }
    }

    /// Length of the file or device in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub async fn length(&self) -> io::Result<u64> {
        match &self.inner {
            Inner::Real(file) => file.seek(0, libc::SEEK_END).await,
            Inner::Simulated(file) => Ok(file.length()),
        }
    }

    /// Where the space of the file ends that lies at an offset: the first byte from there on for which the file system has
    /// nothing allocated that was written (lseek(2), SEEK_HOLE). `None` where the system does not say, as in simulation.
    pub async fn hole_after(&self, offset: u64) -> Option<u64> {
        let Inner::Real(file) = &self.inner else {
            return None;
        };
        file.seek(offset, libc::SEEK_HOLE).await.ok()
    }

    /// Makes the file as long as said. Growth reads as zeroes.
    ///
    /// # Errors
    /// What the system says; a device cannot change its length.
    pub async fn set_length(&self, length: u64) -> io::Result<()> {
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => return file.set_length(length).await,
        };
        let copy = duplicate(file.descriptor.raw())?;
        offload(move || std::fs::File::from(copy).set_len(length)).await
    }

    /// Tells a block device that nobody needs what lies there: it then reads as before or as zeroes. In the process one range is
    /// discarded at a time; `false` while another one is.
    ///
    /// # Errors
    /// What the device says; `Unsupported` where it discards nothing.
    pub async fn try_discard(&self, offset: u64, length: u64) -> io::Result<bool> {
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => return file.discard(offset, length).await.map(|()| true),
        };
        let Some(turn) = DiscardTurn::take() else {
            return Ok(false);
        };
        let copy = duplicate(file.descriptor.raw())?;
        offload(move || turn.discard(&copy, offset, length)).await?;
        Ok(true)
    }

    /// Reserves space for the first `length` bytes and makes the file at least that long, so that later writes neither
    /// run out of space nor change metadata.
    ///
    /// # Errors
    /// What the system says; `Unsupported` where the file system cannot.
    pub async fn reserve(&self, length: u64) -> io::Result<()> {
        let file = match &self.inner {
            Inner::Real(file) => file,
            Inner::Simulated(file) => return file.set_length(length.max(file.length())).await,
        };
        let copy = duplicate(file.descriptor.raw())?;
        let length = i64::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        offload(move || {
            // SAFETY: a call with numbers on a descriptor that `copy` owns.
            let result = unsafe { libc::fallocate(copy.as_raw_fd(), 0, 0, length) };
            if result == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        })
        .await
    }
}

impl RealFile {
    /// Seeks on a helper thread: a file system takes locks for it that a write may hold, and may read from the disk.
    async fn seek(&self, offset: u64, whence: libc::c_int) -> io::Result<u64> {
        let copy = duplicate(self.descriptor.raw())?;
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        offload(move || {
            // SAFETY: a call with numbers on a descriptor that `copy` owns; reads and writes here always name their offset.
            let found = unsafe { libc::lseek(copy.as_raw_fd(), offset, whence) };
            u64::try_from(found).map_err(|_| io::Error::last_os_error())
        })
        .await
    }

    /// Counts what a read has brought; whether nothing more is to come.
    fn count_read(&self, count: io::Result<usize>, done: &mut usize) -> io::Result<bool> {
        match count {
            Ok(0) => Ok(true),
            Ok(count) => {
                *done += count;
                // Only the end of the file cuts a read inside a block.
                Ok(!done.is_multiple_of(self.alignment))
            }
            Err(error) if is_retryable(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads into two buffers, of which the first `done` bytes are read already.
    fn start_scattered_read(
        &self,
        buffers: [Buffer; 2],
        lengths: [usize; 2],
        offset: u64,
        done: usize,
    ) -> Operation {
        let mut skip = done;
        let mut vectors = Vec::with_capacity(buffers.len());
        for (buffer, length) in buffers.iter().zip(lengths) {
            assert!(length <= buffer.capacity(), "a read beyond its buffer");
            let skipped = skip.min(length);
            skip -= skipped;
            if skipped < length {
                vectors.push(libc::iovec {
                    // SAFETY: the place lies inside the buffer.
                    iov_base: unsafe { buffer.start().add(skipped) }.cast(),
                    iov_len: length - skipped,
                });
            }
        }
        let vectors = vectors.into_boxed_slice();
        with_current(|reactor| {
            let mut driver = reactor.driver().borrow_mut();
            let (fd, flags) = self.descriptor.target(&driver);
            let count = vectors.len() as u32;
            let entry = opcode::Readv::new(fd, vectors.as_ptr(), count)
                .offset(offset + done as u64)
                .build();
            let resources = Resources::ScatteredRead {
                buffers,
                _vectors: vectors,
                _under_way: ReadUnderWay::begin(&self.descriptor, lengths[0] + lengths[1] - done),
            };
            driver.start(entry.flags(flags), Sort::Disk, resources)
        })
    }

    /// Reads into the buffer from its byte `position` on.
    fn start_read(&self, buffer: Buffer, offset: u64, position: usize, length: usize) -> Operation {
        with_current(|reactor| {
            let mut driver = reactor.driver().borrow_mut();
            assert!(
                position + length <= buffer.capacity(),
                "a read beyond its buffer"
            );
            // SAFETY: the position lies inside the buffer.
            let start = unsafe { buffer.start().add(position) };
            let (fd, flags) = self.descriptor.target(&driver);
            let under_way = ReadUnderWay::begin(&self.descriptor, length);
            let length = length as u32;
            let entry = if driver.registered() && buffer.belongs_to(driver.arena()) {
                let index = driver.registered_index(start);
                opcode::ReadFixed::new(fd, start, length, index)
                    .offset(offset)
                    .build()
            } else {
                opcode::Read::new(fd, start, length).offset(offset).build()
            };
            let resources = Resources::Read {
                buffer,
                _under_way: under_way,
            };
            driver.start(entry.flags(flags), Sort::Disk, resources)
        })
    }

    /// The entry of a gathered write of at most `VECTORS_MAX` views, and what it must own.
    fn write_entry(
        &self,
        driver: &Driver,
        views: &[BufferView],
        offset: u64,
    ) -> (Entry, Resources) {
        let (fd, flags) = self.descriptor.target(driver);
        let vectors: Box<[libc::iovec]> = views
            .iter()
            .map(|view| libc::iovec {
                iov_base: view.as_ptr().cast_mut().cast(),
                iov_len: view.len(),
            })
            .collect();
        let entry = match views {
            [view] if driver.registered() && view.belongs_to(driver.arena()) => {
                let index = driver.registered_index(view.as_ptr());
                opcode::WriteFixed::new(fd, view.as_ptr(), view.len() as u32, index)
                    .offset(offset)
                    .build()
            }
            _ => opcode::Writev::new(fd, vectors.as_ptr(), vectors.len() as u32)
                .offset(offset)
                .build(),
        };
        let resources = Resources::Write {
            _views: views.to_vec(),
            _vectors: vectors,
            _file: self.descriptor.clone(),
        };
        (entry.flags(flags), resources)
    }

    async fn write_all(&self, views: Vec<BufferView>, offset: u64) -> io::Result<()> {
        let mut rest = Remaining::new(views, offset);
        while !rest.is_empty() {
            let operation = with_current(|reactor| {
                let mut driver = reactor.driver().borrow_mut();
                let (entry, resources) = self.write_entry(&driver, rest.next_views(), rest.offset);
                driver.start(entry, Sort::Disk, resources)
            });
            rest.advance(operation.await)?;
        }
        Ok(())
    }

    /// Writes with a flush linked behind the last write. A write that flushes itself (`RWF_DSYNC`) would be one operation
    /// less, but its completion waits for a kernel work queue on this core: on a busy machine it was 3 to 10 times
    /// slower.
    async fn write_then_flush(&self, views: Vec<BufferView>, offset: u64) -> io::Result<()> {
        let mut rest = Remaining::new(views, offset);
        loop {
            if rest.is_empty() {
                return result_of(self.start_flush().await).0.map(|_| ());
            }
            if !rest.is_last() {
                let operation = with_current(|reactor| {
                    let mut driver = reactor.driver().borrow_mut();
                    let (entry, resources) =
                        self.write_entry(&driver, rest.next_views(), rest.offset);
                    driver.start(entry, Sort::Disk, resources)
                });
                rest.advance(operation.await)?;
                continue;
            }
            let (write, flush) = with_current(|reactor| {
                let mut driver = reactor.driver().borrow_mut();
                let views = rest.next_views();
                let length: usize = views.iter().map(|view| view.len()).sum();
                let write = self.write_entry(&driver, views, rest.offset);
                let flush = self.flush_entry(&driver);
                driver.start_write_and_flush(write, length as i32, flush)
            });
            rest.advance(write.await)?;
            let flushed = result_of(flush.await).0;
            if rest.is_empty() {
                return flushed.map(|_| ());
            }
            // The write was short, which has cancelled the flush: go on with the rest.
        }
    }

    fn flush_entry(&self, driver: &Driver) -> (Entry, Resources) {
        let (fd, flags) = self.descriptor.target(driver);
        let flush = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC);
        (
            flush.build().flags(flags),
            Resources::File {
                _file: self.descriptor.clone(),
            },
        )
    }

    fn start_flush(&self) -> Operation {
        with_current(|reactor| {
            let mut driver = reactor.driver().borrow_mut();
            let (entry, resources) = self.flush_entry(&driver);
            driver.start(entry, Sort::Barrier, resources)
        })
    }
}

/// What of a gathered write has not been written.
struct Remaining {
    views: Vec<BufferView>,
    /// The first of `views` that is not fully written.
    first: usize,
    offset: u64,
}

impl Remaining {
    fn new(mut views: Vec<BufferView>, offset: u64) -> Remaining {
        views.retain(|view| !view.is_empty());
        Remaining {
            views,
            first: 0,
            offset,
        }
    }

    fn is_empty(&self) -> bool {
        self.first == self.views.len()
    }

    fn is_last(&self) -> bool {
        self.views.len() - self.first <= VECTORS_MAX
    }

    fn next_views(&self) -> &[BufferView] {
        let rest = &self.views[self.first..];
        &rest[..rest.len().min(VECTORS_MAX)]
    }

    fn advance(&mut self, completion: Completion) -> io::Result<()> {
        let mut written = match result_of(completion).0 {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if is_retryable(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.offset += written as u64;
        while written > 0 {
            let view = &mut self.views[self.first];
            if written < view.len() {
                *view = view.slice(written..);
                return Ok(());
            }
            written -= view.len();
            self.first += 1;
        }
        Ok(())
    }
}

fn result_of(completion: Completion) -> (io::Result<usize>, Resources) {
    let result = usize::try_from(completion.result)
        .map_err(|_| io::Error::from_raw_os_error(-completion.result));
    (result, completion.resources)
}

fn is_retryable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

pub(super) fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a descriptor that the caller owns.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the copy is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn open_blocking(path: &Path, options: OpenOptions) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut flags = libc::O_CLOEXEC;
    flags |= if options.read_only {
        libc::O_RDONLY
    } else {
        libc::O_RDWR
    };
    flags |= if options.create { libc::O_CREAT } else { 0 };
    flags |= if options.direct { libc::O_DIRECT } else { 0 };
    // SAFETY: the path ends with a zero byte and lives through the call.
    let descriptor = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What the kernel wants direct offsets and lengths to be multiples of.
fn direct_alignment(file: &OwnedFd) -> usize {
    let mut status = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: an empty path with AT_EMPTY_PATH names the descriptor; the kernel fills a structure of its size.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            status.as_mut_ptr(),
        )
    };
    // SAFETY: all zeroes is a valid statx, and the kernel may have filled it.
    let status = unsafe { status.assume_init() };
    let known = result == 0 && status.stx_mask & libc::STATX_DIOALIGN != 0;
    match status.stx_dio_offset_align as usize {
        alignment if known && alignment.is_power_of_two() => alignment.max(ALIGNMENT_MIN),
        _ => ALIGNMENT_DEFAULT,
    }
}
