//! Commands and flags.
//!
//! Invariant: the flags of `server`, `config check` and `config show` are the same, made from the table of keys.

mod accounts;
mod flags;
mod roles;
mod users;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser, Subcommand};
use strata_net::scheme::Scheme;

use crate::config::machine::Machine;
use crate::config::{self, Loaded};
use crate::server::root_key;
use crate::terminal::{complain, outcome, print};
use crate::{admin, inspect, self_signed, server, version};
use flags::{Everything, KeyFlags, Places};

/// A mistake in the command line or the configuration.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "strata",
    version = version::VERSION_AND_COMMIT,
    about = "A storage system: S3 in front, your disks behind."
)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Run a server
    Server {
        /// Let the first start format this block device of storage.data_dir whatever it holds; may be repeated
        ///
        /// Without it only an empty one is formatted. One that is mounted or in use is refused all the same, and one that is a
        /// device of Strata already is not touched.
        #[arg(long, value_name = "DEVICE")]
        force_format: Vec<PathBuf>,
        #[command(flatten)]
        flags: KeyFlags<Everything>,
    },
    /// Administer a running server from its own machine
    #[command(subcommand, arg_required_else_help = true)]
    Admin(AdminCommands),
    /// Show how the running server is, and what to do about what is wrong
    ///
    /// Reads the same configuration as the server, to find its admin socket. Exit status: 0 healthy, 3 no server runs, 4 degraded,
    /// 5 it runs and does not serve.
    Status {
        #[command(flatten)]
        flags: KeyFlags<Places>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the devices of the running server, replace a lost one, add, drain or forget one
    #[command(subcommand, arg_required_else_help = true)]
    Device(DeviceCommands),
    /// Show whether all chunks have their shards; what is missing is repaired without being asked
    #[command(subcommand, arg_required_else_help = true)]
    Repair(RepairCommands),
    /// Show what the running server makes objects into, or change it
    #[command(subcommand, arg_required_else_help = true)]
    Layout(LayoutCommands),
    /// Read all chunks of the running server and compare them with their checksums
    #[command(subcommand, arg_required_else_help = true)]
    Scrub(ScrubCommands),
    /// Check or show the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommands),
    /// Make what the ports need to speak TLS
    #[command(subcommand, arg_required_else_help = true)]
    Tls(TlsCommands),
    /// Print what lies on disk: the structures of a device or the rows of a metadata directory; changes nothing
    ///
    /// Each structure is printed as pairs of name and value, or with --json as one JSON object a line: "structure" says what it is,
    /// "offset" where it lies on a device, "key" under what a row lies, "value" what it holds, "error" what is wrong with it.
    /// Names and keys that are not UTF-8 stand in hexadecimal under a name that ends in _hex. Secrets are left out.
    Inspect {
        /// A data directory, a device file, or a metadata directory
        path: PathBuf,
        /// Only the structure at this offset of a device, in bytes
        #[arg(long, value_name = "OFFSET")]
        at: Option<u64>,
        /// Print so many structures at most
        #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
        /// Print JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Show what this binary is
    Version {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ConfigCommands {
    /// Check file, environment and flags, and name everything that is wrong
    Check {
        #[command(flatten)]
        flags: KeyFlags<Everything>,
    },
    /// Show what would be in force and where each value comes from; secrets are left out
    Show {
        #[command(flatten)]
        flags: KeyFlags<Everything>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum TlsCommands {
    /// Make a certificate that no authority vouches for, and its private key, for first steps
    ///
    /// Writes cert.pem and key.pem (ECDSA P-256, mode 0600), and overwrites nothing. The certificate holds for 365 days, for the
    /// names that are given and for localhost, 127.0.0.1 and ::1.
    SelfSigned {
        /// The directory for both files; made where there is none
        #[arg(long, value_name = "DIRECTORY")]
        out: PathBuf,
        /// A host name or an IP address by which clients call the server; may be repeated
        #[arg(long, value_name = "NAME", num_args = 1..)]
        host: Vec<String>,
    },
}

#[derive(Subcommand)]
enum AdminCommands {
    /// Make a new root key, or take that of STRATA_ROOT_ACCESS_KEY_ID and STRATA_ROOT_SECRET_KEY
    ///
    /// Reads the same configuration as the server, to find its admin socket. Returns when the new key is in force and the old
    /// one is refused.
    RootKey {
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// List, create and delete accounts, which own buckets
    #[command(subcommand, arg_required_else_help = true)]
    Account(accounts::AccountCommands),
    /// List, create, show and delete users
    #[command(subcommand, arg_required_else_help = true)]
    User(users::UserCommands),
    /// List, create, switch off and delete the access keys of users
    #[command(subcommand, arg_required_else_help = true)]
    Key(users::KeyCommands),
    /// List, create, show, fill and delete groups of users
    #[command(subcommand, arg_required_else_help = true)]
    Group(users::GroupCommands),
    /// List, create, show, change and delete roles
    #[command(subcommand, arg_required_else_help = true)]
    Role(roles::RoleCommands),
    /// List, rotate and delete the keys that tokens of sessions are sealed with
    #[command(subcommand, arg_required_else_help = true)]
    SessionKey(roles::SessionKeyCommands),
    /// List, put, show, delete, attach and detach policies
    #[command(subcommand, arg_required_else_help = true)]
    Policy(users::PolicyCommands),
}

#[derive(Subcommand)]
enum DeviceCommands {
    /// Show every device with its state and what it holds
    List {
        #[command(flatten)]
        flags: KeyFlags<Places>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a new device beside the others, while the server runs
    ///
    /// It is formatted in an empty directory, or on an empty block device. New objects go there too, and its part of what is stored is
    /// moved there in the background.
    Add {
        /// The empty directory or block device
        place: PathBuf,
        /// Format a block device whatever it holds, unless it is in use
        #[arg(long)]
        force_format: bool,
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// Move what a device holds to the others, so that it can be taken out
    ///
    /// There must be a disk more than the layout needs. The device is read until all is moved. A device that is lost gives its slots
    /// to the others as well, and repair computes what it held.
    Drain {
        /// The device: its uuid, or its path
        device: String,
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// Remove what is noted of a device that was replaced or drained and does not come back
    ///
    /// It is in the list with the use `former`. One that has slots, or is open, is not forgotten.
    Forget {
        /// The device: its uuid
        device: String,
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// Put a new device in the place of one that is missing or has failed, while the server runs
    ///
    /// The new one is formatted in an empty directory on a disk of its own, or on an empty block device. Repair then writes to it what the lost one held. A
    /// device that works is not replaced.
    Replace {
        /// The lost device: its uuid, or the path that it had
        lost: String,
        /// The empty directory or block device
        place: PathBuf,
        /// Format a block device whatever it holds, unless it is in use
        #[arg(long)]
        force_format: bool,
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
}

#[derive(Subcommand)]
enum LayoutCommands {
    /// Show the scheme, and how many chunks are in another one
    Show {
        #[command(flatten)]
        flags: KeyFlags<Places>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Spread what is stored over the disks by what each may hold
    ///
    /// Adding a disk does so too. This is for what could not be moved then because shards were still being moved, and for disks of
    /// unlike sizes.
    Rebalance {
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// Make another scheme that of new objects, and write stored ones again so
    ///
    /// There must be a disk for each of its shards, and all must be there. Stored objects are read as they are until they have been
    /// written again, which is done in the background.
    Set {
        /// Data shards and parity shards, such as 6+3; 1+2 are three whole copies
        #[arg(value_name = "K+M")]
        scheme: Scheme,
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
}

#[derive(Subcommand)]
enum RepairCommands {
    /// Show how many chunks lack shards, and what is being done
    Status {
        #[command(flatten)]
        flags: KeyFlags<Places>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ScrubCommands {
    /// Begin to read everything
    Start {
        #[command(flatten)]
        flags: KeyFlags<Places>,
    },
    /// Show how far it is, or what the last one has found
    Status {
        #[command(flatten)]
        flags: KeyFlags<Places>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The whole command line, for what is made from it: man pages and completions.
pub fn command() -> Command {
    CommandLine::command()
}

/// Why a command ended without doing its work.
enum Failure {
    /// A mistake in the command line or the configuration.
    Usage(String),
    /// Whatever went wrong while working.
    Working(String),
}

/// Runs the command line and answers the exit status: 0 done, 1 failed while working, 2 a mistake in the command line or the
/// configuration; those of `strata status` are its own.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return explain(&error),
    };
    match dispatch(line.command) {
        Ok(status) => status,
        Err(Failure::Usage(why)) => {
            complain(&why);
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Working(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Prints help, version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let printed = outcome(error.print());
    match printed {
        Err(why) if !error.use_stderr() => {
            complain(&why);
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE)),
    }
}

fn dispatch(command: Commands) -> Result<ExitCode, Failure> {
    let working = |done: Result<(), String>| match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => Err(Failure::Working(why)),
    };
    match command {
        Commands::Server {
            force_format,
            flags,
        } => {
            let loaded = load(flags)?;
            working(server::run(loaded.config, &force_format, &loaded.warnings))
        }
        Commands::Admin(AdminCommands::RootKey { flags }) => {
            working(admin::replace_root_key(&load(flags)?.config))
        }
        Commands::Admin(AdminCommands::Account(command)) => accounts::accounts(command),
        Commands::Admin(AdminCommands::User(command)) => users::users(command),
        Commands::Admin(AdminCommands::Key(command)) => users::keys(command),
        Commands::Admin(AdminCommands::Group(command)) => users::groups(command),
        Commands::Admin(AdminCommands::Role(command)) => roles::roles(command),
        Commands::Admin(AdminCommands::SessionKey(command)) => roles::session_keys(command),
        Commands::Admin(AdminCommands::Policy(command)) => users::policies(command),
        Commands::Status { flags, json } => status(&load(flags)?, json).map_err(Failure::Working),
        Commands::Device(command) => devices(command),
        Commands::Layout(LayoutCommands::Show { flags, json }) => {
            told(admin::layout::show(&load(flags)?.config, json))
        }
        Commands::Layout(LayoutCommands::Rebalance { flags }) => {
            told(admin::layout::rebalance(&load(flags)?.config))
        }
        Commands::Layout(LayoutCommands::Set { scheme, flags }) => {
            told(admin::layout::set(&load(flags)?.config, scheme))
        }
        Commands::Repair(RepairCommands::Status { flags, json }) => {
            told(admin::redundancy::repair_status(&load(flags)?.config, json))
        }
        Commands::Scrub(ScrubCommands::Start { flags }) => {
            told(admin::redundancy::start_scrub(&load(flags)?.config))
        }
        Commands::Scrub(ScrubCommands::Status { flags, json }) => {
            told(admin::redundancy::scrub_status(&load(flags)?.config, json))
        }
        Commands::Config(ConfigCommands::Check { flags }) => check(&load(flags)?),
        Commands::Config(ConfigCommands::Show { flags, json }) => {
            working(show(&load(flags)?, json))
        }
        Commands::Tls(TlsCommands::SelfSigned { out, host }) => {
            told(self_signed::write(&out, &host))
        }
        Commands::Inspect {
            path,
            at,
            limit,
            json,
        } => working(inspect::run(&path, inspect::Options { limit, at, json })),
        Commands::Version { json } => working(print(&version::describe(json))),
    }
}

fn devices(command: DeviceCommands) -> Result<ExitCode, Failure> {
    match command {
        DeviceCommands::List { flags, json } => {
            told(admin::devices::devices(&load(flags)?.config, json))
        }
        DeviceCommands::Add {
            place,
            force_format,
            flags,
        } => told(admin::devices::add(
            &load(flags)?.config,
            &place,
            force_format,
        )),
        DeviceCommands::Drain { device, flags } => {
            told(admin::devices::drain(&load(flags)?.config, &device))
        }
        DeviceCommands::Forget { device, flags } => {
            told(admin::devices::forget(&load(flags)?.config, &device))
        }
        DeviceCommands::Replace {
            lost,
            place,
            force_format,
            flags,
        } => told(admin::devices::replace(
            &load(flags)?.config,
            &lost,
            &place,
            force_format,
        )),
    }
}

/// Prints what a server has answered.
fn told(answer: Result<String, String>) -> Result<ExitCode, Failure> {
    let printed = answer.and_then(|text| print(&text));
    printed.map_err(Failure::Working)?;
    Ok(ExitCode::SUCCESS)
}

fn load<C>(flags: KeyFlags<C>) -> Result<Loaded, Failure> {
    let machine = Machine::here().map_err(Failure::Working)?;
    let variables = config::process_environment();
    config::load(flags.config_file, flags.findings, &variables, machine)
        .map_err(|error| Failure::Usage(error.to_string()))
}

fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
}

fn status(loaded: &Loaded, json: bool) -> Result<ExitCode, String> {
    let told = admin::status::status(&loaded.config, json)?;
    print(&told.text)?;
    Ok(ExitCode::from(told.exit_status))
}

fn check(loaded: &Loaded) -> Result<ExitCode, Failure> {
    print_warnings(&loaded.warnings);
    root_key::check(&loaded.config, |name| std::env::var(name).ok()).map_err(Failure::Usage)?;
    if let Some(files) = &loaded.config.tls {
        let identity = server::tls::read(files).map_err(Failure::Usage)?;
        let warning = server::tls::warning(files, identity.validity, server::tls::unix_seconds());
        print_warnings(warning.as_slice());
    }
    let from = match &loaded.settings.file {
        Some(path) => path.display().to_string(),
        None => "no file: flags, environment and defaults".to_owned(),
    };
    print(&format!("The configuration is in order ({from}).\n")).map_err(Failure::Working)?;
    Ok(ExitCode::SUCCESS)
}

fn show(loaded: &Loaded, json: bool) -> Result<(), String> {
    print_warnings(&loaded.warnings);
    let (settings, config) = (&loaded.settings, &loaded.config);
    print(&match json {
        true => format!("{:#}\n", config::show::as_json(settings, config)),
        false => config::show::as_toml(settings, config),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Findings;
    use crate::config::value::Value;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    fn flags(arguments: &[&str]) -> Findings {
        let line = [&["strata", "config", "check"], arguments].concat();
        match CommandLine::try_parse_from(line).map(|line| line.command) {
            Ok(Commands::Config(ConfigCommands::Check { flags })) => flags.findings,
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_repeated_data_dir_makes_a_list() {
        let findings = flags(&["--data-dir", "/a", "--data-dir", "/b"]);
        let expected = Value::Directories(vec!["/a".into(), "/b".into()]);
        assert_eq!(findings.given[0].value, expected);
    }

    #[test]
    fn a_repeated_domain_makes_a_list() {
        let findings = flags(&["--s3-domain", "S3.example.org", "--s3-domain", "store"]);
        let expected = Value::Domains(vec!["s3.example.org".into(), "store".into()]);
        assert_eq!(findings.given[0].value, expected);
    }

    #[test]
    fn a_switch_that_is_absent_says_nothing() {
        assert!(flags(&[]).given.is_empty());
        assert_eq!(
            flags(&["--assume-separate-failure-domains"]).given[0].value,
            Value::Flag(true)
        );
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let line = ["strata", "config", "check", "--s3-adr", "127.0.0.1:1"];
        let error = CommandLine::try_parse_from(line)
            .err()
            .expect("it is unknown")
            .to_string();
        assert!(error.contains("--s3-addr"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_flag() {
        let findings = flags(&["--cores", "3-1"]);
        assert!(
            findings.problems[0].starts_with("--cores: `node.cores` must be"),
            "{findings:?}"
        );
    }
}
