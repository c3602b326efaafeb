//! A policy's document: what may stand in it, and what is wrong with one that is refused.
//!
//! The grammar is that of AWS's IAM user guide, "Grammar of the IAM JSON policy language"; what a bucket policy must be beyond it, that of the user guide of S3,
//! "Bucket policies". Invariant: an element that is not known is refused, so that no part of a policy goes by unread.

use super::action::{self, Level};
use super::condition;
use super::json::Json;
use super::key::Key;
use super::pattern::{Pattern, Syntax};
use super::principal::Principals;
use super::{Effect, MalformedPolicy, PolicyKind, Statement};

/// A document's bytes at most: AWS's quota for bucket policies.
pub(super) const DOCUMENT_BYTES_MAX: usize = 20 << 10;

/// The version whose policies have variables.
const WITH_VARIABLES: &str = "2012-10-17";

/// Reads the statements of a document.
pub(super) fn statements(
    text: &[u8],
    kind: PolicyKind<'_>,
) -> Result<Vec<Statement>, MalformedPolicy> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let what = format!("Policy exceeds the maximum size of {DOCUMENT_BYTES_MAX} bytes");
        return Err(MalformedPolicy::new(what));
    }
    if text.first() != Some(&b'{') {
        let what = "Policies must be valid JSON and the first byte must be '{'";
        return Err(MalformedPolicy::new(what));
    }
    let json: Json = serde_json::from_slice(text).map_err(|error| {
        MalformedPolicy::new("This policy contains invalid Json").about(&error.to_string())
    })?;
    let fields = Fields::of(&json, "The policy", &["Version", "Id", "Statement"])?;
    let has_variables = match fields.text("Version")? {
        None | Some("2008-10-17") => false,
        Some(version) if version == WITH_VARIABLES => true,
        Some(_) => {
            let what = "The policy must contain a valid version string";
            return Err(MalformedPolicy::new(what));
        }
    };
    fields.text("Id")?;
    let list = fields.get("Statement");
    let list = list.ok_or_else(|| MalformedPolicy::new("Missing required field Statement"))?;
    let mut statements: Vec<Statement> = Vec::new();
    for json in list.items() {
        let statement = statement(json, kind, has_variables)?;
        let has_same = |known: &Statement| known.sid.is_some() && known.sid == statement.sid;
        if statements.iter().any(has_same) {
            let what = "Statement IDs (SID) in a single policy must be unique";
            return Err(MalformedPolicy::new(what));
        }
        statements.push(statement);
    }
    match statements.is_empty() {
        true => Err(MalformedPolicy::new("Statement is empty!")),
        false => Ok(statements),
    }
}

/// An object whose names are all known.
struct Fields<'j>(&'j [(String, Json)]);

impl<'j> Fields<'j> {
    fn of(json: &'j Json, what: &str, known: &[&str]) -> Result<Fields<'j>, MalformedPolicy> {
        let Json::Object(fields) = json else {
            let what = format!("{what} must be a JSON object");
            return Err(MalformedPolicy::new(what));
        };
        let mut names = fields.iter().map(|(name, _)| name.as_str());
        match names.find(|name| !known.contains(name)) {
            None => Ok(Fields(fields)),
            Some(name) => Err(MalformedPolicy::new(format!("Unknown field {name}"))),
        }
    }

    fn get(&self, name: &str) -> Option<&'j Json> {
        let mut fields = self.0.iter();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Result<Option<&'j str>, MalformedPolicy> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(MalformedPolicy::new(format!("{name} must be a string"))),
        }
    }

    /// The texts under one of two names, of which one must be there; whether it is the one that is negated.
    fn texts(&self, name: &str) -> Result<(Vec<&'j str>, bool), MalformedPolicy> {
        let negated = format!("Not{name}");
        let (json, is_negated) = match (self.get(name), self.get(&negated)) {
            (Some(json), None) => (json, false),
            (None, Some(json)) => (json, true),
            (None, None) => {
                return Err(MalformedPolicy::new(format!(
                    "Missing required field {name}"
                )));
            }
            (Some(_), Some(_)) => {
                let what = format!("A statement has {name} or {negated}, not both");
                return Err(MalformedPolicy::new(what));
            }
        };
        let texts: Option<Vec<&str>> = json.items().iter().map(Json::text).collect();
        match texts {
            Some(texts) if !texts.is_empty() => Ok((texts, is_negated)),
            Some(_) => Err(MalformedPolicy::new(format!("{name} cannot be empty!"))),
            None => {
                let what = format!("{name} must be a string or a list of strings");
                Err(MalformedPolicy::new(what))
            }
        }
    }
}

const STATEMENT_FIELDS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

fn statement(
    json: &Json,
    kind: PolicyKind<'_>,
    has_variables: bool,
) -> Result<Statement, MalformedPolicy> {
    let fields = Fields::of(json, "A statement", STATEMENT_FIELDS)?;
    let effect = match fields.text("Effect")? {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(other) => return Err(MalformedPolicy::new("Invalid effect").about(other)),
        None => return Err(MalformedPolicy::new("Missing required field Effect")),
    };
    let principals = principals(&fields, kind, effect)?;
    let (actions, not_action) = fields.texts("Action")?;
    let (resources, not_resource) = match kind {
        PolicyKind::Trust => no_resources(&fields)?,
        PolicyKind::Bucket { .. } | PolicyKind::Identity => fields.texts("Resource")?,
    };
    check_actions(kind, &actions)?;
    check_resources(kind, &resources)?;
    if !not_action && !not_resource && matches!(kind, PolicyKind::Bucket { .. }) {
        check_together(&actions, &resources)?;
    }
    let compiled = actions.iter().map(|text| {
        let invalid = || MalformedPolicy::new("Policy has invalid action").about(text);
        action::compile(text).ok_or_else(invalid)
    });
    let syntax = Syntax {
        wildcards: true,
        variables: has_variables,
    };
    let patterns = resources
        .iter()
        .map(|text| Pattern::compile(text, syntax).map_err(MalformedPolicy::new));
    let conditions = match fields.get("Condition") {
        None => Vec::new(),
        Some(json) => {
            let key_of = match kind {
                PolicyKind::Trust => Key::parse_of_trust,
                PolicyKind::Bucket { .. } | PolicyKind::Identity => Key::parse,
            };
            condition::parse(json, has_variables, key_of)?
        }
    };
    Ok(Statement {
        sid: fields.text("Sid")?.map(str::to_owned),
        effect,
        principals,
        actions: compiled.collect::<Result<_, _>>()?,
        not_action,
        resources: patterns.collect::<Result<_, _>>()?,
        not_resource,
        conditions,
    })
}

/// What a trust policy is about is its role, and so stands in no field: it is about all resources but none.
fn no_resources<'j>(fields: &Fields<'j>) -> Result<(Vec<&'j str>, bool), MalformedPolicy> {
    let mut named = ["Resource", "NotResource"].into_iter();
    match named.find(|name| fields.get(name).is_some()) {
        None => Ok((Vec::new(), true)),
        Some(name) => Err(MalformedPolicy::new(format!("Has prohibited field {name}"))),
    }
}

fn principals(
    fields: &Fields<'_>,
    kind: PolicyKind<'_>,
    effect: Effect,
) -> Result<Principals, MalformedPolicy> {
    let named = (fields.get("Principal"), fields.get("NotPrincipal"));
    match (kind, named) {
        (PolicyKind::Identity, (None, None)) => Ok(Principals::Owner),
        (PolicyKind::Identity, _) => Err(MalformedPolicy::new(
            "Policy document should not specify a principal.",
        )),
        (_, (Some(json), None)) => Ok(Principals::Named(Principals::parse(json)?)),
        (_, (None, Some(_))) if effect == Effect::Allow => Err(MalformedPolicy::new(
            "Allow with NotPrincipal is not allowed.",
        )),
        (_, (None, Some(json))) => Ok(Principals::AllBut(Principals::parse(json)?)),
        (_, (None, None)) => Err(MalformedPolicy::new("Missing required field Principal")),
        (_, (Some(_), Some(_))) => Err(MalformedPolicy::new(
            "A statement has Principal or NotPrincipal, not both",
        )),
    }
}

/// The actions of a bucket policy are known ones of S3, those of a trust policy of STS; those of an identity may be of every service.
fn check_actions(kind: PolicyKind<'_>, actions: &[&str]) -> Result<(), MalformedPolicy> {
    let is_valid = |text: &&str| match kind {
        PolicyKind::Bucket { .. } => !action::known(text).is_empty(),
        PolicyKind::Trust => {
            let service = text.split(':').next().unwrap_or_default();
            service.eq_ignore_ascii_case("sts") && action::compile(text).is_some()
        }
        PolicyKind::Identity => action::compile(text).is_some(),
    };
    match actions.iter().find(|text| !is_valid(text)) {
        None => Ok(()),
        Some(text) => Err(MalformedPolicy::new("Policy has invalid action").about(text)),
    }
}

fn check_resources(kind: PolicyKind<'_>, resources: &[&str]) -> Result<(), MalformedPolicy> {
    let is_valid = |text: &&str| match kind {
        PolicyKind::Bucket { name } => may_lie_in(text, name),
        PolicyKind::Identity | PolicyKind::Trust => *text == "*" || text.starts_with("arn:"),
    };
    match resources.iter().find(|text| !is_valid(text)) {
        None => Ok(()),
        Some(text) => Err(MalformedPolicy::new("Policy has invalid resource").about(text)),
    }
}

/// What stands behind the five colons of a resource's ARN; `*` for a star alone.
fn relative(resource: &str) -> Option<&str> {
    let mut parts = resource.splitn(6, ':');
    if resource == "*" {
        return Some("*");
    }
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_s3 = arn == "arn" && matches!(partition, "aws" | "*") && matches!(service, "s3" | "*");
    let is_plain = matches!(region, "" | "*") && matches!(account, "" | "*");
    (is_s3 && is_plain && !rest.is_empty()).then_some(rest)
}

/// Whether a resource can be the bucket or something in it.
fn may_lie_in(resource: &str, bucket: &str) -> bool {
    let Some(relative) = relative(resource) else {
        return false;
    };
    let name = relative.split('/').next().unwrap_or_default();
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let fits = |pattern: &str, text: &str| {
        let pattern = Pattern::compile(pattern, syntax);
        pattern.is_ok_and(|pattern| pattern.matches(text, &|_| None))
    };
    // A star may stand for the end of the name, a slash and the head of a key.
    let reaches_into = name.split_once('*').is_some_and(|(head, _)| {
        let within = format!("{bucket}/");
        fits(&format!("{head}*"), &within)
    });
    fits(name, bucket) || reaches_into
}

/// Each action must be about a kind of thing that a resource can be.
fn check_together(actions: &[&str], resources: &[&str]) -> Result<(), MalformedPolicy> {
    let mut levels = Vec::new();
    for resource in resources {
        let relative = relative(resource).unwrap_or("*");
        if relative.contains('/') || relative.contains('*') {
            levels.push(Level::Object);
        }
        if !relative.contains('/') {
            levels.push(Level::Bucket);
        }
        if relative == "*" {
            levels.push(Level::Service);
        }
    }
    let applies = |text: &&str| {
        let mut known = action::known(text).into_iter();
        known.any(|level| levels.contains(&level))
    };
    match actions.iter().find(|text| !applies(text)) {
        None => Ok(()),
        Some(text) => Err(MalformedPolicy::new(
            "Action does not apply to any resource(s) in statement",
        )
        .about(text)),
    }
}
