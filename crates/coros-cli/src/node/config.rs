//! The options of a node in a file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use etcetera::BaseStrategy as _;

use crate::flags::node::{NodeFlags, Settings};
use crate::terminal::Name;

/// What the command line says, and what it leaves to the file.
pub(super) fn settings(flags: &NodeFlags) -> anyhow::Result<Settings> {
    let file = match &flags.config {
        Some(path) => read(path)?.with_context(|| format!("there is no file {}", Name(path)))?,
        None => match usual_file() {
            Some(path) => read(&path)?.unwrap_or_default(),
            None => Settings::default(),
        },
    };
    Ok(flags.settings.clone().or(file))
}

/// What is in a file, if it is there.
fn read(path: &Path) -> anyhow::Result<Option<Settings>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("cannot read {}: {error}", Name(path)),
    };
    let settings = parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", Name(path)))?;
    Ok(Some(settings))
}

fn parse(text: &str) -> Result<Settings, String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    if settings.network.is_some() && settings.certificate.is_some() {
        return Err("network and certificate: a certificate names its network itself".into());
    }
    Ok(settings)
}

fn usual_file() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(folders.config_dir().join("coros/node.toml"))
}

/// Where a node keeps what is its own.
pub(super) fn dir(settings: &Settings) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &settings.dir {
        return Ok(dir.clone());
    }
    let folders = etcetera::choose_base_strategy();
    let folders =
        folders.context("there is no home folder: say where to keep programs by --dir")?;
    Ok(folders.cache_dir().join("coros/node"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::flags::Cli;

    /// All that can be in a file, and a value for it.
    const ALL: &str = r#"
listen = "127.0.0.1:0"
peer = ["desk:7341", "[::1]:7341"]
discover = true
name = "farm"
network = "lab"
cpus = -1
dir = "/scratch"
cache = "20G"
max-file-size = 1048576
memory = "4G"
readable = ["/data"]
label = ["gpu=a100", "quiet"]
serve = 3
from = "20:00"
until = "06:00"
kill-at = "08:00"
daemon = true
"#;

    #[test]
    fn a_file_has_the_names_of_the_flags() {
        let settings = parse(ALL).unwrap();
        assert_eq!(settings.peer.len(), 2);
        assert_eq!(settings.max_file_size.unwrap().0, 1 << 20);
        assert_eq!(settings.label[0].to_string(), "gpu=a100");
        assert_eq!(settings.kill_at.unwrap().to_string(), "08:00");
        let command = Cli::command();
        let node = command.find_subcommand("node").unwrap();
        let flags = node.get_arguments().filter_map(clap::Arg::get_long);
        let mut flags: Vec<_> = flags.collect();
        let here = ["config", "check", "json", "certificate"];
        flags.retain(|flag| !here.contains(flag));
        let table: toml::Table = ALL.parse().unwrap();
        let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
        flags.sort_unstable();
        keys.sort_unstable();
        assert_eq!(flags, keys);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, says) in [
            ("cpus = 2\ncpu = 2\n", "line 2", "unknown field `cpu`"),
            ("from = \"8 pm\"\n", "line 1", "\"8 pm\": expected hours"),
            ("\n\ncpus = 0\n", "line 3", "without a core"),
            (
                "label = [\"a\", \"b c\"]\n",
                "line 1",
                "\"b c\" is no label",
            ),
            ("listen = true\n", "line 1", "a text in quotes or a whole"),
            ("name = \n", "line 1", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(line) && error.contains(says), "{error}");
        }
        let both = parse("network = \"a\"\ncertificate = \"b\"").unwrap_err();
        assert!(both.contains("names its network itself"), "{both}");
    }

    /// Another value for each.
    const OTHER: &str = r#"
listen = "127.0.0.1:1"
peer = ["other:1"]
discover = true
name = "other"
certificate = "/other"
cpus = 1
dir = "/other"
cache = "1G"
max-file-size = 1
memory = 1
readable = ["/other"]
label = ["other"]
serve = 1
from = "01:00"
until = "02:00"
kill-at = "03:00"
daemon = true
"#;

    #[test]
    fn the_command_line_goes_first() {
        let [file, line] = [ALL, OTHER].map(|text| parse(text).unwrap());
        let shown = |settings: Settings| format!("{settings:?}");
        assert_eq!(shown(line.clone().or(file.clone())), shown(line.clone()));
        assert_eq!(
            shown(Settings::default().or(file.clone())),
            shown(file.clone())
        );
        // A network of one and a certificate of the other would contradict each other.
        assert_eq!(shown(file.clone().or(line)), shown(file));
    }
}
