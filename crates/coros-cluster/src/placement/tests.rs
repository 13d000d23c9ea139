//! Rules on nodes of all kinds.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// A node of which everything that rules look at is known.
fn node(name: &str) -> NodeView {
    static HERE: LazyLock<Machine> = LazyLock::new(|| Machine::look([]));
    let mut machine = HERE.clone();
    machine.platform.os = "linux".into();
    machine.platform.arch = "x86_64".into();
    machine.cores = NonZeroU32::new(8).expect("not 0");
    machine.memory = 1000;
    machine.gpus = 2;
    machine.labels = ["gpu=a100", "fast"]
        .map(|label| label.parse().expect("a label"))
        .into();
    let mut node = NodeView::new(name, machine);
    node.addresses = ["10.1.2.3", "fd00::5", "::ffff:192.168.7.9"]
        .map(|address| address.parse().expect("an address"))
        .into();
    node.load.disk_free = Some(500);
    node
}

fn with_cores(cores: u32) -> NodeView {
    let mut node = node("n");
    node.machine.cores = NonZeroU32::new(cores).expect("not 0");
    node
}

fn placement(rules: impl IntoIterator<Item = Rule>) -> Placement {
    let builder = rules
        .into_iter()
        .fold(Placement::builder(), PlacementBuilder::rule);
    builder.build().expect("the rules make sense")
}

/// What is used of a node by a rule alone.
fn share(rule: Rule, node: &NodeView) -> Share {
    match placement([rule]).decide(node) {
        Decision::Use(share) => share,
        Decision::Excluded(why) => panic!("{why}"),
    }
}

fn matches(rule: Rule, node: &NodeView) -> bool {
    placement([rule.exclude()]).decide(node) == Decision::Excluded(Excluded::ByRule(1))
}

#[test]
fn each_condition_narrows() {
    let node = node("gpu-7");
    let new = Rule::new;
    for (rule, met) in [
        (new(), true),
        (new().name("gpu-*"), true),
        (new().name("GPU-?"), true),
        (new().name("gpu-[1-6]"), false),
        (new().name("{cpu,gpu}-7"), true),
        (new().name("gpu"), false),
        (new().name(r"gpu\-7"), true),
        (new().name(r"gpu\*"), false),
        (new().name("10.1.2.3"), false),
        (new().address("10.1.2.3"), true),
        (new().address("10.1.0.0/16"), true),
        (new().address("10.2.0.0/16"), false),
        (new().address("10.1.*"), true),
        (new().address("10.2.*"), false),
        (new().address("fd00::/8"), true),
        (new().address("[fd00::5]"), true),
        (new().address("[fd00::6]"), false),
        (new().address("192.168.0.0/16"), true),
        (new().address("192.168.7.9"), true),
        (new().os("linux"), true),
        (new().os("macos"), false),
        (new().arch("x86_64"), true),
        (new().arch("aarch64"), false),
        (new().label("gpu"), true),
        (new().label("gpu=a100"), true),
        (new().label("gpu=h100"), false),
        (new().label("slow"), false),
        (new().least_cores(8), true),
        (new().least_cores(9), false),
        (new().least_memory(1000), true),
        (new().least_memory(1001), false),
        (new().least_disk(500), true),
        (new().least_disk(501), false),
        (new().least_gpus(2), true),
        (new().least_gpus(3), false),
        (new().name("gpu-*").label("slow"), false),
        (new().name("gpu-*").label("fast").least_cores(4), true),
    ] {
        assert_eq!(matches(rule.clone(), &node), met, "{rule:?}");
    }
    let mut untold = node;
    untold.load.disk_free = None;
    assert!(!matches(Rule::new().least_disk(1), &untold));
}

#[test]
fn a_rule_says_how_much() {
    let node = with_cores(8);
    let used = |rule| {
        let share = share(rule, &node);
        (share.cpus.get(), share.memory, share.workers.get())
    };
    assert_eq!(used(Rule::new()), (8, 1000, 8));
    assert_eq!(used(Rule::new().cpus(-1)), (7, 1000, 7));
    assert_eq!(used(Rule::new().cpus(-9)), (1, 1000, 1));
    assert_eq!(used(Rule::new().cpus(9)), (8, 1000, 8));
    assert_eq!(used(Rule::new().cpus(3).memory(0.25)), (3, 250, 3));
    assert_eq!(used(Rule::new().memory(1.0).workers(2)), (8, 1000, 2));
    assert_eq!(used(Rule::new().cpus(3).workers(5)), (3, 1000, 3));
    // One core is used, not left.
    assert_eq!(share(Rule::new().cpus(-1), &with_cores(1)).cpus.get(), 1);
}

#[test]
fn the_function_has_the_last_word_but_not_over_the_list() {
    let placement = Placement::builder()
        .only(["farm-*"])
        .rule(Rule::new().name("*-old").exclude())
        .allocate(|node, decision| match decision {
            Decision::Excluded(_) => Decision::Use(Share {
                cpus: NonZeroU32::MAX,
                memory: u64::MAX,
                workers: NonZeroU32::MAX,
            }),
            Decision::Use(_) if node.load.average > 4.0 => Decision::exclude("it is busy"),
            used => used,
        })
        .build()
        .expect("it makes sense");
    let whole = |node: &NodeView| Decision::Use(Share::whole(&node.machine));
    let mut new = node("farm-new");
    assert_eq!(placement.decide(&new), whole(&new));
    new.load.average = 5.0;
    assert_eq!(placement.decide(&new), Decision::exclude("it is busy"));
    // Used after all, within what it has.
    let old = node("farm-old");
    assert_eq!(placement.decide(&old), whole(&old));
    let other = Decision::Excluded(Excluded::NotListed);
    assert_eq!(placement.decide(&node("desk-old")), other);
}

#[test]
fn a_list_is_of_names_addresses_and_networks() {
    let listed = |nodes: &[&str], node: &NodeView| {
        let placement = Placement::builder().only(nodes).build();
        let decision = placement.expect("it makes sense").decide(node);
        decision != Decision::Excluded(Excluded::NotListed)
    };
    let node = node("farm-1");
    for one in [
        "farm-1",
        "farm-*",
        "10.1.2.3",
        "10.1.2.*",
        "10.0.0.0/8",
        "192.168.7.9",
    ] {
        assert!(listed(&["x", one], &node), "{one}");
    }
    for other in [
        "farm-",
        "farm-2",
        "10.1.2.4",
        "10.1.2.0/31",
        "farm-1.example",
    ] {
        assert!(!listed(&["x", other], &node), "{other}");
    }
    assert!(!listed(&[], &node));
}

#[test]
fn errors_say_where_what_and_what_is_expected() {
    let error = |builder: PlacementBuilder| {
        let error = builder.build().expect_err("it makes no sense");
        error.to_string()
    };
    let rule = |rule| error(Placement::builder().rule(Rule::new()).rule(rule));
    assert_eq!(
        rule(Rule::new().name("gpu-[1").cpus(0)),
        "rule 2: \"gpu-[1\" is no pattern, such as `gpu-*` or `node[1-9]`: unclosed character \
         class; missing ']'"
    );
    let address = "is no address, network such as `10.0.0.0/8`, or pattern for addresses such as \
                   `10.0.*`";
    for text in ["10.0.0.0/33", "10.0.0", "gpu-*", "", "farm-1"] {
        let wrong = rule(Rule::new().address(text));
        assert_eq!(wrong, format!("rule 2: {text:?} {address}"));
    }
    for (wrong, says) in [
        (Rule::new().name(""), "it is empty"),
        (Rule::new().label("a b"), "\"a b\" is no label: expected"),
        (Rule::new().cpus(0), "exclude() leaves nodes out"),
        (Rule::new().workers(0), "exclude() leaves nodes out"),
        (Rule::new().memory(1.5), "memory(1.5) is no share"),
        (Rule::new().memory(0.0), "memory(0) is no share"),
        (Rule::new().memory(f64::NAN), "memory(NaN) is no share"),
    ] {
        let text = rule(wrong);
        assert!(
            text.starts_with("rule 2: ") && text.contains(says),
            "{text}"
        );
    }
    let list = error(Placement::builder().only(["good", "10.0.0.0/99"]));
    assert_eq!(
        list,
        format!("the list of nodes: \"10.0.0.0/99\" {address}")
    );
}

/// Some rule, whether it is for a node of that name and so many cores, and the cores that it uses
/// of so many, unless it excludes.
#[derive(Clone, Debug)]
struct Model {
    letter: Option<char>,
    least: u32,
    cpus: Option<i32>,
}

impl Model {
    fn rule(&self) -> Rule {
        let mut rule = Rule::new().least_cores(self.least);
        if let Some(letter) = self.letter {
            rule = rule.name(&format!("{letter}*"));
        }
        match self.cpus {
            Some(cpus) => rule.cpus(cpus),
            None => rule.exclude(),
        }
    }

    fn is_for(&self, name: &str, cores: u32) -> bool {
        cores >= self.least && self.letter.is_none_or(|letter| name.starts_with(letter))
    }
}

fn model() -> impl Strategy<Value = Model> {
    let letter = proptest::option::of(prop::char::range('a', 'd'));
    let cpus = prop_oneof![Just(None), Just(Some(-1)), (1..9i32).prop_map(Some)];
    (letter, 0..8u32, cpus).prop_map(|(letter, least, cpus)| Model {
        letter,
        least,
        cpus,
    })
}

proptest! {
    #[test]
    fn minus_one_leaves_one_and_never_uses_all_or_none(cores in 1..=u32::MAX) {
        let used = share(Rule::new().cpus(-1), &with_cores(cores)).cpus.get();
        prop_assert_eq!(used, if cores == 1 { 1 } else { cores - 1 });
    }

    #[test]
    fn what_is_used_is_there(
        cores in 1..40u32,
        memory: u64,
        cpus in any::<i32>().prop_filter("not 0", |n| *n != 0),
        part in 0.001..=1.0f64,
        workers in 1..=u32::MAX,
    ) {
        let mut node = with_cores(cores);
        node.machine.memory = memory;
        let used = share(Rule::new().cpus(cpus).memory(part).workers(workers), &node);
        prop_assert!(used.cpus.get() <= cores);
        prop_assert!(used.memory <= memory);
        prop_assert!(used.workers <= used.cpus);
    }

    #[test]
    fn the_first_rule_that_matches_decides(
        models in prop::collection::vec(model(), 0..6),
        name in "[a-d][0-9]",
        cores in 1..9u32,
    ) {
        let mut node = node(&name);
        node.machine.cores = NonZeroU32::new(cores).expect("not 0");
        let decision = placement(models.iter().map(Model::rule)).decide(&node);
        let first = models.iter().enumerate().find(|(_, model)| model.is_for(&name, cores));
        let used = match first {
            Some((at, Model { cpus: None, .. })) => {
                prop_assert_eq!(decision, Decision::Excluded(Excluded::ByRule(at + 1)));
                return Ok(());
            }
            Some((_, Model { cpus: Some(-1), .. })) => (cores - 1).max(1),
            Some((_, Model { cpus: Some(most), .. })) => cores.min(most.unsigned_abs()),
            None => cores,
        };
        let Decision::Use(share) = decision else {
            return Err(TestCaseError::fail(format!("{decision:?}")));
        };
        prop_assert_eq!(share.cpus.get(), used);
    }

    #[test]
    fn a_list_excludes_all_others(
        listed in prop::collection::hash_set("[a-c][0-3]", 0..6),
        name in "[a-c][0-3]",
        models in prop::collection::vec(model(), 0..3),
    ) {
        let builder = models.iter().map(Model::rule)
            .fold(Placement::builder().only(&listed), PlacementBuilder::rule);
        let placement = builder.build().expect("it makes sense");
        let excluded = placement.decide(&node(&name)) == Decision::Excluded(Excluded::NotListed);
        prop_assert_eq!(excluded, !listed.contains(&name));
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "[-a-f0-9./:*?\\[\\]{},!= \\\\é]{0,20}") {
        let rule = Rule::new().name(&text).address(&text).label(&text);
        let _ = Placement::builder().rule(rule).only([&text]).build();
    }
}
