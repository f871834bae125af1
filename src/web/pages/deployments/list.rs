//! The list of releases.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::users;
use crate::controller::{Release, ReleaseFacts, ReleaseState};
use crate::model::users::Role;
use crate::model::{DeploymentName, ManifestName};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, export, has, newest_first};
use crate::web::page::PageContext;
use crate::web::pages::manifests;
use crate::web::shell::{Nav, Shell};
use crate::web::views;

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
    /// Whether who looks may take it away.
    may_delete: bool,
    created_at: Option<DateTime<Utc>>,
    by: String,
    note: Option<String>,
    files: usize,
    size: String,
    users: usize,
}

impl Row {
    fn new(release: &Release) -> Self {
        let facts = release.facts();
        Self {
            manifest: release.manifest.clone(),
            name: release.name.clone(),
            problem: match &release.state {
                ReleaseState::Whole(_) => None,
                ReleaseState::Unfinished => Some("its upload is under way, or was interrupted".to_owned()),
                ReleaseState::Untrusted { why } => Some(why.clone()),
            },
            may_delete: false,
            created_at: facts.map(|facts| facts.created_at),
            by: facts.map(|facts| facts.created_by.to_string()).unwrap_or_default(),
            note: facts.and_then(|facts| facts.note.clone()),
            files: facts.map_or(0, |facts| facts.files),
            size: size(facts.map_or(0, |facts| facts.bytes)),
            users: 0,
        }
    }
}

#[derive(Template)]
#[template(path = "deployments/list.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    manifests: Vec<&'a ManifestName>,
    chips: Vec<Chip>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    pager: Pager,
    csv: String,
    json: String,
    /// Whether it is known which cells use them.
    knows_users: bool,
}

/// The releases of `all` that fit, in no order yet.
fn fitting<'a>(all: &'a [Arc<Release>], asked: &Asked) -> Vec<&'a Release> {
    let wanted = asked.text("q").to_lowercase();
    let fits = |release: &&Release| {
        let note = release.facts().and_then(|facts| facts.note.as_deref()).unwrap_or_default();
        let is_of = asked.one("manifest").is_none_or(|manifest| release.manifest.as_str() == manifest);
        is_of && [release.name.as_str(), release.manifest.as_str(), note].iter().any(|text| has(text, &wanted))
    };
    all.iter().map(AsRef::as_ref).filter(fits).collect()
}

/// Puts those from `from` to `to` in their places.
fn sort(releases: &mut [&Release], order: Order<Key>, from: usize, to: usize) {
    order.sort_part(releases, from, to, |key, a, b| {
        let by_name = (&a.manifest, &a.name).cmp(&(&b.manifest, &b.name));
        let (of_a, of_b) = (a.facts(), b.facts());
        let bytes = |facts: Option<&ReleaseFacts>| facts.map_or(0, |facts| facts.bytes);
        match key {
            Key::Created => {
                newest_first(of_a.map(|facts| facts.created_at), of_b.map(|facts| facts.created_at)).then(by_name)
            }
            Key::Name => a.name.cmp(&b.name).then(by_name),
            Key::Manifest => by_name,
            Key::By => of_a.map(|facts| &facts.created_by).cmp(&of_b.map(|facts| &facts.created_by)).then(by_name),
            Key::Size => bytes(of_b).cmp(&bytes(of_a)).then(by_name),
        }
    });
}

/// `GET /deployments`
pub(super) async fn list(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let mut found = fitting(&releases, &asked);
    let pager = asked.pager(found.len(), releases.len());
    let order = Order::of(&asked, &KEYS);
    sort(&mut found, order, pager.from, pager.to);
    let mut rows: Vec<Row> = found[pager.from..pager.to].iter().map(|release| Row::new(release)).collect();
    for row in rows.iter_mut().filter(|row| row.problem.is_some()) {
        row.may_delete = manifests::barred(&page, Role::Admin, &row.manifest)?.is_none();
    }
    let shown: BTreeSet<ManifestName> = rows.iter().map(|row| row.manifest.clone()).collect();
    let users = users(&page, &*page.view()?, &shown).await?;
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
    let [csv, json] = ["/deployments.csv", "/deployments.json"].map(|path| asked.elsewhere(&shell.link(path)));
    page.render(&Page {
        shell,
        csv,
        json,
        // By manifest is how all of them are in order.
        manifests: releases.chunk_by(|a, b| a.manifest == b.manifest).map(|of_one| &of_one[0].manifest).collect(),
        chips: asked.chips(&["q", "manifest"]),
        asked: &asked,
        columns,
        rows,
        pager,
        knows_users: users.is_some(),
    })
}

/// Every release that fits, in the order that was asked for.
async fn selected(page: &PageContext, asked: &Asked) -> Result<Vec<views::Release>, Failure> {
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let mut found = fitting(&releases, asked);
    let all = found.len();
    sort(&mut found, Order::of(asked, &KEYS), 0, all);
    Ok(found.into_iter().map(views::Release::from).collect())
}

/// `GET /deployments.csv`
pub(super) async fn csv(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    const HEAD: [&str; 9] =
        ["manifest", "name", "state", "uploaded_at", "uploaded_by", "files", "size_bytes", "content_sha256", "note"];
    let line = |release: views::Release| {
        vec![
            release.manifest.to_string(),
            release.name.to_string(),
            release.state.to_owned(),
            release.created_at.map(|at| at.to_rfc3339()).unwrap_or_default(),
            release.created_by.map(|by| by.to_string()).unwrap_or_default(),
            release.files.to_string(),
            release.bytes.to_string(),
            release.content_sha256.map(|digest| digest.to_string()).unwrap_or_default(),
            release.note.unwrap_or_default(),
        ]
    };
    Ok(export::csv("deployments", &HEAD, selected(&page, &asked).await?.into_iter().map(line)))
}

/// `GET /deployments.json`
pub(super) async fn json(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    Ok(export::json(None, selected(&page, &asked).await?.into_iter()))
}
