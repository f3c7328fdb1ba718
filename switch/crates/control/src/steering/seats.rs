//! Standby blades of a function (paragraph 57 of the patent document): who takes whose place.
//!
//! An active blade has lost its place while it takes no new flows: its link is down, its port is switched off, it is silent or it is
//! drained. There are as many standby blades in service as active ones have lost their places, as far as there are any that are well; the first
//! in the list that are free. Who has a place keeps it until its owner is back or it is lost itself, so that a further loss moves nobody who is well.
//!
//! Limits: what was is remembered here, not in the configuration: after a restart the list decides alone.

use std::collections::BTreeMap;

use port::PortId;

use super::{Blade, BladeState};

/// What a blade is in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// It has a part of the flows while it is well.
    Active,
    /// It takes the place of an active one that takes no new flows.
    Standby,
}

impl Duty {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Duty::Active => "active",
            Duty::Standby => "standby",
        }
    }
}

/// By function: the active blade that has lost its place, and the standby blade that has it.
#[derive(Debug, Default)]
pub(super) struct Seats(BTreeMap<String, Vec<(PortId, PortId)>>);

impl Seats {
    /// Forgets functions that are not there any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }

    /// Decides who stands for whom. Standby blades come in with the state that active ones would have; those that nobody needs leave as
    /// [`BladeState::Ready`].
    pub(super) fn take(&mut self, function: &str, blades: &mut [Blade]) {
        if blades.iter().all(|blade| blade.duty == Duty::Active) {
            self.0.remove(function);
            return;
        }
        let of = |duty: Duty, up: bool| {
            let ports = blades.iter().filter(move |blade| blade.duty == duty && (blade.state == BladeState::Up) == up);
            ports.map(|blade| blade.port).collect::<Vec<PortId>>()
        };
        let (lost, well) = (of(Duty::Active, false), of(Duty::Standby, true));
        let seats = self.0.entry(function.to_owned()).or_default();
        seats.retain(|(owner, standby)| {
            let stays = lost.contains(owner) && well.contains(standby);
            if !stays {
                tracing::info!(function, blade = owner.0, standby = standby.0, "a standby blade gives its place back");
            }
            stays
        });
        for owner in lost {
            if seats.iter().any(|(taken, _)| *taken == owner) {
                continue;
            }
            let Some(&standby) = well.iter().find(|port| !seats.iter().any(|(_, taken)| taken == *port)) else { break };
            tracing::warn!(function, blade = owner.0, standby = standby.0, "a standby blade takes a place");
            seats.push((owner, standby));
        }
        let weights: Vec<(PortId, u32)> = blades.iter().map(|blade| (blade.port, blade.weight)).collect();
        for blade in blades.iter_mut().filter(|blade| blade.duty == Duty::Standby && blade.state == BladeState::Up) {
            match seats.iter().find(|(_, standby)| *standby == blade.port) {
                Some(&(owner, _)) => {
                    blade.stands_for = Some(owner);
                    blade.weight = weights.iter().find(|(port, _)| *port == owner).map_or(1, |(_, weight)| *weight);
                }
                None => blade.state = BladeState::Ready,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blade(port: u8, duty: Duty, state: BladeState) -> Blade {
        let (id, weight) = (PortId(port), u32::from(port) + 1);
        Blade { port: id, weight, state, duty, stands_for: None, elsewhere: None, id, mac: 0, counter: 0 }
    }

    /// Active blades 0 to 2 and standby blades 3 and 4 in these states: whom each standby stands for, and the states.
    fn after(seats: &mut Seats, states: [BladeState; 5]) -> ([Option<u8>; 2], [BladeState; 2]) {
        let duty = |port: u8| if port < 3 { Duty::Active } else { Duty::Standby };
        let mut blades: Vec<Blade> = (0..5).map(|port| blade(port, duty(port), states[usize::from(port)])).collect();
        seats.take("web", &mut blades);
        for blade in &blades[3..] {
            assert!(blade.stands_for.is_none_or(|owner| blade.weight == u32::from(owner.0) + 1));
        }
        ([3, 4].map(|index: usize| blades[index].stands_for.map(|port| port.0)), [3, 4].map(|index: usize| blades[index].state))
    }

    #[test]
    fn as_many_stand_in_as_are_lost_in_the_order_of_the_list() {
        use BladeState::{Down, Drain, Ready, Silent, Up};
        let mut seats = Seats::default();
        assert_eq!(after(&mut seats, [Up, Up, Up, Up, Up]), ([None, None], [Ready, Ready]));
        assert_eq!(after(&mut seats, [Up, Down, Up, Up, Up]), ([Some(1), None], [Up, Ready]));
        // A second loss, of one that stands before it: the first place stays taken as it is.
        assert_eq!(after(&mut seats, [Silent, Down, Up, Up, Up]), ([Some(1), Some(0)], [Up, Up]));
        // A third: nobody is left.
        assert_eq!(after(&mut seats, [Silent, Down, Drain, Up, Up]), ([Some(1), Some(0)], [Up, Up]));
        // The first owner is back: its standby takes the place that nobody had.
        assert_eq!(after(&mut seats, [Silent, Up, Drain, Up, Up]), ([Some(2), Some(0)], [Up, Up]));
        // A standby is lost itself; the other one stays where it is.
        assert_eq!(after(&mut seats, [Silent, Up, Up, Down, Up]), ([None, Some(0)], [Down, Up]));
        // A drained one is not called.
        assert_eq!(after(&mut seats, [Up, Down, Up, Drain, Up]), ([None, Some(1)], [Drain, Up]));
        assert_eq!(after(&mut seats, [Up; 5]), ([None, None], [Ready, Ready]));
    }
}
