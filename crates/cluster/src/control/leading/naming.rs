//! What coordination calls it, in the words of placement.

use std::sync::Arc;

use rangekeeper_coordination::{Intent, Intents, Member, Members};
use rangekeeper_model::{BootCount, RunId, StoreId, Zone};
use rangekeeper_placement::{self as placement, Registration};
use tracing::warn;

/// The zone of all nodes that say nothing: that they fail alone is not known.
const NO_ZONE: &str = "default";

/// The longest address that a node table can name.
const MAX_ADDRESS_BYTES: usize = 255;

/// All who are registered, but for those whose address no map can carry.
pub(super) fn registrations(members: &Members) -> Vec<Registration> {
    members.members.values().filter_map(registration).collect()
}

fn registration(member: &Member) -> Option<Registration> {
    let said = &member.registration;
    let length = said.peer_address.len();
    if !(1..=MAX_ADDRESS_BYTES).contains(&length) {
        warn!(node = %said.node, length, "registered with an address that is none, left out");
        return None;
    }
    Some(Registration {
        id: said.node.clone(),
        address: Arc::from(said.peer_address.as_str()),
        zone: zone(&said.zone),
        weight: said.weight,
        incarnation: member.incarnation,
        store: StoreId(said.store),
        boot: BootCount(said.boot),
        run: RunId(said.run),
        after: said.after.iter().copied().map(RunId).collect(),
    })
}

pub(in super::super) fn zone(said: &str) -> Zone {
    let name = if said.is_empty() { NO_ZONE } else { said };
    Zone::new(name).unwrap_or_else(|error| {
        warn!(%error, "a zone that is none is taken for no zone");
        Zone::new(NO_ZONE).expect("it is a name")
    })
}

/// What the operator wants.
pub(in super::super) fn wishes(intents: &Intents) -> placement::Intents {
    let mut wishes = placement::Intents::default();
    for (intent, payload) in intents {
        match intent {
            Intent::Drain(node) => {
                wishes.draining.insert(node.clone());
            }
            Intent::Freeze => wishes.is_frozen = true,
            Intent::Confirm => match Intent::confirmed(payload) {
                Ok(gone) => wishes.confirmed_gone.extend(gone),
                Err(error) => warn!(%error, "failed to read who is confirmed to be gone"),
            },
            Intent::Config => {}
        }
    }
    wishes
}
