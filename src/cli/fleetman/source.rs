//! Where documents come from: files, folders, standard input, and the own files of cells beside them.
//!
//! A folder may be laid out as the bucket is: the files in `overrides/` beside a `cell.yaml` are the cell's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use walkdir::{DirEntry, WalkDir};

use crate::cli::failure::Failure;
use crate::cli::input;
use crate::controller::{ApplyRequest, Controller, ControllerError};
use crate::model::CellId;
use crate::recipe::{self, Parsed, Set};
use crate::yaml;

/// How many files are read.
const MOST_FILES: usize = 20_000;

/// The document beside which a cell's own files lie.
pub(super) const CELL_FILE: &str = "cell.yaml";

/// The folder of a cell's own files.
pub(super) const OVERRIDES: &str = "overrides";

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// A file, a folder with *.yaml and *.yml in it and below, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    file: Vec<PathBuf>,
}

impl FileArgs {
    /// Everything that was named, or everything that is wrong with any of it.
    pub(super) async fn read(&self) -> Result<ApplyRequest, Failure> {
        let (mut documents, mut errors, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for path in self.files()? {
            let read = match recipe::read(&input::read_text(&path, yaml::MAX_BYTES)?, &path.display().to_string()) {
                Ok(read) => read,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if let Some(folder) = overrides_beside(&path) {
                folders.push((one_cell(&read, &path)?, folder));
            }
            documents.extend(read);
        }
        if !errors.is_empty() {
            return Err(Failure::recipes(&errors));
        }
        let set = Set::of(documents).map_err(|error| Failure::recipes(&[error]))?;
        let mut request = ApplyRequest { set, ..ApplyRequest::default() };
        for (cell, folder) in folders {
            request.overrides.insert(cell, Controller::local_overrides(&folder).await?);
        }
        Ok(request)
    }

    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        for named in &self.file {
            if named == Path::new("-") || !named.is_dir() {
                files.push(named.clone());
            } else {
                files.extend(below(named)?);
            }
            if files.len() > MOST_FILES {
                return Err(Failure::usage(format!("there are more than {MOST_FILES} files; apply them in parts")));
            }
        }
        Ok(files)
    }
}

/// The documents in a folder and below it, by name. Hidden folders and the cells' own files are passed over, links are
/// not followed.
fn below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let is_looked_into = |entry: &DirEntry| entry.depth() == 0 || !(is_hidden(entry) || is_overrides(entry));
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(is_looked_into) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).display().to_string();
            Failure::local(format!("reading {path}"), &error.into())
        })?;
        let ends = entry.path().extension().and_then(OsStr::to_str);
        if entry.path().is_file() && matches!(ends, Some("yaml" | "yml")) {
            found.push(entry.into_path());
        }
        if found.len() > MOST_FILES {
            break;
        }
    }
    if found.is_empty() {
        return Err(Failure::usage(format!("there is no *.yaml and no *.yml in {}", folder.display())));
    }
    Ok(found)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_overrides(entry: &DirEntry) -> bool {
    entry.file_type().is_dir()
        && entry.file_name() == OVERRIDES
        && entry.path().parent().is_some_and(|parent| parent.join(CELL_FILE).is_file())
}

fn overrides_beside(path: &Path) -> Option<PathBuf> {
    let folder = path.with_file_name(OVERRIDES);
    (path.file_name()? == CELL_FILE && folder.is_dir()).then_some(folder)
}

fn one_cell(documents: &[Parsed], path: &Path) -> Result<CellId, Failure> {
    match documents {
        [Parsed::Cell(binding)] => Ok(binding.cell.clone()),
        _ => {
            let problem = format!("there is a folder {OVERRIDES} beside it, so it must hold one cell and nothing else");
            Err(ControllerError::Invalid { what: path.display().to_string(), problem }.into())
        }
    }
}
