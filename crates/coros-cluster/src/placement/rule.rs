//! One rule of a placement: which nodes it is for, and what it says about them.

use std::num::{NonZeroI32, NonZeroU32};

use super::{NodeView, Pattern, Share, Wrong};
use crate::machine::{Label, Machine};

/// Which nodes are meant, and how much of each is used.
///
/// A new one matches every node and uses it whole. Each condition narrows what it matches: a node
/// has to meet all of them. What makes no sense is an error of
/// [`PlacementBuilder::build`](super::PlacementBuilder::build).
///
/// ```
/// use coros_cluster::placement::{Placement, Rule};
///
/// let gpus = Rule::new().name("gpu-*").label("room=b12").cpus(-1);
/// let placement = Placement::builder().rule(gpus).build()?;
/// # Ok::<(), coros_cluster::placement::PlacementError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a rule does nothing until it is part of a placement"]
pub struct Rule {
    conditions: Vec<Condition>,
    cpus: Option<NonZeroI32>,
    memory: Option<f64>,
    workers: Option<NonZeroU32>,
    excludes: bool,
    pub(super) wrong: Option<Wrong>,
}

#[derive(Clone, Debug)]
enum Condition {
    Name(Pattern),
    Address(Pattern),
    Os(String),
    Arch(String),
    Label(Label),
    Cores(u32),
    Memory(u64),
    Disk(u64),
    Gpus(u32),
}

impl Rule {
    /// A rule for every node, which is used whole.
    pub fn new() -> Rule {
        Rule::default()
    }

    /// Only for nodes whose name matches a pattern: `*` stands for any characters, `?` for one,
    /// `[1-9]` for one of a range, `{a,b}` for one or the other; `\` takes the meaning off one.
    /// Upper and lower case are the same.
    pub fn name(self, pattern: &str) -> Self {
        self.only_if(Pattern::for_name(pattern).map(Condition::Name))
    }

    /// Only for nodes with an address that is this one, lies in this network (`10.0.0.0/8`,
    /// `fd00::/8`) or is written as this pattern says (`10.0.*`).
    pub fn address(self, addresses: &str) -> Self {
        self.only_if(Pattern::for_address(addresses).map(Condition::Address))
    }

    /// Only for nodes with this operating system, in the words of [`std::env::consts::OS`].
    pub fn os(self, os: impl Into<String>) -> Self {
        self.only_if(Ok(Condition::Os(os.into())))
    }

    /// Only for nodes with such a processor, in the words of [`std::env::consts::ARCH`].
    pub fn arch(self, arch: impl Into<String>) -> Self {
        self.only_if(Ok(Condition::Arch(arch.into())))
    }

    /// Only for nodes with this label. `key=value` has to be the same, `key` may have any value or
    /// none.
    pub fn label(self, label: &str) -> Self {
        self.only_if(label.parse().map(Condition::Label).map_err(Wrong::Label))
    }

    /// Only for nodes with so many cores or more.
    pub fn least_cores(self, cores: u32) -> Self {
        self.only_if(Ok(Condition::Cores(cores)))
    }

    /// Only for nodes with so much memory or more, in bytes, free or not.
    pub fn least_memory(self, bytes: u64) -> Self {
        self.only_if(Ok(Condition::Memory(bytes)))
    }

    /// Only for nodes with so much free disk space or more, in bytes. Those that don't tell have
    /// none.
    pub fn least_disk(self, bytes: u64) -> Self {
        self.only_if(Ok(Condition::Disk(bytes)))
    }

    /// Only for nodes with so many graphics processors or more.
    pub fn least_gpus(self, gpus: u32) -> Self {
        self.only_if(Ok(Condition::Gpus(gpus)))
    }

    /// How many cores of a node are used: at most so many, or, if negative, all but so many. At
    /// least one is, so -1 leaves one free on each node that has more than one.
    pub fn cpus(mut self, cpus: i32) -> Self {
        self.cpus = NonZeroI32::new(cpus);
        self.check(cpus != 0, Wrong::NoCpus)
    }

    /// Which share of a node's memory is used: more than 0, and 1 for all of it.
    pub fn memory(mut self, share: f64) -> Self {
        self.memory = Some(share);
        self.check(share > 0.0 && share <= 1.0, Wrong::Memory(share))
    }

    /// How many workers there are at most on a node; never more than cores are used.
    pub fn workers(mut self, most: u32) -> Self {
        self.workers = NonZeroU32::new(most);
        self.check(most != 0, Wrong::NoWorkers)
    }

    /// Uses none of these nodes, whatever else the rule says.
    pub fn exclude(mut self) -> Self {
        self.excludes = true;
        self
    }

    fn only_if(mut self, condition: Result<Condition, Wrong>) -> Self {
        match condition {
            Ok(condition) => self.conditions.push(condition),
            Err(wrong) => {
                self.wrong.get_or_insert(wrong);
            }
        }
        self
    }

    fn check(mut self, makes_sense: bool, wrong: Wrong) -> Self {
        if !makes_sense {
            self.wrong.get_or_insert(wrong);
        }
        self
    }

    pub(super) fn matches(&self, node: &NodeView) -> bool {
        self.conditions.iter().all(|condition| condition.met(node))
    }

    /// How much it uses of a machine, which may have less; `None` if it excludes it.
    pub(super) fn share(&self, machine: &Machine) -> Option<Share> {
        if self.excludes {
            return None;
        }
        let cores = machine.cores;
        let cpus = match self.cpus {
            None => cores,
            Some(cpus) => {
                let so_many = NonZeroU32::from(cpus.unsigned_abs());
                if cpus.is_positive() {
                    so_many
                } else {
                    let left = cores.get().saturating_sub(so_many.get());
                    NonZeroU32::new(left).unwrap_or(NonZeroU32::MIN)
                }
            }
        };
        let memory = match self.memory {
            // Exact to a few KiB of petabytes.
            Some(share) => (machine.memory as f64 * share) as u64,
            None => machine.memory,
        };
        Some(Share {
            cpus,
            memory,
            workers: self.workers.unwrap_or(cpus),
        })
    }
}

impl Condition {
    fn met(&self, node: &NodeView) -> bool {
        let machine = &node.machine;
        match self {
            Condition::Name(pattern) => pattern.names(node),
            Condition::Address(pattern) => pattern.reaches(node),
            Condition::Os(os) => machine.platform.os.eq_ignore_ascii_case(os),
            Condition::Arch(arch) => machine.platform.arch.eq_ignore_ascii_case(arch),
            Condition::Label(wanted) => machine.labels.iter().any(|has| has.satisfies(wanted)),
            Condition::Cores(least) => machine.cores.get() >= *least,
            Condition::Memory(least) => machine.memory >= *least,
            Condition::Disk(least) => node.load.disk_free.unwrap_or(0) >= *least,
            Condition::Gpus(least) => machine.gpus >= *least,
        }
    }
}
