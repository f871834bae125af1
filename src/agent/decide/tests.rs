mod gate;
mod health;
mod hold;
mod hooks;
mod neighbours;
mod standing;
mod turn;

use std::sync::{Arc, Mutex};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::sign::{PinnedKey, PrivateKey, Signer, Trust};
use crate::model::trigger::{Target, Trigger, TriggerOptions};
use crate::model::{CellName, Epoch, Generation, NodeName, Sha256Digest, UserName, VersionName};

const PATIENCE: Patience = Patience { first: Duration::from_secs(15), most: Duration::from_secs(300) };

/// A version must be good after so long.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a made-up trigger asks for; a number is a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Deploy(u8),
    Retry(u8),
    Stop,
    Remove,
    Newer,
}

/// A trigger as the agent believes it. Signing is slow, so equal ones are signed once.
fn wish(epoch: u32, generation: u64, ask: Ask) -> Wish {
    static SIGNED: Mutex<BTreeMap<(u32, u64, Ask), Wish>> = Mutex::new(BTreeMap::new());
    let mut signed = SIGNED.lock().unwrap();
    Arc::clone(signed.entry((epoch, generation, ask)).or_insert_with(|| sign(epoch, generation, ask)))
}

fn sign(epoch: u32, generation: u64, ask: Ask) -> Wish {
    let target = |number: u8| Target {
        version: VersionName::new(format!("v{number}")).unwrap(),
        manifest_sha256: Sha256Digest::of(&[number]),
        manifest_size: 1,
        content_sha256: Sha256Digest::of(&[number, 0]),
    };
    let options = TriggerOptions { retry: matches!(ask, Ask::Retry(_)), ..TriggerOptions::default() };
    let mut requires = options.names();
    if ask == Ask::Newer {
        requires.push("telepathy".to_owned());
    }
    let trigger = Trigger {
        requires,
        fleet: Uuid::from_u128(1),
        node: NodeName::new("n").unwrap(),
        cell: CellName::new("c").unwrap(),
        generation: Generation::new(generation).unwrap(),
        action: match ask {
            Ask::Deploy(number) | Ask::Retry(number) => Asked::Deploy(target(number)),
            Ask::Stop => Asked::Stop,
            Ask::Remove | Ask::Newer => Asked::Remove,
        },
        options,
        issued_at: DateTime::UNIX_EPOCH,
        issued_by: UserName::new("a").unwrap(),
        reason: None,
    };
    let (key, epoch) = (PrivateKey::from_seed(&[1; 32]), Epoch::new(epoch).unwrap());
    let trust = Trust::Keys(vec![PinnedKey { key: key.public(), epoch }]);
    let signed = crate::model::sign::sign(&trigger, &Signer::Key(key, epoch)).unwrap();
    Arc::new(crate::model::sign::verify(signed.document(), &trust).unwrap())
}

/// A cell, its clock, and the walk of what is done to it.
struct Walk {
    cell: Cell,
    seconds: u64,
    staged: BTreeSet<AttemptKey>,
    written: BTreeMap<AttemptKey, u32>,
    begun: BTreeSet<AttemptKey>,
    /// The hooks that were run, with what came of them taken in.
    hooks: BTreeSet<(AttemptKey, HookEvent)>,
    /// The hooks that its versions have.
    has: BTreeSet<HookEvent>,
    /// Whether its versions can run beside each other.
    overlaps: bool,
    /// What runs, and which version its processes were started as.
    runs: Option<(Placed, Placed)>,
}

/// How a step goes.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Well,
    NotYet,
    BadContent,
    TooOld,
}

fn trouble_of(luck: Luck) -> Option<Trouble> {
    match luck {
        Luck::Well => None,
        Luck::NotYet => Some(Trouble::new(Code::Io, "not yet", Cure::Time)),
        Luck::BadContent => Some(Trouble::new(Code::ActivationFailed, "bad", Cure::OtherContent)),
        Luck::TooOld => Some(Trouble::new(Code::Unsupported, "too old", Cure::NewerAgent)),
    }
}

impl Walk {
    fn new() -> Self {
        let (staged, written, begun, hooks, has) = Default::default();
        let (cell, overlaps) = (Cell::default(), false);
        Self { cell, seconds: 0, staged, written, begun, hooks, has, overlaps, runs: None }
    }

    fn now(&self) -> Now {
        let wall = DateTime::UNIX_EPOCH + Duration::from_secs(self.seconds);
        Now { wall, monotonic: Duration::from_secs(self.seconds) }
    }

    fn see(&mut self, seen: Seen) {
        let before = self.cell.state.clone();
        let changes_known_good = matches!(seen, Seen::Passed { .. } | Seen::Removed { .. });
        self.cell.observe(seen, self.now(), PATIENCE);
        let after = &self.cell.state;
        let floor = |state: &CellState| state.floor.as_ref().map(|floor| floor.at);
        assert!(floor(after) >= floor(&before), "I5: the floor goes down");
        assert!(after.applied >= before.applied, "I5: what is applied goes down");
        assert!(after.applied <= floor(after), "more is applied than was asked for");
        assert!(changes_known_good || after.known_good == before.known_good, "only what passed its gate is good");
        self.begun.extend(after.journal.iter().map(|attempt| attempt.key));
        let open = after.journal.iter().filter(|attempt| !matches!(attempt.step, Step::Ended { .. })).count();
        assert!(open <= 2, "{open} attempts are open at once");
        if let Some((_, started)) = self.runs.as_ref().filter(|_| after.standing == Standing::Deployed) {
            let kept = [&after.started_from, &after.placed].into_iter().flatten();
            let is_kept = kept.into_iter().any(|kept| kept.target == started.target);
            assert!(is_kept, "the release that processes were started from is not kept: {started:?}");
        }
    }

    fn trigger(&mut self, wish: &Wish, place: Place) {
        self.see(Seen::Trigger { wish: Arc::clone(wish), place });
    }

    /// What is to be done next, after checking that it may be done.
    fn next(&self) -> Option<Action> {
        let action = self.cell.next(self.now().monotonic)?;
        let wish = self.cell.state.wish.as_ref();
        let asked = wish.map(|wish| &wish.action);
        if let Action::Do(Deed::Switch | Deed::Stop | Deed::Remove, key) | Action::Do(Deed::Restore, key) = action {
            let attempt = self.cell.attempt(key).unwrap();
            assert!(!self.cell.is_held() || !attempt.is_held_up(), "what is held is changed");
        }
        let by_itself = matches!(action, Action::ClearOthers | Action::Restart);
        assert!(!(by_itself && self.cell.is_held()), "what is held is changed");
        let supported = wish.is_some_and(|wish| wish.unsupported().is_none());
        match action {
            Action::Do(Deed::Stop, key) => {
                assert!(supported && asked == Some(&Asked::Stop) && self.is_floor(key), "I6")
            }
            Action::Do(Deed::Remove, key) => {
                assert!(supported && asked == Some(&Asked::Remove) && self.is_floor(key), "I6")
            }
            Action::Stage(key)
            | Action::Do(
                Deed::Ask | Deed::Leave | Deed::Switch | Deed::Run(HookEvent::Stop | HookEvent::BeforeActivate),
                key,
            ) => {
                assert!(supported && matches!(asked, Some(Asked::Deploy(_))), "a stop or a hold is not pre-empted");
                assert!(self.cell.mind.held.is_none(), "held");
                let attempt = self.cell.attempt(key).unwrap();
                let content = attempt.wish.action.target().unwrap().content_sha256;
                let failed = self.cell.state.failed.iter().any(|failed| failed.content_sha256 == content);
                assert!(!failed || attempt.wish.options.retry || attempt.repairs.is_some(), "failed before");
                if matches!(action, Action::Do(..)) {
                    assert!(self.staged.contains(&key), "I4: switched to what is not whole");
                }
            }
            Action::Do(Deed::Restore | Deed::Activate | Deed::Check | Deed::Run(HookEvent::AfterActivate), _) => {
                assert!(supported && asked.is_some());
            }
            Action::Do(Deed::Run(event), key) => {
                let step = &self.cell.attempt(key).unwrap().step;
                match event {
                    HookEvent::OnRollback => assert!(matches!(step, Step::RollingBack { .. }), "{step:?}"),
                    HookEvent::OnFailure => {
                        let failed =
                            matches!(step, Step::RollingBack { .. } | Step::Ended { ending: Ending::Failed, .. });
                        assert!(failed, "{step:?}");
                    }
                    event => panic!("{event} is no deed of its own"),
                }
            }
            Action::Restart => {
                assert!(self.cell.up().is_some() && self.cell.watched().is_none(), "I6: the deadline decides")
            }
            Action::ClearOthers => {
                assert!(supported && self.cell.owed().is_none(), "what may be wanted is cleared");
                assert!(!self.cell.mind.unsure && self.cell.state.placed.is_some());
            }
            Action::Cancel(_) | Action::Do(Deed::Write, _) | Action::Look | Action::Resume => {}
        }
        Some(action)
    }

    fn is_floor(&self, key: AttemptKey) -> bool {
        self.cell.state.floor.as_ref().is_some_and(|floor| floor.at == key.at)
    }

    /// Does what is to be done next. True if there was something.
    fn act(&mut self, luck: Luck) -> bool {
        let Some(action) = self.next() else { return self.finish_staging(luck) };
        let seen = match (action, trouble_of(luck)) {
            (Action::Stage(key), _) => Seen::StagingBegan { key },
            (Action::Cancel(key), _) => Seen::StagingGivenUp { key },
            (Action::Look, _) => Seen::Looked,
            (Action::Resume, _) => Seen::Resuming,
            (Action::Restart, trouble) => Seen::Restarted(trouble.map_or(Ok(()), Err)),
            (Action::ClearOthers, trouble) => Seen::OthersCleared(trouble.map_or(Ok(()), Err)),
            (Action::Do(Deed::Write, key), _) => {
                *self.written.entry(key).or_default() += 1;
                Seen::Written { key }
            }
            (Action::Do(Deed::Run(event), key), trouble) => match trouble.filter(|_| event.decides()) {
                None => {
                    assert!(self.hooks.insert((key, event)), "{event} is run twice");
                    Seen::HookRun { key, event }
                }
                Some(trouble) => Seen::StepFailed { key, trouble },
            },
            // What is in the way goes away by itself.
            (Action::Do(Deed::Ask, key), Some(trouble)) => {
                let until = Some(self.now().wall + Duration::from_secs(40));
                Seen::StepFailed { key, trouble: Trouble { cure: Cure::Turn { until }, ..trouble } }
            }
            (Action::Do(Deed::Ask, key), None) => Seen::Due { key },
            // Only bringing something up can find the content bad.
            (
                Action::Do(Deed::Switch, key) | Action::Do(Deed::Stop, key) | Action::Do(Deed::Remove, key),
                Some(mut trouble),
            ) => {
                trouble.cure = Cure::Time;
                Seen::StepFailed { key, trouble }
            }
            (Action::Do(Deed::Activate, key) | Action::Do(Deed::Restore, key), Some(trouble)) => {
                Seen::StepFailed { key, trouble }
            }
            (Action::Do(Deed::Switch, key), None) => Seen::Switched { key },
            (Action::Do(Deed::Activate, key), None) => {
                let attempt = self.cell.attempt(key).unwrap();
                let (placed, over) = (placed_by(attempt).unwrap(), attempt.replaces.clone());
                Seen::Activated { key, goes_on: self.bring_up(placed, over) }
            }
            (Action::Do(Deed::Leave, key), _) => self.left(key),
            (Action::Do(Deed::Check, key), _) => match luck {
                Luck::Well if self.cell.state.leaving.is_some() => self.left(key),
                Luck::Well => Seen::Passed { key },
                Luck::NotYet => Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE },
                Luck::BadContent => {
                    let trouble = Trouble::new(Code::Unhealthy, "bad", Cure::OtherContent);
                    Seen::StepFailed { key, trouble }
                }
                Luck::TooOld => Seen::NotStarted { key },
            },
            (Action::Do(deed @ (Deed::Stop | Deed::Remove), key), None) => {
                self.runs = None;
                if deed == Deed::Stop { Seen::Stopped { key } } else { Seen::Removed { key } }
            }
            (Action::Do(Deed::Restore, key), None) => {
                let placed = self.cell.state.known_good.clone().unwrap();
                let goes_on = self.bring_up(placed.clone(), self.cell.state.placed.clone());
                Seen::Restored { key, placed, goes_on }
            }
        };
        self.see(seen);
        true
    }

    /// What runs beside the link's release is told that it stops.
    fn left(&self, key: AttemptKey) -> Seen {
        assert!(self.cell.state.leaving.is_some(), "nothing runs that could be told");
        Seen::Left { key }
    }

    /// Whether what runs goes on as `placed` in place of `over`: all versions but the first one are run alike.
    fn bring_up(&mut self, placed: Placed, over: Option<Placed>) -> bool {
        let is_first = |placed: &Placed| placed.target.content_sha256 == Sha256Digest::of(&[1, 0]);
        let goes_on = match (&self.runs, over) {
            (Some((runs, _)), Some(over)) => {
                (*runs == over || *runs == placed) && over != placed && is_first(&over) == is_first(&placed)
            }
            _ => false,
        };
        let started = self.runs.take().map(|(_, started)| started).filter(|_| goes_on);
        self.runs = Some((placed.clone(), started.unwrap_or(placed)));
        goes_on
    }

    fn finish_staging(&mut self, luck: Luck) -> bool {
        let Some(key) = self.cell.mind.staging.first().copied() else { return false };
        let seen = match trouble_of(luck) {
            None => {
                self.staged.insert(key);
                Seen::Staged {
                    key,
                    profile: "deploy".to_owned(),
                    effort: Effort::default(),
                    from: self.cell.state.placed.clone().map(Box::new),
                    hooks: self.has.clone(),
                    overlaps: self.overlaps,
                }
            }
            Some(trouble) => Seen::StagingFailed { key, trouble },
        };
        self.see(seen);
        true
    }

    /// Everything that can be done is done, and done well.
    fn run(&mut self) {
        for _ in 0..1_000 {
            if !self.act(Luck::Well) {
                match self.cell.wakes_at() {
                    Some(at) => self.seconds = self.seconds.max(at.as_secs() + 1),
                    None => return,
                }
            }
        }
        panic!("it never comes to rest: {:?}", self.cell);
    }

    fn placed(&self) -> Option<String> {
        self.cell.state.placed.as_ref().map(|placed| placed.target.version.to_string())
    }
}

fn deployed(number: u8) -> Walk {
    let mut walk = Walk::new();
    walk.trigger(&wish(1, 1, Ask::Deploy(number)), Place::Index);
    walk.run();
    assert_eq!(walk.placed(), Some(format!("v{number}")));
    walk
}

#[derive(Debug, Clone)]
enum Event {
    Trigger { epoch: u32, generation: u64, ask: Ask, place: Place },
    Refused(Place),
    Nothing(Place),
    Missing,
    Heard(u64),
    Held(bool),
    Hold(bool),
    Host(u8),
    Others(bool),
    Sure(bool),
    Act(Luck),
    Pass(u64),
    Restart { switched: bool, up: Option<u32> },
}

fn event() -> impl Strategy<Value = Event> {
    let ask = prop_oneof![
        4 => (0..3_u8).prop_map(Ask::Deploy),
        1 => (0..3_u8).prop_map(Ask::Retry),
        1 => Just(Ask::Stop),
        1 => Just(Ask::Remove),
        1 => Just(Ask::Newer),
    ];
    let place = || prop_oneof![Just(Place::Index), Just(Place::Trigger), Just(Place::History)];
    let luck = prop_oneof![
        6 => Just(Luck::Well), 2 => Just(Luck::NotYet), 2 => Just(Luck::BadContent), 1 => Just(Luck::TooOld)
    ];
    prop_oneof![
        4 => (1..=2_u32, 1..8_u64, ask, place())
            .prop_map(|(epoch, generation, ask, place)| Event::Trigger { epoch, generation, ask, place }),
        1 => place().prop_map(Event::Refused),
        1 => place().prop_map(Event::Nothing),
        1 => Just(Event::Missing),
        1 => (1..8_u64).prop_map(Event::Heard),
        1 => any::<bool>().prop_map(Event::Held),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => (0..5_u8).prop_map(Event::Host),
        1 => any::<bool>().prop_map(Event::Others),
        1 => any::<bool>().prop_map(Event::Sure),
        12 => luck.prop_map(Event::Act),
        2 => (0..400_u64).prop_map(Event::Pass),
        1 => (any::<bool>(), prop::option::of(1..4_u32)).prop_map(|(switched, up)| Event::Restart { switched, up }),
    ]
}

fn happen(walk: &mut Walk, event: Event) {
    let refused = || Trouble::new(Code::SigInvalid, "forged", Cure::Time);
    match event {
        Event::Trigger { epoch, generation, ask, place } => walk.trigger(&wish(epoch, generation, ask), place),
        Event::Refused(place) => without_effect(walk, Seen::Refused { place, trouble: refused() }),
        Event::Nothing(place) => without_effect(walk, Seen::NothingAt(place)),
        Event::Missing => without_effect(walk, Seen::Missing),
        Event::Heard(generation) => {
            walk.see(Seen::Heard(Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())));
        }
        Event::Held(held) => walk.see(Seen::Held(held.then(|| "held".to_owned()))),
        Event::Hold(held) => walk.see(Seen::Hold(held.then(hold::of_alice))),
        Event::Host(number) => {
            let placed = walk.cell.state.placed.as_ref().map(Placed::release);
            walk.see(Seen::Host(match (number, placed) {
                (0, _) => OnHost::Nothing,
                (1, _) => OnHost::Foreign("a folder".to_owned()),
                (2, _) | (_, None) => OnHost::Release("v9-0123456789ab".to_owned()),
                (_, Some(release)) => OnHost::Release(release),
            }));
        }
        Event::Others(is_known_good) => {
            let good = walk.cell.state.known_good.as_ref().filter(|_| is_known_good);
            walk.see(Seen::Others(vec![good.map_or("process", |good| &good.profile).to_owned()]));
        }
        Event::Sure(sure) => walk.see(Seen::Sure(sure)),
        Event::Act(luck) => {
            walk.act(luck);
        }
        Event::Pass(seconds) => walk.seconds += seconds,
        Event::Restart { switched, up } => {
            // Only the state outlives it, and the link, which may be one step ahead of the journal.
            let state = walk.cell.state.clone();
            // Whatever was whole before has to be found whole again.
            walk.staged.clear();
            let attempted = state.journal.iter().find(|attempt| attempt.step == Step::Switching).and_then(placed_by);
            let linked = attempted.filter(|_| switched).or(state.placed.clone());
            walk.cell = Cell { state, ..Cell::default() };
            // What it runs is of the newest trigger, or the next, which the state may know nothing of.
            let at = walk.cell.state.floor.as_ref().map(|floor| floor.at);
            let up = up.zip(at).map(|(attempt, at)| {
                let next = Generation::new(at.generation.get() + 1).unwrap();
                let at = if attempt == 3 { Floor::new(at.epoch, next) } else { at };
                Activation::new(at, attempt)
            });
            walk.see(Seen::Started { current: linked.map(|placed| placed.release()), up });
        }
    }
}

/// What is absent or cannot be believed changes nothing but what is reported.
fn without_effect(walk: &mut Walk, seen: Seen) {
    let (before, next) = (walk.cell.state.clone(), walk.next());
    walk.see(seen);
    let mut after = walk.cell.state.clone();
    after.last_error = before.last_error.clone();
    assert_eq!(after.render(), before.render());
    assert_eq!(walk.next(), next);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_the_invariants_hold_and_the_cell_comes_to_rest(events in prop::collection::vec(event(), 0..60), has_hooks: bool, overlaps: bool) {
        let mut walk = Walk::new();
        walk.overlaps = overlaps;
        walk.has.extend(HookEvent::ALL.into_iter().filter(|event| has_hooks && *event != HookEvent::BeforeStage));
        for event in events {
            happen(&mut walk, event);
            walk.next();
        }
        walk.see(Seen::Held(None));
        walk.see(Seen::Hold(None));
        walk.run();
        let state = &walk.cell.state;
        let holds = state.wish.as_ref().is_none_or(|wish| wish.unsupported().is_some());
        prop_assert!(
            holds || walk.cell.owed().is_none() || walk.cell.failed_before().is_some(),
            "something is owed, and nothing is done: {:?}", walk.cell
        );
        prop_assert!(state.journal.is_empty());
        let is_stuck = state.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::Stuck);
        prop_assert!(state.leaving.is_none() || is_stuck || holds, "{:?} is left running", state.leaving);
        let once: BTreeMap<_, _> = walk.begun.iter().map(|key| (*key, 1)).collect();
        prop_assert_eq!(&walk.written, &once, "an outcome an attempt, no more and no less");
    }
}

#[test]
fn a_newer_deploy_lets_the_older_one_go_on_until_it_is_staged_itself() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    walk.act(Luck::Well);
    let both: Vec<u64> = walk.cell.mind.staging.iter().map(|key| key.at.generation.get()).collect();
    assert_eq!(both, [2, 3]);
    // The older one is there first: it is switched to, and the newer one follows.
    walk.act(Luck::Well);
    walk.act(Luck::Well);
    walk.act(Luck::Well);
    assert_eq!(walk.placed().unwrap(), "v1");
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v2");
}

#[test]
fn a_redeploy_of_what_is_being_fetched_takes_its_place() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.trigger(&wish(1, 3, Ask::Deploy(1)), Place::Index);
    assert!(matches!(walk.next(), Some(Action::Cancel(key)) if key.at.generation.get() == 2), "{:?}", walk.next());
    while walk.next().is_some() {
        walk.act(Luck::Well);
        assert!(walk.cell.mind.staging.len() <= 1, "two would write to one folder");
    }
    walk.run();
    assert_eq!((walk.placed().unwrap().as_str(), walk.written.len()), ("v1", 3));
}

#[test]
fn of_three_deploys_the_one_under_way_and_the_newest_go_on() {
    let mut walk = deployed(0);
    for generation in 2..=4 {
        walk.trigger(&wish(1, generation, Ask::Deploy(u8::try_from(generation).unwrap())), Place::Index);
        while matches!(walk.next(), Some(Action::Stage(_) | Action::Cancel(_) | Action::Do(Deed::Write, _))) {
            walk.act(Luck::Well);
        }
    }
    let going: Vec<u64> = walk.cell.mind.staging.iter().map(|key| key.at.generation.get()).collect();
    assert_eq!(going, [2, 4]);
}

#[test]
fn a_stop_during_activation_bars_the_rollback() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    while !matches!(walk.next(), Some(Action::Do(Deed::Activate, _))) {
        walk.act(Luck::Well);
    }
    let Some(Action::Do(Deed::Activate, key)) = walk.next() else { unreachable!() };
    // It comes while the version is being brought up, and is taken in before the result is.
    walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
    let trouble = Trouble::new(Code::ActivationFailed, "bad", Cure::OtherContent);
    walk.see(Seen::StepFailed { key, trouble });
    while let Some(action) = walk.next() {
        assert!(!matches!(action, Action::Do(Deed::Restore, _)));
        walk.act(Luck::Well);
    }
    assert_eq!(walk.cell.state.standing, Standing::Stopped);
    assert_eq!(walk.cell.state.failed.len(), 1, "it is remembered all the same");
}

#[test]
fn an_attempt_that_the_agent_does_not_survive_is_given_up() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    for _ in 0..10 {
        while !matches!(walk.next(), None | Some(Action::Do(Deed::Activate, _))) || !walk.cell.mind.staging.is_empty() {
            walk.act(Luck::Well);
        }
        if walk.next().is_none() {
            break;
        }
        let current = walk.cell.state.placed.as_ref().map(Placed::release);
        walk.cell = Cell { state: walk.cell.state.clone(), ..Cell::default() };
        walk.see(Seen::Started { current, up: None });
    }
    assert_eq!(walk.placed().unwrap(), "v0");
    assert!(walk.cell.state.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::RolledBack));
}

#[test]
fn waiting_is_doubled_up_to_a_limit_and_remembers_since_when() {
    let mut walk = Walk::new();
    walk.trigger(&wish(1, 1, Ask::Deploy(0)), Place::Index);
    let mut waits = Vec::new();
    for _ in 0..8 {
        walk.act(Luck::Well);
        walk.act(Luck::NotYet);
        let at = walk.cell.wakes_at().unwrap().as_secs();
        waits.push(at - walk.seconds);
        assert_eq!(walk.cell.mind.waits.values().next().unwrap().fault.at, DateTime::UNIX_EPOCH);
        walk.seconds = at;
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300, 300]);
}

#[test]
fn a_floor_that_was_only_heard_of_waits_for_its_trigger() {
    let mut walk = Walk::new();
    walk.see(Seen::Heard(Floor::new(Epoch::FIRST, Generation::new(5).unwrap())));
    walk.trigger(&wish(1, 4, Ask::Deploy(0)), Place::Trigger);
    walk.run();
    assert_eq!(walk.placed(), None);
    walk.trigger(&wish(1, 5, Ask::Deploy(1)), Place::Trigger);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v1");
}

#[test]
fn what_an_older_agent_did_not_understand_is_tried_by_a_newer_one() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.act(Luck::TooOld);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v0");
    walk.cell = Cell { state: walk.cell.state.clone(), ..Cell::default() };
    walk.see(Seen::Started { current: walk.cell.state.placed.as_ref().map(Placed::release), up: None });
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v1");
}

#[test]
fn once_the_newest_version_has_failed_an_older_one_is_not_waited_for() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    walk.act(Luck::Well);
    let newest = *walk.cell.mind.staging.last().unwrap();
    let trouble = Trouble::new(Code::ManifestInvalid, "bad", Cure::OtherContent);
    walk.see(Seen::StagingFailed { key: newest, trouble });
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v0");
    assert_eq!(walk.written.len(), 3, "each has its outcome");
}

#[test]
fn a_floor_that_is_heard_of_later_ends_what_is_below_it() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.see(Seen::Heard(Floor::new(Epoch::FIRST, Generation::new(5).unwrap())));
    walk.run();
    walk.trigger(&wish(1, 4, Ask::Remove), Place::Index);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v0");
    walk.see(Seen::Heard(Floor::new(Epoch::FIRST, Generation::new(3).unwrap())));
    walk.trigger(&wish(1, 5, Ask::Deploy(2)), Place::Index);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v2");
}

#[test]
fn what_requires_a_newer_agent_is_not_even_put_right_by_it() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Newer), Place::Index);
    for _ in 0..3 {
        walk.see(Seen::Host(OnHost::Nothing));
        assert_eq!(walk.next(), None, "nothing is begun");
    }
    assert!(walk.cell.mind.conditions.contains_key(&Code::Inconsistent), "it is reported");
}
