//! One TLS stack, and no C library of the system's: what is linked is read from cargo itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crates that would bring a second TLS stack or OpenSSL.
const REFUSED: [&str; 6] = ["ring", "openssl", "openssl-sys", "native-tls", "s2n-tls", "mbedtls"];

/// Crates of which two versions would be two TLS stacks.
const ONCE: [&str; 2] = ["rustls", "aws-lc-sys"];

/// What is wrong with a tree as `cargo tree --prefix none` prints it: a line for each package, `name vVERSION …`.
fn faults(tree: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let refused = REFUSED.iter().filter(|name| versions.contains_key(**name)).map(|name| format!("{name} is linked"));
    let twice = ONCE.iter().filter_map(|name| {
        let versions = versions.get(name).filter(|versions| versions.len() > 1)?;
        Some(format!("{name} is linked as {versions:?}"))
    });
    refused.chain(twice).collect()
}

#[test]
fn one_tls_stack_is_linked() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none", "--all-features"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("aws-sdk-s3 v") && tree.contains("rustls v"), "this is not our tree:\n{tree}");
    assert_eq!(faults(&tree), Vec::<String>::new());
}

#[test]
fn a_second_stack_would_be_seen() {
    let tree = "fleetman v0.1.0 (/src)\nrustls v0.23.46\nrustls v0.21.12\nrustls v0.23.46 (*)\naws-lc-sys v1\n";
    assert_eq!(faults(tree), [r#"rustls is linked as {"v0.21.12", "v0.23.46"}"#]);
    assert_eq!(faults("openssl-sys v0.9\nring v0.17.14\nringbuf v1\n"), ["ring is linked", "openssl-sys is linked"]);
}
