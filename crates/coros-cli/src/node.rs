//! `coros node`: lends this machine to others.

mod check;
mod console;
mod hours;
mod suspension;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use coros::cluster::daemon::{Daemon, DaemonBuilder, DaemonError, DaemonEvent};
use coros::cluster::machine::Machine;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::console::Order;
use self::hours::{Hours, Service};
use self::suspension::Suspension;
use crate::USAGE;
use crate::config;
use crate::flags;
use crate::flags::node::{NodeFlags, Settings};
use crate::flags::values::Size;
use crate::neighbours;
use crate::network;
use crate::signal::{TERMINATED, Terminations};
use crate::terminal::{self, Name, say, status};

/// Does what `coros node` was asked for and gives the exit status.
pub(crate) async fn run(flags: NodeFlags) -> ExitCode {
    let setup = match Setup::new(&flags) {
        Ok(setup) => setup,
        Err(error) => return usage(&error),
    };
    let ended = match flags.check {
        true => check::run(setup, flags.json).await,
        false => serve(setup).await,
    };
    match ended {
        Ok(ended) => ended,
        Err(error) => match error.downcast_ref() {
            Some(DaemonError::Node(why)) if network::is_named_wrongly(why) => usage(&error),
            Some(
                DaemonError::Readable { .. }
                | DaemonError::Memory { .. }
                | DaemonError::Processes { .. }
                | DaemonError::Room(_),
            ) => usage(&error),
            _ => status("node", Err(error)),
        },
    }
}

/// What was asked for makes no sense, and does not mend itself.
fn usage(error: &anyhow::Error) -> ExitCode {
    say(&format!("coros node: {error:#}"));
    ExitCode::from(USAGE)
}

/// What was asked for, and makes sense.
struct Setup {
    settings: Settings,
    dir: PathBuf,
    hours: Option<Hours>,
}

impl Setup {
    fn new(flags: &NodeFlags) -> anyhow::Result<Self> {
        let (member, own) = config::file("node", flags.config.as_deref())?;
        let settings = flags.settings.clone().or(Settings { member, ..own });
        let Settings {
            from,
            until,
            kill_at,
            ..
        } = settings;
        Ok(Setup {
            dir: config::dir("node", &settings.member)?,
            hours: Hours::new(from, until, kill_at).map_err(anyhow::Error::msg)?,
            settings,
        })
    }
}

/// Runs until it is told to end, and gives the exit status.
async fn serve(setup: Setup) -> anyhow::Result<ExitCode> {
    // From here on it counts as being told to drain.
    let terminations = Terminations::listen();
    let Setup {
        settings,
        dir,
        hours,
    } = setup;
    let machine = tokio::task::spawn_blocking(|| Machine::look([])).await?;
    let cores = machine.cores.get() as usize;
    let daemon = start(&settings, &dir, &machine).await?;
    if let Some(hours) = &hours
        && !settings.member.daemon
    {
        say(&format!("service hours: {hours}"));
    }
    let (tell, changes) = mpsc::unbounded_channel();
    let follow = async {
        match &hours {
            Some(hours) => {
                let tell = |service| {
                    // Nobody wants to know any more when all is over.
                    let _ = tell.send(service);
                };
                hours.follow(hours::local_time, tell).await;
            }
            None => std::future::pending().await,
        }
    };
    let lending = Lending {
        daemon: &daemon,
        cores,
        suspension: Suspension::new(hours.clone()),
    };
    let lines = terminal::lines(!settings.member.daemon);
    let ended = tokio::select! {
        biased;
        () = follow => ExitCode::SUCCESS,
        never = neighbours::keep(daemon.node(), &dir) => match never {},
        ended = lending.attend(terminations, lines, changes) => ended,
    };
    daemon.close().await;
    Ok(ended)
}

/// A daemon that is not started yet.
fn builder(settings: &Settings, dir: &Path, machine: &Machine) -> anyhow::Result<DaemonBuilder> {
    let builder = network::long_lived(&settings.member, dir, flags::node::PORT, &machine.name)?;
    let mut daemon = Daemon::builder(builder, dir)
        .slots(settings.lent(machine))
        .labels(settings.label.iter().cloned())
        .resources(settings.resource.iter().cloned());
    if let Some(Size(all)) = settings.member.cache {
        daemon = daemon.cache(all);
    }
    if let Some(Size(most)) = settings.member.max_file_size {
        daemon = daemon.largest_file(most);
    }
    if let Some(Size(memory)) = settings.memory {
        daemon = daemon.memory(memory);
    }
    if let Some(Size(most)) = settings.max_work_size {
        daemon = daemon.work(most);
    }
    if let Some(Size(most)) = settings.file_size {
        daemon = daemon.file_size(most);
    }
    if let Some(most) = settings.processes {
        daemon = daemon.processes(most.get().into());
    }
    for path in &settings.readable {
        daemon = daemon.readable(path);
    }
    if let Some(keys) = &settings.member.certificate {
        daemon = daemon.hidden(keys);
    }
    if let Some(clients) = settings.serve {
        daemon = daemon.serve(clients.get() as usize);
    }
    if !settings.member.daemon {
        daemon = daemon.on_event(tell);
    }
    Ok(daemon)
}

/// Starts the daemon, and says how to use it.
async fn start(settings: &Settings, dir: &Path, machine: &Machine) -> anyhow::Result<Daemon> {
    let daemon = builder(settings, dir, machine)?.start().await?;
    if !settings.member.daemon {
        let at = daemon.node().location();
        let endpoint = at.endpoint.context("it listens nowhere")?;
        let cut = settings.cut(machine).map(|why| format!(" ({why})"));
        say(&format!(
            "node {at} lends {} of {} cores{}; programs go to {}",
            settings.lent(machine),
            machine.cores,
            cut.unwrap_or_default(),
            Name(dir)
        ));
        if settings.member.certificate.is_none() {
            say("other machines need the same secret: coros secret show");
        }
        say(&format!(
            "try, on one that has it: coros demo --nodes {endpoint}"
        ));
    }
    Ok(daemon)
}

fn tell(event: &DaemonEvent) {
    match event {
        // They come and go all the time.
        DaemonEvent::Slots { .. } => {}
        event => say(&event.to_string()),
    }
}

/// What signals, people and the time of the day have a daemon do.
struct Lending<'a> {
    daemon: &'a Daemon,
    /// How many there are.
    cores: usize,
    suspension: Suspension,
}

impl Lending<'_> {
    /// Does what they want, until all is over; gives the exit status.
    async fn attend(
        mut self,
        mut terminations: Terminations,
        mut lines: mpsc::Receiver<String>,
        mut changes: mpsc::UnboundedReceiver<Service>,
    ) -> ExitCode {
        let daemon = self.daemon;
        let mut served = pin!(daemon.served());
        let drain = CancellationToken::new();
        let mut drained = pin!(async {
            drain.cancelled().await;
            daemon.drain().await
        });
        loop {
            tokio::select! {
                biased;
                () = terminations.next() => {
                    if drain.is_cancelled() {
                        return ExitCode::from(TERMINATED);
                    }
                    drain.cancel();
                }
                // One that has ended by itself can do no more.
                _ = &mut drained => return ExitCode::SUCCESS,
                _ = &mut served => return ExitCode::SUCCESS,
                Some(service) = changes.recv() => self.change(service),
                Some(line) = lines.recv() => match line.parse() {
                    Ok(Order::Drain) if drain.is_cancelled() => say(terminal::DRAINS),
                    Ok(Order::Drain) => drain.cancel(),
                    Ok(Order::Close) => return ExitCode::SUCCESS,
                    Ok(order) => self.follow(order).await,
                    Err(error) => say(&error),
                },
            }
        }
    }

    /// The service is another from now on.
    fn change(&mut self, service: Service) {
        self.suspension.change(service);
        if let Some(how) = self.suspend_or_resume()
            && service == Service::Open
        {
            stays_suspended(&how);
        }
        if service == Service::Closed {
            self.daemon.evict();
        }
    }

    /// Does what somebody wants who does not want it to end.
    async fn follow(&mut self, order: Order) {
        let (daemon, cores) = (self.daemon, self.cores);
        match order {
            Order::Help => say(console::HELP),
            Order::Status | Order::Clients => match daemon.status().await {
                Ok(status) if order == Order::Status => {
                    say(&console::status(&status, &self.suspension));
                }
                Ok(status) => say(&console::clients(&status)),
                Err(error) => say(&error.to_string()),
            },
            Order::Suspend | Order::Resume => {
                let before = self.suspension.how();
                self.suspension.by_hand(order == Order::Suspend);
                match (before, self.suspend_or_resume()) {
                    (Some(_), Some(how)) => stays_suspended(&how),
                    (None, None) => say("it is not suspended"),
                    // That is told as it happens.
                    _ => {}
                }
            }
            Order::Cpus(cpus) => {
                daemon.resize(cpus.of(cores));
                say(&console::lends(cpus, cores));
            }
            Order::Drain | Order::Close => {}
        }
    }

    /// Has it lend cores if nothing forbids it; gives what does.
    fn suspend_or_resume(&self) -> Option<String> {
        let how = self.suspension.how();
        match how {
            None => self.daemon.resume(),
            Some(_) => self.daemon.suspend(),
        }
        how
    }
}

fn stays_suspended(how: &str) {
    say(&format!("it stays suspended {how}"));
}
