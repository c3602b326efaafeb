//! Commands and flags.
//!
//! Invariant: the flags of `server`, `config check` and `config show` are the same, made from the table of keys.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

use crate::config::schema::{KEYS, Key, Kind, State};
use crate::config::value::Value;
use crate::config::{self, Config, Findings, Origin, Settings};
use crate::{admin, inspect, server, version};

/// A mistake in the command line or the configuration.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "strata",
    version = version::VERSION,
    about = "A storage system: S3 in front, your disks behind.",
    disable_help_subcommand = true
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
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// Administer a node from its own machine
    #[command(subcommand, arg_required_else_help = true)]
    Admin(AdminCommands),
    /// Check or show the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommands),
    /// Print what lies on disk: the structures of a device or the rows of a metadata directory; changes nothing
    Inspect {
        /// A data directory, a device file, or a metadata directory
        path: PathBuf,
        /// Only the structure at this offset of a device, in bytes
        #[arg(long, value_name = "OFFSET")]
        at: Option<u64>,
        /// Print so many structures at most
        #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
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
        flags: ServerFlags,
    },
    /// Show what would be in force and where each value comes from; secrets are left out
    Show {
        #[command(flatten)]
        flags: ServerFlags,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum AdminCommands {
    /// Make a new root key, or take that of STRATA_ROOT_ACCESS_KEY_ID and STRATA_ROOT_SECRET_KEY
    ///
    /// Reads the same configuration as the server, to find its metadata directory. A running server takes the key up within
    /// seconds, a stopped one when it starts.
    RootKey {
        #[command(flatten)]
        flags: ServerFlags,
    },
}

/// The flags that stand for keys, made from the table.
#[derive(Debug, Default)]
pub struct ServerFlags {
    /// `--config`.
    config_file: Option<PathBuf>,
    findings: Findings,
}

impl Args for ServerFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file (TOML); STRATA_CONFIG names one as well");
        KEYS.iter()
            .filter_map(argument_of)
            .fold(command.arg(file), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument_of(key: &'static Key) -> Option<Arg> {
    let flag = key.flag?;
    debug_assert!(key.state == State::Live, "a refused key has no flag");
    let default = match (key.default, key.default_note) {
        ("", note) => note.to_owned(),
        (literal, _) => literal.trim_matches('"').to_owned(),
    };
    let help = format!("{} [{}; default: {default}]", key.help, key.path());
    let argument = Arg::new(flag.name).long(flag.name).help(help);
    Some(match key.kind {
        Kind::Flag => argument.action(ArgAction::SetTrue),
        Kind::Directories => argument
            .value_name(flag.value_name)
            .action(ArgAction::Append),
        _ => argument.value_name(flag.value_name),
    })
}

impl FromArgMatches for ServerFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = ServerFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config_file = matches.get_one::<PathBuf>("config").cloned();
        for key in KEYS {
            if let Some(value) = value_in(matches, key) {
                let name = key.flag.map_or("", |flag| flag.name);
                self.findings
                    .take(key, value, Origin::CommandLine(format!("--{name}")));
            }
        }
        Ok(())
    }
}

/// What the command line says of a key; `None` when it says nothing.
fn value_in(matches: &ArgMatches, key: &Key) -> Option<Result<Value, String>> {
    let name = key.flag?.name;
    if key.kind == Kind::Flag {
        return matches.get_flag(name).then_some(Ok(Value::Flag(true)));
    }
    let texts: Vec<&String> = matches.get_many::<String>(name)?.collect();
    match (key.kind, texts.as_slice()) {
        (Kind::Directories, [_, _, ..]) => Some(several_directories(&texts)),
        (_, [.., last]) => Some(Value::from_text(key.kind, last)),
        (_, []) => None,
    }
}

fn several_directories(texts: &[&String]) -> Result<Value, String> {
    let mut paths = Vec::new();
    for text in texts {
        match Value::from_text(Kind::Directory, text)? {
            Value::Directory(path) => paths.push(path),
            other => unreachable!("a directory is {other:?}"),
        }
    }
    Ok(Value::Directories(paths))
}

/// Runs the command line and answers the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => dispatch(line.command),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

fn dispatch(command: Commands) -> ExitCode {
    match command {
        Commands::Server { flags } => match load(flags) {
            Ok(loaded) => finish(server::run(loaded.config, &loaded.warnings)),
            Err(status) => status,
        },
        Commands::Admin(AdminCommands::RootKey { flags }) => match load(flags) {
            Ok(loaded) => finish(admin::replace_root_key(&loaded.config)),
            Err(status) => status,
        },
        Commands::Config(ConfigCommands::Check { flags }) => check(flags),
        Commands::Config(ConfigCommands::Show { flags, json }) => show(flags, json),
        Commands::Inspect { path, at, limit } => {
            finish(inspect::run(&path, inspect::Options { limit, at }))
        }
        Commands::Version { json } => {
            print!("{}", version::describe(json));
            ExitCode::SUCCESS
        }
    }
}

/// Everything that a command needs of the configuration.
struct Loaded {
    settings: Settings,
    config: Config,
    warnings: Vec<String>,
}

fn load(flags: ServerFlags) -> Result<Loaded, ExitCode> {
    let variables = config::process_environment();
    let outcome = config::load(flags.config_file, flags.findings, &variables);
    let (settings, warnings) = outcome.map_err(|error| refuse(&error.to_string()))?;
    let home = config::merge::data_home(|name| std::env::var(name).ok());
    let config = Config::new(&settings, home.as_deref()).map_err(|why| refuse(&why))?;
    Ok(Loaded {
        settings,
        config,
        warnings,
    })
}

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("strata: {why}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("strata: {why}");
    ExitCode::from(EXIT_USAGE)
}

fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("strata: warning: {warning}");
    }
}

fn check(flags: ServerFlags) -> ExitCode {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    print_warnings(&loaded.warnings);
    match &loaded.settings.file {
        Some(path) => println!("The configuration is in order ({}).", path.display()),
        None => {
            println!("The configuration is in order (no file: flags, environment and defaults).")
        }
    }
    ExitCode::SUCCESS
}

fn show(flags: ServerFlags, json: bool) -> ExitCode {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    print_warnings(&loaded.warnings);
    if json {
        println!(
            "{:#}",
            config::show::as_json(&loaded.settings, &loaded.config)
        );
    } else {
        print!(
            "{}",
            config::show::as_toml(&loaded.settings, &loaded.config)
        );
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
