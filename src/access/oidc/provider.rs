//! The service: where it is asked what, and the keys that it signs with.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use jsonwebtoken::jwk::JwkSet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::client::Client;
use super::error::{OidcError, quoted};
use super::flow::form;
use super::token::{self, Claims, Expected, TokenFault};
use crate::clock::SharedClock;
use crate::outbound::is_safe;
use crate::store::Secret;

/// How long what the service says of itself counts without asking again.
const FRESH_FOR: Duration = Duration::from_secs(600);

/// How soon the keys are read again because a token names one that is not among them. Whoever sends such tokens must
/// not make us ask for each.
const KEYS_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How long somebody waits for what others asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most characters of an ID token.
const MAX_TOKEN_CHARS: usize = 64 * 1024;

/// What the service says of itself (OpenID Connect Discovery 1.0), as far as it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    #[serde(rename = "authorization_endpoint")]
    pub(super) authorization: String,
    #[serde(rename = "token_endpoint")]
    token: String,
    #[serde(rename = "jwks_uri")]
    keys: String,
    #[serde(rename = "token_endpoint_auth_methods_supported")]
    token_auth: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
}

impl Endpoints {
    /// What is asked for: who it is, and the groups where they are a scope of their own.
    pub(super) fn scope(&self) -> String {
        let has_groups = self.scopes_supported.iter().flatten().any(|scope| scope == "groups");
        let scope = "openid profile email";
        if has_groups { format!("{scope} groups") } else { scope.to_owned() }
    }

    /// Whether it wants the client's secret in the form, and not in a header as it is usual.
    fn wants_secret_in_form(&self) -> bool {
        let takes = |methods: &Vec<String>, wanted| methods.iter().any(|method| method == wanted);
        self.token_auth
            .as_ref()
            .is_some_and(|methods| takes(methods, "client_secret_post") && !takes(methods, "client_secret_basic"))
    }
}

/// The service, and what is remembered of it.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: String,
    client: Client,
    clock: SharedClock,
    endpoints: Mutex<Option<Read<Endpoints>>>,
    keys: Mutex<Keys>,
}

/// The keys that the service signs with.
#[derive(Debug, Default)]
struct Keys {
    read: Option<Read<JwkSet>>,
    /// When they were last read for a token that named another.
    again_at: Option<Duration>,
}

/// Something, and when it was read, on the monotonic clock.
#[derive(Debug)]
struct Read<T> {
    what: Arc<T>,
    at: Duration,
}

/// An answer to a code, as far as it is used.
#[derive(Deserialize)]
struct Redeemed {
    id_token: Option<String>,
}

/// Why a code is not taken.
#[derive(Default, Deserialize)]
struct NotRedeemed {
    #[serde(default)]
    error: String,
    error_description: Option<String>,
}

impl Provider {
    pub(super) fn new(issuer: String, client: Client, clock: SharedClock) -> Self {
        Self { issuer, client, clock, endpoints: Mutex::default(), keys: Mutex::default() }
    }

    /// Where the service is asked what.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, OidcError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let mut known = patiently(&url, self.endpoints.lock()).await?;
        if let Some(known) = known.as_ref().filter(|known| self.age(known) < FRESH_FOR) {
            return Ok(Arc::clone(&known.what));
        }
        let endpoints: Endpoints = self.read(&url).await?;
        if endpoints.issuer != self.issuer {
            let why = format!("its issuer is {}, and the config says {:?}", quoted(&endpoints.issuer), self.issuer);
            return Err(OidcError::Unusable { url, why });
        }
        // The page that people are sent to is no less to be trusted than what is asked here.
        if !endpoints.authorization.parse().is_ok_and(|page| is_safe(&page)) {
            let why = "its authorization_endpoint is no https URL".to_owned();
            return Err(OidcError::Unusable { url, why });
        }
        let read = known.insert(Read { what: Arc::new(endpoints), at: self.clock.monotonic() });
        Ok(Arc::clone(&read.what))
    }

    /// The ID token for a code.
    pub(super) async fn redeem(
        &self,
        endpoints: &Endpoints,
        client_id: &str,
        secret: Option<&Secret>,
        code: &[(&str, &str)],
    ) -> Result<String, OidcError> {
        let url = &endpoints.token;
        let mut pairs = code.to_vec();
        let authorization = match secret {
            Some(secret) if !endpoints.wants_secret_in_form() => Some(basic(client_id, secret)),
            Some(secret) => {
                pairs.extend([("client_id", client_id), ("client_secret", secret.expose())]);
                None
            }
            None => {
                pairs.push(("client_id", client_id));
                None
            }
        };
        let (status, body) = self.client.post(url, authorization, form(&pairs)).await?;
        let unusable = |why: String| OidcError::Unusable { url: url.clone(), why };
        if status == StatusCode::BAD_REQUEST || status == StatusCode::UNAUTHORIZED {
            let NotRedeemed { error, error_description } = serde_json::from_slice(&body).unwrap_or_default();
            return Err(match error.as_str() {
                // It was used, or is too old: nobody's fault.
                "invalid_grant" => OidcError::Began,
                error => {
                    let why = error_description.as_deref().unwrap_or(error);
                    unusable(format!("{status}, {}", quoted(why)))
                }
            });
        }
        if status != StatusCode::OK {
            return Err(unusable(status.to_string()));
        }
        let redeemed: Redeemed = serde_json::from_slice(&body).map_err(|error| unusable(error.to_string()))?;
        let token = redeemed.id_token.ok_or_else(|| unusable("there is no id_token in it".to_owned()))?;
        if token.len() > MAX_TOKEN_CHARS {
            return Err(unusable(format!("the id_token has more than {MAX_TOKEN_CHARS} characters")));
        }
        Ok(token)
    }

    /// The claims of an ID token that is believed.
    pub(super) async fn verify(
        &self,
        endpoints: &Endpoints,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, OidcError> {
        let not_believed = |fault: TokenFault| OidcError::Token { issuer: self.issuer.clone(), why: fault.to_string() };
        let keys = self.keys(endpoints, false).await?;
        match token::verify(token, &keys, expected) {
            Err(TokenFault::UnknownKey { .. }) => {
                let keys = self.keys(endpoints, true).await?;
                token::verify(token, &keys, expected).map_err(not_believed)
            }
            verified => verified.map_err(not_believed),
        }
    }

    /// The keys; with `again` not those that are known, unless that was asked a moment ago.
    async fn keys(&self, endpoints: &Endpoints, again: bool) -> Result<Arc<JwkSet>, OidcError> {
        let mut known = patiently(&endpoints.keys, self.keys.lock()).await?;
        let now = self.clock.monotonic();
        let again = again && known.again_at.is_none_or(|at| now.saturating_sub(at) >= KEYS_AGAIN_AFTER);
        if let Some(read) = known.read.as_ref().filter(|read| !again && self.age(read) < FRESH_FOR) {
            return Ok(Arc::clone(&read.what));
        }
        if again {
            known.again_at = Some(now);
        }
        let keys: JwkSet = self.read(&endpoints.keys).await?;
        let read = known.read.insert(Read { what: Arc::new(keys), at: now });
        Ok(Arc::clone(&read.what))
    }

    fn age<T>(&self, read: &Read<T>) -> Duration {
        self.clock.monotonic().saturating_sub(read.at)
    }

    async fn read<T: DeserializeOwned>(&self, url: &str) -> Result<T, OidcError> {
        let unusable = |why: String| OidcError::Unusable { url: url.to_owned(), why };
        let (status, body) = self.client.get(url).await?;
        if status != StatusCode::OK {
            return Err(unusable(status.to_string()));
        }
        serde_json::from_slice(&body).map_err(|error| unusable(error.to_string()))
    }
}

/// Waits for the answer to what another asked, and not for one after another while the service is away: whoever asks for
/// sign-ins then must not gather more and more connections here.
async fn patiently<T>(url: &str, turn: impl Future<Output = T>) -> Result<T, OidcError> {
    let waited = tokio::time::timeout(PATIENCE, turn).await;
    waited.map_err(|_| OidcError::Unreachable { url: url.to_owned(), why: "others wait for it already".to_owned() })
}

/// The client's name and secret in a header (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose())));
    // Base64 is always a header's value.
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_one_after_another_while_the_service_is_away() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", silent.local_addr().unwrap());
        let provider = Provider::new(issuer, Client::new(None).unwrap(), SystemClock::shared());
        let answers = timeout(PATIENCE * 3, join_all((0..20).map(|_| provider.endpoints()))).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Err(OidcError::Unreachable { .. }))), "{answers:?}");
    }
}
