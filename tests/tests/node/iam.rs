//! Calls of IAM on the port of S3, as SDKs send them: signatures, users, keys, groups, roles, policies, who may call what, pages and refusals. Each rule is that
//! of the page of its action in AWS's API reference of IAM, unless another one is named.

use std::net::SocketAddr;

use strata_gateway::percent;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::Signer;

use crate::shared;

mod escalation;

const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const VERSION: (&str, &str) = ("Version", "2010-05-08");

/// Somebody who calls.
struct Caller {
    signer: Signer,
    server: SocketAddr,
}

impl Caller {
    fn root(server: &Server) -> Caller {
        Caller {
            signer: Signer {
                service: "iam".into(),
                ..server.signer()
            },
            server: server.s3(),
        }
    }

    /// A new user with a key.
    fn user(&self, name: &str) -> Caller {
        self.done("CreateUser", &[("UserName", name)]);
        self.with_key_of(name)
    }

    /// A user that is there, with a new key.
    fn with_key_of(&self, name: &str) -> Caller {
        let key = self.done("CreateAccessKey", &[("UserName", name)]);
        Caller {
            signer: Signer {
                access_key_id: text(&key, "AccessKeyId"),
                secret_key: text(&key, "SecretAccessKey"),
                ..self.signer.clone()
            },
            server: self.server,
        }
    }

    fn request(action: &str, parameters: &[(&str, &str)]) -> Request {
        let request = Request::new("POST", "/");
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let request = request.header("content-type", kind);
        request.body(form(action, parameters))
    }

    fn send(&self, request: Request) -> Response {
        let request = self.signer.sign_call(request, self.server);
        request.send(self.server).expect("an answer")
    }

    fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Response {
        self.send(Caller::request(action, parameters))
    }

    /// The document of a call that must be answered.
    fn done(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let answer = self.call(action, parameters);
        let document = answer.text();
        assert_eq!(answer.status, 200, "{action} {parameters:?}: {document}");
        assert_eq!(answer.header("content-type"), Some("text/xml"));
        let start =
            format!("<{action}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">");
        assert!(document.contains(&start), "{document}");
        let id = answer.header("x-amzn-requestid").expect("an id");
        assert_eq!(text(&document, "RequestId"), id);
        document
    }

    /// Status, code and message of a call that must be refused.
    fn refused(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String, String) {
        error(&self.call(action, parameters))
    }

    /// The code of a call that must be refused.
    fn code(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.refused(action, parameters).1
    }
}

fn form(action: &str, parameters: &[(&str, &str)]) -> String {
    let pairs = [&[("Action", action), VERSION], parameters].concat();
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", percent::encode(value.as_bytes())));
    pairs.collect::<Vec<_>>().join("&")
}

/// Status, code and message of an error.
fn error(answer: &Response) -> (u16, String, String) {
    let document = answer.text();
    assert!(answer.status >= 400, "{document}");
    assert!(document.contains("<ErrorResponse xmlns="), "{document}");
    let sender = if answer.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    assert_eq!(text(&document, "Type"), sender);
    (
        answer.status,
        text(&document, "Code"),
        text(&document, "Message"),
    )
}

/// The texts of the elements of a name, unescaped as far as they are escaped here.
fn texts(document: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let pieces = document.split(&open).skip(1);
    let pieces = pieces.filter_map(|piece| piece.split_once(&close));
    pieces
        .map(|(text, _)| text.replace("&apos;", "'").replace("&quot;", "\""))
        .collect()
}

fn text(document: &str, element: &str) -> String {
    let found = texts(document, element).into_iter().next();
    found.unwrap_or_else(|| panic!("no {element}: {document}"))
}

fn decoded(document: &str, element: &str) -> String {
    let text = text(document, element);
    percent::decode(&text).expect("well encoded").into_owned()
}

fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:iam::000000000001:{kind}/{name}")
}

/// "Signing AWS API requests" of IAM's user guide; IAM API reference, "Common errors".
#[test]
fn a_call_is_signed_for_its_service_over_its_body() {
    let root = Caller::root(shared());
    let with = |change: &dyn Fn(&mut Signer)| {
        let mut signer = root.signer.clone();
        change(&mut signer);
        let server = root.server;
        Caller { signer, server }.call("ListUsers", &[])
    };
    assert_eq!(with(&|_| {}).status, 200);
    for (change, status, code) in [
        (
            &(|signer: &mut Signer| signer.service = "s3".into()) as &dyn Fn(&mut Signer),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            &|signer| signer.region = "eu-north-1".into(),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            &|signer| signer.secret_key.push('x'),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            &|signer| signer.clock_offset_seconds = -3600,
            403,
            "SignatureDoesNotMatch",
        ),
        (
            &|signer| signer.access_key_id = "AKIANOSUCHKEY0000000".into(),
            403,
            "InvalidClientTokenId",
        ),
        (
            &|signer| signer.service = "sts".into(),
            400,
            "InvalidAction",
        ),
    ] {
        let (found, name, message) = error(&with(change));
        assert_eq!((found, name.as_str()), (status, code), "{message}");
    }
    let unsigned = Caller::request("ListUsers", &[])
        .send(root.server)
        .expect("an answer");
    let missing = error(&unsigned);
    assert_eq!(
        (missing.0, &*missing.1),
        (403, "MissingAuthenticationToken")
    );
    let mut other = root
        .signer
        .sign_call(Caller::request("ListUsers", &[]), root.server);
    other.body = form("ListGroups", &[]).into_bytes();
    let changed = error(&other.send(root.server).expect("an answer"));
    assert_eq!(changed.1, "SignatureDoesNotMatch");
    // What a header says of the body does not count: the body does.
    let said = Caller::request("ListUsers", &[]).header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(root.send(said).status, 200);
    let token = Caller::request("ListUsers", &[]).header("x-amz-security-token", "token");
    assert_eq!(error(&root.send(token)).1, "InvalidClientTokenId");
}

#[test]
fn a_call_may_stand_in_the_query_and_be_presigned() {
    let root = Caller::root(shared());
    let target = format!("/?{}", form("ListUsers", &[]));
    let signed = root.send(Request::new("GET", &target));
    assert_eq!(signed.status, 200, "{}", signed.text());
    let presigned = |seconds, offset| {
        let mut signer = root.signer.clone();
        signer.clock_offset_seconds = offset;
        let request = Request::new("GET", &target).header("x-k8s-aws-id", "cluster");
        let request = signer.presign_call(request, root.server, seconds);
        request.send(root.server).expect("an answer")
    };
    let answer = presigned(60, 0);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(error(&presigned(60, -120)).0, 403, "it has expired");
    // Without an action `/` stays the list of buckets.
    let buckets = Request::new("GET", "/?prefix=nobodys");
    assert!(
        crate::send(buckets)
            .text()
            .contains("<ListAllMyBucketsResult")
    );
}

#[test]
fn what_is_no_action_and_what_an_action_does_not_read_is_refused() {
    let root = Caller::root(shared());
    let (status, code, message) = root.refused("SimulatePrincipalPolicy", &[]);
    assert_eq!((status, &*code), (400, "InvalidAction"));
    assert_eq!(
        message,
        "Could not find operation SimulatePrincipalPolicy for version 2010-05-08"
    );
    let request = Caller::request("x", &[]).body("Action=ListUsers&Version=2009-01-01");
    assert_eq!(error(&root.send(request)).1, "InvalidAction");
    let tags = [
        ("UserName", "tagged"),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
    ];
    let (status, code, message) = root.refused("CreateUser", &tags);
    assert_eq!((status, &*code), (501, "NotImplemented"));
    assert!(message.contains("Tags.member.1"), "{message}");
    assert_eq!(
        root.code("GetUser", &[("UserName", "tagged")]),
        "NoSuchEntity"
    );
    let (_, code, message) = root.refused("CreateUser", &[]);
    assert_eq!(code, "ValidationError");
    assert_eq!(
        message,
        "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null"
    );
    assert_eq!(
        root.code("ListUsers", &[("MaxItems", "1001")]),
        "ValidationError"
    );
    assert_eq!(
        root.code("CreateUser", &[("UserName", "a b")]),
        "ValidationError"
    );
    for (body, code) in [
        ("Action=%zz", "MalformedQueryString"),
        ("Action=a&Action=b", "ValidationError"),
    ] {
        let request = Caller::request("x", &[]).body(body);
        assert_eq!(error(&root.send(request)).1, code, "{body}");
    }
    let long = Caller::request("x", &[]).body(vec![b'a'; (256 << 10) + 1]);
    assert_eq!(error(&root.send(long)).1, "ValidationError");
}

#[test]
fn users_are_created_found_renamed_and_deleted() {
    let root = Caller::root(shared());
    let name = ("UserName", "Iam-Alice");
    let created = root.done("CreateUser", &[name, ("Path", "/iam/staff/")]);
    assert_eq!(text(&created, "Arn"), arn("user", "iam/staff/Iam-Alice"));
    assert_eq!(text(&created, "Path"), "/iam/staff/");
    assert!(text(&created, "UserId").starts_with("AIDA"));
    let date = text(&created, "CreateDate");
    assert!(date.ends_with('Z') && date.len() == 20, "{date}");
    let (status, code, message) = root.refused("CreateUser", &[("UserName", "iam-alice")]);
    assert_eq!((status, &*code), (409, "EntityAlreadyExists"));
    assert_eq!(message, "User with name iam-alice already exists.");
    let found = root.done("GetUser", &[("UserName", "IAM-ALICE")]);
    assert_eq!(text(&found, "UserName"), "Iam-Alice");
    let listed = root.done("ListUsers", &[("PathPrefix", "/iam/")]);
    assert_eq!(texts(&listed, "UserName"), ["Iam-Alice"]);
    assert_eq!(text(&listed, "IsTruncated"), "false");
    let (status, code, message) = root.refused("GetUser", &[("UserName", "iam-nobody")]);
    assert_eq!((status, &*code), (404, "NoSuchEntity"));
    assert_eq!(message, "The user with name iam-nobody cannot be found.");
    let own = root.done("GetUser", &[]);
    assert_eq!(text(&own, "Arn"), "arn:aws:iam::000000000001:root");

    let key = root.done("CreateAccessKey", &[name]);
    let (status, code, message) = root.refused("DeleteUser", &[name]);
    assert_eq!((status, &*code), (409, "DeleteConflict"));
    assert_eq!(
        message,
        "Cannot delete entity, must delete access keys first."
    );
    root.done(
        "UpdateUser",
        &[name, ("NewUserName", "Iam-Carol"), ("NewPath", "/")],
    );
    let new = ("UserName", "Iam-Carol");
    assert_eq!(
        text(&root.done("GetUser", &[new]), "Arn"),
        arn("user", "Iam-Carol")
    );
    let keys = root.done("ListAccessKeys", &[new]);
    assert_eq!(text(&keys, "AccessKeyId"), text(&key, "AccessKeyId"));
    assert_eq!(root.code("GetUser", &[name]), "NoSuchEntity");
    root.done(
        "DeleteAccessKey",
        &[new, ("AccessKeyId", &text(&key, "AccessKeyId"))],
    );
    root.done("DeleteUser", &[new]);
    assert_eq!(root.code("DeleteUser", &[new]), "NoSuchEntity");
}

#[test]
fn a_key_works_while_it_is_active_and_its_secret_is_told_once() {
    let server = Server::start(ServerOptions::default());
    let root = Caller::root(&server);
    let user = root.user("alice");
    let name = ("UserName", "alice");
    let id = user.signer.access_key_id.clone();
    let own = user.code("GetUser", &[]);
    assert_eq!(
        own, "AccessDenied",
        "the key is known, and no policy allows"
    );
    let document = ("PolicyDocument", ALLOW_ALL);
    root.done("PutUserPolicy", &[name, ("PolicyName", "all"), document]);
    assert_eq!(text(&user.done("GetUser", &[]), "UserName"), "alice");
    let listed = user.done("ListAccessKeys", &[]);
    assert_eq!(texts(&listed, "AccessKeyId"), [id.as_str()]);
    assert_eq!(text(&listed, "Status"), "Active");
    assert!(!listed.contains(&user.signer.secret_key));
    let used = user.done("GetAccessKeyLastUsed", &[("AccessKeyId", &id)]);
    assert_eq!(
        (text(&used, "ServiceName"), text(&used, "UserName")),
        ("N/A".into(), "alice".into())
    );
    let key = ("AccessKeyId", &*id);
    root.done("UpdateAccessKey", &[name, key, ("Status", "Inactive")]);
    assert_eq!(user.code("GetUser", &[]), "InvalidClientTokenId");
    assert_eq!(
        root.code("UpdateAccessKey", &[name, key, ("Status", "Off")]),
        "ValidationError"
    );
    root.done("UpdateAccessKey", &[name, key, ("Status", "Active")]);
    root.done("CreateUser", &[("UserName", "bob")]);
    let other = root.refused("DeleteAccessKey", &[("UserName", "bob"), key]);
    assert_eq!(
        other.2,
        format!("The Access Key with id {id} cannot be found.")
    );
    assert_eq!(
        root.code("CreateAccessKey", &[]),
        "ValidationError",
        "the root is no user"
    );
    user.done("DeleteAccessKey", &[key]);
    assert_eq!(user.code("GetUser", &[]), "InvalidClientTokenId");
    assert!(!server.log().contains(&user.signer.secret_key));
    // Metrics and log name the action.
    let metrics = server
        .ask(server.metrics(), &Request::new("GET", "/metrics"))
        .expect("metrics");
    let line = "strata_s3_requests_total{operation=\"CreateAccessKey\",status=\"200\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn groups_hold_users_and_their_policies() {
    let root = Caller::root(shared());
    let (group, user) = (("GroupName", "iam-ops"), ("UserName", "iam-gus"));
    let created = root.done("CreateGroup", &[group, ("Path", "/iam-groups/")]);
    assert_eq!(text(&created, "Arn"), arn("group", "iam-groups/iam-ops"));
    assert!(text(&created, "GroupId").starts_with("AGPA"));
    assert_eq!(root.code("CreateGroup", &[group]), "EntityAlreadyExists");
    root.done("CreateUser", &[user]);
    root.done("AddUserToGroup", &[group, user]);
    assert_eq!(
        texts(&root.done("GetGroup", &[group]), "UserName"),
        ["iam-gus"]
    );
    let groups = root.done("ListGroupsForUser", &[user]);
    assert_eq!(texts(&groups, "GroupName"), ["iam-ops"]);
    let listed = root.done("ListGroups", &[("PathPrefix", "/iam-groups/")]);
    assert_eq!(texts(&listed, "GroupName"), ["iam-ops"]);
    let conflict = root.refused("DeleteGroup", &[group]);
    assert_eq!(
        conflict.2,
        "Cannot delete entity, must remove users from group first."
    );
    let conflict = root.refused("DeleteUser", &[user]);
    assert_eq!(
        conflict.2,
        "Cannot delete entity, must remove users from group first."
    );
    root.done("RemoveUserFromGroup", &[group, user]);
    let policy = ("PolicyName", "own");
    root.done(
        "PutGroupPolicy",
        &[group, policy, ("PolicyDocument", ALLOW_ALL)],
    );
    let got = root.done("GetGroupPolicy", &[group, policy]);
    assert_eq!(decoded(&got, "PolicyDocument"), ALLOW_ALL);
    assert!(!got.contains("{"), "it is encoded: {got}");
    let listed = root.done("ListGroupPolicies", &[group]);
    assert_eq!(texts(&listed, "member"), ["own"]);
    let conflict = root.refused("DeleteGroup", &[group]);
    assert_eq!(
        conflict.2,
        "Cannot delete entity, must delete policies first."
    );
    root.done("DeleteGroupPolicy", &[group, policy]);
    let missing = root.refused("GetGroupPolicy", &[group, policy]);
    assert_eq!(missing.2, "The group policy with name own cannot be found.");
    root.done("DeleteGroup", &[group]);
    root.done("DeleteUser", &[user]);
    let missing = root.refused("GetGroup", &[group]);
    assert_eq!(missing.2, "The group with name iam-ops cannot be found.");
}

#[test]
fn policies_are_managed_attached_and_replaced() {
    let root = Caller::root(shared());
    let user = ("UserName", "iam-paul");
    let policy = &arn("policy", "Iam-Read");
    let named = ("PolicyArn", policy.as_str());
    let create = [("PolicyName", "Iam-Read"), ("PolicyDocument", ALLOW_ALL)];
    let created = root.done("CreatePolicy", &create);
    assert_eq!(text(&created, "Arn"), *policy);
    assert_eq!(
        (
            text(&created, "DefaultVersionId"),
            text(&created, "AttachmentCount")
        ),
        ("v1".into(), "0".into())
    );
    let (status, code, message) = root.refused("CreatePolicy", &create);
    assert_eq!((status, &*code), (409, "EntityAlreadyExists"));
    assert_eq!(
        message,
        "A policy called Iam-Read already exists. Duplicate names are not allowed."
    );
    let malformed = root.refused(
        "CreatePolicy",
        &[("PolicyName", "iam-bad"), ("PolicyDocument", "{}")],
    );
    assert_eq!(
        (malformed.0, &*malformed.1),
        (400, "MalformedPolicyDocument")
    );
    root.done("CreateUser", &[user]);
    root.done("AttachUserPolicy", &[user, named]);
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    root.done(
        "PutUserPermissionsBoundary",
        &[user, ("PermissionsBoundary", admin)],
    );
    let attached = root.done("ListAttachedUserPolicies", &[user]);
    assert_eq!(texts(&attached, "PolicyArn"), [policy.as_str()]);
    assert_eq!(
        text(&root.done("GetUser", &[user]), "PermissionsBoundaryArn"),
        admin
    );
    let got = root.done("GetPolicy", &[named]);
    assert_eq!(
        (
            text(&got, "AttachmentCount"),
            text(&got, "PermissionsBoundaryUsageCount")
        ),
        ("1".into(), "0".into())
    );
    let entities = root.done("ListEntitiesForPolicy", &[named]);
    assert_eq!(texts(&entities, "UserName"), ["iam-paul"]);
    let bounded = root.done(
        "ListEntitiesForPolicy",
        &[
            ("PolicyArn", admin),
            ("PolicyUsageFilter", "PermissionsBoundary"),
        ],
    );
    assert!(
        texts(&bounded, "UserName").contains(&"iam-paul".to_owned()),
        "{bounded}"
    );
    let local = root.done(
        "ListPolicies",
        &[("Scope", "Local"), ("OnlyAttached", "true")],
    );
    assert!(
        texts(&local, "PolicyName").contains(&"Iam-Read".to_owned()),
        "{local}"
    );
    let aws = root.done("ListPolicies", &[("Scope", "AWS")]);
    assert!(
        texts(&aws, "PolicyName").contains(&"IAMFullAccess".to_owned()),
        "{aws}"
    );
    assert!(!aws.contains("Iam-Read"), "{aws}");

    // As Terraform changes a policy.
    let other = ALLOW_ALL.replace("Allow", "Deny");
    let document = ("PolicyDocument", other.as_str());
    let versions = root.done("ListPolicyVersions", &[named]);
    assert_eq!(texts(&versions, "VersionId"), ["v1"]);
    root.done(
        "CreatePolicyVersion",
        &[named, document, ("SetAsDefault", "true")],
    );
    let version = [named, ("VersionId", "v1")];
    let got = root.done("GetPolicyVersion", &version);
    assert_eq!(decoded(&got, "Document"), other);
    assert_eq!(
        root.code("CreatePolicyVersion", &[named, document]),
        "NotImplemented"
    );
    assert_eq!(
        root.code("GetPolicyVersion", &[named, ("VersionId", "v2")]),
        "NoSuchEntity"
    );
    assert_eq!(root.code("DeletePolicyVersion", &version), "DeleteConflict");
    root.done("SetDefaultPolicyVersion", &version);

    let (status, code, message) = root.refused("DeletePolicy", &[named]);
    assert_eq!((status, &*code), (409, "DeleteConflict"));
    assert_eq!(message, "Cannot delete a policy attached to entities.");
    assert_eq!(
        root.code("DeletePolicy", &[("PolicyArn", admin)]),
        "AccessDenied"
    );
    // An ARN is exact, whatever the state does with names.
    let spelled = ("PolicyArn", &*arn("policy", "iam-read"));
    assert_eq!(
        root.code("AttachUserPolicy", &[user, spelled]),
        "NoSuchEntity"
    );
    assert_eq!(
        root.code("GetPolicy", &[("PolicyArn", "Iam-Read")]),
        "InvalidInput"
    );
    root.done("DetachUserPolicy", &[user, named]);
    let missing = root.refused("DetachUserPolicy", &[user, named]);
    assert_eq!(
        (&*missing.1, missing.2),
        ("NoSuchEntity", format!("Policy {policy} was not found."))
    );
    root.done("DeletePolicy", &[named]);
    root.done("DeleteUserPermissionsBoundary", &[user]);
    root.done("DeleteUser", &[user]);
}

/// The calls with which Terraform's provider deletes a user, and those that ask for what nobody has.
#[test]
fn what_nobody_has_is_empty_or_missing() {
    let root = Caller::root(shared());
    let user = ("UserName", "iam-eve");
    let bound = (
        "PermissionsBoundary",
        "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
    );
    let created = root.done("CreateUser", &[user, bound]);
    assert_eq!(text(&created, "PermissionsBoundaryArn"), bound.1);
    for action in [
        "ListUserTags",
        "ListMFADevices",
        "ListSigningCertificates",
        "ListSSHPublicKeys",
        "ListServiceSpecificCredentials",
        "ListAccessKeys",
        "ListUserPolicies",
        "ListAttachedUserPolicies",
        "ListGroupsForUser",
    ] {
        let listed = root.done(action, &[user]);
        assert!(texts(&listed, "member").is_empty(), "{listed}");
        assert_eq!(text(&listed, "IsTruncated"), "false");
    }
    for action in ["ListVirtualMFADevices", "ListAccountAliases"] {
        assert!(texts(&root.done(action, &[]), "member").is_empty());
    }
    for action in ["GetLoginProfile", "DeleteLoginProfile"] {
        let missing = root.refused(action, &[user]);
        assert_eq!(
            (missing.0, &*missing.2),
            (404, "Login Profile for User iam-eve cannot be found.")
        );
    }
    let tag = [
        user,
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
    ];
    assert_eq!(root.code("TagUser", &tag), "NotImplemented");
    root.done("UntagUser", &[user, ("TagKeys.member.1", "k")]);
    assert!(texts(&root.done("GetAccountSummary", &[]), "key").contains(&"Users".to_owned()));
    root.done("DeleteUser", &[user]);
}

#[test]
fn listings_come_in_pages() {
    let root = Caller::root(shared());
    let names: Vec<String> = (0..5).map(|number| format!("iam-page-{number}")).collect();
    let below = ("PathPrefix", "/iam-pages/");
    for name in &names {
        root.done("CreateUser", &[("UserName", name), ("Path", "/iam-pages/")]);
    }
    let mut found = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let mut parameters = vec![below, ("MaxItems", "2")];
        if let Some(marker) = &marker {
            parameters.push(("Marker", marker));
        }
        let page = root.done("ListUsers", &parameters);
        assert!(texts(&page, "UserName").len() <= 2);
        found.extend(texts(&page, "UserName"));
        let is_truncated = text(&page, "IsTruncated") == "true";
        marker = texts(&page, "Marker").pop();
        assert_eq!(is_truncated, marker.is_some());
        if !is_truncated {
            break;
        }
    }
    assert_eq!(found, names);
}

/// Service authorization reference, "Actions, resources, and condition keys for AWS Identity and Access Management"; IAM user guide, "Troubleshoot access
/// denied error messages" and "Permissions boundaries for IAM entities".
#[test]
fn users_call_what_their_policies_allow() {
    let root = Caller::root(shared());
    let user = root.user("iam-ursula");
    let own = arn("user", "iam-ursula");
    let (status, code, message) = user.refused("CreateUser", &[("UserName", "iam-other")]);
    assert_eq!((status, &*code), (403, "AccessDenied"));
    let other = arn("user", "iam-other");
    assert_eq!(
        message,
        format!(
            "User: {own} is not authorized to perform: iam:CreateUser on resource: {other} because no identity-based policy allows the iam:CreateUser action"
        )
    );
    assert_eq!(user.code("GetUser", &[]), "AccessDenied");
    let statement = |effect: &str, action: &str, resource: &str, condition: &str| {
        format!(r#"{{"Effect":"{effect}","Action":{action},"Resource":"{resource}"{condition}}}"#)
    };
    let put = |statements: &[String]| {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            statements.join(",")
        );
        root.done(
            "PutUserPolicy",
            &[
                ("UserName", "iam-ursula"),
                ("PolicyName", "p"),
                ("PolicyDocument", &document),
            ],
        );
    };
    // What AWS's user guide lets users do for themselves.
    let myself = "arn:aws:iam::*:user/${aws:username}";
    put(&[statement(
        "Allow",
        r#"["iam:GetUser","iam:*AccessKey*"]"#,
        myself,
        "",
    )]);
    assert_eq!(text(&user.done("GetUser", &[]), "UserName"), "iam-ursula");
    user.done("GetUser", &[("UserName", "IAM-URSULA")]);
    let key = text(&user.done("CreateAccessKey", &[]), "AccessKeyId");
    user.done("DeleteAccessKey", &[("AccessKeyId", &key)]);
    root.done(
        "CreateUser",
        &[("UserName", "iam-victor"), ("Path", "/dev/")],
    );
    let victor = ("UserName", "iam-victor");
    for action in ["GetUser", "CreateAccessKey", "DeleteUser"] {
        assert_eq!(user.code(action, &[victor]), "AccessDenied", "{action}");
    }
    // By path, and by the policy that is attached.
    let only = r#","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}}"#;
    put(&[
        statement(
            "Allow",
            r#"["iam:CreateUser","iam:GetUser","iam:DeleteUser"]"#,
            "arn:aws:iam::*:user/dev/*",
            "",
        ),
        statement(
            "Allow",
            r#"["iam:AttachUserPolicy","iam:DetachUserPolicy"]"#,
            "*",
            only,
        ),
        statement("Allow", r#""iam:ListUsers""#, "*", ""),
        statement("Deny", r#""iam:DeleteUser""#, "*", ""),
    ]);
    user.done("GetUser", &[victor]);
    user.done("ListUsers", &[("PathPrefix", "/dev/")]);
    user.done(
        "CreateUser",
        &[("UserName", "iam-walter"), ("Path", "/dev/")],
    );
    assert_eq!(
        user.code("CreateUser", &[("UserName", "iam-xaver")]),
        "AccessDenied"
    );
    let denied = user.refused("DeleteUser", &[victor]);
    assert!(
        denied
            .2
            .ends_with("with an explicit deny in an identity-based policy"),
        "{}",
        denied.2
    );
    let read = (
        "PolicyArn",
        "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
    );
    let full = ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess");
    user.done("AttachUserPolicy", &[victor, read]);
    user.done("DetachUserPolicy", &[victor, read]);
    assert_eq!(
        user.code("AttachUserPolicy", &[victor, full]),
        "AccessDenied"
    );
    // A boundary restricts, and a permission may ask for one.
    let must = r#","Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}}"#;
    put(&[statement(
        "Allow",
        r#"["iam:CreateUser","iam:PutUserPolicy","iam:DeleteUserPolicy"]"#,
        "*",
        must,
    )]);
    let bound = ("PermissionsBoundary", read.1);
    assert_eq!(
        user.code("CreateUser", &[("UserName", "iam-yvonne")]),
        "AccessDenied"
    );
    let yvonne = ("UserName", "iam-yvonne");
    user.done("CreateUser", &[yvonne, bound]);
    // The boundary of one who is there is none of the one who is created: that one may be deleted meanwhile.
    assert_eq!(user.code("CreateUser", &[yvonne]), "AccessDenied");
    let policy = [("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)];
    user.done("PutUserPolicy", &[&[yvonne], &policy[..]].concat());
    assert_eq!(
        user.code("PutUserPolicy", &[&[victor], &policy[..]].concat()),
        "AccessDenied"
    );
    let bounded = root.with_key_of("iam-yvonne");
    assert_eq!(bounded.code("ListUsers", &[]), "AccessDenied");
    // The policies that AWS has for this.
    let full = "arn:aws:iam::aws:policy/IAMFullAccess";
    root.done(
        "AttachUserPolicy",
        &[("UserName", "iam-walter"), ("PolicyArn", full)],
    );
    let walter = root.with_key_of("iam-walter");
    walter.done("DeleteUser", &[victor]);
    let s3 = Signer {
        service: "s3".into(),
        ..walter.signer.clone()
    };
    let list = s3.sign(
        Request::new("GET", "/"),
        walter.server,
        strata_tests::signature::Payload::Hashed,
        None,
    );
    assert_eq!(list.send(walter.server).expect("an answer").status, 403);
}

/// IAM API reference, "CreateRole", "UpdateRole", "UpdateAssumeRolePolicy", "PutRolePermissionsBoundary", "DeleteRole".
#[test]
fn roles_are_created_changed_and_deleted() {
    let root = Caller::root(shared());
    let trust = |principal: &str| {
        format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"{principal}\"}},\"Action\":\"sts:AssumeRole\"}}}}"
        )
    };
    let of_account = trust("000000000001");
    let (role, path) = (("RoleName", "iam-Job"), ("Path", "/iam-roles/"));
    let trusted = ("AssumeRolePolicyDocument", &*of_account);
    let read = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    let bound = ("PermissionsBoundary", read);
    let made = root.done("CreateRole", &[role, path, trusted, bound]);
    assert_eq!(text(&made, "Arn"), arn("role", "iam-roles/iam-Job"));
    assert_eq!(text(&made, "PermissionsBoundaryArn"), read);
    assert_eq!(decoded(&made, "AssumeRolePolicyDocument"), of_account);
    assert_eq!(text(&made, "MaxSessionDuration"), "3600");
    let id = text(&made, "RoleId");
    assert!(id.starts_with("AROA"), "{id}");
    let same = [("RoleName", "IAM-JOB"), trusted];
    assert_eq!(root.code("CreateRole", &same), "EntityAlreadyExists");
    for (document, code) in [
        (ALLOW_ALL, "MalformedPolicyDocument"),
        (
            &trust("arn:aws:iam::000000000001:user/iam-ghost"),
            "MalformedPolicyDocument",
        ),
        (&trust("000000000009"), "MalformedPolicyDocument"),
    ] {
        let put = [role, ("PolicyDocument", document)];
        assert_eq!(root.code("UpdateAssumeRolePolicy", &put), code);
    }
    let everybody = trust("*");
    let put = [role, ("PolicyDocument", &*everybody)];
    root.done("UpdateAssumeRolePolicy", &put);
    for (seconds, is_served) in [("3599", false), ("43201", false), ("43200", true)] {
        let update = [
            role,
            ("MaxSessionDuration", seconds),
            ("Description", "a <b>"),
        ];
        match is_served {
            true => drop(root.done("UpdateRole", &update)),
            false => assert_eq!(root.code("UpdateRole", &update), "ValidationError"),
        }
    }
    let got = root.done("GetRole", &[("RoleName", "iam-job")]);
    assert_eq!(decoded(&got, "AssumeRolePolicyDocument"), everybody);
    assert_eq!(text(&got, "MaxSessionDuration"), "43200");
    assert_eq!(text(&got, "Description"), "a &lt;b&gt;");
    let listed = root.done("ListRoles", &[("PathPrefix", path.1)]);
    assert_eq!(texts(&listed, "RoleName"), ["iam-Job"]);

    let (inline, attached) = (("PolicyName", "own"), ("PolicyArn", read));
    let document = ("PolicyDocument", ALLOW_ALL);
    root.done("PutRolePolicy", &[role, inline, document]);
    root.done("AttachRolePolicy", &[role, attached]);
    let names = root.done("ListRolePolicies", &[role]);
    assert_eq!(texts(&names, "member"), ["own"]);
    let got = root.done("GetRolePolicy", &[role, inline]);
    assert_eq!(decoded(&got, "PolicyDocument"), ALLOW_ALL);
    let names = root.done("ListAttachedRolePolicies", &[role]);
    assert_eq!(texts(&names, "PolicyArn"), [read]);
    assert_eq!(root.code("DeleteRole", &[role]), "DeleteConflict");
    root.done("DeleteRolePolicy", &[role, inline]);
    assert_eq!(root.code("DeleteRole", &[role]), "DeleteConflict");
    root.done("DetachRolePolicy", &[role, attached]);
    root.done("DeleteRolePermissionsBoundary", &[role]);
    let got = root.done("GetRole", &[role]);
    assert!(texts(&got, "PermissionsBoundaryArn").is_empty(), "{got}");
    root.done("PutRolePermissionsBoundary", &[role, bound]);
    root.done("DeleteRole", &[role]);
    assert_eq!(root.code("GetRole", &[role]), "NoSuchEntity");
    let again = root.done("CreateRole", &[role, trusted]);
    assert_ne!(text(&again, "RoleId"), id);
    root.done("DeleteRole", &[role]);

    // A boundary that is asked for is asked of the role that is created, not of the one that is there.
    let nobody = root.user("iam-quentin");
    assert_eq!(nobody.code("CreateRole", &[role, trusted]), "AccessDenied");
    let must = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\"iam:*Role*\",\"Resource\":\"*\",\"Condition\":{{\"StringEquals\":{{\"iam:PermissionsBoundary\":\"{read}\"}}}}}}}}"
    );
    let own = [
        ("UserName", "iam-quentin"),
        ("PolicyName", "p"),
        ("PolicyDocument", &*must),
    ];
    root.done("PutUserPolicy", &own);
    nobody.done("CreateRole", &[role, trusted, bound]);
    assert_eq!(nobody.code("CreateRole", &[role, trusted]), "AccessDenied");
    nobody.done("PutRolePolicy", &[role, inline, document]);
    root.done("DeleteRolePolicy", &[role, inline]);
    root.done("DeleteRole", &[role]);
}
