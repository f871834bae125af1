//! `/settings/doctor`: what the store can do, as the doctor found out.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::access::AccessError;
use crate::controller::Checkup;
use crate::model::fleet::Conditions;
use crate::web::failure::Failure;
use crate::web::findings::{Found, dressed};
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "settings/doctor.html")]
struct Page {
    shell: Shell,
    checkup: Option<Checked>,
    failed: Option<String>,
}

/// An examination, dressed.
struct Checked {
    at: DateTime<Utc>,
    kind: &'static str,
    word: &'static str,
    writes: &'static str,
    findings: Vec<Found>,
}

impl From<Checkup> for Checked {
    fn from(checkup: Checkup) -> Self {
        let (kind, word) = dressed(checkup.verdict());
        let writes = match checkup.report.conditions {
            Conditions::Honoured => "The store keeps conditions on writes: whoever writes first wins.",
            Conditions::Ignored => "The store takes conditions on writes and ignores them: writers take turns.",
            Conditions::Refused => "The store refuses conditions on writes: writers take turns.",
            Conditions::Unknown => "Whether the store keeps conditions on writes is not known: writers take turns.",
        };
        let findings = checkup.report.findings.into_iter().map(Found::from);
        Self { at: checkup.report.checked_at, kind, word, writes, findings: findings.collect() }
    }
}

pub(super) async fn doctor(page: PageContext) -> Result<Response, Failure> {
    let shell = page.shell("Doctor", Nav::Settings, "fleetman doctor".to_owned());
    match page.may().checkup().await {
        Ok(checkup) => page.render(&Page { shell, checkup: checkup.map(Checked::from), failed: None }),
        Err(AccessError::Denied(denied)) => Err(denied.into()),
        // What cannot be read can be found out anew, which is what this page is for.
        Err(AccessError::Controller(error)) => {
            let failure = Failure::from(error);
            let failed = Some(failure.detail().to_owned());
            page.render_with(failure.status(), &Page { shell, checkup: None, failed })
        }
    }
}

pub(super) async fn examine(page: PageContext) -> Result<Response, Failure> {
    let may = page.may().clone();
    may.check_settings()?;
    page.caller.check_writable()?;
    // It ends also when nobody waits any more: what it wrote has to be removed again.
    let examined = tokio::spawn(async move { may.examine().await }).await;
    match examined {
        Ok(examined) => examined.map(|_| ())?,
        Err(error) => {
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "doctor", format!("it did not end: {error}")));
        }
    }
    Ok(page.lead_to("/settings/doctor"))
}
