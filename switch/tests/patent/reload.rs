//! Another configuration while frames flow: whoever it does not touch loses nothing; it is in use as a whole or not at all, and goes back alone
//! if nobody confirms it. What [57] and [58] promise of blades, for what the file says of them.

use bladeswitch::replay::Stage;
use control::config::Config;
use control::plane::ReloadError;
use control::reload::Disturbs;
use control::show;
use dataplane::fdb::Record;
use port::{Nanos, PortId};
use wire::MacAddr;

use super::blades::*;
use super::hotswap::others;
use super::{UPLINK, four_blades_of};

fn config(text: &str) -> Config {
    Config::parse(text, "new.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The four blades of the other tests, `edits` applied to the text.
fn edited(head: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(chassis(head, 4), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

fn reload(stage: &mut Stage, text: &str) {
    stage.switch.control.reload(config(text), Some("new.toml".to_owned()), None).unwrap();
    stage.advance(stage.now()); // The workers have been told.
}

fn fdb(stage: &mut Stage) -> Vec<Record> {
    let request = stage.switch.control.request_fdb();
    for _ in 0..1000 {
        stage.advance(stage.now());
        if let Some(records) = stage.switch.control.fdb_records(request) {
            return records;
        }
    }
    panic!("the table is not shown");
}

/// Behind which port an address was learned or set.
fn place(stage: &mut Stage, mac: MacAddr) -> Option<PortId> {
    fdb(stage).into_iter().find(|record| record.mac == mac).map(|record| record.port)
}

/// Everything operators can see, but for counts of control's own work and time.
fn all_that_is_shown(stage: &mut Stage) -> String {
    let records = fdb(stage);
    let control = &stage.switch.control;
    let json = |value: Result<String, serde_json::Error>| value.unwrap();
    let fdb = show::fdb(control, &records);
    [
        json(serde_json::to_string(&fdb)),
        json(serde_json::to_string(&show::ports(control))),
        json(serde_json::to_string(&show::vlans(control))),
        json(serde_json::to_string(&show::neighbors(control))),
        json(serde_json::to_string(&show::identities(control))),
        json(serde_json::to_string(&show::functions(control))),
        json(serde_json::to_string(&show::steer(control))),
        json(serde_json::to_string(&show::drops(control))),
        json(serde_json::to_string(&show::status(control))),
        format!("{:?}", control.counters()),
        control.config().to_toml().unwrap(),
    ]
    .join("\n")
}

const FUNCTION: &str = "[[function]]\nname = \"web\"\nblades = [\"blade3\"]\n[[steer]]\nfunction = \"web\"\nethertype = 0x88b7\n";

/// However the switch came to a configuration, it is as if it had been started with it: from each of these to each other and back.
#[test]
fn reload_is_as_good_as_a_start() {
    let entries =
        "[[fdb_entry]]\nmac = \"02:00:00:00:00:77\"\nport = \"blade2\"\n[[neighbor]]\nip = \"198.18.0.77\"\nmac = \"02:00:00:00:00:77\"\n";
    let texts = [
        chassis(SILENT, 4),
        format!("{}{FUNCTION}", edited(SILENT, &[("slot = 4\n", "slot = 4\nvlan = 20\n")])),
        edited(
            SILENT,
            &[("slot = 1\n", "slot = 1\nenabled = false\nstandby = \"blade2\"\n"), ("slot = 4\n", "slot = 4\nstandby = \"blade3\"\n")],
        ),
        edited(SILENT, &[("slot = 1\n", "slot = 1\nstandby = \"blade3\"\n"), ("slot = 3\n", "slot = 3\nenabled = false\n")]),
        format!("{}{entries}", edited(SILENT, &[("slot = 3\n", "slot = 3\nenabled = false\nname = \"spare\"\n")])),
        format!("{}{}", chassis(SILENT, 4), entries.replace("blade2", "blade3").replace("0.77", "0.78")),
        edited(
            &format!("{SILENT}lanes = {{ ip = false }}\nfdb = {{ ageing_ms = 1_000, limit_per_vlan = 9 }}\n"),
            &[
                ("slot = 1\n", "slot = 1\ntransparent = 30\ningress_filter = false\n"),
                ("[[uplink]]", "[[uplink]]\ntrunk = [1, 20]\nnative = 1"),
            ],
        ),
        format!(
            "{}{}ip = \"198.18.0.99\"\n",
            edited(SILENT, &[("\"198.18.0.2\"", "\"198.18.0.4\""), ("\"198.18.0.4\", \"2001:db8::4\"", "\"198.18.0.2\"")]),
            FUNCTION
                .replace("[\"blade3\"]", "[\"blade1\", \"blade4\"]\nip = \"198.18.0.98\"")
                .replace("ethertype = 0x88b7\n", "ethertype = 0x88b8\n[[function]]\nname = \"mail\"\nblades = [\"blade2\"]\n")
        ),
    ];
    for (from, before) in texts.iter().enumerate() {
        for (to, after) in texts.iter().enumerate() {
            let (mut reloaded, mut started) = (stage(before), stage(after));
            reload(&mut reloaded, after);
            assert_eq!(judged_by(&mut reloaded), judged_by(&mut started), "from {from} to {to}");
            assert_eq!(reloaded.switch.control.roll_back().is_ok(), from != to, "the same once more is nothing to go back from");
            reloaded.advance(reloaded.now());
            assert_eq!(judged_by(&mut reloaded), judged_by(&mut stage(before)), "from {from} to {to} and back");
        }
    }
}

/// All that frames are judged by, and all that control knows.
fn judged_by(stage: &mut Stage) -> String {
    let records = fdb(stage);
    let control = &stage.switch.control;
    let mut reader = control.reader();
    let tables = reader.read();
    let mut identities = show::identities(control);
    identities.handovers.clear(); // What happened on the way is no part of what is.
    let json = |value: Result<String, serde_json::Error>| value.unwrap();
    [
        format!("{:?} {:?} {:?} {:?}", tables.own_mac, tables.ports, tables.vlans, tables.lanes),
        format!("{:?}", tables.steering.as_ref().map(|steering| (steering.ingress, steering.rules.len(), steering.functions.len()))),
        format!("{records:?}"),
        json(serde_json::to_string(&show::ports(control))),
        json(serde_json::to_string(&show::neighbors(control))),
        json(serde_json::to_string(&identities)),
        json(serde_json::to_string(&show::functions(control))),
        json(serde_json::to_string(&show::steer(control))),
        control.config().to_toml().unwrap(),
    ]
    .join("\n")
}

/// Blade 4 moves between VLANs, blade 3 gets a name and a function, times and lanes change: 1, 2 and the network go on, on one worker and on four.
#[test]
fn reload_in_mid_traffic_loses_no_frame_of_ports_it_does_not_touch() {
    let head = |workers: u32| format!("switch = {{ workers = {workers} }}\n{SILENT}");
    let mut outcomes = Vec::new();
    for workers in [1, 4] {
        let head = head(workers);
        let moved = format!("{}{FUNCTION}", edited(&head, &[("slot = 4\n", "slot = 4\nvlan = 20\n")]));
        let busy = edited(
            &format!("{head}fdb = {{ ageing_ms = 20_000, limit_per_port = 100 }}\nlanes = {{ ip = false }}\n"),
            &[("slot = 4\n", "slot = 4\nenabled = false\n"), ("[[uplink]]", "[[vlan]]\nvid = 99\n[[uplink]]\nspeed = \"40G\"")],
        );
        let mut stage = four_blades_of(&head);
        let got = others(&mut stage, |stage, round| match round {
            50 => reload(stage, &moved),
            100 => reload(stage, &busy),
            130 => reload(stage, &chassis(&head, 4)),
            140 => drop(stage.switch.control.roll_back().unwrap()),
            150 => reload(stage, &moved),
            _ => {}
        });
        for (port, from, to) in [(slot(2), blade(1), blade(2)), (UPLINK, blade(2), OUTSIDE), (slot(1), OUTSIDE, blade(1))] {
            let here: Vec<_> = got.iter().filter(|(at, _)| *at == port).map(|(_, frame)| frame.clone()).collect();
            let expected: Vec<_> = (0..200u64).map(|round| plain(to, from, 60, round as u8)).collect();
            assert_eq!(here, expected, "every frame, once, in order");
        }
        assert_eq!((got.len(), dropped(&stage)), (600, 0), "and nothing was flooded");
        assert_eq!(show::status(&stage.switch.control).reloads, 4);
        stage.switch.check_ledger().unwrap();
        end(stage);
        outcomes.push(got);
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

#[test]
fn reload_forgets_what_is_not_true_any_more_and_nothing_else() {
    let mut stage = four_blades_of(SILENT);
    let said = frame(MacAddr::BROADCAST, blade(3), wire::ethernet::EtherType::ARP, &arp_of(blade(3), 33));
    stage.feed(slot(3), [said]);
    let said = frame(MacAddr::BROADCAST, blade(4), wire::ethernet::EtherType::ARP, &arp_of(blade(4), 44));
    stage.feed(slot(4), [said]);
    sent(&mut stage);
    let heard = |stage: &Stage, n| stage.switch.control.neighbors().get(wire::Vid::DEFAULT, ip(n).into()).map(|neighbor| neighbor.mac);
    assert_eq!((heard(&stage, 33), heard(&stage, 44)), (Some(blade(3)), Some(blade(4))));

    let static_entry = "[[fdb_entry]]\nmac = \"02:00:00:00:00:77\"\nport = \"blade1\"\n";
    let text =
        format!("{}{static_entry}", edited(SILENT, &[("slot = 4\n", "slot = 4\nvlan = 20\n"), ("\"198.18.0.2\"", "\"198.18.0.22\"")]));
    reload(&mut stage, &text);
    assert_eq!((heard(&stage, 33), heard(&stage, 44)), (Some(blade(3)), None), "learned where its port is no longer");
    assert_eq!((heard(&stage, 2), heard(&stage, 22), heard(&stage, 4)), (None, Some(blade(2)), None), "set by hand");
    let places = [1, 2, 3, 4, 0x77].map(|n| place(&mut stage, blade(n)));
    assert_eq!(places, [Some(slot(1)), Some(slot(2)), Some(slot(3)), None, Some(slot(1))]);
    // A frame for who has gone to another VLAN goes to whoever is left in this one.
    stage.feed(slot(1), [plain(blade(4), blade(1), 60, 1)]);
    assert_eq!(sent(&mut stage).iter().map(|(port, _)| *port).collect::<Vec<_>>(), [slot(2), slot(3), UPLINK]);
    // And it is heard there.
    stage.feed(slot(4), [plain(MacAddr::BROADCAST, blade(4), 60, 2)]);
    assert_eq!(sent(&mut stage), []);
    assert_eq!(place(&mut stage, blade(4)), Some(slot(4)));

    stage.switch.control.roll_back().unwrap();
    stage.advance(stage.now());
    let places = [1, 2, 3, 4, 0x77].map(|n| place(&mut stage, blade(n)));
    assert_eq!(places, [Some(slot(1)), Some(slot(2)), Some(slot(3)), None, None]);
    assert_eq!((heard(&stage, 2), heard(&stage, 22), heard(&stage, 33)), (Some(blade(2)), None, Some(blade(3))));
    end(stage);
}

/// An announcement of 198.18.0.`n`.
fn arp_of(mac: MacAddr, n: u8) -> Vec<u8> {
    let [mac, ip] = [mac.0.to_vec(), ip(n).octets().to_vec()];
    [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac, &ip, &mac, &ip].concat()
}

#[test]
fn reload_that_is_refused_changes_nothing_at_all() {
    let mut stage = four_blades_of(SILENT);
    let before = all_that_is_shown(&mut stage);
    let cases = [
        (format!("switch = {{ workers = 2 }}\n{SILENT}"), vec![("slot = 4\n", "slot = 4\nvlan = 20\n")], vec!["switch.workers"]),
        (SILENT.to_owned(), vec![("slot = 4\n", "slot = 7\n"), ("slot = 1\n", "slot = 1\nenabled = false\n")], vec!["blade4", "blade7"]),
        (
            format!("pool = {{ buffers = 4096 }}\n{SILENT}"),
            vec![("slot = 2\n", "slot = 2\nqueue = 64\n")],
            vec!["blade2.queue", "pool.buffers"],
        ),
    ];
    for (head, edits, expected) in cases {
        let text = edited(&head, &edits);
        let planned = stage.switch.control.plan(&config(&text));
        let error = stage.switch.control.reload(config(&text), None, Some(Nanos::from_secs(1))).unwrap_err();
        assert!(error.to_string().contains(&expected.join(", ")) && error.to_string().contains("restart"), "{error}");
        let ReloadError::Restart(plan) = error else { panic!("{error}") };
        assert_eq!(plan, planned);
        assert!(plan.changes.iter().filter(|change| change.disturbs == Disturbs::Restart).map(|change| &*change.what).eq(expected));
        assert_eq!(all_that_is_shown(&mut stage), before);
        assert_eq!(stage.switch.control.next_event(), None);
    }
    end(stage);
}

#[test]
fn reload_goes_back_alone_unless_it_is_confirmed() {
    let mut stage = four_blades_of(SILENT);
    let without = stage.switch.control.config().clone();
    let text = edited(SILENT, &[("slot = 4\n", "slot = 4\nvlan = 20\n")]);
    let minute = Some(Nanos::from_secs(60));
    let status = |stage: &Stage| show::status(&stage.switch.control);

    let start = stage.now();
    stage.switch.control.reload(config(&text), Some("new.toml".to_owned()), minute).unwrap();
    assert_eq!(stage.switch.control.next_event(), Some(start + Nanos::from_secs(60)));
    assert!(matches!(stage.switch.control.reload(without.clone(), None, None), Err(ReloadError::Pending)));
    stage.advance(start + Nanos::from_secs(60) - Nanos(1));
    assert_eq!(*stage.switch.control.config(), config(&text), "until the last nanosecond");
    assert_eq!((status(&stage).file.as_deref(), status(&stage).confirm_within_ms), (Some("new.toml"), Some(0)));
    stage.advance(start + Nanos::from_secs(60));
    assert_eq!(*stage.switch.control.config(), without);
    assert_eq!((status(&stage).reloads, status(&stage).unconfirmed, status(&stage).confirm_within_ms), (1, 1, None));
    // In the tables as well: blade 4 is heard by the others.
    stage.feed(slot(4), [plain(MacAddr::BROADCAST, blade(4), 60, 1)]);
    assert_eq!(sent(&mut stage).len(), 4);
    assert!(matches!(stage.switch.control.confirm(), Err(ReloadError::NothingToConfirm)));
    assert!(matches!(stage.switch.control.roll_back(), Err(ReloadError::NothingBefore)));

    stage.switch.control.reload(config(&text), None, minute).unwrap();
    stage.advance(stage.now() + Nanos::from_secs(59));
    stage.switch.control.confirm().unwrap();
    stage.advance(stage.now() + Nanos::from_secs(600));
    assert_eq!(*stage.switch.control.config(), config(&text), "it stays");
    assert_eq!(stage.switch.control.next_event(), None);
    // By hand, any time; and before the time is over.
    assert_eq!(stage.switch.control.roll_back().unwrap().changes.len(), 2, "the VLAN and the port");
    stage.switch.control.reload(config(&text), None, minute).unwrap();
    stage.switch.control.roll_back().unwrap();
    assert_eq!(*stage.switch.control.config(), without);
    assert_eq!((stage.switch.control.next_event(), status(&stage).unconfirmed), (None, 1));
    end(stage);
}

/// An address that has half its life behind it has half of the new one before it.
#[test]
fn reload_changes_the_ageing_time_of_what_is_known() {
    for workers in [1, 2] {
        let head = |ageing: &str| format!("switch = {{ workers = {workers} }}\nfdb = {{ {ageing} }}\n{SILENT}");
        let mut stage = four_blades_of(&head("ageing_ms = 64_000"));
        stage.advance(stage.now() + Nanos::from_secs(32));
        reload(&mut stage, &chassis(&head("ageing_ms = 6_400"), 4));
        stage.advance(stage.now() + Nanos::from_millis(3_100));
        assert_eq!(place(&mut stage, blade(2)), Some(slot(2)));
        stage.advance(stage.now() + Nanos::from_millis(400));
        assert_eq!(place(&mut stage, blade(2)), None);
        end(stage);
    }
}

#[test]
fn reload_changes_limits_and_thousands_of_addresses() {
    let mut stage = four_blades_of(SILENT);
    let entry = |n: u32| format!("[[fdb_entry]]\nmac = \"02:00:00:01:{:02x}:{:02x}\"\nport = \"blade2\"\n", n >> 8, n & 0xff);
    let entries: String = (0..3000).map(entry).collect();
    let limited = edited(SILENT, &[("slot = 3\n", "slot = 3\nfdb_limit = 2\n")]);
    // More than a worker takes at once: they follow when there is room.
    reload(&mut stage, &format!("{limited}{entries}"));
    let records = fdb(&mut stage);
    assert_eq!(records.iter().filter(|record| record.kind == "static" && record.port == slot(2)).count(), 3000);
    stage.feed(slot(3), (0..5).map(|n| plain(MacAddr::BROADCAST, MacAddr([2, 0, 0, 0, 7, n]), 60, 0)));
    sent(&mut stage);
    assert_eq!(fdb(&mut stage).iter().filter(|record| record.port == slot(3)).count(), 2);
    reload(&mut stage, &chassis(SILENT, 4));
    let records = fdb(&mut stage);
    assert!(records.iter().all(|record| record.kind == "dynamic"));
    assert_eq!(records.len(), 6, "the five that were taught, and the one there was room for");
    end(stage);
}
