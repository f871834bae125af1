//! `fleetman serve` as a process, and a program that speaks to it over HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::{Mutex, mpsc};

use super::cli::Workplace;
use super::{contract, people, wait_for};

/// What a browser says of a form from a page of the server itself.
const FORM: [(&str, &str); 2] =
    [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];

/// A server that runs, and its address.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// What it says after it said where it serves.
    said: Mutex<mpsc::UnboundedReceiver<String>>,
    /// What it sends along unless it is given another or a token: the session of [`people::ADMIN`].
    cookie: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The cookie that it sets.
    pub(crate) fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    /// The answer, if its status is `status`.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }
}

impl Serving {
    /// Serves what the config in `place` names, to somebody who may do everything.
    pub(crate) async fn start(place: &Workplace) -> Self {
        people::admit_admin(place.path());
        Self::start_for(place, people::ADMIN).await
    }

    /// The same to a user of the config.
    pub(crate) async fn start_for(place: &Workplace, name: &str) -> Self {
        let mut serving = Self::start_for_nobody(place).await;
        serving.cookie = serving.sign_in(name).await;
        serving
    }

    /// The same to nobody, as the config in `place` is.
    pub(crate) async fn start_for_nobody(place: &Workplace) -> Self {
        Self::start_with(place, &["--listen", "127.0.0.1:0"]).await
    }

    /// The same as these arguments say.
    pub(crate) async fn start_with(place: &Workplace, args: &[&str]) -> Self {
        let mut child = place.start_fleetman(&[&["serve"], args].concat());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {before:?}"));
            if let Some((_, address)) = line.split_once(" on http://") {
                break address.to_owned();
            }
            before.push(line);
        };
        // What it says later must not fill the pipe.
        let (said, more) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Whoever asked is gone.
                let _ = said.send(line);
            }
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { child, address, said: Mutex::new(more), cookie: String::new(), client }
    }

    /// Waits until it has read the bucket.
    pub(crate) async fn has_read(&self) {
        wait_for(async || self.get("/readyz").await.status == 200, "the first look at the bucket").await;
    }

    /// Path and query of the link by which the first admin comes in.
    pub(crate) async fn first_admin_link(&self) -> String {
        let mut said = self.said.lock().await;
        loop {
            let line = said.recv().await.expect("it prints a link");
            if let Some((_, path)) = line.split_once(&format!("http://{}", self.address)) {
                return path.to_owned();
            }
        }
    }

    /// The cookie of a user of the config, signed in.
    pub(crate) async fn sign_in(&self, name: &str) -> String {
        self.send_form_in("none=1", "/sign-in", &people::form(name)).await.is(303).cookie()
    }

    /// Sends a request with these headers, which may name another host than the server's. An answer of the API has to be
    /// as its description says.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let called = method.to_owned();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let says_who = headers.iter().any(|(name, _)| ["cookie", "authorization"].contains(name));
        if !says_who && !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        contract::check(&called, path, &answer);
        answer
    }

    /// How many bytes of an answer to the bearer of a token come before it breaks off.
    pub(crate) async fn broken(&self, token: &str, path: &str) -> usize {
        let request = Request::builder()
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {token}"));
        let answer = self.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut body, mut came) = (answer.into_body(), 0);
        while let Ok(frame) = body.frame().await.expect("it breaks off") {
            came += frame.data_ref().map_or(0, Bytes::len);
        }
        came
    }

    /// The status of the answer and where it leads, without waiting for its body, which may never end.
    pub(crate) async fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, String) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_default())
    }

    /// The stream of events, as somebody hears it.
    pub(crate) async fn listen(&self, headers: &[(&str, &str)]) -> hyper::body::Incoming {
        let mut request = Request::builder().uri(format!("http://{}/live", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Bytes::new()).await
    }

    /// The answer to somebody else, whose cookie this is.
    pub(crate) async fn get_in(&self, cookie: &str, path: &str) -> Answer {
        self.send("GET", path, &[("cookie", cookie)], Bytes::new()).await
    }

    /// Sends the fields of a form, encoded, as a page of this server does.
    pub(crate) async fn send_form(&self, path: &str, fields: &str) -> Answer {
        self.send("POST", path, &FORM, fields.to_owned()).await
    }

    /// The same of somebody else, whose cookie this is.
    pub(crate) async fn send_form_in(&self, cookie: &str, path: &str, fields: &str) -> Answer {
        self.send("POST", path, &[FORM[0], FORM[1], ("cookie", cookie)], fields.to_owned()).await
    }

    /// A program that shows `token` with every request.
    pub(crate) fn by<'a>(&'a self, token: &'a str) -> Program<'a> {
        Program { serving: self, token }
    }
}

/// A program that speaks to the API.
#[derive(Clone, Copy)]
pub(crate) struct Program<'a> {
    serving: &'a Serving,
    token: &'a str,
}

impl Program<'_> {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        self.serving.send(method, &format!("/api/v1{path}"), &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Bytes::new()).await
    }

    /// A POST of a JSON document.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// A PUT of YAML: of a new document, or of one that is known by its tag.
    pub(crate) async fn put_yaml(&self, path: &str, known: Option<&str>, text: &str) -> Answer {
        let condition = known.map_or(("if-none-match", "*"), |tag| ("if-match", tag));
        self.send("PUT", path, &[("content-type", "application/yaml"), condition], text.to_owned()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Bytes::new()).await
    }
}
