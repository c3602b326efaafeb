//! The query string of a request, decoded once and kept in its order.

use std::str::FromStr;

use crate::error::{Code, Fault};
use crate::percent::decode_form;

/// A query string, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a raw query string.
    ///
    /// # Errors
    /// `InvalidURI` where it is not UTF-8 or not well encoded.
    pub fn parse(raw: &str) -> Result<Query, Fault> {
        let malformed = || Fault::from(Code::InvalidURI);
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode_form(name).ok_or_else(malformed)?;
            let value = decode_form(value).ok_or_else(malformed)?;
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query { pairs })
    }

    /// Whether a parameter is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        let found = pairs.find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The first value of a parameter that is a number.
    ///
    /// # Errors
    /// `InvalidArgument` where it is none; an empty value counts as absent.
    pub fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Fault> {
        let text = self.text(name);
        match (text, text.parse()) {
            ("", _) => Ok(None),
            (_, Ok(number)) => Ok(Some(number)),
            (_, Err(_)) => {
                let message = format!("Provided {name} not an integer or within integer range");
                Err(Fault::argument(name, text, message))
            }
        }
    }

    /// All parameters, in their order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_keeps_its_order_and_decodes_plus() {
        let query = Query::parse("prefix=a%2Fb+c&uploads&x=1&x=2&&e=").unwrap();
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!(query.get("uploads"), Some(""));
        assert_eq!(query.get("x"), Some("1"));
        assert_eq!(query.pairs().len(), 5);
        assert_eq!(Query::parse("a=%zz").unwrap_err().code, Code::InvalidURI);
    }

    #[test]
    fn numbers_are_read_strictly() {
        let query = Query::parse("a=12&b=x&c=").unwrap();
        assert_eq!(query.number::<i32>("a").unwrap(), Some(12));
        assert_eq!(query.number::<i32>("c").unwrap(), None);
        assert_eq!(query.number::<i32>("d").unwrap(), None);
        let fault = query.number::<i32>("b").unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(raw in "[%&=+a-f0-9]{0,40}") {
            let _ = Query::parse(&raw);
        }
    }
}
