//! TLS from the client's side: identities for servers, and connections that trust one of them and nobody else.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for a byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate and its private key, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

/// The two files of an identity.
#[derive(Clone, Debug)]
pub struct Files {
    /// `--tls-cert`.
    pub cert: PathBuf,
    /// `--tls-key`.
    pub key: PathBuf,
}

impl Identity {
    /// A new one, for this machine, which holds until a day of this year.
    pub fn until(year: i32) -> Identity {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 6, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = parameters.self_signed(&key).expect("a certificate");
        Identity {
            cert: pem("CERTIFICATE", cert.der()),
            key: pem("PRIVATE KEY", key.serialized_der()),
        }
    }

    /// A new one.
    pub fn fresh() -> Identity {
        Identity::until(2090)
    }

    /// Writes both files into a folder.
    pub fn write(&self, folder: &Path) -> Files {
        let files = Files {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        std::fs::write(&files.cert, &self.cert).expect("written");
        std::fs::write(&files.key, &self.key).expect("written");
        files
    }
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// How a client connects that trusts a certificate (PEM) and speaks these versions, all where there are none.
pub fn client(trusted: &str, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(trusted.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("a root");
    let versions = if versions.is_empty() {
        rustls::ALL_VERSIONS
    } else {
        versions
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

/// Connects and makes the handshake.
pub fn connect(server: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream> {
    let socket = TcpStream::connect_timeout(&server, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::from(server.ip());
    let session = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
