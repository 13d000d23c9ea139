//! Machines that are all plugged into one switch: network namespaces, and one more between them.

use crate::cable::Machine;
use crate::trial::why_not;

/// Where they are, in order.
pub(crate) const PLACES: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];

/// Why there is no switch to be had here, if there is none.
pub(crate) fn no_switch() -> Option<String> {
    let words = "unshare --net ip link add type bridge";
    let words: Vec<_> = words.split(' ').collect();
    why_not("make a switch between network namespaces", &words)
}

pub(crate) struct Switch {
    machines: [Machine; 3],
    between: Machine,
}

impl Switch {
    pub(crate) fn new() -> Self {
        let (machines, between) = ([(); 3].map(|()| Machine::new()), Machine::new());
        between.run("ip link add switch type bridge");
        between.run("ip link set switch up");
        for (at, machine) in machines.iter().enumerate() {
            let (port, peer) = (format!("port{at}"), machine.pid());
            between.run(&format!(
                "ip link add {port} type veth peer name eth0 netns {peer}"
            ));
            between.run(&format!("ip link set {port} master switch up"));
            machine.plug_in(PLACES[at]);
        }
        machines.iter().for_each(Machine::is_plugged_in);
        Switch { machines, between }
    }

    /// What begins a command that is to run on one of the machines.
    pub(crate) fn prefix(&self, at: usize) -> [String; 2] {
        self.machines[at].prefix()
    }

    /// Cuts a machine off from all others. It does not notice that by itself.
    pub(crate) fn pull(&self, at: usize) {
        self.between.run(&format!("ip link set port{at} nomaster"));
    }

    pub(crate) fn put_back(&self, at: usize) {
        self.between
            .run(&format!("ip link set port{at} master switch"));
    }
}
