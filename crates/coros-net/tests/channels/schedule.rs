//! What happens: a channel at home on the first node, another one on the second that has subscribed
//! to it, and senders and subscribers everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coros_core::{Address, Channel};
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{Census, Node};
use tokio::sync::mpsc::UnboundedReceiver;

use super::record::{Record, Who};
use super::site::{Handle, Order, Post, Sender, Subscriber, still_knows};
use crate::common::seeds::{Outcome, Random, in_virtual_time};
use crate::common::{collector, next, sent};

const MS: Duration = Duration::from_millis(1);
const STEPS: usize = 50;
const SILENCE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(7);
const MAX_LATENCY: u64 = 200;
/// The network is gone for less: early enough within the grace that there is time for another link.
const SHORT: u64 = 3000;
/// Then the link is there again, and the next fault is another matter.
const RECOVERED: Duration = Duration::from_secs(6);
/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// More than a link takes at once comes together of a few of these.
const LARGE: u64 = 300 << 10;
const MOST: usize = 12;

/// Runs the schedule of a seed in virtual time.
pub(crate) fn run(seed: u64) -> Outcome {
    in_virtual_time(async {
        let mut schedule = Schedule::new(seed).await;
        for _ in 0..STEPS {
            schedule.step().await;
        }
        schedule.finish().await
    })
}

/// A node and its handles of the two channels.
struct Site {
    who: Who,
    host: SimHost,
    node: Node,
    main: Option<Channel<Post>>,
    annex: Option<Channel<Post>>,
    senders: Vec<Sender>,
    /// Where it gets what others give it.
    inbox: Address<Handle>,
    mail: UnboundedReceiver<Handle>,
    /// Where others do.
    known: BTreeMap<usize, Address<Handle>>,
}

struct Subscribed {
    number: usize,
    it: Subscriber,
    /// As the node knows it that has subscribed it.
    seen: Option<Address<Post>>,
    /// Where it is, and where it was subscribed, and to the annex or not.
    at: usize,
    via: usize,
    annex: bool,
    /// Another node knows it too, for as long as it is told to.
    known: Option<(usize, Address<Post>)>,
}

impl Subscribed {
    /// As it is known where it was subscribed.
    fn address(&self) -> &Address<Post> {
        let own = self.it.address.as_ref();
        self.seen.as_ref().or(own).expect("it is still held")
    }

    /// Nobody is to know it any more but the channel, and who was told of it.
    fn let_go(&mut self) {
        (self.it.address, self.seen) = (None, None);
    }
}

struct Schedule {
    random: Random,
    network: SimNetwork,
    record: Record,
    sites: Vec<Site>,
    subscribed: Vec<Subscribed>,
    /// Those who have unsubscribed, or whose channel has died, or whoever subscribed them.
    orphans: Vec<Subscribed>,
    /// Whether somebody was subscribed by a node that is neither its own nor the channel's: whoever passes
    /// an address on keeps it as long as it has to do with the node that has got it.
    passed_on: bool,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let network = SimNetwork::new(random.next());
        let latency = 1 + random.below(MAX_LATENCY);
        network.latency(Duration::ZERO..=latency as u32 * MS);
        let mut schedule = Schedule {
            record: Record::new(),
            sites: Vec::new(),
            subscribed: Vec::new(),
            orphans: Vec::new(),
            passed_on: false,
            random,
            network,
        };
        for index in 0..3 + schedule.random.below(3) as usize {
            let site = Site::start(&schedule.network, (index, 1)).await;
            schedule.sites.push(site);
        }
        let main = Channel::named("main");
        main.set_transform(Post::transformed);
        let annex = Channel::named("annex");
        schedule.sites[0].main = Some(main);
        schedule.sites[1].annex = Some(annex);
        for at in 0..schedule.sites.len() {
            schedule.exchange(at);
        }
        for at in 0..schedule.sites.len() {
            schedule.introduce(at).await;
        }
        let [main, annex] = schedule.seen_by(1);
        let subscribed = main.subscribe_channel_checked(&annex).await;
        assert_eq!(subscribed, Ok(true));
        for at in 0..schedule.sites.len() {
            for _ in 0..2 {
                schedule.add_sender(at);
            }
        }
        schedule
    }

    /// Lets a site and all others know each other.
    fn exchange(&mut self, at: usize) {
        for other in (0..self.sites.len()).filter(|other| *other != at) {
            for (from, to) in [(at, other), (other, at)] {
                let [giver, taker] = [&self.sites[from], &self.sites[to]];
                let inbox = sent(&taker.node, &giver.node, &taker.inbox);
                self.sites[from].known.insert(to, inbox);
            }
        }
    }

    /// Gives something of one node to another one: in a message, so that it is not for good.
    async fn give(&mut self, from: usize, to: usize, handle: Handle) -> Handle {
        if from == to {
            return handle;
        }
        let inbox = self.sites[from].known[&to].clone();
        inbox.deliver(handle).await.expect("the network is well");
        next(&mut self.sites[to].mail).await
    }

    /// Gives a site the handles that it does not have, and is not the home of.
    async fn introduce(&mut self, at: usize) {
        for (home, which) in [(0, 0), (1, 1)] {
            let site = &self.sites[at];
            if [&site.main, &site.annex][which].is_some() {
                continue;
            }
            let [main, annex] = self.seen_by(home);
            let handle = Handle::Channel([main, annex][which].clone());
            let seen = self.give(home, at, handle).await.channel();
            let site = &mut self.sites[at];
            [&mut site.main, &mut site.annex][which].replace(seen);
        }
    }

    fn seen_by(&self, at: usize) -> [Channel<Post>; 2] {
        let site = &self.sites[at];
        // Only its home has a channel when the others are yet to be told.
        let empty = || Channel::named("none");
        [&site.main, &site.annex].map(|it| it.clone().unwrap_or_else(empty))
    }

    fn add_sender(&mut self, at: usize) {
        let [main, _] = self.seen_by(at);
        let number = self.record.add_sender(self.sites[at].who);
        let sender = Sender::start(&self.record, number, main);
        self.sites[at].senders.push(sender);
    }

    fn any(&mut self) -> usize {
        self.random.below(self.sites.len() as u64) as usize
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.send(),
            45..60 if self.subscribed.len() < MOST => self.subscribe_somebody().await,
            45..60 => {}
            60..66 => self.unsubscribe(),
            66..72 => self.end_one(),
            72..86 => {
                let longest = [20, 300, 3000][self.random.below(3) as usize];
                tokio::time::sleep(self.random.below(longest) as u32 * MS).await;
            }
            86..97 => self.fault().await,
            _ => self.kill().await,
        }
    }

    fn send(&mut self) {
        let at = self.any();
        let is_large = self.random.below(6) == 0;
        for _ in 0..1 + self.random.below(8) {
            let limit = [500, 4000, 30_000][self.random.below(3) as usize] * MS;
            let wanted = self.random.below(self.subscribed.len() as u64 + 2) as usize;
            let freight = if is_large {
                self.random.below(LARGE)
            } else {
                10
            };
            let order = Order {
                loud: self.random.below(5) == 0,
                freight: freight as usize,
                deliver: (self.random.below(3) == 0).then_some((wanted, limit)),
            };
            let site = &self.sites[at];
            let which = self.random.below(site.senders.len() as u64) as usize;
            let _ = site.senders[which].orders.send(order);
        }
    }

    /// While the network is well: now and then another node is involved.
    async fn subscribe_somebody(&mut self) {
        let (at, other, third) = (self.any(), self.any(), self.any());
        let via = if self.random.below(8) == 0 { other } else { at };
        let is_known = third != at && self.random.below(2) == 0;
        let mut it = self.start_subscriber(at, via);
        let own = it.it.address.clone().expect("it has just been started");
        if via != at {
            self.passed_on |= via != usize::from(it.annex);
            let seen = self.give(at, via, Handle::Coroutine(own.clone())).await;
            it.seen = Some(seen.coroutine());
        }
        if is_known {
            let known = self.give(at, third, Handle::Coroutine(own)).await;
            it.known = Some((third, known.coroutine()));
        }
        self.subscribe(it);
    }

    fn subscribe_here(&mut self) {
        let at = self.any();
        let it = self.start_subscriber(at, at);
        self.subscribe(it);
    }

    fn start_subscriber(&mut self, at: usize, via: usize) -> Subscribed {
        let annex = self.random.below(3) == 0;
        // Who has subscribed it is none of them: the home has its address.
        let mut way: Vec<Who> = [Some(0), annex.then_some(1), Some(at)]
            .into_iter()
            .flatten()
            .map(|index| self.sites[index].who)
            .collect();
        way.dedup();
        let number = self.record.add_subscriber(way, via != at);
        Subscribed {
            number,
            it: Subscriber::start(&self.record, number),
            seen: None,
            at,
            via,
            annex,
            known: None,
        }
    }

    fn subscribe(&mut self, it: Subscribed) {
        let number = it.number;
        let channel = self.channel_of(&it).clone();
        match channel.subscribe(it.address()) {
            Ok(true) => {}
            other => self
                .record
                .wrong(format_args!("{number} subscribes: {other:?}")),
        }
        self.subscribed.push(it);
        let record = self.record.clone();
        tokio::spawn(async move {
            match channel.ask_subscribers().await {
                Ok(_) => record.has_subscribed(number),
                Err(error) => record.note(format_args!("{number}: {error}")),
            }
        });
    }

    fn channel_of(&self, it: &Subscribed) -> &Channel<Post> {
        let site = &self.sites[it.via];
        let channel = if it.annex { &site.annex } else { &site.main };
        channel.as_ref().expect("all have been told")
    }

    fn unsubscribe(&mut self) {
        if self.subscribed.is_empty() {
            return;
        }
        let which = self.random.below(self.subscribed.len() as u64) as usize;
        let it = &self.subscribed[which];
        if it.via != it.at && it.seen.is_none() {
            // Who has subscribed it is dead.
            return;
        }
        let gone = self.subscribed.swap_remove(which);
        self.record.lets_go(gone.number);
        if !self.channel_of(&gone).unsubscribe(gone.address()) {
            let number = gone.number;
            self.record
                .wrong(format_args!("{number} had not subscribed"));
        }
        self.orphans.push(gone);
    }

    fn end_one(&mut self) {
        if self.subscribed.is_empty() {
            return;
        }
        let which = self.random.below(self.subscribed.len() as u64) as usize;
        let gone = self.subscribed.swap_remove(which);
        self.record.killed(gone.number);
        gone.it.stop();
    }

    /// The network is gone for a while, for some; and nobody else notices.
    async fn fault(&mut self) {
        let (one, other) = (self.any(), self.any());
        if one == other {
            return;
        }
        let hosts = [one, other].map(|index| self.sites[index].host.clone());
        let kind = self.random.below(4);
        self.record
            .note(format_args!("fault {kind} between {one} and {other}"));
        match kind {
            0 => self.network.cut(&hosts[0], &hosts[1]),
            1 => self.network.partition([&hosts[0]], [&hosts[1]]),
            2 => self.network.partition_one_way([&hosts[0]], [&hosts[1]]),
            _ => self.split(),
        }
        let until = tokio::time::Instant::now() + self.random.below(SHORT) as u32 * MS;
        while tokio::time::Instant::now() < until {
            match self.random.below(4) {
                0..3 => self.send(),
                3 if self.subscribed.len() < MOST => self.subscribe_here(),
                _ => {}
            }
            let next = tokio::time::Instant::now() + self.random.below(600) as u32 * MS;
            tokio::time::sleep_until(next.min(until)).await;
        }
        self.network.heal();
        self.record.note("healed");
        tokio::time::sleep(RECOVERED).await;
    }

    fn split(&mut self) {
        let left: BTreeSet<usize> = (0..self.sites.len())
            .filter(|_| self.random.below(2) == 0)
            .collect();
        let side = |which: bool| {
            let sites = self.sites.iter().enumerate();
            let of_it = sites.filter(move |(index, _)| left.contains(index) == which);
            of_it.map(|(_, site)| &site.host).collect::<Vec<_>>()
        };
        let sides = [side.clone()(true), side(false)];
        let [left, right] = sides;
        self.network.partition(left, right);
    }

    /// A node dies, any but the home, and is started again.
    async fn kill(&mut self) {
        let at = 1 + self.random.below(self.sites.len() as u64 - 1) as usize;
        let (_, life) = self.sites[at].who;
        // Who was subscribed by a third node is kept for that one's sake until something is sent to it.
        for (home, which) in [(0, 0), (1, 1)] {
            let channel = &self.seen_by(home)[which];
            let limit = Duration::from_secs(30);
            let _ = channel.deliver(Post::direct(), 0, limit).await;
        }
        self.record.node_died(self.sites[at].who);
        self.sites[at].host.kill();
        let gone = |it: &mut Subscribed| it.at == at || (it.annex && at == 1);
        for mut gone in self.subscribed.extract_if(.., gone) {
            if gone.at == at {
                gone.it.stop();
            } else {
                gone.let_go();
                self.orphans.push(gone);
            }
        }
        for gone in self.orphans.extract_if(.., |it| it.at == at) {
            gone.it.stop();
        }
        for it in self.subscribed.iter_mut().chain(&mut self.orphans) {
            it.known = it.known.take().filter(|(by, _)| *by != at);
            it.seen = it.seen.take().filter(|_| it.via != at);
        }
        // What it held is dropped with it.
        self.sites[at] = Site::start(&self.network, (at, life + 1)).await;
        self.exchange(at);
        if at == 1 {
            self.new_annex().await;
        }
        self.introduce(at).await;
        self.add_sender(at);
        self.add_sender(at);
        // That it is dead is seen at once or when it has been silent, and the grace is over.
        tokio::time::sleep(2 * (SILENCE + GRACE)).await;
    }

    /// Another one in the place of the one that has died.
    async fn new_annex(&mut self) {
        for site in &mut self.sites {
            site.annex = None;
        }
        self.sites[1].annex = Some(Channel::named("annex"));
        for at in 0..self.sites.len() {
            self.introduce(at).await;
        }
        let [main, annex] = self.seen_by(1);
        let subscribed = main.subscribe_channel_checked(&annex).await;
        assert_eq!(subscribed, Ok(true));
    }

    async fn finish(mut self) -> Outcome {
        self.record.note("all is well again");
        for site in &mut self.sites {
            for sender in site.senders.drain(..) {
                if let Err(why) = sender.done().await {
                    self.record
                        .wrong(format_args!("a sender never ends: {why}"));
                }
            }
        }
        tokio::time::sleep(PATIENCE).await;
        self.everybody_counts().await;
        self.all_are_released().await;
        Outcome::of(self.record.finish(), &self.network)
    }

    /// The channel has those who have subscribed and live, and each node is told so.
    async fn everybody_counts(&self) {
        let all = self.subscribed.len();
        for site in &self.sites {
            let main = site.main.as_ref().expect("all have been told");
            let count = main.ask_subscribers().await;
            if count != Ok(all) {
                let who = site.who;
                self.record
                    .wrong(format_args!("{who:?} counts {count:?}, not {all}"));
            }
        }
    }

    /// When the channels are closed, nobody knows their subscribers any more but those who have been told
    /// of them otherwise; and when those forget them, nothing is left.
    async fn all_are_released(&mut self) {
        let mut all = std::mem::take(&mut self.subscribed);
        all.append(&mut self.orphans);
        all.iter_mut().for_each(Subscribed::let_go);
        let [main, _] = self.seen_by(0);
        let [_, annex] = self.seen_by(1);
        assert!(main.close() && annex.close());
        drop((main, annex));
        tokio::time::sleep(PATIENCE).await;
        for it in &all {
            self.is_released_once(it).await;
        }
        for it in &mut all {
            it.known = None;
        }
        for site in &mut self.sites {
            (site.main, site.annex) = (None, None);
            site.known.clear();
            site.inbox.terminate();
        }
        tokio::time::sleep(PATIENCE).await;
        if !self.passed_on {
            self.nothing_is_left();
        }
        for site in &self.sites {
            site.node.close().await;
        }
        tokio::time::sleep(PATIENCE).await;
        for Subscribed { number, .. } in all {
            if !self.record.has_ended(number) {
                self.record.wrong(format_args!("{number} lives for ever"));
            }
        }
    }

    async fn is_released_once(&self, it: &Subscribed) {
        let number = it.number;
        let ended = self.record.has_ended(number);
        match &it.known {
            Some((by, address)) => {
                if let Err(why) = still_knows(address).await {
                    let ended = if ended {
                        "released twice"
                    } else {
                        "out of reach"
                    };
                    self.record
                        .wrong(format_args!("{number} is {ended}, for {by}: {why}"));
                }
            }
            None if !ended && !self.passed_on => {
                self.record.wrong(format_args!("{number} is not released"));
            }
            None => {}
        }
    }

    fn nothing_is_left(&self) {
        for site in &self.sites {
            let Census {
                exports,
                imports,
                watches,
                watching,
                ..
            } = site.node.census();
            let left = [exports, imports, watches, watching];
            if left != [0; 4] {
                let who = site.who;
                self.record
                    .wrong(format_args!("{left:?} are left at {who:?}"));
            }
        }
    }
}

impl Site {
    async fn start(network: &SimNetwork, who: Who) -> Self {
        let host = network.host(&format!("n{}", who.0));
        let builder = host
            .builder()
            .member(false)
            .listen((host.ip(), 7000).into())
            .silence(SILENCE)
            .grace(GRACE)
            .handshake_limit(HANDSHAKE);
        let node = builder.build().await.expect("the port is free");
        let (inbox, mail) = collector();
        Site {
            who,
            host,
            node,
            main: None,
            annex: None,
            senders: Vec::new(),
            inbox,
            mail,
            known: BTreeMap::new(),
        }
    }
}
