//! `/deployments/new`: a release from a browser. Its files are streamed to this machine's disk, where they wait to be
//! looked at; those that a program sends go on into the bucket at once.

use askama::Template;
use axum::body::Body;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest as _, Multipart, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::Limited;
use serde::Deserialize;
use ulid::Ulid;

use crate::controller::{ControllerError, Spool, Uploaded};
use crate::entropy;
use crate::model::users::Role;
use crate::model::{DeploymentName, ManifestName, Sha256Digest};
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::if_there;
use crate::web::pages::uploads::{self, Sending, Source, Told, WaitingRow, broken, text};
use crate::web::shell::{Nav, Shell};
use crate::web::staged::{NewRelease, Purpose};

/// What a request may have besides the bytes of its files: the heads of its parts, and its fields.
const ENVELOPE_BYTES: u64 = 64 << 20;

/// What the form says, besides files.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    executables: String,
}

impl Fields {
    fn manifest(&self) -> Result<ManifestName, Failure> {
        Ok(ManifestName::new(self.manifest.trim())?)
    }

    /// None lets a name be generated.
    fn name(&self) -> Result<Option<DeploymentName>, Failure> {
        let name = self.name.trim();
        if name.is_empty() { Ok(None) } else { Ok(Some(DeploymentName::new(name)?)) }
    }

    fn release(&self) -> Result<NewRelease, Failure> {
        let (manifest, name) = (self.manifest()?, self.name()?);
        Ok(NewRelease { manifest, name, note: self.note(), executables: self.executables() })
    }

    fn note(&self) -> Option<String> {
        Some(self.note.trim().to_owned()).filter(|note| !note.is_empty())
    }

    fn executables(&self) -> Vec<String> {
        self.executables.split_whitespace().map(ToOwned::to_owned).collect()
    }
}

#[derive(Template)]
#[template(path = "deployments/new.html")]
struct NewPage {
    shell: Shell,
    fields: Fields,
    manifests: Vec<ManifestName>,
    file_limit: u64,
    release_limit: u64,
    file_size: String,
    release_size: String,
    waiting: Vec<WaitingRow>,
    failure: Option<String>,
}

/// `GET /deployments/new`
pub(super) async fn ask(page: PageContext, Query(fields): Query<Fields>) -> Result<Response, Failure> {
    page.may().need_anywhere(Role::Editor, "deployments")?;
    form(&page, StatusCode::OK, fields, None).await
}

async fn form(
    page: &PageContext,
    status: StatusCode,
    fields: Fields,
    failure: Option<String>,
) -> Result<Response, Failure> {
    let fleet = page.caller.whole_view()?;
    let may_change = |name: &ManifestName| page.may().need_on_manifest(Role::Editor, &fleet, name).is_ok();
    let manifests = page.may().manifests().await?.into_iter().map(|manifest| manifest.name);
    let limits = page.caller.portal.uploads.limits();
    let shell = page.shell("Upload a release", Nav::Deployments, "fleetman upload <manifest> <folder>".to_owned());
    page.render_with(
        status,
        &NewPage {
            shell,
            fields,
            manifests: manifests.filter(may_change).collect(),
            file_limit: limits.file_bytes,
            release_limit: limits.release_bytes,
            file_size: crate::web::changes::size(limits.file_bytes),
            release_size: crate::web::changes::size(limits.release_bytes),
            waiting: uploads::waiting(page),
            failure,
        },
    )
}

/// `POST /deployments/new`
pub(super) async fn take(page: PageContext, headers: HeaderMap, request: Request) -> Result<Response, Failure> {
    let wants_lines = uploads::wants_lines(&headers);
    let mut fields = Fields::default();
    match stage(&page, &headers, request, &mut fields).await {
        Ok(path) => Ok(Told::lead(&page, &path, wants_lines)),
        Err(failure) if wants_lines => Ok(Told::refuse(&failure)),
        Err(failure) => form(&page, failure.status(), fields, Some(failure.detail().to_owned())).await,
    }
}

/// Keeps what is sent until it is looked at, and says where that is.
async fn stage(
    page: &PageContext,
    headers: &HeaderMap,
    request: Request,
    fields: &mut Fields,
) -> Result<String, Failure> {
    let (id, spool) = receive(&page.caller, headers, request, fields).await?;
    let release = fields.release()?;
    // What no release can have is told while the form is still there.
    uploads::plan(page, &release, &spool).await?;
    uploads::stage(page, id, spool, Purpose::Release(release))
}

/// A release that a program sent in one request, and that has arrived.
pub(in crate::web) struct Arrived {
    fields: Fields,
    spool: Spool,
}

impl Arrived {
    /// Takes a release of `manifest`.
    pub(in crate::web) async fn receive(
        caller: &Caller,
        manifest: &ManifestName,
        headers: &HeaderMap,
        request: Request,
    ) -> Result<Self, Failure> {
        let mut fields = Fields { manifest: manifest.to_string(), ..Fields::default() };
        let (_, spool) = receive(caller, headers, request, &mut fields).await?;
        if fields.manifest != manifest.as_str() {
            return Err(Failure::bad_request("invalid_form", "the form names another manifest than the path"));
        }
        Ok(Self { fields, spool })
    }

    /// What names all that was sent, however it was put into parts.
    pub(in crate::web) fn digest(&self) -> Sha256Digest {
        let Fields { manifest, name, note, executables } = &self.fields;
        let mut digest = Sha256Digest::builder();
        digest.update(self.spool.digest().as_bytes());
        for field in [manifest, name, note, executables] {
            digest.update(Sha256Digest::of(field.as_bytes()).as_bytes());
        }
        digest.finish()
    }

    /// Makes the release.
    pub(in crate::web) async fn send(self, caller: &Caller) -> Result<Uploaded, Failure> {
        let Self { fields, spool } = self;
        Sending::begin(caller, &fields.release()?, &fields.note, Source::Arrived(spool))?.whole(caller).await
    }
}

/// Reads the request to its end, also where what it wants is refused on the way: a browser shows no answer to what it
/// is still sending.
async fn receive(
    caller: &Caller,
    headers: &HeaderMap,
    request: Request,
    fields: &mut Fields,
) -> Result<(Ulid, Spool), Failure> {
    caller.may.need_anywhere(Role::Editor, "deployments")?;
    caller.check_writable()?;
    let uploads = &caller.portal.uploads;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let most = uploads.limits().release_bytes.saturating_add(ENVELOPE_BYTES);
    if announced.is_some_and(|announced| announced > most) {
        return Err(too_large(uploads.limits().release_bytes));
    }
    let id = entropy::ulid(caller.portal.clock.now()).map_err(ControllerError::Entropy)?;
    let mut spool = uploads.begin(id, announced).map_err(ControllerError::from)?;
    let request = request.map(|body| Body::new(Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX))));
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    // Asked once, before the first file.
    let mut admission = None;
    while let Some(mut part) = parts.next_field().await.map_err(broken)? {
        if part.file_name().is_none() {
            let name = part.name().unwrap_or_default().to_owned();
            let text = text(part).await?;
            match name.as_str() {
                "manifest" => fields.manifest = text,
                "name" => fields.name = text,
                "note" => fields.note = text,
                "executables" => fields.executables = text,
                _ => {}
            }
            continue;
        }
        if admission.is_none() {
            admission = Some(check(caller, fields).await);
        }
        match admission {
            Some(Ok(())) => keep(part, &mut spool).await?,
            _ => while part.chunk().await.map_err(broken)?.is_some() {},
        }
    }
    admission.unwrap_or(Ok(())).map(|()| (id, spool))
}

/// Whether the upload would be taken, before any of its files is.
async fn check(caller: &Caller, fields: &Fields) -> Result<(), Failure> {
    let manifest = fields.manifest()?;
    fields.name()?;
    caller.may.need_on_manifest(Role::Editor, &*caller.whole_view()?, &manifest)?;
    match if_there(caller.may.get_manifest(&manifest).await)? {
        Some(_) => Ok(()),
        None => {
            let detail = format!("there is no manifest {manifest}");
            Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "not_found", detail))
        }
    }
}

/// Streams a file to the disk.
async fn keep(mut part: Field<'_>, spool: &mut Spool) -> Result<(), Failure> {
    let sent = part.file_name().unwrap_or_default().to_owned();
    // What a browser sends of an input in which nothing was chosen.
    let Some(path) = path_of(part.name().unwrap_or_default(), &sent) else { return Ok(()) };
    if let Some(problem) = ambiguous(path) {
        spool.refuse(problem);
    }
    let mut file = spool.file(path).await.map_err(ControllerError::from)?;
    while let Some(bytes) = part.chunk().await.map_err(broken)? {
        file.write(&bytes).await.map_err(ControllerError::from)?;
    }
    file.finish().await.map_err(ControllerError::from)?;
    Ok(())
}

/// Where a file is to lie. Of a folder that was chosen browsers send the name, too, which a release does not have.
fn path_of<'n>(input: &str, sent: &'n str) -> Option<&'n str> {
    match (input, sent.split_once('/')) {
        _ if sent.is_empty() => None,
        ("folder", Some((_, within))) => Some(within),
        _ => Some(sent),
    }
}

/// Browsers write a quote and the ends of a line in a name as `%22`, `%0A` and `%0D`, and leave a `%` as it is: nobody
/// can tell what was meant.
fn ambiguous(path: &str) -> Option<String> {
    let escape = ["%22", "%0A", "%0D"].into_iter().find(|escape| path.contains(escape))?;
    Some(format!("{path:?} has {escape} in its name, or a character that browsers write so; rename the file"))
}

fn too_large(limit: u64) -> Failure {
    ControllerError::from(crate::controller::SpoolError::TooLarge { limit }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_folder_only_what_is_in_it_is_taken() {
        assert_eq!(path_of("folder", "dist/css/site.css"), Some("css/site.css"));
        assert_eq!(path_of("folder", "index.html"), Some("index.html"), "a browser that chose files all the same");
        assert_eq!(path_of("files", "a/b"), Some("a/b"), "what a program sends is taken as it is");
        assert_eq!(path_of("folder", "dist/../x"), Some("../x"), "whether it is a path is for others to say");
        assert_eq!(path_of("files", ""), None);
    }

    #[test]
    fn names_that_browsers_cannot_say_are_refused() {
        assert!(ambiguous("say %22hello%22").is_some());
        assert!(ambiguous("two%0Alines").is_some());
        assert!(ambiguous("100%").is_none() && ambiguous("a%20b").is_none());
    }

    #[test]
    fn what_is_left_empty_is_not_said() {
        let fields = Fields { executables: " bin/* \r\n*.sh ".to_owned(), name: " ".to_owned(), ..Fields::default() };
        assert_eq!(fields.executables(), ["bin/*", "*.sh"]);
        assert!(fields.name().unwrap().is_none() && fields.note().is_none() && fields.manifest().is_err());
    }
}
