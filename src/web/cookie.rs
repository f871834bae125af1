//! The cookies that browsers keep for us.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::listener::Arrival;

/// Who is signed in.
const SESSION: &str = "fleetman";

/// Which browser it is that somebody signed in with before.
const BROWSER: &str = "fleetman-browser";

/// A sign-in with another service that is under way.
const OIDC_STATE: &str = "fleetman-oidc";

/// A cookie, for the way that a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie {
    purpose: &'static str,
    /// Whether it is sent over TLS alone, or within this machine, and only to this very host, so that no neighbour can
    /// set one. In the clear only where the config was told that this is how it is to be.
    is_secure: bool,
}

impl Cookie {
    /// The one of the session. None where the request came in the clear from elsewhere and nobody said that this is
    /// fine: behind a proxy that is not trusted.
    pub(super) fn of(arrival: &Arrival) -> Option<Self> {
        Self::for_purpose(SESSION, arrival)
    }

    /// The one by which a browser is known. None as for [`Self::of`].
    pub(super) fn of_browser(arrival: &Arrival) -> Option<Self> {
        Self::for_purpose(BROWSER, arrival)
    }

    /// The one of a sign-in with another service. None as for [`Self::of`].
    pub(super) fn of_oidc(arrival: &Arrival) -> Option<Self> {
        Self::for_purpose(OIDC_STATE, arrival)
    }

    fn for_purpose(purpose: &'static str, arrival: &Arrival) -> Option<Self> {
        let is_secure = arrival.is_trustworthy();
        (is_secure || arrival.takes_any_host()).then_some(Self { purpose, is_secure })
    }

    fn name(self) -> String {
        format!("{}{}", if self.is_secure { "__Host-" } else { "" }, self.purpose)
    }

    /// Its value in a request.
    pub(super) fn find(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let own = self.name();
        pairs.find(|(name, _)| *name == own).map(|(_, value)| value)
    }

    /// The header that sets it. It goes when the browser is closed, if not before.
    pub(super) fn set(self, value: &str) -> Option<HeaderValue> {
        self.header(value, "")
    }

    /// The header that sets it for longer than the browser is open.
    pub(super) fn keep(self, value: &str, time: Duration) -> Option<HeaderValue> {
        self.header(value, &format!("; Max-Age={}", time.as_secs()))
    }

    /// The header that takes it away.
    pub(super) fn clear(self) -> Option<HeaderValue> {
        self.header("", "; Max-Age=0")
    }

    fn header(self, value: &str, more: &str) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}", self.name());
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURE: Cookie = Cookie { purpose: SESSION, is_secure: true };
    const PLAIN: Cookie = Cookie { purpose: SESSION, is_secure: false };

    #[test]
    fn a_cookie_is_found_among_others_and_only_under_its_own_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; fleetman=plain; x__Host-fleetman=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-fleetman=secure.mac"));
        assert_eq!(SECURE.find(&headers), Some("secure.mac"));
        assert_eq!(PLAIN.find(&headers), Some("plain"));
        assert_eq!(PLAIN.find(&HeaderMap::new()), None);
    }

    #[test]
    fn only_the_secure_cookie_is_bound_to_the_host() {
        let set = SECURE.set("v").unwrap();
        assert_eq!(set, "__Host-fleetman=v; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(PLAIN.set("v").unwrap(), "fleetman=v; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(PLAIN.clear().unwrap(), "fleetman=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
        let kept = PLAIN.keep("v", Duration::from_secs(60)).unwrap();
        assert_eq!(kept, "fleetman=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    }
}
