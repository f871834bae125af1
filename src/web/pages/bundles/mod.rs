//! `/bundles`: versions in a file. Whoever sees a version takes it along; admins load what was taken elsewhere.

use std::path::Path;

use askama::Template;
use axum::body::Body;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use http_body_util::Limited;
use serde::Deserialize;

use super::uploads::{self, Arrived, WaitingRow};
use crate::controller::{BundleFile, BundlePlan, BundleSelector, Loaded, UploadLimits};
use crate::web::address::Asked;
use crate::web::caller::Caller;
use crate::web::download;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};
use crate::web::staged::Purpose;

/// The most versions in one bundle that is saved here.
const MOST_VERSIONS: usize = 500;

/// What a request may have besides the bytes of its file.
const ENVELOPE_BYTES: u64 = 1 << 20;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/bundles", ask)
        .add("POST", "/bundles", post(take).layer(DefaultBodyLimit::disable()))
        .get("/bundles/bundle.tar", save)
}

/// Which versions, each `<node>/<cell>` or `<node>/<cell>@<version>`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    versions: String,
}

#[derive(Template)]
#[template(path = "bundles/page.html")]
struct Page {
    shell: Shell,
    wanted: Wanted,
    /// Whether the user may load bundles.
    may_load: bool,
    most: String,
    waiting: Vec<WaitingRow>,
    failure: Option<String>,
}

fn show(page: &PageContext, wanted: Wanted, failed: Option<&Failure>) -> Result<Response, Failure> {
    let versions: Vec<&str> = words(&wanted.versions).collect();
    let cli = match versions.is_empty() {
        true => "fleetman bundle save bundle.tar <node>/<cell>".to_owned(),
        false => {
            let versions: Vec<String> = versions.into_iter().map(crate::web::command::quoted).collect();
            format!("fleetman bundle save bundle.tar {}", versions.join(" "))
        }
    };
    let template = Page {
        shell: page.shell("Bundles", Nav::Buckets, cli),
        wanted,
        may_load: page.may().check_load().is_ok(),
        most: crate::web::changes::size(page.caller.portal.uploads.limits().release_bytes),
        waiting: uploads::waiting(page),
        failure: failed.map(|failure| failure.detail().to_owned()),
    };
    page.render_with(failed.map_or(StatusCode::OK, Failure::status), &template)
}

async fn ask(page: PageContext, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    show(&page, wanted, None)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
}

async fn save(page: PageContext, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    download(&page.caller, &wanted.versions).await
}

/// Sends a bundle of `versions`, with spaces or commas between them. What cannot be in one is told before it begins.
pub(in crate::web) async fn download(caller: &Caller, versions: &str) -> Result<Response, Failure> {
    let wrong = |detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
    let wanted: Result<Vec<BundleSelector>, _> = words(versions).map(str::parse).collect();
    let wanted = wanted.map_err(|error| wrong(format!("{error}; write <node>/<cell> or <node>/<cell>@<version>")))?;
    if wanted.is_empty() || wanted.len() > MOST_VERSIONS {
        return Err(wrong(format!("name 1 to {MOST_VERSIONS} versions, as <node>/<cell> or <node>/<cell>@<version>")));
    }
    let Ok(turn) = caller.portal.bundles.clone().try_acquire_owned() else {
        let detail = "others are being saved at the moment; try again when one of them is done";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
    };
    let bundle = caller.may.gather_bundle(&wanted).await?;
    Ok(download::bundle(caller.may.clone(), bundle, turn))
}

/// `POST /bundles`
async fn take(page: PageContext, request: Request) -> Result<Response, Failure> {
    page.may().check_load()?;
    match stage(&page, request).await {
        Ok(review) => Ok(page.lead_to(&review)),
        Err(failure) => show(&page, Wanted::default(), Some(&failure)),
    }
}

/// Keeps what is sent until it is looked at, and says where that is.
async fn stage(page: &PageContext, request: Request) -> Result<String, Failure> {
    let (arrived, called) = receive(&page.caller, request).await?;
    // What can never be loaded is told while the form is still there.
    page.may().plan_bundle(file(&arrived, &called)?).await?;
    uploads::stage(page, arrived.id, arrived.spool, Purpose::Bundle { called })
}

/// Takes a bundle that is sent in one request, with what it is called: for programs.
pub(in crate::web) async fn receive(caller: &Caller, request: Request) -> Result<(Arrived, String), Failure> {
    caller.may.check_load()?;
    caller.check_writable()?;
    let release_bytes = caller.portal.uploads.limits().release_bytes;
    let limits = UploadLimits { file_bytes: release_bytes, release_bytes };
    let most = usize::try_from(release_bytes.saturating_add(ENVELOPE_BYTES)).unwrap_or(usize::MAX);
    let request = request.map(|body| Body::new(Limited::new(body, most)));
    let parts: Result<Multipart, MultipartRejection> = Multipart::from_request(request, &()).await;
    let arrived = uploads::receive_file(&caller.portal, limits, "bundle.tar", parts).await?;
    let none = || Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_form", "no file was chosen");
    let called = arrived.called.clone().ok_or_else(none)?;
    // Only its last part is told again, and not without end.
    let called: String = called.rsplit(['/', '\\']).next().unwrap_or_default().chars().take(100).collect();
    Ok((arrived, crate::model::text::line(&called)))
}

/// Loads a bundle that has arrived, or with `only_look` tells what that would do.
pub(in crate::web) async fn load(
    caller: &Caller,
    reason: &str,
    only_look: bool,
    (arrived, called): (Arrived, String),
) -> Result<(BundlePlan, Option<Loaded>), Failure> {
    let may = caller.may.because(reason);
    let work = tokio::spawn(async move {
        let bundle = file(&arrived, &called)?;
        let plan = may.plan_bundle(bundle).await?;
        let loaded = match only_look {
            true => None,
            false => Some(may.load_bundle(bundle).await?),
        };
        Ok((plan, loaded))
    });
    let loaded = work.await.map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "upload", format!("loading the bundle broke off: {error}"))
    })?;
    if loaded.is_ok() && !only_look {
        caller.fleet.snapshot.look_soon();
        caller.fleet.releases.renew();
    }
    loaded
}

fn file<'b>(arrived: &'b Arrived, called: &'b str) -> Result<BundleFile<'b>, Failure> {
    let path = arrived.spool.only_path().ok_or_else(|| Failure::not_found("file in this upload"))?;
    Ok(BundleFile { path, called: Path::new(called) })
}
