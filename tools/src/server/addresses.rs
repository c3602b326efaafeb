//! The addresses that a server listens on, claimed before anything else is started.
//!
//! Every reactor listens on the S3 port with `SO_REUSEPORT`, and with it a second server of the same user could listen there
//! as well without an error. So the port is first bound without it, which fails when anybody has it.
//!
//! Invariant: from [`claim`] to the drop of its answer nobody else can take the port, and the port of an address with port 0
//! does not change.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a taken port is tried again, and how often: of a server that was killed, the kernel closes the listening
/// sockets some milliseconds after the process is gone, when it has taken its rings down.
const TAKEN_WAIT: Duration = Duration::from_secs(2);
const TAKEN_PAUSE: Duration = Duration::from_millis(5);

/// A port that is ours. The socket is bound and does not listen.
#[derive(Debug)]
pub struct Claim {
    /// The address with the port that was bound.
    pub address: SocketAddr,
    _socket: Socket,
}

/// Claims an address. `what` names it in errors, `key` is its configuration key.
///
/// # Errors
/// The port is taken, may not be taken by this user, or the address is not one of this machine.
pub fn claim(what: &str, key: &str, address: SocketAddr) -> Result<Claim, String> {
    let failed = |error: io::Error| explain(what, key, address, &error);
    let probe = probe(address).map_err(failed)?;
    let bound = probe.local_addr().map_err(failed)?;
    let bound = bound.as_socket().unwrap_or(address);
    drop(probe);
    let socket = bind(bound, true).map_err(failed)?;
    // A bound socket that does not listen keeps others from listening only without this option.
    socket.set_reuse_address(false).map_err(failed)?;
    Ok(Claim {
        address: bound,
        _socket: socket,
    })
}

/// Listens where nobody else does.
fn probe(address: SocketAddr) -> io::Result<Socket> {
    let begun = Instant::now();
    loop {
        let listening = bind(address, false).and_then(|socket| socket.listen(1).map(|()| socket));
        match listening {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < TAKEN_WAIT =>
            {
                std::thread::sleep(TAKEN_PAUSE);
            }
            done => return done,
        }
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(what: &str, key: &str, address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens on port {0}; find it with `ss -ltnp 'sport = :{0}'`, or choose another port with `{key}` \
             (0 lets the system choose)",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{} is not an address of this machine; set `{key}`",
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one".to_owned()
        }
        _ => error.to_string(),
    };
    format!("cannot listen on {address} for {what}: {remedy}")
}

/// The address as a client on this machine would write it.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, v6.port()).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn a_claimed_port_cannot_be_claimed_again() {
        let first = claim("S3", "s3.bind_addr", any_port()).expect("a free port");
        assert_ne!(first.address.port(), 0);
        let again = claim("S3", "s3.bind_addr", first.address).expect_err("it is taken");
        assert!(
            again.contains("s3.bind_addr") && again.contains("another program"),
            "{again}"
        );
        let address = first.address;
        drop(first);
        assert!(claim("S3", "s3.bind_addr", address).is_ok());
    }

    #[test]
    fn a_claimed_port_can_be_listened_on_by_its_owner() {
        let claimed = claim("S3", "s3.bind_addr", any_port()).expect("a free port");
        let listener = bind(claimed.address, true).expect("shared");
        listener.listen(1).expect("listening");
        assert!(std::net::TcpStream::connect(claimed.address).is_ok());
    }

    #[test]
    fn a_listener_that_shares_its_port_is_noticed() {
        let other = bind(any_port(), true).expect("a free port");
        other.listen(1).expect("listening");
        let address = other
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("internet");
        assert!(claim("S3", "s3.bind_addr", address).is_err());
    }

    #[test]
    fn a_port_that_a_dying_server_lets_go_is_waited_for() {
        let other = bind(any_port(), true).expect("a free port");
        other.listen(1).expect("listening");
        let address = other.local_addr().expect("bound");
        let address = address.as_socket().expect("internet");
        let dying = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(other);
        });
        assert!(claim("S3", "s3.bind_addr", address).is_ok());
        dying.join().expect("it has let go");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let why = claim("S3", "s3.bind_addr", ([192, 0, 2, 1], 0).into()).expect_err("not ours");
        assert!(
            why.contains("192.0.2.1 is not an address of this machine"),
            "{why}"
        );
    }
}
