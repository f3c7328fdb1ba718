//! One ordinary frame, step by step: `docs/life-of-a-frame.md` as a test.

mod blades;

use std::fs;
use std::path::Path;

use blades::{OUTSIDE, blade, frame, tagged};
use bladeswitch::assembly;
use control::config::Config;
use dataplane::admit::TagState;
use dataplane::pipeline::Notes;
use dataplane::{Observer, Phase, Verdict};
use port::{Burst, Hugepages, Mempool, Nanos, PoolCache, Port, PortId};
use wire::MacAddr;
use wire::ethernet::EtherType;

const TEXT: &str = r#"
identity = { advertise = false }
[[blade]]
slot = 1
vlan = 10
[[uplink]]
trunk = [10]
"#;

/// What the notes say of the first packet after a phase that had one.
#[derive(Debug)]
struct Step {
    phase: Phase,
    dst: MacAddr,
    src: MacAddr,
    payload: u8,
    admitted: bool,
    plain: bool,
    tag: TagState,
    verdict: Option<Verdict>,
    retagged: bool,
    readdressed: bool,
}

#[derive(Default)]
struct Watcher {
    begun: usize,
    steps: Vec<Step>,
}

impl Observer for Watcher {
    fn begin(&mut self) {
        self.begun += 1;
    }

    fn end(&mut self, phase: Phase, packets: usize, notes: &Notes) {
        if packets == 0 {
            return;
        }
        assert_eq!(packets, 1);
        let (headers, admitted) = (&notes.packets[0].headers, &notes.packets[0].admitted);
        self.steps.push(Step {
            phase,
            dst: MacAddr::from_raw(headers.dst),
            src: MacAddr::from_raw(headers.src),
            payload: headers.payload,
            admitted: notes.admitted_mask & 1 == 1,
            plain: notes.plain & 1 == 1,
            tag: admitted.tag,
            verdict: notes.packets[0].verdict,
            retagged: notes.retagged & 1 == 1,
            readdressed: notes.readdressed & 1 == 1,
        });
    }
}

fn send(far: &mut Port, pool: &mut PoolCache, bytes: &[u8]) -> u32 {
    let mut burst = Burst::new();
    burst.push(pool.alloc_copy(bytes).unwrap());
    let buffer = burst[0].buffer();
    assert_eq!(far.tx[0].tx_burst(Nanos::ZERO, pool, &mut burst), 1);
    buffer
}

/// The buffer and bytes of the one frame that has arrived.
fn receive(far: &mut Port, pool: &mut PoolCache) -> (u32, Vec<u8>) {
    let mut burst = Burst::new();
    assert_eq!(far.rx[0].rx_burst(Nanos::ZERO, pool, &mut burst, 64), 1);
    let arrived = (burst[0].buffer(), pool.head(&burst[0]).to_vec());
    pool.free_all(&mut burst);
    arrived
}

#[test]
fn from_wire_to_wire() {
    let config = Config::parse(TEXT, "test.toml").unwrap();
    let mempool = Mempool::new(1024, Hugepages::Never).unwrap();
    let mut pool = mempool.cache();
    let (near, mut far, _plugs) = assembly::memory_ports(&config, 64);
    let mut switch = assembly::build(&config, near, &mempool, 1);

    // The station of the external network is heard behind the uplink; that floods, to blade 1 alone.
    let hello = tagged(MacAddr::BROADCAST, OUTSIDE, &[(0x8100, 10)], EtherType(0x88b6), &[]);
    send(&mut far[1], &mut pool, &hello);
    switch.settle(Nanos::ZERO);
    receive(&mut far[0], &mut pool);
    let before = switch.check_ledger().unwrap();

    // In.
    let bytes = frame(OUTSIDE, blade(1), EtherType(0x88b6), &[0x5a; 46]);
    let sent_buffer = send(&mut far[0], &mut pool, &bytes);
    let mut watcher = Watcher::default();
    switch.settle_observed(Nanos(1), &mut watcher);

    // Through.
    let phases: Vec<Phase> = watcher.steps.iter().map(|step| step.phase).collect();
    let expected: Vec<Phase> = Phase::ALL.into_iter().filter(|phase| !matches!(phase, Phase::Steer | Phase::Police)).collect();
    assert_eq!(phases, expected, "every phase once, in order; without rules nothing is steered, without rates nothing is policed");
    assert!(watcher.begun > 0);
    let [_receive, parse, admit, address, learn, resolve, rewrite, transmit, _send] = &watcher.steps[..] else {
        unreachable!("nine phases")
    };
    assert_eq!((parse.dst, parse.src, parse.payload), (OUTSIDE, blade(1), 14));
    assert_eq!(parse.verdict, None);
    assert!(admit.admitted && admit.plain && admit.tag == TagState::Untagged && admit.verdict.is_none());
    assert_eq!((address.dst, address.verdict), (OUTSIDE, None), "a frame for the switch itself would have another destination now");
    assert_eq!(learn.verdict, None);
    assert_eq!((resolve.verdict, resolve.retagged, resolve.readdressed), (Some(Verdict::Forward(PortId(1))), true, false));
    assert_eq!(rewrite.verdict, resolve.verdict);
    assert_eq!((transmit.dst, transmit.src), (OUTSIDE, blade(1)), "addresses are what they were");

    // Out: with the VLAN's tag, otherwise as it was, in the buffer it came in.
    let (buffer, arrived) = receive(&mut far[1], &mut pool);
    assert_eq!(arrived, [&bytes[..12], &[0x81, 0, 0, 10], &bytes[12..]].concat());
    assert_eq!(buffer, sent_buffer, "it was not copied");

    // Learned: (VLAN 10, blade 1) behind port 0.
    let request = switch.control.request_fdb();
    let records = (0..1000).find_map(|_| {
        switch.settle(Nanos(2));
        switch.control.fdb_records(request)
    });
    let entries: Vec<_> = records.unwrap().iter().map(|record| (record.vid.get(), record.mac, record.port)).collect();
    assert_eq!(entries, [(10, blade(1), PortId(0)), (10, OUTSIDE, PortId(1))]);

    // Counted.
    let after = switch.check_ledger().unwrap();
    assert_eq!((after.rx - before.rx, after.tx - before.tx), (1, 1));
    assert_eq!((after.copies, after.injected, after.dropped, after.punted, after.held), (before.copies, 0, 0, 0, 0));
    let (first, second) = (switch.control.port_counters(PortId(0)), switch.control.port_counters(PortId(1)));
    assert_eq!((first.rx, first.rx_bytes, first.queued_in), (1, 60, 1));
    assert_eq!((second.queued_out, second.tx, second.tx_bytes), (1, 1, 64));
    switch.flush_pools();
    pool.flush();
    assert_eq!(mempool.in_use(), 0);
}

/// A document that names functions must name those there are.
#[test]
fn the_document_names_functions_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/life-of-a-frame.md")).unwrap();
    let mut named = 0;
    for line in text.lines().filter(|line| line.ends_with(".rs` |")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [.., function, file] = &cells[..] else { panic!("{line}") };
        let (function, file) = (function.trim_matches('`'), file.trim_matches('`'));
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(source.contains(&format!("fn {function}(")) || source.contains(&format!("fn {function}<")), "{function} is not in {file}");
        named += 1;
    }
    assert!(named >= 18, "{named} functions");
}
