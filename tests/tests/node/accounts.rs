//! Accounts: each owns the buckets that its root makes, and nobody else's (user guide of S3, "Bucket owner granting cross-account permissions",
//! and the API reference of CreateBucket, ListBuckets and DeleteBucket).

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use strata_tests::server::{Server, ServerOptions};

use crate::failure;
use crate::users::{admin, admin_json, refused};

const NUMBER: &str = "222233334444";

/// An account with a key, and a client with that key.
struct Account {
    key_id: String,
    secret: String,
}

impl Account {
    fn create(server: &Server) -> Account {
        let account = ["account", "create", "Research", "--number", NUMBER];
        assert_eq!(admin_json(server, &account)["id"], NUMBER);
        let key = admin_json(server, &["account", "key", NUMBER]);
        let text = |name: &str| key[name].as_str().expect("text").to_owned();
        Account {
            key_id: text("access_key_id"),
            secret: text("secret_access_key"),
        }
    }

    fn client(&self, server: &Server) -> Client {
        let credentials = Credentials::new(&self.key_id, &self.secret, None, None, "tests");
        let config = server.client_config().credentials_provider(credentials);
        Client::from_conf(config.build())
    }
}

async fn buckets(client: &Client) -> Vec<String> {
    let listed = client.list_buckets().send().await.expect("a list");
    let names = listed.buckets().iter().filter_map(|bucket| bucket.name());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn each_account_has_its_own_buckets() {
    let mut server = Server::start(ServerOptions::default());
    let account = Account::create(&server);
    let (root, other) = (server.client(), account.client(&server));
    let made = root.create_bucket().bucket("ours").send().await;
    made.expect("by the root");
    let made = other.create_bucket().bucket("theirs").send().await;
    made.expect("by another account");
    for (client, own) in [(&root, "ours"), (&other, "theirs")] {
        assert_eq!(buckets(client).await, [own]);
    }
    for (client, others) in [(&root, "theirs"), (&other, "ours")] {
        let again = client.create_bucket().bucket(others).send().await;
        assert_eq!(failure(again), (409, "BucketAlreadyExists".to_owned()));
        let list = client.list_objects_v2().bucket(others).send().await;
        assert_eq!(failure(list).1, "AccessDenied");
        let body = b"a".to_vec().into();
        let put = client.put_object().bucket(others).key("k").body(body);
        assert_eq!(failure(put.send().await).1, "AccessDenied");
        let delete = client.delete_bucket().bucket(others).send().await;
        assert_eq!(failure(delete).1, "AccessDenied");
    }
    server.kill();
    server.restart();
    let other = account.client(&server);
    assert_eq!(buckets(&other).await, ["theirs"]);
    let conflict = refused(&server, &["account", "delete", NUMBER]);
    assert!(
        conflict.contains("must delete access keys first"),
        "{conflict}"
    );
    admin(&server, &["key", "deactivate", &account.key_id]);
    let inactive = other.list_buckets().send().await;
    assert_eq!(failure(inactive).1, "InvalidAccessKeyId");
    admin(&server, &["key", "delete", &account.key_id]);
    let conflict = refused(&server, &["account", "delete", NUMBER]);
    assert!(conflict.contains("must delete buckets first"), "{conflict}");
}

#[tokio::test]
async fn a_bucket_policy_lets_another_account_in_and_the_owner_owns_what_it_writes() {
    let server = Server::start(ServerOptions::default());
    let account = Account::create(&server);
    let (root, other) = (server.client(), account.client(&server));
    let made = other.create_bucket().bucket("theirs").send().await;
    made.expect("by another account");
    let policy = |principal: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},
                "Action":["s3:*"],"Resource":["arn:aws:s3:::theirs","arn:aws:s3:::theirs/*"]}}}}"#
        )
    };
    let put_policy = |client: &Client, principal: &str| {
        let put = client.put_bucket_policy().bucket("theirs");
        put.policy(policy(principal)).send()
    };
    let unknown = put_policy(&other, "arn:aws:iam::555566667777:root").await;
    assert_eq!(failure(unknown), (400, "MalformedPolicy".to_owned()));
    let put = put_policy(&other, "000000000001").await;
    put.expect("names the account that is always there");
    let body = b"written by a guest".to_vec().into();
    let put = root.put_object().bucket("theirs").key("k").body(body);
    put.send().await.expect("allowed by the policy");
    let list = other.list_objects_v2().bucket("theirs").fetch_owner(true);
    let list = list.send().await.expect("a list");
    let owner = list.contents()[0].owner().and_then(|owner| owner.id());
    let canonical = format!("{:064x}", NUMBER.parse::<u64>().expect("a number"));
    assert_eq!(owner, Some(canonical.as_str()));
    // Whatever the policy says, it is the owner's to change.
    let by_guest = put_policy(&root, "000000000001").await;
    assert_eq!(failure(by_guest), (405, "MethodNotAllowed".to_owned()));
    for (expected, is) in [(NUMBER, true), ("000000000001", false)] {
        let head = root.head_bucket().bucket("theirs");
        let head = head.expected_bucket_owner(expected).send().await;
        assert_eq!(head.is_ok(), is, "{expected}");
        let copy = root.copy_object().bucket("theirs").key("copy");
        let copy = copy
            .copy_source("theirs/k")
            .expected_source_bucket_owner(expected);
        assert_eq!(copy.send().await.is_ok(), is, "{expected}");
    }
    let deleted = other.delete_bucket_policy().bucket("theirs").send().await;
    deleted.expect("by the owner");
    let get = root.get_object().bucket("theirs").key("k").send().await;
    assert_eq!(failure(get).1, "AccessDenied");
}
