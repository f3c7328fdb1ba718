//! Several backplanes in one chassis, paragraph [27]: each has a bus and an arbiter of its own, and the switch blade couples them.

use control::show;
use wire::MacAddr;

use super::blades::*;
use super::{UPLINK, four_blades_of};

/// Frames that each station has put on each bus.
fn crossed(stage: &bladeswitch::replay::Stage) -> Vec<(String, u64)> {
    let backplanes = show::buses(&stage.switch.control).backplanes;
    let stations = backplanes.iter().flat_map(|backplane| backplane.stations.iter().map(move |station| (backplane, station)));
    stations.map(|(backplane, station)| (format!("{}/{}", backplane.name, station.station), station.frames)).collect()
}

#[test]
fn p27_coupled_backplanes_have_a_bus_each_and_the_switch_blade_is_a_station_of_both() {
    for buses in [["tdm", "drr"], ["drr", "fdm"], ["fdm", "tdm"]] {
        let backplane = |name: &str, blades: [u8; 2], bus: &str| {
            format!("[[backplane]]\nname = \"{name}\"\nports = [\"blade{}\", \"blade{}\"]\nbus = \"{bus}\"\n", blades[0], blades[1])
        };
        let head = format!("{SILENT}{}{}", backplane("left", [1, 2], buses[0]), backplane("right", [3, 4], buses[1]));
        let mut stage = four_blades_of(&head);
        let everybody = MacAddr::BROADCAST;
        let one = |from: MacAddr, to: MacAddr| plain(to, from, 60, 7);
        let by_switch = |from: u8, to: u8| message(SWITCH, blade(from), blade(to), b"across");
        let arrived = |from: u8, to: u8| [&blade(to).0[..], &by_switch(from, to)[6..]].concat();
        let all_but_one = [slot(2), slot(3), slot(4), UPLINK].map(|port| (port, one(blade(1), everybody))).to_vec();
        // Who sends what, where it arrives, and which buses it crosses as whose.
        let cases = [
            (slot(1), by_switch(1, 2), vec![(slot(2), arrived(1, 2))], vec!["left/blade1"]),
            (slot(1), by_switch(1, 3), vec![(slot(3), arrived(1, 3))], vec!["right/switch"]),
            (slot(4), by_switch(4, 2), vec![(slot(2), arrived(4, 2))], vec!["left/switch"]),
            (slot(3), one(blade(3), blade(4)), vec![(slot(4), one(blade(3), blade(4)))], vec!["right/blade3"]),
            (UPLINK, one(OUTSIDE, blade(1)), vec![(slot(1), one(OUTSIDE, blade(1)))], vec!["left/switch"]),
            (slot(2), one(blade(2), OUTSIDE), vec![(UPLINK, one(blade(2), OUTSIDE))], vec![]),
            (slot(1), one(blade(1), everybody), all_but_one, vec!["left/blade1", "right/switch"]),
        ];
        for (from, bytes, arrives, crosses) in cases {
            let before = crossed(&stage);
            stage.feed(from, [bytes]);
            assert_eq!(sent(&mut stage), arrives, "{buses:?}");
            let after = crossed(&stage);
            let grown = after.iter().zip(&before).filter(|(after, before)| after != before);
            let grown: Vec<_> = grown.map(|(after, before)| (after.0.as_str(), after.1 - before.1)).collect();
            assert_eq!(grown, crosses.into_iter().map(|station| (station, 1)).collect::<Vec<_>>(), "{buses:?}");
        }
        assert_eq!(dropped(&stage), 0);
        end(stage);
    }
}
