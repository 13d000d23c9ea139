//! What can go wrong: ways that are blocked, connections that break, hosts that stand still or die.

use std::io;

use tokio::time::Instant;

use super::host::Life;
use super::stream::EndId;
use super::world::{Connection, HostId, World};

impl World {
    /// Nothing gets from one host to another.
    pub(super) fn block(&mut self, from: HostId, to: HostId) {
        if from == to || self.blocked.contains_key(&(from, to)) {
            return;
        }
        self.blocked.insert((from, to), Instant::now());
        self.changed();
        self.record_way("nothing gets", from, to);
    }

    /// What did not get through does now.
    pub(super) fn unblock(&mut self, from: HostId, to: HostId) {
        let Some(since) = self.blocked.remove(&(from, to)) else {
            return;
        };
        self.record_way("all gets", from, to);
        let conditions = self.conditions(from, to);
        let now = Instant::now();
        for connection in self.connections.values_mut() {
            for side in [0, 1] {
                let hosts = [side, 1 - side].map(|side| connection.ends[side].host);
                if hosts == [from, to] {
                    connection.pipes[side].unblock(now, since, &conditions);
                }
            }
        }
        self.wake_all(|connection| connection.is_between(from, to));
    }

    pub(super) fn unblock_all(&mut self) {
        let blocked: Vec<_> = self.blocked.keys().copied().collect();
        for (from, to) in blocked {
            self.unblock(from, to);
        }
    }

    /// All connections between two hosts break, at both ends.
    pub(super) fn cut(&mut self, one: HostId, other: HostId) {
        let [a, b] = [one, other].map(|host| self.hosts[host].name.clone());
        self.record(format_args!("the connections of {a} and {b} are cut"));
        let between = |connection: &Connection| connection.is_between(one, other);
        self.wake_all(between);
        self.connections.retain(|_, connection| {
            if connection.is_between(one, other) {
                for end in &mut connection.ends {
                    end.broken.get_or_insert(io::ErrorKind::ConnectionReset);
                    end.gone = true;
                }
            }
            !connection.is_over()
        });
    }

    pub(super) fn freeze(&mut self, host: HostId) {
        if !std::mem::replace(&mut self.hosts[host].frozen, true) {
            let name = self.hosts[host].name.clone();
            self.record(format_args!("{name} stands still"));
            self.changed();
        }
    }

    pub(super) fn thaw(&mut self, host: HostId) {
        if !std::mem::replace(&mut self.hosts[host].frozen, false) {
            return;
        }
        let name = self.hosts[host].name.clone();
        self.record(format_args!("{name} goes on"));
        for id in self.ends_at(host) {
            // Dropped meanwhile.
            self.close_if_dropped(id);
        }
        self.wake_all(|connection| connection.has_end_at(host));
    }

    /// What runs on a host ends, and the system closes its connections.
    pub(super) fn kill(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let name = self.hosts[life.host].name.clone();
        self.record(format_args!("{name} is killed"));
        let host = &mut self.hosts[life.host];
        host.life += 1;
        host.frozen = false;
        for (_, backlog) in std::mem::take(&mut host.listeners) {
            self.refuse_all(backlog);
        }
        for id in self.ends_at(life.host) {
            self.break_off(id);
        }
        self.wake_all(|connection| connection.has_end_at(life.host));
    }

    fn ends_at(&self, host: HostId) -> Vec<EndId> {
        let ends = self.connections.iter().flat_map(|(&connection, c)| {
            let sides = [0, 1].into_iter().filter(|&side| c.ends[side].host == host);
            sides.map(move |side| EndId { connection, side })
        });
        ends.collect()
    }

    fn record_way(&mut self, what: &str, from: HostId, to: HostId) {
        let [from, to] = [from, to].map(|host| self.hosts[host].name.clone());
        self.record(format_args!("{what} from {from} to {to}"));
    }
}
