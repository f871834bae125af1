//! Cells of a node that depend on each other: real agents, real supervisors, and programs that leave a mark when they
//! start. Names are such that any order by name is the wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fleetman::agent::Profiles;
use fleetman::model::content::content_sha256;
use fleetman::model::dependencies::Dependencies;
use fleetman::model::document;
use fleetman::model::health::{Check, ExecCheck, Health};
use fleetman::model::heartbeat::{CellReport, Phase, RunningState};
use fleetman::model::index::{Index, IndexEntry};
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::{EnvValue, Profile, Restart, RestartPolicy, RunSpec, Stop};
use fleetman::model::trigger::{Action, Target};
use fleetman::model::{CellName, Code, ObjectKey};
use serde_json::value::RawValue;

use crate::support::node::{Bench, of};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::running::Running;
use crate::support::wait_for;

/// On what a cell depends: `after` some, and some it requires.
#[derive(Clone, Copy, Default)]
struct Ties<'a> {
    after: &'a [&'a str],
    requires: &'a [&'a str],
}

impl Ties<'_> {
    fn needs(self) -> Dependencies {
        let names = |names: &[&str]| -> BTreeSet<CellName> { names.iter().map(|name| name.parse().unwrap()).collect() };
        Dependencies { after: names(self.after), requires: names(self.requires) }
    }
}

fn requires<'a>(names: &'a [&'a str]) -> Ties<'a> {
    Ties { requires: names, ..Ties::default() }
}

fn after<'a>(names: &'a [&'a str]) -> Ties<'a> {
    Ties { after: names, ..Ties::default() }
}

const NOTHING: Ties<'static> = Ties { after: &[], requires: &[] };

struct Site {
    bench: Bench,
    /// Of one host, until it is booted.
    profiles: Profiles,
}

impl Site {
    async fn start() -> Self {
        let bench = Bench::start().await;
        let profiles = bench.profiles_with_process();
        Self { bench, profiles }
    }

    async fn agent(&self) -> Running {
        let profiles = self.profiles.clone();
        Running::start(&self.bench, |settings| settings.profiles = profiles).await
    }

    /// What a boot does: nothing runs any more, and what ran left its marks.
    async fn boot(&mut self) {
        self.profiles.close().await;
        self.profiles = self.bench.profiles_with_process();
        std::fs::remove_file(self.marks_file()).unwrap();
        std::fs::remove_file(self.begun_file()).unwrap();
        for mark in std::fs::read_dir(self.bench.home.path()).unwrap() {
            let path = mark.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "up") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    fn marks_file(&self) -> PathBuf {
        self.bench.home.path().join("marks")
    }

    fn begun_file(&self) -> PathBuf {
        self.bench.home.path().join("begun")
    }

    /// What was started, whether or not it got as far as its mark.
    fn begun(&self) -> Vec<String> {
        std::fs::read_to_string(self.begun_file()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Who started, in this order.
    fn marks(&self) -> Vec<String> {
        std::fs::read_to_string(self.marks_file()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A version whose program takes its time, then leaves its mark, and then runs `then`. Its check passes from then on.
    async fn upload(&self, cell: &str, version: &str, on: Ties<'_>, then: &str) -> Target {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let up = self.bench.home.path().join(format!("{cell}-{version}.up"));
        let (up, marks) = (up.display(), self.marks_file());
        let line = format!(
            "echo {cell} {version} >> {}; sleep 0.2; echo {cell} {version} >> {}; touch {up}; {then}",
            self.begun_file().display(),
            marks.display()
        );
        let mut manifest = self.bench.manifest(cell, version, files);
        manifest.profile = Profile::Process(ProcessSpec::main(RunSpec {
            command: ["/bin/sh", "-c", &line].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()))]),
            user: None,
            group: None,
            working_dir: None,
            restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
            stop: Stop { timeout_ms: 2_000, ..Stop::default() },
        }));
        let check =
            Check::Exec(ExecCheck { command: ["/bin/sh", "-c", &format!("test -e {up}")].map(str::to_owned).into() });
        let checks = BTreeMap::from([("marked".parse().unwrap(), check)]);
        manifest.health =
            Health { min_healthy_ms: 50, deadline_ms: 60_000, checks, interval_ms: 1_000, ..Health::default() };
        manifest.dependencies = on.needs();
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        self.bench.upload(&manifest, files).await
    }

    async fn publish(&mut self, cell: &str, version: &str, on: Ties<'_>) {
        self.publish_all(&[(cell, version, on, "exec sleep 1000")]).await;
    }

    /// Publishes to several cells; the node's index has them all at once.
    async fn publish_all(&mut self, versions: &[(&str, &str, Ties<'_>, &str)]) {
        let mut triggers = Vec::new();
        for (cell, version, on, then) in versions {
            let target = self.upload(cell, version, *on, then).await;
            triggers.push(self.bench.trigger(cell, Action::Deploy(target)));
        }
        let key = ObjectKey::Index(self.bench.node.clone());
        let mut index = match self.bench.get(&key).await {
            Some(bytes) => document::parse::<Index>(&bytes).unwrap(),
            None => Index::empty(self.bench.node.clone(), chrono::DateTime::UNIX_EPOCH),
        };
        for trigger in &triggers {
            self.bench.place_history(trigger).await;
            self.bench.put(&ObjectKey::Trigger(trigger.cell_id()), trigger.document()).await;
            let text = String::from_utf8(trigger.document().to_vec()).unwrap();
            let entry =
                IndexEntry { trigger: Some(RawValue::from_string(text.trim().to_owned()).unwrap()), about: None };
            index.put(&trigger.cell, &entry).unwrap();
        }
        self.bench.put(&key, document::render(&index)).await;
    }

    async fn wait_for(&self, cell: &str, what: &str, is: impl Fn(&CellReport) -> bool) -> CellReport {
        let name: CellName = cell.parse().unwrap();
        let there = async || {
            let beat = self.bench.heartbeat().await;
            beat.is_some_and(|beat| beat.cells.get(&name).is_some_and(|report| is(report)))
        };
        wait_for(there, what).await;
        of(&self.bench.heartbeat().await.unwrap(), cell)
    }

    /// Waits until a cell runs this version, which is good.
    async fn wait_for_version(&self, cell: &str, version: &str) -> CellReport {
        let is = |report: &CellReport| {
            let runs = report.running.as_ref().is_some_and(|running| running.version.as_str() == version);
            runs && report.phase == Phase::UpToDate
        };
        self.wait_for(cell, &format!("{cell} to run {version}"), is).await
    }

    async fn wait_for_waiting(&self, cell: &str, why: &str) -> CellReport {
        let is = |report: &CellReport| waits_for(report).is_some_and(|waits| waits == why);
        self.wait_for(cell, &format!("{cell} to wait: {why}"), is).await
    }
}

fn waits_for(report: &CellReport) -> Option<&str> {
    let waiting = report.waiting.as_ref().filter(|waiting| waiting.reason == Code::Dependency)?;
    Some(&waiting.message)
}

fn pid(report: &CellReport) -> Option<u32> {
    match report.state {
        RunningState::Running { pid, .. } => pid,
        _ => None,
    }
}

#[tokio::test]
async fn cells_start_in_their_order_when_published_and_at_boot_without_the_bucket() {
    let mut site = Site::start().await;
    let then = "exec sleep 1000";
    let all = [("a", "1", requires(&["b"]), then), ("b", "1", after(&["c"]), then), ("c", "1", NOTHING, then)];
    site.publish_all(&all).await;
    let agent = site.agent().await;
    site.wait_for_version("a", "1").await;
    assert_eq!(site.marks(), ["c 1", "b 1", "a 1"]);
    agent.end().await;

    site.boot().await;
    site.bench.proxy.inject(Rule::new(On::any(), Fault::status(503)));
    let agent = site.agent().await;
    wait_for(async || site.marks().len() >= 3, "all of them to run again").await;
    assert_eq!(site.marks(), ["c 1", "b 1", "a 1"]);
    site.bench.proxy.heal();
    agent.end().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_finds_its_cells_running_and_starts_none() {
    let mut site = Site::start().await;
    let then = "exec sleep 1000";
    site.publish_all(&[("a", "1", requires(&["b"]), then), ("b", "1", NOTHING, then)]).await;
    let agent = site.agent().await;
    let before = site.wait_for_version("a", "1").await;
    agent.end().await;
    site.bench.ask("b", Action::Stop).await;
    let agent = site.agent().await;
    site.wait_for("b", "b to be stopped", |report| report.phase == Phase::Stopped).await;
    let lacks = |report: &CellReport| {
        let told = report.conditions.iter().find(|condition| condition.code == Code::Dependency);
        told.is_some_and(|told| told.message == "b, which it requires, is stopped")
    };
    let after = site.wait_for("a", "what it lacks to be told", lacks).await;
    assert_eq!((after.phase, pid(&after)), (Phase::UpToDate, pid(&before)), "it goes on running");

    // A new version of it does not start, and one of the other brings both up, in their order.
    site.publish("a", "2", requires(&["b"])).await;
    let waiting = site.wait_for_waiting("a", "b, which it requires, is stopped").await;
    assert_eq!((waiting.phase, pid(&waiting)), (Phase::Waiting, pid(&before)));
    site.publish("b", "2", NOTHING).await;
    let after = site.wait_for_version("a", "2").await;
    assert!(after.conditions.is_empty(), "{:?}", after.conditions);
    assert_eq!(site.marks(), ["b 1", "a 1", "b 2", "a 2"]);
    agent.end().await;
}

#[tokio::test]
async fn a_publish_of_both_keeps_their_order_whoever_is_told_first() {
    let mut site = Site::start().await;
    let then = "exec sleep 1000";
    let both = |version| [("a", version, after(&["b"]), then), ("b", version, NOTHING, then)];
    site.publish_all(&both("1")).await;
    let agent = site.agent().await;
    site.wait_for_version("a", "1").await;
    site.publish_all(&both("2")).await;
    site.wait_for_version("a", "2").await;
    assert_eq!(site.marks(), ["b 1", "a 1", "b 2", "a 2"]);
    let log = site.bench.log("a", 2, 1).await;
    assert!(log.contains("b, which it starts after, is on its way up"), "{log}");
    assert!(log.contains("no other cell holds it up any more"), "{log}");

    // What fails and is gone back from is there all the same.
    site.publish_all(&[("a", "3", requires(&["b"]), then), ("b", "3", NOTHING, "exit 1")]).await;
    site.wait_for("b", "b to go back", |report| report.phase == Phase::RolledBack).await;
    site.wait_for_version("a", "3").await;
    assert_eq!(site.marks()[4..], ["b 3", "b 2", "a 3"]);
    agent.end().await;
}

#[tokio::test]
async fn what_is_required_and_failed_is_waited_for_and_what_it_starts_after_is_not() {
    let mut site = Site::start().await;
    let then = "exec sleep 1000";
    let all = [("a", "1", requires(&["c"]), then), ("b", "1", after(&["c"]), then), ("c", "1", NOTHING, "exit 3")];
    site.publish_all(&all).await;
    let agent = site.agent().await;
    site.wait_for_version("b", "1").await;
    let is =
        |report: &CellReport| waits_for(report).is_some_and(|why| why.starts_with("c, which it requires, is down"));
    let waiting = site.wait_for("a", "a to wait", is).await;
    assert_eq!(waiting.phase, Phase::Waiting);
    site.publish("c", "2", NOTHING).await;
    site.wait_for_version("a", "1").await;
    assert_eq!(site.marks(), ["c 1", "b 1", "c 2", "a 1"]);
    agent.end().await;
}

#[tokio::test]
async fn a_cell_that_is_stopped_while_it_waits_to_be_started_is_never_started() {
    let mut site = Site::start().await;
    let flag = site.bench.home.path().join("flag");
    std::fs::write(&flag, "").unwrap();
    let needs_flag = format!("test -e {} && exec sleep 1000; exit 3", flag.display());
    site.publish_all(&[("a", "1", requires(&["b"]), "exec sleep 1000"), ("b", "1", NOTHING, &needs_flag)]).await;
    let agent = site.agent().await;
    site.wait_for_version("a", "1").await;
    agent.end().await;

    std::fs::remove_file(&flag).unwrap();
    site.boot().await;
    let agent = site.agent().await;
    let is_down =
        |report: &CellReport| waits_for(report).is_some_and(|why| why.starts_with("b, which it requires, is down"));
    site.wait_for("a", "a to wait", is_down).await;
    site.bench.ask("a", Action::Stop).await;
    site.wait_for("a", "a to be stopped", |report| report.phase == Phase::Stopped).await;
    assert_eq!(site.begun(), ["b 1"]);

    // Nor by an agent that finds it stopped; and it starts once it may.
    agent.end().await;
    let agent = site.agent().await;
    site.wait_for("a", "a to be stopped", |report| report.phase == Phase::Stopped).await;
    assert_eq!(site.begun(), ["b 1"]);
    site.publish_all(&[("a", "2", requires(&["b"]), "exec sleep 1000"), ("b", "2", NOTHING, "exec sleep 1000")]).await;
    site.wait_for_version("a", "2").await;
    assert_eq!(site.begun(), ["b 1", "b 2", "a 2"]);
    agent.end().await;
}

async fn publish_files(bench: &mut Bench, cell: &str, version: &str, on: Ties<'_>) {
    let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
    let mut manifest = bench.manifest(cell, version, files);
    manifest.dependencies = on.needs();
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    let target = bench.upload(&manifest, files).await;
    bench.ask(cell, Action::Deploy(target)).await;
}

#[tokio::test]
async fn agents_that_end_meanwhile_wait_on_and_one_round_brings_all_up() {
    let mut bench = Bench::start().await;
    publish_files(&mut bench, "a", "1", requires(&["b"])).await;
    for _ in 0..3 {
        let report = of(&bench.once().await, "a");
        assert_eq!(
            (report.phase, waits_for(&report)),
            (Phase::Waiting, Some("b, which it requires, is not on this node"))
        );
        assert_eq!(report.attempt, 1, "it is one attempt, which nothing is lost of");
    }
    assert_eq!(bench.deployed("a"), None);
    publish_files(&mut bench, "b", "1", requires(&["c"])).await;
    publish_files(&mut bench, "c", "1", NOTHING).await;
    let beat = bench.once().await;
    for cell in ["a", "b", "c"] {
        assert_eq!(of(&beat, cell).phase, Phase::UpToDate, "{cell}");
    }
    let mut ended = Vec::new();
    for cell in ["c", "b", "a"] {
        ended.push(bench.outcomes(cell).await[0].ended_at);
    }
    assert!(ended.is_sorted(), "{ended:?}");
}

#[tokio::test]
async fn a_circle_that_was_published_bit_by_bit_is_broken_and_told() {
    let mut bench = Bench::start().await;
    publish_files(&mut bench, "b", "1", requires(&["a"])).await;
    assert_eq!(of(&bench.once().await, "b").phase, Phase::Waiting);
    publish_files(&mut bench, "a", "1", requires(&["b"])).await;
    let beat = bench.once().await;
    for (cell, circle) in [("a", "a → b → a"), ("b", "b → a → b")] {
        let report = of(&beat, cell);
        assert_eq!(report.phase, Phase::UpToDate, "{cell}");
        let told = report.conditions.iter().find(|condition| condition.code == Code::DependencyCircle).unwrap();
        assert_eq!(told.message, format!("{circle} depend on each other; a starts first"));
    }
}
