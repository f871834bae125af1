//! An agent that is not root: what it can do it does, and what it cannot it says.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::cli::{Ran, Workplace};
use crate::support::{skip, wait_for};

/// A user that has a name on every system, and one that has none.
const NOBODY: u32 = 65534;
const NAMELESS: u32 = 54321;

/// Cells that any user may run, one that names the user, and one that only root may run.
const MANIFESTS: &str = "\
name: sleeper
files: [{path: index.html}]
profile:
  process:
    command: [/bin/sleep, '1000']
health: {min_healthy_time: 100ms}
---
name: named
files: [{path: index.html}]
profile:
  process:
    command: [/bin/sleep, '1000']
    user: nobody
health: {min_healthy_time: 100ms}
---
name: roots
files: [{path: index.html}]
profile:
  process:
    command: [/bin/sleep, '1000']
    user: root
health: {min_healthy_time: 100ms}
---
name: unknown
files: [{path: index.html}]
profile:
  process:
    command: [/bin/sleep, '1000']
    user: no-such-user-here
---
name: site
files: [{path: index.html}]
profile: {deploy: {}}
---
cell: n1/sleeper
manifest: sleeper
---
cell: n1/named
manifest: named
---
cell: n1/roots
manifest: roots
---
cell: n1/unknown
manifest: unknown
---
cell: n1/site
manifest: site
";

/// A user's home, with a config in its usual place, and a bucket that asks for cells.
struct Home {
    user: u32,
    folder: PathBuf,
    place: Workplace,
}

impl Home {
    async fn of(user: u32) -> Self {
        let place = Workplace::with_bucket().await;
        place.agent_config("n1").await;
        let config = std::fs::read_to_string(place.path().join("n1.yaml")).unwrap();
        let config = config.replace("state_folder: n1-state\n", "").replace("n1-cells", "../../www");
        place.write("cells.yaml", MANIFESTS);
        place.fleetman(&["apply", "-f", "cells.yaml"]).await.exits(0);
        place.write("files/index.html", "hello");
        for name in ["sleeper", "named", "roots", "unknown", "site"] {
            place.fleetman(&["upload", name, "files", "--as", "1"]).await.exits(0);
            let cell = format!("n1/{name}");
            place.fleetman(&["publish", &cell, "--deployment", "1", "--as", "1", "--yes"]).await.exits(0);
        }
        place.write("home/.config/fleetman/agent_config.yaml", &format!("{config}process: {{}}\n"));
        let home = Self { user, folder: place.path().join("home"), place };
        std::fs::set_permissions(home.place.path(), PermissionsExt::from_mode(0o711)).unwrap();
        for path in ["", ".config", ".config/fleetman", ".config/fleetman/agent_config.yaml"] {
            chown(home.folder.join(path), Some(user), Some(user)).unwrap();
        }
        home
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
        command.args(args).env_clear().env("HOME", &self.folder).env("PATH", "/usr/bin:/bin");
        command.current_dir("/").uid(self.user).gid(self.user);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    fn cells(&self) -> Value {
        let ran = self.run(&["once", "-o", "json"]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        ran.json()["cells"].clone()
    }

    fn state(&self) -> PathBuf {
        self.folder.join(".local/state/fleetagent")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["reset", "--all", "-y"]).output();
    }
}

/// Whose process it is.
fn owner(pid: u64) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(Path::new("/proc").join(pid.to_string())).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_users_agent_runs_what_it_may_and_says_what_it_may_not() {
    if !rustix::process::geteuid().is_root() {
        return skip::<()>("only root can become somebody else").unwrap_or_default();
    }
    for user in [NOBODY, NAMELESS] {
        let home = Home::of(user).await;
        let mine: &[&str] = if user == NOBODY { &["site", "sleeper", "named"] } else { &["site", "sleeper"] };
        let are_up = async || {
            let cells = home.cells();
            mine.iter().all(|cell| cells[cell]["phase"] == "up_to_date")
        };
        wait_for(are_up, &format!("the cells of user {user}")).await;
        let cells = home.cells();
        for cell in &mine[1..] {
            let pid = cells[cell]["state"]["pid"].as_u64().unwrap_or_else(|| panic!("{cells:#}"));
            assert_eq!(owner(pid), user);
        }
        // What is waited for is tried again now and then.
        let reason = |cell: &str| (cells[cell]["running"].clone(), cells[cell]["last_error"]["code"].clone());
        assert_eq!(reason("roots"), (Value::Null, "user_denied".into()), "{cells:#}");
        assert_eq!(reason("unknown"), (Value::Null, "user_unknown".into()));
        if user == NAMELESS {
            assert_eq!(reason("named"), (Value::Null, "user_denied".into()));
        }
        assert!(home.state().join("process/sleeper/current/index.html").exists());
        let ran = home.run(&["doctor"]);
        assert!(ran.code != 10 && ran.out.contains("cells run as this user"), "{}\n{}", ran.out, ran.err);

        let ran = home.run(&["reset", "--all", "-y"]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        assert_eq!(std::fs::read_dir(home.state().join("process")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ordinary_user_may_not_write_to_is_named() {
    if !rustix::process::geteuid().is_root() {
        return skip::<()>("only root can become somebody else").unwrap_or_default();
    }
    let home = Home::of(NAMELESS).await;
    let config = home.folder.join(".config/fleetman/agent_config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}state_folder: /no-place-for-state\n")).unwrap();
    for args in [&["once"][..], &["reset", "--all", "-y"]] {
        let ran = home.run(&[args, &["-o", "json"]].concat()).exits(5);
        let error = ran.error();
        assert_eq!(error["code"], "denied");
        assert!(error["message"].as_str().unwrap().contains("/no-place-for-state"), "{error}");
    }
    assert!(!Path::new("/no-place-for-state").exists());
}
