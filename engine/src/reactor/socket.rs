//! TCP by readiness: one multishot poll per socket tells when to call, plain non-blocking calls move the bytes.
//!
//! Invariants: unread bytes stay in the kernel, so a dropped read loses none; a socket costs no buffer of ours. A
//! side is marked not ready only by a call that found it so, and every later event marks it ready again. A read that
//! was not filled has drained the socket, unless the peer has hung up. A listener hands connections out in the order
//! they came. A call in a turn that has lasted too long waits for the next turn, so that a fast peer cannot hold the
//! core.
//!
//! Connections are spread over the cores by one listener per reactor on a shared port ([`ListenOptions::reuse_port`]):
//! the kernel hashes them over the listeners.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{opcode, types};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawHandle, Type};

use super::executor::{Arm, try_with_current, with_current};
use super::file::Descriptor;
use super::operation::{Key, Resources, Sort, Watcher};
use super::timer::sleep;

const READABLE: i32 = (libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
const WRITABLE: i32 = (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) as i32;
const HUNG_UP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
const WATCHED: i32 = (libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP) as i32;

const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);

/// How a listener is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Several listeners may share the address; the kernel spreads connections over them.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
}

fn network_is_real() -> io::Result<()> {
    with_current(|reactor| match &reactor.arm {
        Arm::Real { .. } => Ok(()),
        Arm::Simulated(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the simulated world has no network",
        )),
    })
}

/// Accepts TCP connections.
pub struct TcpListener {
    accepting: Rc<Accepting>,
}

struct Accepting {
    descriptor: Rc<Descriptor>,
    arrived: RefCell<VecDeque<io::Result<OwnedFd>>>,
    acceptor: RefCell<Option<Waker>>,
    /// The multishot accept, while the kernel has it.
    key: Cell<Option<Key>>,
    reactor: u64,
}

impl Watcher for Accepting {
    fn event(&self, result: i32, woken: &mut Vec<Waker>) {
        let connection = if result >= 0 {
            // SAFETY: the kernel has made this descriptor for us; nobody else knows it.
            Ok(unsafe { OwnedFd::from_raw_fd(result) })
        } else {
            Err(io::Error::from_raw_os_error(-result))
        };
        self.arrived.borrow_mut().push_back(connection);
        woken.extend(self.acceptor.borrow_mut().take());
    }

    fn ended(self: Rc<Self>) {
        // The next call of `accept` starts it again; an error that lasts must not make a loop here.
        self.key.set(None);
    }
}

impl TcpListener {
    /// Listens on the address.
    ///
    /// # Errors
    /// What the system says, with the address; `Unsupported` in the simulated world.
    pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
        network_is_real()?;
        let listen = || {
            let socket = RawHandle::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(options.reuse_port)?;
            // Accepted sockets inherit it.
            socket.set_tcp_nodelay(true)?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = listen()
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        let accepting = Accepting {
            descriptor: Descriptor::new(socket.into()),
            arrived: RefCell::default(),
            acceptor: RefCell::default(),
            key: Cell::new(None),
            reactor: with_current(|reactor| reactor.id),
        };
        Ok(TcpListener {
            accepting: Rc::new(accepting),
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self
            .accepting
            .descriptor
            .borrow_as_socket(|socket| socket.local_addr())?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The next connection and its peer. Dropping the future loses no connection.
    ///
    /// # Errors
    /// What the system says, for instance that the process has no descriptors left. Calling again is right.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let connection = match poll_fn(|context| self.poll_arrival(context)).await {
                Ok(connection) => connection,
                Err(error) => {
                    // Mostly a lack of descriptors or memory: it lasts, and the caller will be back at once.
                    sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
                    return Err(error);
                }
            };
            let peer = SockRef::from(&connection)
                .peer_addr()
                .map(|peer| peer.as_socket());
            // A peer that is gone already is nobody's error.
            if let Ok(Some(peer)) = peer {
                return Ok((TcpStream::watched(Descriptor::new(connection)), peer));
            }
        }
    }

    fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let accepting = &self.accepting;
        if let Some(connection) = accepting.arrived.borrow_mut().pop_front() {
            return Poll::Ready(connection);
        }
        *accepting.acceptor.borrow_mut() = Some(context.waker().clone());
        if accepting.key.get().is_none() {
            let accept = opcode::AcceptMulti::new(types::Fd(accepting.descriptor.raw()))
                .flags(libc::SOCK_CLOEXEC);
            let watcher = accepting.clone();
            let key = with_current(|reactor| {
                reactor.driver().borrow_mut().watch(accept.build(), watcher)
            });
            accepting.key.set(Some(key));
        }
        Poll::Pending
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        cancel(&self.accepting.key, self.accepting.reactor);
    }
}

/// Ends what a reactor watches. When the reactor has ended, that has, too.
fn cancel(key: &Cell<Option<Key>>, owner: u64) {
    if let Some(key) = key.take() {
        try_with_current(|reactor| {
            if reactor.id == owner {
                reactor.driver().borrow_mut().cancel(key);
            }
        });
    }
}

/// A TCP connection. It stays on its reactor.
pub struct TcpStream {
    socket: Rc<Socket>,
}

struct Socket {
    descriptor: Rc<Descriptor>,
    readable: Cell<bool>,
    writable: Cell<bool>,
    hung_up: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// The multishot poll, while the kernel has it.
    key: Cell<Option<Key>>,
    reactor: u64,
    dropped: Cell<bool>,
}

impl Watcher for Socket {
    fn event(&self, result: i32, woken: &mut Vec<Waker>) {
        // An error of the poll itself makes both sides call and learn what is wrong.
        let events = if result < 0 {
            READABLE | WRITABLE
        } else {
            result
        };
        if events & HUNG_UP != 0 {
            self.hung_up.set(true);
        }
        if events & READABLE != 0 {
            self.readable.set(true);
            woken.extend(self.reader.borrow_mut().take());
        }
        if events & WRITABLE != 0 {
            self.writable.set(true);
            woken.extend(self.writer.borrow_mut().take());
        }
    }

    fn ended(self: Rc<Self>) {
        self.key.set(None);
        if !self.dropped.get() {
            self.watch();
        }
    }
}

impl Socket {
    fn watch(self: Rc<Self>) {
        let poll =
            opcode::PollAdd::new(types::Fd(self.descriptor.raw()), WATCHED as u32).multi(true);
        let watcher = self.clone();
        let key =
            try_with_current(|reactor| reactor.driver().borrow_mut().watch(poll.build(), watcher));
        self.key.set(key);
    }

    /// Calls `receive` when there may be bytes. It gets the descriptor and returns what recv does.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        wanted: usize,
        mut receive: impl FnMut(i32) -> isize,
    ) -> Poll<io::Result<usize>> {
        if turn_is_over(context) {
            return Poll::Pending;
        }
        loop {
            if !self.readable.get() {
                store(&self.reader, context.waker());
                return Poll::Pending;
            }
            match usize::try_from(receive(self.descriptor.raw())) {
                Ok(count) => {
                    if count < wanted && !self.hung_up.get() {
                        self.readable.set(false);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => self.readable.set(false),
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let slices = &slices[..slices.len().min(libc::UIO_MAXIOV as usize)];
        let mut message = MaybeUninit::<libc::msghdr>::zeroed();
        // SAFETY: all zeroes is a valid msghdr. IoSlice has the layout of iovec; sendmsg only reads through it.
        let message = unsafe {
            let header = message.assume_init_mut();
            header.msg_iov = slices.as_ptr().cast_mut().cast();
            header.msg_iovlen = slices.len() as _;
            message.assume_init()
        };
        if turn_is_over(context) {
            return Poll::Pending;
        }
        loop {
            if !self.writable.get() {
                store(&self.writer, context.waker());
                return Poll::Pending;
            }
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the header names the slices, which live through the call.
            let sent = unsafe { libc::sendmsg(self.descriptor.raw(), &message, flags) };
            if let Ok(count) = usize::try_from(sent) {
                return Poll::Ready(Ok(count));
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => self.writable.set(false),
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Whether the task has had its time; it is then woken for another turn.
fn turn_is_over(context: &Context<'_>) -> bool {
    let over = with_current(|reactor| reactor.turn_is_over());
    if over {
        context.waker().wake_by_ref();
    }
    over
}

fn store(place: &RefCell<Option<Waker>>, waker: &Waker) {
    match &mut *place.borrow_mut() {
        Some(stored) => stored.clone_from(waker),
        empty => *empty = Some(waker.clone()),
    }
}

impl TcpStream {
    fn watched(descriptor: Rc<Descriptor>) -> TcpStream {
        let socket = Rc::new(Socket {
            descriptor,
            // The first event says whether there is something to read; that there is room to write is a good guess.
            readable: Cell::new(false),
            writable: Cell::new(true),
            hung_up: Cell::new(false),
            reader: RefCell::default(),
            writer: RefCell::default(),
            key: Cell::new(None),
            reactor: with_current(|reactor| reactor.id),
            dropped: Cell::new(false),
        });
        socket.clone().watch();
        TcpStream { socket }
    }

    /// Connects to the address.
    ///
    /// # Errors
    /// What the system says, with the address; `Unsupported` in the simulated world.
    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        network_is_real()?;
        let with_address =
            |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        let socket = RawHandle::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )
        .map_err(with_address)?;
        socket.set_tcp_nodelay(true).map_err(with_address)?;
        let peer = Box::new(SockAddr::from(address));
        let descriptor = Descriptor::new(socket.into());
        let connect = opcode::Connect::new(
            types::Fd(descriptor.raw()),
            peer.as_ptr().cast(),
            peer.len(),
        );
        let resources = Resources::Address {
            _address: peer,
            _socket: descriptor.clone(),
        };
        let operation = with_current(|reactor| {
            reactor
                .driver()
                .borrow_mut()
                .start(connect.build(), Sort::Other, resources)
        });
        let result = operation.await.result;
        if result < 0 {
            return Err(with_address(io::Error::from_raw_os_error(-result)));
        }
        Ok(TcpStream::watched(descriptor))
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self
            .socket
            .descriptor
            .borrow_as_socket(|socket| socket.peer_addr())?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The address of this side.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self
            .socket
            .descriptor
            .borrow_as_socket(|socket| socket.local_addr())?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads what is there, at least one byte unless the peer has ended its side (then 0). Dropping the future loses no
    /// bytes.
    ///
    /// # Errors
    /// What the system says.
    pub async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| {
            // SAFETY: the cast only forgets that the bytes are initialised; recv writes valid bytes.
            let uninit = unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) };
            self.poll_read_uninit(context, uninit)
        })
        .await
    }

    /// Reads into memory that need not be initialised; so many bytes from its start then are.
    pub(super) fn poll_read_uninit(
        &self,
        context: &mut Context<'_>,
        bytes: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let (start, length) = (bytes.as_mut_ptr(), bytes.len());
        self.socket.poll_receive(context, length, |descriptor| {
            // SAFETY: the pointer and length describe a writable slice.
            unsafe { libc::recv(descriptor, start.cast(), length, libc::MSG_DONTWAIT) }
        })
    }

    /// Writes what fits of the slices; how many bytes that was.
    ///
    /// # Errors
    /// What the system says.
    pub async fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|context| self.poll_write_slices(context, slices)).await
    }

    /// Writes all of the bytes.
    ///
    /// # Errors
    /// What the system says; how much was written is then unknown.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write_vectored(&[IoSlice::new(bytes)]).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
        }
        Ok(())
    }

    pub(super) fn poll_write_slices(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_send(context, slices)
    }

    /// Ends this side of the connection: the peer reads to its end.
    ///
    /// # Errors
    /// What the system says; a connection that is gone already is none.
    pub fn shutdown_write(&self) -> io::Result<()> {
        let result = self
            .socket
            .descriptor
            .borrow_as_socket(|socket| socket.shutdown(std::net::Shutdown::Write));
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.socket.dropped.set(true);
        cancel(&self.socket.key, self.socket.reactor);
    }
}

impl Descriptor {
    fn borrow_as_socket<R>(&self, act: impl FnOnce(&SockRef<'_>) -> R) -> R {
        // SAFETY: the descriptor is open as long as `self` lives.
        let borrowed = unsafe { BorrowedFd::borrow_raw(self.raw()) };
        debug_assert!(borrowed.as_raw_fd() >= 0);
        act(&SockRef::from(&borrowed))
    }
}
