//! The program as its users meet it: arguments in, text, JSON and exit codes out, and a running switch behind its socket.
//!
//! Nothing here sleeps: what has to come about is asked for until it has, or a deadline passes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test fails; generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

fn bladeswitch(args: &[&str]) -> Output {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(args).timeout(DEADLINE).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The arguments succeed; what they print.
fn text(args: &[&str]) -> String {
    let output = bladeswitch(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output)
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&text(args)).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// The arguments are refused with this exit code and one line; the line.
fn refused(code: i32, args: &[&str]) -> String {
    let output = bladeswitch(args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.starts_with("error: ") && said.ends_with('\n') && said.lines().count() == 1, "{args:?}: {said}");
    said
}

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).display().to_string()
}

fn write(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// A switch that runs until it is dropped.
struct Run {
    child: Child,
    socket: String,
}

impl Run {
    fn start(dir: &TempDir, ports: &str) -> Run {
        let socket = dir.path().join("api.sock").display().to_string();
        let config = write(dir, "run.toml", format!("[switch]\nname = \"test\"\napi = \"{socket}\"\n{ports}"));
        let child = Command::new(env!("CARGO_BIN_EXE_bladeswitch"))
            .args(["run", &config, "--duration", "600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut run = Run { child, socket };
        let began = Instant::now();
        while UnixStream::connect(&run.socket).is_err() {
            assert!(run.child.try_wait().unwrap().is_none(), "it has ended");
            assert!(began.elapsed() < DEADLINE, "nobody answers");
            std::thread::yield_now();
        }
        run
    }

    fn show(&self, what: &str) -> String {
        text(&["show", what, "--socket", &self.socket])
    }

    fn show_json(&self, what: &str) -> Value {
        json(&["show", what, "--json", "--socket", &self.socket])
    }

    /// One request, as it stands on the wire; head and body of the answer.
    fn http(&self, request_line: &str, body: &str) -> (String, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        write!(stream, "{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Ends it with a signal; exit code and what it printed.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
    }
}

const MEMORY: &str = "[[blade]]\nslot = 1\nip = \"198.18.0.1\"\nmac = \"02:00:00:00:00:01\"\n[[blade]]\nslot = 2\nvlan = 10\n\
                      [[uplink]]\ntrunk = [10]\nnative = 1\n[[fdb_entry]]\nmac = \"02:00:00:00:00:99\"\nport = \"uplink1\"\n\
                      [[fdb_entry]]\nmac = \"02:00:00:00:00:66\"\nblackhole = true\n";

#[test]
fn rates_of_a_running_switch() {
    let dir = tempfile::tempdir().unwrap();
    let rates = "[[rate]]\nfrom = \"blade1\"\nto = \"uplink1\"\nrate = \"100M\"\nmax = \"2.5G\"\n";
    let run = Run::start(&dir, &format!("{MEMORY}{rates}"));
    let socket = ["--socket", &run.socket];
    assert!(run.show("rates").contains("blade1  uplink1  100M  config  2.5G"), "{}", run.show("rates"));
    let shown = text(&[&["set-rate", "blade1", "uplink1", "300M"][..], &socket].concat());
    assert!(shown.contains("300M  operator  2.5G"), "{shown}");
    assert_eq!(run.show_json("rates")["rates"][0]["rate_bps"], 300_000_000);
    let said = refused(1, &[&["set-rate", "blade1", "uplink1", "3G"][..], &socket].concat());
    assert!(said.contains("at most 2.5G"), "{said}");
    let said = refused(1, &[&["set-rate", "blade2", "uplink1", "1G"][..], &socket].concat());
    assert!(said.contains("no [[rate]] from blade2 to uplink1 is configured"), "{said}");
    let (head, metrics) = run.http("GET /metrics", "");
    assert!(
        head.starts_with("HTTP/1.1 200") && metrics.contains("bladeswitch_rate_bits_per_second{from=\"blade1\",to=\"uplink1\"} 300000000")
    );
}

#[test]
fn every_show_of_a_running_switch() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    for (what, expected) in [
        ("ports", " 2  uplink1  uplink    10G  trunk 10 native 1  up    forwarding"),
        ("fdb", "02:00:00:00:00:99  uplink1  static"),
        ("neighbors", "198.18.0.1  02:00:00:00:00:01  blade1  static"),
        ("identities", "blade1  02:00:00:00:00:01  198.18.0.1"),
        ("vlans", "  10  vlan10  blade2             uplink1"),
        ("drops", "no drops"),
        ("rates", "no [[rate]] is configured"),
        ("ledger", "ledger: balanced"),
        ("workers", "cycles/packet"),
        ("config", "[[uplink]]\nname = \"uplink1\"\n"),
    ] {
        let shown = run.show(what);
        assert!(shown.contains(expected), "{what}: {shown}");
        run.show_json(what);
    }
    let ports = run.show_json("ports");
    assert_eq!(ports["switch"], "test");
    assert_eq!(ports["ports"][0]["slot"], 1);
    assert_eq!(ports["ports"][2]["vlan"], serde_json::json!({ "mode": "trunk", "untagged": 1, "tagged": [10] }));
    assert_eq!(run.show_json("fdb")["entries"][0]["kind"], "blackhole");
    let phases = run.show_json("workers")["workers"][0]["phases"].clone();
    let names: Vec<&str> = phases.as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
    assert_eq!(names, ["receive", "parse", "admit", "address", "learn", "steer", "resolve", "police", "rewrite", "transmit", "send"]);

    // What is shown is a configuration that can be loaded.
    let shown = write(&dir, "shown.toml", run.show("config"));
    assert!(text(&["check", &shown]).starts_with("ok: "));

    let (code, printed) = run.end("-TERM");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("packet pool: ") && printed.contains("stopped: SIGTERM"), "{printed}");
    assert!(printed.lines().last().unwrap().starts_with("ledger: balanced"), "{printed}");
    assert!(!dir.path().join("api.sock").exists(), "the socket is removed");
}

#[test]
fn frames_of_a_capture_are_counted_learned_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let ports = format!("[[blade]]\nslot = 1\nport = \"pcap:{}\"\n[[blade]]\nslot = 2\n", repository("pcaps/arp/in.pcap"));
    let run = Run::start(&dir, &ports);
    let began = Instant::now();
    let fdb = loop {
        let fdb = run.show_json("fdb");
        if !fdb["entries"].as_array().unwrap().is_empty() {
            break fdb;
        }
        assert!(began.elapsed() < DEADLINE, "nothing is learned");
    };
    assert_eq!((&fdb["entries"][0]["port"], &fdb["entries"][0]["kind"]), (&"blade1".into(), &"dynamic".into()));
    assert!(run.show_json("ports")["ports"][0]["rx_frames"].as_u64().unwrap() > 0);
    for (args, flushed) in [(&["--port", "blade1"][..], "port blade1"), (&["--vlan", "1"], "VLAN 1"), (&[], "all")] {
        let args = [&["flush", "--socket", &run.socket], args].concat();
        assert_eq!(text(&args), format!("flushed: {flushed}\n"));
    }
    assert!(
        refused(1, &["flush", "--socket", &run.socket, "--port", "blade3"]).contains("no port is called `blade3`: expected one of blade1")
    );
    assert!(refused(1, &["flush", "--socket", &run.socket, "--vlan", "7"]).contains("VLAN 7 is not configured"));
    let (code, printed) = run.end("-INT");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("stopped: SIGINT"), "{printed}");
}

#[test]
fn metrics_are_open_metrics_by_the_names_in_the_manual() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    // What workers count shows once they have published it.
    let began = Instant::now();
    let (head, text) = loop {
        let (head, text) = run.http("GET /metrics", "");
        if text.contains("bladeswitch_fdb_entries{worker=\"0\"} 2") || began.elapsed() > DEADLINE {
            break (head, text);
        }
    };
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(text.ends_with("# EOF\n"));
    let mut described = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            described.insert(family.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(described.contains(name.strip_suffix("_total").unwrap_or(name)), "{line}");
            assert!(value.parse::<u64>().is_ok(), "{line}");
        }
    }
    for series in [
        "bladeswitch_rx_frames_total{port=\"blade1\"}",
        "bladeswitch_rx_bytes_total{port=\"blade1\"}",
        "bladeswitch_tx_frames_total{port=\"uplink1\"}",
        "bladeswitch_tx_bytes_total{port=\"uplink1\"}",
        "bladeswitch_drops_total{port=\"blade2\",reason=\"hairpin\"}",
        "bladeswitch_copies_total{port=\"blade1\"}",
        "bladeswitch_injected_total{port=\"blade1\"}",
        "bladeswitch_punted_total{port=\"blade1\"}",
        "bladeswitch_held ",
        "bladeswitch_link{port=\"blade1\"} 1",
        "bladeswitch_fdb_entries{worker=\"0\"} 2",
        "bladeswitch_worker_turns_total{worker=\"0\"}",
        "bladeswitch_phase_ticks_total{worker=\"0\",phase=\"learn\"}",
    ] {
        assert!(text.contains(&format!("\n{series}")), "{series} is missing");
    }
    // The manual names every family, and none that is not there.
    let manual = std::fs::read_to_string(repository("docs/operating.md")).unwrap();
    let manual = manual.split("\n## ").find(|section| section.starts_with("Metrics\n")).expect("a section on metrics");
    let named = |word: &&str| word.starts_with("bladeswitch_");
    let in_manual: std::collections::HashSet<String> = manual
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(named)
        .map(|name| name.trim_end_matches("_total").to_owned())
        .collect();
    assert_eq!(described, in_manual);
}

#[test]
fn the_api_refuses_in_json_and_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    let long = " ".repeat((64 << 10) + 1);
    for (request, body, status, error) in [
        ("GET /v1/port", "", "404", "GET /v1/port is not known: expected one of GET /v1/ports,"),
        ("GET /v1/fdb/flush", "", "405", "GET /v1/fdb/flush is not allowed"),
        ("POST /v1/fdb/flush", "{\"prot\":1}", "400", "unknown field `prot`"),
        ("POST /v1/fdb/flush", "{", "400", "EOF while parsing"),
        ("POST /v1/fdb/flush", "{\"vlan\":4095}", "400", "VLAN 4095 does not exist"),
        ("POST /v1/fdb/flush", "{\"vlan\":1,\"port\":\"blade1\"}", "400", "not both"),
        ("POST /v1/fdb/flush", "{\"port\":\"x\"}", "404", "no port is called `x`"),
        ("POST /v1/fdb/flush", &long, "413", "longer than 65536 bytes"),
        ("GET /v1/config?format=xml", "", "400", "unknown variant `xml`"),
    ] {
        let (head, body) = run.http(request, body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && head.contains("content-type: application/json"), "{request}: {head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].as_str().unwrap().contains(error), "{request}: {body}");
    }
    assert_eq!(run.http("POST /v1/fdb/flush", "").1, "{\"flushed\":\"all\"}");
}

#[test]
fn a_second_switch_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    let config = dir.path().join("run.toml").display().to_string();
    assert!(refused(2, &["run", &config]).contains("another bladeswitch answers on "));
    run.show("ports");
    drop(run); // Killed: the socket stays behind, and the next one takes it over.
    assert!(dir.path().join("api.sock").exists());
    Run::start(&dir, MEMORY).show("ports");
    assert!(refused(1, &["show", "ports", "--socket", &dir.path().join("none").display().to_string()]).contains("nobody answers on "));
}

#[test]
fn a_run_without_far_ends_says_so() {
    let output = bladeswitch(&["run", &repository("examples/minimal.toml"), "--duration", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("warning: all ports are `memory:` and nobody is at their other ends"), "{}", stderr(&output));
    assert!(stdout(&output).contains("ledger: balanced  rx 0 "));
}

#[test]
fn what_check_says() {
    for example in ["minimal", "chassis", "vlans", "bus", "steering", "services"] {
        assert!(text(&["check", &repository(&format!("examples/{example}.toml"))]).starts_with("ok: "));
    }
    assert!(
        text(&["check", &repository("examples/chassis.toml")])
            .contains("chassis-1: 16 blades, 1 uplink, 1 VLAN, 1 worker (adaptive), API at ")
    );
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(2, &["check", "/nowhere/x.toml"]).contains("/nowhere/x.toml: cannot be read: No such file"));
    for (content, line, expected) in [
        ("[[blade]]\nslot = 1\nspped = \"1G\"\n", 3, "unknown key `spped` in [[blade]]: did you mean `speed`?"),
        ("[[blade]]\nslot = 1\nslot = 2\n", 3, "duplicate key"),
        ("[[blade]]\nslot = 1\n[[blade]]\nslot = 1\n", 4, "blade.slot = 1 is used twice: first at line 2; every slot holds one blade"),
        ("[[blade]]\nslot = 1\nport = \"tap:a\"\n[[blade]]\nslot = 1\nname = \"b\"\nport = \"tap:b\"\n", 5, "blade.slot = 1 is used twice"),
        ("[[blade]]\nslot = 1\nvlan = 0\n", 3, "blade.vlan = 0"),
        ("[[blade]]\nslot = 1\nvlan = 4095\n", 3, "blade.vlan = 4095"),
        ("[[blade]]\nslot = 1\nvlan = 4096\n", 3, "blade.vlan = 4096"),
        ("[switch]\nmac = \"01:00:5e:00:00:01\"\n[[blade]]\nslot = 1\n", 2, "switch.mac = \"01:00:5e:00:00:01\""),
        ("[[blade]]\nslot = 1\nspeed = \"0\"\n", 3, "blade.speed = \"0\": expected a rate above zero"),
    ] {
        let path = write(&dir, "wrong.toml", content);
        let said = refused(2, &["check", &path]);
        assert!(said.contains(&format!("{path}:{line}:")) && said.contains(expected), "{said}");
        assert_eq!(refused(2, &["run", &path]), said, "run says the same");
        let output = bladeswitch(&["check", "--json", &path]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &answer["ok"], &answer["errors"][0]["line"]), (Some(2), &false.into(), &line.into()));
    }
    let two = write(&dir, "two.toml", "[[blade]]\nslot = 0\nspeed = \"0\"\n");
    let output = bladeswitch(&["check", &two]);
    assert_eq!(stderr(&output).lines().filter(|line| line.starts_with("error: ")).count(), 2, "all of them: {}", stderr(&output));
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let one = |port: &str| write(&dir, "one.toml", format!("[[blade]]\nslot = 1\nport = \"{port}\"\n"));
    assert!(refused(2, &["run", &one("pcap:/nowhere.pcap")]).contains("port blade1: /nowhere.pcap: No such file"));
    assert!(refused(2, &["run", &one("memif:/nowhere/x")]).contains("port blade1: memif socket /nowhere/x: No such file"));
    let config = write(&dir, "api.toml", format!("[switch]\napi = \"{}/no/api.sock\"\n{MEMORY}", dir.path().display()));
    assert!(refused(2, &["run", &config]).contains("/no/api.sock: No such file"));
}

/// A frame of the chassis, in hexadecimal digits.
fn hex(dst: &str, ethertype: &str, payload: &str) -> String {
    format!("{dst} 020000000001 {ethertype} {:0<92}", payload.replace(' ', ""))
}

#[test]
fn explained_frames() {
    let chassis = repository("examples/chassis.toml");
    let ask = |args: &[&str]| text(&[&["explain", &chassis, "--in", "blade1"], args].concat());
    let runt = ask(&["--hex", "ffffffffffff 020000000001 0800"]);
    assert!(
        runt.ends_with(
            "verdict   drop: runt: the frame is shorter than 60 bytes without FCS, the least Ethernet allows (IEEE 802.3 §3.2.7)\n"
        ),
        "{runt}"
    );
    let broadcast = ask(&["--hex", &hex("ffffffffffff", "9000", "")]);
    assert!(broadcast.ends_with("verdict   flood: out of 16 ports in VLAN 1\n"), "{broadcast}");
    let unicast = ask(&["--hex", &hex("020000000002", "9000", ""), "--learn", "blade2=02:00:00:00:00:02"]);
    assert!(unicast.contains("resolve   the FDB knows 02:00:00:00:00:02 in VLAN 1: behind blade2 (dynamic)\n"), "{unicast}");
    assert!(unicast.ends_with("verdict   forward: out of blade2\n"), "{unicast}");
    // Version 1, Data, MAC, reserved, opaque, a body of 255 bytes where there are 26.
    let beyond = ask(&["--hex", &hex("0200000000fe", "88b5", "010101000000 00ff 020000000002")]);
    assert!(beyond.contains("verdict   drop: message-malformed: "), "{beyond}");
    let arp = repository("pcaps/arp/in.pcap");
    let told = json(&["explain", &chassis, "--in", "0", "--pcap", &format!("{arp}:1"), "--after", &format!("blade1={arp}"), "--json"]);
    assert_eq!((&told["port"], &told["steps"][0]["phase"]), (&"blade1".into(), &"receive".into()));
    for (args, expected) in [
        (&["--in", "blade1", "--hex", "0g"][..], "--hex: 'g' at offset 1 is not a hexadecimal digit"),
        (&["--in", "blade1", "--hex", "012"], "--hex: 3 digits are not whole bytes"),
        (&["--in", "blade99", "--hex", "00"], "--in blade99: no port is called that: expected one of blade1,"),
        (&["--in", "blade1", "--pcap", "/nowhere.pcap:1"], "/nowhere.pcap: No such file"),
        (&["--in", "blade1", "--pcap", &format!("{arp}:999")], "in.pcap: there is no frame 999: it has 10"),
        (&["--in", "blade1", "--hex", "00", "--learn", "blade2=02:00:00:00:00:02@7"], "its frames are refused"),
    ] {
        let said = refused(2, &[&["explain", &chassis], args].concat());
        assert!(said.contains(expected), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn no_digits_make_it_panic(hex in prop_oneof!["[0-9a-f]{0,400}", "\\PC{0,40}"], port in 0u8..20) {
        let hex = format!("--hex={}", hex.replace('\0', ""));
        let output = bladeswitch(&["explain", &repository("examples/chassis.toml"), "--in", &port.to_string(), &hex]);
        prop_assert!(matches!(output.status.code(), Some(0 | 2)), "{hex}: {}", stderr(&output));
        prop_assert!(!stderr(&output).contains("panicked"));
    }
}

/// The example of docs/steering.md: every frame from a client to a service is at a blade of that service.
#[test]
fn the_example_of_five_services_steers_every_frame() {
    let captures = [
        ("network", "smtp/in.pcap"),
        ("network", "http/in.pcap"),
        ("network", "https/in.pcapng"),
        ("network", "rtp-voice/in.pcap"),
        ("cameras", "rtp-video/in.pcap"),
        ("network", "iscsi/in.pcap"),
        ("network", "nfs/in.pcap"),
    ];
    let inputs = captures.map(|(port, file)| format!("{port}={}", repository(&format!("pcaps/{file}"))));
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = (repository("examples/services.toml"), dir.path().display().to_string());
    let mut args = vec!["replay", &config, "--out", &out];
    args.extend(inputs.iter().flat_map(|input| ["--in", input]));
    let said = text(&args);
    assert!(said.contains("storage   blade7") && said.contains("ledger: balanced"), "{said}");
    let told = json(&[&args[..], &["--json"]].concat());
    let frames =
        |function: &Value| function["blades"].as_array().unwrap().iter().map(|blade| blade["frames"].as_u64().unwrap()).sum::<u64>();
    let functions = told["functions"]["functions"].as_array().unwrap();
    let steered: Vec<(&str, u64)> = functions.iter().map(|function| (function["function"].as_str().unwrap(), frames(function))).collect();
    // What tshark counts: `tcp.dstport in {25, 465, 587}` and so on; of the voice call both directions, which come by the same link.
    assert_eq!(steered, [("mail", 33), ("web", 51 + 22), ("voice", 202), ("video", 91), ("storage", 145 + 25)]);
}

#[test]
fn replays_are_equal_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (chassis, arp) = (repository("examples/chassis.toml"), repository("pcaps/arp/in.pcap"));
    let into = format!("blade1={arp}");
    let folder = |name: &str| dir.path().join(name).display().to_string();
    text(&["replay", &chassis, "--in", &into, "--out", &folder("one"), "--workers", "1"]);
    let four = text(&["replay", &chassis, "--in", &into, "--out", &folder("four"), "--workers", "4", "--expect", &folder("one")]);
    assert!(four.contains("ledger: balanced") && four.contains("as expected in "), "{four}");
    let read = |folder: &str| std::fs::read(PathBuf::from(folder).join("out.pcapng")).unwrap();
    assert_eq!(read(&folder("one")), read(&folder("four")));
    let other = refused(1, &["replay", &chassis, "--in", &format!("blade2={arp}"), "--expect", &folder("one")]);
    assert!(other.contains("the output is not as expected"), "{other}");

    // A file header of 24 bytes, two records of 16 + 60, and then 8 bytes of the third record's header at byte 176.
    let whole = std::fs::read(&arp).unwrap();
    let cut = write(&dir, "cut.pcap", &whole[..24 + 2 * 76 + 8]);
    let said = refused(2, &["replay", &chassis, "--in", &format!("blade1={cut}"), "--out", &folder("cut")]);
    assert!(said.contains("cut.pcap: at byte 176: ") && said.contains("(the 2 frames before it were read)"), "{said}");
    assert!(!read(&folder("cut")).is_empty(), "the good frames were used");
    let mut other_link = whole;
    other_link[20] = 113; // LINUX_SLL.
    let path = write(&dir, "sll.pcap", other_link);
    let said = refused(2, &["replay", &chassis, "--in", &format!("blade1={path}"), "--out", &folder("sll")]);
    assert!(said.contains("sll.pcap: at byte 20: link type LINUX_SLL (113): only ETHERNET (1) frames can be switched"), "{said}");
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    for args in
        [&["check", &repository("examples/chassis.toml")][..], &["explain", &repository("examples/chassis.toml"), "--in", "0", "--hex", ""]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn functions_are_changed_while_the_switch_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    let socket = ["--socket", &run.socket];
    assert_eq!(run.show("functions"), "no [[function]] is configured: nothing is steered\n");
    assert_eq!(run.show("steer"), "no [[steer]] rule is configured: nothing is steered\n");

    let rules = "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\"]\n[[steer]]\nname = \"http\"\nfunction = \"web\"\nprotocol = \"tcp\"\ndst_port = [80, \"8000-8080\"]\n";
    let shown = text(&[&["steer", &write(&dir, "rules.toml", rules)][..], &socket].concat());
    assert!(shown.contains("web       blade1  active  up          1"), "{shown}");
    let shown = run.show("steer");
    assert!(shown.contains("http  uplink1  dst_port 80|8000-8080, protocol tcp  web"), "{shown}");
    text(&[&["drain", "web", "blade2"][..], &socket].concat());
    let blades = run.show_json("functions")["functions"][0]["blades"].clone();
    assert_eq!((&blades[0]["part"], &blades[1]["part"], &blades[1]["state"]), (&1.0.into(), &0.0.into(), &"drain".into()));
    text(&[&["drain", "web", "blade2", "--undo"][..], &socket].concat());
    text(&[&["drain", "web", "blade1", "--weight", "3"][..], &socket].concat());
    let config = write(&dir, "now.toml", run.show("config"));
    assert!(text(&["check", &config]).starts_with("ok: "));
    assert!(run.show("config").contains("[function.weights]\nblade1 = 3\n"), "{}", run.show("config"));
    let (_, metrics) = run.http("GET /metrics", "");
    for series in
        ["bladeswitch_steer_frames_total{rule=\"http\",function=\"web\"} 0", "bladeswitch_function_up{function=\"web\",blade=\"blade2\"} 1"]
    {
        assert!(metrics.contains(&format!("\n{series}\n")), "{series} is missing");
    }

    // What is wrong is said, all of it, and changes nothing.
    let wrong = write(&dir, "wrong.toml", "[[steer]]\nfunction = \"web\"\nprotocol = \"tpc\"\n[[blade]]\nslot = 7\n");
    let output = bladeswitch(&[&["steer", &wrong][..], &socket].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("error: rules:2:12: steer.function = \"web\": no [[function]] has this name"), "{said}");
    assert!(said.contains("rules:3:12: steer.protocol = \"tpc\": expected") && said.contains("rules:4:3: unknown key `blade`"), "{said}");
    assert!(run.show("steer").contains("http"));
    assert!(
        refused(1, &[&["drain", "mail", "blade1"][..], &socket].concat()).contains("no function is called `mail`: expected one of web")
    );
    assert!(refused(1, &[&["drain", "web", "uplink1"][..], &socket].concat()).contains("uplink1 is no blade of web"));
    assert!(refused(2, &[&["steer", "none.toml"][..], &socket].concat()).contains("none.toml: "));
}

#[test]
fn blades_are_detached_and_attached() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::start(&dir, MEMORY);
    let ask = |what: &str, blade: &str| text(&[what, blade, "--socket", &run.socket]);
    assert_eq!(ask("detach", "blade2"), "blade2: detached\n");
    assert_eq!(ask("detach", "2"), "blade2: detached already\n", "by its slot");
    assert_eq!(run.show_json("ports")["ports"][1]["state"], "blocked");
    assert_eq!(ask("attach", "2"), "blade2: attached\n");
    assert_eq!(run.show_json("ports")["ports"][1]["state"], "forwarding");
    let said = refused(1, &["detach", "blade7", "--socket", &run.socket]);
    assert!(
        said.contains("no port is called `blade7`, and no blade has this slot: expected a slot or one of blade1, blade2, uplink1"),
        "{said}"
    );
    assert!(refused(2, &["attach", "a/b"]).contains("expected such as blade3 or 3"));
}
