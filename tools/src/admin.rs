//! `strata admin`: what an administrator does to a node from its own machine.

use std::io::IsTerminal;
use std::path::Path;

use crate::config::Config;
use crate::server::{directories, root_key};
use crate::terminal;

/// Leaves a new root key for the node: the one of the two variables if they are set, else a random one.
///
/// A running server takes it up within seconds, a stopped one when it starts. Until then the old key is in force.
///
/// # Errors
/// There is no node here, or the key cannot be made or written.
pub fn replace_root_key(config: &Config) -> Result<(), String> {
    let directory = &config.metadata_dir;
    if !directory.is_dir() {
        return Err(format!(
            "there is no node here: {} does not exist. Give the --data-dir, --metadata-dir or --config of the server",
            directory.display()
        ));
    }
    let given = root_key::from_environment(|name| std::env::var(name).ok())?;
    let is_given = given.is_some();
    let key = given.map_or_else(root_key::make, Ok)?;
    let path = directory.join(root_key::REQUEST);
    root_key::write(&path, &key)?;
    let secret =
        (!is_given && std::io::stdout().is_terminal()).then_some(key.secret_access_key.as_str());
    let text = describe(
        directory,
        &key.access_key_id,
        secret,
        directories::is_held(directory),
    );
    terminal::print(&text)
}

fn describe(directory: &Path, access_key_id: &str, secret: Option<&str>, running: bool) -> String {
    let copy = directory.join(root_key::COPY);
    let mut text = match secret {
        Some(secret) => format!(
            "The new root key, shown once:\n  access key id      {access_key_id}\n  secret access key  {secret}\n"
        ),
        None => format!("The new root key is {access_key_id}.\n"),
    };
    text.push_str(match running {
        true => "The running server takes it up within some seconds and says so in its log; then the old key is refused.\n",
        false => "It comes into force when the server starts; then the old key is refused.\n",
    });
    text.push_str(&format!(
        "The copy will be {}, which only you can read.\n",
        copy.display()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_only_when_it_may_be() {
        let shown = describe(Path::new("/m"), "ID", Some("hush"), false);
        assert!(
            shown.contains("hush") && shown.contains("when the server starts"),
            "{shown}"
        );
        let hidden = describe(Path::new("/m"), "ID", None, true);
        assert!(
            !hidden.contains("hush") && hidden.contains("/m/root-key"),
            "{hidden}"
        );
    }
}
