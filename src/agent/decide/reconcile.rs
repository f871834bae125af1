//! What follows from what is found: at the start, and on the host.

use super::super::state::release_name;
use super::{
    Activation, Aftermath, Asked, Attempt, AttemptKey, Cell, Code, Cure, Fault, Floor, MOST_RESUMES, Now, OnHost,
    Standing, Step, Trouble, placed_by,
};

impl Cell {
    /// After a restart every attempt before its end is taken up again from its release's verification, which holds
    /// for the ones that had switched already, too. Only what is up already is just watched on: it ran beside the
    /// agent, whose end says nothing of it.
    pub(super) fn started(&mut self, current: Option<&str>, now: Now) {
        for attempt in &mut self.state.journal {
            let linked = placed_by(attempt).filter(|placed| Some(placed.release().as_str()) == current);
            match attempt.step {
                Step::Staged => {
                    attempt.step = Step::Fetching;
                    continue;
                }
                Step::Switching | Step::Activating => {}
                Step::Checking if linked.is_none() => {}
                _ => continue,
            }
            // The crash came between the switch and the journal's word of it.
            if let Some(placed) = linked {
                if attempt.step == Step::Switching && self.state.standing == Standing::Deployed {
                    attempt.replace(self.state.placed.clone(), &mut self.state.leaving);
                    self.state.started_from = self.state.started_from.take().or(self.state.placed.take());
                }
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

    /// What the host's markers say was brought up last may be newer than the state, as after a restore from a backup:
    /// then nothing older is accepted any more (I5).
    pub(super) fn found_up(&mut self, up: Option<Activation>, now: Now) {
        self.mind.up = up;
        let Some(at) = up.map(Activation::at) else { return };
        if self.state.floor.as_ref().is_none_or(|known| known.at < at) {
            let message =
                format!("the host runs what generation {at} brought up, which the agent's state knows nothing of");
            self.mind.conditions.insert(Code::FloorRebuilt, message);
            self.hear(at, now);
        }
    }

    /// Counts the attempts at the trigger of `floor` on from the one that the host runs already: what is wanted is then
    /// found to be up, and not started once more (I6).
    pub(super) fn take_over(&mut self, floor: Floor) {
        let up = self.mind.up.take_if(|up| up.at() == floor).and_then(Activation::attempt);
        if let Some(before) = up.and_then(|up| up.checked_sub(1)) {
            self.state.attempts = self.state.attempts.max(before);
        }
    }

    /// Compares what the host has with what is remembered. What was changed by hand is put right, unless it is not
    /// ours (I7).
    pub(super) fn compare(&mut self, on_host: OnHost, now: Now) {
        // What waits for its turn has touched nothing, and may wait for long. Where the link leads to what is wanted the
        // state may be older than the host.
        let waits = |attempt: &Attempt| {
            let is_its_own = attempt.wish.action.target().map(release_name) == on_host.release();
            let for_its_turn = self.mind.waits.get(&attempt.key).is_some_and(|wait| wait.tries == 0);
            let waits = for_its_turn || self.is_hindered(attempt);
            matches!(attempt.step, Step::Fetching | Step::Staged) && waits && !is_its_own
        };
        if !self.open().all(waits) {
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
        let removes = self.state.wish.as_ref().is_some_and(|wish| wish.action == Asked::Remove);
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
            (Standing::Removed, None, OnHost::Release(release)) if removes => {
                format!("{release} is deployed here, and the cell was removed")
            }
            _ => return,
        };
        conditions.insert(Code::Inconsistent, message.clone());
        let fault = Fault { code: Code::Inconsistent, message, at: now.wall };
        if matches!(self.state.standing, Standing::Deployed | Standing::Removed) {
            self.state.last_error = Some(fault.clone());
            self.repair(fault, now);
        }
    }

    /// A cell stands under one profile. What further ones have of it is what a crash or an older state left there.
    pub(super) fn compare_others(&mut self, mut others: Vec<String>, now: Now) {
        self.mind.clear_others = false;
        let state = &self.state;
        // What there is to go back to may stand under another one.
        others.retain(|name| state.known_good.as_ref().is_none_or(|good| good.profile != *name));
        if others.is_empty() || self.open().next().is_some() {
            return;
        }
        let others = others.join(" and ");
        let is_stuck = state.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::Stuck);
        let is_settled = state.wish.is_some() && self.owed().is_none() && !is_stuck && !self.mind.unsure;
        let (code, message) = match (&state.placed, &state.wish) {
            (Some(placed), _) => {
                let message =
                    format!("it stands under the {others} profile, too, and not only under {}", placed.profile);
                (Code::Inconsistent, message)
            }
            (None, None) => {
                (Code::Orphaned, format!("it stands under the {others} profile, and no trigger asks for it"))
            }
            (None, Some(_)) if state.standing == Standing::Removed => {
                (Code::Inconsistent, format!("it stands under the {others} profile, and was removed"))
            }
            (None, Some(_)) => return,
        };
        self.mind.conditions.entry(code).or_insert_with(|| message.clone());
        let fault = Fault { code, message, at: now.wall };
        match (is_settled, &state.placed) {
            (true, Some(_)) => {
                self.state.last_error = Some(fault);
                self.mind.clear_others = true;
            }
            (true, None) => self.repair(fault, now),
            (false, _) => {}
        }
    }

    fn repair(&mut self, fault: Fault, now: Now) {
        if self.mind.unsure || self.is_held() {
            return;
        }
        let (Some(wish), Some(heard)) = (self.state.wish.clone(), self.state.floor.clone()) else { return };
        if wish.unsupported().is_some() {
            return;
        }
        if wish.action == Asked::Remove {
            if self.state.standing == Standing::Removed {
                self.begin(&wish, heard.at, Step::Removing, Some(fault), now);
            }
            return;
        }
        let placed = self.state.placed.as_ref();
        let wished = wish.action.target().filter(|_| self.state.verdict.is_none() && self.open().next().is_none());
        if wished.is_some() && wished == placed.map(|placed| &placed.target) {
            self.begin(&wish, heard.at, Step::Fetching, Some(fault), now);
        } else if placed.is_some() && placed == self.state.known_good.as_ref() {
            self.begin(&wish, heard.at, Step::RollingBack { fault: fault.clone() }, Some(fault), now);
        }
    }
}
