//! What is remembered of a cell that a person took off the host.

use super::{Aftermath, AttemptKey, Cell, Code, Ending, Fault, Now, Standing, Verdict};
use crate::model::trigger::Action;

impl Cell {
    /// Nothing of the cell is on the host any more. What was accepted, and what failed, stays (I5); so what the trigger
    /// asks for is owed again, unless it is to be held: then a newer trigger has to ask for it.
    pub(in super::super) fn taken_off(&mut self, hold: bool, now: Now) {
        let fault = |message: &str| Fault { code: Code::Reset, message: message.to_owned(), at: now.wall };
        for key in self.open().map(|attempt| attempt.key).collect::<Vec<AttemptKey>>() {
            self.end(key, Ending::Superseded, Some(fault("the cell was taken off the node by hand")), now);
        }
        let state = &mut self.state;
        (state.placed, state.known_good) = (None, None);
        state.placed_before.clear();
        state.started_from = None;
        if state.standing == Standing::Removed {
            return;
        }
        (state.standing, state.applied) = (Standing::Absent, None);
        state.verdict = None;
        if hold && matches!(&state.wish, Some(wish) if matches!(wish.action, Action::Deploy(_))) {
            let fault = fault("the cell was taken off the node by hand, and is held until a newer trigger asks for it");
            state.verdict = Some(Verdict { fault, aftermath: Aftermath::Untouched });
        }
    }
}
