//! A release on its way from this machine's disk into the bucket; how far that is, is told as it goes on to whoever
//! asks for it.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::AccessError;
use crate::controller::{Delivery, Progress, Spool, Uploaded};
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::staged::{NewRelease, Taken};

/// The answer to who wants to hear how far it is: a JSON document a line.
const LINES: &str = "application/x-ndjson";

/// Whether who asks wants to hear how far it is.
pub(in crate::web::pages) fn wants_lines(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).is_some_and(|accepts| accepts.contains(LINES))
}

/// Where the files are.
pub(in crate::web::pages) enum Source {
    /// They have just arrived.
    Arrived(Spool),
    /// They waited to be looked at.
    Waited(Taken),
}

impl Source {
    fn spool(&self) -> &Spool {
        match self {
            Self::Arrived(spool) => spool,
            Self::Waited(taken) => &taken.staged().spool,
        }
    }

    /// The files are in the bucket, and need not lie here any more.
    fn done(self) {
        if let Self::Waited(taken) = self {
            taken.done();
        }
    }
}

/// An upload into the bucket that is under way. It goes on when nobody waits for it any more, so that the audit hears
/// of its end.
pub(in crate::web::pages) struct Sending {
    task: JoinHandle<Result<Uploaded, AccessError>>,
    progress: watch::Receiver<Option<Progress>>,
}

impl Sending {
    pub(in crate::web::pages) fn begin(
        caller: &Caller,
        release: &NewRelease,
        reason: &str,
        source: Source,
    ) -> Result<Self, Failure> {
        let (may, fleet, release) = (caller.may.because(reason), caller.whole_view()?, release.clone());
        let (tell, progress) = watch::channel(None);
        let task = tokio::spawn(async move {
            let NewRelease { manifest, name, note, executables } = release;
            let delivery = Delivery { spool: source.spool(), executables: &executables, note };
            let tell = |progress: Progress| {
                tell.send_replace(Some(progress));
            };
            let uploaded = may.upload_delivery(&fleet, &manifest, name.as_ref(), &delivery, &tell).await;
            if uploaded.is_ok() {
                source.done();
            }
            uploaded
        });
        Ok(Self { task, progress })
    }

    /// Waits for its end.
    pub(in crate::web::pages) async fn whole(self, caller: &Caller) -> Result<Uploaded, Failure> {
        let ended = self.task.await;
        caller.fleet.releases.renew();
        Ok(ended.map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "upload", format!("the upload broke off: {error}"))
        })??)
    }

    /// The same; says which page shows it.
    pub(super) async fn end(self, caller: &Caller) -> Result<String, Failure> {
        let Uploaded { manifest, deployment, sent_files, .. } = self.whole(caller).await?;
        Ok(format!("/deployments/{manifest}/{deployment}?sent={sent_files}"))
    }

    /// Tells how far it is, line by line, and at last what came of it.
    pub(super) fn lines(self, page: &PageContext) -> Response {
        let caller = page.caller.clone();
        let told = stream::unfold(Some(self), move |sending| {
            let caller = caller.clone();
            async move {
                let mut sending = sending?;
                if sending.progress.changed().await.is_ok() {
                    let progress = *sending.progress.borrow_and_update();
                    let told = progress.map_or_else(Told::default, |progress| Told {
                        done_bytes: Some(progress.done_bytes),
                        total_bytes: Some(progress.total_bytes),
                        ..Told::default()
                    });
                    return Some((Ok::<_, Infallible>(told.line()), Some(sending)));
                }
                let told = match sending.end(&caller).await {
                    Ok(path) => Told { location: Some(format!("{}{path}", caller.fleet.base)), ..Told::default() },
                    Err(failure) => Told::of(&failure),
                };
                Some((Ok(told.line()), None))
            }
        });
        ([(header::CONTENT_TYPE, LINES)], Body::from_stream(told)).into_response()
    }
}

/// One line of an answer.
#[derive(Debug, Default, Serialize)]
pub(in crate::web::pages) struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    done_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// The page that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Told {
    fn of(failure: &Failure) -> Self {
        Self { detail: Some(failure.detail().to_owned()), ..Self::default() }
    }

    fn line(&self) -> Bytes {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }

    /// Leads to another page of the same bucket.
    pub(in crate::web::pages) fn lead(page: &PageContext, path: &str, wants_lines: bool) -> Response {
        if !wants_lines {
            return page.lead_to(path);
        }
        let told = Self { location: Some(page.link(path)), ..Self::default() };
        ([(header::CONTENT_TYPE, LINES)], told.line()).into_response()
    }

    /// Says why it goes no further.
    pub(in crate::web::pages) fn refuse(failure: &Failure) -> Response {
        (failure.status(), [(header::CONTENT_TYPE, LINES)], Self::of(failure).line()).into_response()
    }
}
