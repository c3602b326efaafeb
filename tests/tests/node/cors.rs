//! Cross-origin requests: AWS's user guide, "Using cross-origin resource sharing (CORS)".

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CorsConfiguration, CorsRule};
use strata_tests::http::{Request, Response};

use crate::{bucket, code, failure, put, send, shared};

const PAGE: &str = "https://app.example.com";

fn rule(origin: &str, methods: &[&str]) -> CorsRule {
    let rule = CorsRule::builder().allowed_origins(origin);
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    let rule = rule.set_allowed_methods(Some(methods));
    let rule = rule.allowed_headers("x-amz-*").expose_headers("etag");
    rule.max_age_seconds(60).build().expect("a rule")
}

async fn set(client: &Client, bucket: &str, rules: Vec<CorsRule>) {
    let configuration = CorsConfiguration::builder().set_cors_rules(Some(rules));
    let configuration = configuration.build().expect("rules");
    let put = client.put_bucket_cors().bucket(bucket);
    let put = put.cors_configuration(configuration).send().await;
    put.expect("rules");
}

/// A browser's question, which is not signed.
fn preflight(target: &str, origin: &str, method: &str, headers: &str) -> Response {
    let mut request = Request::new("OPTIONS", target)
        .header("origin", origin)
        .header("access-control-request-method", method);
    if !headers.is_empty() {
        request = request.header("access-control-request-headers", headers);
    }
    request.send(shared().s3()).expect("an answer")
}

#[tokio::test]
async fn the_rules_of_a_bucket_are_kept() {
    let (client, name) = bucket("cors-rules").await;
    let none = client.get_bucket_cors().bucket(&name).send().await;
    assert_eq!(failure(none), code(404, "NoSuchCORSConfiguration"));
    let rules = vec![
        rule("https://*.example.com", &["GET", "PUT"]),
        rule("*", &["HEAD"]),
    ];
    set(&client, &name, rules.clone()).await;
    let found = client.get_bucket_cors().bucket(&name).send().await;
    assert_eq!(found.expect("rules").cors_rules(), rules);
    let wrong = CorsConfiguration::builder().cors_rules(rule("*", &["PATCH"]));
    let wrong = wrong.build().expect("rules");
    let put = client
        .put_bucket_cors()
        .bucket(&name)
        .cors_configuration(wrong);
    assert_eq!(failure(put.send().await), code(400, "InvalidRequest"));
    let delete = client.delete_bucket_cors().bucket(&name).send().await;
    delete.expect("deleted");
    let none = client.get_bucket_cors().bucket(&name).send().await;
    assert_eq!(failure(none), code(404, "NoSuchCORSConfiguration"));
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_send() {
    let (client, name) = bucket("cors-preflight").await;
    let target = format!("/{name}/k");
    let refused = preflight(&target, PAGE, "PUT", "");
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .text()
            .contains("CORS is not enabled for this bucket")
    );
    set(
        &client,
        &name,
        vec![rule("https://*.example.com", &["GET", "PUT"])],
    )
    .await;
    let answer = preflight(&target, PAGE, "PUT", "X-Amz-Date, x-amz-acl");
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (header, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-date, x-amz-acl"),
        ("access-control-expose-headers", "etag"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
    ] {
        assert_eq!(answer.header(header), Some(value), "{header}");
    }
    assert!(
        answer
            .header("vary")
            .is_some_and(|vary| vary.contains("Origin"))
    );
    for (target, origin, method, headers, status, says) in [
        (
            &target[..],
            "https://example.org",
            "PUT",
            "",
            403,
            "AccessForbidden",
        ),
        (&target, PAGE, "DELETE", "", 403, "AccessForbidden"),
        (&target, PAGE, "PUT", "content-type", 403, "AccessForbidden"),
        (&target, PAGE, "PATCH", "", 400, "BadRequest"),
        (
            "/cors-not-there/k",
            PAGE,
            "PUT",
            "",
            403,
            "Bucket not found",
        ),
        ("/", PAGE, "PUT", "", 403, "Bucket not found"),
    ] {
        let answer = preflight(target, origin, method, headers);
        assert_eq!(
            answer.status, status,
            "{target} {origin} {method} {headers}"
        );
        assert!(answer.text().contains(says), "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let bare = Request::new("OPTIONS", &target).send(shared().s3());
    assert_eq!(bare.expect("an answer").status, 400);
}

#[tokio::test]
async fn answers_say_whether_a_page_may_see_them() {
    let (client, name) = bucket("cors-answers").await;
    put(&client, &name, "k", b"x").await;
    let get = |key: &str, origin: &str| {
        let request = Request::new("GET", &format!("/{name}/{key}"));
        send(request.header("origin", origin))
    };
    assert_eq!(get("k", PAGE).header("access-control-allow-origin"), None);
    let rules = vec![
        rule("https://*.example.com", &["GET"]),
        rule("*", &["HEAD"]),
    ];
    set(&client, &name, rules).await;
    let answer = get("k", PAGE);
    assert_eq!((answer.status, answer.text()), (200, "x".to_owned()));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("access-control-expose-headers"), Some("etag"));
    let missing = get("none", PAGE);
    assert_eq!(missing.status, 404);
    assert_eq!(missing.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(
        get("k", "https://x.org").header("access-control-allow-origin"),
        None
    );
    let head = Request::new("HEAD", &format!("/{name}/k"));
    let answer = send(head.header("origin", "https://x.org"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // An answer to a request that is not let in tells a page why.
    let unsigned = Request::new("GET", &format!("/{name}/k")).header("origin", PAGE);
    let answer = unsigned.send(shared().s3()).expect("an answer");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
}
