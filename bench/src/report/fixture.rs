//! A report with made-up numbers: what the tests render and the example shows. The numbers fit each other; they were measured nowhere.

use crate::report::*;
use hdrhistogram::Histogram;

/// Mean of the IMIX 64:7, 570:4, 1518:1, rounded.
const FRAME_BYTES: u64 = 354;

/// `blades` blades at 1G and an uplink at 10G, five seconds, some loss into the uplink, a stall in the third second.
pub fn report(blades: u64) -> ChassisReport {
    let seconds = 5.0;
    let mut chance = Chance(7);
    let ports = (1..=blades).map(|slot| blade(slot, seconds)).chain([uplink(blades, seconds)]).collect::<Vec<_>>();
    let directions = vec![
        Direction::new("blade→blade", latencies(&mut chance, 400_000, 2_100), 16),
        Direction::new("blade→uplink", latencies(&mut chance, 250_000, 5_400), 16),
        Direction::new("uplink→blade", latencies(&mut chance, 300_000, 3_000), 16),
    ];
    let mut report = ChassisReport {
        title: format!("Chassis: {blades} blades at 1G, uplink at 10G"),
        command: format!("bench chassis --blades {blades} --sizes imix --duration 5"),
        machine: Machine {
            cpu: "Example CPU @ 2.60GHz".to_owned(),
            cores: 2,
            isolated: "1".to_owned(),
            tsc_hz: 2_614_000_000,
            kernel: "6.1.0".to_owned(),
            hugepages: "none, 4 KiB pages".to_owned(),
            governor: Some("powersave".to_owned()),
            version: "0.1.0".to_owned(),
            commit: Some("0123abcd".to_owned()),
            line_transfer_ns: None,
        },
        seed: 42,
        started: "2026-01-02T03:04:05Z".to_owned(),
        config: vec![Setting::new("blades", blades), Setting::new("sizes", "IMIX 64:7, 570:4, 1518:1"), Setting::new("workers", 1)],
        duration_s: seconds,
        ledger: LedgerLine::default(),
        generator: GeneratorQuality {
            asked_pps: 0.0,
            achieved_pps: 0.0,
            lateness_p50_ns: 85,
            lateness_p99_ns: 1_420,
            lateness_max_ns: 61_200,
            valid: false,
            bias: Some(traffic_gen::measure::LoopbackBias { frames: 1_000, min_ns: 90, p50_ns: 120, p999_ns: 400, max_ns: 9_000 }),
        },
        latency_method: "from planned departure to arrival of the last bit".to_owned(),
        timeline: timeline(&mut chance, directions.len()),
        line_transfer_ns: Some(243.0),
        ports,
        directions,
        warnings: vec![
            Warning::NoHugepages,
            Warning::CoresFar { line_transfer_ns: 243.0 },
            Warning::Preempted { thread: "switch worker 0".to_owned(), gap_max_ns: 36_102_000 },
        ],
        bus: serde_json::Value::Null,
        bus_sections: Vec::new(),
    };
    let totals = report.totals();
    report.generator.asked_pps = totals.offered_rate.pps;
    report.generator.achieved_pps = totals.rx.pps;
    let (copies, punted, dropped) = (1_234, 16, totals.drops.values().sum::<u64>());
    let tx = totals.sent + copies - dropped - punted;
    report.ledger = LedgerLine { rx: totals.sent, copies, injected: 0, tx, dropped, punted, held: 0 };
    // What the blades did not get, the uplink did.
    if let Some(uplink) = report.ports.last_mut() {
        uplink.received = tx - totals.received;
        uplink.tx = Rate::over(uplink.received, uplink.received * FRAME_BYTES, seconds);
    }
    report.add_derived_warnings();
    report
}

fn blade(slot: u64, seconds: f64) -> PortRow {
    let (offered, bytes) = (1_671_870, FRAME_BYTES);
    let sent = offered - slot * 300;
    let tx_full = if slot.is_multiple_of(3) { slot * 812 } else { 0 };
    let vlan_ingress = slot % 2;
    let received = sent - slot * 500;
    PortRow {
        name: format!("blade{slot}"),
        role: "blade".to_owned(),
        speed_bps: 1_000_000_000,
        offered,
        sent,
        received,
        lost: tx_full + vlan_ingress,
        drops: [("tx_full".to_owned(), tx_full), ("vlan_ingress".to_owned(), vlan_ingress)].into(),
        offered_rate: Rate::over(offered, offered * bytes, seconds),
        rx: Rate::over(sent, sent * bytes, seconds),
        tx: Rate::over(received, received * bytes, seconds),
    }
}

fn uplink(blades: u64, seconds: f64) -> PortRow {
    let (offered, bytes) = (blades.min(10) * 1_671_870, FRAME_BYTES);
    let sent = offered - offered / 20;
    PortRow {
        name: "uplink".to_owned(),
        role: "uplink".to_owned(),
        speed_bps: 10_000_000_000,
        offered,
        sent,
        offered_rate: Rate::over(offered, offered * bytes, seconds),
        rx: Rate::over(sent, sent * bytes, seconds),
        ..PortRow::default()
    }
}

fn timeline(chance: &mut Chance, directions: usize) -> Vec<Tick> {
    let tick = |i: u64| {
        let stalled = (26..=28).contains(&i);
        let noise = chance.below(60) as f64 / 100.0;
        let latency = (0..directions as u64)
            .map(|d| {
                let p50_ns = 2_000 + d * 1_500 + chance.below(300);
                let p99_ns = p50_ns * 3 + chance.below(3_000);
                let max_ns = if stalled { 4_000_000 + chance.below(9_000_000) } else { p99_ns + chance.below(40_000) };
                Some(LatencyTick { p50_ns, p99_ns, max_ns })
            })
            .collect();
        Tick {
            t_s: (i + 1) as f64 / 10.0,
            mpps: if stalled { 4.1 + noise } else { 8.3 + noise },
            gbps_l1: if stalled { 12.1 + noise } else { 24.7 + noise },
            lost: if stalled { 9_000 + chance.below(4_000) } else { 0 },
            latency,
        }
    };
    (0..50).map(tick).collect()
}

/// A body around `typical_ns`, a tail that gets ten times rarer with each doubling, and a few stalls.
fn latencies(chance: &mut Chance, samples: u64, typical_ns: u64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds are in order");
    for i in 0..samples {
        let mut ns = typical_ns / 2 + chance.below(typical_ns);
        while chance.below(10) == 0 {
            ns = ns * 2 + chance.below(500);
        }
        if i % 90_000 == 89_999 {
            ns = 4_000_000 + chance.below(32_000_000);
        }
        histogram.saturating_record(ns);
    }
    histogram
}

/// A linear congruential generator (Knuth, MMIX): the same numbers everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
