//! Becoming the program of a definition, for who was started by another supervisor.

use std::cell::Cell;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::conditions::{Conditions, Step, give_output};
use super::definition::ProcessDef;
use super::spawn::{environment, explain, in_full, keep_descriptors};
use super::users::Account;

/// Makes this process the program of `def`, with its environment, user, limits and working folder. Standard output and
/// error stay as they are, standard input becomes `/dev/null`, and no other descriptor is passed on. When it starts, how
/// it is restarted and stopped, and what it comes after is the affair of whoever started this process.
///
/// It returns only if that failed, with the reason, for people; the process may have taken on a part of it by then. It
/// must be called by the only thread of the process, because users and groups are those of threads.
#[must_use]
pub fn become_process(def: &ProcessDef) -> String {
    match try_to(def) {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

fn try_to(def: &ProcessDef) -> Result<std::convert::Infallible, String> {
    let account = Account::find(def.user.as_deref(), def.group.as_deref()).map_err(|error| in_full(&error))?;
    let env = environment(&def.env)?;
    let words = def.run.words();
    let Some((program, arguments)) = words.split_first() else { return Err("it has no command".to_owned()) };
    give_output(std::io::stdout(), account.as_ref());
    give_output(std::io::stderr(), account.as_ref());
    let conditions = Conditions::of(def, account)?;

    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(env).stdin(Stdio::null());
    keep_descriptors(&mut command)
        .map_err(|error| format!("listing the descriptors that it must not have: {error}"))?;
    let step = Cell::new(Step::Exec);
    let taken_on = conditions.take_on(|next| {
        step.set(next);
        Ok(())
    });
    let error = match taken_on {
        Ok(()) => {
            step.set(Step::Exec);
            command.exec()
        }
        Err(error) => error,
    };
    Err(format!("{}: {}", step.get().doing(def), explain(&error)))
}
