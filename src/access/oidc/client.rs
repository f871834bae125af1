//! Requests to the service: over TLS or within this machine.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::error::OidcError;
use crate::outbound::{self, is_safe};

/// What sends them.
#[derive(Debug, Clone)]
pub(super) struct Client(outbound::Client);

impl Client {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, OidcError> {
        Ok(Self(outbound::Client::new(ca_file)?))
    }

    pub(super) async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), OidcError> {
        self.ask(url, Method::GET, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends a form, with what goes into `Authorization` if anything does.
    pub(super) async fn post(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<(StatusCode, Bytes), OidcError> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form_type)]);
        headers.extend(authorization.map(|authorization| (header::AUTHORIZATION, authorization)));
        self.ask(url, Method::POST, headers, form.into()).await
    }

    async fn ask(
        &self,
        url: &str,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), OidcError> {
        let uri = url
            .parse::<Uri>()
            .ok()
            .filter(is_safe)
            .ok_or_else(|| OidcError::Unusable { url: url.to_owned(), why: "this is no https URL".to_owned() })?;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.0.ask(&uri, method, headers, body).await;
        answer.map_err(|why| OidcError::Unreachable { url: url.to_owned(), why })
    }
}
