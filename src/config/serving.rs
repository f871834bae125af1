//! How `fleetman serve` is reached: the public name, TLS, and the proxies before it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;
use serde::Deserialize;

use super::error::ConfigError;
use super::file::ConfigFile;
use crate::yaml::{Document, Field};

/// How `fleetman serve` is reached.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// Under which URL people know it; addresses and `localhost` always do, too.
    pub public_url: Option<Origin>,
    /// Whose word on clients is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What it shows who it is with. None = plain HTTP.
    pub tls: Option<TlsFiles>,
}

impl Serving {
    /// Whether what is said at `address` is a proxy's word.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&address.to_canonical()))
    }
}

/// Scheme, host and port of a URL: what browsers call an origin. Kept as browsers write it, without a default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// The origin that `url` consists of: `http` or `https`, a host, perhaps a port, and nothing else.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let parts = url.parse::<Uri>().ok()?.into_parts();
        let scheme = parts.scheme.filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))?;
        let is_whole = parts.path_and_query.is_none_or(|path| path.as_str() == "/") && !url.contains('#');
        let authority = parts.authority.filter(|authority| is_whole && !authority.as_str().contains('@'))?;
        Self::new(scheme, &authority)
    }

    /// The origin of what is served at `authority`, the value of a `Host` header.
    #[must_use]
    pub fn new(scheme: Scheme, authority: &Authority) -> Option<Self> {
        let usual = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = match authority.as_str().rsplit_once(':') {
            // What follows the last colon of a bare IPv6 address in brackets is no port.
            Some((_, port)) if !port.ends_with(']') => Some(port.parse().ok().filter(|port| *port > 0)?),
            _ => None,
        };
        let host = authority.host().to_ascii_lowercase();
        (!host.is_empty()).then(|| Self { scheme, host, port: port.filter(|port| *port != usual) })
    }

    /// The host's name or address, in small letters; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

/// As in an `Origin` header: `https://fleet.example.com`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's own certificate first, then those between it and the root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// As people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenTls {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

/// The fields of [`Serving`] as they were written at the root of the file.
pub(super) struct WrittenServing<'a> {
    pub(super) public_url: Option<&'a String>,
    pub(super) trusted_proxies: &'a [String],
    pub(super) tls: Option<&'a WrittenTls>,
}

impl WrittenServing<'_> {
    pub(super) fn check(&self, file: &ConfigFile, document: &Document) -> Result<Serving, ConfigError> {
        let refused = |field: Field, message: &str, help: &str| {
            ConfigError::Invalid(document.error(&field, message, Some(help)).without_source())
        };
        let public_url = self.public_url.map(|url| {
            let help = "scheme, host and port alone, for example https://fleet.example.com: it is served at the root";
            Origin::parse(url).ok_or_else(|| refused(Field::root().key("public_url"), "this is not an origin", help))
        });
        let proxies = self.trusted_proxies.iter().enumerate().map(|(index, written)| {
            let at = || Field::root().key("trusted_proxies").index(index);
            let help = "write 10.0.0.5, 10.0.0.0/24 or fd00::/64";
            let net = net(written).ok_or_else(|| refused(at(), "this is no network and no address", help))?;
            if net.prefix_len() == 0 {
                let help = "name the proxies alone: from everybody else the address of a client is only a claim";
                return Err(refused(at(), "this would trust everybody", help));
            }
            Ok(net)
        });
        let tls = self.tls.map(|written| TlsFiles {
            certificate: file.resolve(written.certificate_file.clone()),
            key: file.resolve(written.key_file.clone()),
        });
        Ok(Serving { public_url: public_url.transpose()?, trusted_proxies: proxies.collect::<Result<_, _>>()?, tls })
    }
}

/// A network, or the one of a single address.
fn net(written: &str) -> Option<IpNet> {
    let net = written.parse().or_else(|_| written.parse::<IpAddr>().map(IpNet::from));
    net.ok().map(|net: IpNet| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (written, expected) in [
            ("https://fleet.example.com", "https://fleet.example.com"),
            ("https://Fleet.Example.com:443/", "https://fleet.example.com"),
            ("http://fleet.example.com:80", "http://fleet.example.com"),
            ("https://10.0.0.1:8443", "https://10.0.0.1:8443"),
            ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
            ("http://[fd00::1]", "http://[fd00::1]"),
        ] {
            assert_eq!(Origin::parse(written).map(|origin| origin.to_string()).as_deref(), Some(expected), "{written}");
        }
        for refused in [
            "fleet.example.com",
            "ftp://fleet.example.com",
            "https://",
            "https:///x",
            "https://fleet.example.com/portal",
            "https://fleet.example.com?x",
            "https://fleet.example.com/#x",
            "https://user@fleet.example.com",
            "https://fleet.example.com:0",
            "https://fleet.example.com:70000",
            "https://fleet.example.com:",
        ] {
            assert_eq!(Origin::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn proxies_are_trusted_by_network_also_where_v4_arrives_as_v6() {
        let nets = ["10.0.0.5", "192.168.1.77/24", "fd00::/64"].map(|written| net(written).unwrap());
        let serving = Serving { trusted_proxies: nets.to_vec(), ..Serving::default() };
        for trusted in ["10.0.0.5", "::ffff:10.0.0.5", "192.168.1.1", "fd00::7"] {
            assert!(serving.trusts(trusted.parse().unwrap()), "{trusted}");
        }
        for other in ["10.0.0.6", "192.168.2.1", "fd01::7", "127.0.0.1"] {
            assert!(!serving.trusts(other.parse().unwrap()), "{other}");
        }
        assert_eq!(net("proxy.example.com"), None);
    }
}
