//! One HTTP request on one connection, byte by byte as the test wants it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers as sent, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// Path and query, already escaped.
    pub target: String,
    /// Headers in order; `host`, `content-length` and `connection` are added where missing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Without headers or body.
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_string(), target.to_string());
        Self {
            method,
            target,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With one header more.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether there is a header of this name.
    pub fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The head as it is sent.
    pub fn head(&self, server: SocketAddr) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut defaults = vec![
            ("host", server.to_string()),
            ("connection", "close".to_string()),
        ];
        if !self.has("transfer-encoding") {
            defaults.push(("content-length", self.body.len().to_string()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in defaults.iter().filter(|(name, _)| !self.has(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    /// Sends it and reads the answer to its end.
    pub fn send(&self, server: SocketAddr) -> std::io::Result<Response> {
        self.send_with_pause(server, self.body.len(), || ())
    }

    /// Sends the head and `before` bytes of the body, then the rest when `pause` has returned.
    pub fn send_with_pause(
        &self,
        server: SocketAddr,
        before: usize,
        pause: impl FnOnce(),
    ) -> std::io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.exchange(&mut stream, server, before, pause)
    }

    /// Sends it over a connection, such as one with TLS, and reads the answer to its end.
    pub fn send_over(
        &self,
        stream: &mut (impl Read + Write),
        server: SocketAddr,
    ) -> std::io::Result<Response> {
        self.exchange(stream, server, self.body.len(), || ())
    }

    fn exchange(
        &self,
        stream: &mut (impl Read + Write),
        server: SocketAddr,
        before: usize,
        pause: impl FnOnce(),
    ) -> std::io::Result<Response> {
        stream.write_all(self.head(server).as_bytes())?;
        let (first, second) = self.body.split_at(before);
        // A server that refuses by the head may close before it has read the body; its answer counts.
        let sent = stream.write_all(first);
        pause();
        let sent = sent.and_then(|()| stream.write_all(second));
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes)
            && bytes.is_empty()
        {
            return Err(sent.err().unwrap_or(error));
        }
        parse(&bytes, self.method == "HEAD")
    }
}

fn parse(bytes: &[u8], headless: bool) -> std::io::Result<Response> {
    let bad =
        |what: &str| std::io::Error::other(format!("{what}: {:?}", String::from_utf8_lossy(bytes)));
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| bad("no end of head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status: u16 = status.ok_or_else(|| bad("no status"))?;
    if status == 100 {
        return parse(&bytes[end + 4..], headless);
    }
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.contains("chunked"))
    {
        response.body = join_chunks(&response.body).ok_or_else(|| bad("broken chunks"))?;
    } else if let Some(length) = response.header("content-length") {
        let is_whole = length.parse() == Ok(response.body.len());
        if !headless && !is_whole {
            return Err(bad("body cut short"));
        }
    }
    Ok(response)
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end])
            .ok()?
            .split(';')
            .next()?
            .trim()
            .to_string();
        let size = usize::from_str_radix(&size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
