//! `coros receive`.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use coros::net::{Builder, Folder, NotReceived, PeerEvent};
use tokio::sync::mpsc;

use super::report::Came;
use crate::flags::files::ReceiveFlags;
use crate::flags::network::Network;
use crate::log;
use crate::network::{self, builder};
use crate::terminal::{Name, one_line, say};

/// Where it listens unless told.
const PORT: u16 = 7340;
/// What a shell reports for a program that SIGTERM has ended.
const TERMINATED: u8 = 128 + 15;
/// Files that have come and are not printed yet; more than peers can have at a time.
const QUEUE: usize = 1024;

/// Gives the exit status.
pub(super) async fn run(flags: ReceiveFlags) -> anyhow::Result<ExitCode> {
    let (came, mut files) = mpsc::channel(QUEUE);
    let mut folder = Folder::new(&flags.folder).on_received(move |received| {
        // One that finds no room was received all the same.
        let _ = came.try_send(received);
    });
    folder = folder.on_refused(
        |NotReceived {
             from, name, why, ..
         }| {
            say(&one_line(&format!(
                "{name} from {} was refused: {why}",
                from.name
            )));
        },
    );
    if let Some(most) = flags.max_size {
        folder = folder.largest(most);
    }
    if flags.durable {
        folder = folder.durable();
    }
    let Network { around, identity } = &flags.network;
    let ip = match around.discover {
        true => Ipv4Addr::UNSPECIFIED,
        false => Ipv4Addr::LOCALHOST,
    };
    let listen = flags.listen.unwrap_or((ip, PORT).into());
    let mut builder = builder(identity)?.listen(listen).files(folder);
    builder = builder.discover(around.discover);
    for peer in &around.peer {
        builder = builder.peer(peer);
    }
    if !log::tells_of_peers() {
        builder = say_who_is_not_linked(builder, !around.peer.is_empty());
    }
    let node = network::start(builder).await?;
    // One that stands for all interfaces can be listened on and not be dialled.
    let endpoint = node.location().endpoint.context("it listens nowhere")?;
    say(&format!(
        "files for {endpoint} go to {}\ntry, in another terminal: coros send {endpoint} FILE",
        Name(&flags.folder)
    ));
    let mut terminated = pin!(terminated());
    let ended = loop {
        tokio::select! {
            biased;
            received = files.recv() => {
                let Some(received) = received else { break Ok(ExitCode::SUCCESS) };
                let printed = Came::new(received).print(flags.json);
                if flags.once || printed.is_err() {
                    break printed.map(|()| ExitCode::SUCCESS);
                }
            }
            () = &mut terminated => break Ok(ExitCode::from(TERMINATED)),
        }
    };
    node.close().await;
    ended
}

/// Resolves at SIGTERM; never where there is none.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            terminated.recv().await;
            return;
        }
    }
    std::future::pending::<()>().await;
}

fn say_who_is_not_linked(builder: Builder, asked_for: bool) -> Builder {
    builder.on_peer_event(move |event| match event {
        PeerEvent::Refused(from, error) => say(&format!("{from} was refused: {error}")),
        // Of one that is found, one endpoint of several may lead nowhere.
        PeerEvent::Unreachable(_, why) if asked_for => {
            say(&format!("trying on: {}", one_line(&why)));
        }
        _ => {}
    })
}
