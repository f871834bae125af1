//! Queries of addresses: taken apart, and put together.

use std::fmt::Write as _;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// What the query of a request says.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(Failure::bad_request("invalid_query", error.body_text())),
        }
    }
}

/// What stays as it is in the name of a field.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// `path` with a query of `fields`; empty ones are left out.
pub(super) fn with_query<'a>(path: &str, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut address = path.to_owned();
    let mut mark = '?';
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        let (name, value) = (utf8_percent_encode(name, NAME), utf8_percent_encode(value, NON_ALPHANUMERIC));
        // Writing into a String cannot fail.
        let _ = write!(address, "{mark}{name}={value}");
        mark = '&';
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_field_stays_in_it() {
        let hostile = [("prefix", "a&b=c#d?e/é\u{1b}+ %"), ("none", ""), ("if_at&", "x")];
        let address = with_query("/p", hostile);
        assert_eq!(address, "/p?prefix=a%26b%3Dc%23d%3Fe%2F%C3%A9%1B%2B%20%25&if_at%26=x");
        assert_eq!(with_query("/p", [("q", "")]), "/p");
    }
}
