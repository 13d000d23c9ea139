//! What a client has of a tenant: the way to it, and what is on that.

use std::sync::Arc;
use std::time::Duration;

use coros_core::Address;
use coros_net::{Location, Node, SendFile};
use tokio_util::task::AbortOnDropHandle;

use super::super::Command;
use crate::blocking::blocking;
use crate::computation::Cargo;
use crate::daemon::fetch::Unfit;
use crate::daemon::protocol::sent_as;
use crate::feeder::Feeder;
use crate::hash::ContentHash;
use crate::pack;
use crate::protocol::ToScheduler;
use crate::service::protocol::ToTenant;

/// How often it is tried again to send the program, and how long after the attempt before.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a tenant may take to hear that its client has left.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Link {
    epoch: u64,
    pub(super) at: Location,
    tenant: Address<ToTenant>,
    pub(super) feeder: Feeder<ToTenant>,
    /// It will run the computation, or does: nothing about that is in its way.
    pub(super) fits: bool,
    /// It takes calls.
    pub(super) ready: bool,
    /// What it asked for is on its way; ends when dropped.
    sending: Option<AbortOnDropHandle<()>>,
}

impl Link {
    pub(super) fn new(epoch: u64, at: Location, tenant: Address<ToTenant>) -> Self {
        Link {
            epoch,
            at,
            feeder: Feeder::new(tenant.clone()),
            tenant,
            fits: false,
            ready: false,
            sending: None,
        }
    }

    /// Has something of a cargo sent; the agent is told what to say then.
    pub(super) fn send(
        &mut self,
        agent: Address<ToScheduler>,
        sent: impl Future<Output = Result<ToTenant, Unfit>> + Send + 'static,
    ) {
        let epoch = self.epoch;
        let sending = async move {
            let sent = sent.await;
            // When it has ended, so has this.
            let _ = agent.send(ToScheduler::Command(Command::Sent { epoch, sent }));
        };
        self.sending = Some(AbortOnDropHandle::new(tokio::spawn(sending)));
    }

    /// Tells the tenant all that it is still to be told, and that the client leaves. One that is not told finds out
    /// when the client is gone.
    pub(super) async fn leave(mut self, node: Node) {
        self.sending = None;
        let leave = async {
            while !self.feeder.is_idle() {
                // What cannot be sent is not waited for here.
                let _ = self.feeder.turn().await;
            }
            let _ = self.tenant.deliver(ToTenant::Leave).await;
        };
        let _ = tokio::time::timeout(LEAVE_LIMIT, leave).await;
        // Until then it must be there.
        drop(node);
    }
}

/// Sends what a service has asked for; again for a while when that breaks off, because the end of the service
/// may become known by that first.
pub(super) async fn file(
    node: Node,
    to: Location,
    cargo: Arc<Cargo>,
    content: ContentHash,
) -> Result<ToTenant, Unfit> {
    let path = blocking(move || cargo.source(content)).await;
    let path = path.ok_or_else(|| {
        let why = format!("the service asks for {content}, which is no part of the program");
        Unfit::for_good(why)
    })?;
    let copied = |why| Unfit::for_good(format!("the program cannot be copied: {why}"));
    let path = path.map_err(copied)?;
    let mut attempts = 0;
    loop {
        let options = SendFile::new().name(sent_as(content));
        match node.send_file(&to, &path, options).await {
            Ok(_) => return Ok(ToTenant::Sent),
            Err(error) if attempts == ATTEMPTS => return Err(Unfit::for_now(error)),
            Err(error) => tracing::info!(%content, "trying to send it again: {error}"),
        }
        attempts += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads files that a service has asked for together.
pub(super) async fn pack(cargo: Arc<Cargo>, contents: Vec<ContentHash>) -> Result<ToTenant, Unfit> {
    let pack = blocking(move || pack::read(&cargo, &contents)).await;
    Ok(ToTenant::Packed(pack.map_err(Unfit::for_good)?.into()))
}
