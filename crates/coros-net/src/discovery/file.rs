//! A file with a `host:port` on each line, read again when it changes.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::dns::Resolve;
use super::lookup::Lookup;
use super::{Heard, HostPort, NotHostPort, Source};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the names in it are looked up.
const AGAIN: u32 = 30;
/// A longer file is none with endpoints.
const LONGEST: u64 = 1 << 20;

/// What is wrong with a file of peers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeersFileError {
    /// It cannot be read.
    #[error("cannot read the peers in {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// It is too long to be a list of peers.
    #[error("{} is longer than {LONGEST} bytes: it is no list of peers", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A line is no peer.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: NotHostPort,
    },
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Endpoint(SocketAddr),
    Name(HostPort),
}

#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    lookup: Lookup,
    entries: Vec<Entry>,
    /// When the file was changed last, and its length.
    version: Option<(SystemTime, u64)>,
    looks: u32,
    told: Option<String>,
}

impl File {
    /// Reads the file for the first time.
    pub(crate) fn open(path: PathBuf, resolver: Arc<dyn Resolve>) -> Result<Self, PeersFileError> {
        let (version, entries) = read(&path)?;
        Ok(File {
            path,
            lookup: Lookup::new(resolver),
            entries,
            version: Some(version),
            looks: 0,
            told: None,
        })
    }

    async fn endpoints(&mut self) -> BTreeSet<SocketAddr> {
        // At first at once.
        while self.looks > 0 {
            tokio::time::sleep(LOOK).await;
            self.looks += 1;
            let named = self.entries.iter().any(|it| matches!(it, Entry::Name(_)));
            if self.look().await || named && self.looks.is_multiple_of(AGAIN) {
                break;
            }
        }
        let mut endpoints = BTreeSet::new();
        for entry in &self.entries {
            match entry {
                Entry::Endpoint(endpoint) => drop(endpoints.insert(*endpoint)),
                Entry::Name(name) => {
                    self.lookup.look_up(name).await;
                    endpoints.extend(self.lookup.endpoints(name));
                }
            }
        }
        self.looks = self.looks.max(1);
        endpoints
    }

    /// Reads the file if it has changed; whether there is something new.
    async fn look(&mut self) -> bool {
        let (path, version) = (self.path.clone(), self.version);
        let look = move || {
            if version.is_some()
                && std::fs::metadata(&path).and_then(|it| version_of(&it)).ok() == version
            {
                return None;
            }
            Some(read(&path))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some(Ok((version, entries)))) => {
                self.version = Some(version);
                self.told = None;
                let is_there = |name: &_| entries.contains(&Entry::Name(HostPort::clone(name)));
                self.lookup.retain(is_there);
                std::mem::replace(&mut self.entries, entries) != self.entries
            }
            // What it said before counts until it can be read again.
            Ok(Some(Err(error))) => {
                self.version = None;
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    tracing::warn!("{error}; what was there before counts");
                    self.told = Some(error);
                }
                false
            }
            Ok(None) | Err(_) => false,
        }
    }
}

impl Source for File {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(async {
            match self.lookup.failure() {
                Some((name, why)) => Heard::NotFound(name, why),
                None => Heard::Given(self.endpoints().await),
            }
        })
    }
}

fn version_of(metadata: &std::fs::Metadata) -> io::Result<(SystemTime, u64)> {
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> Result<((SystemTime, u64), Vec<Entry>), PeersFileError> {
    let path = || path.to_owned();
    let unreadable = |why| PeersFileError::Unreadable { path: path(), why };
    let file = std::fs::File::open(path()).map_err(unreadable)?;
    let version = file.metadata().and_then(|it| version_of(&it));
    let version = version.map_err(unreadable)?;
    let mut text = String::new();
    let read = file.take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(PeersFileError::TooLong { path: path() });
    }
    let wrong = |(line, why)| PeersFileError::Line {
        path: path(),
        line,
        why,
    };
    Ok((version, parse(&text).map_err(wrong)?))
}

fn parse(text: &str) -> Result<Vec<Entry>, (usize, NotHostPort)> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let entry: HostPort = entry.parse().map_err(|why| (number + 1, why))?;
        entries.push(match entry.endpoint() {
            Some(endpoint) => Entry::Endpoint(endpoint),
            None => Entry::Name(entry),
        });
    }
    Ok(entries)
}

/// For whoever makes up files: what is found in one, written as it may be in another.
#[cfg(feature = "fuzzing")]
pub(crate) fn peers_of(text: &str) -> Result<Vec<String>, String> {
    let entries = parse(text).map_err(|(line, why)| format!("line {line}: {why}"))?;
    let write = |entry| match entry {
        Entry::Endpoint(endpoint) => endpoint.to_string(),
        Entry::Name(name) => name.to_string(),
    };
    Ok(entries.into_iter().map(write).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_peers_or_comments() {
        let text = "# the farm\n\n10.0.0.1:7000\n  farm.example:7000  # the other\r\n[::1]:9\n";
        let entries = parse(text).unwrap();
        let name = "farm.example:7000".parse().unwrap();
        assert_eq!(
            entries,
            [
                Entry::Endpoint(([10, 0, 0, 1], 7000).into()),
                Entry::Name(name),
                Entry::Endpoint("[::1]:9".parse().unwrap()),
            ]
        );
        assert_eq!(parse("a:1\n\nfarm\n").unwrap_err().0, 3);
    }
}
