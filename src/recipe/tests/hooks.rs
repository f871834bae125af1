//! What is run around a deployment.

use super::*;

/// The errors about hooks that stand below `hooks:` of a manifest.
fn errors(hooks: &str) -> Vec<String> {
    let text = format!("name: web\nvars: {{port: 80}}\nprofile: {{process: {{command: [/x]}}}}\nhooks:\n  {hooks}\n");
    manifest(&text, "m.yaml").map_or_else(|error| shown(Err::<(), _>(error)), |_| Vec::new())
}

#[test]
fn a_hook_of_each_moment_is_read() {
    let hooks = "before_stage: {command: [/usr/bin/test, -e, \"/srv/{{ vars.port }}\"]}\n  \
                 stop: {command: [bin/drain], retry_for: 10m}\n  \
                 before_activate: {command: [bin/migrate], timeout: 20m, if_changed: [\"db/**\"], user: postgres}\n  \
                 after_activate: {command: [bin/warm], ignore_failure: true}\n  \
                 validate: {command: [bin/smoke, \"{{ vars.port }}\"]}\n  \
                 on_failure: {command: [bin/tell]}\n  \
                 on_rollback: {command: [bin/undo]}";
    assert_eq!(errors(hooks), [""; 0]);
}

#[test]
fn what_cannot_be_run_is_refused_where_it_stands() {
    for (hooks, expected) in [
        ("validate: {}", "5:13: hooks.validate: "),
        ("validate: {command: []}", "5:23: hooks.validate.command: the command is empty"),
        ("validate: {command: [\"{{ vars.prot }}\"]}", "5:24: hooks.validate.command[0]: "),
        (
            "before_stage: {command: [bin/x]}",
            "5:28: hooks.before_stage.command[0]: none of the version's files is on the node before it is staged",
        ),
        ("validate: {command: [x], timeout: 2h}", "5:37: hooks.validate.timeout: `2h` is not from 100ms to 1h"),
        ("validate: {command: [x], retry_for: 8d}", "5:39: hooks.validate.retry_for: `192h` is not from 0h to 168h"),
        ("on_failure: {command: [x], retry_for: 1m}", "5:30: hooks.on_failure.retry_for: `on_failure` cannot be put"),
        ("stop: {command: [x], ignore_failure: true}", "5:24: hooks.stop.ignore_failure: whether `stop` fails"),
        (
            "validate: {command: [x], if_changed: [/etc/*]}",
            "5:41: hooks.validate.if_changed[0]: `/etc/*` matches nothing",
        ),
        ("validate: {command: [x], user: \"a b\"}", "5:34: hooks.validate.user: `a b` cannot be the name of a user"),
        ("after_stop: {command: [x]}", "5:3: hooks.after_stop: "),
    ] {
        let errors = errors(hooks);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{hooks:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
}
