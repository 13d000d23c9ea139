//! All that a simulated network consists of, behind one lock: hosts, connections, blocked ways.
//!
//! Tables are ordered and every delay comes from the seed, so that the same calls in the same
//! order have the same consequences.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::conditions::Conditions;
use super::event::SimEvent;
use super::host::Life;
use super::pipe::{End, Found, Pipe};
use super::random::Random;
use super::stream::EndId;
use crate::Authority;

/// The first of the ports that are given out.
const FIRST_PORT: u16 = 49152;

/// The index of a host, which keeps it through all its lives.
pub(super) type HostId = usize;

pub(super) struct Shared {
    pub(super) authority: Authority,
    world: Mutex<World>,
    /// Something that a dial may wait for has changed.
    pub(super) changed: Notify,
}

pub(super) struct World {
    pub(super) began: Instant,
    pub(super) random: Random,
    /// Of all pairs that have none of their own.
    pub(super) everywhere: Conditions,
    /// By the smaller host and the larger.
    pub(super) between: BTreeMap<(HostId, HostId), Conditions>,
    /// From a host to another, and since when.
    pub(super) blocked: BTreeMap<(HostId, HostId), Instant>,
    pub(super) hosts: Vec<Host>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) events: Vec<SimEvent>,
    last_connection: u64,
    /// To be woken when the lock has been released.
    wakes: Vec<Waker>,
    changed: bool,
}

pub(super) struct Host {
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    /// Counts its lives.
    pub(super) life: u64,
    pub(super) frozen: bool,
    pub(super) listeners: BTreeMap<u16, Backlog>,
    last_port: u16,
}

/// Connections that have not been accepted.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<(EndId, SocketAddr)>,
    acceptor: Option<Waker>,
}

pub(super) struct Connection {
    pub(super) ends: [ConnectionEnd; 2],
    /// Each from the end of the same index.
    pub(super) pipes: [Pipe; 2],
}

pub(super) struct ConnectionEnd {
    pub(super) host: HostId,
    /// What becomes of whoever uses it, if it is of no more use.
    pub(super) broken: Option<io::ErrorKind>,
    /// Somebody has the stream, or it waits to be accepted.
    held: bool,
    /// The other end is to learn, or need not, that this one is gone.
    pub(super) gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a stream is to do.
pub(super) enum Step<T> {
    Done(io::Result<T>),
    /// Ask again then, or when woken.
    Later(Instant),
    Wait,
}

impl Shared {
    pub(super) fn new(seed: u64, authority: Authority) -> Self {
        let world = World {
            began: Instant::now(),
            random: Random::new(seed),
            everywhere: Conditions::default(),
            between: BTreeMap::new(),
            blocked: BTreeMap::new(),
            hosts: Vec::new(),
            connections: BTreeMap::new(),
            events: Vec::new(),
            last_connection: 0,
            wakes: Vec::new(),
            changed: false,
        };
        Shared {
            authority,
            world: Mutex::new(world),
            changed: Notify::new(),
        }
    }

    /// Changes the world, then wakes whom that concerns.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut world);
        let wakes = std::mem::take(&mut world.wakes);
        let changed = std::mem::take(&mut world.changed);
        drop(world);
        for waker in wakes {
            waker.wake();
        }
        if changed {
            self.changed.notify_waiters();
        }
        result
    }
}

impl World {
    pub(super) fn record(&mut self, what: fmt::Arguments<'_>) {
        let event = SimEvent {
            at: self.began.elapsed(),
            what: what.to_string(),
        };
        tracing::debug!(target: "coros_net::sim", "{event}");
        self.events.push(event);
    }

    // ---- hosts

    /// The host of this name; a new one if there is none.
    pub(super) fn host(&mut self, name: &str) -> Life {
        let known = self.hosts.iter().position(|host| host.name == name);
        let host = known.unwrap_or_else(|| {
            let number = u32::try_from(self.hosts.len() + 1).unwrap_or(u32::MAX);
            self.hosts.push(Host {
                name: name.to_owned(),
                ip: Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() | number),
                life: 0,
                frozen: false,
                listeners: BTreeMap::new(),
                last_port: FIRST_PORT - 1,
            });
            self.hosts.len() - 1
        });
        Life {
            host,
            number: self.hosts[host].life,
        }
    }

    pub(super) fn is_alive(&self, life: Life) -> bool {
        self.hosts[life.host].life == life.number
    }

    pub(super) fn find(&self, ip: Ipv4Addr) -> Option<HostId> {
        self.hosts.iter().position(|host| host.ip == ip)
    }

    pub(super) fn conditions(&self, one: HostId, other: HostId) -> Conditions {
        if one == other {
            return Conditions::INSTANT;
        }
        let pair = (one.min(other), one.max(other));
        self.between.get(&pair).unwrap_or(&self.everywhere).clone()
    }

    fn free_port(&mut self, host: HostId) -> u16 {
        let host = &mut self.hosts[host];
        loop {
            host.last_port = host.last_port.checked_add(1).unwrap_or(FIRST_PORT);
            if !host.listeners.contains_key(&host.last_port) {
                return host.last_port;
            }
        }
    }

    // ---- listening

    pub(super) fn listen(&mut self, life: Life, port: u16) -> io::Result<SocketAddr> {
        if !self.is_alive(life) {
            return Err(killed());
        }
        let port = match port {
            0 => self.free_port(life.host),
            port => port,
        };
        let host = &mut self.hosts[life.host];
        if host.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        host.listeners.insert(port, Backlog::default());
        Ok((host.ip, port).into())
    }

    pub(super) fn accept(
        &mut self,
        life: Life,
        port: u16,
        waker: &Waker,
    ) -> Poll<(EndId, SocketAddr)> {
        // To the listener of a dead host nothing ever happens.
        if !self.is_alive(life) {
            return Poll::Pending;
        }
        let host = &mut self.hosts[life.host];
        let Some(backlog) = host.listeners.get_mut(&port) else {
            return Poll::Pending;
        };
        if !host.frozen
            && let Some(next) = backlog.waiting.pop_front()
        {
            return Poll::Ready(next);
        }
        backlog.acceptor = Some(waker.clone());
        Poll::Pending
    }

    pub(super) fn stop_listening(&mut self, life: Life, port: u16) {
        if self.is_alive(life)
            && let Some(backlog) = self.hosts[life.host].listeners.remove(&port)
        {
            self.refuse_all(backlog);
        }
    }

    pub(super) fn refuse_all(&mut self, backlog: Backlog) {
        for (id, _) in backlog.waiting {
            self.drop_end(id);
        }
    }

    /// A connection to whoever listens there; the dialler's end.
    pub(super) fn connect(&mut self, from: HostId, to: HostId, port: u16) -> Option<EndId> {
        let [near, far] = [&self.hosts[from].name, &self.hosts[to].name];
        if !self.hosts[to].listeners.contains_key(&port) {
            let what = format!("{far} refuses {near}: nobody listens on port {port}");
            self.record(format_args!("{what}"));
            return None;
        }
        self.last_connection += 1;
        let number = self.last_connection;
        let what = format!("connection {number}: {near} to {far}");
        self.record(format_args!("{what}"));
        let now = Instant::now();
        let pipes = [(); 2].map(|()| Pipe::new(now, self.random.fork()));
        let ends = [from, to].map(ConnectionEnd::new);
        self.connections.insert(number, Connection { ends, pipes });

        let source = (self.hosts[from].ip, self.free_port(from)).into();
        let [near, far] = [0, 1].map(|side| EndId {
            connection: number,
            side,
        });
        if let Some(backlog) = self.hosts[to].listeners.get_mut(&port) {
            backlog.waiting.push_back((far, source));
            self.wakes.extend(backlog.acceptor.take());
        }
        Some(near)
    }

    // ---- streams

    pub(super) fn read(&mut self, id: EndId, waker: &Waker, buffer: &mut ReadBuf<'_>) -> Step<()> {
        let Some((connection, blocked)) = self.end(id) else {
            return Step::Done(Err(io::ErrorKind::NotConnected.into()));
        };
        let me = &mut connection.ends[id.side];
        if let Some(kind) = me.broken {
            return Step::Done(Err(kind.into()));
        }
        me.reader = Some(waker.clone());
        if blocked.frozen {
            return Step::Wait;
        }
        let found = connection.pipes[1 - id.side].read(Instant::now(), blocked.inward, |bytes| {
            let length = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..length]);
            length
        });
        if found == Found::Bytes {
            let writer = connection.ends[1 - id.side].writer.take();
            self.wakes.extend(writer);
        }
        match found {
            Found::Bytes | Found::End(End::ShutDown | End::Gone) => Step::Done(Ok(())),
            Found::End(End::Reset) => Step::Done(Err(io::ErrorKind::ConnectionReset.into())),
            Found::Later(at) => Step::Later(at),
            Found::Nothing => Step::Wait,
        }
    }

    pub(super) fn write(&mut self, id: EndId, waker: &Waker, bytes: &[u8]) -> Step<usize> {
        let now = Instant::now();
        let Some((connection, blocked)) = self.end(id) else {
            return Step::Done(Err(io::ErrorKind::NotConnected.into()));
        };
        let hosts = connection.ends.each_ref().map(|end| end.host);
        let me = &mut connection.ends[id.side];
        if let Some(kind) = me.broken {
            return Step::Done(Err(kind.into()));
        }
        me.writer = Some(waker.clone());
        if blocked.frozen {
            return Step::Wait;
        }
        let back = &connection.pipes[1 - id.side];
        let ends = match back.arrived_end(now, blocked.inward) {
            Some(End::Gone) => return Step::Done(Err(io::ErrorKind::BrokenPipe.into())),
            Some(End::Reset) => return Step::Done(Err(io::ErrorKind::ConnectionReset.into())),
            Some(End::ShutDown) => None,
            None => back.end_arrives().filter(|_| blocked.inward.is_none()),
        };
        let conditions = self.conditions(hosts[0], hosts[1]);
        let Some(connection) = self.connections.get_mut(&id.connection) else {
            return Step::Wait;
        };
        let written = connection.pipes[id.side].write(now, bytes, &conditions);
        if written > 0 || bytes.is_empty() {
            self.wakes
                .extend(connection.ends[1 - id.side].reader.take());
            return Step::Done(Ok(written));
        }
        ends.map_or(Step::Wait, Step::Later)
    }

    pub(super) fn shut_down(&mut self, id: EndId, waker: &Waker) -> Poll<()> {
        let Some((connection, blocked)) = self.end(id) else {
            return Poll::Ready(());
        };
        if blocked.frozen {
            connection.ends[id.side].writer = Some(waker.clone());
            return Poll::Pending;
        }
        self.finish(id, End::ShutDown);
        Poll::Ready(())
    }

    /// Nobody has the stream any more.
    pub(super) fn drop_end(&mut self, id: EndId) {
        let Some((connection, blocked)) = self.end(id) else {
            return;
        };
        let end = &mut connection.ends[id.side];
        end.held = false;
        if !end.gone && !blocked.frozen {
            self.leave(id);
        }
        self.forget(id.connection);
    }

    /// Closes an end, as the system does when a process drops it or dies.
    fn leave(&mut self, id: EndId) {
        let Some((connection, blocked)) = self.end(id) else {
            return;
        };
        connection.ends[id.side].gone = true;
        let back = &connection.pipes[1 - id.side];
        let end = if back.has_unread(Instant::now(), blocked.inward) {
            End::Reset
        } else {
            End::Gone
        };
        let host = connection.ends[id.side].host;
        let (name, number) = (self.hosts[host].name.clone(), id.connection);
        let how = if end == End::Gone { "closes" } else { "resets" };
        self.record(format_args!("connection {number}: {name} {how} it"));
        self.finish(id, end);
    }

    fn finish(&mut self, id: EndId, end: End) {
        let Some(connection) = self.connections.get(&id.connection) else {
            return;
        };
        let hosts = connection.ends.each_ref().map(|end| end.host);
        let conditions = self.conditions(hosts[0], hosts[1]);
        if let Some(connection) = self.connections.get_mut(&id.connection) {
            connection.pipes[id.side].finish(Instant::now(), end, &conditions);
            self.wakes.extend(connection.ends[1 - id.side].wakers());
        }
    }

    /// An end is of no more use to whoever has the stream, and closed.
    pub(super) fn break_off(&mut self, id: EndId) {
        if let Some((connection, _)) = self.end(id) {
            let end = &mut connection.ends[id.side];
            end.broken = Some(io::ErrorKind::ConnectionReset);
            if !end.gone {
                self.leave(id);
            }
            self.forget(id.connection);
        }
    }

    /// Makes up for what a host that stood still could not do.
    pub(super) fn close_if_dropped(&mut self, id: EndId) {
        if let Some((connection, _)) = self.end(id) {
            let end = &connection.ends[id.side];
            if !end.held && !end.gone {
                self.leave(id);
            }
            self.forget(id.connection);
        }
    }

    fn forget(&mut self, number: u64) {
        if self
            .connections
            .get(&number)
            .is_some_and(Connection::is_over)
        {
            self.connections.remove(&number);
        }
    }

    /// A connection, and what keeps one of its ends from going on.
    fn end(&mut self, id: EndId) -> Option<(&mut Connection, Blocked)> {
        let connection = self.connections.get_mut(&id.connection)?;
        let [me, other] = [id.side, 1 - id.side].map(|side| connection.ends[side].host);
        let blocked = Blocked {
            frozen: self.hosts[me].frozen,
            inward: self.blocked.get(&(other, me)).copied(),
        };
        Some((connection, blocked))
    }

    // ---- waking

    /// Those who wait at connections that `of` picks look again.
    pub(super) fn wake_all(&mut self, of: impl Fn(&Connection) -> bool) {
        for connection in self.connections.values_mut().filter(|c| of(c)) {
            for end in &mut connection.ends {
                self.wakes.extend(end.wakers());
            }
        }
        for host in &mut self.hosts {
            for backlog in host.listeners.values_mut() {
                self.wakes.extend(backlog.acceptor.take());
            }
        }
        self.changed();
    }

    /// What is between dialling and connecting has to look again.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }
}

struct Blocked {
    frozen: bool,
    /// Since when nothing comes in.
    inward: Option<Instant>,
}

impl Connection {
    pub(super) fn is_between(&self, one: HostId, other: HostId) -> bool {
        let hosts = self.ends.each_ref().map(|end| end.host);
        hosts == [one, other] || hosts == [other, one]
    }

    pub(super) fn has_end_at(&self, host: HostId) -> bool {
        self.ends.iter().any(|end| end.host == host)
    }

    /// Nobody can learn anything from it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.gone && !end.held)
    }
}

impl ConnectionEnd {
    fn new(host: HostId) -> Self {
        ConnectionEnd {
            host,
            broken: None,
            held: true,
            gone: false,
            reader: None,
            writer: None,
        }
    }

    fn wakers(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.reader.take().into_iter().chain(self.writer.take())
    }
}

pub(super) fn killed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the simulated host was killed")
}
