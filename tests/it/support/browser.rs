//! A headless Chromium, driven over the DevTools protocol as a user drives it: find by name, click, type, look.
//!
//! Tests that run at the same time share one browser, each in a context of its own (cookies, storage, cache), so that
//! a machine with two cores is not busy with starting browsers. It ends with the last of them.

mod axe;
mod find;
mod page;
mod pipe;
mod seen;

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

pub(crate) use axe::Axe;
pub(crate) use find::{By, button, css, field, heading, link, text};
pub(crate) use page::Page;
use pipe::Pipe;

use super::{find_tool, skip};

/// How many contexts there are at a time, however many tests run.
const CONTEXTS: usize = 3;

/// How long any one answer of the browser may take.
const ANSWER: Duration = Duration::from_secs(60);

#[rustfmt::skip]
const FLAGS: [&str; 18] = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
    "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars", "--password-store=basic",
    // Several pages are open at once, and none of them is in the background.
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    // Pages that ask another machine for something get an error, which is a failure of the test.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];

/// A browser that runs, with a profile of its own.
pub(crate) struct Browser {
    pipe: Pipe,
    places: Arc<Semaphore>,
    // Ends before the folder that it writes to goes.
    _process: Process,
    profile: TempDir,
}

/// The process group of a browser. It ends when this goes.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.0);
        // The group is gone if it ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Browser {
    /// The browser of all tests that run now, or `None` after saying that the test is skipped; see [`skip`].
    pub(crate) async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Browser>> = Mutex::const_new(Weak::new());
        let Some(program) = find_tool("chromium") else { return skip("chromium is not in PATH") };
        let mut shared = SHARED.lock().await;
        if let Some(browser) = shared.upgrade() {
            return Some(browser);
        }
        let browser = Arc::new(Self::start(&program, &[]).await);
        *shared = Arc::downgrade(&browser);
        Some(browser)
    }

    /// One of its own, with more flags, or `None` after saying that the test is skipped.
    pub(crate) async fn own(flags: &[&str]) -> Option<Arc<Self>> {
        match find_tool("chromium") {
            Some(program) => Some(Arc::new(Self::start(&program, flags).await)),
            None => skip("chromium is not in PATH"),
        }
    }

    async fn start(program: &Path, flags: &[&str]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It reads commands from descriptor 3 and answers on 4. A shell puts them there, and is then no more.
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 4>&1 0</dev/null 1>&2; exec \"$@\"", "sh"]).arg(program);
        command.args(FLAGS).args(flags).arg("--remote-debugging-pipe");
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let noise = File::create(noise(&profile)).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(noise).process_group(0);
        let mut child = command.spawn().unwrap();
        let pipe = Pipe::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let browser = Self { pipe, places: Arc::new(Semaphore::new(CONTEXTS)), _process: Process(child), profile };
        browser.call(None, "Browser.getVersion", json!({})).await.unwrap();
        browser
    }

    /// An empty page in a context of its own. It waits until there is room.
    pub(crate) async fn page(self: &Arc<Self>) -> Page {
        let place = Arc::clone(&self.places).acquire_owned().await.unwrap();
        let context = Context::new(self, place).await;
        Page::open_in(Arc::new(context)).await
    }

    /// Where its profile is: what is in no command line of another process.
    pub(crate) fn profile(&self) -> PathBuf {
        self.profile.path().to_owned()
    }

    /// Calls a method of the protocol; the error is the browser's own.
    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        match tokio::time::timeout(ANSWER, self.pipe.call(session, method, params)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let noise = std::fs::read_to_string(noise(&self.profile)).unwrap_or_default();
                panic!("the browser ended at {method}: {noise}")
            }
            Err(_) => panic!("the browser did not answer {method} within {ANSWER:?}"),
        }
    }
}

/// What the browser writes that is no answer.
fn noise(profile: &TempDir) -> PathBuf {
    profile.path().join("stderr.log")
}

/// What pages share that a user has open at the same time: cookies and storage.
struct Context {
    browser: Arc<Browser>,
    id: String,
    _place: OwnedSemaphorePermit,
}

impl Context {
    async fn new(browser: &Arc<Browser>, place: OwnedSemaphorePermit) -> Self {
        let made = browser.call(None, "Target.createBrowserContext", json!({ "disposeOnDetach": true })).await.unwrap();
        let id = made["browserContextId"].as_str().unwrap().to_owned();
        Self { browser: Arc::clone(browser), id, _place: place }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.browser.pipe.send("Target.disposeBrowserContext", json!({ "browserContextId": self.id }));
    }
}
