//! Programs that the agent itself runs for a cell: what its checks and its hooks say.

use std::path::Path;

use crate::supervise::{EnvValue, ProcessDef, Run};

/// Where a shell finds programs, as `login(1)` would have it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run: a program without a leading `/` is one of the release's files, in whose folder it starts.
pub(super) fn program(
    command: &[String],
    release: &Path,
    variables: impl IntoIterator<Item = (&'static str, String)>,
    (user, group): (Option<String>, Option<String>),
) -> ProcessDef {
    let mut command = command.to_vec();
    if let Some(program) = command.first_mut().filter(|program| !program.starts_with('/')) {
        *program = release.join(&*program).display().to_string();
    }
    let mut def = ProcessDef::new(Run::Command(command));
    let variables = variables.into_iter().chain([("PATH", PATH.to_owned())]);
    def.env = variables.map(|(name, value)| (name.to_owned(), EnvValue::Text(value))).collect();
    // What runs before the release is on the node starts where there is always something.
    def.working_dir = Some(if release.is_dir() { release.to_owned() } else { Path::new("/").to_owned() });
    (def.user, def.group) = (user, group);
    def
}
