//! Receives messages by category: the important ones first, each category in its order.
//!
//! `Categories` looks at each message once and keeps it until its category is asked for, however
//! long the backlog. (For a single selective receive, `Context::receive_where` will do.)
//!
//!     cargo run --release --example categories
//!     cargo run --release --example categories -- 100

mod say;

use clap::Parser;
use coros::{Categories, Context};
use say::say;

/// Sends parcels and alarms to a coroutine that handles alarms first.
#[derive(Parser)]
struct Args {
    /// How many parcels; after every third there is an alarm.
    #[arg(default_value_t = 6)]
    parcels: u32,
}

enum Message {
    Parcel(u32),
    Alarm(String),
    Open,
}

/// The categories. Any type that can be compared and hashed will do, such as `&str`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Parcel,
    Alarm,
    Opening,
}

fn kind(message: &Message) -> Kind {
    match message {
        Message::Parcel(_) => Kind::Parcel,
        Message::Alarm(_) => Kind::Alarm,
        Message::Open => Kind::Opening,
    }
}

/// Returns how many parcels it has handled.
async fn post_office(mut me: Context<Message>) -> u32 {
    let mut inbox = Categories::new(&mut me, kind);

    // Whatever came before that is kept.
    inbox.receive(&Kind::Opening).await;
    let (parcels, alarms) = (inbox.len(&Kind::Parcel), inbox.len(&Kind::Alarm));
    say!("open, with {parcels} parcels and {alarms} alarms waiting");

    let mut handled = 0;
    loop {
        // An alarm, if there is one; otherwise whatever comes first.
        let message = match inbox.try_receive(&Kind::Alarm) {
            Some(alarm) => Some(alarm),
            None => inbox.receive_any().await,
        };
        match message {
            Some(Message::Alarm(what)) => say!("alarm: {what}"),
            Some(Message::Parcel(n)) => {
                say!("parcel {n}");
                handled += 1;
            }
            Some(Message::Open) => {}
            None => return handled,
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { parcels } = Args::parse();

    let office = coros::spawn(post_office);
    for n in 1..=parcels {
        office.send(Message::Parcel(n))?;
        if n % 3 == 0 {
            office.send(Message::Alarm(format!("parcel {n} smells of smoke")))?;
        }
    }
    office.send(Message::Open)?;

    say!("{} parcels handled", office.await?);
    Ok(())
}
