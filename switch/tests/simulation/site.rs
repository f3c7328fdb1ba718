//! The site a run takes place at: ports, VLANs, entries set by hand, what is switched on. Made from the seed; told to the switch
//! as a configuration text and to the reference as it is.

use std::fmt::Write;
use std::net::IpAddr;

use super::chance::Chance;

pub type Mac = [u8; 6];

/// The switch's own address.
pub const OWN: Mac = [2, 0, 0, 0, 0, 0xfe];
/// VLANs there may be.
pub const VIDS: [u16; 4] = [1, 10, 20, 4094];
/// Stations there are.
pub const STATIONS: u8 = 12;

/// Address of station `n`.
pub fn mac(n: u8) -> Mac {
    [2, 0, 0, 0, 1, n]
}

/// IPv4 address of station `n`.
pub fn ip4(n: u8) -> IpAddr {
    [10, 0, 0, n + 1].into()
}

/// IPv6 address of station `n`.
pub fn ip6(n: u8) -> IpAddr {
    [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n) + 1].into()
}

#[derive(Clone, Debug)]
pub enum Mode {
    Access(u16),
    Transparent(u16),
    Trunk { vids: Vec<u16>, native: Option<u16> },
}

impl Mode {
    /// The VLAN of frames without tag.
    pub fn untagged(&self) -> Option<u16> {
        match self {
            Mode::Access(vid) | Mode::Transparent(vid) => Some(*vid),
            Mode::Trunk { native, .. } => *native,
        }
    }

    pub fn is_member(&self, vid: u16) -> bool {
        match self {
            Mode::Access(own) | Mode::Transparent(own) => *own == vid,
            Mode::Trunk { vids, native } => vids.contains(&vid) || *native == Some(vid),
        }
    }
}

#[derive(Clone, Debug)]
pub struct SitePort {
    pub mode: Mode,
    pub ingress_filter: bool,
    /// Picoseconds a bit takes.
    pub bit_ps: u64,
    /// Frames the transmit queue holds.
    pub queue: usize,
    pub learning: bool,
    pub flood: bool,
    pub enabled: bool,
}

#[derive(Clone, Debug)]
pub struct Site {
    pub workers: u64,
    pub burst: usize,
    pub frame_len_max: usize,
    pub ageing_ms: u64,
    pub neighbor_ageing_ms: u64,
    pub ports: Vec<SitePort>,
    /// VLAN, address, port or blackhole.
    pub entries: Vec<(u16, Mac, Option<usize>)>,
    pub neighbors: Vec<(u16, IpAddr, Mac)>,
    pub message: bool,
    pub ip: bool,
    pub notice: bool,
    pub learn: bool,
    pub answer_arp: bool,
    pub answer_nd: bool,
    /// Learned entries that a port and a VLAN may have at most.
    pub limit_per_port: Option<usize>,
    pub limit_per_vlan: Option<usize>,
    /// So few buffers that they run out; `None`: as many as are needed.
    pub buffers: Option<u32>,
}

const RATES: [(&str, u64); 5] = [("10G", 100), ("2.5G", 400), ("1G", 1000), ("100M", 10_000), ("10M", 100_000)];

impl Site {
    pub fn new(seed: u64, chance: &mut Chance) -> Site {
        let count = 2 + chance.below(6) as usize;
        // Every second site has queues that fill up, every fourth slow links, every fifth too few buffers.
        let (short, slow) = (chance.one_in(2), chance.one_in(4));
        let buffers = chance.one_in(5).then(|| 24 + chance.below(200) as u32);
        let mut ports: Vec<SitePort> = (0..count).map(|_| port(chance, short, slow)).collect();
        // At least two ports have something to say to each other.
        ports[0] = SitePort { mode: Mode::Access(1), enabled: true, ..ports[0].clone() };
        if !ports[1].mode.is_member(1) {
            ports[1].mode = Mode::Trunk { vids: VIDS.to_vec(), native: None };
        }
        let vids: Vec<u16> = VIDS.into_iter().filter(|&vid| ports.iter().any(|port| port.mode.is_member(vid))).collect();
        let (mut entries, mut neighbors) = (Vec::new(), Vec::new());
        for n in 0..chance.below(4) as u8 {
            let (vid, port) = (chance.pick(&vids), chance.below(count as u64) as usize);
            let port = if chance.one_in(3) { None } else { Some(port) };
            if port.is_none_or(|port| ports[port].mode.is_member(vid)) {
                entries.push((vid, mac(n), port));
            }
        }
        for n in 0..chance.below(6) as u8 {
            let ip = if chance.one_in(2) { ip4(n) } else { ip6(n) };
            neighbors.push((chance.pick(&vids), ip, mac(chance.below(u64::from(STATIONS)) as u8)));
        }
        Site {
            workers: [1, 2, 4][(seed % 3) as usize],
            burst: chance.pick(&[1, 3, 8, 32, 64]),
            frame_len_max: chance.pick(&[9216, 9216, 1522, 2000]),
            ageing_ms: chance.pick(&[64, 640, 3200]),
            neighbor_ageing_ms: chance.pick(&[160, 1600]),
            ports,
            entries,
            neighbors,
            message: !chance.one_in(10),
            ip: !chance.one_in(10),
            notice: !chance.one_in(5),
            learn: !chance.one_in(5),
            answer_arp: !chance.one_in(3),
            answer_nd: !chance.one_in(3),
            limit_per_port: chance.one_in(4).then(|| 1 + chance.below(8) as usize),
            limit_per_vlan: chance.one_in(4).then(|| 1 + chance.below(16) as usize),
            buffers,
        }
    }

    /// The configuration of the switch at this site.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("a string takes it");
        line(format_args!("[switch]\nworkers = {}\nburst = {}\nmax_frame = {}", self.workers, self.burst, self.frame_len_max));
        line(format_args!("mac = \"{}\"", mac_text(OWN)));
        line(format_args!("[pool]\nbuffers = {}\nhugepages = \"never\"", self.buffers.unwrap_or(0)));
        // More than all stations in all VLANs; and so few that a step sweeps the whole table, since an entry counts until it is swept.
        line(format_args!("[fdb]\nageing_ms = {}\nlimit = 128", self.ageing_ms));
        if let Some(limit) = self.limit_per_port {
            line(format_args!("limit_per_port = {limit}"));
        }
        if let Some(limit) = self.limit_per_vlan {
            line(format_args!("limit_per_vlan = {limit}"));
        }
        line(format_args!("[lanes]\nmessage = {}\nip = {}\nnotice = {}\nnotices_per_s = 1_000_000", self.message, self.ip, self.notice));
        line(format_args!("[identity]\nadvertise = false\nlearn = {}\nageing_ms = {}", self.learn, self.neighbor_ageing_ms));
        line(format_args!("answer_arp = {}\nanswer_nd = {}", self.answer_arp, self.answer_nd));
        for (index, port) in self.ports.iter().enumerate() {
            let rate = RATES.iter().find(|(_, bit_ps)| *bit_ps == port.bit_ps).expect("one of the rates").0;
            line(format_args!("[[blade]]\nslot = {}\nname = \"{}\"\nspeed = \"{rate}\"\nqueue = {}", index + 1, name(index), port.queue));
            line(format_args!("learning = {}\nflood = {}\nenabled = {}", port.learning, port.flood, port.enabled));
            match &port.mode {
                Mode::Access(vid) => line(format_args!("vlan = {vid}")),
                Mode::Transparent(vid) => line(format_args!("transparent = {vid}")),
                Mode::Trunk { vids, native } => {
                    line(format_args!("trunk = {vids:?}\ningress_filter = {}", port.ingress_filter));
                    if let Some(native) = native {
                        line(format_args!("native = {native}"));
                    }
                }
            }
        }
        for (vid, mac, port) in &self.entries {
            line(format_args!("[[fdb_entry]]\nvlan = {vid}\nmac = \"{}\"", mac_text(*mac)));
            match port {
                Some(port) => line(format_args!("port = \"{}\"", name(*port))),
                None => line(format_args!("blackhole = true")),
            }
        }
        for (vid, ip, mac) in &self.neighbors {
            line(format_args!("[[neighbor]]\nvlan = {vid}\nip = \"{ip}\"\nmac = \"{}\"", mac_text(*mac)));
        }
        text
    }
}

fn port(chance: &mut Chance, short: bool, slow: bool) -> SitePort {
    let vid = chance.pick(&VIDS);
    let mode = match chance.below(10) {
        0..4 => Mode::Access(if chance.one_in(2) { 1 } else { vid }),
        4 => Mode::Transparent(vid),
        _ => {
            let vids: Vec<u16> = VIDS.into_iter().filter(|_| !chance.one_in(4)).collect();
            let native = chance.one_in(2).then(|| chance.pick(&VIDS));
            if vids.is_empty() { Mode::Access(1) } else { Mode::Trunk { vids, native } }
        }
    };
    SitePort {
        mode,
        ingress_filter: !chance.one_in(4),
        bit_ps: if slow { 100_000 } else { chance.pick(&RATES).1 },
        queue: if short { 1 + chance.below(6) as usize } else { 1 << 16 },
        learning: !chance.one_in(8),
        flood: !chance.one_in(8),
        enabled: !chance.one_in(12),
    }
}

/// Name of a port.
pub fn name(index: usize) -> String {
    format!("p{index}")
}

fn mac_text(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
