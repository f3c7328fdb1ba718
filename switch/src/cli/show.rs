//! `show` and `flush`: what a running switch says of itself, as tables or as the API's own JSON.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use control::config::{Speed, VidSet};
use control::show;
use serde::de::DeserializeOwned;

use super::table::{age, count, or_dash, table, tenths};
use super::{Done, Failure, bus, client, joined, print, rates, reload, steering};

/// Where `show` looks unless it is told.
pub(super) const DEFAULT_SOCKET: &str = "/run/bladeswitch.sock";
/// Names a table cell lists before it counts.
const LISTED_MAX: usize = 8;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show
    #[arg(value_enum)]
    what: What,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// What there is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Ports: state, VLANs, frames and bytes
    Ports,
    /// Which address is behind which port
    Fdb,
    /// Which IP address has which MAC address
    Neighbors,
    /// Who is in which slot
    Identities,
    /// Other chassis: the trunks, who is reached by them, and the blades and functions there
    Joined,
    /// VLANs and their ports
    Vlans,
    /// Backplanes and their buses: the slot table and its use
    Bus,
    /// Rates between ports: what holds, who has said so, and what was too much
    Rates,
    /// Functions and their blades: who takes which part of the flows
    Functions,
    /// The rules that steer frames to functions
    Steer,
    /// Frames that went nowhere, by reason and port
    Drops,
    /// Where every frame is accounted for
    Ledger,
    /// Workers: turns, FDB, and what each phase costs
    Workers,
    /// The configuration in use, as TOML
    Config,
    /// Which file the configuration is from, when it was loaded, and whether it waits to be confirmed
    Status,
}

/// What was typed after `flush`.
#[derive(Debug, clap::Args)]
pub struct FlushArgs {
    /// Only what was learned behind this port
    #[arg(long, value_name = "NAME", conflicts_with = "vlan")]
    port: Option<String>,
    /// Only what was learned in this VLAN
    #[arg(long, value_name = "VID")]
    vlan: Option<u16>,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Asks and shows.
pub fn show(args: &Args) -> Done {
    let path = match (args.what, args.json) {
        (What::Config, false) => "/v1/config?format=toml",
        (What::Config, true) => "/v1/config",
        (What::Ports, _) => "/v1/ports",
        (What::Fdb, _) => "/v1/fdb",
        (What::Neighbors, _) => "/v1/neighbors",
        (What::Identities, _) => "/v1/identities",
        (What::Joined, _) => "/v1/joined",
        (What::Vlans, _) => "/v1/vlans",
        (What::Bus, _) => "/v1/bus",
        (What::Rates, _) => "/v1/rates",
        (What::Functions, _) => "/v1/functions",
        (What::Steer, _) => "/v1/steer",
        (What::Drops, _) => "/v1/drops",
        (What::Ledger, _) => "/v1/ledger",
        (What::Workers, _) => "/v1/workers",
        (What::Status, _) => "/v1/status",
    };
    let answer = client::get(&args.socket, path)?;
    let text = match args.what {
        _ if args.json => answer + "\n",
        What::Config => answer,
        What::Ports => ports(&read(&answer)?),
        What::Fdb => fdb(&read(&answer)?),
        What::Neighbors => neighbors(&read(&answer)?),
        What::Identities => identities(&read(&answer)?),
        What::Joined => joined::text(&read(&answer)?),
        What::Vlans => vlans(&read(&answer)?),
        What::Bus => bus::text(&read(&answer)?),
        What::Rates => rates::text(&read(&answer)?),
        What::Functions => steering::functions(&read(&answer)?),
        What::Steer => steering::rules(&read(&answer)?),
        What::Drops => drops(&read(&answer)?),
        What::Ledger => ledger(&read(&answer)?),
        What::Workers => workers(&read(&answer)?),
        What::Status => reload::status(&read(&answer)?),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks to forget.
pub fn flush(args: &FlushArgs) -> Done {
    let body = serde_json::json!({ "port": args.port, "vlan": args.vlan });
    let answer: serde_json::Value = read(&client::post(&args.socket, "/v1/fdb/flush", body.to_string())?)?;
    print(&format!("flushed: {}\n", answer.get("flushed").and_then(|what| what.as_str()).unwrap_or("yes")))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer).map_err(|error| Failure::other(format!("the switch answers what this program cannot read: {error}")))
}

/// Ports: state, VLANs, frames and bytes.
pub fn ports(shown: &show::Ports) -> String {
    let heads = [
        ">id",
        "name",
        "place",
        ">speed",
        "VLAN",
        "link",
        "state",
        ">rx frames",
        ">rx bytes",
        ">tx frames",
        ">tx bytes",
        ">drops",
        "device",
    ];
    let row = |port: &show::Port| {
        let speed = Speed::from_bits_per_second(port.speed_bps).map_or_else(|| port.speed_bps.to_string(), |speed| speed.to_string());
        vec![
            port.id.to_string(),
            port.name.clone(),
            port.slot.map_or_else(|| port.role.clone(), |slot| format!("slot {slot}")),
            speed,
            port_vlan(&port.vlan),
            port.link.clone(),
            port.state.clone(),
            count(port.rx_frames),
            count(port.rx_bytes),
            count(port.tx_frames),
            count(port.tx_bytes),
            count(port.drops),
            port.description.clone(),
        ]
    };
    let mut text = table(&heads, shown.ports.iter().map(row));
    text += &interfaces(shown);
    for port in &shown.ports {
        for error in &port.errors {
            let _ = writeln!(text, "{}: {error}", port.name); // Writing to a string cannot fail, here and below.
        }
    }
    text
}

/// What there is to say of ports on interfaces: how frames get in and out, and why so.
fn interfaces(shown: &show::Ports) -> String {
    let on_interfaces: Vec<&show::Port> = shown.ports.iter().filter(|port| port.mtu.is_some() || !port.reasons.is_empty()).collect();
    if on_interfaces.is_empty() {
        return String::new();
    }
    let heads = ["name", "kind", "mode", ">queues", "address", ">MTU", ">link downs", ">returns", ">tx lost", ">copied"];
    let row = |port: &&show::Port| {
        vec![
            port.name.clone(),
            port.kind.clone(),
            or_dash(port.mode.clone()),
            port.queues.to_string(),
            or_dash(port.mac.map(|mac| mac.to_string())),
            or_dash(port.mtu.map(|mtu| mtu.to_string())),
            count(port.link_downs),
            count(port.returns),
            count(port.tx_lost),
            or_dash(port.copied.map(count)),
        ]
    };
    let mut text = format!("\n{}", table(&heads, on_interfaces.iter().map(row)));
    for port in on_interfaces {
        for reason in &port.reasons {
            let _ = writeln!(text, "{}: {reason}", port.name);
        }
    }
    text
}

fn port_vlan(vlan: &show::PortVlan) -> String {
    let tagged: VidSet = vlan.tagged.iter().copied().collect();
    match (vlan.untagged, tagged.is_empty()) {
        (None, _) => format!("{} {tagged}", vlan.mode),
        (Some(vid), true) => format!("{} {vid}", vlan.mode),
        (Some(vid), false) => format!("{} {tagged} native {vid}", vlan.mode),
    }
}

fn fdb(shown: &show::Fdb) -> String {
    let row = |entry: &show::FdbEntry| {
        vec![entry.vlan.to_string(), entry.mac.to_string(), or_dash(entry.port.clone()), entry.kind.clone(), age(entry.age_ms)]
    };
    let mut text = format!("{} entries\n", count(shown.entries.len() as u64));
    if !shown.entries.is_empty() {
        text = table(&[">VLAN", "address", "port", "kind", ">age s"], shown.entries.iter().map(row)) + &text;
    }
    if !shown.moves.is_empty() {
        let row = |moved: &control::plane::Move| {
            let at = format!("{:.3}", moved.time_ns as f64 / 1e9);
            vec![at, moved.vlan.to_string(), moved.mac.to_string(), moved.from.clone(), moved.to.clone()]
        };
        text += "\nLast moves, by seconds since the start\n";
        text += &table(&[">at s", ">VLAN", "address", "from", "to"], shown.moves.iter().map(row));
    }
    text
}

fn neighbors(shown: &show::Neighbors) -> String {
    if shown.neighbors.is_empty() {
        return "no neighbors\n".to_owned();
    }
    let row = |neighbor: &show::Neighbor| {
        vec![
            neighbor.vlan.to_string(),
            neighbor.ip.to_string(),
            neighbor.mac.to_string(),
            or_dash(neighbor.port.clone()),
            if neighbor.router { format!("{}, router", neighbor.kind) } else { neighbor.kind.clone() },
            age(neighbor.age_ms),
        ]
    };
    table(&[">VLAN", "IP address", "address", "port", "kind", ">age s"], shown.neighbors.iter().map(row))
}

fn identities(shown: &show::Identities) -> String {
    if shown.identities.is_empty() {
        return "nothing is known of any blade\n".to_owned();
    }
    let row = |identity: &show::Identity| {
        let mut sources: Vec<&str> = identity.sources.iter().map(|address| address.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        let silent = if identity.silent { ", silent" } else { "" };
        let chassis = identity.chassis.map(|chassis| chassis.to_string());
        let rest = [
            identity.slot.to_string(),
            or_dash(identity.port.clone()),
            list(&identity.macs),
            list(&identity.ips),
            format!("{}{silent}", sources.join(", ")),
        ];
        chassis.into_iter().chain(rest).collect()
    };
    let chassis = shown.identities.iter().any(|identity| identity.chassis.is_some()).then_some(">chassis");
    let columns: Vec<&str> = chassis.into_iter().chain([">slot", "port", "addresses", "IP addresses", "from"]).collect();
    let mut text = table(&columns, shown.identities.iter().map(row));
    if !shown.standbys.is_empty() {
        let row = |standby: &show::IdentityStandby| {
            let probe = super::steering::asked(standby.probe.as_ref());
            vec![standby.blade.clone(), standby.standby.clone(), standby.holder.clone(), probe]
        };
        text += "\n";
        text += &table(&["identity of", "standby", "is at", "last answer"], shown.standbys.iter().map(row));
    }
    if !shown.handovers.is_empty() {
        let row = |event: &control::plane::Handover| {
            let at = format!("{:.3}", event.time_ns as f64 / 1e9);
            vec![at, event.event.clone(), event.blade.clone(), event.standby.clone(), event.cause.name().to_owned()]
        };
        text += "\nLast identities that changed hands, by seconds since the start\n";
        text += &table(&[">at s", "event", "of", "standby", "cause"], shown.handovers.iter().map(row));
    }
    text
}

fn vlans(shown: &show::Vlans) -> String {
    let row = |vlan: &show::Vlan| vec![vlan.vid.to_string(), vlan.name.clone(), list(&vlan.untagged), list(&vlan.tagged)];
    table(&[">VLAN", "name", "ports without tag", "ports with tag"], shown.vlans.iter().map(row))
}

/// What is listed, or how much more there is.
fn list(things: &[impl Display]) -> String {
    if things.is_empty() {
        return "-".to_owned();
    }
    let mut names: Vec<String> = things.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if things.len() > LISTED_MAX {
        names.push(format!("and {} more", things.len() - LISTED_MAX));
    }
    names.join(", ")
}

/// Frames that went nowhere, by reason and port.
pub fn drops(shown: &show::Drops) -> String {
    if shown.total == 0 {
        return "no drops\n".to_owned();
    }
    let row = |drop: &show::ReasonDrop| vec![drop.reason.clone(), count(drop.count), drop.meaning.clone()];
    let total = vec!["total".to_owned(), count(shown.total), String::new()];
    let mut text = table(&["reason", ">frames", "meaning"], shown.by_reason.iter().map(row).chain([total]));
    let row = |drop: &show::PortDrop| vec![drop.port.clone(), drop.reason.clone(), count(drop.count)];
    text += "\n";
    text += &table(&["port", "reason", ">frames"], shown.by_port.iter().map(row));
    text
}

fn ledger(shown: &show::LedgerShown) -> String {
    let row = |port: &show::PortLedger| {
        let numbers = [port.rx, port.copies, port.queued_in, port.punted, port.dropped_in].map(count);
        let more = [port.queued_out, port.injected, port.tx, port.dropped_out].map(count);
        let mut row = vec![port.port.clone()];
        row.extend(numbers);
        row.push(port.open_in.to_string());
        row.extend(more);
        row.push(count(port.held));
        row.push(port.open_out.to_string());
        row
    };
    let heads = [
        "port",
        ">rx",
        ">+ copies",
        ">= queued",
        ">+ punted",
        ">+ dropped",
        ">+ in hand",
        ">to tx",
        ">+ injected",
        ">= sent",
        ">+ dropped",
        ">+ held",
        ">+ in hand",
    ];
    let mut text = table(&heads, shown.ports.iter().map(row));
    let _ = writeln!(text, "\n{}", shown.line);
    if !shown.balanced || shown.ports.iter().any(|port| port.open_in != 0 || port.open_out != 0) {
        text += "The counters of a running switch are not of one instant: ask again when it is quiet.\n";
    }
    text
}

fn workers(shown: &show::Workers) -> String {
    let mut text = String::new();
    for worker in &shown.workers {
        let core = worker.core.map_or_else(|| "no core of its own".to_owned(), |core| format!("core {core}"));
        let calls = if worker.seccomp { ", system calls filtered" } else { "" };
        let idle = if worker.turns > 0 { worker.idle_turns as f64 / worker.turns as f64 * 100.0 } else { 0.0 };
        let _ = writeln!(text, "worker {} ({core}{calls}): {} turns, {idle:.1} % idle", worker.worker, count(worker.turns));
        if shown.workers.len() > 1 {
            let [out, r#in, updates] = [worker.crossed_out, worker.crossed_in, worker.updates_lost].map(count);
            let _ = writeln!(text, "  crossed: {out} out, {in} in, {updates} updates lost");
        }
        let fdb = &worker.fdb;
        let [entries, learned, moved, aged, evicted, refused] =
            [fdb.entries, fdb.learned, fdb.moved, fdb.aged, fdb.evicted, fdb.refused].map(count);
        let _ =
            writeln!(text, "  FDB: {entries} entries, {learned} learned, {moved} moved, {aged} aged, {evicted} evicted, {refused} refused");
        if worker.events_lost > 0 {
            let _ = writeln!(text, "  {} events lost: control was behind", count(worker.events_lost));
        }
        text += &phases(&worker.phases);
        text += "\n";
    }
    let control = &shown.control;
    let [arp, nd, advertised, notices, limited, lost, moves, published] = [
        control.arp_answered,
        control.nd_answered,
        control.advertised,
        control.notices,
        control.notices_limited,
        control.inject_lost,
        control.moves,
        control.published,
    ]
    .map(count);
    let _ = writeln!(
        text,
        "control: {arp} ARP and {nd} neighbour solicitations answered, {advertised} advertisements, {notices} notices ({limited} held \
         back), {moves} moves, {published} tables published, {lost} frames not handed over"
    );
    let pool = &shown.pool;
    let _ = writeln!(text, "packet pool: {} buffers on {}, {} taken", count(pool.buffers.into()), pool.pages, count(pool.taken.into()));
    text
}

/// The table an operator needs. The timed turns alone: the others cost the same, but nobody looked.
fn phases(phases: &[show::PhaseShown]) -> String {
    let row = |phase: &show::PhaseShown| {
        vec![phase.phase.clone(), count(phase.calls), count(phase.packets), tenths(phase.packets_per_call), tenths(phase.cycles_per_packet)]
    };
    let ticks: u64 = phases.iter().map(|phase| phase.ticks).sum();
    // Every packet is received once; the phases before a drop see it, those after do not.
    let received = phases.first().map_or(0, |receive| receive.packets);
    let all = (received > 0).then(|| ticks as f64 / received as f64);
    let total = vec!["all".to_owned(), String::new(), count(received), String::new(), tenths(all)];
    table(&["phase (sampled)", ">calls", ">packets", ">packets/call", ">cycles/packet"], phases.iter().map(row).chain([total]))
}
