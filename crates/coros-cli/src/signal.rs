//! SIGTERM, where there is such a thing.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a program that SIGTERM has ended.
pub(crate) const TERMINATED: u8 = 128 + 15;

/// How often this process was told to end, from now on.
pub(crate) struct Terminations {
    /// `None` where signals cannot be had.
    #[cfg(unix)]
    signals: Option<Signal>,
}

impl Terminations {
    pub(crate) fn listen() -> Self {
        Terminations {
            #[cfg(unix)]
            signals: signal(SignalKind::terminate()).ok(),
        }
    }

    /// Resolves at the next SIGTERM; never where there is none. Cancel safe.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
