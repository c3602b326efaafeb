//! Roles, temporary credentials and the calls of STS, as SDKs make them. Each rule is that of the page of its action in AWS's API reference of STS, unless another
//! one is named.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use strata_gateway::percent;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions, binary};
use strata_tests::signature::Signer;

use crate::failure;

const SERVED: &str = "served";
const DENIED: &str = "AccessDenied";
const ALL_OF_S3: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
const ACCOUNT: &str = "000000000001";

/// Whoever has keys: those that last, or temporary ones with their token.
#[derive(Clone)]
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    fn of(document: &str) -> Keys {
        Keys {
            id: text(document, "AccessKeyId"),
            secret: text(document, "SecretAccessKey"),
            token: Some(text(document, "SessionToken")),
        }
    }

    fn client(&self, server: &Server) -> Client {
        let credentials =
            Credentials::new(&self.id, &self.secret, self.token.clone(), None, "tests");
        let config = server.client_config().credentials_provider(credentials);
        Client::from_conf(config.build())
    }

    /// What a list of the buckets gets.
    async fn list_code(&self, server: &Server) -> String {
        match self.client(server).list_buckets().send().await {
            Ok(_) => SERVED.to_owned(),
            failed => failure(failed).1,
        }
    }

    async fn put_code(&self, server: &Server, bucket: &str, key: &str) -> String {
        let put = self.client(server).put_object().bucket(bucket).key(key);
        match put.send().await {
            Ok(_) => SERVED.to_owned(),
            failed => failure(failed).1,
        }
    }

    fn call_of(
        &self,
        server: &Server,
        service: (&str, &str),
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Response {
        let signer = Signer {
            service: service.0.into(),
            access_key_id: self.id.clone(),
            secret_key: self.secret.clone(),
            ..server.signer()
        };
        let mut request = form(service.1, action, parameters);
        if let Some(token) = &self.token {
            request = request.header("x-amz-security-token", token);
        }
        let request = signer.sign_call(request, server.s3());
        request.send(server.s3()).expect("an answer")
    }

    fn call(&self, server: &Server, action: &str, parameters: &[(&str, &str)]) -> Response {
        self.call_of(server, ("sts", "2011-06-15"), action, parameters)
    }

    /// The document of a call that must be answered.
    fn done(&self, server: &Server, action: &str, parameters: &[(&str, &str)]) -> String {
        let answer = self.call(server, action, parameters);
        assert_eq!(
            answer.status,
            200,
            "{action} {parameters:?}: {}",
            answer.text()
        );
        answer.text()
    }

    /// Code and message of a call that must be refused.
    fn refused(
        &self,
        server: &Server,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> (String, String) {
        error(&self.call(server, action, parameters))
    }

    /// Temporary keys of a role.
    fn assume(&self, server: &Server, role: &str, session: &str, more: &[(&str, &str)]) -> Keys {
        let parameters = [&[("RoleArn", role), ("RoleSessionName", session)], more].concat();
        Keys::of(&self.done(server, "AssumeRole", &parameters))
    }

    fn assume_code(&self, server: &Server, role: &str, more: &[(&str, &str)]) -> String {
        let parameters = [&[("RoleArn", role), ("RoleSessionName", "test")], more].concat();
        self.refused(server, "AssumeRole", &parameters).0
    }
}

fn root(server: &Server) -> Keys {
    let signer = server.signer();
    Keys {
        id: signer.access_key_id,
        secret: signer.secret_key,
        token: None,
    }
}

fn form(version: &str, action: &str, parameters: &[(&str, &str)]) -> Request {
    let pairs = [&[("Action", action), ("Version", version)], parameters].concat();
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", percent::encode(value.as_bytes())));
    let request = Request::new("POST", "/");
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    request
        .header("content-type", kind)
        .body(pairs.collect::<Vec<_>>().join("&"))
}

/// The text of the first element of a name.
fn text(document: &str, name: &str) -> String {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = document
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {name}: {document}"));
    rest.split_once(&end).expect("an end").0.to_owned()
}

fn error(answer: &Response) -> (String, String) {
    let document = answer.text();
    assert!(answer.status >= 400, "{document}");
    assert!(document.contains("<ErrorResponse xmlns="), "{document}");
    (text(&document, "Code"), text(&document, "Message"))
}

/// Runs `strata admin`, which must do its work, and gives its JSON where there is some.
fn admin(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[&["admin"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What `strata admin` says that must be refused.
fn admin_refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(&[&["admin"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn user(server: &Server, name: &str) -> Keys {
    admin(server, &["user", "create", name]);
    let key = admin(server, &["key", "create", name, "--json"]);
    let part = |name: &str| key[name].as_str().expect("text").to_owned();
    Keys {
        id: part("access_key_id"),
        secret: part("secret_access_key"),
        token: None,
    }
}

/// A file that holds a policy of these statements.
fn policy_file(server: &Server, statements: &str) -> String {
    let file = server.folder().join("policy.json");
    let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
    std::fs::write(&file, text).expect("a file");
    file.to_str().expect("a path").to_owned()
}

fn put_policy(server: &Server, name: &str, statements: &str, of: &[&str]) {
    let file = policy_file(server, statements);
    admin(server, &[&["policy", "put", name, &file], of].concat());
}

fn trust(principal: &str, action: &str, condition: &str) -> String {
    format!("{{\"Effect\":\"Allow\",\"Principal\":{principal},\"Action\":\"{action}\"{condition}}}")
}

fn of_account() -> String {
    trust(&format!("{{\"AWS\":\"{ACCOUNT}\"}}"), "sts:AssumeRole", "")
}

/// Creates a role with these statements as its trust policy; its ARN.
fn role(server: &Server, name: &str, trust: &str, more: &[&str]) -> String {
    let file = policy_file(server, trust);
    let create = ["role", "create", name, "--trust", &file, "--json"];
    let created = admin(server, &[&create[..], more].concat());
    created["arn"].as_str().expect("an ARN").to_owned()
}

fn may_assume(server: &Server, user: &str, role: &str) {
    let statement =
        format!("{{\"Effect\":\"Allow\",\"Action\":\"sts:AssumeRole\",\"Resource\":\"{role}\"}}");
    put_policy(server, "assume", &statement, &["--user", user]);
}

async fn bucket(server: &Server, name: &str) {
    let made = server.client().create_bucket().bucket(name).send().await;
    made.expect("a bucket");
}

#[tokio::test]
async fn a_role_is_assumed_and_its_session_may_what_the_role_may() {
    let mut server = Server::start(ServerOptions::default());
    bucket(&server, "reports").await;
    bucket(&server, "other").await;
    let alice = user(&server, "alice");
    let arn = role(&server, "Backup", &of_account(), &["--path", "/service/"]);
    assert_eq!(arn, format!("arn:aws:iam::{ACCOUNT}:role/service/Backup"));
    let reports = r#"{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]}"#;
    put_policy(&server, "reports", reports, &["--role", "Backup"]);
    // The account is trusted, which leaves it to the policies of the user.
    assert_eq!(alice.assume_code(&server, &arn, &[]), DENIED);
    may_assume(&server, "alice", &arn);
    let document = alice.done(
        &server,
        "AssumeRole",
        &[("RoleArn", &arn), ("RoleSessionName", "nightly")],
    );
    let session = Keys::of(&document);
    assert!(session.id.starts_with("ASIA"), "{}", session.id);
    assert!(
        session
            .token
            .as_ref()
            .is_some_and(|token| token.len() < 8_192)
    );
    let session_arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/Backup/nightly");
    assert_eq!(text(&document, "Arn"), session_arn);
    assert_eq!(session.put_code(&server, "reports", "a").await, SERVED);
    assert_eq!(session.put_code(&server, "other", "a").await, DENIED);
    // The session has the rights of the role, not those of who has assumed it.
    put_policy(&server, "all", ALL_OF_S3, &["--user", "alice"]);
    assert_eq!(session.put_code(&server, "other", "a").await, DENIED);
    let who = session.done(&server, "GetCallerIdentity", &[]);
    assert_eq!(
        (text(&who, "Arn"), text(&who, "Account")),
        (session_arn, ACCOUNT.to_owned())
    );
    let user_id = text(&who, "UserId");
    assert!(
        user_id.starts_with("AROA") && user_id.ends_with(":nightly"),
        "{user_id}"
    );

    // A change of the role is in force at once; a kill ends no session; neither is anything but the role's end.
    put_policy(&server, "all", ALL_OF_S3, &["--role", "Backup"]);
    assert_eq!(session.put_code(&server, "other", "a").await, SERVED);
    server.kill();
    server.restart();
    assert_eq!(session.put_code(&server, "reports", "b").await, SERVED);
    admin(&server, &["policy", "delete", "all", "--role", "Backup"]);
    // The first denial since the start, which is logged whatever core it meets.
    let denied = session.put_code(&server, "other", "b").await;
    assert_eq!(denied, "AccessDenied");
    assert!(
        admin_refused(&server, &["role", "delete", "Backup"])
            .contains("must delete policies first")
    );
    admin(
        &server,
        &["policy", "delete", "reports", "--role", "Backup"],
    );
    admin(&server, &["role", "delete", "Backup"]);
    assert_eq!(
        session.put_code(&server, "reports", "c").await,
        "InvalidToken"
    );
    role(&server, "Backup", &of_account(), &["--path", "/service/"]);
    put_policy(&server, "all", ALL_OF_S3, &["--role", "Backup"]);
    assert_eq!(
        session.put_code(&server, "reports", "c").await,
        "InvalidToken"
    );
    let again = alice.assume(&server, &arn, "nightly", &[]);
    assert_eq!(again.put_code(&server, "reports", "c").await, SERVED);

    // Who it was stands in the log; what lets one in stands nowhere.
    let log = server.log();
    let is_it = |line: &&str| {
        line.contains("Backup") && line.contains("nightly") && line.contains("access was denied")
    };
    assert!(log.lines().any(|line| is_it(&line)), "{log}");
    let mut inspect = std::process::Command::new(binary::strata());
    let inspected = inspect
        .arg("inspect")
        .arg(server.metadata_dir())
        .output()
        .expect("it runs");
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.contains("session key"), "its row is there");
    for keys in [&session, &again] {
        for shown in [&log, &inspected] {
            assert!(!shown.contains(&keys.secret));
            assert!(!shown.contains(keys.token.as_deref().expect("a token")));
        }
    }
}

#[tokio::test]
async fn a_token_counts_with_its_own_key_and_as_it_is() {
    let server = Server::start(ServerOptions::default());
    bucket(&server, "reports").await;
    let alice = user(&server, "alice");
    let arn = role(&server, "job", &of_account(), &[]);
    put_policy(&server, "all", ALL_OF_S3, &["--role", "job"]);
    may_assume(&server, "alice", &arn);
    let (one, other) = (
        alice.assume(&server, &arn, "one", &[]),
        alice.assume(&server, &arn, "two", &[]),
    );
    assert_eq!(one.list_code(&server).await, SERVED);
    let token = one.token.clone().expect("a token");
    let bytes = STANDARD.decode(&token).expect("base64");
    let with = |token: Option<String>| Keys {
        token,
        ..one.clone()
    };
    assert_eq!(with(None).list_code(&server).await, "InvalidAccessKeyId");
    let mut flips: Vec<usize> = (0..40).map(|at| at * bytes.len() * 8 / 40).collect();
    flips.push(bytes.len() * 8 - 1);
    for bit in flips {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = with(Some(STANDARD.encode(flipped)));
        assert_eq!(
            flipped.list_code(&server).await,
            "InvalidToken",
            "bit {bit}"
        );
    }
    for wrong in [
        "t",
        "AQAAAAE=",
        &token[..token.len() - 4],
        &"A".repeat(9_000),
    ] {
        assert_eq!(
            with(Some(wrong.to_owned())).list_code(&server).await,
            "InvalidToken"
        );
    }
    // Another session's token, the key of a user, and the root key.
    assert_eq!(
        with(other.token.clone()).list_code(&server).await,
        "InvalidToken"
    );
    for keys in [&alice, &root(&server)] {
        let token = Some(token.clone());
        assert_eq!(
            Keys {
                token,
                ..keys.clone()
            }
            .list_code(&server)
            .await,
            "InvalidToken"
        );
    }
    let wrong_secret = Keys {
        secret: other.secret.clone(),
        ..one.clone()
    };
    assert_eq!(
        wrong_secret.list_code(&server).await,
        "SignatureDoesNotMatch"
    );
    // STS and IAM say it in their words.
    let (code, _) = with(Some("t".to_owned())).refused(&server, "GetCallerIdentity", &[]);
    assert_eq!(code, "InvalidClientTokenId");

    // A presigned URL carries it in its query, under the signature.
    let client = one.client(&server);
    let put = client
        .put_object()
        .bucket("reports")
        .key("a")
        .body(b"x".to_vec().into());
    put.send().await.expect("a put");
    let lasting = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a time");
    let url = client
        .get_object()
        .bucket("reports")
        .key("a")
        .presigned(lasting)
        .await
        .expect("a URL");
    let target = url
        .uri()
        .splitn(4, '/')
        .nth(3)
        .map(|rest| format!("/{rest}"))
        .expect("a path");
    assert!(target.contains("X-Amz-Security-Token="), "{target}");
    let get = |target: &str| {
        Request::new("GET", target)
            .header("host", server.s3().to_string())
            .send(server.s3())
            .expect("an answer")
    };
    assert_eq!(get(&target).status, 200, "{}", get(&target).text());
    let without: Vec<&str> = target
        .split('&')
        .filter(|part| !part.starts_with("X-Amz-Security-Token"))
        .collect();
    assert!(
        get(&without.join("&"))
            .text()
            .contains("<Code>InvalidAccessKeyId</Code>")
    );
    // A token alone proves nothing.
    let unsigned = Request::new("GET", "/reports/a").header("x-amz-security-token", &token);
    assert!(
        unsigned
            .send(server.s3())
            .expect("an answer")
            .text()
            .contains("<Code>InvalidToken</Code>")
    );
}

#[tokio::test]
async fn who_may_assume_a_role_is_said_by_its_trust_policy() {
    let server = Server::start(ServerOptions::default());
    let (alice, bob) = (user(&server, "alice"), user(&server, "bob"));
    let alice_arn = format!("{{\"AWS\":\"arn:aws:iam::{ACCOUNT}:user/alice\"}}");
    let named = role(
        &server,
        "named",
        &trust(&alice_arn, "sts:AssumeRole", ""),
        &[],
    );
    // Whoever is named needs no policy of her own; a policy of one's own is not enough.
    alice.assume(&server, &named, "test", &[]);
    put_policy(
        &server,
        "all",
        r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#,
        &["--user", "bob"],
    );
    let parameters = [("RoleArn", &*named), ("RoleSessionName", "test")];
    let (code, message) = bob.refused(&server, "AssumeRole", &parameters);
    let says = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: sts:AssumeRole on resource: {named}"
    );
    assert_eq!((code.as_str(), message), (DENIED, says.clone()));
    // That a role is not there is told in the same words.
    let absent = named.replace("named", "absent");
    let (code, message) = bob.refused(
        &server,
        "AssumeRole",
        &[("RoleArn", &absent), ("RoleSessionName", "test")],
    );
    assert_eq!(
        (code.as_str(), message),
        (DENIED, says.replace(&named, &absent))
    );
    let of_root = root(&server).refused(&server, "AssumeRole", &parameters);
    assert_eq!(of_root.1, "Roles may not be assumed by root accounts.");
    // A denial of one's own counts, and so does a condition.
    put_policy(
        &server,
        "no",
        r#"{"Effect":"Deny","Action":"sts:*","Resource":"*"}"#,
        &["--user", "alice"],
    );
    assert_eq!(alice.assume_code(&server, &named, &[]), DENIED);
    let condition = ",\"Condition\":{\"StringEquals\":{\"sts:ExternalId\":\"partner-7\"},\"StringLike\":{\"sts:RoleSessionName\":\"te*\"}}";
    let partner = role(
        &server,
        "partner",
        &trust("\"*\"", "sts:AssumeRole", condition),
        &[],
    );
    assert_eq!(bob.assume_code(&server, &partner, &[]), DENIED);
    bob.assume(&server, &partner, "test", &[("ExternalId", "partner-7")]);
    let session = bob.assume(&server, &partner, "team", &[("ExternalId", "partner-7")]);

    // A session of a role may assume another one, for an hour.
    let principal = format!("{{\"AWS\":\"{partner}\"}}");
    let chained = role(
        &server,
        "chained",
        &trust(&principal, "sts:AssumeRole", ""),
        &["--max-session-seconds", "43200"],
    );
    assert_eq!(bob.assume_code(&server, &chained, &[]), DENIED);
    session.assume(&server, &chained, "test", &[]);
    session.assume(&server, &chained, "test", &[("DurationSeconds", "3600")]);
    assert_eq!(
        session.assume_code(&server, &chained, &[("DurationSeconds", "3601")]),
        "ValidationError"
    );

    // What is no trust policy, or names nobody, is not taken.
    let set = |statement: &str| {
        let file = policy_file(&server, statement);
        admin_refused(&server, &["role", "set-trust", "chained", &file])
    };
    let ghost = format!("{{\"AWS\":\"arn:aws:iam::{ACCOUNT}:role/ghost\"}}");
    assert!(set(&trust(&ghost, "sts:AssumeRole", "")).contains("Invalid principal in policy"));
    assert!(set(&trust("\"*\"", "s3:GetObject", "")).contains("invalid action"));
    assert!(
        set(&trust("\"*\"", "sts:AssumeRole", ",\"Resource\":\"*\""))
            .contains("prohibited field Resource")
    );
    assert!(set(r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#).contains("Principal"));
}

#[tokio::test]
async fn parameters_have_awss_bounds_and_none_goes_by_unread() {
    let server = Server::start(ServerOptions::default());
    let alice = user(&server, "alice");
    let arn = role(
        &server,
        "job",
        &trust("\"*\"", "sts:AssumeRole", ""),
        &["--max-session-seconds", "7200"],
    );
    let many = "x".repeat(2_049);
    for (name, value, code) in [
        ("DurationSeconds", "899", "ValidationError"),
        ("DurationSeconds", "7201", "ValidationError"),
        ("DurationSeconds", "43201", "ValidationError"),
        ("DurationSeconds", "soon", "ValidationError"),
        ("ExternalId", "x", "ValidationError"),
        ("Policy", "{}", "MalformedPolicyDocument"),
        ("Policy", &many, "ValidationError"),
        (
            "PolicyArns.member.1.arn",
            "arn:aws:iam::aws:policy/Nothing",
            "MalformedPolicyDocument",
        ),
        ("SourceIdentity", "alice", "NotImplemented"),
        ("Tags.member.1.Key", "team", "NotImplemented"),
        ("TransitiveTagKeys.member.1", "team", "NotImplemented"),
        ("SerialNumber", "GAHT12345678", "NotImplemented"),
        ("TokenCode", "123456", "NotImplemented"),
    ] {
        assert_eq!(
            alice.assume_code(&server, &arn, &[(name, value)]),
            code,
            "{name}={value}"
        );
    }
    alice.assume(&server, &arn, "test", &[("DurationSeconds", "7200")]);
    alice.assume(&server, &arn, "test", &[("DurationSeconds", "900")]);
    for name in ["", "a", "a b", &"x".repeat(65)] {
        let parameters = [("RoleArn", &*arn), ("RoleSessionName", name)];
        assert_eq!(
            alice.refused(&server, "AssumeRole", &parameters).0,
            "ValidationError",
            "{name}"
        );
    }
    let no_role = [("RoleArn", "job"), ("RoleSessionName", "test")];
    assert_eq!(
        alice.refused(&server, "AssumeRole", &no_role).0,
        "ValidationError"
    );
    for action in [
        "AssumeRoleWithSAML",
        "GetFederationToken",
        "DecodeAuthorizationMessage",
        "Nothing",
    ] {
        assert_eq!(
            alice.refused(&server, action, &[]).0,
            "InvalidAction",
            "{action}"
        );
    }
    let unsigned = form("2011-06-15", "GetCallerIdentity", &[])
        .send(server.s3())
        .expect("an answer");
    assert_eq!(error(&unsigned).0, "MissingAuthenticationToken");
}

#[tokio::test]
async fn session_policies_restrict_what_the_role_may() {
    let server = Server::start(ServerOptions::default());
    bucket(&server, "reports").await;
    bucket(&server, "other").await;
    let alice = user(&server, "alice");
    let arn = role(&server, "job", &trust("\"*\"", "sts:AssumeRole", ""), &[]);
    put_policy(&server, "all", ALL_OF_S3, &["--role", "job"]);
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::reports/*"}}"#;
    let document = alice.done(
        &server,
        "AssumeRole",
        &[
            ("RoleArn", &arn),
            ("RoleSessionName", "test"),
            ("Policy", policy),
        ],
    );
    let percent: u32 = text(&document, "PackedPolicySize")
        .parse()
        .expect("a number");
    assert!((1..=100).contains(&percent), "{percent}");
    let bound = Keys::of(&document);
    assert_eq!(bound.put_code(&server, "reports", "a").await, SERVED);
    assert_eq!(bound.put_code(&server, "other", "a").await, DENIED);
    assert_eq!(bound.list_code(&server).await, DENIED);
    // One of several has to allow; a managed one is asked as it is now, and allows nothing when it is gone.
    put_policy(
        &server,
        "lists",
        r#"{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}"#,
        &[],
    );
    let lists = format!("arn:aws:iam::{ACCOUNT}:policy/lists");
    let both = alice.assume(
        &server,
        &arn,
        "test",
        &[("Policy", policy), ("PolicyArns.member.1.arn", &lists)],
    );
    assert_eq!(both.list_code(&server).await, SERVED);
    assert_eq!(both.put_code(&server, "reports", "a").await, SERVED);
    assert_eq!(both.put_code(&server, "other", "a").await, DENIED);
    admin(&server, &["policy", "delete", "lists"]);
    assert_eq!(both.list_code(&server).await, DENIED);
    assert_eq!(both.put_code(&server, "reports", "a").await, SERVED);
    let built_in = (
        "PolicyArns.member.1.arn",
        "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
    );
    let reads = alice.assume(&server, &arn, "test", &[built_in]);
    assert_eq!(reads.list_code(&server).await, SERVED);
    assert_eq!(reads.put_code(&server, "reports", "a").await, DENIED);

    // What is to restrict a session goes by unread nowhere.
    for unread in [
        ("PolicyArns.member.2.arn", built_in.1),
        ("PolicyArns.member.1.Arn", built_in.1),
        ("PolicyArns.1.arn", built_in.1),
    ] {
        assert_eq!(
            alice.assume_code(&server, &arn, &[unread]),
            "ValidationError"
        );
    }
    let unread = ("Policy.member.1", policy);
    assert_eq!(
        alice.assume_code(&server, &arn, &[unread]),
        "NotImplemented"
    );
    // Whoever may not assume the role is not told which policies there are.
    let closed = role(&server, "closed", &of_account(), &[]);
    let nowhere = format!("arn:aws:iam::{ACCOUNT}:policy/nowhere");
    for policy in [built_in.1, &nowhere] {
        let policy = ("PolicyArns.member.1.arn", policy);
        assert_eq!(alice.assume_code(&server, &closed, &[policy]), DENIED);
    }
    let unknown = ("PolicyArns.member.1.arn", &*nowhere);
    assert_eq!(
        alice.assume_code(&server, &arn, &[unknown]),
        "MalformedPolicyDocument"
    );

    // What a bucket gives the role is within the session's policy; what it gives the session itself is not (IAM user guide, "Session policies").
    let give = |principal: String| {
        let statement = format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"{principal}\"}},\"Action\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::other/*\"}}}}"
        );
        server
            .client()
            .put_bucket_policy()
            .bucket("other")
            .policy(statement)
            .send()
    };
    give(arn.clone()).await.expect("a role is somebody");
    assert_eq!(bound.put_code(&server, "other", "a").await, DENIED);
    let itself = format!("arn:aws:sts::{ACCOUNT}:assumed-role/job/test");
    give(itself).await.expect("so is a session");
    assert_eq!(bound.put_code(&server, "other", "a").await, SERVED);
    for nobody in [
        format!("arn:aws:iam::{ACCOUNT}:role/ghost"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/ghost/test"),
    ] {
        assert_eq!(failure(give(nobody).await).1, "MalformedPolicy");
    }
}

#[tokio::test]
async fn a_user_and_the_root_get_sessions_of_their_own() {
    let server = Server::start(ServerOptions::default());
    bucket(&server, "reports").await;
    let alice = user(&server, "alice");
    put_policy(
        &server,
        "all",
        r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#,
        &["--user", "alice"],
    );
    let session =
        Keys::of(&alice.done(&server, "GetSessionToken", &[("DurationSeconds", "129600")]));
    assert_eq!(session.put_code(&server, "reports", "a").await, SERVED);
    let who = text(&session.done(&server, "GetCallerIdentity", &[]), "Arn");
    assert_eq!(who, format!("arn:aws:iam::{ACCOUNT}:user/alice"));
    let of_root = Keys::of(&root(&server).done(&server, "GetSessionToken", &[]));
    assert_eq!(of_root.put_code(&server, "reports", "b").await, SERVED);
    assert_eq!(
        text(&of_root.done(&server, "GetCallerIdentity", &[]), "Arn"),
        format!("arn:aws:iam::{ACCOUNT}:root")
    );
    for keys in [&session, &of_root] {
        assert_eq!(keys.refused(&server, "GetSessionToken", &[]).0, DENIED);
        let listed = keys.call_of(&server, ("iam", "2010-05-08"), "ListUsers", &[]);
        assert_eq!(error(&listed).0, "InvalidClientTokenId");
    }
    for seconds in ["899", "129601"] {
        assert_eq!(
            alice
                .refused(&server, "GetSessionToken", &[("DurationSeconds", seconds)])
                .0,
            "ValidationError"
        );
    }
    // A policy can tell a session by the time of its token.
    let deny = r#"{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2100-01-01T00:00:00Z"}}}"#;
    put_policy(&server, "revoke", deny, &["--user", "alice"]);
    assert_eq!(session.put_code(&server, "reports", "a").await, DENIED);
    assert_eq!(alice.put_code(&server, "reports", "a").await, SERVED);
    admin(&server, &["policy", "delete", "revoke", "--user", "alice"]);
    assert_eq!(session.put_code(&server, "reports", "a").await, SERVED);

    // Nobody has an MFA here, which every temporary credential tells (IAM user guide, "AWS global condition context keys").
    let deny = r#"{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false","aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}}}"#;
    put_policy(&server, "mfa", deny, &["--user", "alice"]);
    assert_eq!(session.put_code(&server, "reports", "a").await, DENIED);
    assert_eq!(alice.put_code(&server, "reports", "a").await, SERVED);
    admin(&server, &["policy", "delete", "mfa", "--user", "alice"]);

    // A rotation ends none; the removal of the key that has sealed them ends all.
    admin(&server, &["session-key", "rotate"]);
    let newer = Keys::of(&alice.done(&server, "GetSessionToken", &[]));
    assert_eq!(session.put_code(&server, "reports", "a").await, SERVED);
    admin(&server, &["session-key", "delete", "1"]);
    assert_eq!(
        session.put_code(&server, "reports", "a").await,
        "InvalidToken"
    );
    assert_eq!(newer.put_code(&server, "reports", "a").await, SERVED);
    let listed = admin(&server, &["session-key", "list", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");

    // So does the end of the user, whoever has the name afterwards.
    admin(&server, &["policy", "delete", "all", "--user", "alice"]);
    admin(&server, &["key", "delete", &alice.id]);
    admin(&server, &["user", "delete", "alice"]);
    assert_eq!(
        newer.put_code(&server, "reports", "a").await,
        "InvalidToken"
    );
    user(&server, "alice");
    assert_eq!(
        newer.put_code(&server, "reports", "a").await,
        "InvalidToken"
    );
}

/// A session of an account's root ends with the account, whose number no other has afterwards.
#[tokio::test]
async fn a_session_of_an_accounts_root_is_of_that_account() {
    let server = Server::start(ServerOptions::default());
    let number = "222233334444";
    let create = ["account", "create", "Research", "--number", number];
    admin(&server, &create);
    let key = admin(&server, &["account", "key", number, "--json"]);
    let part = |name: &str| key[name].as_str().expect("text").to_owned();
    let key = Keys {
        id: part("access_key_id"),
        secret: part("secret_access_key"),
        token: None,
    };
    let session = Keys::of(&key.done(&server, "GetSessionToken", &[]));
    assert_eq!(session.list_code(&server).await, SERVED);
    let who = session.done(&server, "GetCallerIdentity", &[]);
    assert_eq!(text(&who, "Account"), number);
    admin(&server, &["key", "delete", &key.id]);
    admin(&server, &["account", "delete", number]);
    assert_eq!(session.list_code(&server).await, "InvalidToken");
    let again = ["admin", "account", "create", "Research", "--number", number];
    let again = server.run(&again);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

/// An issuer of identities.
struct Issuer {
    key: EcdsaKeyPair,
}

impl Issuer {
    const NAME: &str = "id.example.com/realm";

    fn new() -> Issuer {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Issuer { key }
    }

    fn jwks(&self) -> String {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) }] })
            .to_string()
    }

    fn token(&self, subject: &str, audience: &str, seconds: i64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_secs() as i64;
        let claims = json!({
            "iss": format!("https://{}", Issuer::NAME), "sub": subject, "aud": audience, "iat": now, "exp": now + seconds,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": "ES256" })), part(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), text.as_bytes())
            .expect("signed");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn with_web_identity(server: SocketAddr, role: &str, token: &str) -> Response {
    let parameters = [
        ("RoleArn", role),
        ("RoleSessionName", "build"),
        ("WebIdentityToken", token),
    ];
    form("2011-06-15", "AssumeRoleWithWebIdentity", &parameters)
        .send(server)
        .expect("an answer")
}

#[tokio::test]
async fn an_identity_of_a_provider_assumes_a_role_without_keys() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let folder = tempfile::tempdir_in(strata_tests::server::scratch()).expect("a folder");
    let (jwks, config) = (
        folder.path().join("keys.json"),
        folder.path().join("strata.toml"),
    );
    std::fs::write(&jwks, issuer.jwks()).expect("a file");
    let entry = format!(
        "[[sts.web_identity]]\nissuer = \"https://{}\"\naudiences = [\"strata\"]\njwks = \"keys.json\"\n",
        Issuer::NAME
    );
    std::fs::write(&config, entry).expect("a file");
    let options = ServerOptions {
        arguments: vec![
            "--config".to_owned(),
            config.to_str().expect("a path").to_owned(),
        ],
        ..ServerOptions::default()
    };
    let server = Server::start(options);
    bucket(&server, "builds").await;
    let listed = Request::new(
        "GET",
        "/?Action=ListOpenIDConnectProviders&Version=2010-05-08",
    );
    let signer = Signer {
        service: "iam".into(),
        ..server.signer()
    };
    let listed = signer.sign_call(listed, server.s3()).send(server.s3());
    assert_eq!(
        text(&listed.expect("an answer").text(), "Arn"),
        format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", Issuer::NAME)
    );
    let provider = format!(
        "{{\"Federated\":\"arn:aws:iam::{ACCOUNT}:oidc-provider/{}\"}}",
        Issuer::NAME
    );
    let condition = format!(
        ",\"Condition\":{{\"StringEquals\":{{\"{0}:aud\":\"strata\"}},\"StringLike\":{{\"{0}:sub\":\"repo:storage/*\"}}}}",
        Issuer::NAME
    );
    let arn = role(
        &server,
        "build",
        &trust(&provider, "sts:AssumeRoleWithWebIdentity", &condition),
        &[],
    );
    put_policy(&server, "all", ALL_OF_S3, &["--role", "build"]);
    let token = issuer.token("repo:storage/main", "strata", 600);
    let answer = with_web_identity(server.s3(), &arn, &token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let document = answer.text();
    assert_eq!(
        text(&document, "SubjectFromWebIdentityToken"),
        "repo:storage/main"
    );
    assert_eq!(text(&document, "Audience"), "strata");
    let session = Keys::of(&document);
    assert_eq!(session.put_code(&server, "builds", "a").await, SERVED);
    // What the provider is stays known.
    let deny = format!(
        "{{\"Effect\":\"Deny\",\"Action\":\"s3:*\",\"Resource\":\"*\",\"Condition\":{{\"StringEquals\":{{\"aws:FederatedProvider\":\"{}\"}}}}}}",
        Issuer::NAME
    );
    put_policy(&server, "no", &deny, &["--role", "build"]);
    assert_eq!(session.put_code(&server, "builds", "a").await, DENIED);
    let code = |token: &str| error(&with_web_identity(server.s3(), &arn, token)).0;
    assert_eq!(
        code(&issuer.token("repo:other/main", "strata", 600)),
        DENIED
    );
    assert_eq!(
        code(&issuer.token("repo:storage/main", "other", 600)),
        "InvalidIdentityToken"
    );
    assert_eq!(
        code(&issuer.token("repo:storage/main", "strata", -1)),
        "ExpiredTokenException"
    );
    assert_eq!(
        code(&stranger.token("repo:storage/main", "strata", 600)),
        "InvalidIdentityToken"
    );
    assert_eq!(code("not.a.token"), "InvalidIdentityToken");
    // A role that trusts users trusts no provider.
    let users = role(&server, "users", &trust("\"*\"", "sts:*", ""), &[]);
    assert_eq!(
        error(&with_web_identity(server.s3(), &users, &token)).0,
        DENIED
    );

    // The keys are read again when they change.
    std::fs::write(&jwks, stranger.jwks()).expect("a file");
    let fresh = stranger.token("repo:storage/main", "strata", 600);
    for _ in 0..60 {
        if with_web_identity(server.s3(), &arn, &fresh).status == 200 {
            assert_eq!(code(&token), "InvalidIdentityToken");
            assert!(!server.log().contains(&fresh), "a token is in the log");
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the new keys are not in use: {}", server.log());
}
