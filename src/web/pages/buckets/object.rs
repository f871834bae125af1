//! `/buckets/object`: one object: what it is, what it holds, whether that is right.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::{Link, crumbs, object as address_of, rule};
use crate::controller::{About, Content, Reference, about_key};
use crate::web::address::{Asked, with_query};
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::download;
use crate::web::failure::Failure;
use crate::web::findings::Found;
use crate::web::page::PageContext;
use crate::web::paths::object_key;
use crate::web::shell::{Nav, Shell};

/// How much of an object is shown.
const SHOWN_BYTES: u64 = 128 << 10;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    key: String,
    verify: Option<String>,
}

#[derive(Template)]
#[template(path = "buckets/object.html")]
struct Page {
    shell: Shell,
    crumbs: Vec<Link>,
    key: String,
    name: String,
    about: About,
    rule: Option<&'static str>,
    meta: crate::store::Meta,
    etag: String,
    size: String,
    /// What kind of text it is; None if it is none.
    kind: Option<&'static str>,
    text: String,
    is_empty: bool,
    shown: Option<String>,
    raw: String,
    /// None until it is asked for.
    findings: Option<Vec<Found>>,
    names: Vec<Linked>,
    named_by: Vec<Linked>,
    is_cut: bool,
}

/// An object at the other end of a reference.
struct Linked {
    key: String,
    href: String,
    how: String,
}

pub(super) async fn object(page: PageContext, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    // Before anything is said of the key: who may not look is not told what there is.
    page.may().check_bucket()?;
    let key = object_key(&wanted.key)?;
    let preview = page.may().preview(&key, SHOWN_BYTES).await?;
    let references = page.may().references(&key).await?;
    let findings = match wanted.verify {
        Some(_) => Some(page.may().verify_object(&key).await?),
        None => None,
    };
    let relative = key.relative();
    let cli = match &findings {
        Some(_) => format!("fleetman bucket verify {}", quoted(&relative)),
        None => format!("fleetman bucket cat {}", quoted(&relative)),
    };
    let (folder, name) = relative.rsplit_once('/').map_or(("", relative.as_str()), |(folder, name)| (folder, name));
    let shell = page.shell(name, Nav::Buckets, cli);
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let about = about_key(&key);
    let shown = preview.is_cut().then(|| size(preview.shown_bytes));
    let is_empty = preview.content == Content::Empty;
    let (kind, text) = match preview.content {
        Content::Text { kind, text } => (Some(kind.as_str()), text),
        Content::Empty | Content::Binary => (None, String::new()),
    };
    let linked = |found: Vec<Reference>| {
        let linked = found.into_iter().map(|reference| Linked {
            href: address_of(&shell, &reference.key),
            key: reference.key.relative(),
            how: reference.how,
        });
        linked.collect()
    };
    let view = Page {
        crumbs: crumbs(&shell, &folder),
        name: name.to_owned(),
        rule: rule(&about),
        about,
        etag: preview.meta.etag.as_str().trim_matches('"').to_owned(),
        size: size(preview.meta.size),
        meta: preview.meta,
        kind,
        text,
        is_empty,
        shown,
        raw: with_query(&shell.link("/buckets/object/raw"), [("key", relative.as_str())]),
        findings: findings.map(|findings| findings.into_iter().map(Found::from).collect()),
        names: linked(references.names),
        named_by: linked(references.named_by),
        is_cut: references.is_cut,
        key: relative.clone(),
        shell,
    };
    page.render(&view)
}

/// The object itself, for the disk: never anything that a browser would show or run.
pub(super) async fn raw(page: PageContext, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    page.may().check_bucket()?;
    let key = object_key(&wanted.key)?;
    let (meta, stream) = page.may().open_object(&key).await?;
    Ok(download::file(&key.relative(), meta.size, download::streamed(stream)))
}
