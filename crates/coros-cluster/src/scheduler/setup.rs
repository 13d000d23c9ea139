//! What runs in workers before and after all calls, as the user has said it.

use std::time::Duration;

use coros_core::remote::Message;
use coros_net::Node;

use crate::blob::Blob;
use crate::function::Call;
use crate::placement::NodeView;
use crate::protocol::{Duty, fits};

/// For a node, or not for that.
pub(super) type ForNode = Box<dyn Fn(&Node, &NodeView) -> Option<Result<Duty, String>> + Send>;

/// All of it. The node is the client's.
pub(super) struct Setup {
    pub(super) set_up_node: Option<ForNode>,
    pub(super) tear_down_node: Option<ForNode>,
    pub(super) set_up: Option<ForNode>,
    pub(super) tear_down: Option<ForNode>,
    /// How long each may take.
    pub(super) limit: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            set_up_node: None,
            tear_down_node: None,
            set_up: None,
            tear_down: None,
            limit: Duration::from_secs(30),
        }
    }
}

/// What the user's function makes for a node, encoded.
pub(super) fn for_node<R: Message>(
    f: impl Fn(&NodeView) -> Option<Call<R>> + Send + 'static,
) -> ForNode {
    Box::new(move |node, view| {
        let call = f(view)?;
        let args = call.encode(node).map_err(|error| error.to_string());
        Some(args.and_then(|args| {
            fits("what the function is given", &args)?;
            Ok(Duty {
                function: call.function().to_owned(),
                args: Blob::from(args),
            })
        }))
    })
}

impl Setup {
    pub(super) fn tears_down(&self) -> bool {
        self.tear_down.is_some() || self.tear_down_node.is_some()
    }

    pub(super) fn is_needed(&self) -> bool {
        self.set_up.is_some() || self.set_up_node.is_some() || self.tears_down()
    }
}
