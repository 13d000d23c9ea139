//! What `coros secret` prints: for people by `Display`, for programs as JSON.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use coros::net::{Authority, NodeCertificate, Validity};
use coros::readable_lines;
use serde::Serialize;

use crate::terminal::{self, Name};

/// Prints on standard output.
pub(super) fn print<T: Serialize + fmt::Display>(what: &T, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string(what)?
    } else {
        readable_lines(&what.to_string())
    };
    terminal::print(&text)
}

#[derive(Serialize)]
pub(super) struct SecretFile {
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) from: &'static str,
    pub(super) fingerprint: String,
    pub(super) network: String,
    pub(super) authority: AuthorityOf,
    #[serde(skip)]
    pub(super) valid: Validity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SecretFile { path, .. } = self;
        let from = match self.from {
            "configuration" => "your own, from the configuration folder",
            "argument" => "as given; nodes use it if COROS_SECRET_FILE names it",
            _ => "named by COROS_SECRET_FILE",
        };
        let kind = match self.kind {
            "random" => "random, 256 bits",
            _ => "a passphrase",
        };
        writeln!(f, "secret       {path}")?;
        writeln!(f, "             {from}")?;
        writeln!(f, "kind         {kind}")?;
        writeln!(f, "fingerprint  {}", self.fingerprint)?;
        writeln!(f, "network      {}", self.network)?;
        writeln!(f, "authority    {}", self.authority.sha256)?;
        writeln!(f, "             valid {}", self.valid)?;
        if let Some(secret) = &self.secret {
            writeln!(f, "secret text  {secret}")?;
        }
        write!(
            f,
            "\nNodes of one network whose secrets have the same fingerprint can talk to each other. \
             To let in\nthose of another machine, {}",
            copied(path)
        )
    }
}

/// How a secret comes to another machine.
fn copied(path: &str) -> String {
    format!(
        "copy the file to the same place there, readable for you alone:\n  \
         ssh HOST 'umask 077; mkdir -p ~/.config/coros; cat > ~/.config/coros/secret' < {}",
        quoted(path)
    )
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[derive(Serialize)]
pub(super) struct AuthorityOf {
    sha256: String,
    #[serde(flatten)]
    valid: Option<Times>,
}

#[derive(Serialize)]
struct Times {
    valid_from: u64,
    valid_until: u64,
}

impl From<Validity> for Times {
    fn from(valid: Validity) -> Self {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        };
        Times {
            valid_from: seconds(valid.from()),
            valid_until: seconds(valid.until()),
        }
    }
}

impl AuthorityOf {
    pub(super) fn whole(authority: &Authority) -> Self {
        AuthorityOf {
            sha256: authority.fingerprint(),
            valid: Some(authority.validity().into()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Made {
    pub(super) path: String,
    pub(super) fingerprint: String,
    pub(super) replaced: bool,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "secret       {}", self.path)?;
        writeln!(f, "fingerprint  {}", self.fingerprint)?;
        if self.replaced {
            write!(
                f,
                "\nThe old secret is gone. Nodes that run still have it, and refuse those that \
                 start from now on:\ncopy the file to all machines of the network, and start \
                 their nodes again."
            )
        } else {
            write!(
                f,
                "\nFor another machine, {}\nbefore a node is started there, which would make a secret of its own.",
                copied(&self.path)
            )
        }
    }
}

#[derive(Serialize)]
pub(super) struct CertificateFolder {
    kind: &'static str,
    path: String,
    network: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    times: Times,
    #[serde(skip)]
    valid: Validity,
    authority: AuthorityOf,
}

impl CertificateFolder {
    pub(super) fn authority(folder: &Path, authority: &Authority) -> Self {
        CertificateFolder {
            kind: "authority",
            path: Name(folder).to_string(),
            network: authority.network().to_owned(),
            name: None,
            times: authority.validity().into(),
            valid: authority.validity(),
            authority: AuthorityOf {
                sha256: authority.fingerprint(),
                valid: None,
            },
        }
    }

    pub(super) fn node(folder: &Path, certificate: &NodeCertificate) -> Self {
        CertificateFolder {
            kind: "node",
            path: Name(folder).to_string(),
            network: certificate.network().to_owned(),
            name: Some(certificate.name().to_owned()),
            times: certificate.validity().into(),
            valid: certificate.validity(),
            authority: AuthorityOf {
                sha256: certificate.authority(),
                valid: None,
            },
        }
    }
}

impl fmt::Display for CertificateFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CertificateFolder { path, .. } = self;
        match &self.name {
            Some(name) => writeln!(f, "node         {name}")?,
            None => writeln!(f, "authority    of a network")?,
        }
        writeln!(f, "folder       {path}")?;
        writeln!(f, "network      {}", self.network)?;
        writeln!(f, "valid        {}", self.valid)?;
        writeln!(f, "authority    {}", self.authority.sha256)?;
        if self.name.is_some() {
            write!(
                f,
                "\nTake the folder to the machine of the node, by a way that nobody else can \
                 read. There every command that joins the network takes it,\n  \
                 coros peers --certificate FOLDER --peer HOST:PORT\n\
                 and so does a program of yours:\n  \
                 Node::builder().certificate(NodeCertificate::load(FOLDER)?)"
            )
        } else {
            write!(
                f,
                "\nKeep ca.key where no node runs, and a copy of it: whoever has it can be any \
                 node. For each node:\n  coros secret issue NAME --ca {} --out NAME",
                quoted(path)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(
            quoted("/home/u/.config/coros/secret"),
            "/home/u/.config/coros/secret"
        );
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
