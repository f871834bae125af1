//! ID tokens: believed where the signature and every claim is right (OpenID Connect Core 1.0, 3.1.3.7).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::error::quoted;

/// How far the service's clock may be from ours.
const LEEWAY_SECS: f64 = 60.0;

/// The most characters of a subject (OpenID Connect Core 1.0, 2).
const MAX_SUBJECT_CHARS: usize = 255;

/// What a token has to say.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: DateTime<Utc>,
}

/// What a token that is believed says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    aud: Audience,
    azp: Option<String>,
    /// Seconds; a service may write parts of them.
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    nonce: Option<String>,
    pub(super) preferred_username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) email_verified: Option<Value>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("it is no token: {0}")]
    Form(String),
    #[error("it is signed by {alg}: RS256, ES256 and EdDSA are taken")]
    Algorithm { alg: String },
    #[error("no key of the service fits it{}", kid.as_ref().map(|kid| format!(": it names {}", quoted(kid))).unwrap_or_default())]
    UnknownKey { kid: Option<String> },
    #[error("its signature is wrong")]
    Signature,
    #[error("its `{claim}` is {found}, expected {expected}")]
    Claim { claim: &'static str, found: String, expected: String },
}

/// The claims of `token`, if one of `keys` signed it and it is meant for us, now.
pub(super) fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Claims, TokenFault> {
    // An algorithm that is not known to the library, `none` among them, does not even parse.
    let header = jsonwebtoken::decode_header(token).map_err(|error| TokenFault::Form(error.to_string()))?;
    if ![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].contains(&header.alg) {
        return Err(TokenFault::Algorithm { alg: format!("{:?}", header.alg) });
    }
    let mut fitting = keys.keys.iter().filter(|key| fits(key, header.alg, header.kid.as_deref()));
    let unknown = || TokenFault::UnknownKey { kid: header.kid.clone() };
    let key = fitting.next().ok_or_else(unknown)?;
    // Without a name there must be no choice.
    if header.kid.is_none() && fitting.next().is_some() {
        return Err(unknown());
    }
    let key = DecodingKey::from_jwk(key).map_err(|error| TokenFault::Form(error.to_string()))?;
    let mut validation = Validation::new(header.alg);
    // Every claim is checked below, by our clock and in our words.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenFault::Signature,
        _ => TokenFault::Form(error.to_string()),
    })?;
    check(claims.claims, expected)
}

/// Whether a key is one of this kind, for signatures, and the one that is named.
fn fits(key: &Jwk, alg: Algorithm, kid: Option<&str>) -> bool {
    let (is_kind, named) = match (&key.algorithm, alg) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => (true, KeyAlgorithm::RS256),
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            (key.curve == EllipticCurve::P256, KeyAlgorithm::ES256)
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            (key.curve == EllipticCurve::Ed25519, KeyAlgorithm::EdDSA)
        }
        _ => return false,
    };
    let common = &key.common;
    is_kind
        && common.key_algorithm.is_none_or(|alg| alg == named)
        && common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && kid.is_none_or(|kid| common.key_id.as_deref() == Some(kid))
}

fn check(claims: Claims, expected: &Expected<'_>) -> Result<Claims, TokenFault> {
    let wrong = |claim, found: String, expected: String| Err(TokenFault::Claim { claim, found, expected });
    if claims.iss != expected.issuer {
        return wrong("iss", quoted(&claims.iss), quoted(expected.issuer));
    }
    let audience = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Many(many) => many,
    };
    if !audience.iter().any(|one| one == expected.client_id) {
        return wrong("aud", quoted(&audience.join(" ")), quoted(expected.client_id));
    }
    // A token for several says for whom it was made.
    match &claims.azp {
        Some(azp) if azp != expected.client_id => return wrong("azp", quoted(azp), quoted(expected.client_id)),
        None if audience.len() > 1 => return wrong("azp", "missing".to_owned(), quoted(expected.client_id)),
        _ => {}
    }
    let (now, leeway) = (expected.now.timestamp() as f64, LEEWAY_SECS);
    if claims.exp <= now - leeway {
        return wrong("exp", format!("{} s ago", now - claims.exp), "a time that comes".to_owned());
    }
    for (claim, time) in [("nbf", claims.nbf), ("iat", claims.iat)] {
        if let Some(time) = time.filter(|time| *time >= now + leeway) {
            return wrong(claim, format!("{} s ahead", time - now), "a time that has come".to_owned());
        }
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        let found = if claims.nonce.is_some() { "another's" } else { "missing" };
        return wrong("nonce", found.to_owned(), "the one of this sign-in".to_owned());
    }
    if claims.sub.is_empty() || claims.sub.chars().count() > MAX_SUBJECT_CHARS {
        return wrong("sub", quoted(&claims.sub), format!("1 to {MAX_SUBJECT_CHARS} characters"));
    }
    Ok(claims)
}
