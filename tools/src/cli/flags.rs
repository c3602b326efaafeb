//! The flags that stand for keys, made from the table of keys.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::schema::{KEYS, Key, Kind, State};
use crate::config::value::Value;
use crate::config::{Findings, Origin};

/// Which keys a command takes flags for.
pub trait Choice: Default {
    /// Whether this key is one of them.
    fn wants(key: &Key) -> bool;
}

/// Every key that has a flag: for what runs a server, or tells what would run.
#[derive(Debug, Default)]
pub struct Everything;

impl Choice for Everything {
    fn wants(_key: &Key) -> bool {
        true
    }
}

/// The keys that say where a node lies: for what only has to find it.
#[derive(Debug, Default)]
pub struct Places;

impl Choice for Places {
    fn wants(key: &Key) -> bool {
        matches!(key.kind, Kind::Directory | Kind::Directories)
    }
}

/// What the flags of the chosen keys say, and `--config`.
#[derive(Debug, Default)]
pub struct KeyFlags<C> {
    /// `--config`.
    pub config_file: Option<PathBuf>,
    /// Values and problems.
    pub findings: Findings,
    choice: PhantomData<C>,
}

impl<C: Choice> Args for KeyFlags<C> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file (TOML); STRATA_CONFIG names one as well");
        KEYS.iter()
            .filter(|key| C::wants(key))
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
        Kind::Directories | Kind::Domains => argument
            .value_name(flag.value_name)
            .action(ArgAction::Append),
        _ => argument.value_name(flag.value_name),
    })
}

impl<C: Choice> FromArgMatches for KeyFlags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = KeyFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config_file = matches.get_one::<PathBuf>("config").cloned();
        for key in KEYS.iter().filter(|key| C::wants(key)) {
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
        (Kind::Domains, [_, _, ..]) => Some(several_domains(&texts)),
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

fn several_domains(texts: &[&String]) -> Result<Value, String> {
    let mut domains = Vec::new();
    for text in texts {
        match Value::from_text(Kind::Domains, text)? {
            Value::Domains(more) => domains.extend(more),
            other => unreachable!("a domain is {other:?}"),
        }
    }
    Ok(Value::Domains(domains))
}
