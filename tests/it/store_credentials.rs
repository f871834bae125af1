//! Credentials, region, endpoint and proxy out of the environment, as AWS tools find them.
//!
//! The environment belongs to the whole process, so each case runs this test binary again as a child with an
//! environment of its own. The embedded store knows one pair of keys: who is let in has found them.

use std::path::Path;
use std::process::Command;

use fleetman::clock::SystemClock;
use fleetman::store::{Credentials, ProxySettings, Store, StoreSettings};
use tempfile::TempDir;

use crate::support::bucket::{heartbeat, settings};
use crate::support::scripted::{Scripted, answer, s3_error};
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY, Store as Server};

const PROFILE: &str = "FLEETMAN_TEST_PROFILE";
const ENDPOINT: &str = "FLEETMAN_TEST_ENDPOINT";

#[tokio::test]
#[ignore = "the other tests here start it, each with an environment of its own"]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn child() {
    let credentials = Credentials::Chain { profile: std::env::var(PROFILE).ok() };
    let endpoint = std::env::var(ENDPOINT).ok();
    let (region, proxy) = (None, ProxySettings::FromEnv);
    let settings = StoreSettings { credentials, endpoint, region, proxy, ..settings("") };
    let told = match Store::connect(settings, SystemClock::shared()).await {
        Ok(store) => match store.find(&heartbeat("n1"), 10).await {
            Ok(found) => format!("found {}", found.is_some()),
            Err(error) => format!("{}: {error}", error.code()),
        },
        Err(error) => format!("{}: {error}", error.code()),
    };
    println!("TOLD {told}");
}

/// What a child tells that has only this environment and this home. It may block: nothing else of the test goes on
/// meanwhile but the servers, which have threads of their own.
async fn told(home: &Path, environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "store_credentials::child", "--ignored", "--nocapture"]);
    child.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let told = printed.lines().find_map(|line| line.split_once("TOLD ")).map(|(_, told)| told.to_owned());
    told.unwrap_or_else(|| panic!("{printed}\n{}", String::from_utf8_lossy(&output.stderr)))
}

const LET_IN: &str = "found false";

/// A home folder with these AWS files.
fn home(config: &str, credentials: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
    home
}

fn keys(profile: &str, access_key: &str, secret_key: &str) -> String {
    format!("[{profile}]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")
}

fn as_json() -> String {
    format!(
        r#"{{"Version": 1, "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z",
            "AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}", "SessionToken": "t", "Token": "t",
            "Expiration": "2099-01-01T00:00:00Z"}}"#
    )
}

#[tokio::test]
async fn keys_in_the_environment_are_found() {
    let server = Server::start().await;
    let home = home("", "");
    let right =
        [(ENDPOINT, &*server.endpoint()), ("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    assert_eq!(told(home.path(), &right).await, LET_IN);
    let wrong = [right[0], right[1], ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let refused = told(home.path(), &wrong).await;
    assert!(refused.starts_with("bad_credentials: "), "{refused}");
}

#[tokio::test]
async fn keys_in_a_profile_are_found_and_a_named_one_outweighs_the_environment() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let home = home("", &(keys("default", ACCESS_KEY, SECRET_KEY) + &keys("other", "GKother", "wrong")));
    assert_eq!(told(home.path(), &[(ENDPOINT, &endpoint)]).await, LET_IN);
    let other = told(home.path(), &[(ENDPOINT, &endpoint), ("AWS_PROFILE", "other")]).await;
    assert!(other.starts_with("bad_credentials: "), "{other}");
    let named = [
        (ENDPOINT, &*endpoint),
        (PROFILE, "default"),
        ("AWS_PROFILE", "other"),
        ("AWS_ACCESS_KEY_ID", "GKother"),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
    ];
    assert_eq!(told(home.path(), &named).await, LET_IN);
    let missing = told(home.path(), &[(ENDPOINT, &endpoint), (PROFILE, "typo")]).await;
    assert!(missing.contains("profile \"typo\" of ~/.aws/config"), "{missing}");
}

#[tokio::test]
async fn keys_from_a_process_are_found() {
    let server = Server::start().await;
    let home = home("", "");
    let json = home.path().join("keys.json");
    std::fs::write(&json, as_json()).unwrap();
    let config = format!("[default]\ncredential_process = /bin/cat {}\n", json.display());
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    assert_eq!(told(home.path(), &[(ENDPOINT, &server.endpoint())]).await, LET_IN);
}

#[tokio::test]
async fn keys_for_a_web_identity_are_found() {
    let server = Server::start().await;
    let sts = Scripted::start(|asked| {
        assert!(asked.body.contains("AssumeRoleWithWebIdentity") && asked.body.contains("the-token"), "{asked:?}");
        answer(
            200,
            format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
                <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
                <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>r:s</AssumedRoleId>\
                </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            ),
        )
    })
    .await;
    let home = home("", "");
    let token = home.path().join("token");
    std::fs::write(&token, "the-token").unwrap();
    let environment = [
        (ENDPOINT, &*server.endpoint()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL_STS", &sts.endpoint()),
    ];
    assert_eq!(told(home.path(), &environment).await, LET_IN);
}

#[tokio::test]
async fn keys_from_single_sign_on_are_found() {
    let server = Server::start().await;
    let sso = Scripted::start(|asked| {
        assert_eq!(asked.headers["x-amz-sso_bearer_token"], "the-token");
        answer(
            200,
            format!(
                r#"{{"roleCredentials": {{"accessKeyId": "{ACCESS_KEY}", "secretAccessKey": "{SECRET_KEY}",
                "sessionToken": "t", "expiration": 4070908800000}}}}"#
            ),
        )
    })
    .await;
    let config = "[default]\nsso_start_url = https://sso.test/start\nsso_region = us-east-1\nsso_account_id = 1\n\
        sso_role_name = r\n";
    let home = home(config, "");
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // The name is the SHA-1 of the start URL: so `aws sso login` leaves the token.
    let token = r#"{"accessToken": "the-token", "expiresAt": "2099-01-01T00:00:00Z"}"#;
    std::fs::write(cache.join("c2e09b4fac288e7a35fb1a0f7b55446a509137e5.json"), token).unwrap();
    let environment = [(ENDPOINT, &*server.endpoint()), ("AWS_ENDPOINT_URL_SSO", &sso.endpoint())];
    assert_eq!(told(home.path(), &environment).await, LET_IN);
}

/// A machine's metadata service that hands out the right keys.
async fn metadata() -> Scripted {
    Scripted::start(|asked| match asked.target.as_str() {
        "/latest/api/token" => {
            let mut answer = answer(200, "metadata-token");
            answer.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", "60".parse().unwrap());
            answer
        }
        "/latest/meta-data/placement/region" => answer(200, "eu-metadata-1"),
        "/latest/meta-data/iam/security-credentials/" => answer(200, "role"),
        "/latest/meta-data/iam/security-credentials/role" => answer(200, as_json()),
        _ => answer(404, ""),
    })
    .await
}

#[tokio::test]
async fn keys_from_instance_metadata_are_found_without_the_proxy() {
    let metadata = metadata().await;
    let proxy = Scripted::start(|_| s3_error(404, "NoSuchKey")).await;
    let home = home("", "");
    let environment = [
        (ENDPOINT, "http://store.invalid:9000"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint()),
        ("HTTP_PROXY", &proxy.endpoint()),
        ("http_proxy", &proxy.endpoint()),
    ];
    assert_eq!(told(home.path(), &environment).await, LET_IN);
    let targets: Vec<_> = proxy.asked().into_iter().map(|asked| asked.target).collect();
    assert!(targets.iter().all(|target| target.starts_with("http://store.invalid:9000/")), "{targets:?}");
    assert_eq!(targets.len(), 1);
    assert!(!metadata.asked().iter().any(|asked| asked.target.contains("region")), "the endpoint has a region already");
}

#[tokio::test]
async fn without_keys_anywhere_it_says_where_it_looked_and_does_not_hang() {
    let server = Server::start().await;
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let metadata = format!("http://{}", silent.local_addr().unwrap());
    let home = home("", "");
    let started = SystemClock::shared();
    let environment = [(ENDPOINT, &*server.endpoint()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)];
    let told = told(home.path(), &environment).await;
    assert!(told.starts_with("no_credentials: "), "{told}");
    for place in ["AWS_ACCESS_KEY_ID", "~/.aws", "AWS_WEB_IDENTITY_TOKEN_FILE", "instance metadata"] {
        assert!(told.contains(place), "{told}");
    }
    assert!(started.monotonic() < std::time::Duration::from_secs(20), "{:?}", started.monotonic());
}

#[tokio::test]
async fn region_and_endpoint_come_from_the_environment_or_have_a_default() {
    let store = Scripted::start(|_| s3_error(404, "NoSuchKey")).await;
    let home = home("[profile far]\nregion = ap-profile-1\n", "");
    let endpoint = store.endpoint();
    let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
    for (environment, region) in [
        (&[(ENDPOINT, &*endpoint)][..], "us-east-1"),
        (&[(ENDPOINT, &*endpoint), ("AWS_REGION", "eu-env-1")], "eu-env-1"),
        (&[(ENDPOINT, &*endpoint), ("AWS_PROFILE", "far")], "ap-profile-1"),
        (&[("AWS_ENDPOINT_URL_S3", &*endpoint)], "us-east-1"),
        (&[("AWS_ENDPOINT_URL", &*endpoint)], "us-east-1"),
    ] {
        assert_eq!(told(home.path(), &[&keys, environment].concat()).await, LET_IN, "{environment:?}");
        let asked = store.asked().pop().unwrap();
        let signed = asked.headers["authorization"].to_str().unwrap();
        assert!(signed.contains(&format!("/{region}/s3/aws4_request")), "{environment:?}: {signed}");
        assert!(asked.target.starts_with(&format!("/{BUCKET}/")), "path style: {}", asked.target);
    }
}

#[tokio::test]
async fn on_aws_the_region_may_come_from_instance_metadata() {
    let metadata = metadata().await;
    let proxy = Scripted::start(|_| s3_error(404, "NoSuchKey")).await;
    let home = home("", "");
    let with = |url: &str| [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.to_owned()), ("HTTPS_PROXY", proxy.endpoint())];
    let environment = with(&metadata.endpoint());
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // The proxy opens no tunnel, so nothing leaves this machine; it shows where the request was to go.
    assert!(told(home.path(), &environment).await.starts_with("unreachable: "));
    assert!(metadata.asked().iter().any(|asked| asked.target.contains("placement/region")));
    let targets: Vec<_> = proxy.asked().into_iter().map(|asked| asked.target).collect();
    assert!(!targets.is_empty());
    assert!(targets.iter().all(|target| target == "fleet.s3.eu-metadata-1.amazonaws.com:443"), "{targets:?}");
}
