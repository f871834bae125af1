//! Settings of a unit that systemd would refuse together, or that would make no sense together. They may all stand in
//! the manifest, or some of them in the cell, so they are looked for in both places.

use super::either::Schedule;
use super::written::{Hardening, RestartPolicy};
use crate::model::systemd::ServiceType;
use crate::yaml::{Document, Field};

/// What is said of a unit, wherever it is said.
pub(super) struct Together<'a> {
    pub(super) kind: ServiceType,
    pub(super) policy: Option<RestartPolicy>,
    pub(super) schedule: Option<&'a Schedule>,
    /// Whether a user or a group is named.
    pub(super) named_owner: bool,
    pub(super) hardening: &'a Hardening,
}

/// Settings that cannot stand together.
pub(super) struct Clash {
    /// The ways to them, that which is most likely wrong first.
    ways: Vec<&'static [&'static str]>,
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Clash {
    /// The first of the settings that `document` has below `field`.
    pub(super) fn place(&self, document: &Document, field: &Field) -> Field {
        let fields = self.ways.iter().map(|way| way.iter().fold(field.clone(), |field, key| field.key(*key)));
        fields.into_iter().find(|field| document.has(field)).unwrap_or_else(|| field.clone())
    }
}

impl Together<'_> {
    pub(super) fn clashes(&self) -> Vec<Clash> {
        let Self { kind, policy, schedule, named_owner, hardening } = self;
        let mut clashes = Vec::new();
        let mut clash = |ways: &[&'static [&'static str]], message: &str, help| {
            clashes.push(Clash { ways: ways.to_vec(), message: message.to_owned(), help });
        };
        let always = *policy == Some(RestartPolicy::Always);
        if always && schedule.is_some() {
            let message = "what runs on a schedule waits for its time, so it cannot be restarted always";
            clash(&[&["restart", "policy"], &["schedule"]], message, "write never or on-failure, or leave it out");
        } else if always && *kind == ServiceType::Oneshot {
            let message = "a oneshot service runs once, so it cannot be restarted always";
            clash(&[&["restart", "policy"], &["type"]], message, "write never or on-failure, or leave it out");
        }
        if schedule.is_some() && *kind == ServiceType::Notify {
            let message = "what runs on a schedule ends by itself, and a service of the type notify runs on";
            clash(&[&["type"], &["schedule"]], message, "write type: oneshot");
        }
        if schedule.is_some_and(|schedule| schedule.on_calendar.is_none()) {
            clash(&[&["schedule"]], "it is not said when it runs", "add on_calendar, such as daily");
        }
        if *named_owner && hardening.dynamic_user == Some(true) {
            let message = "a user cannot be both named and made up by systemd";
            let ways: [&'static [&'static str]; 3] = [&["user"], &["group"], &["hardening", "dynamic_user"]];
            clash(&ways, message, "remove `user` and `group`, or `dynamic_user`");
        }
        if let (Some(all), Some(ambient)) = (&hardening.capabilities, &hardening.ambient_capabilities)
            && let Some(capability) = ambient.iter().find(|capability| !all.contains(capability))
        {
            let message = format!("{} is not among `capabilities`, which are all that it may have", capability.0);
            let ways: [&'static [&'static str]; 2] =
                [&["hardening", "ambient_capabilities"], &["hardening", "capabilities"]];
            clash(&ways, &message, "add it there, or leave it out");
        }
        clashes
    }
}
