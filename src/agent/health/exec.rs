//! Running a program that says whether all is well.

use std::time::Duration;

use super::probe::Subject;
use crate::agent::errand::program;
use crate::clock::SharedClock;
use crate::model::health::ExecCheck;
use crate::supervise::{ErrandEnd, Exit, run_errand};

pub(super) async fn ask(
    check: &ExecCheck,
    subject: &Subject,
    mark: &str,
    timeout: Duration,
    given_up: impl Future<Output = ()>,
    clock: &SharedClock,
) -> Result<String, String> {
    let Subject { release, variables, owner, .. } = subject;
    let def = program(&check.command, release, variables.clone(), owner.clone());
    let done = run_errand(&def, mark, timeout, given_up, clock, &mut |_| ()).await?;
    let said = done.said.last();
    let with_words = |what: String| said.map_or(what.clone(), |said| format!("{what}: {said}"));
    match done.end {
        ErrandEnd::Exited(Exit::Code(0)) => Ok(said.cloned().unwrap_or_else(|| "exit code 0".to_owned())),
        ErrandEnd::Exited(exit) => Err(with_words(exit.to_string())),
        ErrandEnd::TimedOut => Err(with_words(format!("it did not end within {timeout:?}, and was killed"))),
        ErrandEnd::GivenUp => Err("it was given up".to_owned()),
    }
}
