//! What a form sent, kept until it is answered: if it cannot be taken at present, whoever typed it gets it back.

use std::borrow::Cow;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, header};
use percent_encoding::percent_decode;

use super::app::BODY_BYTES;

/// The fields of a form, as they were sent.
#[derive(Debug, Default)]
pub(super) struct Typed {
    fields: Vec<(String, String)>,
    /// Whether something was sent that is not kept.
    has_secret: bool,
}

/// Fields that nobody typed: what the page knew, and which button it was.
const UNTYPED: [&str; 8] = ["change", "etag", "expect", "if_generation", "seen", "step", "to", "token"];

/// Fields that are never shown.
const SECRET: [&str; 4] = ["again", "password", "present", "token"];

impl Typed {
    /// Reads a form out of a request, and puts it back. What is no form, or too large, is left to whoever takes it.
    pub(super) async fn of(request: Request) -> (Self, Request) {
        let is_form = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_form = is_form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // Browsers say how long a form is.
        let fits = length.is_some_and(|length: usize| length <= BODY_BYTES);
        if request.method() != Method::POST || !is_form || !fits {
            return (Self::default(), request);
        }
        let (parts, body) = request.into_parts();
        match to_bytes(body, BODY_BYTES).await {
            Ok(bytes) => (Self::read(&bytes), Request::from_parts(parts, Body::from(bytes))),
            // It broke off: the rest of the way finds no form.
            Err(_) => (Self::default(), Request::from_parts(parts, Body::empty())),
        }
    }

    fn read(bytes: &Bytes) -> Self {
        let decoded = |part: &[u8]| {
            let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            Cow::from(percent_decode(&spaced)).into_owned()
        };
        let mut typed = Self::default();
        for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
            let name = String::from_utf8_lossy(&decoded(name)).into_owned();
            if SECRET.contains(&name.as_str()) {
                typed.has_secret = true;
                continue;
            }
            let value = String::from_utf8_lossy(&decoded(value.get(1..).unwrap_or_default())).replace("\r\n", "\n");
            typed.fields.push((name, value));
        }
        typed
    }

    /// All of it, to be sent again; nothing where a secret would be missing.
    pub(super) fn again(&self) -> &[(String, String)] {
        if self.has_secret { &[] } else { &self.fields }
    }

    /// What people wrote themselves.
    pub(super) fn words(&self) -> Vec<&(String, String)> {
        let is_typed = |(name, value): &&(String, String)| !value.is_empty() && !UNTYPED.contains(&name.as_str());
        self.fields.iter().filter(is_typed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(kind: &str, body: &str) -> (Typed, String) {
        let request = Request::post("/x")
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (typed, request) = Typed::of(request).await;
        (typed, String::from_utf8(to_bytes(request.into_body(), 1_000).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_form_is_read_and_goes_on_as_it_came() {
        const FORM: &str = "application/x-www-form-urlencoded";
        let body = "reason=a+%26+b%0D%0Ac&if_generation=7&empty=&node=n1&node=n2&bare";
        let (typed, went_on) = sent(FORM, body).await;
        assert_eq!(went_on, body);
        let fields: Vec<_> = typed.again().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let all = [
            ("reason", "a & b\nc"),
            ("if_generation", "7"),
            ("empty", ""),
            ("node", "n1"),
            ("node", "n2"),
            ("bare", ""),
        ];
        assert_eq!(fields, all);
        assert_eq!(typed.words().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["reason", "node", "node"]);

        let (typed, _) = sent(FORM, "name=ada&password=secret&again=secret").await;
        assert!(typed.again().is_empty() && !format!("{typed:?}").contains("secret\""));
        assert_eq!(typed.words().len(), 1);
        let (typed, went_on) = sent("application/json", "{}").await;
        assert!(typed.again().is_empty() && went_on == "{}");
    }
}
