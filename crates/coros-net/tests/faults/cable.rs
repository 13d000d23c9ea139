//! Two machines with a cable between them: network namespaces.
//!
//! A namespace has no name and is kept by a process that ends when its input does. So nothing is
//! left of it however the test ends, and no other can be meant by mistake.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::trial::why_not;

/// Where the two are.
pub(crate) const PLACES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// Why there are no namespaces to be had here, if there are none.
pub(crate) fn no_namespaces() -> Option<String> {
    why_not(
        "make network namespaces with a cable",
        &["unshare", "--net", "ip", "link", "add", "type", "veth"],
    )
}

/// A network namespace.
pub(crate) struct Machine(Child);

impl Machine {
    pub(crate) fn new() -> Self {
        let mut keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was tried before");
        // When it answers it is inside.
        let input = keeper.stdin.as_mut().expect("it is a pipe");
        writeln!(input, "hello").expect("it lives");
        let mut answer = String::new();
        let output = keeper.stdout.take().expect("it is a pipe");
        BufReader::new(output)
            .read_line(&mut answer)
            .expect("it answers");
        Machine(keeper)
    }

    /// What begins a command that is to run there.
    pub(crate) fn prefix(&self) -> [String; 2] {
        ["nsenter".to_owned(), self.namespace()]
    }

    /// Its number among processes.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.0.id())
    }

    /// Runs a command there; what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(self.namespace());
        let output = nsenter.args(command.split(' ')).output().expect("nsenter");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {why}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Has its TCP try again after a second at most. Older systems cannot: there they wait twice as
    /// long each time, up to two minutes.
    fn make_impatient(&self) {
        const LONGEST_PAUSE: &str = "/proc/sys/net/ipv4/tcp_rto_max_ms";
        if !Path::new(LONGEST_PAUSE).exists() {
            return;
        }
        // Which namespace that file is of depends on who opens it.
        let mut tee = Command::new("nsenter");
        tee.arg(self.namespace()).args(["tee", LONGEST_PAUSE]);
        tee.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut tee = tee.spawn().expect("nsenter");
        let mut input = tee.stdin.take().expect("it is a pipe");
        writeln!(input, "1000").expect("it lives");
        drop(input);
        assert!(tee.wait().expect("it ends").success());
    }

    /// Makes use of its end of a cable.
    pub(crate) fn plug_in(&self, place: &str) {
        self.run(&format!("ip address add {place}/24 dev eth0"));
        self.run("ip link set lo up");
        self.run("ip link set eth0 up");
        // Without a router all else, also what is for many, goes the same way.
        self.run("ip route add default dev eth0");
    }

    /// Until its end of the cable works. The system looks at that once a second, and drops all that is
    /// sent before.
    pub(crate) fn is_plugged_in(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self
            .run("ip -oneline link show dev eth0")
            .contains("state UP")
        {
            assert!(Instant::now() < until, "the cable never works");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two machines, and what is between them.
pub(crate) struct Cable {
    machines: [Machine; 2],
}

impl Cable {
    pub(crate) fn lay() -> Self {
        let machines = [(); 2].map(|()| Machine::new());
        let peer = machines[1].pid();
        machines[0].run(&format!(
            "ip link add eth0 type veth peer name eth0 netns {peer}"
        ));
        for (machine, place) in machines.iter().zip(PLACES) {
            machine.plug_in(place);
        }
        machines.iter().for_each(Machine::is_plugged_in);
        Cable { machines }
    }

    /// What is lost on the way is sent again within a second, each time it is lost.
    pub(crate) fn make_impatient(&self) {
        self.machines.iter().for_each(Machine::make_impatient);
    }

    /// What begins a command that is to run on one of the machines.
    pub(crate) fn prefix(&self, at: usize) -> [String; 2] {
        self.machines[at].prefix()
    }

    pub(crate) fn pull(&self) {
        self.machines[0].run("ip link set eth0 down");
    }

    pub(crate) fn put_back(&self) {
        self.machines[0].run("ip link set eth0 up");
        // It went away with the link.
        self.machines[0].run("ip route replace default dev eth0");
    }

    pub(crate) fn out_for(&self, time: Duration) {
        self.pull();
        sleep(time);
        self.put_back();
    }

    /// The second machine gets nothing of what the first one says.
    pub(crate) fn deafen(&self) {
        self.filter(&[1], "drop");
    }

    /// What becomes of what comes to these machines.
    pub(crate) fn filter(&self, machines: &[usize], fate: &str) {
        for at in machines {
            let machine = &self.machines[*at];
            machine.run("nft add table ip faults");
            machine.run("nft add chain ip faults in { type filter hook input priority 0 ; }");
            machine.run(&format!("nft add rule ip faults in iifname eth0 {fate}"));
        }
    }

    pub(crate) fn netem(&self, fate: &str) {
        for machine in &self.machines {
            machine.run(&format!("tc qdisc add dev eth0 root netem {fate}"));
        }
    }

    /// Takes away what [`netem`](Cable::netem) has set.
    pub(crate) fn ease(&self) {
        for machine in &self.machines {
            machine.run("tc qdisc del dev eth0 root");
        }
    }

    /// Takes away what [`filter`](Cable::filter) has set.
    pub(crate) fn heal(&self) {
        for machine in &self.machines {
            machine.run("nft flush ruleset");
        }
    }
}
