//! The cookie that holds a session.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

use super::listener::Arrival;

/// Which cookie a browser keeps for the way that it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Sent over TLS alone, or within this machine, and only to this very host: no neighbour can set one.
    Secure,
    /// Sent in the clear: where the config was told that this is how it is to be.
    Plain,
}

impl Cookie {
    /// The one for a request. None where it came in the clear from elsewhere and nobody said that this is fine: behind
    /// a proxy that is not trusted.
    pub(super) fn of(arrival: &Arrival) -> Option<Self> {
        let is_local = arrival.named().is_some_and(|origin| is_loopback(origin.host()));
        if arrival.is_secure() || is_local {
            return Some(Self::Secure);
        }
        arrival.takes_any_host().then_some(Self::Plain)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secure => "__Host-fleetman",
            Self::Plain => "fleetman",
        }
    }

    /// Its value in a request.
    pub(super) fn find(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name()).map(|(_, value)| value)
    }

    /// The header that sets it. It goes when the browser is closed, if not before.
    pub(super) fn set(self, value: &str) -> Option<HeaderValue> {
        self.header(value, "")
    }

    /// The header that takes it away.
    pub(super) fn clear(self) -> Option<HeaderValue> {
        self.header("", "; Max-Age=0")
    }

    fn header(self, value: &str, more: &str) -> Option<HeaderValue> {
        let secure = if self == Self::Secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}", self.name());
        HeaderValue::from_str(&text).ok()
    }
}

/// Whether browsers take this host for their own machine, to which they send secure cookies without TLS.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_only_under_its_own_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; fleetman=plain; x__Host-fleetman=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-fleetman=secure.mac"));
        assert_eq!(Cookie::Secure.find(&headers), Some("secure.mac"));
        assert_eq!(Cookie::Plain.find(&headers), Some("plain"));
        assert_eq!(Cookie::Plain.find(&HeaderMap::new()), None);
    }

    #[test]
    fn only_the_secure_cookie_is_bound_to_the_host() {
        let set = Cookie::Secure.set("v").unwrap();
        assert_eq!(set, "__Host-fleetman=v; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(Cookie::Plain.set("v").unwrap(), "fleetman=v; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(Cookie::Plain.clear().unwrap(), "fleetman=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn browsers_take_only_their_own_machine_for_safe() {
        assert!(["localhost", "127.0.0.1", "127.9.9.9", "[::1]"].into_iter().all(is_loopback));
        assert!(!["10.0.0.1", "localhost.example.com", "fleet"].into_iter().any(is_loopback));
    }
}
