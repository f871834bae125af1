//! `fleetman token`: what programs use the API of the portal with.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::user;
use crate::access::{LastUse, NewToken, listed, roster};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Rows, Tone};
use crate::controller::UsersChange;
use crate::model::UserName;
use crate::model::users::{Grant, Token, TokenId};
use crate::yaml::HumanDuration;

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// List the tokens, and when each was used last as far as the portals of this machine know
    Ls,
    /// Make a token, and print it this once
    Add(AddArgs),
    /// Take a token back
    Revoke {
        /// Its id, as `ls` shows it
        id: TokenId,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman token add nightly --for alice --may editor:edge-*/web --expires 30d")]
pub(super) struct AddArgs {
    /// What it is for
    name: String,
    /// In whose name it acts: it may do what both it and this user may
    #[arg(long = "for", value_name = "USER")]
    user: UserName,
    /// A role, for everything or for cells by pattern: viewer, operator, editor or admin
    #[arg(long, value_name = "ROLE[:NODE/CELL]", required = true)]
    may: Vec<Grant>,
    /// How long it is good for
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: HumanDuration,
}

/// A token in the list.
#[derive(Debug, Serialize)]
struct Shown {
    id: TokenId,
    name: String,
    user: UserName,
    grants: Vec<Grant>,
    expires_at: chrono::DateTime<chrono::Utc>,
    last_used_at: Option<chrono::DateTime<chrono::Utc>>,
    /// For 90 days or more.
    unused: bool,
    #[serde(skip)]
    last_use: LastUse,
    state: &'static str,
}

pub(super) async fn run(verb: TokenVerb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        TokenVerb::Ls => list(context).await,
        TokenVerb::Add(args) => add(args, context).await,
        TokenVerb::Revoke { id } => {
            let (controller, directory) = user::open(context).await?;
            let what = UsersChange { action: "token-revoke", object: format!("token/{id}"), after: None };
            let actor = controller.actor().clone();
            directory.change_list(actor, what, |users| roster::revoke_token(users, &id)).await?;
            context.output.say(&format!("token {id} is worthless; portals see it within seconds"));
            Ok(Exit::Ok)
        }
    }
}

async fn add(args: AddArgs, context: &Context) -> Result<Exit, Failure> {
    let AddArgs { name, user, may, expires } = args;
    let (controller, directory) = user::open(context).await?;
    if directory.user(&user).is_none() {
        return Err(Failure::new(Exit::NotFound, "not_found", format!("there is no user {user}"))
            .help("`fleetman user ls` lists them, `fleetman user add` adds one"));
    }
    let new = NewToken { id: None, name, user, grants: may, good_for: expires.0 };
    let now = directory.now();
    let (text, entry) = new.make(now)?;
    let actor = controller.actor().clone();
    let what = new.described(&entry.id);
    directory.change_list(actor, what, |users| roster::add_token(users, entry.clone(), now)).await?;
    context.output.say("It is shown this once. Programs send it: Authorization: Bearer <token>");
    context.output.data(text.reveal())?;
    Ok(Exit::Ok)
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let directory = user::look(context).await?;
    let now = directory.now();
    let tokens = directory.list().map(|users| users.tokens.clone()).unwrap_or_default();
    let shown = tokens.into_iter().map(|token| {
        let last_use = directory.last_use(&token);
        let Token { id, name, user, grants, expires_at, revoked, .. } = token;
        let state = match (revoked, now < expires_at) {
            (true, _) => "revoked",
            (false, true) => "good",
            (false, false) => "ran out",
        };
        let (last_used_at, unused) = (last_use.at(), last_use.is_long_ago(now));
        Shown { id, name, user, grants, expires_at, last_used_at, unused, last_use, state }
    });
    let tokens: Vec<Shown> = shown.collect();
    context.output.show(&tokens, |output| {
        let mut rows = Rows::new(output, &["id", "name", "for", "may", "last used", "until", "state"]);
        for token in &tokens {
            let last_use = match token.last_use {
                LastUse::At(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                LastUse::NotSince(time) => {
                    format!("not since {}", time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
                }
                LastUse::Unknown => "not known here".to_owned(),
            };
            let last_use = output::Shown::from(last_use);
            rows.row([
                token.id.as_str().into(),
                token.name.as_str().into(),
                token.user.as_str().into(),
                listed(&token.grants).into(),
                if token.unused { last_use.toned(Tone::Warn) } else { last_use },
                token.expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into(),
                token.state.into(),
            ]);
        }
        rows.render()
    })?;
    Ok(Exit::Ok)
}
