//! A hundred random sequences of what people and machines do to a cell: each ends as a small model of it says, and
//! nobody ever forgets what is known to be good.
//!
//! The node is a [`Machine`] with the real agent, its supervisors and its processes on it; agents are killed, and the
//! power is cut, wherever they happen to be. `FLEETMAN_SEQUENCE=<seed>` runs one sequence again, and makes it as short
//! as it can be and still fail; `FLEETMAN_SEQUENCE=<from>..<to>` runs others than the usual ones.

mod model;
mod node;

use std::fmt;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;

use chrono::TimeDelta;
use fleetman::clock::SystemClock;
use fleetman::controller::{
    Controller, ControllerError, Guard, PublishRequest, Published, PublishedHow, RollbackRequest, StopRequest,
};
use fleetman::model::order::Addressee;
use fleetman::model::trigger::TriggerOptions;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use self::model::{Asked, Content, Model, Version};
use self::node::Node;
use crate::support::PATIENCE;
use crate::support::fleet::Bench;

const SEQUENCES: u64 = 100;
const MOST_STEPS: u32 = 12;

/// So many nodes at once: nearly all of the time is spent waiting for versions to become good.
const AT_ONCE: usize = 8;

/// An agent that was killed so often while it brought a version up lets it fail; see [`Step::KillAgent`].
const MOST_KILLS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// New content that runs.
    Publish,
    /// New content that does not.
    PublishBad,
    /// The content of this version under another name.
    PublishAgain(usize),
    /// Back to this version.
    RollBackTo(usize),
    /// Back to whatever was good before.
    RollBack,
    /// What is desired once more although it failed, perhaps after what was missing on the node was put there.
    Retry {
        mended: bool,
    },
    Stop,
    /// What is desired once more.
    Start,
    Hold,
    Unhold,
    KillAgent,
    CutPower,
}

/// A step, and what comes before it.
#[derive(Debug, Clone, Copy)]
struct Timed {
    step: Step,
    /// How long the agent is left alone: for so many lines of its log, or until it comes to rest.
    after: Option<u32>,
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            Some(lines) => write!(f, "{:?} after {lines} lines", self.step),
            None => write!(f, "{:?} at rest", self.step),
        }
    }
}

fn sequence(seed: u64) -> Vec<Timed> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut below = |most: u32| random.next_u32() % most;
    let mut steps = Vec::new();
    for _ in 0..4 + below(MOST_STEPS - 3) {
        let step = match below(100) {
            0..17 => Step::Publish,
            17..34 => Step::PublishBad,
            34..42 => Step::PublishAgain(below(64) as usize),
            42..48 => Step::RollBackTo(below(64) as usize),
            48..54 => Step::RollBack,
            54..62 => Step::Retry { mended: below(2) == 0 },
            62..68 => Step::Stop,
            68..74 => Step::Start,
            74..80 => Step::Hold,
            80..86 => Step::Unhold,
            86..94 => Step::KillAgent,
            _ => Step::CutPower,
        };
        steps.push(Timed { step, after: (below(100) < 55).then(|| below(40)) });
    }
    steps
}

/// A sequence under way.
struct Run {
    controller: Controller,
    node: Node,
    model: Model,
    versions: Vec<Version>,
    contents: Content,
    generation: u64,
    kills: u32,
    /// What was done and seen, for whoever has to find out why it went wrong.
    told: Vec<String>,
}

impl Run {
    async fn go(bench: &'static Bench, name: &str, steps: &[Timed]) -> Option<Result<Vec<String>, String>> {
        let node = Node::boot(bench, name).await?;
        let controller = bench.controller().await;
        let (model, versions, told) = (Model::default(), Vec::new(), Vec::new());
        let mut run = Self { controller, node, model, versions, contents: 0, generation: 0, kills: 0, told };
        let mut went = Ok(());
        for timed in steps {
            went = run.take(*timed).await;
            if went.is_err() {
                break;
            }
        }
        let went = match went {
            Ok(()) => run.finish().await,
            failed => failed,
        };
        Some(match went {
            Ok(()) => Ok(run.told),
            Err(why) => Err(format!("{}\n{why}\nits log ends with:\n{}", run.told.join("\n"), run.node.last_words())),
        })
    }

    async fn take(&mut self, Timed { step, after }: Timed) -> Result<(), String> {
        let is_first = self.generation == 0;
        match after {
            // What a rollback leads to is told by outcomes, and what is mended must not be mended half way.
            Some(lines)
                if self.kills < MOST_KILLS && !matches!(step, Step::RollBack | Step::Retry { mended: true }) =>
            {
                self.node.says_more(lines).await;
            }
            _ if is_first => {}
            _ => self.rest().await?,
        }
        self.told.push(format!("-- {}", Timed { step, after }));
        match step {
            _ if is_first && !matches!(step, Step::Publish | Step::PublishBad | Step::KillAgent | Step::CutPower) => {
                self.told.push("there is nothing yet".to_owned());
            }
            Step::Publish | Step::PublishBad => {
                let content = self.contents;
                self.contents += 1;
                if step == Step::Publish {
                    self.mend(content);
                }
                self.publish(content).await;
            }
            Step::PublishAgain(at) => self.publish(self.versions[at % self.versions.len()].content).await,
            Step::RollBackTo(at) => {
                let to = self.versions[at % self.versions.len()].clone();
                let published = self.roll_back(Some(&to)).await.unwrap();
                self.asked(&published, to, false);
            }
            Step::RollBack => self.way_back().await?,
            Step::Retry { mended } => {
                let content = self.model.desired.as_ref().unwrap().content;
                if mended {
                    self.mend(content);
                }
                self.redeploy(true).await;
            }
            Step::Start => self.redeploy(false).await,
            Step::Stop => {
                let request = StopRequest { cell: self.node.cell(), reason: None };
                let published = self.controller.stop(&request, &Guard::default()).await.unwrap();
                self.issued(&published, &Asked::Stop);
            }
            Step::Hold => self.hold(true).await,
            Step::Unhold => self.hold(false).await,
            Step::KillAgent => {
                self.kills += 1;
                self.node.kill_agent().await;
                self.keeps_what_is_good()?;
                self.node.start_agent().await;
            }
            Step::CutPower => {
                self.kills += 1;
                self.node.cut_power().await;
                self.keeps_what_is_good()?;
                self.node.start_agent().await;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), String> {
        if self.generation == 0 {
            return Ok(());
        }
        self.rest().await?;
        self.hold(false).await;
        self.rest().await
    }

    /// Gives the agent time, and sees that it ends where it may.
    async fn rest(&mut self) -> Result<(), String> {
        if self.generation == 0 {
            return Ok(());
        }
        self.kills = 0;
        self.model.rest();
        let expected = self.model.expected();
        let seen = self.node.comes_to(&expected).await?;
        self.told.push(format!("{seen:?}"));
        self.model.saw(&seen);
        self.keeps_what_is_good()
    }

    /// Looks at what the node's disk holds.
    fn keeps_what_is_good(&mut self) -> Result<(), String> {
        self.model.pass();
        let (found, expected) = (self.node.good_on_disk()?, self.model.good());
        let is_expected = expected.contains(&found) || (expected.is_empty() && found.is_none());
        is_expected.then_some(()).ok_or_else(|| format!("{found:?} is known to be good, expected one of {expected:?}"))
    }

    /// Lets this content run from now on.
    fn mend(&mut self, content: Content) {
        self.node.mend(content);
        self.model.make_work(content);
    }

    async fn publish(&mut self, content: Content) {
        let version = Version { name: format!("v{}", self.versions.len()), content };
        self.versions.push(version.clone());
        let text = self.node.cell_yaml(content);
        self.controller.put_cell(&self.node.cell(), &text, &fleetman::controller::Known::Anything).await.unwrap();
        let request =
            PublishRequest { version: Some(version.name.parse().unwrap()), ..PublishRequest::new(self.node.cell()) };
        let published = self.controller.publish(&request, &Guard::default()).await.unwrap();
        self.node.learn(content, published.target.as_ref().unwrap().content_sha256);
        self.asked(&published, version, false);
    }

    async fn redeploy(&mut self, retry: bool) {
        let options = TriggerOptions { retry, ..TriggerOptions::default() };
        let published = self.controller.redeploy(&self.node.cell(), options, None, &Guard::default()).await.unwrap();
        let version = self.model.desired.clone().unwrap();
        self.asked(&published, version, retry);
    }

    async fn roll_back(&self, to: Option<&Version>) -> Result<Published, ControllerError> {
        let to = to.map(|version| version.name.parse().unwrap());
        let options = TriggerOptions::default();
        let request = RollbackRequest { cell: self.node.cell(), to, reason: None, options };
        self.controller.rollback(&request, &Guard::default()).await
    }

    async fn way_back(&mut self) -> Result<(), String> {
        let expected = self.model.ways_back();
        let (led, published) = match self.roll_back(None).await {
            Ok(published) => {
                let name = published.target.as_ref().unwrap().version.to_string();
                (self.versions.iter().find(|version| version.name == name).cloned(), Some(published))
            }
            Err(ControllerError::NotFound { .. }) => (None, None),
            Err(error) => return Err(format!("{error:?}")),
        };
        if !expected.contains(&led) {
            return Err(format!("a rollback leads to {led:?}, expected one of {expected:?}"));
        }
        self.model.went_back(led.as_ref());
        if let Some((published, version)) = published.zip(led) {
            self.asked(&published, version, false);
        }
        Ok(())
    }

    fn asked(&mut self, published: &Published, version: Version, retry: bool) {
        assert_eq!(published.target.as_ref().unwrap().version.as_str(), version.name);
        self.issued(published, &Asked::Deploy { version, retry });
    }

    fn issued(&mut self, published: &Published, asked: &Asked) {
        let generation = published.at.generation.get();
        self.told.push(format!("{generation}: {asked:?}"));
        if published.how == PublishedHow::Claimed {
            assert_eq!(generation, self.generation + 1);
            self.generation = generation;
            self.model.ask(generation, asked);
        }
    }

    async fn hold(&mut self, is_hold: bool) {
        if self.model.is_held() == is_hold {
            return;
        }
        let cell = self.node.cell();
        let to = Addressee { node: cell.node, cell: Some(cell.cell) };
        let ordered = match is_hold {
            true => self.controller.hold(&to, TimeDelta::hours(1), "looking at it").await,
            false => self.controller.release(&to, None).await,
        };
        self.controller.confirm_hold(&ordered.unwrap(), is_hold, PATIENCE).await.unwrap();
        self.model.hold(is_hold);
    }
}

/// Runs a sequence. Whatever goes wrong in it is told with its seed.
async fn run(bench: &'static Bench, name: String, steps: Vec<Timed>) -> Option<Result<Vec<String>, String>> {
    let done = AssertUnwindSafe(Run::go(bench, &name, &steps)).catch_unwind().await;
    done.unwrap_or_else(|_| Some(Err("it panicked; see above".to_owned())))
}

/// Leaves out one step after the other, as long as it still fails.
async fn shorten(bench: &'static Bench, seed: u64, mut steps: Vec<Timed>, mut why: String) -> (Vec<Timed>, String) {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Some(Err(again)) = run(bench, format!("s{seed}-{at}"), fewer.clone()).await {
            (steps, why) = (fewer, again);
        }
    }
    (steps, why)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_random_sequence_ends_as_the_model_says_and_what_is_good_is_never_lost() {
    let clock = SystemClock::shared();
    let began = clock.monotonic();
    let bench: &'static Bench = Box::leak(Box::new(Bench::empty().await));
    node::prepare(bench).await;
    let asked = std::env::var("FLEETMAN_SEQUENCE").ok();
    let (seeds, only) = match asked.as_deref().map(|asked| asked.split_once("..").ok_or(asked)) {
        None => (0..SEQUENCES, None),
        Some(Ok((from, to))) => (from.parse().unwrap()..to.parse().unwrap(), None),
        Some(Err(seed)) => (seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1, Some(seed.parse().unwrap())),
    };
    eprintln!("sequences {seeds:?}");
    let all =
        stream::iter(seeds.clone()).map(async |seed| (seed, run(bench, format!("s{seed}"), sequence(seed)).await));
    let mut all = std::pin::pin!(all.buffer_unordered(AT_ONCE));
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    while let Some((seed, done)) = all.next().await {
        match done {
            None => return,
            Some(Ok(lines)) => told.extend(lines),
            Some(Err(why)) => {
                let steps = sequence(seed).iter().map(Timed::to_string).collect::<Vec<_>>();
                eprintln!("sequence {seed} (FLEETMAN_SEQUENCE={seed} runs it again): {steps:?}\n{why}\n");
                failed.push((seed, why));
            }
        }
    }
    if let (Some(seed), Some((_, why))) = (only, failed.first()) {
        let (steps, why) = shorten(bench, seed, sequence(seed), why.clone()).await;
        eprintln!("it also fails so: {:?}\n{why}", steps.iter().map(Timed::to_string).collect::<Vec<_>>());
    }
    let failed: Vec<u64> = failed.into_iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "these sequences went wrong: {failed:?}");
    let took = clock.monotonic().saturating_sub(began);
    // Past what holds back the output of tests that pass.
    std::io::stderr().write_all(format!("sequences {seeds:?} took {took:.0?}\n").as_bytes()).unwrap();
    if asked.is_none() {
        let all = told.join("\n");
        for end in ["up_to_date", "rolled_back", "\"failed\"", "stopped", "waiting hold", "waiting failed_before"] {
            assert!(all.matches(end).count() >= 5, "{end} hardly ever happened");
        }
    }
}
