//! The samples of `contrib/` for proxies, with the real programs: a portal is used through each of them as people use
//! it.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use fleetman::config::TlsFiles;
use fleetman::model::Sha256Digest;
use fleetman::web::listener::Settings;
use rcgen::PublicKeyData as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::support::acme::Acme;
use crate::support::browser::{Browser, Page, button, css, field, heading};
use crate::support::cli::Workplace;
use crate::support::garage::free_ports;
use crate::support::listening::{Authority, Connection, Running, authority, certify, connect_from, connect_tls};
use crate::support::people;
use crate::support::portal::Portal;
use crate::support::{PATIENCE, require_tool, wait_for};

const NGINX: &str = "nginx.conf";
const CADDY: &str = "Caddyfile";

const HOST: &str = "fleet.example.com";

/// Where the browser is, for whoever hears it.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// What the browser claims to be, and is not.
const CLAIMED: &str = "198.51.100.66";

/// More than proxies take by default, and more than they keep in memory.
const UPLOAD_BYTES: usize = 8 << 20;

/// What a proxy's config has to name.
struct Places<'a> {
    folder: &'a Path,
    /// Where it listens.
    address: SocketAddr,
    /// Where it listens without TLS, if it does.
    plain: SocketAddr,
    files: &'a TlsFiles,
}

/// A proxy that runs before something; it goes when this goes.
struct Proxy {
    _process: Child,
    address: SocketAddr,
    plain: SocketAddr,
    authority: Authority,
    // After what writes to it.
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts `program` with the config that `write` makes, with its arguments.
    async fn start(program: &Path, write: impl Fn(&Places) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority();
        let (files, _) = certify(&authority, HOST, folder.path());
        // Another may take a port between its choice and its use.
        for _ in 0..5 {
            let [address, plain] = free_ports().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let mut process = Command::new(program)
                .args(write(&Places { folder: folder.path(), address, plain, files: &files }))
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::from(std::fs::File::create(folder.path().join("said")).unwrap()))
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut has_ended = false;
            let stands = async || {
                has_ended = process.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(address).await.is_ok()
            };
            wait_for(stands, "the proxy to listen").await;
            if !has_ended {
                return Self { _process: process, address, plain, authority, _folder: folder };
            }
        }
        panic!("{}", std::fs::read_to_string(folder.path().join("said")).unwrap());
    }
}

/// A way to `to` on which every connection comes from [`CLIENT`]. It ends when what is returned goes.
async fn way_of_the_client(to: SocketAddr) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let pass_on = async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut proxy = connect_from(CLIENT, to).await;
                // Either end may break it off.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut proxy).await;
            });
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(pass_on)))
}

/// A sample of `contrib/`, with other values in the place of its own; each has to be there.
fn sample(name: &str, replaced: &[(&str, String)]) -> String {
    replaced.iter().fold(contributed(name), |text, (old, new)| {
        assert!(text.contains(old), "contrib/{name} has no {old}");
        text.replace(old, new)
    })
}

fn contributed(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)).unwrap()
}

/// A portal with what a sample says of its config, and somebody who uses it through a proxy.
struct Visit {
    acme: Acme,
    portal: Portal,
    proxy: Proxy,
    page: Page,
    _way: AbortOnDropHandle<()>,
}

impl Visit {
    async fn start(name: &str, proxy: impl AsyncFn(&str) -> Option<Proxy>) -> Option<Self> {
        let acme = Acme::full().await;
        let place = Workplace::empty();
        acme.configure(place.path());
        let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
        let sample = contributed(name);
        let more: Vec<_> = sample.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
        assert_eq!(more.len(), 3, "contrib/{name} says what goes into the config");
        place.write("controller_config.yaml", &format!("{config}{}\n", more.join("\n")));
        let portal = Portal::start(place).await;
        let proxy = proxy(&portal.serving.address).await?;
        let (door, way) = way_of_the_client(proxy.address).await;
        // Its certificates are believed, and no other that cannot be checked.
        let authority = STANDARD.encode(Sha256Digest::of(&proxy.authority.key().subject_public_key_info()).as_bytes());
        let browser = Browser::own(&[
            &format!("--host-resolver-rules=MAP {HOST}:443 {door}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            &format!("--ignore-certificate-errors-spki-list={authority}"),
        ])
        .await?;
        let page = browser.page().await;
        page.send_along(&[("X-Forwarded-For", CLAIMED), ("X-Forwarded-Proto", "http")]).await;
        Some(Self { acme, portal: Portal { origin: format!("https://{HOST}"), ..portal }, proxy, page, _way: way })
    }

    async fn make(self) {
        let Self { acme, portal, proxy, page, _way } = self;
        portal.sign_in(&page, people::ADMIN).await;
        page.has(heading("Overview")).await;
        assert_eq!(page.evaluate("isSecureContext && document.cookie").await, "", "no script reads the session");

        page.open(&portal.url("/agents")).await;
        page.see("ams-1").await;
        page.evaluate("window.kept = true").await;
        acme.beat_anew("new-1").await;
        page.see("new-1").await;
        assert_eq!(page.evaluate("window.kept").await, true, "the page was loaded anew");

        // Pages come small, and what guards a write is as the portal said it.
        let sizes = "(({ encodedBodySize, decodedBodySize }) => encodedBodySize * 2 < decodedBodySize)";
        assert_eq!(page.evaluate(&format!("{sizes}(performance.getEntriesByType('navigation')[0])")).await, true);
        for path in ["/api/v1/manifests/site", "/api/v1/openapi.json"] {
            let read = "(({ headers }) => [headers.get('etag'), headers.get('content-encoding')])";
            let said = page.evaluate(&format!("fetch('{path}').then({read})")).await;
            let tag = portal.serving.get(path).await.is(200).header("etag").to_owned();
            assert_eq!(said, serde_json::json!([tag, null]), "{path}");
        }

        page.open(&portal.url("/cells/ams-1/api/pause")).await;
        page.fill(field("Reason"), "seen through a proxy").await;
        page.click(button("Pause")).await;
        page.see("seen through a proxy").await;

        portal.place.write("release/index.html", "<h1>{{ vars.title }}</h1>\n");
        let large = std::fs::File::create(portal.place.path().join("release/large")).unwrap();
        large.set_len(UPLOAD_BYTES as u64).unwrap();
        page.open(&portal.url("/deployments/new?manifest=site")).await;
        page.fill(field("Name"), "large").await;
        page.give_files(css("input[name=folder]"), &[&portal.place.path().join("release")]).await;
        page.click(button("Send and review")).await;
        page.see("8.0 MiB").await;
        page.click(button("Put it into the bucket")).await;
        page.see("It is in the bucket, signed").await;

        for action in ["pause", "upload"] {
            page.open(&portal.url(&format!("/audit?actor={}&action={action}", people::ADMIN))).await;
            let told = page.text_of(css("main tbody")).await;
            assert!(told.contains(&format!("portal, {CLIENT}")) && !told.contains(CLAIMED), "{told}");
        }
        // It knows that it is reached over TLS, whatever is claimed.
        let mut stranger = connect_tls(&proxy.authority, proxy.address, HOST).await;
        stranger.send(&format!("GET /healthz HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: http\r\n\r\n")).await;
        let answer = stranger.answer().await;
        assert!(answer.head.contains("strict-transport-security"), "{answer:?}");
        // A page is made small once, and not at all where its size could give something away (BREACH).
        for (site, is_small) in [("none", true), ("cross-site", false)] {
            let more = format!("Accept-Encoding: gzip, br, zstd\r\nSec-Fetch-Site: {site}\r\n");
            stranger.send(&format!("GET /sign-in HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n")).await;
            let (answer, body) = stranger.answer_in_bytes().await;
            let said: Vec<&str> =
                answer.head.lines().filter_map(|line| line.strip_prefix("content-encoding: ")).collect();
            assert_eq!(said, if is_small { vec!["gzip"] } else { vec![] }, "{site}: {answer:?}");
            let mut text = Vec::new();
            match is_small {
                true => GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap(),
                false => (&body[..]).read_to_end(&mut text).unwrap(),
            };
            assert!(String::from_utf8(text).unwrap().trim_end().ends_with("</html>"), "{site}: {answer:?}");
        }
        page.end().await;
    }
}

async fn nginx(behind: &str) -> Option<Proxy> {
    // Debian keeps it where only root looks.
    let program =
        Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()).or_else(|| require_tool("nginx"))?;
    let write = |places: &Places| {
        let Places { folder, address, plain, files } = places;
        let server = sample(
            NGINX,
            &[
                ("listen 443 ssl", format!("listen {address} ssl")),
                ("    listen [::]:443 ssl http2;\n", String::new()),
                ("listen 80;", format!("listen {plain};")),
                ("    listen [::]:80;\n", String::new()),
                ("127.0.0.1:8080;\n", format!("{behind};\n")),
                ("/etc/letsencrypt/live/fleet.example.com/fullchain.pem", files.certificate.display().to_string()),
                ("/etc/letsencrypt/live/fleet.example.com/privkey.pem", files.key.display().to_string()),
            ],
        );
        let at = folder.display();
        // In one process, so that none is left over; and with what Debian's own main file switches on.
        let main = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off;\ngzip on;\nclient_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi;\nscgi_temp_path {at}/scgi;\nuwsgi_temp_path {at}/uwsgi;\n{server}}}\n"
        );
        let config = folder.join("nginx.conf");
        std::fs::write(&config, main).unwrap();
        vec!["-c".to_owned(), config.display().to_string(), "-e".to_owned(), "stderr".to_owned()]
    };
    Some(Proxy::start(&program, write).await)
}

async fn caddy(behind: &str) -> Option<Proxy> {
    let program = require_tool("caddy")?;
    let write = |places: &Places| {
        let Places { folder, address, plain: _, files } = places;
        let site = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttps://{HOST}:{} {{\n\tbind 127.0.0.1\n\ttls {} {}\n",
            address.port(),
            files.certificate.display(),
            files.key.display()
        );
        let text = sample(CADDY, &[("fleet.example.com {\n", site), ("127.0.0.1:8080\n}", format!("{behind}\n}}"))]);
        let config = folder.join("Caddyfile");
        std::fs::write(&config, text).unwrap();
        ["run", "--adapter", "caddyfile", "--config", &config.display().to_string()].map(str::to_owned).to_vec()
    };
    Some(Proxy::start(&program, write).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_used_through_nginx_with_our_sample() {
    let Some(visit) = Visit::start(NGINX, async |behind| nginx(behind).await).await else { return };
    let mut plain = Connection(TcpStream::connect(visit.proxy.plain).await.unwrap());
    let led = plain.get("/cells?q=a", "").await;
    assert!(led.status == 308 && led.head.contains(&format!("location: https://{HOST}/cells?q=a\r\n")), "{led:?}");
    visit.make().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_used_through_caddy_with_our_sample() {
    let Some(visit) = Visit::start(CADDY, async |behind| caddy(behind).await).await else { return };
    visit.make().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_nothing_back_with_our_sample() {
    keeps_nothing_back(async |behind| nginx(behind).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_keeps_nothing_back_with_our_sample() {
    keeps_nothing_back(async |behind| caddy(behind).await).await;
}

/// A page would show late what a proxy keeps back, and sooner or later all the same: that it comes at once takes a
/// listener whose stream says one thing alone, and that tells when the first of an upload is there.
async fn keeps_nothing_back(start: impl AsyncFn(&str) -> Option<Proxy>) {
    let running = Running::start(Settings::default()).await;
    let Some(proxy) = start(&running.address.to_string()).await else { return };
    let connect = async || connect_tls(&proxy.authority, proxy.address, HOST).await;
    let mut streaming = connect().await;
    // As browsers ask, which read what is made small.
    let more = "Accept: text/event-stream\r\nAccept-Encoding: gzip, br, zstd\r\nConnection: close\r\n";
    streaming.send(&format!("GET /stream HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n")).await;
    assert!(streaming.until("data: 1\n\n").await.contains("200"));

    let mut uploading = connect().await;
    let head = format!("POST /count HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n");
    uploading.send(&head).await;
    let piece = "x".repeat(1 << 20);
    uploading.send(&piece).await;
    timeout(PATIENCE, running.receiving.notified()).await.expect("what comes is passed on before all is there");
    for _ in 1..UPLOAD_BYTES >> 20 {
        uploading.send(&piece).await;
    }
    let answer = uploading.answer().await;
    assert_eq!((answer.status, answer.body), (200, UPLOAD_BYTES.to_string()));

    running.ended.cancel();
    streaming.rest().await;
}
