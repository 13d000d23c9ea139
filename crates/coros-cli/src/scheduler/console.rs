//! What can be typed at a scheduler.

use std::str::FromStr;
use std::sync::Arc;

use coros::cluster::service::{ComputationStatus, NodeStatus, Status};
use indicatif::BinaryBytes;

use crate::terminal::{count, terms};

pub(super) const HELP: &str = "\
status    how many clients and nodes there are, and whether it drains
clients   who is here, who has its turn, what it runs and where
nodes     which nodes there are, what they have, and how busy they are
drain     take no programs, let those that are here end, then end
close     end at once, and with it all that runs for it
help      this";

/// What somebody wants of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Help,
    Status,
    Clients,
    Nodes,
    Drain,
    Close,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.trim() {
            "help" => Ok(Order::Help),
            "status" => Ok(Order::Status),
            "clients" => Ok(Order::Clients),
            "nodes" => Ok(Order::Nodes),
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
    let clients = count(status.computations.len(), "client");
    let nodes = count(status.nodes.len(), "node");
    format!("{clients}, {nodes}{draining}")
}

pub(super) fn clients(status: &Status) -> String {
    lines(&status.computations, client, "nobody is here")
}

pub(super) fn nodes(status: &Status) -> String {
    lines(&status.nodes, node, "no node is there")
}

/// A line for each, or what is said where there are none.
fn lines<T>(all: &[T], line: impl Fn(&T) -> String, none: &str) -> String {
    match all {
        [] => none.into(),
        all => all.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

fn client(it: &ComputationStatus) -> String {
    let alone = it.exclusive.then_some("wants all nodes for itself");
    let terms = terms(alone, it.priority);
    let runs = match it.runs {
        true => has(it),
        false => "waits".into(),
    };
    format!("client {} ({}): {runs}{terms}", it.id, it.from)
}

/// What a client has that has its turn.
fn has(it: &ComputationStatus) -> String {
    let runs = count(it.running, "call");
    let on =
        |(node, workers): (&Arc<str>, &usize)| format!("{} on {node}", count(*workers, "worker"));
    let on: Vec<_> = it.workers.iter().map(on).collect();
    let on = match on.is_empty() {
        true => "no worker".into(),
        false => on.join(", "),
    };
    let wait = if it.waiting == 1 { "waits" } else { "wait" };
    format!("runs {runs}, {} more {wait}; {on}", it.waiting)
}

fn node(it: &NodeStatus) -> String {
    let (name, machine, load) = (&it.node.name, &it.node.machine, &it.node.load);
    let at = it.endpoint.map(|endpoint| format!(" ({endpoint})"));
    let state = match (it.draining, it.suspended) {
        (true, _) => ", draining",
        (false, true) => ", suspended",
        (false, false) => "",
    };
    format!(
        "node {name}{}: {}, {} of {} lent; {} of {} free; load {:.2}{state}",
        at.unwrap_or_default(),
        count(machine.cores.get() as usize, "core"),
        it.lent,
        it.slots,
        BinaryBytes(load.memory_free),
        BinaryBytes(machine.memory),
        load.average,
    )
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
        assert!(error.contains("status    how many"), "{error}");
    }
}
