//! What can be typed at a scheduler.

use std::str::FromStr;

use coros::cluster::service::Status;

use crate::terminal::{count, terms};

pub(super) const HELP: &str = "\
status    who is here, who has its turn, and who waits for it
drain     take no programs, let those that are here end, then end
close     end at once, and with it all that runs for it
help      this";

/// What somebody wants of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Help,
    Status,
    Drain,
    Close,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.trim() {
            "help" => Ok(Order::Help),
            "status" => Ok(Order::Status),
            "drain" => Ok(Order::Drain),
            "close" => Ok(Order::Close),
            word => Err(format!(
                "{word:?} is nothing that can be done here:\n{HELP}"
            )),
        }
    }
}

pub(super) fn status(status: &Status) -> String {
    let draining = if status.draining { ", draining" } else { "" };
    let mut text = count(status.computations.len(), "client") + draining;
    for it in &status.computations {
        let alone = it.exclusive.then_some("wants all nodes for itself");
        let terms = terms(alone, it.priority);
        let runs = if it.runs { "runs" } else { "waits" };
        text += &format!("\nclient {} ({}): {runs}{terms}", it.id, it.from);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_the_help_is_understood() {
        for line in HELP.lines() {
            let (order, _) = line.split_at(10);
            order.parse::<Order>().unwrap();
        }
        let error = "sttaus".parse::<Order>().unwrap_err();
        assert!(error.contains("\"sttaus\" is nothing"), "{error}");
        assert!(error.contains("status    who is here"), "{error}");
    }
}
