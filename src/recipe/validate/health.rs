//! Whether what is asked of a version makes sense.

use super::{Checker, Vars};
use crate::model::FilePath;
use crate::model::health::{self, CheckAddress, CheckUrl, Pattern};
use crate::recipe::written::{Check, ExecCheck, FileCheck, Health, HttpCheck, LogCheck, Profile, TcpCheck};
use crate::yaml::{Field, HumanDuration};

impl Checker<'_> {
    pub(super) fn health(&mut self, health: &Health, profile: &Profile, vars: &Vars<'_>) {
        let field = Field::root().key("health");
        let runs_nothing = matches!(profile, Profile::Deploy(_));
        if runs_nothing && health.checks.is_empty() {
            let message = "the profile `deploy` runs nothing whose health could be seen without `checks`";
            return self.key(&field, message, Some("add `checks`, or remove it"));
        }
        self.attainable(&field, health);
        self.within(&field.key("interval"), health.interval, health::Health::INTERVALS_MS);
        self.within(&field.key("timeout"), health.timeout, health::Health::TIMEOUTS_MS);
        if health.restart_after.is_some() {
            let field = field.key("restart_after");
            if runs_nothing {
                self.key(&field, "the profile `deploy` runs nothing that could be restarted", Some("remove it"));
            } else if health.checks.is_empty() {
                self.key(&field, "there are no checks that could fail", Some("add `checks`, or remove it"));
            }
        }
        let (field, most) = (field.key("checks"), health::Health::MOST_CHECKS);
        if health.checks.len() > most {
            let message = format!("{} checks are more than the {most} that a version may have", health.checks.len());
            self.key(&field, message, Some("let one program check several things, by `exec`"));
        }
        for (name, check) in &health.checks {
            let field = field.key(name.as_str());
            match check {
                Check::Http(check) => self.http(&field.key("http"), check, vars),
                Check::Tcp(TcpCheck { address }) => {
                    let field = field.key("tcp").key("address");
                    let help = "write it as 127.0.0.1:5432 or [::1]:5432";
                    self.asked(&field, address, |text| text.parse::<CheckAddress>().map(|_| ()), help, vars);
                }
                Check::Exec(ExecCheck { command }) => {
                    self.command(&field.key("exec").key("command"), command, Some(vars));
                }
                Check::File(check) => self.file(&field.key("file"), check, vars),
                Check::Log(_) if runs_nothing => {
                    let message = "the profile `deploy` runs nothing that could write a log";
                    self.key(&field.key("log"), message, Some("check a `file`, or remove it"));
                }
                Check::Log(check) => self.log(&field.key("log"), check, vars),
            }
        }
    }

    /// The deadline must leave room for the time in which nothing may fail, and for the looks around it.
    fn attainable(&mut self, field: &Field, health: &Health) {
        let times = health.times();
        let field = field.key(if health.deadline.is_some() { "deadline" } else { "min_healthy_time" });
        let help = Some("no version could be good in time; raise `deadline`");
        if times.deadline_ms <= times.min_healthy_ms {
            let message = "the deadline, `2m` if left out, is not longer than `min_healthy_time`, `10s` if left out";
            self.value(&field, message, help);
        } else if !health.checks.is_empty()
            && times.deadline_ms <= times.min_healthy_ms.saturating_add(times.interval_ms)
        {
            let message = "the deadline, `2m` if left out, is not longer than `min_healthy_time`, `10s` if left out, and \
                           `interval`, `5s` if left out, together";
            let field = match (health.deadline, health.min_healthy_time) {
                (None, None) => Field::root().key("health").key("interval"),
                _ => field,
            };
            self.value(&field, message, help);
        }
    }

    pub(super) fn within(&mut self, field: &Field, time: Option<HumanDuration>, (least, most): (u64, u64)) {
        if let Some(time) = time.filter(|time| !(least..=most).contains(&time.as_millis())) {
            let shown = |millis: u64| match millis {
                millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
                millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
                millis => format!("{millis}ms"),
            };
            let (time, least, most) = (shown(time.as_millis()), shown(least), shown(most));
            self.value(field, format!("`{time}` is not from {least} to {most}"), None);
        }
    }

    fn http(&mut self, field: &Field, check: &HttpCheck, vars: &Vars<'_>) {
        let help = "write it as http://127.0.0.1:8080/health";
        let parse = |text: &str| text.parse::<CheckUrl>().map(|_| ());
        self.asked(&field.key("url"), &check.url, parse, help, vars);
        if check.insecure && check.url.starts_with("http://") {
            self.key(&field.key("insecure"), "http has no certificates", Some("remove it"));
        }
        if let Some(text) = &check.contains {
            self.looked_for(&field.key("contains"), text, vars);
        }
    }

    fn file(&mut self, field: &Field, check: &FileCheck, vars: &Vars<'_>) {
        let help = "write a path on the node, or one below the cell's data folder";
        let parse = |text: &str| FilePath::new(text.strip_prefix('/').unwrap_or(text)).map(|_| ());
        self.asked(&field.key("path"), &check.path, parse, help, vars);
        if check.newer_than.is_some_and(|time| time.as_millis() == 0) {
            self.value(&field.key("newer_than"), "no file is ever as new as that", Some("write it as 30s or 5m"));
        }
    }

    fn log(&mut self, field: &Field, check: &LogCheck, vars: &Vars<'_>) {
        match (&check.contains, &check.matches) {
            (Some(text), None) => {
                let field = field.key("contains");
                self.looked_for(&field, text, vars);
                if text.contains('\n') {
                    self.value(&field, "a line holds no line break", None);
                }
            }
            (None, Some(pattern)) => {
                let field = field.key("matches");
                match pattern.parse::<Pattern>() {
                    Err(error) => self.value(&field, error.to_string(), None),
                    Ok(_) => self.bounded(&field, pattern),
                }
            }
            (Some(_), Some(_)) => {
                self.key(
                    &field.key("matches"),
                    "`contains` and `matches` cannot stand together",
                    Some("make it two checks"),
                );
            }
            (None, None) => {
                let help = "add `contains: <text>` or `matches: <regular expression>`";
                self.value(field, "the check waits for no line", Some(help));
            }
        }
    }

    /// A text that means something once its templates are rendered; it is looked at now if it has none.
    pub(super) fn asked<E: std::fmt::Display>(
        &mut self,
        field: &Field,
        text: &str,
        parse: impl FnOnce(&str) -> Result<(), E>,
        help: &str,
        vars: &Vars<'_>,
    ) {
        if text.contains("{{") || text.contains("{%") {
            return self.text(field, text, Some(vars));
        }
        if let Err(error) = parse(text) {
            self.value(field, error.to_string(), Some(help));
        }
    }

    fn looked_for(&mut self, field: &Field, text: &str, vars: &Vars<'_>) {
        self.text(field, text, Some(vars));
        if text.is_empty() {
            self.value(field, "the text is empty, which stands everywhere", None);
        }
        self.bounded(field, text);
    }

    fn bounded(&mut self, field: &Field, text: &str) {
        if text.len() > health::Health::MOST_TEXT {
            let message =
                format!("{} bytes are more than the {} that are looked for", text.len(), health::Health::MOST_TEXT);
            self.value(field, message, None);
        }
    }
}
