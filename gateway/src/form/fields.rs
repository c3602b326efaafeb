//! What the fields of a form say: the key, the headers of the object, and what is answered.
//!
//! Invariants: a name counts whatever the case of its letters, and stands once; `${filename}` is replaced before anything else reads a value, so that the
//! policy is asked about what is done; what a field says goes the way of the header that says the same in a PUT.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::parts::{Field, PRELUDE_BYTES_MAX, prelude_too_long};
use crate::error::Fault;
use crate::percent;
use crate::s3::tags::{self, TagsOf};

/// Stands for the name of the file.
const FILE_NAME: &str = "${filename}";

/// Fields with this at the head of their names are for whoever makes the form.
const IGNORED_PREFIX: &str = "x-ignore-";

/// The fields of the signature, which say nothing of the object.
pub const POLICY: &str = "policy";
const ALGORITHM: &str = "x-amz-algorithm";
const CREDENTIAL: &str = "x-amz-credential";
const DATE: &str = "x-amz-date";
const SIGNATURE: &str = "x-amz-signature";

/// Fields with the names of the headers that say the same.
const HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// The fields before the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormFields {
    /// Names in lower case.
    fields: Vec<Field>,
}

impl FormFields {
    /// Those of a form whose file has this name at the browser. Where it has none, `${filename}` stays what it is, as with AWS.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is there twice.
    pub fn new(sent: Vec<Field>, file_name: Option<&str>) -> Result<FormFields, Fault> {
        // Some browsers give the whole path.
        let file_name = file_name.and_then(|name| name.rsplit(['/', '\\']).next());
        let mut fields = FormFields { fields: Vec::new() };
        let mut room = PRELUDE_BYTES_MAX;
        for Field { name, value } in sent {
            let name = name.to_ascii_lowercase();
            if name.starts_with(IGNORED_PREFIX) {
                continue;
            }
            if fields.get(&name).is_some() {
                let message = format!("The field {name} is there more than once.");
                return Err(Fault::argument(&name, &value, message));
            }
            let file_name = file_name.filter(|_| !matches!(&*name, POLICY | SIGNATURE));
            let value = match file_name {
                None => value,
                Some(file_name) => expanded(&value, file_name, &mut room)?,
            };
            fields.fields.push(Field { name, value });
        }
        Ok(fields)
    }

    /// The value of a field; its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|field| field.name == name);
        found.map(|field| field.value.as_str())
    }

    /// The value of a field that must be there, by its name as AWS spells it.
    ///
    /// # Errors
    /// `InvalidArgument`, in AWS's words.
    pub fn required(&self, name: &str) -> Result<&str, Fault> {
        self.get(&name.to_ascii_lowercase()).ok_or_else(|| {
            let message = format!(
                "Bucket POST must contain a field named '{name}'.  If it is specified, please \
                 check the order of the fields."
            );
            Fault::argument(name, "", message)
        })
    }

    /// Whether it says anything of a signature. A policy without one counts for nothing, as with AWS.
    pub fn is_signed(&self) -> bool {
        let own = [ALGORITHM, CREDENTIAL, DATE, SIGNATURE];
        own.iter().any(|name| self.get(name).is_some())
    }

    /// All of them, names in lower case.
    pub fn all(&self) -> &[Field] {
        &self.fields
    }

    /// The key.
    ///
    /// # Errors
    /// `InvalidArgument` where there is none.
    pub fn key(&self) -> Result<&str, Fault> {
        match self.required("key")? {
            "" => {
                let message = "User key must have a length greater than 0.";
                Err(Fault::argument("key", "", message))
            }
            key => Ok(key),
        }
    }

    /// The headers of the PUT that asks for the same.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that no header can carry; for the tags those of their document; `NotImplemented` for the hash of a body.
    pub fn headers(&self) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        for Field { name, value } in &self.fields {
            let tags;
            let (header, value) = match &**name {
                ALGORITHM | CREDENTIAL | DATE | SIGNATURE => continue,
                "x-amz-content-sha256" => return Err(Fault::header_not_implemented(name)),
                "acl" => ("x-amz-acl", value),
                "tagging" => {
                    tags = tags_header(value)?;
                    (tags::HEADER, &tags)
                }
                name if HEADERS.contains(&name) || name.starts_with("x-amz-") => (name, value),
                _ => continue,
            };
            let malformed = || Fault::argument(name, value, "The field is no valid header.");
            let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| malformed())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| malformed())?;
            headers.append(header, value);
        }
        Ok(headers)
    }

    /// What is answered where the object was stored.
    pub fn success_action(&self) -> SuccessAction {
        let redirect = self.get("success_action_redirect");
        let redirect = redirect.or_else(|| self.get("redirect"));
        SuccessAction {
            redirect: redirect
                .filter(|url| is_web_address(url))
                .map(str::to_owned),
            status: match self.get("success_action_status") {
                Some("200") => StatusCode::OK,
                Some("201") => StatusCode::CREATED,
                _ => StatusCode::NO_CONTENT,
            },
        }
    }
}

/// A value with the name of the file in it. All of them together are made longer by no more than there is room for.
fn expanded(value: &str, file_name: &str, room: &mut usize) -> Result<String, Fault> {
    let added = value.matches(FILE_NAME).count() * file_name.len();
    let left = room.checked_sub(added);
    *room = left.ok_or_else(prelude_too_long)?;
    Ok(value.replace(FILE_NAME, file_name))
}

/// The document as the header of a PUT has it.
fn tags_header(document: &str) -> Result<String, Fault> {
    let tags = tags::of_document(document.as_bytes(), TagsOf::Object)?;
    let encode = |text: &str| percent::encode(text.as_bytes()).into_owned();
    let pairs = tags
        .iter()
        .map(|tag| format!("{}={}", encode(&tag.key), encode(&tag.value)));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// Whether a browser can be sent there: AWS passes over what it cannot interpret.
fn is_web_address(url: &str) -> bool {
    let bare = url.split('#').next().unwrap_or_default();
    let Ok(address) = bare.parse::<http::Uri>() else {
        return false;
    };
    let scheme = address.scheme_str().unwrap_or_default();
    matches!(scheme, "http" | "https") && HeaderValue::from_str(url).is_ok()
}

/// What is answered where the object of a form was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessAction {
    /// Where the browser is sent.
    pub redirect: Option<String>,
    /// The status where it is sent nowhere.
    pub status: StatusCode,
}

impl SuccessAction {
    /// Where the browser is sent when an object with this entity tag, in its quotation marks, was stored.
    pub fn redirect_of(&self, bucket: &str, key: &str, etag: &str) -> Option<String> {
        let url = self.redirect.as_deref()?;
        let (bare, fragment) = match url.find('#') {
            Some(at) => url.split_at(at),
            None => (url, ""),
        };
        let separator = if bare.contains('?') { '&' } else { '?' };
        let bucket = percent::encode(bucket.as_bytes());
        let key = percent::encode(key.as_bytes()).replace("%20", "+");
        let etag = percent::encode(etag.as_bytes());
        Some(format!(
            "{bare}{separator}bucket={bucket}&key={key}&etag={etag}{fragment}"
        ))
    }
}

/// Whether the policy must have a condition on the field of this name.
pub fn needs_condition(name: &str) -> bool {
    !matches!(name, POLICY | SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn fields(pairs: &[(&str, &str)], file_name: &str) -> Result<FormFields, Code> {
        let field = |(name, value): &(&str, &str)| Field {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let sent = pairs.iter().map(field).collect();
        FormFields::new(sent, Some(file_name)).map_err(|fault| fault.code)
    }

    #[test]
    fn names_of_files_lose_their_path() {
        for (file_name, key) in [
            ("a.jpg", "u/a.jpg-a.jpg"),
            ("C:\\pictures\\a.jpg", "u/a.jpg-a.jpg"),
            ("/pictures/2026/a.jpg", "u/a.jpg-a.jpg"),
            ("a/", "u/-"),
            ("", "u/-"),
            ("${filename}", "u/${filename}-${filename}"),
            ("löwe 1.jpg", "u/löwe 1.jpg-löwe 1.jpg"),
        ] {
            let found = fields(&[("Key", "u/${filename}-${filename}")], file_name).unwrap();
            assert_eq!(found.key().unwrap(), key, "{file_name}");
        }
        let long = "${filename}".repeat(3);
        let refused = fields(&[("key", &long)], &"a".repeat(PRELUDE_BYTES_MAX / 2));
        assert_eq!(refused, Err(Code::MaxPostPreDataLengthExceeded));
        let signed = fields(&[("policy", "${filename}")], "a").unwrap();
        assert_eq!(signed.get("policy"), Some("${filename}"));
    }

    #[test]
    fn a_name_stands_once_in_any_case() {
        let twice = fields(&[("key", "a"), ("KEY", "b")], "");
        assert_eq!(twice, Err(Code::InvalidArgument));
        let free = fields(&[("x-ignore-a", "1"), ("X-Ignore-A", "2")], "").unwrap();
        assert!(free.all().is_empty());
        for none in [&[][..], &[("key", "")]] {
            let fault = fields(none, "").unwrap().key().unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument);
        }
    }

    #[test]
    fn fields_become_the_headers_of_a_put() {
        let tagging =
            "<Tagging><TagSet><Tag><Key>a b</Key><Value>1+2</Value></Tag></TagSet></Tagging>";
        let unnameable = fields(&[("x-amz-meta-Länge", "")], "").unwrap();
        let refused = unnameable.headers().unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
        let found = fields(
            &[
                ("key", "k"),
                ("Acl", "private"),
                ("Content-Type", "text/plain"),
                ("tagging", tagging),
                ("x-amz-meta-a", "länger"),
                ("x-amz-date", "20130524T000000Z"),
                ("submit", "Upload"),
            ],
            "",
        );
        let headers = found.unwrap().headers().unwrap();
        let sent = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        assert_eq!(sent("x-amz-acl"), Some(&b"private"[..]));
        assert_eq!(sent("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(sent("x-amz-tagging"), Some(&b"a%20b=1%2B2"[..]));
        assert_eq!(sent("x-amz-meta-a"), Some("länger".as_bytes()));
        assert_eq!(headers.len(), 4);
        let broken = fields(&[("content-type", "a\r\nb")], "").unwrap();
        assert_eq!(broken.headers().unwrap_err().code, Code::InvalidArgument);
        let hash = fields(&[("x-amz-content-sha256", "abc")], "").unwrap();
        assert_eq!(hash.headers().unwrap_err().code, Code::NotImplemented);
    }

    #[test]
    fn a_browser_is_sent_to_web_addresses_alone() {
        let sent = |url: &str| {
            let found = fields(&[("success_action_redirect", url)], "").unwrap();
            let action = found.success_action();
            action.redirect_of("b", "a b/é", "\"1\"")
        };
        let end = "bucket=b&key=a+b%2F%C3%A9&etag=%221%22";
        for (url, to) in [
            ("http://h/p", format!("http://h/p?{end}")),
            ("https://h/p?x=1", format!("https://h/p?x=1&{end}")),
            ("https://h/p#end", format!("https://h/p?{end}#end")),
        ] {
            assert_eq!(sent(url), Some(to));
        }
        for none in [
            "",
            "/p",
            "javascript:alert(1)",
            "ftp://h/",
            "http://h/\r\nx: y",
            "http:",
        ] {
            assert_eq!(sent(none), None, "{none}");
        }
        let status = |text: &str| {
            let found = fields(&[("success_action_status", text)], "").unwrap();
            found.success_action().status.as_u16()
        };
        let statuses = ["200", "201", "204", "404", ""].map(status);
        assert_eq!(statuses, [200, 201, 204, 204, 204]);
        let old = fields(&[("redirect", "http://h/")], "").unwrap();
        assert!(old.success_action().redirect.is_some());
    }
}
