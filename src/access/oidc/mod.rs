//! Signing in with another service: OpenID Connect, by authorisation code with PKCE.
//!
//! Nothing is kept between the way there and the way back: what has to be the same stands in a cookie that only this
//! portal can make. What the service says is believed where its signature, and every claim that OpenID Connect Core
//! 3.1.3.7 names, is right.

mod client;
mod error;
mod flow;
mod person;
mod provider;
mod token;

pub use error::OidcError;
pub use flow::{Answer, Departure};
pub use person::Vouched;

use self::client::Client;
use self::provider::Provider;
use self::token::Expected;
use super::seal::SealKey;
use crate::clock::SharedClock;
use crate::config::{OidcSettings, Origin};
use crate::entropy;
use crate::store::Secret;

/// Where people come back to, below `public_url`.
const CALLBACK: &str = "/sign-in/oidc/callback";

/// The way to the service, and back.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    secret: Option<Secret>,
    public_url: Origin,
    provider: Provider,
    key: SealKey,
    clock: SharedClock,
}

impl Oidc {
    /// The way to the service of `settings` and back to `public_url`. Nothing is asked yet: that the service is down
    /// keeps nobody else out. `key` seals the cookie.
    ///
    /// # Errors
    /// When the certificates to trust cannot be used.
    pub fn new(
        settings: OidcSettings,
        secret: Option<Secret>,
        public_url: Origin,
        key: SealKey,
        clock: SharedClock,
    ) -> Result<Self, OidcError> {
        let client = Client::new(settings.ca_file.as_deref())?;
        let provider = Provider::new(settings.issuer.clone(), client, clock.clone());
        Ok(Self { settings, secret, public_url, provider, key, clock })
    }

    /// The service.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// The service's host, as people are shown it.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.settings.issuer.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// Where people come back to.
    #[must_use]
    pub fn public_url(&self) -> &Origin {
        &self.public_url
    }

    fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK}", self.public_url)
    }

    /// Where to send somebody who wants to see `next` afterwards, and the cookie to give along.
    ///
    /// # Errors
    /// When the service does not tell where people sign in.
    pub async fn depart(&self, next: &str) -> Result<Departure, OidcError> {
        let random = || entropy::bytes::<32>().map_err(OidcError::Entropy);
        let endpoints = self.provider.endpoints().await?;
        let flow = flow::Flow::new([random()?, random()?, random()?], next, self.clock.now());
        let url = flow.url(&endpoints, &self.settings.client_id, &self.redirect_uri());
        let cookie = flow.seal(&self.key).ok_or(OidcError::Began)?;
        Ok(Departure { url, cookie })
    }

    /// Who came back with `answer`, which they carried in the URL, and with `cookie`.
    ///
    /// # Errors
    /// When the answer does not belong to the cookie, when the service does not vouch for them in a way that can be
    /// believed.
    pub async fn arrive(&self, answer: &Answer, cookie: Option<&str>) -> Result<Vouched, OidcError> {
        let flow = flow::Flow::open(&self.key, cookie, self.clock.now())?;
        let code = flow.code(answer, &self.settings.issuer)?;
        let endpoints = self.provider.endpoints().await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri()),
            ("code_verifier", flow.verifier()),
        ];
        let token = self.provider.redeem(&endpoints, &self.settings.client_id, self.secret.as_ref(), &form).await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: flow.nonce(),
            now: self.clock.now(),
        };
        let claims = self.provider.verify(&endpoints, &token, &expected).await?;
        person::vouched(claims, &self.settings, flow.next())
    }
}
