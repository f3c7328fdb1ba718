//! What a lab is made of: places, addresses, the switch's configuration.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::str::FromStr;

use wire::MacAddr;

use super::cores::Cores;
use super::namespace::{self, exec, ip_batch};
use super::remains::{Remains, remove};
use super::{ETC_NETNS, LabError, Name};

/// Blades a lab has at most: with the uplink that is as many ports as a switch has.
pub const BLADES_MAX: u16 = port::PORTS_MAX as u16 - 1;
/// The last byte of the uplink's addresses; above every blade's.
const UPLINK: u8 = 254;

/// A namespace of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where the switch runs.
    Switch,
    /// The blade in a slot, from 1.
    Blade(u16),
    /// The external network.
    Uplink,
}

impl Place {
    /// Its IPv4 address, from the block for benchmarks (RFC 2544 appendix C.2.2). The switch has none.
    pub fn ipv4(self) -> Option<Ipv4Addr> {
        self.last_byte().map(|byte| Ipv4Addr::new(198, 18, 0, byte))
    }

    /// Its IPv6 address, from the block for benchmarks (RFC 5180 §8).
    pub fn ipv6(self) -> Option<Ipv6Addr> {
        self.last_byte().map(|byte| Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, byte.into()))
    }

    /// Its MAC address.
    pub fn mac(self) -> Option<MacAddr> {
        // The switch's own address ends in `fe`; the uplink must not have it.
        match self {
            Place::Uplink => Some(MacAddr([2, 0, 0, 0, 1, 0])),
            place => place.last_byte().map(|byte| MacAddr([2, 0, 0, 0, 0, byte])),
        }
    }

    fn last_byte(self) -> Option<u8> {
        match self {
            Place::Switch => None,
            Place::Blade(slot) => u8::try_from(slot).ok(),
            Place::Uplink => Some(UPLINK),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Switch => f.pad("switch"),
            Place::Blade(slot) => f.pad(&format!("blade{slot}")),
            Place::Uplink => f.pad("uplink"),
        }
    }
}

/// There is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the number of a blade, blade1 to blade{BLADES_MAX}, uplink or switch")]
pub struct PlaceParseError;

impl FromStr for Place {
    type Err = PlaceParseError;

    /// `blade1` or `1`, `uplink`, `switch`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "switch" => Ok(Place::Switch),
            "uplink" => Ok(Place::Uplink),
            text => {
                let digits = text.strip_prefix("blade").unwrap_or(text);
                let slot = digits.parse().ok().filter(|slot| (1..=BLADES_MAX).contains(slot) && !digits.starts_with(['0', '+']));
                slot.map(Place::Blade).ok_or(PlaceParseError)
            }
        }
    }
}

/// A lab to be made.
#[derive(Clone, Debug)]
pub struct Chassis {
    /// Its name.
    pub name: Name,
    /// How many blades, 1 to [`BLADES_MAX`].
    pub blades: u16,
    /// The kinds of the switch's ports, as in a port spec without its interface: `af_xdp`, `af_xdp,mode=skb`. They take turns.
    pub kinds: Vec<String>,
    /// MTU of every interface, in bytes.
    pub mtu: u16,
}

impl Chassis {
    /// The places with an interface: blades by slot, then the uplink.
    pub fn ends(&self) -> impl Iterator<Item = Place> + use<> {
        (1..=self.blades).map(Place::Blade).chain([Place::Uplink])
    }

    /// The port spec of the switch's end.
    fn spec(&self, index: usize, place: Place) -> String {
        let kind = &self.kinds[index % self.kinds.len()];
        let (kind, options) = kind.split_once(',').map_or((kind.as_str(), String::new()), |(kind, options)| (kind, format!(",{options}")));
        format!("{kind}:{place}{options}")
    }

    /// The configuration of the switch, as a file. Its worker runs where the system puts it.
    pub fn config(&self) -> String {
        self.config_on(None)
    }

    /// As [`config`](Self::config), with the worker on a core of its own.
    pub fn config_on(&self, cores: Option<&Cores>) -> String {
        let mut text = format!(
            "# Made by `bladeswitch lab up`.\n[switch]\nname = \"{}\"\napi = \"{}\"\n# The MTU and an Ethernet header.\nmax_frame = {}\n",
            self.name,
            self.name.socket().display(),
            self.mtu + 14
        );
        if let Some(cores) = cores {
            let _ = write!(text, "# What the blades receive is received on the others.\ncores = [{}]\n", cores.switch);
        }
        for (index, place) in self.ends().enumerate() {
            let spec = self.spec(index, place);
            // Writing to a string cannot fail.
            let _ = match (place, place.mac(), place.ipv4(), place.ipv6()) {
                (Place::Blade(slot), Some(mac), Some(ipv4), Some(ipv6)) => {
                    write!(text, "\n[[blade]]\nslot = {slot}\nmac = \"{mac}\"\nip = [\"{ipv4}\", \"{ipv6}\"]\nport = \"{spec}\"\n")
                }
                _ => write!(text, "\n[[uplink]]\nname = \"{place}\"\nport = \"{spec}\"\n"),
            };
        }
        text
    }

    /// The names of all places, for `/etc/hosts` inside.
    fn hosts(&self) -> String {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for place in self.ends() {
            if let (Some(ipv4), Some(ipv6)) = (place.ipv4(), place.ipv6()) {
                let _ = write!(text, "{ipv4} {place}\n{ipv6} {place}\n");
            }
        }
        text
    }

    /// Makes namespaces, interfaces, addresses and names. If that fails, nothing of it is left.
    ///
    /// # Errors
    /// There is something of this name already, or the system refuses.
    pub fn build(&self) -> Result<(), LabError> {
        super::check_root()?;
        let found = Remains::find(&self.name)?;
        if !found.is_empty() {
            return Err(LabError::InTheWay { name: self.name.clone(), found });
        }
        let built = self.build_all();
        if built.is_err()
            && let Err(error) = remove(&self.name)
        {
            tracing::warn!(%error, "what was made so far could not be removed: `bladeswitch lab down` will");
        }
        built
    }

    fn build_all(&self) -> Result<(), LabError> {
        let folder = self.name.folder();
        fs::create_dir_all(&folder).map_err(LabError::io(folder.display()))?;
        let namespaces: Vec<(Place, String)> =
            [Place::Switch].into_iter().chain(self.ends()).map(|place| (place, self.name.namespace(place))).collect();
        ip_batch(None, &namespaces.iter().map(|(_, name)| format!("netns add {name}")).collect::<Vec<_>>())?;
        for (place, name) in &namespaces {
            // What an interface would say by itself is no traffic anybody has asked for: on the switch's side IPv6 is off, on
            // the others' it does without duplicate address detection, autoconfiguration and looking for routers.
            let quiet: &[(&str, &str)] = match place {
                Place::Switch => &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")],
                Place::Blade(_) | Place::Uplink => &[
                    ("ipv6/conf/default/accept_dad", "0"),
                    ("ipv6/conf/default/dad_transmits", "0"),
                    ("ipv6/conf/default/accept_ra", "0"),
                    ("ipv6/conf/default/autoconf", "0"),
                    ("ipv6/conf/default/router_solicitations", "0"),
                ],
            };
            namespace::set(name, quiet)?;
            if *place != Place::Switch {
                let folder = Path::new(ETC_NETNS).join(name);
                fs::create_dir_all(&folder).map_err(LabError::io(folder.display()))?;
                let hosts = folder.join("hosts");
                fs::write(&hosts, self.hosts()).map_err(LabError::io(hosts.display()))?;
            }
        }
        let has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        let switch = self.name.namespace(Place::Switch);
        let links: Vec<String> = self.ends().map(|place| self.link(place)).collect();
        ip_batch(None, &links)?;
        for place in self.ends() {
            let mut lines = vec!["link set lo up".to_owned()];
            if let (Some(ipv4), Some(ipv6)) = (place.ipv4(), place.ipv6()) {
                lines.push(format!("address add {ipv4}/15 dev eth0"));
                if has_ipv6 {
                    lines.push(format!("address add {ipv6}/64 dev eth0 nodad"));
                }
            }
            lines.push("link set eth0 up".to_owned());
            ip_batch(Some(&self.name.namespace(place)), &lines)?;
        }
        ip_batch(Some(&switch), &self.ends().map(|place| format!("link set {place} up")).collect::<Vec<_>>())
    }

    /// The command that makes the pair of interfaces of a place, each in its namespace from the start: the machine's own never
    /// sees them. One queue each, since the switch must listen to all of them.
    fn link(&self, place: Place) -> String {
        let (switch, end, mtu) = (self.name.namespace(Place::Switch), self.name.namespace(place), self.mtu);
        let mac = place.mac().map(|mac| format!("address {mac}")).unwrap_or_default();
        format!(
            "link add name {place} netns {switch} mtu {mtu} numtxqueues 1 numrxqueues 1 type veth \
             peer name eth0 netns {end} {mac} mtu {mtu} numtxqueues 1 numrxqueues 1"
        )
    }

    /// Makes the interfaces of a place again after they have been removed, and puts them up: the blade is plugged back in.
    ///
    /// # Errors
    /// The system refuses, or they are there.
    pub fn plug(&self, place: Place) -> Result<(), LabError> {
        ip_batch(None, &[self.link(place)])?;
        let mut lines = Vec::new();
        if let (Some(ipv4), Some(ipv6)) = (place.ipv4(), place.ipv6()) {
            lines.push(format!("address add {ipv4}/15 dev eth0"));
            if Path::new("/proc/sys/net/ipv6").exists() {
                lines.push(format!("address add {ipv6}/64 dev eth0 nodad"));
            }
        }
        lines.push("link set eth0 up".to_owned());
        ip_batch(Some(&self.name.namespace(place)), &lines)?;
        ip_batch(Some(&self.name.namespace(Place::Switch)), &[format!("link set {place} up")])
    }

    /// Removes the interfaces of a place: the blade is pulled out.
    ///
    /// # Errors
    /// The system refuses, or they are not there.
    pub fn unplug(&self, place: Place) -> Result<(), LabError> {
        ip_batch(Some(&self.name.namespace(place)), &["link del eth0".to_owned()])
    }

    /// Writes `config` into the lab's folder and starts `program run` on it in the switch's namespace, in the background. It
    /// logs to [`Name::log`] and outlives this process.
    ///
    /// # Errors
    /// A file cannot be written, or there is no such program.
    pub fn start(&self, program: &Path, config: &str) -> Result<Child, LabError> {
        let file = self.name.folder().join("chassis.toml");
        fs::write(&file, config).map_err(LabError::io(file.display()))?;
        let log = File::create(self.name.log()).map_err(LabError::io(self.name.log().display()))?;
        let log_too = log.try_clone().map_err(LabError::io(self.name.log().display()))?;
        let mut command = exec(&self.name.namespace(Place::Switch), &program.to_string_lossy());
        command.args(["--log", "info", "run"]).arg(&file);
        // A group of its own: Ctrl-C is for whoever made the lab.
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
        command.spawn().map_err(LabError::io(program.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::config::Config;

    #[test]
    fn its_configuration_is_one() {
        for blades in [1, 4, BLADES_MAX] {
            let kinds = vec!["af_packet".to_owned(), "af_xdp,mode=skb".to_owned()];
            let chassis = Chassis { name: "x".parse().unwrap(), blades, kinds, mtu: 9000 };
            let config = Config::parse(&chassis.config(), "lab").unwrap();
            assert_eq!(config.ports.len(), usize::from(blades) + 1);
            assert_eq!(config.ports[0].spec.to_string(), "af_packet:blade1");
            assert_eq!(config.ports[1].spec.to_string(), if blades == 1 { "af_xdp:uplink,mode=skb" } else { "af_xdp:blade2,mode=skb" });
            assert_eq!(config.switch.max_frame, 9014);
            let cores = Cores { switch: 3, blades: vec![0] };
            let config = Config::parse(&chassis.config_on(Some(&cores)), "lab").unwrap();
            assert_eq!(config.switch.cores, [3]);
        }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        for place in [Place::Switch, Place::Uplink, Place::Blade(1), Place::Blade(BLADES_MAX)] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert_eq!("7".parse(), Ok(Place::Blade(7)));
        for wrong in ["", "0", "blade0", "blade01", "+1", "128", "blade", "Uplink", "99999999999"] {
            assert_eq!(wrong.parse::<Place>(), Err(PlaceParseError), "{wrong}");
        }
    }
}
