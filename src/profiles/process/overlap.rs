//! Two versions of a cell at once, under one supervisor: pure.
//!
//! All processes of a cell are an instance of it. The two that there may be take turns to be the newer one: the
//! processes of instance `a` have the names that the manifest gives them, those of `b` others. What is to run is always
//! whole in the orders, so whoever goes on after a crash, supervisor or agent, finds there what is to run and which of
//! it is only there until the rest is good.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::Start;
use crate::model::process::ProcessSpec;
use crate::model::strategy::StartStop;
use crate::render::instance::{Instance, service};
use crate::supervise::detached::{Orders, Wanted};
use crate::supervise::{ProcessDef, ServiceDef};

/// What is to run so that `start` comes up beside what runs by the orders `before`. What those have is left for as long
/// as the new one is not good; then come the orders of [`settled`].
///
/// What is gone back to is not started beside anything: it runs still, and the rest ends; or it is started anew.
///
/// # Errors
/// Why what runs would have to end first, if the new one spares it.
pub(super) fn orders(
    spec: &ProcessSpec,
    how: &StartStop,
    start: &Start<'_>,
    before: Option<&Orders>,
) -> Result<Orders, &'static str> {
    let id = start.activation.to_string();
    let Some(before) = before.filter(|before| before.wanted == Wanted::Up) else {
        return Ok(Orders::up(id, service(spec, how, &start.on_node(), Instance::A)));
    };
    if before.id == id {
        // Where what runs was spared and is not any more, it was told: the new one could not join it.
        let alone = settled(before).filter(|_| before.spares && !start.spares);
        return Ok(match alone {
            Some(alone) => Orders { joins: false, ..alone },
            None => Orders { spares: start.spares, ..before.clone() },
        });
    }
    let older = older(before);
    if start.activation.attempt().is_none() {
        let is_there = |service: &ServiceDef| {
            let same = |(name, def): (&String, &ProcessDef)| {
                before.service.processes.get(name).is_some_and(|running| running.starts_like(def))
            };
            service.processes.iter().all(same)
        };
        return Ok(match instances(spec, how, start).into_iter().find(is_there) {
            Some(service) => Orders { joins: true, ..Orders::up(id, service) },
            None => Orders::up(id, service(spec, how, &start.on_node(), Instance::A)),
        });
    }
    let instances: Option<Vec<Instance>> = older.values().map(Instance::of).collect();
    let stays = instances.and_then(|instances| instances.first().copied());
    let Some(stays) = stays else {
        let alone = Orders::up(id, service(spec, how, &start.on_node(), Instance::A));
        return if start.spares { Err("what runs was not started to take turns") } else { Ok(alone) };
    };
    let mut both = service(spec, how, &start.on_node(), stays.other());
    let leaving: BTreeSet<String> = older.keys().cloned().collect();
    both.processes.extend(older);
    Ok(Orders { joins: true, leaving, spares: start.spares, ..Orders::up(id, both) })
}

/// The processes that are known to be good, as far as anything is.
fn older(orders: &Orders) -> BTreeMap<String, ProcessDef> {
    let is_older = |name: &String| orders.leaving.is_empty() || orders.leaving.contains(name);
    orders.service.processes.clone().into_iter().filter(|(name, _)| is_older(name)).collect()
}

/// What is to run once what joined the others is good; None if nothing has to change for that.
pub(super) fn settled(orders: &Orders) -> Option<Orders> {
    (!orders.leaving.is_empty()).then(|| {
        let mut settled = Orders { joins: true, leaving: BTreeSet::new(), spares: false, ..orders.clone() };
        settled.service.processes.retain(|name, _| !orders.leaving.contains(name));
        settled
    })
}

/// Both of what one version may run as.
pub(super) fn instances(spec: &ProcessSpec, how: &StartStop, start: &Start<'_>) -> Vec<ServiceDef> {
    Instance::BOTH.into_iter().map(|instance| service(spec, how, &start.on_node(), instance)).collect()
}

#[cfg(test)]
mod tests;
