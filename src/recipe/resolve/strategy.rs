//! How a version takes the place of the one that runs: the manifest's strategy with templates rendered.

use super::profile::Runs;
use super::run::Place;
use crate::model::effect::{NO_WAY, says_how_to_reload};
use crate::model::run_spec::Profile;
use crate::model::strategy::{self, Listen};
use crate::recipe::Written;
use crate::recipe::written::{Recipe, Socket, StartStop, Strategy};
use crate::yaml::{Field, YamlError};

/// What is wrong with a manifest whose cell is to be reloaded, where nothing says how.
pub(super) fn unreloadable(recipe: &Written<Recipe>, profile: &Profile) -> Option<YamlError> {
    let key = match &recipe.strategy {
        Strategy::Reload => "strategy",
        _ if !recipe.reload_if.is_empty() => "reload_if",
        _ => return None,
    };
    let help = "add `reload_signal: HUP` to the profile, or whichever signal the program takes for that";
    // A profile that runs nothing was refused when the document was read.
    let says_how = matches!(profile, Profile::Deploy(_)) || says_how_to_reload(profile);
    (!says_how).then(|| recipe.document.error(&Field::root().key(key), NO_WAY, Some(help)))
}

impl Runs<'_> {
    /// What is wrong with it is among the errors.
    pub(super) fn strategy(&mut self) -> strategy::Strategy {
        let recipe = self.recipe;
        let StartStop { sockets, shares } = match &recipe.strategy {
            Strategy::StartStop(how) => how,
            Strategy::StopStart => return strategy::Strategy::StopStart,
            Strategy::Reload => return strategy::Strategy::Reload,
        };
        let field = Field::root().key("strategy").key("start_stop").key("sockets");
        let place = Place { document: &recipe.document, field };
        let sockets = sockets.iter().filter_map(|(name, Socket { listen, process, mode })| {
            let place = place.key(name.as_str()).key("listen");
            let listen: Listen = match self.text(&place, listen).parse() {
                Ok(listen) => listen,
                Err(error) => {
                    let error: strategy::NotListenable = error;
                    self.refuse(&place, &error.to_string(), "look into the variables that it uses");
                    return None;
                }
            };
            let mode = mode.map_or(strategy::Socket::MODE, |mode| mode.0);
            Some((name.clone(), strategy::Socket { listen, process: process.clone(), mode }))
        });
        strategy::Strategy::StartStop(strategy::StartStop { sockets: sockets.collect(), shares: *shares })
    }
}
