//! `coros receive`.

use anyhow::Context;
use coros::net::{Folder, PeerEvent};
use tokio::sync::mpsc;

use super::builder;
use super::report::Came;
use crate::flags::files::ReceiveFlags;
use crate::terminal::{Name, say};

/// Files that have come and are not printed yet; more than peers can have at a time.
const QUEUE: usize = 1024;

pub(super) async fn run(flags: ReceiveFlags) -> anyhow::Result<()> {
    let (came, mut files) = mpsc::channel(QUEUE);
    let mut folder = Folder::new(&flags.folder).on_received(move |received| {
        // One that finds no room was received all the same.
        let _ = came.try_send(received);
    });
    if let Some(most) = flags.max_size {
        folder = folder.largest(most);
    }
    if flags.durable {
        folder = folder.durable();
    }
    let builder = builder(&flags.identity)?.listen(flags.listen).files(folder);
    let node = builder.build().await?;
    node.on_peer_event(|event| {
        if let PeerEvent::Refused(from, error) = event {
            say(&format!("{from} was refused: {error}"));
        }
    });
    let listening = node.listening_on().context("it listens nowhere")?;
    say(&format!(
        "files for {listening} go to {}\ntry, in another terminal: coros send {listening} FILE",
        Name(&flags.folder)
    ));
    while let Some(received) = files.recv().await {
        Came::new(received).print(flags.json)?;
        if flags.once {
            break;
        }
    }
    node.close().await;
    Ok(())
}
