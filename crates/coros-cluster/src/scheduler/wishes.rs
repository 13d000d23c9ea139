//! How many slots are asked of which node, without nodes or messages.
//!
//! What is there is used first. What is missing is asked for wherever it may be had, as nobody knows
//! who gives it: as soon as one node has, the others hear that it is not needed any more. So no call
//! waits for a node that others keep while another has room, and nobody keeps for long what he does
//! not need.

use super::core::Local;
use crate::daemon::leases::Wish;

/// A node that may lend slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Lender {
    /// How many of its slots are of use.
    pub(super) share: usize,
    /// How many it has lent and does not want back.
    pub(super) has: usize,
    /// How often it has lent some, and how often when all that it has was in use last.
    pub(super) grants: u64,
    pub(super) used: u64,
    /// On how many of them workers may run.
    pub(super) usable: usize,
    /// How many workers there are, with those that are about to go.
    pub(super) workers: usize,
    /// What calls want there.
    pub(super) local: Local,
}

impl Lender {
    /// Has so many workers start there, as if there were a call for each. Gives how many calls that is more.
    pub(super) fn all_work(&mut self, workers: usize) -> usize {
        let local = &mut self.local;
        let all = workers.min(self.share).saturating_sub(local.taken);
        let more = all.saturating_sub(local.waiting);
        local.waiting += more;
        more
    }
}

/// What is asked of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) wish: Wish,
    /// On how many of its slots workers may run.
    pub(super) usable: usize,
}

/// Makes a plan for each. There are never to be more workers in all than `limit`; who is alone on its
/// nodes needs all that it likes to have.
///
/// `anywhere` is what calls need that wait, `soon` what those will that are likely to come.
pub(super) fn plan(
    lenders: &[Lender],
    anywhere: usize,
    soon: usize,
    limit: usize,
    alone: bool,
) -> Vec<Plan> {
    let mut plans = vec![Plan::default(); lenders.len()];
    let all = || lenders.iter().zip(0..);
    let lent = |lender: &Lender| lender.has.min(lender.share);
    // Workers stay where they are; those that are about to go take their places as long as they are there.
    let (mut left, mut going) = (limit, 0);
    for (lender, n) in all() {
        let stay = lender.usable.min(lent(lender)).min(left);
        plans[n].usable = stay;
        left -= stay;
        going += lender.workers.saturating_sub(stay);
    }
    for (lender, n) in all() {
        let more = lent(lender) - plans[n].usable;
        let more = more.min(left.saturating_sub(going));
        plans[n].usable += more;
        left -= more;
    }
    let mut missing = anywhere;
    for (lender, n) in all() {
        let Plan { wish, usable } = &mut plans[n];
        wish.likes = lender.share.min(*usable + left);
        wish.needs = lender.local.taken + lender.local.waiting;
        let free = usable.saturating_sub(wish.needs).min(missing);
        wish.needs += free;
        missing -= free;
    }
    // Nobody waits for what may come.
    let waits = |lender: &Lender, wish: Wish| wish.needs + missing > lender.local.taken;
    let waits: Vec<_> = all().map(|(it, n)| waits(it, plans[n].wish)).collect();
    let mut missing = missing + soon;
    for (_, n) in all() {
        let Plan { wish, usable } = &mut plans[n];
        let free = usable.saturating_sub(wish.needs).min(missing);
        wish.needs += free;
        missing -= free;
    }
    for ((lender, n), waits) in all().zip(waits) {
        let Plan { wish, usable } = &mut plans[n];
        // What needs more than may be had is for other nodes.
        let large = lender.local.large.range(..=wish.likes);
        let (mut largest, mut all_large) = (0, 0);
        for (each, all) in large {
            (largest, all_large) = (*each, all_large + all);
        }
        wish.at_once = largest.max(usize::from(waits)).min(wish.likes);
        let idle = wish.at_once > 0 && lender.local.taken < *usable;
        wish.used = if idle { lender.used } else { lender.grants };
        wish.needs = match alone {
            true => wish.likes,
            false => (wish.needs + all_large + missing).min(wish.likes),
        };
    }
    plans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lender(share: usize, has: usize, taken: usize) -> Lender {
        let local = Local {
            taken,
            ..Local::default()
        };
        Lender {
            share,
            has,
            usable: has,
            local,
            ..Lender::default()
        }
    }

    fn needs(plans: &[Plan]) -> Vec<usize> {
        plans.iter().map(|plan| plan.wish.needs).collect()
    }

    #[test]
    fn what_is_missing_is_asked_of_all_until_one_has_it() {
        let nodes = [lender(4, 0, 0), lender(4, 1, 1), lender(2, 0, 0)];
        assert_eq!(needs(&plan(&nodes, 3, 0, 100, false)), [3, 4, 2]);
        // It runs there now.
        let nodes = [lender(4, 0, 0), lender(4, 4, 4), lender(2, 0, 0)];
        assert_eq!(needs(&plan(&nodes, 0, 0, 100, false)), [0, 4, 0]);
        // What is there is enough, wherever it is.
        let nodes = [lender(4, 0, 0), lender(4, 4, 1), lender(2, 0, 0)];
        assert_eq!(needs(&plan(&nodes, 3, 0, 100, false)), [0, 4, 0]);
    }

    #[test]
    fn a_call_for_a_node_is_no_reason_to_ask_another() {
        let mut nodes = [(); 2].map(|()| lender(4, 0, 0));
        nodes[1].local.waiting = 2;
        assert_eq!(needs(&plan(&nodes, 0, 0, 100, false)), [0, 2]);
    }

    /// Each of calls that come one after the other would else be told twice, for nothing.
    #[test]
    fn what_may_come_changes_nothing_when_it_comes() {
        let mut node = lender(4, 2, 0);
        (node.grants, node.used) = (1, 1);
        let idle = plan(&[node.clone()], 0, 1, 100, false);
        node.local.taken = 1;
        assert_eq!(plan(&[node], 0, 0, 100, false), idle);
    }

    #[test]
    fn a_large_call_needs_all_of_its_slots_on_one_node() {
        let mut nodes = [lender(4, 2, 0), lender(2, 2, 0), lender(8, 2, 2)];
        for node in &mut nodes {
            node.local.large = [(4, 4)].into();
        }
        let plans = plan(&nodes, 0, 0, 100, false);
        // Where it cannot run nobody waits for it.
        assert_eq!(needs(&plans), [4, 0, 6]);
        let at_once: Vec<_> = plans.iter().map(|plan| plan.wish.at_once).collect();
        assert_eq!(at_once, [4, 0, 4]);
    }

    #[test]
    fn a_limit_is_kept_by_those_who_have_workers() {
        // The first has just lent what the second had been asked for too.
        let mut nodes = [lender(4, 4, 0), lender(4, 3, 3)];
        nodes[0].usable = 0;
        let plans = plan(&nodes, 9, 0, 3, false);
        assert_eq!(plans[0], Plan::default());
        assert_eq!((plans[1].usable, plans[1].wish.likes), (3, 3));
        // A worker that is about to go is one still.
        let mut nodes = [lender(1, 0, 1), lender(1, 1, 0)];
        (nodes[0].workers, nodes[1].usable) = (1, 0);
        assert_eq!(plan(&nodes, 1, 0, 1, false)[1].usable, 0);
        nodes[0].workers = 0;
        assert_eq!(plan(&nodes, 1, 0, 1, false)[1].usable, 1);
        // One that lends nothing holds up nobody.
        let nodes = [lender(0, 0, 0), lender(4, 0, 0)];
        assert_eq!(plan(&nodes, 1, 0, 3, false)[1].wish.likes, 3);
    }

    #[test]
    fn what_was_lent_is_used_when_nothing_is_idle() {
        let mut node = lender(4, 2, 1);
        (node.grants, node.used) = (2, 1);
        let used = |node: &Lender, anywhere| {
            plan(std::slice::from_ref(node), anywhere, 0, 100, false)[0]
                .wish
                .used
        };
        assert_eq!(used(&node, 1), 1, "a worker starts");
        assert_eq!(used(&node, 0), 2, "nothing waits");
        node.local.taken = 2;
        assert_eq!(used(&node, 1), 2);
    }

    fn lenders() -> impl Strategy<Value = Vec<Lender>> {
        let lender = (
            0..6_usize,
            0..6_usize,
            0..6_usize,
            0..6_usize,
            0..4_usize,
            0..6_usize,
        );
        let lender = lender.prop_map(|(share, has, usable, taken, waiting, largest)| Lender {
            share,
            has,
            usable: usable.min(has),
            local: Local {
                taken: taken.min(has),
                waiting,
                large: (largest > 1)
                    .then_some((largest, largest))
                    .into_iter()
                    .collect(),
            },
            ..Lender::default()
        });
        prop::collection::vec(lender, 1..6)
    }

    proptest! {
        #[test]
        fn plans_stay_within_what_there_is(
            nodes in lenders(),
            anywhere in 0..20_usize,
            limit in 1..20_usize,
            alone in any::<bool>(),
        ) {
            let plans = plan(&nodes, anywhere, 0, limit, alone);
            let usable: usize = plans.iter().map(|plan| plan.usable).sum();
            prop_assert!(usable <= limit);
            let mut covered = 0;
            let mut could = 0;
            for (plan, node) in plans.iter().zip(&nodes) {
                prop_assert!(plan.usable <= node.has.min(node.share));
                prop_assert!(plan.wish.needs <= plan.wish.likes && plan.wish.likes <= node.share);
                prop_assert!(plan.wish.at_once <= plan.wish.needs);
                let local = node.local.taken + node.local.waiting;
                covered += plan.wish.needs.saturating_sub(local);
                could += plan.wish.likes.saturating_sub(local);
            }
            // All that waits is asked for, if it can be had at all.
            prop_assert!(covered >= anywhere.min(could) || alone);
        }
    }
}
