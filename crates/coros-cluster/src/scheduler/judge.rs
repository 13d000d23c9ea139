//! Whether a node is used, how much of it, and what prepares it: as the client says, by its rules and its
//! functions.
//!
//! The shell asks a *judge* about each node that is found, and goes on; the verdict comes as a command. So
//! it is all the same to it whether the judge is in its process, or at a client far away.

use coros_core::Address;
use coros_core::remote::{MAX_TOLD, readable_lines_within};
use coros_net::Node;
use serde::{Deserialize, Deserializer, Serialize};

use super::Command;
use super::finder::Found;
use super::setup::{ForNode, Setup};
use crate::caught::caught;
use crate::placement::{Decision, NodeView, Placement, Share};
use crate::protocol::{Duties, ToScheduler};

/// Has a judge asked.
pub(crate) type Asks = Box<dyn Fn(&Address<ToScheduler>, Box<Question>) + Send>;

/// A node that was found.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) found: Found,
    pub(crate) node: NodeView,
    /// It is not used yet.
    pub(crate) new: bool,
}

/// What the client says of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// How much of it is used; or why it is not.
    #[serde(deserialize_with = "told_share")]
    pub(super) share: Result<Share, String>,
    /// What its workers do before and after all calls, if it was new.
    pub(super) duties: Option<Duties>,
}

impl Verdict {
    /// The node is not used: why, as much of it as anybody reads. So any verdict has room in a message.
    pub(crate) fn not_used(why: &str) -> Self {
        Verdict {
            share: Err(readable_lines_within(why, MAX_TOLD)),
            duties: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn why_not(&self) -> Option<&str> {
        self.share.as_ref().err().map(String::as_str)
    }
}

/// Why a client does not use a node is kept, and told to others.
fn told_share<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Result<Share, String>, D::Error> {
    let share = Result::<Share, String>::deserialize(deserializer)?;
    Ok(share.map_err(|why| readable_lines_within(&why, MAX_TOLD)))
}

/// What the client has said of nodes in general.
pub(super) struct Judge {
    /// The client's node on the network of its workers.
    pub(super) node: Node,
    pub(super) placement: Placement,
    pub(super) setup: Setup,
}

impl Judge {
    /// Decides at once.
    pub(super) fn here(self) -> Asks {
        Box::new(move |shell, question| {
            // Its workers are told where this process is as seen from there.
            let verdict = self.decide(&question.node, question.new, || None);
            let decided = Command::Decided(question, Box::new(verdict));
            // One that has ended has no use for it.
            let _ = shell.send(ToScheduler::Command(decided));
        })
    }

    /// `apart` is why workers there and the client would not reach each other, if so.
    pub(super) fn decide(
        &self,
        node: &NodeView,
        new: bool,
        apart: impl FnOnce() -> Option<String>,
    ) -> Verdict {
        let decided = self.share(node).and_then(|share| {
            apart().map_or(Ok(()), Err)?;
            let duties = new.then(|| duties(&self.setup, &self.node, node));
            Ok((share, duties.transpose()?))
        });
        match decided {
            Ok((share, duties)) => Verdict {
                share: Ok(share),
                duties,
            },
            Err(why) => Verdict::not_used(&why),
        }
    }

    fn share(&self, node: &NodeView) -> Result<Share, String> {
        match caught(|| self.placement.decide(node)) {
            Ok(Decision::Use(share)) => Ok(share),
            Ok(Decision::Excluded(why)) => Err(why.to_string()),
            Err(panic) => Err(format!("its placement function panicked: {panic}")),
        }
    }
}

/// What workers of a node do before and after all calls. `client` is the client's node.
pub(super) fn duties(setup: &Setup, client: &Node, node: &NodeView) -> Result<Duties, String> {
    let made = |f: &Option<ForNode>, name| {
        let Some(f) = f else {
            return Ok(None);
        };
        let made = caught(|| f(client, node));
        let made = made.map_err(|panic| format!("its {name} function panicked: {panic}"))?;
        let unsent = |why| {
            let node = &node.name;
            format!("what is to prepare node {node} cannot be sent: {why}")
        };
        made.transpose().map_err(unsent)
    };
    Ok(Duties {
        set_up_node: made(&setup.set_up_node, "set_up_node")?,
        tear_down_node: made(&setup.tear_down_node, "tear_down_node")?,
        set_up: made(&setup.set_up, "set_up_worker")?,
        tear_down: made(&setup.tear_down, "tear_down_worker")?,
        node_value: None,
    })
}
