//! The way there and back: what has to be the same on both.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::serde::ts_seconds;
use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::OidcError;
use super::provider::Endpoints;
use crate::access::seal::{Purpose, SealKey};

/// How long somebody may take to sign in there.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(10);

/// How far the clocks of two controllers may be apart.
const SKEW: TimeDelta = TimeDelta::minutes(1);

/// The most bytes of a path to lead to afterwards; whoever comes with a longer one is led to the first page.
const MAX_NEXT_BYTES: usize = 1024;

/// Where to send a browser, and what to give it along.
#[derive(Debug, Clone)]
pub struct Departure {
    /// The service's page.
    pub url: String,
    /// The value of a cookie that comes back with [`Answer`].
    pub cookie: String,
}

/// What the service has browsers carry back in the URL: hostile text.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    /// RFC 9207: who answers.
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// What stands in the cookie.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    /// Ties the answer to this browser.
    #[serde(rename = "s")]
    state: String,
    /// Ties the ID token to this browser.
    #[serde(rename = "n")]
    nonce: String,
    /// Ties the code to this browser (PKCE).
    #[serde(rename = "v")]
    verifier: String,
    /// Where to go on afterwards.
    #[serde(rename = "p")]
    next: String,
    #[serde(rename = "b", with = "ts_seconds")]
    began: DateTime<Utc>,
}

impl Flow {
    pub(super) fn new(random: [[u8; 32]; 3], next: &str, now: DateTime<Utc>) -> Self {
        let [state, nonce, verifier] = random.map(|bytes| BASE64.encode(bytes));
        Self { state, nonce, verifier, next: own_path(next).to_owned(), began: now }
    }

    pub(super) fn seal(&self, key: &SealKey) -> Option<String> {
        key.seal(Purpose::OidcState, self)
    }

    pub(super) fn open(key: &SealKey, cookie: Option<&str>, now: DateTime<Utc>) -> Result<Self, OidcError> {
        let flow: Self = cookie.and_then(|cookie| key.open(Purpose::OidcState, cookie)).ok_or(OidcError::Began)?;
        let age = now - flow.began;
        if age < -SKEW || age > GOOD_FOR { Err(OidcError::Began) } else { Ok(flow) }
    }

    /// The page of the service where people sign in.
    pub(super) fn url(&self, endpoints: &Endpoints, client_id: &str, redirect_uri: &str) -> String {
        let challenge = BASE64.encode(Sha256::digest(self.verifier.as_bytes()));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &endpoints.scope()),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let page = &endpoints.authorization;
        format!("{page}{}{query}", if page.contains('?') { '&' } else { '?' })
    }

    /// The code of an answer to this very way there.
    pub(super) fn code<'a>(&self, answer: &'a Answer, issuer: &str) -> Result<&'a str, OidcError> {
        let is_ours = |state: &String| bool::from(state.as_bytes().ct_eq(self.state.as_bytes()));
        if !answer.state.as_ref().is_some_and(is_ours) {
            return Err(OidcError::Began);
        }
        let refused = |why: &str| OidcError::Refused { issuer: issuer.to_owned(), why: why.to_owned() };
        if answer.iss.as_ref().is_some_and(|iss| iss != issuer) {
            return Err(refused("another service answered in its place"));
        }
        if let Some(error) = &answer.error {
            return Err(refused(answer.error_description.as_ref().unwrap_or(error)));
        }
        answer.code.as_deref().ok_or_else(|| refused("it gave neither a code nor a reason"))
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    pub(super) fn verifier(&self) -> &str {
        &self.verifier
    }

    pub(super) fn next(&self) -> &str {
        &self.next
    }
}

/// `next` if it is a path of this portal, and not another site in disguise.
fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= MAX_NEXT_BYTES
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { next } else { "/" }
}

/// Pairs as a form or a query carries them.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let separator = if text.is_empty() { "" } else { "&" };
        // Writing into a String cannot fail.
        let _ = write!(text, "{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn flow(next: &str) -> Flow {
        Flow::new([[1; 32], [2; 32], [3; 32]], next, at(0))
    }

    #[test]
    fn a_cookie_is_good_for_ten_minutes_and_only_ours() {
        let key = SealKey::new([9; 32]);
        let cookie = flow("/cells").seal(&key).unwrap();
        let opened =
            |key: &SealKey, cookie: Option<&str>, secs| Flow::open(key, cookie, at(secs)).map(|flow| flow.next);
        assert_eq!(opened(&key, Some(&cookie), 600).unwrap(), "/cells");
        assert_eq!(opened(&key, Some(&cookie), -60).unwrap(), "/cells", "another controller's clock may be ahead");
        for (key, cookie, secs) in [
            (&key, Some(cookie.as_str()), 601),
            (&key, Some(&cookie), -61),
            (&SealKey::new([8; 32]), Some(&cookie), 1),
            (&key, None, 1),
        ] {
            assert!(matches!(opened(key, cookie, secs), Err(OidcError::Began)));
        }
    }

    #[test]
    fn only_an_answer_to_this_way_there_has_a_code() {
        let flow = flow("/");
        let answer = |state: Option<&str>, change: fn(&mut Answer)| {
            let mut answer = Answer {
                code: Some("c".into()),
                state: state.map(Into::into),
                iss: Some("i".into()),
                ..Answer::default()
            };
            change(&mut answer);
            flow.code(&answer, "i").map(ToOwned::to_owned)
        };
        let own = BASE64.encode([1; 32]);
        assert_eq!(answer(Some(&own), |_| {}).unwrap(), "c");
        assert_eq!(answer(Some(&own), |answer| answer.iss = None).unwrap(), "c");
        assert!(matches!(answer(None, |_| {}), Err(OidcError::Began)));
        assert!(matches!(answer(Some("other"), |_| {}), Err(OidcError::Began)));
        // Nobody else may even say that it was refused.
        assert!(matches!(answer(Some("other"), |answer| answer.error = Some("x".into())), Err(OidcError::Began)));
        for change in [
            (|answer| answer.iss = Some("j".into())) as fn(&mut Answer),
            |answer| answer.code = None,
            |answer| answer.error = Some("access_denied".into()),
        ] {
            assert!(matches!(answer(Some(&own), change), Err(OidcError::Refused { .. })));
        }
    }

    #[test]
    fn nobody_is_led_to_another_site() {
        for own in ["/", "/cells?x=1&y=%2F", "/b/lab/agents"] {
            assert_eq!(own_path(own), own);
        }
        let long = format!("/{}", "x".repeat(MAX_NEXT_BYTES));
        for other in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "cells", "/a\r\nSet-Cookie: x", &long]
        {
            assert_eq!(own_path(other), "/", "{other}");
        }
    }

    #[test]
    fn the_challenge_is_the_one_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let flow = Flow { verifier, ..flow("/") };
        let told = r#"{"issuer":"","authorization_endpoint":"https://id/auth?a=b","token_endpoint":"","jwks_uri":""}"#;
        let url = flow.url(&serde_json::from_str(told).unwrap(), "fleet man", "https://f/cb");
        assert!(url.starts_with("https://id/auth?a=b&response_type=code&client_id=fleet%20man&"), "{url}");
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw%2DcM";
        assert!(url.ends_with(&format!("&code_challenge={challenge}&code_challenge_method=S256")), "{url}");
    }
}
