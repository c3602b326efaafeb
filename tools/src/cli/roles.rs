//! `strata admin role` and `session-key`: their commands and flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::users::{Common, Showing, change, show};
use super::{Failure, load, told};
use crate::admin::protocol::users::UsersRequest;
use crate::admin::roles as admin;
use crate::admin::users::document;

#[derive(Subcommand)]
pub(super) enum RoleCommands {
    /// Show all roles
    List {
        #[command(flatten)]
        showing: Showing,
    },
    /// Create a role, which may do nothing until a policy allows it
    Create {
        /// The name: 1 to 64 letters, digits and _+=,.@-
        role: String,
        /// The file that holds its trust policy, a JSON object that says who may assume it
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// The path in the role's ARN
        #[arg(long, default_value = "/")]
        path: String,
        /// The longest session, in seconds: 3600 to 43200
        #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
        max_session_seconds: u32,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete a role that has no policies, and so end its sessions
    Delete {
        /// The role
        role: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show a role with its policies and who may assume it
    Show {
        /// The role
        role: String,
        #[command(flatten)]
        showing: Showing,
    },
    /// Say who may assume a role
    SetTrust {
        /// The role
        role: String,
        /// The file that holds the trust policy
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Change how long sessions of a role may last, or its description
    Update {
        /// The role
        role: String,
        /// The longest session, in seconds: 3600 to 43200
        #[arg(long, value_name = "SECONDS", required_unless_present = "description")]
        max_session_seconds: Option<u32>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Bound what the policies of a role may allow by a managed policy, or bound it no more
    Boundary {
        /// The role
        role: String,
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
pub(super) enum SessionKeyCommands {
    /// Show the keys that tokens of sessions are sealed with
    List {
        #[command(flatten)]
        showing: Showing,
    },
    /// Seal the tokens of new sessions with a new key; those that there are stay known by theirs
    Rotate {
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete a key, and so end all sessions that it has sealed
    Delete {
        /// Its number
        number: u32,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn roles(command: RoleCommands) -> Result<ExitCode, Failure> {
    match command {
        RoleCommands::List { showing } => show(showing, UsersRequest::ListRoles, admin::roles),
        RoleCommands::Create {
            role,
            trust,
            path,
            max_session_seconds,
            description,
            showing,
        } => {
            let new = admin::NewRole {
                role,
                path,
                trust: &trust,
                max_session_seconds,
                description,
            };
            let as_json = showing.json;
            told(admin::create(&load(showing.flags)?.config, new, as_json))
        }
        RoleCommands::Delete { role, common } => {
            let sentence = format!("Role {role} is deleted.");
            change(common, UsersRequest::DeleteRole { role }, sentence)
        }
        RoleCommands::Show { role, showing } => {
            show(showing, UsersRequest::ShowRole { role }, admin::role)
        }
        RoleCommands::SetTrust { role, file, common } => {
            let sentence = format!("The trust policy of role {role} is in force.");
            let trust_policy = Some(document(&file).map_err(Failure::Working)?);
            let request = UsersRequest::UpdateRole {
                role,
                trust_policy,
                max_session_seconds: None,
                description: None,
            };
            change(common, request, sentence)
        }
        RoleCommands::Update {
            role,
            max_session_seconds,
            description,
            common,
        } => {
            let sentence = format!("Role {role} is changed.");
            let request = UsersRequest::UpdateRole {
                role,
                trust_policy: None,
                max_session_seconds,
                description,
            };
            change(common, request, sentence)
        }
        RoleCommands::Boundary {
            role,
            policy,
            none: _,
            common,
        } => {
            let sentence = match &policy {
                Some(policy) => format!("Role {role} is bounded by {policy}."),
                None => format!("Role {role} has no boundary."),
            };
            let request = UsersRequest::SetRoleBoundary { role, policy };
            change(common, request, sentence)
        }
    }
}

pub(super) fn session_keys(command: SessionKeyCommands) -> Result<ExitCode, Failure> {
    match command {
        SessionKeyCommands::List { showing } => {
            show(showing, UsersRequest::ListSessionKeys, admin::session_keys)
        }
        SessionKeyCommands::Rotate { showing } => {
            show(showing, UsersRequest::AddSessionKey, admin::new_session_key)
        }
        SessionKeyCommands::Delete { number, common } => {
            let sentence = format!("Session key {number} is deleted, and its sessions are over.");
            change(common, UsersRequest::RemoveSessionKey { number }, sentence)
        }
    }
}
