//! What all benches can be told on the command line.

use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use clap::ValueEnum;

use crate::report::Extent;

/// Which part of a bench is to be run, and how much of it.
#[derive(Debug, clap::Args)]
pub struct Options<P, W>
where
    P: ValueEnum + Send + Sync + 'static,
    W: ValueEnum + Send + Sync + 'static,
{
    /// Fewer rounds and smaller sizes, some minutes in all: for a first look, not for a claim
    #[arg(long)]
    pub quick: bool,
    /// Rounds, each one sample of every cell [default: 5, quick: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these workloads: their names, with commas between them
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        ignore_case = true,
        hide_possible_values = true
    )]
    only: Vec<W>,
    /// Only these peers: their names, with commas between them
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        ignore_case = true,
        hide_possible_values = true
    )]
    peers: Vec<P>,
    /// Also write machine, versions, cells, bars and every sample as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Run one workload in this process and print what it measured
    #[arg(long, hide = true, num_args = 3, value_names = ["PEER", "WORKLOAD", "N"])]
    child: Option<Vec<String>>,
}

impl<P, W> Options<P, W>
where
    P: ValueEnum + Copy + PartialEq + Send + Sync + 'static,
    W: ValueEnum + Copy + PartialEq + Send + Sync + 'static,
{
    #[must_use]
    pub fn peers(&self) -> Vec<P> {
        chosen(&self.peers)
    }

    #[must_use]
    pub fn workloads(&self) -> Vec<W> {
        chosen(&self.only)
    }

    #[must_use]
    pub fn rounds(&self, extent: Extent) -> usize {
        self.rounds.map_or(extent.rounds(), usize::from)
    }

    /// The one sample that this process is there for, if it is a child.
    pub fn child(&self) -> Result<Option<(P, W, u64)>> {
        let Some(words) = &self.child else {
            return Ok(None);
        };
        let [peer, workload, n] = &words[..] else {
            bail!("--child takes PEER WORKLOAD N")
        };
        let n = n.parse().with_context(|| format!("{n:?} is not a size"))?;
        Ok(Some((one(peer)?, one(workload)?, n)))
    }
}

/// One of several, by its name.
pub fn one<T: ValueEnum>(name: &str) -> Result<T> {
    T::from_str(name, true).map_err(Error::msg)
}

/// What [`one`] takes.
///
/// # Panics
/// For a value that the command line does not know.
#[must_use]
pub fn name<T: ValueEnum>(value: &T) -> String {
    let value = value.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

/// Those that were asked for; all, if none was.
fn chosen<T: ValueEnum + Copy + PartialEq>(asked_for: &[T]) -> Vec<T> {
    let is_chosen = |value: &T| asked_for.is_empty() || asked_for.contains(value);
    let all = T::value_variants().iter().copied();
    all.filter(is_chosen).collect()
}
