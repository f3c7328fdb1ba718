//! `lab`: a chassis of network namespaces on this machine, with the switch running on it.

use std::os::unix::process::CommandExt;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use bladeswitch::lab::{self, BLADES_MAX, Chassis, Cores, LabError, Name, Place, Remains, namespace};
use control::show;
use serde::Serialize;

use super::{Done, Failure, client, fig3, print, print_json, takeover};

/// How long the switch may take to answer, with all links up.
const START_MAX: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const ASK_PERIOD: Duration = Duration::from_millis(20);
/// Lines of its log that are shown when it does not start.
const LOG_LINES: usize = 20;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a chassis and start the switch on it (root)
    Up(UpArgs),
    /// Remove it, and what a crash has left of it (root)
    Down(NameArgs),
    /// Run a command, or a shell, on a blade (root)
    Shell(ShellArgs),
    /// Say what there is of it
    Status(StatusArgs),
    /// Measure how long a standby switch takes to take over from one that is killed (root)
    Takeover(takeover::Args),
    /// Show FIG. 3: four blades ping each other through messages, with each header before and after the switch (root)
    Fig3(fig3::Args),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// What the lab is called: several can be up at once
    #[arg(long, default_value = "lab", value_name = "NAME")]
    name: Name,
}

#[derive(Debug, clap::Args)]
struct UpArgs {
    #[command(flatten)]
    name: NameArgs,
    /// How many blades
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(BLADES_MAX)))]
    blades: u16,
    /// How the switch reaches its ports: auto, af_xdp or af_packet, with options as in a port spec (`af_xdp,mode=skb`); given
    /// several times, the ports take turns
    #[arg(long = "kind", default_value = "auto", value_name = "KIND", value_parser = kind)]
    kinds: Vec<String>,
    /// MTU of every interface, in bytes
    #[arg(long, default_value_t = 1500, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: u16,
}

#[derive(Debug, clap::Args)]
struct ShellArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Where: the number of a blade, `uplink`, or `switch`
    #[arg(value_name = "BLADE")]
    place: Place,
    /// What; a shell if nothing is said
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<String, String> {
    let (word, options) = text.split_once(',').map_or((text, None), |(word, options)| (word, Some(options)));
    if !["auto", "af_xdp", "af_packet"].contains(&word) {
        return Err("expected auto, af_xdp or af_packet".to_owned());
    }
    let spec = options.map_or(format!("{word}:uplink"), |options| format!("{word}:uplink,{options}"));
    if spec.contains(['"', '\\']) {
        return Err("expected no quotes and backslashes".to_owned());
    }
    spec.parse::<control::config::PortSpec>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        match error {
            LabError::NotRoot | LabError::InTheWay { .. } => Failure::input(error),
            error => Failure::other(error),
        }
    }
}

/// Does it.
pub fn lab(args: Args) -> Done {
    match args.command {
        Command::Up(args) => up(args),
        Command::Down(args) => down(&args.name),
        Command::Shell(args) => shell(args),
        Command::Status(args) => status(&args),
        Command::Takeover(args) => takeover::takeover(&args),
        Command::Fig3(args) => fig3::fig3(&args),
    }
}

fn up(args: UpArgs) -> Done {
    let chassis = Chassis { name: args.name.name, blades: args.blades, kinds: args.kinds, mtu: args.mtu };
    let program = std::env::current_exe().map_err(|error| Failure::other(format!("this program: {error}")))?;
    let cores = Cores::of_this_process();
    chassis.build()?;
    if let Some(cores) = &cores {
        chassis.steer(cores);
    }
    let started = chassis.start(&program, &chassis.config_on(cores.as_ref())).map_err(Failure::from);
    let answered = started.and_then(|mut switch| {
        let ports = answer(&chassis.name, &mut switch)?;
        Ok((switch.id(), ports))
    });
    let (process, ports) = match answered {
        Ok(answered) => answered,
        Err(failure) => {
            lab::remove(&chassis.name)?;
            return Err(failure);
        }
    };
    print(&welcome(&chassis, process, &ports, cores.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the switch answers and its links are up.
pub(super) fn answer(name: &Name, switch: &mut Child) -> Result<show::Ports, Failure> {
    let start = Instant::now();
    loop {
        if let Ok(text) = client::get(&name.socket(), "/v1/ports")
            && let Ok(ports) = serde_json::from_str::<show::Ports>(&text)
            && ports.ports.iter().all(|port| port.link == "up")
        {
            return Ok(ports);
        }
        let says = || {
            let log = std::fs::read_to_string(name.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        if let Ok(Some(status)) = switch.try_wait() {
            return Err(Failure::other(format!("the switch has ended ({status}). It said:\n{}", says())));
        }
        if start.elapsed() > START_MAX {
            let seconds = START_MAX.as_secs();
            return Err(Failure::other(format!("the switch does not answer with all links up after {seconds} s. It said:\n{}", says())));
        }
        std::thread::park_timeout(ASK_PERIOD);
    }
}

fn welcome(chassis: &Chassis, process: u32, ports: &show::Ports, cores: Option<&Cores>) -> String {
    let name = &chassis.name;
    let option = if name.to_string() == "lab" { String::new() } else { format!(" --name {name}") };
    let row = |(place, port): (Place, &show::Port)| {
        let show = |thing: Option<String>| thing.unwrap_or_default();
        let mac = show(place.mac().map(|mac| mac.to_string()));
        let (ipv4, ipv6) = (show(place.ipv4().map(|ip| ip.to_string())), show(place.ipv6().map(|ip| ip.to_string())));
        vec![place.to_string(), mac, ipv4, ipv6, port.description.clone()]
    };
    let table = super::table::table(
        &["place", "address", "IPv4 address", "IPv6 address", "port of the switch"],
        chassis.ends().zip(&ports.ports).map(row),
    );
    let other = 2.min(chassis.blades);
    let peer = if other == 2 { Place::Blade(2) } else { Place::Uplink };
    let cores = cores.map_or(String::new(), |cores| {
        let blades: Vec<String> = cores.blades.iter().map(usize::to_string).collect();
        format!("cores: {} for the switch's worker, {} for what the blades receive\n", cores.switch, blades.join(" "))
    });
    format!(
        "lab {name} is up: the switch is process {process}, its log {}\n{cores}\n{table}\n\
         try:   bladeswitch lab shell{option} 1 -- ping -c 3 {peer}\n\
         \u{20}      bladeswitch lab shell{option} 1\n\
         \u{20}      bladeswitch show ports --socket {}\n\
         end:   bladeswitch lab down{option}\n",
        name.log().display(),
        name.socket().display()
    )
}

fn down(name: &Name) -> Done {
    let found = lab::remove(name)?;
    print(&if found.is_empty() { format!("there is no lab {name}\n") } else { format!("lab {name} is removed ({found})\n") })?;
    Ok(ExitCode::SUCCESS)
}

fn shell(args: ShellArgs) -> Done {
    lab::check_root()?;
    let name = args.name.name;
    let found = Remains::find(&name)?;
    if !found.namespaces.iter().any(|(place, _)| *place == args.place) {
        let places: Vec<String> = found.namespaces.iter().map(|(place, _)| place.to_string()).collect();
        let has = if places.is_empty() { "is not up: `bladeswitch lab up`".to_owned() } else { format!("has {}", places.join(", ")) };
        return Err(Failure::input(format!("there is no {}: lab {name} {has}", args.place)));
    }
    let shell = || std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned());
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.clone(), rest),
        None => (shell(), &[][..]),
    };
    let mut command = namespace::exec(&name.namespace(args.place), &program);
    let error = command.args(rest).env("BLADESWITCH_LAB", format!("{name}/{}", args.place)).exec();
    Err(if error.kind() == std::io::ErrorKind::NotFound {
        LabError::NoProgram("ip").into()
    } else {
        Failure::other(format!("ip netns exec: {error}"))
    })
}

#[derive(Serialize)]
struct Status {
    name: String,
    places: Vec<PlaceStatus>,
    /// The switch's processes: one, if all is well.
    switch: Vec<i32>,
    answers: bool,
    socket: String,
    log: String,
}

#[derive(Serialize)]
struct PlaceStatus {
    place: String,
    mac: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    processes: Vec<i32>,
}

fn status(args: &StatusArgs) -> Done {
    let name = &args.name.name;
    let found = Remains::find(name)?;
    let ports = client::get(&name.socket(), "/v1/ports");
    if args.json {
        let place = |(place, processes): &(Place, Vec<i32>)| PlaceStatus {
            place: place.to_string(),
            mac: place.mac().map(|mac| mac.to_string()),
            ipv4: place.ipv4().map(|ip| ip.to_string()),
            ipv6: place.ipv6().map(|ip| ip.to_string()),
            processes: processes.clone(),
        };
        print_json(&Status {
            name: name.to_string(),
            places: found.namespaces.iter().map(place).collect(),
            switch: found.switch().to_vec(),
            answers: ports.is_ok(),
            socket: name.socket().display().to_string(),
            log: name.log().display().to_string(),
        })?;
    } else if found.is_empty() {
        print(&format!("there is no lab {name}\n"))?;
    } else {
        let text = match ports {
            Ok(text) => serde_json::from_str(&text).map(|ports| super::show::ports(&ports)).map_err(Failure::other)?,
            Err(_) => format!(
                "the switch does not answer: {} may say why; `bladeswitch lab down --name {name}` removes what is left\n",
                name.log().display()
            ),
        };
        print(&format!("lab {name}: {} blades, {found}\n\n{text}", found.blades()))?;
    }
    Ok(if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
