//! Running a program that says whether all is well.

use std::time::Duration;

use super::probe::Subject;
use crate::clock::SharedClock;
use crate::model::health::ExecCheck;
use crate::supervise::{EnvValue, ErrandEnd, Exit, ProcessDef, Run, run_errand};

/// Where a shell finds programs, as `login(1)` would have it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn ask(
    check: &ExecCheck,
    subject: &Subject,
    mark: &str,
    timeout: Duration,
    given_up: impl Future<Output = ()>,
    clock: &SharedClock,
) -> Result<String, String> {
    let mut command = check.command.clone();
    if let Some(program) = command.first_mut().filter(|program| !program.starts_with('/')) {
        *program = subject.release.join(&*program).display().to_string();
    }
    let mut def = ProcessDef::new(Run::Command(command));
    let variables = subject.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let variables = variables.chain([("PATH".to_owned(), PATH.to_owned())]);
    def.env = variables.map(|(name, value)| (name, EnvValue::Text(value))).collect();
    def.working_dir = Some(subject.release.clone());
    (def.user, def.group) = subject.owner.clone();
    let done = run_errand(&def, mark, timeout, given_up, clock).await?;
    let said = done.said.last();
    let with_words = |what: String| said.map_or(what.clone(), |said| format!("{what}: {said}"));
    match done.end {
        ErrandEnd::Exited(Exit::Code(0)) => Ok(said.cloned().unwrap_or_else(|| "exit code 0".to_owned())),
        ErrandEnd::Exited(exit) => Err(with_words(exit.to_string())),
        ErrandEnd::TimedOut => Err(with_words(format!("it did not end within {timeout:?}, and was killed"))),
        ErrandEnd::GivenUp => Err("it was given up".to_owned()),
    }
}
