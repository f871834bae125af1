//! `fleetagent run` and `fleetagent once`

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::context::Context;
use super::status;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before the agent does anything, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let before = raise_open_files();
    let agent = context.agent(before).await?;
    let profiles = agent.profiles();
    let ended = agent.run(ended.cancelled_owned()).await;
    profiles.close().await;
    Ok(ended.map(|()| Exit::Ok)?)
}

pub(super) async fn once(context: &Context) -> Result<Exit, Failure> {
    let mut agent = context.agent(None).await?;
    let heartbeat = agent.poll_once().await?;
    context.output.show(&heartbeat, |output| status::table(&heartbeat, output))?;
    Ok(Exit::Ok)
}

/// Raises the soft limit of open files to the hard one: an agent holds a few for each cell, and soft limits are often
/// 1,024 for the sake of programs that use `select`. So cells get the one that it was before, which this returns.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    limit.current
}
