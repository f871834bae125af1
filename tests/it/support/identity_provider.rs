//! An OpenID Connect provider of a test's own: it really signs, and says whatever a test wants it to say.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fleetman::clock::SystemClock;
use fleetman::config::{Serving, TlsFiles};
use fleetman::web::listener::{Listener, Settings};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const CLIENT_ID: &str = "fleetman";

/// A provider that runs; it ends when this goes.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    state: Arc<Mutex<Inner>>,
    _ends: DropGuard,
}

/// What it says and what it was asked.
pub(crate) struct Inner {
    issuer: String,
    /// The keys that it publishes.
    pub(crate) keys: Vec<Key>,
    /// How it signs.
    pub(crate) signs: Signs,
    /// What its ID tokens say besides or instead of the usual; null leaves a claim out.
    pub(crate) claims: Value,
    /// What discovery says besides or instead of the usual.
    pub(crate) discovery: Value,
    /// The secret of the client; `None` for a public one.
    pub(crate) secret: Option<String>,
    /// How often each path was asked.
    pub(crate) asked: BTreeMap<&'static str, usize>,
    codes: BTreeMap<String, BTreeMap<String, String>>,
}

/// How tokens are signed.
#[derive(Clone)]
pub(crate) enum Signs {
    /// With a key, under its own name.
    With(Key),
    /// With a key, under the name of another or none.
    As(Key, Option<String>),
    /// Not at all: `alg` is `none`.
    Not,
    /// With a secret that everybody knows: the first public key.
    WithThePublicKey,
}

/// A key that signs.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    alg: Algorithm,
    private: EncodingKey,
}

impl Key {
    pub(crate) fn new(id: &str, alg: Algorithm) -> Self {
        let private = match alg {
            Algorithm::RS256 | Algorithm::RS512 => {
                let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
                // What follows the 26 bytes that say that an RSA key follows.
                EncodingKey::from_rsa_der(&pair.serialize_der()[26..])
            }
            Algorithm::ES256 => {
                EncodingKey::from_ec_der(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_der())
            }
            _ => {
                // The 16 bytes before a key of PKCS #8 (RFC 8410, 7).
                let begin = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
                let seed = fleetman::entropy::bytes::<32>().unwrap();
                EncodingKey::from_ed_der(&[begin, &seed[..]].concat())
            }
        };
        Self { id: id.to_owned(), alg, private }
    }

    fn public(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.private, self.alg).unwrap();
        key.common.key_id = Some(self.id.clone());
        serde_json::to_value(key).unwrap()
    }
}

impl Provider {
    /// A provider with one ES256 key, which vouches for `ada` in the group `fleet-admins`.
    pub(crate) async fn start() -> Self {
        Self::start_with(None, "127.0.0.1").await
    }

    /// The same over TLS, or under another name of this machine.
    pub(crate) async fn start_with(tls: Option<TlsFiles>, host: &str) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let settings = Settings { serving: Serving { tls, ..Serving::default() }, ..Settings::default() };
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind(address, settings, SystemClock::shared()).await.unwrap();
        let issuer = format!("{scheme}://{host}:{}/realms/acme", listener.local_addr().port());
        let key = Key::new("first", Algorithm::ES256);
        let state = Arc::new(Mutex::new(Inner {
            issuer: issuer.clone(),
            keys: vec![key.clone()],
            signs: Signs::With(key),
            claims: json!({}),
            discovery: json!({}),
            secret: None,
            asked: BTreeMap::new(),
            codes: BTreeMap::new(),
        }));
        let router = Router::new()
            .route("/realms/acme/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(state.clone());
        let ended = CancellationToken::new();
        tokio::spawn(listener.serve(router, ended.clone()));
        Self { issuer, state, _ends: ended.drop_guard() }
    }

    /// What it says and was asked.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    /// How often a path was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.inner().asked.get(path).copied().unwrap_or_default()
    }
}

type Shared = State<Arc<Mutex<Inner>>>;

/// `all` with the members of `more`; null takes one out.
fn with(mut all: Value, more: &Value) -> Value {
    let members = all.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    all
}

async fn discovery(State(state): Shared) -> Json<Value> {
    let mut inner = state.lock().unwrap();
    *inner.asked.entry("discovery").or_default() += 1;
    let base = inner.issuer.trim_end_matches("/realms/acme");
    let usual = json!({
        "issuer": inner.issuer,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"),
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "groups"],
    });
    Json(with(usual, &inner.discovery))
}

async fn keys(State(state): Shared) -> Json<Value> {
    let mut inner = state.lock().unwrap();
    *inner.asked.entry("keys").or_default() += 1;
    // One that nobody here can use is no reason to refuse the others.
    let unknown = json!({"kty": "XYZ", "kid": "strange", "z": "1"});
    let keys: Vec<Value> = inner.keys.iter().map(Key::public).chain([unknown]).collect();
    Json(json!({"keys": keys}))
}

/// As if somebody had signed in at once.
async fn authorize(State(state): Shared, Query(asked): Query<BTreeMap<String, String>>) -> Response {
    let mut inner = state.lock().unwrap();
    let is_right = asked["response_type"] == "code"
        && asked["client_id"] == CLIENT_ID
        && asked["scope"] == "openid profile email groups"
        && asked["code_challenge_method"] == "S256";
    if !is_right {
        return (StatusCode::BAD_REQUEST, format!("{asked:?}")).into_response();
    }
    let code = format!("code-{}", inner.codes.len());
    let back = format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"]);
    inner.codes.insert(code, asked);
    Redirect::to(&back).into_response()
}

async fn token(State(state): Shared, headers: HeaderMap, Form(form): Form<BTreeMap<String, String>>) -> Response {
    let mut inner = state.lock().unwrap();
    *inner.asked.entry("token").or_default() += 1;
    let refuse = |status: StatusCode, error: &str| (status, Json(json!({"error": error}))).into_response();
    let basic =
        inner.secret.as_ref().map(|secret| format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{secret}"))));
    let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let in_form = (form.get("client_id").map(String::as_str), form.get("client_secret"));
    let is_client = match &inner.secret {
        None => given.is_none() && in_form == (Some(CLIENT_ID), None),
        Some(secret) if inner.discovery.get("token_endpoint_auth_methods_supported").is_some() => {
            given.is_none() && in_form == (Some(CLIENT_ID), Some(secret))
        }
        Some(_) => given == basic && in_form == (None, None),
    };
    if !is_client {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let asked = form.get("code").and_then(|code| inner.codes.remove(code));
    let fits = |asked: &BTreeMap<String, String>| {
        form["grant_type"] == "authorization_code"
            && form["redirect_uri"] == asked["redirect_uri"]
            && URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"])) == asked["code_challenge"]
    };
    let Some(asked) = asked.filter(fits) else { return refuse(StatusCode::BAD_REQUEST, "invalid_grant") };
    let now = SystemClock::shared().now().timestamp();
    let usual = json!({
        "iss": inner.issuer, "sub": "subject-1", "aud": CLIENT_ID, "exp": now + 300, "iat": now,
        "nonce": asked["nonce"], "preferred_username": "ada", "groups": ["fleet-admins", "others"],
    });
    let claims = with(usual, &inner.claims);
    let token = sign(&inner, &claims);
    Json(json!({"access_token": "x", "token_type": "Bearer", "id_token": token})).into_response()
}

fn sign(inner: &Inner, claims: &Value) -> String {
    let (key, kid) = match &inner.signs {
        Signs::With(key) => (key, Some(key.id.clone())),
        Signs::As(key, kid) => (key, kid.clone()),
        Signs::Not => {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            return format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(claims));
        }
        Signs::WithThePublicKey => {
            let public = inner.keys[0].public()["x"].as_str().unwrap().to_owned();
            let header = Header { kid: Some(inner.keys[0].id.clone()), ..Header::new(Algorithm::HS256) };
            return jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(public.as_bytes())).unwrap();
        }
    };
    jsonwebtoken::encode(&Header { kid, ..Header::new(key.alg) }, claims, &key.private).unwrap()
}
