//! What workers run.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use coros::{Address, Context, Reply};
use serde::{Deserialize, Serialize};

#[coros::remote]
pub(crate) fn same(n: u64) -> u64 {
    n
}

#[coros::remote]
pub(crate) fn length(bytes: Bytes) -> u64 {
    bytes.len() as u64
}

#[coros::remote]
pub(crate) fn back(bytes: Bytes) -> Bytes {
    bytes
}

/// Holds its worker for a tenth of a second.
#[coros::remote]
pub(crate) fn pause(n: u64) -> u64 {
    sleep(Duration::from_millis(100));
    n
}

/// What [`answers`] is asked.
#[derive(Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) n: u64,
    pub(crate) reply: Reply<u64>,
}

/// Tells where it is, and answers until nobody is left who could ask.
#[coros::remote]
pub(crate) async fn answers(
    mut me: Context<Question>,
    to: Address<Address<Question>>,
) -> Result<(), String> {
    let here = to.send(me.address());
    here.map_err(|_| "nobody wants to know".to_owned())?;
    while let Some(Question { n, reply }) = me.receive().await {
        reply.send(n);
    }
    Ok(())
}
