//! `fleetagent run` and `fleetagent once`

use super::context::Context;
use super::status;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before the agent does anything, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let agent = context.agent().await?;
    agent.run(ended.cancelled_owned()).await?;
    Ok(Exit::Ok)
}

pub(super) async fn once(context: &Context) -> Result<Exit, Failure> {
    let mut agent = context.agent().await?;
    let heartbeat = agent.poll_once().await?;
    context.output.show(&heartbeat, |output| status::table(&heartbeat, output))?;
    Ok(Exit::Ok)
}
