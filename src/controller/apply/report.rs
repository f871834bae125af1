//! What a plan comes to and what came of it, object by object, in the words that every reader sees.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ApplyPlan, ApplyStep, Collision, StepHow, Stepped};
use crate::controller::{Controller, ControllerError};
use crate::model::Sha256Digest;
use crate::store::in_full;

/// What came of one object, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApplyLine {
    /// Its key.
    pub object: String,
    /// One of the names in [`ApplySummary`].
    pub how: &'static str,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha256Digest>,
    /// What is to be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Sha256Digest>,
    /// Why it was refused, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How many objects, by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApplySummary {
    /// They were not there.
    pub created: usize,
    /// They were otherwise.
    pub changed: usize,
    /// They were there, byte for byte.
    pub unchanged: usize,
    /// They are gone.
    pub pruned: usize,
    /// Cells that their nodes are told to remove.
    pub removing: usize,
    /// Nothing was done about them.
    pub refused: usize,
    /// One before them was refused.
    pub left: usize,
}

impl ApplySummary {
    /// Counts what came of objects.
    #[must_use]
    pub fn of(lines: &[ApplyLine]) -> Self {
        let mut summary = Self::default();
        for line in lines {
            let of = match line.how {
                "created" => &mut summary.created,
                "changed" => &mut summary.changed,
                "unchanged" => &mut summary.unchanged,
                "pruned" => &mut summary.pruned,
                "removing" => &mut summary.removing,
                "refused" => &mut summary.refused,
                _ => &mut summary.left,
            };
            *of += 1;
        }
        summary
    }

    /// How many are as they were to be.
    #[must_use]
    pub fn done(&self) -> usize {
        self.created + self.changed + self.unchanged + self.pruned + self.removing
    }
}

impl fmt::Display for ApplySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, changed, unchanged, pruned, removing, refused, left } = *self;
        let counts = [
            (created, "created"),
            (changed, "changed"),
            (unchanged, "unchanged"),
            (pruned, "pruned"),
            (removing, "being removed"),
            (refused, "refused"),
            (left, "left"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

impl ApplyLine {
    fn of(step: &ApplyStep, how: &'static str) -> Self {
        let why = match &step.how {
            StepHow::Refused { by } => Some(by.clone()),
            _ => None,
        };
        Self { object: step.target.to_string(), how, before: step.before, after: step.after, why }
    }
}

impl ApplyPlan {
    /// What would come of each object.
    #[must_use]
    pub fn lines(&self) -> Vec<ApplyLine> {
        self.steps().iter().map(|step| ApplyLine::of(step, planned(&step.how))).collect()
    }

    /// What names exactly this: whoever looked at it can say so when it is to be done.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = Sha256Digest::builder();
        for ApplyLine { object, how, before, after, .. } in self.lines() {
            let digest = |digest: Option<Sha256Digest>| digest.map(|digest| digest.to_string()).unwrap_or_default();
            name.update(format!("{how} {object} {} {}\n", digest(before), digest(after)).as_bytes());
        }
        name.finish().to_string()
    }
}

impl Controller {
    /// Does the steps of a plan in their order, up to the first that is refused, because what comes later may need it,
    /// or until `is_over`.
    pub async fn carry_out(
        &self,
        plan: &ApplyPlan,
        is_over: impl Fn() -> bool,
    ) -> (Vec<ApplyLine>, Option<ControllerError>) {
        let (mut lines, mut failure) = (Vec::new(), None);
        for step in plan.steps() {
            if failure.is_some() || is_over() {
                lines.push(ApplyLine::of(step, "left"));
                continue;
            }
            lines.push(match self.apply_step(plan, step).await {
                Ok(stepped) => ApplyLine::of(step, done(stepped)),
                Err(error) => {
                    let why = match error.is_overtaken() {
                        true => sides(step, self.collision(step).await),
                        false => in_full(&error),
                    };
                    failure = Some(error);
                    ApplyLine { why: Some(why), ..ApplyLine::of(step, "refused") }
                }
            });
        }
        (lines, failure)
    }
}

fn planned(how: &StepHow) -> &'static str {
    match how {
        StepHow::Create => "created",
        StepHow::Change => "changed",
        StepHow::Unchanged => "unchanged",
        StepHow::Delete => "pruned",
        StepHow::Remove => "removing",
        StepHow::Refused { .. } => "refused",
    }
}

fn done(stepped: Stepped) -> &'static str {
    match stepped {
        Stepped::Written(how) => how.as_str(),
        Stepped::Deleted => "pruned",
        Stepped::Removing => "removing",
        Stepped::Refused => "refused",
    }
}

/// What was read, what is there now and whose it is, and what was to be there.
fn sides(step: &ApplyStep, found: Result<Collision, ControllerError>) -> String {
    let digest = |digest: Option<Sha256Digest>| digest.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
    let now = match &found {
        Ok(Collision { now: Some(facts), .. }) => digest(facts.sha256),
        Ok(Collision { now: None, .. }) => "nothing".to_owned(),
        Err(error) => format!("unknown ({error})"),
    };
    let by = found.ok().and_then(|found| found.by).and_then(|row| Some((row.at, row.act.ok()?)));
    let by = by.map(|(at, act)| {
        format!(" by {} ({}) at {}", act.actor, act.source, at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    });
    let (before, after) = (digest(step.before), digest(step.after));
    format!("changed meanwhile: it was {before}, is {now}{}, and was to be {after}", by.unwrap_or_default())
}
