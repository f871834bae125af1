//! `fleetman upload`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{ControllerError, Progress, UploadOptions};
use crate::model::{DeploymentName, ManifestName, Sha256Digest};

/// Upload a folder as a release of a manifest.
///
/// The same content again is no work. A release never changes: other content needs another name. Nothing is deployed:
/// `fleetman publish` does that.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  fleetman upload site ./dist --as 1.4.2 && fleetman publish --manifest site --deployment 1.4.2"
)]
pub(super) struct UploadArgs {
    /// The manifest that the release is for
    manifest: ManifestName,
    /// The folder
    folder: PathBuf,
    /// The release's name [default: a generated one]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<DeploymentName>,
    /// What to say about the release
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Take what links inside the folder point at
    #[arg(long)]
    follow_symlinks: bool,
    /// Leave empty folders out
    #[arg(long)]
    skip_empty_dirs: bool,
}

#[derive(Debug, Serialize)]
struct Release<'a> {
    manifest: &'a ManifestName,
    deployment: &'a DeploymentName,
    content_sha256: Sha256Digest,
    files: usize,
    bytes: u64,
    is_new: bool,
    sent_files: usize,
}

pub(super) async fn run(args: UploadArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let options =
        UploadOptions { follow_symlinks: args.follow_symlinks, skip_empty_dirs: args.skip_empty_dirs, note: args.note };
    let meter = Meter::new();
    let uploaded = controller
        .upload(&args.manifest, args.name.as_ref(), &args.folder, &options, &|progress| meter.show(progress))
        .await;
    meter.end();
    let uploaded = uploaded?;
    let release = Release {
        manifest: &uploaded.manifest,
        deployment: &uploaded.deployment,
        content_sha256: uploaded.content_sha256,
        files: uploaded.files,
        bytes: uploaded.bytes,
        is_new: uploaded.is_new,
        sent_files: uploaded.sent_files,
    };
    context.output.show(&release, |_| {
        let how = if release.is_new { "is uploaded" } else { "was there with the same content" };
        let Release { manifest, deployment, files, bytes, .. } = release;
        format!("release {deployment} of {manifest} {how}: {files} files, {bytes} bytes")
    })?;
    if uploaded.is_new {
        let (manifest, deployment) = (&uploaded.manifest, &uploaded.deployment);
        let next = match controller.get_manifest(manifest).await {
            Err(ControllerError::NotFound { .. }) => {
                format!("There is no manifest {manifest} yet, so nothing can use it. Next: fleetman apply -f <file>")
            }
            _ => format!("Next: fleetman publish --manifest {manifest} --deployment {deployment}"),
        };
        context.output.say(&next);
    }
    Ok(Exit::Ok)
}

/// Shows how far an upload is, where somebody looks.
struct Meter {
    is_shown: bool,
    /// Percent shown last, and 1,000 more while files are sent.
    last: AtomicU64,
}

impl Meter {
    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), last: AtomicU64::new(u64::MAX) }
    }

    fn show(&self, progress: Progress) {
        let percent = (progress.done_bytes * 100).checked_div(progress.total_bytes).unwrap_or(100);
        let now = percent + if progress.sending { 1000 } else { 0 };
        if self.is_shown && self.last.swap(now, Ordering::Relaxed) != now {
            let doing = if progress.sending { "sending" } else { "reading" };
            // Nobody is left to be told that nobody looks.
            let _ = write!(io::stderr(), "\r{doing} {percent:>3} % of {} bytes ", progress.total_bytes);
        }
    }

    fn end(&self) {
        if self.is_shown && self.last.load(Ordering::Relaxed) != u64::MAX {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}
