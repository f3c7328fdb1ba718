//! Bridging, case by case with literal frames: every kind of port against every kind of tag, and every reason to drop.

mod blades;

use std::collections::VecDeque;

use blades::*;
use bladeswitch::assembly;
use bladeswitch::replay::Stage;
use control::config::Config;
use dataplane::DropReason;
use port::{Burst, Hugepages, LinkState, Mempool, Nanos, PoolCache, PortId, RxQueue, TxQueue};
use wire::MacAddr;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
/// An EtherType and 46 bytes: the shortest payload without a tag.
fn rest() -> Vec<u8> {
    [&[0x88, 0xb6][..], &[0x5a; 46]].concat()
}

/// A frame from blade 1 to blade 9 with these octets between addresses and EtherType.
fn with(tags: &[u8]) -> Vec<u8> {
    [&MACS[..], tags, &rest()].concat()
}

/// Ports of every kind: 0 access 10, 1 access 20, 2 trunk 10 and 20, 3 trunk 10 with native 20, 4 tunnel in 10.
fn every_kind() -> Stage {
    stage(&format!(
        "{SILENT}[[blade]]\nslot = 1\nvlan = 10\n[[blade]]\nslot = 2\nvlan = 20\n[[blade]]\nslot = 3\ntrunk = [10, 20]\n\
         [[blade]]\nslot = 4\ntrunk = [10]\nnative = 20\n[[blade]]\nslot = 5\ntransparent = 10\n"
    ))
}

/// What an unknown unicast frame with these tags becomes on each port when it comes in by `port`; or why it goes nowhere.
fn becomes(port: u8, tags: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, &'static str> {
    let mut stage = every_kind();
    stage.feed(PortId(port), [with(tags)]);
    let sent = sent(&mut stage).into_iter().map(|(port, bytes)| (port.0, bytes)).collect();
    let dropped = DropReason::ALL.iter().find(|reason| drops(&stage, PortId(port), reason.name()) > 0);
    end(stage);
    dropped.map_or(Ok(sent), |reason| Err(reason.name()))
}

/// IEEE 802.1Q: untagged, priority-tagged (VID 0) and tagged frames into each kind of port.
#[test]
fn tags_in_and_out() {
    // Priority 5, drop eligible where a tag came in: it stays in a tag and goes with it.
    let tag = |vid: u8| vec![0x81, 0, 0xb0, vid];
    let new = |vid: u8| with(&[0x81, 0, 0, vid]);
    let kept = |vid: u8| with(&tag(vid));
    let bare = with(&[]);

    // Access 10: its frames are in VLAN 10, untagged, priority-tagged or tagged with it.
    assert_eq!(becomes(0, &[]), Ok(vec![(2, new(10)), (3, new(10)), (4, bare.clone())]));
    assert_eq!(becomes(0, &tag(0)), Ok(vec![(2, kept(10)), (3, kept(10)), (4, bare.clone())]));
    assert_eq!(becomes(0, &tag(10)), Ok(vec![(2, kept(10)), (3, kept(10)), (4, bare.clone())]));
    assert_eq!(becomes(0, &tag(20)), Err("vlan-ingress"));
    // A trunk: by tag.
    assert_eq!(becomes(2, &tag(10)), Ok(vec![(0, bare.clone()), (3, kept(10)), (4, bare.clone())]));
    assert_eq!(becomes(2, &tag(20)), Ok(vec![(1, bare.clone()), (3, bare.clone())]));
    assert_eq!(becomes(2, &[]), Err("vlan-ingress"));
    assert_eq!(becomes(2, &tag(0)), Err("vlan-ingress"));
    // A trunk with a native VLAN: that is for frames without tag, and leaves without.
    assert_eq!(becomes(3, &[]), Ok(vec![(1, bare.clone()), (2, new(20))]));
    assert_eq!(becomes(3, &tag(0)), Ok(vec![(1, bare.clone()), (2, kept(20))]));
    assert_eq!(becomes(3, &tag(20)), Ok(vec![(1, bare.clone()), (2, kept(20))]));
    assert_eq!(becomes(3, &tag(10)), Ok(vec![(0, bare.clone()), (2, kept(10)), (4, bare)]));
    // A tunnel: tags are payload, whatever they say.
    for inner in [tag(0), tag(10), tag(20), tag(99), vec![0x81, 0, 0xff, 0xff]] {
        let outer = with(&[&[0x81, 0, 0, 10][..], &inner].concat());
        assert_eq!(becomes(4, &inner), Ok(vec![(0, with(&inner)), (2, outer.clone()), (3, outer)]));
    }
    // An 802.1ad tag is payload to every port: the frame is in the port's own VLAN, if it has one.
    let service = [0x88, 0xa8, 0, 10];
    let outer = with(&[&[0x81, 0, 0, 10][..], &service].concat());
    assert_eq!(becomes(0, &service), Ok(vec![(2, outer.clone()), (3, outer), (4, with(&service))]));
    assert_eq!(becomes(2, &service), Err("vlan-ingress"));
    // Of stacked tags the outer one counts, and it alone comes and goes.
    let stacked = [tag(10), tag(20)].concat();
    assert_eq!(becomes(2, &stacked), Ok(vec![(0, with(&tag(20))), (3, with(&stacked)), (4, with(&tag(20)))]));
    // VLANs that do not exist: nobody's, and the reserved one (IEEE 802.1Q table 9-2).
    for port in [0, 2, 3] {
        assert_eq!(becomes(port, &tag(99)), Err("vlan-unknown"));
        assert_eq!(becomes(port, &[0x81, 0, 0xff, 0xff]), Err("vlan-unknown"));
    }
}

/// The same by the way of one known station, where nothing is copied.
#[test]
fn tags_of_known_unicast() {
    for (to, src_tags, arrives) in [
        (0, &[0x81, 0, 0xb0, 10][..], with(&[])),
        (3, &[0x81, 0, 0xb0, 10], with(&[0x81, 0, 0xb0, 10])),
        (4, &[0x81, 0, 0xb0, 10, 0x81, 0, 0, 7], with(&[0x81, 0, 0, 7])),
    ] {
        let mut stage = every_kind();
        let own_tag: &[(u16, u16)] = if to == 3 { &[(0x8100, 10)] } else { &[] };
        stage.feed(PortId(to), [tagged(MacAddr::BROADCAST, blade(9), own_tag, wire::ethernet::EtherType(0x88b6), &[])]);
        sent(&mut stage);
        stage.feed(PortId(2), [with(src_tags)]);
        assert_eq!(sent(&mut stage), [(PortId(to), arrives)]);
        end(stage);
    }
}

/// A frame of 60 bytes that loses its tag is padded again (IEEE 802.3 §4.2.8); a longer one keeps its length.
#[test]
fn what_becomes_too_short_is_padded() {
    let mut stage = every_kind();
    let mut shortest = with(&[0x81, 0, 0, 10]);
    shortest.truncate(60);
    stage.feed(PortId(2), [shortest.clone()]);
    let padded = [&shortest[..12], &shortest[16..], &[0; 4]].concat();
    assert_eq!(sent(&mut stage), [(PortId(0), padded.clone()), (PortId(3), shortest), (PortId(4), padded)]);
    end(stage);
}

#[test]
fn without_ingress_filter_a_trunk_takes_every_vlan_there_is() {
    for (filter, expected) in [(true, vec![]), (false, vec![(PortId(1), with(&[]))])] {
        let mut stage = stage(&format!(
            "{SILENT}[[blade]]\nslot = 1\ntrunk = [10]\ningress_filter = {filter}\n[[blade]]\nslot = 2\nvlan = 20\n[[blade]]\nslot = 3\nvlan = 10\n"
        ));
        stage.feed(PortId(0), [with(&[0x81, 0, 0, 20])]);
        assert_eq!(sent(&mut stage), expected);
        // The station is known there now, but its port does not carry the VLAN: nothing goes back to it.
        stage.feed(PortId(1), [plain(blade(1), blade(9), 60, 1)]);
        assert_eq!(sent(&mut stage), []);
        assert_eq!(drops(&stage, PortId(0), "vlan-ingress"), u64::from(filter));
        let reason = if filter { "no-member" } else { "vlan-egress" };
        assert_eq!(drops(&stage, PortId(1), reason), 1);
        end(stage);
    }
}

#[test]
fn unknown_unicast_can_be_kept_off_a_port() {
    let mut stage =
        stage(&format!("{SILENT}[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nflood = false\n[[blade]]\nslot = 3\n[[blade]]\nslot = 4\n"));
    let ports = |sent: Vec<(PortId, Vec<u8>)>| -> Vec<u8> { sent.iter().map(|(port, _)| port.0).collect() };
    stage.feed(slot(1), [plain(blade(9), blade(1), 60, 1)]);
    assert_eq!(ports(sent(&mut stage)), [2, 3]);
    for group in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        stage.feed(slot(1), [plain(group, blade(1), 60, 1)]);
        assert_eq!(ports(sent(&mut stage)), [1, 2, 3], "groups still reach it");
    }
    stage.feed(slot(2), [plain(MacAddr::BROADCAST, blade(9), 60, 1)]);
    sent(&mut stage);
    stage.feed(slot(1), [plain(blade(9), blade(1), 60, 1)]);
    assert_eq!(ports(sent(&mut stage)), [1], "and so does what is for it");
    end(stage);
}

/// Each reason for which a frame is kept out or goes nowhere, one after the other.
#[test]
fn reasons_to_drop() {
    let text = format!(
        "{SILENT}switch = {{ max_frame = 2000 }}\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[blade]]\nslot = 3\nenabled = false\n\
         [[fdb_entry]]\nmac = \"{}\"\nport = \"blade3\"\n",
        blade(33)
    );
    let mut stage = stage(&text);
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2))]);
    let mut check = |port: PortId, bytes: Vec<u8>, reason: &str| {
        let before = drops(&stage, port, reason);
        stage.feed(port, [bytes]);
        assert_eq!(sent(&mut stage), [], "{reason}");
        assert_eq!(drops(&stage, port, reason), before + 1, "{reason}");
    };
    for last in 0..16 {
        check(slot(1), plain(MacAddr([1, 0x80, 0xc2, 0, 0, last]), blade(1), 60, 0), "link-local");
    }
    check(slot(1), plain(blade(2), blade(1), 2001, 0), "oversize");
    check(slot(1), plain(blade(2), MacAddr([0; 6]), 60, 0), "source-invalid");
    check(slot(1), plain(blade(2), MacAddr([3, 0, 0, 0, 0, 1]), 60, 0), "source-invalid");
    check(slot(1), plain(blade(2), MacAddr::BROADCAST, 60, 0), "source-invalid");
    check(slot(1), plain(blade(2), SWITCH, 60, 0), "source-own");
    check(slot(1), plain(blade(1), blade(5), 60, 0), "hairpin");
    check(slot(3), plain(blade(2), blade(3), 60, 0), "port-blocked");
    check(slot(1), plain(blade(33), blade(1), 60, 0), "egress-blocked");
    // Bridge protocols of neither kind pass, and neither does a port that is blocked teach or receive.
    stage.feed(slot(1), [plain(MacAddr([1, 0x80, 0xc2, 0, 0, 16]), blade(1), 60, 0), plain(blade(3), blade(1), 2000, 0)]);
    assert_eq!(sent(&mut stage).iter().map(|(port, bytes)| (port.0, bytes.len())).collect::<Vec<_>>(), [(1, 60), (1, 2000)]);
    stage.plug(slot(2), LinkState::Down);
    stage.feed(slot(1), [plain(MacAddr::BROADCAST, blade(1), 60, 0)]);
    assert_eq!((sent(&mut stage), drops(&stage, slot(1), "no-member")), (vec![], 1));
    end(stage);
}

/// A card that hands over what no card should.
struct Broken(VecDeque<Vec<u8>>);

impl RxQueue for Broken {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, _max: usize) -> usize {
        let frames = std::mem::take(&mut self.0);
        burst.extend(frames.iter().filter_map(|frame| pool.alloc_copy(frame)));
        frames.len()
    }
}

#[test]
fn runts_are_dropped_whatever_is_in_them() {
    let config = Config::parse(&chassis(SILENT, 2), "test.toml").unwrap();
    let mempool = Mempool::new(1024, Hugepages::Never).unwrap();
    let (mut ports, _far, _plugs) = assembly::memory_ports(&config, 16);
    let mut lens: VecDeque<usize> = [1, 6, 12, 13, 14, 15, 17, 18, 30, 59].into();
    let frames: VecDeque<Vec<u8>> = lens.iter().map(|&len| with(&[0x81, 0, 0, 1])[..len].to_vec()).collect();
    ports[0].rx[0] = Box::new(Broken(frames));
    let mut switch = assembly::build(&config, ports, &mempool, 1);
    switch.settle(Nanos::ZERO);
    let counters = switch.control.port_counters(PortId(0));
    assert_eq!((counters.rx, counters.dropped(DropReason::Runt)), (10, 10));
    switch.check_ledger().unwrap();
    switch.flush_pools();
    assert_eq!(mempool.in_use(), 0);
    assert_eq!(lens.pop_back(), Some(59), "one byte more is a frame");
}

/// The longest frame there may be, to ports with and without tag at once: two forms of it, each shared by those who send it.
#[test]
fn a_jumbo_frame_is_flooded_with_and_without_tag() {
    for len in [1896, 1920, 1921, 3840, 9216] {
        let mut stage = every_kind();
        let mut bytes = with(&[]);
        bytes.extend((bytes.len()..len).map(|i| (i * 31) as u8));
        stage.feed(PortId(0), [bytes.clone()]);
        let longer = [&bytes[..12], &[0x81, 0, 0, 10], &bytes[12..]].concat();
        assert_eq!(sent(&mut stage), [(PortId(2), longer.clone()), (PortId(3), longer), (PortId(4), bytes.clone())], "{len} bytes");
        let tagged = [&bytes[..12], &[0x81, 0, 0, 10], &bytes[12..len - 4]].concat();
        stage.feed(PortId(2), [tagged.clone()]);
        let shorter = [&tagged[..12], &tagged[16..]].concat();
        assert_eq!(sent(&mut stage), [(PortId(0), shorter.clone()), (PortId(3), tagged), (PortId(4), shorter)], "{len} bytes");
        stage.feed(PortId(0), [[&bytes[..], &[0; 9217][len..]].concat()]);
        assert_eq!((sent(&mut stage), drops(&stage, PortId(0), "oversize")), (vec![], 1));
        end(stage);
    }
}

#[test]
fn what_a_full_queue_refuses_is_counted_where_it_would_have_left() {
    let mut stage = stage(&format!("{SILENT}[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nqueue = 4\n[[blade]]\nslot = 3\n"));
    teach(&mut stage, &[(slot(2), blade(2))]);
    stage.feed(slot(1), (0..10).map(|mark| plain(blade(2), blade(1), 60, mark)));
    let marks: Vec<u8> = sent(&mut stage).iter().map(|(_, bytes)| bytes[14]).collect();
    assert_eq!(marks, [0, 1, 2, 3], "the first are sent, in order: latency is worse than loss");
    assert_eq!((drops(&stage, slot(2), "tx-full"), drops(&stage, slot(1), "tx-full")), (6, 0));
    // A full queue of one port is not the loss of another.
    stage.feed(slot(1), (0..10).map(|mark| plain(MacAddr::BROADCAST, blade(1), 60, mark)));
    assert_eq!(sent(&mut stage).iter().filter(|(port, _)| *port == slot(3)).count(), 10);
    assert_eq!(drops(&stage, slot(2), "tx-full"), 12);
    end(stage);
}

#[test]
fn without_buffers_frames_are_lost_and_counted_and_it_goes_on() {
    let mut stage = stage(&format!("{SILENT}pool = {{ buffers = 64 }}\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nspeed = \"1M\"\n"));
    teach(&mut stage, &[(slot(2), blade(2))]);
    stage.feed(slot(1), (0..200).map(|mark| plain(blade(2), blade(1), 60, mark)));
    let lost = drops(&stage, slot(1), "no-buffer");
    assert!((136..200).contains(&lost), "64 buffers are held by the slow link, or wait in a cache: {lost} lost");
    assert_eq!(sent(&mut stage).len() as u64, 200 - lost);
    stage.feed(slot(1), [plain(blade(2), blade(1), 60, 0)]);
    assert_eq!(sent(&mut stage).len(), 1, "the buffers are back");
    end(stage);
}

/// Four blades at full rate into one: each gets its share of the queue, whichever port it has (RFC 2889 §5.2, many to one).
#[test]
fn ports_share_a_full_queue_fairly() {
    const TURNS: u64 = 4000;
    let text =
        format!("{SILENT}[switch]\nburst = 4\n{}", (1..=5).map(|n| format!("[[blade]]\nslot = {n}\nqueue = 4\n")).collect::<String>());
    let config = Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let mempool = Mempool::new(1024, Hugepages::Never).unwrap();
    let (ports, mut far, _plugs) = assembly::memory_ports(&config, 16);
    let mut switch = assembly::build(&config, ports, &mempool, 1);
    let mut pool = mempool.cache();
    let mut came = [0u64; 4];
    let mut burst = Burst::new();
    burst.extend(pool.alloc_copy(&plain(MacAddr::BROADCAST, blade(5), 60, 0)));
    far[4].tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst);
    for turn in 0..TURNS {
        let now = Nanos(turn * 2976);
        switch.settle(now);
        for port in &mut far {
            while port.rx[0].rx_burst(now, &mut pool, &mut burst, 64) > 0 {
                for packet in &burst {
                    if let Some(count) = came.get_mut(pool.head(packet)[14] as usize).filter(|_| turn > 0) {
                        *count += 1;
                    }
                }
                pool.free_all(&mut burst);
            }
        }
        for (mark, port) in far.iter_mut().enumerate().take(4) {
            burst.extend((0..4).filter_map(|_| pool.alloc_copy(&plain(blade(5), blade(mark as u8 + 1), 60, mark as u8))));
            port.tx[0].tx_burst(now, &mut pool, &mut burst);
            pool.free_all(&mut burst);
        }
    }
    let (least, most) = (came.iter().min().unwrap(), came.iter().max().unwrap());
    assert_eq!(came.iter().sum::<u64>(), (TURNS - 1) * 4, "the queue is full each time: {came:?}");
    assert!(*least as f64 > 0.9 * *most as f64, "{came:?}");
    switch.settle(Nanos(TURNS * 2976));
    switch.check_ledger().unwrap();
}
