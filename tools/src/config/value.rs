//! What a key may hold, and how text and TOML become it.
//!
//! Invariants: a value that exists has passed the check of its kind; errors continue the sentence "`key` ..." and say what
//! was expected; a secret is never part of an error.

mod web_identity;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use strata_raftlog::namespace::ACCESS_KEY_BYTES_MAX;

use super::nearest;
use super::schema::Kind;

/// A value of some [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Flag(bool),
    /// Text or a choice.
    Text(String),
    /// A directory.
    Directory(PathBuf),
    /// A file.
    File(PathBuf),
    /// At least one directory.
    Directories(Vec<PathBuf>),
    /// Domains, in lower case.
    Domains(Vec<String>),
    /// An address.
    Address(SocketAddr),
    /// Bytes.
    Size(u64),
    /// Processors.
    Cores(CoreChoice),
    /// Access keys.
    Credentials(Vec<Credential>),
    /// Issuers of identities.
    WebIdentities(Vec<WebIdentity>),
}

/// Which processors to run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreChoice {
    /// All that the process may use.
    Auto,
    /// So many of those.
    Count(usize),
    /// Exactly these, in ascending order.
    List(Vec<usize>),
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text; the caller keeps it out of logs and errors.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// An access key of `s3.auth.credentials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its public half.
    pub access_key_id: String,
    /// Its secret half.
    pub secret_key: Secret,
    /// Whom it stands for.
    pub user_id: Option<String>,
}

/// An issuer of `sts.web_identity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// `https://` and its name.
    pub issuer: String,
    /// The audiences that tokens may be for.
    pub audiences: Vec<String>,
    /// The file that holds its keys.
    pub jwks: PathBuf,
}

/// Processors are numbered below this (`CPU_SETSIZE` of sched_setaffinity(2)).
const CORES_MAX: usize = 1024;

impl Value {
    /// Checks a TOML value.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn from_toml(kind: Kind, value: toml::Value) -> Result<Value, String> {
        match (kind, value) {
            (Kind::Integer { min, max }, toml::Value::Integer(number)) => {
                integer(number.into(), min, max)
            }
            (Kind::Flag, toml::Value::Boolean(flag)) => Ok(Value::Flag(flag)),
            (Kind::Size { min, max }, toml::Value::Integer(number)) => {
                size(&number.to_string(), min, max)
            }
            (Kind::Cores, toml::Value::Integer(number)) => cores(&number.to_string()),
            (Kind::Cores, toml::Value::Array(items)) => cores_from_array(&items),
            (Kind::Directories, toml::Value::Array(items)) => directories(items),
            (Kind::Domains, toml::Value::Array(items)) => domains(items),
            (Kind::Credentials, toml::Value::Array(items)) => credentials(items),
            (Kind::WebIdentities, toml::Value::Array(items)) => web_identity::read(items),
            (
                Kind::Integer { .. } | Kind::Flag | Kind::Credentials | Kind::WebIdentities,
                other,
            ) => Err(mismatch(kind, &other)),
            (_, toml::Value::String(text)) => Value::from_text(kind, &text),
            (_, other) => Err(mismatch(kind, &other)),
        }
    }

    /// Checks the text of a flag or variable; arrays are written as in TOML.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match kind {
            Kind::Directories
            | Kind::Domains
            | Kind::Credentials
            | Kind::WebIdentities
            | Kind::Cores
                if text.starts_with('[') =>
            {
                let parsed = format!("value = {text}").parse::<toml::Table>();
                let mut table = parsed.map_err(|_| "is not a TOML array".to_owned())?;
                let value = table
                    .remove("value")
                    .ok_or_else(|| "is not a TOML array".to_owned())?;
                Value::from_toml(kind, value)
            }
            Kind::Integer { min, max } => match text.parse::<i128>() {
                Ok(number) => integer(number, min, max),
                Err(_) => Err(format!("must be {}, not `{text}`", describe(kind))),
            },
            Kind::Flag => match text {
                "true" | "1" => Ok(Value::Flag(true)),
                "false" | "0" => Ok(Value::Flag(false)),
                _ => Err(format!("must be {}, not `{text}`", describe(kind))),
            },
            Kind::Text if text.is_empty() => Err("must not be empty".to_owned()),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Region => region(text),
            Kind::Domains => Ok(Value::Domains(vec![domain(text)?])),
            Kind::Choice(words) => choice(words, text),
            Kind::Directory => Ok(Value::Directory(path(text)?)),
            Kind::File => Ok(Value::File(path(text)?)),
            Kind::Directories => Ok(Value::Directories(vec![path(text)?])),
            Kind::Address => address(text),
            Kind::Size { min, max } => size(text, min, max),
            Kind::Cores => cores(text),
            Kind::Credentials | Kind::WebIdentities => Err(format!("must be {}", describe(kind))),
        }
    }
}

impl Value {
    /// The value with relative paths taken from a directory.
    pub fn below(self, directory: Option<&Path>) -> Value {
        let join = |path: PathBuf| directory.map_or(path.clone(), |directory| directory.join(path));
        match self {
            Value::Directory(path) => Value::Directory(join(path)),
            Value::File(path) => Value::File(join(path)),
            Value::Directories(paths) => Value::Directories(paths.into_iter().map(join).collect()),
            Value::WebIdentities(list) => {
                let list = list.into_iter().map(|known| WebIdentity {
                    jwks: join(known.jwks),
                    ..known
                });
                Value::WebIdentities(list.collect())
            }
            other => other,
        }
    }
}

/// What a kind accepts, as the end of "must be ...".
pub fn describe(kind: Kind) -> String {
    match kind {
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Flag => "true or false".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Choice([only]) => format!("`{only}`"),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Directory => "a directory".to_owned(),
        Kind::File => "a file".to_owned(),
        Kind::Directories => "a directory or an array of directories".to_owned(),
        Kind::Address => "IP:PORT, such as 127.0.0.1:9002 or [::1]:9002".to_owned(),
        Kind::Domains => {
            "a domain such as s3.example.org, or an array of them, without ports".to_owned()
        }
        Kind::Region => format!("1 to {REGION_CHARACTERS_MAX} letters, digits, `-` or `_`"),
        Kind::Size { .. } => "a size in bytes, such as 512MiB, 40GB or 1073741824".to_owned(),
        Kind::Cores => "`auto`, a count, or a list such as 0,2-3".to_owned(),
        Kind::Credentials => {
            "an array of tables with access_key_id, secret_key and user_id".to_owned()
        }
        Kind::WebIdentities => "an array of tables with issuer, audiences and jwks".to_owned(),
    }
}

fn mismatch(kind: Kind, value: &toml::Value) -> String {
    format!(
        "must be {}, not a TOML {}",
        describe(kind),
        value.type_str()
    )
}

fn integer(number: i128, min: u64, max: u64) -> Result<Value, String> {
    let kind = Kind::Integer { min, max };
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
        _ => Err(format!("must be {}, not {number}", describe(kind))),
    }
}

/// The longest name of a region: AWS's own have 14 characters.
const REGION_CHARACTERS_MAX: usize = 63;

/// A region is a part of the scope that is signed, between two slashes: what cannot stand there no client can sign.
fn region(text: &str) -> Result<Value, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=REGION_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(Value::Text(text.to_owned()));
    }
    Err(format!("must be {}, not `{text}`", describe(Kind::Region)))
}

/// The longest name of a domain, and of one of its labels (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A domain whose last label is a number is an IP address, which has nothing below it.
fn domain(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label =
        |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(plain);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_domain = text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(is_label);
    if is_domain && !text.rsplit('.').next().is_some_and(is_number) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("must be {}, not `{text}`", describe(Kind::Domains)))
}

fn domains(items: Vec<toml::Value>) -> Result<Value, String> {
    let mut domains = Vec::new();
    for item in items {
        match item {
            toml::Value::String(text) => domains.push(domain(text.trim())?),
            other => return Err(mismatch(Kind::Domains, &other)),
        }
    }
    Ok(Value::Domains(domains))
}

fn choice(words: &'static [&'static str], text: &str) -> Result<Value, String> {
    let mut known = words.iter();
    if let Some(word) = known.find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(Value::Text((*word).to_owned()));
    }
    Err(format!(
        "must be {}, not `{text}`",
        describe(Kind::Choice(words))
    ))
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.contains('\0') {
        return Err("must not hold a NUL byte".to_owned());
    }
    match text.strip_prefix("~/") {
        Some(below) => match std::env::var_os("HOME") {
            Some(home) => Ok(Path::new(&home).join(below)),
            None => Err("begins with ~/ and HOME is not set".to_owned()),
        },
        None => Ok(PathBuf::from(text)),
    }
}

fn directories(items: Vec<toml::Value>) -> Result<Value, String> {
    if items.is_empty() {
        return Err("must name at least one directory".to_owned());
    }
    let mut paths = Vec::new();
    for item in items {
        match item {
            toml::Value::String(text) => paths.push(path(&text)?),
            other => return Err(mismatch(Kind::Directories, &other)),
        }
    }
    Ok(Value::Directories(paths))
}

fn address(text: &str) -> Result<Value, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    match numeric.parse() {
        Ok(address) => Ok(Value::Address(address)),
        Err(_) => Err(format!("must be {}, not `{text}`", describe(Kind::Address))),
    }
}

/// Units of a size, longest first where one ends in another.
const UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("b", 1),
    ("", 1),
];

fn size(text: &str, min: u64, max: u64) -> Result<Value, String> {
    let kind = Kind::Size { min, max };
    let lower = text.to_lowercase().replace('_', "");
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = lower.split_at(digits);
    let factor = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, factor)| *factor);
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    match bytes {
        Some(bytes) if (min..=max).contains(&bytes) => Ok(Value::Size(bytes)),
        Some(bytes) if bytes < min => {
            Err(format!("must be at least {}, not `{text}`", size_text(min)))
        }
        Some(_) => Err(format!("must be at most {}, not `{text}`", size_text(max))),
        None => Err(format!("must be {}, not `{text}`", describe(kind))),
    }
}

/// Bytes in the largest unit of 1024 that leaves a whole number, as a file would have it.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("PiB", 1 << 50),
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let whole = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || bytes.to_string(),
        |(name, unit)| format!("{}{name}", bytes / unit),
    )
}

fn cores(text: &str) -> Result<Value, String> {
    let wrong = || format!("must be {}, not `{text}`", describe(Kind::Cores));
    if text == "auto" {
        return Ok(Value::Cores(CoreChoice::Auto));
    }
    if let Ok(count) = text.parse::<usize>() {
        let in_range = (1..=CORES_MAX).contains(&count);
        return if in_range {
            Ok(Value::Cores(CoreChoice::Count(count)))
        } else {
            Err(wrong())
        };
    }
    parse_core_list(text)
        .map(|list| Value::Cores(CoreChoice::List(list)))
        .ok_or_else(wrong)
}

/// A list in the kernel's notation (`0,2-3`), ascending and without repetition; `None` when it is not one.
pub fn parse_core_list(text: &str) -> Option<Vec<usize>> {
    let mut list = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CORES_MAX {
            return None;
        }
        list.extend(first..=last);
    }
    let count = list.len();
    list.sort_unstable();
    list.dedup();
    (list.len() == count).then_some(list)
}

fn cores_from_array(items: &[toml::Value]) -> Result<Value, String> {
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|item| Some(item.as_integer()?.to_string()))
        .collect();
    let list = texts.and_then(|texts| parse_core_list(&texts.join(",")));
    let list = list.ok_or_else(|| format!("must be {}", describe(Kind::Cores)))?;
    Ok(Value::Cores(CoreChoice::List(list)))
}

const CREDENTIAL_FIELDS: &[&str] = &["access_key_id", "secret_key", "user_id"];

/// Bounds of an access key id: AWS's own are 16 to 128 characters; shorter ones are common elsewhere. The replicated state
/// takes no longer ones.
const ACCESS_KEY_ID_CHARACTERS: RangeInclusive<usize> = 3..=ACCESS_KEY_BYTES_MAX;

/// Bounds of a secret: a shorter one is guessed at once, a longer one the replicated state does not take.
const SECRET_KEY_CHARACTERS: RangeInclusive<usize> = 8..=ACCESS_KEY_BYTES_MAX;

/// All entries, or all that is wrong with them.
fn credentials(items: Vec<toml::Value>) -> Result<Value, String> {
    let mut credentials: Vec<Credential> = Vec::new();
    let mut problems = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("entry {}", index + 1);
        let read = match item {
            toml::Value::Table(table) => credential(table),
            _ => Err("is no table".to_owned()),
        };
        match read {
            Ok(credential) if repeats(&credentials, &credential) => problems.push(format!(
                "{place} repeats the access key `{}`",
                credential.access_key_id
            )),
            Ok(credential) => credentials.push(credential),
            Err(why) => problems.push(format!("{place} {why}")),
        }
    }
    if problems.is_empty() {
        return Ok(Value::Credentials(credentials));
    }
    Err(format!(
        "must be {}: {}",
        describe(Kind::Credentials),
        problems.join("; ")
    ))
}

fn repeats(earlier: &[Credential], credential: &Credential) -> bool {
    earlier
        .iter()
        .any(|other| other.access_key_id == credential.access_key_id)
}

fn credential(mut table: toml::Table) -> Result<Credential, String> {
    let unknown = table
        .keys()
        .find(|field| !CREDENTIAL_FIELDS.contains(&field.as_str()));
    if let Some(field) = unknown {
        let hint = nearest::hint(field, CREDENTIAL_FIELDS.iter().copied());
        return Err(format!("has an unknown field `{field}`{hint}"));
    }
    let mut text = |field: &str| match table.remove(field) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a `{field}` that is not text")),
    };
    let access_key_id = text("access_key_id")?.ok_or("lacks `access_key_id`")?;
    let secret_key = Secret::new(text("secret_key")?.ok_or("lacks `secret_key`")?);
    let user_id = text("user_id")?;
    check_key_pair(&access_key_id, &secret_key)?;
    Ok(Credential {
        access_key_id,
        secret_key,
        user_id,
    })
}

/// Checks both halves of an access key. Every pair that passes is one that the replicated state takes as a root key: a start
/// finds out before it opens anything.
///
/// # Errors
/// Says which half is wrong, without showing the secret.
pub fn check_key_pair(access_key_id: &str, secret_key: &Secret) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !ACCESS_KEY_ID_CHARACTERS.contains(&access_key_id.len()) || !access_key_id.bytes().all(plain)
    {
        let (least, most) = ACCESS_KEY_ID_CHARACTERS.into_inner();
        return Err(format!(
            "has an access key id that is not {least} to {most} letters, digits, `-`, `_` or `.`"
        ));
    }
    let secret = secret_key.reveal();
    if secret == super::show::HIDDEN {
        return Err(format!(
            "has the secret key `{secret}`, which is what `config show` prints in place of one"
        ));
    }
    let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !SECRET_KEY_CHARACTERS.contains(&secret.len()) || !printable {
        let (least, most) = SECRET_KEY_CHARACTERS.into_inner();
        return Err(format!(
            "has a secret key that is not {least} to {most} characters of printable ASCII without spaces"
        ));
    }
    Ok(())
}

impl fmt::Display for CoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreChoice::Auto => f.write_str("auto"),
            CoreChoice::Count(count) => write!(f, "{count}"),
            CoreChoice::List(list) => {
                let texts: Vec<String> = list.iter().map(usize::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}
