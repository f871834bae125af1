//! The list of manifests.

use askama::Template;
use axum::response::Response;

use crate::controller::ManifestView;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, export, has, newest_first};
use crate::web::page::PageContext;
use crate::web::pages::used_by;
use crate::web::shell::{Nav, Shell};
use crate::web::views::ManifestEntry;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Cells,
    Modified,
    Size,
}

/// What the list is sorted by.
const KEYS: [(&str, Key); 4] =
    [("name", Key::Name), ("cells", Key::Cells), ("changed", Key::Modified), ("size", Key::Size)];

struct Row {
    manifest: ManifestView,
    cells: usize,
    size: String,
}

#[derive(Template)]
#[template(path = "manifests/list.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    chips: Vec<Chip>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    pager: Pager,
    csv: String,
    json: String,
}

/// The manifests that fit, in no order yet, and how many there are.
async fn fitting(page: &PageContext, asked: &Asked) -> Result<(Vec<Row>, usize), Failure> {
    let all = page.may().manifests().await?;
    let view = page.view()?;
    let counts = used_by::counts(&view);
    let total = all.len();
    let wanted = asked.text("q").to_lowercase();
    let fitting = all.into_iter().filter(|manifest| has(manifest.name.as_str(), &wanted));
    let rows = fitting.map(|manifest| Row {
        cells: counts.get(&manifest.name).copied().unwrap_or_default(),
        size: size(manifest.size),
        manifest,
    });
    Ok((rows.collect(), total))
}

/// Puts those from `from` to `to` in their places.
fn sort(rows: &mut [Row], order: Order<Key>, from: usize, to: usize) {
    order.sort_part(rows, from, to, |key, a, b| {
        let by_name = a.manifest.name.cmp(&b.manifest.name);
        match key {
            Key::Name => by_name,
            Key::Cells => b.cells.cmp(&a.cells).then(by_name),
            Key::Modified => newest_first(a.manifest.modified, b.manifest.modified).then(by_name),
            Key::Size => b.manifest.size.cmp(&a.manifest.size).then(by_name),
        }
    });
}

/// `GET /manifests`
pub(super) async fn list(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let (mut rows, total) = fitting(&page, &asked).await?;
    let pager = asked.pager(rows.len(), total);
    let order = Order::of(&asked, &KEYS);
    sort(&mut rows, order, pager.from, pager.to);
    let rows = rows.drain(pager.from..pager.to).collect();
    let columns = vec![
        order.column(&asked, "Name", "name", Key::Name, false),
        order.column(&asked, "Used by", "cells", Key::Cells, false),
        order.column(&asked, "Changed", "changed", Key::Modified, false),
        order.column(&asked, "Size", "size", Key::Size, true),
    ];
    let shell = page.live_shell("Manifests", Nav::Manifests, "fleetman get manifests".to_owned());
    let [csv, json] = ["/manifests.csv", "/manifests.json"].map(|path| asked.elsewhere(&shell.link(path)));
    page.render(&Page { shell, chips: asked.chips(&["q"]), asked: &asked, columns, rows, pager, csv, json })
}

/// Every manifest that fits, in the order that was asked for.
async fn selected(page: &PageContext, asked: &Asked) -> Result<Vec<Row>, Failure> {
    let (mut rows, _) = fitting(page, asked).await?;
    let all = rows.len();
    sort(&mut rows, Order::of(asked, &KEYS), 0, all);
    Ok(rows)
}

/// `GET /manifests.csv`
pub(super) async fn csv(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let line = |Row { manifest, cells, .. }: Row| {
        let modified = manifest.modified.map(|at| at.to_rfc3339()).unwrap_or_default();
        vec![manifest.name.to_string(), cells.to_string(), modified, manifest.size.to_string()]
    };
    let rows = selected(&page, &asked).await?.into_iter().map(line);
    Ok(export::csv("manifests", &["name", "used_by_cells", "changed_at", "size_bytes"], rows))
}

/// `GET /manifests.json`
pub(super) async fn json(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let rows = selected(&page, &asked).await?.into_iter();
    Ok(export::json(None, rows.map(|row| ManifestEntry::from(row.manifest))))
}
