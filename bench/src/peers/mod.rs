//! `bench peers`: this switch and others on the same ground, in the same run, behind the same generator.
//!
//! Peers that are installed are found ([`who`]), started with folders of their own ([`process`], [`ovs`], [`vpp`], [`testpmd`]), take turns with
//! us round by round, the order turning too ([`visit`]), and end in one report ([`report`]): medians with spread, ratios taken within a round, what
//! was lost and learned, each command. A peer that is missing is named with the line that installs it.
//!
//! Grounds: the path alone, source and sink in the same process (cycles); memif between two processes; veth pairs of the kernel; and
//! generators by themselves. On memif and veth pairs the generator is that of [`crate::ports::traffic`], which checks what comes back.
//!
//! Limits: inside a process each has the source that it brings, which is not the same for all; where the source's part can be told, it stands
//! beside. Rates are the most that is forwarded under overload, not the throughput of RFC 2544. Two cores; with one, everybody shares it and the
//! report says so. Peers run without huge pages where none are free.

pub mod ovs;
pub mod process;
pub mod report;
pub mod testpmd;
pub mod visit;
pub mod vpp;
pub mod who;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use port::clock::TscClock;
use traffic_gen::output::Report;

use crate::machine;
use crate::ports::site::{Folder, Veths};
use visit::{Visit, Work};
pub use who::{Ground, Peer, Who};

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where [default: everywhere]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub grounds: Vec<Ground>,
    /// Who; bladeswitch always takes part [default: all that are installed]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub peers: Vec<Peer>,
    /// Sizes of frames in bytes without FCS (inside a process always 60)
    #[arg(long, value_delimiter = ',', default_value = "60", value_parser = clap::value_parser!(u16).range(60..=1514))]
    pub sizes: Vec<u16>,
    /// Stations on each side
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000,10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub addresses: Vec<u32>,
    /// Times that each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Length of each run in seconds
    #[arg(long, default_value = "1", value_parser = crate::ports::seconds)]
    pub duration: f64,
    /// Latency, too: at 10, 50 and 90 % of our throughput on memif, beside the fastest peer there that learns
    #[arg(long)]
    pub latency: bool,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Folder for the report as a page with plots, JSON and CSV
    #[arg(long, default_value = "target/report", value_name = "DIR")]
    pub report: PathBuf,
}

/// What all turns have in common.
pub struct Site<'a> {
    /// Numbers of stations on each side, in order.
    pub addresses: Vec<u32>,
    /// Sizes of frames without FCS.
    pub sizes: Vec<u16>,
    /// Of each run.
    pub duration: Duration,
    /// The clock of all figures.
    pub clock: &'a TscClock,
    /// Cores of generator and device; `None`: one has to do.
    pub cores: Option<(usize, usize)>,
    /// Set when we are to stop.
    pub stop: &'a AtomicBool,
    /// For sockets, captures and the folders of peers.
    pub folder: Folder,
    veths: Result<Veths, String>,
}

impl Site<'_> {
    /// The veth pairs, whose namespace is also where peers live that make interfaces.
    ///
    /// # Errors
    /// Why there are none.
    pub fn veths(&self) -> Result<&Veths, String> {
        self.veths.as_ref().map_err(Clone::clone)
    }

    /// The most stations on a side.
    pub fn addresses_max(&self) -> u32 {
        self.addresses.last().copied().unwrap_or(1)
    }

    /// The size with which latency is taken.
    pub fn smallest(&self) -> u16 {
        self.sizes.first().copied().unwrap_or(60)
    }

    /// Are so many MB of huge pages free?
    pub fn has_hugepages(&self, megabytes: u64) -> bool {
        free_hugepages_kb(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()) >= megabytes * 1024
    }

    /// # Errors
    /// If we are to stop.
    fn check_stop(&self) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) { Err("interrupted".to_owned()) } else { Ok(()) }
    }
}

/// Huge pages of the default size that nobody has taken.
fn free_hugepages_kb(meminfo: &str) -> u64 {
    let number = |name: &str| meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    number("HugePages_Free:").unwrap_or(0) * number("Hugepagesize:").unwrap_or(0)
}

/// All turns of a contestant.
#[derive(Debug)]
pub struct Series {
    /// Whose.
    pub who: Who,
    /// By round: what was measured, or why nothing was.
    pub rounds: Vec<Result<Visit, String>>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// By contestant, those of a ground together, ours first.
    pub series: Vec<Series>,
    /// Ours and the best peer on memif at shares of our throughput.
    pub latency: Vec<Series>,
    /// Our throughput that shares are of, in frames a second.
    pub latency_pps: Option<f64>,
    /// Who was left out, and why.
    pub left_out: Vec<String>,
    /// Cores of generator and device.
    pub cores: Option<(usize, usize)>,
    /// Time for a cache line between them, in ns.
    pub line_transfer_ns: Option<f64>,
    /// Were there huge pages for peers?
    pub hugepages: bool,
}

/// Measures and reports. Ctrl-C ends it, and what was started or made is removed.
///
/// # Errors
/// If nothing can be set up, or it is interrupted. A busy machine and missing peers are not errors: the report says them.
pub fn run(args: &Args) -> Result<Report, String> {
    let clock = TscClock::new();
    crate::ports::interruptible(|stop| Ok(report::report(args, &measure(args, &clock, stop)?, &clock)))
}

/// Measures; who cannot take part is in [`Measured::left_out`].
///
/// # Errors
/// There is no folder to be had.
pub fn measure(args: &Args, clock: &TscClock, stop: &AtomicBool) -> Result<Measured, String> {
    let ids: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let cores = (ids.len() > 1).then(|| (ids[0], ids[ids.len() - 1]));
    let (mut addresses, mut sizes) = (args.addresses.clone(), args.sizes.clone());
    addresses.sort_unstable();
    addresses.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    let duration = Duration::from_secs_f64(args.duration);
    let site = Site { addresses, sizes, duration, clock, cores, stop, folder: Folder::new()?, veths: Veths::new() };
    let line_transfer_ns = cores.and_then(|(a, b)| machine::line_transfer_ns(clock, a, b));
    let mut measured = Measured { cores, line_transfer_ns, hugepages: site.has_hugepages(1024), ..Measured::default() };
    for ground in Ground::ALL.into_iter().filter(|ground| args.grounds.is_empty() || args.grounds.contains(ground)) {
        let (here, left_out) = contestants(args, ground, &site);
        for why in left_out {
            // Once for all that a missing program would have taken part in.
            if !measured.left_out.contains(&why) {
                measured.left_out.push(why);
            }
        }
        measured.series.extend(in_turn(&site, &here, args.rounds, Work::Overload));
    }
    if args.latency {
        let ours = median_pps(&measured.series, Who::SwitchMemif);
        let pps = |who| median_pps(&measured.series, who).unwrap_or(0.0);
        let best = [Who::VppMemif, Who::OvsMemif].into_iter().filter(|&who| pps(who) > 0.0).max_by(|&a, &b| pps(a).total_cmp(&pps(b)));
        match ours {
            Some(pps) => {
                measured.latency_pps = Some(pps);
                let both: Vec<Who> = [Some(Who::SwitchMemif), best].into_iter().flatten().collect();
                measured.latency = in_turn(&site, &both, args.rounds, Work::Latency(pps));
                measured
                    .left_out
                    .extend(best.is_none().then(|| "no peer that learns was measured on memif: latency is ours alone".to_owned()));
            }
            None => measured.left_out.push("no latency: our throughput on memif is not known; it takes --grounds memif".to_owned()),
        }
    }
    Ok(measured)
}

/// Who takes part on a ground, and who does not and why.
fn contestants(args: &Args, ground: Ground, site: &Site<'_>) -> (Vec<Who>, Vec<String>) {
    let (mut here, mut left_out) = (Vec::new(), Vec::new());
    let wanted = |who: &Who| args.peers.is_empty() || who.peer() == Peer::Bladeswitch || args.peers.contains(&who.peer());
    for who in Who::ALL.into_iter().filter(|who| who.ground() == ground).filter(wanted) {
        let needs_namespace = matches!(ground, Ground::Veth | Ground::Send) || who.peer() == Peer::Ovs;
        let why = who.missing().or_else(|| needs_namespace.then(|| site.veths().err()).flatten());
        match why {
            Some(why) => left_out.push(why),
            None => here.push(who),
        }
    }
    (here, left_out)
}

/// Everybody takes a turn in each round, and each round begins with another.
fn in_turn(site: &Site<'_>, all: &[Who], rounds: u32, work: Work) -> Vec<Series> {
    let mut series: Vec<Series> = all.iter().map(|&who| Series { who, rounds: Vec::new() }).collect();
    for round in 0..rounds as usize {
        for turn in 0..series.len() {
            if site.stop.load(Ordering::Relaxed) {
                return series;
            }
            let place = (round + turn) % all.len();
            let one = &mut series[place];
            eprintln!("round {} of {rounds}: {}", round + 1, one.who.name());
            one.rounds.push(visit::visit(site, one.who, work));
        }
    }
    series
}

/// The median rate of somebody with the fewest stations and the smallest frames.
fn median_pps(series: &[Series], who: Who) -> Option<f64> {
    let one = series.iter().find(|one| one.who == who)?;
    let rates = one.rounds.iter().flatten().filter_map(|visit| visit.samples.first()?.pps);
    crate::ports::report::Spread::of(rates).map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"bench").chain(line)).map(|line| line.args)
    }

    #[test]
    fn the_command_line_is_read_or_refused() {
        let args =
            parse(&["--grounds", "memif,veth", "--peers", "ovs", "--addresses", "1,64", "--sizes", "60,1514", "--rounds", "2"]).unwrap();
        assert_eq!((args.grounds, args.peers), (vec![Ground::Memif, Ground::Veth], vec![Peer::Ovs]));
        assert_eq!((args.addresses, args.sizes, args.rounds), (vec![1, 64], vec![60, 1514], 2));
        for wrong in [
            ["--grounds", "moon"],
            ["--peers", "nobody"],
            ["--addresses", "0"],
            ["--addresses", "1000001"],
            ["--sizes", "59"],
            ["--rounds", "0"],
            ["--duration", "0"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn huge_pages_are_counted() {
        assert_eq!(free_hugepages_kb("HugePages_Total:     512\nHugePages_Free:      500\nHugepagesize:       2048 kB\n"), 1_024_000);
        assert_eq!(free_hugepages_kb(""), 0);
    }
}
