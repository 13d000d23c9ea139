//! `coros receive`.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::Context;
use coros::net::{Folder, NotReceived};
use tokio::sync::mpsc;

use super::report::Came;
use crate::flags::files::ReceiveFlags;
use crate::flags::network::Network;
use crate::flags::values::Size;
use crate::network::{self, builder};
use crate::signal::{TERMINATED, Terminations};
use crate::terminal::{Name, one_line, say};

/// Where it listens unless told.
const PORT: u16 = 7340;
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
    if let Some(Size(most)) = flags.max_size {
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
    builder = network::say_who_is_not_linked(builder, !around.peer.is_empty());
    let node = network::start(builder).await?;
    // One that stands for all interfaces can be listened on and not be dialled.
    let endpoint = node.location().endpoint.context("it listens nowhere")?;
    say(&format!(
        "files for {endpoint} go to {}\ntry, in another terminal: coros send {endpoint} FILE",
        Name(&flags.folder)
    ));
    let mut terminations = Terminations::listen();
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
            () = terminations.next() => break Ok(ExitCode::from(TERMINATED)),
        }
    };
    node.close().await;
    ended
}
