//! Hooks: what an agent runs around a deployment, and what it makes of how that ends. Real programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetman::agent::Gate;
use fleetman::model::hook::{Hook, HookEvent};
use fleetman::model::manifest::Manifest;
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;
use fleetman::model::{Code, heartbeat::Phase};

use crate::support::node::of;
use crate::support::running::{Running, wait_for_phase};
use crate::support::stand_in::Node;
use crate::support::wait_for;

/// A node, and a file that hooks write into.
struct Bench {
    node: Node,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        Self { node: Node::start().await, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    /// What was written since the last time.
    fn written(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("diary")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("diary"));
        text.lines().map(str::to_owned).collect()
    }

    /// A hook that runs this line of a shell, in whose `$1` is the folder.
    fn hook(&self, line: &str) -> Hook {
        let folder = self.folder.path().display().to_string();
        let command = ["/bin/sh", "-c", line, "hook", &folder].map(str::to_owned);
        serde_json::from_value(serde_json::json!({ "command": command })).unwrap()
    }

    /// Every hook writes down what it was told.
    fn all(&self) -> BTreeMap<HookEvent, Hook> {
        let line = "echo \"$FLEETMAN_HOOK of $FLEETMAN_VERSION: $FLEETMAN_FROM>$FLEETMAN_TO\" \
                    \"$FLEETMAN_GENERATION $FLEETMAN_REASON\" $FLEETMAN_CHANGED_FILES >> \"$1/diary\"";
        HookEvent::ALL.into_iter().map(|event| (event, self.hook(line))).collect()
    }

    async fn publish(&mut self, version: &str, hooks: impl IntoIterator<Item = (HookEvent, Hook)>) {
        let hooks = hooks.into_iter().collect();
        self.node.publish_with(version, |manifest: &mut Manifest| manifest.hooks = hooks).await;
    }

    async fn deployed(hooks: impl FnOnce(&Self) -> BTreeMap<HookEvent, Hook>) -> Self {
        let mut bench = Self::start().await;
        let hooks = hooks(&bench);
        bench.publish("1", hooks).await;
        assert_eq!(bench.node.once().await.phase, Phase::UpToDate);
        bench
    }

    async fn running(&self) -> Running {
        Running::start(&self.node.bench, |settings| settings.profiles = self.node.profiles()).await
    }

    /// The ending of the newest attempt, its code and its message.
    async fn ending(&self) -> (Ending, Option<Code>, String) {
        let outcome = self.node.bench.outcomes("app").await.pop().unwrap();
        (outcome.outcome, outcome.code, outcome.message.unwrap_or_default())
    }
}

/// Whether a process has this word in its command line.
fn lives(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|found| found == word.as_bytes())
    })
}

#[tokio::test]
async fn each_is_run_at_its_moment_and_told_what_happens() {
    let mut bench = Bench::deployed(Bench::all).await;
    let first = ["before_stage", "before_activate", "after_activate", "validate"];
    assert_eq!(bench.written(), first.map(|event| format!("{event} of 1: >1 1 deploy version")));
    assert_eq!(bench.node.profile.asked(), ["activate 1"]);

    let hooks = bench.all();
    bench.publish("2", hooks).await;
    assert_eq!(bench.node.once().await.phase, Phase::UpToDate);
    let of_2 = |event| format!("{event} of 2: 1>2 2 deploy version");
    let stop = "stop of 1: 1>2 2 deploy version".to_owned();
    let expected = [of_2("before_stage"), stop, of_2("before_activate"), of_2("after_activate"), of_2("validate")];
    assert_eq!(bench.written(), expected);
    let log = bench.node.bench.log("app", 2, 1).await;
    assert!(log.contains("hook stop begins: /bin/sh -c") && log.contains("hook validate has ended well"), "{log}");

    bench.node.bench.ask("app", Action::Stop).await;
    assert_eq!(bench.node.once().await.phase, Phase::Stopped);
    assert_eq!(bench.written(), ["stop of 2: 2> 3 stop"]);
    // What was stopped is not told so once more.
    bench.node.bench.ask("app", Action::Remove).await;
    bench.node.once().await;
    assert!(bench.written().is_empty());
}

#[tokio::test]
async fn one_that_fails_before_the_switch_leaves_what_runs_untouched() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    bench.node.profile.asked();
    let fails = bench.hook("echo migrating; echo 'table users is locked' >&2; exit 3");
    let told = bench.hook("echo told >> \"$1/diary\"");
    bench.publish("2", [(HookEvent::BeforeActivate, fails), (HookEvent::OnFailure, told)]).await;
    let report = bench.node.once().await;
    assert_eq!((report.phase, report.running.unwrap().version.as_str()), (Phase::Failed, "1"));
    assert!(bench.node.profile.asked().is_empty(), "what runs is not even restarted");
    let message = "hook before_activate failed: exit code 3: table users is locked";
    assert_eq!(bench.ending().await, (Ending::Failed, Some(Code::HookFailed), message.to_owned()));
    let log = bench.node.bench.log("app", 2, 1).await;
    let (first, last) = (log.find("hook before_activate: migrating"), log.find("hook on_failure has ended well"));
    assert!(first.is_some() && first < last, "{log}");
    assert_eq!(bench.written(), ["told"]);
}

#[tokio::test]
async fn one_that_does_not_find_the_version_good_has_the_last_good_one_put_back() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let mut hooks = bench.all();
    hooks.insert(HookEvent::Validate, bench.hook("echo 'orders are lost'; exit 1"));
    bench.publish("2", hooks).await;
    let report = bench.node.once().await;
    assert_eq!((report.phase, report.running.unwrap().version.as_str()), (Phase::RolledBack, "1"));
    let (ending, code, message) = bench.ending().await;
    assert_eq!((ending, code), (Ending::RolledBack, Some(Code::HookFailed)));
    assert_eq!(message, "hook validate failed: exit code 1: orders are lost");
    let told: Vec<String> = bench.written().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(told, ["before_stage", "before_activate", "after_activate", "on_failure", "on_rollback"]);
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_that_it_started() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let hangs = Hook { timeout_ms: 300, ..bench.hook("echo waiting; setsid sleep 77351 & sleep 77351") };
    bench.publish("2", [(HookEvent::AfterActivate, hangs)]).await;
    assert_eq!(bench.node.once().await.phase, Phase::RolledBack);
    let message = bench.ending().await.2;
    assert_eq!(
        message,
        "hook after_activate failed: it did not end within 300ms, and was killed with all that it started: waiting"
    );
    assert!(!lives("77351"));
}

#[tokio::test]
async fn one_may_put_the_deployment_off_and_says_so() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let line = "echo asked >> \"$1/diary\"; [ -e \"$1/ready\" ] || { echo 'two jobs are running'; exit 21; }";
    let waits = bench.hook(line);
    let both = [HookEvent::BeforeStage, HookEvent::BeforeActivate].map(|event| (event, waits.clone()));
    bench.publish("2", both).await;
    let agent = bench.running().await;
    wait_for_phase(&bench.node.bench, "app", Phase::Waiting).await;
    let report = of(&bench.node.bench.heartbeat().await.unwrap(), "app");
    let waiting = report.waiting.unwrap();
    assert_eq!(waiting.reason, Code::HookWaits);
    assert_eq!(waiting.message, "hook before_stage asks to be run again later: two jobs are running");
    wait_for(async || std::fs::read_to_string(bench.path("diary")).unwrap().lines().count() >= 3, "it to be asked")
        .await;
    assert_eq!(bench.node.profile.runs().as_deref(), Some("1"));
    bench.touch("ready");
    wait_for_phase(&bench.node.bench, "app", Phase::UpToDate).await;
    assert_eq!(bench.node.profile.runs().as_deref(), Some("2"));
    agent.end().await;
}

#[tokio::test]
async fn one_that_puts_it_off_for_too_long_has_failed() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let waits = Hook { retry_for_ms: 0, ..bench.hook("exit 21") };
    bench.publish("2", [(HookEvent::BeforeActivate, waits)]).await;
    assert_eq!(bench.node.once().await.phase, Phase::Failed);
    let (_, code, message) = bench.ending().await;
    assert_eq!(code, Some(Code::HookFailed));
    assert!(message.contains("it has put this off for 0ns, which is as long as it may"), "{message}");
}

#[tokio::test]
async fn one_that_runs_when_the_agent_ends_is_ended_and_run_again_by_the_next() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let line = "echo begun >> \"$1/diary\"; [ -e \"$1/ready\" ] || exec sleep 77352";
    let hook = bench.hook(line);
    let done = bench.hook("echo stopped >> \"$1/diary\"");
    bench.publish("2", [(HookEvent::BeforeActivate, hook)]).await;
    bench.publish("3", [(HookEvent::BeforeStage, done)]).await;
    // Version 3 alone: the one before was never seen.
    assert_eq!(bench.node.once().await.phase, Phase::UpToDate);
    assert_eq!(bench.written(), ["stopped"]);

    let hook = bench.hook(line);
    bench.publish("4", [(HookEvent::BeforeActivate, hook)]).await;
    let agent = bench.running().await;
    wait_for(async || lives("77352"), "the hook to run").await;
    agent.end().await;
    assert!(!lives("77352"), "it does not outlive the agent");
    bench.touch("ready");
    assert_eq!(bench.node.once().await.phase, Phase::UpToDate);
    assert_eq!(bench.written(), ["begun", "begun"]);
    assert_eq!(bench.node.profile.runs().as_deref(), Some("4"));
}

#[tokio::test]
async fn one_is_only_run_for_the_files_that_it_asks_for_and_may_fail_where_that_is_allowed() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let write = |what: &str| bench.hook(&format!("echo {what} >> \"$1/diary\"; exit 5"));
    let for_files = |hook: Hook, pattern: &str| Hook { if_changed: vec![pattern.parse().unwrap()], ..hook };
    let ignored = Hook { ignore_failure: true, ..for_files(write("version"), "vers*") };
    let hooks = [(HookEvent::BeforeActivate, for_files(write("conf"), "conf/**")), (HookEvent::AfterActivate, ignored)];
    bench.publish("2", hooks).await;
    assert_eq!(bench.node.once().await.phase, Phase::UpToDate);
    assert_eq!(bench.written(), ["version"]);
    let log = bench.node.bench.log("app", 2, 1).await;
    assert!(log.contains("hook after_activate failed: exit code 5; this goes on all the same"), "{log}");
}

#[tokio::test]
async fn however_much_one_says_the_log_goes_on_to_tell_what_came_of_it() {
    let mut bench = Bench::deployed(|_| BTreeMap::new()).await;
    let line =
        "printf '\\033[2Jclear\\n'; i=0; while [ $i -lt 5000 ]; do echo \"line $i of many\"; i=$((i+1)); done; exit 9";
    let hook = bench.hook(line);
    bench.publish("2", [(HookEvent::BeforeActivate, hook)]).await;
    bench.node.once().await;
    let log = bench.node.bench.log("app", 2, 1).await;
    assert!(log.contains("hook before_activate: line 7 of many") && !log.contains("line 4000 of many\n"), "{log}");
    assert!(log.contains("hook before_activate says more, which is left out"), "{log}");
    assert!(log.contains("failed: exit code 9: line 4999 of many"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn one_of_the_release_is_run_from_its_folder_and_the_gate_comes_before_the_last_word() {
    let mut bench = Bench::start().await;
    let folder = bench.folder.path().to_owned();
    let hook = bench.hook("cat version > \"$1/diary\"; pwd >> \"$1/diary\"");
    bench.node.profile.gate("1", Gate::Pending("not yet".to_owned()));
    bench.publish("1", [(HookEvent::Validate, hook)]).await;
    let agent = bench.running().await;
    wait_for_phase(&bench.node.bench, "app", Phase::Checking).await;
    assert!(!bench.has("diary"), "it is not asked before the gate is passed");
    bench.node.profile.gate("1", Gate::Passed);
    wait_for_phase(&bench.node.bench, "app", Phase::UpToDate).await;
    let written = std::fs::read_to_string(folder.join("diary")).unwrap();
    let release = Path::new(written.strip_prefix('1').unwrap().trim()).to_owned();
    assert!(release.starts_with(bench.node.profile.folder.join("app/releases")), "{written}");
    agent.end().await;
}
