//! `fleetman user`: who may sign in to the portal.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::password;
use crate::access::{Directory, Passwords, Problem, UserChange, ended_vouched, listed, roster};
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Rows;
use crate::controller::Controller;
use crate::model::UserName;
use crate::model::users::{Grant, User, is_admin};

#[derive(Debug, Subcommand)]
pub(super) enum UserVerb {
    /// List the users
    Ls,
    /// Add a user; the password is asked for, or read from standard input
    Add(AddArgs),
    /// Change what a user may do, from the next request on
    Grant(GrantArgs),
    /// Give a user another password, which ends their sessions
    Passwd {
        /// The user
        name: UserName,
    },
    /// Keep a user out, which ends their sessions, or let them in again
    Disable {
        /// The user
        name: UserName,
        /// Let them in again
        #[arg(long)]
        undo: bool,
    },
    /// End all sessions of a user
    End {
        /// The user
        #[arg(required_unless_present = "vouched")]
        name: Option<UserName>,
        /// Sessions that another service vouched for; everybody's, if no user is named
        #[arg(long)]
        vouched: bool,
    },
    /// Delete a user and their tokens
    Rm {
        /// The user
        name: UserName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Print the hash of a password, for `users` of the config
    Hash,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  fleetman user add alice --may admin\n  fleetman user add bob --may viewer --may operator:edge-*/*"
)]
pub(super) struct AddArgs {
    /// The user
    name: UserName,
    /// A role, for everything or for cells by pattern: viewer, operator, editor or admin
    #[arg(long, value_name = "ROLE[:NODE/CELL]", required = true)]
    may: Vec<Grant>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman user grant bob viewer editor:edge-*/web")]
pub(super) struct GrantArgs {
    /// The user
    name: UserName,
    /// Everything that they may do from now on; nothing at all if there is none
    #[arg(value_name = "ROLE[:NODE/CELL]")]
    may: Vec<Grant>,
}

/// A user in the list.
#[derive(Debug, Serialize)]
struct Shown {
    name: UserName,
    grants: Vec<Grant>,
    state: &'static str,
    source: &'static str,
}

pub(super) async fn run(verb: UserVerb, context: &Context) -> Result<Exit, Failure> {
    let (name, change) = match verb {
        UserVerb::Ls => return list(context).await,
        UserVerb::Hash => {
            let somebody = UserName::new("somebody").map_err(|error| Failure::usage(error.to_string()))?;
            let hash = hash(&somebody, "whoever it is for").await?;
            context.output.data(hash.reveal())?;
            return Ok(Exit::Ok);
        }
        UserVerb::Add(AddArgs { name, may }) => {
            let password_hash = hash(&name, name.as_str()).await?;
            (name, UserChange::Add { password_hash, grants: may })
        }
        UserVerb::Passwd { name } => {
            let hash = hash(&name, name.as_str()).await?;
            (name, UserChange::Password(hash))
        }
        UserVerb::Grant(GrantArgs { name, may }) => (name, UserChange::Grants(may)),
        UserVerb::Disable { name, undo: false } => (name, UserChange::Disable),
        UserVerb::Disable { name, undo: true } => (name, UserChange::Enable),
        UserVerb::End { name: Some(name), vouched: false } => (name, UserChange::EndSessions),
        UserVerb::End { name, .. } => return end_vouched(context, name.as_ref()).await,
        UserVerb::Rm { name, yes } => {
            ask::confirm(&format!("Delete user {name} and their tokens?"), yes)?;
            (name, UserChange::Delete)
        }
    };
    let (controller, directory) = open(context).await?;
    let others_manage = directory.of_config().iter().any(|user| is_admin(&user.grants));
    let what = change.described(&name);
    let actor = controller.actor().clone();
    directory.change_list(actor, what, |users| change.make(users, &name, others_manage)).await?;
    context.output.say(&format!("user {name}: done; portals see it within seconds"));
    Ok(Exit::Ok)
}

async fn end_vouched(context: &Context, whose: Option<&UserName>) -> Result<Exit, Failure> {
    let (controller, directory) = open(context).await?;
    let ended = directory.change_list(controller.actor().clone(), ended_vouched(whose), |users| {
        roster::end_vouched(users, whose);
        Ok(())
    });
    ended.await?;
    context.output.say("their sessions are over as soon as portals see it, within seconds");
    Ok(Exit::Ok)
}

/// The list, and a controller that can change it.
pub(super) async fn open(context: &Context) -> Result<(Arc<Controller>, Directory), Failure> {
    let controller = Arc::new(context.controller().await?);
    let directory = context.directory(&context.quiet_config()?, controller.clone())?;
    directory.look().await;
    warn(context, &directory);
    Ok((controller, directory))
}

/// The list, to look at.
pub(super) async fn look(context: &Context) -> Result<Directory, Failure> {
    let controller = Arc::new(context.looker().await?);
    let directory = context.directory(&context.quiet_config()?, controller)?;
    directory.look().await;
    warn(context, &directory);
    Ok(directory)
}

fn warn(context: &Context, directory: &Directory) {
    match directory.problem() {
        Some(Problem::NotBelieved(why) | Problem::Unread(why)) => context.output.say(&format!("warning: {why}")),
        None => {}
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let directory = look(context).await?;
    let of_config = directory.of_config().iter().map(|user| Shown {
        name: user.name.clone(),
        grants: user.grants.clone(),
        state: "active",
        source: "config",
    });
    let in_list = directory.list().map(|users| users.users.clone()).unwrap_or_default();
    let in_list = in_list.into_iter().map(|User { name, grants, disabled, .. }| Shown {
        name,
        grants,
        state: if disabled { "disabled" } else { "active" },
        source: "bucket",
    });
    let users: Vec<Shown> = of_config.chain(in_list).collect();
    context.output.show(&users, |output| {
        let mut rows = Rows::new(output, &["user", "may", "state", "from"]);
        for user in &users {
            rows.row([user.name.as_str().into(), listed(&user.grants).into(), user.state.into(), user.source.into()]);
        }
        rows.render()
    })?;
    Ok(Exit::Ok)
}

async fn hash(name: &UserName, whose: &str) -> Result<crate::model::users::PasswordHash, Failure> {
    let password = password::read_new(whose)?;
    Passwords::default().hash(name, &password).await.map_err(|error| Failure::usage(error.to_string()))
}
