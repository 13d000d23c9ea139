//! The options of one who is part of a network for long, in a file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use etcetera::BaseStrategy as _;
use serde::de::{DeserializeOwned, IgnoredAny};
use toml::Spanned;

use crate::flags::Cli;
use crate::flags::member::Member;
use crate::terminal::Name;

/// Flags that are for the command line alone.
const NOT_HERE: [&str; 3] = ["config", "check", "json"];

/// What is in the file of a command: what all have in common, and what is its own. It is the one that is given, or
/// the usual one, if that is there.
pub(crate) fn file<T: DeserializeOwned + Default>(
    command: &str,
    given: Option<&Path>,
) -> anyhow::Result<(Member, T)> {
    let read = match given {
        Some(path) => {
            let read = read(command, path)?;
            Some(read.with_context(|| format!("there is no file {}", Name(path)))?)
        }
        None => match usual_file(command) {
            Some(path) => read(command, &path)?,
            None => None,
        },
    };
    Ok(read.unwrap_or_default())
}

/// What is in a file, if it is there.
fn read<T: DeserializeOwned>(command: &str, path: &Path) -> anyhow::Result<Option<(Member, T)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("cannot read {}: {error}", Name(path)),
    };
    let parsed = parse(command, &text);
    let parsed = parsed.map_err(|error| anyhow::anyhow!("{}: {error}", Name(path)))?;
    Ok(Some(parsed))
}

pub(crate) fn parse<T: DeserializeOwned>(command: &str, text: &str) -> Result<(Member, T), String> {
    let wrong = |error: toml::de::Error| error.to_string();
    let keys: BTreeMap<Spanned<String>, IgnoredAny> = toml::from_str(text).map_err(wrong)?;
    let flags = flags(command);
    if let Some(key) = keys.keys().find(|key| !flags.contains(key.get_ref())) {
        let line = text[..key.span().start].matches('\n').count() + 1;
        let key = key.get_ref();
        return Err(format!(
            "line {line}: unknown field `{key}`, expected one of {}",
            flags.join(", ")
        ));
    }
    let member: Member = toml::from_str(text).map_err(wrong)?;
    if member.network.is_some() && member.certificate.is_some() {
        return Err("network and certificate: a certificate names its network itself".into());
    }
    Ok((member, toml::from_str(text).map_err(wrong)?))
}

/// The names of the options that can be in a file.
pub(crate) fn flags(command: &str) -> Vec<String> {
    let cli = Cli::command();
    let command = cli.find_subcommand(command);
    let flags = command.into_iter().flat_map(clap::Command::get_arguments);
    let flags = flags.filter_map(clap::Arg::get_long);
    let flags = flags.filter(|flag| !NOT_HERE.contains(flag));
    flags.map(str::to_owned).collect()
}

fn usual_file(command: &str) -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    let file = format!("coros/{command}.toml");
    Some(folders.config_dir().join(file))
}

/// Where one keeps what is its own.
pub(crate) fn dir(command: &str, member: &Member) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &member.dir {
        return Ok(dir.clone());
    }
    let folders = etcetera::choose_base_strategy();
    let folders =
        folders.context("there is no home folder: say where to keep programs by --dir")?;
    Ok(folders.cache_dir().join("coros").join(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::node::Settings;

    fn parse(text: &str) -> Result<Settings, String> {
        let (member, settings) = super::parse::<Settings>("node", text)?;
        Ok(Settings { member, ..settings })
    }

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
max-work-size = "1T"
file-size = "2G"
processes = 64
readable = ["/data"]
label = ["gpu=a100", "quiet"]
resource = ["license=2"]
serve = 3
from = "20:00"
until = "06:00"
kill-at = "08:00"
daemon = true
"#;

    #[test]
    fn a_file_has_the_names_of_the_flags() {
        let settings = parse(ALL).unwrap();
        assert_eq!(settings.member.peer.len(), 2);
        assert_eq!(settings.member.max_file_size.unwrap().0, 1 << 20);
        assert_eq!(settings.label[0].to_string(), "gpu=a100");
        assert_eq!(settings.kill_at.unwrap().to_string(), "08:00");
        let mut flags = flags("node");
        flags.retain(|flag| flag != "certificate");
        let table: toml::Table = ALL.parse().unwrap();
        let mut keys: Vec<_> = table.keys().cloned().collect();
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
max-work-size = 1
file-size = 1
processes = 1
readable = ["/other"]
label = ["other"]
resource = ["other=1"]
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
