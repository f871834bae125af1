//! How a request came: from whom, over what, and under which name.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::HeaderName;
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, Uri, header};

use super::Settings;
use crate::config::{Origin, Serving};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request came; among the extensions of every request that reaches the router.
#[derive(Debug, Clone)]
pub struct Arrival {
    client: IpAddr,
    is_secure: bool,
    named: Option<Origin>,
    public_url: Option<Origin>,
    any_host: bool,
}

impl Arrival {
    /// `None` where the request names its server in a way that nobody should have to guess at.
    pub(in crate::web) fn of(
        uri: &Uri,
        headers: &HeaderMap,
        peer: IpAddr,
        is_tls: bool,
        settings: &Settings,
    ) -> Option<Self> {
        let Settings { serving, insecure_http, .. } = settings;
        let peer = peer.to_canonical();
        let (client, is_secure) = if serving.trusts(peer) {
            let is_secure = last(headers, &FORWARDED_PROTO).map(|scheme| scheme.eq_ignore_ascii_case("https"));
            (farthest(headers, peer, serving), is_secure.unwrap_or(is_tls))
        } else {
            (peer, is_tls)
        };
        let scheme = if is_secure { Scheme::HTTPS } else { Scheme::HTTP };
        let named = match named(uri, headers)? {
            Some(authority) => Some(Origin::new(scheme, &authority)?),
            None => None,
        };
        Some(Self { client, is_secure, named, public_url: serving.public_url.clone(), any_host: *insecure_http })
    }

    /// Who asks: whoever connected, or whom the trusted proxies name.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether it came to this server, or to the first trusted proxy, over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether browsers trust its origin: TLS, or this very machine (W3C Secure Contexts, 3.1).
    #[must_use]
    pub fn is_trustworthy(&self) -> bool {
        self.is_secure
            || self.named.as_ref().is_some_and(|named| {
                let host = named.host();
                let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            })
    }

    /// Whether the server was told to take requests in the clear, under whatever name.
    #[must_use]
    pub fn takes_any_host(&self) -> bool {
        self.any_host
    }

    /// Under which origin the request asked; `None` where it named none, as HTTP/1.0 may.
    #[must_use]
    pub fn named(&self) -> Option<&Origin> {
        self.named.as_ref()
    }

    /// The origin for links and redirects that have to be whole: `public_url`, or else what the request named.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.public_url.as_ref().or(self.named.as_ref())
    }

    /// Whether the value of an `Origin` header is this very server, so that what came with it is none of another site.
    #[must_use]
    pub fn is_own_origin(&self, origin: &str) -> bool {
        [&self.public_url, &self.named].into_iter().flatten().any(|own| own.to_string() == origin)
    }

    /// Whether it asked for this server by `public_url`, over TLS.
    pub(super) fn is_public_and_secure(&self) -> bool {
        let public = self.public_url.as_ref().filter(|url| self.is_secure && url.is_https());
        public.zip(self.named.as_ref()).is_some_and(|(public, named)| public.host() == named.host())
    }

    /// Whether it asked for an address, `localhost` or the host of `public_url`, or names do not count. A page on the
    /// web that lets a name of its own point at this machine (DNS rebinding) asks for that name.
    #[must_use]
    pub fn names_this_server(&self) -> bool {
        let Some(named) = self.named.as_ref().filter(|_| !self.any_host) else { return true };
        let host = named.host();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || host == "localhost" || self.public_url.as_ref().is_some_and(|url| url.host() == host)
    }
}

/// The host that a request names; `Some(None)` where it names none.
fn named(uri: &Uri, headers: &HeaderMap) -> Option<Option<Authority>> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return None,
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).ok()?),
        (None, None) => None,
    };
    // A request for a whole URL means that one (RFC 9112, 3.2.2).
    let authority = uri.authority().cloned().or(host);
    match authority {
        Some(authority) if authority.as_str().contains('@') => None,
        authority => Some(authority),
    }
}

/// The values of a list header, over all its lines, the last first. What is no text is no value.
fn backwards<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(str::trim)
}

fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    backwards(headers, name).next()
}

/// The farthest address back from `peer` that a trusted one vouches for: each proxy adds whom it heard, so that the
/// first from the right that is not trusted is the client, and what stands left of it is only a claim.
fn farthest(headers: &HeaderMap, peer: IpAddr, serving: &Serving) -> IpAddr {
    let mut known = peer;
    for hop in backwards(headers, &FORWARDED_FOR) {
        let Some(address) = address(hop) else { break };
        known = address;
        if !serving.trusts(address) {
            break;
        }
    }
    known
}

/// An address as proxies write it: some add a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    text.parse().ok().or_else(bare).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let serving = Serving {
            public_url: Origin::parse("https://fleet.example.com"),
            trusted_proxies: vec!["10.0.0.0/24".parse().unwrap(), "::1/128".parse().unwrap()],
            tls: None,
        };
        Settings { serving, ..Settings::default() }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn arrival(peer: &str, lines: &[(&'static str, &str)]) -> Arrival {
        let uri = Uri::from_static("/");
        Arrival::of(&uri, &headers(lines), peer.parse().unwrap(), false, &settings()).unwrap()
    }

    #[test]
    fn the_client_is_the_first_that_no_trusted_proxy_stands_behind() {
        const FOR: &str = "x-forwarded-for";
        for (peer, lines, expected) in [
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec![(FOR, "1.2.3.4")], "1.2.3.4"),
            ("::ffff:10.0.0.1", vec![(FOR, "1.2.3.4")], "1.2.3.4"),
            ("10.0.0.1", vec![(FOR, "6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
            ("10.0.0.1", vec![(FOR, "6.6.6.6"), (FOR, "1.2.3.4"), (FOR, "10.0.0.2")], "1.2.3.4"),
            ("10.0.0.1", vec![(FOR, "10.0.0.3,10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", vec![(FOR, "1.2.3.4, unknown")], "10.0.0.1"),
            ("10.0.0.1", vec![(FOR, "1.2.3.4:5678")], "1.2.3.4"),
            ("::1", vec![(FOR, "[fd00::7]:80")], "fd00::7"),
            ("::1", vec![(FOR, "fd00::7")], "fd00::7"),
            ("::1", vec![(FOR, "[fd00::7]")], "fd00::7"),
            ("10.0.0.1", vec![(FOR, "")], "10.0.0.1"),
            // Nobody else is believed.
            ("10.0.1.1", vec![(FOR, "1.2.3.4")], "10.0.1.1"),
            ("127.0.0.1", vec![(FOR, "10.0.0.1")], "127.0.0.1"),
        ] {
            assert_eq!(arrival(peer, &lines).client(), expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_can_say_that_a_request_came_over_tls() {
        const PROTO: &str = "x-forwarded-proto";
        for (peer, lines, expected) in [
            ("10.0.0.1", vec![(PROTO, "https")], true),
            ("10.0.0.1", vec![(PROTO, "http")], false),
            ("10.0.0.1", vec![(PROTO, "https, http")], false),
            ("10.0.0.1", vec![(PROTO, "http"), (PROTO, "HTTPS")], true),
            ("10.0.0.1", vec![], false),
            ("10.0.1.1", vec![(PROTO, "https")], false),
        ] {
            assert_eq!(arrival(peer, &lines).is_secure(), expected, "{peer} {lines:?}");
        }
        for (lines, expected) in [(vec![], true), (vec![(PROTO, "http")], false)] {
            let (uri, headers) = (Uri::from_static("/"), headers(&lines));
            let arrival = Arrival::of(&uri, &headers, "10.0.0.1".parse().unwrap(), true, &settings()).unwrap();
            assert_eq!(arrival.is_secure(), expected, "what a proxy heard in the clear is not secure: {lines:?}");
        }
    }

    #[test]
    fn only_the_public_name_addresses_and_localhost_are_own_hosts() {
        let names = |host: &str| {
            let headers = headers(&[("host", host)]);
            Arrival::of(&Uri::from_static("/"), &headers, "1.2.3.4".parse().unwrap(), false, &settings())
                .is_some_and(|arrival| arrival.names_this_server())
        };
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.1", "Fleet.example.com:8443"]
        {
            assert!(names(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "",
            "[evil]:1",
            "localhost.evil",
            "localhost@evil.example",
            "evil.example/localhost",
            "sub.fleet.example.com",
        ] {
            assert!(!names(foreign), "{foreign}");
        }
    }

    #[test]
    fn browsers_take_only_their_own_machine_for_safe_without_tls() {
        let is_safe = |host: &str| arrival("1.2.3.4", &[("host", host)]).is_trustworthy();
        assert!(["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]"].into_iter().all(is_safe));
        assert!(!["10.0.0.1", "localhost.example.com", "fleet"].into_iter().any(is_safe));
    }

    #[test]
    fn a_request_cannot_name_two_hosts() {
        let of = |uri: &'static str, lines: &[(&'static str, &str)]| {
            let (uri, headers) = (Uri::from_static(uri), headers(lines));
            Arrival::of(&uri, &headers, "1.2.3.4".parse().unwrap(), false, &settings())
        };
        assert!(of("/", &[("host", "localhost"), ("host", "evil.example")]).is_none());
        let whole = of("http://evil.example/", &[("host", "localhost")]).unwrap();
        assert_eq!(whole.named().unwrap().host(), "evil.example");
        assert!(of("/", &[]).unwrap().names_this_server(), "no page on the web can leave it out");
    }

    #[test]
    fn own_origins_are_the_public_one_and_the_one_that_was_asked() {
        let headers = headers(&[("host", "127.0.0.1:8080")]);
        let arrival =
            Arrival::of(&Uri::from_static("/"), &headers, "1.2.3.4".parse().unwrap(), false, &settings()).unwrap();
        assert!(arrival.is_own_origin("https://fleet.example.com"));
        assert!(arrival.is_own_origin("http://127.0.0.1:8080"));
        for other in ["null", "http://fleet.example.com", "https://127.0.0.1:8080", "http://127.0.0.1", ""] {
            assert!(!arrival.is_own_origin(other), "{other}");
        }
        assert_eq!(arrival.origin().unwrap().to_string(), "https://fleet.example.com");
    }
}
