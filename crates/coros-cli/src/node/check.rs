//! `coros node --check`: what this machine has.

use std::path::Path;
use std::process::ExitCode;

use coros::cluster::daemon::{self, Daemon};
use coros::cluster::machine::{Label, Load, Machine, Resource};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::Setup;
use super::hours::Hours;
use crate::flags::node::Settings;
use crate::flags::values::Size;
use crate::terminal::{Name, one_line, print};

/// What is shown; as JSON, with these names.
#[derive(Serialize)]
struct Check {
    name: String,
    os: String,
    arch: String,
    level: Option<String>,
    glibc: Option<String>,
    musl: bool,
    /// How many there are, and how many of them are lent.
    cores: usize,
    lent: usize,
    /// Why these are not as many as were asked for.
    #[serde(skip)]
    cut: Option<&'static str>,
    /// When: none are all day.
    hours: Option<String>,
    memory: u64,
    memory_lent: u64,
    memory_free: u64,
    dir: String,
    disk_free: Option<u64>,
    gpus: u32,
    labels: Vec<Label>,
    resources: Vec<Resource>,
    /// What holds workers to their place.
    isolation: Vec<daemon::Check>,
    #[serde(skip)]
    platform: String,
}

/// Shows it, if a node could be started so.
pub(super) async fn run(setup: Setup, json: bool) -> anyhow::Result<ExitCode> {
    let Setup {
        settings,
        dir,
        hours,
    } = setup;
    let labels = settings.label.clone();
    let machine = tokio::task::spawn_blocking(move || Machine::look(labels)).await?;
    super::builder(&settings, &dir, &machine)?.check().await?;
    let look = move || Check::look(settings, &dir, hours.as_ref(), machine);
    let check = tokio::task::spawn_blocking(look).await?;
    print(&match json {
        true => serde_json::to_string(&check)?,
        false => check.table(),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Check {
    fn look(settings: Settings, dir: &Path, hours: Option<&Hours>, machine: Machine) -> Self {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        // It is made when a node starts there.
        let there = dir.ancestors().find(|folder| folder.exists());
        let load = Load::look(there.unwrap_or(&dir));
        let (lent, cut) = (settings.lent(&machine), settings.cut(&machine));
        let memory = settings.memory.map(|Size(bytes)| bytes);
        let memory_lent = Daemon::memory_lent(&machine, memory);
        let platform = &machine.platform;
        Check {
            name: settings.member.name.unwrap_or(machine.name),
            platform: platform.to_string(),
            level: platform.level.map(|level| level.to_string()),
            glibc: platform.glibc.map(|version| version.to_string()),
            musl: platform.musl,
            os: platform.os.clone(),
            arch: platform.arch.clone(),
            cores: machine.cores.get() as usize,
            lent,
            cut,
            hours: hours.map(Hours::to_string),
            memory: machine.memory,
            memory_lent,
            memory_free: load.memory_free,
            dir: Name(&dir).to_string(),
            disk_free: load.disk_free,
            gpus: machine.gpus,
            labels: machine.labels.into_iter().collect(),
            resources: settings.resource,
            isolation: Daemon::check(),
        }
    }

    fn table(&self) -> String {
        let disk = match self.disk_free {
            Some(free) => format!("{} free in {}", BinaryBytes(free), self.dir),
            None => format!("{}; the system does not tell how much is free", self.dir),
        };
        let labels = listed(&self.labels);
        let resources = listed(&self.resources);
        let cut = self.cut.map(|why| format!(": {why}"));
        let hours = self.hours.clone().unwrap_or_else(|| "all day".into());
        let rows = [
            ("name", one_line(&self.name)),
            ("platform", self.platform.clone()),
            (
                "cores",
                format!(
                    "{}, of which {} {} lent{}",
                    self.cores,
                    self.lent,
                    are(self.lent),
                    cut.unwrap_or_default()
                ),
            ),
            ("hours", hours),
            (
                "memory",
                format!(
                    "{}, of which {} are lent, {} free",
                    BinaryBytes(self.memory),
                    BinaryBytes(self.memory_lent),
                    BinaryBytes(self.memory_free)
                ),
            ),
            ("disk", disk),
            ("gpus", self.gpus.to_string()),
            ("labels", labels),
            ("resources", resources),
        ];
        let lines = rows.map(|(what, value)| format!("{what:<10}{value}"));
        let means = self.isolation.iter().map(|check| {
            let has = if check.available { "yes" } else { "no" };
            format!("  {:<24}{has:<5}{}", check.name, check.detail)
        });
        let title = "isolation of workers".to_owned();
        let all = lines.into_iter().chain([title]).chain(means);
        all.collect::<Vec<_>>().join("\n")
    }
}

fn listed(all: &[impl ToString]) -> String {
    match all {
        [] => "none".into(),
        all => {
            let all = all.iter().map(ToString::to_string);
            all.collect::<Vec<_>>().join(" ")
        }
    }
}

fn are(n: usize) -> &'static str {
    match n {
        1 => "is",
        _ => "are",
    }
}
