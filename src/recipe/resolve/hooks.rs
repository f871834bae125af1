//! What is run around a deployment: the manifest's hooks with templates rendered.

use super::profile::Runs;
use super::run::Place;
use crate::model::hook::{self, HookEvent, Hooks};
use crate::recipe::written::Hook;
use crate::yaml::{Field, HumanDuration};

impl Runs<'_> {
    /// The hooks of the version. What is wrong with them is among the errors.
    pub(super) fn hooks(&mut self) -> Hooks {
        let recipe = self.recipe;
        let place = Place { document: &recipe.document, field: Field::root().key("hooks") };
        recipe.hooks.iter().map(|(event, hook)| (*event, self.hook(&place.key(event.name()), *event, hook))).collect()
    }

    fn hook(&mut self, place: &Place<'_>, event: HookEvent, written: &Hook) -> hook::Hook {
        let Hook { command, timeout, retry_for, if_changed, ignore_failure, user } = written;
        let place = place.key("command");
        let command = match event {
            // None of the version's files is there yet.
            HookEvent::BeforeStage => {
                let arguments = command.iter().enumerate();
                arguments.map(|(at, argument)| self.text(&place.index(at), argument)).collect()
            }
            _ => self.command(&place, command),
        };
        let hook = hook::Hook {
            command,
            timeout_ms: timeout.map_or(hook::Hook::USUAL_TIMEOUT_MS, HumanDuration::as_millis),
            retry_for_ms: retry_for.map_or(hook::Hook::USUAL_RETRY_MS, HumanDuration::as_millis),
            // What is no pattern was refused when the document was read.
            if_changed: if_changed.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
            ignore_failure: *ignore_failure,
            user: user.clone(),
        };
        if let Err(error) = hook.check(event) {
            self.refuse(&place, &error.to_string(), "look into the variables that it uses");
        }
        hook
    }
}
