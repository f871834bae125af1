//! Faults at the boundary: a proxy in front of any S3 endpoint that fails requests on purpose, and remembers them.
//!
//! ```ignore
//! let proxy = FaultProxy::start(&store.endpoint()).await;
//! let client = client(&proxy.endpoint());
//! proxy.inject(Rule::new(On::put("*/trigger.json"), Fault::LoseResponse).times(1));
//! proxy.inject(Rule::new(On::get("*"), Fault::status(503)).skip(2).times(3));
//! assert_eq!(proxy.count(On::list("cells/")), 1);
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use fleetman::clock::{SharedClock, SystemClock};
use futures_util::StreamExt as _;
use http::{Method, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::policy::{Asked, Policy};
use super::{BUCKET, client, wait_for};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The id of every request that is answered with an error that was injected.
pub(crate) const REQUEST_ID: &str = "4442587FB7D0A2F9";

/// What happens to a request that a [`Rule`] picks.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is answered with an error and never reaches the store.
    Error { status: u16, code: &'static str },
    /// The connection breaks before it reaches the store.
    LoseRequest,
    /// The store carries it out, and the connection breaks before the answer.
    LoseResponse,
    /// The body of the answer ends after this many bytes, and the connection breaks.
    CutBody(u64),
    /// The body of the answer stops coming after this many bytes.
    StallBody(u64),
    /// There is no answer, and the store hears nothing.
    Stall,
    /// It is held back for this long, then carried out.
    Delay(Duration),
    /// The conditions of a PUT are ignored: 200, and the object is overwritten.
    IgnoreConditions,
}

impl Fault {
    /// An error with the code that stores give this status.
    pub(crate) fn status(status: u16) -> Self {
        let code = match status {
            403 => "AccessDenied",
            404 => "NoSuchKey",
            409 => "ConditionalRequestConflict",
            412 => "PreconditionFailed",
            429 => "TooManyRequests",
            500 => "InternalError",
            501 => "NotImplemented",
            503 => "SlowDown",
            _ => "Injected",
        };
        Self::Error { status, code }
    }
}

/// Which requests. Patterns are of keys; `*` stands for anything, `/` too.
#[derive(Debug, Clone)]
pub(crate) struct On {
    methods: &'static [Method],
    listing: Option<bool>,
    keys: String,
}

impl On {
    pub(crate) fn get(keys: &str) -> Self {
        Self::new(&[Method::GET], Some(false), keys)
    }

    pub(crate) fn head(keys: &str) -> Self {
        Self::new(&[Method::HEAD], Some(false), keys)
    }

    /// Puts, copies and uploaded parts.
    pub(crate) fn put(keys: &str) -> Self {
        Self::new(&[Method::PUT], Some(false), keys)
    }

    pub(crate) fn delete(keys: &str) -> Self {
        Self::new(&[Method::DELETE], Some(false), keys)
    }

    /// Listings; the pattern is of the prefix that is asked for.
    pub(crate) fn list(prefixes: &str) -> Self {
        Self::new(&[Method::GET], Some(true), prefixes)
    }

    /// Whatever changes the store.
    pub(crate) fn write(keys: &str) -> Self {
        Self::new(&[Method::PUT, Method::POST, Method::DELETE], None, keys)
    }

    /// Every request.
    pub(crate) fn any() -> Self {
        Self::new(&[], None, "*")
    }

    fn new(methods: &'static [Method], listing: Option<bool>, keys: &str) -> Self {
        Self { methods, listing, keys: keys.to_owned() }
    }

    fn picks(&self, seen: &Seen) -> bool {
        (self.methods.is_empty() || self.methods.contains(&seen.method))
            && self.listing.is_none_or(|listing| listing == seen.listing)
            && matches(&self.keys, &seen.key)
    }
}

/// A fault for some requests.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    on: On,
    fault: Fault,
    skip: usize,
    times: usize,
}

impl Rule {
    /// Strikes every request that `on` picks, until told otherwise.
    pub(crate) fn new(on: On, fault: Fault) -> Self {
        Self { on, fault, skip: 0, times: usize::MAX }
    }

    /// Lets the first `count` of them pass.
    pub(crate) fn skip(self, count: usize) -> Self {
        Self { skip: count, ..self }
    }

    /// Strikes `count` of them, then no more.
    pub(crate) fn times(self, count: usize) -> Self {
        Self { times: count, ..self }
    }

    fn strikes(&mut self, seen: &Seen) -> bool {
        if self.times == 0 || !self.on.picks(seen) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// A request that came by.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Decoded, without the bucket; of a listing, the prefix.
    pub(crate) key: String,
    pub(crate) listing: bool,
    pub(crate) query: String,
    /// `If-Match` or `If-None-Match`, as it came.
    pub(crate) condition: Option<String>,
    /// What the client was told; `None` if it was told nothing.
    pub(crate) status: Option<u16>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    log: Vec<Seen>,
    /// Writes that the store carried out.
    writes: usize,
    stop_after: Option<usize>,
    policy: Option<Policy>,
    /// What the policy did not allow.
    denied: Vec<Asked>,
}

/// A proxy in front of an S3 endpoint.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Body>,
    clock: SharedClock,
    state: Mutex<State>,
}

impl FaultProxy {
    /// Starts on a free port, letting everything pass.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            clock: SystemClock::shared(),
            state: Mutex::default(),
        });
        let accepting = Mutex::new(Some(tokio::spawn(accept(listener, Arc::clone(&shared)))));
        Self { address, shared, accepting }
    }

    /// Where clients connect instead of to the store.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. Of several that strike one request every delay counts, and of the rest the first.
    pub(crate) fn inject(&self, rule: Rule) {
        self.state(|state| state.rules.push(rule));
    }

    /// From now on lets through only what `policy` allows, as if every client had the keys that it belongs to. Like AWS it
    /// answers 403 to an absent object where the keys may not list the whole bucket.
    pub(crate) fn authorize(&self, policy: Policy) {
        self.state(|state| state.policy = Some(policy));
    }

    /// What the policy did not allow so far.
    pub(crate) fn denied(&self) -> Vec<Asked> {
        self.state(|state| state.denied.clone())
    }

    /// The part of the policy that nobody made use of so far, as "<action> on <pattern>".
    pub(crate) fn unused_rights(&self) -> Vec<String> {
        self.state(|state| state.policy.as_ref().unwrap().unused())
    }

    /// Forgets all rules and limits; the log stays.
    pub(crate) fn heal(&self) {
        self.state(|state| {
            state.rules.clear();
            state.stop_after = None;
        });
    }

    /// Once the store has carried out `count` more writes, nothing reaches it any more, as if whoever writes had been
    /// killed there. Requests are then answered with an error that clients do not retry, until [`FaultProxy::heal`].
    pub(crate) fn stop_after_writes(&self, count: usize) {
        self.state(|state| state.stop_after = Some(state.writes + count));
    }

    /// Writes that the store carried out so far, whatever the client was told.
    pub(crate) fn writes(&self) -> usize {
        self.state(|state| state.writes)
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn log(&self) -> Vec<Seen> {
        self.state(|state| state.log.clone())
    }

    /// How many requests so far `on` picks.
    pub(crate) fn count(&self, on: On) -> usize {
        self.state(|state| state.log.iter().filter(|seen| on.picks(seen)).count())
    }

    /// Forgets the requests so far.
    pub(crate) fn clear_log(&self) {
        self.state(|state| state.log.clear());
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) async fn refuse_connections(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    /// Accepts connections again, on the same port.
    pub(crate) async fn accept_connections(&self) {
        self.refuse_connections().await;
        let mut listener = None;
        let bind = async || {
            listener = TcpListener::bind(self.address).await.ok();
            listener.is_some()
        };
        wait_for(bind, "the port of the proxy to be free").await;
        let accepting = tokio::spawn(accept(listener.unwrap(), Arc::clone(&self.shared)));
        *self.accepting.lock().unwrap() = Some(accepting);
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().unwrap().take() {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
    // An error is a connection that breaks, often because a rule said so.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request; an error breaks the connection.
async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let seen = look_at(&request);
    let (index, faults, stopped) = {
        let mut state = shared.state.lock().unwrap();
        let faults: Vec<Fault> =
            state.rules.iter_mut().filter_map(|rule| rule.strikes(&seen).then(|| rule.fault.clone())).collect();
        let stopped = state.stop_after.is_some_and(|count| state.writes >= count);
        state.log.push(seen.clone());
        (state.log.len() - 1, faults, stopped)
    };
    let verdict = judge(&shared, &seen, request.headers());
    let answer = if let Verdict::Denied = verdict {
        strike(&shared, request, &seen, Some(Fault::status(403))).await
    } else if stopped {
        let fault = Fault::Error { status: 400, code: "StoppedByTest" };
        strike(&shared, request, &seen, Some(fault)).await
    } else {
        for fault in &faults {
            if let Fault::Delay(delay) = fault {
                shared.clock.sleep(*delay).await;
            }
        }
        let fault = faults.into_iter().find(|fault| !matches!(fault, Fault::Delay(_)));
        strike(&shared, request, &seen, fault).await
    };
    let answer = match answer {
        Ok(answer) if verdict == Verdict::Blind && answer.status() == 404 => Ok(error(403, "AccessDenied")),
        answer => answer,
    };
    let mut state = shared.state.lock().unwrap();
    // The log may have been cleared meanwhile.
    if let Some(entry) = state.log.get_mut(index) {
        entry.status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    }
    answer
}

/// What the policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// Allowed, but not to know whether the object is there.
    Blind,
    Denied,
}

fn judge(shared: &Shared, seen: &Seen, headers: &http::HeaderMap) -> Verdict {
    let mut state = shared.state.lock().unwrap();
    let Some(policy) = state.policy.as_mut() else { return Verdict::Allowed };
    let asked = Asked::of(seen, headers);
    let refused = asked.into_iter().find(|asked| !policy.allows(asked));
    let may_look_anywhere = policy.allows(&Asked::any_list());
    match refused {
        Some(refused) => {
            state.denied.push(refused);
            Verdict::Denied
        }
        None if may_look_anywhere => Verdict::Allowed,
        None => Verdict::Blind,
    }
}

async fn strike(
    shared: &Shared,
    mut request: Request<Incoming>,
    seen: &Seen,
    fault: Option<Fault>,
) -> Result<Response<Body>, BoxError> {
    match fault {
        Some(Fault::Error { status, code }) => {
            // The body first: a client may not look at an answer before it has sent everything.
            request.into_body().collect().await?;
            Ok(error(status, code))
        }
        Some(Fault::LoseRequest) => Err("the request is lost".into()),
        Some(Fault::Stall) => std::future::pending().await,
        Some(Fault::LoseResponse) => {
            let answer = forward(shared, request, seen).await?;
            answer.into_body().collect().await?;
            Err("the answer is lost".into())
        }
        Some(Fault::CutBody(bytes)) => Ok(end_early(forward(shared, request, seen).await?, bytes, true)),
        Some(Fault::StallBody(bytes)) => Ok(end_early(forward(shared, request, seen).await?, bytes, false)),
        Some(Fault::IgnoreConditions) if seen.condition.is_some() => {
            drop_conditions(shared, &mut request, seen).await;
            forward(shared, request, seen).await
        }
        Some(Fault::IgnoreConditions | Fault::Delay(_)) | None => forward(shared, request, seen).await,
    }
}

/// Sends the request on as it came. The signature covers path, query and `Host`, so none of them changes.
async fn forward(shared: &Shared, request: Request<Incoming>, seen: &Seen) -> Result<Response<Body>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{}{path}", shared.upstream).parse()?;
    parts.headers.remove(header::CONNECTION);
    let request = Request::from_parts(parts, body.map_err(BoxError::from).boxed_unsync());
    let answer = match shared.client.request(request).await {
        Ok(answer) => answer,
        // The store is not there. What a client would see without us is a connection that breaks.
        Err(error) => return Err(error.into()),
    };
    let write = [Method::PUT, Method::POST, Method::DELETE].contains(&seen.method);
    if write && answer.status().is_success() {
        shared.state.lock().unwrap().writes += 1;
    }
    Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// Takes the conditions off a PUT. They are signed, so the request goes on as a presigned one instead.
async fn drop_conditions(shared: &Shared, request: &mut Request<Incoming>, seen: &Seen) {
    assert!(
        !request.headers().contains_key("x-amz-decoded-content-length"),
        "conditions cannot be taken off a chunked body: use request_checksum_calculation(WhenRequired)"
    );
    let presigned = client(&shared.upstream)
        .put_object()
        .bucket(BUCKET)
        .key(&seen.key)
        .presigned(PresigningConfig::expires_in(Duration::from_secs(60)).unwrap())
        .await
        .unwrap();
    let uri: Uri = presigned.uri().parse().unwrap();
    let headers = request.headers_mut();
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256", "if-match", "if-none-match"] {
        headers.remove(name);
    }
    headers.insert(header::HOST, uri.authority().unwrap().as_str().parse().unwrap());
    *request.uri_mut() = uri;
}

fn look_at(request: &Request<Incoming>) -> Seen {
    let path = decode(request.uri().path());
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query = request.uri().query().unwrap_or_default();
    let listing = request.method() == Method::GET && key.is_empty();
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).map(decode);
    let condition = ["if-match", "if-none-match"].iter().find_map(|name| request.headers().get(*name));
    Seen {
        method: request.method().clone(),
        key: if listing { prefix.unwrap_or_default() } else { key.to_owned() },
        listing,
        query: query.to_owned(),
        condition: condition.and_then(|value| value.to_str().ok()).map(str::to_owned),
        status: None,
    }
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            // An empty tail fits too, hence the inclusive range.
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && matches(rest, &tail[at..]))
        }),
    }
}

fn error(status: u16, code: &str) -> Response<Body> {
    let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    let body = Full::new(Bytes::from(xml)).map_err(BoxError::from).boxed_unsync();
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    let answer = answer.header("x-amz-request-id", REQUEST_ID);
    answer.body(body).unwrap()
}

/// Lets `bytes` of the body through; then the connection breaks, or nothing more comes. The length announced stays.
fn end_early(answer: Response<Body>, bytes: u64, breaks: bool) -> Response<Body> {
    answer.map(|body| {
        let left = std::cell::Cell::new(bytes);
        let data = body.into_data_stream().map(move |chunk| {
            let mut chunk: Bytes = chunk?;
            let length = usize::try_from(left.get()).unwrap_or(usize::MAX).min(chunk.len());
            chunk.truncate(length);
            left.set(left.get() - length as u64);
            Ok::<_, BoxError>(chunk)
        });
        let data = data.take_while(|chunk| std::future::ready(chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty())));
        let end = async move {
            if !breaks {
                std::future::pending::<()>().await;
            }
            // hyper sends what it has when a body is not ready, and forgets it when a body fails.
            tokio::task::yield_now().await;
            Err("the body is cut".into())
        };
        let frames = data.chain(futures_util::stream::once(end)).map(|chunk| chunk.map(hyper::body::Frame::data));
        StreamBody::new(frames).boxed_unsync()
    })
}
