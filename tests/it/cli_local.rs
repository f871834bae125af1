//! The command line where no bucket is needed: help, files, configs, what is refused before anything is asked.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::cli::Workplace;

/// Every verb below `path`, as its help lists them.
async fn verbs(place: &Workplace, program: &str, path: &[&str]) -> Vec<Vec<String>> {
    let mut found = vec![path.iter().map(|verb| (*verb).to_owned()).collect::<Vec<_>>()];
    let mut next = 0;
    while let Some(verb) = found.get(next).cloned() {
        next += 1;
        let mut args: Vec<&str> = verb.iter().map(String::as_str).collect();
        args.push("--help");
        let ran = if program == "fleetman" { place.fleetman(&args).await } else { place.fleetagent(&args).await };
        let help = ran.exits(0).out;
        assert!(help.contains("Usage:"), "{args:?}\n{help}");
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let grouped = help.lines().filter(|line| verb.is_empty() && line.starts_with("  ") && !line.starts_with("   "));
        for line in listed.chain(grouped) {
            let name = line.split_whitespace().next().unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "help" {
                let more: Vec<String> = verb.iter().cloned().chain([name.to_owned()]).collect();
                if !found.contains(&more) {
                    found.push(more);
                }
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_has_a_help() {
    let place = Workplace::empty();
    let found = verbs(&place, "fleetman", &[]).await;
    for verb in ["publish", "rollback", "doctor", "completion", "serve", "quickstart"] {
        assert!(found.contains(&vec![verb.to_owned()]), "{verb} is not listed: {found:?}");
    }
    assert!(found.contains(&vec!["bucket".to_owned(), "cat".to_owned()]), "{found:?}");
    assert!(found.len() > 35, "{found:?}");
    assert_eq!(verbs(&place, "fleetagent", &[]).await.len(), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verb_and_a_config_there_is_help_and_exit_code_2() {
    let place = Workplace::empty();
    let ran = place.fleetman(&[]).await.exits(2);
    assert!(ran.out.is_empty() && ran.err.contains("quickstart"), "{}", ran.err);
    let ran = place.fleetagent(&[]).await.exits(2);
    assert!(ran.out.is_empty() && ran.err.contains("Poll, deploy and report"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_verb_or_flag_is_exit_code_2() {
    let place = Workplace::empty();
    let ran = place.fleetman(&["pubish"]).await.exits(2);
    assert!(ran.err.contains("publish"), "{}", ran.err);
    place.fleetman(&["publish", "not-a-cell", "-y"]).await.exits(2);
    place.fleetman(&["publish"]).await.exits(2);
    place.fleetman(&["publish", "n1/web", "--all"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_field_of_a_config_is_shown_at_its_place() {
    let place = Workplace::empty();
    place.write(
        "controller_config.yaml",
        "buckets:\n  - name: a\n    fleet: 6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10\n    bukcet: b\n",
    );
    let ran = place.fleetman(&["bucket", "ls"]).await.exits(2);
    assert!(ran.err.contains("./controller_config.yaml:4:5 (buckets[0].bukcet)"), "{}", ran.err);
    assert!(ran.err.contains("bucket"), "{}", ran.err);
    let error = place.fleetman(&["-o", "json", "bucket", "ls"]).await.exits(2).error();
    assert_eq!(error["code"], "config_invalid");

    place.write("agent_config.yaml", "node: n1\nsytemd: {}\n");
    let ran = place.fleetagent(&["config", "check"]).await.exits(2);
    assert!(ran.err.contains("./agent_config.yaml:2:1 (sytemd)"), "{}", ran.err);
    // A node that is set up wrongly must not look as if it were not set up.
    place.fleetagent(&[]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_config_says_where_it_was_looked_for() {
    let place = Workplace::empty();
    let error = place.fleetman(&["-o", "json", "bucket", "ls"]).await.exits(2).error();
    assert_eq!(error["code"], "config_absent");
    assert!(error["message"].as_str().unwrap().contains("/etc/fleetman/controller_config.yaml"), "{error}");
    let ran = place.fleetman(&["-c", "elsewhere.yaml", "bucket", "ls"]).await.exits(2);
    assert!(ran.err.contains("elsewhere.yaml"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen_keeps_the_private_key_to_its_owner_and_overwrites_nothing() {
    let place = Workplace::empty();
    let ran = place.fleetman(&["keygen", "-f", "k"]).await.exits(0);
    assert!(ran.out.trim().starts_with("- key: ed25519:"), "{}", ran.out);
    let mode = std::fs::metadata(place.path().join("k")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(place.path().join("k")).unwrap();
    let error = place.fleetman(&["-o", "json", "keygen", "-f", "k"]).await.exits(3).error();
    assert_eq!(error["code"], "exists");
    assert_eq!(std::fs::read(place.path().join("k")).unwrap(), before);
    let made = place.fleetman(&["-o", "json", "keygen", "-f", "k2"]).await.exits(0).json();
    assert!(made["public_key"].as_str().unwrap().starts_with("ed25519:"), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_points_at_the_line() {
    let place = Workplace::empty();
    place.write("good.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    let ran = place.fleetman(&["validate", "-f", "good.yaml"]).await.exits(0);
    assert_eq!(ran.out, "manifest site is valid\ncell n1/web is valid\n");
    place.write("bad.yaml", "name: site\nprofile: {deploy: {}}\nlables: {}\n");
    let ran = place.fleetman(&["validate", "-f", "good.yaml", "-f", "bad.yaml"]).await.exits(2);
    assert!(ran.err.contains("bad.yaml:3:1") && ran.err.contains("labels"), "{}", ran.err);
    let fed = place.fleetman_fed(&["validate", "-f", "-"], "name: site\nprofile: {deploy: {}}\n").await;
    assert_eq!(fed.exits(0).out, "manifest site is valid\n");
    place.fleetman(&["validate", "-f", "absent.yaml"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_json_and_completions_are_scripts() {
    let place = Workplace::empty();
    for kind in ["manifest", "cell"] {
        let schema = place.fleetman(&["schema", kind]).await.exits(0).json();
        assert!(schema["$schema"].is_string(), "{schema}");
    }
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef fleetman"), ("fish", "complete -c fleetman")] {
        let script = place.fleetman(&["completion", shell]).await.exits(0).out;
        assert!(script.contains(sign) && script.contains("rollback"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_check_says_what_the_config_comes_to_and_keeps_secrets() {
    let place = Workplace::empty();
    place.write(
        "agent_config.yaml",
        "node: n1\nfleet: 6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10\nsigning: unsigned\n\
         bucket: {bucket: b, access_key: id, secret_key: s3cr3t}\nstate_folder: /s\nprocess: {}\n",
    );
    let ran = place.fleetagent(&["config", "check", "-o", "json"]).await.exits(0);
    assert_eq!(ran.json()["node"], "n1");
    assert_eq!(ran.json()["process_folder"], "/s/process");
    assert!(!ran.out.contains("s3cr3t") && !ran.err.contains("s3cr3t"));
    assert!(ran.err.contains("chmod"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_an_agent_that_never_ran_has_the_lsb_code_for_not_running() {
    let place = Workplace::empty();
    place.fleetagent(&["status"]).await.exits(4);
    place.write(
        "agent_config.yaml",
        "node: n1\nfleet: 6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10\nsigning: unsigned\nbucket: {bucket: b}\nstate_folder: s\n",
    );
    place.fleetagent(&["status"]).await.exits(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_processes_apart_where_there_are_several() {
    let place = Workplace::empty();
    place.write(
        "agent_config.yaml",
        "node: n1\nfleet: 6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10\nsigning: unsigned\nbucket: {bucket: b}\nstate_folder: s\n",
    );
    place.write("s/agent.lock", "");
    place.write("s/status.json", include_str!("../golden/heartbeat-processes.json"));
    let shown = place.fleetagent(&["status"]).await.exits(3).out;
    let rows: Vec<Vec<&str>> = shown.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["shop", "checking", "1.4.2", "1.4.2"], "{shown}");
    assert_eq!(rows[1], ["cache", "running"], "{shown}");
    assert_eq!(rows[2], ["migrate", "completed"], "{shown}");
    assert_eq!(rows[3], ["web", "backoff", "started", "again", "in", "30s"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_doctor_says_what_folders_are() {
    let place = Workplace::empty();
    place.write("file", "");
    place.write(
        "agent_config.yaml",
        "node: n1\nfleet: 6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10\nsigning: unsigned\nstate_folder: s\n\
         bucket: {bucket: b, endpoint: \"http://127.0.0.1:1\", access_key: id, secret_key: key}\n\
         deploy: {target_folder: file/www}\nprocess: {with_agent: true}\n",
    );
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let found = place.fleetagent(&["doctor", "-o", "json"]).await.exits(1).json();
    let said = |check: &str| {
        let finding = found.as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap();
        (finding["verdict"].clone(), finding["message"].as_str().unwrap().to_owned())
    };
    let (verdict, message) = said("state_folder");
    assert!(verdict == "ok" && message.ends_with("s will be made"), "{message}");
    let (verdict, message) = said("deploy_folder");
    assert!(verdict == "failed" && message.ends_with("file is not a folder"), "{message}");
    let (verdict, message) = said("process_folder");
    assert!(verdict == "ok" && message.ends_with("s/process will be made"), "{message}");
    assert_eq!(said("process_files").0, "ok");
    // Nobody but root can run cells as other users, so others do not mind.
    let (verdict, message) = said("process_users");
    assert!(verdict == "warning" && message.contains("(mode 700)") || message.contains("only root"), "{message}");
    assert!(said("process_supervisors").1.contains("ends with it"));
    assert!(said("process_limits").1.contains("waits"));
}
