//! A call: its parameters, and who makes it.

use http::HeaderMap;

use super::Action;
use crate::access::Asker;
use crate::error::{Code, Fault};
use crate::query::Query;
use crate::request_id::RequestId;
use crate::s3::Shared;

/// Parameters of a call at most.
const PARAMETERS_MAX: usize = 1000;

/// Characters of a wrong value that an error shows.
const VALUE_SHOWN: usize = 256;

/// Parameters that are of the protocol and of the signature, whatever the action.
const COMMON: &[&str] = &["Action", "Version"];

/// Parameters that are lists.
const LISTS: &[&str] = &["PolicyArns", "TagKeys", "Tags"];

/// A call that is to be answered.
pub struct Call<'a> {
    /// What the reactor serves from.
    pub shared: &'a Shared,
    /// What is asked for.
    pub action: &'static Action,
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// The headers of its request.
    pub headers: &'a HeaderMap,
    /// Who calls.
    pub asker: &'a Asker,
    /// The id of its request.
    pub request_id: RequestId,
}

/// The parameters of a call, by their names; members of lists are `NAME.member.1` and so on.
#[derive(Debug, Default)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    /// Reads the form in a body, or the query of a request without one.
    ///
    /// # Errors
    /// `MalformedQueryString`; `ValidationError` for a parameter that is there twice, or for too many.
    pub fn parse(text: &[u8]) -> Result<Parameters, Fault> {
        let malformed = || Fault::from(Code::MalformedQueryString);
        let text = std::str::from_utf8(text).map_err(|_| malformed())?;
        let query = Query::parse(text).map_err(|_| malformed())?;
        let is_signature = |name: &str| {
            name.get(..6)
                .is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
        };
        let pairs = query.pairs().iter();
        let pairs = pairs.filter(|(name, _)| !is_signature(name)).cloned();
        let mut pairs: Vec<(String, String)> = pairs.collect();
        pairs.sort();
        if pairs.len() > PARAMETERS_MAX {
            return Err(invalid("Too many parameters."));
        }
        match pairs.windows(2).find(|two| two[0].0 == two[1].0) {
            None => Ok(Parameters { pairs }),
            Some(two) => Err(invalid(format!(
                "The parameter {} is there more than once.",
                two[0].0
            ))),
        }
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .pairs
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        at.ok().map(|at| self.pairs[at].1.as_str())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn required(&self, name: &str) -> Result<&str, Fault> {
        self.get(name)
            .ok_or_else(|| violation(name, None, "Member must not be null"))
    }

    /// A parameter that is a number within bounds.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if number < least => {
                let rule = format!("Member must have value greater than or equal to {least}");
                Err(violation(name, Some(text), &rule))
            }
            Ok(number) if number > most => {
                let rule = format!("Member must have value less than or equal to {most}");
                Err(violation(name, Some(text), &rule))
            }
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(invalid(format!(
                "{text} is no number, which {name} must be."
            ))),
        }
    }

    /// A parameter that is `true` or `false`.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(text) => Err(invalid(format!(
                "{text} is neither true nor false, one of which {name} must be."
            ))),
        }
    }

    /// The members of a list, in their order; of a list of structures, what follows the member's number is `field`.
    ///
    /// # Errors
    /// `ValidationError` where something of the list is no such member: what restricts a session goes by unread nowhere.
    pub fn members(&self, name: &str, field: &str) -> Result<Vec<&str>, Fault> {
        let dot = if field.is_empty() { "" } else { "." };
        let member = |number: usize| self.get(&format!("{name}.member.{number}{dot}{field}"));
        let members: Vec<&str> = (1..).map_while(member).collect();
        // An empty list is sent as its name alone.
        let is_of_list = |(known, value): &&(String, String)| match known.strip_prefix(name) {
            Some("") => !value.is_empty(),
            Some(rest) => rest.starts_with('.'),
            None => false,
        };
        match self.pairs.iter().filter(is_of_list).count() == members.len() {
            true => Ok(members),
            false => Err(invalid(format!(
                "The members of {name} are {name}.member.1{dot}{field} and so on, and nothing else."
            ))),
        }
    }

    /// Those that an action reads. Others that say something are refused; an empty one, which is what SDKs send of a list without members and Terraform of a
    /// description that nobody gave, is dropped, so that nothing that decides about the call finds it.
    ///
    /// # Errors
    /// `NotImplemented` with the name.
    pub fn known_to(mut self, action: &Action) -> Result<Parameters, Fault> {
        let is_known = |name: &str| {
            // Only a list has members.
            let head = name.split('.').next().unwrap_or_default();
            let whole = if LISTS.contains(&head) { head } else { name };
            COMMON.contains(&name) || action.parameters.contains(&whole)
        };
        self.pairs
            .retain(|(name, value)| is_known(name) || !value.is_empty());
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            None => Ok(self),
            Some((name, _)) => Err(Fault::not_implemented(format_args!(
                "The parameter {name} of {}",
                action.name
            ))),
        }
    }
}

/// A `ValidationError` with a sentence.
pub fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(Code::ValidationError, message.into())
}

/// A `ValidationError` in AWS's words: a parameter breaks a rule. `value` is `None` where it is not there.
pub fn violation(name: &str, value: Option<&str>, rule: &str) -> Fault {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let name: String = first.into_iter().chain(letters).collect();
    let value = match value {
        None => "null".to_owned(),
        Some(text) => format!("'{}'", text.chars().take(VALUE_SHOWN).collect::<String>()),
    };
    invalid(format!(
        "1 validation error detected: Value {value} at '{name}' failed to satisfy constraint: {rule}"
    ))
}
