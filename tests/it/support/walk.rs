//! Agents that are killed between any two steps.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetman::agent::Steps;
use futures_util::{StreamExt as _, stream};

/// How many effects an agent has left.
#[derive(Clone)]
pub(crate) struct Life(Arc<AtomicUsize>);

impl Life {
    pub(crate) fn of(effects: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(effects)))
    }

    /// What kills the agent before it has more effects than that.
    pub(crate) fn steps(&self) -> Steps {
        let life = self.clone();
        Steps::new(move |_| life.step())
    }

    /// Takes one effect.
    pub(crate) fn step(&self) -> ControlFlow<()> {
        let alive = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if alive { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Walks every boundary: `one` lets an agent die after so many effects, checks what is left and what becomes of it,
/// and says whether the agent lived to the end. Several boundaries at once, because most of it is waiting.
pub(crate) async fn walk(one: impl AsyncFn(usize) -> bool) {
    let one = &one;
    let mut tries = std::pin::pin!(stream::iter(0..500).map(async |survive| (survive, one(survive).await)).buffered(8));
    while let Some((survive, lived)) = tries.next().await {
        if lived {
            assert!(survive > 15, "an attempt has more steps than that: {survive}");
            return;
        }
    }
    panic!("the walk does not end");
}
