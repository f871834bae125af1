//! `/settings/users`: who may sign in, and what they may do.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::grants::{read, written};
use super::review::{self, Change};
use crate::access::{GOOD_CHARS, LEAST_CHARS, UserChange, listed};
use crate::model::UserName;
use crate::model::users::{PasswordHash, User};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// A user in the list.
struct Row {
    name: UserName,
    may: String,
    is_disabled: bool,
    /// Whether the config names them, and is where they are changed.
    of_config: bool,
    tokens: usize,
}

#[derive(Template)]
#[template(path = "settings/users.html")]
struct List<'a> {
    shell: Shell,
    users: Vec<Row>,
    /// Why nobody can be changed from here.
    fixed: Option<&'static str>,
    /// Who else says who people are, if anybody.
    elsewhere: Option<&'a str>,
    sent: &'a NewUser,
    error: Option<String>,
    least: usize,
    good: usize,
}

#[derive(Template)]
#[template(path = "settings/user.html")]
struct One {
    shell: Shell,
    user: Row,
    /// What they may do, as the form has it.
    may: String,
    /// What they may do according to the form that was sent, if it was refused.
    sent_may: Option<String>,
    is_own: bool,
    fixed: Option<&'static str>,
    error: Option<String>,
    least: usize,
    good: usize,
}

/// What the form for a new user sends.
#[derive(Default, Deserialize)]
pub(super) struct NewUser {
    #[serde(default)]
    name: String,
    #[serde(default)]
    may: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
    #[serde(default)]
    reason: String,
}

/// What one of the forms for a user sends.
#[derive(Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    change: String,
    #[serde(default)]
    may: String,
    /// What they might do when the form was made.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
    /// The name, typed once more.
    #[serde(default)]
    name: String,
    #[serde(default)]
    reason: String,
}

/// The user that a path names.
#[derive(Deserialize)]
pub(super) struct Named {
    user: UserName,
}

pub(super) async fn list(page: PageContext) -> Result<Response, Failure> {
    show_list(&page, &NewUser::default(), None)
}

fn show_list(page: &PageContext, sent: &NewUser, refused: Option<Failure>) -> Result<Response, Failure> {
    page.may().check_users()?;
    let directory = page.caller.portal.gate.directory();
    let list = directory.list();
    let tokens = |name: &UserName| {
        let tokens = list.iter().flat_map(|users| &users.tokens);
        tokens.filter(|token| token.user == *name && !token.revoked && directory.now() < token.expires_at).count()
    };
    let of_config = directory.of_config().iter().map(|user| Row {
        name: user.name.clone(),
        may: listed(&user.grants),
        is_disabled: false,
        of_config: true,
        tokens: tokens(&user.name),
    });
    let in_list = list.iter().flat_map(|users| &users.users).map(|user| row(user, false, tokens(&user.name)));
    let status = refused.as_ref().map_or(StatusCode::OK, Failure::status);
    let template = List {
        shell: page.shell("Users", Nav::Settings, "fleetman user ls".to_owned()),
        users: of_config.chain(in_list).collect(),
        fixed: directory.is_fixed(),
        elsewhere: page.caller.portal.oidc.as_ref().map(|oidc| oidc.host()),
        sent,
        error: refused.map(|failure| failure.detail().to_owned()),
        least: LEAST_CHARS,
        good: GOOD_CHARS,
    };
    page.render_with(status, &template)
}

fn row(user: &User, of_config: bool, tokens: usize) -> Row {
    let (name, may) = (user.name.clone(), listed(&user.grants));
    Row { name, may, is_disabled: user.disabled, of_config, tokens }
}

pub(super) async fn add(page: PageContext, Form(sent): Form<NewUser>) -> Result<Response, Failure> {
    page.may().check_user_changes()?;
    page.caller.check_writable()?;
    match try_add(&page, &sent).await {
        Ok(review) => Ok(review),
        Err(failure) => show_list(&page, &sent, Some(failure)),
    }
}

async fn try_add(page: &PageContext, sent: &NewUser) -> Result<Response, Failure> {
    let name = UserName::new(sent.name.trim())?;
    let grants = read(&sent.may)?;
    let password_hash = hash(page, &name, &sent.password, &sent.again).await?;
    let change = UserChange::Add { password_hash, grants };
    review::show(page, Change::User(name, change), &sent.reason)
}

/// What the forms for people from elsewhere send.
#[derive(Deserialize)]
pub(super) struct Ended {
    /// Whose sessions end.
    #[serde(default)]
    name: String,
    /// Whether everybody's do.
    #[serde(default)]
    everybody: bool,
}

pub(super) async fn end_vouched(page: PageContext, Form(sent): Form<Ended>) -> Result<Response, Failure> {
    page.may().check_user_changes()?;
    page.caller.check_writable()?;
    let name = if sent.everybody { Ok(None) } else { UserName::new(sent.name.trim()).map(Some) };
    match name {
        Ok(name) => review::show(&page, Change::EndVouched(name), ""),
        Err(wrong) => show_list(&page, &NewUser::default(), Some(wrong.into())),
    }
}

/// Refuses a password that was not typed twice alike.
fn check_alike(password: &str, again: &str) -> Result<(), Failure> {
    if password == again {
        return Ok(());
    }
    Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "passwords_differ", "the two passwords differ"))
}

/// The hash of a password that was typed twice.
pub(super) async fn hash(
    page: &PageContext,
    name: &UserName,
    password: &str,
    again: &str,
) -> Result<PasswordHash, Failure> {
    check_alike(password, again)?;
    page.caller.hash_password(name, password).await
}

pub(super) async fn one(page: PageContext, Path(Named { user }): Path<Named>) -> Result<Response, Failure> {
    show_one(&page, &user, None, None)
}

fn show_one(
    page: &PageContext,
    name: &UserName,
    sent_may: Option<String>,
    refused: Option<Failure>,
) -> Result<Response, Failure> {
    page.may().check_users()?;
    let directory = page.caller.portal.gate.directory();
    let user = directory.user(name).ok_or_else(|| Failure::not_found(format_args!("user {name}")))?;
    let of_config = directory.of_config().iter().any(|other| other.name == *name);
    let status = refused.as_ref().map_or(StatusCode::OK, Failure::status);
    let template = One {
        shell: page.shell(format!("User {name}"), Nav::Settings, format!("fleetman user grant {name} <role>")),
        may: written(&user.grants),
        user: row(&user, of_config, 0),
        sent_may,
        is_own: page.may().identity().user == *name,
        fixed: directory.is_fixed(),
        error: refused.map(|failure| failure.detail().to_owned()),
        least: LEAST_CHARS,
        good: GOOD_CHARS,
    };
    page.render_with(status, &template)
}

pub(super) async fn change(
    page: PageContext,
    Path(Named { user }): Path<Named>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.may().check_user_changes()?;
    page.caller.check_writable()?;
    match try_change(&page, &user, &sent).await {
        Ok(review) => Ok(review),
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => Err(failure),
        Err(failure) => {
            let may = (sent.change == "grants").then_some(sent.may);
            show_one(&page, &user, may, Some(failure))
        }
    }
}

async fn try_change(page: &PageContext, name: &UserName, sent: &Sent) -> Result<Response, Failure> {
    let directory = page.caller.portal.gate.directory();
    let change = match sent.change.as_str() {
        "grants" => {
            let now = directory.user(name).map(|user| written(&user.grants)).unwrap_or_default();
            if now != sent.seen.replace("\r\n", "\n") {
                let detail = format!("somebody changed meanwhile what {name} may do; it is now what the form shows");
                return Err(Failure::new(StatusCode::CONFLICT, "changed", detail));
            }
            UserChange::Grants(read(&sent.may)?)
        }
        "password" => UserChange::Password(hash(page, name, &sent.password, &sent.again).await?),
        "disable" => UserChange::Disable,
        "enable" => UserChange::Enable,
        "end" => UserChange::EndSessions,
        "delete" if sent.name.trim() == name.as_str() => UserChange::Delete,
        "delete" => {
            let detail = format!("type {name} to delete this user");
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "not_confirmed", detail));
        }
        other => return Err(Failure::bad_request("change", format!("{other:?} is no change of a user"))),
    };
    review::show(page, Change::User(name.clone(), change), &sent.reason)
}
