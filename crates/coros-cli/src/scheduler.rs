//! `coros scheduler`: runs the calls of others on the nodes of a network.

mod console;

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use coros::cluster::machine::Machine;
use coros::cluster::service::{Service, ServiceError, ServiceEvent, Status};
use tokio_util::sync::CancellationToken;

use self::console::Order;
use crate::USAGE;
use crate::config;
use crate::flags;
use crate::flags::member::Member;
use crate::flags::scheduler::SchedulerFlags;
use crate::flags::values::Size;
use crate::neighbours;
use crate::network;
use crate::signal::{TERMINATED, Terminations};
use crate::terminal::{self, Name, say, status};

/// This command has no options but those that all have in common.
#[derive(Default, serde::Deserialize)]
struct Own {}

/// Does what `coros scheduler` was asked for and gives the exit status.
pub(crate) async fn run(flags: SchedulerFlags) -> ExitCode {
    let setup = || {
        let (file, Own {}) = config::file("scheduler", flags.config.as_deref())?;
        let member = flags.member.or(file);
        let dir = config::dir("scheduler", &member)?;
        anyhow::Ok((member, dir))
    };
    let (member, dir) = match setup() {
        Ok(setup) => setup,
        Err(error) => return usage(&error),
    };
    match serve(&member, &dir).await {
        Ok(ended) => ended,
        Err(error) => match error.downcast_ref() {
            Some(ServiceError::Node(why)) if network::is_named_wrongly(why) => usage(&error),
            Some(ServiceError::Room(_)) => usage(&error),
            _ => status("scheduler", Err(error)),
        },
    }
}

/// What was asked for makes no sense, and does not mend itself.
fn usage(error: &anyhow::Error) -> ExitCode {
    say(&format!("coros scheduler: {error:#}"));
    ExitCode::from(USAGE)
}

/// Runs until it is told to end, and gives the exit status.
async fn serve(member: &Member, dir: &Path) -> anyhow::Result<ExitCode> {
    // From here on it counts as being told to drain.
    let terminations = Terminations::listen();
    let service = start(member, dir).await?;
    let ended = tokio::select! {
        ended = attend(&service, terminations, !member.daemon) => ended,
        never = neighbours::keep(service.node(), dir) => match never {},
    };
    service.close().await;
    Ok(ended)
}

/// Starts the service, and says how to use it.
async fn start(member: &Member, dir: &Path) -> anyhow::Result<Service> {
    let machine = tokio::task::spawn_blocking(|| Machine::look([])).await?;
    let builder = network::long_lived(member, dir, flags::scheduler::PORT, &machine.name)?;
    let mut service = Service::builder(builder, dir);
    if let Some(Size(all)) = member.cache {
        service = service.cache(all);
    }
    if let Some(Size(most)) = member.max_file_size {
        service = service.largest_file(most);
    }
    if !member.daemon {
        service = service.on_event(|event: &ServiceEvent| say(&event.to_string()));
    }
    let service = service.start().await?;
    if !member.daemon {
        let at = service.node().location();
        let endpoint = at.endpoint.context("it listens nowhere")?;
        say(&format!(
            "scheduler {at} takes calls; programs go to {}",
            Name(dir)
        ));
        if member.certificate.is_none() {
            say("other machines need the same secret: coros secret show");
        }
        if member.peer.is_empty() && !member.discover {
            say("it uses nodes that know it: coros node --peer, or say --peer or --discover here");
        }
        say(&format!(
            "try, on one that has it: coros demo --scheduler {endpoint}"
        ));
    }
    Ok(service)
}

/// Does what signals and people want, until all is over; gives the exit status.
async fn attend(service: &Service, mut terminations: Terminations, console: bool) -> ExitCode {
    let mut lines = terminal::lines(console);
    let drain = CancellationToken::new();
    let mut drained = pin!(async {
        drain.cancelled().await;
        service.drain().await
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
            () = service.ended() => {
                say("coros scheduler: it has ended by itself");
                return ExitCode::FAILURE;
            }
            // One that has ended meanwhile can do no more.
            _ = &mut drained => return ExitCode::SUCCESS,
            Some(line) = lines.recv() => match line.parse() {
                Ok(Order::Help) => say(console::HELP),
                Ok(Order::Status) => show(service, console::status).await,
                Ok(Order::Clients) => show(service, console::clients).await,
                Ok(Order::Nodes) => show(service, console::nodes).await,
                Ok(Order::Drain) if drain.is_cancelled() => say(terminal::DRAINS),
                Ok(Order::Drain) => drain.cancel(),
                Ok(Order::Close) => return ExitCode::SUCCESS,
                Err(error) => say(&error),
            },
        }
    }
}

/// Says how it stands, as far as somebody wants to know.
async fn show(service: &Service, what: impl Fn(&Status) -> String) {
    match service.status().await {
        Ok(status) => say(&what(&status)),
        Err(error) => say(&error.to_string()),
    }
}
