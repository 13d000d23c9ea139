//! What the registries of two nodes tell each other, and what of it is believed.
//!
//! Two notices, in the encoding of messages, each at most 64 KiB:
//!
//! - a [`Digest`] says up to which version its sender knows the names of which launches;
//! - an [`Update`] has the names of one launch that changed after one version and up to another.
//!
//! A notice that breaks a rule (names out of order, too long, versions that cannot be) is dropped whole.

use std::sync::Arc;
use std::time::Duration;

use coros_core::is_readable;
use coros_core::remote::{Location, NodeId};
use serde::{Deserialize, Serialize};

use super::MAX_NAME;
use crate::identity::MAX_NAME as MAX_NODE_NAME;

/// The longest description of a type; longer ones are cut.
pub(super) const MAX_TYPE: usize = 512;
/// What fits into one notice, with room for what is around it. (Little in unit tests.)
pub(super) const MAX_CHUNK: usize = if cfg!(test) { 1000 } else { 60 << 10 };
/// So many launches fit into one digest, ...
pub(super) const FIT_DIGEST: usize = 1500;
/// ... and so many are put into one. (Few in unit tests.)
pub(super) const MAX_KNOWN: usize = if cfg!(test) { 2 } else { FIT_DIGEST };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Notice {
    Digest(Digest),
    Update(Update),
}

/// How much of whom the sender knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Digest {
    /// The launches that this is about, from one to another: of those not named in between the
    /// sender knows nothing.
    pub(super) first: NodeId,
    pub(super) last: NodeId,
    /// In the order of the launches.
    pub(super) known: Vec<Known>,
    /// Whether the sender wants the receiver's digest if that knows less.
    pub(super) mutual: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(super) launch: NodeId,
    pub(super) reach: Reach,
    pub(super) age: Age,
}

/// How far somebody knows a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reach {
    /// Up to this version.
    pub(super) version: u64,
    /// The same, but while he is told all of the launch once more: the version up to which whoever began
    /// to tell him knew it. Up to `version` he has nothing that was taken back before that.
    pub(super) goal: u64,
}

/// Names of one launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(super) home: Location,
    pub(super) age: Age,
    /// All that changed after this version ...
    pub(super) after: u64,
    /// ... and up to this one.
    pub(super) upto: u64,
    /// The sender knows the launch up to here.
    pub(super) latest: u64,
    /// Names that were taken back no later than this may have been forgotten.
    pub(super) floor: u64,
    /// In the order of their versions.
    pub(super) records: Vec<Change>,
    pub(super) spread: Spread,
}

/// Why an update was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Spread {
    /// It has just happened: to be passed on.
    News,
    /// To answer a digest.
    Answer,
    /// To answer a digest, as the last of several, and there is more to be asked for.
    Part,
}

/// A name at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(super) name: Arc<str>,
    pub(super) version: u64,
    /// `None` when it was taken back.
    pub(super) entry: Option<Entry>,
}

/// What has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where it is reached at its node.
    pub(super) number: u64,
    /// The hash of its schema.
    pub(super) schema: u64,
    /// Its type, for people.
    pub(super) type_name: Arc<str>,
}

/// How long ago anybody has heard from a launch itself, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Age(u16);

impl Age {
    pub(super) const NONE: Age = Age(0);

    /// Rounded up: by being passed on nothing gets younger.
    pub(super) fn new(age: Duration) -> Self {
        let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
        Age(u16::try_from(seconds).unwrap_or(u16::MAX))
    }

    pub(super) fn get(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl Reach {
    /// All there was up to a version.
    pub(super) fn whole(version: u64) -> Self {
        Reach {
            version,
            goal: version,
        }
    }

    pub(super) fn is_whole(self) -> bool {
        self.version == self.goal
    }

    /// Whether whoever knows so much has something to tell to one who knows as much as `other`. While he is
    /// told all once more himself, he may hold names that were taken back.
    pub(super) fn can_tell(self, other: Reach) -> bool {
        self.is_whole() && self.version > other.version && self.version >= other.goal
    }
}

impl Notice {
    /// Some that a peer may send.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn seeds(home: &Location) -> Vec<Self> {
        let entry = Entry {
            number: 300,
            schema: 7,
            type_name: "u64".into(),
        };
        let change = |name: &str, version, entry| Change {
            name: name.into(),
            version,
            entry,
        };
        let known = Known {
            launch: home.node,
            reach: Reach {
                version: 9,
                goal: 300,
            },
            age: Age::NONE,
        };
        vec![
            Notice::Digest(Digest {
                first: home.node,
                last: home.node,
                known: vec![known],
                mutual: true,
            }),
            Notice::Update(Update {
                home: home.clone(),
                age: Age(3),
                after: 4,
                upto: 9,
                latest: 12,
                floor: 10,
                records: vec![change("counter", 6, Some(entry)), change("gone", 9, None)],
                spread: Spread::News,
            }),
        ]
    }

    /// Reads a notice and holds it to the rules.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, String> {
        let notice: Notice = postcard::from_bytes(payload).map_err(|e| e.to_string())?;
        let kept = match &notice {
            Notice::Digest(digest) => digest.check(),
            Notice::Update(update) => update.check(),
        };
        kept.map(|()| notice).map_err(str::to_owned)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("lengths are known, and memory has no end")
    }
}

impl Digest {
    fn check(&self) -> Result<(), &'static str> {
        let rising = self.known.is_sorted_by(|a, b| a.launch < b.launch);
        let within = |known: &Known| (self.first..=self.last).contains(&known.launch);
        if !rising || self.first > self.last || !self.known.iter().all(within) {
            return Err("a digest that is out of order");
        }
        if self.known.iter().any(|it| it.reach.version > it.reach.goal) {
            return Err("versions that cannot be");
        }
        Ok(())
    }
}

impl Update {
    fn check(&self) -> Result<(), &'static str> {
        let name = &self.home.name;
        if !(1..=MAX_NODE_NAME).contains(&name.len()) || !is_readable(name) {
            return Err("no name for a node");
        }
        let rising = self.records.is_sorted_by(|a, b| a.version < b.version);
        let within = |change: &Change| (self.after + 1..=self.upto).contains(&change.version);
        // As a peer may count up to the largest number, and nobody gets there.
        if self.latest == u64::MAX
            || self.after >= self.upto
            || self.upto.max(self.floor) > self.latest
        {
            return Err("versions that cannot be");
        }
        if !rising || !self.records.iter().all(within) {
            return Err("versions out of order");
        }
        self.records.iter().try_for_each(Change::check)
    }
}

impl Change {
    fn check(&self) -> Result<(), &'static str> {
        check_name(&self.name)?;
        match &self.entry {
            Some(entry) => entry.check(),
            None => Ok(()),
        }
    }

    /// At most so many bytes in a notice.
    pub(super) fn size(&self) -> usize {
        let entry = self.entry.as_ref();
        // Two lengths, four numbers, a tag.
        self.name.len() + entry.map_or(0, |entry| entry.type_name.len()) + 2 * 3 + 3 * 10 + 1
    }
}

impl Entry {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        check_type(&self.type_name)
    }
}

/// Types of peers are shown to people, so nothing of them may steer a terminal.
pub(crate) fn check_type(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_TYPE || !is_readable(name) {
        return Err("no name of a type");
    }
    Ok(())
}

/// Names are text of some length; which, is up to users.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if (1..=MAX_NAME).contains(&name.len()) {
        Ok(())
    } else {
        Err("no name")
    }
}

/// A type's name, cut where it has to be.
pub(crate) fn type_name(name: &str) -> Arc<str> {
    name[..name.floor_char_boundary(MAX_TYPE)].into()
}
