//! Users and tokens. An admin's token may list users; what changes users or tokens takes a session in a browser.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::app::Portal;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::{Has, List, Page};
use super::operation::{Condition, Operation, Operations};
use super::request::{Asked, IfKnown, Of, Sent};
use crate::access::{Directory, NewToken, TOKEN_GOOD_FOR, UserChange};
use crate::controller::Known;
use crate::model::UserName;
use crate::model::users::{self, Grant, Token, TokenId};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn operations() -> Operations {
    let write = |id, summary| Operation::new(id, "admin", summary).in_person().status(StatusCode::NO_CONTENT);
    let change = |id, summary| write(id, summary).condition(Condition::MayMatch);
    Operations::of("Users")
        .get(
            "/api/v1/users",
            users,
            Operation::new("listUsers", "admin", "Lists who may sign in, and what they may do.")
                .query::<Page>()
                .gives::<List<User>>()
                .cli("fleetman user ls"),
        )
        .get(
            "/api/v1/users/{user}",
            user,
            Operation::new("getUser", "admin", "Tells what a user may do.").gives::<User>(),
        )
        .post(
            "/api/v1/users",
            add_user,
            write("addUser", "Adds a user.").takes::<NewUser>().cli("fleetman user add {user} --may <role>"),
        )
        .put(
            "/api/v1/users/{user}/grants",
            set_grants,
            change("setGrants", "Says what a user may do from the next request on.").takes::<Grants>(),
        )
        .put(
            "/api/v1/users/{user}/password",
            set_password,
            change("setPassword", "Gives a user another password, which ends their sessions.").takes::<NewPassword>(),
        )
        .post(
            "/api/v1/users/{user}/disable",
            changing(UserChange::Disable),
            change("disableUser", "Keeps a user out for the time being."),
        )
        .post(
            "/api/v1/users/{user}/enable",
            changing(UserChange::Enable),
            change("enableUser", "Lets a user in again."),
        )
        .post(
            "/api/v1/users/{user}/end-sessions",
            changing(UserChange::EndSessions),
            change("endSessions", "Ends all sessions of a user."),
        )
        .post(
            "/api/v1/vouched/end-sessions",
            end_vouched,
            write("endVouchedSessions", "Ends sessions that another service vouched for.").takes::<Vouched>(),
        )
        .delete(
            "/api/v1/users/{user}",
            changing(UserChange::Delete),
            change("deleteUser", "Deletes a user and their tokens."),
        )
        .get(
            "/api/v1/tokens",
            tokens,
            Operation::new("listTokens", "viewer", "Lists the caller's tokens; an admin's list has everybody's.")
                .in_person()
                .query::<Page>()
                .gives::<List<TokenFacts>>(),
        )
        .post(
            "/api/v1/tokens",
            add_token,
            Operation::new("addToken", "viewer", "Makes a token in the caller's name; it is shown this once.")
                .in_person()
                .takes::<WantedToken>()
                .status(StatusCode::CREATED)
                .gives::<MadeToken>(),
        )
        .get(
            "/api/v1/tokens/{token}",
            token,
            Operation::new("getToken", "viewer", "Tells what is known of a token.").in_person().gives::<TokenFacts>(),
        )
        .delete(
            "/api/v1/tokens/{token}",
            revoke_token,
            Operation::new("revokeToken", "viewer", "Takes a token back.")
                .in_person()
                .condition(Condition::MayMatch)
                .status(StatusCode::NO_CONTENT),
        )
}

/// Somebody who may sign in.
#[derive(Debug, Serialize, JsonSchema)]
struct User {
    /// The name that they sign in with.
    name: UserName,
    /// What they may do.
    grants: Vec<Grant>,
    /// Whether they are kept out for the time being.
    disabled: bool,
    /// Whether the config of this controller names them, and is where they are changed.
    of_config: bool,
}

/// Somebody new.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The name that they sign in with.
    #[schemars(with = "String")]
    name: UserName,
    /// Their password.
    password: String,
    /// What they may do.
    grants: Vec<Grant>,
}

/// What somebody may do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Grants {
    /// All of it.
    grants: Vec<Grant>,
}

/// Whose sessions end of those whom another service vouched for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Vouched {
    /// This one's alone; everybody's if left out.
    #[schemars(with = "Option<String>")]
    name: Option<UserName>,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// The password.
    password: String,
}

/// What is known of a token.
#[derive(Debug, Serialize, JsonSchema)]
struct TokenFacts {
    /// Its public half.
    #[schemars(with = "String")]
    id: TokenId,
    /// What it is for.
    name: String,
    /// In whose name it acts.
    user: UserName,
    /// What it may do at most.
    grants: Vec<Grant>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// From when on it is worthless.
    expires_at: DateTime<Utc>,
    /// Whether it was taken back before.
    revoked: bool,
    /// When it was used last at this machine, to the hour; none if that is not known, or it was not used since this
    /// machine pays attention.
    last_used_at: Option<DateTime<Utc>>,
    /// Whether it was not used for 90 days or more.
    unused: bool,
}

/// A token that is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WantedToken {
    /// What it is for.
    name: String,
    /// What it may do at most.
    grants: Vec<Grant>,
    /// For how many days it is good, at most 366; 90 if left out.
    days: Option<u32>,
}

/// A token that was made.
#[derive(Serialize, JsonSchema)]
struct MadeToken {
    /// The whole of it. It cannot be shown again.
    token: String,
}

impl TokenFacts {
    fn of(token: Token, directory: &Directory) -> Self {
        let last_use = directory.last_use(&token);
        let (last_used_at, unused) = (last_use.at(), last_use.is_long_ago(directory.now()));
        let Token { id, name, user, grants, created_at, expires_at, revoked, .. } = token;
        Self { id, name, user, grants, created_at, expires_at, revoked, last_used_at, unused }
    }
}

/// A caller who may see users.
struct Admin(Caller);

/// A caller who may change users: found out before their request is read.
struct Manager(Caller);

impl FromRequestParts<Arc<Portal>> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, portal).await?;
        caller.may.check_users()?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<Portal>> for Manager {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, portal).await?;
        caller.may.check_user_changes()?;
        Ok(Self(caller))
    }
}

/// The user of a path.
#[derive(Debug, Deserialize)]
struct Named {
    user: UserName,
}

/// The token of a path.
#[derive(Debug, Deserialize)]
struct Held {
    token: TokenId,
}

fn shown(user: users::User, directory: &Directory) -> User {
    let of_config = directory.of_config().iter().any(|other| other.name == user.name);
    User { name: user.name, grants: user.grants, disabled: user.disabled, of_config }
}

async fn users(Admin(caller): Admin, has: Has, Asked(page): Asked<Page>) -> Result<Response, Failure> {
    let directory = caller.portal.gate.directory();
    let listed = directory.list().map(|list| list.users.clone()).unwrap_or_default();
    let of_config = directory.of_config().iter().map(|user| User {
        name: user.name.clone(),
        grants: user.grants.clone(),
        disabled: false,
        of_config: true,
    });
    let mut all: Vec<User> = of_config.collect();
    // Whoever the config names is who it says.
    let others = listed.into_iter().map(|user| shown(user, directory)).filter(|user| !user.of_config);
    all.extend(others);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    has.json(&List::of(all, &page, |user| user.name.clone(), |user| user)?)
}

async fn user(Admin(caller): Admin, has: Has, Of(Named { user }): Of<Named>) -> Result<Response, Failure> {
    let directory = caller.portal.gate.directory();
    let (user, seen) = caller.may.user(directory, &user)?;
    has.entry(&shown(user, directory), &seen)
}

async fn add_user(Manager(caller): Manager, Sent(new): Sent<NewUser>) -> Result<StatusCode, Failure> {
    let password_hash = caller.hash_password(&new.name, &new.password).await?;
    let known = IfKnown(Known::Anything);
    change(&caller, &new.name, UserChange::Add { password_hash, grants: new.grants }, &known).await
}

async fn set_grants(
    Manager(caller): Manager,
    Of(Named { user }): Of<Named>,
    known: IfKnown,
    Sent(wanted): Sent<Grants>,
) -> Result<StatusCode, Failure> {
    change(&caller, &user, UserChange::Grants(wanted.grants), &known).await
}

async fn set_password(
    Manager(caller): Manager,
    Of(Named { user }): Of<Named>,
    known: IfKnown,
    Sent(wanted): Sent<NewPassword>,
) -> Result<StatusCode, Failure> {
    let hash = caller.hash_password(&user, &wanted.password).await?;
    change(&caller, &user, UserChange::Password(hash), &known).await
}

/// A handler that makes this change to the user in the path.
fn changing(
    what: UserChange,
) -> impl Fn(Manager, Of<Named>, IfKnown) -> BoxFuture<'static, Result<StatusCode, Failure>> + Clone + Send + Sync + 'static
{
    move |Manager(caller), Of(Named { user }), known| {
        let what = what.clone();
        async move { change(&caller, &user, what, &known).await }.boxed()
    }
}

async fn end_vouched(Manager(caller): Manager, Sent(whose): Sent<Vouched>) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    caller.may.end_vouched(caller.portal.gate.directory(), whose.name.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change(caller: &Caller, user: &UserName, change: UserChange, known: &IfKnown) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    let directory = caller.portal.gate.directory();
    let changed = match known.digest() {
        Some(seen) => caller.may.change_seen_user(directory, user, &change, seen).await,
        None => caller.may.change_user(directory, user, &change).await,
    };
    match changed {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) => {
            let now = async { caller.may.user(directory, user).ok().map(|(now, _)| shown(now, directory)) };
            Err(known.failed_at(error, now).await)
        }
    }
}

async fn tokens(caller: Caller, has: Has, Asked(page): Asked<Page>) -> Result<Response, Failure> {
    let directory = caller.portal.gate.directory();
    let mut all = caller.may.tokens(directory)?;
    all.sort_by_key(|token| token.id.to_string());
    has.json(&List::of(all, &page, |token| token.id.to_string(), |token| TokenFacts::of(token, directory))?)
}

async fn add_token(caller: Caller, Sent(wanted): Sent<WantedToken>) -> Result<Response, Failure> {
    let user = caller.may.identity().user.clone();
    let good_for = wanted.days.map_or(TOKEN_GOOD_FOR, |days| DAY.saturating_mul(days));
    let new = NewToken { id: None, name: wanted.name, user, grants: wanted.grants, good_for };
    caller.check_writable()?;
    let made = caller.may.add_token(caller.portal.gate.directory(), &new).await?;
    let mut response = (StatusCode::CREATED, Json(MadeToken { token: made.reveal().to_owned() })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn token(caller: Caller, has: Has, Of(Held { token }): Of<Held>) -> Result<Response, Failure> {
    let directory = caller.portal.gate.directory();
    let (token, seen) = caller.may.token(directory, &token)?;
    has.entry(&TokenFacts::of(token, directory), &seen)
}

async fn revoke_token(caller: Caller, Of(Held { token }): Of<Held>, known: IfKnown) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    let directory = caller.portal.gate.directory();
    let revoked = caller.may.revoke_token(directory, &token, known.digest()).await;
    match revoked {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) => {
            let now = async { caller.may.token(directory, &token).ok().map(|(now, _)| TokenFacts::of(now, directory)) };
            Err(known.failed_at(error, now).await)
        }
    }
}
