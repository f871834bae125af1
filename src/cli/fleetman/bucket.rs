//! `fleetman bucket`: the objects themselves, for whoever wants to see what there really is.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Tone};
use crate::model::keys::Folder;
use crate::model::{CellId, ObjectKey};
use crate::store::{Depth, Entry, Store};

/// The longest list that is shown at once.
const MOST: usize = 10_000;

/// The largest object that a terminal is shown.
const MOST_SHOWN_BYTES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum BucketVerb {
    /// List a folder of the bucket, and say what it is for
    Ls(LsArgs),
    /// Print an object
    Cat(CatArgs),
}

/// List a folder of the bucket, and say what it is for.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman bucket ls\n  fleetman bucket ls cells/n1/web/history\n  fleetman bucket ls -r deployments/site"
)]
pub(super) struct LsArgs {
    /// The folder, below the fleet's prefix [default: the fleet's top folder]
    #[arg(default_value = "", hide_default_value = true)]
    folder: String,
    /// Everything below it, too
    #[arg(short, long)]
    recursive: bool,
}

/// Print an object.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman bucket cat cells/n1/web/trigger.json")]
pub(super) struct CatArgs {
    /// The object's key, below the fleet's prefix
    key: String,
}

/// What lies in a folder.
#[derive(Debug, Serialize)]
struct Listed {
    /// The folder, below the fleet's prefix.
    folder: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'static str>,
    folders: Vec<ListedFolder>,
    objects: Vec<ListedObject>,
}

#[derive(Debug, Serialize)]
struct ListedFolder {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ListedObject {
    key: String,
    size: u64,
    last_modified: Option<DateTime<Utc>>,
    etag: String,
    /// Whether the key is one of the protocol.
    known: bool,
}

pub(super) async fn run(verb: BucketVerb, context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?;
    let store = context.store_of(context.chosen(&config)?).await?;
    match verb {
        BucketVerb::Ls(args) => ls(&args, &store, context.output).await,
        BucketVerb::Cat(args) => cat(&args, &store, context.output).await,
    }
}

async fn ls(args: &LsArgs, store: &Store, output: Output) -> Result<Exit, Failure> {
    let wanted = args.folder.trim_matches('/');
    let wanted = if wanted.is_empty() { String::new() } else { format!("{wanted}/") };
    let (folder, exact) = nearest(&wanted);
    // A folder that the protocol has no word for is looked at from the nearest one above that it has one for.
    let depth = if exact && !args.recursive { Depth::Shallow } else { Depth::Deep };
    let found = store.list_all(&folder, depth, MOST).await?;
    let mut folders: BTreeMap<String, ()> = found.folders.into_iter().map(|name| (name, ())).collect();
    let mut objects = Vec::new();
    for entry in found.entries {
        let Some(rest) = entry.key.strip_prefix(&wanted) else { continue };
        match rest.split_once('/') {
            Some((name, _)) if !args.recursive => {
                folders.insert(name.to_owned(), ());
            }
            _ => objects.push(listed(entry)),
        }
    }
    if folders.is_empty() && objects.is_empty() && !wanted.is_empty() {
        let message = format!("there is nothing below {wanted} in {}", store.describe());
        return Err(
            Failure::new(Exit::NotFound, "not_found", message).help("`fleetman bucket ls` shows the top folder")
        );
    }
    let named = |name: String| ListedFolder { about: about(&format!("{wanted}{name}/")), name };
    let listed = Listed {
        about: about(&wanted),
        folders: folders.into_keys().map(named).collect(),
        objects,
        folder: wanted.clone(),
    };
    output.show(&listed, |output| table(&listed, store, output))?;
    Ok(Exit::Ok)
}

fn listed(entry: Entry) -> ListedObject {
    ListedObject {
        known: entry.object_key().is_some(),
        key: entry.key,
        size: entry.size,
        last_modified: entry.last_modified,
        etag: entry.etag.to_string(),
    }
}

fn table(listed: &Listed, store: &Store, output: Output) -> String {
    output.say(&format!("{} {}", store.describe(), listed.folder));
    if let Some(about) = listed.about {
        output.say(about);
    }
    let mut rows = Rows::new(output, &["name", "size", "modified", ""]);
    for folder in &listed.folders {
        rows.row([format!("{}/", folder.name).into(), "".into(), "".into(), folder.about.unwrap_or_default().into()]);
    }
    for object in &listed.objects {
        let name = object.key.strip_prefix(&listed.folder).unwrap_or(&object.key);
        let modified = object.last_modified.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let remark = if object.known { "" } else { "not of the protocol" };
        rows.row([
            name.into(),
            object.size.into(),
            modified.unwrap_or_default().into(),
            crate::cli::output::Shown::from(remark).toned(Tone::Warn),
        ]);
    }
    rows.render()
}

async fn cat(args: &CatArgs, store: &Store, output: Output) -> Result<Exit, Failure> {
    let key = ObjectKey::parse(args.key.trim_start_matches('/')).map_err(|error| {
        Failure::new(Exit::NotFound, "not_found", error.to_string()).help("`fleetman bucket ls` shows what there is")
    })?;
    let absent = || Failure::new(Exit::NotFound, "not_found", format!("there is no {key} in {}", store.describe()));
    let size = store.head(&key).await?.ok_or_else(absent)?.size;
    if size == 0 {
        return Ok(Exit::Ok);
    }
    let shown = std::io::stdout().is_terminal();
    if shown && size > MOST_SHOWN_BYTES {
        let message = format!("{key} has {size} bytes, too many to be shown");
        return Err(Failure::usage(message).help("send it to a file"));
    }
    let mut stream = store.open_range(&key, 0, size).await?;
    // A terminal is shown the whole at once, because a character may lie across two pieces.
    let mut whole = Vec::new();
    while let Some(piece) = stream.next().await? {
        if shown {
            whole.extend_from_slice(&piece);
        } else {
            output.bytes(&piece)?;
        }
    }
    if shown {
        output.bytes(&whole)?;
    }
    Ok(Exit::Ok)
}

/// The deepest folder of the protocol that holds `path`, and whether it is that very folder.
fn nearest(path: &str) -> (Folder, bool) {
    let segments: Vec<&str> = path.split_terminator('/').collect();
    let found = (0..=segments.len()).rev().find_map(|depth| Some((folder(&segments[..depth])?, depth)));
    match found {
        Some((folder, depth)) => (folder, depth == segments.len()),
        None => (Folder::Root, false),
    }
}

/// The folder of the protocol with this path.
fn folder(segments: &[&str]) -> Option<Folder> {
    let cell = |node: &str, cell: &str| format!("{node}/{cell}").parse::<CellId>().ok();
    Some(match segments {
        [] => Folder::Root,
        ["agents"] => Folder::Agents,
        ["index"] => Folder::Indexes,
        ["controllers"] => Folder::Controllers,
        ["manifests"] => Folder::Manifests,
        ["deployments"] => Folder::Deployments(None),
        ["deployments", manifest] => Folder::Deployments(Some(manifest.parse().ok()?)),
        ["deployments", manifest, deployment] => Folder::Deployment(manifest.parse().ok()?, deployment.parse().ok()?),
        ["cells"] => Folder::Cells,
        ["cells", node] => Folder::NodeCells(node.parse().ok()?),
        ["cells", node, "_requests"] => Folder::Requests(node.parse().ok()?),
        ["cells", node, name] => Folder::Cell(cell(node, name)?),
        ["cells", node, name, "overrides"] => Folder::Overrides(cell(node, name)?),
        ["cells", node, name, "versions"] => Folder::Versions(cell(node, name)?),
        ["cells", node, name, "versions", version] => Folder::Version(cell(node, name)?, version.parse().ok()?),
        ["cells", node, name, "history"] => Folder::History(cell(node, name)?),
        ["logs"] => Folder::Logs,
        ["logs", node] => Folder::NodeLogs(node.parse().ok()?),
        ["logs", node, name] => Folder::CellLogs(cell(node, name)?),
        ["audit"] => Folder::Audit(None),
        ["audit", day] => Folder::Audit(Some(day.parse::<NaiveDate>().ok()?)),
        ["probes"] => Folder::Probes(None),
        _ => return None,
    })
}

/// What a folder is for, in words.
fn about(path: &str) -> Option<&'static str> {
    let (folder, true) = nearest(path) else { return None };
    Some(match folder {
        Folder::Root => "everything that the fleet is, wants and did",
        Folder::Agents => "one heartbeat a node, overwritten by its agent",
        Folder::Indexes => "every current trigger of a node in one object, so that an idle poll is one request",
        Folder::Controllers => "beats of running controllers, and whose turn it is on stores without conditions",
        Folder::Manifests => "the recipes that people edit",
        Folder::Deployments(None) => "uploaded releases, by manifest",
        Folder::Deployments(Some(_)) => "the releases of one manifest",
        Folder::Deployment(..) => "one release: it exists once deployment.json does",
        Folder::Cells => "cells, by node",
        Folder::NodeCells(_) => "the cells of one node",
        Folder::Cell(_) => "one cell: what it is bound to, its versions, its triggers",
        Folder::Overrides(_) => "files of this cell that are laid over the release's at publish",
        Folder::Versions(_) => "immutable snapshots: each exists once its manifest.json does",
        Folder::Version(..) => "one snapshot; its files lie below the first digits of its content's digest",
        Folder::VersionFiles(..) => "the files of one snapshot",
        Folder::History(_) => "every trigger ever issued, in order; the newest is the desired state",
        Folder::Requests(_) => "signed orders to the node's agent",
        Folder::Logs => "what agents logged of each attempt, and what came of it",
        Folder::NodeLogs(_) | Folder::CellLogs(_) => "logs and outcomes of attempts",
        Folder::Audit(_) => "who did what: an intent before, an outcome after",
        Folder::Probes(_) => "what `fleetman doctor` writes and removes again",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_the_protocol_is_found_by_its_own_path() {
        for path in [
            "",
            "agents/",
            "index/",
            "controllers/",
            "manifests/",
            "deployments/",
            "deployments/m/",
            "deployments/m/d/",
            "cells/",
            "cells/n/",
            "cells/n/_requests/",
            "cells/n/c/",
            "cells/n/c/overrides/",
            "cells/n/c/versions/",
            "cells/n/c/versions/v/",
            "cells/n/c/history/",
            "logs/",
            "logs/n/",
            "logs/n/c/",
            "audit/",
            "audit/2026-01-02/",
            "probes/",
        ] {
            let (folder, exact) = nearest(path);
            assert!(exact, "{path}");
            assert_eq!(folder.relative(), path);
            assert!(about(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_foreign_path_is_looked_for_from_the_nearest_folder_above() {
        assert_eq!(nearest("cells/n/c/overrides/etc/"), (Folder::Overrides("n/c".parse().unwrap()), false));
        assert_eq!(nearest("Photos/2024/"), (Folder::Root, false));
        assert_eq!(about("Photos/"), None);
    }
}
