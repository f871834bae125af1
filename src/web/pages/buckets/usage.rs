//! `/buckets/usage`: how much lies where. It is counted when somebody asks.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::folder;
use crate::controller::{Amount, about_folder};
use crate::model::keys::Folder;
use crate::web::caller::Caller;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::counted;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// How long whoever asked waits, so that a small bucket is counted when the page comes.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Template)]
#[template(path = "buckets/usage.html")]
struct Page {
    shell: Shell,
    counting: Option<(DateTime<Utc>, u64)>,
    failed: Option<String>,
    usage: Option<Counted>,
}

/// A count that ended.
struct Counted {
    at: DateTime<Utc>,
    is_cut: bool,
    total: Line,
    folders: Vec<FolderLines>,
    foreign: Option<Line>,
}

/// A folder and what lies in it, by part.
struct FolderLines {
    line: Line,
    purpose: &'static str,
    parts: Vec<Line>,
    left_out: usize,
}

impl Counted {
    fn in_objects(&self) -> String {
        counted(usize::try_from(self.total.objects).unwrap_or(usize::MAX), "object")
    }
}

impl FolderLines {
    fn in_parts(&self) -> String {
        counted(self.parts.len() + self.left_out, "part")
    }
}

/// One amount.
struct Line {
    name: String,
    href: String,
    objects: u64,
    bytes: u64,
    size: String,
}

pub(super) async fn usage(page: PageContext) -> Result<Response, Failure> {
    let state = page.may().usage(&page.caller.fleet.usage)?;
    let shell = page.shell("Usage", Nav::Buckets, "fleetman bucket du".to_owned());
    let (usage, failed) = match state.last {
        Some(Ok(usage)) => (Some(usage), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let line = |of: &Folder, Amount { objects, bytes }: Amount| Line {
        name: if *of == Folder::Root { "in no folder".to_owned() } else { of.relative() },
        href: folder(&shell, &of.relative()),
        objects,
        bytes,
        size: size(bytes),
    };
    let usage = usage.map(|usage| Counted {
        at: usage.counted_at,
        is_cut: usage.is_cut,
        total: Line { name: "all".to_owned(), ..line(&Folder::Root, usage.total) },
        foreign: (usage.foreign.objects > 0)
            .then(|| Line { name: "not of the protocol".to_owned(), ..line(&Folder::Root, usage.foreign) }),
        folders: usage
            .folders
            .iter()
            .map(|of| FolderLines {
                line: line(&of.folder, of.amount),
                purpose: if of.folder == Folder::Root {
                    "whose bucket this is, and what the store can do"
                } else {
                    about_folder(&of.folder).purpose
                },
                parts: of.parts.iter().map(|(part, amount)| line(part, *amount)).collect(),
                left_out: of.parts_left_out,
            })
            .collect(),
    });
    page.render(&Page { counting: state.counting, failed, usage, shell })
}

pub(super) async fn count(page: PageContext) -> Result<Response, Failure> {
    count_usage(&page.caller).await?;
    Ok(page.lead_to("/buckets/usage"))
}

/// Has the bucket's usage counted, and waits a moment for it.
pub(in crate::web) async fn count_usage(caller: &Caller) -> Result<(), Failure> {
    caller.may.check_bucket()?;
    let (may, board) = (caller.may.clone(), caller.fleet.usage.clone());
    // It goes on when nobody waits any more.
    let counted = tokio::spawn(async move { may.count_usage(&board).await });
    tokio::select! {
        _ = counted => {}
        () = caller.portal.clock.sleep(PATIENCE) => {}
    }
    Ok(())
}
