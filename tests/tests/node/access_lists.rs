//! Access lists of buckets and objects: AWS's user guide of S3, "Access control list (ACL) overview", "Controlling ownership of objects and disabling ACLs for your
//! bucket" and "Blocking public access to your Amazon S3 storage", and the API references of the four operations.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::types::{
    BucketCannedAcl, ObjectCannedAcl, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PublicAccessBlockConfiguration,
};
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::{Payload, Signer};

use crate::users::{admin, admin_json};
use crate::{code, failure, get, put, send_to};

const SECOND: &str = "222233334444";
const THIRD: &str = "333344445555";

/// A server with three accounts, the first of which has a bucket.
struct World {
    server: Server,
    second: (String, String),
    third: (String, String),
}

impl World {
    async fn new(bucket: &str, ownership: Option<ObjectOwnership>) -> World {
        let server = Server::start(ServerOptions::default());
        let account = |number: &str| {
            admin(&server, &["account", "create", number, "--number", number]);
            let key = admin_json(&server, &["account", "key", number]);
            let text = |name: &str| key[name].as_str().expect("text").to_owned();
            (text("access_key_id"), text("secret_access_key"))
        };
        let (second, third) = (account(SECOND), account(THIRD));
        let create = server.client().create_bucket().bucket(bucket);
        let create = create.set_object_ownership(ownership).send().await;
        create.expect("a bucket");
        World {
            server,
            second,
            third,
        }
    }

    fn root(&self) -> Client {
        self.server.client()
    }

    fn second(&self) -> Client {
        client(&self.server, &self.second)
    }

    fn third(&self) -> Client {
        client(&self.server, &self.third)
    }

    /// The answer to a request without a signature.
    fn unsigned(&self, method: &str, target: &str) -> Response {
        let request = Request::new(method, target).body("x");
        request.send(self.server.s3()).expect("an answer")
    }

    fn signed(&self, request: Request) -> Response {
        send_to(&self.server, request).expect("an answer")
    }

    async fn set_ownership(&self, bucket: &str, ownership: ObjectOwnership) {
        let put = self.root().put_bucket_ownership_controls().bucket(bucket);
        let put = put.ownership_controls(controls(ownership)).send().await;
        put.expect("ownership");
    }
}

fn client(server: &Server, (id, secret): &(String, String)) -> Client {
    let credentials = Credentials::new(id, secret, None, None, "tests");
    let config = server.client_config().credentials_provider(credentials);
    Client::from_conf(config.build())
}

fn controls(ownership: ObjectOwnership) -> OwnershipControls {
    let rule = OwnershipControlsRule::builder().object_ownership(ownership);
    let rule = rule.build().expect("a rule");
    let controls = OwnershipControls::builder().rules(rule);
    controls.build().expect("controls")
}

fn id(number: &str) -> String {
    format!("{:064x}", number.parse::<u64>().expect("a number"))
}

/// What a GET of a key gets.
async fn got(client: &Client, bucket: &str, key: &str) -> String {
    let answer = client.get_object().bucket(bucket).key(key).send().await;
    match answer {
        Ok(_) => "served".to_owned(),
        failed => failure(failed).1,
    }
}

async fn list_object(client: &Client, bucket: &str, key: &str) -> (String, Vec<String>) {
    let acl = client.get_object_acl().bucket(bucket).key(key).send().await;
    let acl = acl.expect("a list");
    let owner = acl.owner().and_then(|owner| owner.id()).unwrap_or_default();
    let grants = acl.grants().iter().map(|grant| {
        let grantee = grant.grantee().expect("a grantee");
        let whom = grantee.id().or(grantee.uri()).unwrap_or_default();
        let whom = whom.rsplit('/').next().unwrap_or_default();
        let permission = grant.permission().map_or("", |of| of.as_str());
        format!("{} {permission}", whom.trim_start_matches('0'))
    });
    (owner.trim_start_matches('0').to_owned(), grants.collect())
}

fn hex(number: &str) -> String {
    id(number).trim_start_matches('0').to_owned()
}

#[tokio::test]
async fn lists_of_objects_let_in_whom_they_name() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let (root, second, third) = (world.root(), world.second(), world.third());
    for (key, acl) in [
        ("private", ObjectCannedAcl::Private),
        ("public", ObjectCannedAcl::PublicRead),
        ("signed", ObjectCannedAcl::AuthenticatedRead),
    ] {
        let put = root.put_object().bucket("lists").key(key).acl(acl);
        let put = put.body(b"x".to_vec().into()).send().await;
        put.expect("put");
    }
    let put_granted = root.put_object().bucket("lists").key("granted");
    let put_granted = put_granted.grant_read(format!("id=\"{}\"", id(SECOND)));
    let put_granted = put_granted.body(b"x".to_vec().into()).send().await;
    put_granted.expect("put");
    put(&root, "lists", "none", b"x").await;
    for (key, anonymous, by_second, by_third) in [
        ("private", false, false, false),
        ("public", true, true, true),
        ("signed", false, true, true),
        ("granted", false, true, false),
        ("none", false, false, false),
    ] {
        let status = |is| if is { 200 } else { 403 };
        let text = |is| if is { "served" } else { "AccessDenied" };
        let answer = world.unsigned("GET", &format!("/lists/{key}"));
        assert_eq!(answer.status, status(anonymous), "{key}");
        assert_eq!(got(&second, "lists", key).await, text(by_second), "{key}");
        assert_eq!(got(&third, "lists", key).await, text(by_third), "{key}");
        let write = world.unsigned("PUT", &format!("/lists/{key}"));
        assert_eq!(write.status, 403, "{key}");
        let acl = world.unsigned("GET", &format!("/lists/{key}?acl"));
        assert_eq!(acl.status, 403, "{key}");
    }
    let (owner, grants) = list_object(&root, "lists", "public").await;
    assert_eq!(owner, "1");
    assert_eq!(grants, ["1 FULL_CONTROL", "AllUsers READ"]);
    let (_, grants) = list_object(&root, "lists", "granted").await;
    assert_eq!(grants, [format!("{} READ", hex(SECOND))]);
    assert_eq!(get(&root, "lists", "granted").await, b"x", "the owner's");
    // Taken back, it is as if it had never been.
    let back = root.put_object_acl().bucket("lists").key("public");
    let back = back.acl(ObjectCannedAcl::Private).send().await;
    back.expect("private");
    assert_eq!(world.unsigned("GET", "/lists/public").status, 403);
    let (_, grants) = list_object(&root, "lists", "public").await;
    assert_eq!(grants, ["1 FULL_CONTROL"]);
}

#[tokio::test]
async fn a_list_of_a_bucket_grants_listing_writing_and_itself() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let (root, second, third) = (world.root(), world.second(), world.third());
    put(&root, "lists", "ours", b"x").await;
    let grant = |text: String| {
        let set = root.put_bucket_acl().bucket("lists");
        let set = set.grant_full_control(format!("id={}", id("1")));
        let set = match text.split_once(' ') {
            Some(("READ", whom)) => set.grant_read(whom),
            Some(("WRITE", whom)) => set.grant_write(whom),
            Some(("READ_ACP", whom)) => set.grant_read_acp(whom),
            _ => set.grant_write_acp(text.split_once(' ').expect("whom").1),
        };
        set.send()
    };
    let may = |client: Client| async move {
        let list = client.list_objects_v2().bucket("lists").send().await;
        let write = client.put_object().bucket("lists").key("theirs");
        let write = write.body(b"y".to_vec().into()).send().await;
        let acl = client.get_bucket_acl().bucket("lists").send().await;
        let set = client.put_bucket_acl().bucket("lists");
        // Not a list that changes anything: refused for what it says, when it may be set.
        let set = failure(set.grant_read("id=\"none\"").send().await).1;
        [
            list.is_ok(),
            write.is_ok(),
            acl.is_ok(),
            set == "InvalidArgument",
        ]
    };
    assert_eq!(may(second.clone()).await, [false; 4]);
    for (at, permission) in ["READ", "WRITE", "READ_ACP", "WRITE_ACP"]
        .iter()
        .enumerate()
    {
        let set = grant(format!("{permission} id={}", id(SECOND))).await;
        set.unwrap_or_else(|error| panic!("{permission}: {error:?}"));
        let mut expected = [false; 4];
        expected[at] = true;
        assert_eq!(may(second.clone()).await, expected, "{permission}");
        assert_eq!(may(third.clone()).await, [false; 4], "{permission}");
        assert_eq!(got(&second, "lists", "ours").await, "AccessDenied");
    }
    let uri = "http://acs.amazonaws.com/groups/global/AllUsers";
    grant(format!("READ uri=\"{uri}\"")).await.expect("public");
    assert_eq!(world.unsigned("GET", "/lists").status, 200);
    assert_eq!(world.unsigned("GET", "/lists/ours").status, 403);
    let absent = world.unsigned("GET", "/lists/absent");
    assert_eq!(absent.status, 404, "who may list is told");
    assert_eq!(world.unsigned("PUT", "/lists/new").status, 403);
}

#[tokio::test]
async fn objects_are_their_writers_as_the_bucket_has_it() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let (root, second) = (world.root(), world.second());
    let open = root.put_bucket_acl().bucket("lists");
    let open = open.acl(BucketCannedAcl::PublicReadWrite).send().await;
    open.expect("open");
    let write = |key: &str, acl: Option<ObjectCannedAcl>| {
        let put = second.put_object().bucket("lists").key(key).set_acl(acl);
        put.body(b"x".to_vec().into()).send()
    };
    write("own", None).await.expect("put");
    let given = Some(ObjectCannedAcl::BucketOwnerFullControl);
    write("given", given.clone()).await.expect("put");
    assert_eq!(got(&root, "lists", "own").await, "AccessDenied");
    assert_eq!(got(&second, "lists", "own").await, "served");
    assert_eq!(got(&root, "lists", "given").await, "served");
    let (owner, grants) = list_object(&root, "lists", "given").await;
    assert_eq!(owner, hex(SECOND));
    let full = |whom: &str| format!("{whom} FULL_CONTROL");
    assert_eq!(grants, [full(&hex(SECOND)), full("1")]);
    // No policy of the bucket opens what its owner does not own, but it can deny it.
    let policy = |effect: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::lists/*"}}}}"#
        )
    };
    let set = |effect: &str| {
        let set = root.put_bucket_policy().bucket("lists");
        set.policy(policy(effect)).send()
    };
    set("Allow").await.expect("a policy");
    assert_eq!(got(&root, "lists", "own").await, "AccessDenied");
    assert_eq!(world.unsigned("GET", "/lists/own").status, 403);
    set("Deny").await.expect("a policy");
    assert_eq!(got(&second, "lists", "own").await, "AccessDenied");
    let delete = root.delete_bucket_policy().bucket("lists").send().await;
    delete.expect("deleted");
    // What an anonymous one writes is the bucket owner's, and a writer deletes what is its own.
    assert_eq!(world.unsigned("PUT", "/lists/unsigned").status, 200);
    assert_eq!(got(&root, "lists", "unsigned").await, "served");
    put(&root, "lists", "ours", b"x").await;
    let delete = |client: &Client, key: &str| {
        let delete = client.delete_object().bucket("lists").key(key);
        delete.send()
    };
    let denied = failure(delete(&second, "ours").await);
    assert_eq!(denied, code(403, "AccessDenied"));
    assert_eq!(world.unsigned("DELETE", "/lists/unsigned").status, 403);
    delete(&second, "given").await.expect("its own");
    delete(&root, "own")
        .await
        .expect("the bucket owner's right");
    // Where the bucket's owner is preferred, what is given is its own.
    world
        .set_ownership("lists", ObjectOwnership::BucketOwnerPreferred)
        .await;
    write("given", given).await.expect("put");
    write("own", None).await.expect("put");
    assert_eq!(list_object(&root, "lists", "given").await.0, "1");
    assert_eq!(got(&second, "lists", "given").await, "AccessDenied");
    assert_eq!(list_object(&second, "lists", "own").await.0, hex(SECOND));
}

#[tokio::test]
async fn ownership_that_changes_turns_lists_off_and_on() {
    let mut world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let (root, second) = (world.root(), world.second());
    let open = root.put_bucket_acl().bucket("lists");
    let open = open.acl(BucketCannedAcl::PublicReadWrite).send().await;
    open.expect("open");
    let put = second.put_object().bucket("lists").key("k");
    let put = put.acl(ObjectCannedAcl::PublicRead);
    put.body(b"x".to_vec().into()).send().await.expect("put");
    let enforce = || {
        let put = root.put_bucket_ownership_controls().bucket("lists");
        let enforced = controls(ObjectOwnership::BucketOwnerEnforced);
        put.ownership_controls(enforced).send()
    };
    let refused = failure(enforce().await);
    assert_eq!(refused, code(400, "InvalidBucketAclWithObjectOwnership"));
    let close = root.put_bucket_acl().bucket("lists");
    let close = close.acl(BucketCannedAcl::Private).send().await;
    close.expect("private");
    assert_eq!(world.unsigned("GET", "/lists/k").status, 200);
    enforce().await.expect("enforced");
    assert_eq!(world.unsigned("GET", "/lists/k").status, 403);
    assert_eq!(got(&second, "lists", "k").await, "AccessDenied");
    assert_eq!(get(&root, "lists", "k").await, b"x", "the owner's now");
    let (owner, grants) = list_object(&root, "lists", "k").await;
    assert_eq!(
        (owner.as_str(), &*grants),
        ("1", &["1 FULL_CONTROL".to_owned()][..])
    );
    for request in [
        Request::new("PUT", "/lists?acl").header("x-amz-acl", "public-read"),
        Request::new("PUT", "/lists/k?acl").header("x-amz-acl", "public-read"),
        Request::new("PUT", "/lists/new").header("x-amz-acl", "public-read"),
    ] {
        let answer = world.signed(request);
        let text = answer.text();
        assert_eq!(answer.status, 400, "{text}");
        assert!(text.contains("AccessControlListNotSupported"), "{text}");
    }
    // What is so anyway may be said, and changes nothing.
    for target in ["/lists?acl", "/lists/k?acl"] {
        let said = world.signed(Request::new("GET", target)).text();
        let answer = world.signed(Request::new("PUT", target).body(said));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    world
        .set_ownership("lists", ObjectOwnership::ObjectWriter)
        .await;
    assert_eq!(world.unsigned("GET", "/lists/k").status, 200, "as it was");
    world.server.kill();
    world.server.restart();
    assert_eq!(world.unsigned("GET", "/lists/k").status, 200);
    let (owner, grants) = list_object(&world.second(), "lists", "k").await;
    assert_eq!(owner, hex(SECOND));
    assert_eq!(grants.len(), 2, "{grants:?}");
}

#[tokio::test]
async fn public_lists_are_blocked_and_ignored() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let root = world.root();
    let put = root.put_object().bucket("lists").key("k");
    let put = put.acl(ObjectCannedAcl::PublicRead);
    put.body(b"x".to_vec().into()).send().await.expect("put");
    let block = |blocks: bool, ignores: bool| {
        let block = PublicAccessBlockConfiguration::builder();
        let block = block.block_public_acls(blocks).ignore_public_acls(ignores);
        let put = root.put_public_access_block().bucket("lists");
        put.public_access_block_configuration(block.build()).send()
    };
    let public = [
        Request::new("PUT", "/lists?acl").header("x-amz-acl", "authenticated-read"),
        Request::new("PUT", "/lists/k?acl").header("x-amz-acl", "public-read"),
        Request::new("PUT", "/lists/new").header("x-amz-acl", "public-read"),
        Request::new("POST", "/lists/new?uploads").header("x-amz-acl", "public-read"),
        Request::new("PUT", "/lists/new")
            .header("x-amz-copy-source", "/lists/k")
            .header("x-amz-acl", "public-read"),
    ];
    block(true, false).await.expect("a block");
    assert_eq!(world.unsigned("GET", "/lists/k").status, 200, "not ignored");
    for request in &public {
        let answer = world.signed(request.clone());
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("BlockPublicAcls"));
    }
    block(false, true).await.expect("a block");
    assert_eq!(world.unsigned("GET", "/lists/k").status, 403, "ignored");
    for request in &public {
        assert_eq!(world.signed(request.clone()).status, 200);
    }
    assert_eq!(world.unsigned("GET", "/lists/new").status, 403);
    let gone = root.delete_public_access_block().bucket("lists");
    gone.send().await.expect("no block");
    assert_eq!(world.unsigned("GET", "/lists/new").status, 200);
}

#[tokio::test]
async fn a_list_goes_with_its_version_upload_copy_and_form() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let root = world.root();
    let versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let enabled = world.signed(Request::new("PUT", "/lists?versioning").body(versioning));
    assert_eq!(enabled.status, 200);
    let write = |acl: ObjectCannedAcl| {
        let put = root.put_object().bucket("lists").key("k").acl(acl);
        put.body(b"x".to_vec().into()).send()
    };
    let first = write(ObjectCannedAcl::PublicRead).await.expect("put");
    let second = write(ObjectCannedAcl::Private).await.expect("put");
    let version = |put: &aws_sdk_s3::operation::put_object::PutObjectOutput| {
        let version = put.version_id().expect("a version");
        format!("/lists/k?versionId={version}")
    };
    assert_eq!(world.unsigned("GET", "/lists/k").status, 403);
    assert_eq!(world.unsigned("GET", &version(&first)).status, 200);
    assert_eq!(world.unsigned("GET", &version(&second)).status, 403);
    let set = root.put_object_acl().bucket("lists").key("k");
    let set = set.set_version_id(first.version_id().map(str::to_owned));
    let set = set.acl(ObjectCannedAcl::AuthenticatedRead).send().await;
    set.expect("set");
    assert_eq!(world.unsigned("GET", &version(&first)).status, 403);
    let acl = root.get_object_acl().bucket("lists").key("k");
    let acl = acl.set_version_id(first.version_id().map(str::to_owned));
    assert_eq!(acl.send().await.expect("a list").grants().len(), 2);
    // A copy has a list of its own, and an upload gives its list to the object.
    write(ObjectCannedAcl::PublicRead).await.expect("put");
    let copy = root.copy_object().bucket("lists").key("copy");
    copy.copy_source("lists/k").send().await.expect("a copy");
    assert_eq!(world.unsigned("GET", "/lists/copy").status, 403);
    let create = root.create_multipart_upload().bucket("lists").key("parts");
    let create = create.acl(ObjectCannedAcl::PublicRead).send().await;
    let created = create.expect("an upload");
    let upload = created.upload_id().expect("an id");
    let part = root.upload_part().bucket("lists").key("parts");
    let part = part.upload_id(upload).part_number(1);
    let part = part
        .body(b"part".to_vec().into())
        .send()
        .await
        .expect("a part");
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.e_tag().expect("a tag")
    );
    let target = format!("/lists/parts?uploadId={upload}");
    let complete = world.signed(Request::new("POST", &target).body(&*parts));
    assert_eq!(complete.status, 200, "{}", complete.text());
    assert_eq!(world.unsigned("GET", "/lists/parts").status, 200);
    // A marker has no list.
    let delete = root.delete_object().bucket("lists").key("k").send().await;
    delete.expect("a marker");
    let none = root.get_object_acl().bucket("lists").key("k").send().await;
    assert_eq!(failure(none).0, 405);
}

#[tokio::test]
async fn lists_that_cannot_be_set_are_refused() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    put(&world.root(), "lists", "k", b"x").await;
    let owner = |number: &str| format!("<Owner><ID>{}</ID></Owner>", id(number));
    let grant = |grantee: &str| {
        format!(
            "<AccessControlList><Grant><Grantee>{grantee}</Grantee><Permission>READ</Permission></Grant></AccessControlList>"
        )
    };
    let document = |inside: &str| format!("<AccessControlPolicy>{inside}</AccessControlPolicy>");
    let known = grant(&format!("<ID>{}</ID>", id(SECOND)));
    let unknown = grant(&format!("<ID>{}</ID>", id("999")));
    let mail = grant("<EmailAddress>a@example.com</EmailAddress>");
    let body = |inside: String| (None, document(&inside));
    for (target, (header, body), status, error) in [
        ("?acl", (None, String::new()), 400, "MissingSecurityHeader"),
        ("?acl", body(owner("1")), 400, "MalformedACLError"),
        ("?acl", body(owner("1") + &unknown), 400, "InvalidArgument"),
        (
            "?acl",
            body(owner("1") + &mail),
            400,
            "UnresolvableGrantByEmailAddress",
        ),
        ("?acl", body(owner(SECOND) + &known), 403, "AccessDenied"),
        ("/k?acl", body(owner(SECOND) + &known), 403, "AccessDenied"),
        (
            "?acl",
            (Some("private"), document(&(owner("1") + &known))),
            400,
            "UnexpectedContent",
        ),
        (
            "/k?acl",
            (Some("everybody"), String::new()),
            400,
            "InvalidArgument",
        ),
        (
            "/k?acl",
            (Some("aws-exec-read"), String::new()),
            501,
            "NotImplemented",
        ),
        (
            "/none?acl",
            (Some("private"), String::new()),
            404,
            "NoSuchKey",
        ),
        ("?acl", body(owner("1") + &known), 200, ""),
        ("/k?acl", body(owner("1") + &known), 200, ""),
    ] {
        let request = Request::new("PUT", &format!("/lists{target}")).body(&*body);
        let request = match header {
            Some(canned) => request.header("x-amz-acl", canned),
            None => request,
        };
        let answer = world.signed(request);
        let text = answer.text();
        assert_eq!(answer.status, status, "{target} {body}: {text}");
        assert!(text.contains(error), "{target} {body}: {text}");
    }
    let both = Request::new("PUT", "/lists/k")
        .header("x-amz-acl", "private")
        .header("x-amz-grant-read", format!("id={}", id(SECOND)));
    let answer = world.signed(both);
    assert!(
        answer
            .text()
            .contains("Specifying both Canned ACLs and Header Grants")
    );
    assert_eq!(got(&world.second(), "lists", "k").await, "served");
}

/// A grant is to an account: a user of it needs leave of its own.
#[tokio::test]
async fn users_need_leave_of_their_own_for_what_is_granted_to_their_account() {
    let world = World::new("unused", None).await;
    let second = world.second();
    let create = second.create_bucket().bucket("theirs");
    let create = create.object_ownership(ObjectOwnership::ObjectWriter);
    let create = create.grant_full_control(format!("id={}", id(SECOND)));
    let create = create.grant_read(format!("id={}", id("1"))).send().await;
    create.expect("a bucket with a list");
    let list = |client: &Client| client.list_objects_v2().bucket("theirs").send();
    list(&world.root()).await.expect("granted");
    admin(&world.server, &["user", "create", "alice"]);
    let key = admin_json(&world.server, &["key", "create", "alice"]);
    let text = |name: &str| key[name].as_str().expect("text").to_owned();
    let key = (text("access_key_id"), text("secret_access_key"));
    let alice = client(&world.server, &key);
    assert_eq!(failure(list(&alice).await), code(403, "AccessDenied"));
    let attach = [
        "policy",
        "attach",
        "AmazonS3ReadOnlyAccess",
        "--user",
        "alice",
    ];
    admin(&world.server, &attach);
    list(&alice).await.expect("granted, and let");
    let other = client(&world.server, &world.third);
    assert_eq!(failure(list(&other).await), code(403, "AccessDenied"));
    // Made again in the oldest region, it has the list that is said now.
    let again = second.create_bucket().bucket("theirs").send().await;
    again.expect("made again");
    let denied = failure(list(&world.root()).await);
    assert_eq!(denied, code(403, "AccessDenied"));
}

/// AWS's table of permissions: `WRITE` creates objects, and is for the owners of existing ones alone more than that.
#[tokio::test]
async fn whoever_may_write_by_a_list_touches_nothing_of_others() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let (root, second, third) = (world.root(), world.second(), world.third());
    let open = root.put_bucket_acl().bucket("lists");
    let open = open.acl(BucketCannedAcl::PublicReadWrite).send().await;
    open.expect("open");
    put(&root, "lists", "ours", b"x").await;
    let write = |client: &Client, key: &str| {
        let put = client.put_object().bucket("lists").key(key);
        put.body(b"y".to_vec().into()).send()
    };
    assert_eq!(failure(write(&second, "ours").await).1, "AccessDenied");
    assert_eq!(world.unsigned("PUT", "/lists/ours").status, 403);
    assert_eq!(get(&root, "lists", "ours").await, b"x");
    for _ in 0..2 {
        write(&second, "own").await.expect("one's own");
    }
    assert_eq!(failure(write(&third, "own").await).1, "AccessDenied");
    // Nor is anything put into an upload that somebody else has begun.
    let create = second.create_multipart_upload().bucket("lists").key("up");
    let created = create.send().await.expect("an upload");
    let id = created.upload_id().expect("its id");
    let part = |client: &Client| {
        let part = client.upload_part().bucket("lists").key("up").upload_id(id);
        let part = part.part_number(1).body(b"part".to_vec().into());
        part.send()
    };
    assert_eq!(failure(part(&third).await).1, "AccessDenied");
    let target = format!("/lists/up?partNumber=1&uploadId={id}");
    assert_eq!(world.unsigned("PUT", &target).status, 403);
    let complete = third.complete_multipart_upload().bucket("lists").key("up");
    let complete = complete.upload_id(id).send().await;
    assert_eq!(failure(complete).1, "AccessDenied");
    part(&second).await.expect("one's own upload");
}

/// Another account puts an object while the document of a list comes that was let in for a key without one.
#[tokio::test]
async fn a_list_is_judged_by_what_is_there_when_its_document_has_come() {
    let world = World::new("lists", Some(ObjectOwnership::ObjectWriter)).await;
    let open = world.root().put_bucket_acl().bucket("lists");
    let open = open.acl(BucketCannedAcl::PublicReadWrite).send().await;
    open.expect("open");
    let owner = id(SECOND);
    let document = format!(
        "<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList><Grant>\
         <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">\
         <URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    );
    let server = world.server.s3();
    let signed = |signer: &Signer, request| signer.sign(request, server, Payload::Hashed, None);
    let of_root = world.server.signer();
    let of_second = Signer {
        access_key_id: world.second.0.clone(),
        secret_key: world.second.1.clone(),
        ..world.server.signer()
    };
    let set = signed(&of_root, Request::new("PUT", "/lists/k?acl").body(document));
    let put = Request::new("PUT", "/lists/k").body("private");
    let answer = set.send_with_pause(server, 10, || {
        std::thread::sleep(Duration::from_millis(300));
        let answer = signed(&of_second, put).send(server).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(world.unsigned("GET", "/lists/k").status, 403);
}
