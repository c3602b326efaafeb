//! The framing of a form, `multipart/form-data` (RFC 7578, RFC 2046): fields first, then the file.
//!
//! Invariants: what comes before the file is bounded; the file is handed on as it comes, and no more of it is held than what may be the beginning of its end;
//! nothing of it is good before [`FilePart::end`] has returned without an error. How a form is cut into pieces on its way changes nothing. What comes
//! after the file is passed over, as with AWS; what is not well-formed before that is refused.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, header};
use memchr::memmem::Finder;
use memchr::{memmem, memrchr};

use crate::error::{Code, Fault};

/// The media type of a form.
const MEDIA_TYPE: &str = "multipart/form-data";

/// What may come before the file, in bytes: its fields, with their framing and that of the file (user guide of AWS: 20 KB).
pub const PRELUDE_BYTES_MAX: usize = 20 << 10;

/// The longest boundary, in bytes (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The most that may stand in the line of a delimiter behind it, in bytes.
const PADDING_BYTES_MAX: usize = 64;

const LINE_END: &[u8] = b"\r\n";

/// The name of the field that is the file.
const FILE: &str = "file";

fn malformed(cause: &str) -> Fault {
    Fault::from(Code::MalformedPOSTRequest).because(cause)
}

/// What is answered where too much comes before the file.
pub fn prelude_too_long() -> Fault {
    let fault = Fault::from(Code::MaxPostPreDataLengthExceeded);
    fault.detail("MaxPostPreDataLengthBytes", PRELUDE_BYTES_MAX.to_string())
}

/// Whether the headers of a request announce a form.
pub fn is_announced(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let start = kind.and_then(|kind| kind.as_bytes().get(..MEDIA_TYPE.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
}

/// What stands between two parts: a line end, two hyphens and the boundary. A line end is thought before the first byte of a form.
#[derive(Clone)]
pub struct Delimiter {
    finder: Rc<Finder<'static>>,
}

impl Delimiter {
    /// That of a form with these headers.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` where they name no boundary that may be one.
    pub fn of(headers: &HeaderMap) -> Result<Delimiter, Fault> {
        let text = headers.get(header::CONTENT_TYPE);
        let text = text.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        Delimiter::of_media_type(text.ok_or_else(|| malformed("no media type"))?)
    }

    /// That of a form of this media type.
    ///
    /// # Errors
    /// As [`of`](Delimiter::of).
    pub fn of_media_type(text: &str) -> Result<Delimiter, Fault> {
        let boundary = boundary(text).ok_or_else(|| malformed("no boundary"))?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Ok(Delimiter {
            finder: Rc::new(Finder::new(&delimiter).into_owned()),
        })
    }

    fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// How many bytes at the end of some, which hold no delimiter, may be the beginning of one. It has one carriage return.
    fn begun_at_the_end_of(&self, bytes: &[u8]) -> usize {
        let tail = &bytes[bytes.len().saturating_sub(self.bytes().len() - 1)..];
        let begun = memrchr(b'\r', tail).map(|at| &tail[at..]);
        begun
            .filter(|begun| self.bytes().starts_with(begun))
            .map_or(0, <[u8]>::len)
    }
}

fn boundary(media_type: &str) -> Option<String> {
    let (_, rest) = media_type.split_once(';')?;
    let found = parameters(rest)?;
    let mut found = found.into_iter();
    let (_, boundary) = found.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let is_allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let is_one = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(is_allowed)
        && !boundary.ends_with(' ');
    is_one.then_some(boundary)
}

/// The parameters of a header, after its first semicolon: `name=value; name="value"`. A backslash is one but before a quotation mark: browsers send names of
/// files with them.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(';') {
            Some(next) => next.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

/// The value after an opening quotation mark, and what comes after the closing one.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"')?;
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        match before.strip_suffix('\\') {
            Some(before) => {
                value.push_str(before);
                value.push('"');
            }
            None => {
                value.push_str(before);
                return Some((value, after));
            }
        }
        rest = after;
    }
}

/// A field before the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, as it was sent.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A form up to the first byte of its file.
pub struct Start {
    /// The fields before the file, in their order.
    pub fields: Vec<Field>,
    /// The name that the browser gives the file.
    pub file_name: Option<String>,
    /// What takes the framing off the file.
    pub file: FilePart,
    /// What has come of the file already, framing and all.
    pub rest: Bytes,
}

enum Inside {
    /// What comes before the first delimiter.
    Preamble,
    /// The line of a delimiter and the head of the part after it.
    Head,
    /// The value of the field of this name.
    Value(String),
}

/// Reads a form up to its file.
pub struct Prelude {
    delimiter: Delimiter,
    fields: Vec<Field>,
    /// All that has come, after a line end.
    held: BytesMut,
    inside: Inside,
    /// Where that begins.
    at: usize,
}

impl Prelude {
    /// Of a form of which nothing has come.
    pub fn new(delimiter: Delimiter) -> Prelude {
        Prelude {
            delimiter,
            fields: Vec::new(),
            held: BytesMut::from(LINE_END),
            inside: Inside::Preamble,
            at: 0,
        }
    }

    /// Takes the next bytes; `None` where the file has not begun with them.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`; `MaxPostPreDataLengthExceeded`; `InvalidArgument` for a form without a file.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<Start>, Fault> {
        self.held.extend_from_slice(piece);
        let file = self.advance()?;
        let bytes = match file {
            Some(_) => self.at,
            None => self.held.len(),
        };
        if bytes > PRELUDE_BYTES_MAX + LINE_END.len() {
            return Err(prelude_too_long());
        }
        Ok(file.map(|head| Start {
            fields: std::mem::take(&mut self.fields),
            file_name: head.file_name,
            file: FilePart::new(self.delimiter.clone()),
            rest: self.held.split_off(self.at).freeze(),
        }))
    }

    /// What is answered where a form ends here.
    pub fn ended(&self) -> Fault {
        malformed("the form ends before its file")
    }

    /// Goes on as far as what has come allows; the head of the file where it begins.
    fn advance(&mut self) -> Result<Option<PartHead>, Fault> {
        loop {
            let rest = &self.held[self.at..];
            match &mut self.inside {
                Inside::Preamble | Inside::Value(_) => {
                    let Some(end) = self.delimiter.finder.find(rest) else {
                        return Ok(None);
                    };
                    if let Inside::Value(name) = &mut self.inside {
                        let value = std::str::from_utf8(&rest[..end]);
                        let value = value.map_err(|_| malformed("a field is not UTF-8"))?;
                        self.fields.push(Field {
                            name: std::mem::take(name),
                            value: value.to_owned(),
                        });
                    }
                    self.at += end + self.delimiter.bytes().len();
                    self.inside = Inside::Head;
                }
                Inside::Head => {
                    let Some((head, length)) = head(rest)? else {
                        return Ok(None);
                    };
                    let part = PartHead::read(head)?;
                    self.at += length;
                    if part.name.eq_ignore_ascii_case(FILE) {
                        return Ok(Some(part));
                    }
                    self.inside = Inside::Value(part.name);
                }
            }
        }
    }
}

/// The head of a part after a delimiter, and how many bytes there are up to its value.
fn head(rest: &[u8]) -> Result<Option<(&[u8], usize)>, Fault> {
    if rest.starts_with(b"--") {
        let message = "POST requires exactly one file upload per request.";
        return Err(Fault::argument(FILE, "0", message));
    }
    let Some(line_end) = memmem::find(rest, LINE_END) else {
        return match is_padding(rest) || b"--".starts_with(rest) {
            true => Ok(None),
            false => Err(malformed("text behind a delimiter")),
        };
    };
    if !is_padding(&rest[..line_end]) {
        return Err(malformed("text behind a delimiter"));
    }
    let Some(length) = memmem::find(&rest[line_end..], b"\r\n\r\n") else {
        return Ok(None);
    };
    let end = line_end + length;
    let head = rest.get(line_end + LINE_END.len()..end);
    let head = head.ok_or_else(|| malformed("a part without a head"))?;
    Ok(Some((head, end + 2 * LINE_END.len())))
}

/// What may stand in the line of a delimiter, up to the line end or up to its first byte.
fn is_padding(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.len() <= PADDING_BYTES_MAX && bytes.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// What the head of a part says.
struct PartHead {
    name: String,
    file_name: Option<String>,
}

impl PartHead {
    fn read(head: &[u8]) -> Result<PartHead, Fault> {
        let text = std::str::from_utf8(head).map_err(|_| malformed("a head is not UTF-8"))?;
        let mut disposition = None;
        for line in text.split("\r\n") {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("a line of a head is no header"))?;
            if name.eq_ignore_ascii_case("content-disposition")
                && disposition.replace(value).is_some()
            {
                return Err(malformed("a part with two dispositions"));
            }
        }
        let disposition = disposition.ok_or_else(|| malformed("a part without a disposition"))?;
        let (kind, rest) = disposition.split_once(';').unwrap_or((disposition, ""));
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return Err(malformed("a part that is no form-data"));
        }
        let found = parameters(rest).ok_or_else(|| malformed("a malformed disposition"))?;
        let value = |wanted: &str| {
            let mut found = found.iter();
            let found = found.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        Ok(PartHead {
            name: value("name").ok_or_else(|| malformed("a part without a name"))?,
            file_name: value("filename"),
        })
    }
}

enum FileState {
    Content,
    /// After the delimiter that ends the file: what has come of the rest of its line.
    Delimiter(Vec<u8>),
    /// After the line of that delimiter.
    Over,
}

/// Takes the framing off the file of a form.
pub struct FilePart {
    delimiter: Delimiter,
    /// What has come and may be the beginning of the delimiter.
    held: Bytes,
    state: FileState,
}

impl FilePart {
    fn new(delimiter: Delimiter) -> FilePart {
        FilePart {
            delimiter,
            held: Bytes::new(),
            state: FileState::Content,
        }
    }

    /// Takes bytes off the front of `wire` until there is content to hand on; `None` where there is none in it.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`.
    pub fn next(&mut self, wire: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        while !wire.is_empty() {
            match &mut self.state {
                FileState::Content => {
                    let content = self.take_content(wire);
                    if !content.is_empty() {
                        return Ok(Some(content));
                    }
                }
                FileState::Delimiter(line) => {
                    line.push(wire.get_u8());
                    if &**line == b"--" || line.ends_with(LINE_END) {
                        self.state = FileState::Over;
                    } else if !is_padding(line) && &**line != b"-" {
                        return Err(malformed("text behind a delimiter"));
                    }
                }
                FileState::Over => wire.clear(),
            }
        }
        Ok(None)
    }

    /// The content at the front of `wire`, after what was held.
    fn take_content(&mut self, wire: &mut Bytes) -> Bytes {
        let mut bytes = std::mem::take(wire);
        if !self.held.is_empty() {
            bytes = [&*self.held, &bytes].concat().into();
            self.held = Bytes::new();
        }
        match self.delimiter.finder.find(&bytes) {
            Some(end) => {
                *wire = bytes.split_off(end);
                wire.advance(self.delimiter.bytes().len());
                self.state = FileState::Delimiter(Vec::new());
            }
            None => {
                let end = bytes.len() - self.delimiter.begun_at_the_end_of(&bytes);
                // A copy, so that a client that says no more keeps no buffer.
                self.held = Bytes::copy_from_slice(&bytes[end..]);
                bytes.truncate(end);
            }
        }
        bytes
    }

    /// Ends the form.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` where the file has not ended.
    pub fn end(&self) -> Result<(), Fault> {
        match self.state {
            FileState::Over => Ok(()),
            _ => Err(malformed("the form ends within its file")),
        }
    }
}

#[cfg(test)]
mod tests;
