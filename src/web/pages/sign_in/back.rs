//! Where a sign-in leads: a page of this portal, whatever the link says that somebody followed.

use std::fmt;

use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

/// The most bytes of a path to go back to.
const MOST_BYTES: usize = 2_000;

/// A path of this portal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Back(String);

impl Default for Back {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

/// Anything else than a path of this very origin is the overview. Browsers read `//`, `/\` and what remains when they
/// drop tabs and line ends as the beginning of another host.
impl From<String> for Back {
    fn from(text: String) -> Self {
        let is_path = text.starts_with('/')
            && !text[1..].starts_with('/')
            && text.len() <= MOST_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !text.starts_with("/sign-");
        if is_path { Self(text) } else { Self::default() }
    }
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Back {
    pub(super) fn redirect(&self) -> Response {
        let path = if HeaderValue::from_str(&self.0).is_ok() { self.0.as_str() } else { "/" };
        Redirect::to(path).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for own in ["/", "/cells?page=2&q=a%20b", "/b/lab/cells/n1/web"] {
            assert_eq!(Back::from(own.to_owned()).to_string(), own);
        }
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "evil",
            "/a\r\nSet-Cookie: x",
            "/ü",
            "/sign-in?next=/",
            "/sign-out",
            &format!("/{}", "a".repeat(2_000)),
        ] {
            assert_eq!(Back::from(foreign.to_owned()), Back::default(), "{foreign:?}");
        }
    }
}
