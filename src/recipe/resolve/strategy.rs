//! How a version takes the place of the one that runs: the manifest's strategy with templates rendered.

use super::profile::Runs;
use super::run::Place;
use crate::model::strategy::{self, Listen};
use crate::recipe::written::{Socket, StartStop, Strategy};
use crate::yaml::Field;

impl Runs<'_> {
    /// What is wrong with it is among the errors.
    pub(super) fn strategy(&mut self) -> strategy::Strategy {
        let recipe = self.recipe;
        let Strategy::StartStop(StartStop { sockets, shares }) = &recipe.strategy else {
            return strategy::Strategy::StopStart;
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
