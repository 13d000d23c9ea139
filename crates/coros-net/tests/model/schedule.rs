//! Who does what when, and what goes wrong meanwhile: all from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use coros_net::sim::SimNetwork;

use super::checks::{Checks, MAX_LATENCY, Who};
use super::nature::Nature;
use super::site::{HOLE, How, Site};
use crate::common::seeds::{Outcome, Random, in_virtual_time};

const STEPS: usize = 60;
/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

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

struct Schedule {
    random: Random,
    network: SimNetwork,
    checks: Checks,
    sites: Vec<Site>,
    /// From one to another.
    blocked: BTreeSet<(usize, usize)>,
    frozen: BTreeSet<usize>,
    mortals: u64,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let network = SimNetwork::new(random.next());
        let latency = Duration::from_millis(1 + random.below(MAX_LATENCY.as_millis() as u64));
        network.latency(Duration::ZERO..=latency);
        let nature = Nature::of(&mut random);
        let checks = Checks::new(nature);
        checks.note(format_args!("{nature:?}"));
        let mut schedule = Schedule {
            random,
            network,
            checks,
            sites: Vec::new(),
            blocked: BTreeSet::new(),
            frozen: BTreeSet::new(),
            mortals: 0,
        };
        for index in 0..3 + schedule.random.below(3) as usize {
            let site = schedule.start((index, 1)).await;
            schedule.sites.push(site);
        }
        schedule.close_hole();
        schedule
    }

    async fn start(&mut self, who: Who) -> Site {
        let place = self.checks.nature.place(who.0, &mut self.random);
        Site::start(&self.network, who, place, &self.checks).await
    }

    /// Nothing ever comes back from there.
    fn close_hole(&self) {
        let hosts = self.sites.iter().map(|site| &site.host);
        self.network.partition([&self.network.host(HOLE)], hosts);
    }

    fn heal(&mut self) {
        self.network.heal();
        self.close_hole();
        self.blocked.clear();
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.letters().await,
            50..60 => self.monitor(),
            60..65 => self.end_one(),
            65..85 => self.pass_time().await,
            _ => self.fault().await,
        }
        for site in &self.sites {
            self.checks.keeps(site.who, site.node.census());
        }
    }

    fn two(&mut self) -> (usize, usize) {
        let count = self.sites.len() as u64;
        let one = self.random.below(count);
        let other = (one + 1 + self.random.below(count - 1)) % count;
        (one as usize, other as usize)
    }

    async fn letters(&mut self) {
        let (from, to) = self.two();
        let mut who = self.sites[to].who;
        let [sender, receiver] = self
            .sites
            .get_disjoint_mut([from, to])
            .expect("two different ones");
        sender.meet(receiver);
        if self.random.below(10) == 0 {
            let known = self.sites[from].acquaintances();
            who = known[self.random.below(known.len() as u64) as usize];
        }
        for _ in 0..1 + self.random.below(5) {
            let how = match self.random.below(4) {
                0 => How::Send,
                1 => How::Feed,
                2 => How::Deliver,
                _ => How::Ask,
            };
            let ballast = self.random.below(self.checks.nature.ballast) as usize;
            self.sites[from].write(who, how, ballast).await;
        }
    }

    fn monitor(&mut self) {
        let (by, on) = self.two();
        let mut mortals = self.sites[on].mortals();
        if mortals.is_empty() || self.random.below(2) == 0 {
            self.mortals += 1;
            self.sites[on].start_mortal(self.mortals);
            mortals = vec![self.mortals];
        }
        let chosen = mortals[self.random.below(mortals.len() as u64) as usize];
        self.sites[by].watch(&self.sites[on], chosen);
    }

    fn end_one(&mut self) {
        let (at, _) = self.two();
        if let Some(&first) = self.sites[at].mortals().first() {
            self.sites[at].end_mortal(first);
        }
    }

    async fn pass_time(&mut self) {
        let longest = [20, 300, 2500, 10_000][self.random.below(4) as usize];
        let time = Duration::from_millis(self.random.below(longest));
        tokio::time::sleep(time).await;
    }

    async fn fault(&mut self) {
        let (one, other) = self.two();
        let hosts = [one, other].map(|index| self.sites[index].host.clone());
        match self.random.below(12) {
            0..2 => self.split(),
            2..4 => self.block([one], &[other]),
            4 => {
                self.network.partition_one_way([&hosts[0]], [&hosts[1]]);
                self.blocked.insert((one, other));
            }
            5..7 => self.heal(),
            7 => {
                self.checks.cut(one, other);
                self.network.cut(&hosts[0], &hosts[1]);
            }
            8 => {
                hosts[0].freeze();
                self.frozen.insert(one);
            }
            9 => self.thaw(),
            10 => self.kill(one).await,
            _ => self.leave(one).await,
        }
        self.now_deaf();
    }

    /// Some against the rest.
    fn split(&mut self) {
        let all = 0..self.sites.len();
        let (some, rest): (Vec<_>, Vec<_>) = all.partition(|_| self.random.below(2) == 0);
        self.block(some, &rest);
    }

    /// Nothing gets from some to others; nor back, unless that is the nature of this network.
    fn block(&mut self, some: impl IntoIterator<Item = usize>, others: &[usize]) {
        for one in some {
            for &other in others {
                let [from, to] = [one, other].map(|index| &self.sites[index].host);
                self.blocked.insert((one, other));
                if self.checks.nature.one_way {
                    self.network.partition_one_way([from], [to]);
                } else {
                    self.network.partition([from], [to]);
                    self.blocked.insert((other, one));
                }
            }
        }
    }

    fn thaw(&mut self) {
        for &index in &self.frozen {
            self.sites[index].host.thaw();
        }
        self.frozen.clear();
    }

    async fn kill(&mut self, index: usize) {
        self.disturb_all_with(index);
        self.sites[index].host.kill();
        self.frozen.remove(&index);
        self.restart(index).await;
    }

    async fn leave(&mut self, index: usize) {
        self.disturb_all_with(index);
        self.checks
            .note(format_args!("{:?} leaves", self.sites[index].who));
        self.sites[index].node.close().await;
        self.restart(index).await;
    }

    /// Another node takes the place, of the same name.
    async fn restart(&mut self, index: usize) {
        let (_, life) = self.sites[index].who;
        self.sites[index] = self.start((index, life + 1)).await;
    }

    fn disturb_all_with(&self, index: usize) {
        for other in 0..self.sites.len() {
            self.checks.disturb(index, other);
        }
    }

    fn now_deaf(&self) {
        let count = self.sites.len();
        let pairs = (0..count).flat_map(|hears| (0..count).map(move |says| (hears, says)));
        let deaf = pairs.filter(|&(hears, says)| {
            let frozen = [hears, says]
                .iter()
                .any(|index| self.frozen.contains(index));
            frozen || self.blocked.contains(&(says, hears))
        });
        self.checks.deaf(&deaf.collect());
    }

    /// Everybody writes to everybody.
    async fn write_all(&mut self) {
        for from in 0..self.sites.len() {
            for to in (0..self.sites.len()).filter(|&to| to != from) {
                let who = self.sites[to].who;
                let [sender, receiver] = self
                    .sites
                    .get_disjoint_mut([from, to])
                    .expect("two different ones");
                sender.meet(receiver);
                self.sites[from].write(who, How::Deliver, 0).await;
            }
        }
    }

    /// Everybody writes to those that are no more, too.
    async fn write_to_the_dead(&mut self) {
        for site in &self.sites {
            for who in site.acquaintances() {
                if self.sites[who.0].who != who {
                    site.write(who, How::Deliver, 0).await;
                }
            }
        }
    }

    /// Everything is well again: so everybody reaches everybody, nothing waits any more, and nothing
    /// is left.
    async fn finish(mut self) -> Outcome {
        self.checks.note("all is well again");
        self.heal();
        self.thaw();
        self.now_deaf();
        tokio::time::sleep(PATIENCE).await;
        for site in &mut self.sites {
            self.checks.watched(site.who, site.node.census());
            for number in site.mortals() {
                site.end_mortal(number);
            }
        }
        tokio::time::sleep(PATIENCE).await;
        // A session that only the peer knows to be over is found out by its next use.
        self.write_all().await;
        self.write_to_the_dead().await;
        tokio::time::sleep(PATIENCE).await;
        self.checks.all_is_well();
        self.write_all().await;
        tokio::time::sleep(PATIENCE).await;
        self.check_rest().await;
        Outcome::of(self.checks.finish(), &self.network)
    }

    async fn check_rest(&mut self) {
        for site in &mut self.sites {
            site.forget();
        }
        let member = self.checks.nature.member;
        // Without members each looks after those that it has a dormant session with.
        let idle = self.checks.nature.idle * 22;
        tokio::time::sleep(if member { 6 * PATIENCE } else { idle }).await;
        let id = |site: &Site| site.node.location().node;
        let alive: Vec<_> = self.sites.iter().map(|it| (it.who, id(it))).collect();
        for site in &self.sites {
            let peers = site.node.peers().into_iter().map(|peer| peer.node);
            let present = peers.chain([id(site)]).collect();
            self.checks.present(site.who, &present, &alive);
            self.checks.is_at_rest(site.who, site.node.census());
        }
        for site in &self.sites {
            site.node.close().await;
        }
        for site in self.sites.drain(..) {
            let node = site.node.clone();
            let who = site.who;
            drop(site);
            self.checks.has_closed(who, node.census());
        }
        tokio::time::sleep(PATIENCE).await;
    }
}
