//! Cross-origin requests: the rules of a bucket, what a browser is told before a request, and what is added to answers.
//!
//! The rules are those of AWS (API reference of `PutBucketCors`; user guide, "Using cross-origin resource sharing"), the protocol is that of
//! the Fetch standard. Invariant: rules decide what a browser shows a page, never whether a request is served.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::{Address, Request};
use crate::response::Response;
use crate::xml;

/// Rules of a bucket at most, and bytes of their document.
const RULES_MAX: usize = 100;
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Characters of a rule's name at most.
const ID_CHARACTERS_MAX: usize = 255;

/// Methods that a rule may allow.
const METHODS: &[&str] = &["GET", "PUT", "HEAD", "POST", "DELETE"];

/// What an answer depends on beside its address, for caches.
const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// A rule.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Rule {
    id: Option<String>,
    /// Patterns with at most one `*`.
    allowed_origins: Vec<String>,
    allowed_methods: Vec<String>,
    /// Patterns with at most one `*`; letters of either case are alike.
    allowed_headers: Vec<String>,
    exposed_headers: Vec<String>,
    max_age_seconds: Option<u32>,
}

/// `PutBucketCors`: replaces all rules.
///
/// # Errors
/// `MalformedXML`, `InvalidRequest`, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    if request.xml.len() > DOCUMENT_BYTES_MAX {
        return Err(Code::MalformedXML.into());
    }
    let rules = read(&request.xml)?;
    check(&rules)?;
    set(shared, bucket, Some(document(&rules).finish().to_vec())).await?;
    Ok(Response::ok())
}

/// `DeleteBucketCors`: no rules are no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    set(shared, bucket, None).await?;
    Ok(Response::no_content())
}

/// `GetBucketCors`.
///
/// # Errors
/// `NoSuchCORSConfiguration`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    match rules_of(shared, bucket.inode)? {
        Some(rules) => Ok(Response::xml(document(&rules))),
        None => {
            let fault = Fault::from(Code::NoSuchCORSConfiguration);
            Err(fault.detail("BucketName", &bucket.name))
        }
    }
}

async fn set(shared: &Shared, bucket: u64, document: Option<Vec<u8>>) -> Result<(), Fault> {
    let command = SetBucketSetting {
        bucket,
        setting: setting::CORS,
        document,
    };
    shared.cluster.submit(command).await?;
    Ok(())
}

fn rules_of(shared: &Shared, bucket: u64) -> Result<Option<Vec<Rule>>, Fault> {
    let stored = shared
        .cluster
        .read(|view| view.bucket_setting(bucket, setting::CORS))?;
    let rules = stored.map(|stored| read(&stored)).transpose();
    rules.map_err(|fault| {
        let cause = format!("stored rules: {}", fault.message);
        Fault::from(Code::InternalError).because(cause)
    })
}

/// Answers a browser that asks whether it may send a request: `OPTIONS`, which carries no signature.
///
/// # Errors
/// `BadRequest` where the question is not whole, `AccessForbidden` where no rule allows what is asked.
pub fn preflight(
    shared: &Shared,
    address: &Address,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let Some(origin) = text(headers, &header::ORIGIN) else {
        let message = "Insufficient information. Origin request header needed.";
        return Err(Fault::new(Code::BadRequest, message));
    };
    let method = text(headers, &header::ACCESS_CONTROL_REQUEST_METHOD);
    let Some(method) = method.filter(|method| METHODS.contains(method)) else {
        let message = format!(
            "Invalid Access-Control-Request-Method: {}",
            method.unwrap_or("null")
        );
        return Err(Fault::new(Code::BadRequest, message));
    };
    let asked = text(headers, &header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let asked: Vec<String> = asked
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let kind = match address {
        Address::Object(..) => "OBJECT",
        Address::Bucket(_) | Address::Service => "BUCKET",
    };
    let refused = |why: &'static str| {
        let fault = Fault::new(Code::AccessForbidden, format!("CORSResponse: {why}"));
        fault.detail("Method", method).detail("ResourceType", kind)
    };
    let bucket = match address.bucket() {
        Some(name) => shared.cluster.bucket(name)?,
        None => None,
    };
    let bucket = bucket.ok_or_else(|| refused("Bucket not found"))?;
    let rules = rules_of(shared, bucket.inode)?;
    let rules = rules.ok_or_else(|| refused("CORS is not enabled for this bucket."))?;
    let allows = |rule: &&Rule| {
        rule.allows(origin, method) && asked.iter().all(|name| rule.allows_header(name))
    };
    let rule = rules.iter().find(allows).ok_or_else(|| {
        refused(
            "This CORS request is not allowed. This is usually because the evalution of Origin, request method / \
             Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        )
    })?;
    let mut response = Response::ok();
    rule.add_to(&mut response.headers, origin);
    if !asked.is_empty() {
        add(
            &mut response.headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &asked.join(", "),
        );
    }
    Ok(response)
}

/// What is added to the answer to a request that a page of `origin` makes; nothing where no rule allows it.
///
/// # Errors
/// Those of the namespace.
pub fn headers_for(
    shared: &Shared,
    address: &Address,
    method: &Method,
    origin: &HeaderValue,
) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    let (Some(name), Ok(origin)) = (address.bucket(), origin.to_str()) else {
        return Ok(headers);
    };
    let Some(bucket) = shared.cluster.bucket(name)? else {
        return Ok(headers);
    };
    let rules = rules_of(shared, bucket.inode)?.unwrap_or_default();
    let mut rules = rules.iter();
    if let Some(rule) = rules.find(|rule| rule.allows(origin, method.as_str())) {
        rule.add_to(&mut headers, origin);
    }
    Ok(headers)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn add(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

impl Rule {
    fn allows(&self, origin: &str, method: &str) -> bool {
        let is_method = self.allowed_methods.iter().any(|known| known == method);
        is_method && self.origin_pattern(origin).is_some()
    }

    fn origin_pattern(&self, origin: &str) -> Option<&String> {
        let mut patterns = self.allowed_origins.iter();
        patterns.find(|pattern| matches(pattern, origin))
    }

    /// Whether a header may be sent; its name has small letters.
    fn allows_header(&self, name: &str) -> bool {
        let mut patterns = self.allowed_headers.iter();
        patterns.any(|pattern| matches(&pattern.to_ascii_lowercase(), name))
    }

    fn add_to(&self, headers: &mut HeaderMap, origin: &str) {
        let is_any = self
            .origin_pattern(origin)
            .is_some_and(|pattern| pattern == "*");
        let allowed = if is_any { "*" } else { origin };
        add(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if !is_any {
            add(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        let methods = self.allowed_methods.join(", ");
        add(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        if !self.exposed_headers.is_empty() {
            let exposed = self.exposed_headers.join(", ");
            add(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
        }
        if let Some(seconds) = self.max_age_seconds {
            let seconds = seconds.to_string();
            add(headers, header::ACCESS_CONTROL_MAX_AGE, &seconds);
        }
        add(headers, header::VARY, VARY);
    }
}

/// Whether a text is what a pattern says, in which one `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let rest = text.strip_prefix(head);
            rest.is_some_and(|rest| rest.ends_with(tail))
        }
    }
}

fn malformed() -> Fault {
    Code::MalformedXML.into()
}

fn read(xml: &[u8]) -> Result<Vec<Rule>, Fault> {
    let mut xml = xml::Reader::open(xml, "CORSConfiguration")?;
    let mut rules = Vec::new();
    while let Some(name) = xml.child()? {
        if name != "CORSRule" || rules.len() == RULES_MAX {
            return Err(malformed());
        }
        rules.push(read_rule(&mut xml)?);
    }
    xml.end()?;
    match rules.is_empty() {
        true => Err(malformed()),
        false => Ok(rules),
    }
}

fn read_rule(xml: &mut xml::Reader<'_>) -> Result<Rule, Fault> {
    let mut rule = Rule::default();
    while let Some(name) = xml.child()? {
        let text = xml.text()?;
        match name.as_str() {
            "ID" if rule.id.is_none() && text.chars().count() <= ID_CHARACTERS_MAX => {
                rule.id = Some(text);
            }
            "AllowedOrigin" => rule.allowed_origins.push(text),
            "AllowedMethod" => rule.allowed_methods.push(text),
            "AllowedHeader" => rule.allowed_headers.push(text),
            "ExposeHeader" => rule.exposed_headers.push(text),
            "MaxAgeSeconds" if rule.max_age_seconds.is_none() => {
                let seconds = text.trim().parse().map_err(|_| malformed())?;
                rule.max_age_seconds = Some(seconds);
            }
            _ => return Err(malformed()),
        }
    }
    match rule.allowed_origins.is_empty() || rule.allowed_methods.is_empty() {
        true => Err(malformed()),
        false => Ok(rule),
    }
}

fn check(rules: &[Rule]) -> Result<(), Fault> {
    let invalid = |message: String| Err(Fault::new(Code::InvalidRequest, message));
    let has_many = |pattern: &&String| pattern.matches('*').count() > 1;
    for rule in rules {
        let mut methods = rule.allowed_methods.iter();
        if let Some(method) = methods.find(|method| !METHODS.contains(&method.as_str())) {
            return invalid(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            ));
        }
        if let Some(origin) = rule.allowed_origins.iter().find(has_many) {
            return invalid(format!(
                "AllowedOrigin \"{origin}\" can not have more than one wildcard."
            ));
        }
        if let Some(name) = rule.allowed_headers.iter().find(has_many) {
            return invalid(format!(
                "AllowedHeader \"{name}\" can not have more than one wildcard."
            ));
        }
        if let Some(name) = rule.exposed_headers.iter().find(|name| name.contains('*')) {
            return invalid(format!(
                "ExposeHeader \"{name}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
            ));
        }
    }
    Ok(())
}

fn document(rules: &[Rule]) -> xml::Writer {
    let mut xml = xml::Writer::new("CORSConfiguration");
    for rule in rules {
        xml.open("CORSRule");
        xml.optional("ID", rule.id.as_deref());
        for (element, texts) in [
            ("AllowedMethod", &rule.allowed_methods),
            ("AllowedOrigin", &rule.allowed_origins),
            ("AllowedHeader", &rule.allowed_headers),
            ("ExposeHeader", &rule.exposed_headers),
        ] {
            for text in texts {
                xml.element(element, text);
            }
        }
        if let Some(seconds) = rule.max_age_seconds {
            xml.value("MaxAgeSeconds", seconds);
        }
        xml.close("CORSRule");
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(inside: &str) -> Result<Vec<Rule>, Code> {
        let xml = format!("<CORSConfiguration>{inside}</CORSConfiguration>");
        let rules = read(xml.as_bytes()).and_then(|rules| check(&rules).map(|()| rules));
        rules.map_err(|fault| fault.code)
    }

    fn rule(inside: &str) -> Result<Rule, Code> {
        let rules = rules(&format!("<CORSRule>{inside}</CORSRule>"))?;
        Ok(rules[0].clone())
    }

    const ONE: &str =
        "<AllowedOrigin>http://*.example.com</AllowedOrigin><AllowedMethod>GET</AllowedMethod>";

    #[test]
    fn rules_are_read_as_they_are_written() {
        let all = format!(
            "<ID>one</ID>{ONE}<AllowedHeader>x-*</AllowedHeader><ExposeHeader>etag</ExposeHeader>\
             <MaxAgeSeconds>30</MaxAgeSeconds>"
        );
        let rule = rule(&all).unwrap();
        assert_eq!(rule.max_age_seconds, Some(30));
        let written = document(std::slice::from_ref(&rule)).finish();
        assert_eq!(read(&written).unwrap(), [rule]);
    }

    #[test]
    fn what_makes_no_rule_is_refused() {
        for (inside, code) in [
            ("", Code::MalformedXML),
            ("<AllowedOrigin>*</AllowedOrigin>", Code::MalformedXML),
            ("<AllowedMethod>GET</AllowedMethod>", Code::MalformedXML),
            (&format!("{ONE}<Other/>")[..], Code::MalformedXML),
            (
                &format!("{ONE}<MaxAgeSeconds>-1</MaxAgeSeconds>"),
                Code::MalformedXML,
            ),
            (
                &format!("{ONE}<AllowedMethod>get</AllowedMethod>"),
                Code::InvalidRequest,
            ),
            (
                &format!("{ONE}<AllowedOrigin>*a*</AllowedOrigin>"),
                Code::InvalidRequest,
            ),
            (
                &format!("{ONE}<AllowedHeader>**</AllowedHeader>"),
                Code::InvalidRequest,
            ),
            (
                &format!("{ONE}<ExposeHeader>x-*</ExposeHeader>"),
                Code::InvalidRequest,
            ),
        ] {
            assert_eq!(rule(inside), Err(code), "{inside}");
        }
        let one = format!("<CORSRule>{ONE}</CORSRule>");
        assert_eq!(rules(&one.repeat(100)).unwrap().len(), 100);
        assert_eq!(rules(&one.repeat(101)), Err(Code::MalformedXML));
        assert_eq!(rules(""), Err(Code::MalformedXML));
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("http://*.example.com", "http://a.b.example.com", true),
            ("http://*.example.com", "http://example.com", false),
            ("http://*.example.com", "https://a.example.com", false),
            ("*suffix", "startsuffix", true),
            ("*suffix", "startsuffixend", false),
            ("aba*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
        let rule = rule(&format!("{ONE}<AllowedHeader>X-Amz-*</AllowedHeader>")).unwrap();
        assert!(rule.allows_header("x-amz-date") && !rule.allows_header("range"));
    }
}
