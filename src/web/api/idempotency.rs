//! `Idempotency-Key`: a POST that is sent again because its answer was lost is answered as it was, and not done twice.
//!
//! Answers are remembered by this process, for a day and up to a limit. After a restart, or at another controller, a
//! repeated request is carried out again; what protects against doing it twice there is its guard (`if_generation`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::OnceCell;

use super::super::app::Portal;
use super::super::caller::Caller;
use super::super::failure::Failure;
use crate::access::Identity;
use crate::model::Sha256Digest;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// For so long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers that are remembered at once, of all users together and of one.
const MOST: usize = 1_024;
const MOST_OF_ONE: usize = 256;

/// The most bytes of a key, of a request without files, of an answer, and of an answer that is remembered.
const KEY_BYTES: usize = 255;
const REQUEST_BYTES: usize = 1 << 20;
const ANSWER_BYTES: usize = 64 << 20;
const REMEMBERED_BYTES: usize = 64 << 10;

/// The answers of this process.
#[derive(Debug, Default)]
pub(in crate::web) struct Answers(Mutex<HashMap<Name, Entry>>);

/// Whose request it was, and what they called it. Who comes with another credential, or may do something else by now, is
/// not told what was answered before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    who: Arc<Identity>,
    fleet: String,
    key: String,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Method, path and what was sent.
    request: Sha256Digest,
    began: Duration,
    answer: Arc<OnceCell<Answer>>,
}

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What the caller calls a request with files, if anything. Such a request is too large to be held; whoever takes it
/// tells by the digests of its files which it is.
#[derive(Debug)]
pub(super) struct Key(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.headers.get(KEY).map(read).transpose().map(Self)
    }
}

impl Key {
    /// What comes of a POST to `path` of what `sent` names: what `act` gives, or what it gave before.
    pub(super) async fn once(
        self,
        caller: &Caller,
        path: &Uri,
        sent: Sha256Digest,
        act: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Failure> {
        match self.0 {
            Some(key) => once(caller, key, digest(&Method::POST, path, sent.as_bytes()), act).await,
            None => Ok(act.await),
        }
    }
}

fn read(key: &HeaderValue) -> Result<String, Failure> {
    let key = key.to_str().ok().filter(|key| (1..=KEY_BYTES).contains(&key.len()));
    key.map(str::to_owned).ok_or_else(|| {
        Failure::bad_request("invalid_idempotency_key", format!("expected 1 to {KEY_BYTES} printable ASCII characters"))
    })
}

fn digest(method: &Method, path: &Uri, sent: &[u8]) -> Sha256Digest {
    let mut digest = Sha256Digest::builder();
    digest.update(format!("{method} {path}\n").as_bytes());
    digest.update(sent);
    digest.finish()
}

/// Answers a POST of the API under its key, if it has one and no files.
pub(in crate::web) async fn answer(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    let is_call = *request.method() == Method::POST && request.uri().path().starts_with("/api/v1/");
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..10));
    let has_files = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    match request.headers().get(KEY).cloned() {
        Some(key) if is_call && !has_files => {
            whole(&portal, &key, request, next).await.unwrap_or_else(|failure| failure.into_response())
        }
        _ => next.run(request).await,
    }
}

async fn whole(portal: &Arc<Portal>, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Failure> {
    let key = read(key)?;
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, portal).await?;
    let body = to_bytes(body, REQUEST_BYTES).await.map_err(|_| {
        let detail = format!("a request with an Idempotency-Key may have {REQUEST_BYTES} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let digest = digest(&parts.method, &parts.uri, &body);
    once(&caller, key, digest, next.run(Request::from_parts(parts, Body::from(body)))).await
}

/// What comes of a request, or came of it before.
async fn once(
    caller: &Caller,
    key: String,
    request: Sha256Digest,
    act: impl Future<Output = Response> + Send + 'static,
) -> Result<Response, Failure> {
    let portal = caller.portal.clone();
    let who = Arc::new(caller.may.identity().clone());
    let name = Name { who, fleet: caller.fleet.name.clone(), key };
    let entry = portal.answers.begin(name.clone(), request, portal.clock.monotonic())?;
    // Also where its caller leaves it is carried out to its end, so that whoever asks again hears of it and does not do
    // it once more.
    let work = tokio::spawn(async move {
        let mut is_first = false;
        let act = async {
            is_first = true;
            Answer::of(act.await).await
        };
        let answer = entry.answer.get_or_init(|| act).await.clone();
        if !answer.is_final() {
            portal.answers.forget(&name, &entry);
        }
        answer.into_response(!is_first)
    });
    work.await.map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the request broke off: {error}"))
    })
}

impl Answers {
    /// The entry of a request; a new one, if there is none.
    fn begin(&self, name: Name, request: Sha256Digest, now: Duration) -> Result<Entry, Failure> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, entry| now.saturating_sub(entry.began) < REMEMBERED);
        if let Some(entry) = answers.get(&name) {
            if entry.request != request {
                let detail = "another request was sent under this Idempotency-Key; give each its own";
                return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
            }
            return Ok(entry.clone());
        }
        let of_user = answers.keys().filter(|other| other.who.user == name.who.user).count();
        // One user's many keys push out that user's own.
        if of_user >= MOST_OF_ONE {
            forget_oldest(&mut answers, |other| other.who.user == name.who.user);
        } else if answers.len() >= MOST {
            forget_oldest(&mut answers, |_| true);
        }
        let entry = Entry { request, began: now, answer: Arc::default() };
        answers.insert(name, entry.clone());
        Ok(entry)
    }

    fn forget(&self, name: &Name, entry: &Entry) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.get(name).is_some_and(|known| Arc::ptr_eq(&known.answer, &entry.answer)) {
            answers.remove(name);
        }
    }
}

fn forget_oldest(answers: &mut HashMap<Name, Entry>, which: impl Fn(&Name) -> bool) {
    let oldest = answers.iter().filter(|(name, _)| which(name)).min_by_key(|(_, entry)| entry.began);
    if let Some(name) = oldest.map(|(name, _)| name.clone()) {
        answers.remove(&name);
    }
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        match to_bytes(body, ANSWER_BYTES).await {
            Ok(body) => Self { status: parts.status, headers: parts.headers, body },
            Err(error) => {
                let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string());
                Self {
                    status: failure.status(),
                    headers: HeaderMap::new(),
                    body: Bytes::from(failure.detail().to_owned()),
                }
            }
        }
    }

    /// Whether it is remembered. What failed for a reason that may pass is tried again; only a plan is so large, and can
    /// be made again; and what says that nobody keeps it holds a secret.
    fn is_final(&self) -> bool {
        let is_secret = self.headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store");
        let may_pass = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
        !self.status.is_server_error()
            && !may_pass.contains(&self.status)
            && self.body.len() <= REMEMBERED_BYTES
            && !is_secret
    }

    fn into_response(self, is_replayed: bool) -> Response {
        let mut response = (self.status, self.headers, self.body).into_response();
        if is_replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Via;
    use crate::model::UserName;

    fn name(user: &str, key: usize) -> Name {
        by(user, key, "editor", Via::Password)
    }

    fn by(user: &str, key: usize, grant: &str, via: Via) -> Name {
        let user = UserName::new(user).unwrap();
        let who = Arc::new(Identity { user, grants: vec![grant.parse().unwrap()], via });
        Name { who, fleet: "a".to_owned(), key: key.to_string() }
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_key_stands_for_one_request_of_one_user() {
        let (answers, one, two) = (Answers::default(), Sha256Digest::of(b"1"), Sha256Digest::of(b"2"));
        let first = answers.begin(name("ada", 1), one, at(0)).unwrap();
        let again = answers.begin(name("ada", 1), one, at(1)).unwrap();
        assert!(Arc::ptr_eq(&first.answer, &again.answer));
        assert_eq!(answers.begin(name("ada", 1), two, at(1)).unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
        let of_bob = answers.begin(name("bob", 1), two, at(1)).unwrap();
        assert!(!Arc::ptr_eq(&first.answer, &of_bob.answer));
        // A day later it is free again.
        let late = answers.begin(name("ada", 1), two, at(0) + REMEMBERED).unwrap();
        assert!(!Arc::ptr_eq(&first.answer, &late.answer));
    }

    #[test]
    fn what_was_answered_is_told_to_the_same_credential_with_the_same_rights_alone() {
        let (answers, request) = (Answers::default(), Sha256Digest::of(b"1"));
        let token = |id: &str| Via::Token { id: id.parse().unwrap(), grants: vec!["editor".parse().unwrap()] };
        let mut known: Vec<Entry> = Vec::new();
        for name in [
            by("ada", 1, "editor", Via::Password),
            by("ada", 1, "viewer", Via::Password),
            by("ada", 1, "editor", token("aaaaaaaaaa")),
            by("ada", 1, "editor", token("bbbbbbbbbb")),
        ] {
            let entry = answers.begin(name.clone(), request, at(0)).unwrap();
            assert!(!known.iter().any(|other| Arc::ptr_eq(&other.answer, &entry.answer)), "{name:?}");
            known.push(entry);
        }
    }

    #[test]
    fn many_keys_of_one_user_push_out_only_that_users() {
        let (answers, request) = (Answers::default(), Sha256Digest::of(b"1"));
        answers.begin(name("bob", 0), request, at(0)).unwrap();
        for key in 0..MOST_OF_ONE + 10 {
            answers.begin(name("ada", key), request, at(key as u64)).unwrap();
        }
        let held = answers.0.lock().unwrap();
        assert_eq!(held.len(), MOST_OF_ONE + 1);
        assert!(held.contains_key(&name("bob", 0)) && !held.contains_key(&name("ada", 9)));
        assert!(held.contains_key(&name("ada", 10)));
    }
}
