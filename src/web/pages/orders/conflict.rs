//! The page of a change that came too late: what its maker saw and wanted, what is there now, and what differs.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use crate::access::AccessError;
use crate::controller::{CellView, ControllerError, Desired, LivenessLimits, PublishRequest, Revision};
use crate::model::{CellId, Floor, Generation, VersionName};
use crate::web::changes::{Block, ChangesView};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::differing;
use crate::web::shell::{Nav, Shell};

/// A change that came too late.
pub(super) struct Late<'a> {
    pub(super) cell: &'a CellId,
    /// The last part of the path that it was asked for under.
    pub(super) verb: &'a str,
    pub(super) title: &'a str,
    /// The generation that its maker saw; 0 = never published.
    pub(super) generation: Option<u64>,
    /// The version that was to be deployed, where its maker chose one.
    pub(super) version: Option<VersionName>,
    /// What else was chosen, by what it is called.
    pub(super) wanted: Vec<(&'static str, String)>,
    pub(super) reason: &'a str,
    /// What its maker saw besides the generation.
    pub(super) seen: Seen<'a>,
    /// What goes along to the page that is looked at again, by the names of its fields.
    pub(super) again: Vec<(&'static str, String)>,
}

/// What the maker of a change saw besides the generation.
pub(super) enum Seen<'a> {
    Nothing,
    /// The cell's document.
    Document(&'a str),
    /// A plan, and what it was made from.
    Plan {
        request: PublishRequest,
        inputs: BTreeMap<String, String>,
    },
}

/// What was to be when the change was decided on.
enum Then {
    Untold,
    NeverPublished,
    /// It is not in the history, or not believed.
    Lost(u64),
    Was(Box<Desired>),
}

/// What differs in one respect.
struct Difference {
    title: &'static str,
    what: What,
}

enum What {
    Sentence(String),
    Changes(ChangesView),
    Lines(Vec<Block>),
    Inputs(Vec<(String, &'static str)>),
}

#[derive(Template)]
#[template(path = "orders/conflict.html")]
struct Page<'a> {
    shell: Shell,
    late: &'a Late<'a>,
    detail: &'a str,
    then: Then,
    now: &'a CellView,
    differences: Vec<Difference>,
}

/// Answers 409, with both sides.
pub(super) async fn show(page: &PageContext, late: &Late<'_>, failure: &Failure) -> Result<Response, Failure> {
    let cell = late.cell;
    let (now, _) = page.may().cell_status(cell, LivenessLimits::default()).await?;
    let then = Then::read(page, late, &now).await?;
    let mut differences = Vec::new();
    differences.extend(meanwhile(page, cell, &then, &now).await?);
    match &late.seen {
        Seen::Nothing => {}
        Seen::Document(seen) => differences.push(document(page, cell, seen).await?),
        Seen::Plan { request, inputs } => differences.extend(planned(page, request, inputs).await?),
    }
    differences.extend(still_wanted(page, late, &now).await?);
    let template = Page {
        shell: page.shell("Somebody came first", Nav::Cells, format!("fleetman history {cell}")),
        late,
        detail: failure.detail(),
        then,
        now: &now,
        differences,
    };
    page.render_with(StatusCode::CONFLICT, &template)
}

impl Then {
    async fn read(page: &PageContext, late: &Late<'_>, now: &CellView) -> Result<Self, Failure> {
        let Some(generation) = late.generation else { return Ok(Self::Untold) };
        let Ok(place) = Generation::new(generation) else { return Ok(Self::NeverPublished) };
        let desired = now.desired();
        if let Some(desired) = desired.filter(|desired| desired.claim.at.generation == place) {
            return Ok(Self::Was(desired.clone().into()));
        }
        let (Some(desired), Some(above)) = (desired, place.next()) else { return Ok(Self::Lost(generation)) };
        let below = Floor::new(desired.claim.at.epoch, above);
        let past = page.may().past(late.cell, Some(below), 1).await?;
        let trigger = past.triggers.into_iter().find_map(|past| past.entry.trigger.ok());
        let trigger = trigger.filter(|trigger| trigger.generation == place);
        Ok(trigger.map_or(Self::Lost(generation), |trigger| Self::Was(Box::new(Desired::from(&trigger)))))
    }

    fn version(&self) -> Option<&VersionName> {
        match self {
            Self::Was(desired) => desired.claim.version.as_ref(),
            Self::Untold | Self::NeverPublished | Self::Lost(_) => None,
        }
    }
}

fn version_of(view: &CellView) -> Option<&VersionName> {
    view.desired()?.claim.version.as_ref()
}

/// What was published between the look and the change.
async fn meanwhile(
    page: &PageContext,
    cell: &CellId,
    then: &Then,
    now: &CellView,
) -> Result<Option<Difference>, Failure> {
    let title = "What came meanwhile";
    let (Then::Was(was), Some(is)) = (then, now.desired()) else { return Ok(None) };
    if was.claim.at == is.claim.at {
        return Ok(None);
    }
    let what = match (then.version(), version_of(now)) {
        (Some(from), Some(to)) if from == to => What::Sentence(format!("The version is the same, {to}.")),
        (Some(from), Some(to)) => compared(page, cell, from, to).await?,
        _ => return Ok(None),
    };
    Ok(Some(Difference { title, what }))
}

/// What the change would do to what is there now, where it names a version.
async fn still_wanted(page: &PageContext, late: &Late<'_>, now: &CellView) -> Result<Option<Difference>, Failure> {
    let title = "From what is there now to what you wanted";
    let (Some(from), Some(to)) = (version_of(now), &late.version) else { return Ok(None) };
    Ok(Some(Difference { title, what: compared(page, late.cell, from, to).await? }))
}

async fn compared(page: &PageContext, cell: &CellId, from: &VersionName, to: &VersionName) -> Result<What, Failure> {
    let (from, to) = (Revision::Version(from.clone()), Revision::Version(to.clone()));
    match page.may().compare(cell, &from, &to).await {
        Ok(comparison) => Ok(What::Changes(ChangesView::from(&comparison.changes))),
        // One that was deleted or tampered with is no reason not to tell the rest.
        Err(AccessError::Controller(error)) => Ok(What::Sentence(untold(&error))),
        Err(error) => Err(error.into()),
    }
}

fn untold(error: &ControllerError) -> String {
    format!("It cannot be told: {}", crate::store::in_full(error))
}

/// How the cell's document differs from what was seen of it.
async fn document(page: &PageContext, cell: &CellId, seen: &str) -> Result<Difference, Failure> {
    let title = "What changed in cell.yaml meanwhile";
    let now = page.may().get_cell(cell).await?;
    let lines = differing(seen, &now.text);
    let what = match lines.is_empty() {
        true => What::Sentence("Nothing differs.".to_owned()),
        false => What::Lines(lines),
    };
    Ok(Difference { title, what })
}

/// Which inputs of a plan are others now, and what the same publish would change now.
async fn planned(
    page: &PageContext,
    request: &PublishRequest,
    seen: &BTreeMap<String, String>,
) -> Result<Vec<Difference>, Failure> {
    let plan = match page.may().plan(request).await {
        Ok(plan) => plan,
        Err(AccessError::Controller(error)) => {
            let (title, what) = ("What a publish would change now", What::Sentence(untold(&error)));
            return Ok(vec![Difference { title, what }]);
        }
        Err(error) => return Err(error.into()),
    };
    let now = plan.inputs.iter().map(|(key, tag)| (key.clone(), tag.to_string())).collect();
    let inputs = changed(seen, &now);
    let inputs = (!seen.is_empty() && !inputs.is_empty())
        .then_some(Difference { title: "Inputs that changed since you looked", what: What::Inputs(inputs) });
    let what = What::Changes(ChangesView::from(&plan.changes));
    Ok(inputs.into_iter().chain([Difference { title: "What a publish would change now", what }]).collect())
}

/// Which objects are not as they were.
fn changed(seen: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<(String, &'static str)> {
    let gone = seen.keys().filter(|key| !now.contains_key(*key)).map(|key| (key.clone(), "no longer used"));
    let others = now.iter().filter_map(|(key, tag)| match seen.get(key) {
        None => Some((key.clone(), "new")),
        Some(seen) if seen != tag => Some((key.clone(), "changed")),
        Some(_) => None,
    });
    let mut all: Vec<_> = gone.chain(others).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_came_went_and_changed_are_told() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, tag)| ((*key).to_owned(), (*tag).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let seen = map(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let now = map(&[("a", "1"), ("c", "2"), ("d", "1")]);
        let told = changed(&seen, &now);
        let told: Vec<_> = told.iter().map(|(key, word)| (key.as_str(), *word)).collect();
        assert_eq!(told, [("b", "no longer used"), ("c", "changed"), ("d", "new")]);
    }
}
