//! What can be typed at a node.

use std::str::FromStr;

use coros::cluster::daemon::Status;

use super::suspension::Suspension;
use crate::flags::values::Cpus;
use crate::terminal::{count, terms};

pub(super) const HELP: &str = "\
status    how many cores are lent, whether the node is suspended and why, and its service hours
clients   who is here, and how many cores each has
suspend   let no call begin; those that run go on
resume    let calls begin again, if it is not outside of the service hours
cpus N    lend N cores from now on; -1 leaves one free
drain     take no clients, let running calls end, then end
close     end at once, and with it all that runs here
help      this";

/// What somebody wants of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Help,
    Status,
    Clients,
    Suspend,
    Resume,
    Cpus(Cpus),
    Drain,
    Close,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let order = match word {
            "help" => Order::Help,
            "status" => Order::Status,
            "clients" => Order::Clients,
            "suspend" => Order::Suspend,
            "resume" => Order::Resume,
            "cpus" => {
                let number = words.next().ok_or("how many? as `cpus 4`, or `cpus -1`")?;
                let cpus = number.parse();
                Order::Cpus(cpus.map_err(|error| format!("{number:?}: {error}"))?)
            }
            "drain" => Order::Drain,
            "close" => Order::Close,
            _ => {
                return Err(format!(
                    "{word:?} is nothing that can be done here:\n{HELP}"
                ));
            }
        };
        match words.next() {
            None => Ok(order),
            Some(more) => Err(format!("{more:?} is too much: type {word:?} alone")),
        }
    }
}

/// What is said when so many cores are lent from now on.
pub(super) fn lends(cpus: Cpus, cores: usize) -> String {
    let cut = cpus.cut(cores);
    let cut = cut.map_or_else(String::new, |why| format!(": {why}"));
    let slots = cpus.of(cores);
    format!("{slots} of {cores} cores are lent from now on{cut}")
}

pub(super) fn status(status: &Status, suspension: &Suspension) -> String {
    let Status {
        slots,
        lent,
        draining,
        clients,
        ..
    } = status;
    let state = match (draining, suspension.how()) {
        (true, _) => ", draining".into(),
        (false, Some(how)) => format!(", suspended {how}"),
        (false, None) => String::new(),
    };
    let hours = suspension.hours.as_ref();
    let hours = hours.map_or_else(String::new, |hours| format!("\nservice hours: {hours}"));
    format!(
        "{lent} of {slots} cores are lent, to {}{state}{hours}",
        count(clients.len(), "client")
    )
}

pub(super) fn clients(status: &Status) -> String {
    let lines = status.clients.iter().map(|client| {
        let cores = count(client.lent, "core");
        let alone = client.exclusive.then_some("wants to be alone");
        let terms = terms(alone, client.priority);
        format!("client {} ({}): {cores}{terms}", client.id, client.from)
    });
    let lines: Vec<_> = lines.collect();
    match lines.is_empty() {
        true => "nobody is here".into(),
        false => lines.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_the_help_is_understood() {
        for line in HELP.lines() {
            let (order, _) = line.split_at(10);
            let order = order.replace('N', "-1");
            order.parse::<Order>().unwrap();
        }
        assert_eq!(" cpus  3 ".parse(), Ok(Order::Cpus("3".parse().unwrap())));
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_is() {
        for (line, says) in [
            ("sttaus", "\"sttaus\" is nothing"),
            ("sttaus", "suspend   let no call begin"),
            ("cpus", "how many?"),
            ("cpus 0", "without a core"),
            ("close now", "\"now\" is too much"),
            ("cpus 1 2", "\"2\" is too much"),
        ] {
            let error = line.parse::<Order>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
