//! Sending a test message to a receiver, and showing what it said.

use std::time::Duration;

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use ulid::Ulid;

use crate::controller::{Fate, Trial};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// Who is to get it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    receiver: String,
}

#[derive(Template)]
#[template(path = "alerts/tested.html")]
struct Page {
    shell: Shell,
    receiver: String,
    id: Ulid,
    state: State,
    /// What the receiver said, where it did not take it.
    problem: Option<String>,
    /// What to do now.
    advice: &'static str,
}

pub(in crate::web) fn no_receiver(name: &str) -> Failure {
    Failure::not_found(format_args!("receiver {name:?}: the config of this controller names none for this bucket"))
}

pub(in crate::web) fn tested_lately(name: &str, wait: Duration) -> Failure {
    let secs = wait.as_secs() + 1;
    let detail = format!("a test message to {name} was sent moments ago: try again in {secs} s");
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_soon", detail).with("retry_in_secs", secs)
}

pub(super) async fn test(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.may().check_try_receivers()?;
    page.caller.check_writable()?;
    let receiver = sent.receiver;
    let (id, fate) = match page.may().try_receiver(&page.caller.fleet.receivers, &receiver).await? {
        None => return Err(no_receiver(&receiver)),
        Some(Trial::TooSoon { wait }) => return Err(tested_lately(&receiver, wait)),
        Some(Trial::Made { id, fate }) => (id, fate),
    };
    let (state, problem, advice) = match fate {
        Fate::Sent => (State::new("good", "Sent"), None, "The receiver took it. See whether it arrived."),
        Fate::Later(why) => {
            (State::new("warn", "Not reached"), Some(why), "It may go better later, when the receiver is back.")
        }
        Fate::Never(why) => (
            State::new("bad", "Refused"),
            Some(why),
            "Correct the receiver in alerts.receivers of the controller's config, and start the controller again.",
        ),
    };
    let cli = format!("fleetman alerts test {}", quoted(&receiver));
    let shell = page.shell(format!("A test message to {receiver}"), Nav::Alerts, cli);
    page.render(&Page { shell, receiver, id, state, problem, advice })
}
