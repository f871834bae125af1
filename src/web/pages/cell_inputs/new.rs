//! `/cells/new`: a manifest on one node, or on several at once.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::yaml;
use crate::controller::{FleetView, Known, Liveness};
use crate::model::users::Role;
use crate::model::{CellId, CellName, ManifestName, NodeName};
use crate::recipe;
use crate::recipe::diagnostics::{Diagnostic, Severity};
use crate::recipe::written::Recipe;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{Step, if_there, unless_changed};
use crate::web::shell::{Nav, Shell};

/// How many cells are made at once, at most: each is a few requests to the bucket.
const MOST_CELLS: usize = 200;

/// How many nodes can be ticked; others are typed.
const MOST_SHOWN: usize = 500;

/// The lines of a cell's document before the settings that were typed.
const HEAD_LINES: usize = 2;

/// What the form says.
#[derive(Debug, Clone, Default)]
struct NewForm {
    manifest: String,
    cell: String,
    /// Those that were ticked.
    ticked: BTreeSet<String>,
    /// Those that were typed.
    typed: String,
    /// What stands in each document below the names.
    settings: String,
    reason: String,
    step: Step,
}

impl NewForm {
    /// Of several fields of one name each counts.
    fn take(sent: Result<Form<Vec<(String, String)>>, FormRejection>) -> Result<Self, Failure> {
        let Form(fields) = sent?;
        let mut form = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "manifest" => form.manifest = value,
                "cell" => form.cell = value,
                "node" => drop(form.ticked.insert(value)),
                "nodes" => form.typed = value,
                "settings" => form.settings = value.replace("\r\n", "\n"),
                "reason" => form.reason = value,
                "step" if value == "preview" => form.step = Step::Preview,
                "step" if value == "save" => form.step = Step::Save,
                _ => {}
            }
        }
        Ok(form)
    }

    fn manifest(&self) -> Result<ManifestName, Failure> {
        Ok(ManifestName::new(self.manifest.trim())?)
    }

    /// The cells that are asked for.
    fn cells(&self) -> Result<Vec<CellId>, Failure> {
        let cell = CellName::new(self.cell.trim())?;
        let typed = self.typed.split([',', ' ', '\t', '\r', '\n']).filter(|name| !name.is_empty());
        let names: BTreeSet<&str> = self.ticked.iter().map(String::as_str).chain(typed).collect();
        let wrong = |detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_form", detail);
        match names.len() {
            0 => return Err(wrong("choose at least one node, or type its name".to_owned())),
            count if count > MOST_CELLS => {
                return Err(wrong(format!("{count} nodes are more than the {MOST_CELLS} that are taken at once")));
            }
            _ => {}
        }
        names.into_iter().map(|node| Ok(CellId::new(NodeName::new(node)?, cell.clone()))).collect()
    }

    fn document(&self, cell: &CellId) -> String {
        let settings = self.settings.trim_end();
        let end = if settings.is_empty() { "" } else { "\n" };
        format!("cell: {cell}\nmanifest: {}\n{settings}{end}", self.manifest.trim())
    }
}

/// A node to choose.
struct Choice {
    node: NodeName,
    is_ticked: bool,
    liveness: Liveness,
}

/// A cell of the request, and how it stands with it.
struct Asked {
    cell: CellId,
    document: String,
    /// Why it cannot be made, or was not.
    obstacle: Option<String>,
    is_made: bool,
}

#[derive(Template)]
#[template(path = "cell_inputs/new.html")]
struct FormPage<'f> {
    shell: Shell,
    form: &'f NewForm,
    manifests: Vec<ManifestName>,
    nodes: Vec<Choice>,
    hidden_nodes: usize,
    problems: Vec<Diagnostic>,
    failure: Option<String>,
    /// What became of each, where some were made and some not.
    done: &'f [Asked],
    barred: Option<String>,
}

#[derive(Template)]
#[template(path = "cell_inputs/new_review.html")]
struct ReviewPage<'f> {
    shell: Shell,
    form: &'f NewForm,
    asked: &'f [Asked],
    problems: Vec<Diagnostic>,
    is_any_new: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewQuery {
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    node: String,
}

/// `GET /cells/new`
pub(super) async fn ask(page: PageContext, Query(query): Query<NewQuery>) -> Result<Response, Failure> {
    page.may().need_anywhere(Role::Editor, "cells")?;
    let mut form = NewForm { cell: query.manifest.clone(), manifest: query.manifest, ..NewForm::default() };
    if let Ok(manifest) = form.manifest() {
        let text = if_there(page.may().get_manifest(&manifest).await)?;
        let recipe = text.and_then(|text| recipe::manifest(&text.text, "").ok());
        form.settings = recipe.map(|recipe| starting_settings(&recipe)).unwrap_or_default();
    }
    form.ticked.extend(Some(query.node).filter(|node| !node.is_empty()));
    show(&page, &form, Answer::default()).await
}

/// The variables of a manifest, to be given values. Those that need one stand there without.
fn starting_settings(recipe: &Recipe) -> String {
    if recipe.vars.is_empty() {
        return String::new();
    }
    let needs_one = recipe.vars.values().any(|variable| variable.default.is_none());
    let mut text = if needs_one { "vars:\n".to_owned() } else { "# vars:\n".to_owned() };
    for (name, variable) in &recipe.vars {
        let about = variable.description.as_deref().unwrap_or_default();
        let about = about.lines().next().filter(|line| !line.is_empty()).map(|line| format!(" # {line}"));
        let mark = if variable.default.is_none() { "" } else { "# " };
        text.push_str(&format!("  {mark}{name}:{}\n", about.unwrap_or_default()));
    }
    text
}

/// `POST /cells/new`
pub(super) async fn submit(
    page: PageContext,
    fields: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response, Failure> {
    let form = NewForm::take(fields)?;
    match advance(&page, &form).await {
        Err(failure) => {
            let (status, detail) = (failure.status(), failure.detail().to_owned());
            show(&page, &form, Answer { status, failure: Some(detail), ..Answer::default() }).await
        }
        answered => answered,
    }
}

async fn advance(page: &PageContext, form: &NewForm) -> Result<Response, Failure> {
    page.may().need_anywhere(Role::Editor, "cells")?;
    if form.step == Step::Edit {
        return show(page, form, Answer::default()).await;
    }
    let (manifest, cells) = (form.manifest()?, form.cells()?);
    if if_there(page.may().get_manifest(&manifest).await)?.is_none() {
        let detail = format!("there is no manifest {manifest}");
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "not_found", detail));
    }
    let problems = match cells.first() {
        Some(first) => yaml::diagnose(page.may(), &form.document(first), Some(first)).await?,
        None => Vec::new(),
    };
    let problems = in_settings(problems);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return show(page, form, Answer { status, problems, ..Answer::default() }).await;
    }
    let mut asked = Vec::new();
    for cell in cells {
        let document = form.document(&cell);
        asked.push(Asked { obstacle: obstacle(page, &cell).await?, cell, document, is_made: false });
    }
    if form.step == Step::Preview {
        let shell = page.shell("New cells: review", Nav::Cells, "fleetman apply -f cells.yaml".to_owned());
        let is_any_new = asked.iter().any(|asked| asked.obstacle.is_none());
        return page.render(&ReviewPage { shell, form, asked: &asked, problems, is_any_new });
    }
    page.caller.check_writable()?;
    for asked in asked.iter_mut().filter(|asked| asked.obstacle.is_none()) {
        let may = page.may().because(&form.reason);
        match unless_changed(may.put_cell(&asked.cell, &asked.document, &Known::Absent).await) {
            Ok(Some(_)) => asked.is_made = true,
            Ok(None) => asked.obstacle = Some("somebody else made it meanwhile".to_owned()),
            Err(failure) => asked.obstacle = Some(failure.detail().to_owned()),
        }
    }
    match &asked[..] {
        [only] if only.is_made => Ok(page.lead_to(&format!("/cells/{}", only.cell))),
        asked if asked.iter().all(|asked| asked.is_made) => Ok(page.lead_to(&format!("/cells?q={}", form.cell.trim()))),
        asked => show(page, form, Answer { status: StatusCode::CONFLICT, done: asked, ..Answer::default() }).await,
    }
}

/// The places of problems in the settings alone.
fn in_settings(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    for problem in &mut problems {
        problem.line = problem.line.saturating_sub(HEAD_LINES).max(1);
    }
    problems
}

/// Why a cell cannot be made.
async fn obstacle(page: &PageContext, cell: &CellId) -> Result<Option<String>, Failure> {
    if !page.may().identity().may(Role::Editor, cell) {
        return Ok(Some(format!("it takes the role {} on it", Role::Editor)));
    }
    Ok(if_there(page.may().get_cell(cell).await)?.map(|_| "there is one already; edit that".to_owned()))
}

/// How the form comes back.
struct Answer<'a> {
    status: StatusCode,
    problems: Vec<Diagnostic>,
    failure: Option<String>,
    done: &'a [Asked],
}

impl Default for Answer<'_> {
    fn default() -> Self {
        Self { status: StatusCode::OK, problems: Vec::new(), failure: None, done: &[] }
    }
}

async fn show(page: &PageContext, form: &NewForm, answer: Answer<'_>) -> Result<Response, Failure> {
    let view = page.view()?;
    let manifests = page.may().manifests().await?.into_iter().map(|manifest| manifest.name).collect();
    let shell = page.shell("New cells", Nav::Cells, "fleetman apply -f cells.yaml".to_owned());
    let nodes = choices(&view, &form.ticked);
    let hidden_nodes = view.nodes.len().saturating_sub(nodes.len());
    let Answer { status, problems, failure, done } = answer;
    let barred = page.caller.read_only();
    page.render_with(status, &FormPage { shell, form, manifests, nodes, hidden_nodes, problems, failure, done, barred })
}

/// The nodes to choose from: those that are ticked, and as many others as fit.
fn choices(view: &FleetView, ticked: &BTreeSet<String>) -> Vec<Choice> {
    let choice = |node: &crate::controller::NodeView| Choice {
        is_ticked: ticked.contains(node.node.as_str()),
        node: node.node.clone(),
        liveness: node.liveness,
    };
    let mut found: BTreeMap<NodeName, Choice> = BTreeMap::new();
    for wants_ticked in [true, false] {
        for node in &view.nodes {
            if ticked.contains(node.node.as_str()) == wants_ticked && found.len() < MOST_SHOWN {
                found.insert(node.node.clone(), choice(node));
            }
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> NewForm {
        let ticked = ["n1".to_owned()].into();
        NewForm { manifest: " web ".to_owned(), cell: "web".to_owned(), ticked, ..NewForm::default() }
    }

    #[test]
    fn each_node_gets_its_cell_once() {
        let form = NewForm { typed: "n2, n1\r\nn3".to_owned(), ..form() };
        let cells: Vec<String> = form.cells().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(cells, ["n1/web", "n2/web", "n3/web"]);
        assert!(NewForm { typed: "N2".to_owned(), ..form.clone() }.cells().is_err());
        assert!(NewForm { ticked: BTreeSet::new(), typed: String::new(), ..form.clone() }.cells().is_err());
        let many = (0..=MOST_CELLS).map(|number| format!("m{number} ")).collect();
        assert!(NewForm { typed: many, ..form }.cells().is_err());
    }

    #[test]
    fn settings_stand_below_the_names_and_problems_point_into_them() {
        let form = NewForm { settings: "vars:\n  port: 1\n\n".to_owned(), ..form() };
        let cell: CellId = "n1/web".parse().unwrap();
        assert_eq!(form.document(&cell), "cell: n1/web\nmanifest: web\nvars:\n  port: 1\n");
        assert_eq!(NewForm::default().document(&cell), "cell: n1/web\nmanifest: \n");
        let wrong = NewForm { settings: "labels: {}\nvras: {}\n".to_owned(), ..form };
        let problems = in_settings(crate::recipe::diagnostics::of_cell(&wrong.document(&cell), Some(&cell), None));
        assert_eq!(problems[0].line, 2);
    }

    #[test]
    fn the_variables_of_a_manifest_are_shown_and_those_without_a_value_asked_for() {
        let recipe =
            |vars: &str| recipe::manifest(&format!("name: web\nprofile: {{deploy: {{}}}}\n{vars}"), "").unwrap();
        assert_eq!(starting_settings(&recipe("")), "");
        let text = starting_settings(&recipe("vars:\n  port: {description: Where it listens}\n  user: web\n"));
        assert_eq!(text, "vars:\n  port: # Where it listens\n  # user:\n");
        let form = NewForm { settings: text, ..form() };
        let cell: CellId = "n1/web".parse().unwrap();
        let problems = crate::recipe::diagnostics::of_cell(&form.document(&cell), Some(&cell), None);
        assert_eq!(problems[0].line, 4, "the value that is missing: {problems:?}");
        assert_eq!(starting_settings(&recipe("vars: {user: web}\n")), "# vars:\n  # user:\n");
    }
}
