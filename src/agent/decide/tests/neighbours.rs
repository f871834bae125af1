//! Several cells of a node that depend on each other, each with its own core, in any interleaving.

use super::*;
use crate::agent::profile::Observed;
use crate::agent::report::report;
use crate::model::dependencies::Dependencies;
use crate::model::heartbeat::{Phase, RunningState};

const MOST: usize = 6;

fn name(number: usize) -> CellName {
    CellName::new(format!("c{number}")).unwrap()
}

fn running() -> Observed {
    RunningState::Running { pid: None, since: None, restarts: 0 }.into()
}

/// What a cell depends on: after some, requiring others.
#[derive(Debug, Clone, Default)]
struct Edges {
    after: BTreeSet<usize>,
    requires: BTreeSet<usize>,
}

impl Edges {
    fn needs(&self) -> Dependencies {
        let names = |numbers: &BTreeSet<usize>| numbers.iter().copied().map(name).collect();
        Dependencies { after: names(&self.after), requires: names(&self.requires) }
    }

    fn all(&self) -> BTreeSet<usize> {
        self.after.union(&self.requires).copied().collect()
    }
}

struct Node {
    cells: Vec<Walk>,
    edges: Vec<Edges>,
    /// Whose content is bad.
    bad: BTreeSet<usize>,
    /// Who switched or was started, in this order.
    begun: Vec<usize>,
}

impl Node {
    fn new(edges: Vec<Edges>) -> Self {
        let cells = edges.iter().map(|_| Walk::new()).collect();
        Self { cells, edges, bad: BTreeSet::new(), begun: Vec::new() }
    }

    fn publish(&mut self, number: usize, generation: u64, version: u8) {
        self.cells[number].trigger(&wish(1, generation, Ask::Deploy(version)), Place::Index);
    }

    fn card(&self, number: usize) -> Card {
        let cell = &self.cells[number].cell;
        let presence = cell.presence(&running(), false);
        let is_known = cell.open().last().is_none_or(|attempt| attempt.step != Step::Fetching);
        Card { presence, needs: is_known.then(|| self.edges[number].needs()), is_awaited: false }
    }

    fn neighbours(&self) -> Neighbours {
        (0..self.cells.len()).map(|number| (name(number), self.card(number))).collect()
    }

    fn look_around(&mut self, number: usize) {
        let (others, needs) = (self.neighbours(), self.edges[number].needs());
        let why = hindrance(&name(number), &needs, &others);
        let cell = &self.cells[number].cell;
        let ties = Ties {
            resuming: why.clone().filter(|_| cell.is_to_resume()),
            switching: why.filter(|_| cell.in_line().is_some()),
            lacks: lacks(&needs, &others).filter(|_| cell.up().is_some()),
            circle: in_circle(&name(number), &needs, &others),
        };
        self.cells[number].see(Seen::Tied(Box::new(ties)));
    }

    /// Lets a cell do its next step; false if it has none.
    fn step(&mut self, number: usize) -> bool {
        self.look_around(number);
        let is_bad = self.bad.contains(&number);
        match self.cells[number].next() {
            Some(Action::Do(Deed::Switch, _) | Action::Resume) => self.begun.push(number),
            Some(Action::Do(Deed::Activate | Deed::Restore, _)) if is_bad => {
                return self.cells[number].act(Luck::BadContent);
            }
            _ => {}
        }
        self.cells[number].act(Luck::Well)
    }

    /// Lets cells go on in the order of `picks`, and then all of them until none has anything to do.
    fn run(&mut self, picks: &[usize], check: impl Fn(&Self, usize)) {
        let step = |node: &mut Self, number: usize| {
            let begun = node.begun.len();
            let goes_on = node.step(number);
            if node.begun.len() > begun {
                check(node, number);
            }
            goes_on
        };
        for pick in picks {
            step(self, pick % self.edges.len());
        }
        for _ in 0..1_000 {
            let moved = (0..self.edges.len()).filter(|number| step(self, *number)).count();
            if moved == 0 {
                for walk in &self.cells {
                    let wakes_at = walk.cell.wakes_at();
                    assert!(
                        wakes_at.is_none_or(|at| at > walk.now().monotonic),
                        "it is woken for nothing, again and again"
                    );
                }
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    fn is_up(&self, number: usize) -> bool {
        self.card(number).presence == Presence::Up
    }

    /// All agents are started after a boot: nothing runs.
    fn boot(&mut self) {
        for walk in &mut self.cells {
            let state = walk.cell.state.clone();
            walk.cell = Cell { state, mind: Mind { resume: true, ..Mind::default() } };
            let current = walk.cell.state.placed.as_ref().map(Placed::release);
            walk.see(Seen::Started { current, up: None });
        }
        self.begun.clear();
    }

    fn phase(&self, number: usize) -> (Phase, Option<String>) {
        let report = report(&self.cells[number].cell, RunningState::Unknown.into());
        (report.phase, report.waiting.map(|waiting| format!("{}: {}", waiting.reason, waiting.message)))
    }
}

/// Cells of which each depends only on such with a lower number, named in any order.
fn any_order() -> impl Strategy<Value = Vec<Edges>> {
    let pairs = prop::collection::vec(0..4_u8, MOST * (MOST - 1) / 2);
    (1..=MOST, pairs, Just((0..MOST).collect::<Vec<usize>>()).prop_shuffle()).prop_map(|(count, pairs, names)| {
        let names: Vec<usize> = names.into_iter().filter(|name| *name < count).collect();
        let mut edges = vec![Edges::default(); count];
        let mut pairs = pairs.into_iter();
        for high in 0..count {
            for low in 0..high {
                edge(&mut edges[names[high]], names[low], pairs.next().unwrap());
            }
        }
        edges
    })
}

/// Cells that depend on whomever, but themselves.
fn any_graph() -> impl Strategy<Value = Vec<Edges>> {
    let pairs = prop::collection::vec(0..4_u8, MOST * MOST);
    (2..=MOST, pairs).prop_map(|(count, pairs)| {
        let mut edges = vec![Edges::default(); count];
        let mut pairs = pairs.into_iter();
        for (from, edges) in edges.iter_mut().enumerate() {
            for to in (0..count).filter(|to| *to != from) {
                edge(edges, to, pairs.next().unwrap());
            }
        }
        edges
    })
}

fn edge(edges: &mut Edges, to: usize, kind: u8) {
    match kind {
        0 => drop(edges.after.insert(to)),
        1 => drop(edges.requires.insert(to)),
        _ => {}
    }
}

fn in_order(node: &Node, number: usize) {
    for other in node.edges[number].all() {
        assert!(node.is_up(other), "c{number} began before c{other} was up: {:?}", node.card(other).presence);
    }
}

fn all_up(node: &Node) {
    for number in 0..node.cells.len() {
        assert!(node.is_up(number), "c{number}: {:?} {:?}", node.card(number).presence, node.phase(number));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn versions_and_starts_keep_the_order(edges in any_order(), picks in prop::collection::vec(0..MOST, 0..60)) {
        let mut node = Node::new(edges);
        for generation in 1..3 {
            (0..node.cells.len()).for_each(|number| node.publish(number, generation, u8::try_from(generation).unwrap()));
            node.run(&picks, in_order);
            all_up(&node);
        }
        node.boot();
        let started = |node: &Node, number: usize| {
            let before = node.edges[number].all();
            assert!(before.iter().all(|other| node.begun.contains(other)), "c{number} is started too early: {:?}", node.begun);
        };
        node.run(&picks, started);
        all_up(&node);
        prop_assert_eq!(node.begun.len(), node.cells.len());
    }

    #[test]
    fn circles_come_to_an_end(edges in any_graph(), picks in prop::collection::vec(0..MOST, 0..60)) {
        let mut node = Node::new(edges);
        (0..node.cells.len()).for_each(|number| node.publish(number, 1, 1));
        node.run(&picks, |_, _| {});
        all_up(&node);
        node.boot();
        node.run(&picks, |_, _| {});
        all_up(&node);
    }

    #[test]
    fn what_failed_holds_up_only_those_that_require_it(
        edges in any_order(),
        bad in prop::collection::btree_set(0..MOST, 1..3),
        picks in prop::collection::vec(0..MOST, 0..60),
    ) {
        let mut node = Node::new(edges);
        node.bad = bad;
        (0..node.cells.len()).for_each(|number| node.publish(number, 1, 1));
        node.run(&picks, |_, _| {});
        for number in 0..node.cells.len() {
            let required = node.edges[number].requires.iter().all(|other| node.is_up(*other));
            // One that waits for another that waits is on its way, and so holds up what is to come after it.
            let before = node.edges[number].after.iter().all(|other| !matches!(node.card(*other).presence, Presence::OnItsWay(_)));
            let (phase, _) = node.phase(number);
            prop_assert_eq!(phase == Phase::Waiting, !(required && before), "c{}: {:?}", number, phase);
        }
    }
}

/// `c0` requires `c1`, and starts after `c2`.
fn three() -> Node {
    let first = Edges { after: BTreeSet::from([2]), requires: BTreeSet::from([1]) };
    Node::new(vec![first, Edges::default(), Edges::default()])
}

#[test]
fn what_is_required_is_named_with_what_is_wrong_with_it() {
    let mut node = three();
    node.publish(0, 1, 1);
    node.run(&[], |_, _| {});
    let waits = |why: &str| (Phase::Waiting, Some(format!("dependency: c1, which it requires, {why}")));
    assert_eq!(node.phase(0), waits("is not on this node"), "one that it only starts after is not missed");
    let since = node.cells[0].cell.mind.hindered_since.unwrap();
    node.cells[0].seconds += 100;
    node.bad.insert(1);
    node.publish(1, 1, 1);
    node.run(&[], |_, _| {});
    assert_eq!(node.phase(0), waits("is down: bad"));
    assert_eq!(node.cells[0].cell.mind.hindered_since, Some(since), "it waits since it began to");
    node.bad.clear();
    node.publish(1, 2, 2);
    node.run(&[], in_order_of_required);
    assert_eq!((node.phase(0).0, node.cells[0].cell.mind.hindered_since), (Phase::UpToDate, None));
}

fn in_order_of_required(node: &Node, number: usize) {
    assert!(node.edges[number].requires.iter().all(|other| node.is_up(*other)));
}

#[test]
fn what_runs_goes_on_without_what_it_requires_and_says_so() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    node.cells[1].trigger(&wish(1, 2, Ask::Stop), Place::Index);
    node.run(&[], |_, _| {});
    let conditions = |node: &Node| {
        let report = report(&node.cells[0].cell, running());
        (report.phase, report.conditions.into_iter().map(|it| (it.code, it.message)).collect::<Vec<_>>())
    };
    let lacks = (Code::Dependency, "c1, which it requires, is stopped".to_owned());
    assert_eq!(conditions(&node), (Phase::UpToDate, vec![lacks]));
    node.publish(0, 2, 2);
    node.run(&[], |_, _| panic!("it is switched to all the same"));
    assert_eq!((node.cells[0].placed().unwrap().as_str(), node.phase(0).0), ("v1", Phase::Waiting));
    assert_eq!(conditions(&node).0, Phase::Waiting);
    node.cells[2].trigger(&wish(1, 2, Ask::Remove), Place::Index);
    node.publish(1, 3, 1);
    node.run(&[], in_order_of_required);
    assert_eq!(conditions(&node), (Phase::UpToDate, vec![]));
    assert_eq!(node.cells[0].placed().unwrap(), "v2");
}

#[test]
fn what_went_back_to_its_known_good_version_is_there() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    node.bad.insert(1);
    node.publish(0, 2, 2);
    node.publish(1, 2, 2);
    let mut steps = 0;
    // The version is bad, and what it takes the place of is not.
    while !matches!(node.cells[1].cell.state.journal.last().map(|it| &it.step), Some(Step::RollingBack { .. })) {
        node.step(1);
        node.step(0);
        steps += 1;
        assert!(steps < 50);
    }
    assert_eq!(node.cells[0].placed().unwrap(), "v1", "its turn comes after that");
    node.bad.clear();
    node.run(&[], in_order);
    let placed = [0, 1].map(|number| node.cells[number].placed().unwrap());
    assert_eq!(placed, ["v2", "v1"]);
}

#[test]
fn a_window_of_the_one_holds_up_who_requires_it_and_not_who_starts_after_it() {
    let closed = Seen::StepFailed {
        key: AttemptKey { at: Floor::new(Epoch::FIRST, Generation::new(2).unwrap()), number: 1 },
        trouble: Trouble::new(Code::Window, "closed until tomorrow", Cure::Turn { until: None }),
    };
    let run = |waits: usize| {
        let mut node = three();
        (0..3).for_each(|number| node.publish(number, 1, 1));
        node.run(&[], in_order);
        node.publish(waits, 2, 2);
        while !matches!(node.cells[waits].next(), Some(Action::Do(Deed::Ask, _))) {
            node.step(waits);
        }
        node.cells[waits].see(closed.clone());
        node.publish(0, 2, 2);
        node.run(&[], |_, _| {});
        (node.cells[0].placed().unwrap(), node.phase(0).1)
    };
    let why = "dependency: c1, which it requires, is to be changed first: closed until tomorrow";
    assert_eq!(run(1), ("v1".to_owned(), Some(why.to_owned())));
    assert_eq!(run(2), ("v2".to_owned(), None));
}

#[test]
fn what_waits_for_its_window_and_is_held_up_besides_is_not_woken_for_the_window() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    node.publish(0, 2, 2);
    while !matches!(node.cells[0].next(), Some(Action::Do(Deed::Ask, _))) {
        node.step(0);
    }
    node.cells[0].see(Seen::StepFailed {
        key: AttemptKey { at: Floor::new(Epoch::FIRST, Generation::new(2).unwrap()), number: 1 },
        trouble: Trouble::new(Code::Window, "closed", Cure::Turn { until: None }),
    });
    node.cells[1].trigger(&wish(1, 2, Ask::Stop), Place::Index);
    node.cells[0].seconds += 1_000;
    node.run(&[], |_, number| assert_ne!(number, 0));
    assert_eq!(node.cells[0].cell.wakes_at(), None);
}

#[test]
fn what_was_being_watched_is_not_asked_whether_it_is_good_before_it_is_started_after_a_boot() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    node.publish(0, 2, 2);
    while !matches!(node.cells[0].next(), Some(Action::Do(Deed::Check, _))) {
        node.step(0);
    }
    node.cells[1].trigger(&wish(1, 2, Ask::Stop), Place::Index);
    node.boot();
    node.run(&[], |_, number| assert_ne!(number, 0));
    let waits = Some("dependency: c1, which it requires, is stopped".to_owned());
    let step = |node: &Node| node.cells[0].cell.state.journal.last().map(|attempt| attempt.step.clone());
    assert_eq!((node.cells[0].next(), step(&node)), (None, Some(Step::Checking)));
    assert_eq!(node.phase(0), (Phase::Waiting, waits));
    node.publish(1, 3, 1);
    node.run(&[], in_order_of_required);
    assert_eq!((node.phase(0).0, node.cells[0].placed().unwrap().as_str()), (Phase::UpToDate, "v2"));
}

#[test]
fn what_was_announced_for_the_one_is_waited_for_by_the_other() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    let mut others = node.neighbours();
    let why = |others: &Neighbours| hindrance(&name(0), &node.edges[0].needs(), others);
    assert_eq!(why(&others), None);
    others.get_mut(&name(2)).unwrap().is_awaited = true;
    assert_eq!(why(&others).unwrap(), "c2, which it starts after, is on its way up");
    others.get_mut(&name(2)).unwrap().presence = Presence::Stopped;
    assert_eq!(why(&others).unwrap(), "c2, which it starts after, is stopped", "it may be about to be started");
    assert_eq!(lacks(&node.edges[0].needs(), &others), None);
}

#[test]
fn a_circle_is_told_and_the_first_name_goes_first() {
    let on = |other: usize| Edges { after: BTreeSet::new(), requires: BTreeSet::from([other]) };
    let mut node = Node::new(vec![on(1), on(2), on(0)]);
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[2, 2, 2, 2, 1, 1, 1, 1], |_, _| {});
    assert_eq!(node.begun, [0, 2, 1]);
    let report = report(&node.cells[1].cell, running());
    let told = &report.conditions[0];
    assert_eq!(told.code, Code::DependencyCircle);
    assert_eq!(told.message, "c1 → c2 → c0 → c1 depend on each other; c0 starts first");
}

#[test]
fn what_waits_to_be_started_can_be_stopped_and_is_not_started_any_more() {
    let mut node = three();
    (0..3).for_each(|number| node.publish(number, 1, 1));
    node.run(&[], in_order);
    node.cells[1].trigger(&wish(1, 2, Ask::Stop), Place::Index);
    node.run(&[], |_, _| {});
    node.boot();
    node.run(&[], |_, number| assert_ne!(number, 0));
    let waits = Some("dependency: c1, which it requires, is stopped".to_owned());
    assert_eq!(node.phase(0), (Phase::Waiting, waits));
    assert_eq!(node.cells[0].cell.up(), None, "nobody asks whether it is well");
    node.cells[0].trigger(&wish(1, 2, Ask::Stop), Place::Index);
    node.publish(1, 3, 1);
    node.run(&[], |_, number| assert_ne!(number, 0));
    assert_eq!(node.phase(0).0, Phase::Stopped);
}
