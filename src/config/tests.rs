//! Both config files: what is taken, what is refused and where, and that the examples show everything.
#![cfg(all(feature = "agent", feature = "controller"))]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::de::value::Error as AnyError;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::access::{ProxyLogin, TrustedKey};
use super::windows::WrittenWindows;
use super::*;
use crate::model::sign::{PrivateKey, Signer, Trust};
use crate::profiles::{ProfileSettings, Scope};
use crate::store::{Credentials, ProxySettings};

const FLEET: &str = "00000000-0000-4000-8000-000000000001";

fn file(folder: &Path, text: &str) -> ConfigFile {
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    ConfigFile::read(&path).unwrap()
}

fn controller(text: &str) -> Result<ControllerConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    ControllerConfig::parse(&file(folder.path(), text))
}

fn agent(text: &str) -> Result<AgentConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    AgentConfig::parse(&file(folder.path(), text))
}

/// A controller's config with one bucket that has `more` fields.
fn one_bucket(more: &str) -> String {
    format!("buckets:\n  - name: a\n    fleet: {FLEET}\n    bucket: b\n{more}")
}

/// An agent's config with `more` fields.
fn one_node(more: &str) -> String {
    format!("node: n1\nfleet: {FLEET}\nbucket:\n  bucket: b\nsigning: unsigned\n{more}")
}

/// Line, column, field and message of a refusal.
fn refusal(error: ConfigError) -> String {
    let ConfigError::Invalid(error) = error else { panic!("{error:?}") };
    format!("{}:{} {}: {}", error.line, error.column, error.field, error.message)
}

/// The fields that a struct reads, as serde knows them.
fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = AnyError;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, AnyError> {
            Err(de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, AnyError> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut found: &'static [&'static str] = &[];
    let _ = T::deserialize(Asked(&mut found));
    found
}

/// Whether `text` has a line that sets `field`, or shows how in a comment `#field:`.
fn shows(text: &str, field: &str) -> bool {
    text.lines().any(|line| line.trim_start_matches([' ', '-', '#']).starts_with(&format!("{field}:")))
}

#[test]
fn the_examples_are_taken_and_show_every_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("controller_config.example.yaml");
    let example = ConfigFile::read(&path).unwrap();
    let config = ControllerConfig::parse(&example).unwrap();
    assert_eq!(config.buckets.len(), 3);
    let written = [
        fields::<controller::Written>(),
        fields::<controller::WrittenBucket>(),
        fields::<controller::WrittenUploads>(),
        fields::<people::WrittenUser>(),
        fields::<people::WrittenGrant>(),
        fields::<people::WrittenSession>(),
        fields::<serving::WrittenTls>(),
        fields::<oidc::WrittenOidc>(),
        fields::<oidc::WrittenGroupRole>(),
        fields::<controller::WrittenMetrics>(),
        fields::<TrustedKey>(),
        fields::<ProxyLogin>(),
    ];
    assert!(written.iter().all(|fields| !fields.is_empty()));
    for field in written.concat() {
        assert!(shows(&example.text, field), "controller_config.example.yaml does not show {field}");
    }

    let example = ConfigFile::read(&root.join("agent_config.example.yaml")).unwrap();
    let config = AgentConfig::parse(&example).unwrap();
    assert_eq!(config.node.as_str(), "edge-1");
    let written = [
        fields::<agent::Written>(),
        fields::<agent::WrittenBucket>(),
        fields::<agent::WrittenDeploy>(),
        fields::<agent::WrittenMetrics>(),
        fields::<agent::WrittenProcess>(),
        fields::<agent::WrittenSupervisor>(),
        fields::<agent::WrittenSystemd>(),
        fields::<TrustedKey>(),
        fields::<ProxyLogin>(),
        fields::<WrittenWindows>(),
    ];
    assert!(written.iter().all(|fields| !fields.is_empty()));
    for field in written.concat() {
        assert!(shows(&example.text, field), "agent_config.example.yaml does not show {field}");
    }
}

#[test]
fn users_and_sessions_are_refused_at_their_place_when_they_make_no_sense() {
    let with = |text: &str| controller(&format!("{}{text}", one_bucket("    signing: unsigned\n")));
    let user = |name: &str, role: &str, cells: &str| {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";
        format!("  - {{name: {name}, password_hash: {hash:?}, grants: [{{role: {role}, cells: {cells:?}}}]}}\n")
    };
    let two = format!("users:\n{}{}", user("ada", "admin", "*"), user("bob", "viewer", "edge-*/*"));
    let config = with(&two).unwrap();
    assert_eq!(config.users.len(), 2);
    assert_eq!(config.users[1].grants, ["viewer:edge-*/*".parse().unwrap()]);
    assert_eq!(config.session, SessionSettings::default());
    for (text, part) in [
        (
            format!("users:\n{}{}", user("ada", "admin", "*"), user("ada", "viewer", "*")),
            "users[1].name: a second user",
        ),
        (format!("users:\n{}", user("ada", "root", "*")), "users[0].grants[0].role"),
        (format!("users:\n{}", user("ada", "admin", "n1")), "users[0].grants[0].cells"),
        ("users:\n  - {name: ada, password_hash: secret, grants: []}\n".to_owned(), "users[0].password_hash"),
        ("session: {idle: 1m}\n".to_owned(), "session: nobody could stay"),
        ("session: {absolute: 20m}\n".to_owned(), "session: nobody could stay"),
    ] {
        let refused = refusal(with(&text).unwrap_err());
        assert!(refused.contains(part), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[test]
fn uploads_are_limited_unless_told_otherwise_and_never_above_what_a_release_takes() {
    let with = |text: &str| controller(&format!("{}{text}", one_bucket("    signing: unsigned\n")));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("controller_config.example.yaml");
    let example = ControllerConfig::parse(&ConfigFile::read(&example).unwrap()).unwrap();
    assert_eq!(with("").unwrap().uploads, example.uploads);
    let limits = with("uploads: {file: 4MiB, release: 1GiB}\n").unwrap().uploads;
    assert_eq!((limits.file_bytes, limits.release_bytes), (4 << 20, 1 << 30));
    let error = with("uploads: {file: 6GB}\n").unwrap_err().to_string();
    assert!(error.contains("uploads.file") && error.contains("5000000000"), "{error}");
}

#[test]
fn the_agents_example_shows_the_defaults() {
    let example = ConfigFile::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("agent_config.example.yaml")).unwrap();
    let (example, bare) = (AgentConfig::parse(&example).unwrap(), agent(&one_node("")).unwrap());
    assert_eq!(example.state_folder, bare.state_folder);
    assert_eq!(example.poll_interval, bare.poll_interval);
    assert_eq!(example.heartbeat_interval, bare.heartbeat_interval);
    assert_eq!(example.full_scan_interval, bare.full_scan_interval);
    assert_eq!(example.keep_versions, bare.keep_versions);
    assert_eq!(example.drift, bare.drift);
    assert_eq!(bare.profiles, ProfileSettings::default(), "a node offers what its owner wants");
    assert_eq!(example.profiles.supervisor, agent(&one_node("supervisor: {}\n")).unwrap().profiles.supervisor);
    assert_eq!(example.profiles.process, agent(&one_node("process: {}\n")).unwrap().profiles.process);
    assert_eq!(example.profiles.systemd, agent(&one_node("systemd: {}\n")).unwrap().profiles.systemd);
}

#[test]
fn an_unknown_field_is_refused_at_its_place_with_what_was_probably_meant() {
    let ConfigError::Invalid(error) = controller(&one_bucket("    signing: unsigned\n    reigon: x\n")).unwrap_err()
    else {
        panic!("not invalid")
    };
    assert_eq!((error.line, error.column, error.field.as_str()), (6, 5, "buckets[0].reigon"), "{error}");
    assert!(error.help.as_deref().unwrap_or_default().contains("region"), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    for (more, expected) in [
        ("    signing: off\n", "5:14 buckets[0].signing: unknown choice `off`"),
        ("    trusted_keys: []\n", "5:19 buckets[0].trusted_keys: nobody is trusted"),
        ("    signing: unsigned\n    endpoint: s3.example.com\n", "6:15 buckets[0].endpoint: this is not a URL"),
        (
            "    signing: unsigned\n    signing_key_file: k\n",
            "5:14 buckets[0].signing: unsigned contradicts the keys beside it",
        ),
        (
            "    signing: unsigned\n    access_key: k\n",
            "6:17 buckets[0].access_key: an access_key without a secret_key",
        ),
        (
            "    signing: unsigned\n    secret_key: k\n",
            "6:17 buckets[0].secret_key: a secret_key without an access_key",
        ),
        (
            "    signing: unsigned\n    secret_key: k\n    access_key: k\n    profile: p\n",
            "8:14 buckets[0].profile: a profile and keys contradict each other",
        ),
        ("    signing: unsigned\n    no_proxy: x\n", "6:15 buckets[0].no_proxy: exceptions without a proxy"),
        (
            "    signing: unsigned\n    proxy_login: {user: u, password: p}\n",
            "6:18 buckets[0].proxy_login: a login without a proxy",
        ),
        ("    signing: unsigned\n    proxy: p:3128\n", "6:12 buckets[0].proxy: this is not a URL"),
        (
            "    signing: unsigned\n    signing_key_epoch: 2\n",
            "6:24 buckets[0].signing_key_epoch: an epoch without a signing_key_file",
        ),
        ("    signing: unsigned\npublic_url: fleet.example.com\n", "6:13 public_url: this is not an origin"),
        (
            "    signing: unsigned\ntrusted_proxies: [127.0.0.1, proxy]\n",
            "6:30 trusted_proxies[1]: this is no network and no address",
        ),
        ("    signing: unsigned\ntrusted_proxies:\n  - ::/0\n", "7:5 trusted_proxies[0]: this would trust everybody"),
        (
            "    signing: unsigned\noidc: {issuer: 'http://id.example.com', client_id: c, roles: []}\n",
            "6:16 oidc.issuer: this is not the URL of an issuer",
        ),
        (
            "    signing: unsigned\noidc: {issuer: 'https://id.example.com', client_id: c, roles: []}\n",
            "6:63 oidc.roles: no group has a role, so nobody would get in",
        ),
        (
            "    signing: unsigned\noidc: {issuer: 'https://id.example.com', client_id: c, roles: [{group: a, role: viewer, cells: n/*}]}\n",
            "6:7 oidc: people could not come back from there: there is no public_url",
        ),
        ("    signing: unsigned\ntls: {key_file: k}\n", "6:6 tls: the key `certificate_file` is missing"),
    ] {
        assert_eq!(refusal(controller(&one_bucket(more)).unwrap_err()), expected, "{more}");
    }
    let nothing = refusal(controller(&one_bucket("")).unwrap_err());
    assert!(nothing.ends_with("buckets[0]: nothing says whether this bucket is signed"), "{nothing}");
    let twice = one_bucket("    signing: unsigned\n") + &one_bucket("    signing: unsigned\n")["buckets:\n".len()..];
    assert_eq!(refusal(controller(&twice).unwrap_err()), "6:11 buckets[1].name: a second bucket is called \"a\"");
    assert_eq!(refusal(controller("buckets: []\n").unwrap_err()), "1:10 buckets: there is no bucket");

    for (more, expected) in [
        ("poll_interval: 15\n", "6:16 poll_interval: the duration 15 has no unit"),
        ("poll_interval: 1x\n", "6:16 poll_interval: `1x` is not a duration"),
        ("poll_interval: 5m1h\n", "6:16 poll_interval: `5m1h` is not a duration"),
        ("poll_interval: 10ms\n", "6:16 poll_interval: this interval is out of range"),
        ("heartbeat_interval: 1500ms\n", "6:21 heartbeat_interval: heartbeats count in whole seconds"),
        ("full_scan_interval: 1s\n", "6:21 full_scan_interval: this interval is out of range"),
        ("keep_versions: 101\n", "6:16 keep_versions: more than 100 versions are never kept"),
        ("drift: {mode: fix}\n", "6:15 drift.mode: unknown choice `fix`"),
        ("drift: {interval: 8d}\n", "6:19 drift.interval: this interval is out of range"),
        ("drift: {repairs_per_hour: 0}\n", "6:27 drift.repairs_per_hour: so many repairs are never made"),
        ("labels: {a: \"b,c\"}\n", "6:13 labels.a: this cannot be a label"),
        ("system: {}\n", "6:1 system: unknown key `system`"),
        ("systemd: {scope: host}\n", "6:18 systemd.scope: unknown choice `host`"),
        (
            "systemd: {folder: '/a$b'}\n",
            "6:10 systemd: systemd can run nothing in \"/a$b\": it has a control character, a quote, `\\` or `$` in it, or a blank at an end",
        ),
        ("process: {with_agent: maybe}\n", "6:23 process.with_agent: expected true or false, found text"),
        ("supervisor: {port: 9001}\n", "6:14 supervisor.port: unknown key `port`"),
        ("supervisor: {folder: /a b}\n", "6:13 supervisor: supervisord cannot be given the path /a b"),
        ("process: {path: /srv}\n", "6:11 process.path: unknown key `path`"),
    ] {
        assert_eq!(refusal(agent(&one_node(more)).unwrap_err()), expected, "{more}");
    }
    let node = agent(&one_node("").replace("node: n1", "node: N_1")).unwrap_err();
    assert!(refusal(node).starts_with("1:7 node: node name \"N_1\" is not valid"));
}

#[test]
fn settings_are_what_the_file_says() {
    let text = one_bucket(
        "    signing: unsigned\n    prefix: /p/\n    access_key: id\n    secret_key: s3cr3t\n    \
         proxy: http://proxy:3128\n    proxy_login: {user: u, password: s3cr3t}\n    ca_file: ca.pem\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let config = ControllerConfig::parse(&file(folder.path(), &text)).unwrap();
    let store = &config.bucket(None).unwrap().store;
    assert_eq!((store.bucket.as_str(), store.prefix.as_str()), ("b", "p"));
    assert_eq!(store.ca_file, Some(folder.path().join("ca.pem")));
    assert!(matches!(&store.credentials, Credentials::Static { access_key, secret_key, .. }
        if access_key == "id" && secret_key.expose() == "s3cr3t"));
    assert!(matches!(&store.proxy, ProxySettings::Explicit { login: Some((user, _)), .. } if user == "u"));
    assert_eq!(config.lock_timeout, Duration::from_secs(30));
    assert!(config.serving.tls.is_none() && config.serving.public_url.is_none());
    // Secrets are unprintable by type.
    let mut shown = String::new();
    write!(shown, "{config:?}").unwrap();
    assert!(!shown.contains("s3cr3t"), "{shown}");

    let text = one_bucket("    signing: unsigned\ntls: {certificate_file: tls/chain.pem, key_file: /tls/key.pem}\n");
    let config = ControllerConfig::parse(&file(folder.path(), &text)).unwrap();
    let files = TlsFiles { certificate: folder.path().join("tls/chain.pem"), key: "/tls/key.pem".into() };
    assert_eq!(config.serving.tls, Some(files));

    let config = agent(&one_node("poll_interval: 1m30s\ndeploy: {target_folder: /srv}\n")).unwrap();
    assert_eq!(config.poll_interval, Duration::from_secs(90));
    assert_eq!(config.profiles.deploy.unwrap().target_folder, Path::new("/srv"));
    assert_eq!(config.trust, Trust::Unsigned);

    let folder = tempfile::tempdir().unwrap();
    let process = |more: &str| {
        let config = AgentConfig::parse(&file(folder.path(), &one_node(more))).unwrap();
        let settings = config.profiles.process.unwrap();
        (settings.folder, settings.with_agent)
    };
    assert_eq!(process("state_folder: s\nprocess: {}\n"), (folder.path().join("s/process"), false));
    assert_eq!(process("process: {folder: cells, with_agent: true}\n"), (folder.path().join("cells"), true));

    let systemd = |more: &str| {
        let text = one_node(&format!("state_folder: s\nsystemd: {more}\n"));
        AgentConfig::parse(&file(folder.path(), &text)).unwrap().profiles.systemd.unwrap()
    };
    let usual = systemd("{}");
    assert_eq!((usual.scope, usual.service_folder), (Scope::System, "/etc/systemd/system".into()));
    assert_eq!(usual.folder, folder.path().join("s/systemd"));
    let given = systemd("{scope: user, service_folder: units, folder: cells}");
    assert_eq!((given.scope, given.service_folder), (Scope::User, folder.path().join("units")));
    assert_eq!(given.folder, folder.path().join("cells"));
    assert!(systemd("{scope: user}").service_folder.ends_with("systemd/user"));
}

#[test]
fn folders_of_a_file_in_the_current_folder_are_absolute() {
    let here = std::env::current_dir().unwrap();
    for path in ["./agent_config.yaml", "agent_config.yaml"] {
        let file = ConfigFile::written(Path::new(path), one_node("state_folder: s\nprocess: {}\n"));
        let config = AgentConfig::parse(&file).unwrap();
        assert_eq!(config.state_folder, here.join("s"));
        assert_eq!(config.profiles.process.unwrap().folder, here.join("s/process"));
    }
}

#[test]
fn errors_never_quote_a_secret() {
    let text = one_bucket("    signing: unsigned\n    access_key: id\n    secret_key: [s3cr3t]\n");
    let error = controller(&text).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("s3cr3t"), "{error:?}");
    let ConfigError::Invalid(error) = error else { panic!("{error:?}") };
    assert!(!error.snippet().contains("s3cr3t"));
}

#[test]
fn a_file_with_secrets_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let secret = one_bucket("    signing: unsigned\n    access_key: id\n    secret_key: s\n");
    let warnings = |text: &str, mode| {
        let path = file(folder.path(), text).path;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        ControllerConfig::parse(&ConfigFile::read(&path).unwrap()).unwrap().warnings
    };
    assert!(warnings(&secret, 0o644)[0].contains("chmod o= "));
    assert_eq!(warnings(&secret, 0o640), Vec::<String>::new());
    let proxy = one_bucket("    signing: unsigned\n    proxy: http://p:1\n    proxy_login: {user: u, password: p}\n");
    assert_eq!(warnings(&proxy, 0o644).len(), 1);
    assert_eq!(warnings(&one_bucket("    signing: unsigned\n"), 0o644), Vec::<String>::new());

    let key_file = folder.path().join("session.key");
    std::fs::write(&key_file, "0f").unwrap();
    let session = SessionSettings { key_file: Some(key_file.clone()), ..SessionSettings::default() };
    for (mode, is_open) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(session.key_warning().is_some(), is_open);
    }
    assert_eq!(SessionSettings::default().key_warning(), None);
}

#[test]
fn the_signing_key_is_trusted_and_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::from_seed(&[7; 32]);
    std::fs::write(folder.path().join("signing.key"), key.to_file_text()).unwrap();
    let bucket = |more: &str| {
        let text = one_bucket(&format!("    signing_key_file: signing.key\n{more}"));
        ControllerConfig::parse(&file(folder.path(), &text)).unwrap().buckets.remove(0)
    };
    let epoch = |number| crate::model::Epoch::new(number).unwrap();
    let alone = bucket("    signing_key_epoch: 3\n");
    assert!(matches!(alone.signer().unwrap().0, Signer::Key(_, found) if found == epoch(3)));
    assert!(matches!(alone.trust().unwrap(), Trust::Keys(keys)
        if keys.len() == 1 && keys[0].key == key.public() && keys[0].epoch == epoch(3)));

    let pin = |key: &PrivateKey| format!("    trusted_keys: [{{key: \"{}\", epoch: 2}}]\n", key.public());
    assert!(matches!(bucket(&pin(&key)).signer().unwrap().0, Signer::Key(_, found) if found == epoch(2)));
    let other = bucket(&pin(&PrivateKey::from_seed(&[8; 32])));
    assert!(matches!(other.signer(), Err(ConfigError::KeyNotTrusted { .. })));
    let contradiction = bucket(&(pin(&key) + "    signing_key_epoch: 3\n"));
    assert!(matches!(contradiction.signer(), Err(ConfigError::KeyNotTrusted { .. })));

    let only_looks = controller(&one_bucket(&pin(&key))).unwrap().buckets.remove(0);
    assert!(matches!(only_looks.signer(), Err(ConfigError::NoSigningKey { .. })));
    assert!(matches!(only_looks.trust().unwrap(), Trust::Keys(_)));

    std::fs::write(folder.path().join("signing.key"), "nonsense").unwrap();
    assert!(matches!(alone.signer(), Err(ConfigError::KeyFile { .. })));
    std::fs::remove_file(folder.path().join("signing.key")).unwrap();
    assert!(matches!(alone.signer(), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_bucket_is_chosen_by_name() {
    let config = controller(&one_bucket("    signing: unsigned\n")).unwrap();
    assert_eq!(config.bucket(Some("a")).unwrap().name, "a");
    let error = config.bucket(Some("z")).unwrap_err();
    assert_eq!(error.to_string(), "the config has no bucket \"z\", only \"a\"");
}

#[test]
fn a_file_is_named_or_found_and_every_place_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let error = find(Some(&path), CONTROLLER_FILE).unwrap_err();
    assert!(error.to_string().contains("x.yaml"), "{error}");
    std::fs::write(&path, "").unwrap();
    assert_eq!(find(Some(&path), CONTROLLER_FILE).unwrap(), path);
}

#[test]
fn metrics_are_off_until_a_place_is_named_and_stay_on_the_machine_unless_told_otherwise() {
    assert_eq!(agent(&one_node("")).unwrap().metrics, MetricsSettings::default());
    let taken = |metrics: &str| agent(&one_node(&format!("metrics: {metrics}\n")));
    let both = taken("{listen: '[::1]:9102', text_file: /m/a.prom}").unwrap().metrics;
    assert_eq!((both.listen, both.text_file), (Some("[::1]:9102".parse().unwrap()), Some("/m/a.prom".into())));
    assert!(taken("{listen: '10.0.0.1:9102', insecure_http: true}").is_ok());
    for (metrics, expected) in [
        ("{}", "metrics.listen: nothing says where the metrics go"),
        (
            "{listen: '0.0.0.0:9102'}",
            "metrics.listen: 0.0.0.0:9102 is open to other machines, and nothing asks who comes",
        ),
        ("{listen: '10.0.0.1:9102', insecure_http: false}", "metrics.listen: 10.0.0.1:9102 is open to other machines"),
        ("{text_file: /m/a.txt}", "metrics.text_file: nobody would read this file"),
    ] {
        let refused = refusal(taken(metrics).unwrap_err());
        assert!(refused.contains(expected), "{metrics}: {refused}");
    }
    assert!(!controller(&one_bucket("    signing: unsigned\n")).unwrap().open_metrics);
    assert!(
        controller(&format!("{}metrics: {{open: true}}\n", one_bucket("    signing: unsigned\n")))
            .unwrap()
            .open_metrics
    );
}

#[test]
fn every_field_at_the_top_is_told_of_also_where_it_is_left_out() {
    let file = ConfigFile::written(Path::new("c.yaml"), one_bucket("    signing: unsigned\n"));
    let told = settings(&file, Vec::new(), |_| None).unwrap();
    for field in fields::<controller::Written>() {
        let is_it = |setting: &Setting| setting.name.split(['.', '[']).next() == Some(*field);
        assert!(told.iter().any(is_it), "{field} is missing in the list of settings and their sources");
    }
}
