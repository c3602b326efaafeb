//! Documents that are refused, and decisions: who may do what under which policies.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;

const OWNER: u64 = 1;

fn bucket(text: &str) -> Result<Policy, String> {
    let kind = PolicyKind::Bucket { name: "photos" };
    Policy::parse(text.as_bytes(), kind).map_err(|error| error.to_string())
}

fn identity(text: &str) -> Result<Policy, String> {
    let policy = Policy::parse(text.as_bytes(), PolicyKind::Identity);
    policy.map_err(|error| error.to_string())
}

/// A policy of 2012-10-17 with these statements.
fn document(statements: &str) -> String {
    format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}")
}

/// A statement of a bucket's policy: effect, principal in JSON, actions in JSON, key pattern (`@` for the bucket itself), further elements.
fn of_bucket(effect: &str, principal: &str, actions: &str, resource: &str, more: &str) -> String {
    let resource = match resource {
        "@" => "arn:aws:s3:::photos".to_owned(),
        key => format!("arn:aws:s3:::photos/{key}"),
    };
    format!(
        "{{\"Effect\":\"{effect}\",\"Principal\":{principal},\"Action\":{actions},\"Resource\":\"{resource}\"{more}}}"
    )
}

fn of_identity(effect: &str, actions: &str, resource: &str, more: &str) -> String {
    format!("{{\"Effect\":\"{effect}\",\"Action\":{actions},\"Resource\":\"{resource}\"{more}}}")
}

#[test]
fn malformed_documents_are_refused_with_a_sentence() {
    let good = of_bucket("Allow", "\"*\"", "\"s3:GetObject\"", "*", "");
    assert!(bucket(&document(&good)).is_ok());
    let with = |from: &str, to: &str| document(&good.replace(from, to));
    let long = format!("{}{}", document(&good), " ".repeat(20 << 10));
    for (text, says) in [
        (String::new(), "first byte must be '{'"),
        ("[]".to_owned(), "first byte must be '{'"),
        (" {}".to_owned(), "first byte must be '{'"),
        ("{".to_owned(), "invalid Json"),
        (document(&good) + "x", "invalid Json"),
        (
            "{\"Id\":\"a\",\"Id\":\"b\"}".to_owned(),
            "invalid Json: Id is there twice",
        ),
        (long, "exceeds the maximum size of 20480 bytes"),
        ("{}".to_owned(), "Missing required field Statement"),
        (document(""), "Statement is empty!"),
        (document("1"), "A statement must be a JSON object"),
        (
            document(&good).replace("2012-10-17", "2012-10-18"),
            "valid version string",
        ),
        (
            document(&good).replace("\"2012-10-17\"", "1"),
            "Version must be a string",
        ),
        (
            document(&good).replace("\"Version\"", "\"Versions\""),
            "Unknown field Versions",
        ),
        (
            with("\"Effect\":\"Allow\",", ""),
            "Missing required field Effect",
        ),
        (with("Allow", "allow"), "Invalid effect: allow"),
        (with("\"Effect\"", "\"Efect\""), "Unknown field Efect"),
        (
            with("\"Principal\":\"*\",", ""),
            "Missing required field Principal",
        ),
        (
            with("\"Action\":\"s3:GetObject\",", ""),
            "Missing required field Action",
        ),
        (
            with(",\"Resource\":\"arn:aws:s3:::photos/*\"", ""),
            "Missing required field Resource",
        ),
        (
            with("\"Action\"", "\"NotAction\":\"s3:*\",\"Action\""),
            "not both",
        ),
        (
            with("\"Principal\"", "\"NotPrincipal\":\"*\",\"Principal\""),
            "not both",
        ),
        (
            with("\"Principal\"", "\"NotPrincipal\""),
            "Allow with NotPrincipal",
        ),
        (with("\"s3:GetObject\"", "[]"), "Action cannot be empty!"),
        (with("\"s3:GetObject\"", "{}"), "Action must be a string"),
        (
            with("s3:GetObject", "s3:GetObjekt"),
            "Policy has invalid action",
        ),
        (
            with("s3:GetObject", "ec2:RunInstances"),
            "Policy has invalid action",
        ),
        (
            with("s3:GetObject", "GetObject"),
            "Policy has invalid action",
        ),
        (with("photos/*", "videos/*"), "Policy has invalid resource"),
        (
            with("photos/*", "photosets/*"),
            "Policy has invalid resource",
        ),
        (
            with("arn:aws:s3:::photos/*", "photos/*"),
            "Policy has invalid resource",
        ),
        (
            with("arn:aws:s3:", "arn:aws:ec2:"),
            "Policy has invalid resource",
        ),
        (
            with("s3:GetObject", "s3:ListBucket"),
            "Action does not apply to any resource(s) in statement",
        ),
        (
            with("photos/*", "photos"),
            "Action does not apply to any resource(s) in statement",
        ),
        (
            with("\"*\",\"Action", "\"AWS\",\"Action"),
            "Invalid principal in policy",
        ),
        (
            with("\"*\",\"Action", "{\"AWS\":\"bob\"},\"Action"),
            "Invalid principal in policy: \"AWS\" : \"bob\"",
        ),
        (
            with(
                "\"*\",\"Action",
                "{\"AWS\":\"arn:aws:iam::000000000001:user/*\"},\"Action",
            ),
            "Invalid principal in policy",
        ),
        (
            with("\"*\",\"Action", "{\"AWS\":[]},\"Action"),
            "Invalid principal in policy",
        ),
        (
            with("\"*\",\"Action", "{\"Group\":\"a\"},\"Action"),
            "Invalid principal in policy",
        ),
        (
            document(&format!(
                "{0},{0}",
                good.replace("{\"Eff", "{\"Sid\":\"a\",\"Eff")
            )),
            "must be unique",
        ),
    ] {
        let error = bucket(&text).expect_err(&text);
        assert!(error.contains(says), "{text}\n{error}\n{says}");
    }
}

#[test]
fn malformed_conditions_are_refused_with_a_sentence() {
    for (condition, says) in [
        ("1", "Condition must be an object"),
        ("{\"StringEquals\":1}", "must be an object of keys"),
        (
            "{\"StringIs\":{\"s3:prefix\":\"a\"}}",
            "Invalid Condition type : StringIs",
        ),
        (
            "{\"ForSome:StringEquals\":{\"s3:prefix\":\"a\"}}",
            "Invalid Condition type",
        ),
        (
            "{\"NullIfExists\":{\"s3:prefix\":\"true\"}}",
            "Invalid Condition type",
        ),
        (
            "{\"StringEquals\":{\"s3:prefiks\":\"a\"}}",
            "invalid condition key: s3:prefiks",
        ),
        ("{\"StringEquals\":{\"s3:prefix\":[]}}", "has no values"),
        (
            "{\"StringEquals\":{\"s3:prefix\":{}}}",
            "compares with texts",
        ),
        (
            "{\"StringEquals\":{\"s3:prefix\":\"${aws:no}\"}}",
            "Unknown policy variable",
        ),
        (
            "{\"NumericEquals\":{\"s3:max-keys\":\"ten\"}}",
            "Invalid number",
        ),
        (
            "{\"DateLessThan\":{\"aws:CurrentTime\":\"soon\"}}",
            "Invalid date",
        ),
        (
            "{\"Bool\":{\"aws:SecureTransport\":\"yes\"}}",
            "Invalid Boolean",
        ),
        (
            "{\"DateLessThan\":{\"aws:CurrentTime\":\"20260101\"}}",
            "Invalid date",
        ),
        (
            "{\"DateLessThan\":{\"aws:CurrentTime\":2026}}",
            "Invalid date",
        ),
        ("{\"BinaryEquals\":{\"s3:prefix\":\"?\"}}", "Invalid base64"),
        (
            "{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/33\"}}",
            "Invalid IP address",
        ),
        (
            "{\"IpAddress\":{\"aws:SourceIp\":\"ten\"}}",
            "Invalid IP address",
        ),
        (
            "{\"ArnLike\":{\"aws:PrincipalArn\":\"bob\"}}",
            "Invalid ARN",
        ),
    ] {
        let more = format!(",\"Condition\":{condition}");
        let statement = of_bucket("Allow", "\"*\"", "\"s3:GetObject\"", "*", &more);
        let error = bucket(&document(&statement)).expect_err(condition);
        assert!(error.contains(says), "{condition}\n{error}");
    }
}

#[test]
fn an_identity_policy_names_no_principal_and_any_service() {
    let statement = of_identity("Allow", "[\"ec2:*\",\"s3:Get*\"]", "arn:aws:s3:::b/*", "");
    assert!(identity(&document(&statement)).is_ok());
    let star = of_identity("Allow", "\"*\"", "*", "");
    assert!(identity(&document(&star)).is_ok());
    // One statement may stand without a list.
    assert!(identity(&format!("{{\"Statement\":{star}}}")).is_ok());
    let named = star.replace("\"Action\"", "\"Principal\":\"*\",\"Action\"");
    let error = identity(&document(&named)).unwrap_err();
    assert!(error.contains("should not specify a principal"), "{error}");
    let error = identity(&document(&star.replace(":\"*\"}", ":\"photos\"}"))).unwrap_err();
    assert!(error.contains("Policy has invalid resource"), "{error}");
}

#[test]
fn resources_of_a_bucket_policy_can_lie_in_the_bucket() {
    let with = |resource: &str| {
        let statement = of_bucket("Allow", "\"*\"", "\"s3:*\"", "*", "");
        bucket(&document(
            &statement.replace("arn:aws:s3:::photos/*", resource),
        ))
    };
    for resource in [
        "*",
        "arn:aws:s3:::*",
        "arn:aws:s3:::*/*",
        "arn:aws:s3:::photos",
        "arn:aws:s3:::photo?",
        "arn:aws:s3:::pho*",
        "arn:aws:s3:::photos*",
        "arn:aws:s3:::ph*/a",
        "arn:aws:s3:::ph*jpg",
        "arn:aws:s3:::photos/a/${aws:username}/*",
    ] {
        assert!(with(resource).is_ok(), "{resource}");
    }
    for resource in [
        "arn:aws:s3:::",
        "arn:aws:s3:::photo",
        "arn:aws:s3:::videos*",
        "arn:aws:s3:::photo/*",
        "arn:aws:s3:us-east-1::photos",
        "s3:::photos",
    ] {
        assert!(with(resource).is_err(), "{resource}");
    }
}

fn user(name: &str, account: u64) -> Principal {
    Principal::User(Rc::new(User {
        account,
        name: name.to_owned(),
        path: "/".to_owned(),
        id: format!("AIDA{}", name.to_uppercase()),
        arn: format!("arn:aws:iam::{account:012}:user/{name}"),
    }))
}

fn principal(who: &str) -> Principal {
    match who {
        "root" => Principal::Root { account: OWNER },
        "other-root" => Principal::Root { account: 2 },
        "anybody" => Principal::Anonymous,
        "eve" => user("eve", 2),
        name => user(name, OWNER),
    }
}

/// What is asked: who, the action, the key (`@` for the bucket), and facts as `key=value`, where a key may stand more than once.
fn answer<'p>(
    (who, action, key): (&str, &str, &str),
    facts: &[&str],
    policies: &Policies<'p>,
) -> Decision<'p> {
    let mut known: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for fact in facts {
        let (key, value) = fact.split_once('=').unwrap();
        let key = Key::parse(key).unwrap();
        known.entry(key).or_default().push(value.to_owned());
    }
    let resource = match key {
        "@" => "arn:aws:s3:::photos".to_owned(),
        key => format!("arn:aws:s3:::photos/{key}"),
    };
    let look_up = |key: &Key| {
        let found = known.get(key)?;
        Some(found.iter().map(|text| text.as_str().into()).collect())
    };
    let question = Question {
        principal: &principal(who),
        owner_account: OWNER,
        action,
        resource: &resource,
        facts: &look_up,
    };
    decide(&question, policies)
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Expected {
    Yes,
    No,
    /// A statement denies it.
    Never,
}
use Expected::{Never, No, Yes};

fn outcome(decision: Decision<'_>) -> Expected {
    match decision {
        Decision::Allowed(_) => Yes,
        Decision::DeniedExplicitly(_) => Never,
        Decision::DeniedImplicitly => No,
    }
}

/// What is spared has to have a name.
#[test]
fn an_allow_beside_a_resource_without_a_name_allows_nothing() {
    let spares = |effect: &str, of: &str| {
        let statement = of_bucket(effect, "\"*\"", "\"s3:GetObject\"", of, "");
        let all = of_bucket("Allow", "\"*\"", "\"s3:GetObject\"", "*", "");
        let spares = statement.replace("\"Resource\"", "\"NotResource\"");
        match effect {
            "Deny" => format!("{all},{spares}"),
            _ => spares,
        }
    };
    for (effect, of, who, key, expected) in [
        ("Allow", "${aws:username}/*", "anybody", "a/b", No),
        ("Allow", "${aws:username, 'c'}/*", "anybody", "a/b", Yes),
        ("Allow", "a/*", "anybody", "b", Yes),
        ("Deny", "${aws:username}/*", "anybody", "a/b", Never),
    ] {
        let policy = bucket(&document(&spares(effect, of))).unwrap();
        let policies = Policies {
            bucket: Some(&policy),
            ..Policies::default()
        };
        let decision = answer((who, "s3:GetObject", key), &[], &policies);
        assert_eq!(outcome(decision), expected, "{effect} {of} {who} {key}");
    }
}

/// One condition on GetObject for everybody: the condition, the facts, whether it lets a request through.
#[test]
fn conditions_compare_as_aws_does() {
    const LONG_AGO: &str = "aws:CurrentTime=2020-01-01T00:00:00Z";
    let cases: &[(&str, &[&str], bool)] = &[
        (
            r#""StringEquals":{"s3:prefix":"a"}"#,
            &["s3:prefix=a"],
            true,
        ),
        (
            r#""StringEquals":{"s3:prefix":"a"}"#,
            &["s3:prefix=A"],
            false,
        ),
        (r#""StringEquals":{"s3:prefix":"a"}"#, &[], false),
        (
            r#""IpAddress":{"aws:SourceIp":"::ffff:10.0.0.0/104"}"#,
            &["aws:SourceIp=10.1.2.3"],
            true,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"::ffff:10.0.0.1"}"#,
            &["aws:SourceIp=10.0.0.2"],
            false,
        ),
        (
            r#""Bool":{"s3:ObjectCreationOperation":"true"}"#,
            &["s3:ObjectCreationOperation=true"],
            true,
        ),
        (
            r#""StringEquals":{"s3:prefix":["a","b"]}"#,
            &["s3:prefix=b"],
            true,
        ),
        (
            r#""StringEquals":{"s3:prefix":"a*"}"#,
            &["s3:prefix=ab"],
            false,
        ),
        (r#""StringEquals":{"S3:PREFIX":""}"#, &["s3:prefix="], true),
        (r#""StringEqualsIfExists":{"s3:prefix":"a"}"#, &[], true),
        (
            r#""StringEqualsIfExists":{"s3:prefix":"a"}"#,
            &["s3:prefix=b"],
            false,
        ),
        (
            r#""StringNotEquals":{"s3:prefix":["a","b"]}"#,
            &["s3:prefix=b"],
            false,
        ),
        (
            r#""StringNotEquals":{"s3:prefix":["a","b"]}"#,
            &["s3:prefix=c"],
            true,
        ),
        (r#""StringNotEquals":{"s3:prefix":"a"}"#, &[], true),
        (
            r#""StringEqualsIgnoreCase":{"s3:prefix":"aB"}"#,
            &["s3:prefix=Ab"],
            true,
        ),
        (
            r#""StringNotEqualsIgnoreCase":{"s3:prefix":"aB"}"#,
            &["s3:prefix=Ab"],
            false,
        ),
        (
            r#""StringLike":{"s3:prefix":"a*c?"}"#,
            &["s3:prefix=abcd"],
            true,
        ),
        (
            r#""StringLike":{"s3:prefix":"a*c?"}"#,
            &["s3:prefix=abc"],
            false,
        ),
        (
            r#""StringNotLike":{"s3:prefix":"a*"}"#,
            &["s3:prefix=b"],
            true,
        ),
        (
            r#""StringLike":{"aws:Referer":["http://a.example/*"]}"#,
            &["aws:Referer=http://a.example/x"],
            true,
        ),
        (
            r#""StringLike":{"s3:prefix":"home/${aws:userid}/*"}"#,
            &["s3:prefix=home/anonymous/x"],
            true,
        ),
        (
            r#""StringLike":{"s3:prefix":"home/${aws:username}/*"}"#,
            &["s3:prefix=home//x"],
            false,
        ),
        (
            r#""StringLike":{"s3:prefix":"home/${aws:username, 'all'}/*"}"#,
            &["s3:prefix=home/all/x"],
            true,
        ),
        (
            r#""StringEquals":{"s3:prefix":"${*}${$}"}"#,
            &["s3:prefix=*$"],
            true,
        ),
        (
            r#""NumericEquals":{"s3:max-keys":10}"#,
            &["s3:max-keys=10"],
            true,
        ),
        (
            r#""NumericNotEquals":{"s3:max-keys":"10"}"#,
            &["s3:max-keys=10"],
            false,
        ),
        (
            r#""NumericLessThan":{"s3:max-keys":"10"}"#,
            &["s3:max-keys=10"],
            false,
        ),
        (
            r#""NumericLessThanEquals":{"s3:max-keys":"10"}"#,
            &["s3:max-keys=10"],
            true,
        ),
        (
            r#""NumericGreaterThan":{"s3:TlsVersion":"1.2"}"#,
            &["s3:TlsVersion=1.3"],
            true,
        ),
        (
            r#""NumericGreaterThanEquals":{"s3:TlsVersion":1.2}"#,
            &["s3:TlsVersion=1.1"],
            false,
        ),
        (r#""NumericLessThan":{"s3:TlsVersion":1.2}"#, &[], false),
        (
            r#""NumericLessThan":{"s3:max-keys":"10"}"#,
            &["s3:max-keys=many"],
            false,
        ),
        (
            r#""DateLessThan":{"aws:CurrentTime":"2021-01-01T00:00:00Z"}"#,
            &[LONG_AGO],
            true,
        ),
        (
            r#""DateGreaterThan":{"aws:CurrentTime":"2021-01-01"}"#,
            &[LONG_AGO],
            false,
        ),
        (
            r#""DateGreaterThanEquals":{"aws:EpochTime":"1577836800"}"#,
            &["aws:EpochTime=1577836800"],
            true,
        ),
        (
            r#""DateEquals":{"aws:CurrentTime":"2020-01-01T01:00:00+01:00"}"#,
            &[LONG_AGO],
            true,
        ),
        (
            r#""DateNotEquals":{"aws:CurrentTime":"2020-01-01"}"#,
            &[LONG_AGO],
            false,
        ),
        (
            r#""DateLessThanEquals":{"aws:EpochTime":1577836799}"#,
            &["aws:EpochTime=1577836800"],
            false,
        ),
        (
            r#""Bool":{"aws:SecureTransport":"true"}"#,
            &["aws:SecureTransport=true"],
            true,
        ),
        (
            r#""Bool":{"aws:SecureTransport":false}"#,
            &["aws:SecureTransport=true"],
            false,
        ),
        (
            r#""Bool":{"aws:MultiFactorAuthPresent":"false"}"#,
            &[],
            false,
        ),
        (
            r#""BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}"#,
            &[],
            true,
        ),
        (
            r#""BinaryEquals":{"s3:prefix":"YQ=="}"#,
            &["s3:prefix=YQ=="],
            true,
        ),
        (
            r#""BinaryEquals":{"s3:prefix":"YQ=="}"#,
            &["s3:prefix=Yg=="],
            false,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"10.1.0.0/16"}"#,
            &["aws:SourceIp=10.1.2.3"],
            true,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"10.1.0.0/16"}"#,
            &["aws:SourceIp=10.2.2.3"],
            false,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"10.1.2.3"}"#,
            &["aws:SourceIp=10.1.2.3"],
            true,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"0.0.0.0/0"}"#,
            &["aws:SourceIp=10.1.2.3"],
            true,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":"0.0.0.0/0"}"#,
            &["aws:SourceIp=::1"],
            false,
        ),
        (
            r#""IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]}"#,
            &["aws:SourceIp=2001:db8:1::1"],
            true,
        ),
        (
            r#""NotIpAddress":{"aws:SourceIp":"2001:db8::/33"}"#,
            &["aws:SourceIp=2001:db8:8000::1"],
            true,
        ),
        (
            r#""NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#,
            &["aws:SourceIp=10.0.0.1"],
            false,
        ),
        (
            r#""ArnEquals":{"aws:SourceArn":"arn:aws:s3:::a*"}"#,
            &["aws:SourceArn=arn:aws:s3:::ab"],
            true,
        ),
        (
            r#""ArnLike":{"aws:SourceArn":"arn:aws:*:::a"}"#,
            &["aws:SourceArn=arn:aws:s3:::a"],
            true,
        ),
        (
            r#""ArnLike":{"aws:SourceArn":"arn:aws:*:::b*"}"#,
            &["aws:SourceArn=arn:aws:s3:::a"],
            false,
        ),
        (
            r#""ArnNotLike":{"aws:SourceArn":"arn:aws:s3:::a"}"#,
            &["aws:SourceArn=arn:aws:s3:::b"],
            true,
        ),
        (
            r#""ArnNotEquals":{"aws:SourceArn":"arn:aws:s3:::a"}"#,
            &["aws:SourceArn=arn:aws:s3:::a"],
            false,
        ),
        (r#""Null":{"s3:prefix":"true"}"#, &[], true),
        (r#""Null":{"s3:prefix":"true"}"#, &["s3:prefix=a"], false),
        (r#""Null":{"s3:prefix":false}"#, &["s3:prefix=a"], true),
        (
            r#""ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}"#,
            &["s3:RequestObjectTagKeys=c", "s3:RequestObjectTagKeys=a"],
            true,
        ),
        (
            r#""ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":"a"}"#,
            &[],
            false,
        ),
        (
            r#""ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a","b"]}"#,
            &["s3:RequestObjectTagKeys=c", "s3:RequestObjectTagKeys=a"],
            false,
        ),
        (
            r#""ForAllValues:StringLike":{"s3:RequestObjectTagKeys":["a*","b"]}"#,
            &["s3:RequestObjectTagKeys=ab", "s3:RequestObjectTagKeys=b"],
            true,
        ),
        (
            r#""ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":"a"}"#,
            &[],
            true,
        ),
        (
            r#""ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":"a"}"#,
            &["s3:RequestObjectTagKeys=a", "s3:RequestObjectTagKeys=b"],
            true,
        ),
        (
            r#""StringEquals":{"s3:ExistingObjectTag/team":"a"}"#,
            &["s3:ExistingObjectTag/team=a"],
            true,
        ),
        (
            r#""StringEquals":{"s3:ExistingObjectTag/team":"a"}"#,
            &[],
            false,
        ),
        (
            r#""StringNotEquals":{"s3:RequestObjectTag/team":"a"}"#,
            &[],
            true,
        ),
        (
            r#""StringEquals":{"s3:prefix":"a","s3:delimiter":"/"}"#,
            &["s3:prefix=a"],
            false,
        ),
        (
            r#""StringEquals":{"s3:prefix":"a"},"Bool":{"aws:SecureTransport":"true"}"#,
            &["s3:prefix=a", "aws:SecureTransport=true"],
            true,
        ),
        (
            r#""StringEquals":{"aws:PrincipalType":"Anonymous"}"#,
            &[],
            true,
        ),
    ];
    for (condition, facts, lets) in cases {
        let more = format!(",\"Condition\":{{{condition}}}");
        let allow = of_bucket("Allow", "\"*\"", "\"s3:GetObject\"", "*", &more);
        let policy =
            bucket(&document(&allow)).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let policies = Policies {
            bucket: Some(&policy),
            ..Policies::default()
        };
        let decision = answer(("anybody", "s3:GetObject", "k"), facts, &policies);
        assert_eq!(decision.is_allowed(), *lets, "{condition} {facts:?}");
        // The same condition denies exactly where it would have allowed.
        let deny = of_bucket("Deny", "\"*\"", "\"s3:GetObject\"", "*", &more);
        let all = of_bucket("Allow", "\"*\"", "\"s3:*\"", "*", "");
        let policy = bucket(&document(&format!("{all},{deny}"))).unwrap();
        let policies = Policies {
            bucket: Some(&policy),
            ..Policies::default()
        };
        let decision = answer(("anybody", "s3:GetObject", "k"), facts, &policies);
        let expected = if *lets { Never } else { Yes };
        assert_eq!(outcome(decision), expected, "{condition} {facts:?}");
    }
}

#[test]
fn variables_are_of_2012_10_17_alone() {
    let more = r#","Condition":{"StringEquals":{"s3:prefix":"${aws:userid}"}}"#;
    let text = document(&of_bucket(
        "Allow",
        "\"*\"",
        "\"s3:GetObject\"",
        "${aws:userid}",
        more,
    ));
    let policy = bucket(&text).unwrap();
    let older = bucket(&text.replace("2012-10-17", "2008-10-17")).unwrap();
    for (key, prefix, is_new) in [
        ("anonymous", "s3:prefix=anonymous", true),
        ("${aws:userid}", "s3:prefix=${aws:userid}", false),
    ] {
        for (policy, expected) in [(&policy, is_new), (&older, !is_new)] {
            let policies = Policies {
                bucket: Some(policy),
                ..Policies::default()
            };
            let decision = answer(("anybody", "s3:GetObject", key), &[prefix], &policies);
            assert_eq!(decision.is_allowed(), expected, "{key}");
        }
    }
}

const READ: &str = "\"s3:GetObject\"";
const ALL: &str = "\"s3:*\"";
const BOB: &str = r#"{"AWS":"arn:aws:iam::000000000001:user/bob"}"#;
const EVE: &str = r#"{"AWS":"arn:aws:iam::000000000002:user/eve"}"#;
const HERE: &str = r#"{"AWS":"000000000001"}"#;
const THERE: &str = r#"{"AWS":"arn:aws:iam::000000000002:root"}"#;
const EVERYBODY: &str = "\"*\"";

type Case<'a> = (&'a str, (&'a str, &'a str, &'a str), Expected);

/// Cases under a bucket's policy alone; nobody has policies of their own.
#[test]
fn a_bucket_policy_decides() {
    let public = of_bucket("Allow", EVERYBODY, READ, "public/*", "");
    let bob_all = of_bucket("Allow", BOB, ALL, "*", "");
    let deny_secret = of_bucket("Deny", EVERYBODY, ALL, "public/secret*", "");
    let both = format!("{public},{deny_secret}");
    let deny_all = of_bucket("Deny", EVERYBODY, ALL, "@", "");
    let list = of_bucket("Allow", EVERYBODY, "\"s3:ListBucket\"", "@", "");
    let here = of_bucket("Allow", HERE, READ, "*", "");
    let there = of_bucket("Allow", THERE, READ, "*", "");
    let not_read = public.replace("\"Action\"", "\"NotAction\"");
    let not_there = public.replace("\"Resource\"", "\"NotResource\"");
    let deny_here = format!("{bob_all},{}", of_bucket("Deny", HERE, READ, "*", ""));
    let all_but_bob = format!(
        "{},{}",
        of_bucket("Allow", EVERYBODY, READ, "*", ""),
        of_bucket("Deny", BOB, READ, "*", "").replace("\"Principal\"", "\"NotPrincipal\"")
    );
    let all_but_root = all_but_bob.replace(
        "\"NotPrincipal\":{\"AWS\":\"arn:aws:iam::000000000001:user/bob\"}",
        "\"NotPrincipal\":{\"AWS\":\"000000000001\"}",
    );
    let service = of_bucket(
        "Allow",
        r#"{"Service":"cloudfront.amazonaws.com"}"#,
        READ,
        "*",
        "",
    );
    let id = of_bucket("Allow", r#"{"AWS":"AIDAAAAAAAAAAAAAAAAAA"}"#, READ, "*", "");
    let canonical = format!("{{\"CanonicalUser\":\"{OWNER:064x}\"}}");
    let deny_root = of_bucket("Deny", &canonical, ALL, "*", "");
    let mixed = of_bucket(
        "Allow",
        EVERYBODY,
        "[\"s3:getobject\",\"S3:PUT*\"]",
        "a?c/*",
        "",
    );
    let deny_policy = of_bucket("Deny", EVERYBODY, "\"s3:*BucketPolicy\"", "@", "");
    let cases: &[Case<'_>] = &[
        (&public, ("anybody", "s3:GetObject", "public/a"), Yes),
        (&public, ("anybody", "s3:GetObject", "public"), No),
        (&public, ("anybody", "s3:GetObject", "private/a"), No),
        (&public, ("anybody", "s3:PutObject", "public/a"), No),
        (&public, ("anybody", "s3:GetObjectVersion", "public/a"), No),
        (&public, ("anybody", "s3:ListBucket", "@"), No),
        (&public, ("bob", "s3:GetObject", "public/a"), Yes),
        (&public, ("root", "s3:DeleteObject", "x"), Yes),
        // Everybody is nobody's account: another one must let its own as well.
        (&public, ("eve", "s3:GetObject", "public/a"), No),
        (&public, ("other-root", "s3:GetObject", "public/a"), Yes),
        (&public, ("other-root", "s3:GetObject", "x"), No),
        (&both, ("anybody", "s3:GetObject", "public/a"), Yes),
        (&both, ("anybody", "s3:GetObject", "public/secret"), Never),
        (&both, ("root", "s3:GetObject", "public/secret"), Never),
        (&both, ("bob", "s3:PutObject", "public/secrets"), Never),
        (&deny_all, ("root", "s3:ListBucket", "@"), Never),
        (&deny_all, ("root", "s3:GetBucketPolicy", "@"), Yes),
        (&deny_all, ("root", "s3:PutBucketPolicy", "@"), Yes),
        (&deny_all, ("root", "s3:DeleteBucketPolicy", "@"), Yes),
        (&deny_all, ("root", "s3:GetBucketPolicyStatus", "@"), Never),
        (&deny_all, ("root", "s3:GetObject", "k"), Yes),
        (&deny_policy, ("root", "s3:PutBucketPolicy", "@"), Yes),
        (&deny_policy, ("bob", "s3:PutBucketPolicy", "@"), Never),
        (
            &deny_policy,
            ("other-root", "s3:DeleteBucketPolicy", "@"),
            Never,
        ),
        (&bob_all, ("bob", "s3:DeleteObject", "k"), Yes),
        (&bob_all, ("bob", "s3:DeleteBucket", "@"), No),
        (&bob_all, ("ann", "s3:DeleteObject", "k"), No),
        (&bob_all, ("anybody", "s3:GetObject", "k"), No),
        (&list, ("anybody", "s3:ListBucket", "@"), Yes),
        (&list, ("anybody", "s3:ListBucketVersions", "@"), No),
        (&here, ("root", "s3:GetObject", "k"), Yes),
        // The account is let, and has not let its user.
        (&here, ("bob", "s3:GetObject", "k"), No),
        (&here, ("other-root", "s3:GetObject", "k"), No),
        (&there, ("other-root", "s3:GetObject", "k"), Yes),
        (&there, ("eve", "s3:GetObject", "k"), No),
        (&not_read, ("anybody", "s3:GetObject", "public/a"), No),
        (&not_read, ("anybody", "s3:PutObject", "public/a"), Yes),
        (&not_there, ("anybody", "s3:GetObject", "public/a"), No),
        (&not_there, ("anybody", "s3:GetObject", "private/a"), Yes),
        (&deny_here, ("bob", "s3:GetObject", "k"), Never),
        (&deny_here, ("bob", "s3:PutObject", "k"), Yes),
        (&deny_here, ("root", "s3:GetObject", "k"), Never),
        (&all_but_bob, ("bob", "s3:GetObject", "k"), Yes),
        (&all_but_bob, ("ann", "s3:GetObject", "k"), Never),
        (&all_but_bob, ("root", "s3:GetObject", "k"), Never),
        (&all_but_bob, ("anybody", "s3:GetObject", "k"), Never),
        (&all_but_root, ("root", "s3:GetObject", "k"), Yes),
        (&all_but_root, ("bob", "s3:GetObject", "k"), Never),
        (&service, ("anybody", "s3:GetObject", "k"), No),
        (&service, ("bob", "s3:GetObject", "k"), No),
        (&id, ("bob", "s3:GetObject", "k"), No),
        (&id, ("aaaaaaaaaaaaaaaaa", "s3:GetObject", "k"), Yes),
        (&deny_root, ("root", "s3:GetObject", "k"), Never),
        (&deny_root, ("anybody", "s3:GetObject", "k"), No),
        (&mixed, ("anybody", "s3:GetObject", "abc/k"), Yes),
        (&mixed, ("anybody", "s3:PutObjectTagging", "abc/k"), Yes),
        (&mixed, ("anybody", "s3:PutObject", "ac/k"), No),
        (&mixed, ("anybody", "s3:PutObject", "a/c/k"), Yes),
    ];
    for (statements, question, expected) in cases {
        let policy =
            bucket(&document(statements)).unwrap_or_else(|error| panic!("{statements}: {error}"));
        let policies = Policies {
            bucket: Some(&policy),
            ..Policies::default()
        };
        let decision = answer(*question, &[], &policies);
        assert_eq!(outcome(decision), *expected, "{statements} {question:?}");
    }
}

/// Who asks, with which policies: the bucket's, the identity's, the boundary, the session's. All ask to GET `k`.
#[test]
fn policies_of_all_kinds_come_together() {
    let allow = of_identity("Allow", READ, "arn:aws:s3:::photos/*", "");
    let deny = of_identity("Deny", "\"*\"", "*", "");
    let elsewhere = of_identity("Allow", "\"s3:*\"", "arn:aws:s3:::videos/*", "");
    let home = of_identity("Allow", READ, "arn:aws:s3:::photos/${aws:username}", "");
    let bob = of_bucket("Allow", BOB, READ, "*", "");
    let eve = of_bucket("Allow", EVE, READ, "*", "");
    let there = of_bucket("Allow", THERE, READ, "*", "");
    let deny_bob = of_bucket("Deny", BOB, READ, "*", "");
    let (allow, deny, bob, eve) = (&*allow, &*deny, &*bob, &*eve);
    for (who, of_bucket, of_identity, boundary, session, expected) in [
        ("bob", "", "", "", "", No),
        ("bob", "", allow, "", "", Yes),
        ("bob", "", &*elsewhere, "", "", No),
        ("k", "", &*home, "", "", Yes),
        ("bob", "", &*home, "", "", No),
        ("bob", bob, "", "", "", Yes),
        ("bob", bob, deny, "", "", Never),
        ("bob", &*deny_bob, allow, "", "", Never),
        ("ann", &*deny_bob, allow, "", "", Yes),
        ("bob", "", allow, allow, "", Yes),
        ("bob", "", allow, &*elsewhere, "", No),
        ("bob", "", allow, deny, "", Never),
        ("bob", "", "", allow, "", No),
        ("bob", "", allow, "", allow, Yes),
        ("bob", "", allow, "", &*elsewhere, No),
        ("bob", "", allow, "", deny, Never),
        ("bob", "", "", "", allow, No),
        // What the bucket gives the user itself is not held back by a boundary that is silent, but by the policy of a session.
        ("bob", bob, "", &*elsewhere, "", Yes),
        ("bob", bob, "", "", &*elsewhere, No),
        ("bob", bob, "", deny, "", Never),
        ("eve", "", allow, "", "", No),
        ("eve", eve, "", "", "", No),
        ("eve", eve, allow, "", "", Yes),
        ("eve", &*there, allow, "", "", Yes),
        ("eve", &*there, "", "", "", No),
        ("eve", eve, allow, &*elsewhere, "", No),
        ("eve", bob, allow, "", "", No),
        ("root", "", "", "", "", Yes),
        ("root", "", "", "", allow, Yes),
        ("root", "", "", "", &*elsewhere, No),
        ("root", "", "", "", deny, Never),
        ("anybody", "", "", "", "", No),
    ] {
        let read = |statement: &str| {
            let text = document(statement);
            (!statement.is_empty()).then(|| identity(&text).unwrap())
        };
        let of_identity: Vec<Rc<Policy>> = read(of_identity).into_iter().map(Rc::new).collect();
        let (boundary, session) = (read(boundary), read(session));
        let session = session.map(|policy| vec![Rc::new(policy)]);
        let of_bucket = (!of_bucket.is_empty()).then(|| bucket(&document(of_bucket)).unwrap());
        let policies = Policies {
            identity: &of_identity,
            boundary: boundary.as_ref(),
            session: session.as_deref(),
            bucket: of_bucket.as_ref(),
            ..Policies::default()
        };
        let decision = answer((who, "s3:GetObject", "k"), &[], &policies);
        assert_eq!(outcome(decision), expected, "{who} {policies:?}");
    }
}

#[test]
fn the_statement_that_decides_is_named() {
    let allow = of_bucket("Allow", EVERYBODY, READ, "*", ",\"Sid\":\"readers\"");
    let deny = of_bucket("Deny", EVERYBODY, READ, "secret", "");
    let policy = bucket(&document(&format!("{allow},{deny}"))).unwrap();
    let policies = Policies {
        bucket: Some(&policy),
        ..Policies::default()
    };
    let by = |sid, number| Decided {
        source: Source::Bucket,
        sid,
        number,
    };
    let decision = answer(("anybody", "s3:GetObject", "k"), &[], &policies);
    assert_eq!(decision, Decision::Allowed(by(Some("readers"), 1)));
    let decision = answer(("anybody", "s3:GetObject", "secret"), &[], &policies);
    assert_eq!(decision, Decision::DeniedExplicitly(by(None, 2)));
    let may = |action, policies| may_allow(&Principal::Anonymous, OWNER, action, policies);
    assert!(may("s3:GetObject", &policies));
    assert!(!may("s3:PutObject", &policies));
    let restricted = Policies {
        is_bucket_restricted: true,
        ..policies
    };
    assert!(!may("s3:GetObject", &restricted));
    let root = principal("root");
    assert!(may_allow(&root, OWNER, "s3:GetObject", &restricted));
}

#[test]
fn a_restricted_bucket_is_for_its_account() {
    let public = of_bucket("Allow", EVERYBODY, READ, "*", "");
    let deny = of_bucket("Deny", EVERYBODY, READ, "secret", "");
    let policy = bucket(&document(&format!("{public},{deny}"))).unwrap();
    let policies = Policies {
        bucket: Some(&policy),
        is_bucket_restricted: true,
        ..Policies::default()
    };
    for (who, key, expected) in [
        ("anybody", "k", No),
        ("other-root", "k", No),
        ("bob", "k", Yes),
        ("root", "k", Yes),
        ("bob", "secret", Never),
        ("anybody", "secret", Never),
    ] {
        let decision = answer((who, "s3:GetObject", key), &[], &policies);
        assert_eq!(outcome(decision), expected, "{who} {key}");
    }
}

/// Eve is a user of the other account.
#[test]
fn a_grant_is_to_an_account_and_a_statement_that_denies_wins() {
    let reads = [Rc::new(
        identity(&document(
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#,
        ))
        .unwrap(),
    )];
    let allow = bucket(&document(&of_bucket("Allow", EVERYBODY, READ, "*", ""))).unwrap();
    let deny = bucket(&document(&of_bucket("Deny", EVERYBODY, READ, "*", ""))).unwrap();
    for (who, identity, policy, is_of_other, is_granted, expected) in [
        ("anybody", &[][..], None, false, true, Yes),
        ("anybody", &[], None, false, false, No),
        ("other-root", &[], None, false, true, Yes),
        ("other-root", &[], None, false, false, No),
        ("eve", &[], None, false, true, No),
        ("eve", &reads, None, false, true, Yes),
        ("eve", &reads, None, false, false, No),
        ("bob", &[], None, false, true, No),
        ("bob", &reads, None, false, false, Yes),
        ("anybody", &[], Some(&deny), false, true, Never),
        ("eve", &reads, Some(&deny), true, true, Never),
        ("root", &[], Some(&deny), true, false, Never),
        // The policy of a bucket opens nothing of an object that its owner does not own.
        ("anybody", &[], Some(&allow), true, false, No),
        ("anybody", &[], Some(&allow), false, false, Yes),
        ("eve", &reads, Some(&allow), true, false, No),
        ("eve", &reads, Some(&allow), true, true, Yes),
    ] {
        let policies = Policies {
            identity,
            bucket: policy,
            is_object_of_other: is_of_other,
            is_granted,
            ..Policies::default()
        };
        let decision = answer((who, "s3:GetObject", "k"), &[], &policies);
        assert_eq!(outcome(decision), expected, "{who} {policies:?}");
    }
}

#[test]
fn public_is_what_aws_calls_public() {
    for (principal, condition, is) in [
        (EVERYBODY, "", true),
        ("{\"AWS\":[\"000000000001\",\"*\"]}", "", true),
        (HERE, "", false),
        (BOB, "", false),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":"10.0.0.0/7"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":["10.0.0.0/8","0.0.0.0/0"]}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":"2001:db8::/32"}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":"2001::/16"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":["1.0.0.0/8","2.0.0.0/8"]}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":["1.0.0.0/8","1.2.0.0/16","1.2.3.4"]}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":["10.0.0.0/8","172.16.0.0/12","192.168.0.0/16","1.0.0.0/8"]}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":["2001:db8::/32","2001:db9::/32"]}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""IpAddress":{"aws:SourceIp":"::ffff:0.0.0.0/96"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringEquals":{"aws:userid":"anonymous"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringEqualsIgnoreCase":{"aws:userid":"Anonymous"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringLike":{"aws:userid":["AIDABOB","anonymous"]}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringEqualsIgnoreCase":{"aws:userid":"AIDABOB"}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""StringEquals":{"aws:SourceVpc":"vpc-1"}"#,
            false,
        ),
        (EVERYBODY, r#""StringLike":{"aws:SourceVpc":"vpc-*"}"#, true),
        (
            EVERYBODY,
            r#""StringEquals":{"aws:SourceVpc":"${aws:userid}"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringNotEquals":{"aws:SourceVpc":"vpc-1"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringEquals":{"aws:PrincipalOrgID":"o-1"}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""ArnEquals":{"aws:SourceArn":"arn:aws:s3:::a"}"#,
            false,
        ),
        (
            EVERYBODY,
            r#""ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringLike":{"aws:Referer":"http://a.example/*"}"#,
            true,
        ),
        (
            EVERYBODY,
            r#""StringEquals":{"aws:UserAgent":"secret"}"#,
            true,
        ),
        (EVERYBODY, r#""Bool":{"aws:SecureTransport":"true"}"#, true),
    ] {
        let more = match condition {
            "" => String::new(),
            condition => format!(",\"Condition\":{{{condition}}}"),
        };
        let allow = of_bucket("Allow", principal, READ, "*", &more);
        let policy = bucket(&document(&allow)).unwrap();
        assert_eq!(policy.is_public(), is, "{principal} {condition}");
        let deny = of_bucket("Deny", principal, READ, "*", &more);
        assert!(!bucket(&document(&deny)).unwrap().is_public());
    }
}

/// A session of the role `job`.
fn session(provider: Option<&str>) -> Principal {
    Principal::Session(Rc::new(RoleSession {
        account: OWNER,
        role: "job".into(),
        role_id: "AROA0000000000000JOB1".into(),
        role_arn: "arn:aws:iam::000000000001:role/job".into(),
        name: "nightly".into(),
        arn: "arn:aws:sts::000000000001:assumed-role/job/nightly".into(),
        user_id: "AROA0000000000000JOB1:nightly".into(),
        provider: provider.map(str::to_owned),
    }))
}

const JOB: &str = r#"{"AWS":"arn:aws:iam::000000000001:role/job"}"#;
const NIGHTLY: &str = r#"{"AWS":"arn:aws:sts::000000000001:assumed-role/job/nightly"}"#;
const OTHER: &str = r#"{"AWS":"arn:aws:sts::000000000001:assumed-role/job/daily"}"#;
const PROVIDER: &str =
    r#"{"Federated":"arn:aws:iam::000000000001:oidc-provider/id.example.com/a"}"#;

/// IAM user guide, "Policy evaluation logic" and "Session policies": the bucket's policy, the role's, its boundary, the session's.
#[test]
fn a_session_is_bound_unless_it_is_named_itself() {
    let allow = of_identity("Allow", READ, "*", "");
    let elsewhere = of_identity("Allow", "\"s3:*\"", "arn:aws:s3:::videos/*", "");
    let deny = of_identity("Deny", "\"*\"", "*", "");
    let give = |principal: &str| of_bucket("Allow", principal, READ, "*", "");
    let (job, nightly, other, here, all) = (
        give(JOB),
        give(NIGHTLY),
        give(OTHER),
        give(HERE),
        give(EVERYBODY),
    );
    let (allow, elsewhere, deny) = (&*allow, &*elsewhere, &*deny);
    for (of_bucket, of_role, boundary, of_session, expected) in [
        ("", "", "", "", No),
        ("", allow, "", "", Yes),
        ("", allow, elsewhere, "", No),
        ("", allow, "", elsewhere, No),
        ("", allow, "", deny, Never),
        (&*job, "", "", "", Yes),
        (&*job, "", elsewhere, "", No),
        (&*job, "", "", elsewhere, No),
        (&*all, "", "", "", Yes),
        (&*all, "", "", elsewhere, No),
        (&*nightly, "", "", "", Yes),
        (&*nightly, "", elsewhere, elsewhere, Yes),
        (&*nightly, "", deny, "", Never),
        (&*nightly, "", "", deny, Never),
        (&*other, "", "", "", No),
        (&*here, "", "", "", No),
        (&*here, allow, "", "", Yes),
    ] {
        let read = |statement: &str| {
            let text = document(statement);
            (!statement.is_empty()).then(|| Rc::new(identity(&text).unwrap()))
        };
        let of_role: Vec<Rc<Policy>> = read(of_role).into_iter().collect();
        let (boundary, of_session) = (read(boundary), read(of_session).map(|policy| vec![policy]));
        let of_bucket = (!of_bucket.is_empty()).then(|| bucket(&document(of_bucket)).unwrap());
        let policies = Policies {
            identity: &of_role,
            boundary: boundary.as_deref(),
            session: of_session.as_deref(),
            bucket: of_bucket.as_ref(),
            ..Policies::default()
        };
        let principal = session(None);
        let question = Question {
            principal: &principal,
            owner_account: OWNER,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::photos/k",
            facts: &|_| None,
        };
        assert_eq!(
            outcome(decide(&question, &policies)),
            expected,
            "{policies:?}"
        );
    }
}

/// Another account's bucket: its policy has to allow, and all that binds the session where it comes from too (IAM user guide, "Cross-account policy
/// evaluation logic").
#[test]
fn a_session_that_another_account_names_is_bound_at_home() {
    let allow = identity(&document(&of_identity("Allow", READ, "*", ""))).unwrap();
    let elsewhere = of_identity("Allow", "\"s3:*\"", "arn:aws:s3:::videos/*", "");
    let elsewhere = identity(&document(&elsewhere)).unwrap();
    let (allow, elsewhere) = ([Rc::new(allow)], [Rc::new(elsewhere)]);
    for named in [NIGHTLY, JOB, HERE, EVERYBODY] {
        let of_bucket = of_bucket("Allow", named, READ, "*", "");
        let of_bucket = bucket(&document(&of_bucket)).unwrap();
        for (of_role, boundary, of_session, expected) in [
            (&[][..], None, None, No),
            (&allow[..], None, None, Yes),
            (&allow[..], Some(&elsewhere[0]), None, No),
            (&allow[..], None, Some(&elsewhere[..]), No),
            (&allow[..], None, Some(&allow[..]), Yes),
        ] {
            let policies = Policies {
                identity: of_role,
                boundary: boundary.map(|policy| &**policy),
                session: of_session,
                bucket: Some(&of_bucket),
                ..Policies::default()
            };
            let question = Question {
                principal: &session(None),
                owner_account: OWNER + 1,
                action: "s3:GetObject",
                resource: "arn:aws:s3:::photos/k",
                facts: &|_| None,
            };
            let decision = outcome(decide(&question, &policies));
            assert_eq!(decision, expected, "{named} {policies:?}");
        }
    }
}

/// An identity of a provider is let in by its provider's name alone, and kept out by whatever means everybody.
#[test]
fn a_denial_for_everybody_is_one_for_identities_of_providers() {
    let allow = format!("{{\"Effect\":\"Allow\",\"Principal\":{PROVIDER},\"Action\":\"sts:*\"}}");
    let other = r#"{"Federated":"id.example.com/b"}"#;
    for (element, denied, expected) in [
        ("Principal", "\"*\"", Never),
        ("Principal", EVERYBODY, Never),
        ("Principal", PROVIDER, Never),
        ("Principal", other, Yes),
        ("Principal", HERE, Yes),
        ("NotPrincipal", PROVIDER, Yes),
        ("NotPrincipal", other, Never),
        ("NotPrincipal", HERE, Never),
    ] {
        let deny = format!("{{\"Effect\":\"Deny\",\"{element}\":{denied},\"Action\":\"sts:*\"}}");
        let text = document(&format!("{allow},{deny}"));
        let trust = Policy::parse(text.as_bytes(), PolicyKind::Trust).unwrap();
        let policies = Policies {
            bucket: Some(&trust),
            ..Policies::default()
        };
        let question = Question {
            principal: &Principal::Federated {
                provider: "id.example.com/a".to_owned(),
            },
            owner_account: OWNER,
            action: "sts:AssumeRoleWithWebIdentity",
            resource: "arn:aws:iam::000000000001:role/x",
            facts: &|_| None,
        };
        let decision = outcome(decide_trust(&question, &policies));
        assert_eq!(decision, expected, "{element} {denied}");
    }
}

/// Who may assume a role: the principal of the trust policy, the policy of the one who asks, and who that is.
#[test]
fn a_trust_policy_has_to_allow() {
    let assume = of_identity(
        "Allow",
        "\"sts:AssumeRole\"",
        "arn:aws:iam::000000000001:role/x",
        "",
    );
    let deny = of_identity("Deny", "\"sts:*\"", "*", "");
    let federated = Principal::Federated {
        provider: "id.example.com/a".to_owned(),
    };
    let (assume, deny) = (&*assume, &*deny);
    for (trusted, own, who, expected) in [
        (BOB, "", user("bob", OWNER), Yes),
        (BOB, deny, user("bob", OWNER), Never),
        (BOB, assume, user("ann", OWNER), No),
        (HERE, "", user("bob", OWNER), No),
        (HERE, assume, user("bob", OWNER), Yes),
        (EVERYBODY, "", user("bob", OWNER), Yes),
        (EVERYBODY, "", session(None), Yes),
        (JOB, "", session(None), Yes),
        (NIGHTLY, "", session(None), Yes),
        (OTHER, assume, session(None), No),
        (HERE, assume, session(None), Yes),
        (EVERYBODY, "", federated.clone(), No),
        (HERE, "", federated.clone(), No),
        (PROVIDER, "", federated, Yes),
        (PROVIDER, assume, user("bob", OWNER), No),
        (BOB, "", principal("root"), No),
        (HERE, "", principal("other-root"), No),
    ] {
        let text = format!(
            "{{\"Effect\":\"Allow\",\"Principal\":{trusted},\"Action\":\"sts:AssumeRole\"}}"
        );
        let trust = Policy::parse(document(&text).as_bytes(), PolicyKind::Trust).unwrap();
        let own: Vec<Rc<Policy>> = match own {
            "" => Vec::new(),
            own => vec![Rc::new(identity(&document(own)).unwrap())],
        };
        let policies = Policies {
            identity: &own,
            bucket: Some(&trust),
            ..Policies::default()
        };
        let question = Question {
            principal: &who,
            owner_account: OWNER,
            action: "sts:AssumeRole",
            resource: "arn:aws:iam::000000000001:role/x",
            facts: &|_| None,
        };
        let decision = decide_trust(&question, &policies);
        assert_eq!(outcome(decision), expected, "{trusted} {who:?}");
    }
}

#[test]
fn a_trust_policy_names_principals_and_no_resource() {
    let trust = |statement: &str| {
        let parsed = Policy::parse(document(statement).as_bytes(), PolicyKind::Trust);
        parsed.map(|_| ()).map_err(|error| error.to_string())
    };
    for right in [
        r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}"#,
        r#"{"Effect":"Allow","Principal":{"AWS":"000000000001"},"Action":["sts:AssumeRole","sts:TagSession"]}"#,
        r#"{"Effect":"Allow","Principal":{"Federated":"id.example.com"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"id.example.com:aud":"x","ID.example.com:sub":"y"}}}"#,
    ] {
        assert_eq!(trust(right), Ok(()));
    }
    for (wrong, why) in [
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#,
            "Principal",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}"#,
            "invalid action",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*"}"#,
            "invalid action",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}"#,
            "Resource",
        ),
        (
            r#"{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::000000000002:oidc-provider/id.example.com"},"Action":"sts:AssumeRoleWithWebIdentity"}"#,
            "Invalid principal",
        ),
        (
            r#"{"Effect":"Allow","Principal":{"Federated":"*"},"Action":"sts:AssumeRole"}"#,
            "Invalid principal",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Condition":{"StringEquals":{"id.example.com:name":"x"}}}"#,
            "condition key",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Condition":{"StringEquals":{"example:sub":"x"}}}"#,
            "condition key",
        ),
    ] {
        let said = trust(wrong).expect_err(wrong);
        assert!(said.contains(why), "{said}");
    }
    // Claims are of trust policies alone.
    let claim = r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"id.example.com:sub":"x"}}}"#;
    assert!(identity(&document(claim)).is_err());
}

#[test]
fn the_keys_of_a_session_are_those_of_its_role() {
    let of = |key: Key| {
        let session = session(Some("id.example.com/a"));
        let values = session.values(&key).expect("it is about the principal");
        values.map(|values| values.concat())
    };
    let role = "arn:aws:iam::000000000001:role/job";
    assert_eq!(of(Key::PrincipalArn).as_deref(), Some(role));
    assert_eq!(
        of(Key::UserId).as_deref(),
        Some("AROA0000000000000JOB1:nightly")
    );
    assert_eq!(of(Key::PrincipalType).as_deref(), Some("AssumedRole"));
    assert_eq!(of(Key::UserName), None);
    assert_eq!(
        of(Key::FederatedProvider).as_deref(),
        Some("id.example.com/a")
    );
    assert_eq!(session(None).values(&Key::FederatedProvider), Some(None));
}
