//! Which requests are calls, which actions they name, and what their parameters say.

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use proptest::prelude::*;

use super::*;
use crate::operation::OPERATIONS;

fn form() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers
}

#[test]
fn a_call_is_a_form_at_the_root_or_a_query_with_an_action() {
    let is_call_at = |method: Method, uri: &'static str, headers: &HeaderMap| {
        is_call(&method, &Uri::from_static(uri), headers)
    };
    let none = HeaderMap::new();
    let call = "/?Action=GetCallerIdentity&Version=2011-06-15";
    assert!(is_call_at(Method::POST, "/", &form()));
    assert!(is_call_at(Method::GET, call, &none));
    assert!(!is_call_at(Method::POST, "/", &none));
    assert!(!is_call_at(Method::POST, "/bucket", &form()));
    assert!(!is_call_at(Method::PUT, "/", &form()));
    for uri in [
        "/",
        "/?prefix=Action",
        "/?Action=x",
        "/b?Action=x&Version=y",
    ] {
        assert!(!is_call_at(Method::GET, uri, &none), "{uri}");
    }
}

#[test]
fn names_of_actions_are_unique_and_no_operations() {
    let mut names: Vec<&str> = ACTIONS.iter().map(|row| row.name).collect();
    names.extend(OPERATIONS.iter().map(|row| row.name));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn an_action_is_found_by_service_name_and_version() {
    let found = |service: Option<Service>, text: &str| {
        let parameters = Parameters::parse(text.as_bytes()).expect("parameters");
        find(service, &parameters)
            .map(|row| row.name)
            .map_err(|fault| fault.code)
    };
    let call = "Action=CreateUser&Version=2010-05-08";
    assert_eq!(found(Some(Service::Iam), call), Ok("CreateUser"));
    assert_eq!(found(None, call), Err(Code::MissingAuthenticationToken));
    let invalid = Err(Code::InvalidAction);
    assert_eq!(found(Some(Service::Sts), call), invalid);
    for text in [
        "",
        "Action=CreateUser",
        "Action=createUser&Version=2010-05-08",
        "Version=2010-05-08",
    ] {
        assert_eq!(found(Some(Service::Iam), text), invalid, "{text}");
    }
}

#[test]
fn parameters_are_read_once_and_strictly() {
    let parse = |text: &str| Parameters::parse(text.as_bytes());
    let read =
        parse("b=x+y%2F&a=1&X-Amz-Date=2&Keys.member.2=n&Keys.member.1=m&Tags.member.1.Key=k")
            .expect("well formed");
    assert_eq!(read.get("b"), Some("x y/"));
    assert_eq!(read.get("X-Amz-Date"), None, "it is the signature's");
    assert_eq!(read.members("Keys", "").expect("a list"), ["m", "n"]);
    assert_eq!(read.members("Tags", "Key").expect("a list"), ["k"]);
    assert!(read.members("c", "").expect("none").is_empty());
    for unread in [
        "L=x",
        "L.1.arn=x",
        "L.member.0.arn=x",
        "L.member.2.arn=x",
        "L.member.1=x",
        "L.member.1.Arn=x",
        "L.member.1.arn=x&L.member.3.arn=y",
    ] {
        let read = parse(unread).expect("well formed");
        let fault = read.members("L", "arn").expect_err(unread);
        assert_eq!(fault.code, Code::ValidationError);
    }
    let empty = parse("L=&Lx.member.1=x").expect("well formed");
    assert!(empty.members("L", "arn").expect("none").is_empty());
    assert_eq!(read.number("a", 1, 10).expect("in bounds"), Some(1));
    assert_eq!(read.number("c", 1, 10).expect("absent"), None);
    for (name, least) in [("a", 2), ("b", 0)] {
        let fault = read.number(name, least, 10).expect_err(name);
        assert_eq!(fault.code, Code::ValidationError);
    }
    let missing = read.required("UserName").expect_err("it is not there");
    let message = "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null";
    assert_eq!(missing.message, message);
    assert_eq!(
        parse("a=1&a=2").expect_err("twice").code,
        Code::ValidationError
    );
    assert_eq!(
        parse("a=%zz").expect_err("malformed").code,
        Code::MalformedQueryString
    );
    assert!(Parameters::parse(b"a=\xff").is_err());
}

#[test]
fn what_an_action_does_not_read_is_refused_by_name() {
    let row = ACTIONS
        .iter()
        .find(|row| row.name == "CreateUser")
        .expect("a row");
    let check = |text: &str| {
        let parameters = Parameters::parse(text.as_bytes()).expect("parameters");
        let known = parameters.known_to(row);
        let known = known.map(|known| known.get("Description").map(str::to_owned));
        known.map_err(|fault| fault.message.into_owned())
    };
    assert_eq!(
        check("Action=CreateUser&Version=2010-05-08&UserName=a&Path=/"),
        Ok(None)
    );
    assert_eq!(
        check("UserName=a&Tags=&Description="),
        Ok(None),
        "they say nothing, and are not there"
    );
    let refused = check("UserName=a&Tags.member.1.Key=k").expect_err("it has tags");
    assert!(
        refused.contains("Tags.member.1.Key of CreateUser"),
        "{refused}"
    );
}

/// The rows of docs/S3.md are the rows of the table.
#[test]
fn the_document_lists_every_action() {
    let document = include_str!("../../../docs/S3.md");
    let (_, calls) = document
        .split_once("\n## Calls of IAM and STS\n")
        .expect("a section");
    let calls = calls.split("\n## ").next().expect("its text");
    let (_, rows) = calls
        .split_once("| action | state | notes |")
        .expect("a table");
    let mut listed = Vec::new();
    for line in rows.lines() {
        let mut cells = line.strip_prefix("| ").unwrap_or_default().split(" | ");
        let (names, state) = (cells.next().unwrap_or_default(), cells.next());
        if matches!(state, Some("works" | "partly")) {
            listed.extend(names.split(", "));
        }
    }
    let mut served: Vec<&str> = ACTIONS.iter().map(|row| row.name).collect();
    listed.sort_unstable();
    served.sort_unstable();
    assert_eq!(listed, served);
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[%&=+a-fA-Z.0-9-]{0,60}") {
        let _ = Parameters::parse(text.as_bytes());
    }
}
