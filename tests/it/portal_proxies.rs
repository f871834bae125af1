//! The samples of `contrib/` for proxies, with the real programs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fleetman::config::{Origin, Serving, TlsFiles};
use fleetman::web::listener::Settings;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::garage::free_ports;
use crate::support::listening::{Authority, LONG, Running, authority, certify, connect_from, connect_tls, over_tls};
use crate::support::{require_tool, wait_for};

const HOST: &str = "fleet.example.com";

/// Whose requests the proxy passes on.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// More than any proxy takes by default, and more than it buffers.
const UPLOAD_BYTES: usize = 64 << 20;

/// A proxy that runs before a listener; it goes when this goes.
struct Proxied {
    _proxy: Child,
    address: SocketAddr,
    authority: Authority,
    behind: Running,
    _folder: tempfile::TempDir,
}

/// What a proxy's config has to name.
struct Places<'a> {
    folder: &'a Path,
    /// Where it listens.
    address: SocketAddr,
    /// Where it listens without TLS, if it does.
    plain: SocketAddr,
    /// What it stands before.
    behind: SocketAddr,
    files: &'a TlsFiles,
}

impl Proxied {
    /// Starts `program` with the config that `write` makes, with its arguments.
    async fn start(program: PathBuf, write: impl Fn(&Places) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority();
        let (files, _) = certify(&authority, HOST, folder.path());
        let serving = Serving {
            public_url: Origin::parse(&format!("https://{HOST}")),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            tls: None,
        };
        let behind = Running::start(Settings { serving, ..Settings::default() }).await;
        // Another may take a port between its choice and its use.
        for _ in 0..5 {
            let [address, plain] = free_ports().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let places = Places { folder: folder.path(), address, plain, behind: behind.address, files: &files };
            let mut proxy = Command::new(&program)
                .args(write(&places))
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::from(std::fs::File::create(folder.path().join("said")).unwrap()))
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut has_ended = false;
            let stands = async || {
                has_ended = proxy.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(address).await.is_ok()
            };
            wait_for(stands, "the proxy to listen").await;
            if !has_ended {
                return Self { _proxy: proxy, address, authority, behind, _folder: folder };
            }
        }
        panic!("{}", std::fs::read_to_string(folder.path().join("said")).unwrap());
    }

    async fn check(&self) {
        let connect = async || connect_tls(&self.authority, self.address, HOST).await;
        // Whom it heard and over what is believed; what the client claims is not.
        let ask =
            format!("GET /who HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\n\r\n");
        let client = connect_from(CLIENT, self.address).await;
        let mut client = over_tls(&self.authority, client, HOST).await;
        client.send(&ask).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body), (200, &format!("{CLIENT} true https://{HOST}")));
        assert!(answer.head.contains("strict-transport-security"), "{answer:?}");

        // The first event is there while the stream goes on, and the stream ends with the server.
        let mut streaming = connect().await;
        streaming.send(&format!("GET /stream HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
        assert!(streaming.until("data: 1\n\n").await.contains("200"));

        let mut uploading = connect().await;
        let head = format!("POST /count HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n");
        uploading.send(&head).await;
        let piece = "x".repeat(1 << 20);
        timeout(LONG, uploading.send(&piece)).await.unwrap();
        let passed_on = timeout(LONG, self.behind.receiving.notified()).await;
        assert!(passed_on.is_ok(), "what comes is passed on, and not kept until all is there");
        for _ in 1..UPLOAD_BYTES >> 20 {
            timeout(LONG, uploading.send(&piece)).await.unwrap();
        }
        let answer = uploading.answer().await;
        assert_eq!((answer.status, answer.body), (200, UPLOAD_BYTES.to_string()));

        self.behind.ended.cancel();
        timeout(LONG, streaming.0.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
}

/// A sample of `contrib/`, with other values in the place of its own; each has to be there.
fn sample(name: &str, replaced: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    replaced.iter().fold(text, |text, (old, new)| {
        assert!(text.contains(old), "contrib/{name} has no {old}");
        text.replace(old, new)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_stands_before_it_with_our_sample() {
    // Debian keeps it where only root looks.
    let Some(nginx) =
        Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()).or_else(|| require_tool("nginx"))
    else {
        return;
    };
    let proxied = Proxied::start(nginx, |places| {
        let Places { folder, address, plain, behind, files } = places;
        let server = sample(
            "nginx.conf",
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
        // In one process, so that none is left over.
        let main = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi;\nscgi_temp_path {at}/scgi;\nuwsgi_temp_path {at}/uwsgi;\n{server}}}\n"
        );
        let config = folder.join("nginx.conf");
        std::fs::write(&config, main).unwrap();
        vec!["-c".to_owned(), config.display().to_string(), "-e".to_owned(), "stderr".to_owned()]
    })
    .await;
    proxied.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_stands_before_it_with_our_sample() {
    let Some(caddy) = require_tool("caddy") else { return };
    let proxied = Proxied::start(caddy, |places| {
        let Places { folder, address, behind, files, plain: _ } = places;
        let site = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttps://{HOST}:{} {{\n\tbind 127.0.0.1\n\ttls {} {}\n",
            address.port(),
            files.certificate.display(),
            files.key.display()
        );
        let text =
            sample("Caddyfile", &[("fleet.example.com {\n", site), ("127.0.0.1:8080\n}", format!("{behind}\n}}"))]);
        let config = folder.join("Caddyfile");
        std::fs::write(&config, text).unwrap();
        ["run", "--adapter", "caddyfile", "--config", &config.display().to_string()].map(str::to_owned).to_vec()
    })
    .await;
    proxied.check().await;
}
