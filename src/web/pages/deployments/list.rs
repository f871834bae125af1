//! The list of releases.

use std::collections::BTreeSet;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::users;
use crate::controller::{Release, ReleaseState};
use crate::model::{DeploymentName, ManifestName};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, has, newest_first};
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Created,
    Name,
    Manifest,
    By,
    Size,
}

/// What the list is sorted by; the newest first unless something else is asked for.
const KEYS: [(&str, Key); 5] = [
    ("uploaded", Key::Created),
    ("name", Key::Name),
    ("manifest", Key::Manifest),
    ("by", Key::By),
    ("size", Key::Size),
];

struct Row {
    manifest: ManifestName,
    name: DeploymentName,
    /// Why there is nothing more to tell.
    problem: Option<String>,
    created_at: Option<DateTime<Utc>>,
    by: String,
    note: Option<String>,
    files: usize,
    bytes: u64,
    size: String,
    users: usize,
}

impl Row {
    fn new(release: &Release) -> Self {
        let facts = release.facts();
        let bytes = facts.map_or(0, |facts| facts.bytes);
        Self {
            manifest: release.manifest.clone(),
            name: release.name.clone(),
            problem: match &release.state {
                ReleaseState::Whole(_) => None,
                ReleaseState::Unfinished => Some("its upload is under way, or was interrupted".to_owned()),
                ReleaseState::Untrusted { why } => Some(why.clone()),
            },
            created_at: facts.map(|facts| facts.created_at),
            by: facts.map(|facts| facts.created_by.to_string()).unwrap_or_default(),
            note: facts.and_then(|facts| facts.note.clone()),
            files: facts.map_or(0, |facts| facts.files),
            bytes,
            size: size(bytes),
            users: 0,
        }
    }
}

#[derive(Template)]
#[template(path = "deployments/list.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    manifests: BTreeSet<ManifestName>,
    chips: Vec<Chip>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    pager: Pager,
    /// Whether it is known which cells use them.
    knows_users: bool,
}

/// `GET /deployments`
pub(super) async fn list(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let wanted = asked.text("q").to_lowercase();
    let fits = |release: &&Release| {
        let note = release.facts().and_then(|facts| facts.note.as_deref()).unwrap_or_default();
        let is_of = asked.one("manifest").is_none_or(|manifest| release.manifest.as_str() == manifest);
        is_of && [release.name.as_str(), release.manifest.as_str(), note].iter().any(|text| has(text, &wanted))
    };
    let mut rows: Vec<Row> = releases.iter().filter(fits).map(Row::new).collect();
    let pager = asked.pager(rows.len(), releases.len());
    let order = Order::of(&asked, &KEYS);
    order.sort_part(&mut rows, pager.from, pager.to, |key, a, b| {
        let by_name = (&a.manifest, &a.name).cmp(&(&b.manifest, &b.name));
        match key {
            Key::Created => newest_first(a.created_at, b.created_at).then(by_name),
            Key::Name => a.name.cmp(&b.name).then(by_name),
            Key::Manifest => by_name,
            Key::By => a.by.cmp(&b.by).then(by_name),
            Key::Size => b.bytes.cmp(&a.bytes).then(by_name),
        }
    });
    let mut rows: Vec<Row> = rows.drain(pager.from..pager.to).collect();
    let shown: BTreeSet<ManifestName> = rows.iter().map(|row| row.manifest.clone()).collect();
    let users = users(&page, &*page.view()?, shown).await?;
    for row in &mut rows {
        let of_row = users.as_ref().and_then(|users| users.get(&(row.manifest.clone(), row.name.clone())));
        row.users = of_row.map_or(0, BTreeSet::len);
    }
    let plain = |name| Column { name, is_number: false, href: None, sorted: "none" };
    let columns = vec![
        order.column(&asked, "Release", "name", Key::Name, false),
        order.column(&asked, "Manifest", "manifest", Key::Manifest, false),
        order.column(&asked, "Uploaded", "uploaded", Key::Created, false),
        order.column(&asked, "By", "by", Key::By, false),
        order.column(&asked, "Size", "size", Key::Size, true),
        Column { is_number: true, ..plain("Files") },
        plain("Used by"),
        plain("Note"),
    ];
    let shell = page.live_shell("Deployments", Nav::Deployments, "fleetman get deployments".to_owned());
    page.render(&Page {
        shell,
        manifests: releases.iter().map(|release| release.manifest.clone()).collect(),
        chips: asked.chips(&["q", "manifest"]),
        asked: &asked,
        columns,
        rows,
        pager,
        knows_users: users.is_some(),
    })
}
