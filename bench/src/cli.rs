//! The command line of `bench`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::hotpath::{self, Baseline, Case, Measured};
use bench::scale::{self, Sweep};
use bench::{buffers, bus, chassis, generator, history, pacing, peers, ports, report, seccomp};
use clap::{Args, Parser, Subcommand};
use comfy_table::Table;
use traffic_gen::output;

/// Scenarios and measurements of bladeswitch. Without a subcommand: the chassis at full rate.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    chassis: chassis::Args,
}

#[derive(Subcommand)]
enum Command {
    /// The main job: a chassis at full rate in real time, with a report
    Chassis(chassis::Args),
    /// The same load by four kinds of buses (none, tdm, fdm, drr) on the virtual clock: latency side by side, and whether what was promised was kept
    Bus(bus::Args),
    /// Cycles and instructions per packet of the whole pipeline on one core
    Hotpath(HotpathArgs),
    /// Instructions per packet over time: draws the history anew, and appends to it what the guard of the hot path demands now
    History(history::Args),
    /// What a packet costs as stations, ports, VLANs, bursts, frames and workers grow, in a learning storm and after a flush
    Scale(ScaleArgs),
    /// Frames a second that the traffic generator itself can send and check on one core
    Generator(GeneratorArgs),
    /// How exactly frames leave: between memory ports, and on a veth pair beside tcpreplay
    Pacing(pacing::Args),
    /// What each kind of port costs, beside the kernel's bridge, testpmd and a loop without a switch, on the same ground in the same run
    Ports(ports::Args),
    /// What a frame costs at DPDK ports, in the switch's buffers and copied (feature dpdk)
    Buffers(buffers::Args),
    /// What the filter of workers' system calls costs a call
    Seccomp(seccomp::Args),
    /// Beside VPP, Open vSwitch, testpmd and the kernel's bridge, as far as they are installed: same ground, same generator, same run
    Peers(peers::Args),
    /// A device of `bench ports`, until its standard input ends
    #[command(hide = true)]
    PortsDevice(ports::device::DeviceArgs),
    /// The tester with the switch in this process: rfc2544, rfc2889, search, soak with --dut switch:chassis (virtual clock) or threads:chassis (real time)
    #[command(disable_help_flag = true)]
    Tester {
        /// As for `traffic-gen`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// What callgrind watches; prints how many packets went through
    #[command(hide = true)]
    HotpathCount(CountArgs),
    /// As above, for the generator
    #[command(hide = true)]
    GeneratorCount(GeneratorCountArgs),
}

#[derive(Args)]
struct HotpathArgs {
    /// Cases to measure [default: all]
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Numbers of stations
    #[arg(long, value_delimiter = ',', default_value = "16,1000,10000,100000,1000000", value_parser = clap::value_parser!(u32).range(2..=4_000_000))]
    addresses: Vec<u32>,
    /// Packets taken from a queue at once
    #[arg(long, value_delimiter = ',', default_value = "32,64")]
    burst: Vec<usize>,
    /// Ports of the switch
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(u16).range(2..=128))]
    ports: u16,
    /// Seconds for each figure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Show where the cycles go, per phase
    #[arg(long)]
    phases: bool,
    /// Do not count instructions (which takes valgrind some seconds for each figure)
    #[arg(long)]
    no_instructions: bool,
    /// Fail if a case takes over 2 % more instructions than in this file, which has the form of the one --json writes
    #[arg(long, value_name = "FILE", conflicts_with = "no_instructions")]
    guard: Option<PathBuf>,
    /// Write the figures as a JSON list to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct ScaleArgs {
    /// What to change [default: all]
    #[arg(long = "sweep", value_enum)]
    sweeps: Vec<Sweep>,
    /// Seconds for each row, and as long for the case it is compared with
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Write the rows as a JSON list to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct CountArgs {
    #[arg(long, value_enum)]
    case: Case,
    #[arg(long)]
    ports: u16,
    #[arg(long)]
    addresses: u32,
    #[arg(long)]
    burst: usize,
    #[arg(long)]
    turns: u32,
}

#[derive(Args)]
struct GeneratorArgs {
    /// Sizes of frames in bytes with FCS
    #[arg(long, value_delimiter = ',', default_value = "64,512,1518", value_parser = clap::value_parser!(u16).range(64..=1518))]
    sizes: Vec<u16>,
    /// Seconds for each figure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Do not count instructions (which takes valgrind some seconds for each figure)
    #[arg(long)]
    no_instructions: bool,
    /// Write the figures as a JSON list to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct GeneratorCountArgs {
    #[arg(long, value_enum)]
    case: generator::Case,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    turns: u64,
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => run_chassis(&cli.chassis),
        Some(Command::Chassis(args)) => run_chassis(&args),
        Some(Command::Bus(args)) => run_bus(&args),
        Some(Command::Hotpath(args)) => run_hotpath(&args),
        Some(Command::History(args)) => history::run(&args).and_then(|entries| print(history::Shown(&entries).to_string().as_bytes())),
        Some(Command::Scale(args)) => run_scale(&args),
        Some(Command::Generator(args)) => run_generator(&args),
        Some(Command::Pacing(args)) => run_pacing(&args),
        Some(Command::Ports(args)) => run_ports(&args),
        Some(Command::Buffers(args)) => run_buffers(&args),
        Some(Command::Seccomp(args)) => run_seccomp(&args),
        Some(Command::Peers(args)) => run_peers(&args),
        Some(Command::PortsDevice(args)) => ports::device::run(&args),
        Some(Command::Tester { arguments }) => {
            let arguments = std::iter::once("bench tester".into()).chain(arguments);
            return traffic_gen::cli::main_with(arguments, &[&bench::dut::SwitchFactory, &bench::dut::ThreadsFactory]);
        }
        Some(Command::GeneratorCount(args)) => generator::count_turns(args.case, args.size, args.turns)
            .and_then(|frames| writeln!(io::stdout(), "{frames}").map_err(|error| error.to_string())),
        Some(Command::HotpathCount(args)) => hotpath::count_turns(args.case, args.ports, args.addresses, args.burst, args.turns)
            .and_then(|packets| writeln!(io::stdout(), "{packets}").map_err(|error| error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_chassis(args: &chassis::Args) -> Result<(), String> {
    let report = chassis::run(args).map_err(|error| error.to_string())?;
    let files = report::write_all(&report, args.report_dir()).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    report::print_tables(&report, &mut text, 120).map_err(|error| error.to_string())?;
    for file in files {
        text.extend(format!("wrote {}\n", file.display()).bytes());
    }
    print(&text)?;
    if report.ledger.is_balanced() { Ok(()) } else { Err(format!("the ledger does not balance: {}", report.ledger)) }
}

fn run_bus(args: &bus::Args) -> Result<(), String> {
    let comparison = bus::compare(args)?;
    let kept = comparison.is_kept();
    let report = comparison.report(args);
    let mut text = Vec::new();
    output::print_report(&report, &mut text, 120).map_err(|error| error.to_string())?;
    for file in output::write_all(&report, args.report_dir()).map_err(|error| error.to_string())? {
        text.extend(format!("wrote {}\n", file.display()).bytes());
    }
    print(&text)?;
    if kept { Ok(()) } else { Err("a bus did not keep what it promised: see the table of bounds".to_owned()) }
}

fn run_hotpath(args: &HotpathArgs) -> Result<(), String> {
    let cases = if args.cases.is_empty() { vec![Case::LearnForward, Case::VlanTrunk, Case::Message, Case::Ip] } else { args.cases.clone() };
    if let Some(wrong) = args.burst.iter().find(|burst| !(1..=port::BURST_MAX).contains(*burst)) {
        return Err(format!("--burst {wrong}: expected 1 to {}", port::BURST_MAX));
    }
    let duration = seconds(args.seconds)?;
    let mut results: Vec<Measured> = Vec::new();
    let mut phase_table = Table::new();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    phase_table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["case", "addresses", "burst", "TSC cycles/packet", "best", "instructions/packet"]);
    let mut heading = vec!["case".to_owned(), "addresses".to_owned(), "burst".to_owned()];
    heading.extend(dataplane::Phase::ALL.iter().map(|phase| phase.name().to_owned()));
    heading.push("sum".to_owned());
    phase_table.set_header(heading);
    for &case in &cases {
        for &addresses in &args.addresses {
            for &burst in &args.burst {
                let mut measured = hotpath::measure(case, args.ports, addresses, burst, duration)?;
                if !args.no_instructions {
                    measured.instructions_per_packet = hotpath::instructions(case, args.ports, addresses, burst);
                }
                let instructions = measured.instructions_per_packet.map_or("-".to_owned(), |count| format!("{count:.0}"));
                table.add_row([
                    case.name().to_owned(),
                    addresses.to_string(),
                    burst.to_string(),
                    format!("{:.1}", measured.cycles_per_packet),
                    format!("{:.1}", measured.cycles_per_packet_min),
                    instructions,
                ]);
                if args.phases {
                    let phases = hotpath::phases(case, args.ports, addresses, burst, duration)?;
                    let mut row = vec![case.name().to_owned(), addresses.to_string(), burst.to_string()];
                    row.extend(phases.iter().map(|(_, cycles)| format!("{cycles:.1}")));
                    row.push(format!("{:.1}", phases.iter().map(|(_, cycles)| cycles).sum::<f64>()));
                    phase_table.add_row(row);
                }
                results.push(measured);
            }
        }
    }
    let clock = port::clock::TscClock::new();
    let mut text = format!(
        "{} ports, frames of 64 bytes, source, switch and sink on one core; TSC {:.0} MHz\n{table}\n",
        args.ports,
        clock.ticks_per_second() / 1e6
    );
    if args.phases {
        text.push_str(&format!("\nTSC cycles per packet in each phase (reading the counter between phases included)\n{phase_table}\n"));
    }
    if !args.no_instructions && results.iter().any(|measured| measured.instructions_per_packet.is_none()) {
        text.push_str("instructions are counted by valgrind's callgrind, which is missing or failed: apt-get install valgrind\n");
    }
    write_json(args.json.as_deref(), &results)?;
    print(text.as_bytes())?;
    match &args.guard {
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let baseline = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
            let baseline: Vec<Baseline> = serde_json::from_str(&baseline).map_err(|error| failed(&error))?;
            hotpath::guard(&baseline, &results).map_err(|error| failed(&error))
        }
        None => Ok(()),
    }
}

fn run_scale(args: &ScaleArgs) -> Result<(), String> {
    let duration = seconds(args.seconds)?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["what", "value", "TSC cycles/packet", "best", "ratio", "Mpps", "longest turn", "remark"]);
    let mut bench = scale::Bench::new(duration)?;
    let progress = indicatif::ProgressBar::new_spinner();
    let mut rows = Vec::new();
    for &sweep in if args.sweeps.is_empty() { &Sweep::ALL[..] } else { &args.sweeps } {
        for row in bench.sweep(sweep, |what| progress.set_message(what.to_owned()))? {
            table.add_row([
                row.sweep.name().to_owned(),
                row.value.clone(),
                format!("{:.1}", row.cycles_per_packet),
                format!("{:.1}", row.cycles_per_packet_min),
                format!("{:.2}", row.ratio),
                format!("{:.1}", row.mpps),
                format!("{:.1} us", row.worst_turn_us),
                row.remark.clone(),
            ]);
            rows.push(row);
        }
    }
    progress.finish_and_clear();
    write_json(args.json.as_deref(), &rows)?;
    let clock = port::clock::TscClock::new();
    let text = format!(
        "ratio: to learning and forwarding between 1000 stations at 17 ports, frames of 64 bytes in bursts of 32, in windows between those of the row; \
         TSC {:.0} MHz\n{table}\n",
        clock.ticks_per_second() / 1e6
    );
    print(text.as_bytes())
}

/// The argument of --seconds.
fn seconds(seconds: f64) -> Result<Duration, String> {
    if !(0.01..=600.0).contains(&seconds) {
        return Err(format!("--seconds {seconds}: expected 0.01 to 600"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn write_json(path: Option<&Path>, figures: &impl serde::Serialize) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::create(path).map_err(|error| failed(&error))?;
    serde_json::to_writer_pretty(file, figures).map_err(|error| failed(&error))
}

fn run_seccomp(args: &seccomp::Args) -> Result<(), String> {
    let cost = seccomp::measure(args)?;
    write_json(args.json.as_deref(), &cost)?;
    let seccomp::Cost { free_ns, filtered_ns } = cost;
    print(format!("getpid: {free_ns:.0} ns without the filter, {filtered_ns:.0} ns with it, {:+.0} ns\n", filtered_ns - free_ns).as_bytes())
}

fn run_buffers(args: &buffers::Args) -> Result<(), String> {
    let rows = buffers::measure(args, seconds(args.seconds)?)?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["size", "in the switch's buffers", "copied", "ratio"]);
    for row in &rows {
        let ratio = row.copied / row.exchanged;
        table.add_row([(row.size + 4).to_string(), format!("{:.1}", row.exchanged), format!("{:.1}", row.copied), format!("{ratio:.2}")]);
    }
    write_json(args.json.as_deref(), &rows)?;
    let clock = port::clock::TscClock::new();
    let text = format!(
        "TSC cycles per frame from one null device of DPDK to another, on one core, in bursts of {}; sizes with FCS; TSC {:.0} MHz\n{table}\n",
        args.burst,
        clock.ticks_per_second() / 1e6
    );
    print(text.as_bytes())
}

fn run_generator(args: &GeneratorArgs) -> Result<(), String> {
    let duration = Duration::try_from_secs_f64(args.seconds).map_err(|error| format!("--seconds {}: {error}", args.seconds))?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["case", "size", "TSC cycles/frame", "best", "Mpps", "instructions/frame"]);
    let mut results = Vec::new();
    for &case in <generator::Case as clap::ValueEnum>::value_variants() {
        for &size in &args.sizes {
            let mut measured = generator::measure(case, usize::from(size), duration)?;
            if !args.no_instructions {
                measured.instructions_per_frame = generator::instructions(case, usize::from(size));
            }
            table.add_row([
                case.name().to_owned(),
                size.to_string(),
                format!("{:.1}", measured.cycles_per_frame),
                format!("{:.1}", measured.cycles_per_frame_min),
                format!("{:.2}", measured.mpps),
                measured.instructions_per_frame.map_or("-".to_owned(), |count| format!("{count:.0}")),
            ]);
            results.push(measured);
        }
    }
    write_json(args.json.as_deref(), &results)?;
    let clock = port::clock::TscClock::new();
    let missing = !args.no_instructions && results.iter().any(|measured| measured.instructions_per_frame.is_none());
    let valgrind = if missing {
        "instructions are counted by valgrind's callgrind, which is missing or failed: apt-get install valgrind\n"
    } else {
        ""
    };
    let text = format!(
        "the generator alone on one core; TSC {:.0} MHz\ncached: frames as captured, by the chassis' loop, to nobody; replayed: the same by the loop of \
         traffic-gen replay; edited: that with\nother MAC and IP addresses in every loop; checked: addresses, sequence and time written, \
         received, all checked, latency recorded\n{table}\n{valgrind}",
        clock.ticks_per_second() / 1e6
    );
    print(text.as_bytes())
}

fn run_pacing(args: &pacing::Args) -> Result<(), String> {
    hand_over(&pacing::run(args)?, args.json.as_deref(), &args.report)
}

fn run_ports(args: &ports::Args) -> Result<(), String> {
    hand_over(&ports::run(args)?, args.json.as_deref(), &args.report)
}

fn run_peers(args: &peers::Args) -> Result<(), String> {
    hand_over(&peers::run(args)?, args.json.as_deref(), &args.report)
}

/// Writes the files of a report and prints its tables.
fn hand_over(report: &output::Report, json: Option<&Path>, dir: &Path) -> Result<(), String> {
    if let Some(path) = json {
        let document = output::json::document(report).map_err(|error| error.to_string())?;
        std::fs::write(path, document).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let files = output::write_all(report, dir).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    output::print_report(report, &mut text, 160).map_err(|error| error.to_string())?;
    text.extend(files.iter().take(1).flat_map(|file| format!("wrote {}\n", file.display()).into_bytes()));
    print(&text)?;
    if report.validity.is_valid() { Ok(()) } else { Err(report.validity.to_string()) }
}

/// To standard output; a reader that has seen enough is no error.
fn print(text: &[u8]) -> Result<(), String> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}
