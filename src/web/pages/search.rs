//! `/search`: agents, cells, manifests and deployments by name.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use askama::Template;
use axum::response::Response;

use crate::access::AccessError;
use crate::controller::{FleetView, Found, ReleaseName};
use crate::model::ManifestName;
use crate::web::caller::Caller;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::list::{Asked, grouped};
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

/// The most that is shown of a kind; the lists show all.
const MOST_SHOWN: usize = 20;

pub(super) fn routes() -> Routes {
    Routes::new().get("/search", page)
}

#[derive(Template)]
#[template(path = "search/page.html")]
struct Page<'a> {
    shell: Shell,
    text: &'a str,
    groups: Vec<Group>,
    /// Why manifests and deployments could not be looked for.
    problem: Option<String>,
}

/// What was found of one kind.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    name: &'static str,
    /// Names, and the paths of their pages.
    hits: Vec<(String, String)>,
    count: String,
    /// The list of all of them, if there are more than are shown.
    all: Option<String>,
}

/// What manifests and releases there are, as far as that is known.
#[derive(Debug, Default)]
pub(in crate::web) struct Recipes {
    pub(in crate::web) manifests: Arc<BTreeSet<ManifestName>>,
    pub(in crate::web) releases: Arc<BTreeSet<ReleaseName>>,
}

/// What manifests and releases there are, and why not all of them are known, if so.
pub(in crate::web) async fn recipes(caller: &Caller, view: &FleetView) -> (Recipes, Option<String>) {
    // Nobody waits for a bucket that is known to be away.
    if let Some(problem) = caller.fleet.snapshot.age().problem {
        return (Recipes { manifests: Arc::new(used(view)), ..Recipes::default() }, Some(problem));
    }
    let lists = &caller.fleet.releases;
    let (manifests, releases) = tokio::join!(caller.may.manifest_names(lists), caller.may.release_names(lists));
    let problem = manifests.as_ref().err().map(told).or_else(|| releases.as_ref().err().map(told));
    let manifests = manifests.unwrap_or_else(|_| Arc::new(used(view)));
    (Recipes { manifests, releases: releases.unwrap_or_default() }, problem)
}

/// The manifests that cells use: of fifty thousand names a few differ, and only those are copied.
fn used(view: &FleetView) -> BTreeSet<ManifestName> {
    let used: HashSet<&ManifestName> =
        view.cells().filter_map(|cell| cell.about()).map(|about| &about.manifest).collect();
    used.into_iter().cloned().collect()
}

fn told(error: &AccessError) -> String {
    error.to_string()
}

async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let text = asked.text("q").to_lowercase();
    let cli = if text.is_empty() { "<text>".to_owned() } else { quoted(asked.text("q")) };
    let shell = page.shell("Search", Nav::Elsewhere, format!("fleetman search {cli}"));
    if text.is_empty() {
        return page.render(&Page { shell, text: "", groups: Vec::new(), problem: None });
    }
    let view = page.view()?;
    let (recipes, problem) = recipes(&page.caller, &view).await;
    let releases = recipes.releases.iter().map(|(manifest, name)| (manifest, name));
    let found = Found::new(&text, &view, recipes.manifests.iter(), releases);
    if let Some(path) = exact(&text, &view, &recipes).filter(|_| is_alone(&text, &found)) {
        return Ok(page.lead_to(&path));
    }
    let mut groups = groups(&found);
    for (_, href) in groups.iter_mut().flat_map(|group| &mut group.hits) {
        *href = shell.link(href);
    }
    for all in groups.iter_mut().filter_map(|group| group.all.as_mut()) {
        *all = shell.link(&asked.elsewhere(all));
    }
    page.render(&Page { shell, text: asked.text("q"), groups, problem })
}

/// The page of what has exactly this name, if only one thing has.
fn exact(text: &str, view: &FleetView, recipes: &Recipes) -> Option<String> {
    let mut paths = Vec::new();
    if let Some(node) = text.parse().ok().and_then(|name| view.node(&name)) {
        paths.push(format!("/agents/{}", node.node));
    }
    if let Some(cell) = text.parse().ok().and_then(|name| view.cell(&name)) {
        paths.push(format!("/cells/{}", cell.cell));
    }
    if let Some(manifest) = text.parse().ok().and_then(|name: ManifestName| recipes.manifests.get(&name).cloned()) {
        paths.push(format!("/manifests/{manifest}"));
    }
    if let Some((of, name)) = text.split_once('/') {
        let release = recipes
            .releases
            .iter()
            .find(|(manifest, release)| manifest.as_str() == of && release.as_str().eq_ignore_ascii_case(name));
        paths.extend(release.map(|(manifest, release)| format!("/deployments/{manifest}/{release}")));
    }
    (paths.len() == 1).then(|| paths.remove(0))
}

/// Whether nothing else was found than what has exactly this name, and what belongs to it: the cells of the agent,
/// the releases of the manifest.
fn is_alone(text: &str, found: &Found<'_>) -> bool {
    let is_of_it = |name: &str| {
        let name = name.to_lowercase();
        name.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    found.nodes.iter().all(|node| is_of_it(node.as_str()))
        && found.cells.iter().all(|cell| is_of_it(&cell.to_string()))
        && found.manifests.iter().all(|manifest| is_of_it(manifest.as_str()))
        && found.releases.iter().all(|(manifest, release)| is_of_it(&format!("{manifest}/{release}")))
}

/// Everything that was found, by kind.
fn groups(found: &Found<'_>) -> Vec<Group> {
    let Found { nodes, cells, manifests, releases } = found;
    let releases: Vec<String> = releases.iter().map(|(manifest, name)| format!("{manifest}/{name}")).collect();
    let all = [
        Group::new("Agents", "/agents", nodes),
        Group::new("Cells", "/cells", cells),
        Group::new("Manifests", "/manifests", manifests),
        Group::new("Deployments", "/deployments", &releases),
    ];
    all.into_iter().flatten().collect()
}

impl Group {
    /// What was found of a kind whose pages lie below `all`; None if nothing was.
    fn new(name: &'static str, all: &str, names: &[impl fmt::Display]) -> Option<Self> {
        let hits = names.iter().take(MOST_SHOWN).map(|name| (name.to_string(), format!("{all}/{name}"))).collect();
        let is_more = names.len() > MOST_SHOWN;
        let group = Self { name, hits, count: grouped(names.len()), all: is_more.then(|| all.to_owned()) };
        (!names.is_empty()).then_some(group)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::fleet_sample::{Wish, fleet, node};

    fn sample() -> (FleetView, Recipes) {
        let nodes = (0..30).map(|number| {
            node(&format!("n{number:02}"), Some((1, json!({}))), [("web", Wish::default()), ("n07", Wish::default())])
        });
        let manifests = ["web-site", "n07"].map(|name| ManifestName::new(name).unwrap());
        let releases = [("web-site", "R1"), ("n01", "web")]
            .map(|(manifest, name)| (manifest.parse().unwrap(), name.parse().unwrap()));
        let releases = Arc::new(releases.into());
        (fleet(nodes.collect()), Recipes { manifests: Arc::new(manifests.into()), releases })
    }

    #[test]
    fn a_name_that_only_one_thing_has_leads_there() {
        let (view, recipes) = sample();
        let leads = |text: &str| exact(text, &view, &recipes);
        assert_eq!(leads("n01").as_deref(), Some("/agents/n01"));
        assert_eq!(leads("n02/web").as_deref(), Some("/cells/n02/web"));
        assert_eq!(leads("web-site").as_deref(), Some("/manifests/web-site"));
        assert_eq!(leads("web-site/r1").as_deref(), Some("/deployments/web-site/R1"));
        assert_eq!(leads("n07"), None, "an agent and a manifest");
        assert_eq!(leads("n01/web"), None, "a cell and a release");
        assert_eq!(leads("<script>"), None);
    }

    #[test]
    fn a_name_leads_nowhere_where_something_else_has_it_in_its_own() {
        let (view, recipes) = sample();
        let releases = || recipes.releases.iter().map(|(manifest, name)| (manifest, name));
        let is_alone = |text: &str| is_alone(text, &Found::new(text, &view, recipes.manifests.iter(), releases()));
        assert!(is_alone("n02"), "an agent with its cells");
        assert!(is_alone("web-site"), "a manifest with its release");
        assert!(is_alone("web-site/r1") && is_alone("n02/web"));
        assert!(!is_alone("web"), "cells of many agents");
        assert!(!is_alone("n0"), "many agents");
    }

    #[test]
    fn what_is_found_is_cut_and_the_rest_is_a_link_away() {
        let (view, recipes) = sample();
        let releases = || recipes.releases.iter().map(|(manifest, name)| (manifest, name));
        let found = |text| groups(&Found::new(text, &view, recipes.manifests.iter(), releases()));
        let groups = found("web");
        let counts: Vec<(&str, &str, usize)> =
            groups.iter().map(|group| (group.name, group.count.as_str(), group.hits.len())).collect();
        assert_eq!(counts, [("Cells", "30", 20), ("Manifests", "1", 1), ("Deployments", "2", 2)]);
        assert_eq!((groups[0].all.as_deref(), groups[1].all.as_deref()), (Some("/cells"), None));
        assert_eq!(found("5/we")[0].hits[0].1, "/cells/n05/web");
        assert_eq!(found("zzz"), []);
    }
}
