//! What one run of the chassis measured: plain data, filled by the scenario, and the few figures that follow from it.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use traffic_gen::measure::LoopbackBias;
use traffic_gen::output::numbers::{count, ratio};
use traffic_gen::output::plots::LatencyTick;
use traffic_gen::output::{Distribution, Machine, Rate, Section, Setting, Summary, Warning};

/// Everything the report of one run says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChassisReport {
    /// Headline of the page, for example `16 blades at 1G, uplink at 10G`.
    pub title: String,
    /// The command that repeats the run, as typed.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Seed of all chance in the run.
    pub seed: u64,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// What was configured, in the order to be shown.
    pub config: Vec<Setting>,
    /// Length of the measured part in seconds.
    pub duration_s: f64,
    /// One row per port, in the order to be shown.
    pub ports: Vec<PortRow>,
    /// Latency per direction of traffic, in the order to be shown.
    pub directions: Vec<Direction>,
    /// From what to what latency was measured, in a few words; empty when it was not.
    pub latency_method: String,
    /// The run cut into intervals, in order of time.
    pub timeline: Vec<Tick>,
    /// The switch's own account of all frames.
    pub ledger: LedgerLine,
    /// How well the generator kept its plan.
    pub generator: GeneratorQuality,
    /// Time in ns for a cache line to travel between the generator's and the switch's core, measured in this run;
    /// `None` when one core does both.
    pub line_transfer_ns: Option<f64>,
    /// What a reader has to know before believing the numbers.
    pub warnings: Vec<Warning>,
    /// The bus of the backplane: as `show bus` has it, and the comparison of buses on the virtual clock. `Null` if none was asked for.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub bus: serde_json::Value,
    /// The same for people: sections that come after the others.
    #[serde(skip)]
    pub bus_sections: Vec<Section>,
}

/// One port of the switch and what the generator did with it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PortRow {
    /// Name as in the configuration.
    pub name: String,
    /// What hangs on it: `blade`, `uplink`.
    pub role: String,
    /// Line rate in bits a second.
    pub speed_bps: u64,
    /// Frames the plan asked the generator to send into the switch from this port.
    pub offered: u64,
    /// Frames it did send: the switch's RX.
    pub sent: u64,
    /// Frames that came out of the switch on this port: its TX.
    pub received: u64,
    /// Frames that should have come out of this port and did not; a flooded frame is due on each port it floods to.
    pub lost: u64,
    /// Drops the switch counted at this port, by reason: of frames that came in here or, with full queues, would have left here.
    pub drops: BTreeMap<String, u64>,
    /// Rate the plan asked for.
    pub offered_rate: Rate,
    /// Rate into the switch.
    pub rx: Rate,
    /// Rate out of the switch.
    pub tx: Rate,
}

impl PortRow {
    /// Lost share of the frames due on this port, 0.0 when none were.
    pub fn loss_ratio(&self) -> f64 {
        ratio(self.lost, self.received.saturating_add(self.lost))
    }
}

/// The ports added up.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Frames the plan asked for.
    pub offered: u64,
    /// Frames into the switch.
    pub sent: u64,
    /// Frames out of the switch.
    pub received: u64,
    /// Frames that did not come out where they should have.
    pub lost: u64,
    /// `lost / (received + lost)`, 0.0 when nothing was due.
    pub loss_ratio: f64,
    /// Rate the plan asked for.
    pub offered_rate: Rate,
    /// Rate into the switch.
    pub rx: Rate,
    /// Rate out of the switch: the throughput.
    pub tx: Rate,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Latency of the frames of one direction.
#[derive(Debug, Clone)]
pub struct Direction {
    /// For example `blade→uplink`.
    pub name: String,
    /// Samples in ns.
    pub histogram: Histogram<u64>,
    /// One frame in so many was stamped; 1 means every frame.
    pub sampling: u64,
}

/// One interval of the run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tick {
    /// End of the interval, seconds after the start of the measurement.
    pub t_s: f64,
    /// Million frames a second out of the switch.
    pub mpps: f64,
    /// Gb/s out of the switch, L1.
    pub gbps_l1: f64,
    /// Frames found lost in this interval.
    pub lost: u64,
    /// Latency per direction, in the order of [`ChassisReport::directions`]; `None` where there was no sample.
    pub latency: Vec<Option<LatencyTick>>,
}

/// The switch's account of every frame: `rx + copies + injected = tx + dropped + punted + held`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// Frames received by the switch.
    pub rx: u64,
    /// Additional copies made by flooding.
    pub copies: u64,
    /// Frames that control put in.
    pub injected: u64,
    /// Frames sent by the switch.
    pub tx: u64,
    /// Frames dropped, all reasons.
    pub dropped: u64,
    /// Frames handed to control.
    pub punted: u64,
    /// Frames still inside.
    pub held: u64,
}

impl LedgerLine {
    /// What came in, less what is accounted for: 0 when it balances, positive when frames vanished.
    pub fn difference(&self) -> i128 {
        let sum = |parts: &[u64]| parts.iter().map(|part| i128::from(*part)).sum::<i128>();
        sum(&[self.rx, self.copies, self.injected]) - sum(&[self.tx, self.dropped, self.punted, self.held])
    }

    /// Whether every frame is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.difference() == 0
    }

    /// `balanced`, or by how much it is not.
    pub(super) fn verdict(&self) -> String {
        match self.difference() {
            0 => "balanced".to_owned(),
            vanished @ 1.. => format!("NOT BALANCED ({vanished} vanished)"),
            too_many => format!("NOT BALANCED ({} too many)", too_many.unsigned_abs()),
        }
    }

    pub(super) fn left(&self) -> String {
        format!("rx {} + copies {} + injected {}", count(self.rx), count(self.copies), count(self.injected))
    }

    pub(super) fn right(&self) -> String {
        let [tx, dropped, punted, held] = [self.tx, self.dropped, self.punted, self.held].map(count);
        format!("tx {tx} + dropped {dropped} + punted {punted} + held {held}")
    }
}

/// `balanced  rx 123 + copies 4 + injected 0 = tx 120 + dropped 7 + punted 0 + held 0`
impl fmt::Display for LedgerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {} = {}", self.verdict(), self.left(), self.right())
    }
}

/// How well the generator kept its plan.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GeneratorQuality {
    /// Rate of the plan, all ports.
    pub asked_pps: f64,
    /// Rate that was sent.
    pub achieved_pps: f64,
    /// Median of actual less planned departure, ns.
    pub lateness_p50_ns: u64,
    /// 99th percentile of it, ns.
    pub lateness_p99_ns: u64,
    /// Largest, ns.
    pub lateness_max_ns: u64,
    /// Whether the load that was asked for was offered; if not, the run says less than it seems to.
    pub valid: bool,
    /// Its own part of every latency, from frames looped back past the switch; `None` if it was not measured.
    pub bias: Option<LoopbackBias>,
}

impl GeneratorQuality {
    /// `(achieved - asked) / asked` in millionths; `None` when nothing was asked.
    pub fn rate_error_ppm(&self) -> Option<f64> {
        (self.asked_pps > 0.0).then(|| (self.achieved_pps - self.asked_pps) / self.asked_pps * 1e6)
    }
}

impl Direction {
    /// A direction whose frames were stamped one in `sampling` (0 is taken as 1).
    pub fn new(name: impl Into<String>, histogram: Histogram<u64>, sampling: u64) -> Self {
        Self { name: name.into(), histogram, sampling: sampling.max(1) }
    }

    /// Count of samples.
    pub fn samples(&self) -> u64 {
        self.histogram.len()
    }

    /// The direction in a few figures.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.histogram)
    }
}

impl ChassisReport {
    /// The ports added up.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for port in &self.ports {
            totals.offered = totals.offered.saturating_add(port.offered);
            totals.sent = totals.sent.saturating_add(port.sent);
            totals.received = totals.received.saturating_add(port.received);
            totals.lost = totals.lost.saturating_add(port.lost);
            totals.offered_rate.add(&port.offered_rate);
            totals.rx.add(&port.rx);
            totals.tx.add(&port.tx);
            for (reason, n) in &port.drops {
                let total = totals.drops.entry(reason.clone()).or_default();
                *total = total.saturating_add(*n);
            }
        }
        totals.loss_ratio = ratio(totals.lost, totals.received.saturating_add(totals.lost));
        totals
    }

    /// What gets a histogram file of its own.
    pub(super) fn distributions(&self) -> Vec<Distribution> {
        self.directions.iter().map(|direction| Distribution::new(&direction.name, direction.histogram.clone())).collect()
    }

    /// All directions in one histogram of ns.
    ///
    /// Where directions were sampled at different ratios, each sample counts for the frames it stands for, or the
    /// densely sampled direction would speak for all.
    pub fn merged_histogram(&self) -> Histogram<u64> {
        let digits = self.directions.iter().map(|d| d.histogram.sigfig()).max().unwrap_or(3);
        let high = self.directions.iter().map(|d| d.histogram.high()).max().unwrap_or(0).max(2);
        let mut merged = Histogram::new_with_max(high, digits).expect("digits and bound come from histograms, or are the smallest");
        let same_ratio = self.directions.windows(2).all(|pair| pair[0].sampling == pair[1].sampling);
        for direction in &self.directions {
            let weight = if same_ratio { 1 } else { direction.sampling.max(1) };
            for recorded in direction.histogram.iter_recorded() {
                merged.saturating_record_n(recorded.value_iterated_to(), recorded.count_at_value().saturating_mul(weight));
            }
        }
        merged
    }

    /// Adds the warnings that follow from the numbers themselves: no load, a generator below its rate, loss, an unbalanced
    /// ledger, sampled latency, directions without samples, a governor that saves power.
    ///
    /// The scenario adds those that only it can know (cores, hugepages, near or far phase, preemption). Call it once.
    pub fn add_derived_warnings(&mut self) {
        let totals = self.totals();
        let mut derived = Vec::new();
        if totals.sent == 0 {
            derived.push(Warning::NothingSent);
        } else if !self.generator.valid {
            let (asked_pps, achieved_pps) = (self.generator.asked_pps, self.generator.achieved_pps);
            derived.push(Warning::GeneratorBelowRate { asked_pps, achieved_pps });
        }
        if !self.ledger.is_balanced() {
            derived.push(Warning::LedgerNotBalanced { difference: self.ledger.difference() });
        }
        if totals.lost > 0 {
            derived.push(Warning::FramesLost { lost: totals.lost, due: totals.received.saturating_add(totals.lost) });
        }
        if let Some(governor) = self.machine.governor.as_ref().filter(|governor| *governor != "performance") {
            derived.push(Warning::GovernorNotPerformance { governor: governor.clone() });
        }
        if let Some(one_in) = self.directions.iter().map(|d| d.sampling).max().filter(|one_in| *one_in > 1) {
            derived.push(Warning::LatencySampled { one_in });
        }
        for direction in self.directions.iter().filter(|d| d.samples() == 0) {
            derived.push(Warning::NoLatency { direction: direction.name.clone() });
        }
        // What spoils a number outright comes before what merely colours it.
        self.warnings.splice(0..0, derived);
    }
}
