//! `fleetman bucket`: the objects themselves, for whoever wants to see what there really is.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::print;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::cli::output::{Output, Rows, Tone};
use crate::controller::{Amount, Controller, about_folder};
use crate::model::ObjectKey;
use crate::model::keys::Folder;
use crate::store::{Depth, Entry, Store};

/// The longest list that is shown at once.
const MOST: usize = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum BucketVerb {
    /// List a folder of the bucket, and say what it is for
    Ls(LsArgs),
    /// Print an object
    Cat(CatArgs),
    /// Compare an object with what the rest of the bucket says that it is
    Verify(VerifyArgs),
    /// Count what lies in the bucket, by folder, cell and manifest
    ///
    /// Every object is listed once: a request for each thousand.
    Du,
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

/// Compare an object with what the rest of the bucket says that it is.
///
/// Digests of files are compared with the signed list or the manifest that names them, manifests with what the history
/// pins, signatures with the keys that this config trusts. The exit code is 1 when something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman bucket verify cells/n1/web/trigger.json")]
pub(super) struct VerifyArgs {
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
    let controller = context.looker().await?;
    match verb {
        BucketVerb::Ls(args) => ls(&args, controller.store(), context.output).await,
        BucketVerb::Cat(args) => cat(&args, controller.store(), context.output).await,
        BucketVerb::Verify(args) => verify(&args, &controller, context.output).await,
        BucketVerb::Du => usage(&controller, context.output).await,
    }
}

async fn ls(args: &LsArgs, store: &Store, output: Output) -> Result<Exit, Failure> {
    let wanted = args.folder.trim_matches('/');
    let wanted = if wanted.is_empty() { String::new() } else { format!("{wanted}/") };
    let depth = if args.recursive { Depth::Deep } else { Depth::Shallow };
    let mut pages = store.list_path(&wanted, depth);
    let (mut folders, mut objects) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await? {
        folders.extend(page.folders);
        objects.extend(page.entries.into_iter().map(listed));
        if folders.len() + objects.len() > MOST {
            let message = format!("there are more than {MOST} objects and folders below {wanted}");
            return Err(Failure::usage(message).help("name a folder further down"));
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
        folders: folders.into_iter().map(named).collect(),
        objects,
        folder: wanted.clone(),
    };
    output.show(&listed, |output| table(&listed, store, output))?;
    Ok(Exit::Ok)
}

/// What a folder is for, in words.
fn about(path: &str) -> Option<&'static str> {
    Folder::parse(path).map(|folder| about_folder(&folder).purpose)
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
    let key = parse(&args.key)?;
    let absent = || Failure::new(Exit::NotFound, "not_found", format!("there is no {key} in {}", store.describe()));
    let size = store.head(&key).await?.ok_or_else(absent)?.size;
    print::object(store, &key, 0..size, |_| Ok(()), output).await?;
    Ok(Exit::Ok)
}

fn parse(key: &str) -> Result<ObjectKey, Failure> {
    ObjectKey::parse(key.trim_start_matches('/')).map_err(|error| {
        Failure::new(Exit::NotFound, "not_found", error.to_string()).help("`fleetman bucket ls` shows what there is")
    })
}

async fn verify(args: &VerifyArgs, controller: &Controller, output: Output) -> Result<Exit, Failure> {
    let found = controller.verify(&parse(&args.key)?, u64::MAX).await?;
    if found.is_empty() {
        output.say("nothing in the bucket says what this object should be");
    }
    output.show(&found, |output| findings::table(&found, output))?;
    Ok(findings::exit(&found))
}

/// What lies in one folder.
#[derive(Debug, Serialize)]
struct Used {
    folder: String,
    objects: u64,
    bytes: u64,
}

async fn usage(controller: &Controller, output: Output) -> Result<Exit, Failure> {
    let usage = controller.usage(|_| {}).await?;
    let used = |folder: String, Amount { objects, bytes }: Amount| Used { folder, objects, bytes };
    let mut rows = vec![used("all".to_owned(), usage.total)];
    for folder in &usage.folders {
        rows.push(used(named(&folder.folder), folder.amount));
        rows.extend(folder.parts.iter().map(|(part, amount)| used(part.relative(), *amount)));
    }
    if usage.foreign.objects > 0 {
        rows.push(used("not of the protocol".to_owned(), usage.foreign));
    }
    if usage.is_cut {
        output.say("there are more objects than are counted");
    }
    output.show(&rows, |output| {
        let mut shown = Rows::new(output, &["folder", "objects", "bytes"]);
        for row in &rows {
            shown.row([row.folder.as_str().into(), row.objects.into(), row.bytes.into()]);
        }
        shown.render()
    })?;
    Ok(Exit::Ok)
}

/// A top folder's path; what lies in none is told with words.
fn named(folder: &Folder) -> String {
    if *folder == Folder::Root { "in no folder".to_owned() } else { folder.relative() }
}
