//! Messages to and from the browser: JSON, each ended by a NUL.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::seen::Seen;

type Answer = Result<Value, String>;

/// Both ends of the pipe. A thread reads, because no runtime of a test lives as long as the browser does.
pub(super) struct Pipe(Arc<Wire>);

struct Wire {
    to_browser: Mutex<ChildStdin>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Who waits for which answer.
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    /// What pages are told of their events.
    pages: HashMap<String, Arc<Mutex<Seen>>>,
    ended: bool,
}

impl Pipe {
    pub(super) fn new(to_browser: ChildStdin, from_browser: ChildStdout) -> Self {
        let wire = Arc::new(Wire { to_browser: Mutex::new(to_browser), state: Mutex::default() });
        let reading = Arc::clone(&wire);
        std::thread::spawn(move || reading.read(from_browser));
        Self(wire)
    }

    /// From now on the events of a session are told to `seen`, each before the answer to whatever caused it.
    pub(super) fn follow(&self, session: &str, seen: Arc<Mutex<Seen>>) {
        self.0.state.lock().unwrap().pages.insert(session.to_owned(), seen);
    }

    pub(super) fn forget(&self, session: &str) {
        self.0.state.lock().unwrap().pages.remove(session);
    }

    /// The answer to a call, or `None` if the browser has ended.
    pub(super) async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.write(session, method, params, Some(answer));
        answered.await.ok()
    }

    /// Calls without waiting for an answer.
    pub(super) fn send(&self, method: &str, params: Value) {
        self.0.write(None, method, params, None);
    }
}

impl Wire {
    /// Without an answer to come, `answer` is dropped, which tells who waits for it.
    fn write(&self, session: Option<&str>, method: &str, params: Value, answer: Option<oneshot::Sender<Answer>>) {
        let id = {
            let mut state = self.state.lock().unwrap();
            if state.ended {
                return;
            }
            state.last += 1;
            let id = state.last;
            state.waiting.extend(answer.map(|answer| (id, answer)));
            id
        };
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let bytes = format!("{message}\0");
        // If it has ended, the reader notices too, and tells who waits.
        let _ = self.to_browser.lock().unwrap().write_all(bytes.as_bytes());
    }

    fn read(&self, from_browser: ChildStdout) {
        let mut from_browser = BufReader::new(from_browser);
        let mut bytes = Vec::new();
        while from_browser.read_until(0, &mut bytes).is_ok_and(|length| length > 0) {
            // The last one may be cut off by the end.
            if let Ok(message) = serde_json::from_slice::<Value>(bytes.strip_suffix(b"\0").unwrap_or(&bytes)) {
                self.take(message);
            }
            bytes.clear();
        }
        let mut state = self.state.lock().unwrap();
        state.ended = true;
        state.waiting.clear();
    }

    fn take(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            let answer = match message.get("error") {
                Some(error) => Err(error["message"].as_str().unwrap_or_default().to_owned()),
                None => Ok(message["result"].take()),
            };
            if let Some(waiting) = self.state.lock().unwrap().waiting.remove(&id) {
                // Whoever waited may have given up.
                let _ = waiting.send(answer);
            }
            return;
        }
        let Some(session) = message["sessionId"].as_str() else { return };
        let Some(seen) = self.state.lock().unwrap().pages.get(session).cloned() else { return };
        let method = message["method"].as_str().unwrap_or_default();
        let reply = seen.lock().unwrap().note(method, &message["params"]);
        if let Some((method, params)) = reply {
            self.write(Some(session), method, params, None);
        }
    }
}
