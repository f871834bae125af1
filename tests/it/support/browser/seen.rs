//! What a page did while nobody asked: whether it is loading, and everything that should not have happened.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The kind of thing that went wrong, and the browser's words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

/// What was noted of one page.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) complaints: Vec<Complaint>,
    /// Set between a click on a link and the end of loading what it leads to.
    pub(super) loading: bool,
    /// The status of the document that is shown.
    pub(super) status: u64,
    main_frame: String,
    /// What is under way, by the browser's id of the request.
    requests: HashMap<String, String>,
}

impl Seen {
    pub(super) fn of(main_frame: &str) -> Self {
        Self { main_frame: main_frame.to_owned(), ..Self::default() }
    }

    /// Notes an event; what it gives is a call that must be made at once.
    pub(super) fn note(&mut self, event: &str, params: &Value) -> Option<(&'static str, Value)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let main = params["frameId"] == self.main_frame.as_str();
        match event {
            "Page.frameRequestedNavigation" | "Page.frameStartedNavigating" | "Page.frameStartedLoading"
                if main && params["navigationType"] != "sameDocument" =>
            {
                // What opens elsewhere loads elsewhere.
                self.loading |= params["disposition"].as_str().is_none_or(|place| place == "currentTab");
            }
            "Page.frameStoppedLoading" | "Page.downloadWillBegin" if main => self.loading = false,
            "Page.javascriptDialogOpening" => {
                self.complain("dialog", format!("{}: {}", text(&params["type"]), text(&params["message"])));
                return Some(("Page.handleJavaScriptDialog", json!({ "accept": params["type"] == "beforeunload" })));
            }
            "Inspector.targetCrashed" => self.complain("crash", "the page crashed".to_owned()),
            "Runtime.exceptionThrown" => {
                let thrown = &params["exceptionDetails"];
                let said = thrown["exception"]["description"].as_str().or(thrown["text"].as_str());
                self.complain("exception", format!("{} at {}", said.unwrap_or_default(), text(&thrown["url"])));
            }
            "Runtime.consoleAPICalled" if ["error", "assert", "warning"].iter().any(|kind| params["type"] == *kind) => {
                let said = params["args"].as_array().into_iter().flatten();
                let said = said.map(|arg| arg.get("value").or(arg.get("description")).unwrap_or(arg).to_string());
                self.complain("console", said.collect::<Vec<_>>().join(" "));
            }
            // Requests that failed are told of by the network itself.
            "Log.entryAdded" if params["entry"]["source"] != "network" => {
                let entry = &params["entry"];
                // A page with an unsaved text is left without being asked where nobody touched it.
                let is_untouched = entry["source"] == "intervention" && text(&entry["text"]).contains("'beforeunload'");
                if !is_untouched && ["error", "warning"].iter().any(|level| entry["level"] == *level) {
                    self.complain("log", format!("{}: {}", text(&entry["source"]), text(&entry["text"])));
                }
            }
            "Audits.issueAdded" if params["issue"]["code"] == "ContentSecurityPolicyIssue" => {
                let details = &params["issue"]["details"]["contentSecurityPolicyIssueDetails"];
                self.complain("csp", details.to_string());
            }
            "Network.requestWillBeSent" => {
                let request = &params["request"];
                let named = format!("{} {}", text(&request["method"]), text(&request["url"]));
                self.requests.insert(text(&params["requestId"]), named);
            }
            "Network.responseReceived" => self.answered(params, main),
            "Network.loadingFinished" => {
                self.requests.remove(&text(&params["requestId"]));
            }
            // What was given up for another page is no failure.
            "Network.loadingFailed" => {
                let request = self.requests.remove(&text(&params["requestId"])).unwrap_or_default();
                if params["canceled"] != true {
                    let why = format!("{} {}", text(&params["errorText"]), text(&params["blockedReason"]));
                    self.complain("request", format!("{request}: {}", why.trim()));
                }
            }
            _ => {}
        }
        None
    }

    fn answered(&mut self, params: &Value, main: bool) {
        let status = params["response"]["status"].as_u64().unwrap_or_default();
        if main && params["type"] == "Document" {
            self.status = status;
        }
        if status >= 400 {
            let request = self.requests.get(params["requestId"].as_str().unwrap_or_default());
            let request = request.cloned().unwrap_or_default();
            self.complain("request", format!("{request}: {status}"));
        }
    }

    fn complain(&mut self, kind: &'static str, what: String) {
        self.complaints.push(Complaint { kind, what });
    }
}
