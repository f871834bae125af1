//! The list of manifests.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::model::ManifestName;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, has, newest_first};
use crate::web::page::PageContext;
use crate::web::pages::used_by;
use crate::web::shell::{Nav, Shell};

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
    name: ManifestName,
    cells: usize,
    modified: Option<DateTime<Utc>>,
    bytes: u64,
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
}

/// `GET /manifests`
pub(super) async fn list(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let all = page.may().manifests().await?;
    let view = page.view()?;
    let counts = used_by::counts(&view);
    let total = all.len();
    let wanted = asked.text("q").to_lowercase();
    let fitting = all.into_iter().filter(|manifest| has(manifest.name.as_str(), &wanted));
    let mut rows: Vec<Row> = fitting
        .map(|manifest| Row {
            cells: counts.get(&manifest.name).copied().unwrap_or_default(),
            name: manifest.name,
            modified: manifest.modified,
            bytes: manifest.size,
            size: size(manifest.size),
        })
        .collect();
    let pager = asked.pager(rows.len(), total);
    let order = Order::of(&asked, &KEYS);
    order.sort_part(&mut rows, pager.from, pager.to, |key, a, b| {
        let by_name = a.name.cmp(&b.name);
        match key {
            Key::Name => by_name,
            Key::Cells => b.cells.cmp(&a.cells).then(by_name),
            Key::Modified => newest_first(a.modified, b.modified).then(by_name),
            Key::Size => b.bytes.cmp(&a.bytes).then(by_name),
        }
    });
    let rows = rows.drain(pager.from..pager.to).collect();
    let columns = vec![
        order.column(&asked, "Name", "name", Key::Name, false),
        order.column(&asked, "Used by", "cells", Key::Cells, false),
        order.column(&asked, "Changed", "changed", Key::Modified, false),
        order.column(&asked, "Size", "size", Key::Size, true),
    ];
    let shell = page.live_shell("Manifests", Nav::Manifests, "fleetman get manifests".to_owned());
    page.render(&Page { shell, chips: asked.chips(&["q"]), asked: &asked, columns, rows, pager })
}
