//! Signing in with another service, which really signs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Query;
use chrono::{DateTime, TimeDelta, Utc};
use fleetman::access::SealKey;
use fleetman::access::oidc::{Answer, Oidc, OidcError, Vouched};
use fleetman::clock::{Clock, SharedClock, SystemClock};
use fleetman::config::{GroupRole, OidcSettings, Origin};
use fleetman::store::Secret;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::cli::Workplace;
use crate::support::form::confirmed;
use crate::support::identity_provider::{CLIENT_ID, Key, Provider, Signs};
use crate::support::listening::{Connection, authority, certify};
use crate::support::serving::{Answer as Answered, Serving};
use crate::support::{people, wait_for};

/// The system's clock, put forward.
#[derive(Debug)]
struct Ahead {
    system: SharedClock,
    secs: AtomicU64,
}

impl Ahead {
    fn new() -> Arc<Self> {
        Arc::new(Self { system: SystemClock::shared(), secs: AtomicU64::new(0) })
    }

    fn go(&self, secs: u64) {
        self.secs.fetch_add(secs, Ordering::Relaxed);
    }

    fn by(&self) -> Duration {
        Duration::from_secs(self.secs.load(Ordering::Relaxed))
    }
}

impl Clock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        self.system.now() + TimeDelta::from_std(self.by()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + self.by()
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.system.sleep(duration)
    }
}

fn settings(provider: &Provider) -> OidcSettings {
    let role = |group: &str, grant: &str| GroupRole { group: group.to_owned(), grant: grant.parse().unwrap() };
    OidcSettings {
        issuer: provider.issuer.clone(),
        client_id: CLIENT_ID.to_owned(),
        client_secret_file: None,
        groups_claim: "groups".to_owned(),
        roles: vec![role("fleet-admins", "admin"), role("edge", "operator:edge-*/*")],
        ca_file: None,
    }
}

fn oidc(settings: OidcSettings, secret: Option<&str>, clock: SharedClock) -> Oidc {
    let public_url = Origin::parse("https://fleet.example.com").unwrap();
    Oidc::new(settings, secret.map(Secret::new), public_url, SealKey::new([1; 32]), clock).unwrap()
}

/// What a browser does at the service: it is sent back with an answer.
async fn sign_in_there(url: &str) -> Answer {
    let back = back_from(url).await;
    assert!(back.starts_with("https://fleet.example.com/sign-in/oidc/callback?"), "{back}");
    Query::try_from_uri(&back.parse().unwrap()).unwrap().0
}

/// The URL that the service sends a browser back to.
async fn back_from(url: &str) -> String {
    let url: axum::http::Uri = url.parse().unwrap();
    let stream = TcpStream::connect(url.authority().unwrap().as_str()).await.unwrap();
    let answer = Connection(stream).get(url.path_and_query().unwrap().as_str(), "").await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.raw.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned()
}

async fn sign_in(oidc: &Oidc) -> Result<Vouched, OidcError> {
    let departure = oidc.depart("/cells?page=2").await?;
    let answer = sign_in_there(&departure.url).await;
    oidc.arrive(&answer, Some(&departure.cookie)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_service_vouches_for_comes_in_with_the_roles_of_their_groups() {
    let provider = Provider::start().await;
    for alg in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        let key = Key::new("k", alg);
        {
            let mut inner = provider.inner();
            inner.keys = vec![key.clone()];
            inner.signs = Signs::With(key);
        }
        let vouched = sign_in(&oidc(settings(&provider), None, SystemClock::shared())).await.unwrap();
        let grants: Vec<_> = vouched.grants.iter().map(ToString::to_string).collect();
        assert_eq!((vouched.user.as_str(), grants), ("ada", vec!["admin:*".to_owned()]), "{alg:?}");
        assert_eq!((vouched.issuer.as_str(), vouched.subject.as_str()), (provider.issuer.as_str(), "subject-1"));
        assert_eq!(vouched.next, "/cells?page=2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_shows_its_secret_as_the_service_wants_it() {
    let provider = Provider::start().await;
    provider.inner().secret = Some("hush".to_owned());
    let portal = |secret| oidc(settings(&provider), secret, SystemClock::shared());
    sign_in(&portal(Some("hush"))).await.unwrap();
    for wrong in [Some("hash"), None] {
        let error = sign_in(&portal(wrong)).await.unwrap_err();
        assert!(matches!(&error, OidcError::Unusable { why, .. } if why.contains("invalid_client")), "{error}");
    }
    provider.inner().discovery = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    sign_in(&portal(Some("hush"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_the_wrong_thing_is_not_believed() {
    let provider = Provider::start().await;
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    let now = SystemClock::shared().now().timestamp();
    let say = async |claims: &Value| {
        provider.inner().claims = claims.clone();
        sign_in(&portal).await
    };
    for (claims, expected) in [
        (json!({"iss": "https://id.example.com"}), "`iss`"),
        (json!({"iss": format!("{}/", provider.issuer)}), "`iss`"),
        (json!({"aud": "other"}), "`aud`"),
        (json!({"aud": []}), "`aud`"),
        (json!({"aud": [CLIENT_ID, "other"]}), "`azp`"),
        (json!({"aud": [CLIENT_ID, "other"], "azp": "other"}), "`azp`"),
        (json!({"azp": "other"}), "`azp`"),
        (json!({"exp": now - 120}), "`exp`"),
        (json!({"iat": now + 600}), "`iat`"),
        (json!({"nbf": now + 600}), "`nbf`"),
        (json!({"nonce": "another"}), "`nonce`"),
        (json!({"nonce": null}), "`nonce`"),
        (json!({"sub": ""}), "`sub`"),
        (json!({"sub": null}), "missing field `sub`"),
        (json!({"exp": null}), "missing field `exp`"),
        (json!({"aud": null}), "missing field `aud`"),
    ] {
        let error = say(&claims).await.unwrap_err();
        assert!(matches!(error, OidcError::Token { .. }), "{claims}: {error}");
        assert!(error.to_string().contains(expected), "{claims}: {error}");
    }
    for right in [
        json!({"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}),
        json!({"aud": [CLIENT_ID]}),
        json!({"exp": (now as f64) + 30.5, "iat": null}),
    ] {
        say(&right).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_key_of_the_service_signed_is_not_believed() {
    let provider = Provider::start().await;
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    let (own, stranger) = (provider.inner().keys[0].clone(), Key::new("stranger", Algorithm::ES256));
    let other_alg = Key::new("first", Algorithm::RS512);
    for (signs, expected) in [
        (Signs::Not, "it is no token"),
        (Signs::WithThePublicKey, "it is signed by HS256"),
        (Signs::With(stranger.clone()), "no key of the service fits it: it names \"stranger\""),
        (Signs::As(stranger.clone(), Some(own.id.clone())), "its signature is wrong"),
        (Signs::As(stranger, None), "its signature is wrong"),
        (Signs::With(other_alg), "it is signed by RS512"),
        (Signs::As(Key::new("x", Algorithm::EdDSA), Some(own.id.clone())), "no key of the service fits it"),
    ] {
        provider.inner().signs = signs;
        let error = sign_in(&portal).await.unwrap_err();
        assert!(
            matches!(error, OidcError::Token { .. }) && error.to_string().contains(expected),
            "{expected}: {error}"
        );
    }
    // Without a name one key is enough, and two are too many.
    provider.inner().signs = Signs::As(own.clone(), None);
    sign_in(&portal).await.unwrap();
    provider.inner().keys.push(Key::new("second", Algorithm::ES256));
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    assert!(sign_in(&portal).await.unwrap_err().to_string().contains("no key of the service fits it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_read_when_a_token_names_one_and_at_most_once_a_minute() {
    let provider = Provider::start().await;
    let clock = Ahead::new();
    let portal = oidc(settings(&provider), None, clock.clone());
    sign_in(&portal).await.unwrap();
    sign_in(&portal).await.unwrap();
    assert_eq!((provider.asked("keys"), provider.asked("discovery")), (1, 1), "they are remembered");

    let rotate = |id: &str| {
        let key = Key::new(id, Algorithm::EdDSA);
        let mut inner = provider.inner();
        inner.keys = vec![key.clone()];
        inner.signs = Signs::With(key);
    };
    rotate("second");
    sign_in(&portal).await.unwrap();
    assert_eq!(provider.asked("keys"), 2);

    rotate("third");
    for _ in 0..3 {
        assert!(matches!(sign_in(&portal).await, Err(OidcError::Token { .. })));
    }
    assert_eq!(provider.asked("keys"), 2, "nobody makes us ask for each token");
    clock.go(60);
    sign_in(&portal).await.unwrap();
    assert_eq!((provider.asked("keys"), provider.asked("discovery")), (3, 1));
    clock.go(600);
    provider.inner().claims = json!({"exp": clock.now().timestamp() + 60});
    sign_in(&portal).await.unwrap();
    assert_eq!((provider.asked("keys"), provider.asked("discovery")), (4, 2), "a key that was withdrawn is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_only_in_the_browser_that_asked_and_once() {
    let provider = Provider::start().await;
    let clock = Ahead::new();
    let portal = oidc(settings(&provider), None, clock.clone());
    let (mine, theirs) = (portal.depart("/").await.unwrap(), portal.depart("/").await.unwrap());
    let answer = sign_in_there(&mine.url).await;
    for cookie in [None, Some(theirs.cookie.as_str()), Some("nonsense")] {
        assert!(matches!(portal.arrive(&answer, cookie).await, Err(OidcError::Began)));
    }
    assert_eq!(provider.asked("token"), 0, "nothing is asked for a stranger");
    portal.arrive(&answer, Some(&mine.cookie)).await.unwrap();
    assert!(matches!(portal.arrive(&answer, Some(&mine.cookie)).await, Err(OidcError::Began)), "a code is good once");

    let answer = sign_in_there(&theirs.url).await;
    clock.go(601);
    assert!(matches!(portal.arrive(&answer, Some(&theirs.cookie)).await, Err(OidcError::Began)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_no_group_has_no_role_and_nobody_comes_in_without_a_name() {
    let provider = Provider::start().await;
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    provider.inner().claims = json!({"groups": ["others"]});
    assert_eq!(sign_in(&portal).await.unwrap().grants, []);
    provider.inner().claims = json!({"groups": null});
    assert_eq!(sign_in(&portal).await.unwrap().grants, []);
    provider.inner().claims = json!({"preferred_username": null});
    assert!(matches!(sign_in(&portal).await, Err(OidcError::Name { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_or_talks_nonsense_is_told_and_asked_again() {
    let provider = Provider::start().await;
    let down = OidcSettings { issuer: "http://127.0.0.1:1".to_owned(), ..settings(&provider) };
    let error = sign_in(&oidc(down, None, SystemClock::shared())).await.unwrap_err();
    assert!(matches!(error, OidcError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    let portal = oidc(settings(&provider), None, SystemClock::shared());
    for (discovery, expected) in [
        (json!({"issuer": "https://id.example.com"}), "its issuer is"),
        (json!({"issuer": null}), "missing field `issuer`"),
        (json!({"token_endpoint": null}), "missing field `token_endpoint`"),
        (json!({"authorization_endpoint": "http://id.example.com/auth"}), "no https URL"),
        (json!({"authorization_endpoint": "javascript:alert(1)"}), "no https URL"),
    ] {
        provider.inner().discovery = discovery;
        let error = sign_in(&portal).await.unwrap_err();
        assert!(matches!(error, OidcError::Unusable { .. }) && error.to_string().contains(expected), "{error}");
    }
    provider.inner().discovery = json!({});
    sign_in(&portal).await.unwrap();

    // A code goes to no service that could be listened to on the way.
    provider.inner().discovery = json!({"token_endpoint": "http://id.example.com/token"});
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    assert!(matches!(sign_in(&portal).await, Err(OidcError::Unusable { .. })));
    // Nor elsewhere by a redirect.
    let base = provider.issuer.trim_end_matches("/realms/acme");
    provider.inner().discovery = json!({"jwks_uri": format!("{base}/authorize?response_type=code&client_id={CLIENT_ID}&\
        scope=openid%20profile%20email%20groups&code_challenge_method=S256&redirect_uri={base}/keys&state=x")});
    let portal = oidc(settings(&provider), None, SystemClock::shared());
    let error = sign_in(&portal).await.unwrap_err();
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_certificate_of_the_house_is_believed_with_its_authority_alone() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (files, _) = certify(&authority, "localhost", folder.path());
    let provider = Provider::start_with(Some(files), "localhost").await;
    let error = oidc(settings(&provider), None, SystemClock::shared()).depart("/").await.unwrap_err();
    assert!(matches!(&error, OidcError::Unreachable { why, .. } if why.contains("UnknownIssuer")), "{error}");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let with_ca = OidcSettings { ca_file: Some(ca_file.clone()), ..settings(&provider) };
    oidc(with_ca.clone(), None, SystemClock::shared()).depart("/").await.unwrap();

    std::fs::write(&ca_file, "nothing").unwrap();
    let public_url = Origin::parse("https://fleet.example.com").unwrap();
    let made = Oidc::new(with_ca, None, public_url, SealKey::new([1; 32]), SystemClock::shared());
    assert!(matches!(made, Err(OidcError::Outbound(_))));
}

/// Where forms of the portal come from.
const OWN_SITE: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A portal whose config names `provider`, with the user `bob` of its own.
async fn portal(provider: &Provider) -> (Workplace, Serving) {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    let oidc = format!(
        "public_url: http://127.0.0.1:9\noidc:\n  issuer: {}\n  client_id: {CLIENT_ID}\n  client_secret_file: secret\n  \
         roles: [{{group: fleet-admins, role: viewer, cells: \"*\"}}]\n",
        provider.issuer
    );
    place.write("controller_config.yaml", &(config + &oidc));
    place.write("secret", "hush\n");
    provider.inner().secret = Some("hush".to_owned());
    people::admit(place.path(), &[("bob", &["admin"])]);
    let serving = Serving::start_for_nobody(&place).await;
    (place, serving)
}

/// What a browser does that follows the link of the sign-in page: the answer to what it comes back with.
async fn by_browser(serving: &Serving) -> Answered {
    let there = serving.get("/sign-in/oidc?next=%2Fcells%3Fpage%3D1").await.is(303);
    let cookie = there.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(there.header("set-cookie").starts_with("__Host-fleetman-oidc="), "{there:?}");
    let back = back_from(there.header("location")).await;
    let path = back.strip_prefix("http://127.0.0.1:9").unwrap_or_else(|| panic!("{back}"));
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
    serving.send("GET", path, &headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_in_by_the_service_and_the_audit_says_as_whom() {
    let provider = Provider::start().await;
    let (place, serving) = portal(&provider).await;
    let page = serving.get("/sign-in?next=%2Fcells").await.is(200).text();
    assert!(page.contains("href=\"/sign-in/oidc?next=%2Fcells\">Sign in with 127.0.0.1:"), "{page}");

    let arrived = by_browser(&serving).await.is(303);
    assert_eq!(arrived.header("location"), "/cells?page=1");
    let cookies: Vec<_> = arrived.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
    let session = cookies.iter().find(|set| set.starts_with("__Host-fleetman=")).unwrap().split(';').next().unwrap();
    assert!(cookies.iter().any(|set| set.starts_with("__Host-fleetman-oidc=;")), "it is good once: {cookies:?}");
    let cells = serving.send("GET", "/cells", &[("cookie", session)], "").await.is(200).text();
    assert!(cells.contains("ada"), "{cells}");
    // A viewer is one by whichever door.
    let for_admins = "/buckets/object?key=auth%2Fusers.json";
    serving.send("GET", for_admins, &[("cookie", session)], "").await.is(403);

    let audited = async || {
        let audit = place.fleetman(&["-o", "json", "audit"]).await;
        audit.out.contains("subject-1") && audit.out.contains(&provider.issuer)
    };
    wait_for(audited, "the audit to say who came in").await;

    let bob = serving.sign_in("bob").await;
    let form = [("cookie", bob.as_str()), ("content-type", "application/x-www-form-urlencoded"), OWN_SITE];
    let page = serving.send("GET", "/settings/users", &form[..1], "").await.is(200).text();
    assert!(page.contains("People from 127.0.0.1:"), "{page}");
    let end = async |sent: &'static str| {
        let answer = serving.send("POST", "/settings/vouched/end", &form, sent).await;
        confirmed(&serving, &bob, answer).await
    };
    end("name=No+Name%21").await.is(400);
    end("name=carol").await.is(303);
    serving.send("GET", "/cells", &[("cookie", session)], "").await.is(200);
    end("name=ada").await.is(303);
    serving.send("GET", "/cells", &[("cookie", session)], "").await.is(303);
    let again = by_browser(&serving).await.is(303);
    let set = again.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
    let session = set.filter_map(|set| set.split(';').next()).find(|set| set.starts_with("__Host-fleetman=")).unwrap();
    let own = [("cookie", session), form[1], OWN_SITE];
    let page = serving.send("GET", "/settings/account", &own[..1], "").await.is(200).text();
    assert!(page.contains("Sign out everywhere") && !page.contains("Present password"), "{page}");
    let looked = serving.send("POST", "/settings/account/end-sessions", &own, "").await.is(200);
    serving.send("GET", "/cells", &own[..1], "").await.is(200);
    confirmed(&serving, session, looked).await.is(303);
    serving.send("GET", "/cells", &own[..1], "").await.is(303);
    place.fleetman(&["user", "end"]).await.exits(2);
    place.fleetman(&["user", "end", "--vouched"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_come_in_is_told_why() {
    let provider = Provider::start().await;
    let (_place, serving) = portal(&provider).await;
    let refused = async |claims: Value, status: u16, why: &str| {
        provider.inner().claims = claims;
        let answer = by_browser(&serving).await.is(status);
        assert!(
            !answer
                .headers
                .get_all("set-cookie")
                .iter()
                .any(|set| set.to_str().unwrap().starts_with("__Host-fleetman="))
        );
        let page = answer.text();
        assert!(page.contains(why) && page.contains("<h1>Sign in</h1>"), "{why}: {page}");
    };
    refused(json!({"groups": []}), 403, "No group of ada has a role here").await;
    refused(json!({"preferred_username": "bob"}), 403, "The name bob is that of a user of this portal").await;
    refused(json!({"preferred_username": null}), 403, "tells no name for you").await;
    refused(json!({"nonce": "<script>"}), 502, "is not believed").await;

    let stray = serving.get("/sign-in/oidc/callback?code=x&state=y").await.is(400).text();
    assert!(stray.contains("begin again"), "{stray}");
    let elsewhere = serving.send("GET", "/sign-in/oidc", &[("host", "localhost")], "").await.is(409).text();
    assert!(elsewhere.contains("Open http://127.0.0.1:9 and sign in there"), "{elsewhere}");

    // Who has a password here needs no service.
    let (_place, serving) = {
        let provider = Provider::start().await;
        portal(&provider).await
    };
    wait_for(async || serving.get("/sign-in/oidc").await.status == 503, "the service to be gone").await;
    serving.sign_in("bob").await;
}
