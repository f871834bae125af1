//! Whether what is run around a deployment makes sense.

use super::{Checker, Vars};
use crate::model::PathPattern;
use crate::model::hook::{self, HookEvent};
use crate::recipe::written::Hooks;
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn hooks(&mut self, hooks: &Hooks, vars: &Vars<'_>) {
        for (event, hook) in hooks {
            let field = Field::root().key("hooks").key(event.name());
            self.command(&field.key("command"), &hook.command, Some(vars));
            let program = hook.command.first().filter(|program| !program.starts_with(['/', '{']));
            if let Some(program) = program.filter(|_| *event == HookEvent::BeforeStage) {
                let message = "none of the version's files is on the node before it is staged";
                let help = format!("begin a program of the node itself with `/`, as in /usr/bin/{program}");
                self.value(&field.key("command").index(0), message, Some(&help));
            }
            self.within(&field.key("timeout"), hook.timeout, hook::Hook::TIMEOUTS_MS);
            self.within(&field.key("retry_for"), hook.retry_for, (0, hook::Hook::MOST_RETRY_MS));
            if !event.may_wait() && hook.retry_for.is_some() {
                let message = format!("`{event}` cannot be put off: the version has failed already");
                self.key(&field.key("retry_for"), message, Some("remove it"));
            }
            if !event.decides() && hook.ignore_failure {
                let message = format!("whether `{event}` fails never decides anything");
                self.key(&field.key("ignore_failure"), message, Some("remove it"));
            }
            if hook.if_changed.len() > hook::Hook::MOST_PATTERNS {
                let (count, most) = (hook.if_changed.len(), hook::Hook::MOST_PATTERNS);
                let message = format!("{count} patterns are more than the {most} that a hook may have");
                self.key(&field.key("if_changed"), message, Some("write several names as one: {a,b}"));
            }
            for (at, pattern) in hook.if_changed.iter().enumerate() {
                if let Err(error) = pattern.parse::<PathPattern>() {
                    self.value(&field.key("if_changed").index(at), error.to_string(), None);
                }
            }
            self.user(&field.key("user"), hook.user.as_ref());
        }
    }
}
