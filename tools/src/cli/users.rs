//! `strata admin user`, `key`, `group` and `policy`: their commands and flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::flags::{KeyFlags, Places};
use super::{Failure, load, told};
use crate::admin::protocol::users::{Of, UsersRequest};
use crate::admin::users as admin;

/// What every one of these commands takes.
#[derive(Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) flags: KeyFlags<Places>,
}

/// What those that show something take.
#[derive(Args)]
pub(super) struct Showing {
    #[command(flatten)]
    pub(super) flags: KeyFlags<Places>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Whose policy is meant.
#[derive(Args)]
pub(super) struct Whose {
    /// Of this user
    #[arg(long, value_name = "USER", conflicts_with_all = ["group", "role"])]
    user: Option<String>,
    /// Of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "role")]
    group: Option<String>,
    /// Of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

impl From<Whose> for Of {
    fn from(whose: Whose) -> Of {
        Of {
            user: whose.user,
            group: whose.group,
            role: whose.role,
        }
    }
}

/// A key that is in use elsewhere, in place of a new one.
#[derive(Args)]
pub(super) struct GivenKey {
    /// Take this id, 16 to 128 letters, digits and _, with the secret in the file
    #[arg(long, value_name = "ID", requires = "secret_file")]
    access_key_id: Option<String>,
    /// The file that holds the secret of that id
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    secret_file: Option<PathBuf>,
}

/// Has an access key created by the request that `of` makes.
pub(super) fn create_key(
    showing: Showing,
    given: GivenKey,
    of: impl FnOnce(Option<String>, Option<String>) -> UsersRequest,
) -> Result<ExitCode, Failure> {
    let config = load(showing.flags)?.config;
    let given = given.access_key_id.zip(given.secret_file.as_deref());
    told(admin::create_key(&config, of, given, showing.json))
}

#[derive(Subcommand)]
pub(super) enum UserCommands {
    /// Show all users
    List {
        #[command(flatten)]
        showing: Showing,
    },
    /// Create a user, who may do nothing until a policy allows it
    Create {
        /// The name: 1 to 64 letters, digits and _+=,.@-
        user: String,
        /// The path in the user's ARN
        #[arg(long, default_value = "/")]
        path: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete a user who has no keys, policies and groups
    Delete {
        /// The user
        user: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show a user with its keys, groups and policies
    Show {
        /// The user
        user: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Bound what the policies of a user may allow by a managed policy, or bound it no more
    Boundary {
        /// The user
        user: String,
        /// The policy
        #[arg(required_unless_present = "none")]
        policy: Option<String>,
        /// Remove the boundary
        #[arg(long, conflicts_with = "policy")]
        none: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Subcommand)]
pub(super) enum KeyCommands {
    /// Show the access keys of a user
    List {
        /// The user
        user: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Create an access key of a user, and show its secret once
    Create {
        /// The user
        user: String,
        #[command(flatten)]
        given: GivenKey,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete an access key
    Delete {
        /// Its id
        access_key_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have requests that are signed with an access key served again
    Activate {
        /// Its id
        access_key_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Have requests that are signed with an access key refused
    Deactivate {
        /// Its id
        access_key_id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Subcommand)]
pub(super) enum GroupCommands {
    /// Show all groups
    List {
        #[command(flatten)]
        showing: Showing,
    },
    /// Create a group of users
    Create {
        /// The name: 1 to 128 letters, digits and _+=,.@-
        group: String,
        /// The path in the group's ARN
        #[arg(long, default_value = "/")]
        path: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete a group that has no users and policies
    Delete {
        /// The group
        group: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show a group with its users and policies
    Show {
        /// The group
        group: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Put a user in a group
    Add {
        /// The group
        group: String,
        /// The user
        user: String,
        #[command(flatten)]
        common: Common,
    },
    /// Take a user out of a group
    Remove {
        /// The group
        group: String,
        /// The user
        user: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Subcommand)]
pub(super) enum PolicyCommands {
    /// Show the managed policies, or those that a user, a group or a role has
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        showing: Showing,
    },
    /// Put a managed policy, or one of a user, a group or a role alone, in place of the one of that name
    Put {
        /// The name: 1 to 128 letters, digits and _+=,.@-
        policy: String,
        /// The file that holds it, a JSON object
        file: PathBuf,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        common: Common,
    },
    /// Show what a policy says
    Show {
        /// The policy
        policy: String,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete a managed policy that is attached to nobody, or one of a user, a group or a role alone
    Delete {
        /// The policy
        policy: String,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        common: Common,
    },
    /// Attach a managed policy to a user, a group or a role
    Attach {
        /// The policy; AdministratorAccess, AmazonS3FullAccess and AmazonS3ReadOnlyAccess are built in
        policy: String,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        common: Common,
    },
    /// Detach a managed policy from a user, a group or a role
    Detach {
        /// The policy
        policy: String,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        common: Common,
    },
}

/// Shows what is asked for.
pub(super) fn show(
    showing: Showing,
    request: UsersRequest,
    table: fn(&serde_json::Value) -> String,
) -> Result<ExitCode, Failure> {
    let config = load(showing.flags)?.config;
    told(admin::shown(&config, request, showing.json, table))
}

/// Has a change made.
pub(super) fn change(
    common: Common,
    request: UsersRequest,
    sentence: String,
) -> Result<ExitCode, Failure> {
    told(admin::done(&load(common.flags)?.config, request, sentence))
}

pub(super) fn users(command: UserCommands) -> Result<ExitCode, Failure> {
    match command {
        UserCommands::List { showing } => show(showing, UsersRequest::ListUsers, admin::users),
        UserCommands::Create {
            user,
            path,
            showing,
        } => show(
            showing,
            UsersRequest::CreateUser { user, path },
            admin::user,
        ),
        UserCommands::Delete { user, common } => {
            let sentence = format!("User {user} is deleted.");
            change(common, UsersRequest::DeleteUser { user }, sentence)
        }
        UserCommands::Show { user, showing } => {
            show(showing, UsersRequest::ShowUser { user }, admin::user)
        }
        UserCommands::Boundary {
            user,
            policy,
            none: _,
            common,
        } => {
            let sentence = match &policy {
                Some(policy) => format!("User {user} is bounded by {policy}."),
                None => format!("User {user} has no boundary."),
            };
            change(common, UsersRequest::SetBoundary { user, policy }, sentence)
        }
    }
}

pub(super) fn keys(command: KeyCommands) -> Result<ExitCode, Failure> {
    let set_active = |access_key_id: String, active, common| {
        let word = if active { "active" } else { "inactive" };
        let sentence = format!("Access key {access_key_id} is {word}.");
        let request = UsersRequest::SetKeyActive {
            access_key_id,
            active,
        };
        change(common, request, sentence)
    };
    match command {
        KeyCommands::List { user, showing } => {
            show(showing, UsersRequest::ListKeys { user }, admin::keys)
        }
        KeyCommands::Create {
            user,
            given,
            showing,
        } => create_key(showing, given, |access_key_id, secret_access_key| {
            UsersRequest::CreateKey {
                user,
                access_key_id,
                secret_access_key,
            }
        }),
        KeyCommands::Delete {
            access_key_id,
            common,
        } => {
            let sentence = format!("Access key {access_key_id} is deleted.");
            change(common, UsersRequest::DeleteKey { access_key_id }, sentence)
        }
        KeyCommands::Activate {
            access_key_id,
            common,
        } => set_active(access_key_id, true, common),
        KeyCommands::Deactivate {
            access_key_id,
            common,
        } => set_active(access_key_id, false, common),
    }
}

pub(super) fn groups(command: GroupCommands) -> Result<ExitCode, Failure> {
    let set_member = |user: String, group: String, member, common| {
        let sentence = match member {
            true => format!("User {user} is in group {group}."),
            false => format!("User {user} is not in group {group}."),
        };
        let request = UsersRequest::SetMembership {
            user,
            group,
            member,
        };
        change(common, request, sentence)
    };
    match command {
        GroupCommands::List { showing } => show(showing, UsersRequest::ListGroups, admin::groups),
        GroupCommands::Create {
            group,
            path,
            showing,
        } => show(
            showing,
            UsersRequest::CreateGroup { group, path },
            admin::group,
        ),
        GroupCommands::Delete { group, common } => {
            let sentence = format!("Group {group} is deleted.");
            change(common, UsersRequest::DeleteGroup { group }, sentence)
        }
        GroupCommands::Show { group, showing } => {
            show(showing, UsersRequest::ShowGroup { group }, admin::group)
        }
        GroupCommands::Add {
            group,
            user,
            common,
        } => set_member(user, group, true, common),
        GroupCommands::Remove {
            group,
            user,
            common,
        } => set_member(user, group, false, common),
    }
}

pub(super) fn policies(command: PolicyCommands) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommands::List { whose, showing } => {
            let request = UsersRequest::ListPolicies { of: whose.into() };
            show(showing, request, admin::policies)
        }
        PolicyCommands::Put {
            policy,
            file,
            whose,
            common,
        } => {
            let config = load(common.flags)?.config;
            told(admin::put_policy(&config, &policy, &file, whose.into()))
        }
        PolicyCommands::Show {
            policy,
            whose,
            showing,
        } => {
            let of = whose.into();
            show(
                showing,
                UsersRequest::ShowPolicy { policy, of },
                admin::policy,
            )
        }
        PolicyCommands::Delete {
            policy,
            whose,
            common,
        } => {
            let (sentence, of) = (format!("Policy {policy} is deleted."), whose.into());
            change(common, UsersRequest::DeletePolicy { policy, of }, sentence)
        }
        PolicyCommands::Attach {
            policy,
            whose,
            common,
        } => {
            let (sentence, of) = (format!("Policy {policy} is attached."), whose.into());
            change(common, UsersRequest::AttachPolicy { policy, of }, sentence)
        }
        PolicyCommands::Detach {
            policy,
            whose,
            common,
        } => {
            let (sentence, of) = (format!("Policy {policy} is detached."), whose.into());
            change(common, UsersRequest::DetachPolicy { policy, of }, sentence)
        }
    }
}
