//! The seam at which tests kill an agent.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Asked for leave between any two effects. By default there is nobody to ask.
///
/// This is how tests kill an agent at every boundary: from the moment when the answer is `Break`, the agent does
/// nothing more to the disk or the bucket, not even tidying up, as if it had been killed there.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Asked>>);

/// What is asked, with the name of the effect that comes next.
type Asked = dyn Fn(&str) -> ControlFlow<()> + Send + Sync;

impl Steps {
    /// Asks `leave` before every effect.
    #[must_use]
    pub fn new(leave: impl Fn(&str) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(leave)))
    }

    /// Asks for leave to go on with `step`.
    pub(super) fn before(&self, step: &'static str) -> io::Result<()> {
        match self.0.as_ref().map(|leave| leave(step)) {
            None | Some(ControlFlow::Continue(())) => Ok(()),
            Some(ControlFlow::Break(())) => Err(io::Error::other(Killed)),
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Steps(asked)" } else { "Steps" })
    }
}

/// The answer was no.
#[derive(Debug, thiserror::Error)]
#[error("the agent was stopped here by a test")]
pub(super) struct Killed;
