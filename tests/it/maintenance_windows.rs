//! What a version waits for on a node: maintenance windows, by a clock that the test sets, and the application's lock.

use std::fs::{self, File as OpenFile};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetman::agent::{Agent, AgentSettings};
use fleetman::clock::{Clock, SharedClock, SystemClock};
use fleetman::model::content::content_sha256;
use fleetman::model::heartbeat::{CellReport, Phase};
use fleetman::model::hook::{Hook, HookEvent};
use fleetman::model::manifest::Manifest;
use fleetman::model::trigger::{Action, TriggerOptions};
use fleetman::model::window::{Cron, Window, Windows, Zone};
use fleetman::model::{Code, FilePath};

use crate::support::node::{Bench, File, files, of};
use crate::support::{require_tool, wait_for};

/// A clock on the wall that is set by hand. The other one goes on as it does.
#[derive(Debug)]
struct SetClock {
    system: SharedClock,
    wall: Mutex<DateTime<Utc>>,
    ahead: Mutex<Duration>,
}

impl SetClock {
    fn at(time: &str) -> Arc<Self> {
        let wall = Mutex::new(time.parse().unwrap());
        Arc::new(Self { system: SystemClock::shared(), wall, ahead: Mutex::default() })
    }

    /// Sets the clock on the wall; the other one goes on by half a minute.
    fn set(&self, time: &str) {
        *self.wall.lock().unwrap() = time.parse().unwrap();
        *self.ahead.lock().unwrap() += Duration::from_secs(31);
    }
}

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        *self.wall.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + *self.ahead.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.system.sleep(duration)
    }
}

fn allow(opens: &str, hours: u64, zone: &str) -> Vec<Window> {
    let opens: Cron = opens.parse().unwrap();
    let zone: Zone = zone.parse().unwrap();
    vec![Window::new(Some(opens), None, hours * 3_600, zone).unwrap()]
}

/// 02:00 to 04:00 on a clock in Berlin, which is an hour ahead in winter.
fn at_night() -> Vec<Window> {
    allow("0 2 * * *", 2, "Europe/Berlin")
}

struct Site {
    bench: Bench,
    clock: Arc<SetClock>,
    agent: Agent,
}

const APP: &str = "app";

impl Site {
    /// A node at noon.
    async fn start(windows: Windows) -> Self {
        let (bench, clock) = (Bench::start().await, SetClock::at("2026-01-10T12:00:00Z"));
        let agent = open(&bench, &clock, windows).await;
        Self { bench, clock, agent }
    }

    async fn restart(self, windows: Windows) -> Self {
        let Self { bench, clock, agent } = self;
        agent.close().await;
        let agent = open(&bench, &clock, windows).await;
        Self { bench, clock, agent }
    }

    async fn publish(&mut self, version: &str, windows: Windows, options: TriggerOptions) {
        self.publish_with(version, options, |manifest| manifest.windows = windows).await;
    }

    async fn publish_locked(&mut self, version: &str, options: TriggerOptions) {
        self.publish_with(version, options, |manifest| manifest.lock = Some(FilePath::new("run/busy").unwrap())).await;
    }

    async fn publish_with(&mut self, version: &str, options: TriggerOptions, change: impl FnOnce(&mut Manifest)) {
        let text = [("app", version.as_bytes())];
        let content: &[File<'_>] = &text;
        let mut manifest = self.bench.manifest(APP, version, content);
        change(&mut manifest);
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        let target = self.bench.upload(&manifest, content).await;
        let trigger = self.bench.trigger_with(APP, Action::Deploy(target), options);
        self.bench.place(&trigger).await;
    }

    async fn once(&mut self) -> CellReport {
        of(&self.agent.poll_once().await.unwrap(), APP)
    }

    /// Where the lock file is, in a folder that is there.
    fn lock_file(&self) -> PathBuf {
        let folder = self.bench.state_folder().join("data").join(APP).join("run");
        fs::create_dir_all(&folder).unwrap();
        folder.join("busy")
    }

    fn runs(&self, version: &str) -> bool {
        self.bench.deployed(APP) == files(&[("app", version.as_bytes())])
    }
}

async fn open(bench: &Bench, clock: &Arc<SetClock>, windows: Windows) -> Agent {
    let settings = AgentSettings { windows, ..bench.settings().await };
    Agent::open(settings, Arc::clone(clock) as SharedClock).await.unwrap()
}

fn activate(windows: Vec<Window>) -> Windows {
    Windows { activate: windows, ..Windows::default() }
}

fn download(windows: Vec<Window>) -> Windows {
    Windows { download: windows, ..Windows::default() }
}

fn waits_until(report: &CellReport, until: &str) {
    let waiting = report.waiting.as_ref().unwrap_or_else(|| panic!("it does not wait: {report:?}"));
    assert_eq!((report.phase, waiting.reason), (Phase::Waiting, Code::Window), "{waiting:?}");
    assert_eq!(waiting.until, Some(until.parse().unwrap()), "{waiting:?}");
    assert_eq!(report.last_error, None, "nothing is wrong");
}

#[tokio::test]
async fn a_version_is_fetched_at_once_and_switched_to_when_its_window_opens() {
    let mut site = Site::start(Windows::default()).await;
    site.publish("1", activate(at_night()), TriggerOptions::default()).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate, "there is nothing yet that a switch could disturb");
    site.publish("2", activate(at_night()), TriggerOptions::default()).await;
    let report = site.once().await;
    waits_until(&report, "2026-01-11T01:00:00Z");
    assert!(
        report.waiting.unwrap().message.contains("activation windows of the version are closed until 2026-01-11 01:00")
    );
    assert!(site.runs("1"));
    assert_eq!(site.bench.releases(APP).len(), 2, "it is on the node already");

    // Restarts change nothing of it, and without the bucket it opens as well.
    for _ in 0..5 {
        site = site.restart(Windows::default()).await;
        waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    }
    site.clock.set("2026-01-11T00:59:59Z");
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    assert!(site.runs("1"));
    site.clock.set("2026-01-11T01:00:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.runs("2"));
    let log = site.bench.log(APP, 2, 1).await;
    assert_eq!(log.matches("activation windows").count(), 6, "once each time that the agent started: {log}");
}

#[tokio::test]
async fn nothing_is_fetched_before_the_window_of_the_node_opens() {
    let mut site = Site::start(download(at_night())).await;
    site.publish("1", Windows::default(), TriggerOptions::default()).await;
    let report = site.once().await;
    waits_until(&report, "2026-01-11T01:00:00Z");
    assert!(report.waiting.unwrap().message.contains("download windows of the node"));
    assert_eq!(site.bench.releases(APP), Vec::<String>::new());
    // Both must be open, and the version's opens an hour later.
    site.publish("2", download(allow("0 3 * * *", 2, "Europe/Berlin")), TriggerOptions::default()).await;
    site.clock.set("2026-01-11T01:30:00Z");
    waits_until(&site.once().await, "2026-01-11T02:00:00Z");
    site.clock.set("2026-01-11T02:30:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.runs("2"));
}

#[tokio::test]
async fn an_override_counts_once() {
    let windows = || Windows { download: at_night(), activate: at_night() };
    let mut site = Site::start(windows()).await;
    let now = TriggerOptions { override_windows: true, ..TriggerOptions::default() };
    site.publish("1", windows(), now).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    site.publish("2", windows(), now).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.bench.log(APP, 2, 1).await.contains("the trigger overrides"));
    site.publish("3", windows(), TriggerOptions::default()).await;
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    assert!(site.runs("2"));
}

#[tokio::test]
async fn a_clock_that_is_set_counts_from_the_next_look_on() {
    let mut site = Site::start(activate(at_night())).await;
    site.publish("1", Windows::default(), TriggerOptions::default()).await;
    site.once().await;
    site.publish("2", Windows::default(), TriggerOptions::default()).await;
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    // Back by a day, and by far ahead into an open window.
    site.clock.set("2026-01-09T12:00:00Z");
    waits_until(&site.once().await, "2026-01-10T01:00:00Z");
    site.clock.set("2026-07-01T01:59:59Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_stop_waits_for_no_window_and_nor_does_what_starts_the_cell_again() {
    let mut site = Site::start(activate(at_night())).await;
    site.publish("1", Windows::default(), TriggerOptions::default()).await;
    site.once().await;
    site.publish("2", Windows::default(), TriggerOptions::default()).await;
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    site.bench.ask(APP, Action::Stop).await;
    assert_eq!(site.once().await.phase, Phase::Stopped);
    site.publish("3", Windows::default(), TriggerOptions::default()).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.runs("3"));
}

fn waits_for_lock(report: &CellReport, why: &str) {
    let waiting = report.waiting.as_ref().unwrap_or_else(|| panic!("it does not wait: {report:?}"));
    assert_eq!((report.phase, waiting.reason, waiting.until), (Phase::Waiting, Code::Lock, None), "{waiting:?}");
    assert!(waiting.message.contains(why), "{waiting:?}");
}

#[tokio::test]
async fn a_version_waits_until_the_application_lets_go_of_its_lock_or_dies() {
    let Some(flock) = require_tool("flock") else { return };
    let mut site = Site::start(Windows::default()).await;
    site.publish_locked("1", TriggerOptions::default()).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    let path = site.lock_file();
    let mut command = tokio::process::Command::new(flock);
    let mut holder =
        command.arg("--no-fork").arg(&path).arg("cat").stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let is_held = async || OpenFile::open(&path).is_ok_and(|file| file.try_lock_shared().is_err());
    wait_for(is_held, "the lock to be held").await;

    site.publish_locked("2", TriggerOptions::default()).await;
    let report = site.once().await;
    waits_for_lock(&report, &format!("holds its lock file run/busy by process {}", holder.id().unwrap()));
    assert_eq!(site.bench.releases(APP).len(), 2, "it is fetched meanwhile");
    site = site.restart(Windows::default()).await;
    waits_for_lock(&site.once().await, "(cat)");
    assert!(site.runs("1"));

    // Killed without a chance to clean up.
    holder.kill().await.unwrap();
    site.clock.set("2026-01-10T12:01:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.runs("2") && path.exists());
}

#[tokio::test]
async fn an_override_passes_the_lock_once() {
    let mut site = Site::start(Windows::default()).await;
    site.publish_locked("1", TriggerOptions::default()).await;
    site.once().await;
    let held = OpenFile::create(site.lock_file()).unwrap();
    held.lock().unwrap();
    site.publish_locked("2", TriggerOptions { override_windows: true, ..TriggerOptions::default() }).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    // The next one has no lock itself: it is what runs that must not be stopped.
    site.publish("3", Windows::default(), TriggerOptions::default()).await;
    waits_for_lock(&site.once().await, "holds its lock file run/busy");
    site.bench.ask(APP, Action::Stop).await;
    assert_eq!(site.once().await.phase, Phase::Stopped, "a stop is not held up");
}

#[tokio::test]
async fn what_is_no_plain_file_in_the_data_folder_is_neither_followed_nor_opened_for_long() {
    let mut site = Site::start(Windows::default()).await;
    site.publish_locked("1", TriggerOptions::default()).await;
    site.once().await;
    let path = site.lock_file();
    let outside = site.bench.state_folder().join("outside");
    fs::write(&outside, "").unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    site.publish_locked("2", TriggerOptions::default()).await;
    waits_for_lock(&site.once().await, "the lock file run/busy cannot be looked at");

    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    site.clock.set("2026-01-10T12:01:00Z");
    waits_for_lock(&site.once().await, "it is no regular file");

    fs::remove_file(&path).unwrap();
    fs::write(&path, "nobody holds it").unwrap();
    site.clock.set("2026-01-10T12:02:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn what_runs_before_a_version_is_fetched_waits_for_the_window_as_well() {
    let mut site = Site::start(Windows::default()).await;
    let diary = site.bench.home.path().join("diary");
    let line = format!("echo told >> {}", diary.display());
    let hook = Hook {
        command: ["/bin/sh".to_owned(), "-c".to_owned(), line].into(),
        timeout_ms: Hook::USUAL_TIMEOUT_MS,
        retry_for_ms: Hook::USUAL_RETRY_MS,
        if_changed: Vec::new(),
        ignore_failure: false,
        user: None,
    };
    site.publish_with("1", TriggerOptions::default(), |manifest| {
        manifest.windows = download(at_night());
        manifest.hooks.insert(HookEvent::BeforeStage, hook);
    })
    .await;
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    assert!(!diary.exists(), "what it prepares for may be long in coming");
    site.clock.set("2026-01-11T01:00:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert_eq!(fs::read_to_string(&diary).unwrap(), "told\n");
}

#[tokio::test]
async fn a_link_that_is_moved_by_hand_is_put_right_while_a_version_waits() {
    let mut site = Site::start(Windows::default()).await;
    site.publish("1", Windows::default(), TriggerOptions::default()).await;
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    site.publish("2", activate(at_night()), TriggerOptions::default()).await;
    waits_until(&site.once().await, "2026-01-11T01:00:00Z");
    let link = site.bench.target().join(APP);
    fs::remove_file(&link).unwrap();
    assert!(!site.runs("1"));
    let report = site.once().await;
    assert!(site.runs("1"), "{report:?}");
    let report = site.once().await;
    assert_eq!(report.waiting.unwrap().reason, Code::Window);
    assert_eq!(report.last_error.unwrap().code, Code::Inconsistent, "somebody has to know of it");
    site.clock.set("2026-01-11T01:00:00Z");
    assert_eq!(site.once().await.phase, Phase::UpToDate);
    assert!(site.runs("2"));
}
