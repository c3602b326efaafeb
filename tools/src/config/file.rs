//! The configuration file.
//!
//! Invariants: every key of the file is either taken, refused with its line, or named as unknown with the nearest known one;
//! the text of the file is never repeated in an error, as it may hold secrets.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::schema::{self, Key, Kind, State};
use super::value::Value;
use super::{Findings, Origin, nearest};

/// A configuration larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file. Problems name it and the line.
pub fn read(path: &Path) -> Findings {
    let mut findings = Findings::default();
    match read_text(path) {
        Ok(text) => {
            findings = parse(path, &text);
            warn_of_readers(path, &mut findings);
        }
        Err(why) => findings.problems.push(format!("{}: {why}", path.display())),
    }
    findings
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if metadata.is_dir() {
        return Err("is a directory, not a configuration file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// A file with secrets should be readable by its owner alone.
fn warn_of_readers(path: &Path, findings: &mut Findings) {
    let has_secrets = findings
        .given
        .iter()
        .any(|given| given.key.kind == Kind::Credentials);
    let mode = fs::metadata(path)
        .map(|metadata| metadata.permissions().mode())
        .unwrap_or(0);
    if has_secrets && mode & 0o077 != 0 {
        let path = path.display();
        findings.warnings.push(format!(
            "{path} holds secret keys and others may read it (mode {:04o}); `chmod 600 {path}` mends that",
            mode & 0o7777
        ));
    }
}

/// Parses the text of a file.
pub fn parse(path: &Path, text: &str) -> Findings {
    let mut reader = Reader {
        path,
        text,
        findings: Findings::default(),
    };
    match DeTable::parse(text) {
        Ok(table) => reader.read_section("", table.into_inner()),
        Err(error) => {
            let line = error.span().map_or(1, |span| reader.line_at(span.start));
            let problem = format!("{}:{line}: {}", path.display(), error.message());
            reader.findings.problems.push(problem);
        }
    }
    reader.findings
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    findings: Findings,
}

impl Reader<'_> {
    fn line_at(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn read_section(&mut self, section: &str, table: DeTable<'_>) {
        for (name, value) in table {
            let line = self.line_at(name.span().start);
            let name = name.into_inner();
            let path = if section.is_empty() {
                name.to_string()
            } else {
                format!("{section}.{name}")
            };
            let value = value.into_inner();
            match (schema::find(&path), value) {
                (Some(key), value) => self.read_key(key, value, line),
                (None, DeValue::Table(inner)) if is_section(&path) => {
                    self.read_section(&path, inner)
                }
                (None, value) => {
                    let is_table = matches!(value, DeValue::Table(_));
                    self.report_unknown(section, &path, is_table, line);
                }
            }
        }
    }

    fn read_key(&mut self, key: &'static Key, value: DeValue<'_>, line: usize) {
        let value = plain(value).and_then(|value| Value::from_toml(key.kind, value));
        let value = value.map(|value| value.below(self.path.parent()));
        self.findings
            .take(key, value, Origin::File(self.path.to_owned(), line));
    }

    fn report_unknown(&mut self, section: &str, path: &str, is_table: bool, line: usize) {
        let place = format!("{}:{line}", self.path.display());
        let problem = if is_table {
            let hint = nearest::hint(path, schema::sections());
            format!("{place}: there is no section `[{path}]`{hint}")
        } else if is_section(path) {
            format!("{place}: `{path}` is a section and must be a table")
        } else {
            let known: Vec<String> = known_near(section);
            let hint = nearest::hint(path, known.iter().map(String::as_str));
            format!(
                "{place}: there is no key `{path}`{hint}{}",
                why_section_is_refused(section)
            )
        };
        self.findings.problems.push(problem);
    }
}

fn is_section(path: &str) -> bool {
    let prefix = format!("{path}.");
    schema::sections()
        .iter()
        .any(|section| *section == path || section.starts_with(&prefix))
}

/// Keys of the section where it has any, else all.
fn known_near(section: &str) -> Vec<String> {
    let here: Vec<String> = schema::KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(Key::path)
        .collect();
    if here.is_empty() {
        schema::KEYS.iter().map(Key::path).collect()
    } else {
        here
    }
}

/// An unknown key of a section that exists only to be refused gets that reason as well.
fn why_section_is_refused(section: &str) -> String {
    let mut keys = schema::KEYS
        .iter()
        .filter(|key| key.section == section)
        .peekable();
    let Some(State::Refused(reason)) = keys.peek().map(|key| key.state) else {
        return String::new();
    };
    let whole = keys.all(|key| matches!(key.state, State::Refused(_)));
    if whole {
        format!("; `[{section}]` is not supported yet: {reason}")
    } else {
        String::new()
    }
}

fn plain(value: DeValue<'_>) -> Result<toml::Value, String> {
    Ok(match value {
        DeValue::String(text) => toml::Value::String(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            toml::Value::Integer(parsed.map_err(|_| format!("is too large: {number}"))?)
        }
        DeValue::Float(_) => toml::Value::Float(0.0),
        DeValue::Boolean(flag) => toml::Value::Boolean(flag),
        DeValue::Datetime(time) => toml::Value::Datetime(time),
        DeValue::Array(items) => {
            let items: Result<Vec<_>, _> = items
                .into_iter()
                .map(|item| plain(item.into_inner()))
                .collect();
            toml::Value::Array(items?)
        }
        DeValue::Table(table) => {
            let pairs: Result<toml::Table, String> = table
                .into_iter()
                .map(|(name, value)| {
                    Ok((name.into_inner().into_owned(), plain(value.into_inner())?))
                })
                .collect();
            toml::Value::Table(pairs?)
        }
    })
}
