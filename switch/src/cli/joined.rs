//! `show joined`: the trunks to other chassis, and who is reached by them.

use control::joined::TrunkState;
use control::show;

use super::table::{count, or_dash, table};

/// The joined chassis as tables.
pub fn text(shown: &show::Joined) -> String {
    let Some(chassis) = shown.chassis else {
        return "this chassis is not joined to others: the configuration has no [joined]\n".to_owned();
    };
    let path: Vec<String> = shown.path.iter().map(ToString::to_string).collect();
    let mut text = match &path[..] {
        [_] => format!("chassis {chassis}, the root of the tree\n\n"),
        _ => format!("chassis {chassis}, on the way {} from the root\n\n", path.join(" - ")),
    };
    let row = |trunk: &show::Trunk| {
        let state = match trunk.state {
            TrunkState::Down => "down",
            TrunkState::Waiting => "waiting",
            TrunkState::Blocked => "blocked",
            TrunkState::Open => "forwarding",
        };
        let root = if trunk.towards_root { "yes" } else { "no" };
        let neighbor = trunk.neighbor.map(|chassis| chassis.to_string());
        vec![trunk.trunk.clone(), or_dash(neighbor), state.to_owned(), root.to_owned(), or_dash(trunk.reason.clone())]
    };
    text += &table(&["trunk", ">neighbor", "state", "to the root", "why"], shown.trunks.iter().map(row));
    let row = |member: &show::Member| {
        let functions: Vec<String> = member.functions.iter().map(|(name, blades)| format!("{name} ({blades})")).collect();
        vec![
            member.chassis.to_string(),
            member.trunk.clone().unwrap_or_else(|| "here".to_owned()),
            member.hops.to_string(),
            member.identities.to_string(),
            member.addresses.to_string(),
            or_dash(Some(functions.join(", ")).filter(|functions| !functions.is_empty())),
        ]
    };
    text += "\n";
    text += &table(&[">chassis", "by", ">hops", ">blades", ">addresses", "functions (blades)"], shown.members.iter().map(row));
    let dropped = dropped(shown);
    if !dropped.is_empty() {
        text += "\n";
        text += &table(&["frames of switch blades dropped", ">frames"], dropped.into_iter().map(|(why, n)| vec![why.to_owned(), count(n)]));
    }
    text
}

fn dropped(shown: &show::Joined) -> Vec<(&'static str, u64)> {
    shown.counters.drops().into_iter().filter(|(_, frames)| *frames > 0).collect()
}
