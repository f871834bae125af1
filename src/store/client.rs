//! Settings to an S3 client: TLS, proxy, region and credentials.

use std::time::SystemTime;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, imds};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    IdentityCache, IntoShared as _, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
    SharedHttpClient, SharedInterceptor, StalledStreamProtectionConfig,
};
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_http_client::pool::{Client as PooledClient, ConnectionPool};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::error::{Cause, StoreError};
use super::settings::{Credentials, ProxySettings, StoreSettings};
use crate::clock::SharedClock;

/// The region of stores that have none.
const REGION_OF_OTHER_STORES: &str = "us-east-1";

/// A client, and where it looks for the store.
pub(super) struct Connected {
    pub(super) client: aws_sdk_s3::Client,
    /// None = AWS.
    pub(super) endpoint: Option<String>,
}

/// Builds the client. Asks the network for nothing but, on AWS without any region set, the instance metadata.
pub(super) async fn connect(
    settings: &StoreSettings,
    clock: &SharedClock,
    interceptor: SharedInterceptor,
) -> Result<Connected, StoreError> {
    let wrong = |what: String, source: Option<Cause>| StoreError::Misconfigured {
        bucket: settings.bucket.clone(),
        what,
        source,
    };
    if settings.bucket.is_empty() {
        return Err(wrong("the bucket's name is empty".to_owned(), None));
    }
    let tls = tls_context(settings).map_err(|(what, source)| wrong(what, source))?;
    let proxy = proxy(&settings.proxy).map_err(|error| wrong("the proxy is no usable URL".to_owned(), Some(error)))?;
    let http_client = |proxy| {
        http_client(&tls, proxy).map_err(|error| wrong("they make no working HTTP client".to_owned(), Some(error)))
    };
    let time = SharedTimeSource::new(ClockTime(clock.clone()));
    let mut endpoint = settings.endpoint.clone().or_else(endpoint_of_environment);

    let region = region(settings, endpoint.is_some()).await.ok_or_else(|| {
        wrong("no region is set; set `region` in the config, or AWS_REGION in the environment".to_owned(), None)
    })?;
    let provider = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_time_source(time.clone());
    let to_services = http_client(proxy)?;
    let credentials = match &settings.credentials {
        Credentials::Static { access_key, secret_key, session_token } => {
            SharedCredentialsProvider::new(aws_sdk_s3::config::Credentials::new(
                access_key,
                secret_key.expose(),
                session_token.as_ref().map(|token| token.expose().to_owned()),
                None,
                "config",
            ))
        }
        Credentials::Chain { profile: Some(profile) } => SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder()
                .configure(&provider.with_http_client(to_services.clone()))
                .profile_name(profile)
                .build(),
        ),
        Credentials::Chain { profile: None } => {
            // Two tries of a second each: on a machine without metadata service nothing answers at all.
            let metadata = imds::Client::builder()
                .configure(&provider.clone().with_http_client(http_client(ProxyConfig::disabled())?))
                .max_attempts(2)
                .build();
            let chain = DefaultCredentialsChain::builder()
                .configure(provider.with_http_client(to_services.clone()))
                .region(region.clone())
                .imds_client(metadata);
            SharedCredentialsProvider::new(chain.build().await)
        }
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(to_services)
        .time_source(time)
        .credentials_provider(credentials)
        .identity_cache(IdentityCache::lazy().load_timeout(settings.deadlines.credentials).build());
    if let Credentials::Chain { profile: Some(profile) } = &settings.credentials {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    endpoint = endpoint.or_else(|| shared.endpoint_url().map(str::to_owned));
    if let Some(url) = &endpoint {
        check_endpoint(url).map_err(|what| wrong(what, None))?;
    }
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(settings.path_style.unwrap_or(endpoint.is_some()))
        // Several stores refuse the checksums that the SDK adds by itself, and none of them is needed: what is sent
        // is signed with its sha256, what is fetched is compared with ours. So it is off everywhere, AWS too.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Tries, deadlines and stalls are ours (`attempt`, `stream`), because only we know which write may be
        // repeated and how its answer is settled.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(settings.deadlines.connect).disable_read_timeout().build(),
        )
        .interceptor(interceptor);
    config.set_endpoint_url(endpoint.clone());
    Ok(Connected { client: aws_sdk_s3::Client::from_conf(config.build()), endpoint })
}

/// Refuses what is no `http` or `https` URL of a host, and warns of secrets travelling readable.
fn check_endpoint(url: &str) -> Result<(), String> {
    let refuse = |what: &str| format!("the endpoint {url:?} {what}; expected for example https://s3.example.com:9000");
    let uri: http::Uri = url.parse().map_err(|_| refuse("is no URL"))?;
    let host = uri.host().ok_or_else(|| refuse("names no host"))?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        Some("http") => {
            tracing::warn!(endpoint = url, "the store is spoken to without TLS: who listens on the way can read along");
        }
        _ => return Err(refuse("is neither http nor https")),
    }
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refuse("holds more than scheme, host, port and path"));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_context(settings: &StoreSettings) -> Result<TlsContext, (String, Option<Cause>)> {
    let mut trust = TrustStore::default();
    if let Some(path) = &settings.ca_file {
        let fault = |what: &str, source: Option<Cause>| (format!("ca_file {path:?} {what}"), source);
        let pem = std::fs::read(path).map_err(|error| fault("cannot be read", Some(error.into())))?;
        // Checked here, because the HTTP client panics over a certificate that it cannot use.
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fault("is not PEM", Some(error.into())))?;
            roots.add(certificate).map_err(|error| fault("holds an unusable certificate", Some(error.into())))?;
        }
        if roots.is_empty() {
            return Err(fault("holds no certificate; expected PEM with BEGIN CERTIFICATE", None));
        }
        trust = trust.with_pem_certificate(pem);
    }
    TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| ("the TLS settings".to_owned(), Some(error.into())))
}

fn proxy(settings: &ProxySettings) -> Result<ProxyConfig, Cause> {
    Ok(match settings {
        ProxySettings::FromEnv => ProxyConfig::from_env(),
        ProxySettings::None => ProxyConfig::disabled(),
        ProxySettings::Explicit { url, login, no_proxy } => {
            let mut proxy = ProxyConfig::all(url.as_str())?;
            if let Some((user, password)) = login {
                proxy = proxy.with_basic_auth(user, password.expose());
            }
            match no_proxy {
                Some(rules) => proxy.no_proxy(rules),
                None => proxy,
            }
        }
    })
}

fn http_client(tls: &TlsContext, proxy: ProxyConfig) -> Result<SharedHttpClient, Cause> {
    let pool = ConnectionPool::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls.clone())
        .proxy_config(proxy)
        .build_https()?;
    Ok(PooledClient::new(&pool)?.into_shared())
}

fn endpoint_of_environment() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"))
}

async fn region(settings: &StoreSettings, with_endpoint: bool) -> Option<Region> {
    if let Some(region) = &settings.region {
        return Some(Region::new(region.clone()));
    }
    let mut of_profile = ProfileFileRegionProvider::builder();
    if let Credentials::Chain { profile: Some(profile) } = &settings.credentials {
        of_profile = of_profile.profile_name(profile);
    }
    let told = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(of_profile.build());
    // What the instance metadata calls the region says nothing about a store elsewhere.
    let chain = if with_endpoint {
        told.or_else(REGION_OF_OTHER_STORES)
    } else {
        told.or_else(ImdsRegionProvider::builder().build())
    };
    chain.region().await
}

/// Our clock, for signatures and for the lifetime of credentials.
#[derive(Debug)]
struct ClockTime(SharedClock);

impl TimeSource for ClockTime {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}
