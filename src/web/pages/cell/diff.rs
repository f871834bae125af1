//! `/cells/{node}/{cell}/diff?from=&to=`: two versions side by side, or one and what the inputs give now.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::words;
use crate::access::AccessError;
use crate::controller::{Compared, ControllerError, Revision};
use crate::model::VersionName;
use crate::store::ErrorKind;
use crate::web::changes::{ChangesView, size};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many versions can be chosen, the newest first; any other can be asked for in the address.
const MOST_CHOICES: usize = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
}

#[derive(Template)]
#[template(path = "cell/diff.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    choices: [Choices; 2],
    /// None while nothing is chosen; an error says why what was chosen cannot be compared.
    shown: Option<Result<Shown, String>>,
}

/// What one side can be.
struct Choices {
    name: &'static str,
    label: &'static str,
    chosen: String,
    all: Vec<String>,
}

struct Shown {
    sides: [Side; 2],
    changes: ChangesView,
}

struct Side {
    label: &'static str,
    it: Compared,
    proof: Option<(State, String)>,
    size: String,
}

impl Side {
    fn new(label: &'static str, it: Compared) -> Self {
        let proof = it.made.as_ref().map(|made| words::proof(&made.proof));
        Self { label, proof, size: size(it.bytes), it }
    }
}

pub(super) async fn diff(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Diff).await?;
    let names = page.may().version_names(&cell).await?;
    let (from, to) = chosen(&frame, &names, &asked)?;
    let shown = match (&from, &to) {
        (Some(from), Some(to)) => Some(compared(&page, &frame, from, to).await?),
        _ => None,
    };
    let choices = |name, label, chosen: &Option<Revision>| {
        let chosen = chosen.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut all: Vec<String> = names.iter().take(MOST_CHOICES).map(ToString::to_string).collect();
        if !chosen.is_empty() && chosen != "now" && !all.contains(&chosen) {
            all.insert(0, chosen.clone());
        }
        Choices { name, label, chosen, all }
    };
    let choices = [choices("from", "From", &from), choices("to", "To", &to)];
    let side =
        |option, side: &Option<Revision>| side.as_ref().map(|side| format!(" --{option} {side}")).unwrap_or_default();
    let cli = format!("fleetman diff {cell}{}{}", side("from", &from), side("to", &to));
    let shell = page.shell(format!("Differences of {cell}"), Nav::Cells, cli);
    page.render(&Page { shell, frame, choices, shown })
}

/// What is compared: what was asked for; else what is desired, with what a publish would make of it.
fn chosen(
    frame: &Frame,
    names: &[VersionName],
    asked: &Asked,
) -> Result<(Option<Revision>, Option<Revision>), Failure> {
    let named = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<Revision>().map(Some),
    };
    let desired = frame.target().map(|target| target.version.clone());
    let from = named(&asked.from)?.or_else(|| desired.or_else(|| names.first().cloned()).map(Revision::Version));
    let to = named(&asked.to)?.or_else(|| from.is_some().then_some(Revision::Now));
    Ok((from, to))
}

/// What differs. That the inputs make no sense, or that a version is gone, is no reason not to choose others.
async fn compared(
    page: &PageContext,
    frame: &Frame,
    from: &Revision,
    to: &Revision,
) -> Result<Result<Shown, String>, Failure> {
    match page.may().compare(frame.cell(), from, to).await {
        Ok(comparison) => Ok(Ok(Shown {
            changes: ChangesView::from(&comparison.changes),
            sides: [Side::new("From", comparison.from), Side::new("To", comparison.to)],
        })),
        Err(AccessError::Controller(error)) if is_mendable(&error) => Ok(Err(crate::store::in_full(&error))),
        Err(error) => Err(error.into()),
    }
}

fn is_mendable(error: &ControllerError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Tampered)
}
