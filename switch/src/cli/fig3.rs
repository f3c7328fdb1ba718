//! `lab fig3`: FIG. 3 of the patent application on this machine, with the header of each frame before and after the switch blade.
//!
//! A lab of four blades and an external network. Each blade runs the agent with a TAP interface that has the blade's addresses, so that `ping`,
//! which knows nothing of messages, talks through them. Links are listened to by packet sockets: on the switch's side what comes into the switch,
//! on the other side what comes out of it. Everything is removed at the end, also after Ctrl-C; after a crash by `bladeswitch lab down --name fig3`.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bladeswitch::lab::fig3::{FrameReport, Header, Introduction, PINGS, Report, Seen, judge};
use bladeswitch::lab::{self, Chassis, Name, Place, namespace};
use control::config::Config;
use port::backend::af_packet::monitor::Monitor;
use serde::Serialize;
use wire::MacAddr;

use super::blade::FinalKind;
use super::table::{count, table, tenths};
use super::{Done, Failure, lab as cli_lab, print, print_json};

const BLADES: u16 = 4;
/// What the blades' TAP interfaces are called.
const TAP: &str = "chassis0";
/// How often links are looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(2);
/// How long anything may take before the command gives up, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the lab is called while it is there
    #[arg(long, default_value = "fig3", value_name = "NAME")]
    name: Name,
    /// How many times each ping asks
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    count: u16,
    /// What the final destination is: the blade's MAC, as FIG. 6 has it, or its IP address
    #[arg(long, value_enum, default_value_t = FinalKind::Mac, value_name = "KIND")]
    r#final: FinalKind,
    /// Print the headers of every frame, not only of the first of each transfer
    #[arg(long)]
    all: bool,
    /// Print JSON: every frame
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    /// Frames of each transfer.
    count: u16,
    pings: Vec<Ping>,
    #[serde(flatten)]
    report: Report,
}

#[derive(Serialize)]
struct Ping {
    from: String,
    to: String,
    answered: bool,
}

/// Does it, and removes everything afterwards.
pub fn fig3(args: &Args) -> Done {
    lab::check_root()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Failure::other(format!("signals: {error}")))?;
    }
    let chassis = Chassis { name: args.name.clone(), blades: BLADES, kinds: vec!["af_packet".to_owned()], mtu: 1500 };
    chassis.build()?;
    let told = perform(args, &chassis, &stop);
    lab::remove(&chassis.name)?;
    let told = told?;
    if args.json {
        print_json(&told)?
    } else {
        print(&text(&told, args.all))?
    }
    Ok(if told.report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The switch knows no blade before it has said hello.
fn config(chassis: &Chassis) -> String {
    let blades: String =
        (1..=chassis.blades).map(|n| format!("[[blade]]\nslot = {n}\nport = \"af_packet:blade{n}\"\ncontrol = \"hello\"\n")).collect();
    let (name, socket) = (&chassis.name, chassis.name.socket());
    format!(
        "# Made by `bladeswitch lab fig3`.\n[switch]\nname = \"{name}\"\napi = \"{}\"\n{blades}[[uplink]]\nname = \"uplink\"\nport = \"af_packet:uplink\"\n",
        socket.display()
    )
}

/// Processes of the lab; they end with this.
#[derive(Default)]
struct Processes(Vec<(String, Child)>);

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, process) in &mut self.0 {
            let _ = process.kill(); // It may have ended by itself.
            let _ = process.wait();
        }
    }
}

/// All links, listened to on both sides.
struct Links {
    rx: Vec<(Place, Monitor)>,
    tx: Vec<(Place, Monitor)>,
    came: Vec<Seen>,
    left: Vec<Seen>,
}

impl Links {
    fn open(chassis: &Chassis) -> Result<Links, Failure> {
        let open = |at: Place, interface: &str| {
            let opened = namespace::inside(&chassis.name.namespace(at), || Monitor::open_small(interface));
            opened.map_err(Failure::from)?.map_err(Failure::other)
        };
        let rx = chassis.ends().map(|place| Ok((place, open(Place::Switch, &place.to_string())?))).collect::<Result<_, Failure>>()?;
        let tx = chassis.ends().map(|place| Ok((place, open(place, "eth0")?))).collect::<Result<_, Failure>>()?;
        Ok(Links { rx, tx, came: Vec::new(), left: Vec::new() })
    }

    /// Takes what has come.
    fn look(&mut self) -> Result<(), Failure> {
        for (monitors, seen) in [(&mut self.rx, &mut self.came), (&mut self.tx, &mut self.left)] {
            for (place, monitor) in monitors {
                while let Some(frame) = monitor.next(|bytes, time_ns| Seen { place: *place, time_ns, bytes: bytes.to_vec() }) {
                    seen.push(frame);
                }
                if monitor.lost() > 0 {
                    return Err(Failure::other(format!(
                        "{} frames on the link of {place} were not seen: the machine is too busy",
                        monitor.lost()
                    )));
                }
            }
        }
        Ok(())
    }
}

fn perform(args: &Args, chassis: &Chassis, stop: &AtomicBool) -> Result<Told, Failure> {
    let name = &chassis.name;
    let program = std::env::current_exe().map_err(|error| Failure::other(format!("this program: {error}")))?;
    for n in 1..=BLADES {
        prepare(name, Place::Blade(n))?;
    }
    let mut links = Links::open(chassis)?;
    let config = config(chassis);
    let switch = Config::parse(&config, "lab fig3")?.switch.mac;
    let mut processes = Processes::default();
    let mut started = chassis.start(&program, &config)?;
    let answered = cli_lab::answer(name, &mut started);
    processes.0.push(("switch".to_owned(), started));
    answered?;
    for n in 1..=BLADES {
        let place = Place::Blade(n);
        let log = File::create(log(name, &place.to_string())).map_err(Failure::other)?;
        let log_too = log.try_clone().map_err(Failure::other)?;
        let mut command = namespace::exec(&name.namespace(place), &program.to_string_lossy());
        let named = if args.r#final == FinalKind::Mac { "mac" } else { "ip" };
        command.args(["blade", "--port", "af_packet:eth0", "--tap", TAP, "--final", named, "--slot", &n.to_string()]);
        command.args(place.ipv4().map(|ip| format!("--ip={ip}")));
        // A group of its own: Ctrl-C is for this process, which then ends the others.
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
        processes.0.push((place.to_string(), command.spawn().map_err(|error| Failure::other(format!("ip netns exec: {error}")))?));
    }
    introduce(name, switch, &mut links, &mut processes, stop)?;
    let pings = ping(args, name, &mut links, &mut processes, stop)?;
    let mut report = judge(&links.came, &links.left, switch, usize::from(args.count));
    let told = pings.into_iter().zip(PINGS).map(|((answered, said), (from, to))| {
        if !answered {
            report.faults.push(format!("ping from {from} to {to}: {}", said.trim()));
        }
        Ping { from: from.to_string(), to: to.to_string(), answered }
    });
    let pings = told.collect();
    Ok(Told { count: args.count, pings, report })
}

/// Gives the blade's addresses to a TAP interface and takes them from `eth0`, which is the agent's alone then.
fn prepare(name: &Name, place: Place) -> Result<(), Failure> {
    let namespace = name.namespace(place);
    let (Some(mac), Some(ip)) = (place.mac(), place.ipv4()) else { return Ok(()) };
    // With the blade's own address there would be two interfaces that hear the same.
    let MacAddr([a, b, c, d, _, f]) = mac;
    let card = MacAddr([a, b, c, d, 3, f]);
    namespace::set(&namespace, &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
    let mtu = 1500 - wire::message::HEADER_LEN;
    let lines = [
        "address flush dev eth0".to_owned(),
        format!("link set eth0 address {card} arp off"),
        format!("tuntap add {TAP} mode tap"),
        format!("link set {TAP} address {mac} mtu {mtu}"),
        format!("address add {ip}/15 dev {TAP}"),
        format!("link set {TAP} up"),
    ];
    Ok(namespace::ip_batch(Some(&namespace), &lines)?)
}

fn log(name: &Name, process: &str) -> std::path::PathBuf {
    name.folder().join(format!("{process}.log"))
}

/// Waits, looking at the links, until `done` says so.
fn wait(what: &str, links: &mut Links, stop: &AtomicBool, mut done: impl FnMut(&Links) -> Result<bool, Failure>) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        links.look()?;
        if done(links)? {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::other("interrupted; the lab is removed"));
        }
        if begin.elapsed() > PATIENCE {
            return Err(Failure::other(format!("{what} within {} s", PATIENCE.as_secs())));
        }
        std::thread::park_timeout(LOOK_PERIOD);
    }
}

/// Until every blade has been told who the others are.
fn introduce(name: &Name, switch: MacAddr, links: &mut Links, processes: &mut Processes, stop: &AtomicBool) -> Result<(), Failure> {
    let mut told: Vec<Introduction> = vec![Introduction::default(); usize::from(BLADES)];
    let mut heard = 0;
    wait("the blades do not get to know each other", links, stop, |links| {
        for seen in &links.left[heard..] {
            if let Place::Blade(slot) = seen.place
                && let Some(told) = told.get_mut(usize::from(slot) - 1)
            {
                told.hear(&seen.bytes, switch);
            }
        }
        heard = links.left.len();
        for (process, child) in &mut processes.0 {
            if let Ok(Some(status)) = child.try_wait() {
                let said = fs::read_to_string(log(name, process)).unwrap_or_default();
                return Err(Failure::other(format!("{process} has ended ({status}). It said:\n{}", said.trim())));
            }
        }
        let others = |own: usize| (1..=BLADES).filter(move |n| usize::from(*n) != own + 1).filter_map(|n| Place::Blade(n).ipv4());
        Ok(told.iter().enumerate().all(|(own, told)| told.knows(others(own))))
    })
}

/// All pings at once; whether each was answered every time, and what it said.
fn ping(args: &Args, name: &Name, links: &mut Links, processes: &mut Processes, stop: &AtomicBool) -> Result<Vec<(bool, String)>, Failure> {
    let first = processes.0.len();
    let mut logs = Vec::new();
    for (index, (from, to)) in PINGS.into_iter().enumerate() {
        let path = log(name, &format!("ping{index}"));
        let log = File::create(&path).map_err(Failure::other)?;
        let log_too = log.try_clone().map_err(Failure::other)?;
        let mut command = namespace::exec(&name.namespace(from), "ping");
        command.args(["-n", "-q", "-i", "0.1", "-W", "10", "-c", &args.count.to_string()]).args(to.ipv4().map(|ip| ip.to_string()));
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
        let child = command.spawn().map_err(|error| Failure::other(format!("ip netns exec: {error}")))?;
        processes.0.push((format!("ping{index}"), child));
        logs.push(path);
    }
    let mut ended: Vec<Option<bool>> = vec![None; PINGS.len()];
    wait("the pings do not end", links, stop, |_| {
        for (ended, (_, child)) in ended.iter_mut().zip(&mut processes.0[first..]) {
            if ended.is_none() {
                *ended = child.try_wait().map_err(Failure::other)?.map(|status| status.success());
            }
        }
        Ok(ended.iter().all(Option::is_some))
    })?;
    links.look()?;
    let said = logs.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
    Ok(ended.into_iter().map(|ended| ended == Some(true)).zip(said).collect())
}

fn text(told: &Told, all: bool) -> String {
    let report = &told.report;
    let flows = table(
        &["step", "transfer", ">frames", ">from, ms", ">to, ms", "what"],
        report.flows.iter().map(|flow| {
            let transfer = format!("{} → {}", flow.from, flow.to);
            let (first, last) = if flow.rx > 0 { (Some(flow.first_ms), Some(flow.last_ms)) } else { (None, None) };
            vec![flow.step.to_owned(), transfer, count(flow.rx as u64), tenths(first), tenths(last), flow.what.to_owned()]
        }),
    );
    let mut shown: Vec<&FrameReport> = Vec::new();
    for frame in &report.frames {
        if all || shown.last().is_none_or(|last| last.step != frame.step) {
            shown.push(frame);
        }
    }
    let headers = table(&["step", "frame", "link", "initial destination", "final destination", "source"], shown.into_iter().flat_map(rows));
    let place = |place: Place| {
        let (mac, ip) = (place.mac().map(|mac| mac.to_string()), place.ipv4().map(|ip| ip.to_string()));
        vec![place.to_string(), mac.unwrap_or_default(), ip.unwrap_or_default()]
    };
    let switch = vec!["switch blade".to_owned(), report.switch.clone(), String::new()];
    let places = (1..=BLADES).map(|n| place(Place::Blade(n))).chain([place(Place::Uplink)]);
    let who = table(&["who", "MAC address", "IPv4 address"], [switch].into_iter().chain(places));
    let outcome = if report.faults.is_empty() {
        let number = |outcome: &str| report.frames.iter().filter(|frame| frame.outcome == outcome).count() as u64;
        format!(
            "Right: in {} messages of {} the switch blade has overwritten the initial destination, and no\nother octet; \
             {} plain frames of the external network came out as they went in.\n",
            count(number("initial overwritten")),
            count(report.frames.iter().filter(|frame| frame.rx.final_destination.is_some()).count() as u64),
            count(number("as it was"))
        )
    } else {
        report.faults.iter().map(|fault| format!("WRONG: {fault}\n")).collect()
    };
    let which = if all { "Every frame" } else { "The first frame of each transfer" };
    format!(
        "FIG. 3: four transfers between four blades at once, with the external network busy.\n\n{flows}\n{who}\n\
         {which}, into the switch (RX) and out of it (TX):\n\n{headers}\n{outcome}"
    )
}

/// A frame before and after.
fn rows(frame: &FrameReport) -> Vec<Vec<String>> {
    let row = |step: &str, what: String, direction: &str, header: &Header| {
        let to = header.final_destination.clone().unwrap_or_else(|| "no message".to_owned());
        let link = format!("{direction} {}", header.link);
        vec![step.to_owned(), what, link, header.initial_destination.clone(), to, header.source.clone()]
    };
    let mut rows = vec![row(frame.step, format!("{} #{}", frame.transfer, frame.sequence), "RX", &frame.rx)];
    if let Some(tx) = &frame.tx {
        rows.push(row("", frame.outcome.clone(), "TX", tx));
    }
    rows
}
