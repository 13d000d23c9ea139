//! Closing the node of a daemon or a service at its end, whoever ends it.

use std::time::Duration;

use coros_core::remote::Message;
use coros_core::{Address, Context};
use coros_net::Node;

/// How long a node may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Closes a node when a coroutine of it has ended, which has told others by then what it had to: were it closed before,
/// they would take it for lost. The end of the program waits for that, for so long after the grace of the coroutine.
pub(crate) fn closes_after<M: Message>(node: &Node, last: &Address<M>, grace: Duration) {
    let (node, last) = (node.clone(), last.clone());
    let close = async move |me: Context<()>| {
        // It is not what it waits for, but asking for it keeps it from being dropped.
        let _asked = me.terminating();
        last.exit().await;
        node.close().await;
    };
    let closer = coros_core::build().daemon().grace(grace + GOODBYE);
    drop(closer.spawn(close));
}
