//! `fleetman export`: what `apply` takes, out of the bucket.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::source::{CELL_FILE, OVERRIDES};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{Controller, ControllerError};
use crate::model::{CellId, FilePath, ManifestName};
use crate::recipe::{self, Parsed};

/// Give back what `fleetman apply` takes, byte for byte.
///
/// Into a folder come the texts as people wrote them, and the cells' own files beside their cells. On standard output
/// come the texts alone, one after the other.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman export --all fleet/\n  fleetman export --manifest site > site.yaml\n  fleetman export --all fleet/ && fleetman -b other apply -f fleet/"
)]
pub(super) struct ExportArgs {
    /// A folder that is empty or is made, or - for standard output
    #[arg(value_name = "FOLDER", default_value = "-")]
    to: PathBuf,
    /// This manifest, without its cells; may be repeated
    #[arg(short, long, value_name = "MANIFEST")]
    manifest: Vec<ManifestName>,
    /// This cell with its own files, without its manifest; may be repeated
    #[arg(long, value_name = "CELL")]
    cell: Vec<CellId>,
    /// Every manifest and every cell
    #[arg(long, conflicts_with_all = ["manifest", "cell"])]
    all: bool,
}

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Exported {
    manifests: usize,
    cells: usize,
    overrides: usize,
    /// Documents that `apply` would refuse as they are.
    refused: Vec<String>,
}

/// A text of the bucket.
struct Exporting {
    /// Where it lies in a folder.
    path: PathBuf,
    text: String,
    cell: Option<CellId>,
}

pub(super) async fn run(args: ExportArgs, context: &Context) -> Result<Exit, Failure> {
    if args.manifest.is_empty() && args.cell.is_empty() && !args.all {
        return Err(
            Failure::usage("nothing to export was named").help("name it with --manifest or --cell, or say --all")
        );
    }
    let controller = context.looker().await?;
    let texts = read(&args, &controller).await?;
    let refused: Vec<String> = texts.iter().filter_map(Exporting::refusal).collect();
    for why in &refused {
        context.output.say(&format!("warning: {why}"));
    }
    if args.to == Path::new("-") {
        let stream = stream(&texts, &controller).await?;
        context.output.bytes(stream.as_bytes())?;
    } else {
        let exported = into_folder(&args.to, &texts, &controller).await?;
        let exported = Exported { refused: refused.clone(), ..exported };
        let Exported { manifests, cells, overrides, .. } = &exported;
        let to = args.to.display();
        context
            .output
            .show(&exported, |_| format!("{to}: {manifests} manifests, {cells} cells, {overrides} overrides"))?;
    }
    Ok(if refused.is_empty() { Exit::Ok } else { Exit::Negative })
}

/// Cells are read first: a manifest that is made for a new cell meanwhile does no harm, a cell without its manifest
/// would.
async fn read(args: &ExportArgs, controller: &Controller) -> Result<Vec<Exporting>, Failure> {
    let cells: BTreeSet<CellId> = match args.all {
        true => controller.cell_ids().await?.into_iter().collect(),
        false => args.cell.iter().cloned().collect(),
    };
    let mut of_cells = Vec::new();
    for cell in cells {
        let text = match controller.get_cell(&cell).await {
            Ok(text) => text.text,
            // A removed cell's triggers stay.
            Err(ControllerError::NotFound { .. }) if args.all => continue,
            Err(error) => return Err(error.into()),
        };
        of_cells.push(Exporting { path: folder_of(&cell).join(CELL_FILE), text, cell: Some(cell) });
    }
    let manifests: BTreeSet<ManifestName> = match args.all {
        true => controller.manifests().await?.into_iter().map(|view| view.name).collect(),
        false => args.manifest.iter().cloned().collect(),
    };
    let mut texts = Vec::new();
    for name in manifests {
        let text = controller.get_manifest(&name).await?.text;
        texts.push(Exporting {
            path: Path::new("manifests").join(name.as_str()).join("manifest.yaml"),
            text,
            cell: None,
        });
    }
    texts.extend(of_cells);
    Ok(texts)
}

fn folder_of(cell: &CellId) -> PathBuf {
    Path::new("cells").join(cell.node.as_str()).join(cell.cell.as_str())
}

impl Exporting {
    /// Why `apply` would refuse it, if it would.
    fn refusal(&self) -> Option<String> {
        recipe::read(&self.text, &self.path.display().to_string()).err().map(|error| error.to_string())
    }
}

/// The texts as one, if that can be taken apart into the same again.
async fn stream(texts: &[Exporting], controller: &Controller) -> Result<String, Failure> {
    let folder = "name a folder to export it into";
    for cell in texts.iter().filter_map(|text| text.cell.as_ref()) {
        if let Some(found) = controller.list_overrides(cell).await?.first() {
            let message = format!("{cell} has files of its own, such as {}, which are no part of a text", found.path);
            return Err(Failure::usage(message).help(folder));
        }
    }
    let stream = texts.iter().map(|text| text.text.as_str()).collect::<Vec<_>>().join("---\n");
    let again = recipe::read(&stream, "").unwrap_or_default();
    let again = again.iter().map(|document| match document {
        Parsed::Manifest(recipe) => recipe.text(),
        Parsed::Cell(binding) => binding.text(),
    });
    if !again.eq(texts.iter().map(|text| text.text.as_str())) {
        let message = "one of the texts has no line end at its end, or is several documents or none; together they \
                       would not be what they are";
        return Err(Failure::usage(message).help(folder));
    }
    Ok(stream)
}

async fn into_folder(to: &Path, texts: &[Exporting], controller: &Controller) -> Result<Exported, Failure> {
    let local = |error: io::Error| Failure::local(format!("writing into {}", to.display()), &error);
    fs::create_dir_all(to).map_err(local)?;
    if fs::read_dir(to).map_err(local)?.next().is_some() {
        return Err(Failure::usage(format!("{} is not empty; name another folder", to.display())));
    }
    let mut exported = Exported::default();
    for text in texts {
        write(&to.join(&text.path), text.text.as_bytes())?;
        let Some(cell) = &text.cell else {
            exported.manifests += 1;
            continue;
        };
        exported.cells += 1;
        for found in controller.list_overrides(cell).await? {
            // A console makes "folders" that are empty objects with a slash behind their name.
            if found.path.ends_with('/') && found.size == 0 {
                continue;
            }
            let Ok(path) = FilePath::new(&found.path) else {
                let message = format!("{cell}: override {:?} has a name that no file can have", found.path);
                return Err(Failure::new(Exit::Denied, "invalid", message));
            };
            let object = controller.get_override(cell, &path).await?;
            write(&to.join(folder_of(cell)).join(OVERRIDES).join(path.as_str()), &object.bytes)?;
            exported.overrides += 1;
        }
    }
    Ok(exported)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let local = |error: io::Error| Failure::local(format!("writing {}", path.display()), &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(local)?;
    }
    fs::write(path, bytes).map_err(local)
}
