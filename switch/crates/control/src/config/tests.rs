//! A configuration as a whole: what is refused and in which words, what is loaded, and that it survives being written out.
//! (Rates, port specs and VLAN ranges are tested where they are.)

use std::path::PathBuf;

use port::PortId;
use proptest::prelude::*;
use serde_json::json;
use wire::{MacAddr, Vid};

use super::error::ERRORS_MAX;
use super::schema::SECTIONS;
use super::*;

/// All errors of `text`, one per line, as they are shown.
fn errors(text: &str) -> String {
    Config::parse(text, "c.toml").expect_err(text).to_string()
}

fn parse(text: &str) -> Config {
    Config::parse(text, "c.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Each row: a file that is wrong in one way, and the beginning of the one error it gives.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    // Not TOML.
    ("[[blade]]\nslot = 1\nspeed = 1G\n", "c.toml:3:9: string values must be quoted, expected literal string: speed = 1G"),
    ("[[blade]\nslot = 1\n", "c.toml:1:9: unclosed array table, expected `]`: [[blade]"),
    ("[[blade]]\nslot = 1\nslot = 2\n", "c.toml:3:1: duplicate key, expected each key once: slot = 2"),
    ("[switch]\n[[blade]]\nslot = 1\n[switch]\n", "c.toml:4:2: duplicate key, expected each key once: [switch]"),

    // Unknown keys.
    ("[[blade]]\nslot = 1\nspped = \"1G\"\n", "c.toml:3:1: unknown key `spped` in [[blade]]: did you mean `speed`? (known keys: slot, name, mac, "),
    ("[[blade]]\nslot = 1\n\n[swicth]\nburst = 1\n", "c.toml:4:2: unknown key `swicth` at the top of the file: did you mean `switch`? (known keys: switch, pool, dpdk, "),
    ("[[blade]]\nslot = 1\n[switch]\nmax-frame = 1500\n", "c.toml:4:1: unknown key `max-frame` in [switch]: did you mean `max_frame`?"),
    ("[[uplink]]\nslot = 1\n", "c.toml:2:1: unknown key `slot` in [[uplink]]: it is a key of [[blade]] (known keys: name, port, "),
    ("workers = 2\n[[blade]]\nslot = 1\n", "c.toml:1:1: unknown key `workers` at the top of the file: it is a key of [switch] (known"),
    ("[[blade]]\nslot = 1\n\"\\u001b\" = 1\n", "c.toml:3:1: unknown key `\"\\u001b\"` in [[blade]] (known keys: slot,"),
    ("[[blade]]\nslot = 1\nspeed.fast = true\n", "c.toml:3:1: blade.speed = speed: expected a rate above zero"),

    // Sections.
    ("", "c.toml: there is no port: expected at least one [[blade]] or [[uplink]]"),
    ("blade = []\n", "c.toml: there is no port: expected at least one [[blade]] or [[uplink]]"),
    ("[blade]\nslot = 1\n", "c.toml:1:1: blade = [blade]: expected [[blade]], with two pairs of brackets, once for each blade"),
    ("switch = 1\n[[blade]]\nslot = 1\n", "c.toml:1:10: switch = 1: expected a section [switch]"),
    ("[[switch]]\n[[blade]]\nslot = 1\n", "c.toml:1:1: switch = [[switch]]: expected a section [switch]"),
    ("blade = [1]\n", "c.toml:1:10: blade = 1: expected a section [[blade]]"),

    // The switch.
    ("[[blade]]\nslot = 1\n[switch]\nmac = \"01:00:5e:00:00:01\"\n", "c.toml:4:7: switch.mac = \"01:00:5e:00:00:01\": a multicast address (its first octet is odd) is not a station's: expected the MAC address of one station"),
    ("[[blade]]\nslot = 1\n[switch]\nmac = \"ff:ff:ff:ff:ff:ff\"\n", "c.toml:4:7: switch.mac = \"ff:ff:ff:ff:ff:ff\": the broadcast address is not"),
    ("[[blade]]\nslot = 1\n[switch]\nmac = \"00:00:00:00:00:00\"\n", "c.toml:4:7: switch.mac = \"00:00:00:00:00:00\": the zero address is nobody's: expected"),
    ("[[blade]]\nslot = 1\n[switch]\nmac = 2\n", "c.toml:4:7: switch.mac = 2: expected the MAC address of one station, six hexadecimal octets"),
    ("[[blade]]\nslot = 1\n[switch]\nname = \"1 2\"\n", "c.toml:4:8: switch.name = \"1 2\": expected a name of at most 32 letters"),
    ("[[blade]]\nslot = 1\n[switch]\nworkers = 0\n", "c.toml:4:11: switch.workers = 0: expected a whole number of threads from 1 to 64"),
    ("[[blade]]\nslot = 1\n[switch]\nworkers = 65\n", "c.toml:4:11: switch.workers = 65: expected a whole number of threads from 1 to 64"),
    ("[[blade]]\nslot = 1\n[switch]\nburst = 65\n", "c.toml:4:9: switch.burst = 65: expected a whole number of packets from 1 to 64"),
    ("[[blade]]\nslot = 1\n[switch]\nburst = -1\n", "c.toml:4:9: switch.burst = -1: expected a whole number"),
    ("[[blade]]\nslot = 1\n[switch]\nburst = 1.5\n", "c.toml:4:9: switch.burst = 1.5: expected a whole number"),
    ("[[blade]]\nslot = 1\n[switch]\nburst = 99999999999999999999999\n", "c.toml:4:9: switch.burst = 99999999999999999999999: expected a whole"),
    ("[[blade]]\nslot = 1\n[switch]\nidle = \"adaptiv\"\n", "c.toml:4:8: switch.idle = \"adaptiv\": expected \"spin\" or \"adaptive\": did you mean `adaptive`?"),
    ("[[blade]]\nslot = 1\n[switch]\nmax_frame = 59\n", "c.toml:4:13: switch.max_frame = 59: expected a whole number of bytes without FCS from 60 to 9216"),
    ("[[blade]]\nslot = 1\n[switch]\nmax_frame = 9217\n", "c.toml:4:13: switch.max_frame = 9217: expected"),
    ("[[blade]]\nslot = 1\n[switch]\napi = \"\"\n", "c.toml:4:7: switch.api = \"\": expected the path of a Unix socket, 1 to 107 bytes"),
    ("[[blade]]\nslot = 1\n[switch]\ncores = [1, 2]\n", "c.toml:4:9: switch.cores = [1, 2]: expected one core for each worker, that is 1, found 2"),
    ("[[blade]]\nslot = 1\n[switch]\nworkers = 2\ncores = [3, 3]\n", "c.toml:5:13: switch.cores = 3 is used twice: first at line 5; expected a core of its own for each worker"),

    // Tables and limits.
    ("[[blade]]\nslot = 1\n[pool]\nbuffers = 4194305\n", "c.toml:4:11: pool.buffers = 4194305: expected a whole number of buffers from 0 to 4194304"),
    ("[[blade]]\nslot = 1\n[pool]\nhugepages = true\n", "c.toml:4:13: pool.hugepages = true: expected \"auto\" or \"require\" or \"never\""),
    ("[[blade]]\nslot = 1\n[dpdk]\nmemory_mib = 3\n", "c.toml:4:14: dpdk.memory_mib = 3: expected a whole number of MiB from 4 to 1048576"),
    ("[[blade]]\nslot = 1\n[dpdk]\nhugepages = \"no\"\n", "c.toml:4:13: dpdk.hugepages = \"no\": expected \"auto\" or \"require\" or \"never\""),
    ("[[blade]]\nslot = 1\n[dpdk]\narguments = [\"-v\", 1]\n", "c.toml:4:20: dpdk.arguments = 1: expected an argument as text, such as \"--socket-mem=512\""),
    ("[[blade]]\nslot = 1\n[fdb]\nageing_ms = 9\n", "c.toml:4:13: fdb.ageing_ms = 9: expected a whole number of milliseconds from 10 to 1000000000"),
    ("[[blade]]\nslot = 1\n[fdb]\nlimit = 0\n", "c.toml:4:9: fdb.limit = 0: expected a whole number of entries from 1 to 4194304"),
    ("[[blade]]\nslot = 1\n[fdb]\nlimit = 9\nlimit_per_vlan = 10\n", "c.toml:5:18: fdb.limit_per_vlan = 10: is more than the whole FDB holds: expected at most fdb.limit = 9"),
    ("[[blade]]\nslot = 1\nfdb_limit = 10\n[fdb]\nlimit = 9\n", "c.toml:3:13: blade.fdb_limit = 10: is more than the whole FDB holds"),
    ("[[blade]]\nslot = 1\n[fdb]\nlimit = 1\n[[fdb_entry]]\nmac = \"2:0:0:0:0:1\"\nport = \"blade1\"\n[[fdb_entry]]\nmac = \"2:0:0:0:0:2\"\nport = \"blade1\"\n", "c.toml:8:1: [[fdb_entry]] is beyond what the FDB holds: expected at most fdb.limit = 1 entries"),
    ("[[blade]]\nslot = 1\nip = [\"198.18.0.1\", \"198.18.0.2\"]\n[identity]\nlimit = 1\n", "c.toml:3:21: blade.ip = \"198.18.0.2\": is beyond what the neighbor table holds: expected at most identity.limit = 1"),
    ("[[blade]]\nslot = 1\n[lanes]\nip = 1\n", "c.toml:4:6: lanes.ip = 1: expected true or false"),

    // VLANs.
    ("[[blade]]\nslot = 1\nvlan = 0\n", "c.toml:3:8: blade.vlan = 0: VID 0 is a priority tag, not a VLAN (IEEE 802.1Q): expected a VLAN from 1 to 4094"),
    ("[[blade]]\nslot = 1\nvlan = 4095\n", "c.toml:3:8: blade.vlan = 4095: VID 4095 is reserved (IEEE 802.1Q): expected a VLAN from 1 to 4094"),
    ("[[blade]]\nslot = 1\nvlan = 4096\n", "c.toml:3:8: blade.vlan = 4096: a VID has 12 bits (IEEE 802.1Q): expected a VLAN from 1 to 4094"),
    ("[[blade]]\nslot = 1\nvlan = 99999999999999999999\n", "c.toml:3:8: blade.vlan = 99999999999999999999: a VID has 12 bits"),
    ("[[blade]]\nslot = 1\nvlan = -1\n", "c.toml:3:8: blade.vlan = -1: expected a VLAN from 1 to 4094"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nvid = 0\n", "c.toml:4:7: vlan.vid = 0: VID 0 is a priority tag"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nvid = 4095\n", "c.toml:4:7: vlan.vid = 4095: VID 4095 is reserved"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nvid = 4096\n", "c.toml:4:7: vlan.vid = 4096: a VID has 12 bits"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nname = \"a\"\n", "c.toml:3:1: vlan.vid is missing: expected a VLAN from 1 to 4094, as in `vid = 10`"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nvid = 5\n[[vlan]]\nvid = 5\n", "c.toml:6:7: vlan.vid = 5 is used twice: first at line 4; expected one [[vlan]] for each VLAN"),
    ("[[blade]]\nslot = 1\n[[vlan]]\nvid = 5\nname = \"vlan6\"\n", "c.toml:5:8: vlan.name = \"vlan6\": is what another VLAN is called by default"),
    ("[[vlan]]\nvid = 5\nname = \"a\"\n[[vlan]]\nvid = 6\nname = \"a\"\n[[blade]]\nslot = 1\n", "c.toml:6:8: vlan.name = \"a\" is used twice: first at line 3;"),
    ("[[blade]]\nslot = 1\ntrunk = [\"30-40\", \"50-4095\"]\n", "c.toml:3:19: blade.trunk = \"50-4095\": VID 4095 is reserved"),
    ("[[blade]]\nslot = 1\ntrunk = [10, \"40-30\"]\n", "c.toml:3:14: blade.trunk = \"40-30\": expected a VLAN from 1 to 4094, or a range such as \"30-40\" with the lower VLAN first"),
    ("[[blade]]\nslot = 1\ntrunk = []\n", "c.toml:3:9: blade.trunk = []: expected at least one VLAN, as in"),
    ("[[blade]]\nslot = 1\nvlan = 1\ntrunk = [2]\n", "c.toml:4:9: blade.trunk = [2]: a port has one of `vlan`, `transparent` and `trunk`: expected"),
    ("[[uplink]]\ntransparent = 1\nvlan = 2\n", "c.toml:2:15: uplink.transparent = 1: a port has one of"),
    ("[[blade]]\nslot = 1\nnative = 2\n", "c.toml:3:10: blade.native = 2: only a trunk has a native VLAN: expected"),

    // Backplanes.
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"tmd\"\n", "c.toml:6:7: backplane.bus = \"tmd\": expected \"none\" or \"tdm\" or \"fdm\" or \"drr\": did you mean `tdm`?"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nports = [\"blade3\"]\n", "c.toml:6:10: backplane.ports = \"blade3\": no port has this name: did you mean `blade"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nports = [\"blade1\", \"blade1\"]\n", "c.toml:6:10: backplane.ports: port blade1 stands there twice: expected it once"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nports = \"blade1\"\n[[backplane]]\n", "c.toml:7:1: backplane.ports: port blade1 is on backplane backplane1 already: expected each port on one backplane"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nname = \"a\"\nports = \"blade1\"\n[[backplane]]\nname = \"a\"\nports = \"blade2\"\n", "c.toml:9:8: backplane.name = \"a\" is used twice: first at line 6; expected another"),
    ("[[uplink]]\n[[backplane]]\n", "c.toml:2:1: [[backplane]] has 0 ports: expected 1 to 126"),
    ("[[blade]]\nslot = 1\nname = \"switch\"\n[[backplane]]\nbus = \"drr\"\n", "c.toml:4:1: backplane.ports: a port called `switch` cannot be told from the bus's own words"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"drr\"\nslot_ns = 10000\n", "c.toml:7:11: backplane.slot_ns = 10000: is a key of a bus = \"tdm\": expected that, or no `slot_ns` beside bus = \"drr\""),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"tdm\"\nslot_ns = 7000\n", "c.toml:7:11: backplane.slot_ns = 7000: the longest frame and the guard time take 7496: expected at least that, a higher `rate`"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"tdm\"\nslots = [\"blade1\", \"blad2\", \"shared\"]\n", "c.toml:7:20: backplane.slots = \"blad2\": `blad2` is none of its stations: did you mean `blade"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"tdm\"\nslots = [\"blade1\", \"switch\", \"maintenance\"]\n", "c.toml:7:10: backplane.slots: blade2 could never send: expected a slot for it, or one that is \"shared\""),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"tdm\"\nslots = []\n", "c.toml:5:1: backplane.slots: 0 slots: expected 1 to 1024"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"fdm\"\nshares = 5\n", "c.toml:7:10: backplane.shares = 5: expected a table such as { blade1 = …, switch = … }"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"fdm\"\nshares = { blade1 = 5 }\n", "c.toml:7:10: backplane.shares = { blade1 = 5 }: blade1: expected a rate above zero"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"fdm\"\nshares = { web = \"1G\" }\n", "c.toml:7:10: backplane.shares: `web` is none of its stations"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"fdm\"\nshares = { blade1 = \"6G\", switch = \"4G\" }\n", "c.toml:7:10: backplane.shares: 10000000000 bit/s are given away and 2 stations have no share yet"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[backplane]]\nbus = \"drr\"\nquanta = { web = 63 }\n", "c.toml:7:10: backplane.quanta = { web = 63 }: web: expected a whole number of bytes from 64 to 1000000"),

    // Blades and uplinks.
    ("[[blade]]\nname = \"web1\"\n", "c.toml:1:1: blade.slot is missing: expected the number of the bay the blade sits in, as in `slot = 1`"),
    ("[[blade]]\nslot = 0\n", "c.toml:2:8: blade.slot = 0: expected a whole number from 1 to 65535"),
    ("[[blade]]\nslot = 3\n\n[[blade]]\nslot = 3\n", "c.toml:5:8: blade.slot = 3 is used twice: first at line 2; every slot holds one blade"),
    ("[[blade]]\nslot = 1\nname = \"a\"\n[[uplink]]\nname = \"a\"\n", "c.toml:5:8: uplink.name = \"a\" is used twice: first at line 3; expected a name of its own for each port"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nname = \"blade1\"\n", "c.toml:5:8: blade.name = \"blade1\" is used twice: first at line 2;"),
    ("[[blade]]\nslot = 1\nname = \"1st\"\n", "c.toml:3:8: blade.name = \"1st\": expected a name"),
("[[blade]]\nslot = 2\n[[blade]]\nslot = 1\nstandby = \"blad2\"\n", "c.toml:5:11: blade.standby = \"blad2\": no blade has this name: did you mean `blade"),
    ("[[uplink]]\n[[blade]]\nslot = 1\nstandby = \"uplink1\"\n", "c.toml:4:11: blade.standby = \"uplink1\": no blade has this name: expected the name of a [[blade]]"),
    ("[[blade]]\nslot = 1\nmac = \"2:0:0:0:0:1\"\nstandby = \"blade1\"\n", "c.toml:4:11: blade.standby = \"blade1\": a blade cannot stand by for itself: expected"),
    ("[[blade]]\nslot = 2\n[[blade]]\nslot = 1\nstandby = \"blade2\"\n", "c.toml:5:11: blade.standby = \"blade2\": there is no address it could take: expected `mac` beside"),
    ("[[blade]]\nslot = 3\n[[blade]]\nslot = 1\nmac = \"2:0:0:0:0:1\"\nstandby = \"blade2\"\n[[blade]]\nslot = 2\nmac = \"2:0:0:0:0:2\"\nstandby = \"blade3\"\n", "c.toml:6:11: blade.standby = \"blade2\": has a standby blade itself: expected one that has none"),
    ("[[blade]]\nslot = 2\n[[blade]]\nslot = 1\nmac = \"2:0:0:0:0:1\"\nvlan = 7\nstandby = \"blade2\"\n", "c.toml:7:11: blade.standby = \"blade2\": does not carry VLAN 7 of blade1: expected"),
    ("[[blade]]\nslot = 2\ntrunk = \"1-65\"\n[[blade]]\nslot = 1\nmac = \"2:0:0:0:0:1\"\ntrunk = \"1-65\"\nstandby = \"blade2\"\n", "c.toml:8:11: blade.standby = \"blade2\": 65 addresses would be pinned, each MAC address in each VLAN: expected at most 64"),
    ("[[blade]]\nslot = 2\n[[blade]]\nslot = 1\nmac = \"2:0:0:0:0:1\"\nstandby = \"blade2\"\n[[fdb_entry]]\nmac = \"2:0:0:0:0:1\"\nport = \"blade2\"\n", "c.toml:8:7: fdb_entry.mac = \"2:0:0:0:0:1\": is pinned to blade1, which has a standby blade: expected no [[fdb_entry]]"),
    ("[[uplink]]\nstandby = \"blade2\"\n", "c.toml:2:1: unknown key `standby` in [[uplink]]: it is a key of "),
("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = 1\n", "c.toml:5:9: function.probe = 1: expected a section [function.probe]"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"arp\", intervall_ms = 5 }\n", "c.toml:5:25: unknown key `intervall_ms` in [function.probe]: did you mean `interval_ms`?"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"ping\" }\n", "c.toml:5:18: function.probe.kind = \"ping\": expected \"arp\" or \"execute\""),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"arp\", fall = 0 }\n", "c.toml:5:32: function.probe.fall = 0: expected a whole number of questions from 1 to 1000"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"arp\", interval_ms = 100, timeout_ms = 101 }\n", "c.toml:5:57: function.probe.timeout_ms = 101: an answer must be there before the next question: expected at most interval_ms = 100"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"arp\", run = \"health\" }\n", "c.toml:5:31: function.probe.run = \"health\": is a key of kind = \"execute\": expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nprobe = { kind = \"arp\" }\n[identity]\nlearn = false\n", "c.toml:5:9: function.probe: kind = \"arp\" hears answers where neighbours are learned from: expected identity.learn = true"),
    ("[[blade]]\nslot = 1\nprobe = { kind = \"execute\" }\n", "c.toml:3:9: blade.probe.run is missing: expected what the blade is to execute"),
("[[blade]]\nslot = 1\n[[profile]]\nslots = 1\n", "c.toml:3:1: profile.name is missing: expected what the profile is called"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\n", "c.toml:3:1: profile.slots is missing: expected the bays it is for"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = [1, \"4-3\"]\n", "c.toml:5:13: profile.slots = \"4-3\": expected a slot from 1 to 65535, or a range"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = \"1-2\"\n", "c.toml:5:9: profile.slots = \"1-2\": no [[blade]] has slot 2: expected slots that there are"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\n[[profile]]\nname = \"b\"\nslots = [1]\n", "c.toml:8:10: profile.slots = 1: slot 1 is in a profile already, at line 5: expected each bay in one"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nspeed = \"0\"\n", "c.toml:6:9: profile.speed = \"0\": expected a rate"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nvlan = 0\n", "c.toml:6:8: profile.vlan = 0: VID 0 is a priority tag"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nfunctions = [\"wbe\"]\n[[function]]\nname = \"web\"\n", "c.toml:6:14: profile.functions = \"wbe\": no [[function]] has this name: did you mean `web`?"),
    ("[[blade]]\nslot = 1\nfunctions = \"web\"\n", "c.toml:3:13: blade.functions = \"web\": no [[function]] has this name: expected"),
    ("[[blade]]\nslot = 1\nfunctions = \"web\"\n[[function]]\nname = \"web\"\nstandby = \"blade1\"\n", "c.toml:6:11: function.standby = \"blade1\": its bay has the function: expected"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nprefix = \"1\"\n", "c.toml:6:10: profile.prefix = \"1\": expected the beginning of a name"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nport = \"memory:a\"\n", "c.toml:6:1: unknown key `port` in [[profile]]: it is a key of"),
    ("[[blade]]\nslot = 1\n[[profile]]\nname = \"web\"\nslots = 1\nfdb_limit = 10\n[fdb]\nlimit = 9\n", "c.toml:6:13: profile.fdb_limit = 10: is more than the whole FDB holds"),
    ("[[blade]]\nslot = 1\nspeed = \"0\"\n", "c.toml:3:9: blade.speed = \"0\": expected a rate above zero with a unit, such as \"1G\", \"2.5G\", \"100M\""),
    ("[[blade]]\nslot = 1\nspeed = 0\n", "c.toml:3:9: blade.speed = 0: expected a rate above zero with a unit"),
    ("[[uplink]]\nspeed = \"801G\"\n", "c.toml:2:9: uplink.speed = \"801G\": is too fast: expected a rate of at most 800G"),
    ("[[blade]]\nslot = 1\nport = \"memroy:\"\n", "c.toml:3:8: blade.port = \"memroy:\": unknown kind of port `memroy`: did you mean `memory`? (known kinds: memory, pcap,"),
    ("[[blade]]\nslot = 1\nport = [\"memory:a\", \"memory:b\"]\n", "c.toml:3:8: blade.port = [\"memory:a\", \"memory:b\"]: expected one port spec as text, such as \"memory:[NAME]\" or \"pcap:FILE[,out=FILE]\": a slot has one port"),
    ("[[blade]]\nslot = 1\nport = \"pcap:a.pcap\"\n[[uplink]]\nport = \"pcap:./a.pcap,out=b\"\n", "c.toml:5:8: uplink.port = \"pcap:./a.pcap,out=b\": file a.pcap is used twice: first at line 3; expected one of its own"),
    ("[[blade]]\nslot = 1\nport = \"af_xdp:eth0\"\n[[blade]]\nslot = 2\nport = \"af_packet:eth0\"\n", "c.toml:6:8: blade.port = \"af_packet:eth0\": interface eth0 is used twice: first at line 3"),
    ("[[blade]]\nslot = 1\nport = \"pcap:a,out=a\"\n", "c.toml:3:8: blade.port = \"pcap:a,out=a\": file a is used twice: expected two different ones"),
    ("[[blade]]\nslot = 1\nqueue = 0\n", "c.toml:3:9: blade.queue = 0: expected a whole number of frames from 1 to 65536"),
    ("[[blade]]\nslot = 1\nenabled = \"yes\"\n", "c.toml:3:11: blade.enabled = \"yes\": expected true or false"),
    ("[[blade]]\nslot = 1\nmac = [\"02:00:00:00:00:01\", \"02:00:00:00:00\"]\n", "c.toml:3:29: blade.mac = \"02:00:00:00:00\": expected the MAC address of one station"),
    ("[[blade]]\nslot = 1\nmac = \"02:00:00:00:00:FE\"\n", "c.toml:3:7: blade.mac = \"02:00:00:00:00:FE\": is the address of the switch itself"),
    ("[[blade]]\nslot = 1\nmac = \"02:00:00:00:00:0a\"\n[[blade]]\nslot = 2\nmac = \"2:0:0:0:0:a\"\n", "c.toml:6:7: blade.mac = \"2:0:0:0:0:a\" is used twice: first at line 3; an address belongs to one blade"),
    ("[[blade]]\nslot = 1\nip = \"2001:db8::1\"\n[[blade]]\nslot = 2\nip = \"2001:db8:0::1\"\n", "c.toml:6:6: blade.ip = \"2001:db8:0::1\" is used twice: first at line 3;"),
    ("[[blade]]\nslot = 1\nip = \"198.18.0\"\n", "c.toml:3:6: blade.ip = \"198.18.0\": expected the IP address of one host"),
    ("[[blade]]\nslot = 1\nip = \"224.0.0.1\"\n", "c.toml:3:6: blade.ip = \"224.0.0.1\": a multicast address is not a host's"),
    ("[[blade]]\nslot = 1\nip = \"0.0.0.0\"\n", "c.toml:3:6: blade.ip = \"0.0.0.0\": the unspecified address is nobody's"),
    ("[[blade]]\nslot = 1\nip = \"::1\"\n", "c.toml:3:6: blade.ip = \"::1\": a loopback address never appears on a wire"),
    ("[[blade]]\nslot = 1\nip = \"255.255.255.255\"\n", "c.toml:3:6: blade.ip = \"255.255.255.255\": the broadcast address"),
    ("[[blade]]\nslot = 1\nip = \"::ffff:198.18.0.1\"\n", "c.toml:3:6: blade.ip = \"::ffff:198.18.0.1\": an IPv4-mapped address"),
    ("[[blade]]\nslot = 1\nip = \"198.18.0.1\"\ntrunk = [2]\n", "c.toml:3:6: blade.ip = \"198.18.0.1\": the trunk has no untagged VLAN the address could be in: expected `native`"),

    // Entries.
    ("[[blade]]\nslot = 1\nname = \"web1\"\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nport = \"wep1\"\n", "c.toml:6:8: fdb_entry.port = \"wep1\": no port has this name: did you mean `web1`? (expected one of the ports: web1)"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nport = \"blade1\"\n", "c.toml:3:1: fdb_entry.mac is missing: expected the MAC address"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\n", "c.toml:3:1: fdb_entry.port is missing: expected the name of a port, as in `port = \"blade1\"`, or `blackhole = true`"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nport = \"blade1\"\nblackhole = true\n", "c.toml:6:13: fdb_entry.blackhole = true: a frame cannot be dropped and sent"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nvlan = 7\nblackhole = true\n", "c.toml:5:8: fdb_entry.vlan = 7: no port carries this VLAN and no [[vlan]] names it: expected one of 1"),
    ("[[blade]]\nslot = 1\nvlan = 7\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nblackhole = true\n", "c.toml:4:1: fdb_entry.vlan is left out, which means 1: no port carries"),
    ("[[blade]]\nslot = 1\nvlan = 7\n[[vlan]]\nvid = 8\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nvlan = 8\nport = \"blade1\"\n", "c.toml:9:8: fdb_entry.port = \"blade1\": the port does not carry VLAN 8, no frame could leave by it: expected `vlan` to be one of its own, 7"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nport = \"blade1\"\n[[fdb_entry]]\nmac = \"02:00:00:00:00:01\"\nblackhole = true\n", "c.toml:7:7: fdb_entry.mac = \"02:00:00:00:00:01\" is used twice: first at line 4;"),
    ("[[blade]]\nslot = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:fe\"\nport = \"blade1\"\n", "c.toml:4:7: fdb_entry.mac = \"02:00:00:00:00:fe\": is the address of the switch itself"),
    ("[[blade]]\nslot = 1\n[[neighbor]]\nip = \"198.18.0.1\"\n", "c.toml:3:1: neighbor.mac is missing: expected a MAC address"),
    ("[[blade]]\nslot = 1\n[[neighbor]]\nmac = \"02:00:00:00:00:01\"\n", "c.toml:3:1: neighbor.ip is missing: expected an IP address"),
    ("[[blade]]\nslot = 1\nip = \"198.18.0.1\"\n[[neighbor]]\nip = \"198.18.0.1\"\nmac = \"02:00:00:00:00:01\"\n", "c.toml:5:6: neighbor.ip = \"198.18.0.1\" is used twice: first at line 3; expected each address once in a VLAN"),
    ("[[blade]]\nslot = 1\n[[neighbor]]\nip = \"198.18.0.1\"\nmac = \"02:00:00:00:00:01\"\nvlan = 9\n", "c.toml:6:8: neighbor.vlan = 9: no port carries this VLAN"),

    // Functions and rules.
    ("[[blade]]\nslot = 1\n[[function]]\nblades = \"blade1\"\n", "c.toml:3:1: function.name is missing: expected what the function is called"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = [\"blade1\", \"balde\"]\n", "c.toml:5:21: function.blades = \"balde\": no blade has this name"),
    ("[[blade]]\nslot = 1\n[[uplink]]\n[[function]]\nname = \"web\"\nblades = \"uplink1\"\n", "c.toml:6:10: function.blades = \"uplink1\": no blade has this name: expected names of [[blade]]s"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade1\"]\n", "c.toml:5:21: function.blades = \"blade1\" is used twice: first at line 5; expected each blade once"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = []\n", "c.toml:3:1: function.blades: expected at least one blade, or no `blades` for all that announce"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[function]]\nname = \"web\"\n", "c.toml:6:8: function.name = \"web\" is used twice: first at line 4; expected"),
    ("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[function]]\nname = \"web\"\nblades = \"blade1\"\ndrain = \"blade2\"\n", "c.toml:8:9: function.drain = \"blade2\": is none of the function's blades: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = \"blade1\"\nweights = { blade2 = 2 }\n", "c.toml:6:11: function.weights: blade2 is none of the function's blades: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nweights = { blade1 = 65 }\n", "c.toml:5:11: function.weights = { blade1 = 65 }: blade1: expected a whole number from 1 to 64"),
    ("[[blade]]\nslot = 1\nip = \"198.18.0.1\"\n[[function]]\nname = \"web\"\nip = \"198.18.0.1\"\n", "c.toml:6:6: function.ip = \"198.18.0.1\": is the address of blade1: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nvlan = 7\n", "c.toml:5:8: function.vlan = 7: no port carries this VLAN: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nstandby = \"blade1\"\n", "c.toml:5:11: function.standby = \"blade1\": stands by for nobody in particular: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = \"blade1\"\nstandby = \"blade1\"\n", "c.toml:6:11: function.standby = \"blade1\" is used twice: first at line 5; expected each blade once"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\nblades = \"blade1\"\npreempt = 1\n", "c.toml:6:11: function.preempt = 1: expected true or false"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\naffinity = \"sauce\"\n", "c.toml:5:12: function.affinity = \"sauce\": expected \"flow\" or \"source\": did you mean `source`?"),
    ("[[blade]]\nslot = 1\n[[steer]]\nprotocol = \"tcp\"\n", "c.toml:3:1: steer.function is missing: expected the name of a [[function]]"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"wbe\"\n", "c.toml:6:12: steer.function = \"wbe\": no [[function]] has this name: did you mean `web`?"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nin = \"uplink1\"\n", "c.toml:7:6: steer.in = \"uplink1\": no port has this name: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nprotocol = \"tpc\"\n", "c.toml:7:12: steer.protocol = \"tpc\": expected \"tcp\", \"udp\","),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nprotocol = 256\n", "c.toml:7:12: steer.protocol = 256: expected \"tcp\", \"udp\","),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nprotocol = \"icmp\"\ndst_port = 80\n", "c.toml:8:12: steer: a protocol without ports never matches: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nprotocol = \"udp\"\ntcp_flags = \"SYN\"\n", "c.toml:8:13: steer.tcp_flags: another protocol never matches: expected"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\ntcp_flags = [\"SYN\", \"!AKC\"]\n", "c.toml:7:21: steer.tcp_flags = \"!AKC\": expected \"SYN\", \"FIN\","),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\ndst_port = [80, \"90-81\"]\n", "c.toml:7:17: steer.dst_port = \"90-81\": begins after its end: expected a port from 0 to 65535"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\ndst = \"198.18.0.1/16\"\n", "c.toml:7:7: steer.dst = \"198.18.0.1/16\": has bits beyond its first 16: expected an IP prefix"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nsrc = \"198.18.0.0/33\"\n", "c.toml:7:7: steer.src = \"198.18.0.0/33\": an address of this family has 32 bits: expected an IP prefix"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\ndscp = 64\n", "c.toml:7:8: steer.dscp = 64: expected a whole number from 0 to 63"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\npayload = \"0x123\"\n", "c.toml:7:11: steer.payload = \"0x123\": expected 1 to 64 bytes"),
    ("[[blade]]\nslot = 1\n[[function]]\nname = \"web\"\n[[steer]]\nfunction = \"web\"\nname = \"rule2\"\n[[steer]]\nfunction = \"web\"\n", "c.toml:8:1: steer.name = \"rule2\" is used twice: first at line 7; expected another"),
];

#[test]
fn each_mistake_gives_one_error_with_its_place() {
    for (text, expected) in REFUSED {
        let errors = errors(text);
        assert!(errors.starts_with(expected), "{text}\nexpected: {expected}\nfound:    {errors}");
        assert_eq!(errors.lines().count(), 1, "{text}\n{errors}");
    }
}

/// One profile for many bays; a blade's own keys count before it, VLANs as a whole.
#[test]
fn a_profile_is_what_its_bays_default_to() {
    let text = r#"
[[profile]]
name = "web"
slots = ["1-3", 5]
prefix = "web"
speed = "2.5G"
trunk = [10, 20]
native = 10
fdb_limit = 100
learning = false
control = "none"
functions = ["http", "mail"]
[[function]]
name = "http"
[[function]]
name = "mail"
blades = "spare"
[[blade]]
slot = 1
[[blade]]
slot = 2
speed = "1G"
vlan = 30
[[blade]]
slot = 3
name = "spare"
learning = true
functions = "http"
[[blade]]
slot = 4
[[blade]]
slot = 5
functions = []
"#;
    let config = parse(text);
    let ports = &config.ports;
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["web1", "web2", "spare", "blade4", "web5"]);
    assert_eq!(ports.iter().map(|port| port.speed.to_string()).collect::<Vec<_>>(), ["2.5G", "1G", "2.5G", "1G", "2.5G"]);
    let vid = |number: u16| Vid::new(number).unwrap();
    let trunk = VlanMode::Trunk { allowed: [10, 20].map(|number| vid(number)..=vid(number)).into_iter().collect(), native: Some(vid(10)) };
    assert_eq!((&ports[0].vlan, &ports[1].vlan, &ports[3].vlan), (&trunk, &VlanMode::Access(vid(30)), &VlanMode::Access(Vid::DEFAULT)));
    assert_eq!(ports.iter().map(|port| port.learning).collect::<Vec<_>>(), [false, false, true, true, false]);
    assert_eq!((ports[0].fdb_limit, ports[3].fdb_limit), (Some(100), None));
    assert_ne!(ports[0].control, ports[3].control);
    assert_eq!(config.functions[0].blades, Some(vec![PortId(0), PortId(1), PortId(2)]));
    assert_eq!(config.functions[1].blades, Some(vec![PortId(0), PortId(1), PortId(2)]));
    assert_written_out(&config);
    // At run time the functions of bays stay with them.
    let (functions, _) = steering::parse("[[function]]\nname = \"http\"\n[[function]]\nname = \"mail\"\n", "rules", &config).unwrap();
    assert_eq!(functions[1].blades, Some(vec![PortId(0), PortId(1)]));
    let error = steering::parse("[[function]]\nname = \"http\"\n", "rules", &config).unwrap_err().to_string();
    assert!(error.starts_with("rules: the bay of web1 has the function `mail`: expected a [[function]] of this name"), "{error}");
}

#[test]
fn every_error_says_what_was_expected() {
    for (text, _) in REFUSED {
        let errors = errors(text);
        let says = ["expected", "known keys", "known kinds"].iter().any(|word| errors.contains(word));
        assert!(says, "{text}\n{errors}");
    }
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let text = "\
[[uplink]]
speed = \"0\"
[[blade]]
slot = 3
spped = \"1G\"
[[blade]]
slot = 3
vlan = 4095
[switch]
mac = \"ff:ff:ff:ff:ff:ff\"
[[fdb_entry]]
mac = \"02:00:00:00:00:01\"
port = \"blade4\"
";
    let errors = Config::parse(text, "c.toml").unwrap_err();
    let found: Vec<_> = errors.errors.iter().map(|error| (error.line, error.column, error.key.as_str())).collect();
    let expected = [
        (2, 9, "uplink.speed"),
        (5, 1, "blade.spped"),
        (7, 8, "blade.slot"),
        (8, 8, "blade.vlan"),
        (10, 7, "switch.mac"),
        (13, 8, "fdb_entry.port"),
    ];
    assert_eq!(found, expected, "{errors}");
    assert_eq!(errors.to_string().lines().count(), expected.len());
    let first = serde_json::to_value(&errors).unwrap()["errors"][0].clone();
    assert_eq!((&first["file"], &first["line"], &first["key"]), (&json!("c.toml"), &json!(2), &json!("uplink.speed")));
}

#[test]
fn errors_beyond_the_limit_are_counted() {
    let text = format!("[[blade]]\nslot = 1\n{}", (0..2345).map(|n| format!("x{n:04} = 1\n")).collect::<String>());
    let errors = Config::parse(&text, "c.toml").unwrap_err();
    assert_eq!((errors.errors.len(), errors.left_off), (ERRORS_MAX, 2345 - ERRORS_MAX));
    assert!(errors.to_string().ends_with("\nand 2245 more errors"));
    assert_eq!(errors.errors[0].line, 3);
}

#[test]
fn columns_are_characters_and_lines_may_end_with_cr_lf() {
    let errors = errors("# é€😀\r\n[switch]\r\nname = \"é€😀\" # 1\r\n[[blade]]\r\nslot = { e = 'é' }\r\n");
    assert!(errors.starts_with("c.toml:3:8: switch.name = \"é€😀\": expected"), "{errors}");
    assert!(errors.contains("\nc.toml:5:8: blade.slot = { e = 'é' }: expected"), "{errors}");
    let long = self::errors(&format!("[[blade]]\nslot = \"{}\"\n", "é".repeat(100)));
    assert!(long.contains(&format!("= \"{}…: expected", "é".repeat(47))), "{long}");
    let several_lines = self::errors("[[blade]]\nslot = [\n1,\n2]\n");
    assert!(several_lines.starts_with("c.toml:2:8: blade.slot = […: expected"), "{several_lines}");
}

#[test]
fn a_switch_has_at_most_128_ports() {
    let blades = |count: u16| (1..=count).map(|slot| format!("[[blade]]\nslot = {slot}\n")).collect::<String>();
    assert_eq!(parse(&blades(128)).ports.len(), 128);
    let errors = errors(&format!("{}[[uplink]]\n", blades(128)));
    assert_eq!(errors, "c.toml:257:1: [[uplink]] is beyond the last port: expected at most 128 ports in all, found 129");
}

#[test]
fn a_file_that_cannot_be_read_gives_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let shown = Config::load(&missing).unwrap_err().to_string();
    assert!(shown.starts_with(&format!("{}: cannot be read: No such file", missing.display())), "{shown}");
    assert!(Config::load(folder.path()).unwrap_err().to_string().contains("cannot be read: Is a directory"));

    let file = folder.path().join("c.toml");
    std::fs::write(&file, b"[[blade]]\nslot = 1\n# \xff\n").unwrap();
    let shown = Config::load(&file).unwrap_err().to_string();
    assert_eq!(shown, format!("{}:3:3: byte 21 of the file is not UTF-8: expected a text file in TOML", file.display()));

    std::fs::write(&file, vec![b'\n'; FILE_LEN_MAX as usize + 1]).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().ends_with("is too long: expected at most 8388608 bytes"));
    std::fs::write(&file, "[[blade]]\nslot = 1\n").unwrap();
    assert_eq!(Config::load(&file).map(|config| config.ports.len()), Ok(1));
}

#[test]
fn defaults_are_those_of_the_program() {
    let mut expected = Config { vlans: vec![VlanConfig::unnamed(Vid::DEFAULT)], ..Config::default() };
    expected.ports = vec![PortConfig::blade(1), PortConfig::blade(2)];
    assert_eq!(parse("[[blade]]\nslot = 2\n[[blade]]\nslot = 1\n"), expected);
    assert_eq!(parse("[pool]\nbuffers = 0\n[[blade]]\nslot = 1\n").pool.buffers, None);
}

#[test]
fn ports_are_blades_by_slot_then_uplinks_and_references_follow() {
    let config = parse(
        "[[uplink]]\nname = \"z\"\n[[uplink]]\n[[blade]]\nslot = 9\n[[blade]]\nslot = 2\n[[fdb_entry]]\nmac = \"2:0:0:0:0:1\"\nport = \"blade9\"\n",
    );
    let names: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["blade2", "blade9", "z", "uplink2"]);
    let entry = FdbEntryConfig { mac: MacAddr([2, 0, 0, 0, 0, 1]), vid: Vid::DEFAULT, target: FdbTarget::Port(port::PortId(1)) };
    assert_eq!(config.fdb_entries, [entry]);
    assert_eq!(config.port_named("z"), Some(port::PortId(2)));
    assert_eq!(config.port_named("y"), None);
}

#[test]
fn the_native_vlan_joins_its_trunk_and_every_vlan_is_listed() {
    let config = parse("[[uplink]]\ntrunk = [20, \"30-32\"]\nnative = 10\n[[vlan]]\nvid = 31\nname = \"x\"\n[[vlan]]\nvid = 99\n");
    let vlan = &config.ports[0].vlan;
    assert_eq!((vlan.vids().to_string().as_str(), vlan.untagged()), ("10, 20, 30-32", Vid::new(10)));
    assert!(vlan.contains(Vid::new(32).unwrap()) && !vlan.contains(Vid::DEFAULT));
    let vlans: Vec<_> = config.vlans.iter().map(|vlan| (vlan.vid.get(), vlan.name.as_str())).collect();
    assert_eq!(vlans, [(10, "vlan10"), (20, "vlan20"), (30, "vlan30"), (31, "x"), (32, "vlan32"), (99, "vlan99")]);
    let transparent = parse("[[uplink]]\ntransparent = 40\n");
    assert_eq!(transparent.ports[0].vlan, VlanMode::Transparent(Vid::new(40).unwrap()));
}

#[test]
fn a_backplane_is_completed() {
    let blades = "[switch]\nmax_frame = 1518\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[uplink]]\n";
    let backplane = |text: &str| {
        let config = parse(&format!("{blades}[[backplane]]\n{text}\n"));
        assert_written_out(&config);
        config.backplanes[0].clone()
    };
    let ports = [port::PortId(0), port::PortId(1)];
    let (none, tdm) = (backplane(""), backplane("bus = \"tdm\"\nrate = \"1G\""));
    assert_eq!((none.name.as_str(), &none.ports[..], none.bus.clone()), ("backplane1", &ports[..], BusConfig::None));
    let BusConfig::Tdm { slot_ns, guard_ns, lend, slots } = &tdm.bus else { panic!("{tdm:?}") };
    assert_eq!((*slot_ns, *guard_ns, *lend), (13_000, 100, true), "1546 bytes take 12,368 ns");
    let own = [Station::Port(ports[0]), Station::Port(ports[1]), Station::Switch].map(SlotConfig::Reserved);
    assert_eq!(slots[..], [&own[..], &[SlotConfig::Shared, SlotConfig::Reserved(Station::Maintenance)]].concat());
    assert_eq!(tdm, BackplaneConfig::new("backplane1", ports.to_vec(), BusKind::Tdm, Speed::G1, 1518));
    let fdm = backplane("bus = \"fdm\"\nports = [\"uplink1\", \"blade1\"]\nshares = { switch = \"4G\", blade1 = \"3G\" }");
    assert_eq!(fdm.ports, [port::PortId(0), port::PortId(2)]);
    let rates: Vec<Speed> = ["3G", "1.5G", "4G", "1.5G"].iter().map(|rate| rate.parse().unwrap()).collect();
    assert_eq!(fdm.bus, BusConfig::Fdm(rates));
    assert_eq!(backplane("bus = \"drr\"\nquanta = { maintenance = 64 }").bus, BusConfig::Drr(vec![1538, 1538, 1538, 64]));
}

#[test]
fn examples_load_and_survive_being_written_out() {
    let folder = repository().join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert_written_out(&config);
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["bus.toml", "chassis.toml", "minimal.toml", "vlans.toml"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing among {names:?}");
    }
}

#[test]
fn the_chassis_in_code_is_the_chassis_in_the_example() {
    let example = Config::load(repository().join("examples/chassis.toml")).unwrap();
    let mut chassis = Config::chassis(16, Speed::G1, Speed::G10);
    assert_written_out(&chassis);
    assert_eq!(example.ports, chassis.ports);
    (chassis.switch, chassis.fdb) = (example.switch.clone(), example.fdb.clone());
    assert_eq!(example, chassis);
    assert_written_out(&Config::chassis(127, "2.5G".parse().unwrap(), Speed::MAX));
}

/// A configuration written out as TOML loads as the same one; as JSON it has the same shape.
fn assert_written_out(config: &Config) {
    let text = config.to_toml().unwrap();
    let again = Config::parse(&text, "written.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    assert_eq!(again, *config);
    let through_toml = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(config).unwrap(), through_toml);
}

#[test]
fn the_manual_has_every_key() {
    let manual = std::fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    for schema in SECTIONS {
        let heading = format!("## `{}`", schema.title());
        let section = manual.split("\n## ").find(|section| format!("## {section}").starts_with(&heading));
        let section = section.unwrap_or_else(|| panic!("docs/configuration.md has no heading {heading}"));
        for key in schema.keys {
            assert!(section.contains(&format!("| `{key}` |")), "docs/configuration.md: {heading} has no row for `{key}`");
        }
    }
}

/// Text that is nearly a configuration: lines of the right form with some values wrong.
fn any_lines() -> impl Strategy<Value = String> {
    let keys = SECTIONS.iter().flat_map(|schema| schema.keys.iter().copied()).chain(["speeed", "x", "'é'"]).collect::<Vec<_>>();
    let headers = SECTIONS.iter().flat_map(|schema| [schema.title(), format!("[{}]", schema.name), format!("[[{}.x]]", schema.name)]);
    let values = prop_oneof![
        (-2..5000i64).prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        Just("\"198.18.0.1\"".to_owned()),
        Just("\"02:00:00:00:00:01\"".to_owned()),
        Just("[1, \"2-9\", true, {}]".to_owned()),
        Just("\"\"\"\n\"\"\"".to_owned()),
        "\"(1G|memory:|pcap:a|blade1|spin|auto|[a-z0-9:.-]{0,8})\"",
        prop::bool::ANY.prop_map(|flag| flag.to_string()),
        "[\\PC\n]{0,9}",
    ];
    let line = prop_oneof![
        1 => prop::sample::select(headers.collect::<Vec<_>>()),
        3 => (prop::sample::select(keys), values).prop_map(|(key, value)| format!("{key} = {value}")),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_errors(text in prop_oneof![any::<String>(), "[\\PC\n\r\"=\\[\\]]{0,80}", any_lines()]) {
        match Config::parse(&text, "c.toml") {
            Ok(config) => assert_written_out(&config),
            Err(errors) => {
                prop_assert!(!errors.errors.is_empty());
                prop_assert_eq!(errors.to_string().lines().count(), errors.errors.len() + usize::from(errors.left_off > 0));
                let lines = text.split('\n').count();
                prop_assert!(errors.errors.iter().all(|error| error.line as usize <= lines));
            }
        }
    }

    /// Blades of random slots and VLANs: those without a slot in common load, in the order of slots, the others do not.
    #[test]
    fn blades_load_exactly_when_their_slots_differ(blades in prop::collection::vec((1u16..40, 1u16..4095, any::<bool>()), 1..12)) {
        let text: String = blades
            .iter()
            .map(|(slot, vid, trunk)| format!("[[blade]]\nslot = {slot}\n{} = {vid}\n", if *trunk { "trunk" } else { "vlan" }))
            .collect();
        let mut slots: Vec<u16> = blades.iter().map(|(slot, ..)| *slot).collect();
        slots.sort_unstable();
        let repeated = slots.windows(2).filter(|pair| pair[0] == pair[1]).count();
        match Config::parse(&text, "c.toml") {
            Ok(config) => {
                prop_assert_eq!(repeated, 0);
                let found = config.ports.iter().map(|port| match port.role { Role::Blade { slot, .. } => slot, Role::Uplink => 0 });
                prop_assert_eq!(found.collect::<Vec<_>>(), slots);
                assert_written_out(&config);
            }
            Err(errors) => prop_assert_eq!(errors.errors.len(), repeated),
        }
    }
}

#[test]
fn functions_and_rules_are_read_and_written_out() {
    let config = parse(
        "[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[uplink]]\n\
         [[function]]\nname = \"web\"\nblades = [\"blade2\", \"blade1\"]\nweights = { blade1 = 3, blade2 = 1 }\ndrain = \"blade2\"\n\
         ip = [\"198.18.0.100\", \"2001:db8::100\"]\naffinity = \"source\"\nidle_s = 60\nreaddress = false\nhealth = \"hello\"\notherwise = \"pass\"\n\
         [[function]]\nname = \"log\"\n\
         [[steer]]\nfunction = \"web\"\nethertype = \"ipv4\"\nvlan = [1, 10]\nsrc_mac = \"02:00:00:00:00:01\"\ndst_mac = \"02:00:00:00:00:02\"\n\
         src = [\"198.18.0.0/15\", \"::/0\", \"198.18.0.7\"]\ndst = \"2001:db8::/32\"\nprotocol = \"tcp\"\nsrc_port = \"1024-65535\"\ndst_port = [80, 443]\n\
         dscp = [0, 46, 63]\ntcp_flags = [\"SYN\", \"!ack\"]\npayload = \"GET /\"\n\
         [[steer]]\nname = \"logs\"\nfunction = \"log\"\nin = [\"blade1\", \"uplink1\"]\nethertype = 0x88b5\nmessage_type = \"data\"\npayload = \"0x00ff\"\n\
         [[steer]]\nfunction = \"log\"\nprotocol = 253\nmessage_type = 200\n",
    );
    let [web, log] = &config.functions[..] else { panic!("{:?}", config.functions) };
    assert_eq!((web.blades.as_deref(), web.weight(PortId(0)), web.weight(PortId(1))), (Some(&[PortId(0), PortId(1)][..]), 3, 1));
    assert_eq!((log.blades.clone(), log.idle_s, log.readdress), (None, 300, true));
    let ingress: Vec<u128> = config.rules.iter().map(|rule| rule.conditions.ingress).collect();
    assert_eq!(ingress, [0b100, 0b101, 0b100], "uplinks, unless the rule says otherwise");
    assert_eq!(config.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["rule1", "logs", "rule3"]);
    assert_eq!(config.rules[1].conditions.payload, [0x00, 0xff]);
    assert_written_out(&config);
}
