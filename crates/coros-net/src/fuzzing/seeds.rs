//! Inputs to begin with: of each target some that are understood, written by the code itself and
//! so never out of date.

use std::time::Duration;

use coros_core::remote::{self, CarryError, Request};
use coros_core::{Channel, Exit};

use super::desk::{Desk, HERE, THERE, location};
use super::messages::{AFAR, Channels, Message, input, running};
use crate::names::Notice;
use crate::wire::{self, Envelope, Goodbye, Hello, Kind, SessionId};
use crate::{Authority, Secret, files, functions, membership};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Inputs for a target.
///
/// # Panics
/// When the system has no folder for temporary files.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "addresses" => addresses(),
        "certificates" => certificates(),
        "channels" => channels(),
        "credentials" => vec![encoded(&authority().issue("desk").expect("a good name"))],
        "file_names" => texts(&["numbers", "today/numbers.txt", "a/b/c/d", "Grüße"]),
        "files" => files::fuzz::seeds(),
        "frames" => frames(),
        "functions" => functions(),
        "membership" => membership::fuzz::seeds(location(THERE), location(HERE)),
        "names" => Notice::seeds(&location(THERE))
            .iter()
            .map(Notice::write)
            .collect(),
        "peers" => texts(&[
            "10.0.0.1:7000\n\n[::1]:9 # here",
            "farm.example:7000\r\n[fe80::1%2]:7",
        ]),
        // Each side sends and writes, some of it comes, the link breaks.
        "resume" => vec![vec![12, 13, 14, 4, 5, 67, 8, 13, 4, 5, 80, 66, 67, 10]],
        "secret" => texts(&[Secret::random().reveal(), "correct horse battery staple"]),
        "session" => sessions(),
        _ => Vec::new(),
    }
}

fn envelope(kind: Kind) -> Envelope {
    Envelope {
        kind,
        target: 300,
        correlation: 1,
    }
}

fn hello() -> Hello {
    Hello {
        network: "default".into(),
        location: location(THERE),
        number: 7,
        session: SessionId { ours: 3, theirs: 4 },
        received: [2, 1],
        capacity: 1 << 20,
    }
}

fn frames() -> Vec<Vec<u8>> {
    let frame = |kind, write: &dyn Fn(&mut Vec<u8>, Envelope)| {
        let mut bytes = Vec::new();
        write(&mut bytes, envelope(kind));
        bytes
    };
    let hello = hello();
    let full: Result<(), CarryError> = Err(CarryError::Full);
    let gone: Result<(), CarryError> =
        Err(CarryError::Disconnected(Box::new("it has left".into())));
    let mut all = vec![
        frame(Kind::Hello, &|to, it| wire::write_value(to, it, &hello)),
        frame(Kind::Delivered, &|to, it| wire::write_value(to, it, &full)),
        frame(Kind::Delivered, &|to, it| wire::write_value(to, it, &gone)),
        frame(Kind::Exited, &|to, it| {
            wire::write_value(to, it, &Exit::Failed("no".into()));
        }),
        frame(Kind::Request, &|to, it| {
            wire::write_value(to, it, &Request::Terminate);
        }),
        frame(Kind::Goodbye, &|to, it| {
            wire::write_value(to, it, &Goodbye::Refused("no".into()));
        }),
        frame(Kind::Message, &|to, it| {
            wire::write_lending(to, it, b"message", &[301, 302]);
        }),
        frame(Kind::Deliver, &|to, it| wire::write(to, it, b"message")),
        frame(Kind::Notice, &|to, it| wire::write(to, it, b"notice")),
        frame(Kind::Unread, &|to, it| {
            wire::write(to, it, &7_u64.to_le_bytes());
        }),
        frame(Kind::Answer, &|to, it| wire::write(to, it, b"answer")),
        frame(Kind::Released, &|to, it| {
            wire::write(to, it, &[7_u64, 1].map(u64::to_le_bytes).concat());
        }),
    ];
    let empty = [
        Kind::Watch,
        Kind::Unwatch,
        Kind::Heed,
        Kind::Ping,
        Kind::Pong,
        Kind::Credit,
        Kind::Rest,
        Kind::Ack,
    ];
    all.extend(empty.map(|kind| frame(kind, &|to, it| wire::write(to, it, &[]))));
    all.push(all.concat());
    all
}

/// A link, two who wait, then whatever comes.
fn sessions() -> Vec<Vec<u8>> {
    let hello = |received| Hello {
        received,
        ..hello()
    };
    let link = |received| {
        let mut bytes = vec![14];
        wire::write_value(&mut bytes, envelope(Kind::Hello), &hello(received));
        bytes
    };
    let begun = [link([0; 2]), vec![1, 2, 6, 5, 14]].concat();
    let mut all: Vec<_> = frames()
        .iter()
        .map(|frame| [&begun[..], frame].concat())
        .collect();
    // It breaks, and goes on.
    all.push([&begun[..begun.len() - 1], &[7], &link([1, 1]), &[2, 6]].concat());
    all
}

fn addresses() -> Vec<Vec<u8>> {
    running(async || {
        let desk = Desk::new(THERE, HERE);
        let scene = Channels::new(&desk);
        let address = scene.subscriber.address();
        let messages = [
            Message::One(address),
            Message::Ask(remote::question().0),
            Message::At(location(HERE)),
            Message::Channel(scene.home.clone()),
            Message::Channel(scene.relay.clone()),
        ];
        let encoded = |message| desk.exchanging(|| encoded(message));
        let seeds = messages.iter().map(encoded).collect();
        desk.close();
        seeds
    })
}

fn functions() -> Vec<Vec<u8>> {
    let messages = running(async || Desk::new(THERE, HERE).exchanging(functions::fuzz::seeds));
    let messages: Vec<_> = messages.into_iter().map(|message| (0, message)).collect();
    let one_each = messages.iter().map(|one| input(std::slice::from_ref(one)));
    let mut all: Vec<_> = one_each.collect();
    all.push(input(&messages));
    all
}

/// What a relay and a home say to those that are fuzzed, when they are put to use there.
fn channels() -> Vec<Vec<u8>> {
    running(async || {
        let (here, there) = (Desk::new(HERE, THERE), Desk::new(THERE, HERE));
        let (ours, theirs) = (Channels::new(&here), Channels::new(&there));
        use_channel(&theirs.relay).await;
        let up: Vec<_> = there.sent();
        let up: Vec<_> = up.into_iter().filter(|(to, _)| *to == AFAR).collect();
        let up: Vec<_> = up.into_iter().map(|(_, message)| (0, message)).collect();
        // Their home gets to know our relay.
        for (_, report) in here.sent() {
            let received = there.exchanging(|| theirs.inlet().receive(&report));
            received.expect("a report can be read");
        }
        use_channel(&theirs.home).await;
        theirs.home.close();
        let down: Vec<_> = there.sent().into_iter().map(|(_, it)| (1, it)).collect();
        drop(ours);
        let one_each = up.iter().chain(&down);
        let one_each = one_each.map(|one| input(std::slice::from_ref(one)));
        let mut all: Vec<_> = one_each.collect();
        all.extend([input(&up), input(&down), input(&[up, down].concat())]);
        [here, there].iter().for_each(|desk| desk.close());
        all
    })
}

async fn use_channel(channel: &Channel<u64>) {
    let other = Channel::new();
    let _ = channel.send(7);
    let _ = channel.subscribe_channel(&other);
    // Until it waits for the other node's answer.
    let deliver = channel.deliver(8, 1, Duration::from_secs(1));
    let below = channel.deliver(9, 0, Duration::ZERO);
    let soon = Duration::from_millis(1);
    let _ = tokio::time::timeout(soon, deliver).await;
    let _ = tokio::time::timeout(soon, below).await;
    channel.unsubscribe_channel(&other);
}

fn certificates() -> Vec<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("coros-seeds-{}", std::process::id()));
    let authority = Authority::generate("default", DAY).expect("an authority");
    let certificate = authority.certify("desk", DAY).expect("a certificate");
    let saved = "a folder for it";
    certificate.save(folder.join("node")).expect(saved);
    authority.save(folder.join("ca")).expect(saved);
    let joined = |stem: &str| {
        let path = folder.join(stem).join(stem);
        let read = |end| std::fs::read(path.with_extension(end)).expect("it has been saved");
        [&read("pem")[..], &[0], &read("key")].concat()
    };
    let all = vec![joined("node"), joined("ca")];
    std::fs::remove_dir_all(&folder).expect("it is ours");
    all
}

fn authority() -> Authority {
    Authority::derive(&Secret::random(), "default").expect("random secrets take no memory")
}

fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    remote::encode(value, &mut bytes).expect("plain data can be encoded");
    bytes
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
