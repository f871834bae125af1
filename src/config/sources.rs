//! Each setting with its value and where that comes from, for people who wonder. Secrets are masked.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::controller::{ControllerConfig, Keys};
use super::error::ConfigError;
use super::file::ConfigFile;
use crate::store::{Credentials, ProxySettings};
use crate::yaml;

/// What stands in the place of a secret.
const MASK: &str = "••••••";

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Setting {
    /// Its name in the config file, such as `buckets[0].endpoint`.
    pub name: String,
    /// Its value; a mask for a secret, words for a default that is no value.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "controller", schemars(rename = "SettingSource"))]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The config file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Env {
        /// Its name.
        name: String,
    },
    /// An option of the command line.
    Flag {
        /// With its dashes.
        name: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env { name } => write!(f, "environment, {name}"),
            Self::Flag { name } => write!(f, "option {name}"),
        }
    }
}

/// Every setting of a controller: `given` by options and the environment, written in `file`, or left to its default.
/// What the AWS environment decides is looked up by `env`; the value of no variable is shown but that of a region, a
/// profile or a proxy.
///
/// # Errors
/// [`ConfigError::Invalid`] when the file makes no sense.
pub fn settings(
    file: &ConfigFile,
    given: Vec<Setting>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Setting>, ConfigError> {
    let config = ControllerConfig::parse(file)?;
    let invalid = |error: yaml::YamlError| ConfigError::Invalid(error.without_source());
    let document = yaml::document(&file.text, &file.path.display().to_string()).map_err(invalid)?;
    let is_given = |name: &str| given.iter().any(|setting| setting.name == name);
    let written = document.leaves().into_iter().map(|leaf| Setting {
        value: if is_secret(leaf.field.keys()) { MASK.to_owned() } else { without_login(&leaf.text) },
        name: leaf.field.to_string(),
        source: Source::File { path: file.path.clone(), line: leaf.line },
    });
    let mut all: Vec<Setting> = written.filter(|setting| !is_given(&setting.name)).collect();
    let is_below = |setting: &Setting, name: &str| {
        setting.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    for default in defaults(&config, env) {
        if !all.iter().chain(&given).any(|setting| is_below(setting, &default.name)) {
            all.push(default);
        }
    }
    all.splice(0..0, given);
    Ok(all)
}

/// Whether what these keys lead to is a secret. A name that only points at a file with one is none.
fn is_secret<'a>(keys: impl Iterator<Item = &'a str>) -> bool {
    const SECRET: [&str; 6] = ["secret", "password", "token", "hash", "private", "seed"];
    let keys: Vec<&str> = keys.into_iter().collect();
    // Who knows where such a receiver is can write to it.
    let is_way_in = keys.ends_with(&["slack", "url"]) || keys.ends_with(&["webhook", "url"]);
    let only_points = |key: &str| key.ends_with("_file") || key.ends_with("_env");
    is_way_in || keys.iter().any(|key| SECRET.iter().any(|word| key.contains(word)) && !only_points(key))
}

/// A URL without the user and password that may stand in it.
fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host_ends].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// The value of everything that may be left out.
fn defaults(config: &ControllerConfig, env: impl Fn(&str) -> Option<String>) -> Vec<Setting> {
    let default = |name: String, value: String| Setting { name, value, source: Source::Default };
    let mut all = vec![
        default("listen".to_owned(), config.listen.to_string()),
        default("user".to_owned(), "who runs the command".to_owned()),
        default("lock_timeout".to_owned(), format!("{:?}", config.lock_timeout)),
        default("wait_timeout".to_owned(), format!("{:?}", config.wait_timeout)),
        default("state_folder".to_owned(), config.state_folder.display().to_string()),
        default("users".to_owned(), "those in the bucket alone".to_owned()),
        default("session.key_file".to_owned(), "one of this controller's own".to_owned()),
        default("session.idle".to_owned(), format!("{:?}", config.session.idle)),
        default("session.absolute".to_owned(), format!("{:?}", config.session.absolute)),
        default("public_url".to_owned(), "none: addresses and localhost".to_owned()),
        default("trusted_proxies".to_owned(), "none".to_owned()),
        default("tls".to_owned(), "none: plain HTTP".to_owned()),
        default("oidc".to_owned(), "none".to_owned()),
        default("users".to_owned(), "none: only those in the bucket".to_owned()),
        default("session.key_file".to_owned(), "none: a key of its own in state_folder".to_owned()),
        default("session.idle".to_owned(), format!("{:?}", config.session.idle)),
        default("session.absolute".to_owned(), format!("{:?}", config.session.absolute)),
        default("alerts.receivers".to_owned(), "none: nobody is told".to_owned()),
        default("metrics.open".to_owned(), config.open_metrics.to_string()),
        default("uploads.file".to_owned(), format!("{} bytes", config.uploads.file_bytes)),
        default("uploads.release".to_owned(), format!("{} bytes", config.uploads.release_bytes)),
    ];
    // The first of these variables that is set decides; else these words say what does.
    let from_env = |name: String, variables: &[&str], words: &str| {
        let set = variables.iter().find_map(|variable| Some((*variable, env(variable)?)));
        match set.filter(|(_, value)| !value.is_empty()) {
            Some((variable, value)) => {
                Setting { name, value: without_login(&value), source: Source::Env { name: variable.to_owned() } }
            }
            None => default(name, words.to_owned()),
        }
    };
    for (index, bucket) in config.buckets.iter().enumerate() {
        let name = |field: &str| format!("buckets[{index}].{field}");
        let store = &bucket.store;
        all.push(default(name("prefix"), "none: the whole bucket".to_owned()));
        all.push(from_env(name("endpoint"), &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "AWS"));
        all.push(from_env(name("region"), &["AWS_REGION", "AWS_DEFAULT_REGION"], "what the AWS profile says"));
        let path_style = store.path_style.unwrap_or(store.endpoint.is_some());
        all.push(default(name("path_style"), path_style.to_string()));
        if matches!(store.credentials, Credentials::Chain { profile: None }) {
            all.push(from_env(name("profile"), &["AWS_PROFILE"], "none"));
            let is_set = |variable: &str| env(variable).is_some_and(|value| !value.is_empty());
            all.push(if is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY") {
                let source = Source::Env { name: "AWS_SECRET_ACCESS_KEY".to_owned() };
                Setting { name: name("secret_key"), value: MASK.to_owned(), source }
            } else {
                default(name("secret_key"), "none: AWS's own chain is asked".to_owned())
            });
        }
        all.push(default(name("ca_file"), "none: the system's certificates".to_owned()));
        if matches!(store.proxy, ProxySettings::FromEnv) {
            let variables = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
            all.push(from_env(name("proxy"), &variables, "none"));
        }
        if let Keys::Signing { trusted, epoch, .. } = &bucket.keys {
            if trusted.is_none() {
                all.push(default(name("trusted_keys"), "the signing key alone".to_owned()));
            }
            let words = "that of the key among trusted_keys, else 1";
            all.push(default(name("signing_key_epoch"), epoch.map_or(words.to_owned(), |epoch| epoch.to_string())));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shown(text: &str, env: &[(&str, &str)]) -> Vec<(String, String, String)> {
        let file = ConfigFile::written(Path::new("/etc/c.yaml"), text.to_owned());
        let given = vec![Setting {
            name: "listen".to_owned(),
            value: "127.0.0.1:1".to_owned(),
            source: Source::Flag { name: "--listen".to_owned() },
        }];
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let all = settings(&file, given, env).unwrap();
        all.into_iter().map(|setting| (setting.name, setting.value, setting.source.to_string())).collect()
    }

    fn value(shown: &[(String, String, String)], name: &str) -> (String, String) {
        let found: Vec<_> = shown.iter().filter(|setting| setting.0 == name).collect();
        assert_eq!(found.len(), 1, "{name}: {shown:?}");
        (found[0].1.clone(), found[0].2.clone())
    }

    const CONFIG: &str = "listen: 127.0.0.1:8080\nbuckets:\n- name: a\n  bucket: b\n  fleet: 00000000-0000-4000-8000-000000000001\n  \
        signing: unsigned\n  endpoint: http://user:pw@host:9/x@y\n  access_key: id\n  secret_key: hush\n";

    #[test]
    fn each_value_says_where_it_comes_from() {
        let shown = shown(CONFIG, &[("AWS_DEFAULT_REGION", "eu"), ("https_proxy", "http://me:hush@proxy:1")]);
        let is = |name: &str, text: &str, source: &str| {
            assert_eq!(value(&shown, name), (text.to_owned(), source.to_owned()), "{name}");
        };
        is("listen", "127.0.0.1:1", "option --listen");
        is("lock_timeout", "30s", "default");
        is("buckets[0].name", "a", "/etc/c.yaml:3");
        is("buckets[0].endpoint", "http://••••••@host:9/x@y", "/etc/c.yaml:7");
        is("buckets[0].secret_key", MASK, "/etc/c.yaml:9");
        is("buckets[0].path_style", "true", "default");
        is("buckets[0].region", "eu", "environment, AWS_DEFAULT_REGION");
        is("buckets[0].proxy", "http://••••••@proxy:1", "environment, https_proxy");
        assert!(!format!("{shown:?}").contains("hush"));
    }

    #[test]
    fn no_secret_of_the_example_is_shown_and_none_of_the_environment() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("controller_config.example.yaml");
        let file = ConfigFile::read(&example).unwrap();
        let all = settings(&file, Vec::new(), |_| Some("hush".to_owned())).unwrap();
        let of = |name: &str| all.iter().find(|setting| setting.name == name).map(|setting| setting.value.as_str());
        assert_eq!(of("buckets[0].secret_key"), Some(MASK));
        assert_eq!(of("buckets[1].proxy_login.password"), Some(MASK));
        assert_eq!(of("buckets[1].secret_key"), None, "a profile was given");
        assert_eq!(of("buckets[2].secret_key"), Some(MASK));
        assert!(all.iter().all(|setting| !setting.value.contains("change-me") && !setting.value.contains("$argon2")));
        assert_eq!(of("buckets[0].signing_key_file"), Some("/etc/fleetman/signing.key"));
    }
}
