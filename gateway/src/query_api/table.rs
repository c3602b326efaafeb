//! The table itself: the metrics, the log, the refusal of what is not here and the tests of `docs/S3.md` all read it.
//!
//! The actions are those of the API references of IAM and STS, the resources those of the service authorization reference.

use super::Handler::{Change, Read};
use super::Needs::{Leave, LeaveOnBoth, Nothing, Signature};
use super::iam::{
    access_keys, account, attachments, credentials, groups, inline_policies, managed_policies,
    policy_versions, roles, users,
};
use super::resource::{
    everything, group, groups as groups_below, managed_policy, new_group, new_policy, new_role,
    new_user, renamed_user, role, roles as roles_below, user, user_of_key, users as users_below,
};
use super::sts::{self, web_identity};
use super::{Action, Service};

/// `Service Name needs [parameters] read|change => handler;`
macro_rules! actions {
    (@read $handler:path) => { Read($handler) };
    (@change $handler:path) => { Change(|call, xml| Box::pin($handler(call, xml))) };
    ($($service:ident $name:ident $needs:expr, [$($parameter:literal)*] $kind:ident => $handler:path;)*) => {
        /// Every action of the query APIs.
        pub static ACTIONS: &[Action] = &[$(Action {
            service: Service::$service,
            name: stringify!($name),
            parameters: &[$($parameter),*],
            needs: $needs,
            handler: actions!(@$kind $handler),
        }),*];
    };
}

actions! {
    Iam AddUserToGroup Leave(group), ["GroupName" "UserName"] change => groups::add_user;
    Iam AttachGroupPolicy Leave(group), ["GroupName" "PolicyArn"] change => attachments::attach;
    Iam AttachRolePolicy Leave(role), ["RoleName" "PolicyArn"] change => attachments::attach;
    Iam AttachUserPolicy Leave(user), ["UserName" "PolicyArn"] change => attachments::attach;
    Iam CreateAccessKey Leave(user), ["UserName"] change => access_keys::create;
    Iam CreateGroup Leave(new_group), ["GroupName" "Path"] change => groups::create;
    Iam CreatePolicy Leave(new_policy), ["PolicyName" "PolicyDocument" "Path"] change => managed_policies::create;
    Iam CreatePolicyVersion Leave(managed_policy), ["PolicyArn" "PolicyDocument" "SetAsDefault"] change => policy_versions::create;
    Iam CreateRole Leave(new_role), ["RoleName" "AssumeRolePolicyDocument" "Path" "Description" "MaxSessionDuration" "PermissionsBoundary"] change => roles::create;
    Iam CreateUser Leave(new_user), ["UserName" "Path" "PermissionsBoundary"] change => users::create;
    Iam DeleteAccessKey Leave(user), ["UserName" "AccessKeyId"] change => access_keys::delete;
    Iam DeleteGroup Leave(group), ["GroupName"] change => groups::delete;
    Iam DeleteGroupPolicy Leave(group), ["GroupName" "PolicyName"] change => inline_policies::delete;
    Iam DeleteLoginProfile Leave(user), ["UserName"] read => credentials::login_profile;
    Iam DeletePolicy Leave(managed_policy), ["PolicyArn"] change => managed_policies::delete;
    Iam DeletePolicyVersion Leave(managed_policy), ["PolicyArn" "VersionId"] read => policy_versions::delete;
    Iam DeleteRole Leave(role), ["RoleName"] change => roles::delete;
    Iam DeleteRolePermissionsBoundary Leave(role), ["RoleName"] change => roles::delete_boundary;
    Iam DeleteRolePolicy Leave(role), ["RoleName" "PolicyName"] change => inline_policies::delete;
    Iam DeleteUser Leave(user), ["UserName"] change => users::delete;
    Iam DeleteUserPermissionsBoundary Leave(user), ["UserName"] change => attachments::delete_boundary;
    Iam DeleteUserPolicy Leave(user), ["UserName" "PolicyName"] change => inline_policies::delete;
    Iam DetachGroupPolicy Leave(group), ["GroupName" "PolicyArn"] change => attachments::detach;
    Iam DetachRolePolicy Leave(role), ["RoleName" "PolicyArn"] change => attachments::detach;
    Iam DetachUserPolicy Leave(user), ["UserName" "PolicyArn"] change => attachments::detach;
    Iam GetAccessKeyLastUsed Leave(user_of_key), ["AccessKeyId"] read => access_keys::last_used;
    Iam GetAccountSummary Leave(everything), [] read => account::summary;
    Iam GetGroup Leave(group), ["GroupName" "Marker" "MaxItems"] read => groups::get;
    Iam GetGroupPolicy Leave(group), ["GroupName" "PolicyName"] read => inline_policies::get;
    Iam GetLoginProfile Leave(user), ["UserName"] read => credentials::login_profile;
    Iam GetPolicy Leave(managed_policy), ["PolicyArn"] read => managed_policies::get;
    Iam GetPolicyVersion Leave(managed_policy), ["PolicyArn" "VersionId"] read => policy_versions::get;
    Iam GetRole Leave(role), ["RoleName"] read => roles::get;
    Iam GetRolePolicy Leave(role), ["RoleName" "PolicyName"] read => inline_policies::get;
    Iam GetUser Leave(user), ["UserName"] read => users::get;
    Iam GetUserPolicy Leave(user), ["UserName" "PolicyName"] read => inline_policies::get;
    Iam ListAccessKeys Leave(user), ["UserName" "Marker" "MaxItems"] read => access_keys::list;
    Iam ListAccountAliases Leave(everything), ["Marker" "MaxItems"] read => account::aliases;
    Iam ListAttachedGroupPolicies Leave(group), ["GroupName" "PathPrefix" "Marker" "MaxItems"] read => attachments::list;
    Iam ListAttachedRolePolicies Leave(role), ["RoleName" "PathPrefix" "Marker" "MaxItems"] read => attachments::list;
    Iam ListAttachedUserPolicies Leave(user), ["UserName" "PathPrefix" "Marker" "MaxItems"] read => attachments::list;
    Iam ListEntitiesForPolicy Leave(managed_policy), ["PolicyArn" "EntityFilter" "PathPrefix" "PolicyUsageFilter" "Marker" "MaxItems"] read => attachments::entities;
    Iam ListGroupPolicies Leave(group), ["GroupName" "Marker" "MaxItems"] read => inline_policies::list;
    Iam ListGroups Leave(groups_below), ["PathPrefix" "Marker" "MaxItems"] read => groups::list;
    Iam ListGroupsForUser Leave(user), ["UserName" "Marker" "MaxItems"] read => groups::list_of_user;
    Iam ListInstanceProfilesForRole Leave(role), ["RoleName" "Marker" "MaxItems"] read => roles::instance_profiles;
    Iam ListMFADevices Leave(user), ["UserName" "Marker" "MaxItems"] read => credentials::mfa_devices;
    Iam ListOpenIDConnectProviders Leave(everything), [] read => account::providers;
    Iam ListPolicies Leave(everything), ["Scope" "OnlyAttached" "PathPrefix" "PolicyUsageFilter" "Marker" "MaxItems"] read => managed_policies::list;
    Iam ListPolicyTags Leave(managed_policy), ["PolicyArn" "Marker" "MaxItems"] read => managed_policies::tags;
    Iam ListPolicyVersions Leave(managed_policy), ["PolicyArn" "Marker" "MaxItems"] read => policy_versions::list;
    Iam ListRolePolicies Leave(role), ["RoleName" "Marker" "MaxItems"] read => inline_policies::list;
    Iam ListRoleTags Leave(role), ["RoleName" "Marker" "MaxItems"] read => roles::tags;
    Iam ListRoles Leave(roles_below), ["PathPrefix" "Marker" "MaxItems"] read => roles::list;
    Iam ListServiceSpecificCredentials Leave(user), ["UserName" "ServiceName" "AllUsers" "Marker" "MaxItems"] read => credentials::service_specific_credentials;
    Iam ListSigningCertificates Leave(user), ["UserName" "Marker" "MaxItems"] read => credentials::signing_certificates;
    Iam ListSSHPublicKeys Leave(user), ["UserName" "Marker" "MaxItems"] read => credentials::ssh_public_keys;
    Iam ListUserPolicies Leave(user), ["UserName" "Marker" "MaxItems"] read => inline_policies::list;
    Iam ListUserTags Leave(user), ["UserName" "Marker" "MaxItems"] read => users::tags;
    Iam ListUsers Leave(users_below), ["PathPrefix" "Marker" "MaxItems"] read => users::list;
    Iam ListVirtualMFADevices Leave(everything), ["AssignmentStatus" "Marker" "MaxItems"] read => credentials::virtual_mfa_devices;
    Iam PutGroupPolicy Leave(group), ["GroupName" "PolicyName" "PolicyDocument"] change => inline_policies::put;
    Iam PutRolePermissionsBoundary Leave(role), ["RoleName" "PermissionsBoundary"] change => roles::put_boundary;
    Iam PutRolePolicy Leave(role), ["RoleName" "PolicyName" "PolicyDocument"] change => inline_policies::put;
    Iam PutUserPermissionsBoundary Leave(user), ["UserName" "PermissionsBoundary"] change => attachments::put_boundary;
    Iam PutUserPolicy Leave(user), ["UserName" "PolicyName" "PolicyDocument"] change => inline_policies::put;
    Iam RemoveUserFromGroup Leave(group), ["GroupName" "UserName"] change => groups::remove_user;
    Iam SetDefaultPolicyVersion Leave(managed_policy), ["PolicyArn" "VersionId"] read => policy_versions::set_default;
    Iam TagPolicy Leave(managed_policy), ["PolicyArn" "Tags"] read => managed_policies::tag;
    Iam TagRole Leave(role), ["RoleName" "Tags"] read => roles::tag;
    Iam TagUser Leave(user), ["UserName" "Tags"] read => users::tag;
    Iam UntagPolicy Leave(managed_policy), ["PolicyArn" "TagKeys"] read => managed_policies::untag;
    Iam UntagRole Leave(role), ["RoleName" "TagKeys"] read => roles::untag;
    Iam UntagUser Leave(user), ["UserName" "TagKeys"] read => users::untag;
    Iam UpdateAccessKey Leave(user), ["UserName" "AccessKeyId" "Status"] change => access_keys::update;
    Iam UpdateAssumeRolePolicy Leave(role), ["RoleName" "PolicyDocument"] change => roles::update_trust;
    Iam UpdateRole Leave(role), ["RoleName" "Description" "MaxSessionDuration"] change => roles::update;
    Iam UpdateUser LeaveOnBoth(user, renamed_user), ["UserName" "NewUserName" "NewPath"] change => users::update;
    Sts AssumeRole Signature, ["RoleArn" "RoleSessionName" "DurationSeconds" "Policy" "PolicyArns" "ExternalId"] change => sts::assume_role;
    Sts AssumeRoleWithWebIdentity Nothing, ["RoleArn" "RoleSessionName" "WebIdentityToken" "DurationSeconds" "Policy" "PolicyArns"] change => web_identity::assume_role_with_web_identity;
    Sts GetCallerIdentity Signature, [] read => sts::get_caller_identity;
    Sts GetSessionToken Signature, ["DurationSeconds"] change => sts::get_session_token;
}
