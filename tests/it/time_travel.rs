//! The past from the bucket alone: what was wished and what ran at every instant, and going back there.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use fleetman::agent::{Agent, AgentSettings, Observed, Placement, Profile, ProfileError, Profiles, Start, Work};
use fleetman::controller::{
    Answer, Guard, Known, PublishRequest, Published, Ran, Revert, RevertOptions, RevertStep, RollbackRequest, Scope,
    StopRequest, Wished,
};
use fleetman::model::CellName;
use fleetman::model::heartbeat::{Phase, RunningState};
use fleetman::model::trigger::TriggerOptions;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::support::bucket;
use crate::support::fleet::{Bench, FLEET, cell, request};

/// A profile under which versions whose page begins with "bad" do not come up. It remembers which page is up: the truth
/// that the bucket must tell.
#[derive(Debug)]
struct Pages {
    folder: PathBuf,
    up: Mutex<Option<String>>,
}

impl Pages {
    /// The page in the cell's place.
    fn placed(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.join("web/index.html")).ok()
    }
}

impl Profile for Pages {
    fn name(&self) -> &'static str {
        "deploy"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        let releases = vec![".fleetman".to_owned(), cell.to_string()];
        Placement { folder: self.folder.clone(), link: cell.to_string(), releases, is_own: false }
    }

    fn activate<'a>(&'a self, _: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        let page = self.placed();
        let is_bad = page.as_ref().is_some_and(|page| page.starts_with("bad"));
        *self.up.lock().unwrap() = page.filter(|_| !is_bad);
        let result = if is_bad { Err(ProfileError::Version("it exits with 1".to_owned())) } else { Ok(()) };
        Box::pin(std::future::ready(result))
    }

    fn stop<'a>(&'a self, _: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        *self.up.lock().unwrap() = None;
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, _: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        *self.up.lock().unwrap() = None;
        Box::pin(std::future::ready(Ok(())))
    }

    fn state<'a>(&'a self, _: &'a CellName) -> Work<'a, Observed> {
        Box::pin(std::future::ready(RunningState::NotApplicable.into()))
    }

    fn cells(&self) -> std::io::Result<Vec<CellName>> {
        Ok(Vec::new())
    }
}

/// A fleet with a node on which time passes only when a test says so.
struct Fleet {
    bench: Bench,
    pages: Arc<Pages>,
    agent: Agent,
    _home: tempfile::TempDir,
}

impl Fleet {
    async fn start() -> Self {
        let bench = Bench::start().await;
        bench.clock.go_back(TimeDelta::days(2));
        // A page that is the version's own: no override, no vars.
        bench.apply("name: site\nvars: {greeting: hi}\nfiles:\n  - path: index.html\n    template: true\nprofile: {deploy: {}}\n").await;
        bench.upload("page", &[("index.html", "{{ vars.greeting }}")]).await;
        let home = tempfile::tempdir().unwrap();
        let pages = Arc::new(Pages { folder: home.path().join("www"), up: Mutex::default() });
        let agent = Self::agent(&bench, &home, &pages).await;
        Self { bench, pages, agent, _home: home }
    }

    async fn agent(bench: &Bench, home: &tempfile::TempDir, pages: &Arc<Pages>) -> Agent {
        let store = bucket::connect(bucket::settings(&bench.server.endpoint())).await;
        let profiles = Profiles::new(vec![Arc::clone(pages) as Arc<dyn Profile>]);
        let state = home.path().join("state");
        let mut settings = AgentSettings::new(cell().node, FLEET, bench.trust(), store, state, profiles);
        settings.reserve_bytes = 0;
        Agent::open(settings, bench.clock.clone()).await.unwrap()
    }

    /// Publishes a version whose page is its name.
    async fn publish(&self, version: &str) -> Published {
        self.bench.greet(version).await;
        let request = PublishRequest { deployment: Some("page".parse().unwrap()), ..request(version) };
        self.bench.controller().await.publish(&request, &Guard::default()).await.unwrap()
    }

    /// Lets the node do what is wished of it.
    async fn poll(&mut self) -> Phase {
        let beat = self.agent.poll_once().await.unwrap();
        beat.cells.get(&cell().cell).map_or(Phase::Removed, |report| report.phase)
    }

    fn later(&self, seconds: u32) -> DateTime<Utc> {
        self.bench.clock.pass(TimeDelta::seconds(seconds.into()));
        self.now()
    }

    fn now(&self) -> DateTime<Utc> {
        use fleetman::clock::Clock as _;
        self.bench.clock.now()
    }

    async fn plan(&self, time: DateTime<Utc>) -> RevertStep {
        let controller = self.bench.controller().await;
        let scope = Scope::Cell(cell());
        controller.plan_revert(&scope, time, RevertOptions::default()).await.unwrap().remove(0)
    }
}

/// How a cell was at an instant, in the words of this test.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Truth {
    /// Generation, action and version.
    wished: Option<(u64, String, Option<String>)>,
    /// The page that was up, and the one in its place.
    ran: (Option<String>, Option<String>),
    /// `confirmed`, `failed` or nothing.
    answer: &'static str,
}

fn wished(published: &Published) -> (u64, String, Option<String>) {
    let version = published.target.as_ref().map(|target| target.version.to_string());
    (published.at.generation.get(), published.action.clone(), version)
}

/// What the bucket tells of an instant.
fn told(at: &fleetman::controller::CellAt) -> Truth {
    let wished = match &at.wished {
        Wished::Nothing => None,
        Wished::Unknown => panic!("{at:?}"),
        Wished::Wish(wish) => {
            let version = wish.version.as_ref().map(|version| version.version.to_string());
            Some((wish.at.generation.get(), wish.action.clone(), version))
        }
    };
    let placed = at.ran.version().map(|version| version.version.to_string());
    let up = placed.clone().filter(|_| matches!(at.ran, Ran::Running(_)));
    let answer = match at.answer {
        Answer::None | Answer::NotConfirmed => "",
        Answer::Confirmed { .. } => "confirmed",
        Answer::Failed { .. } => "failed",
    };
    assert_eq!(at.doubts, Vec::<String>::new());
    Truth { wished, ran: (up, placed), answer }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instant_of_fifty_random_changes_is_reproduced_from_the_bucket_alone() {
    let mut fleet = Fleet::start().await;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut below = |most: u32| random.next_u32() % most;
    let nothing = Truth { wished: None, ran: (None, None), answer: "" };
    // When each step began, when it was over, and how it was then.
    let mut truth = vec![(fleet.now(), fleet.now(), nothing.clone())];
    let (mut now, mut versions) = (nothing, Vec::<String>::new());
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut changes = 0;
    while changes < 50 {
        let began = fleet.later(2 + below(3_600));
        let controller = fleet.bench.controller().await;
        let stop = StopRequest { cell: cell(), reason: None };
        let guard = Guard::default();
        let (verb, done) = match below(10) {
            0..4 => {
                let name = format!("{}v{}", if below(3) == 0 { "bad-" } else { "" }, versions.len());
                versions.push(name.clone());
                ("publish", Ok(fleet.publish(&name).await))
            }
            4..6 if !versions.is_empty() => {
                let to = versions[below(versions.len() as u32) as usize].parse().unwrap();
                let options = TriggerOptions { retry: below(2) == 0, ..TriggerOptions::default() };
                let request = RollbackRequest { cell: cell(), to: Some(to), reason: None, options };
                ("rollback", controller.rollback(&request, &guard).await)
            }
            6 => ("stop", controller.stop(&stop, &guard).await),
            7 => ("remove", controller.remove(&stop, false, &guard).await),
            _ => {
                // The node comes by.
                let phase = fleet.poll().await;
                now.ran = (fleet.pages.up.lock().unwrap().clone(), fleet.pages.placed());
                now.answer = match phase {
                    _ if now.wished.is_none() => "",
                    Phase::UpToDate | Phase::Stopped | Phase::Removed => "confirmed",
                    Phase::RolledBack | Phase::Failed => "failed",
                    _ => "",
                };
                truth.push((began, fleet.now(), now.clone()));
                *seen.entry(format!("{phase:?}")).or_default() += 1;
                continue;
            }
        };
        let Ok(published) = done else { continue };
        if now.wished != Some(wished(&published)) {
            changes += 1;
            now.wished = Some(wished(&published));
            now.answer = "";
            *seen.entry(verb.to_owned()).or_default() += 1;
        }
        truth.push((began, fleet.now(), now.clone()));
    }
    for kind in ["publish", "rollback", "stop", "remove", "UpToDate", "RolledBack", "Stopped", "Removed"] {
        assert!(seen.contains_key(kind), "{kind} never happened: {seen:?}");
    }

    // Whoever looks has nothing but the bucket: neither the node nor a heartbeat.
    fleet.agent.close().await;
    fleet.bench.delete("agents/n1.json").await;
    fleet.bench.delete("index/n1.json").await;
    fleet.bench.delete("cells/n1/web/trigger.json").await;
    let looker = fleet.bench.looker(&[crate::support::fleet::KEY]).await;
    let whole = looker.chronicle(&cell(), None).await.unwrap();
    for (place, (_, time, expected)) in truth.iter().enumerate() {
        assert_eq!(told(&whole.at(*time)), *expected, "at {time}, step {place}: {truth:#?}");
        // As far back as is needed gives the same as all of it.
        if place % 5 == 0 {
            let partly = looker.chronicles(&Scope::Fleet, Some(*time)).await.unwrap();
            assert_eq!(partly[0].at(*time), whole.at(*time), "at {time}, step {place}");
        }
        // Until the next step nothing changes.
        if let Some((next, ..)) = truth.get(place + 1) {
            let between = *next - TimeDelta::milliseconds(1_500);
            assert_eq!(told(&whole.at(between.max(*time))), *expected, "shortly before step {}", place + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_goes_back_to_what_was_wished_and_ran_and_the_audit_tells() {
    let mut fleet = Fleet::start().await;
    let before = fleet.later(10);
    fleet.later(10);
    let first = fleet.publish("v1").await;
    fleet.poll().await;
    let good = fleet.later(10);
    fleet.later(10);
    fleet.publish("bad-v2").await;
    fleet.poll().await;
    let rolled_back = fleet.later(10);
    fleet.later(10);
    fleet.publish("v3").await;
    let unseen = fleet.later(10);
    fleet.later(10);
    let controller = fleet.bench.controller().await;
    let stop = StopRequest { cell: cell(), reason: None };
    controller.stop(&stop, &Guard::default()).await.unwrap();
    fleet.poll().await;
    let stopped = fleet.later(10);

    assert_eq!(fleet.plan(stopped).await.revert, Revert::Unchanged);
    assert_eq!(fleet.plan(before).await.revert, Revert::Newer, "nothing had been published yet");
    let newer = RevertOptions { remove_newer: true };
    let removing = controller.plan_revert(&Scope::Fleet, before, newer).await.unwrap();
    assert_eq!(removing[0].revert, Revert::Remove);
    let Revert::Refused { code, why } = fleet.plan(unseen).await.revert else { panic!("v3 never ran") };
    assert_eq!(code, "not_confirmed");
    assert!(why.contains("fleetman rollback n1/web --to v3"), "{why}");
    for time in [good, rolled_back] {
        let Revert::Deploy { version, .. } = fleet.plan(time).await.revert else { panic!("v1 ran at {time}") };
        assert_eq!(version, first.target.as_ref().unwrap().into());
    }

    let step = fleet.plan(good).await;
    let listed = fleet.bench.keys("").await;
    let reverted = controller.revert(&step, good, Some("bad night")).await.unwrap().unwrap();
    assert_eq!((reverted.at.generation.get(), reverted.target.clone()), (5, first.target.clone()));
    assert!(fleet.bench.keys("").await.len() > listed.len());
    let entry = fleet.bench.history().await.pop().unwrap();
    let reason = entry.reason.clone().unwrap();
    assert!(reason.starts_with("back to 20") && reason.ends_with(": bad night"), "{reason}");
    let act = fleet.bench.keys("audit/").await;
    let mut intents = 0;
    for key in act {
        intents +=
            usize::from(String::from_utf8(fleet.bench.read(&key).await.unwrap()).unwrap().contains("\"revert\""));
    }
    assert_eq!(intents, 1, "the audit names the verb");
    assert_eq!(fleet.poll().await, Phase::UpToDate);
    assert_eq!(fleet.pages.placed().as_deref(), Some("v1"));
    assert_eq!(fleet.plan(good).await.revert, Revert::Unchanged);
    // Somebody who planned before that is refused, and repeating what was done finishes it.
    let again = controller.revert(&step, good, Some("bad night")).await.unwrap().unwrap();
    assert_eq!(again.at, reverted.at);
    fleet.publish("v4").await;
    let late = controller.revert(&step, good, None).await.unwrap_err();
    assert_eq!(late.code(), "guard");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_since_or_is_paused_is_refused_with_the_reason() {
    let mut fleet = Fleet::start().await;
    fleet.publish("v1").await;
    fleet.poll().await;
    let good = fleet.later(10);
    fleet.later(10);
    fleet.publish("v2").await;
    let controller = fleet.bench.controller().await;
    let refusal = async |code: &str| match fleet.plan(good).await.revert {
        Revert::Refused { code: found, why } => {
            assert_eq!(found, code, "{why}");
            why
        }
        other => panic!("{other:?}"),
    };
    controller.pause(&cell(), "audit", &Known::Anything).await.unwrap();
    assert!(refusal("paused").await.contains("audit"));
    controller.resume(&cell(), &Known::Anything).await.unwrap();
    let key = "cells/n1/web/versions/v1/manifest.json";
    let manifest = fleet.bench.read(key).await.unwrap();
    fleet.bench.overwrite(key, "{}").await;
    refusal("version_tampered").await;
    fleet.bench.delete(key).await;
    assert!(refusal("not_found").await.contains("it was deleted"));
    fleet.bench.overwrite(key, manifest).await;
    assert!(matches!(fleet.plan(good).await.revert, Revert::Deploy { .. }));
    // An entry that is not believed may be what counted, also before the first that is.
    let forged = "cells/n1/web/history/0001-0000000000000009.json";
    fleet.bench.overwrite(forged, "{}").await;
    refusal("untrusted").await;
    let before = good - TimeDelta::days(1);
    assert!(matches!(fleet.plan(before).await.revert, Revert::Refused { code, .. } if code == "untrusted"));
    fleet.bench.delete(forged).await;
    assert_eq!(fleet.plan(before).await.revert, Revert::Newer);
    // Of an epoch whose key is pinned no more nothing is known.
    let other = crate::support::fleet::TestKey(2, 2);
    let rotated = fleet.bench.looker(&[other]).await;
    let chronicle = rotated.chronicle(&cell(), None).await.unwrap();
    assert!(chronicle.triggers.is_empty());
    assert!(controller.plan_revert(&Scope::Node("n9".parse().unwrap()), good, RevertOptions::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_goes_back_to_having_been_removed_or_stopped() {
    let mut fleet = Fleet::start().await;
    let halt = StopRequest { cell: cell(), reason: None };
    fleet.publish("v1").await;
    fleet.poll().await;
    fleet.later(10);
    fleet.bench.controller().await.stop(&halt, &Guard::default()).await.unwrap();
    assert_eq!(fleet.poll().await, Phase::Stopped);
    let stopped = fleet.later(10);
    fleet.later(10);
    fleet.bench.controller().await.remove(&halt, false, &Guard::default()).await.unwrap();
    assert_eq!(fleet.poll().await, Phase::Removed);
    let removed = fleet.later(10);
    let Revert::Refused { code, why } = fleet.plan(stopped).await.revert else { panic!("nothing can be stopped") };
    assert_eq!(code, "removed", "{why}");
    for (time, revert, phase, placed) in
        [(removed, Revert::Remove, Phase::Removed, None), (stopped, Revert::Stop, Phase::Stopped, Some("v2"))]
    {
        fleet.later(10);
        fleet.publish("v2").await;
        assert_eq!(fleet.poll().await, Phase::UpToDate);
        fleet.later(10);
        let step = fleet.plan(time).await;
        assert_eq!(step.revert, revert);
        fleet.bench.controller().await.revert(&step, time, None).await.unwrap().unwrap();
        assert_eq!(fleet.poll().await, phase);
        assert_eq!(fleet.pages.placed().as_deref(), placed);
        assert_eq!(fleet.pages.up.lock().unwrap().clone(), None);
        assert_eq!(fleet.plan(time).await.revert, Revert::Unchanged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instants_are_compared_cell_by_cell() {
    let mut fleet = Fleet::start().await;
    let before = fleet.later(10);
    fleet.later(10);
    fleet.publish("v1").await;
    fleet.poll().await;
    let first = fleet.later(10);
    fleet.later(10);
    fleet.publish("v2").await;
    let second = fleet.later(10);
    let controller = fleet.bench.controller().await;
    let changed = async |from, to| controller.changed_between(&Scope::Fleet, from, to).await.unwrap();
    assert!(changed(first, first).await.is_empty());
    let change = changed(first, second).await.remove(0);
    assert_eq!((told(&change.from).answer, told(&change.to).answer), ("confirmed", ""));
    assert_eq!(change.changes.unwrap().summary(), "index.html");
    let change = changed(before, second).await.remove(0);
    assert_eq!((change.from.wished, change.changes), (Wished::Nothing, None));
}
