//! JSON for programs, with a signature over the time and the bytes: whoever shares the secret can tell that it is from
//! here, and that it is not an old one sent again.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::Serialize;
use sha2::Sha256;
use ulid::Ulid;
use uuid::Uuid;

use super::{Letter, fate};
use crate::controller::alerts::batch::Fate;
use crate::model::alert::NoticePart;
use crate::outbound::Client;
use crate::store::Secret;

/// What stands in the body.
#[derive(Serialize)]
struct Body<'a> {
    schema: &'static str,
    id: Ulid,
    fleet: Uuid,
    sent_at: DateTime<Utc>,
    test: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    portal: Option<&'a str>,
    opened: &'a NoticePart,
    resolved: &'a NoticePart,
    acknowledged: &'a NoticePart,
}

pub(super) async fn send(client: &Client, url: &Uri, secret: Option<&Secret>, letter: &Letter<'_>) -> Fate {
    let body = Body {
        schema: "fleetman/notice/1",
        id: letter.id,
        fleet: letter.fleet,
        sent_at: letter.sent_at,
        test: letter.is_test,
        portal: letter.portal,
        opened: &letter.notice.opened,
        resolved: &letter.notice.resolved,
        acknowledged: &letter.notice.acknowledged,
    };
    let body = match serde_json::to_vec(&body) {
        Ok(body) => Bytes::from(body),
        Err(error) => return Fate::Never(error.to_string()),
    };
    let time = letter.sent_at.timestamp();
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("fleetman-timestamp"), HeaderValue::from(time)),
    ]);
    let signature = secret.map(|secret| signature(secret, time, &body));
    for (name, value) in [("fleetman-delivery", Some(letter.id.to_string())), ("fleetman-signature", signature)] {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    fate(client.ask(url, Method::POST, headers, body).await.map(|(status, _)| status))
}

/// `v1=` and the HMAC-SHA256, in hex, of `<seconds>.<body>`.
fn signature(secret: &Secret, time: i64, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return String::new() };
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_makes_of_it() {
        // printf '1767323045.{}' | openssl dgst -sha256 -hmac hush
        let expected = "v1=aa2f09b90af659d87e4109481722bfce5ef3142b8da8bd2475e0d6c0d4139ca3";
        assert_eq!(signature(&Secret::new("hush"), 1_767_323_045, b"{}"), expected);
    }
}
