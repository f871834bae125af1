//! axe-core, which looks for what shuts people out of a page.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::page::Page;
use crate::support::skip;

/// What is checked: WCAG 2.2 AA, and what its authors hold to be good anyway.
const RULES: [&str; 7] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "wcag22a"];

/// The checker, as npm has it.
pub(crate) struct Axe(String);

impl Axe {
    /// Reads it, or says that the test is skipped because it is not installed beside a folder of programs of npm in
    /// `PATH`; see [`skip`].
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let beside = |programs: PathBuf| Some(programs.parent()?.join("axe-core/axe.min.js"));
        let found = std::env::split_paths(&path).filter_map(beside).find(|script| script.is_file());
        let Some(script) = found else { return skip("axe-core is not beside any folder in PATH") };
        Some(Self(std::fs::read_to_string(script).unwrap()))
    }

    /// What is wrong with a page, each as the rule and where it is broken. It runs in a world of its own, so that the
    /// page's policy stays in force and its scripts meet nothing new.
    pub(crate) async fn violations(&self, page: &Page) -> Vec<String> {
        let tree = page.call("Page.getFrameTree", json!({})).await;
        let asked = json!({ "frameId": tree["frameTree"]["frame"]["id"], "worldName": "axe" });
        let world = page.call("Page.createIsolatedWorld", asked).await["executionContextId"].take();
        page.evaluate_in(Some(&world), &format!("{};0", self.0)).await.unwrap();
        let options = json!({ "runOnly": RULES, "resultTypes": ["violations"], "elementRef": false });
        let script = format!(
            "axe.run(document, {options}).then(({{ violations }}) => violations.flatMap(({{ id, help, nodes }}) =>
                nodes.map(({{ html, failureSummary }}) => `${{id}}: ${{help}}: ${{html}} ${{failureSummary}}`)))"
        );
        let found: Value = page.evaluate_in(Some(&world), &script).await.unwrap();
        found.as_array().unwrap().iter().map(|violation| violation.as_str().unwrap_or_default().to_owned()).collect()
    }
}
