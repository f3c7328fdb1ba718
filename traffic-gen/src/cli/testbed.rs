//! What all methods have in common on the command line: the device under test, the trials, the report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use port::Nanos;

use super::page::{self, Run};
use super::progress::Progress;
use super::stop::Stop;
use super::{Common, Done, Failure, complain, print, print_json};
use crate::measure::LoopbackBias;
use crate::method::report::percent;
use crate::method::{Pattern, Report, Runner, Settings, TrialRow, Watch};
use crate::output;
use crate::testbed::factories;
use crate::testbed::interfaces::open_ports;
use crate::testbed::realtime::bias_of;
use crate::trial::{DutFactory, TestPort, Testbed, TestbedError, TrialProgress};

/// Trial time of `--quick` in real time and on the virtual clock.
const QUICK: [Nanos; 2] = [Nanos::from_secs(1), Nanos::from_millis(20)];

/// Arguments of all methods.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "testbed")]
pub struct Args {
    /// The device under test, where it is not between --port: model:NAME[,key=value…] (a device with a known limit), switch:CONFIG.toml
    /// (bladeswitch on the virtual clock), exec:"COMMAND" (any program that reads pcapng and writes pcapng). A wrong kind lists them all
    #[arg(long, value_name = "KIND:REST", required_unless_present = "ports", conflicts_with = "ports")]
    dut: Option<String>,
    /// A port of this machine that is wired to the device under test, and the rate of its line, as af_packet:eth1@1G or af_xdp:eth2@10G; again
    /// for each further one. In real time; what is between the ports is the device
    #[arg(short = 'i', long = "port", value_name = "SPEC@RATE")]
    ports: Vec<String>,
    /// Two ports joined by a cable, as --port: the tester's own part of every latency is measured through them [default: memory ports, which
    /// leaves out what drivers take]
    #[arg(long, value_name = "SPEC@RATE", num_args = 2)]
    loopback: Vec<String>,
    /// With --port: a frame that would leave later than this is not sent, and its trial is INVALID; a time with its unit
    #[arg(long, value_name = "TIME", default_value = "200us", value_parser = super::replay::span)]
    late_max: Nanos,
    /// Frame sizes in bytes with FCS, 64 to 9220 [default: 64,128,256,512,1024,1280,1518]
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = clap::value_parser!(u16).range(64..=9220))]
    sizes: Vec<u16>,
    /// Sending time of a trial in seconds [default: 60 in RFC 2544, 30 in RFC 2889]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    trial: Option<Nanos>,
    /// Time to wait for frames after the last one, in seconds
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds_or_none)]
    wait: Nanos,
    /// Time for the device to settle after each trial, in seconds
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds_or_none)]
    rest: Nanos,
    /// Trials of 1 s (20 ms on the virtual clock), fewer repeats, short waits: to see that it works. The result is NOT what the standard asks for
    #[arg(long)]
    quick: bool,
    /// Where a search for a load ends, in percent of the maximum
    #[arg(long, default_value = "0.1", value_name = "PERCENT", value_parser = share)]
    resolution: f64,
    /// Loss ratio in percent that a search takes for none
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = share_or_none)]
    loss_accepted: f64,
    /// Frames sent in a row at the smallest gap (RFC 2285 §3.4.2), 1 to 930
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=930))]
    burst_size: u32,
    /// Stations behind each port
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    addresses: u16,
    /// Do not let stations announce themselves before each trial
    #[arg(long)]
    no_learning: bool,
    /// Folder for the report as HTML, JSON, CSV and histograms (docs/results.md)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Who sends to whom.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "traffic-pattern")]
pub struct PatternArgs {
    /// Who sends to whom
    #[arg(long, value_enum, default_value_t = PatternName::Pairs)]
    pattern: PatternName,
    /// The one port of one-to-many and many-to-one [default: the last one]
    #[arg(long, value_name = "PORT")]
    one: Option<String>,
}

/// Patterns by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PatternName {
    /// Ports 1 and 2, 3 and 4 … send to each other
    Pairs,
    /// Port 1 sends to 2, 3 to 4 …
    PairsOneWay,
    /// Every port sends to all others in turn
    FullMesh,
    /// One port sends to all others in turn
    OneToMany,
    /// All others send to one port
    ManyToOne,
}

impl PatternArgs {
    /// The pattern on these ports.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn pattern(&self, ports: &[TestPort]) -> Result<Pattern, Failure> {
        let one = port_index(ports, self.one.as_deref())?;
        Ok(match self.pattern {
            PatternName::Pairs => Pattern::pairs(ports.len(), true),
            PatternName::PairsOneWay => Pattern::pairs(ports.len(), false),
            PatternName::FullMesh => Pattern::full_mesh(ports.len()),
            PatternName::OneToMany => Pattern::one_to_many(ports.len(), one),
            PatternName::ManyToOne => Pattern::many_to_one(ports.len(), one),
        })
    }
}

/// The index of the port of this name; without one, of the last port.
///
/// # Errors
/// If there is none.
pub fn port_index(ports: &[TestPort], name: Option<&str>) -> Result<usize, Failure> {
    let Some(name) = name else { return Ok(ports.len().saturating_sub(1)) };
    ports.iter().position(|port| port.name == name).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        Failure::input(format!("there is no port `{name}`: expected one of {}", names.join(", ")))
    })
}

/// Ports of this machine, as typed after `flag`.
fn open_cabled(flag: &str, ports: &[String], late_max: Nanos) -> Result<Box<dyn Testbed>, Failure> {
    let texts: Vec<&str> = ports.iter().map(String::as_str).collect();
    open_ports(&texts, late_max).map_err(|error| Failure::input(format!("{flag}: {error}")))
}

/// A method: what it does on a runner.
pub type Method<'a> = &'a mut dyn FnMut(&mut Runner<'_>) -> Result<Report, TestbedError>;

impl Args {
    /// Opens the device under test.
    ///
    /// # Errors
    /// If it cannot be: what was expected.
    pub fn open(&self, more: &[&dyn DutFactory]) -> Result<Box<dyn Testbed>, Failure> {
        let Some(dut) = &self.dut else {
            return open_cabled("--port", &self.ports, self.late_max);
        };
        let all: Vec<&dyn DutFactory> = factories().into_iter().chain(more.iter().copied()).collect();
        let usage = || all.iter().map(|factory| format!("\n  {}:{}", factory.kind(), factory.usage())).collect::<String>();
        let Some((kind, rest)) = dut.split_once(':') else {
            return Err(Failure::input(format!("--dut {dut}: expected KIND:REST, one of{}", usage())));
        };
        // A program that embeds the tester may have a better way to the same kind of device.
        let Some(factory) = all.iter().rev().find(|factory| factory.kind() == kind) else {
            return Err(Failure::input(format!("--dut {dut}: there is no kind `{kind}`, expected one of{}", usage())));
        };
        factory.open(rest).map_err(|error| Failure::input(format!("--dut {dut}: {error}")))
    }

    /// The tester's own part of every latency, in real time.
    fn bias(&self, testbed: &mut dyn Testbed) -> Result<Option<(LoopbackBias, &'static str)>, Failure> {
        if testbed.is_virtual() && !self.loopback.is_empty() {
            return Err(Failure::input("--loopback: the device is on the virtual clock, where the tester adds nothing to latencies"));
        }
        let (bias, through) = if self.loopback.is_empty() {
            (testbed.loopback_bias(), "memory ports")
        } else {
            (bias_of(open_cabled("--loopback", &self.loopback, self.late_max)?.as_mut()), "the ports of --loopback")
        };
        match bias {
            Ok(bias) => Ok(bias.map(|bias| (bias, through))),
            Err(error) => Err(Failure::other(format!("measuring the tester's own part of latencies: {error}"))),
        }
    }

    /// Is the result to be quick rather than right?
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// Were sizes typed?
    pub fn has_sizes(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// The settings of trials, of which `standard` has those that were not typed.
    pub fn settings(&self, standard: &Settings, is_virtual: bool) -> Settings {
        let quick = self.quick.then_some(QUICK[usize::from(is_virtual)]);
        let sizes = if self.sizes.is_empty() { standard.sizes.clone() } else { self.sizes.iter().map(|&size| size.into()).collect() };
        Settings {
            sizes,
            trial: self.trial.or(quick).unwrap_or(standard.trial),
            wait: if self.quick { Nanos::from_millis(200).min(self.wait) } else { self.wait },
            rest: if self.quick { Nanos::from_millis(200).min(self.rest) } else { self.rest },
            learning: !self.no_learning,
            addresses: self.addresses,
            burst: self.burst_size,
            resolution: self.resolution,
            loss_accepted: self.loss_accepted,
            ..standard.clone()
        }
    }

    /// Runs a method and prints its report. After Ctrl-C the report has the trials that were done.
    ///
    /// # Errors
    /// If the device cannot be tested or the report not be written.
    pub fn run(&self, common: &Common, testbed: &mut dyn Testbed, settings: Settings, name: &str, method: Method<'_>) -> Done {
        if self.quick {
            complain("warning", "--quick: the trials are shorter than the standard asks for; this is NOT a result by the standard");
        }
        let stop = Stop::on_signals()?;
        let (started, is_virtual, trial) = (SystemTime::now(), testbed.is_virtual(), settings.trial);
        let bias = self.bias(testbed)?;
        let mut watch = Console { stop, progress: None, header: false };
        let mut runner = Runner::new(testbed, settings, &mut watch);
        let mut report = match method(&mut runner) {
            Ok(report) => report,
            Err(TestbedError::Interrupted) => {
                let mut report = Report::new(&format!("{name}, interrupted"), "no result: the trials that were done are below");
                report.take_trials(&mut runner.rows);
                report.notes.push("interrupted".to_owned());
                report
            }
            Err(error @ (TestbedError::Setup(_) | TestbedError::Unsupported(_))) => return Err(Failure::input(error)),
            Err(error @ TestbedError::System { .. }) => return Err(Failure::other(error)),
        };
        if let Some((bias, through)) = bias {
            report.set("tester's own part of latency", format!("{}, looped back through {through}; not taken off", bias.text()));
            report.bias = Some(bias);
        }
        if self.quick {
            report.notes.push("--quick: trials shorter than the standard asks for; NOT a result by the standard".to_owned());
        }
        if let Some(dir) = &self.report {
            let run = Run {
                command: name,
                started,
                is_virtual,
                quick: self.quick,
                interrupted: report.notes.iter().any(|note| note == "interrupted"),
                trial,
            };
            write(&page::report(&report, &run), dir)?;
        }
        let interrupted = report.notes.iter().any(|note| note == "interrupted");
        let valid = report.trials.iter().all(|trial| trial.invalid.is_empty());
        if common.json {
            print_json(&report)?
        } else {
            print(&report.text())?
        }
        Ok(if valid && !interrupted { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

pub(super) fn write(page: &output::Report, dir: &Path) -> Result<(), Failure> {
    for path in output::write_all(page, dir).map_err(Failure::other)? {
        complain("written", path.display());
    }
    Ok(())
}

/// Shows progress and the trial table on stderr, and listens for Ctrl-C.
struct Console {
    stop: Stop,
    progress: Option<Progress>,
    header: bool,
}

impl Watch for Console {
    fn begins(&mut self, number: usize, what: &str, length: Nanos) {
        let progress = Progress::new(Some(length.0 / 1_000_000), "ms");
        progress.say(format!("trial {number}: {what}"));
        self.progress = Some(progress);
    }

    fn progress(&mut self, progress: TrialProgress) -> bool {
        if let Some(shown) = &self.progress {
            shown.set(progress.elapsed.0 / 1_000_000);
        }
        !self.stop.asked()
    }

    fn ends(&mut self, row: &TrialRow) {
        self.progress = None;
        let mut err = std::io::stderr().lock();
        use std::io::Write as _;
        if !std::mem::replace(&mut self.header, true) {
            let _ = writeln!(err, "trial  size   load %  offered/s     forwarded/s   lost          loss %   P50 µs     P99.9 µs   for");
        }
        let loss = if row.expected == 0 { 0.0 } else { row.lost as f64 / row.expected as f64 };
        let latency = |place: usize| row.latency_ns.map_or("-".to_owned(), |all| format!("{:.3}", all[place] as f64 / 1000.0));
        let invalid = if row.invalid.is_empty() { String::new() } else { format!(" INVALID: {}", row.invalid.join("; ")) };
        let _ = writeln!(
            err,
            "{:>5}  {:>4}  {:>7.3}  {:<12.0}  {:<12.0}  {:<12}  {:<7}  {:<9}  {:<9}  {}{invalid}",
            row.number,
            row.size,
            row.load_percent,
            row.offered_fps,
            row.forwarded_fps,
            row.lost,
            percent(loss),
            latency(1),
            latency(3),
            row.what,
        );
    }

    fn says(&mut self, text: &str) {
        complain("note", text);
    }
}

/// Seconds above 0, to the nanosecond.
///
/// # Errors
/// What was expected.
pub fn seconds(text: &str) -> Result<Nanos, String> {
    match seconds_or_none(text)? {
        Nanos::ZERO => Err("expected more than 0 seconds".to_owned()),
        span => Ok(span),
    }
}

/// Seconds, also none.
///
/// # Errors
/// What was expected.
pub fn seconds_or_none(text: &str) -> Result<Nanos, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e7).contains(&seconds) => Ok(Nanos((seconds * 1e9).round() as u64)),
        _ => Err("expected seconds from 0 to 10,000,000, as 60 or 0.5".to_owned()),
    }
}

/// Percent above 0 and up to 100, as a share.
///
/// # Errors
/// What was expected.
pub fn share(text: &str) -> Result<f64, String> {
    match share_or_none(text)? {
        0.0 => Err("expected more than 0 percent".to_owned()),
        share => Ok(share),
    }
}

/// Percent from 0 to 100, as a share.
///
/// # Errors
/// What was expected.
pub fn share_or_none(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("expected percent from 0 to 100, as 50 or 0.1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_limits() {
        assert_eq!(seconds("0.5"), Ok(Nanos::from_millis(500)));
        for wrong in ["0", "-1", "nan", "1e99", "", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!((share("50"), share_or_none("0")), (Ok(0.5), Ok(0.0)));
        for wrong in ["0", "101", "-1", "nan", "x"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
