//! Policies that are refused, and forms that policies let through or not.

use super::*;
use crate::form::parts::Field;

/// 2013-08-06T12:00:00Z.
const NOON: i64 = 1_375_790_400;

const UNTIL: &str = r#""expiration":"2013-08-06T12:00:00.000Z""#;

fn parse(json: &str) -> Result<PostPolicy, Fault> {
    PostPolicy::parse(&BASE64.encode(json))
}

fn policy(conditions: &str) -> PostPolicy {
    let json = format!(r#"{{{UNTIL},"conditions":[{conditions}]}}"#);
    parse(&json).unwrap_or_else(|fault| panic!("{conditions}: {}", fault.message))
}

fn fields(pairs: &[(&str, &str)]) -> FormFields {
    let field = |(name, value): &(&str, &str)| Field {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    FormFields::new(pairs.iter().map(field).collect(), Some("photo.jpg")).unwrap()
}

/// What is wrong with a form for the bucket `photos`, where that is a condition already.
fn refusal(conditions: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let policy = policy(&format!(r#"{{"bucket":"photos"}},{conditions}"#));
    let fault = policy.check("photos", &fields(pairs), NOON).err()?;
    assert_eq!(fault.code, Code::AccessDenied);
    let start = "Invalid according to Policy: ";
    let message = fault.message.strip_prefix(start);
    Some(
        message
            .unwrap_or_else(|| panic!("{}", fault.message))
            .to_owned(),
    )
}

#[test]
fn conditions_hold_or_are_named() {
    for (conditions, pairs, failed) in [
        (r#"{"key":"a"}"#, &[("key", "a")][..], None),
        (r#"{"KEY":"a"}"#, &[("Key", "a")], None),
        (r#"["eq","$key","a"]"#, &[("key", "a")], None),
        (r#"["EQ","$kEy","a"]"#, &[("key", "a")], None),
        (
            r#"["eq","$key","a"]"#,
            &[("key", "A")],
            Some(r#"["eq", "$key", "a"]"#),
        ),
        (
            r#"{"key":"a\"b"}"#,
            &[("key", "c")],
            Some(r#"["eq", "$key", "a\"b"]"#),
        ),
        (
            r#"["starts-with","$key","u/"]"#,
            &[("key", "u/${filename}")],
            None,
        ),
        (
            r#"["eq","$key","u/photo.jpg"]"#,
            &[("key", "u/${filename}")],
            None,
        ),
        (r#"["starts-with","$key",""]"#, &[("key", "")], None),
        (
            r#"["Starts-With","$Key","u/"]"#,
            &[("key", "v/a")],
            Some(r#"["starts-with", "$Key", "u/"]"#),
        ),
        // A field that is not there meets no condition.
        (
            r#"["starts-with","$key",""],["eq","$acl","private"]"#,
            &[("key", "a")],
            Some(r#"["eq", "$acl", "private"]"#),
        ),
        (
            r#"{"key":"a"},["starts-with","$acl",""]"#,
            &[("key", "a")],
            Some(r#"["starts-with", "$acl", ""]"#),
        ),
        // Two conditions on one field must both hold.
        (
            r#"["starts-with","$key","u/"],["starts-with","$key","u/v"]"#,
            &[("key", "u/w")],
            Some(r#"["starts-with", "$key", "u/v"]"#),
        ),
        (
            r#"{"key":"a"},["starts-with","$Content-Type","image/"]"#,
            &[
                ("key", "a"),
                ("content-type", "image/png, image/jpeg,image/gif"),
            ],
            None,
        ),
        (
            r#"{"key":"a"},["starts-with","$Content-Type","image/"]"#,
            &[("key", "a"), ("Content-Type", "image/png,text/plain")],
            Some(r#"["starts-with", "$Content-Type", "image/"]"#),
        ),
        // Of no other field is it a list.
        (
            r#"{"key":"a"},["starts-with","$x-amz-meta-a","b"]"#,
            &[("key", "a"), ("x-amz-meta-a", "b,c")],
            None,
        ),
    ] {
        let expected = failed.map(|shown| format!("Policy Condition failed: {shown}"));
        assert_eq!(
            refusal(conditions, pairs),
            expected,
            "{conditions} {pairs:?}"
        );
    }
}

#[test]
fn what_no_condition_covers_is_refused() {
    let key = r#"{"key":"a"}"#;
    for (pairs, extra) in [
        (&[("key", "a"), ("x-ignore-me", "x")][..], None),
        (
            &[("key", "a"), ("Policy", "x"), ("X-Amz-Signature", "x")],
            None,
        ),
        (&[("key", "a"), ("acl", "private")], Some("acl")),
        (
            &[("key", "a"), ("x-amz-date", "d"), ("Submit", "Go")],
            Some("submit, x-amz-date"),
        ),
    ] {
        let expected = extra.map(|names| format!("Extra input fields: {names}"));
        assert_eq!(refusal(key, pairs), expected, "{pairs:?}");
    }
    // The bucket must be covered too, and is the one that the request names, whatever a field says.
    let form = fields(&[("key", "a"), ("bucket", "photos")]);
    let fault = policy(key).check("photos", &form, NOON).unwrap_err();
    assert!(fault.message.ends_with("Extra input fields: bucket"));
    let elsewhere = policy(&format!(r#"{key},{{"bucket":"photos"}}"#)).check("other", &form, NOON);
    let message = elsewhere.unwrap_err().message;
    assert!(
        message.ends_with(r#"["eq", "$bucket", "photos"]"#),
        "{message}"
    );
}

#[test]
fn a_policy_ends_with_its_last_second() {
    let policy = policy(r#"{"bucket":"b"},{"key":"a"}"#);
    let form = fields(&[("key", "a")]);
    assert_eq!(policy.check("b", &form, NOON).unwrap(), 0..=PUT_BYTES_MAX);
    let fault = policy.check("b", &form, NOON + 1).unwrap_err();
    assert_eq!(
        fault.message,
        "Invalid according to Policy: Policy expired."
    );
}

#[test]
fn lengths_are_within_every_range() {
    let lengths = |conditions: &str| {
        let policy = policy(&format!(r#"{{"bucket":"b"}},{conditions}"#));
        policy.check("b", &fields(&[]), NOON).unwrap()
    };
    assert_eq!(
        lengths(r#"["content-length-range",1,1048576]"#),
        1..=1_048_576
    );
    assert_eq!(lengths(r#"["Content-Length-Range","1","5"]"#), 1..=5);
    let two = r#"["content-length-range",1,9],["content-length-range",3,20]"#;
    assert_eq!(lengths(two), 3..=9);
    assert_eq!(
        lengths(r#"["content-length-range",0,99999999999999]"#),
        0..=PUT_BYTES_MAX
    );
    assert!(lengths(r#"["content-length-range",5,1]"#).is_empty());
}

#[test]
fn the_escapes_of_policies_are_understood() {
    let found = policy(r#"{"bucket":"b"},["eq","$key","\$a\v\\$\u00e9\n"]"#);
    let form = fields(&[("key", "$a\u{b}\\$é\n")]);
    assert!(found.check("b", &form, NOON).is_ok());
}

#[test]
fn malformed_policies_are_refused_with_a_sentence() {
    let conditions = |text: &str| format!(r#"{{{UNTIL},"conditions":[{text}]}}"#);
    let simple = "Invalid Simple-Condition: Simple-Conditions must have exactly one property \
                  specified.";
    for (json, sentence) in [
        ("", "Invalid JSON."),
        ("[]", "Invalid JSON."),
        ("{", "Invalid JSON."),
        (r#"{"conditions":[]}"#, "Policy missing expiration."),
        (&format!("{{{UNTIL}}}"), "Policy missing conditions."),
        (&format!("{{{UNTIL},{UNTIL}}}"), "Invalid JSON."),
        (r#"{"Expiration":"x"}"#, "Unexpected: 'Expiration'."),
        (
            r#"{"expiration":"2013-08-06 12:00:00Z"}"#,
            "Invalid 'expiration' value: '2013-08-06 12:00:00Z'",
        ),
        (
            r#"{"expiration":"2011-09-13T07:52:58+02:00"}"#,
            "Invalid 'expiration' value: '2011-09-13T07:52:58+02:00'",
        ),
        (r#"{"expiration":5}"#, "Invalid 'expiration' value: ''"),
        (
            &format!(r#"{{{UNTIL},"conditions":{{}}}}"#),
            "Invalid 'conditions' value: not a list.",
        ),
        (&conditions("{}"), simple),
        (&conditions(r#"{"a":"b","c":"d"}"#), simple),
        (
            &conditions(r#"{"a":1}"#),
            "Invalid Simple-Condition: value must be a string.",
        ),
        (
            &conditions("1"),
            "Invalid Condition: neither an object nor a list.",
        ),
        (
            &conditions(r#"["eq","$a"]"#),
            "Invalid Condition: a list has an operator and two arguments.",
        ),
        (
            &conditions(r#"["ends-with","$a","b"]"#),
            "Invalid Condition: unknown operation 'ends-with'.",
        ),
        (
            &conditions(r#"["eq","a","b"]"#),
            "Invalid Condition: the name of a field has a dollar sign before it.",
        ),
        (
            &conditions(r#"["eq","$a",1]"#),
            "Invalid Condition: the arguments are texts.",
        ),
        (
            &conditions(r#"["content-length-range",-1,2]"#),
            "Invalid content-length-range: '-1' is no number of bytes.",
        ),
        (
            &conditions(r#"["content-length-range",1.5,2]"#),
            "Invalid content-length-range: '1.5' is no number of bytes.",
        ),
        (
            &conditions(r#"["content-length-range",null,2]"#),
            "Invalid content-length-range: not a number.",
        ),
        (
            &conditions(r#"["content-length-range",0]"#),
            "Invalid Condition: a list has an operator and two arguments.",
        ),
    ] {
        let fault = parse(json).expect_err(json);
        assert_eq!(fault.code, Code::InvalidPolicyDocument, "{json}");
        assert_eq!(
            fault.message,
            format!("Invalid Policy: {sentence}"),
            "{json}"
        );
    }
    let fault = PostPolicy::parse("no base64!").unwrap_err();
    assert_eq!(fault.message, "Invalid Policy: Invalid base64.");
}
