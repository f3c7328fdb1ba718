//! `bench pacing`: how exactly the generator sends, seen by a receiver; and how exactly tcpreplay does, on the same veth pair.
//!
//! A generator can say of itself when it *wanted* a frame to leave and when it handed it over. What a device sees is another matter, so
//! here a receiver stamps every frame: between memory ports a second core with the TSC, on a veth pair the kernel, for whoever sends.
//! From the stamps follow, frame by frame, the time since the frame before less what was planned, and how late each frame was.
//!
//! - [`course`]: what is sent, and the plan of it; [`judge`]: what the stamps say;
//! - [`memory`], [`veth`]: the two places; [`report`]: tables, plots, JSON.
//!
//! All senders of a place take turns in every round and the order turns too, so that a bad phase of the machine hits all of them.
//!
//! Limits: stamps of the second core contain the time of a cache line between cores and the length of a turn of the receiver's loop, which is
//! printed; stamps of the kernel contain its own path. The two are not to be compared with each other, nor with those of a card.

pub mod course;
pub mod judge;
pub mod memory;
pub mod report;
pub mod veth;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use port::clock::TscClock;
use traffic_gen::output::Report;

use course::{Course, Load};
use judge::Run;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Rates of the line and sizes in bytes with FCS
    #[arg(long = "loads", value_delimiter = ',', default_value = "1G:64,1G:512,1G:1518,10G:64,10G:1518", value_name = "RATE:SIZE")]
    pub loads: Vec<Load>,
    /// Share of the line to send at, in percent
    #[arg(long, default_value = "100", value_name = "PERCENT", value_parser = percent)]
    pub percent: traffic_gen::replay::ratio::Ratio,
    /// Frames of each run
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub frames: u32,
    /// Times that each sender sends each load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Where to measure [default: both; veth only as root]
    #[arg(long = "on", value_enum, value_delimiter = ',')]
    pub places: Vec<Place>,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Folder for the report as a page with plots, JSON and CSV
    #[arg(long, default_value = "target/report", value_name = "DIR")]
    pub report: PathBuf,
}

fn percent(text: &str) -> Result<traffic_gen::replay::ratio::Ratio, String> {
    let ratio: traffic_gen::replay::ratio::Ratio = text.parse().map_err(|error| format!("{error}"))?;
    if ratio.num <= ratio.den.saturating_mul(100) { Ok(ratio) } else { Err("expected a share of the line up to 100 percent".to_owned()) }
}

/// Between which ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// Memory ports of this process, the receiver on a second core
    Memory,
    /// A veth pair in a network namespace of its own, stamped by the kernel
    Veth,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// `traffic-gen replay` out of a memory port.
    Memory,
    /// The same out of a packet socket.
    AfPacket,
    /// The same out of an AF_XDP socket.
    AfXdp,
    /// `tcpreplay` by the times of the capture.
    TcpreplayCapture,
    /// `tcpreplay --pps`.
    TcpreplayPps,
}

impl Sender {
    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Sender::Memory => "replay, memory port",
            Sender::AfPacket => "replay, af_packet",
            Sender::AfXdp => "replay, af_xdp",
            Sender::TcpreplayCapture => "tcpreplay, capture's times",
            Sender::TcpreplayPps => "tcpreplay --pps",
        }
    }

    /// Is it ours?
    pub const fn is_ours(self) -> bool {
        matches!(self, Sender::Memory | Sender::AfPacket | Sender::AfXdp)
    }
}

/// What the runs of one sender at one load came to.
#[derive(Debug)]
pub struct Series {
    /// The load.
    pub load: Load,
    /// Time between frames by the plan, in ns.
    pub period_ns: f64,
    /// Who sent.
    pub sender: Sender,
    /// What each round came to, or why there was nothing.
    pub rounds: Vec<Result<Run, String>>,
}

/// Everything that was measured, and what must be said of it.
#[derive(Debug, Default)]
pub struct Measured {
    /// By load and sender.
    pub series: Vec<Series>,
    /// Places and senders that were left out, and why.
    pub left_out: Vec<String>,
    /// The longest time between two looks of the receiver on memory ports, ns.
    pub look_max_ns: u64,
    /// The cores of sender and receiver; `None`: one core has to do.
    pub cores: Option<(usize, usize)>,
}

/// Measures and reports.
///
/// # Errors
/// If nothing can be set up. A busy machine is not an error: the report says it.
pub fn run(args: &Args) -> Result<Report, String> {
    let (started, began) = (std::time::SystemTime::now(), Instant::now());
    let clock = TscClock::new();
    let measured = measure(args, &clock)?;
    let mut report = report::report(args, &measured, &clock);
    report.set_started(started);
    report.duration_s = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Measures; what cannot be done here is in [`Measured::left_out`].
///
/// # Errors
/// If nothing can be set up.
pub fn measure(args: &Args, clock: &TscClock) -> Result<Measured, String> {
    let ids: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    // The first core often takes the machine's interrupts: the sender gets the last one.
    let cores = (ids.len() > 1).then(|| (ids[ids.len() - 1], ids[0]));
    let mut measured = Measured { cores, ..Measured::default() };
    let wanted = |place| args.places.is_empty() || args.places.contains(&place);
    if wanted(Place::Memory) {
        each_load(args, &[Sender::Memory], &mut measured.series, &mut |_, course| {
            let (run, look_max_ns) = memory::run(course, clock, cores)?;
            measured.look_max_ns = measured.look_max_ns.max(look_max_ns);
            Ok(run)
        })?;
    }
    if wanted(Place::Veth) {
        match veth::Veth::new() {
            Ok(veth) => {
                let (senders, missing) = veth.senders();
                measured.left_out.extend(missing);
                each_load(args, &senders, &mut measured.series, &mut |sender, course| veth.run(sender, course, clock, cores))?;
            }
            // Asked for by name, it must be there.
            Err(why) if args.places.contains(&Place::Veth) => return Err(why),
            Err(why) => measured.left_out.push(why),
        }
    }
    Ok(measured)
}

type OneRun<'a> = &'a mut dyn FnMut(Sender, &Course) -> Result<Run, String>;

/// All senders in turn, round by round, load by load.
fn each_load(args: &Args, senders: &[Sender], series: &mut Vec<Series>, run: OneRun<'_>) -> Result<(), String> {
    for &load in &args.loads {
        let course = Course::new(load, args.percent, args.frames)?;
        let mut rounds: Vec<Vec<Result<Run, String>>> = senders.iter().map(|_| Vec::new()).collect();
        for round in 0..args.rounds as usize {
            for turn in 0..senders.len() {
                let who = (round + turn) % senders.len();
                rounds[who].push(run(senders[who], &course));
            }
        }
        let of = |(&sender, rounds)| Series { load, period_ns: course.period_ns(), sender, rounds };
        series.extend(senders.iter().zip(rounds).map(of));
    }
    Ok(())
}
