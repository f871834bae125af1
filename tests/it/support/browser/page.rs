//! One page: go somewhere, look at it, and answer at the end for everything that went wrong on it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Context;
use super::seen::{Complaint, Seen};
use crate::support::{holds_in_time, wait_for};

/// An open page. It must be ended by [`Page::end`], which fails the test for whatever went wrong on it.
pub(crate) struct Page {
    pub(super) context: Arc<Context>,
    session: String,
    target: String,
    seen: Arc<Mutex<Seen>>,
    ended: bool,
}

/// A picture of a page, as PNG.
pub(crate) struct Shot(pub(crate) Vec<u8>);

impl Shot {
    pub(crate) fn save(&self, path: &Path) {
        std::fs::write(path, &self.0).unwrap();
    }
}

impl Page {
    pub(super) async fn open_in(context: Arc<Context>) -> Self {
        let browser = &context.browser;
        let asked = json!({ "url": "about:blank", "browserContextId": context.id });
        let made = browser.call(None, "Target.createTarget", asked).await.unwrap();
        let target = made["targetId"].as_str().unwrap().to_owned();
        let asked = json!({ "targetId": target, "flatten": true });
        let attached = browser.call(None, "Target.attachToTarget", asked).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        // The id of a page's main frame is that of its target.
        let seen = Arc::new(Mutex::new(Seen::of(&target)));
        browser.pipe.follow(&session, Arc::clone(&seen));
        let page = Self { context, session, target, seen, ended: false };
        for domain in ["Page", "Runtime", "Network", "Log", "Audits", "DOM"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        // As if it were the window in front: hidden pages pause what they do.
        page.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
        page.size(1280, 800).await;
        page
    }

    /// Another page of the same user.
    pub(crate) async fn another(&self) -> Self {
        Self::open_in(Arc::clone(&self.context)).await
    }

    /// Calls a method of the protocol that can only fail if the test is wrong.
    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub(super) async fn try_call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.context.browser.call(Some(&self.session), method, params).await
    }

    /// Goes to an address, waits until it is loaded, and gives its status.
    pub(crate) async fn open(&self, url: &str) -> u64 {
        self.seen.lock().unwrap().status = 0;
        let went = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(went.get("errorText").is_none(), "{url}: {went}");
        self.loaded().await;
        self.status()
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) -> u64 {
        self.seen.lock().unwrap().loading = true;
        self.call("Page.reload", json!({})).await;
        self.loaded().await;
        self.status()
    }

    /// Sends a form to an address of the site that is open, as a form of that page would be sent, and gives the status
    /// of where it leads. With files, each its field, name and text, it is sent in parts.
    pub(crate) async fn send_form(&self, url: &str, fields: &[(&str, String)], files: &[(&str, &str, &str)]) -> u64 {
        {
            let mut seen = self.seen.lock().unwrap();
            (seen.loading, seen.status) = (true, 0);
        }
        let script = format!(
            "(() => {{
                const form = Object.assign(document.createElement('form'), {{ method: 'post', action: {url} }});
                for (const [name, value] of {fields})
                    form.append(Object.assign(document.createElement('textarea'), {{ name, value }}));
                for (const [field, name, text] of {files}) {{
                    const chosen = new DataTransfer();
                    chosen.items.add(new File([text], name));
                    const input = Object.assign(document.createElement('input'), {{ type: 'file', name: field }});
                    input.files = chosen.files;
                    form.append(input);
                    form.enctype = 'multipart/form-data';
                }}
                form.hidden = true;
                document.body.append(form);
                form.submit();
            }})()",
            url = json!(url),
            fields = json!(fields),
            files = json!(files),
        );
        self.evaluate(&script).await;
        self.loaded().await;
        self.status()
    }

    /// The status of the document that is shown.
    pub(crate) fn status(&self) -> u64 {
        self.seen.lock().unwrap().status
    }

    /// Waits until what a click or a key set going is loaded.
    pub(crate) async fn loaded(&self) {
        let loaded = async || {
            // Whatever the page began before it answers this has been told.
            let ready = self.try_evaluate("document.readyState").await;
            !self.seen.lock().unwrap().loading && ready.is_ok_and(|ready| ready == "complete")
        };
        wait_for(loaded, "the page to be loaded").await;
    }

    /// What a script gives, in the page and with its rights, also where its own scripts are off. Promises are awaited.
    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        self.try_evaluate(script).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The same, with what it threw as the error.
    pub(super) async fn try_evaluate(&self, script: &str) -> Result<Value, String> {
        self.evaluate_in(None, script).await
    }

    /// The same in a world of scripts of its own, if one is given.
    pub(super) async fn evaluate_in(&self, world: Option<&Value>, script: &str) -> Result<Value, String> {
        let mut asked = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        if let Some(world) = world {
            asked["contextId"] = world.clone();
        }
        result(self.try_call("Runtime.evaluate", asked).await?).map(|mut result| result["value"].take())
    }

    /// Waits until a script gives true.
    pub(crate) async fn wait(&self, script: &str) {
        let holds = async || self.try_evaluate(script).await.is_ok_and(|value| value == true);
        wait_for(holds, &format!("{script} on {}", self.url().await)).await;
    }

    /// All text that can be seen.
    pub(crate) async fn read(&self) -> String {
        // There is no body while one page makes place for the next.
        let text = self.try_evaluate("document.body.innerText").await;
        text.ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Waits until a text can be seen.
    pub(crate) async fn see(&self, text: &str) {
        self.see_that(&format!("show {text:?}"), |read| read.contains(text)).await;
    }

    /// Waits until a text cannot be seen any more.
    pub(crate) async fn see_no(&self, text: &str) {
        self.see_that(&format!("no longer show {text:?}"), |read| !read.contains(text)).await;
    }

    async fn see_that(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut read = String::new();
        let seen = async || {
            read = self.read().await;
            holds(&read)
        };
        if holds_in_time(seen).await {
            return;
        }
        panic!("{} did not {what}, but shows:\n{read}\n{:#?}", self.url().await, self.complaints().await);
    }

    pub(crate) async fn url(&self) -> String {
        self.try_evaluate("location.href").await.ok().and_then(|url| Some(url.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Makes the window as large as this many CSS pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let asked = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", asked).await;
    }

    /// `light` or `dark`, as the user's system asks for.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Shows pages as they are printed.
    pub(crate) async fn print(&self) {
        self.call("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    }

    /// Puts another page in front of this one, which is hidden until [`Page::show`].
    pub(crate) async fn hide(&self) -> Self {
        let front = self.another().await;
        self.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": false })).await;
        front.call("Page.bringToFront", json!({})).await;
        self.wait("document.hidden").await;
        front
    }

    /// Takes away the page in front.
    pub(crate) async fn show(&self, front: Self) {
        front.end().await;
        self.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
        self.wait("!document.hidden").await;
    }

    /// From the next page on, no script of a page runs.
    pub(crate) async fn without_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// From now on, every request of the page has these headers, too.
    pub(crate) async fn send_along(&self, headers: &[(&str, &str)]) {
        let headers: Map<_, _> = headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.call("Network.setExtraHTTPHeaders", json!({ "headers": headers })).await;
    }

    /// A picture of the whole page, or of the beginning of a very long one, or of what is in the window.
    pub(crate) async fn shot(&self, whole: bool) -> Shot {
        let mut asked = json!({ "format": "png", "captureBeyondViewport": whole });
        if whole {
            let size = &self.call("Page.getLayoutMetrics", json!({})).await["cssContentSize"];
            let height = size["height"].as_f64().unwrap().min(3_200.0);
            asked["clip"] = json!({ "x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1 });
        }
        let taken = self.call("Page.captureScreenshot", asked).await;
        Shot(STANDARD.decode(taken["data"].as_str().unwrap()).unwrap())
    }

    /// Takes what went wrong so far. What is taken here does not fail the test at the end.
    pub(crate) async fn complaints(&self) -> Vec<Complaint> {
        // What happened before the answer to this has been told.
        let _ = self.try_evaluate("0").await;
        std::mem::take(&mut self.seen.lock().unwrap().complaints)
    }

    /// Takes what went wrong, which must be exactly requests with these ends, in any order.
    pub(crate) async fn expect_failed(&self, requests: &[&str]) {
        let complaints = self.complaints().await;
        let other = complaints
            .iter()
            .any(|complaint| complaint.kind != "request" || !requests.iter().any(|end| complaint.what.ends_with(end)));
        assert!(!other && complaints.len() == requests.len(), "expected {requests:?}, got {complaints:#?}");
    }

    /// Closes the page.
    #[track_caller]
    pub(crate) fn end(mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let complaints = self.complaints().await;
            self.ended = true;
            assert!(complaints.is_empty(), "at {caller}, on {}: {complaints:#?}", self.url().await);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.context.browser.pipe.forget(&self.session);
        self.context.browser.pipe.send("Target.closeTarget", json!({ "targetId": self.target }));
        assert!(self.ended || std::thread::panicking(), "a page was not ended, so nobody heard its complaints");
    }
}

/// The value of an evaluation, or what it threw.
pub(super) fn result(mut answer: Value) -> Result<Value, String> {
    match answer.get("exceptionDetails") {
        Some(thrown) => {
            Err(thrown["exception"]["description"].as_str().or(thrown["text"].as_str()).unwrap_or_default().to_owned())
        }
        None => Ok(answer["result"].take()),
    }
}
