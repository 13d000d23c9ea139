//! `tokio::sync::broadcast`, for W7 alone.
//!
//! Its ring has room for every message of a run, because a receiver that falls behind a smaller one loses messages.

use std::time::Instant;

use anyhow::Result;
use tokio::sync::broadcast;

use crate::workloads::{Behaviour, Latch, Msg, Report, SUBSCRIBERS, Sum, check_sum};

pub(crate) fn run(n: u64) -> Result<Report> {
    super::tokio_block_on(async move {
        fan_out(n.div_ceil(20)).await?;
        fan_out(n).await
    })
}

async fn fan_out(n: u64) -> Result<Report> {
    let done = Latch::leak(SUBSCRIBERS);
    let (sender, _) = broadcast::channel(n as usize);
    for _ in 0..SUBSCRIBERS {
        let mut mailbox = sender.subscribe();
        let mut sum = Sum::new(n, done);
        tokio::spawn(async move {
            while let Ok(message) = mailbox.recv().await {
                sum.handle(message);
            }
        });
    }
    let start = Instant::now();
    tokio::spawn(async move {
        for a in 0..n {
            sender
                .send(Msg { a, b: 1 })
                .expect("subscribers live until the sender is gone");
        }
    });
    let sum = done.wait().await;
    let elapsed = start.elapsed();
    check_sum(sum, n, SUBSCRIBERS)?;
    Ok(Report::new(n * SUBSCRIBERS, elapsed))
}
