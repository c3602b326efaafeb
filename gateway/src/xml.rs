//! XML: answers are written straight into one buffer, bodies are read element by element.
//!
//! Invariants: what is written is well formed and shows every character of a key, those that XML 1.0
//! cannot carry as references, as AWS does; what is read and not understood is `MalformedXML`, and
//! reading holds no more than one value at a time, however much a body names.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use quick_xml::Reader as Events;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Code, Fault};

/// The namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Writes a document.
pub struct Writer {
    text: String,
    root: Cow<'static, str>,
}

impl Writer {
    /// A document of S3's namespace with this root.
    pub fn new(root: &'static str) -> Writer {
        Writer::in_namespace(root, NAMESPACE)
    }

    /// A document with this root in a namespace.
    pub fn in_namespace(root: impl Into<Cow<'static, str>>, namespace: &str) -> Writer {
        let mut writer = Writer::bare(root, 512);
        writer.text.pop();
        let _ = write!(writer.text, " xmlns=\"{namespace}\">");
        writer
    }

    /// A document without a namespace, as errors are, with room for so many bytes.
    pub fn bare(root: impl Into<Cow<'static, str>>, capacity: usize) -> Writer {
        let mut text = String::with_capacity(capacity);
        text.push_str(DECLARATION);
        let root = root.into();
        let mut writer = Writer {
            text,
            root: Cow::Borrowed(""),
        };
        writer.open(&root);
        writer.root = root;
        writer
    }

    /// What is to be [embedded](Writer::embed) in a document: elements without a root.
    pub fn fragment() -> Writer {
        Writer {
            text: String::new(),
            root: Cow::Borrowed(""),
        }
    }

    /// Writes an element with a fragment inside; nothing where that is empty.
    pub fn embed(&mut self, name: &str, fragment: &Writer) {
        if !fragment.text.is_empty() {
            self.open(name);
            self.text.push_str(&fragment.text);
            self.close(name);
        }
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// Begins an element.
    pub fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    /// Ends an element.
    pub fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element with text.
    pub fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        self.text(text);
        self.close(name);
    }

    /// Text of the element that is open.
    pub fn text(&mut self, text: &str) {
        escape_into(&mut self.text, text);
    }

    /// An element with text, where there is any to write.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.element(name, text);
        }
    }

    /// An element with a value of which nothing needs to be escaped.
    pub fn value(&mut self, name: &str, value: impl fmt::Display) {
        self.open(name);
        let _ = write!(self.text, "{value}");
        self.close(name);
    }

    /// Ends the document.
    pub fn finish(mut self) -> Bytes {
        let root = std::mem::take(&mut self.root);
        self.close(&root);
        Bytes::from(self.text)
    }
}

fn escape_into(out: &mut String, text: &str) {
    let is_plain = |byte: u8| {
        let is_markup = matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'');
        (0x20..0x7f).contains(&byte) && !is_markup
    };
    if text.bytes().all(is_plain) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "&#x{:x};", character as u32);
            }
            other => out.push(other),
        }
    }
}

/// Reads a document from its root down.
pub struct Reader<'a> {
    events: Events<&'a [u8]>,
    /// Elements that are open.
    depth: usize,
}

fn malformed() -> Fault {
    Code::MalformedXML.into()
}

impl<'a> Reader<'a> {
    /// Opens a document, whose root must have this name.
    ///
    /// # Errors
    /// `MalformedXML`, as everywhere here.
    pub fn open(xml: &'a [u8], root: &str) -> Result<Reader<'a>, Fault> {
        let xml = xml.strip_prefix(b"\xef\xbb\xbf").unwrap_or(xml);
        let text = std::str::from_utf8(xml).map_err(|_| malformed())?;
        let mut events = Events::from_str(text);
        events.config_mut().expand_empty_elements = true;
        events.config_mut().check_comments = true;
        let mut reader = Reader { events, depth: 0 };
        match reader.child()? {
            Some(name) if name == root => Ok(reader),
            _ => Err(malformed()),
        }
    }

    /// The name of the next element in the one that is open; `None` where that one ends, which is
    /// left with it. An element that is named here is to be read next, by [`text`](Reader::text) or
    /// by its children.
    ///
    /// # Errors
    /// `MalformedXML`, also for text between elements.
    pub fn child(&mut self) -> Result<Option<String>, Fault> {
        loop {
            match self.next()? {
                Event::Start(start) => {
                    let name = name_of(&start)?;
                    self.depth += 1;
                    return Ok(Some(name));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Event::Comment(_) | Event::Decl(_) => {}
                _ => return Err(malformed()),
            }
        }
    }

    /// The text of the element that was named last, to its end.
    ///
    /// # Errors
    /// `MalformedXML`, also for an element inside.
    pub fn text(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Event::Text(part) => {
                    text.push_str(&part.xml10_content().map_err(|_| malformed())?);
                }
                Event::CData(part) => {
                    text.push_str(&part.xml10_content().map_err(|_| malformed())?);
                }
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|_| malformed())?;
                    match character {
                        Some(character) => text.push(character),
                        None => {
                            let name = reference.decode().map_err(|_| malformed())?;
                            text.push_str(resolve_xml_entity(&name).ok_or_else(malformed)?);
                        }
                    }
                }
                Event::Comment(_) => {}
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(text);
                }
                _ => return Err(malformed()),
            }
        }
    }

    /// The text of the element that was named last, as a value.
    ///
    /// # Errors
    /// `MalformedXML` where it is none.
    pub fn value<V: std::str::FromStr>(&mut self) -> Result<V, Fault> {
        self.text()?.trim().parse().map_err(|_| malformed())
    }

    /// Makes sure that nothing follows the root.
    ///
    /// # Errors
    /// `MalformedXML`.
    pub fn end(&mut self) -> Result<(), Fault> {
        loop {
            match self.events.read_event().map_err(|_| malformed())? {
                Event::Eof if self.depth == 0 => return Ok(()),
                Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Event::Comment(_) => {}
                _ => return Err(malformed()),
            }
        }
    }

    fn next(&mut self) -> Result<Event<'a>, Fault> {
        match self.events.read_event() {
            // The document may not end while an element is open, nor before there is one.
            Ok(Event::Eof) | Err(_) => Err(malformed()),
            Ok(event) => Ok(event),
        }
    }
}

fn name_of(start: &BytesStart<'_>) -> Result<String, Fault> {
    if start.attributes().any(|attribute| attribute.is_err()) {
        return Err(malformed());
    }
    let name = start.local_name();
    let name = std::str::from_utf8(name.as_ref()).map_err(|_| malformed())?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut writer = Writer::bare("A", 0);
        writer.element("B", text);
        String::from_utf8(writer.finish().to_vec()).unwrap()
    }

    /// The text of the only child of the root.
    fn read(xml: &str) -> Result<String, Code> {
        let read = || {
            let mut reader = Reader::open(xml.as_bytes(), "A")?;
            let name = reader.child()?;
            let text = reader.text()?;
            match (name.as_deref(), reader.child()?) {
                (Some("B"), None) => reader.end().map(|()| text),
                _ => Err(malformed()),
            }
        };
        read().map_err(|fault: Fault| fault.code)
    }

    #[test]
    fn what_xml_cannot_carry_becomes_a_reference() {
        let inside = |text: &str| {
            let written = written(text);
            let (_, rest) = written.split_once("<B>").unwrap();
            rest.split_once("</B>").unwrap().0.to_owned()
        };
        assert_eq!(inside("a\tb\n"), "a\tb\n");
        assert_eq!(inside("a\u{1}\r"), "a&#x1;&#xd;");
        assert_eq!(inside("\u{ffff}\u{fffd}é"), "&#xffff;\u{fffd}é");
        assert_eq!(
            inside("<\"a\" & 'b'>"),
            "&lt;&quot;a&quot; &amp; &apos;b&apos;&gt;"
        );
    }

    #[test]
    fn a_document_names_its_namespace() {
        let text = Writer::new("A").finish();
        let expected = format!("{DECLARATION}<A xmlns=\"{NAMESPACE}\"></A>");
        assert_eq!(text, expected.as_bytes());
    }

    #[test]
    fn text_is_what_it_says_in_every_form() {
        assert_eq!(
            read("<A><B>dir/<![CDATA[<x>&]]></B></A>"),
            Ok("dir/<x>&".into())
        );
        assert_eq!(
            read("<A> <B>a &amp;&lt;&#x41;&#66;<!-- c --> </B>\n</A>"),
            Ok("a &<AB ".into())
        );
        assert_eq!(read("<x:A xmlns:x='u'><x:B/></x:A>"), Ok(String::new()));
        assert_eq!(
            read("<?xml version=\"1.0\"?>\n<!-- c --><A><B>é</B></A>\n"),
            Ok("é".into())
        );
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for xml in [
            "",
            "nonsense",
            "<A>",
            "<A/><A/>",
            "<C><B>x</B></C>",
            "<A>x<B/></A>",
            "<A><B><C/></B></A>",
            "<A><B>&b;</B></A>",
            "<A><B>&#0;</B></A>",
            "<A><B>x</C></A>",
            "<A><B>x</B></A>x",
            "<A b=c><B/></A>",
            "<!DOCTYPE A [<!ENTITY b \"c\">]><A><B>&b;</B></A>",
        ] {
            assert_eq!(read(xml), Err(Code::MalformedXML), "{xml}");
        }
        assert!(Reader::open(b"<A>\xff</A>", "A").is_err());
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text in "[^\0\r]{0,40}") {
            prop_assert_eq!(read(&written(&text)), Ok(text));
        }
    }
}
