//! What follows from what is found: at the start, and on the host.

use super::{
    Aftermath, Attempt, AttemptKey, Cell, Code, Cure, Fault, MOST_RESUMES, Now, OnHost, Standing, Step, Trouble,
    placed_by,
};

impl Cell {
    /// After a restart every attempt before its end is taken up again from its release's verification, which holds
    /// for the ones that had switched already, too. Only what is up already is just watched on: it ran beside the
    /// agent, whose end says nothing of it.
    pub(super) fn started(&mut self, current: Option<&str>, now: Now) {
        for attempt in &mut self.state.journal {
            let linked = placed_by(attempt).filter(|placed| Some(placed.release().as_str()) == current);
            match attempt.step {
                Step::Switching | Step::Activating => {}
                Step::Checking if linked.is_none() => {}
                _ => continue,
            }
            // The crash came between the switch and the journal's word of it.
            if let Some(placed) = linked {
                self.state.placed = Some(placed);
                self.state.standing = Standing::Deployed;
                attempt.resumed += 1;
            }
            attempt.step = Step::Fetching;
        }
        // Nothing is under way any more, so what had not switched yet leaves the field to what is newer.
        let newest = self.open().last().map(|attempt| (attempt.key, attempt.wish.action.target().cloned()));
        if let Some((newest, target)) = newest {
            let yields = |attempt: &Attempt| {
                let same = attempt.wish.action.target() == target.as_ref();
                attempt.key < newest && attempt.step == Step::Fetching && (attempt.resumed == 0 || same)
            };
            self.supersede(yields, now);
        }
        let worn = self.open().filter(|attempt| attempt.resumed > MOST_RESUMES).map(|attempt| attempt.key);
        for key in worn.collect::<Vec<AttemptKey>>() {
            let message = format!("the agent did not survive bringing it up, {MOST_RESUMES} times");
            let trouble = Trouble::new(Code::ActivationFailed, message, Cure::OtherContent);
            self.failed(key, trouble.fault(now.wall), now);
        }
        // A newer agent may know what an older one did not.
        if self.state.verdict.as_ref().is_some_and(|verdict| verdict.fault.code == Code::Unsupported) {
            self.state.verdict = None;
        }
    }

    /// Compares what the host has with what is remembered. What was changed by hand is put right, unless it is not
    /// ours (I7).
    pub(super) fn compare(&mut self, on_host: OnHost, now: Now) {
        if self.open().next().is_some() {
            return;
        }
        for code in [Code::Inconsistent, Code::UnitNotOwned, Code::Orphaned] {
            self.mind.conditions.remove(&code);
        }
        // What failed to be put back stands where it was left.
        let is_stuck = self.state.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::Stuck);
        let good = self.state.known_good.as_ref().filter(|_| is_stuck);
        if let Some(good) = good.filter(|good| on_host == OnHost::Release(good.release())) {
            self.state.placed = Some(good.clone());
        }
        let (placed, conditions) = (self.state.placed.clone(), &mut self.mind.conditions);
        let message = match (self.state.standing, placed, on_host) {
            (Standing::Deployed | Standing::Stopped, Some(placed), OnHost::Release(release)) => {
                if release == placed.release() {
                    return;
                }
                format!("the link points at {release}, expected {}", placed.release())
            }
            (Standing::Deployed | Standing::Stopped, Some(placed), OnHost::Nothing) => {
                format!("the link is gone or points at nothing, expected {}", placed.release())
            }
            (Standing::Deployed | Standing::Stopped, _, OnHost::Foreign(what)) => {
                conditions.insert(Code::UnitNotOwned, what);
                return;
            }
            (_, None, OnHost::Release(release)) if self.state.wish.is_none() => {
                conditions.insert(Code::Orphaned, format!("{release} is deployed here, and no trigger asks for it"));
                return;
            }
            _ => return,
        };
        conditions.insert(Code::Inconsistent, message.clone());
        let fault = Fault { code: Code::Inconsistent, message, at: now.wall };
        if self.state.standing == Standing::Deployed {
            self.state.last_error = Some(fault.clone());
            self.repair(fault, now);
        }
    }

    fn repair(&mut self, fault: Fault, now: Now) {
        let (Some(wish), Some(heard)) = (self.state.wish.clone(), self.state.floor.clone()) else { return };
        if wish.unsupported().is_some() {
            return;
        }
        let placed = self.state.placed.as_ref();
        let wished = wish.action.target().filter(|_| self.state.verdict.is_none());
        if wished.is_some() && wished == placed.map(|placed| &placed.target) {
            self.begin(&wish, heard.at, Step::Fetching, Some(fault), now);
        } else if placed.is_some() && placed == self.state.known_good.as_ref() {
            self.begin(&wish, heard.at, Step::RollingBack { fault: fault.clone() }, Some(fault), now);
        }
    }
}
