//! A look at a change of users, tokens or one's own account before it is made. What was looked at goes with the form,
//! sealed, and is what is done when it is confirmed: if it is still made to what was seen.

use askama::Template;
use axum::Form;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::tokens;
use crate::access::{AccessError, NewToken, PlannedUser, Purpose, UserChange, Via, listed};
use crate::controller::ControllerError;
use crate::model::users::{PasswordHash, TokenId, User};
use crate::model::{Sha256Digest, UserName};
use crate::web::failure::Failure;
use crate::web::listener::Arrival;
use crate::web::page::PageContext;
use crate::web::pages::sign_in::{sentence, set_cookies};
use crate::web::shell::{Nav, Shell};

/// For how long what was looked at can be confirmed.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(15);

/// A change that is looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Change {
    User(UserName, UserChange),
    OwnPassword(PasswordHash),
    EndOwnSessions,
    AddToken(NewToken),
    RevokeToken(TokenId),
    /// The end of sessions that another service vouched for: of one, or of everybody such.
    EndVouched(Option<UserName>),
}

/// What goes with the form. A new password is in it as its hash alone.
#[derive(Debug, Serialize, Deserialize)]
struct Reviewed {
    by: UserName,
    until: DateTime<Utc>,
    change: Change,
    /// What it has to be made to.
    seen: Option<Sha256Digest>,
    rows: Vec<Row>,
}

/// What changes in one respect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    what: String,
    before: Option<String>,
    after: Option<String>,
}

/// A change as it would be made now.
struct Planned {
    title: String,
    rows: Vec<Row>,
    seen: Option<Sha256Digest>,
    /// What comes of it, in sentences.
    effects: Vec<&'static str>,
    cli: String,
    button: &'static str,
    is_dangerous: bool,
    /// Where whoever changed their mind goes.
    back: String,
}

#[derive(Template)]
#[template(path = "settings/review.html")]
struct Page<'a> {
    shell: Shell,
    planned: &'a Planned,
    sealed: String,
    reason: &'a str,
    /// What was seen before somebody else changed it.
    late: Option<&'a [Row]>,
    error: Option<String>,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    sealed: String,
    #[serde(default)]
    reason: String,
}

impl Row {
    fn new(what: &str, before: Option<String>, after: Option<String>) -> Self {
        Self { what: what.to_owned(), before, after }
    }
}

impl Change {
    fn plan(&self, page: &PageContext) -> Result<Planned, Failure> {
        let directory = page.caller.portal.gate.directory();
        let own = &page.may().identity().user;
        match self {
            Self::User(name, change) => Ok(of_user(name, change, &page.may().plan_user(directory, name, change)?)),
            Self::OwnPassword(hash) => {
                let change = UserChange::Password(hash.clone());
                let planned = of_user(own, &change, &page.may().plan_user(directory, own, &change)?);
                Ok(Planned {
                    title: "Change your password".to_owned(),
                    back: "/settings/account".to_owned(),
                    ..planned
                })
            }
            // They are in no list.
            Self::EndOwnSessions if page.may().identity().via == Via::Oidc => {
                let planned = of_vouched(Some(own));
                Ok(Planned { title: "Sign out everywhere".to_owned(), back: "/settings/account".to_owned(), ..planned })
            }
            Self::EndOwnSessions => {
                let change = UserChange::EndSessions;
                let planned = of_user(own, &change, &page.may().plan_user(directory, own, &change)?);
                Ok(Planned { title: "Sign out everywhere".to_owned(), back: "/settings/account".to_owned(), ..planned })
            }
            Self::AddToken(new) => {
                page.may().check_new_token(directory, new)?;
                Ok(of_new_token(new))
            }
            Self::EndVouched(whose) => {
                page.may().check_user_changes()?;
                Ok(of_vouched(whose.as_ref()))
            }
            Self::RevokeToken(id) => {
                let (token, seen) = page.may().token(directory, id)?;
                let state = if token.revoked { "revoked" } else { "good" };
                let effects = vec!["Programs that sign in with it are refused from their next request on."];
                Ok(Planned {
                    title: format!("Revoke token {}", token.name),
                    rows: vec![
                        Row::new("Token", Some(format!("{id} of {}", token.user)), Some(id.to_string())),
                        Row::new("May at most", Some(listed(&token.grants)), Some("nothing".to_owned())),
                        Row::new("State", Some(state.to_owned()), Some("revoked".to_owned())),
                    ],
                    seen: Some(seen),
                    effects,
                    cli: format!("fleetman token revoke {id}"),
                    button: "Revoke it",
                    is_dangerous: true,
                    back: "/settings/tokens".to_owned(),
                })
            }
        }
    }
}

fn of_vouched(whose: Option<&UserName>) -> Planned {
    let who = whose.map_or_else(|| "everybody whom the other service vouches for".to_owned(), ToString::to_string);
    Planned {
        title: format!("End all sessions of {who}"),
        rows: vec![Row::new("Sessions", Some(format!("those of {who}")), None)],
        seen: None,
        effects: vec!["Whoever the other service still vouches for can sign in again."],
        cli: "fleetman user ls".to_owned(),
        button: "End them",
        is_dangerous: true,
        back: "/settings/users".to_owned(),
    }
}

fn of_new_token(new: &NewToken) -> Planned {
    let days = new.good_for.as_secs() / (24 * 60 * 60);
    let row = |what, after: String| Row::new(what, None, Some(after));
    Planned {
        title: format!("Make token {}", new.name.trim()),
        rows: vec![
            row("For", new.user.to_string()),
            row("May at most", listed(&new.grants)),
            row("Good for", format!("{days} days")),
        ],
        seen: None,
        effects: vec!["It is shown once, on the next page. Whoever has it acts in your name, as far as it may."],
        cli: format!("fleetman token add … --for {} --days {days}", new.user),
        button: "Make the token",
        is_dangerous: false,
        back: "/settings/tokens".to_owned(),
    }
}

fn of_user(name: &UserName, change: &UserChange, planned: &PlannedUser) -> Planned {
    let (verb, title, button, effects) = match change {
        UserChange::Add { .. } => {
            ("add", format!("Add user {name}"), "Add the user", vec!["They can sign in at once."])
        }
        UserChange::Password(_) => (
            "passwd",
            format!("Another password for {name}"),
            "Set the password",
            vec!["Their sessions end. What their tokens may stays as it is."],
        ),
        UserChange::Grants(_) => {
            ("grant", format!("What {name} may do"), "Change it", vec!["It counts at their next request."])
        }
        UserChange::Disable => {
            ("disable", format!("Keep {name} out"), "Keep them out", vec!["Their sessions end, and their tokens rest."])
        }
        UserChange::Enable => ("disable --undo", format!("Let {name} in again"), "Let them in", Vec::new()),
        UserChange::EndSessions => {
            ("end", format!("End all sessions of {name}"), "End them", vec!["Every browser has to sign in again."])
        }
        UserChange::Delete => (
            "rm",
            format!("Delete user {name}"),
            "Delete the user",
            vec!["Their sessions end, and their tokens are worthless. What they did stays in the audit."],
        ),
    };
    let is_dangerous = matches!(change, UserChange::Disable | UserChange::Delete);
    let back = match change {
        UserChange::Add { .. } => "/settings/users".to_owned(),
        _ => format!("/settings/users/{name}"),
    };
    Planned {
        title,
        rows: rows(planned),
        seen: Some(planned.seen),
        effects,
        cli: format!("fleetman user {verb} {name}"),
        button,
        is_dangerous,
        back,
    }
}

/// Somebody before and after, in each respect.
fn rows(PlannedUser { before, after, .. }: &PlannedUser) -> Vec<Row> {
    let both = |what, of: fn(&User) -> String| Row::new(what, before.as_ref().map(of), after.as_ref().map(of));
    let password = |user: &Option<User>| user.as_ref().map(|user| user.password_hash.clone());
    let is_other = password(before) != password(after);
    let told = |user: &Option<User>, text: &str| user.as_ref().map(|_| text.to_owned());
    vec![
        both("May", |user| listed(&user.grants)),
        both("State", |user| if user.disabled { "kept out" } else { "active" }.to_owned()),
        Row::new("Password", told(before, "set"), told(after, if is_other { "another" } else { "set" })),
        both("Sessions", |user| format!("those begun since revision {}", user.session_epoch)),
    ]
}

/// The page that shows what `change` would do.
pub(super) fn show(page: &PageContext, change: Change, reason: &str) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let planned = change.plan(page)?;
    form(page, change, &planned, reason, None, None)
}

fn form(
    page: &PageContext,
    change: Change,
    planned: &Planned,
    reason: &str,
    late: Option<&[Row]>,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let gate = &page.caller.portal.gate;
    let reviewed = Reviewed {
        by: page.may().identity().user.clone(),
        until: gate.directory().now() + GOOD_FOR,
        change,
        seen: planned.seen,
        rows: planned.rows.clone(),
    };
    let too_long =
        || Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "too_long", "the change is too long; make it in parts");
    let sealed = gate.sessions().key.seal(Purpose::Review, &reviewed).ok_or_else(too_long)?;
    let shell = page.shell(planned.title.clone(), Nav::Settings, planned.cli.clone());
    let error = failed.map(|failure| failure.detail().to_owned());
    let status = failed.map_or(StatusCode::OK, Failure::status);
    page.render_with(status, &Page { shell, planned, sealed, reason, late, error })
}

/// `POST /settings/review`: does what was looked at.
pub(super) async fn confirm(
    page: PageContext,
    Extension(arrival): Extension<Arrival>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    let gate = &page.caller.portal.gate;
    let reviewed: Option<Reviewed> = gate.sessions().key.open(Purpose::Review, &sent.sealed);
    let own = &page.may().identity().user;
    let is_good = |reviewed: &Reviewed| reviewed.by == *own && gate.directory().now() < reviewed.until;
    let Some(reviewed) = reviewed.filter(is_good) else {
        let detail = "what was to be confirmed is not known here, or was looked at too long ago; begin again";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "not_reviewed", detail));
    };
    page.caller.check_writable()?;
    match perform(&page, &arrival, &reviewed, &sent.reason).await {
        Err(AccessError::Controller(error @ ControllerError::Changed { .. })) => {
            let failure = Failure::from(error);
            let planned = reviewed.change.plan(&page)?;
            form(&page, reviewed.change, &planned, &sent.reason, Some(&reviewed.rows), Some(&failure))
        }
        done => done?,
    }
}

async fn perform(
    page: &PageContext,
    arrival: &Arrival,
    Reviewed { change, seen, .. }: &Reviewed,
    reason: &str,
) -> Result<Result<Response, Failure>, AccessError> {
    let (gate, may) = (&page.caller.portal.gate, page.may().because(reason));
    let directory = gate.directory();
    match change {
        Change::User(name, change) => match seen {
            Some(seen) => may.change_seen_user(directory, name, change, *seen).await?,
            None => may.change_user(directory, name, change).await?,
        },
        Change::OwnPassword(hash) => {
            may.change_own_password(directory, hash.clone(), *seen).await?;
            return Ok(begin_again(page, arrival));
        }
        Change::EndOwnSessions => {
            may.end_own_sessions(directory, *seen).await?;
            return Ok(Ok(Redirect::to("/sign-in").into_response()));
        }
        Change::AddToken(new) => {
            let token = may.add_token(directory, new).await?;
            return Ok(tokens::made(page, &token));
        }
        Change::RevokeToken(id) => may.revoke_token(directory, id, *seen).await?,
        Change::EndVouched(whose) => may.end_vouched(directory, whose.as_ref()).await?,
    }
    let done = match change {
        Change::User(_, UserChange::Add { .. } | UserChange::Delete) | Change::EndVouched(_) => {
            "/settings/users".to_owned()
        }
        Change::User(name, _) => format!("/settings/users/{name}"),
        _ => "/settings/tokens".to_owned(),
    };
    Ok(Ok(page.lead_to(&done)))
}

/// A change of one's password ended every session, also the one that it was made in.
fn begin_again(page: &PageContext, arrival: &Arrival) -> Result<Response, Failure> {
    let signed_in = page.caller.portal.gate.begin_again(&page.may().identity().user);
    let signed_in =
        signed_in.map_err(|error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "password", sentence(&error)))?;
    let mut response = page.lead_to("/settings/account?done=password");
    set_cookies(&mut response, arrival, &signed_in)?;
    Ok(response)
}
