//! Whatever happens in whatever order, all agree in the end.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Change(usize, usize, Option<u64>),
    Spread(usize),
    Compare(usize),
    Deliver(usize),
    Lose(usize),
    Double(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..4_usize;
    let change = (node.clone(), 0..NAMES, proptest::option::of(1..1000_u64));
    prop_oneof![
        6 => change.prop_map(|(node, name, number)| Step::Change(node, name, number)),
        3 => node.clone().prop_map(Step::Spread),
        2 => node.prop_map(Step::Compare),
        6 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::Lose),
        1 => any::<usize>().prop_map(Step::Double),
    ]
}

proptest! {
    #[test]
    fn whatever_is_lost_doubled_or_late_all_agree_in_the_end(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        let mut line = Line::of(4);
        for step in steps {
            let count = line.under_way.len().max(1);
            match step {
                Step::Change(node, name, number) => line.change(node, name, number),
                Step::Spread(node) => line.spread(node),
                Step::Compare(node) => line.compare(node),
                Step::Deliver(which) if which % count < line.under_way.len() => {
                    let notice = line.under_way.swap_remove(which % count);
                    line.deliver(notice);
                }
                Step::Lose(which) if which % count < line.under_way.len() => {
                    line.under_way.swap_remove(which % count);
                }
                Step::Double(which) if which % count < line.under_way.len() => {
                    let notice = line.under_way[which % count].clone();
                    line.under_way.push(notice);
                }
                _ => {}
            }
        }
        line.settle();
        line.agree();
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// However late what a node says of itself comes, and by whatever way its news overtake that.
    #[test]
    fn a_name_that_is_never_taken_back_stays_where_it_is_known(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        // Everybody is linked to everybody, so that news overtake digests.
        let mut mesh = Line::of(4);
        mesh.all = true;
        let mut known = vec![BTreeSet::new(); 4];
        for step in steps {
            let count = mesh.under_way.len().max(1);
            match step {
                Step::Change(node, name, number) => mesh.change(node, name, Some(number.unwrap_or(0))),
                Step::Spread(node) => mesh.spread(node),
                Step::Compare(node) => mesh.compare(node),
                Step::Deliver(which) | Step::Lose(which) | Step::Double(which)
                    if which % count < mesh.under_way.len() =>
                {
                    let notice = mesh.under_way.swap_remove(which % count);
                    mesh.deliver(notice);
                }
                _ => {}
            }
            for (at, known) in known.iter_mut().enumerate() {
                let now = mesh.known(at);
                prop_assert!(known.is_subset(&now), "{at} has forgotten: {known:?}, {now:?}");
                *known = now;
            }
        }
    }
}
