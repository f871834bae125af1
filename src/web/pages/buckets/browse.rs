//! `/buckets/browse`: one folder, explained.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Link, crumbs, folder, object, rule};
use crate::controller::About;
use crate::web::address::{Asked, with_query};
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// How much stands on one page.
const PER_PAGE: u16 = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "buckets/browse.html")]
struct Page {
    shell: Shell,
    crumbs: Vec<Link>,
    about: Option<About>,
    rule: Option<&'static str>,
    folders: Vec<FolderLine>,
    objects: Vec<ObjectLine>,
    first: Option<String>,
    next: Option<String>,
}

struct FolderLine {
    name: String,
    href: String,
    purpose: &'static str,
}

struct ObjectLine {
    name: String,
    /// None for what is not of the protocol.
    href: Option<String>,
    purpose: &'static str,
    size: String,
    bytes: u64,
    modified: Option<DateTime<Utc>>,
    etag: String,
}

pub(super) async fn browse(page: PageContext, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    let Wanted { prefix, after } = wanted;
    let after = after.filter(|after| !after.is_empty());
    let found = page.may().browse(&prefix, after.as_deref(), PER_PAGE).await?;
    let cli = if prefix.is_empty() {
        "fleetman bucket ls".to_owned()
    } else {
        format!("fleetman bucket ls {}", quoted(&prefix))
    };
    let shell = page.shell("Bucket", Nav::Buckets, cli);
    let folders = found.folders.iter().map(|row| FolderLine {
        name: row.name.clone(),
        href: folder(&shell, &row.path),
        purpose: row.about.map_or("", |about| about.purpose),
    });
    let objects = found.objects.iter().map(|row| ObjectLine {
        name: row.name.clone(),
        href: row.key.as_ref().map(|key| object(&shell, key)),
        purpose: row.key.as_ref().map_or("not of the protocol: nothing of Fleetman reads it", |key| {
            crate::controller::about_key(key).purpose
        }),
        size: size(row.size),
        bytes: row.size,
        modified: row.modified,
        etag: row.etag.as_str().trim_matches('"').to_owned(),
    });
    let (folders, objects): (Vec<_>, Vec<_>) = (folders.collect(), objects.collect());
    let here =
        |after: &str| with_query(&shell.link("/buckets/browse"), [("prefix", prefix.as_str()), ("after", after)]);
    let is_unheard_of = found.about.is_none() && folders.is_empty() && objects.is_empty() && after.is_none();
    let view = Page {
        crumbs: crumbs(&shell, &prefix),
        about: found.about,
        rule: found.about.as_ref().and_then(rule),
        first: after.is_some().then(|| here("")),
        next: found.next.as_deref().map(here),
        folders,
        objects,
        shell,
    };
    // A folder of the protocol may well be empty; any other that is empty is none.
    page.render_with(if is_unheard_of { StatusCode::NOT_FOUND } else { StatusCode::OK }, &view)
}
