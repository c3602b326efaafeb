//! Users and their access keys, made by the command line: whose signatures are known, what becomes of switched-off and deleted keys, and that all of
//! it outlives a kill; and what their policies let them do.

use std::process::Output;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use serde_json::Value;
use strata_tests::server::{Server, ServerOptions, binary};

use crate::{code, failure};

/// Connections to try, as each may meet another core.
const CONNECTIONS: usize = 8;

/// Runs `strata admin` and takes its JSON.
pub fn admin_json(server: &Server, arguments: &[&str]) -> Value {
    let output = admin(server, &[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs `strata admin`, which must do its work.
pub fn admin(server: &Server, arguments: &[&str]) -> Output {
    let output = server.run(&[&["admin"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// Runs `strata admin`, which must be refused, and gives what it says.
pub fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(&[&["admin"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Key {
    id: String,
    secret: String,
}

fn new_key(server: &Server, user: &str) -> Key {
    let key = admin_json(server, &["key", "create", user]);
    let text = |name: &str| key[name].as_str().expect("text").to_owned();
    assert_eq!(text("user"), user);
    Key {
        id: text("access_key_id"),
        secret: text("secret_access_key"),
    }
}

/// What a key gets that asks for a list of the buckets, on many connections.
async fn code_for(server: &Server, id: &str, secret: &str) -> String {
    let mut codes = std::collections::BTreeSet::new();
    for _ in 0..CONNECTIONS {
        let credentials = Credentials::new(id, secret, None, None, "tests");
        let config = server.client_config().credentials_provider(credentials);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        codes.insert(match client.list_buckets().send().await {
            Ok(_) => "served".to_owned(),
            failed => failure(failed).1,
        });
    }
    assert_eq!(codes.len(), 1, "{codes:?}");
    codes.pop_first().expect("one")
}

#[tokio::test]
async fn a_user_is_known_by_its_keys_and_denied_what_no_policy_allows() {
    let mut server = Server::start(ServerOptions::default());
    let client = server.client();
    let made = client.create_bucket().bucket("reports").send().await;
    made.expect("by the root key");
    admin(&server, &["user", "create", "Alice"]);
    let (first, second) = (new_key(&server, "Alice"), new_key(&server, "Alice"));
    assert_eq!(
        code_for(&server, &first.id, &first.secret).await,
        "AccessDenied"
    );
    let wrong = "a/secret/that/is/nobodys";
    assert_eq!(
        code_for(&server, &first.id, wrong).await,
        "SignatureDoesNotMatch"
    );
    assert_eq!(
        code_for(&server, "AKIANOSUCHKEY0000000", wrong).await,
        "InvalidAccessKeyId"
    );
    // A switched-off key is refused as one that is not there, from the moment of the answer on; so is a deleted one.
    admin(&server, &["key", "deactivate", &first.id]);
    assert_eq!(
        code_for(&server, &first.id, &first.secret).await,
        "InvalidAccessKeyId"
    );
    assert_eq!(
        code_for(&server, &second.id, &second.secret).await,
        "AccessDenied"
    );
    admin(&server, &["key", "activate", &first.id]);
    assert_eq!(
        code_for(&server, &first.id, &first.secret).await,
        "AccessDenied"
    );
    admin(&server, &["key", "delete", &second.id]);
    admin(&server, &["key", "deactivate", &first.id]);
    let third = new_key(&server, "Alice");
    server.kill();
    server.restart();
    assert_eq!(
        code_for(&server, &first.id, &first.secret).await,
        "InvalidAccessKeyId"
    );
    assert_eq!(
        code_for(&server, &second.id, &second.secret).await,
        "InvalidAccessKeyId"
    );
    assert_eq!(
        code_for(&server, &third.id, wrong).await,
        "SignatureDoesNotMatch"
    );
    assert_eq!(
        code_for(&server, &third.id, &third.secret).await,
        "AccessDenied"
    );
    let listed = server.client().list_buckets().send().await;
    assert_eq!(listed.expect("the root key").buckets().len(), 1);
    // The log says who was denied, on a line for the first of many.
    let log = server.log();
    let is_hers = |line: &&str| line.contains("access was denied") && line.contains("\"Alice\"");
    let hers: Vec<&str> = log.lines().filter(is_hers).collect();
    let first_denied = |line: &&str| line.contains("AccessDenied") && line.contains(&first.id);
    assert!(hers.iter().any(first_denied), "{log}");
    // Whoever knows the id of a key alone is not taken for the user.
    let is_forged = |line: &&str| line.contains("SignatureDoesNotMatch");
    assert!(!hers.iter().any(is_forged), "{log}");
    // Secrets are in no log, no list and no description of what lies on disk.
    let shown = admin_json(&server, &["user", "show", "alice"]).to_string();
    assert!(shown.contains(&third.id), "{shown}");
    let mut inspect = std::process::Command::new(binary::strata());
    let inspected = inspect.arg("inspect").arg(server.metadata_dir()).output();
    let inspected = inspected.expect("the command runs");
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.contains(&third.id), "the key's row is there");
    for key in [&first, &second, &third] {
        for text in [&log, &shown, &inspected] {
            assert!(!text.contains(&key.secret), "a secret is in {text}");
        }
    }
}

/// A client with a key of the user.
fn client_of(server: &Server, user: &str) -> Client {
    let key = new_key(server, user);
    let credentials = Credentials::new(&key.id, &key.secret, None, None, "tests");
    let config = server.client_config().credentials_provider(credentials);
    Client::from_conf(config.build())
}

/// Puts a policy: of a user (`--user alice`), of a group, or one to be attached.
fn put_policy(server: &Server, name: &str, statements: &str, of: &[&str]) {
    let file = server.metadata_dir().with_file_name("policy.json");
    let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a path");
    admin(server, &[&["policy", "put", name, file], of].concat());
}

async fn put_code(client: &Client, bucket: &str, key: &str) -> String {
    match client.put_object().bucket(bucket).key(key).send().await {
        Ok(_) => "served".to_owned(),
        failed => failure(failed).1,
    }
}

const SERVED: &str = "served";
const DENIED: &str = "AccessDenied";

#[tokio::test]
async fn a_user_may_do_what_its_policies_allow() {
    let mut server = Server::start(ServerOptions::default());
    let root = server.client();
    let made = root.create_bucket().bucket("reports").send().await;
    made.expect("a bucket");
    admin(&server, &["user", "create", "bob", "--path", "/staff/"]);
    let bob = client_of(&server, "bob");
    assert_eq!(put_code(&bob, "reports", "a").await, DENIED);
    let absent = bob.get_object().bucket("reports").key("a").send().await;
    assert_eq!(failure(absent), code(403, DENIED));

    // Its own policy, with a variable; each change is in force with the answer.
    let home = r#"{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::reports/${aws:username}/*"}"#;
    put_policy(&server, "home", home, &["--user", "bob"]);
    assert_eq!(put_code(&bob, "reports", "bob/a").await, SERVED);
    assert_eq!(put_code(&bob, "reports", "alice/a").await, DENIED);

    // A group's policy, and a managed one that is attached to the group.
    admin(&server, &["group", "create", "staff"]);
    admin(&server, &["group", "add", "staff", "bob"]);
    let attached = ["policy", "attach", "AmazonS3ReadOnlyAccess"];
    admin(&server, &[&attached[..], &["--group", "staff"]].concat());
    let read = bob.get_object().bucket("reports").key("bob/a").send().await;
    read.expect("allowed");
    assert!(bob.list_buckets().send().await.is_ok());
    assert_eq!(put_code(&bob, "reports", "alice/a").await, DENIED);
    let deny =
        r#"{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/bob/*"}"#;
    put_policy(&server, "no-reading", deny, &["--group", "staff"]);
    let read = bob.get_object().bucket("reports").key("bob/a").send().await;
    assert_eq!(failure(read), code(403, DENIED));

    // All of it outlives a kill.
    server.kill();
    server.restart();
    let bob = client_of(&server, "bob");
    let read = bob.get_object().bucket("reports").key("bob/a").send().await;
    assert_eq!(failure(read), code(403, DENIED));
    assert_eq!(put_code(&bob, "reports", "bob/b").await, SERVED);
    admin(&server, &["group", "remove", "staff", "bob"]);
    let read = bob.get_object().bucket("reports").key("bob/a").send().await;
    read.expect("its own policy allows it");
    assert!(bob.list_buckets().send().await.is_err());

    // A boundary restricts what its policies allow.
    let bound = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#;
    put_policy(&server, "readers", bound, &[]);
    admin(&server, &["user", "boundary", "bob", "readers"]);
    assert_eq!(put_code(&bob, "reports", "bob/c").await, DENIED);
    admin(&server, &["user", "boundary", "bob", "--none"]);
    assert_eq!(put_code(&bob, "reports", "bob/c").await, SERVED);

    // What is not in AWS's language is not taken.
    let file = server.metadata_dir().with_file_name("policy.json");
    std::fs::write(&file, "{}").expect("a file");
    let file = file.to_str().expect("a path");
    let why = refused(&server, &["policy", "put", "empty", file]);
    assert!(why.contains("policy") || why.contains("Statement"), "{why}");
}

#[tokio::test]
async fn a_bucket_names_users_and_none_is_locked_out_by_mistake() {
    let server = Server::start(ServerOptions::default());
    let root = server.client();
    let made = root.create_bucket().bucket("shared-bucket").send().await;
    made.expect("a bucket");
    admin(&server, &["user", "create", "carol", "--path", "/staff/"]);
    let carol = client_of(&server, "carol");
    let put = async |client: &Client, statements: &str, confirms: bool| {
        let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
        let request = client
            .put_bucket_policy()
            .bucket("shared-bucket")
            .policy(text);
        let request = request.set_confirm_remove_self_bucket_access(confirms.then_some(true));
        request.send().await
    };
    let allow = |arn: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":"{arn}"}},"Action":["s3:PutObject","s3:*BucketPolicy"],"Resource":["arn:aws:s3:::shared-bucket","arn:aws:s3:::shared-bucket/*"]}}"#
        )
    };
    let carols = "arn:aws:iam::000000000001:user/staff/carol";
    let nobodys = "arn:aws:iam::000000000001:user/carol";
    let refused = put(&root, &allow(nobodys), false).await;
    assert_eq!(failure(refused), code(400, "MalformedPolicy"));
    put(&root, &allow(carols), false)
        .await
        .expect("carol exists");
    assert_eq!(put_code(&carol, "shared-bucket", "a").await, SERVED);
    let read = carol.get_object().bucket("shared-bucket").key("a").send();
    assert_eq!(failure(read.await), code(403, DENIED));

    // Whoever may set the policy does not take that from itself unless it says so.
    let without = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shared-bucket/*"}"#;
    let refused = put(&carol, without, false).await;
    assert_eq!(failure(refused), code(403, DENIED));
    assert_eq!(put_code(&carol, "shared-bucket", "b").await, SERVED);
    put(&carol, without, true).await.expect("it says so");
    assert_eq!(put_code(&carol, "shared-bucket", "c").await, DENIED);
    let read = carol.get_object().bucket("shared-bucket").key("a").send();
    read.await.expect("everybody may");
    put(&root, &allow(carols), false)
        .await
        .expect("the root always may");
    assert_eq!(put_code(&carol, "shared-bucket", "c").await, SERVED);
}

#[test]
fn the_command_line_keeps_users_groups_keys_and_policies() {
    let mut server = Server::start(ServerOptions::default());
    let file = server.folder().join("policy.json");
    let document = "{ \"Version\": \"2012-10-17\",\n  \"Statement\": { \"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\" } }\n";
    std::fs::write(&file, document).expect("written");
    let path = file.display().to_string();
    admin(&server, &["user", "create", "alice", "--path", "/staff/"]);
    admin(&server, &["group", "create", "ops"]);
    admin(&server, &["group", "add", "ops", "alice"]);
    admin(&server, &["policy", "put", "read", &path]);
    admin(&server, &["policy", "put", "own", &path, "--user", "alice"]);
    admin(&server, &["policy", "attach", "read", "--group", "ops"]);
    admin(
        &server,
        &["user", "boundary", "alice", "AmazonS3ReadOnlyAccess"],
    );
    let secret = server.folder().join("secret");
    std::fs::write(&secret, "a/secret/from/elsewhere\n").expect("written");
    let secret = secret.display().to_string();
    let import = |id: &'static str| {
        let import = [
            "key",
            "create",
            "alice",
            "--access-key-id",
            id,
            "--secret-file",
        ];
        [&import[..], &[&*secret]].concat()
    };
    admin(&server, &import("IMPORTED_KEY_0001"));
    assert!(refused(&server, &import("IMPORTED_KEY_0001")).contains("already exists"));
    server.kill();
    server.restart();
    let user = admin_json(&server, &["user", "show", "ALICE"]);
    assert_eq!(user["arn"], "arn:aws:iam::000000000001:user/staff/alice");
    assert_eq!(user["groups"][0], "ops");
    assert_eq!(user["policies"][0], "own");
    assert_eq!(user["boundary"]["policy"], "AmazonS3ReadOnlyAccess");
    assert_eq!(user["access_keys"][0]["access_key_id"], "IMPORTED_KEY_0001");
    assert_eq!(user["access_keys"][0]["active"], true);
    assert_eq!(user["boundary"]["built_in"], true);
    let group = admin_json(&server, &["group", "show", "ops"]);
    assert_eq!(
        (&group["users"][0], &group["attached"][0]["policy"]),
        (&"alice".into(), &"read".into())
    );
    for arguments in [
        &["policy", "show", "read"][..],
        &["policy", "show", "own", "--user", "alice"],
    ] {
        let output = admin(&server, arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), document);
    }
    let listed = admin(&server, &["policy", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("read") && listed.contains("AmazonS3FullAccess"),
        "{listed}"
    );
    for (arguments, why) in [
        (
            &["user", "create", "Alice"][..],
            "User with name Alice already exists.",
        ),
        (&["user", "create", "a b"], "a user's name has"),
        (
            &["user", "delete", "alice"],
            "must delete access keys first.",
        ),
        (
            &["user", "show", "bob"],
            "The user with name bob cannot be found.",
        ),
        (
            &["group", "delete", "ops"],
            "must remove users from group first.",
        ),
        (
            &["policy", "delete", "read"],
            "Cannot delete a policy attached to entities.",
        ),
        (&["policy", "delete", "AmazonS3FullAccess"], "built in"),
        (
            &["policy", "attach", "read"],
            "to a user, to a group or to a role",
        ),
        (
            &["policy", "put", "bad", &secret],
            "Policies must be valid JSON",
        ),
        (
            &["key", "activate", "AKIANOSUCHKEY0000000"],
            "cannot be found",
        ),
    ] {
        let said = refused(&server, arguments);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    for arguments in [
        &["user", "boundary", "alice"][..],
        &["user", "boundary", "alice", "read", "--none"],
    ] {
        let output = server.run(&[&["admin"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    let user = admin_json(&server, &["user", "show", "alice"]);
    assert_eq!(user["boundary"]["policy"], "AmazonS3ReadOnlyAccess");
    for arguments in [
        &["key", "delete", "IMPORTED_KEY_0001"][..],
        &["policy", "delete", "own", "--user", "alice"],
        &["user", "boundary", "alice", "--none"],
        &["group", "remove", "ops", "alice"],
        &["user", "delete", "alice"],
        &["policy", "detach", "read", "--group", "ops"],
        &["policy", "delete", "read"],
        &["group", "delete", "ops"],
    ] {
        admin(&server, arguments);
    }
    assert_eq!(
        admin_json(&server, &["user", "list"]),
        Value::Array(Vec::new())
    );
}

#[test]
fn a_configured_key_with_the_id_of_a_users_is_refused() {
    const ID: &str = "CONFIGURED_KEY_ID_1";
    let mut server = Server::start(ServerOptions::default());
    let secret = server.folder().join("secret");
    std::fs::write(&secret, "a/secret/of/its/own").expect("written");
    let secret = secret.display().to_string();
    admin(&server, &["user", "create", "alice"]);
    let create = [
        "key",
        "create",
        "alice",
        "--access-key-id",
        ID,
        "--secret-file",
        &secret,
    ];
    let file = server.folder().join("strata.toml");
    let text = format!(
        "[s3.auth]\ncredentials = [{{ access_key_id = \"{ID}\", secret_key = \"another/secret\" }}]\n"
    );
    std::fs::write(&file, text).expect("written");
    server.options_mut().arguments = vec!["--config".into(), file.display().to_string()];
    assert!(server.stop().success());
    server.restart();
    assert!(refused(&server, &create).contains("s3.auth.credentials"));
    let arguments = std::mem::take(&mut server.options_mut().arguments);
    assert!(server.stop().success());
    server.restart();
    admin(&server, &create);
    assert!(server.stop().success());
    server.options_mut().arguments = arguments;
    let before = server.log().len();
    let started = server.try_restart();
    started.expect_err("one key would hide the other");
    let said = server.log().split_off(before);
    assert!(said.contains("access key of user alice"), "{said}");
}
