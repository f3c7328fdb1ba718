//! `record`: what arrives on ports, as the input of a case.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use port::capture::{CaptureWriter, Direction, FrameNotes};
use port::clock::TscClock;
use port::{BURST_MAX, Burst, Hugepages, Mempool, Nanos};
use serde::Serialize;

use super::progress::Progress;
use super::stop::Stop;
use super::{Common, Done, Failure, complain, print, print_json};
use crate::regress::case::{CONFIG_FILE, IN_FILE};
use crate::replay::ports::{self, LineRate, Opened};

/// Buffers for frames between port and file.
const BUFFERS: u32 = 8192;
/// Devices are looked after so often: links come and go.
const MAINTAIN_EVERY: Nanos = Nanos::from_millis(100);
/// How long to wait where nothing arrives.
const IDLE: Duration = Duration::from_micros(50);

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A port of the switch and what to record for it, such as blade1=af_packet:eth1 or blade2=pcap:old.pcap; again for further ones
    #[arg(long = "port", value_name = "NAME=SPEC", required = true)]
    ports: Vec<NamedPort>,
    /// Folder of the case; it is made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The configuration of the switch, copied into the case
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop after so long, such as 10s or 5min
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Stop after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// `NAME=SPEC`.
#[derive(Clone, Debug)]
struct NamedPort {
    name: String,
    spec: String,
}

impl std::str::FromStr for NamedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A spec has options with `=` as well, but begins with its kind and `:`.
        match text.split_once('=') {
            Some((name, spec)) if !name.is_empty() && !name.contains(':') && !spec.is_empty() => {
                Ok(NamedPort { name: name.to_owned(), spec: spec.to_owned() })
            }
            _ => Err("expected NAME=SPEC, the name of a port of the switch and where its frames come from, such as blade1=af_packet:eth1"
                .to_owned()),
        }
    }
}

/// What was recorded.
#[derive(Serialize)]
struct Recorded {
    folder: PathBuf,
    frames: u64,
    bytes: u64,
    /// Frames that arrived and could not be kept.
    lost: u64,
    seconds: f64,
    stopped_by: &'static str,
}

/// Records until told to stop, or as long or as much as asked for.
pub fn run(args: &Args, common: &Common) -> Done {
    let stop = Stop::on_signals()?;
    let mempool =
        Mempool::new(BUFFERS, Hugepages::Auto).map_err(|error| Failure::other(format!("no memory for {BUFFERS} buffers: {error}")))?;
    if let Some((at, twice)) =
        args.ports.iter().enumerate().find(|(at, port)| args.ports[..*at].iter().any(|other| other.name == port.name))
    {
        return Err(Failure::input(format!("--port {}: port {} has this name already: expected another", twice.name, at)));
    }
    let specs: Vec<String> = args.ports.iter().map(|port| port.spec.clone()).collect();
    let lines = vec![LineRate(10_000_000_000); specs.len()];
    let mut opened = ports::open(&specs, &lines, &mempool, false).map_err(Failure::input)?;
    let file = |name: &str| args.out.join(name);
    fs::create_dir_all(&args.out).map_err(|error| Failure::input(format!("{}: {error}", args.out.display())))?;
    let failed = |error: std::io::Error| Failure::other(format!("{}: {error}", file(IN_FILE).display()));
    let mut writer = CaptureWriter::new(File::create(file(IN_FILE)).map_err(failed)?).map_err(failed)?;
    for port in &args.ports {
        writer.add_interface(&port.name, None).map_err(failed)?;
    }
    if let Some(config) = &args.config {
        fs::copy(config, file(CONFIG_FILE)).map_err(|error| Failure::input(format!("{}: {error}", config.display())))?;
    }
    let recorded = record(&mut opened, &mut writer, &mempool, args, &stop).map_err(failed)?;
    writer.finish().map_err(failed)?;
    for problem in opened.iter().flat_map(|port| port.port.device.errors()) {
        complain("warning", problem);
    }
    if common.json {
        print_json(&recorded)?;
    } else {
        let Recorded { frames, bytes, lost, seconds, stopped_by, .. } = &recorded;
        let next = if file(CONFIG_FILE).is_file() {
            format!("next: traffic-gen check --bless {}", args.out.display())
        } else {
            format!(
                "next: put the configuration into {}, then traffic-gen check --bless {}",
                file(CONFIG_FILE).display(),
                args.out.display()
            )
        };
        let text = format!(
            "{frames} frames with {bytes} bytes in {seconds:.3} s, {lost} lost, stopped by {stopped_by}: {}\n{next}\n",
            file(IN_FILE).display()
        );
        print(&text)?;
    }
    Ok(ExitCode::from(u8::from(recorded.lost > 0)))
}

fn record(
    opened: &mut [Opened],
    writer: &mut CaptureWriter<File>,
    mempool: &Mempool,
    args: &Args,
    stop: &Stop,
) -> std::io::Result<Recorded> {
    let mut pool = mempool.cache();
    // Captures have a time of their own: without real ports, nobody has to wait for it.
    let timeless = opened.iter().all(|port| port.timeless);
    let start_ns = if timeless { 0 } else { SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64) };
    let clock = TscClock::new();
    let progress = Progress::new(args.count, "frames");
    let duration_ns = args.duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let (mut now, mut maintain_at, mut frames, mut total) = (Nanos::ZERO, Nanos::ZERO, 0u64, 0u64);
    let mut bytes = Vec::new();
    let notes = FrameNotes { direction: Some(Direction::Inbound), ..FrameNotes::default() };
    let stopped_by = 'recording: loop {
        if stop.asked() {
            break "a signal";
        }
        if !timeless {
            now = clock.now();
            if now >= maintain_at {
                maintain_at = now + MAINTAIN_EVERY;
                opened.iter_mut().for_each(|port| port.port.device.maintain(now));
            }
        }
        if duration_ns.is_some_and(|duration| now.0 >= duration) {
            break "--duration";
        }
        let mut found = 0;
        for (interface, port) in opened.iter_mut().enumerate() {
            for queue in &mut port.port.rx {
                let mut burst = Burst::new();
                found += queue.rx_burst(now, &mut pool, &mut burst, BURST_MAX);
                let mut written = Ok(());
                let mut full = false;
                for packet in burst.drain(..) {
                    full = full || args.count.is_some_and(|count| frames >= count);
                    if !full && written.is_ok() {
                        bytes.clear();
                        pool.copy_to(&packet, &mut bytes);
                        written = writer.write_frame(interface as u32, start_ns + now.0, &bytes, bytes.len() as u32, &notes);
                        frames += 1;
                        total += bytes.len() as u64;
                    }
                    pool.free(packet);
                }
                written?;
                if args.count.is_some_and(|count| frames >= count) {
                    break 'recording "--count";
                }
            }
        }
        progress.set(frames);
        if found > 0 {
            continue;
        }
        if timeless {
            let next = opened.iter().flat_map(|port| &port.port.rx).filter_map(|queue| queue.next_event()).min();
            match next {
                // A port that is due and gives nothing will never give anything.
                Some(next) if next > now => now = next,
                _ => break "the end of the captures",
            }
        } else {
            writer.flush()?;
            std::thread::park_timeout(IDLE);
        }
    };
    let lost = opened.iter().flat_map(|port| &port.port.rx).map(|queue| queue.drops().frames()).sum();
    Ok(Recorded { folder: args.out.clone(), frames, bytes: total, lost, seconds: now.as_secs_f64(), stopped_by })
}
