//! The examples of AWS's documentation, and requests signed by hand with something wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};

use super::*;
use crate::form::fields::FormFields;
use crate::form::parts::Field;
use crate::form::policy::PostPolicy;
use crate::signature::{sha256_hex, sign};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HOST: &str = "examplebucket.s3.amazonaws.com";

/// 2013-05-24T00:00:00Z.
const NOW: i64 = 1_369_353_600;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.iter().map(pair).collect()
}

/// The key and what the body must be; `None` where there is no signature.
type Verified = Option<(String, Payload)>;

fn verify_at(method: Method, uri: &str, headers: &HeaderMap, now: i64) -> Result<Verified, Fault> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let query = Query::parse(query).unwrap();
    let subject = Subject {
        method: &method,
        path,
        query: &query,
        headers,
    };
    let Some(authorization) = Authorization::read(&subject)? else {
        return Ok(None);
    };
    let find = |key: &str| {
        Ok((key == KEY).then(|| Credential {
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
        }))
    };
    let verifier = Verifier::new("us-east-1");
    let payload = verifier.verify(&subject, &authorization, now, find)?;
    Ok(Some((authorization.access_key_id, payload)))
}

fn code(outcome: Result<Verified, Fault>) -> Code {
    outcome.err().expect("the request must be refused").code
}

/// That of the documentation's examples.
fn scope() -> Scope {
    Scope {
        date: "20130524".into(),
        region: "us-east-1".into(),
        service: "s3".into(),
    }
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

fn get_example() -> HeaderMap {
    let authorization = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    headers(&[
        ("host", HOST),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", &authorization),
    ])
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
    AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&\
    X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
    aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn the_get_of_the_documentation_is_accepted() {
    let verified = verify_at(Method::GET, "/test.txt", &get_example(), NOW).unwrap();
    let (access_key_id, payload) = verified.expect("the request is signed");
    assert_eq!(access_key_id, KEY);
    assert!(matches!(payload, Payload::Hash(_)));
}

#[test]
fn the_put_of_the_documentation_is_accepted() {
    let authorization = authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let headers = headers(&[
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("host", HOST),
        (
            "x-amz-content-sha256",
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        ),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
    ]);
    assert!(verify_at(Method::PUT, "/test%24file.text", &headers, NOW).is_ok());
    assert!(verify_at(Method::PUT, "/test$file.text", &headers, NOW).is_ok());
}

#[test]
fn the_list_of_the_documentation_is_accepted() {
    let authorization = authorization(
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
    let headers = headers(&[
        ("host", HOST),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", &authorization),
    ]);
    assert!(verify_at(Method::GET, "/?prefix=J&max-keys=2", &headers, NOW).is_ok());
    assert!(verify_at(Method::GET, "/?max-keys=2&prefix=J", &headers, NOW).is_ok());
    let other = verify_at(Method::GET, "/?max-keys=3&prefix=J", &headers, NOW);
    assert_eq!(code(other), Code::SignatureDoesNotMatch);
}

#[test]
fn the_presigned_url_of_the_documentation_is_accepted_while_it_lives() {
    let headers = headers(&[("host", HOST)]);
    let at = |seconds| verify_at(Method::GET, PRESIGNED, &headers, NOW + seconds);
    assert!(at(0).is_ok());
    assert!(at(86_400).is_ok());
    assert!(at(-600).is_ok());
    let expired = at(86_401).err().unwrap();
    assert_eq!(
        (expired.code, &*expired.message),
        (Code::AccessDenied, "Request has expired")
    );
    let details = [
        ("X-Amz-Expires", "86400"),
        ("Expires", "2013-05-25T00:00:00Z"),
        ("ServerTime", "2013-05-25T00:00:01Z"),
    ];
    assert_eq!(expired.details, details.map(|(n, v)| (n, v.to_owned())));
    assert_eq!(code(at(-1000)), Code::AccessDenied);
}

#[test]
fn a_changed_request_does_not_match() {
    let changed = |name: &'static str, value: &str| {
        let mut headers = get_example();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        code(verify_at(Method::GET, "/test.txt", &headers, NOW))
    };
    assert_eq!(changed("range", "bytes=0-10"), Code::SignatureDoesNotMatch);
    assert_eq!(
        changed("host", "other.s3.amazonaws.com"),
        Code::SignatureDoesNotMatch
    );
    assert_eq!(
        changed("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        Code::SignatureDoesNotMatch
    );
    let example = get_example();
    assert_eq!(
        code(verify_at(Method::PUT, "/test.txt", &example, NOW)),
        Code::SignatureDoesNotMatch
    );
    assert_eq!(
        code(verify_at(Method::GET, "/test.tx", &example, NOW)),
        Code::SignatureDoesNotMatch
    );
    let mut missing = get_example();
    missing.remove("range");
    assert_eq!(
        code(verify_at(Method::GET, "/test.txt", &missing, NOW)),
        Code::SignatureDoesNotMatch
    );
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let example = get_example();
    let at = |seconds| verify_at(Method::GET, "/test.txt", &example, NOW + seconds);
    assert!(at(900).is_ok() && at(-900).is_ok());
    assert_eq!(code(at(-901)), Code::RequestTimeTooSkewed);
    let late = at(901).err().expect("a refusal");
    assert_eq!(late.code, Code::RequestTimeTooSkewed);
    let details = [
        ("RequestTime", "20130524T000000Z"),
        ("ServerTime", "2013-05-24T00:15:01Z"),
        ("MaxAllowedSkewMilliseconds", "900000"),
    ];
    assert_eq!(late.details, details.map(|(n, v)| (n, v.to_owned())));
}

#[test]
fn what_is_not_understood_is_refused() {
    let with = |authorization: &str| {
        let mut headers = get_example();
        headers.insert(
            "authorization",
            HeaderValue::from_str(authorization).unwrap(),
        );
        code(verify_at(Method::GET, "/test.txt", &headers, NOW))
    };
    assert_eq!(
        with("AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="),
        Code::InvalidRequest
    );
    assert_eq!(with("Basic QWxhZGRpbg=="), Code::InvalidArgument);
    assert_eq!(with("nonsense"), Code::InvalidArgument);
    assert_eq!(with("AWS"), Code::InvalidRequest);
    assert_eq!(
        with("AWS4-ECDSA-P256-SHA256 Credential=x"),
        Code::InvalidRequest
    );
    assert_eq!(
        with("AWS4-HMAC-SHA256 Credential=x"),
        Code::AuthorizationHeaderMalformed
    );
    let scope = |scope: &str| {
        let text = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        with(&text)
    };
    let malformed = Code::AuthorizationHeaderMalformed;
    assert_eq!(scope("K/20130524/eu-west-1/s3/aws4_request"), malformed);
    assert_eq!(scope("K/20130524/us-east-1/sts/aws4_request"), malformed);
    assert_eq!(scope("K/20130525/us-east-1/s3/aws4_request"), malformed);
    for other in OTHER_SERVICES {
        let credential = format!("K/20130524/us-east-1/{other}/aws4_request");
        assert_eq!(scope(&credential), Code::NotImplemented, "{other}");
    }
    assert_eq!(
        scope("K/20130524/us-east-1/s3/aws4_request"),
        Code::InvalidAccessKeyId
    );
}

#[test]
fn nobody_and_two_at_once() {
    let nobody = verify_at(Method::GET, "/test.txt", &headers(&[("host", HOST)]), NOW);
    assert!(matches!(nobody, Ok(None)));
    let empty = headers(&[("host", HOST), ("authorization", " ")]);
    let nobody = verify_at(Method::GET, "/test.txt", &empty, NOW);
    assert!(matches!(nobody, Ok(None)));
    assert!(verify_at(Method::GET, PRESIGNED, &empty, NOW).is_ok_and(|it| it.is_some()));
    let both = verify_at(Method::GET, PRESIGNED, &get_example(), NOW);
    assert_eq!(code(both), Code::InvalidArgument);
    let old = "/test.txt?AWSAccessKeyId=K&Signature=S&Expires=1";
    assert_eq!(
        code(verify_at(
            Method::GET,
            old,
            &headers(&[("host", HOST)]),
            NOW
        )),
        Code::InvalidRequest
    );
    let partial = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256";
    let partial = verify_at(Method::GET, partial, &headers(&[("host", HOST)]), NOW);
    assert_eq!(code(partial), Code::AuthorizationQueryParametersError);
}

#[test]
fn spaces_in_signed_headers_are_folded() {
    let scope = scope();
    let request = format!(
        "GET\n/k\n\nhost:h\nx-amz-content-sha256:{EMPTY}\nx-amz-date:20130524T000000Z\n\
         x-amz-meta-a:one two,three\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-meta-a\n{EMPTY}"
    );
    let request = sha256_hex(request.as_bytes());
    let text = string_to_sign("20130524T000000Z", &scope, &request);
    let signature = sign(&signing_key(SECRET, &scope), &text);
    let signed = "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a";
    let authorization = authorization(signed, &signature);
    let mut headers = headers(&[
        ("host", "h"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-meta-a", "  one   two "),
        ("authorization", &authorization),
    ]);
    headers.append("x-amz-meta-a", HeaderValue::from_static("three"));
    assert!(verify_at(Method::GET, "/k", &headers, NOW).is_ok());
}

/// `Date` in either of its forms stands for `x-amz-date`, which wins where both are there.
#[test]
fn a_date_header_is_a_time_too() {
    let scope = scope();
    let request = format!(
        "GET\n/k\n\nhost:h\nx-amz-content-sha256:{EMPTY}\n\nhost;x-amz-content-sha256\n{EMPTY}"
    );
    let request = sha256_hex(request.as_bytes());
    let text = string_to_sign("20130524T000000Z", &scope, &request);
    let signature = sign(&signing_key(SECRET, &scope), &text);
    let authorization = authorization("host;x-amz-content-sha256", &signature);
    let outcome = |times: &[(&'static str, &str)]| {
        let others = [
            ("host", "h"),
            ("x-amz-content-sha256", EMPTY),
            ("authorization", authorization.as_str()),
        ];
        let all = [&others[..], times].concat();
        verify_at(Method::GET, "/k", &headers(&all), NOW)
    };
    for date in ["20130524T000000Z", "Fri, 24 May 2013 00:00:00 GMT"] {
        assert!(outcome(&[("date", date)]).is_ok(), "{date}");
    }
    let both = [("x-amz-date", "20130524T000000Z"), ("date", "yesterday")];
    assert!(outcome(&both).is_ok());
    for wrong in [&[][..], &[("date", "yesterday")][..]] {
        assert_eq!(code(outcome(wrong)), Code::AccessDenied);
    }
    let malformed = [("x-amz-date", "now"), ("date", "20130524T000000Z")];
    assert_eq!(code(outcome(&malformed)), Code::AccessDenied);
}

/// A presigned URL for one body: `x-amz-content-sha256` stands in the query, under the signature.
fn presigned_for(payload: &str) -> String {
    presigned(("X-Amz-Content-Sha256", payload), payload, None)
}

/// A presigned URL with a further parameter, and a further header under its signature.
fn presigned(further: (&str, &str), payload: &str, header: Option<(&str, &str)>) -> String {
    let scope = scope();
    let credential = format!("{KEY}/{scope}");
    let signed = header.map_or("host".to_owned(), |(name, _)| format!("host;{name}"));
    let pairs = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", "20130524T000000Z"),
        ("X-Amz-Expires", "600"),
        ("X-Amz-SignedHeaders", &signed),
        further,
    ];
    let query = canonical_query(pairs.into_iter());
    let mut canonical = CanonicalRequest::new("PUT", "/k", &query);
    canonical.header("host", std::iter::once(HOST.as_bytes()));
    if let Some((name, value)) = header {
        canonical.header(name, std::iter::once(value.as_bytes()));
    }
    let text = string_to_sign("20130524T000000Z", &scope, &canonical.finish(payload));
    let signature = sign(&signing_key(SECRET, &scope), &text);
    format!("/k?{query}&X-Amz-Signature={signature}")
}

#[test]
fn a_signed_hash_in_the_query_wins_over_an_unsigned_header() {
    let uri = presigned_for(EMPTY);
    for added in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        let headers = headers(&[("host", HOST), ("x-amz-content-sha256", added)]);
        let verified = verify_at(Method::PUT, &uri, &headers, NOW).unwrap();
        let (_, payload) = verified.expect("the request is signed");
        assert!(matches!(payload, Payload::Hash(_)), "{added}");
    }
}

#[test]
fn a_signed_header_may_stand_in_the_query_alone() {
    let host = headers(&[("host", HOST)]);
    let ask = |query, header| {
        let uri = presigned(query, "UNSIGNED-PAYLOAD", Some(header));
        verify_at(Method::PUT, &uri, &host, NOW)
    };
    let name = "x-amz-meta-a";
    assert!(ask((name, "1 2"), (name, "1 2")).is_ok());
    assert!(ask(("X-Amz-Meta-A", "1"), (name, "1")).is_ok());
    let other = ask((name, "1"), (name, "2"));
    assert_eq!(code(other), Code::SignatureDoesNotMatch);
    let absent = ask(("x-amz-meta-b", "1"), (name, "1"));
    assert_eq!(code(absent), Code::SignatureDoesNotMatch);
    // What HTTP itself has a header for is not read from the query.
    let range = ask(("range", "bytes=0-1"), ("range", "bytes=0-1"));
    assert_eq!(code(range), Code::SignatureDoesNotMatch);
}

#[test]
fn an_older_signature_is_refused_with_the_setting_that_helps() {
    let old = "/test.txt?AWSAccessKeyId=K&Signature=S&Expires=1";
    let fault = verify_at(Method::GET, old, &headers(&[("host", HOST)]), NOW);
    let fault = fault.err().expect("a refusal");
    assert!(fault.message.contains("s3v4"), "{}", fault.message);
}

/// "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)".
#[test]
fn the_form_of_the_documentation_is_signed() {
    let policy = "{ \"expiration\": \"2015-12-30T12:00:00.000Z\",\r\n  \"conditions\": [\r\n    \
                  {\"bucket\": \"sigv4examplebucket\"},\r\n    \
                  [\"starts-with\", \"$key\", \"user/user1/\"],\r\n    \
                  {\"acl\": \"public-read\"},\r\n    \
                  {\"success_action_redirect\": \"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html\"},\r\n    \
                  [\"starts-with\", \"$Content-Type\", \"image/\"],\r\n    \
                  {\"x-amz-meta-uuid\": \"14365123651274\"},\r\n    \
                  {\"x-amz-server-side-encryption\": \"AES256\"},\r\n    \
                  [\"starts-with\", \"$x-amz-meta-tag\", \"\"],\r\n\r\n    \
                  {\"x-amz-credential\": \"AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request\"},\r\n    \
                  {\"x-amz-algorithm\": \"AWS4-HMAC-SHA256\"},\r\n    \
                  {\"x-amz-date\": \"20151229T000000Z\" }\r\n  ]\r\n}";
    let policy = BASE64.encode(policy);
    let fields = |region: &str, signature: &str| {
        let credential = format!("{KEY}/20151229/{region}/s3/aws4_request");
        let pairs = [
            ("Policy", &*policy),
            ("key", "user/user1/${filename}"),
            ("acl", "public-read"),
            (
                "success_action_redirect",
                "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
            ),
            ("Content-Type", "image/jpeg"),
            ("x-amz-meta-uuid", "14365123651274"),
            ("x-amz-server-side-encryption", "AES256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Date", "20151229T000000Z"),
            ("x-amz-meta-tag", ""),
            ("X-Amz-Signature", signature),
        ];
        let pairs = pairs.map(|(name, value)| Field {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        FormFields::new(pairs.to_vec(), Some("MyPhoto.jpg")).unwrap()
    };
    let verify = |fields: &FormFields| {
        let authorization = Authorization::of_form(fields)?.unwrap();
        let credential = Credential {
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
        };
        let find = |_: &str| Ok(Some(credential));
        Verifier::new("us-east-1").verify_form(&policy, &authorization, find)
    };
    let signature = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
    let form = fields("us-east-1", signature);
    assert!(verify(&form).is_ok());
    let read = PostPolicy::parse(&policy).unwrap();
    let noon = 1_451_476_800;
    assert!(read.check("sigv4examplebucket", &form, noon).is_ok());
    assert!(read.check("sigv4examplebucket", &form, noon + 1).is_err());
    let wrong = verify(&fields("us-east-1", &signature.replace('8', "9")));
    assert_eq!(wrong.unwrap_err().code, Code::SignatureDoesNotMatch);
    let elsewhere = verify(&fields("us-west-2", signature)).unwrap_err();
    assert_eq!(elsewhere.code, Code::InvalidArgument);
    let says = "the region 'us-west-2' is wrong; expecting 'us-east-1'";
    assert_eq!(elsewhere.message, says);
}
