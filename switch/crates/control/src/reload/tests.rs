use super::*;

/// A chassis of three blades and an uplink.
const BASE: &str = "[switch]\nname = \"a\"\n[[vlan]]\nvid = 30\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[blade]]\nslot = 3\n[[uplink]]\n\
                    trunk = [1, \"10-12\"]\n";

fn config(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// What changes between two texts: what, whom it disturbs, which ports.
fn planned(before: &str, after: &str) -> Vec<(String, Disturbs, Vec<String>)> {
    let plan = plan(&config(before), &config(after));
    plan.changes.into_iter().map(|change| (change.what, change.disturbs, change.ports)).collect()
}

/// Of [`BASE`], with a part of it replaced.
fn replaced(from: &str, to: &str) -> Vec<(String, Disturbs, Vec<String>)> {
    assert!(BASE.contains(from), "{from}");
    planned(BASE, &BASE.replacen(from, to, 1))
}

/// Of [`BASE`], with something behind it.
fn with(more: &str) -> Vec<(String, Disturbs, Vec<String>)> {
    planned(BASE, &format!("{BASE}{more}"))
}

fn one(what: &str, disturbs: Disturbs) -> Vec<(String, Disturbs, Vec<String>)> {
    vec![(what.to_owned(), disturbs, Vec::new())]
}

fn of_port(port: &str, key: &str) -> Vec<(String, Disturbs, Vec<String>)> {
    vec![(format!("{port}.{key}"), Disturbs::Ports, vec![port.to_owned()])]
}

#[test]
fn nothing_changes_where_nothing_is_different() {
    assert_eq!(planned(BASE, &format!("# Another comment.\n{BASE}[fdb]\nageing_ms = 300_000\n")), []);
}

#[test]
fn what_disturbs_nobody() {
    assert_eq!(replaced("\"a\"", "\"b\""), one("switch.name", Disturbs::Nothing));
    for (section, key, value) in [
        ("fdb", "ageing_ms", "1000"),
        ("fdb", "limit_per_port", "100"),
        ("fdb", "limit_per_vlan", "100"),
        ("fdb", "move_events_per_s", "1"),
        ("lanes", "notices_per_s", "7"),
        ("lanes", "notice", "false"),
        ("identity", "advertise", "false"),
        ("identity", "answer_arp", "false"),
        ("identity", "ageing_ms", "1000"),
        ("identity", "limit", "100"),
        ("agents", "hello_ms", "500"),
        ("agents", "retries", "3"),
    ] {
        assert_eq!(with(&format!("[{section}]\n{key} = {value}\n")), one(&format!("{section}.{key}"), Disturbs::Nothing));
    }
    assert_eq!(replaced("vid = 30", "vid = 30\nname = \"voice\""), one("vlan 30.name", Disturbs::Nothing));
    for (key, value) in [("speed", "\"2.5G\""), ("fdb_limit", "7"), ("name", "\"mail\"")] {
        let what = if key == "name" { "blade1.name".to_owned() } else { format!("blade1.{key}") };
        assert_eq!(replaced("slot = 1\n", &format!("slot = 1\n{key} = {value}\n")), one(&what, Disturbs::Nothing));
    }
}

#[test]
fn ports_that_change_are_disturbed_and_no_others() {
    for (key, value) in [("ingress_filter", "false"), ("learning", "false"), ("flood", "false"), ("enabled", "false"), ("vlan", "10")] {
        assert_eq!(replaced("slot = 2\n", &format!("slot = 2\n{key} = {value}\n")), of_port("blade2", key));
    }
    assert_eq!(
        replaced("\"10-12\"", "\"10-11\""),
        [("vlan 12".to_owned(), Disturbs::Nothing, vec![]), ("uplink1.trunk".to_owned(), Disturbs::Ports, vec!["uplink1".to_owned()])]
    );
    // Both keys of what is one change for people.
    let changes = replaced("slot = 3\n", "slot = 3\ntransparent = 10\n");
    assert_eq!(changes, [of_port("blade3", "transparent"), of_port("blade3", "vlan")].concat());
}

#[test]
fn a_vlan_that_goes_takes_frames_from_ports_that_do_not_filter() {
    let before = BASE.replace("slot = 3\n", "slot = 3\ningress_filter = false\n");
    let changes = planned(&before, &before.replace("[[vlan]]\nvid = 30\n", ""));
    assert_eq!(changes, [("vlan 30".to_owned(), Disturbs::Ports, vec!["blade3".to_owned()])]);
    assert_eq!(replaced("[[vlan]]\nvid = 30\n", ""), one("vlan 30", Disturbs::Nothing));
    assert_eq!(with("[[vlan]]\nvid = 40\n"), one("vlan 40", Disturbs::Nothing));
}

#[test]
fn addresses_functions_and_lanes() {
    assert_eq!(replaced("slot = 1\n", "slot = 1\nmac = \"02:00:00:00:00:01\"\n"), one("blade1.mac", Disturbs::Address));
    let entry = "[[fdb_entry]]\nmac = \"02:00:00:00:00:99\"\nport = \"uplink1\"\n";
    assert_eq!(with(entry), one("fdb_entry 02:00:00:00:00:99 in VLAN 1", Disturbs::Address));
    let moved = entry.replace("uplink1", "blade1");
    let changes = planned(&format!("{BASE}{entry}"), &format!("{BASE}{moved}"));
    assert_eq!(changes, one("fdb_entry 02:00:00:00:00:99 in VLAN 1.port", Disturbs::Address));
    let neighbor = "[[neighbor]]\nip = \"198.18.0.9\"\nmac = \"02:00:00:00:00:09\"\n";
    assert_eq!(planned(&format!("{BASE}{neighbor}"), BASE), one("neighbor 198.18.0.9 in VLAN 1", Disturbs::Address));
    assert_eq!(with("[lanes]\nip = false\n"), one("lanes.ip", Disturbs::OwnAddress));
    let function = "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\"]\n";
    let rule = |name: &str, ethertype: &str| format!("[[steer]]\nname = \"{name}\"\nfunction = \"web\"\nethertype = {ethertype}\n");
    let (first, second) = (rule("one", "0x88b6"), rule("two", "0x88b7"));
    assert_eq!(with(function), one("function web", Disturbs::Flows));
    let both = format!("{BASE}{function}{first}{second}");
    assert_eq!(planned(&both, &both.replace("\"blade2\"]", "\"blade3\"]")), one("function web.blades", Disturbs::Flows));
    assert_eq!(planned(&both, &both.replace("0x88b7", "0x88b8")), one("steer two.ethertype", Disturbs::Flows));
    let swapped = format!("{BASE}{function}{second}{first}");
    assert_eq!(planned(&both, &swapped), one("order of [[steer]]", Disturbs::Flows));
}

#[test]
fn what_cannot_be_changed_while_the_switch_runs() {
    for key in ["workers = 2", "mac = \"02:00:00:00:00:77\"", "burst = 16", "idle = \"spin\"", "api = \"/x\"", "max_frame = 1514"] {
        let name = key.split(' ').next().unwrap();
        assert_eq!(replaced("name = \"a\"\n", &format!("name = \"a\"\n{key}\n")), one(&format!("switch.{name}"), Disturbs::Restart));
    }
    assert_eq!(with("[pool]\nbuffers = 8192\n"), one("pool.buffers", Disturbs::Restart));
    assert_eq!(with("[fdb]\nlimit = 7\n"), one("fdb.limit", Disturbs::Restart));
    assert_eq!(with("[agents]\nkey_file = \"/k\"\n"), one("agents.key_file", Disturbs::Restart));
    assert_eq!(with("[joined]\nchassis = 1\ntrunks = [\"uplink1\"]\n"), one("joined", Disturbs::Restart));
    assert_eq!(with("[[backplane]]\nrate = \"1G\"\n"), one("backplane backplane1", Disturbs::Restart));
    assert_eq!(with("[[blade]]\nslot = 4\n"), one("blade4", Disturbs::Restart));
    assert_eq!(replaced("[[blade]]\nslot = 2\n", ""), one("blade2", Disturbs::Restart));
    assert_eq!(replaced("slot = 1\n", "slot = 1\nqueue = 64\n"), one("blade1.queue", Disturbs::Restart));
    assert_eq!(replaced("slot = 1\n", "slot = 1\nport = \"tap:x\"\n"), one("blade1.port", Disturbs::Restart));
    let moved = replaced("slot = 3\n", "slot = 5\n");
    assert_eq!(moved, [one("blade3", Disturbs::Restart), one("blade5", Disturbs::Restart)].concat());
}

/// A key or section that nobody has thought of is refused, whatever it says.
#[test]
fn a_key_that_is_not_known_needs_a_restart() {
    assert_eq!(effect("blade", "colour"), Disturbs::Restart);
    let table = serde_json::json!({ "name": "web", "colour": "red" });
    assert_eq!(presence("function", &table), Disturbs::Restart);
    assert_eq!(presence("orchestra", &serde_json::json!({})), Disturbs::Restart);
}

#[test]
fn a_plan_is_json_and_back() {
    let plan = plan(&config(BASE), &config(&BASE.replace("slot = 2\n", "slot = 2\nvlan = 10\n").replace("\"a\"", "\"b\"")));
    let json = serde_json::to_value(&plan).unwrap();
    let expected = serde_json::json!({ "changes": [
        { "what": "switch.name", "from": "a", "to": "b", "disturbs": "nothing" },
        { "what": "blade2.vlan", "from": 1, "to": 10, "disturbs": "ports", "ports": ["blade2"] },
    ]});
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
    assert!(!plan.needs_restart());
}

#[test]
fn what_was_learned_is_wrong_only_where_membership_was_lost() {
    let before = config(BASE);
    let after = |from: &str, to: &str| config(&BASE.replacen(from, to, 1));
    assert_eq!(stale(&before, &after("slot = 2\n", "slot = 2\nname = \"x\"\n")), Stale::default());
    let moved = Stale { ports: vec![PortId(1)], ..Stale::default() };
    assert_eq!(stale(&before, &after("slot = 2\n", "slot = 2\nvlan = 10\n")), moved);
    let vlan = |vid| Vid::new(vid).unwrap();
    let gone = Stale { vlans: vec![vlan(12)], ..Stale::default() };
    assert_eq!(stale(&before, &after("\"10-12\"", "\"10-11\"")), gone, "the VLAN goes: the port keeps what it knows of the others");
    let kept = config(&BASE.replace("vid = 30", "vid = 12").replace("\"10-12\"", "\"10-11\""));
    let vid12 = config(&BASE.replace("vid = 30", "vid = 12"));
    assert_eq!(stale(&vid12, &kept), Stale { ports: vec![PortId(3)], ..Stale::default() });
    assert_eq!(stale(&before, &after("trunk = [1,", "trunk = [1, 99,")), Stale::default(), "more than before is no loss");
    let pulled = Stale { ports: vec![PortId(0)], pulled: vec![PortId(0)], ..Stale::default() };
    assert_eq!(stale(&before, &after("slot = 1\n", "slot = 1\nenabled = false\n")), pulled);
}
